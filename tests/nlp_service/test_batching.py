import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nlp_service.batching import Batcher
from nlp_service.errors import ErrorKind, PetitionError

pytestmark = pytest.mark.anyio


class Work:
    """Doubles numbers; -1 breaks the batch, 0 makes an answer too few. Batches wait while the gate is shut."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.entered.set()
        assert self.gate.wait(10)
        self.batches.append(list(items))
        if -1 in items:
            raise RuntimeError("bí mật")
        return [2 * item for item in items if item]


@asynccontextmanager
async def running(work: Work, max_queue: int = 100, max_batch: int = 4) -> AsyncIterator[Batcher[int, int]]:
    batcher: Batcher[int, int] = Batcher(work, max_queue, max_batch)
    batcher.start()
    try:
        # A worker that died would leave its callers waiting for ever: let the test fail instead.
        async with asyncio.timeout(10):
            yield batcher
    finally:
        work.gate.set()
        await batcher.close()


async def held(batcher: Batcher[int, int], work: Work, item: int) -> "asyncio.Task[list[int | PetitionError]]":
    """Submit an item and keep its batch waiting inside the worker."""
    work.gate.clear()
    work.entered.clear()
    task = asyncio.create_task(batcher.submit([item]))
    await asyncio.to_thread(work.entered.wait, 10)
    return task


async def one_leaves(
    batcher: Batcher[int, int], work: Work
) -> "tuple[asyncio.Task[list[int | PetitionError]], asyncio.Task[list[int | PetitionError]]]":
    """1 is held in the worker; of 2 and 3, which wait behind it, 2 leaves. Gives the callers of 1 and 3."""
    first = await held(batcher, work, 1)
    leaving = asyncio.create_task(batcher.submit([2]))
    staying = asyncio.create_task(batcher.submit([3]))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    return first, staying


async def test_everyone_gets_his_own_answers_in_order() -> None:
    work = Work()
    async with running(work) as batcher:
        answers = await asyncio.gather(*(batcher.submit([n, n + 1000]) for n in range(1, 30)))
    assert answers == [[2 * n, 2 * n + 2000] for n in range(1, 30)]
    assert max(map(len, work.batches)) == 4


async def test_what_waits_is_read_together_and_a_lone_item_at_once() -> None:
    work = Work()
    async with running(work) as batcher:
        assert await batcher.submit([7]) == [14]
        first = await held(batcher, work, 1)
        rest = [asyncio.create_task(batcher.submit([n])) for n in (2, 3, 4)]
        await asyncio.sleep(0)
        work.gate.set()
        await asyncio.gather(first, *rest)
    assert work.batches == [[7], [1], [2, 3, 4]]


async def test_a_full_queue_refuses_all_or_nothing_and_recovers() -> None:
    work = Work()
    async with running(work, max_queue=2) as batcher:
        first = await held(batcher, work, 1)
        waiting = asyncio.create_task(batcher.submit([2]))
        await asyncio.sleep(0)
        assert batcher.depth == 1
        with pytest.raises(PetitionError) as caught:
            await batcher.submit([3, 4])
        assert caught.value.kind is ErrorKind.QUEUE_FULL
        assert caught.value.detail == {"waiting": 1, "limit": 2}
        assert batcher.depth == 1
        work.gate.set()
        assert (await first, await waiting) == ([2], [4])
        assert await batcher.submit([3, 4]) == [6, 8]


@pytest.mark.parametrize("bad", [-1, 0])
async def test_a_failing_batch_fails_its_own_items_only(bad: int) -> None:
    work = Work()
    async with running(work) as batcher:
        first = await held(batcher, work, 1)
        failing = asyncio.create_task(batcher.submit([bad, 5]))
        await asyncio.sleep(0)
        work.gate.set()
        failed = await failing
        assert all(isinstance(answer, PetitionError) for answer in failed)
        assert {answer.kind for answer in failed if isinstance(answer, PetitionError)} == {
            ErrorKind.CLASSIFICATION_FAILED
        }
        assert "bí mật" not in str(failed)
        assert await first == [2]
        assert await batcher.submit([6]) == [12]
        assert batcher.alive


async def test_closing_answers_what_was_accepted_and_refuses_the_rest() -> None:
    work = Work()
    async with running(work) as batcher:
        first = await held(batcher, work, 1)
        waiting = asyncio.create_task(batcher.submit([2, 3, 4, 5, 6, 7]))
        await asyncio.sleep(0)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(PetitionError) as caught:
            await batcher.submit([9])
        assert caught.value.kind is ErrorKind.SHUTTING_DOWN
        work.gate.set()
        await closing
        assert (await first, await waiting) == ([2], [4, 6, 8, 10, 12, 14])
        assert not batcher.alive


async def test_a_caller_who_leaves_disturbs_nobody() -> None:
    work = Work()
    async with running(work) as batcher:
        first, staying = await one_leaves(batcher, work)
        work.gate.set()
        assert (await first, await staying) == ([2], [6])
    assert [2] not in work.batches and all(2 not in batch for batch in work.batches)


def kinds(answers: Sequence[object]) -> list[object]:
    return [answer.kind if isinstance(answer, PetitionError) else answer for answer in answers]


async def test_everything_shuffled_everybody_still_gets_his_own() -> None:
    work = Work()
    async with running(work, max_queue=1_000, max_batch=7) as batcher:

        async def caller(start: int) -> None:
            for n in range(start, start + 40, 4):
                items = list(range(n, n + n % 5 + 1))
                assert await batcher.submit(items) == [2 * item for item in items]

        await asyncio.gather(*(caller(start) for start in range(1, 600, 40)))
    assert all(1 <= len(batch) <= 7 for batch in work.batches)


async def test_one_caller_s_items_may_take_several_batches() -> None:
    work = Work()
    async with running(work, max_batch=3) as batcher:
        assert await batcher.submit(list(range(1, 9))) == [2 * n for n in range(1, 9)]
    assert work.batches == [[1, 2, 3], [4, 5, 6], [7, 8]]


async def test_a_lone_item_waits_for_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    timers: list[float] = []
    call_at = loop.call_at

    def observed(when: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        timers.append(when)
        return call_at(when, *args, **kwargs)

    work = Work()
    async with running(work) as batcher:
        monkeypatch.setattr(loop, "call_at", observed)
        for n in range(1, 6):
            assert await batcher.submit([n]) == [2 * n]
    assert work.batches == [[1], [2], [3], [4], [5]]
    assert timers == []


async def test_exactly_the_queue_s_limit_is_accepted() -> None:
    work = Work()
    async with running(work, max_queue=3) as batcher:
        first = await held(batcher, work, 1)
        waiting = asyncio.create_task(batcher.submit([2, 3, 4]))
        await asyncio.sleep(0)
        assert batcher.depth == 3
        with pytest.raises(PetitionError) as caught:
            await batcher.submit([5])
        assert caught.value.http_status == 429
        work.gate.set()
        assert (await first, await waiting) == ([2], [4, 6, 8])
        assert batcher.depth == 0
    assert not any(5 in batch for batch in work.batches)


async def test_nothing_to_answer_is_answered() -> None:
    work = Work()
    async with running(work) as batcher:
        assert await batcher.submit([]) == []
        assert await batcher.submit([1]) == [2]
    assert work.batches == [[1]]


async def test_a_service_that_has_not_begun_or_has_ended_refuses() -> None:
    work = Work()
    batcher: Batcher[int, int] = Batcher(work, 10, 4)
    assert not batcher.alive
    for _ in range(2):
        with pytest.raises(PetitionError) as caught:
            await batcher.submit([1])
        assert caught.value.kind is ErrorKind.SHUTTING_DOWN
        await batcher.close()
    assert work.batches == []


async def test_closing_twice_and_closing_idle_ends() -> None:
    async with running(Work()) as batcher:
        await asyncio.gather(batcher.close(), batcher.close())
        assert not batcher.alive


async def test_closing_after_a_failed_batch_still_answers_the_rest() -> None:
    work = Work()
    async with running(work, max_batch=1) as batcher:
        first = await held(batcher, work, 1)
        waiting = asyncio.create_task(batcher.submit([-1, 6]))
        await asyncio.sleep(0)
        closing = asyncio.create_task(batcher.close())
        work.gate.set()
        await closing
        assert await first == [2]
        assert kinds(await waiting) == [ErrorKind.CLASSIFICATION_FAILED, 12]


async def test_a_failure_is_logged_without_the_petition(caplog: pytest.LogCaptureFixture) -> None:
    async with running(Work()) as batcher:
        with caplog.at_level(logging.DEBUG):
            failed = await batcher.submit([-1, 3])
    assert kinds(failed) == [ErrorKind.CLASSIFICATION_FAILED] * 2
    assert all("RuntimeError" in answer.message for answer in failed if isinstance(answer, PetitionError))
    assert "a batch of 2 failed: RuntimeError" in caplog.text
    assert "bí mật" not in caplog.text


@pytest.mark.parametrize("answers", [[], [1], [1, 2, 3], None], ids=["none", "too few", "too many", "no list"])
async def test_a_wrong_number_of_answers_is_nobody_s_answer(answers: list[int] | None) -> None:
    batcher: Batcher[int, int] = Batcher(lambda _: answers, 10, 4)  # type: ignore[arg-type, return-value]
    batcher.start()
    async with asyncio.timeout(10):
        assert kinds(await batcher.submit([5, 6])) == [ErrorKind.CLASSIFICATION_FAILED] * 2
    assert batcher.alive
    await batcher.close()


async def test_a_caller_who_leaves_during_the_work_disturbs_nobody() -> None:
    work = Work()
    async with running(work) as batcher:
        leaving = await held(batcher, work, 1)
        leaving.cancel()
        await asyncio.sleep(0)
        staying = asyncio.create_task(batcher.submit([3]))
        await asyncio.sleep(0)
        work.gate.set()
        assert await staying == [6]
        assert await batcher.submit([4]) == [8]
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_caller_who_leaves_part_of_a_batch_leaves_the_others_in_order() -> None:
    work = Work()
    async with running(work) as batcher:
        first = await held(batcher, work, 1)
        callers = [asyncio.create_task(batcher.submit([n])) for n in (2, 3, 4)]
        await asyncio.sleep(0)
        callers[1].cancel()
        await asyncio.sleep(0)
        work.gate.set()
        assert [await task for task in (first, callers[0], callers[2])] == [[2], [4], [8]]
    assert work.batches == [[1], [2, 4]]


async def test_a_queue_of_callers_who_all_left_does_no_work() -> None:
    work = Work()
    async with running(work, max_queue=2) as batcher:
        first = await held(batcher, work, 1)
        leaving = asyncio.create_task(batcher.submit([2, 3]))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.sleep(0)
        work.gate.set()
        assert await first == [2]
        assert await batcher.submit([4, 5]) == [8, 10]
    assert work.batches == [[1], [4, 5]]


async def test_sizes_of_batches_are_told() -> None:
    work = Work()
    sizes: list[int] = []
    batcher: Batcher[int, int] = Batcher(work, 100, 4, sizes.append)
    batcher.start()
    await batcher.submit([1])
    await batcher.submit([1, 2, 3, 4, 5])
    await batcher.submit([-1])
    await batcher.close()
    assert sizes == [1, 4, 1, 1]


async def test_the_event_loop_runs_on_while_the_model_works() -> None:
    work = Work()
    async with running(work) as batcher:
        first = await held(batcher, work, 1)
        for _ in range(50):
            await asyncio.sleep(0)
        assert not first.done()
        work.gate.set()
        assert await first == [2]


async def test_closing_answers_those_who_wait_behind_one_who_left() -> None:
    work = Work()
    async with running(work, max_batch=1) as batcher:
        first, staying = await one_leaves(batcher, work)
        closing = asyncio.create_task(batcher.close())
        work.gate.set()
        await closing
        assert (await first, await staying) == ([2], [6])
    assert work.batches == [[1], [3]]
