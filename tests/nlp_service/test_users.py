import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import Engine, select

from nlp_service import users as module
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.keys import any_key, create_key, revoke_key
from nlp_service.roles import Role
from nlp_service.sessions import open_session, read_session
from nlp_service.store import users, writing
from nlp_service.users import (
    check_new_password,
    check_password,
    create_user,
    disable_user,
    enable_user,
    list_users,
    note_login,
    set_password,
)

NOW = datetime(2026, 11, 27, 5, 0, tzinfo=UTC)
LAN = "ba con mèo vàng"
OTHER = "bốn con mèo đen"
CHEAP = Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real function, with little work: what it costs is not the point here."""
    monkeypatch.setattr(module, "_hasher", lambda: PasswordHash((CHEAP,)))


@pytest.fixture
def store(engine: Engine) -> Engine:
    """With one user."""
    with writing(engine) as connection:
        create_user(
            connection, "lan", "Lê Thị Lan", LAN, Role.OFFICER, NOW, bodies=["phong_kinh_te"], communes=["16540"]
        )
    return engine


def refusal(store: Engine, name: str, password: str) -> str:
    with store.connect() as connection, pytest.raises(PetitionError) as failure:
        check_password(connection, name, password)
    assert failure.value.kind is ErrorKind.UNAUTHENTICATED
    return failure.value.message


def test_a_password_opens_as_whom_it_was_made_for(store: Engine) -> None:
    with store.connect() as connection:
        user = check_password(connection, "lan", LAN).user
        assert list_users(connection) == [user]
    assert (user.name, user.full_name, user.role) == ("lan", "Lê Thị Lan", Role.OFFICER)
    assert (user.bodies, user.communes) == (("phong_kinh_te",), ("16540",))


def test_names_and_passwords_are_the_same_however_the_keyboard_makes_them(store: Engine) -> None:
    with store.connect() as connection:
        assert check_password(connection, " Lan ", unicodedata.normalize("NFD", LAN)).user.name == "lan"
    refusal(store, "lan", LAN.upper())


def test_the_store_does_not_hold_the_password(store: Engine) -> None:
    with store.connect() as connection:
        row = connection.execute(select(users)).mappings().one()
    assert all(LAN not in str(value) for value in row.values())
    assert row["password_hash"].startswith("$argon2id$")


def test_a_failure_does_not_say_whether_the_user_exists(store: Engine) -> None:
    with writing(store) as connection:
        create_user(connection, "minh", "Minh", OTHER, Role.REVIEWER, NOW)
        disable_user(connection, "minh", NOW)
    messages = {
        refusal(store, name, password)
        for name, password in (
            ("lan", OTHER), ("lan", ""), ("minh", OTHER), ("nobody", LAN), ("", LAN), ("x" * 300, LAN), ("a\0b", LAN), ("lan", "\0\ud800")
        )
    }  # fmt: skip
    assert len(messages) == 1


def test_an_unknown_user_costs_as_much_work_as_a_wrong_password(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []

    class Counting(Argon2Hasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            assert isinstance(password, bytes)
            hashed.append(password)
            return CHEAP.hash(password, salt=salt)

    monkeypatch.setattr(module, "_hasher", lambda: PasswordHash((Counting(1, 8, 1),)))
    refusal(store, "nobody", LAN)
    assert hashed == [LAN.encode()]


@pytest.mark.parametrize(
    "password",
    [
        "chín ký t", "matkhau1234", "Mật khẩu 123", "P@ssword123!", "12345678910", "0912 345 678", "aaaaaaaaaaaaaaa", "ababababab",
        "nguyenvana1", "Nguyễn Văn A 2026", "x" * 100 + "abcdef" * 20, "!!!!!!????", "admin@2026",
    ],
)  # fmt: skip
def test_what_one_would_guess_first_is_no_password(password: str) -> None:
    with pytest.raises(PetitionError) as failure:
        check_new_password(password, "nguyenvana")
    assert failure.value.kind is ErrorKind.INVALID_REQUEST
    assert password not in failure.value.message


@pytest.mark.parametrize(
    "password", [LAN, "mat khau cua toi o nha", "0912 nha toi", "kqzwvxjtbn", "x" * 190 + "abcdef"]
)
def test_length_is_enough_for_a_password(password: str) -> None:
    check_new_password(password, "nguyenvana")


def test_users_and_keys_never_share_a_name(store: Engine) -> None:
    with writing(store) as connection:
        create_key(connection, "Cổng tỉnh", Role.INTAKE, NOW)
        create_key(connection, "old", Role.INTAKE, NOW)
        revoke_key(connection, "old", NOW)
        for taken in ("lan", "LAN", "cổng tỉnh", "Cổng Tỉnh", "old"):
            with pytest.raises(PetitionError) as failure:
                create_user(connection, taken, "Ai đó", OTHER, Role.REVIEWER, NOW)
            assert failure.value.kind is ErrorKind.CONFLICT, taken
        disable_user(connection, "lan", NOW)
        for taken in ("lan", "Lan"):
            with pytest.raises(PetitionError) as failure:
                create_key(connection, taken, Role.INTAKE, NOW)
            assert failure.value.kind is ErrorKind.CONFLICT, taken


@pytest.mark.parametrize("name", ["local", "CLI", "unknown", "", "  ", "x" * 101, "a\tb", "a\0b"])
def test_nobody_is_called_what_the_audit_log_calls_others(engine: Engine, name: str) -> None:
    with writing(engine) as connection:
        with pytest.raises(PetitionError) as failure:
            create_user(connection, name, "Ai đó", OTHER, Role.ADMIN, NOW)
        assert failure.value.kind is ErrorKind.INVALID_REQUEST
        with pytest.raises(PetitionError):
            create_key(connection, name.strip(" "), Role.ADMIN, NOW)


def test_scopes_are_for_officers_and_everybody_has_a_full_name(engine: Engine) -> None:
    with writing(engine) as connection:
        for role, bodies, full_name in (
            (Role.OFFICER, [], "A"), (Role.REVIEWER, ["so_y_te"], "A"), (Role.ADMIN, [], " "), (Role.ADMIN, [], "A\nB")
        ):  # fmt: skip
            with pytest.raises(PetitionError) as failure:
                create_user(connection, "x", full_name, OTHER, role, NOW, bodies=bodies)
            assert failure.value.kind is ErrorKind.INVALID_REQUEST


def test_the_first_user_closes_the_door(engine: Engine) -> None:
    with engine.connect() as connection:
        assert not any_key(connection)
    with writing(engine) as connection:
        create_user(connection, "lan", "Lan", LAN, Role.ADMIN, NOW)
        disable_user(connection, "lan", NOW)
    with engine.connect() as connection:
        assert any_key(connection)


def test_a_new_password_ends_the_old_one_and_every_session(store: Engine) -> None:
    with writing(store) as connection:
        create_user(connection, "minh", "Minh", OTHER, Role.REVIEWER, NOW)
        tokens = [open_session(connection, name, NOW) for name in ("lan", "lan", "minh")]
        with pytest.raises(PetitionError) as failure:
            set_password(connection, "lan", "lan lan lan")
        assert failure.value.kind is ErrorKind.INVALID_REQUEST
        set_password(connection, "lan", OTHER)
        assert [read_session(connection, token, NOW) is not None for token in tokens] == [False, False, True]
        assert check_password(connection, "lan", OTHER)
    refusal(store, "lan", LAN)


def test_a_disabled_user_stays_out_until_enabled(store: Engine) -> None:
    with writing(store) as connection:
        token = open_session(connection, "lan", NOW)
        disable_user(connection, "Lan", NOW)
        disable_user(connection, "lan", NOW + timedelta(days=1))
        assert list_users(connection)[0].disabled_at == NOW
        assert read_session(connection, token, NOW) is None
        with pytest.raises(PetitionError):
            open_session(connection, "lan", NOW)
    refusal(store, "lan", LAN)
    with writing(store) as connection:
        enable_user(connection, "lan")
        assert check_password(connection, "lan", LAN)
        assert read_session(connection, token, NOW) is None


def test_who_is_not_there_cannot_be_changed(store: Engine) -> None:
    with writing(store) as connection:
        for change in (
            lambda: disable_user(connection, "nobody", NOW),
            lambda: enable_user(connection, "nobody"),
            lambda: set_password(connection, "nobody", OTHER),
        ):
            with pytest.raises(PetitionError) as failure:
                change()
            assert failure.value.kind is ErrorKind.NOT_FOUND


def test_a_hash_of_older_parameters_is_renewed_at_login(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    stronger = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=16, parallelism=1),))
    monkeypatch.setattr(module, "_hasher", lambda: stronger)
    with store.connect() as connection:
        proof = check_password(connection, "lan", LAN)
    with writing(store) as connection:
        note_login(connection, proof, NOW)
        renewed = check_password(connection, "lan", LAN)
    assert "m=8,t=1" in proof.password_hash and "m=16,t=2" in renewed.password_hash
    assert renewed.renewed_hash is None
    assert renewed.user.last_login_at == NOW


@pytest.mark.parametrize("change", ["password", "disable"])
def test_a_login_does_not_outlive_the_password_it_was_made_with(store: Engine, change: str) -> None:
    with store.connect() as connection:
        proof = check_password(connection, "lan", LAN)
    with writing(store) as connection:
        if change == "password":
            set_password(connection, "lan", OTHER)
        else:
            disable_user(connection, "lan", NOW)
        with pytest.raises(PetitionError) as failure:
            note_login(connection, proof, NOW)
    assert failure.value.kind is ErrorKind.UNAUTHENTICATED


def test_in_earnest_it_is_argon2_as_owasp_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    kind, _, parameters = module._hasher().hash("x").split("$")[1:4]
    memory_kib, passes = (int(part.split("=")[1]) for part in parameters.split(",")[:2])
    assert kind == "argon2id" and memory_kib >= 19_456 and passes >= 2
