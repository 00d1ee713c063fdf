import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from nlp_service.batching import Batcher
from nlp_service.errors import ErrorKind, PetitionError

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


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
        first = await held(batcher, work, 1)
        leaving = asyncio.create_task(batcher.submit([2]))
        staying = asyncio.create_task(batcher.submit([3]))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.sleep(0)
        work.gate.set()
        assert (await first, await staying) == ([2], [6])
    assert [2] not in work.batches and all(2 not in batch for batch in work.batches)
