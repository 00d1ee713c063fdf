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
from nlp_service.taxonomy import EMERGENCY
from nlp_service.triage import Rules, load_rules

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
    "commune_code": str,
    "commune": str,
    "lead_body": str,
    "needs_review": bool,
}
"""What a row's answer adds to a table. Either `error` is filled, or the labels are; `commune` is today's name.

`needs_review`: a person must look, since the decision is not auto, it may be an emergency, it is not the province's to
decide, or there is an error.
"""

ERROR = list(COLUMNS).index("error")
"""Where it stands in an answer."""

Answer = list[Any]
Classify = Callable[[Sequence[object]], list[Classification | PetitionError]]


class Labeller(NamedTuple):
    """What answers rows: the model, and the rules for place and body; without rules those columns stay empty."""

    classify: Classify
    rules: Rules | None = None


Load = Callable[[], Labeller]


class Item(NamedTuple):
    """A row on its way to the model.

    Attributes:
        problem: why it cannot be read, if so.
        id: how the user calls it.
        places: what its fields say of the place, the best first.
        year: of receipt, if known.
    """

    text: object
    problem: str | None = None
    id: object = None
    places: tuple[str, ...] = ()
    year: int | None = None


Answered = Generator[tuple[list[Item], list[Answer]], None, None]


def loader(directory: Path, rules: Path, runtime: Runtime, max_chars: int) -> Load:
    """Loads the model on one thread, and the rules, in whichever process calls it."""
    return partial(_load, directory, rules, runtime, max_chars)


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
        labeller = load()
        for chunk in chunks:
            yield chunk, answer(labeller, chunk)


def answer(labeller: Labeller, chunk: Sequence[Item]) -> list[Answer]:
    """The values of COLUMNS for each item."""
    # An empty cell is an empty text, whatever its format calls it.
    texts = ["" if item.text is None else item.text for item in chunk if item.problem is None]
    results = iter(_classified(labeller.classify, texts))
    answers = []
    for item in chunk:
        bad = PetitionError(ErrorKind.INVALID_REQUEST, item.problem) if item.problem else None
        result = bad or next(results)
        try:
            answers.append(_values(result, item, labeller.rules))
        except Exception as error:
            answers.append(_values(_failed(error), item, None))
    return answers


def _classified(classify: Classify, texts: Sequence[object]) -> list[Classification | PetitionError]:
    """A text on which the model fails gets an error and takes no other one along."""
    try:
        return classify(texts) if texts else []
    except Exception as error:
        if len(texts) > 1:
            return [result for text in texts for result in _classified(classify, [text])]
        return [_failed(error)]


def _failed(error: Exception) -> PetitionError:
    # The text of an exception may quote a petition: only its type is told.
    message = f"reading this petition failed ({type(error).__name__}); tell the operator"
    return PetitionError(ErrorKind.CLASSIFICATION_FAILED, message)


def _values(result: Classification | PetitionError, item: Item, rules: Rules | None) -> Answer:
    if isinstance(result, PetitionError):
        error = f"{result.kind}: {result.message}"
        return _in_order(error=error, needs_review=True)
    decision = result.decision
    category, urgency, kind = decision.category, decision.urgency, decision.petition_type
    second, third = ([scored.id for scored in decision.alternatives] + [None, None])[:2]
    commune = lead = None
    outside = False
    if rules is not None and isinstance(item.text, str):
        place = rules.place(item.text, item.places, item.year)
        routing = rules.routing.route(
            category=category.id,
            petition_type=kind.id,
            urgency=urgency.id,
            wording=result.wording,
            place=place,
        )
        commune, lead, outside = place.unit, routing.lead, routing.outside
    return _in_order(
        category=category.id,
        category_probability=category.probability,
        category_2=second,
        category_3=third,
        urgency=urgency.id,
        urgency_probability=urgency.probability,
        petition_type=kind.id,
        decision=decision.decision,
        model_version=result.model_version,
        commune_code=commune and commune.code,
        commune=commune and commune.full_name,
        lead_body=lead,
        needs_review=decision.decision != "auto" or urgency.id == EMERGENCY or outside,
    )


def _in_order(**values: Any) -> Answer:
    return [values.get(name) for name in COLUMNS]


def _load(directory: Path, rules: Path, runtime: Runtime, max_chars: int) -> Labeller:
    classifier = PetitionClassifier.load(directory, runtime, threads=1, max_chars=max_chars)
    return Labeller(classifier.classify_many, load_rules(rules, classifier.bundle.taxonomy))


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
_labeller_here: Labeller | None = None


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
    global _labeller_here
    _labeller_here = _labeller_here or _load_here()
    return answer(_labeller_here, chunk)
