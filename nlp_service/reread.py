"""The current model reads what was stored before it answered, so that old and new petitions can be likened to each other.

What a petition is said to be was decided when it came in, or by a person: rows of predictions and embeddings are added, and
nothing else changes.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, exists, func, insert, not_, select
from sqlalchemy.exc import IntegrityError

from nlp_service.casework import OPEN
from nlp_service.intake import prediction_row
from nlp_service.pipeline import Classification, PetitionClassifier
from nlp_service.store import embeddings, petitions, predictions, writing
from nlp_service.taxonomy import EMERGENCY
from nlp_service.vectors import pack

log = logging.getLogger(__name__)

BLOCK = 32
LOWEST_PRIORITY = 19


@dataclass(frozen=True)
class Done:
    """What was read.

    Attributes:
        failed: could not be read, or were changed, masked or removed meanwhile.
        emergencies: ids of open petitions that the model calls emergencies and that nobody has called so yet.
    """

    read: int
    failed: int
    emergencies: tuple[int, ...]


def unread(engine: Engine, version: str) -> int:
    """How many open petitions have no embedding of this model."""
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(petitions).where(*_due(version))).scalar_one())


def reread(engine: Engine, classifier: PetitionClassifier, pause_s: float = 0.0) -> Done:
    """Read open petitions in small batches, the newest first. Begun again, it goes on with what is left."""
    version = classifier.bundle.manifest.version
    read = failed = 0
    emergencies: list[int] = []
    below: int | None = None
    while rows := _block(engine, version, below):
        below = rows[-1].id
        answers = classifier.classify_many([row.text for row in rows])
        found = [(row, a) for row, a in zip(rows, answers, strict=True) if isinstance(a, Classification)]
        try:
            with writing(engine) as connection:
                stored = _store(connection, found)
        except IntegrityError:  # another one reads the same petitions, and was first
            stored = set()
        read, failed = read + len(stored), failed + len(rows) - len(stored)
        emergencies += [
            row.id
            for row, answer in found
            if row.id in stored and answer.decision.urgency.id == EMERGENCY and not row.emergency
        ]
        time.sleep(pause_s)
    return Done(read, failed, tuple(emergencies))


def _due(version: str) -> list[Any]:
    known = exists().where(embeddings.c.petition_id == petitions.c.id, embeddings.c.model_version == version)
    return [petitions.c.status.in_(OPEN), petitions.c.masked_at.is_(None), not_(known)]


def _block(engine: Engine, version: str, below: int | None) -> Sequence[Row[Any]]:
    query = select(petitions.c.id, petitions.c.text, petitions.c.emergency).where(*_due(version))
    if below is not None:
        query = query.where(petitions.c.id < below)
    with engine.connect() as connection:
        rows: list[Row[Any]] = list(connection.execute(query.order_by(petitions.c.id.desc()).limit(BLOCK)))
        return rows


def _store(connection: Connection, found: Sequence[tuple[Row[Any], Classification]]) -> set[int]:
    """Ids of those that are still there and not masked: what was forgotten meanwhile must not come back as a vector."""
    ids = [row.id for row, _ in found]
    here = select(petitions.c.id).where(petitions.c.id.in_(ids), petitions.c.masked_at.is_(None)).with_for_update()
    kept = set(connection.execute(here).scalars())
    now = datetime.now(UTC)
    rows = [(row.id, answer) for row, answer in found if row.id in kept]
    if not rows:
        return kept
    version = rows[0][1].model_version
    told = set(
        connection.execute(
            select(predictions.c.petition_id).where(
                predictions.c.petition_id.in_(kept), predictions.c.model_version == version
            )
        ).scalars()
    )
    fresh = [prediction_row(i, now, answer, answer.as_dict()) for i, answer in rows if i not in told]
    if fresh:
        connection.execute(insert(predictions), fresh)
    connection.execute(
        insert(embeddings),
        [{"petition_id": i, "model_version": version, "vector": pack(answer.embedding)} for i, answer in rows],
    )
    return kept
