"""Runs labelling jobs one at a time, beside the service: claims, watches, ends, and removes what is past its time.

Several services may share a store: each claims the jobs whose files are on its machine, and holds the one it runs by a lease.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from multiprocessing.connection import Connection

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from nlp_service import job_process, jobs
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.job_files import JobFiles, result_name
from nlp_service.job_process import Advanced, Done, Interrupted, Work
from nlp_service.jobs import Job, State
from nlp_service.store import writing

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
"""A runner that is not heard of for so long is gone."""

MOST_ATTEMPTS = 3
"""Ends of the process, without getting further, after which the job itself is at fault."""

SWEEP_EVERY_S = 3600.0
_POLL_S = 2.0
_TICK_S = 0.25
_TELL_S = 1.0


class _End(Enum):
    """How a run ended that came to no end of its own."""

    DIED = auto()
    CANCELLED = auto()
    LOST = auto()
    STOPPED = auto()


class JobRunner:
    """A thread that runs jobs; `wake` makes it look at once.

    Args:
        keep_for: jobs that ended longer ago are removed.
        count: told how many rows were answered (a metric).
    """

    def __init__(
        self,
        engine: Engine,
        files: JobFiles,
        work: Work,
        keep_for: timedelta,
        count: Callable[[int], None] = lambda rows: None,
        lease: timedelta = LEASE,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._files = files
        self._work = work
        self._keep_for = keep_for
        self._count = count
        self._lease = lease
        self._clock = clock
        self._name = secrets.token_hex(16)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._next_sweep = self._next_recovery = 0.0

    def start(self) -> None:
        """Begin, with what an earlier process left."""
        self._thread.start()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def stop(self) -> None:
        """End the job at hand, which will go on where it stood, and the thread."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            again = False
            try:
                self.keep_house()
                again = self.run_next()
            except Exception as error:  # the database may be away for a while: jobs must not stop for that
                log.error("jobs: %s; trying again", type(error).__name__)
            if not again:
                self._wake.wait(_POLL_S)

    def keep_house(self) -> None:
        """Free the jobs of runners that are gone; now and then, remove what is past its time."""
        now, at = time.monotonic(), self._clock()
        if now >= self._next_recovery:
            self._next_recovery = now + self._lease.total_seconds() / 3
            with self._engine.connect() as connection:
                lapsed = jobs.any_lapsed(connection, at)
            if lapsed:
                with writing(self._engine) as connection:
                    cancelled = jobs.recover(connection, at)
                for job_id in cancelled:
                    self._files.remove(job_id)
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP_EVERY_S
            with writing(self._engine) as connection:
                expired = jobs.expire(connection, at - self._keep_for)
            with self._engine.connect() as connection:
                wanted = jobs.with_files(connection)
            strays = list(self._files.strays(wanted))
            for job_id in (*expired, *strays):
                self._files.remove(job_id)
            if expired or strays:
                log.info("jobs: %d past their time and %d directories of none were removed", len(expired), len(strays))

    def _keep_house_meanwhile(self) -> None:
        try:
            self.keep_house()
        except (SQLAlchemyError, OSError) as error:
            log.error("jobs: what is past its time stays (%s); trying again", type(error).__name__)

    def run_next(self) -> bool:
        """Run the first job that waits with its files here; False if there is none, or it was given back."""
        with self._engine.connect() as connection:
            here = [job_id for job_id in jobs.waiting(connection) if self._files.here(job_id)]
        if not here:
            return False
        with writing(self._engine) as connection:
            job = jobs.claim(connection, here, self._name, self._clock(), self._lease)
        if job is None:
            return False
        log.info("job %s: run %d begins", job.id, job.attempts)
        process, messages = job_process.start(
            *(self._work, self._files.input(job), self._files.output(job), job.options),
            names=(job.file_name, result_name(job)),
        )
        try:
            outcome = self._watch(job, messages)
        finally:
            job_process.end(process)
            messages.close()
        return self._conclude(job, outcome)

    def _watch(self, job: Job, messages: Connection) -> Done | PetitionError | Interrupted | _End:
        """What comes of a run; says meanwhile how far it is, at most once a second."""
        news: Advanced | None = None
        known: int | None = None
        next_told = next_renewal = 0.0
        while not self._stopping.is_set():
            try:
                while messages.poll(_TICK_S if news is None else 0):
                    message = messages.recv()
                    if not isinstance(message, Advanced):
                        if news is not None:
                            self._renew(job, news)
                        return message  # type: ignore[no-any-return]
                    self._count(message.done - (message.done if known is None else known))
                    known, news = message.done, message
            except (EOFError, OSError):
                return _End.DIED
            now = time.monotonic()
            if now < next_told:
                self._stopping.wait(_TICK_S)
                continue
            next_told = now + _TELL_S
            try:
                if news is not None or now >= next_renewal:
                    standing = self._renew(job, news)
                    news, next_renewal = None, now + self._lease.total_seconds() / 3
                else:
                    with self._engine.connect() as connection:
                        standing = jobs.held(connection, job.id, self._name)
            except SQLAlchemyError as error:
                log.error("job %s: its state cannot be told (%s); trying again", job.id, type(error).__name__)
                continue
            if standing is None:
                return _End.LOST
            if standing.cancelling:
                return _End.CANCELLED
            self._keep_house_meanwhile()
        return _End.STOPPED

    def _renew(self, job: Job, news: Advanced | None) -> Job | None:
        rows, rate = ((news.done, news.total), news.rate) if news else (None, None)
        with writing(self._engine) as connection:
            return jobs.renew(connection, job.id, self._name, self._clock() + self._lease, rows, rate)

    def _conclude(self, job: Job, outcome: Done | PetitionError | Interrupted | _End) -> bool:
        """Write down what came of a run; False if the job waits again."""
        failed = isinstance(outcome, PetitionError) and outcome.kind is ErrorKind.CLASSIFICATION_FAILED
        if outcome is _End.DIED or failed:
            with self._engine.connect() as connection:
                standing = jobs.held(connection, job.id, self._name)
            if standing is not None and standing.attempts < MOST_ATTEMPTS:
                log.error("job %s: its process died in run %d; it goes on where it stood", job.id, standing.attempts)
                return self._give_back(job, tried=True)
            outcome = PetitionError(
                ErrorKind.CLASSIFICATION_FAILED,
                f"the process that labels the file died {MOST_ATTEMPTS} times at the same place, often for want of memory; "
                "split the file, or have the operator look at the service's log",
            )
        if isinstance(outcome, Interrupted) or outcome is _End.STOPPED:
            return self._give_back(job, tried=False)
        if outcome is _End.LOST:
            log.error("job %s: another service took it over, since this one was not heard of", job.id)
            return True
        state, error = State.CANCELLED, None
        if isinstance(outcome, Done):
            state = State.DONE
        elif isinstance(outcome, PetitionError):
            state, error = State.FAILED, self._told(job, outcome)
        with writing(self._engine) as connection:
            ended = jobs.finish(connection, job.id, self._name, state, self._clock(), error)
        log.info("job %s: %s%s", job.id, ended, f" ({error.kind})" if error else "")
        if ended is State.DONE:
            self._files.input(job).unlink(missing_ok=True)  # not before: until then the job may have to run again
        elif ended is not None:
            self._files.remove(job.id)
        return True

    def _give_back(self, job: Job, *, tried: bool) -> bool:
        with writing(self._engine) as connection:
            jobs.give_back(connection, job.id, self._name, tried=tried)
        return False

    def _told(self, job: Job, error: PetitionError) -> PetitionError:
        """An error in the owner's words: the file by its name, no path of this machine."""
        if error.kind in (ErrorKind.INVALID_MODEL, ErrorKind.INVALID_RULES):
            log.error("job %s: %s", job.id, error.message)
            return PetitionError(error.kind, "the service's model or rules cannot be loaded; tell the operator")
        message = error.message
        files = {self._files.input(job): job.file_name, self._files.output(job): "the result"}
        for path, name in {**files, self._files.input(job).parent: "the job"}.items():
            message = message.replace(str(path.absolute()), name).replace(str(path), name)
        return PetitionError(error.kind, message)
