"""How right a model was, by what people decided: the figures behind `petitions report quality` and the metrics.

Only petitions read one by one count, and only verdicts that stand. The first reader sees the suggestion, so what is kept is
biased upwards; a blind second reader sees no other person's verdict but the suggestion too. Of what the model routes by
itself only those count that somebody opened. `Quality.second` is therefore the fairer figure, and a test set fairer still.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from nlp_service.agreement import HEADS
from nlp_service.live import ZONES, Rate
from nlp_service.store import petitions, reviews
from nlp_service.stored_profiles import week_of
from nlp_service.taxonomy import EMERGENCY

BY = ("zone", "category", "commune", "week", "reviewer")
"""What figures can be told apart by; `category` is what the person said."""

OVERRIDES = 10


class Verdict(NamedTuple):
    """One reading of one petition: what a person said and what the model had said, by head."""

    reading: int
    said: dict[str, str]
    suggested: dict[str, str]
    zone: str
    commune: str
    week: str
    reviewer: str


@dataclass(frozen=True)
class Quality:
    """Of one model in one period.

    Attributes:
        first: head -> share of first readings that kept the suggestion.
        second: the same of blind second readings.
        emergency_recall: of petitions that people called emergencies, those that the model had raised.
        emergency_precision: of those it had raised, the share that people called emergencies.
        groups: value of what was asked for -> share of first readings that kept the category.
        overrides: head -> (suggested, said, times), the most frequent first.
    """

    model_version: str
    since: datetime
    until: datetime
    first: dict[str, Rate]
    second: dict[str, Rate]
    emergency_recall: Rate
    emergency_precision: Rate
    groups: dict[str, Rate]
    overrides: dict[str, list[tuple[str, str, int]]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "model_version": self.model_version,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "first_readings": {head: rate_as_dict(rate) for head, rate in self.first.items()},
            "second_readings": {head: rate_as_dict(rate) for head, rate in self.second.items()},
            "emergency": {
                "recall": rate_as_dict(self.emergency_recall),
                "precision": rate_as_dict(self.emergency_precision),
            },
            "groups": {name: rate_as_dict(rate) for name, rate in self.groups.items()},
            "overrides": {
                head: [{"suggested": a, "said": b, "count": n} for a, b, n in pairs]
                for head, pairs in self.overrides.items()
            },
        }


def rate_as_dict(rate: Rate) -> dict[str, Any]:
    """Share with count and 95 % interval."""
    return {"hits": rate.hits, "count": rate.count, "value": rate.value, "interval": list(rate.interval)}


def verdicts(connection: Connection, model_version: str, since: datetime, until: datetime) -> list[Verdict]:
    """Verdicts on one model's suggestions, from `since` to before `until`."""
    columns = [reviews.c[head] for head in HEADS]
    rows = connection.execute(
        select(
            *(reviews.c.reading, reviews.c.suggested, reviews.c.reviewer, *columns),
            *(petitions.c.commune_code, petitions.c.received_at),
        )
        .join(petitions, petitions.c.id == reviews.c.petition_id)
        .where(
            reviews.c.model_version == model_version,
            reviews.c.reading.in_((1, 2)),
            reviews.c.withdrawn_at.is_(None),
            reviews.c.bulk.is_(False),
            reviews.c.at >= since,
            reviews.c.at < until,
        )
    )
    found = []
    for row in rows:
        found.append(
            Verdict(
                row.reading,
                {head: getattr(row, head) for head in HEADS},
                {head: row.suggested[head] for head in HEADS},
                row.suggested["zone"],
                row.commune_code or "-",
                week_of(row.received_at),
                row.reviewer,
            )
        )
    return found


def quality(
    found: Iterable[Verdict], model_version: str, since: datetime, until: datetime, by: str = "zone"
) -> Quality:
    """Sum up verdicts. Pure."""
    found = list(found)
    first = [verdict for verdict in found if verdict.reading == 1]
    raised = [verdict for verdict in first if verdict.suggested["urgency"] == EMERGENCY]
    real = [verdict for verdict in first if verdict.said["urgency"] == EMERGENCY]
    both = sum(verdict.said["urgency"] == EMERGENCY for verdict in raised)
    return Quality(
        model_version,
        since,
        until,
        first={head: _kept(first, head) for head in HEADS},
        second={head: _kept([verdict for verdict in found if verdict.reading == 2], head) for head in HEADS},
        emergency_recall=Rate.of(both, len(real)),
        emergency_precision=Rate.of(both, len(raised)),
        groups={
            value: _kept([verdict for verdict in first if _value(verdict, by) == value], "category")
            for value in sorted({_value(verdict, by) for verdict in first}, key=_order)
        },
        overrides={head: _overrides(first, head) for head in HEADS},
    )


def _value(verdict: Verdict, by: str) -> str:
    value: str = verdict.said["category"] if by == "category" else getattr(verdict, by)
    return value


def _order(value: str) -> tuple[int, str]:
    return (ZONES.index(value) if value in ZONES else len(ZONES), value)


def _overrides(found: Iterable[Verdict], head: str) -> list[tuple[str, str, int]]:
    pairs = Counter((v.suggested[head], v.said[head]) for v in found if v.suggested[head] != v.said[head])
    ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(suggested, said, times) for (suggested, said), times in ordered[:OVERRIDES]]


def _kept(found: list[Verdict], head: str) -> Rate:
    return Rate.of(sum(verdict.said[head] == verdict.suggested[head] for verdict in found), len(found))
