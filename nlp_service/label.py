"""Batch labelling: a table in, the same table with the answers beside every row out. Resumable, on all cores.

`<OUTPUT>.partial/` holds the state: run.json says what is being labelled with what, answers.jsonl has one line a finished
row. The same command continues there; other input, model or options start over. OUTPUT appears, or is replaced, at the
end, in one rename, byte for byte the same whether the run was interrupted or not.

A row that cannot be read gets `kind: message` in the column `error` and its other answers stay empty. An input column with
the name of one of ours is replaced in place. No petition text goes into state, messages or logs.
"""

import contextlib
import copyreg
import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from nlp_service.bundle import MANIFEST, load_bundle, resolve, sha256
from nlp_service.encoder import Runtime
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.pipeline import Classification, PetitionClassifier
from nlp_service.tables import Table, check_output, invalid, open_table, write_table
from nlp_service.text import MAX_CHARS, strip_diacritics

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
COUNTED = ("category", "urgency", "petition_type", "decision")
STATE_FORMAT = 1
CHUNK = 256
ERRORS_TOLD = 10

TEXT_COLUMNS = (
    "text noi_dung noi_dung_don noi_dung_don_thu noi_dung_phan_anh noi_dung_kien_nghi noi_dung_phan_anh_kien_nghi "
    "noi_dung_y_kien petition petition_text content body message mo_ta y_kien phan_anh kien_nghi"
).split()
SAMPLE_ROWS, LEAST_MEAN_LENGTH = 200, 20
"""Without a known name: the column with the longest texts, if they are long enough to be no names or addresses."""

Answer = list[Any]
Classify = Callable[[Sequence[object]], list[Classification | PetitionError]]
Load = Callable[[], Classify]


class Progress(Protocol):
    """Told how far a run is, and sentences for the clerk in Vietnamese."""

    def say(self, message: str) -> None: ...

    def advance(self, done: int, total: int) -> None: ...


class Silent:
    """Progress that nobody watches."""

    def say(self, message: str) -> None:
        """Drops it."""

    def advance(self, done: int, total: int) -> None:
        """Drops it."""


@dataclass(frozen=True)
class LabelReport:
    """What a run did.

    Attributes:
        resumed_rows: rows answered by an earlier, interrupted run.
        counts: for category, urgency, petition_type and decision: label id -> rows; for error: kind -> rows.
    """

    rows: int
    labelled: int
    errors: int
    resumed_rows: int
    seconds: float
    counts: dict[str, dict[str, int]]


class _Item(NamedTuple):
    """One row on its way to the model."""

    text: object
    problem: str | None
    id: object


def label_file(
    input: Path,
    output: Path,
    *,
    model: Path,
    runtime: Runtime = Runtime.AUTO,
    text_column: str | None = None,
    id_column: str | None = None,
    workers: int = 0,
    max_chars: int = MAX_CHARS,
    progress: Progress | None = None,
    classify: Classify | None = None,
) -> LabelReport:
    """Label every row of `input` into `output`; formats by file ending.

    Args:
        text_column: None means find it: a known name, else the column with the longest texts.
        id_column: names rows in messages.
        workers: processes; 0 means one a usable core, 1 means this process.
        classify: stands in for the model; must be picklable if `workers` is not 1.

    Raises:
        PetitionError: INVALID_FILE (unreadable input, unwritable output, no such column), INVALID_MODEL, MISSING_EXTRA,
            CLASSIFICATION_FAILED (a worker died). Rows answered so far are kept for the same command.
        KeyboardInterrupt: Ctrl-C or SIGTERM; rows answered so far are kept.
    """
    started = time.monotonic()
    progress = progress or Silent()
    _check_paths(input, output)
    table = open_table(input)
    stamp = _stamp(input)
    check_output(output, table, COLUMNS)
    text_name = _text_column(table, text_column, progress)
    id_name = None if id_column is None else _named(table, id_column, "--id-column")
    _tell(table, progress)
    directory = resolve(model)
    load: Load = partial(_load, directory, runtime, max_chars) if classify is None else partial(_given, classify)
    fingerprint = {
        "format": STATE_FORMAT,
        "input_sha256": sha256(input),
        "rows": table.count,
        "text_column": text_name,
        "model": load_bundle(directory).manifest.version if classify is None else None,
        "manifest_sha256": sha256(directory / MANIFEST) if classify is None else None,
        "runtime": str(runtime),
        "max_chars": max_chars,
        "chunk": CHUNK,
    }
    with _State(output, fingerprint, table.count) as state, _resumable(state, progress):
        resumed = state.done
        if resumed:
            progress.say(f"Làm tiếp từ dòng {resumed + 1}: {resumed}/{table.count} dòng đã xong ở lần chạy trước.")
        elif state.started_over:
            progress.say("Tệp vào, mô hình hoặc tùy chọn đã khác lần chạy dở trước: làm lại từ đầu.")
        chunks = _chunks(table, text_name, id_name, resumed)
        told = 0
        progress.advance(resumed, table.count)
        with contextlib.closing(_answered(load, chunks, workers, table.count - resumed)) as finished:
            for chunk, answers in finished:
                told = _tell_errors(chunk, answers, state.done, told, progress)
                state.append(answers)
                progress.advance(state.done, table.count)
        if _stamp(input) != stamp:
            raise invalid(input, "was changed while it was being labelled; run the same command again")
        progress.say(f"Ghi kết quả vào {output} …")
        counts: dict[str, Counter[str]] = {name: Counter() for name in (*COUNTED, "error")}
        write_table(output, table, COLUMNS, _counting(state.answers(), counts), state.directory)
        state.remove()
    errors = counts["error"].total()
    return LabelReport(
        rows=table.count,
        labelled=table.count - errors,
        errors=errors,
        resumed_rows=resumed,
        seconds=time.monotonic() - started,
        counts={name: dict(counter.most_common()) for name, counter in counts.items()},
    )


def _check_paths(input: Path, output: Path) -> None:
    if output.exists() and input.exists() and os.path.samefile(input, output):
        raise invalid(output, "is the input itself; give another output file")
    if output.is_dir():
        raise invalid(output, "is a directory; give a file name")
    if not output.parent.is_dir():
        raise invalid(output, "cannot be written: its directory does not exist; create it first")


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


# Columns


def _fold(name: str) -> str:
    letters = strip_diacritics(name).casefold()
    return "_".join("".join(c if c.isalnum() else " " for c in letters).split())


def _named(table: Table, wanted: str, option: str) -> str:
    """The column called `wanted`, exactly or but for case, diacritics and Unicode form."""
    if wanted in table.columns:
        return wanted
    alike = [name for name in table.columns if _fold(name) == _fold(wanted)]
    if len(alike) == 1:
        return alike[0]
    raise invalid(table.path, f"has no column '{wanted}'; give {option} one of: {', '.join(table.columns) or '(none)'}")


def _text_column(table: Table, wanted: str | None, progress: Progress) -> str:
    if wanted is not None:
        return _named(table, wanted, "--text-column")
    by_fold = {_fold(name): name for name in reversed(table.columns)}
    known = next((by_fold[name] for name in TEXT_COLUMNS if name in by_fold), None)
    chosen = known or _longest(table)
    if chosen is not None:
        progress.say(f"Cột nội dung: “{chosen}” (nếu chưa đúng, chỉ định bằng --text-column).")
    elif table.count:
        columns = ", ".join(table.columns)
        raise invalid(table.path, f"has no column that looks like petition texts; give --text-column one of: {columns}")
    return chosen or ""


def _longest(table: Table) -> str | None:
    candidates = [name for name in table.columns if name not in COLUMNS]
    sample = [row.cells for row in islice(table.rows(), SAMPLE_ROWS)]
    lengths = dict.fromkeys(candidates, 0)
    for cells in sample:
        for name in candidates:
            value = cells.get(name)
            lengths[name] += len(value) if isinstance(value, str) else 0
    best = max(candidates, key=lambda name: lengths[name], default=None)
    if best is None or not lengths[best]:
        return None
    return best if len(candidates) == 1 or lengths[best] >= LEAST_MEAN_LENGTH * len(sample) else None


def _tell(table: Table, progress: Progress) -> None:
    for note in table.notes:
        progress.say(note)
    if replaced := [name for name in table.columns if name in COLUMNS]:
        progress.say(f"Cột có sẵn được thay bằng kết quả mới: {', '.join(replaced)}.")


def _tell_errors(
    chunk: Sequence[_Item], answers: Sequence[Answer], before: int, told: int, progress: Progress
) -> int:
    for number, (item, answer) in enumerate(zip(chunk, answers, strict=True), before + 1):
        if answer[-1] is None:
            continue
        told += 1
        if told <= ERRORS_TOLD:
            name = f" (mã {item.id})" if item.id is not None else ""
            progress.say(f"Dòng dữ liệu {number}{name}: {answer[-1]}")
        elif told == ERRORS_TOLD + 1:
            progress.say("Còn dòng lỗi khác: xem cột error trong tệp kết quả.")
    return told


# Answers


def _chunks(table: Table, text: str, id: str | None, skip: int) -> Iterator[list[_Item]]:
    names = {text} if id is None else {text, id}
    rows = islice(table.rows(names), skip, None)
    while part := list(islice(rows, CHUNK)):
        yield [_Item(row.cells.get(text), row.problem, row.cells.get(id) if id else None) for row in part]


def _answered(
    load: Load, chunks: Iterable[list[_Item]], workers: int, rows: int
) -> Iterator[tuple[list[_Item], list[Answer]]]:
    """Chunks with their answers, in order. No more processes than chunks; one chunk is answered here."""
    workers = min(workers or len(os.sched_getaffinity(0)), -(-rows // CHUNK))
    if workers > 1:
        yield from _answered_by_pool(load, chunks, workers)
    elif rows:
        classify = load()
        for chunk in chunks:
            yield chunk, _answer(classify, chunk)


def _answered_by_pool(
    load: Load, chunks: Iterable[list[_Item]], workers: int
) -> Iterator[tuple[list[_Item], list[Answer]]]:
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(load,))
    waiting: deque[tuple[list[_Item], Future[list[Answer]]]] = deque()
    try:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(_work, chunk)))
            if len(waiting) >= 2 * workers + 2:
                chunk, future = waiting.popleft()
                yield chunk, future.result()
        for chunk, future in waiting:
            yield chunk, future.result()
        pool.shutdown()
    except BaseException:
        # Nobody waits for the chunks under way; their rows are answered again by the next run.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise


_load_in_worker: Load
_classify_in_worker: Classify | None = None


def _start_worker(load: Load) -> None:
    global _load_in_worker
    _load_in_worker = load
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Ctrl-C and SIGTERM reach the whole group; the first process decides, and takes its workers along even when killed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _work(chunk: Sequence[_Item]) -> list[Answer]:
    # Loaded with the first chunk: an error there reaches the caller, one in _start_worker would only break the pool.
    global _classify_in_worker
    _classify_in_worker = _classify_in_worker or _load_in_worker()
    return _answer(_classify_in_worker, chunk)


def _load(directory: Path, runtime: Runtime, max_chars: int) -> Classify:
    return PetitionClassifier.load(directory, runtime, threads=1, max_chars=max_chars).classify_many


def _given(classify: Classify) -> Classify:
    return classify


def _answer(classify: Classify, chunk: Sequence[_Item]) -> list[Answer]:
    # An empty cell is an empty text, whatever its format calls it.
    texts = ["" if item.text is None else item.text for item in chunk if item.problem is None]
    answers = iter(_classified(classify, texts))
    bad = ErrorKind.INVALID_REQUEST
    return [_row(PetitionError(bad, item.problem) if item.problem else next(answers)) for item in chunk]


def _classified(classify: Classify, texts: Sequence[object]) -> list[Classification | PetitionError]:
    """All answers; a text on which the model fails gets an error and takes no other one along."""
    try:
        return classify(texts) if texts else []
    except Exception as error:
        if len(texts) > 1:
            return [answer for text in texts for answer in _classified(classify, [text])]
        # The text of an exception may quote a petition: only its type is told.
        message = f"reading this petition failed ({type(error).__name__}); tell the operator"
        return [PetitionError(ErrorKind.CLASSIFICATION_FAILED, message)]


def _row(result: Classification | PetitionError) -> Answer:
    """The values of COLUMNS."""
    if isinstance(result, PetitionError):
        return [None] * (len(COLUMNS) - 1) + [f"{result.kind}: {result.message}"]
    decision = result.decision
    second, third = ([scored.id for scored in decision.alternatives] + [None, None])[:2]
    return [
        decision.category.id,
        decision.category.probability,
        second,
        third,
        decision.urgency.id,
        decision.urgency.probability,
        decision.petition_type.id,
        decision.decision,
        result.model_version,
        None,
    ]


def _counting(answers: Iterable[Answer], counts: dict[str, Counter[str]]) -> Iterator[Answer]:
    for answer in answers:
        if answer[-1] is not None:
            counts["error"][answer[-1].partition(":")[0]] += 1
        else:
            for name, value in zip(COLUMNS, answer, strict=True):
                if name in COUNTED:
                    counts[name][value] += 1
        yield answer


# PetitionError takes more than the one argument that pickle keeps of an exception.
def _rebuild(kind: ErrorKind, message: str, detail: dict[str, Any]) -> PetitionError:
    return PetitionError(kind, message, **detail)


copyreg.pickle(PetitionError, lambda error: (_rebuild, (error.kind, error.message, error.detail)))


# State


class _State:
    """The directory `<OUTPUT>.partial`, locked, with all whole chunks of an earlier run of the same fingerprint."""

    def __init__(self, output: Path, fingerprint: dict[str, Any], rows: int) -> None:
        self.output = output
        self.directory = output.with_name(output.name + ".partial")
        self.rows = rows
        self.done = 0
        self.started_over = False
        self._fingerprint = fingerprint
        self._stream: BinaryIO

    def __enter__(self) -> "_State":
        try:
            self._open()
        except OSError as error:
            raise invalid(self.output, f"cannot be written: {error.strerror or error}") from error
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()

    def _open(self) -> None:
        run, answers = self.directory / "run.json", self.directory / "answers.jsonl"
        self.directory.mkdir(exist_ok=True)
        if not answers.exists() and any(self.directory.iterdir()):
            raise invalid(self.directory, "is in the way: it holds something else; move it or choose another output")
        self._stream = answers.open("a+b")
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.close()
            raise invalid(self.output, "is being written by another run; wait for it or choose another output") from None
        try:
            same = json.loads(run.read_bytes()) == self._fingerprint
        except (OSError, ValueError):
            same = False
        self._stream.seek(0)
        end = self._finished() if same else 0
        self.started_over = not same and self._stream.seek(0, os.SEEK_END) > 0
        self._stream.truncate(end)
        os.fsync(self._stream.fileno())
        if not same:
            temporary = run.with_suffix(".tmp")
            temporary.write_text(json.dumps(self._fingerprint, ensure_ascii=False, indent=1), encoding="utf-8")
            os.replace(temporary, run)

    def _finished(self) -> int:
        """Count the answered rows in `done`; the byte where the last whole chunk ends (chunks never change size)."""
        rows = end = position = 0
        for line in self._stream:
            try:
                whole = line.endswith(b"\n") and len(json.loads(line)) == len(COLUMNS)
            except (ValueError, TypeError):
                whole = False
            if not whole or rows == self.rows:
                break
            rows, position = rows + 1, position + len(line)
            if rows % CHUNK == 0 or rows == self.rows:
                self.done, end = rows, position
        return end

    def append(self, answers: Sequence[Answer]) -> None:
        self._stream.write(b"".join(json.dumps(answer).encode() + b"\n" for answer in answers))
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.done += len(answers)

    def answers(self) -> Iterator[Answer]:
        self._stream.seek(0)
        return map(json.loads, self._stream)

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def _resumable(state: _State, progress: Progress) -> Iterator[None]:
    """SIGTERM acts as Ctrl-C; whatever ends the run says what is kept."""
    again = "run the same command again to continue"
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _interrupt) if in_main else None
    try:
        yield
    except KeyboardInterrupt:
        progress.say(f"Đã dừng, {state.done}/{state.rows} dòng đã xong được giữ lại; chạy lại đúng lệnh này để làm tiếp.")
        raise
    except OSError as error:
        kept = f"{state.done} of {state.rows} rows are kept; {again}"
        raise invalid(state.output, f"cannot be written: {error.strerror or error}; {kept}") from error
    except BrokenProcessPool as error:
        kept = f"{state.done} of {state.rows} rows are kept; {again}, with fewer workers"
        message = f"a worker process died, often for want of memory; {kept}"
        raise PetitionError(ErrorKind.CLASSIFICATION_FAILED, message) from error
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
