"""Users of the console: people with a name and a password. Programs have keys (`keys.py`); both share one namespace.

Passwords follow NIST SP 800-63B: length counts, not which characters; guesses that come first to mind are refused; Unicode is
composed before it is hashed, so that the same word typed on another keyboard is the same password.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pwdlib import PasswordHash
from sqlalchemy import Connection, insert, select, update

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.keys import LONGEST_NAME, canonical, check_name, check_scope
from nlp_service.roles import Role
from nlp_service.sessions import close_all
from nlp_service.store import api_keys, users
from nlp_service.text import fold

SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 200
LONGEST_FULL_NAME = 200

FEWEST_DIFFERENT = 5
"""Fewer different characters than this are a key held down, or two of them."""

COMMON = frozenset((
    "admin", "administrator", "anhyeuem", "canbo", "dichvucong", "emyeuanh", "iloveyou", "khongbiet", "letmein", "matkhau",
    "matkhaumoi", "mtkhu", "passwd", "password", "passwrd", "petition", "petitions", "pssword", "psswrd", "qazwsx", "qwerty",
    "qwertyuiop", "quantri", "quantrivien", "thanhhoa", "tiepcongdan", "ubnd", "uybannhandan", "vietnam", "welcome", "yeuem",
))  # fmt: skip
"""What passwords mostly are once figures, marks and signs are left out (`P@ssw0rd1` is psswrd), here and elsewhere."""


@dataclass(frozen=True)
class User:
    """A user as it is listed: everything but the password."""

    id: int
    name: str
    full_name: str
    role: Role
    bodies: tuple[str, ...]
    communes: tuple[str, ...]
    created_at: datetime
    last_login_at: datetime | None
    disabled_at: datetime | None


@dataclass(frozen=True)
class Proof:
    """A password was right; `note_login` takes it.

    Attributes:
        password_hash: the one that it was checked against.
        renewed_hash: of the same password by newer parameters, if the stored one is of older ones.
    """

    user: User
    password_hash: str
    renewed_hash: str | None


def create_user(
    connection: Connection,
    name: str,
    full_name: str,
    password: str,
    role: Role,
    now: datetime,
    *,
    bodies: Sequence[str] = (),
    communes: Sequence[str] = (),
) -> User:
    """Store a new user. Its name is kept in lower case (`keys.canonical`) and stays taken for ever, as does a key's.

    Raises:
        PetitionError: CONFLICT if a user or a key has or had that name, INVALID_REQUEST if nobody may be called so, the
            password is too easy, an officer has no scope or another role has one.
    """
    name = canonical(name)
    check_name(name)
    check_scope(role, bodies, communes)
    full_name = unicodedata.normalize("NFC", full_name).strip()
    if not 0 < len(full_name) <= LONGEST_FULL_NAME or not full_name.isprintable():
        raise PetitionError(
            ErrorKind.INVALID_REQUEST,
            f"a full name has 1 to {LONGEST_FULL_NAME} printable characters; give --full-name",
        )
    check_new_password(password, name)
    if _row(connection, name) is not None:
        raise PetitionError(
            ErrorKind.CONFLICT, f"there is a user named '{name}' already; `petitions users list` shows them"
        )
    # What a key did stays in the audit log under its name, also after it was revoked.
    if name in map(canonical, connection.scalars(select(api_keys.c.name))):
        raise PetitionError(
            ErrorKind.CONFLICT,
            f"an API key is or was named '{name}', and the audit log must tell them apart; choose another name",
        )
    row = {
        "name": name,
        "full_name": full_name,
        "password_hash": _hasher().hash(_composed(password)),
        "role": role.value,
        "bodies": sorted(set(bodies)),
        "communes": sorted(set(communes)),
        "created_at": now,
    }
    connection.execute(insert(users).values(row))
    return _user(_row(connection, name))


def list_users(connection: Connection) -> list[User]:
    """Every user, disabled ones too, by name."""
    return [_user(row) for row in connection.execute(select(users).order_by(users.c.name))]


def set_password(connection: Connection, name: str, password: str) -> None:
    """Give a user another password; all its sessions end.

    Raises:
        PetitionError: NOT_FOUND if no user has that name, INVALID_REQUEST if the password is too easy.
    """
    row = _known(connection, name)
    check_new_password(password, row.name)
    hashed = _hasher().hash(_composed(password))
    connection.execute(update(users).where(users.c.id == row.id).values(password_hash=hashed))
    close_all(connection, row.id)


def disable_user(connection: Connection, name: str, now: datetime) -> None:
    """From now on the user does not come in, and its sessions end. Raises PetitionError NOT_FOUND if no user has that name."""
    row = _known(connection, name)
    connection.execute(update(users).where(users.c.id == row.id).values(disabled_at=row.disabled_at or now))
    close_all(connection, row.id)


def enable_user(connection: Connection, name: str) -> None:
    """A disabled user may come in again, by the same password. Raises PetitionError NOT_FOUND if no user has that name."""
    row = _known(connection, name)
    connection.execute(update(users).where(users.c.id == row.id).values(disabled_at=None))


def has_user(connection: Connection, name: str) -> bool:
    """Whether there is such a user, disabled or not."""
    return _row(connection, canonical(name)) is not None


def check_password(connection: Connection, name: str, password: str) -> Proof:
    """Whose password this is. It takes a tenth of a second by intent, so no transaction that writes should wait for it.

    Raises:
        PetitionError: UNAUTHENTICATED for an unknown or disabled user and for a wrong password; it does not say which, and
            takes as long for the one as for the other.
    """
    row, composed = _row(connection, canonical(name)), _composed(password)
    hasher = _hasher()
    if row is None:
        hasher.hash(composed)  # the same work as comparing with a stored one
        raise _refused()
    right, renewed = hasher.verify_and_update(composed, row.password_hash)
    if not right or row.disabled_at is not None:
        raise _refused()
    return Proof(_user(row), row.password_hash, renewed)


def note_login(connection: Connection, proof: Proof, now: datetime) -> None:
    """Remember the login, and the renewed hash if there is one.

    Raises:
        PetitionError: UNAUTHENTICATED if the password was changed or the user disabled since it was checked.
    """
    same = (
        users.c.id == proof.user.id,
        users.c.password_hash == proof.password_hash,
        users.c.disabled_at.is_(None),
    )
    values = {"last_login_at": now, "password_hash": proof.renewed_hash or proof.password_hash}
    if not connection.execute(update(users).where(*same).values(values)).rowcount:
        raise _refused()


def check_new_password(password: str, name: str) -> None:
    """Raises PetitionError INVALID_REQUEST if the password is too short, too long, or what one would guess first."""
    composed = unicodedata.normalize("NFKC", password)
    if not SHORTEST_PASSWORD <= len(composed) <= LONGEST_PASSWORD:
        raise PetitionError(
            ErrorKind.INVALID_REQUEST,
            f"the password has {len(composed)} characters; choose one of {SHORTEST_PASSWORD} to {LONGEST_PASSWORD}, "
            "several words in a row are good",
        )
    letters = _letters(composed)
    if len(set(composed)) < FEWEST_DIFFERENT or letters in COMMON or letters in ("", _letters(name)):
        raise PetitionError(
            ErrorKind.INVALID_REQUEST,
            "the password is among the first that one would guess (a common word, the user's name, or figures alone); "
            "choose another, several words in a row are good",
        )


def _letters(password: str) -> str:
    return "".join(character for character in fold(password) if character.isalpha())


def _composed(password: str) -> bytes:
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


def _hasher() -> PasswordHash:
    return PasswordHash.recommended()


def _refused() -> PetitionError:
    return PetitionError(
        ErrorKind.UNAUTHENTICATED, "user name or password is wrong; try again, or ask the operator for a new password"
    )


def _row(connection: Connection, name: str) -> Any:
    if len(name) > LONGEST_NAME or not name.isprintable():
        return None  # no user has it, and PostgreSQL does not take a zero byte
    return connection.execute(select(users).where(users.c.name == name)).one_or_none()


def _known(connection: Connection, name: str) -> Any:
    row = _row(connection, canonical(name))
    if row is None:
        raise PetitionError(
            ErrorKind.NOT_FOUND, f"no user is named '{name}'; `petitions users list` shows them", name=name
        )
    return row


def _user(row: Any) -> User:
    return User(
        id=row.id,
        name=row.name,
        full_name=row.full_name,
        role=Role(row.role),
        bodies=tuple(row.bodies),
        communes=tuple(row.communes),
        created_at=row.created_at,
        last_login_at=row.last_login_at,
        disabled_at=row.disabled_at,
    )
