"""What people and programs do with labelling jobs: hand in, look, download, cancel. Rights and the audit log are here.

Whoever may classify and read raw petitions may have files labelled: officers, reviewers, admins. The file is their own and
nothing of the store comes with it, so no scope applies. Keys of role intake may not: they are of programs at the edge, read no
raw text, and must not be able to fill the disk. The audit log has a job's id and size, never its file's name: that may name people.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, Engine

from nlp_service import audit, jobs
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.job_files import JobFiles, ending, shown_name
from nlp_service.jobs import ACTIVE, Job, Options, State
from nlp_service.roles import Principal, Right
from nlp_service.store import writing


class JobDesk:
    """Jobs of one service.

    Args:
        limit: bytes of a file.
        keep_for: after its end a job is removed with its files.
        on_change: called when a job was handed in or is to be cancelled: its runner need not wait.
    """

    def __init__(
        self,
        engine: Engine,
        files: JobFiles,
        limit: int,
        keep_for: timedelta,
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.limit = limit
        self.keep_for = keep_for
        self._engine = engine
        self._files = files
        self._on_change = on_change
        self._clock = clock

    def reserve(self, principal: Principal, size: int | None) -> str:
        """The id of a job to be handed in, with an empty directory.

        Args:
            size: of the upload, if it is known; if not, there must be room for the largest.

        Raises:
            PetitionError: FORBIDDEN; INVALID_STORE for want of disk.
        """
        _require(principal)
        self._files.require_room(min(size or self.limit, self.limit))
        job_id = jobs.new_id()
        self._files.create(job_id)
        return job_id

    def open_input(self, job_id: str, file_name: str) -> BinaryIO:
        """Where the file goes. Raises PetitionError INVALID_FILE if its ending is none that can be read."""
        return self._files.open_input(job_id, ending(file_name))

    def discard(self, job_id: str) -> None:
        """Nothing came of a reserved job."""
        self._files.remove(job_id)

    def submit(
        self, principal: Principal, job_id: str, file_name: str, size: int, output_ending: str, options: Options
    ) -> Job:
        """Queue a reserved job whose file is there."""
        now = self._clock()
        name = shown_name(file_name)
        job = Job(job_id, principal.name, now, name, ending(file_name), output_ending, size, options)
        try:
            with writing(self._engine) as connection:
                jobs.submit(connection, job)
                _note(connection, now, principal, "job.submit", job)
        except BaseException:
            self.discard(job_id)
            raise
        self._on_change()
        return job

    def listed(self, principal: Principal, limit: int) -> list[Job]:
        """The principal's jobs, the newest first; an admin's are everybody's. Raises PetitionError FORBIDDEN."""
        _require(principal)
        with self._engine.connect() as connection:
            return jobs.listed(connection, principal, limit)

    def read(self, principal: Principal, job_id: str) -> tuple[Job, int]:
        """A job, and how many are run before it. Raises PetitionError FORBIDDEN, NOT_FOUND."""
        _require(principal)
        with self._engine.connect() as connection:
            job = jobs.find(connection, principal, job_id)
            return job, jobs.ahead(connection, job) if job.state is State.QUEUED else 0

    def cancel(self, principal: Principal, job_id: str) -> Job:
        """End a job and remove its files: at once if it waits, otherwise within a second or two. Again, it changes nothing.

        Raises:
            PetitionError: FORBIDDEN, NOT_FOUND; CONFLICT if it was done or failed before.
        """
        _require(principal)
        now = self._clock()
        with writing(self._engine) as connection:
            before = jobs.find(connection, principal, job_id)
            state = jobs.cancel(connection, job_id, now)
            if state in (State.DONE, State.FAILED):
                message = f"job '{job_id}' is {state} already; there is nothing left to cancel"
                raise PetitionError(ErrorKind.CONFLICT, message, state=state)
            if before.state in ACTIVE and not before.cancelling:
                _note(connection, now, principal, "job.cancel", before)
            after = jobs.find(connection, principal, job_id)
        if state is State.CANCELLED:
            self._files.remove(job_id)
        self._on_change()
        return after

    def result(self, principal: Principal, job_id: str) -> tuple[Job, Path]:
        """The labelled file. That it was asked for is noted.

        Raises:
            PetitionError: FORBIDDEN, NOT_FOUND; CONFLICT if the job is not done.
        """
        return self._download(principal, job_id, self._files.output, {})

    def report(self, principal: Principal, job_id: str, kind: str) -> tuple[Job, Path]:
        """What the run wrote about itself, `kind` json or html. Raises as `result` does."""
        return self._download(principal, job_id, lambda job: self._files.report(job, kind), {"report": kind})

    def has_report(self, job: Job, kind: str) -> bool:
        """Whether there is one here."""
        return self._files.report(job, kind).is_file()

    def _download(
        self, principal: Principal, job_id: str, path_of: Callable[[Job], Path], payload: dict[str, Any]
    ) -> tuple[Job, Path]:
        _require(principal)
        with writing(self._engine) as connection:
            job = jobs.find(connection, principal, job_id)
            if job.state is not State.DONE:
                message = f"job '{job_id}' is {job.state}; there is a result when it is done"
                raise PetitionError(ErrorKind.CONFLICT, message, state=job.state)
            path = path_of(job)
            if not path.is_file():
                here = self._files.output(job).is_file()
                message = (
                    f"the run of job '{job_id}' left no report; its result is there"
                    if here
                    else f"the files of job '{job_id}' are not on this machine; ask the service that ran it"
                )
                raise PetitionError(ErrorKind.NOT_FOUND, message, job=job_id)
            _note(connection, self._clock(), principal, "job.download", job, **payload)
        return job, path


def _require(principal: Principal) -> None:
    principal.require(Right.CLASSIFY)
    principal.require(Right.READ_RAW)


def _note(connection: Connection, at: datetime, principal: Principal, action: str, job: Job, **payload: Any) -> None:
    entry = audit.Entry(principal.name, action, f"job:{job.id}", {"bytes": job.input_bytes, **payload})
    audit.append(connection, at, [entry])
