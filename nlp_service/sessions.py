"""Sessions of the console: opened at login, read at every request, ended by time, by the visitor or with the account.

The visitor holds a random token; the store holds its hash alone. The CSRF token follows from the session's token, so nothing
more is kept. Role and scope are read from the user or key each time: what changes there holds from the next request on.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select, update

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.roles import Principal, Role
from nlp_service.store import api_keys, sessions, users

LIFETIME = timedelta(hours=8)
"""A working day: after it one logs in again."""

IDLE = timedelta(minutes=60)
"""A session that nobody used for so long is over."""

SEEN_STEP = timedelta(minutes=1)
"""`seen_at` is no finer than this: a write for every page would cost more than it tells."""


@dataclass(frozen=True)
class Session:
    """Who visits the console.

    Attributes:
        subject: the account as the audit log names it: `user:NAME` or `key:NAME`.
        full_name: of the user; a key's name for a key.
        csrf: what every request that changes something has to carry.
        stale: the last visit was noted long enough ago to note this one (`note_seen`).
    """

    principal: Principal
    subject: str
    full_name: str
    csrf: str
    stale: bool = False


def open_session(connection: Connection, name: str, now: datetime) -> str:
    """The token of a new session for the user or key of that name; it cannot be read again.

    Users and keys share one namespace, so that a name is enough.

    Raises:
        PetitionError: UNAUTHENTICATED if neither a user that is not disabled nor a key in use has that name.
    """
    user_id = connection.scalar(select(users.c.id).where(users.c.name == name, users.c.disabled_at.is_(None)))
    key_id = connection.scalar(select(api_keys.c.id).where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None)))
    if user_id is None and key_id is None:
        raise PetitionError(ErrorKind.UNAUTHENTICATED, f"'{name}' is neither a user nor a key in use; log in again")
    token = secrets.token_urlsafe(32)
    row = {
        "token_sha256": _digest(token),
        "user_id": user_id,
        "key_id": key_id if user_id is None else None,
        "created_at": now,
        "seen_at": now,
        "expires_at": now + LIFETIME,
    }
    connection.execute(insert(sessions).values(row))
    return token


def read_session(connection: Connection, token: str, now: datetime) -> Session | None:
    """Whose session this is; None if it is unknown, over, idle for too long, or its user or key may no longer come in."""
    row = connection.execute(select(sessions).where(sessions.c.token_sha256 == _digest(token))).one_or_none()
    if row is None or now >= row.expires_at or now - row.seen_at >= IDLE:
        return None
    holder = _holder(connection, row, now)
    if holder is None:
        return None
    return Session(
        principal=Principal(holder.name, Role(holder.role), frozenset(holder.bodies), frozenset(holder.communes)),
        subject=f"{'key' if row.user_id is None else 'user'}:{holder.name}",
        full_name=holder.full_name,
        csrf=csrf_token(token),
        stale=now - row.seen_at >= SEEN_STEP,
    )


def note_seen(connection: Connection, token: str, now: datetime) -> None:
    """The session was used now: its idle time starts anew."""
    connection.execute(update(sessions).where(sessions.c.token_sha256 == _digest(token)).values(seen_at=now))


def close_session(connection: Connection, token: str) -> None:
    """The token opens nothing from now on."""
    connection.execute(delete(sessions).where(sessions.c.token_sha256 == _digest(token)))


def close_all(connection: Connection, user_id: int) -> None:
    """Every session of a user ends: the password was changed, or the user disabled."""
    connection.execute(delete(sessions).where(sessions.c.user_id == user_id))


def purge(connection: Connection, now: datetime) -> int:
    """Remove sessions that are over; how many those were."""
    over = or_(sessions.c.expires_at <= now, sessions.c.seen_at <= now - IDLE)
    return connection.execute(delete(sessions).where(over)).rowcount


def csrf_token(token: str) -> str:
    """The CSRF token that goes with a session's token; the one does not tell the other."""
    return hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()


def valid_csrf(session: Session, presented: str | None) -> bool:
    """Whether a request carried its session's CSRF token."""
    return hmac.compare_digest(session.csrf.encode(), (presented or "").encode("utf-8", "replace"))


def _holder(connection: Connection, row: Any, now: datetime) -> Any:
    """Name, full name, role and scope of the session's user or key; None if it may not come in now."""
    if row.user_id is not None:
        return connection.execute(
            select(users).where(users.c.id == row.user_id, users.c.disabled_at.is_(None))
        ).one_or_none()
    return connection.execute(
        select(api_keys, api_keys.c.name.label("full_name")).where(
            api_keys.c.id == row.key_id,
            api_keys.c.revoked_at.is_(None),
            or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now),
        )
    ).one_or_none()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
