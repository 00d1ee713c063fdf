"""Labelling jobs as the store knows them: handed in, claimed by one runner, reported on, ended.

A runner holds a job by a lease that it renews. One that is heard of no more loses it, and the job waits again; labelling goes on
from the rows that were answered, so nothing is done twice. Functions work in the caller's transaction.
"""

import math
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, case, delete, func, insert, or_, select, true, update
from sqlalchemy.exc import SQLAlchemyError

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.roles import Principal, Role
from nlp_service.store import jobs


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE = (State.QUEUED, State.RUNNING)


@dataclass(frozen=True)
class Options:
    """How to read the file; what is None is found, as `label_file` finds it."""

    sheet: str | None = None
    text_column: str | None = None
    id_column: str | None = None
    place_columns: tuple[str, ...] = ()
    date_column: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class Job:
    """One file to label.

    Attributes:
        file_name: the owner's name for it: to be shown, never a path.
        cancelling: its owner wants it ended, its runner has not ended it yet.
        rows_total: None until the file was read.
        rows_per_second: of the run that goes on, its start counted; None before its first rows.
        attempts: runs since it last got further.
        error: `kind` and `message` of what ended it.
    """

    id: str
    owner: str
    created_at: datetime
    file_name: str
    input_ending: str
    output_ending: str
    input_bytes: int
    options: Options
    state: State = State.QUEUED
    cancelling: bool = False
    rows_done: int = 0
    rows_total: int | None = None
    rows_per_second: float | None = None
    attempts: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: dict[str, str] | None = None

    @property
    def seconds_left(self) -> float | None:
        """Until the last row is answered, at the rate so far; None where nobody can say."""
        if self.state is not State.RUNNING or self.rows_total is None or not self.rows_per_second:
            return None
        return (self.rows_total - self.rows_done) / self.rows_per_second


def new_id() -> str:
    """32 hex digits that cannot be guessed."""
    return secrets.token_hex(16)


def submit(connection: Connection, job: Job) -> None:
    """Put a job at the end of the queue."""
    connection.execute(insert(jobs).values(asdict(job)))


def find(connection: Connection, principal: Principal, job_id: str) -> Job:
    """One job, of the principal's own; an admin sees all.

    Raises:
        PetitionError: NOT_FOUND, for another one's job too.
    """
    row = connection.execute(select(jobs).where(jobs.c.id == job_id, _visible(principal))).one_or_none()
    if row is None:
        raise PetitionError(
            ErrorKind.NOT_FOUND, f"there is no job '{job_id}' that you may see; GET /v1/jobs lists yours", job=job_id
        )
    return _job(row)


def listed(connection: Connection, principal: Principal, limit: int) -> list[Job]:
    """The jobs that the principal may see, the newest first."""
    newest = select(jobs).where(_visible(principal)).order_by(jobs.c.created_at.desc(), jobs.c.id).limit(limit)
    return [_job(row) for row in connection.execute(newest)]


def ahead(connection: Connection, job: Job) -> int:
    """How many jobs, whoever's, are run before one that waits."""
    earlier = and_(jobs.c.state == State.QUEUED, jobs.c.created_at < job.created_at)
    before = select(func.count()).select_from(jobs).where(or_(jobs.c.state == State.RUNNING, earlier))
    return int(connection.scalar(before) or 0)


def cancel(connection: Connection, job_id: str, now: datetime) -> State:
    """End a job that waits; ask the runner of one that runs. Returns the state after that."""
    waiting = and_(jobs.c.id == job_id, jobs.c.state == State.QUEUED)
    connection.execute(update(jobs).where(waiting).values(state=State.CANCELLED, finished_at=now))
    running = and_(jobs.c.id == job_id, jobs.c.state == State.RUNNING)
    connection.execute(update(jobs).where(running).values(cancelling=True))
    return State(connection.execute(select(jobs.c.state).where(jobs.c.id == job_id)).scalar_one())


def waiting(connection: Connection) -> list[str]:
    """Ids of the jobs that wait, the first first."""
    queued = select(jobs.c.id).where(jobs.c.state == State.QUEUED).order_by(jobs.c.created_at, jobs.c.id)
    return list(connection.scalars(queued))


def claim(connection: Connection, job_ids: Sequence[str], runner: str, now: datetime, lease: timedelta) -> Job | None:
    """The first of these jobs that still waits, from now on this runner's; of several runners one gets it."""
    for job_id in job_ids:
        values = {
            "state": State.RUNNING,
            "runner": runner,
            "lease_until": now + lease,
            "attempts": jobs.c.attempts + 1,
            "started_at": func.coalesce(jobs.c.started_at, now),
            "rows_per_second": None,
        }
        still = and_(jobs.c.id == job_id, jobs.c.state == State.QUEUED)
        if connection.execute(update(jobs).where(still).values(values)).rowcount:
            return _job(connection.execute(select(jobs).where(jobs.c.id == job_id)).one())
    return None


def renew(
    connection: Connection,
    job_id: str,
    runner: str,
    until: datetime,
    rows: tuple[int, int] | None = None,
    rate: float | None = None,
) -> Job | None:
    """Hold a job longer, and say how far it is; the job as it stands, or None if it is no longer this runner's.

    Args:
        rows: answered, and in all; None if nothing is known that was not said before.
    """
    values: dict[str, Any] = {"lease_until": until}
    if rows is not None:
        further = case((jobs.c.rows_done < rows[0], 1), else_=jobs.c.attempts)
        values |= {"rows_done": rows[0], "rows_total": rows[1], "rows_per_second": rate, "attempts": further}
    connection.execute(update(jobs).where(_held(job_id, runner)).values(values))
    return held(connection, job_id, runner)


def held(connection: Connection, job_id: str, runner: str) -> Job | None:
    """A job as it stands, or None if it is not this runner's."""
    row = connection.execute(select(jobs).where(_held(job_id, runner))).one_or_none()
    return _job(row) if row else None


def finish(
    connection: Connection, job_id: str, runner: str, state: State, now: datetime, error: PetitionError | None = None
) -> State | None:
    """End a job of this runner's; the state that it got, or None if it is no longer this runner's.

    What was to be cancelled is cancelled, whatever came of it in the meantime.
    """
    mine = select(jobs.c.cancelling).where(_held(job_id, runner)).with_for_update()
    row = connection.execute(mine).one_or_none()
    if row is None:
        return None
    if row.cancelling:
        state, error = State.CANCELLED, None
    values: dict[str, Any] = {"state": state, "finished_at": now, "runner": None, "lease_until": None}
    if error is not None:
        values["error"] = {"kind": error.kind.value, "message": error.message}
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
    return state


def give_back(connection: Connection, job_id: str, runner: str, *, tried: bool) -> None:
    """A job of this runner's waits again; not `tried`: it was not the job's fault."""
    attempts = jobs.c.attempts if tried else jobs.c.attempts - 1
    values = {"state": State.QUEUED, "runner": None, "lease_until": None, "attempts": attempts}
    connection.execute(update(jobs).where(_held(job_id, runner)).values(values))


def recover(connection: Connection, now: datetime) -> list[str]:
    """Jobs whose runner is gone wait again; those that were to be cancelled are, and their ids are returned."""
    lapsed = and_(jobs.c.state == State.RUNNING, jobs.c.lease_until < now)
    unwanted = list(connection.scalars(select(jobs.c.id).where(lapsed, jobs.c.cancelling).with_for_update()))
    free = {"runner": None, "lease_until": None}
    ended = {"state": State.CANCELLED, "finished_at": now, **free}
    connection.execute(update(jobs).where(jobs.c.id.in_(unwanted)).values(ended))
    connection.execute(update(jobs).where(lapsed, ~jobs.c.cancelling).values(state=State.QUEUED, **free))
    return unwanted


def any_lapsed(connection: Connection, now: datetime) -> bool:
    """Whether `recover` has anything to do: asking costs no writer's lock."""
    lapsed = select(jobs.c.id).where(jobs.c.state == State.RUNNING, jobs.c.lease_until < now)
    return connection.execute(lapsed.limit(1)).first() is not None


def expire(connection: Connection, before: datetime) -> list[str]:
    """Forget the jobs that ended before a time; returns their ids."""
    ids = list(connection.scalars(select(jobs.c.id).where(jobs.c.finished_at < before)))
    connection.execute(delete(jobs).where(jobs.c.id.in_(ids)))
    return ids


def with_files(connection: Connection) -> set[str]:
    """Ids of the jobs whose files are still needed."""
    return set(connection.scalars(select(jobs.c.id).where(jobs.c.state.in_((*ACTIVE, State.DONE)))))


def count(engine: Engine, state: State) -> float:
    """How many jobs are in a state (a metric); NaN while the store is away."""
    try:
        with engine.connect() as connection:
            return float(connection.scalar(select(func.count()).where(jobs.c.state == state)) or 0)
    except SQLAlchemyError:
        return math.nan


def _visible(principal: Principal) -> ColumnElement[bool]:
    return true() if principal.role is Role.ADMIN else jobs.c.owner == principal.name


def _held(job_id: str, runner: str) -> ColumnElement[bool]:
    return and_(jobs.c.id == job_id, jobs.c.runner == runner, jobs.c.state == State.RUNNING)


def _job(row: Any) -> Job:
    values = {name: value for name, value in row._mapping.items() if name in _FIELDS}
    options = Options(**{**row.options, "place_columns": tuple(row.options["place_columns"])})
    return Job(**{**values, "options": options, "state": State(row.state)})


_FIELDS = frozenset(Job.__dataclass_fields__)
