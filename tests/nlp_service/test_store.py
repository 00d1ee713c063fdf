import stat
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.store import api_keys, audit_head, metadata, open_store, upgrade, writing

NOON = datetime(2026, 11, 27, 12, 0, tzinfo=timezone(timedelta(hours=7)))


def _key(name: str, created_at: datetime = NOON) -> dict[str, object]:
    return {
        "name": name,
        "prefix": name,
        "secret_sha256": "0" * 64,
        "role": "intake",
        "bodies": [],
        "communes": [],
        "created_at": created_at,
    }


def test_migrations_give_the_schema_that_the_code_expects(engine: Engine) -> None:
    def compared(name: str | None, kind: str, parents: object) -> bool:
        return "petitions_words" not in (name or "")  # the full-text index: another thing on each database

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": compared})
        assert compare_metadata(context, metadata) == []
    assert set(metadata.tables) <= set(inspect(engine).get_table_names())


def test_upgrading_again_changes_nothing(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(insert(api_keys).values(_key("a")))
    upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(select(api_keys.c.name)).scalars().all() == ["a"]


def test_times_come_back_aware_and_in_utc(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(insert(api_keys).values(_key("a")))
    with engine.connect() as connection:
        back = connection.execute(select(api_keys.c.created_at)).scalar_one()
    assert back == NOON and back.utcoffset() == timedelta(0)


def test_a_time_without_zone_is_refused(engine: Engine) -> None:
    with pytest.raises(Exception, match="without a zone"), writing(engine) as connection:
        connection.execute(insert(api_keys).values(_key("a", datetime(2026, 1, 1))))


def test_an_error_inside_rolls_the_transaction_back(engine: Engine) -> None:
    with pytest.raises(RuntimeError), writing(engine) as connection:
        connection.execute(insert(api_keys).values(_key("a")))
        raise RuntimeError
    with engine.connect() as connection:
        assert connection.execute(select(api_keys.c.name)).all() == []


def test_writers_wait_for_each_other_and_lose_nothing(engine: Engine) -> None:
    def add(count: int) -> None:
        for _ in range(count):
            with writing(engine) as connection:
                seq = connection.execute(select(audit_head.c.seq).with_for_update()).scalar_one()
                connection.execute(update(audit_head).values(seq=seq + 1))

    threads = [threading.Thread(target=add, args=(25,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        assert connection.execute(select(audit_head.c.seq)).scalar_one() == 100


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    upgrade(open_store(f"sqlite:///{tmp_path / 'new' / 'store.db'}"))
    assert stat.S_IMODE((tmp_path / "new" / "store.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("url", ["mysql://localhost/x", "nonsense", "sqlite://", "sqlite:///:memory:"])
def test_what_is_no_store_is_one_clear_error(url: str) -> None:
    with pytest.raises(PetitionError) as failure:
        upgrade(open_store(url))
    assert failure.value.kind is ErrorKind.INVALID_STORE and "PETITIONS_STORE" in failure.value.message


def test_a_database_that_does_not_answer_is_one_clear_error_without_the_password() -> None:
    with pytest.raises(PetitionError) as failure:
        upgrade(open_store("postgresql://someone:geheim@127.0.0.1:1/none"))
    assert failure.value.kind is ErrorKind.INVALID_STORE
    assert "geheim" not in failure.value.message


def test_a_store_of_a_newer_program_is_refused(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(PetitionError, match="not older than its schema"):
        upgrade(engine)


def test_errors_of_the_database_do_not_quote_what_was_stored(engine: Engine) -> None:
    with pytest.raises(IntegrityError) as failure, writing(engine) as connection:
        connection.execute(insert(api_keys).values(_key("a")))
        connection.execute(insert(api_keys).values({**_key("a"), "name": "bí mật"}))
    assert "bí mật" not in str(failure.value)
