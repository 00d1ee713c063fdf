"""Which petitions to label next: those the model doubts, and no two alike (margin sampling with maximal marginal relevance).

The order is that of the desk's queue (`nlp_service.priority.spread`), over the most doubtful ones of the whole pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, exists, select, update

from nlp_service import audit
from nlp_service.casework import OPEN
from nlp_service.errors import PetitionError
from nlp_service.pipeline import Classification, PetitionClassifier
from nlp_service.priority import Risk, Waiting, margin, spread
from nlp_service.store import embeddings, petitions, predictions, reviews, snapshot, writing
from nlp_service.tables import Table, invalid
from nlp_service.vectors import pack, unpack

REASON = "chosen for labelling: the model is unsure, and it is unlike the others"

_WINDOW = 5
"""So many times as many petitions as are wanted are weighed against each other."""

_BLOCK = 500


@dataclass(frozen=True)
class Pool:
    """What can be chosen from.

    Attributes:
        names: what is told of a candidate: its id or its row.
        unread: petitions that the model has not read, or cannot.
    """

    candidates: list[Waiting]
    names: dict[int, str]
    unread: int


def choose(candidates: Sequence[Waiting], count: int) -> list[int]:
    """Ids of `count` candidates, the most telling first."""
    doubtful = sorted(candidates, key=lambda item: (item.margin, item.id))[: count * _WINDOW]
    return [item.id for item in spread(doubtful)[:count]]


def candidates_of_store(engine: Engine, model_version: str) -> Pool:
    """Open petitions that nobody has read and the queue does not hold, as that model read them; never restricted ones."""
    unread = (
        petitions.c.readings == 0,
        petitions.c.queued.is_(False),
        petitions.c.restricted.is_(False),
        petitions.c.emergency.is_(False),
        petitions.c.masked_at.is_(None),
        petitions.c.status.in_([status.value for status in OPEN]),
        ~exists().where(reviews.c.petition_id == petitions.c.id, reviews.c.withdrawn_at.is_(None)),
    )
    with snapshot(engine) as connection:
        total = len(connection.execute(select(petitions.c.id).where(*unread)).all())
        rows = connection.execute(
            select(petitions.c.id, predictions.c.result, embeddings.c.vector)
            .join(predictions, predictions.c.petition_id == petitions.c.id)
            .outerjoin(
                embeddings,
                (embeddings.c.petition_id == petitions.c.id) & (embeddings.c.model_version == model_version),
            )
            .where(*unread, predictions.c.model_version == model_version)
            .order_by(petitions.c.id)
        )
        candidates = [
            Waiting(row.id, Risk.ORDINARY, _margin(row.result), None if row.vector is None else unpack(row.vector))
            for row in rows
        ]
    return Pool(candidates, {item.id: str(item.id) for item in candidates}, total - len(candidates))


def candidates_of_table(table: Table, column: str, classifier: PetitionClassifier) -> Pool:
    """Rows of a table, read now; named by their `id` column, else by their number from 1. Raises PetitionError INVALID_FILE."""
    if column not in table.columns:
        raise invalid(table.path, f"has no column '{column}'; it has {', '.join(table.columns)}")
    named = "id" in table.columns
    rows = list(table.rows([column, "id"] if named else [column]))
    candidates, names = [], {}
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        for place, answer in enumerate(classifier.classify_many([row.cells[column] for row in block])):
            if isinstance(answer, PetitionError):
                continue
            number = start + place + 1
            names[number] = str(block[place].cells["id"]) if named else str(number)
            candidates.append(_candidate(number, answer))
    return Pool(candidates, names, len(rows) - len(candidates))


def put_in_queue(engine: Engine, ids: Sequence[int], now: datetime) -> int:
    """Let the desk's queue show petitions among the least pressing ones; how many still waited for nobody. Audited, with the reason."""
    done = 0
    with writing(engine) as connection:
        for petition_id in ids:
            changed = connection.execute(
                update(petitions)
                .where(
                    petitions.c.id == petition_id,
                    petitions.c.queued.is_(False),
                    petitions.c.readings == 0,
                    petitions.c.restricted.is_(False),
                )
                .values(queued=True, risk=Risk.ORDINARY, version=petitions.c.version + 1, updated_at=now)
            )
            if changed.rowcount:
                done += 1
                entry = audit.Entry("cli", "petition.queue", f"petition:{petition_id}", {"reason": REASON})
                audit.append(connection, now, [entry])
    return done


def _candidate(number: int, answer: Classification) -> Waiting:
    return Waiting(number, Risk.ORDINARY, margin(answer.decision), unpack(pack(answer.embedding)))  # of unit length


def _margin(result: dict[str, object]) -> float:
    category, alternatives = result["category"], result["alternatives"]
    assert isinstance(category, dict) and isinstance(alternatives, list)
    second = alternatives[0]["probability"] if alternatives else 0.0
    return float(category["probability"]) - float(second)
