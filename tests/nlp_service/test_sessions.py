from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, insert, select, update

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.keys import create_key, revoke_key
from nlp_service.roles import Principal, Role
from nlp_service.sessions import (
    IDLE,
    LIFETIME,
    Session,
    close_all,
    close_session,
    note_seen,
    open_session,
    purge,
    read_session,
    valid_csrf,
)
from nlp_service.store import sessions, users, writing

NOW = datetime(2026, 11, 27, 5, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def add_user(connection: Connection, name: str, role: Role = Role.REVIEWER, communes: tuple[str, ...] = ()) -> int:
    """Straight into the table: no session asks for the password."""
    row = {
        "name": name,
        "full_name": name.title(),
        "password_hash": "-",
        "role": role.value,
        "bodies": [],
        "communes": list(communes),
        "created_at": NOW,
    }
    made: int = connection.execute(insert(users).values(row).returning(users.c.id)).scalar_one()
    return made


def test_a_session_is_its_users(engine: Engine) -> None:
    with writing(engine) as connection:
        add_user(connection, "lan", Role.OFFICER, ("16540",))
        token = open_session(connection, "lan", NOW)
        session = read_session(connection, token, NOW)
    assert session is not None
    assert session.principal == Principal("lan", Role.OFFICER, frozenset(), frozenset({"16540"}))
    assert (session.subject, session.full_name) == ("user:lan", "Lan")


def test_a_session_is_its_keys_and_ends_with_it(engine: Engine) -> None:
    with writing(engine) as connection:
        create_key(connection, "A", Role.INTAKE, NOW)
        revoke_key(connection, "A", NOW)
        create_key(connection, "A", Role.AUDITOR, NOW, lifetime=2 * IDLE / 3)
        create_key(connection, "B", Role.ADMIN, NOW)
        first, second = (open_session(connection, name, NOW) for name in ("A", "B"))
        session = read_session(connection, first, NOW)
        assert session is not None
        assert session.principal == Principal("A", Role.AUDITOR)
        assert (session.subject, session.full_name) == ("key:A", "A")
        assert read_session(connection, first, NOW + 2 * IDLE / 3) is None
        revoke_key(connection, "B", NOW)
        assert read_session(connection, second, NOW) is None


def test_what_an_account_may_do_changes_in_sessions_that_are_open(engine: Engine) -> None:
    with writing(engine) as connection:
        user = add_user(connection, "lan")
        token = open_session(connection, "lan", NOW)
        connection.execute(update(users).where(users.c.id == user).values(role="auditor"))
        session = read_session(connection, token, NOW)
        assert session is not None and session.principal.role is Role.AUDITOR
        connection.execute(update(users).where(users.c.id == user).values(disabled_at=NOW))
        assert read_session(connection, token, NOW) is None


def test_the_store_does_not_hold_the_token(engine: Engine) -> None:
    with writing(engine) as connection:
        add_user(connection, "lan")
        token = open_session(connection, "lan", NOW)
        row = connection.execute(select(sessions)).mappings().one()
    assert all(token not in str(value) for value in row.values())
    assert len(token) >= 43
    assert row["key_id"] is None


def test_only_its_own_token_opens_a_session(engine: Engine) -> None:
    with writing(engine) as connection:
        add_user(connection, "lan")
        token = open_session(connection, "lan", NOW)
        stored = connection.scalar(select(sessions.c.token_sha256))
        for wrong in ("", token[:-1], token + "A", token.swapcase(), stored, "é\0"):
            assert read_session(connection, wrong, NOW) is None


def test_nobody_else_gets_a_session(engine: Engine) -> None:
    with writing(engine) as connection:
        create_key(connection, "old", Role.ADMIN, NOW)
        revoke_key(connection, "old", NOW)
        for name in ("old", "nobody", "local"):
            with pytest.raises(PetitionError) as failure:
                open_session(connection, name, NOW)
            assert failure.value.kind is ErrorKind.UNAUTHENTICATED


def test_a_session_ends_after_an_hour_without_a_visit(engine: Engine) -> None:
    with writing(engine) as connection:
        add_user(connection, "lan")
        token = open_session(connection, "lan", NOW)
        assert read_session(connection, token, NOW + IDLE - MINUTE)
        assert read_session(connection, token, NOW + IDLE) is None
        note_seen(connection, token, NOW + 50 * MINUTE)
        assert read_session(connection, token, NOW + IDLE)
        assert read_session(connection, token, NOW + 50 * MINUTE + IDLE) is None


def test_a_session_ends_after_a_working_day_however_busy(engine: Engine) -> None:
    with writing(engine) as connection:
        add_user(connection, "lan")
        token = open_session(connection, "lan", NOW)
        note_seen(connection, token, NOW + LIFETIME - MINUTE)
        assert read_session(connection, token, NOW + LIFETIME - MINUTE)
        assert read_session(connection, token, NOW + LIFETIME) is None


def test_a_visit_is_noted_once_a_minute(engine: Engine) -> None:
    with writing(engine) as connection:
        add_user(connection, "lan")
        token = open_session(connection, "lan", NOW)
        stale = [read_session(connection, token, NOW + timedelta(seconds=s)).stale for s in (0, 59, 60)]  # type: ignore[union-attr]
        assert stale == [False, False, True]


def test_a_closed_session_is_over_and_no_other(engine: Engine) -> None:
    with writing(engine) as connection:
        lan, _ = add_user(connection, "lan"), add_user(connection, "minh")
        tokens = [open_session(connection, name, NOW) for name in ("lan", "lan", "lan", "minh")]
        close_session(connection, tokens[0])
        assert [read_session(connection, token, NOW) is not None for token in tokens] == [False, True, True, True]
        close_all(connection, lan)
        assert [read_session(connection, token, NOW) is not None for token in tokens] == [False, False, False, True]


def test_what_is_over_is_removed(engine: Engine) -> None:
    with writing(engine) as connection:
        add_user(connection, "lan")
        busy, _ = (open_session(connection, "lan", NOW) for _ in range(2))
        note_seen(connection, busy, NOW + IDLE)
        assert purge(connection, NOW + IDLE - MINUTE) == 0
        assert purge(connection, NOW + IDLE) == 1
        note_seen(connection, busy, NOW + LIFETIME)
        assert purge(connection, NOW + LIFETIME) == 1
        assert connection.execute(select(sessions)).first() is None


def test_a_csrf_token_is_good_for_its_own_session_alone(engine: Engine) -> None:
    with writing(engine) as connection:
        add_user(connection, "lan")
        tokens = [open_session(connection, "lan", NOW) for _ in range(2)]
        one, two = (read_session(connection, token, NOW) for token in tokens)
    assert isinstance(one, Session) and isinstance(two, Session)
    assert valid_csrf(one, one.csrf)
    for wrong in (two.csrf, tokens[0], "", None, one.csrf[:-1], "é", "\ud800"):
        assert not valid_csrf(one, wrong)
