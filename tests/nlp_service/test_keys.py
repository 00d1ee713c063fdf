from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.keys import any_key, authenticate, create_key, list_keys, note_use, revoke_key
from nlp_service.roles import RIGHTS, Principal, Right, Role, is_loopback
from nlp_service.store import api_keys, writing

NOW = datetime(2026, 11, 27, 5, 0, tzinfo=UTC)


def test_a_key_opens_as_what_it_was_made_for(engine: Engine) -> None:
    with writing(engine) as connection:
        key = create_key(connection, "xã Quảng Chính", Role.OFFICER, NOW, bodies=["phong_kinh_te"], communes=["16540"])
    with engine.connect() as connection:
        principal, stale = authenticate(connection, key, NOW)
    assert principal == Principal("xã Quảng Chính", Role.OFFICER, frozenset({"phong_kinh_te"}), frozenset({"16540"}))
    assert stale


def test_the_store_does_not_hold_the_key(engine: Engine) -> None:
    with writing(engine) as connection:
        key = create_key(connection, "a", Role.INTAKE, NOW)
    secret = key.split("_", 2)[2]
    with engine.connect() as connection:
        row = connection.execute(select(api_keys)).mappings().one()
    assert all(secret not in str(value) for value in row.values())


def test_neither_unknown_nor_altered_nor_revoked_nor_expired_keys_open(engine: Engine) -> None:
    with writing(engine) as connection:
        good = create_key(connection, "good", Role.INTAKE, NOW)
        revoked = create_key(connection, "revoked", Role.INTAKE, NOW)
        short = create_key(connection, "short", Role.INTAKE, NOW, lifetime=timedelta(days=1))
        revoke_key(connection, "revoked", NOW)
    altered = good[:-1] + ("A" if good[-1] != "A" else "B")
    prefix_of_another = "_".join((good.split("_")[0], short.split("_")[1], good.split("_", 2)[2]))
    for key in (
        altered,
        prefix_of_another,
        revoked,
        "pet_00000000_x",
        "pet_\0_x",
        "pet_%_x",
        "pet_",
        "",
        "x",
        "pet_é_é",
        good.upper(),
    ):
        with engine.connect() as connection, pytest.raises(PetitionError) as failure:
            authenticate(connection, key, NOW)
        assert failure.value.kind is ErrorKind.UNAUTHENTICATED
        assert key not in failure.value.message or len(key) < 5
    with engine.connect() as connection:
        assert authenticate(connection, short, NOW + timedelta(hours=23))
        with pytest.raises(PetitionError):
            authenticate(connection, short, NOW + timedelta(days=1))


def test_the_last_use_is_noted_once_a_minute(engine: Engine) -> None:
    with writing(engine) as connection:
        key = create_key(connection, "a", Role.INTAKE, NOW)
        note_use(connection, "a", NOW)
    with engine.connect() as connection:
        assert not authenticate(connection, key, NOW + timedelta(seconds=59))[1]
        assert authenticate(connection, key, NOW + timedelta(seconds=60))[1]
        assert list_keys(connection)[0].last_used_at == NOW


def test_a_system_gets_its_next_key_under_its_name_once_the_last_is_revoked(engine: Engine) -> None:
    with writing(engine) as connection:
        first = create_key(connection, "a", Role.INTAKE, NOW)
        with pytest.raises(PetitionError) as failure:
            create_key(connection, "a", Role.ADMIN, NOW)
        assert failure.value.kind is ErrorKind.CONFLICT
        revoke_key(connection, "a", NOW)
        second = create_key(connection, "a", Role.INTAKE, NOW)
        note_use(connection, "a", NOW)
    with engine.connect() as connection:
        assert authenticate(connection, second, NOW)[0].name == "a"
        with pytest.raises(PetitionError):
            authenticate(connection, first, NOW)
        assert [(key.name, key.last_used_at) for key in list_keys(connection)] == [("a", None), ("a", NOW)]


@pytest.mark.parametrize("name", ["local", "cli", "Unknown", "", "x" * 101, "a\tb"])
def test_nobody_is_called_what_the_audit_log_calls_others(engine: Engine, name: str) -> None:
    with writing(engine) as connection, pytest.raises(PetitionError) as failure:
        create_key(connection, name, Role.ADMIN, NOW)
    assert failure.value.kind is ErrorKind.INVALID_REQUEST


def test_scopes_are_for_officers_and_officers_need_one(engine: Engine) -> None:
    with writing(engine) as connection:
        for role, bodies in ((Role.OFFICER, []), (Role.REVIEWER, ["so_y_te"])):
            with pytest.raises(PetitionError) as failure:
                create_key(connection, "x", role, NOW, bodies=bodies)
            assert failure.value.kind is ErrorKind.INVALID_REQUEST


def test_taking_back_the_last_key_does_not_open_the_door(engine: Engine) -> None:
    with engine.connect() as connection:
        assert not any_key(connection)
    with writing(engine) as connection:
        create_key(connection, "a", Role.ADMIN, NOW)
        revoke_key(connection, "a", NOW)
    with engine.connect() as connection:
        assert any_key(connection)
    with writing(engine) as connection, pytest.raises(PetitionError) as failure:
        revoke_key(connection, "a", NOW)
    assert failure.value.kind is ErrorKind.NOT_FOUND


def test_rights_are_no_wider_than_the_role_needs() -> None:
    assert RIGHTS[Role.ADMIN] == frozenset(Right)
    assert not {Right.READ_RAW, Right.HANDLE} & (RIGHTS[Role.INTAKE] | RIGHTS[Role.AUDITOR])
    assert [role for role in Role if Right.AUDIT in RIGHTS[role]] == [Role.AUDITOR, Role.ADMIN]
    with pytest.raises(PetitionError) as failure:
        Principal("x", Role.AUDITOR).require(Right.SUBMIT)
    assert failure.value.kind is ErrorKind.FORBIDDEN and "auditor" in failure.value.message


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.5", False), ("localhost.example", False), ("127.0.0.1.example", False), ("", False)],
)  # fmt: skip
def test_loopback_is_this_machine_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
