"""Soft locks: while one person works on a petition, others are not given it. A lock runs out by itself, and can be taken over."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from nlp_service.store import locks, petitions

LOCK_FOR = timedelta(minutes=10)
"""Since the page was last heard of: long enough to read a long letter, short enough that a forgotten one comes back to the queue."""


@dataclass(frozen=True)
class Lock:
    """Who works on a petition, since when, and until when if nothing is heard."""

    holder: str
    taken_at: datetime
    expires_at: datetime


def take(connection: Connection, petition_id: int, holder: str, now: datetime, over: bool = False) -> Lock:
    """The petition's lock after trying to take it: the holder's own, made or renewed, or that of another who was first.

    Args:
        over: take it from another one too.
    """
    # Two who come at the same moment wait for each other here.
    connection.execute(select(petitions.c.id).where(petitions.c.id == petition_id).with_for_update())
    known = find(connection, petition_id, now)
    if known and known.holder != holder and not over:
        return known
    if known and known.holder == holder:
        connection.execute(update(locks).where(locks.c.petition_id == petition_id).values(expires_at=now + LOCK_FOR))
        return Lock(holder, known.taken_at, now + LOCK_FOR)
    connection.execute(delete(locks).where(locks.c.petition_id == petition_id))
    lock = Lock(holder, now, now + LOCK_FOR)
    connection.execute(
        insert(locks).values(petition_id=petition_id, holder=holder, taken_at=now, expires_at=lock.expires_at)
    )
    return lock


def find(connection: Connection, petition_id: int, now: datetime) -> Lock | None:
    """The lock in force, whoever has it."""
    row = connection.execute(
        select(locks.c.holder, locks.c.taken_at, locks.c.expires_at).where(
            locks.c.petition_id == petition_id, locks.c.expires_at > now
        )
    ).one_or_none()
    return Lock(row.holder, row.taken_at, row.expires_at) if row else None


def held_by_another(connection: Connection, petition_id: int, holder: str, now: datetime) -> str | None:
    """The name of somebody else who works on the petition."""
    lock = find(connection, petition_id, now)
    return lock.holder if lock and lock.holder != holder else None


def release(connection: Connection, petition_ids: Iterable[int], holder: str) -> None:
    """Give up locks of the holder's own; those of others stay."""
    for petition_id in petition_ids:
        connection.execute(delete(locks).where(locks.c.petition_id == petition_id, locks.c.holder == holder))
