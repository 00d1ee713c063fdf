"""The queue of labelling jobs, on each kind of database."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from nlp_service import jobs
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.jobs import Job, Options, State
from nlp_service.roles import Principal, Role
from nlp_service.store import writing

NOON = datetime(2026, 11, 28, 5, 0, tzinfo=UTC)
LEASE = timedelta(seconds=30)
LAN = Principal("lan", Role.REVIEWER)
HUNG = Principal("hùng", Role.OFFICER, frozenset({"so_xay_dung"}))
ADMIN = Principal("admin", Role.ADMIN)


def submitted(engine: Engine, owner: Principal = LAN, at: datetime = NOON) -> str:
    options = Options(place_columns=("xã", "huyện"), encoding="tcvn3")
    job = Job(jobs.new_id(), owner.name, at, "đơn cũ.csv", ".csv", ".xlsx", 12, options)
    with writing(engine) as connection:
        jobs.submit(connection, job)
    return job.id


def claimed(engine: Engine, runner: str = "a", at: datetime = NOON) -> Job | None:
    with writing(engine) as connection:
        return jobs.claim(connection, jobs.waiting(connection), runner, at, LEASE)


def read(engine: Engine, job_id: str) -> Job:
    with engine.connect() as connection:
        return jobs.find(connection, ADMIN, job_id)


def test_a_job_comes_back_as_it_was_handed_in(engine: Engine) -> None:
    job = read(engine, submitted(engine))
    assert job == replace(job, owner="lan", file_name="đơn cũ.csv", state=State.QUEUED, error=None, created_at=NOON)
    assert job.options == Options(place_columns=("xã", "huyện"), encoding="tcvn3")


def test_two_runners_never_get_the_same_job_and_none_is_left(engine: Engine) -> None:
    handed_in = {submitted(engine) for _ in range(24)}
    start, got = threading.Barrier(4), list[str]()

    def work(runner: str) -> None:
        start.wait()
        while True:
            with engine.connect() as connection:  # as the runner does: seen in one transaction, claimed in the next
                seen = jobs.waiting(connection)
            if not seen:
                return
            with writing(engine) as connection:
                job = jobs.claim(connection, seen, runner, NOON, LEASE)
            if job is not None:
                got.append(job.id)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 24 and set(got) == handed_in


def test_the_first_to_come_is_the_first_to_run(engine: Engine) -> None:
    backwards = [submitted(engine, at=NOON - timedelta(hours=i)) for i in range(6)]
    with engine.connect() as connection:
        assert jobs.ahead(connection, jobs.find(connection, LAN, backwards[0])) == 5
    run = [claimed(engine) for _ in range(7)]
    assert [job and job.id for job in run] == [*reversed(backwards), None]


def test_the_job_of_a_runner_that_is_gone_waits_again_and_is_no_longer_its_own(engine: Engine) -> None:
    job_id = submitted(engine)
    claimed(engine, "gone")
    with writing(engine) as connection:
        jobs.renew(connection, job_id, "gone", NOON + 2 * LEASE, (256, 1000), 10)
        jobs.recover(connection, NOON + LEASE)
    assert read(engine, job_id).state is State.RUNNING
    with writing(engine) as connection:
        assert jobs.any_lapsed(connection, NOON + 3 * LEASE)
        assert jobs.recover(connection, NOON + 3 * LEASE) == []
    job = read(engine, job_id)
    assert (job.state, job.rows_done, job.attempts) == (State.QUEUED, 256, 1)
    claimed(engine, "next", NOON + 3 * LEASE)
    with writing(engine) as connection:
        assert jobs.renew(connection, job_id, "gone", NOON + 9 * LEASE, (999, 1000)) is None
        assert jobs.finish(connection, job_id, "gone", State.DONE, NOON) is None
        jobs.give_back(connection, job_id, "gone", tried=False)
        standing = jobs.held(connection, job_id, "next")
    assert standing is not None and (standing.rows_done, standing.attempts) == (256, 2)


def test_what_was_to_be_cancelled_is_when_its_runner_is_gone(engine: Engine) -> None:
    job_id = submitted(engine)
    claimed(engine, "gone")
    with writing(engine) as connection:
        assert jobs.cancel(connection, job_id, NOON) is State.RUNNING
        assert jobs.recover(connection, NOON + 2 * LEASE) == [job_id]
    assert read(engine, job_id).state is State.CANCELLED


def test_a_job_that_was_to_be_cancelled_is_not_done_even_if_it_got_ready(engine: Engine) -> None:
    job_id = submitted(engine)
    claimed(engine)
    with writing(engine) as connection:
        jobs.cancel(connection, job_id, NOON)
        assert jobs.finish(connection, job_id, "a", State.DONE, NOON) is State.CANCELLED


def test_only_runs_that_get_no_further_count_against_a_job(engine: Engine) -> None:
    job_id = submitted(engine)
    for expected, done, tried in ((1, 0, True), (2, 0, True), (1, 256, True), (2, 256, True), (3, 256, False)):
        job = claimed(engine)
        assert job is not None
        with writing(engine) as connection:
            standing = jobs.renew(connection, job_id, "a", NOON + LEASE, (done, 1000))
            assert standing is not None and standing.attempts == expected
            jobs.give_back(connection, job_id, "a", tried=tried)
    assert read(engine, job_id).attempts == 2  # the service was stopped: not the job's fault


def test_the_time_left_follows_from_the_rate(engine: Engine) -> None:
    job_id = submitted(engine)
    claimed(engine)
    assert read(engine, job_id).seconds_left is None
    with writing(engine) as connection:
        jobs.renew(connection, job_id, "a", NOON + LEASE, (200, 1000), 40.0)
    assert read(engine, job_id).seconds_left == 20


def test_nobody_but_an_admin_sees_anothers_job(engine: Engine) -> None:
    hers, his = submitted(engine, LAN), submitted(engine, HUNG)
    with engine.connect() as connection:
        for principal, expected in ((LAN, {hers}), (HUNG, {his}), (ADMIN, {hers, his})):
            assert {job.id for job in jobs.listed(connection, principal, 50)} == expected
        with pytest.raises(PetitionError) as failure:
            jobs.find(connection, HUNG, hers)
    assert failure.value.kind is ErrorKind.NOT_FOUND


def test_jobs_past_their_time_are_forgotten_and_running_ones_never(engine: Engine) -> None:
    old, running, new = (submitted(engine, at=NOON + timedelta(minutes=i)) for i in range(3))
    for job_id in (old, running, new):
        claimed(engine, job_id)
    with writing(engine) as connection:
        jobs.finish(connection, old, old, State.DONE, NOON - timedelta(days=8))
        jobs.finish(connection, new, new, State.DONE, NOON)
        assert jobs.expire(connection, NOON - timedelta(days=7)) == [old]
        assert jobs.with_files(connection) == {running, new}
