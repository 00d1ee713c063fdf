"""The audit log: rows are only added, each carries the hash of the one before it.

A row that was changed, removed or moved breaks the chain, and `verify` says where. Whoever rewrites the whole chain and its
head is found by comparing the head with one that was noted elsewhere: `verify` returns it, and takes the noted one.
No petition text goes in here: a petition is named by its id and the hash of its text.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from nlp_service.store import audit, audit_head

GENESIS = "0" * 64


@dataclass(frozen=True)
class Entry:
    """What happened: who did what to what. `payload` must be JSON."""

    actor: str
    action: str
    subject: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What `verify` found.

    Attributes:
        rows: rows that are whole, from the beginning.
        head: hash of the last row: note it elsewhere.
        broken_at: the number of the first row that does not fit; None if all do.
        problem: what does not fit, one sentence.
    """

    rows: int
    head: str
    broken_at: int | None = None
    problem: str | None = None

    @property
    def intact(self) -> bool:
        """Nothing was changed, removed or moved."""
        return self.broken_at is None


def append(connection: Connection, at: datetime, entries: Sequence[Entry]) -> None:
    """Add rows at the end of the chain, inside the caller's transaction.

    The head's row is locked until that transaction ends, so that chains of two writers cannot fork.
    """
    if not entries:
        return
    head = connection.execute(select(audit_head.c.seq, audit_head.c.hash).with_for_update()).one()
    seq, previous = int(head.seq), str(head.hash)
    when = at.astimezone(UTC).isoformat()
    rows = []
    for entry in entries:
        seq += 1
        payload = json.dumps(entry.payload, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        digest = _hash(seq, when, entry.actor, entry.action, entry.subject, payload, previous)
        rows.append(
            {
                "seq": seq,
                "at": when,
                "actor": entry.actor,
                "action": entry.action,
                "subject": entry.subject,
                "payload": payload,
                "previous": previous,
                "hash": digest,
            }
        )
        previous = digest
    connection.execute(insert(audit), rows)
    connection.execute(update(audit_head).values(seq=seq, hash=previous))


def history(connection: Connection, subject: str) -> list[dict[str, Any]]:
    """The rows about one subject, oldest first."""
    rows = connection.execute(select(audit).where(audit.c.subject == subject).order_by(audit.c.seq))
    return [
        {"seq": row.seq, "at": row.at, "actor": row.actor, "action": row.action, **json.loads(row.payload)}
        for row in rows
    ]


def verify(connection: Connection, noted_head: str | None = None) -> Verdict:
    """Walk the chain.

    Args:
        connection: a `store.snapshot`, so that what is added meanwhile is not taken for a break.
        noted_head: a head that an earlier call returned; it must still be in the chain.
    """
    expected, previous = 1, GENESIS
    seen = noted_head is None or noted_head == GENESIS
    for row in _rows(connection):
        if row.seq != expected:
            return Verdict(expected - 1, previous, expected, f"row {expected} is missing")
        if row.previous != previous:
            return Verdict(expected - 1, previous, row.seq, f"row {row.seq} does not follow the row before it")
        if row.hash != _hash(row.seq, row.at, row.actor, row.action, row.subject, row.payload, row.previous):
            return Verdict(expected - 1, previous, row.seq, f"row {row.seq} was changed")
        previous = row.hash
        seen = seen or previous == noted_head
        expected += 1
    head = connection.execute(select(audit_head.c.seq, audit_head.c.hash)).one()
    if (head.seq, head.hash) != (expected - 1, previous):
        return Verdict(
            expected - 1, previous, expected, f"the chain ends at row {expected - 1}, its head says {head.seq}"
        )
    if not seen:
        return Verdict(expected - 1, previous, expected - 1, "the noted head is not in this chain: it was rewritten")
    return Verdict(expected - 1, previous)


def _rows(connection: Connection, block: int = 5_000) -> Iterator[Row[Any]]:
    last = -1
    while True:
        rows = connection.execute(select(audit).where(audit.c.seq > last).order_by(audit.c.seq).limit(block)).all()
        yield from rows
        if len(rows) < block:
            return
        last = rows[-1].seq


def _hash(seq: int, at: str, actor: str, action: str, subject: str, payload: str, previous: str) -> str:
    # A list in JSON: no value can run over into the next one.
    body = json.dumps([seq, at, actor, action, subject, payload, previous], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(body.encode()).hexdigest()
