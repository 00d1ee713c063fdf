"""Looking through the audit log, newest rows first, in pieces whose cost does not grow with the log.

Rows are found by their number alone, and those about one subject by its index. For an actor or an action a piece of the log is
read and what does not fit is passed over; whoever wants to look further back asks again from where that ended.
"""

import json
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from nlp_service.store import audit
from nlp_service.workdays import VIETNAM

STRETCH = 100_000
"""Rows that one search for an actor or an action looks at: some tenths of a second."""


@dataclass(frozen=True)
class Wanted:
    """Which rows. What is None or empty says nothing.

    Attributes:
        actions: any of them.
        first, last: days in Vietnam, both included.
    """

    actor: str | None = None
    actions: tuple[str, ...] = ()
    subject: str | None = None
    first: date | None = None
    last: date | None = None


@dataclass(frozen=True)
class Line:
    """A row of the log.

    Attributes:
        at: as it was written: ISO 8601, in UTC.
    """

    seq: int
    at: str
    actor: str
    action: str
    subject: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class Piece:
    """What a search found.

    Attributes:
        lines: the newest first.
        before: ask for rows before this number to go on; None if there are no more.
        complete: False if the search ended before the piece was full: older rows may fit.
        searched_to: the oldest moment that was looked at, as it was written; None if there was nothing to look at.
    """

    lines: tuple[Line, ...]
    before: int | None
    complete: bool
    searched_to: str | None


def newest(connection: Connection) -> int:
    """Number of the newest row; 0 without any."""
    return int(connection.scalar(select(func.max(audit.c.seq))) or 0)


def search(
    connection: Connection, wanted: Wanted, size: int, before: int | None = None, stretch: int = STRETCH
) -> Piece:
    """At most `size` rows with numbers below `before`, the newest first.

    Args:
        connection: a `store.snapshot`.
    """
    low, high = _numbers(connection, wanted)
    if before is not None:
        high = min(high, before)
    scanned = bool(wanted.actor or wanted.actions) and not wanted.subject
    start = max(low, high - stretch) if scanned else low
    fitting = select(audit).where(audit.c.seq >= start, audit.c.seq < high).order_by(audit.c.seq.desc())
    if wanted.actor:
        fitting = fitting.where(audit.c.actor == wanted.actor)
    if wanted.actions:
        fitting = fitting.where(audit.c.action.in_(wanted.actions))
    if wanted.subject:
        # Without a limit: with one PostgreSQL may walk the log backwards instead of asking the index for a few rows.
        rows = connection.execute(fitting.where(audit.c.subject == wanted.subject)).all()
    else:
        rows = connection.execute(fitting.limit(size + 1)).all()
    lines = tuple(
        Line(row.seq, row.at, row.actor, row.action, row.subject, _payload(row.payload)) for row in rows[:size]
    )
    if len(rows) > size:
        return Piece(lines, lines[-1].seq, True, lines[-1].at)
    at = _moment(connection, start) if start < high else None
    return Piece(lines, start if start > low else None, start <= low, at)


def _numbers(connection: Connection, wanted: Wanted) -> tuple[int, int]:
    """The numbers of a period's rows, the second one excluded: by bisection, since later rows have later times."""
    end = newest(connection) + 1

    def first_from(day: date) -> int:
        moment = datetime.combine(day, time(), VIETNAM).astimezone(UTC).isoformat()
        return 1 + bisect_left(range(1, end), moment, key=lambda number: _moment(connection, number) or "")

    low = first_from(wanted.first) if wanted.first else 1
    return low, first_from(wanted.last + timedelta(days=1)) if wanted.last else end


def _moment(connection: Connection, number: int) -> str | None:
    """When the first row from `number` on was written, as it stands there."""
    return connection.scalar(select(audit.c.at).where(audit.c.seq >= number).order_by(audit.c.seq).limit(1))


def _payload(text: str) -> dict[str, Any]:
    """What a row tells. A payload that was tampered with is shown as it is: this is the page on which to see it."""
    try:
        value = json.loads(text)
    except ValueError:
        return {"payload": text}
    return value if isinstance(value, dict) else {"payload": value}
