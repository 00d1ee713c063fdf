"""Forgetting: petitions past their time are masked or deleted, and a register says which, when, by whom and why.

Personal data is kept no longer than its purpose needs (Law 91/2025/QH15). Masking keeps what statistics and training need (the text
with names, numbers and addresses masked; never the sender); deleting keeps the register's row alone. The audit log stays: it holds no text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, Engine, and_, bindparam, delete, insert, select, true, update

from nlp_service import audit
from nlp_service.casework import OPEN
from nlp_service.intake import forget_requests
from nlp_service.pii import mask
from nlp_service.search import forget_removed
from nlp_service.store import decisions, deletions, embeddings, petitions, senders, writing
from nlp_service.text import fold, normalise

_BLOCK = 500


class Mode(StrEnum):
    """What happens to a petition past its time."""

    MASK = "mask"
    DELETE = "delete"


@dataclass(frozen=True)
class Report:
    """What was done, or with `dry_run` would be: petitions, and those past their time that are still open and stay."""

    done: int
    still_open: int


def forget(
    engine: Engine,
    mode: Mode,
    older_than: timedelta,
    actor: str,
    reason: str,
    dry_run: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Report:
    """Mask or delete petitions received longer than `older_than` ago and no longer open, in blocks of one transaction each."""
    now = clock()
    past = petitions.c.received_at < now - older_than
    ended = petitions.c.status.not_in([status.value for status in OPEN])
    pending = petitions.c.masked_at.is_(None) if mode is Mode.MASK else true()
    columns = (petitions.c.id, petitions.c.text, petitions.c.received_at, petitions.c.text_sha256)
    with engine.connect() as connection:
        open_ones = len(connection.execute(select(petitions.c.id).where(past, ~ended, pending)).all())
        if dry_run:
            return Report(len(connection.execute(select(petitions.c.id).where(past, ended, pending)).all()), open_ones)
    done = 0
    while True:
        with writing(engine) as connection:
            rows = connection.execute(
                select(*columns)
                .where(and_(past, ended, pending))
                .order_by(petitions.c.id)
                .limit(_BLOCK)
                .with_for_update()
            ).all()
            if not rows:
                break
            ids = [row.id for row in rows]
            if mode is Mode.DELETE:
                connection.execute(delete(petitions).where(petitions.c.id.in_(ids)))
            else:
                masked = {row.id: mask(row.text) for row in rows}
                connection.execute(
                    update(petitions)
                    .where(petitions.c.id == bindparam("own"))
                    .values(
                        text=bindparam("masked"),
                        folded=bindparam("masked_folded"),
                        commune_given=None,
                        location=None,
                        masked_at=now,
                    ),
                    [{"own": i, "masked": text, "masked_folded": fold(normalise(text))} for i, text in masked.items()],
                )
                connection.execute(delete(senders).where(senders.c.petition_id.in_(ids)))
                connection.execute(
                    delete(embeddings).where(embeddings.c.petition_id.in_(ids))
                )  # it holds the words too
                _mask_reasons(connection, ids)
            connection.execute(
                insert(deletions),
                [
                    {
                        "petition_id": row.id,
                        "at": now,
                        "actor": actor,
                        "mode": mode.value,
                        "reason": reason,
                        "received_at": row.received_at,
                        "text_sha256": row.text_sha256,
                    }
                    for row in rows
                ],
            )
            audit.append(
                connection,
                now,
                [audit.Entry(actor, f"petition.{mode.value}", f"petition:{i}", {"reason": reason}) for i in ids],
            )
            done += len(rows)
    with writing(engine) as connection:
        forget_requests(connection, now)
        forget_removed(connection)
    return Report(done, open_ones)


def _mask_reasons(connection: Connection, ids: Sequence[int]) -> None:
    """What people wrote beside a petition speaks of people too."""
    reasoned = and_(decisions.c.petition_id.in_(ids), decisions.c.reason.is_not(None))
    for row in connection.execute(select(decisions.c.id, decisions.c.reason).where(reasoned)).all():
        connection.execute(update(decisions).where(decisions.c.id == row.id).values(reason=mask(row.reason)))
