"""API keys: made, listed, revoked, recognised.

A key is shown once, when it is made; the store holds its hash. Keys are long and random, so a plain SHA-256 is enough: there is
nothing to guess that argon2 would slow down.
"""

import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.roles import Principal, Role
from nlp_service.store import api_keys, users

PREFIX = "pet"
LONGEST_NAME = 100
RESERVED = frozenset({"local", "cli", "unknown"})
"""What the audit log calls those that act as nobody in particular."""

LAST_USED_STEP = timedelta(minutes=1)
"""`last_used_at` is no finer than this: a write for every request would cost more than it tells."""


@dataclass(frozen=True)
class Key:
    """An API key as it is listed: everything but the secret."""

    name: str
    prefix: str
    role: Role
    bodies: tuple[str, ...]
    communes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    def usable(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def canonical(name: str) -> str:
    """How names are compared: composed, without spaces at the ends, in lower case. Users are stored so, keys as given."""
    return unicodedata.normalize("NFC", name).strip().lower()


def check_name(name: str) -> None:
    """Raises PetitionError INVALID_REQUEST if neither a key nor a user may be called so."""
    if canonical(name) in RESERVED or not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise PetitionError(
            ErrorKind.INVALID_REQUEST,
            f"a name has 1 to {LONGEST_NAME} printable characters and is none of {', '.join(sorted(RESERVED))}; "
            "choose another",
        )


def check_scope(role: Role, bodies: Sequence[str], communes: Sequence[str]) -> None:
    """Raises PetitionError INVALID_REQUEST if an officer has no scope, or another role has one."""
    if role is Role.OFFICER and not (bodies or communes):
        raise PetitionError(
            ErrorKind.INVALID_REQUEST, "an officer needs a scope; give --body or --commune (or both), once or more"
        )
    if role is not Role.OFFICER and (bodies or communes):
        raise PetitionError(
            ErrorKind.INVALID_REQUEST, f"the role '{role}' has no scope; leave out --body and --commune"
        )


def create_key(
    connection: Connection,
    name: str,
    role: Role,
    now: datetime,
    *,
    bodies: Sequence[str] = (),
    communes: Sequence[str] = (),
    lifetime: timedelta | None = None,
) -> str:
    """Store a new key and return it; it cannot be read again.

    A system whose key was revoked gets its next one under the same name, and so goes on reading what it handed in.

    Raises:
        PetitionError: CONFLICT if a key of that name is in use or a user has it, INVALID_REQUEST if nothing may be called so,
            an officer has no scope or another role has one.
    """
    check_name(name)
    check_scope(role, bodies, communes)
    prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    row = {
        "name": name,
        "prefix": prefix,
        "secret_sha256": _digest(secret),
        "role": role.value,
        "bodies": sorted(set(bodies)),
        "communes": sorted(set(communes)),
        "created_at": now,
        "expires_at": now + lifetime if lifetime else None,
    }
    in_use = select(api_keys.c.id).where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
    if connection.execute(in_use).first():
        raise PetitionError(
            ErrorKind.CONFLICT, f"a key named '{name}' is in use; revoke it first to make a new one for the same system"
        )
    if connection.execute(select(users.c.id).where(users.c.name == canonical(name))).first():
        raise PetitionError(
            ErrorKind.CONFLICT, f"a user is named '{name}', and the audit log must tell them apart; choose another name"
        )
    connection.execute(insert(api_keys).values(row))
    return f"{PREFIX}_{prefix}_{secret}"


def list_keys(connection: Connection) -> list[Key]:
    """Every key ever made, oldest first."""
    return [_key(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.id))]


def any_key(connection: Connection) -> bool:
    """Whether a key or a user was ever made.

    Revoked and disabled ones count: taking back the last key must not open the door.
    """
    return any(connection.execute(select(table.c.id).limit(1)).first() for table in (api_keys, users))


def revoke_key(connection: Connection, name: str, now: datetime) -> None:
    """From now on the key opens nothing. Raises PetitionError NOT_FOUND if no usable key has that name."""
    done = connection.execute(
        update(api_keys).where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None)).values(revoked_at=now)
    )
    if not done.rowcount:
        raise PetitionError(
            ErrorKind.NOT_FOUND, f"no key in use is named '{name}'; `petitions keys list` shows them", name=name
        )


def authenticate(connection: Connection, presented: str, now: datetime) -> tuple[Principal, bool]:
    """Whose key this is, and whether its last use is old enough to be noted anew (`note_use`).

    Raises:
        PetitionError: UNAUTHENTICATED for a key that is malformed, unknown, revoked or expired; it does not say which.
    """
    parts = presented.split("_", 2)
    row = None
    if len(parts) == 3 and parts[0] == PREFIX and parts[1].isascii() and parts[1].isalnum():
        row = connection.execute(select(api_keys).where(api_keys.c.prefix == parts[1])).one_or_none()
    known = row.secret_sha256 if row else "0" * 64
    if not hmac.compare_digest(known, _digest(parts[-1])) or row is None or not _key(row).usable(now):
        raise PetitionError(
            ErrorKind.UNAUTHENTICATED,
            "the API key is not valid (unknown, revoked or expired); ask the operator for another",
        )
    key = _key(row)
    stale = key.last_used_at is None or now - key.last_used_at >= LAST_USED_STEP
    return Principal(key.name, key.role, frozenset(key.bodies), frozenset(key.communes)), stale


def note_use(connection: Connection, name: str, now: datetime) -> None:
    """Remember when the key was last used."""
    in_use = (api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
    connection.execute(update(api_keys).where(*in_use).values(last_used_at=now))


def _key(row: Any) -> Key:
    return Key(
        name=row.name,
        prefix=row.prefix,
        role=Role(row.role),
        bodies=tuple(row.bodies),
        communes=tuple(row.communes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
