import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, delete, select, update

from nlp_service.audit import GENESIS, Entry, append, history, verify
from nlp_service.store import audit, audit_head, snapshot, writing

NOW = datetime(2026, 11, 27, 5, 0, tzinfo=UTC)


def _fill(engine: Engine, rows: int = 6) -> None:
    for number in range(0, rows, 2):
        with writing(engine) as connection:
            append(
                connection,
                NOW,
                [Entry("văn thư", "petition.received", f"petition:{number + i}", {"n": number + i}) for i in range(2)],
            )


def test_an_untouched_log_is_intact(engine: Engine) -> None:
    with engine.connect() as connection:
        assert verify(connection).head == GENESIS
    _fill(engine)
    with engine.connect() as connection:
        verdict = verify(connection)
    assert (verdict.intact, verdict.rows) == (True, 6)
    assert len(verdict.head) == 64 and verdict.head != GENESIS


@pytest.mark.parametrize("column", ["at", "actor", "action", "subject", "payload", "hash"])
def test_a_changed_row_is_found(engine: Engine, column: str) -> None:
    _fill(engine)
    with writing(engine) as connection:
        connection.execute(update(audit).where(audit.c.seq == 3).values({column: "khác"}))
    with engine.connect() as connection:
        verdict = verify(connection)
    assert verdict.broken_at == 3 and verdict.rows == 2


@pytest.mark.parametrize("gone", [1, 3, 6])
def test_a_removed_row_is_found_wherever_it_was(engine: Engine, gone: int) -> None:
    _fill(engine)
    with writing(engine) as connection:
        connection.execute(delete(audit).where(audit.c.seq == gone))
    with engine.connect() as connection:
        verdict = verify(connection)
    assert not verdict.intact and verdict.broken_at == gone


def test_reordered_rows_are_found(engine: Engine) -> None:
    _fill(engine)
    with writing(engine) as connection:
        connection.execute(update(audit).where(audit.c.seq == 2).values(seq=100))
        connection.execute(update(audit).where(audit.c.seq == 3).values(seq=2))
        connection.execute(update(audit).where(audit.c.seq == 100).values(seq=3))
    with engine.connect() as connection:
        assert verify(connection).broken_at == 2


def test_a_log_written_anew_is_found_by_a_noted_head(engine: Engine) -> None:
    _fill(engine)
    with engine.connect() as connection:
        noted = verify(connection).head
    _fill(engine, 2)
    with engine.connect() as connection:
        assert verify(connection, noted).intact
    with writing(engine) as connection:
        connection.execute(delete(audit))
        connection.execute(update(audit_head).values(seq=0, hash=GENESIS))
    _fill(engine, 4)
    with engine.connect() as connection:
        assert verify(connection).intact
        assert "rewritten" in (verify(connection, noted).problem or "")


def test_a_transaction_that_fails_leaves_no_row(engine: Engine) -> None:
    _fill(engine, 2)
    with pytest.raises(RuntimeError), writing(engine) as connection:
        append(connection, NOW, [Entry("a", "b", "c", {})])
        raise RuntimeError
    _fill(engine, 2)
    with engine.connect() as connection:
        assert (verify(connection).intact, verify(connection).rows) == (True, 4)


def test_concurrent_writers_make_one_chain(engine: Engine) -> None:
    threads = [threading.Thread(target=_fill, args=(engine, 20)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        verdict = verify(connection)
    assert (verdict.intact, verdict.rows) == (True, 80)


def test_what_is_added_while_one_verifies_is_no_break(engine: Engine) -> None:
    _fill(engine, 200)
    stop = threading.Event()

    def add() -> None:
        while not stop.is_set():
            _fill(engine, 2)

    writer = threading.Thread(target=add)
    writer.start()
    verdicts = []
    for _ in range(20):
        with snapshot(engine) as connection:
            verdicts.append(verify(connection))
    stop.set()
    writer.join()
    assert all(verdict.intact for verdict in verdicts), verdicts


def test_history_tells_of_one_subject_in_order(engine: Engine) -> None:
    _fill(engine)
    with writing(engine) as connection:
        append(connection, NOW, [Entry("b", "petition.status", "petition:1", {"new": "closed"})])
    with engine.connect() as connection:
        rows = history(connection, "petition:1")
        assert connection.execute(select(audit.c.seq)).all()
    assert [(row["action"], row["actor"]) for row in rows] == [
        ("petition.received", "văn thư"),
        ("petition.status", "b"),
    ]
    assert rows[1]["new"] == "closed"
