from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, select, update

from nlp_service import audit
from nlp_service.casework import Casework, Filter
from nlp_service.priority import Risk, Waiting
from nlp_service.queue import Queue
from nlp_service.roles import Principal, Role
from nlp_service.store import embeddings, petitions, predictions, snapshot
from nlp_service.vectors import pack
from tests.nlp_service.offices import BRIBE, DOUBTFUL, FLOOD, NOW, POTHOLE
from tests.training.test_pull import LAN, MATTERS, Office, Result, train  # noqa: F401 — a fixture
from training.selection import candidates_of_store, choose, put_in_queue

LATER = NOW + timedelta(hours=1)


def _waiting(identity: int, margin: float, *vector: float) -> Waiting:
    return Waiting(identity, Risk.ORDINARY, margin, np.array(vector, np.float32))


def test_the_doubtful_ones_are_chosen_and_no_two_alike() -> None:
    pool = [_waiting(1, 0.9, 0, 1), _waiting(2, 0.1, 1, 0), _waiting(3, 0.11, 1, 0), _waiting(4, 0.3, 0, 1)]
    assert choose(pool, 2) == [2, 4]
    assert choose(pool[:3], 3) == [2, 3, 1]


@pytest.fixture
def office(engine: Engine) -> Office:
    office = Office(engine)
    for text in (POTHOLE, BRIBE, FLOOD, DOUBTFUL, POTHOLE + " Đoạn qua chợ là nặng nhất, mưa xuống không thấy hố."):
        office.receive(text)
    with engine.begin() as connection:
        for identity in range(1, 6):
            vector = pack(np.array([1, identity], np.float32))
            connection.execute(
                update(embeddings)
                .where(embeddings.c.petition_id == identity)
                .values(vector=vector, model_version="fixed-1")
            )
        # Only the potholes were sent on by themselves.
        connection.execute(update(petitions).where(petitions.c.id.in_([1, 5])).values(queued=False))
    return office


def test_nothing_that_is_restricted_pressing_or_waiting_already(office: Office) -> None:
    with office.engine.begin() as connection:
        connection.execute(update(petitions).where(petitions.c.id.in_([2, 3])).values(queued=False))
    pool = candidates_of_store(office.engine, "fixed-1")
    assert [item.id for item in pool.candidates] == [1, 5]
    assert pool.candidates[0].margin == pytest.approx(0.95) and pool.candidates[0].vector is not None


def test_what_another_model_read_is_counted_not_guessed(office: Office) -> None:
    with office.engine.begin() as connection:
        connection.execute(update(predictions).where(predictions.c.petition_id == 5).values(model_version="older"))
    pool = candidates_of_store(office.engine, "fixed-1")
    assert [item.id for item in pool.candidates] == [1] and pool.unread == 1


def test_chosen_ones_are_last_in_the_queue_and_in_the_audit_log(office: Office) -> None:
    assert put_in_queue(office.engine, [1, 2, 5], LATER) == 2  # the restricted one is not
    queue = Queue(office.engine, Casework(office.engine, lambda: NOW), "fixed-1", lambda: NOW)
    waiting = [item["id"] for item in queue.page(LAN, Filter(), 10)[0]]
    assert set(waiting[-2:]) == {1, 5} and len(waiting) == 4
    with snapshot(office.engine) as connection:
        [entry] = [e for e in audit.history(connection, "petition:1") if e["action"] == "petition.queue"]
        assert audit.verify(connection).intact
    assert "labelling" in entry["reason"]
    assert put_in_queue(office.engine, [1, 5], LATER) == 0
    office.decide(Principal("lan", Role.REVIEWER), 1, "transport_infrastructure")
    with office.engine.connect() as connection:
        assert connection.execute(select(petitions.c.queued).where(petitions.c.id == 1)).scalar_one() is False


def test_the_command_writes_ids_and_nothing_else(
    office: Office,
    store_url: str,
    train: Callable[..., Result],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with office.engine.begin() as connection:
        connection.execute(update(predictions).values(model_version="petition-x"))
        connection.execute(update(embeddings).values(model_version="petition-x"))
    bundle = type("B", (), {"manifest": type("M", (), {"version": "petition-x"})})
    monkeypatch.setattr("nlp_service.bundle.load_bundle", lambda path: bundle)
    result = train("select", "--store", store_url, "--model", "m", "--count", "1", "--queue")
    assert result.code == 0 and result.out.strip() in ("1", "5"), result.err
    with office.engine.connect() as connection:
        queued = select(petitions.c.id).where(petitions.c.queued, petitions.c.id.in_([1, 5]))
        assert connection.execute(queued).scalars().all() == [int(result.out)]
    assert MATTERS[0] not in result.out
