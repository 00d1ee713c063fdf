"""The answers of batch labelling: petitions of a table through the classifier, chunk by chunk, in order, on all cores.

Segmentation holds the GIL, so there is a process a core, each with its own model on one thread.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from nlp_service.encoder import Runtime
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.pipeline import Classification, PetitionClassifier

CHUNK = 256
COLUMNS: dict[str, type] = {
    "category": str,
    "category_probability": float,
    "category_2": str,
    "category_3": str,
    "urgency": str,
    "urgency_probability": float,
    "petition_type": str,
    "decision": str,
    "model_version": str,
    "error": str,
}
"""What labelling adds to a table. Either `error` is filled, or the others are."""

Answer = list[Any]
Classify = Callable[[Sequence[object]], list[Classification | PetitionError]]
Load = Callable[[], Classify]


class Item(NamedTuple):
    """A row on its way to the model: its text, why it cannot be read (if so), how the user calls it."""

    text: object
    problem: str | None = None
    id: object = None


Answered = Generator[tuple[list[Item], list[Answer]], None, None]


def model_loader(directory: Path, runtime: Runtime, max_chars: int) -> Load:
    """Loads the model on one thread, in whichever process calls it."""
    return partial(_load, directory, runtime, max_chars)


def answered(load: Load, chunks: Iterable[list[Item]], workers: int, rows: int) -> Answered:
    """Chunks with their answers (the values of COLUMNS), in order. Close the generator to stop the work.

    Args:
        load: picklable if there is more than one worker.
        workers: processes, 0 for one a usable core; a single one is this process.
        rows: in all chunks together; no more processes start than there are chunks.

    Raises:
        PetitionError: from `load`.
        BrokenProcessPool: a worker died.
    """
    workers = min(workers or len(os.sched_getaffinity(0)), -(-rows // CHUNK))
    if workers > 1:
        yield from _answered_by_pool(load, chunks, workers)
    elif rows:
        classify = load()
        for chunk in chunks:
            yield chunk, answer(classify, chunk)


def answer(classify: Classify, chunk: Sequence[Item]) -> list[Answer]:
    """The values of COLUMNS for each item."""
    # An empty cell is an empty text, whatever its format calls it.
    texts = ["" if item.text is None else item.text for item in chunk if item.problem is None]
    results = iter(_classified(classify, texts))
    bad = ErrorKind.INVALID_REQUEST
    return [_values(PetitionError(bad, item.problem) if item.problem else next(results)) for item in chunk]


def _classified(classify: Classify, texts: Sequence[object]) -> list[Classification | PetitionError]:
    """A text on which the model fails gets an error and takes no other one along."""
    try:
        return classify(texts) if texts else []
    except Exception as error:
        if len(texts) > 1:
            return [result for text in texts for result in _classified(classify, [text])]
        # The text of an exception may quote a petition: only its type is told.
        message = f"reading this petition failed ({type(error).__name__}); tell the operator"
        return [PetitionError(ErrorKind.CLASSIFICATION_FAILED, message)]


def _values(result: Classification | PetitionError) -> Answer:
    if isinstance(result, PetitionError):
        return [None] * (len(COLUMNS) - 1) + [f"{result.kind}: {result.message}"]
    decision = result.decision
    second, third = ([scored.id for scored in decision.alternatives] + [None, None])[:2]
    category, urgency = decision.category, decision.urgency
    probabilities = category.probability, urgency.probability
    kind, zone, version = decision.petition_type.id, decision.decision, result.model_version
    return [category.id, probabilities[0], second, third, urgency.id, probabilities[1], kind, zone, version, None]


def _load(directory: Path, runtime: Runtime, max_chars: int) -> Classify:
    return PetitionClassifier.load(directory, runtime, threads=1, max_chars=max_chars).classify_many


def _answered_by_pool(load: Load, chunks: Iterable[list[Item]], workers: int) -> Answered:
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(load,))
    # As many chunks as keep everyone busy, so that memory stays flat whatever the file's length.
    waiting: deque[tuple[list[Item], Future[list[Answer]]]] = deque()
    try:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(_work, chunk)))
            if len(waiting) >= 2 * workers + 2:
                chunk, future = waiting.popleft()
                yield chunk, future.result()
        for chunk, future in waiting:
            yield chunk, future.result()
    except BaseException:
        # Nobody waits for the chunks under way; the next run answers their rows again.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        pool.shutdown()


_load_here: Load
_classify_here: Classify | None = None


def _start_worker(load: Load) -> None:
    global _load_here
    _load_here = load
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Ctrl-C and SIGTERM may reach the whole process group; the first process decides, and its end is the workers' end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _work(chunk: Sequence[Item]) -> list[Answer]:
    # Loaded with the first chunk: an error there reaches the caller, one in _start_worker would only break the pool.
    global _classify_here
    _classify_here = _classify_here or _load_here()
    return answer(_classify_here, chunk)
