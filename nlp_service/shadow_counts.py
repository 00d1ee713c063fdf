"""What a shadow found: how often two models said what, a day and a pair of labels a row. Counts and seconds, never words."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import postgresql, sqlite

from nlp_service.live import Rate
from nlp_service.pipeline import Classification
from nlp_service.store import shadow_days, shadow_pairs
from nlp_service.taxonomy import EMERGENCY

HEADS = ("category", "urgency", "petition_type", "zone")
TOP = 10
"""Pairs of labels that a comparison names."""

Labels = tuple[str, ...]
"""One answer: a label for every one of HEADS."""


def labels(answer: Classification) -> Labels:
    """What an answer comes down to."""
    decision = answer.decision
    return (decision.category.id, decision.urgency.id, decision.petition_type.id, decision.decision)


@dataclass
class Tally:
    """Counts that are not stored yet.

    Attributes:
        pairs: by day, current version, head, current label, candidate's label.
        days: by day, current version and column of `shadow_days`.
    """

    pairs: Counter[tuple[date, str, str, str, str]] = field(default_factory=Counter)
    days: Counter[tuple[date, str, str]] = field(default_factory=Counter)

    def compare(self, day: date, current: str, said: Labels, candidate_said: Labels) -> None:
        """One petition that both models read."""
        self.pairs.update(
            (day, current, head, one, other) for head, one, other in zip(HEADS, said, candidate_said, strict=True)
        )
        self.days[day, current, "compared"] += 1

    def add(self, day: date, current: str, **columns: float) -> None:
        """Add to columns of `shadow_days`."""
        for name, value in columns.items():
            self.days[day, current, name] += value  # type: ignore[assignment]  # a Counter adds floats too

    def join(self, other: "Tally") -> None:
        """Take in the counts of another one."""
        self.pairs.update(other.pairs)
        self.days.update(other.days)

    def store(self, connection: Connection, candidate: str) -> None:
        """Add to what is stored, inside the caller's transaction. In order, so that two services do not wait crosswise."""
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        if self.pairs:
            pair = insert(shadow_pairs)
            names = ("day", "current", "head", "current_label", "candidate_label")
            connection.execute(
                pair.on_conflict_do_update(
                    index_elements=list(shadow_pairs.primary_key), set_={"n": shadow_pairs.c.n + pair.excluded.n}
                ),
                [
                    {**dict(zip(names, key, strict=True)), "candidate": candidate, "n": n}
                    for key, n in sorted(self.pairs.items())
                ],
            )
        sums = ("compared", "dropped", "current_petitions", "current_seconds", "candidate_seconds")
        if rows := sorted({(day, current) for day, current, _ in self.days}):
            of_day = insert(shadow_days)
            connection.execute(
                of_day.on_conflict_do_update(
                    index_elements=list(shadow_days.primary_key),
                    set_={name: shadow_days.c[name] + of_day.excluded[name] for name in sums},
                ),
                [
                    {
                        "day": day,
                        "current": current,
                        "candidate": candidate,
                        **{name: self.days[day, current, name] for name in sums},
                    }
                    for day, current in rows
                ],
            )


@dataclass(frozen=True)
class Pair:
    """Petitions that one model called this and the other that."""

    head: str
    current: str
    candidate: str
    count: int


@dataclass(frozen=True)
class Comparison:
    """Two models on the same live petitions.

    Attributes:
        heads: how often they said the same.
        disagreements: the most frequent ones, over all heads.
        only_current, only_candidate: emergencies that only one of them raised.
        current_ms, candidate_ms: a petition. Not alike: the current model reads petitions of many requests together on all
            its threads, the candidate one by one, on one thread and behind everything else.
    """

    current: str
    candidate: str
    first: date
    last: date
    compared: int
    dropped: int
    heads: dict[str, Rate]
    disagreements: tuple[Pair, ...]
    only_current: int
    only_candidate: int
    current_ms: float | None
    candidate_ms: float | None


def comparisons(connection: Connection, since: date) -> list[Comparison]:
    """Every pair of models since a day, the latest first."""
    columns = shadow_days.c
    names = ("compared", "dropped", "current_petitions", "current_seconds", "candidate_seconds")
    rows = connection.execute(
        select(
            columns.current,
            columns.candidate,
            func.min(columns.day).label("first"),
            func.max(columns.day).label("last"),
            *(func.sum(columns[name]).label(name) for name in names),
        )
        .where(columns.day >= since)
        .group_by(columns.current, columns.candidate)
        .order_by(func.max(columns.day).desc(), columns.current, columns.candidate)
    ).all()
    return [_comparison(row, _pairs(connection, row.current, row.candidate, since)) for row in rows]


def _pairs(connection: Connection, current: str, candidate: str, since: date) -> list[Pair]:
    columns = shadow_pairs.c
    count = func.sum(columns.n)
    rows = connection.execute(
        select(columns.head, columns.current_label, columns.candidate_label, count)
        .where(columns.current == current, columns.candidate == candidate, columns.day >= since)
        .group_by(columns.head, columns.current_label, columns.candidate_label)
        .order_by(count.desc(), columns.head, columns.current_label, columns.candidate_label)
    )
    return [Pair(head, one, other, int(n)) for head, one, other, n in rows]


def _comparison(row: Any, pairs: list[Pair]) -> Comparison:
    def rate(of: Iterable[Pair]) -> Rate:
        both = list(of)
        hits, count = sum(p.count for p in both if p.current == p.candidate), sum(p.count for p in both)
        return Rate.of(hits, count)

    urgency = [pair for pair in pairs if pair.head == "urgency"]
    return Comparison(
        current=row.current,
        candidate=row.candidate,
        first=row.first,
        last=row.last,
        compared=int(row.compared),
        dropped=int(row.dropped),
        heads={head: rate(pair for pair in pairs if pair.head == head) for head in HEADS},
        disagreements=tuple(pair for pair in pairs if pair.current != pair.candidate)[:TOP],
        only_current=sum(p.count for p in urgency if p.current == EMERGENCY != p.candidate),
        only_candidate=sum(p.count for p in urgency if p.candidate == EMERGENCY != p.current),
        current_ms=1000 * row.current_seconds / row.current_petitions if row.current_petitions else None,
        candidate_ms=1000 * row.candidate_seconds / row.compared if row.compared else None,
    )
