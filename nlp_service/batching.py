"""Concurrent requests share the model through one bounded queue; a full queue refuses at once instead of slowing all."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from nlp_service.errors import ErrorKind, PetitionError

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Groups waiting items and answers them in one call of `work` in a thread.

    There is no waiting time: a batch is whatever queued up while the one before it ran, so a lone request is never
    delayed and a busy service batches by itself.

    Args:
        work: answers a batch, in order; runs in one worker thread. If it raises, the items of that batch fail and
            nothing else does.
        max_queue: items that may wait; one more is refused with QUEUE_FULL.
        max_batch: items in one call of `work`.
        observe: told the size of every batch (a metric).
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Answer]],
        max_queue: int,
        max_batch: int,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._work = work
        self._max_queue = max_queue
        self._max_batch = max_batch
        self._observe = observe
        self._waiting: list[tuple[Item, asyncio.Future[Answer | PetitionError]]] = []
        self._arrived = asyncio.Event()
        self._closing = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="classify")
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        """Items waiting."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether the worker runs."""
        return self._loop_task is not None and not self._loop_task.done()

    def start(self) -> None:
        """Begin answering; call inside a running event loop."""
        self._loop_task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Refuse new items, answer those accepted, stop."""
        self._closing = True
        self._arrived.set()
        if self._loop_task is not None:
            await self._loop_task
        self._executor.shutdown()

    async def submit(self, items: Sequence[Item]) -> list[Answer | PetitionError]:
        """Answers for `items`, in order; all are accepted or none.

        An item whose batch failed gets a CLASSIFICATION_FAILED error in the place of its answer.

        Raises:
            PetitionError: QUEUE_FULL or SHUTTING_DOWN.
        """
        if self._closing or not self.alive:
            raise PetitionError(ErrorKind.SHUTTING_DOWN, "the service is stopping; send it again in a moment")
        if len(self._waiting) + len(items) > self._max_queue:
            raise PetitionError(
                ErrorKind.QUEUE_FULL,
                f"{len(self._waiting)} petitions are waiting, {len(items)} more exceed the limit of {self._max_queue}; "
                "send again after Retry-After seconds",
                waiting=len(self._waiting),
                limit=self._max_queue,
            )
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Answer | PetitionError]] = [loop.create_future() for _ in items]
        self._waiting.extend(zip(items, futures, strict=True))
        self._arrived.set()
        return list(await asyncio.gather(*futures))

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._waiting[: self._max_batch]
            del self._waiting[: self._max_batch]
            if not self._waiting and not self._closing:
                self._arrived.clear()
            # A caller that went away has cancelled its future: no work for it.
            batch = [(item, future) for item, future in batch if not future.cancelled()]
            if not batch:
                if self._closing and not self._waiting:
                    return
                continue
            self._observe(len(batch))
            for (_, future), answer in zip(batch, await self._answer([item for item, _ in batch]), strict=True):
                if not future.cancelled():
                    future.set_result(answer)

    async def _answer(self, items: list[Item]) -> Sequence[Answer | PetitionError]:
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._executor, self._work, items)
            if len(answers) != len(items):
                raise RuntimeError(f"{len(answers)} answers for {len(items)} items")
            return answers
        except Exception as error:
            # The text of an exception may quote a petition: only its type is told.
            log.error("a batch of %d failed: %s", len(items), type(error).__name__)
            return [
                PetitionError(
                    ErrorKind.CLASSIFICATION_FAILED,
                    f"reading this petition failed ({type(error).__name__}); send it again, and tell the operator if it recurs",
                )
            ] * len(items)
