"""Jobs in processes of their own: what comes out, and what is left after every kind of end. The model is faked."""

import multiprocessing
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from nlp_service import job_runner
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.job_desk import JobDesk
from nlp_service.job_files import STALE_S, JobFiles
from nlp_service.job_process import Work
from nlp_service.job_runner import LEASE, JobRunner
from nlp_service.jobs import ACTIVE, Job, Options, State, new_id
from nlp_service.label_answers import Classify
from nlp_service.roles import LOCAL
from nlp_service.store import jobs as jobs_table
from nlp_service.store import open_store, upgrade, writing
from tests.nlp_service.job_fakes import answer, deadly, group, labelled, never, rows, slowly, wait_for

pytestmark = pytest.mark.slow

WEEK = timedelta(days=7)


@pytest.fixture
def one_engine(tmp_path: Path) -> Iterator[Engine]:
    """For what no database changes."""
    engine = open_store(f"sqlite:///{tmp_path / 'one.db'}")
    upgrade(engine)
    yield engine
    engine.dispose()


class Place:
    """A machine with its files, and who hands jobs in there."""

    def __init__(self, engine: Engine, root: Path) -> None:
        self.engine = engine
        self.root = root
        self.files = JobFiles(root)
        self.desk = JobDesk(engine, self.files, 10_000_000, WEEK)

    def hand_in(self, data: bytes, name: str = "đơn cũ.csv", **options: str) -> str:
        job_id = self.desk.reserve(LOCAL, len(data))
        with self.desk.open_input(job_id, name) as stream:
            stream.write(data)
        self.desk.submit(LOCAL, job_id, name, len(data), ".csv", Options(**options))  # type: ignore[arg-type]
        return job_id

    def read(self, job_id: str) -> Job:
        return self.desk.read(LOCAL, job_id)[0]

    def runner(self, classify: Classify, workers: int = 1, **options: object) -> JobRunner:
        work = Work(Path("none"), Path("none"), workers=workers, classify=classify)
        return JobRunner(self.engine, self.files, work, WEEK, **options)  # type: ignore[arg-type]

    @contextmanager
    def running(self, classify: Classify, workers: int = 1) -> Iterator[JobRunner]:
        runner = self.runner(classify, workers)
        runner.start()
        try:
            yield runner
        finally:
            runner.stop()

    def ended(self, job_id: str) -> Job:
        wait_for(lambda: self.read(job_id).state not in ACTIVE)
        return self.read(job_id)


@pytest.fixture
def place(one_engine: Engine, tmp_path: Path) -> Place:
    return Place(one_engine, tmp_path / "jobs")


def after(wait: timedelta) -> Callable[[], datetime]:
    return lambda: datetime.now(UTC) + wait


def leader() -> int:
    """The process of the job that runs."""
    [process] = [child for child in multiprocessing.active_children() if child.name == "label"]
    assert process.pid is not None
    return process.pid


def test_a_result_is_what_the_command_gives_and_for_its_owner_alone(engine: Engine, tmp_path: Path) -> None:
    place, counted = Place(engine, tmp_path / "jobs"), list[int]()
    job_id = place.hand_in(rows(600))
    assert place.runner(answer, count=counted.append).run_next()
    job = place.read(job_id)
    assert (job.state, job.rows_done, job.rows_total, sum(counted)) == (State.DONE, 600, 600, 600)
    assert job.started_at is not None and job.finished_at is not None and job.error is None
    assert place.files.output(job).read_bytes() == labelled(tmp_path / "by_hand", rows(600))
    assert not place.files.input(job).exists()
    assert stat.S_IMODE(place.root.stat().st_mode) == 0o700
    for path in place.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_job_that_was_stopped_goes_on_where_it_stood_with_the_same_bytes(engine: Engine, tmp_path: Path) -> None:
    place, data = Place(engine, tmp_path / "jobs"), rows(1000)
    job_id = place.hand_in(data)
    with place.running(never):
        wait_for(lambda: place.read(job_id).rows_done)
        process = leader()
    job = place.read(job_id)
    assert (job.state, job.rows_done, job.attempts) == (State.QUEUED, 256, 0)
    assert group(process) == []
    counted: list[int] = []
    assert place.runner(answer, count=counted.append).run_next()
    assert sum(counted) == 1000 - 256
    assert place.files.output(job).read_bytes() == labelled(tmp_path / "by_hand", data)


def test_cancelling_leaves_neither_processes_nor_files(place: Place) -> None:
    job_id = place.hand_in(rows(1000))
    with place.running(never, workers=2):
        wait_for(lambda: place.read(job_id).rows_done)
        process = leader()
        assert len(group(process)) >= 3
        assert place.desk.cancel(LOCAL, job_id).cancelling
        assert place.ended(job_id).state is State.CANCELLED
        wait_for(lambda: not list(place.root.iterdir()))
        assert group(process) == []


def test_a_job_that_waits_is_cancelled_at_once(place: Place) -> None:
    job_id = place.hand_in(rows(3))
    assert place.desk.cancel(LOCAL, job_id).state is State.CANCELLED
    assert list(place.root.iterdir()) == []
    assert not place.runner(answer).run_next()
    assert place.desk.cancel(LOCAL, job_id).state is State.CANCELLED


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_kills_its_process_three_times_has_failed(place: Place, workers: int) -> None:
    job_id = place.hand_in(rows(600))
    runner = place.runner(deadly, workers)
    assert [runner.run_next() for _ in range(3)] == [False, False, True]
    job = place.read(job_id)
    assert job.state is State.FAILED and job.error is not None
    assert job.error["kind"] == ErrorKind.CLASSIFICATION_FAILED and "died 3 times" in job.error["message"]
    assert list(place.root.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (rows(3), {"text_column": "không có"}, "không có"),
        (b"\x00\x01\x02" * 100, {}, "đơn cũ.csv"),
    ],
)
def test_a_bad_file_is_told_by_its_own_name_and_no_path_of_the_server(
    place: Place, data: bytes, options: dict[str, str], said: str
) -> None:
    job_id = place.hand_in(data, **options)
    place.runner(answer).run_next()
    job = place.read(job_id)
    assert job.state is State.FAILED and job.error is not None
    assert job.error["kind"] == ErrorKind.INVALID_FILE and said in job.error["message"]
    assert str(place.root) not in job.error["message"] and job_id not in job.error["message"]
    assert list(place.root.iterdir()) == []


def test_a_model_that_cannot_be_loaded_is_the_operators_matter(place: Place) -> None:
    job_id = place.hand_in(rows(3))
    missing = place.root / "models" / "none"
    JobRunner(place.engine, place.files, Work(missing, missing), WEEK).run_next()
    error = place.read(job_id).error
    assert error is not None and error["kind"] == ErrorKind.INVALID_MODEL
    assert str(missing) not in error["message"] and "operator" in error["message"]


def test_progress_is_told_while_it_runs_with_its_rate(place: Place) -> None:
    job_id = place.hand_in(rows(2000))
    with place.running(slowly):
        wait_for(lambda: (place.read(job_id).rows_per_second or 0) > 0)
        job = place.read(job_id)
        assert job.state is State.RUNNING and 0 < job.rows_done <= 2000 and job.rows_total == 2000
        assert job.seconds_left is not None and job.seconds_left == pytest.approx(
            (2000 - job.rows_done) / (job.rows_per_second or 1)
        )


def test_a_runner_that_lost_its_job_lets_go_of_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = place.hand_in(rows(1000))
    with place.running(never):
        wait_for(lambda: place.read(job_id).rows_done)
        process = leader()
        with writing(place.engine) as connection:
            taken = {"runner": "another", "lease_until": datetime.now(UTC) + WEEK}
            connection.execute(update(jobs_table).values(taken))
        wait_for(lambda: group(process) == [])
    assert place.read(job_id).state is State.RUNNING and place.files.here(job_id)


def test_machines_that_share_a_store_run_the_jobs_whose_files_they_have(engine: Engine, tmp_path: Path) -> None:
    here, there = Place(engine, tmp_path / "here"), Place(engine, tmp_path / "there")
    first = there.hand_in(rows(3))
    second = here.hand_in(rows(4))
    assert here.runner(answer).run_next() and not here.runner(answer).run_next()
    assert (here.read(first).state, here.read(second).state) == (State.QUEUED, State.DONE)
    with pytest.raises(PetitionError, match="not on this machine"):
        there.desk.result(LOCAL, second)


def test_a_job_whose_service_is_gone_runs_again_when_its_lease_is_over(place: Place) -> None:
    job_id = place.hand_in(rows(3))
    with writing(place.engine) as connection:
        gone = {"state": State.RUNNING, "runner": "gone", "lease_until": datetime.now(UTC) + LEASE}
        connection.execute(update(jobs_table).values(gone))
    early, late = place.runner(answer), place.runner(answer, clock=after(LEASE + timedelta(seconds=1)))
    early.keep_house()
    assert not early.run_next()
    late.keep_house()
    assert late.run_next() and place.read(job_id).state is State.DONE


def test_what_is_past_its_time_vanishes_and_nothing_else(place: Place) -> None:
    done = place.hand_in(rows(3))
    place.runner(answer).run_next()
    waiting = place.hand_in(rows(3))
    place.runner(answer, clock=after(WEEK - timedelta(minutes=1))).keep_house()
    assert place.files.here(done)
    place.runner(answer, clock=after(WEEK + timedelta(minutes=1))).keep_house()
    with pytest.raises(PetitionError, match="no job"):
        place.read(done)
    assert [path.name for path in place.root.iterdir()] == [waiting]


def test_directories_of_no_job_are_removed_when_nobody_writes_there_any_more(place: Place) -> None:
    uploading, left, other = new_id(), new_id(), place.root / "ghi chú"
    for job_id in (uploading, left):
        place.files.create(job_id)
        with place.files.open_input(job_id, ".csv") as stream:
            stream.write(rows(1))
    other.mkdir()
    long_ago = time.time() - STALE_S - 60
    for path in (place.root / left / "input.csv", place.root / left, place.root / uploading, other):
        os.utime(path, (long_ago, long_ago))
    place.runner(answer).keep_house()
    assert {path.name for path in place.root.iterdir()} == {uploading, other.name}


def test_a_store_that_is_away_for_a_while_does_not_end_the_runner(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(job_runner, "_POLL_S", 0.05)
    with writing(place.engine) as connection:
        connection.exec_driver_sql("ALTER TABLE jobs RENAME TO away")
    with place.running(answer):
        wait_for(lambda: "trying again" in caplog.text)
        with writing(place.engine) as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO jobs")
        job_id = place.hand_in(rows(3))
        assert place.ended(job_id).state is State.DONE
