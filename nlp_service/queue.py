"""What waits for a person: whose turn is next, and who works on what."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, exists, func, not_, or_, select

from nlp_service import locks
from nlp_service.casework import Casework, Filter, listed, missing, scope
from nlp_service.intake import stored
from nlp_service.priority import Floats, Waiting, spread
from nlp_service.roles import Principal, Right
from nlp_service.store import embeddings, petitions, reviews, writing
from nlp_service.store import locks as lock_table
from nlp_service.vectors import unpack

WINDOW = 100
"""Petitions among which doubt and unlikeness are weighed: a clerk's morning."""

REMEMBERED = 5
"""Decisions of the reader's own that the next petition should not be alike to."""


@dataclass(frozen=True)
class Standing:
    """Where a petition stands at the desk, for one reader.

    Attributes:
        status, version: of the petition.
        queued: it waits for a person.
        readings: how many have read it.
        blind: this would be a second reading: what the first one said is not shown.
        lock: who works on it now.
        said: what the readers said, first to last; nothing where the reading is blind.
    """

    status: str
    version: int
    queued: bool
    readings: int
    blind: bool
    lock: locks.Lock | None
    said: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Queue:
    """The queue as a principal sees it.

    Attributes:
        model_version: embeddings of another model are not compared.
    """

    engine: Engine
    casework: Casework
    model_version: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def page(self, principal: Principal, wanted: Filter, count: int) -> tuple[list[dict[str, Any]], int]:
        """The next `count` petitions in the order in which they should be read, as `casework.listed` gives them, each with
        `risk`, `margin`, `readings` and `holder` (who works on it, or None); and how many wait in all.

        Raises:
            PetitionError: FORBIDDEN.
        """
        principal.require(Right.HANDLE)
        now = self.clock()
        with self.engine.connect() as connection:
            conditions = self._waiting(principal, wanted)
            total = connection.execute(select(func.count()).select_from(petitions).where(*conditions)).scalar_one()
            ordered = self._ordered(connection, principal, conditions)[:count]
            ids = [item.id for item in ordered]
            rows = {row["id"]: row for row in stored(connection, petitions.c.id.in_(ids), scope(principal))}
            in_hand = select(lock_table.c.petition_id, lock_table.c.holder).where(
                lock_table.c.petition_id.in_(ids), lock_table.c.expires_at > now
            )
            held = {row.petition_id: row.holder for row in connection.execute(in_hand)}
        items = [
            {
                **listed(rows[i]),
                **{name: rows[i][name] for name in ("risk", "margin", "readings")},
                "holder": held.get(i),
            }
            for i in ids
        ]
        return items, total

    def next(self, principal: Principal, wanted: Filter, after: int | None = None) -> int | None:
        """The petition that the principal should read now, locked for it; None if nothing waits.

        Args:
            after: one that it has just put aside, which is not given again at once.
        """
        principal.require(Right.HANDLE)
        with writing(self.engine) as connection:
            now = self.clock()
            conditions = [*self._waiting(principal, wanted), not_(_held_by_another(principal, now))]
            if after is not None:
                conditions.append(petitions.c.id != after)
            for item in self._ordered(connection, principal, conditions):
                if locks.take(connection, item.id, principal.name, now).holder == principal.name:
                    return item.id
        return None

    def standing(self, principal: Principal, petition_id: int) -> Standing:
        """Where a petition stands that the principal may see. Raises PetitionError NOT_FOUND."""
        with self.engine.connect() as connection:
            row = connection.execute(
                select(petitions.c.status, petitions.c.version, petitions.c.queued, petitions.c.readings).where(
                    petitions.c.id == petition_id, *scope(principal)
                )
            ).one_or_none()
            if row is None:
                raise missing(petition_id)
            columns = ("at", "reviewer", "reading", "category", "urgency", "petition_type", "sure", "bulk")
            said = [
                dict(entry)
                for entry in connection.execute(
                    select(*(reviews.c[name] for name in columns))
                    .where(reviews.c.petition_id == petition_id, reviews.c.withdrawn_at.is_(None))
                    .order_by(reviews.c.id)
                ).mappings()
            ]
            lock = locks.find(connection, petition_id, self.clock())
        mine = any(entry["reviewer"] == principal.name for entry in said)
        blind = row.queued and row.readings == 1 and not mine
        return Standing(row.status, row.version, row.queued, row.readings, blind, lock, () if blind else tuple(said))

    def take(self, principal: Principal, petition_id: int, over: bool = False) -> locks.Lock:
        """Say that the principal works on a petition, or still does; see `locks.take`. Raises PetitionError NOT_FOUND."""
        principal.require(Right.HANDLE)
        with writing(self.engine) as connection:
            known = connection.execute(select(petitions.c.id).where(petitions.c.id == petition_id, *scope(principal)))
            if known.first() is None:
                raise missing(petition_id)
            return locks.take(connection, petition_id, principal.name, self.clock(), over)

    def release(self, principal: Principal, petition_id: int) -> None:
        """Put a petition aside."""
        with writing(self.engine) as connection:
            locks.release(connection, [petition_id], principal.name)

    def _waiting(self, principal: Principal, wanted: Filter) -> list[ColumnElement[bool]]:
        """In the queue, and not waiting for somebody else's second opinion on what the principal said."""
        mine = exists().where(
            reviews.c.petition_id == petitions.c.id,
            reviews.c.reviewer == principal.name,
            reviews.c.withdrawn_at.is_(None),
        )
        return [
            petitions.c.queued.is_(True),
            or_(petitions.c.readings != 1, not_(mine)),
            *scope(principal),
            *self.casework.conditions(principal, wanted),
        ]

    def _ordered(
        self, connection: Connection, principal: Principal, conditions: list[ColumnElement[bool]]
    ) -> list[Waiting]:
        first = (
            select(petitions.c.id, petitions.c.risk, petitions.c.margin)
            .where(*conditions)
            .order_by(petitions.c.risk, petitions.c.margin, petitions.c.id)
            .limit(WINDOW)
        )
        rows = connection.execute(first).all()
        vectors = self._vectors(connection, [row.id for row in rows])
        waiting = [Waiting(row.id, row.risk, row.margin, vectors.get(row.id)) for row in rows]
        done = (
            select(reviews.c.petition_id)
            .where(reviews.c.reviewer == principal.name)
            .order_by(reviews.c.id.desc())
            .limit(REMEMBERED)
        )
        read = self._vectors(connection, list(connection.execute(done).scalars()))
        return spread(waiting, list(read.values()))

    def _vectors(self, connection: Connection, ids: list[int]) -> dict[int, Floats]:
        rows = connection.execute(
            select(embeddings.c.petition_id, embeddings.c.vector).where(
                embeddings.c.petition_id.in_(ids), embeddings.c.model_version == self.model_version
            )
        )
        return {row.petition_id: unpack(row.vector) for row in rows}


def _held_by_another(principal: Principal, now: datetime) -> ColumnElement[bool]:
    return exists().where(
        and_(
            lock_table.c.petition_id == petitions.c.id,
            lock_table.c.expires_at > now,
            lock_table.c.holder != principal.name,
        )
    )
