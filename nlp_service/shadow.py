"""Shadow mode: a candidate reads what the current model has just answered, and only the difference is counted.

It runs in a process of its own at the lowest priority, since segmentation holds the interpreter's lock, behind a short
queue that drops what it cannot hold. Nothing waits for it, and nothing that happens to it reaches a request.
"""

import logging
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from nlp_service.errors import PetitionError
from nlp_service.pipeline import Classification, PetitionClassifier
from nlp_service.settings import Settings
from nlp_service.shadow_counts import Labels, Tally, labels
from nlp_service.store import writing

log = logging.getLogger(__name__)

WAITING = 256
"""Petitions that may wait; beyond it they are dropped and counted."""

TOGETHER = 8
LOOK_EVERY_S = 0.5
STORE_EVERY_S = 10.0
STOP_WITHIN_S = 5.0
LOWEST_PRIORITY = 19

_Item = tuple[str, str, Labels]
"""A text, the version that answered it, and its answer."""


class Shadow:
    """One candidate beside whatever model answers.

    Args:
        path: the candidate's directory.
        count: told `compared` or `dropped` and how many (a metric).

    Attributes:
        running: the candidate is loaded and reads.
        problem: why it does not, once that is final.
    """

    def __init__(
        self,
        engine: Engine,
        path: Path,
        settings: Settings,
        count: Callable[[str, int], None] = lambda outcome, number: None,
        waiting: int = WAITING,
    ) -> None:
        self.running = False
        self.problem: str | None = None
        self._engine = engine
        self._path = path
        self._settings = settings
        self._count = count
        self._waiting: queue.Queue[_Item] = queue.Queue(waiting)
        self._tally = Tally()
        self._tallying = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Load the candidate and begin; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Store what was counted, end the process; what still waits is dropped."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def offer(self, texts: Sequence[str], answers: Iterable[Classification | PetitionError]) -> None:
        """Hand over what was answered. Never waits."""
        if self.problem or self._closing.is_set():
            return
        for text, answer in zip(texts, answers, strict=True):
            if not isinstance(answer, Classification):
                continue
            try:
                self._waiting.put_nowait((text, answer.model_version, labels(answer)))
            except queue.Full:
                self._count("dropped", 1)
                self._add(answer.model_version, dropped=1)

    def took(self, version: str, petitions: int, seconds: float) -> None:
        """How long the current model read: beside the candidate's time in the report."""
        if not self.problem:
            self._add(version, current_petitions=petitions, current_seconds=seconds)

    def _add(self, version: str, **columns: float) -> None:
        with self._tallying:
            self._tally.add(_today(), version, **columns)

    def _run(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, self._path, self._settings)
        process = context.Process(target=_read_beside, args=arguments, name="shadow", daemon=True)
        candidate: str | None = None
        try:
            process.start()
            theirs.close()  # its end is then the end of the pipe
            first = self._hear(ours)
            if isinstance(first, PetitionError):
                raise first
            candidate = first
            self.running = True
            log.info("model %s reads beside the one that answers", candidate)
            self._compare(ours, candidate)
        except PetitionError as error:
            self.problem = error.message
        except (EOFError, OSError):
            if not self._closing.is_set():
                self.problem = "the shadow's process ended; restart the service to try again"
        finally:
            self.running = False
            if self.problem:
                log.error("no model reads beside the one that answers: %s", self.problem)
            ours.close()
            process.join(STOP_WITHIN_S)
            if process.is_alive():
                process.kill()
                process.join()
            if candidate:
                self._store(candidate)

    def _compare(self, pipe: Connection, candidate: str) -> None:
        due = time.monotonic() + STORE_EVERY_S
        while not self._closing.is_set():
            # What the candidate itself answered, now that it is current, is no comparison.
            items = [item for item in self._next() if item[1] != candidate]
            if items:
                pipe.send([text for text, _, _ in items])
                found, seconds = self._hear(pipe)
                with self._tallying:
                    for (_, version, said), other in zip(items, found, strict=True):
                        if other is not None:
                            self._tally.compare(_today(), version, said, other)
                            self._tally.add(_today(), version, candidate_seconds=seconds / len(items))
                self._count("compared", sum(other is not None for other in found))
            elif pipe.poll():  # nothing was asked: it is the end of the pipe
                pipe.recv()
            if time.monotonic() >= due:
                self._store(candidate)
                due = time.monotonic() + STORE_EVERY_S

    def _next(self) -> list[_Item]:
        items: list[_Item] = []
        with suppress(queue.Empty):
            items.append(self._waiting.get(timeout=LOOK_EVERY_S))
            while len(items) < TOGETHER:
                items.append(self._waiting.get_nowait())
        return items

    def _hear(self, pipe: Connection) -> Any:
        while not pipe.poll(LOOK_EVERY_S):
            if self._closing.is_set():
                raise EOFError
        return pipe.recv()

    def _store(self, candidate: str) -> None:
        with self._tallying:
            taken, self._tally = self._tally, Tally()
        try:
            with writing(self._engine) as connection:
                taken.store(connection, candidate)
        except SQLAlchemyError as error:
            log.warning("what the shadow counted could not be stored (%s); it is tried again", type(error).__name__)
            with self._tallying:
                self._tally.join(taken)


def _today() -> date:
    return datetime.now(UTC).date()


def _read_beside(pipe: Connection, path: Path, settings: Settings) -> None:
    """The candidate's process: texts in, labels and seconds out, until the pipe ends."""
    # Ctrl-C and SIGTERM may reach the whole process group; the service's end is this one's end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(LOWEST_PRIORITY)
    try:
        classifier = PetitionClassifier.load(
            path, settings.runtime, threads=1, max_chars=settings.max_chars, auto=settings.auto_route
        )
    except PetitionError as error:
        pipe.send(error)
        return
    pipe.send(classifier.bundle.manifest.version)
    with suppress(EOFError, OSError):
        while True:
            texts: list[str] = pipe.recv()
            started = time.perf_counter()
            found = [_labels(classifier, text) for text in texts]
            pipe.send((found, time.perf_counter() - started))


def _labels(classifier: PetitionClassifier, text: str) -> Labels | None:
    try:
        return labels(classifier.classify(text))
    except Exception:  # a text that this model cannot read is no reason to stop
        return None
