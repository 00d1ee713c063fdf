"""How the model does at the desk: what people kept of its suggestions, and since when it answers.

The first reader sees the suggestion, so what is kept says less than a test of petitions that were labelled without it; and
of those that the model routes itself only the few that somebody opened are here. Whoever shows the figures says so.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, case, func, select

from nlp_service.agreement import HEADS
from nlp_service.store import predictions, reviews

ZONES = ("auto", "suggest", "human")


@dataclass(frozen=True)
class Rate:
    """A share with what it rests on.

    Attributes:
        interval: 95 %.
    """

    hits: int
    count: int
    interval: tuple[float, float]

    @classmethod
    def of(cls, hits: int, count: int) -> "Rate":
        """With Wilson's interval."""
        return cls(hits, count, wilson(hits, count))

    @property
    def value(self) -> float | None:
        """None without cases."""
        return self.hits / self.count if self.count else None


@dataclass(frozen=True)
class Kept:
    """First readings of petitions in one zone, or in all of them.

    Attributes:
        zone: auto, suggest, human; None for all.
        heads: of category, urgency and petition_type, how often the person kept what the model had said.
    """

    zone: str | None
    count: int
    heads: dict[str, Rate]


@dataclass(frozen=True)
class Desk:
    """What first readings since some moment say of one model.

    Attributes:
        single: read one by one; every zone, then all together.
        bulk: confirmed many at a time under one label, which is not reading; all zones together.
        others: first readings of what another model had suggested; they are in no figure.
    """

    single: tuple[Kept, ...]
    bulk: Kept
    others: int


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a rate (Wilson 1927); everything without cases."""
    if count == 0:
        return (0.0, 1.0)
    share = hits / count
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))


@dataclass(frozen=True)
class _Group:
    zone: str
    bulk: bool
    count: int
    kept: dict[str, int]


def desk(connection: Connection, model_version: str, since: datetime) -> Desk:
    """First readings since then that stand: those withdrawn, undone or overtaken by another one do not count."""
    own = reviews.c.model_version == model_version
    zone = reviews.c.suggested["zone"].as_string()
    kept = {
        head: func.sum(case((reviews.c[head] == reviews.c.suggested[head].as_string(), 1), else_=0)) for head in HEADS
    }
    rows = connection.execute(
        select(own, zone, reviews.c.bulk, func.count(), *kept.values())
        .where(reviews.c.reading == 1, reviews.c.withdrawn_at.is_(None), reviews.c.at >= since)
        .group_by(own, zone, reviews.c.bulk)
    ).all()
    groups = [
        _Group(str(zone), bool(bulk), int(count), dict(zip(HEADS, map(int, hits), strict=True)))
        for mine, zone, bulk, count, *hits in rows
        if mine
    ]
    single = [group for group in groups if not group.bulk]
    return Desk(
        single=(
            *(_joined(zone, [group for group in single if group.zone == zone]) for zone in ZONES),
            _joined(None, single),
        ),
        bulk=_joined(None, [group for group in groups if group.bulk]),
        others=sum(int(row[3]) for row in rows if not row[0]),
    )


def _joined(zone: str | None, groups: Sequence[_Group]) -> Kept:
    count = sum(group.count for group in groups)
    hits = {head: sum(group.kept[head] for group in groups) for head in HEADS}
    return Kept(zone, count, {head: Rate.of(hits[head], count) for head in HEADS})


def answering_since(connection: Connection, model_version: str) -> datetime | None:
    """When a model read the first of the petitions it reads now; None as long as the newest was read by another one.

    By bisection over the rows' ids, since models follow one another: a few look-ups however many petitions there are. Of a
    model that was taken back and came again it finds one of the beginnings.
    """

    def from_row(identity: int) -> tuple[str, datetime] | None:
        following = predictions.c.id >= identity
        row = connection.execute(
            select(predictions.c.model_version, predictions.c.at).where(following).order_by(predictions.c.id).limit(1)
        ).one_or_none()
        return (row.model_version, row.at) if row else None

    def answers(identity: int) -> bool:
        row = from_row(identity)
        return row is not None and row[0] == model_version

    newest = connection.scalar(select(func.max(predictions.c.id)))
    if newest is None or not answers(newest):
        return None
    first = from_row(bisect_left(range(newest + 1), True, key=answers))
    return first[1] if first else None
