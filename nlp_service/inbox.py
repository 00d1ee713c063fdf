"""What a body has to do: how many petitions it has open, and which is due first."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Engine, case, exists, func, literal, select, tuple_

from nlp_service.casework import DUE_SOON, OPEN, Casework, Filter, Page, listed, scope
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.intake import stored
from nlp_service.roles import Principal, Right, Role
from nlp_service.store import UtcDateTime, assignments, petitions, snapshot

_held = assignments.alias("held")
"""An alias: a principal's scope asks for other rows of the same table."""


class Part(StrEnum):
    """What a body has to do with a petition: answer it, look first in the commune, or help."""

    LEAD = "lead"
    COMMUNE = "commune"
    SUPPORT = "support"


@dataclass(frozen=True)
class Load:
    """A body's open petitions, all of them, those past their deadline, and those due within `casework.DUE_SOON`."""

    body: str
    open: int
    overdue: int
    soon: int


class Inbox:
    """Petitions by body, each call on behalf of a principal and within its scope."""

    def __init__(
        self, engine: Engine, casework: Casework, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._engine = engine
        self._casework = casework
        self._clock = clock

    def loads(self, principal: Principal, part: Part | None = None) -> list[Load]:
        """Every body with open petitions that the principal may see, the most overdue first; an officer's own always.

        Args:
            part: count only petitions in which a body has this part.

        Raises:
            PetitionError: FORBIDDEN.
        """
        principal.require(Right.READ)
        own = own_bodies(principal)
        if own:
            found = [self.load(principal, body, part) for body in own]
        else:
            role = [_held.c.role == part.value] if part else []
            query = (
                select(_held.c.body, *self._sums())
                .join(petitions, petitions.c.id == _held.c.petition_id)
                .where(*role, *_open(principal))
                .group_by(_held.c.body)
            )
            with self._engine.connect() as connection:
                found = [Load(r.body, r.open, r.overdue, r.soon) for r in connection.execute(query)]
        return sorted(found, key=lambda load: (-load.overdue, -load.soon, -load.open, load.body))

    def load(self, principal: Principal, body: str, part: Part | None = None) -> Load:
        """One body's. Raises PetitionError FORBIDDEN, NOT_FOUND for a body whose inbox the principal may not see."""
        _admit(principal, body)
        query = select(*self._sums()).where(_of(body, part), *_open(principal))
        with self._engine.connect() as connection:
            row = connection.execute(query).one()
        return Load(body, row.open, row.overdue, row.soon)

    def page(
        self,
        principal: Principal,
        body: str,
        wanted: Filter,
        limit: int,
        part: Part | None = None,
        cursor: str | None = None,
    ) -> Page:
        """One page of a body's petitions, the one due first first: as `casework.listed` gives them, each with `part`.

        Args:
            wanted: without a status only open ones; its `body` is not looked at.

        Raises:
            PetitionError: FORBIDDEN, NOT_FOUND for a body whose inbox the principal may not see, INVALID_REQUEST for a
                broken cursor.
        """
        _admit(principal, body)
        conditions = [
            _of(body, part),
            *scope(principal),
            *self._casework.conditions(principal, replace(wanted, body=None, statuses=wanted.statuses or OPEN)),
        ]
        if cursor:
            conditions.append(_after(cursor))
        query = (
            select(petitions.c.id, petitions.c.due_at)
            .where(*conditions)
            .order_by(petitions.c.due_at, petitions.c.id)
            .limit(limit + 1)
        )
        with snapshot(self._engine) as connection:
            rows = connection.execute(query).all()
            ids = [row.id for row in rows[:limit]]
            found = {row["id"]: row for row in stored(connection, petitions.c.id.in_(ids), scope(principal))}
            roles = select(_held.c.petition_id, _held.c.role).where(_held.c.petition_id.in_(ids), _held.c.body == body)
            parts = {row.petition_id: row.role for row in connection.execute(roles)}
        items: list[dict[str, Any]] = [{**listed(found[i]), "part": parts[i]} for i in ids]
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(items, _cursor(last.due_at, last.id) if last else None)

    def _sums(self) -> tuple[ColumnElement[int], ColumnElement[int], ColumnElement[int]]:
        now, due = self._clock(), petitions.c.due_at
        overdue = func.sum(case((due < now, 1), else_=0))
        soon = func.sum(case((due.between(now, now + DUE_SOON), 1), else_=0))
        return (
            func.count(petitions.c.id).label("open"),
            func.coalesce(overdue, 0).label("overdue"),
            func.coalesce(soon, 0).label("soon"),
        )


def own_bodies(principal: Principal) -> Sequence[str]:
    """The bodies whose inboxes an officer sees; empty for who is not bound to any."""
    return sorted(principal.bodies) if principal.role is Role.OFFICER else []


def _admit(principal: Principal, body: str) -> None:
    principal.require(Right.READ)
    own = own_bodies(principal)
    if own and body not in own:
        raise PetitionError(ErrorKind.NOT_FOUND, f"there is no body '{body}' that you may see")


def _open(principal: Principal) -> list[ColumnElement[bool]]:
    return [petitions.c.status.in_([status.value for status in OPEN]), *scope(principal)]


def _of(body: str, part: Part | None) -> ColumnElement[bool]:
    """Petitions of a body. Not a join: SQLite would begin with all that the body ever had, most of which is done with."""
    role = [_held.c.role == part.value] if part else []
    return exists().where(_held.c.petition_id == petitions.c.id, _held.c.body == body, *role)


def _cursor(due_at: datetime, petition_id: int) -> str:
    place = [due_at.astimezone(UTC).isoformat(), petition_id]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _after(cursor: str) -> ColumnElement[bool]:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        due, petition_id = json.loads(raw)
        at = datetime.fromisoformat(due)
        if not (type(petition_id) is int and 0 < petition_id < 2**63 and at.tzinfo):
            raise ValueError
        at = at.astimezone(UTC)
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise PetitionError(
            ErrorKind.INVALID_REQUEST, "this cursor is not one that an inbox returned; start again without it"
        ) from error
    place = tuple_(literal(at, UtcDateTime()), literal(petition_id, BigInteger()))
    return tuple_(petitions.c.due_at, petitions.c.id) > place
