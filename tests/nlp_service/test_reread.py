from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import Engine, delete, func, insert, select, update

from nlp_service.casework import Casework
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.intake import Intake
from nlp_service.pipeline import Classification
from nlp_service.reread import Done, reread, unread
from nlp_service.roles import Principal, Role
from nlp_service.store import audit, embeddings, petitions, predictions, writing
from tests.nlp_service.offices import (
    DOUBTFUL,
    FLOOD,
    NOW,
    POTHOLE,
    FixedClassifier,
    classified,
    incoming,
    shipped_rules,
)

AUDITOR = Principal("auditor", Role.AUDITOR)


class Newer(FixedClassifier):
    """Calls a pothole an emergency, and cannot read what is doubtful."""

    def __init__(self) -> None:
        super().__init__()
        manifest = self.bundle.manifest.model_copy(update={"version": "newer"})
        self.bundle = self.bundle.model_copy(update={"manifest": manifest})
        self.texts: list[object] = []

    def classify_many(self, texts: Sequence[object]) -> list[Classification | PetitionError]:
        self.texts += texts
        return [self._read(str(text)) for text in texts]

    def _read(self, text: str) -> Classification | PetitionError:
        if text == DOUBTFUL:
            return PetitionError(ErrorKind.EMPTY_TEXT, "x")
        answer = classified(FLOOD if "ổ gà" in text else text)
        return replace(answer, model_version="newer", embedding=np.ones(2, np.float32))


def take(engine: Engine, *texts: str) -> list[int]:
    intake = Intake(engine, shipped_rules(), lambda: NOW)
    receipts = intake.take([incoming(t) for t in texts], [classified(t) for t in texts], "portal")
    return [receipt.body["id"] for receipt in receipts]


def again(engine: Engine, model: Newer | None = None) -> Done:
    return reread(engine, model or Newer())  # type: ignore[arg-type]


def told(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        rows = connection.execute(select(*(c for c in petitions.c)).order_by(petitions.c.id)).mappings().all()
        return {
            "petitions": [dict(row) for row in rows],
            "audit": connection.execute(select(func.count()).select_from(audit)).scalar_one(),
        }


def test_open_petitions_get_a_reading_and_nothing_else_changes(engine: Engine) -> None:
    ids = take(engine, POTHOLE, FLOOD, DOUBTFUL, "Điện yếu.")
    with writing(engine) as connection:
        connection.execute(update(petitions).where(petitions.c.id == ids[3]).values(status="closed"))
    before, body = told(engine), Casework(engine).read(AUDITOR, ids[0])
    assert unread(engine, "newer") == 3
    done = again(engine)
    assert (done.read, done.failed, done.emergencies) == (2, 1, (ids[0],))  # the flood was raised when it came in
    assert told(engine) == before
    after = Casework(engine).read(AUDITOR, ids[0])
    assert after["classification"] == body["classification"]  # what a reader sees as suggested is what routed it
    assert [row["model_version"] for row in after["predictions"]] == ["fixed-1", "newer"]
    with engine.connect() as connection:
        rows = connection.execute(select(embeddings.c.petition_id, embeddings.c.model_version)).all()
    assert sorted((i, version) for i, version in rows if version == "newer") == [(ids[0], "newer"), (ids[1], "newer")]
    assert len(rows) == 6


def test_begun_again_it_reads_only_what_is_left(engine: Engine) -> None:
    take(engine, *(f"{POTHOLE} Lần {number}." for number in range(70)))
    first = Newer()
    assert again(engine, first).read == 70 and len(first.texts) == 70
    with writing(engine) as connection:
        some = select(embeddings.c.petition_id).where(embeddings.c.model_version == "newer").limit(3)
        connection.execute(
            delete(embeddings).where(embeddings.c.model_version == "newer", embeddings.c.petition_id.in_(some))
        )
    second = Newer()
    assert again(engine, second).read == 3 and len(second.texts) == 3
    with engine.connect() as connection:
        count = select(func.count()).select_from(predictions).where(predictions.c.model_version == "newer")
        assert connection.execute(count).scalar_one() == 70


def test_what_is_masked_or_forgotten_meanwhile_does_not_come_back(engine: Engine) -> None:
    masked, gone, kept = take(engine, POTHOLE, FLOOD, f"{POTHOLE} Còn đây.")

    class Slow(Newer):
        def classify_many(self, texts: Sequence[object]) -> list[Classification | PetitionError]:
            with writing(engine) as connection:
                connection.execute(update(petitions).where(petitions.c.id == masked).values(masked_at=NOW))
                connection.execute(delete(petitions).where(petitions.c.id == gone))
            return super().classify_many(texts)

    done = again(engine, Slow())
    assert (done.read, done.failed, done.emergencies) == (1, 2, (kept,))
    with engine.connect() as connection:
        own = select(embeddings.c.petition_id).where(embeddings.c.model_version == "newer")
        assert connection.execute(own).scalars().all() == [kept]


def test_two_that_read_at_once_store_once(engine: Engine) -> None:
    [petition] = take(engine, POTHOLE)

    class Late(Newer):
        def classify_many(self, texts: Sequence[object]) -> list[Classification | PetitionError]:
            with writing(engine) as connection:
                row = {"petition_id": petition, "model_version": "newer", "vector": b"\x00\x00"}
                connection.execute(insert(embeddings), [row])
            return super().classify_many(texts)

    assert again(engine, Late()) == Done(0, 1, ())
    assert unread(engine, "newer") == 0
