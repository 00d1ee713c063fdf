import logging
import stat
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, delete, insert

from nlp_service.intake import Intake
from nlp_service.similar_index import META_FILE, SimilarIndex
from nlp_service.store import embeddings, petitions, writing
from nlp_service.vectors import Floats, pack
from tests.nlp_service.offices import NOW, classified, incoming, shipped_rules

MODEL = "fixed-2"


def direction(*weights: float) -> Floats:
    vector = np.zeros(8, np.float32)
    vector[: len(weights)] = weights
    return vector


def petitions_stored(engine: Engine, count: int) -> list[int]:
    """Ids of petitions, without an embedding of `MODEL`."""
    texts = [f"Đường thôn {number} xã Nga Thắng nhiều ổ gà." for number in range(count)]
    intake = Intake(engine, shipped_rules(), clock=lambda: NOW)
    receipts = intake.take([incoming(text) for text in texts], [classified(text) for text in texts], "cổng")
    ids = [receipt.body["id"] for receipt in receipts]
    with writing(engine) as connection:
        connection.execute(delete(embeddings))
    return ids


def embed(engine: Engine, vectors: dict[int, Floats], model: str = MODEL) -> None:
    with writing(engine) as connection:
        connection.execute(
            insert(embeddings),
            [{"petition_id": i, "model_version": model, "vector": pack(vector)} for i, vector in vectors.items()],
        )


def ids_of(index: SimilarIndex, vector: Floats, count: int = 10) -> list[int]:
    return [i for i, _ in index.neighbours(vector, count)]


def test_the_nearest_come_first_and_other_models_are_left_out(engine: Engine) -> None:
    first, second, third, other = petitions_stored(engine, 4)
    embed(engine, {first: direction(1, 0.1), second: direction(0, 1), third: direction(1, 0.5)})
    embed(engine, {other: direction(1, 0)}, model="fixed-1")
    index = SimilarIndex(engine, MODEL)
    assert (index.neighbours(direction(1), 10), index.catch_up()) == ([], 3)
    found = index.neighbours(direction(1), 10)
    assert [i for i, _ in found] == [first, third, second]
    assert found[0][1] == pytest.approx(1 / np.sqrt(1.01), abs=0.02)
    assert ids_of(index, direction(1), 1) == [first]


def test_a_lower_id_that_shows_later_is_added_too(engine: Engine) -> None:
    early, late = petitions_stored(engine, 2)
    embed(engine, {late: direction(1)})
    index = SimilarIndex(engine, MODEL)
    index.catch_up()
    embed(engine, {early: direction(1, 0.2)})
    assert index.catch_up() == 1
    assert ids_of(index, direction(1)) == [late, early]
    assert index.catch_up() == 0


def test_what_was_deleted_is_no_neighbour_any_more(engine: Engine) -> None:
    kept, gone, masked = petitions_stored(engine, 3)
    embed(engine, {kept: direction(1, 0.3), gone: direction(1), masked: direction(0, 1)})
    index = SimilarIndex(engine, MODEL)
    index.catch_up()
    with writing(engine) as connection:
        connection.execute(delete(petitions).where(petitions.c.id == gone))
        connection.execute(delete(embeddings).where(embeddings.c.petition_id == masked))
    assert ids_of(index, direction(1), 2) == [kept] and len(index) == 2
    index.reconcile()
    assert len(index) == 1 and ids_of(index, direction(0, 1)) == [kept]


def test_a_vector_of_zeros_is_like_nothing(engine: Engine) -> None:
    zero, some = petitions_stored(engine, 2)
    embed(engine, {zero: direction(), some: direction(1)})
    index = SimilarIndex(engine, MODEL)
    assert index.catch_up() == 1
    assert ids_of(index, direction(1)) == [some] and ids_of(index, direction()) == []


def test_a_restart_takes_up_the_file_and_what_came_since(engine: Engine, tmp_path: Path) -> None:
    first, gone, second = petitions_stored(engine, 3)
    embed(engine, {first: direction(1), gone: direction(1, 0.1)})
    index = SimilarIndex(engine, MODEL, tmp_path / "kept")
    index.reconcile()
    index.close()
    embed(engine, {second: direction(1, 0.5)})
    with writing(engine) as connection:
        connection.execute(delete(embeddings).where(embeddings.c.petition_id == gone))
    again = SimilarIndex(engine, MODEL, tmp_path / "kept")
    assert len(again) == 2 and ids_of(again, direction(1)) == [first]
    assert again.reconcile() == 1 and ids_of(again, direction(1)) == [first, second]
    again.save()
    files = sorted((tmp_path / "kept").iterdir())
    assert [file.suffix for file in files] == [".usearch", ".json"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert len(SimilarIndex(engine, "fixed-3", tmp_path / "kept")) == 0


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "no json", "not ours"])
def test_a_damaged_file_is_built_anew(
    engine: Engine, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    ids = petitions_stored(engine, 3)
    embed(engine, {i: direction(1, number / 10) for number, i in enumerate(ids)})
    index = SimilarIndex(engine, MODEL, tmp_path)
    index.reconcile()
    index.save()
    (data,) = tmp_path.glob("*.usearch")
    whole = data.read_bytes()
    if damage == "cut":
        data.write_bytes(whole[: len(whole) // 2])
    elif damage == "changed":
        data.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "missing":
        data.unlink()
    else:
        (tmp_path / META_FILE).write_text("{" if damage == "no json" else '{"format": 1}', encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        again = SimilarIndex(engine, MODEL, tmp_path)
    assert "damaged" in caplog.text and len(again) == 0
    assert again.reconcile() == 3 and ids_of(again, direction(1)) == ids
    again.save()
    assert len(SimilarIndex(engine, MODEL, tmp_path)) == 3


def test_many_look_up_while_it_is_built_and_follows_the_store(engine: Engine) -> None:
    ids = petitions_stored(engine, 300)
    generator = np.random.default_rng(1)
    vectors = {i: generator.normal(size=8).astype(np.float32) for i in ids}
    embed(engine, {i: vectors[i] for i in ids[:200]})
    index = SimilarIndex(engine, MODEL)
    failures: list[BaseException] = []
    done = threading.Event()

    def look_up() -> None:
        try:
            while not done.is_set():
                for i, likeness in index.neighbours(vectors[ids[0]], 5):
                    assert i in vectors and likeness <= 1.01
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=look_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    index.start(every_s=0.01)
    embed(engine, {i: vectors[i] for i in ids[200:]})
    limit = time.monotonic() + 30
    while not (index.complete and len(index) == 300) and time.monotonic() < limit:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    index.close()
    assert not failures and index.complete and len(index) == 300
    assert all(ids_of(index, vectors[i], 1) == [i] for i in ids)
