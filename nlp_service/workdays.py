"""Working time in Vietnam: the days on which offices work, and periods counted in days or in office hours.

Periods are counted as the Civil Code 2015 counts them (Điều 147, 148): by the hour from the moment of the event; by the
day from the day after it, until 24 o'clock of the last day, or of the next working day when the last day is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import holidays
import yaml

VIETNAM = ZoneInfo("Asia/Ho_Chi_Minh")

# One second before 24 o'clock, so that a deadline shows the day it belongs to.
DAY_END = time(23, 59, 59)
_DAY = timedelta(days=1)

Session = tuple[time, time]


@dataclass(frozen=True)
class Year:
    """What differs from Monday to Friday in one year.

    Attributes:
        off: weekdays on which offices are closed.
        worked: weekend days on which they are open.
        undecided: days for which a swap is proposed; they count as ordinary days.
    """

    off: frozenset[date]
    worked: frozenset[date]
    undecided: frozenset[date] = frozenset()


class WorkingCalendar:
    """Which days offices work, and when a period that starts at a given moment ends.

    Every moment needs a time zone; results are in Vietnam's.

    Args:
        decided: the years whose holidays are known; others are taken from the package `holidays` and not `certain`.
        sessions: office hours of a working day, in order.
    """

    def __init__(self, decided: Mapping[int, Year], sessions: tuple[Session, ...]) -> None:
        self.zone = VIETNAM
        self._decided = frozenset(decided)
        self._undecided = tuple(day for year in decided.values() for day in year.undecided)
        self._years = dict(decided)
        self._sessions = sessions

    def is_working(self, day: date) -> bool:
        """Whether offices are open on `day`: a weekday that is no holiday, or a weekend day worked in exchange."""
        year = self._years.get(day.year)
        if year is None:
            year = self._years[day.year] = _estimated(day.year)
        return day not in year.off if day.weekday() < 5 else day in year.worked

    def certain(self, first: date, last: date | None = None) -> bool:
        """Whether all days from `first` to `last` (or `first` alone) rest on decisions taken, not on estimates."""
        last = last or first
        return all(year in self._decided for year in range(first.year, last.year + 1)) and not any(
            first <= day <= last for day in self._undecided
        )

    def local(self, moment: datetime) -> datetime:
        """The same moment by Vietnam's clock.

        Raises:
            ValueError: `moment` has no time zone.
        """
        if moment.tzinfo is None:
            raise ValueError(f"{moment.isoformat()} has no time zone; give one, such as +07:00")
        return moment.astimezone(self.zone)

    def day_of(self, start: date) -> date:
        """The day of a date or, in Vietnam, of a moment."""
        return self.local(start).date() if isinstance(start, datetime) else start

    def add_working_days(self, start: date, n: int) -> datetime:
        """The end of the `n`th working day after the day of `start`."""
        _check_length(n)
        day = self.day_of(start)
        for _ in range(n):
            day = self._next_working(day + _DAY)
        return self._end(day)

    def add_calendar_days(self, start: date, n: int) -> datetime:
        """The end of the `n`th day after the day of `start`, or of the next working day if offices are closed then."""
        _check_length(n)
        return self._end(self._next_working(self.day_of(start) + n * _DAY))

    def add_working_hours(self, start: datetime, hours: float) -> datetime:
        """The moment when `hours` of office time have passed since `start`."""
        _check_length(hours)
        left = timedelta(hours=hours)
        now = self.local(start)
        day = now.date()
        while True:
            day = self._next_working(day)
            for opening, closing in self._sessions:
                begin = max(now, datetime.combine(day, opening, self.zone))
                end = datetime.combine(day, closing, self.zone)
                if begin < end:
                    if left <= end - begin:
                        return begin + left
                    left -= end - begin
            day += _DAY

    def _next_working(self, day: date) -> date:
        while not self.is_working(day):
            day += _DAY
        return day

    def _end(self, day: date) -> datetime:
        return datetime.combine(day, DAY_END, self.zone)


def load_calendar(path: Path, sessions: tuple[Session, ...]) -> WorkingCalendar:
    """Read the holidays decided for each year.

    Raises:
        ValueError: naming the year and the entry that does not fit: no source, a day of another year, a weekend day
            among days_off or a weekday among days_worked, a day given twice.
    """
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        years = document["years"].items()
        return WorkingCalendar({year: _year(f"{path}: {year}", year, entries) for year, entries in years}, sessions)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: an entry needs name, source, checked, and days_off or days_worked; {type(error).__name__} {error}"
        ) from error


def _year(where: str, year: int, entries: list[dict[str, Any]]) -> Year:
    days: dict[str, set[date]] = {"days_off": set(), "days_worked": set(), "undecided": set()}
    for entry in entries:
        label = f"{where}, '{entry['name']}'"
        if not entry["source"] or not isinstance(entry["checked"], bool):
            raise ValueError(f"{label}: give a source, and checked as true or false")
        given = [(kind, day) for kind in ("days_off", "days_worked") for day in entry.get(kind, ())]
        if not given:
            raise ValueError(f"{label}: give days_off, days_worked or both")
        for kind, day in given:
            if not isinstance(day, date) or day.year != year:
                raise ValueError(f"{label}: '{day}' is no date of that year; write {year}-MM-DD")
            if (day.weekday() < 5) is not (kind == "days_off"):
                raise ValueError(f"{label}: {day} is a {day:%A}; days_off are weekdays, days_worked weekend days")
            if any(day in known for known in days.values()):
                raise ValueError(f"{label}: {day} is given twice")
            days[kind if entry["checked"] else "undecided"].add(day)
    return Year(frozenset(days["days_off"]), frozenset(days["days_worked"]), frozenset(days["undecided"]))


def _estimated(year: int) -> Year:
    package = holidays.country_holidays("VN", years=year)
    return Year(off=frozenset(package), worked=frozenset(package.weekend_workdays))


def _check_length(amount: float) -> None:
    if amount <= 0:
        raise ValueError(f"a period of {amount} is none; give a number above 0")
