"""By when each step of handling a petition is due, with the legal basis or the word that it is only proposed.

The limits are data (datasets/deadlines.yaml): they depend on the petition's type and urgency, and change with the law.
"""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from nlp_service.workdays import Session, WorkingCalendar, load_calendar

ACCEPT = "accept"
ANY = "any"

_UNITS = {
    "minutes": "phút",
    "hours": "giờ",
    "working_hours": "giờ làm việc",
    "working_days": "ngày làm việc",
    "calendar_days": "ngày",
}
_SINCE = {"received": "", ACCEPT: " kể từ ngày thụ lý"}


@dataclass(frozen=True)
class Deadline:
    """One step of one petition.

    Attributes:
        name, limit, basis: in Vietnamese, for the clerk; limit as in "10 ngày làm việc".
        due_at: in Vietnam's time; a limit in days ends at 23:59:59.
        proposed: the limit rests on no confirmed legal text.
        provisional: the day may move: it depends on holidays or swaps that are not decided yet.
    """

    step: str
    name: str
    due_at: datetime
    limit: str
    basis: str
    proposed: bool
    provisional: bool


@dataclass(frozen=True)
class Step:
    """A step as the data gives it.

    Attributes:
        amounts: how many `unit`s, by (remote, complex).
        since: `received` or `accept`.
    """

    id: str
    name: str
    unit: str
    amounts: dict[tuple[bool, bool], int]
    since: str
    basis: str
    proposed: bool


@dataclass(frozen=True)
class DeadlineRules:
    """The steps for every pair of petition type and urgency, and the calendar they are counted in."""

    version: str
    steps: dict[tuple[str, str], tuple[Step, ...]]
    calendar: WorkingCalendar

    def deadlines(
        self,
        petition_type: str,
        urgency: str,
        received_at: datetime,
        *,
        remote: bool = False,
        complex: bool = False,
        accepted_at: datetime | None = None,
    ) -> tuple[Deadline, ...]:
        """All deadlines in order of `due_at`; the last is the one to answer by.

        Args:
            remote: the place is hard to reach ("vùng sâu, vùng xa đi lại khó khăn", Luật Khiếu nại, Điều 28).
            accepted_at: when a complaint or denunciation was accepted. Until it is known, the time from acceptance is
                counted from the last day on which to accept; an earlier acceptance brings the answer forward.

        Raises:
            ValueError: no steps for this pair, or a moment without a time zone.
        """
        if (petition_type, urgency) not in self.steps:
            raise ValueError(f"no deadlines for petition type '{petition_type}' with urgency '{urgency}'")
        result: list[Deadline] = []
        accepted, moves = accepted_at or received_at, False
        for step in self.steps[petition_type, urgency]:
            start, provisional = (accepted, moves) if step.since == ACCEPT else (received_at, False)
            deadline = self._deadline(step, step.amounts[remote, complex], start, provisional)
            if step.id == ACCEPT and accepted_at is None:
                accepted, moves = deadline.due_at, deadline.provisional
            result.append(deadline)
        return tuple(sorted(result, key=lambda deadline: deadline.due_at))

    def _deadline(self, step: Step, amount: int, start: datetime, provisional: bool) -> Deadline:
        calendar = self.calendar
        first = calendar.day_of(start)  # the first day whose being off or worked decides the result
        if step.unit == "working_hours":
            due_at = calendar.add_working_hours(start, amount)
        elif step.unit == "working_days":
            due_at = calendar.add_working_days(start, amount)
            first += timedelta(days=1)
        elif step.unit == "calendar_days":
            due_at = calendar.add_calendar_days(start, amount)
            first += timedelta(days=amount)
        else:
            due_at = calendar.local(start) + timedelta(**{step.unit: amount})
        by_clock = step.unit in ("minutes", "hours")
        return Deadline(
            step=step.id,
            name=step.name,
            due_at=due_at,
            limit=f"{amount} {_UNITS[step.unit]}{_SINCE[step.since]}",
            basis=step.basis,
            proposed=step.proposed,
            provisional=provisional or not (by_clock or calendar.certain(first, due_at.date())),
        )


def load_deadlines(path: Path, holidays: Path) -> DeadlineRules:
    """Read the limits, and the holidays they are counted with.

    Raises:
        ValueError: naming the file and the entry that is not in the format, or the pair of petition type and urgency
            that has no steps.
    """
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        by_urgency = {
            urgency: [_step(f"{path}: {urgency}", entry) for entry in entries]
            for urgency, entries in document["by_urgency"].items()
        }
        by_type = {
            kind: {
                urgency: [_step(f"{path}: {kind}", entry) for entry in entries] for urgency, entries in answers.items()
            }
            for kind, answers in document["by_type"].items()
        }
        sessions = _sessions(path, document["office_hours"]["sessions"])
        version = str(document["version"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: needs version, office_hours, by_urgency, by_type; {type(error).__name__} {error}"
        ) from error
    urgencies = by_urgency.keys() | {urgency for answers in by_type.values() for urgency in answers} - {ANY}
    steps: dict[tuple[str, str], tuple[Step, ...]] = {}
    for kind, answers in by_type.items():
        for urgency in sorted(urgencies):
            handling, answer = by_urgency.get(urgency), answers.get(urgency, answers.get(ANY))
            if not handling or not answer:
                raise ValueError(f"{path}: no steps for petition type '{kind}' with urgency '{urgency}'")
            steps[kind, urgency] = _checked(f"{path}: {kind}, {urgency}", (*handling, *answer))
    return DeadlineRules(version, steps, load_calendar(holidays, sessions))


def _step(where: str, entry: dict[str, Any]) -> Step:
    where = f"{where}, '{entry['step']}'"
    within = entry["within"]
    amounts = {
        (False, False): within,
        (False, True): entry.get("complex", within),
        (True, False): entry.get("remote", within),
        (True, True): entry.get("remote_complex", entry.get("complex", entry.get("remote", within))),
    }
    step = Step(
        id=entry["step"],
        name=entry["name"],
        unit=entry["unit"],
        amounts=amounts,
        since=entry["from"],
        basis=entry["basis"],
        proposed=entry.get("proposed", False),
    )
    if step.unit not in _UNITS or step.since not in _SINCE:
        raise ValueError(f"{where}: unit is one of {', '.join(_UNITS)}; from is one of {', '.join(_SINCE)}")
    if any(type(amount) is not int or amount <= 0 for amount in amounts.values()):
        raise ValueError(f"{where}: amounts are whole numbers above 0")
    # A clerk reads the basis, not the flag: what no text confirms must say so in words.
    if not step.basis.strip() or step.proposed is not ("đề xuất" in step.basis.lower()):
        raise ValueError(f"{where}: give a basis; it says 'đề xuất' when, and only when, proposed is true")
    return step


def _checked(where: str, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    seen: set[str] = set()
    for step in steps:
        if step.id in seen:
            raise ValueError(f"{where}: step '{step.id}' is given twice")
        if step.since == ACCEPT and ACCEPT not in seen:
            raise ValueError(f"{where}: step '{step.id}' counts from '{ACCEPT}', and no such step comes before it")
        seen.add(step.id)
    return steps


def _sessions(path: Path, entries: list[list[str]]) -> tuple[Session, ...]:
    try:
        sessions = tuple((time.fromisoformat(opening), time.fromisoformat(closing)) for opening, closing in entries)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{path}: office_hours.sessions are pairs such as ["07:30", "11:30"]; {error}') from error
    hours = [hour for session in sessions for hour in session]
    if not hours or any(earlier >= later for earlier, later in pairwise(hours)):
        raise ValueError(f"{path}: office_hours.sessions are empty or not in order")
    return sessions
