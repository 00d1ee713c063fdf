"""Batch labelling: a table in, the same table with the answers beside every row out. Resumable, on all cores.

The state of a run is in `<OUTPUT>.partial/`. The same command continues there; another input, model or option starts
over. OUTPUT appears, or is replaced, at the end, in one rename, byte for byte the same whether the run was interrupted
or not.

A row that cannot be read gets `kind: message` in the column `error`, and its other answers stay empty. An input column
with the name of one of ours is replaced in place. No petition text goes into state, messages or logs, but for one masked
sample of a text column in an old encoding (see `legacy`). Such a column stays as it is; what the model read of it is in
the column `text_unicode`.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol

from nlp_service import __version__
from nlp_service.bundle import MANIFEST, load_bundle, resolve, sha256
from nlp_service.encoder import Runtime
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.label_answers import CHUNK, COLUMNS, Answer, Classify, Item, Load, answered, model_loader
from nlp_service.label_state import State, open_state
from nlp_service.legacy import Encoding, Guess, detect, from_unicode, recover
from nlp_service.pii import mask
from nlp_service.tables import Added, Table, Values, check_output, invalid, open_table, write_table
from nlp_service.text import MAX_CHARS, strip_diacritics

COUNTED = ("category", "urgency", "petition_type", "decision")
ERRORS_TOLD = 10
TEXT_COLUMNS = (
    *("text", "noi_dung", "noi_dung_don", "noi_dung_don_thu", "noi_dung_phan_anh", "noi_dung_kien_nghi"),
    *("noi_dung_phan_anh_kien_nghi", "noi_dung_y_kien", "petition", "petition_text", "content", "body", "message"),
    *("mo_ta", "y_kien", "phan_anh", "kien_nghi"),
)
TEXT_UNICODE = "text_unicode"
"""What is added after COLUMNS if the text column is in an old encoding: its texts in Unicode."""

SHOWN = 60
"""Characters of the sample, before and after."""

SAMPLE_ROWS, LEAST_MEAN_LENGTH = 200, 20
"""Without a known name: the column with the longest texts, if they are too long for names of people."""


class Progress(Protocol):
    """Whoever watches a run."""

    def say(self, message: str) -> None:
        """A sentence for the clerk, in Vietnamese."""

    def advance(self, done: int, total: int) -> None:
        """Rows answered so far."""


class TerminalProgress:
    """Sentences on stderr, and a bar where that is a terminal. Use it in a `with` block."""

    def __init__(self) -> None:
        from rich import progress
        from rich.console import Console

        self._console = Console(stderr=True)
        shown = (progress.TextColumn("Gán nhãn"), progress.BarColumn(), progress.MofNCompleteColumn())
        self._bar = progress.Progress(
            *shown, progress.TimeRemainingColumn(), console=self._console, disable=not self._console.is_terminal
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> "TerminalProgress":
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def say(self, message: str) -> None:
        """Print it as it is; brackets in a column's name are no mark-up."""
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    def advance(self, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, total=total)


class _Silent:
    def say(self, message: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass


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


def label_file(
    input: Path,
    output: Path,
    *,
    model: Path,
    runtime: Runtime = Runtime.AUTO,
    text_column: str | None = None,
    id_column: str | None = None,
    encoding: Encoding | None = None,
    workers: int = 0,
    max_chars: int = MAX_CHARS,
    progress: Progress | None = None,
    classify: Classify | None = None,
) -> LabelReport:
    """Label every row of `input` into `output`; formats by file ending (see `tables`).

    Args:
        text_column: None means find it: a known name, else the column with the longest texts.
        id_column: how messages name a row.
        encoding: of the text column; None means find it in its first cells.
        workers: processes; 0 means one a usable core, 1 means this process.
        classify: stands in for the model; picklable if `workers` is not 1.

    Raises:
        PetitionError: INVALID_FILE (unreadable input, unwritable output, no such column), INVALID_MODEL, MISSING_EXTRA,
            CLASSIFICATION_FAILED (a worker died). Rows answered so far are kept for the same command.
        KeyboardInterrupt: Ctrl-C, or SIGTERM in the main thread; rows answered so far are kept.
    """
    started = time.monotonic()
    progress = progress or _Silent()
    _check_paths(input, output)
    table = open_table(input)
    stamp = _stamp(input)
    check_output(output, table, COLUMNS)
    for note in table.notes:
        progress.say(note)
    text_name = _text_column(table, text_column, progress)
    guess = _guess(table, text_name, encoding, progress)
    added: Added = COLUMNS if guess is None else COLUMNS | {TEXT_UNICODE: str}
    if guess is not None:
        check_output(output, table, added)
    if replaced := [name for name in table.columns if name in added]:
        progress.say(f"Cột có sẵn được thay bằng kết quả mới: {', '.join(replaced)}.")
    id_name = None if id_column is None else _named(table, id_column, "--id-column")
    fingerprint = {
        "format": 1,
        "program": __version__,
        "input_sha256": sha256(input),
        "rows": table.count,
        "text_column": text_name,
        "encoding": None if guess is None else [list(guess.encodings), guess.share, guess.told],
        "max_chars": max_chars,
        "chunk": CHUNK,
    }
    if classify is None:
        directory = resolve(model)  # a promotion during the run must not change the model
        fingerprint["model"] = load_bundle(directory).manifest.version
        fingerprint["manifest_sha256"] = sha256(directory / MANIFEST)
        fingerprint["runtime"] = str(runtime)
        load = model_loader(directory, runtime, max_chars)
    else:
        load = partial(_given, classify)
    with open_state(output, fingerprint, table.count) as state, _keeping(state, output, progress):
        resumed = state.done
        _answer_rest(table, text_name, id_name, guess, load, workers, state, progress)
        if _stamp(input) != stamp:
            raise invalid(input, "was changed while it was being labelled; run the same command again")
        progress.say(f"Đang ghi kết quả vào {output}")
        counts = {name: Counter[str]() for name in (*COUNTED, "error")}
        values: Values = _counted(state.answers(), counts)
        if guess is not None:
            values = _with_unicode(values, table, text_name, guess)
        write_table(output, table, added, values, state.directory)
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


def _answer_rest(
    table: Table,
    text: str,
    id: str | None,
    guess: Guess | None,
    load: Load,
    workers: int,
    state: State,
    progress: Progress,
) -> None:
    if state.done:
        progress.say(f"Làm tiếp lần chạy trước: {state.done}/{state.rows} dòng đã xong.")
    elif state.started_over:
        progress.say("Tệp vào, mô hình hoặc tùy chọn đã khác lần chạy dở trước: làm lại từ đầu.")
    rows = islice(table.rows({text} if id is None else {text, id}), state.done, None)
    items = (Item(_read(row.cells.get(text), guess), row.problem, row.cells.get(id) if id else None) for row in rows)
    chunks = iter(lambda: list(islice(items, CHUNK)), [])
    told = 0
    progress.advance(state.done, state.rows)
    with closing(answered(load, chunks, workers, state.rows - state.done)) as finished:
        for chunk, answers in finished:
            for number, (item, answer) in enumerate(zip(chunk, answers, strict=True), state.done + 1):
                if answer[-1] is not None:
                    told += 1
                    _tell_error(number, item, answer[-1], told, progress)
            state.append(answers)
            progress.advance(state.done, state.rows)


def _tell_error(number: int, item: Item, error: str, told: int, progress: Progress) -> None:
    if told <= ERRORS_TOLD:
        name = "" if item.id is None else f" (mã {item.id})"
        progress.say(f"Dòng dữ liệu {number}{name}: {error}")
    elif told == ERRORS_TOLD + 1:
        progress.say("Còn dòng lỗi khác: xem cột error trong tệp kết quả.")


def _given(classify: Classify) -> Classify:
    return classify


def _counted(answers: Iterable[Answer], counts: dict[str, Counter[str]]) -> Iterator[Answer]:
    for answer in answers:
        by_name = dict(zip(COLUMNS, answer, strict=True))
        if by_name["error"] is not None:
            counts["error"][by_name["error"].partition(":")[0]] += 1
        else:
            for name in COUNTED:
                counts[name][by_name[name]] += 1
        yield answer


@contextmanager
def _keeping(state: State, output: Path, progress: Progress) -> Iterator[None]:
    """Whatever ends the run says what is kept. SIGTERM ends it as Ctrl-C does."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _interrupt) if in_main_thread else None
    try:
        yield
    except KeyboardInterrupt:
        kept = f"{state.done}/{state.rows} dòng đã xong được giữ lại"
        progress.say(f"Đã dừng; {kept}; chạy lại đúng lệnh này để làm tiếp.")
        raise
    except OSError as error:
        kept = f"{state.done} of {state.rows} rows are kept, run the same command again to continue"
        raise invalid(output, f"cannot be written: {error.strerror or error}; {kept}") from error
    except BrokenProcessPool as error:
        kept = f"{state.done} of {state.rows} rows are kept, run the same command again with fewer workers to continue"
        message = f"a worker process died, often for want of memory; {kept}"
        raise PetitionError(ErrorKind.CLASSIFICATION_FAILED, message) from error
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


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


def _guess(table: Table, text: str, wanted: Encoding | None, progress: Progress) -> Guess | None:
    """What the text column is in, said with a sample; None if it is Unicode of any form, which the model reads."""
    cells = (row.cells.get(text) for row in table.rows({text}))
    sample = list(islice((cell for cell in cells if isinstance(cell, str) and cell.strip()), SAMPLE_ROWS))
    guess = detect(sample) if wanted is None else Guess.by_a_person(wanted)
    if set(guess.encodings) <= {Encoding.DECOMPOSED}:
        return None
    likely = sample if guess.example is None else [sample[guess.example]]
    example = next((after for cell in likely if (after := recover(cell, guess)) != cell), None)
    shown = "" if example is None else f"; ví dụ: {_before_and_after(example, guess.encoding)}"
    found = f"{guess.share:.0%} số ô, độ tin cậy {guess.confidence:.0%}" if wanted is None else "theo --encoding"
    progress.say(f"Bảng mã cũ ở cột nội dung: {guess.encoding} ({found}){shown} (nếu chưa đúng: --encoding).")
    return guess


def _before_and_after(text: str, encoding: Encoding) -> str:
    # Personal data shows in Unicode only, so what was before is written again from the masked text.
    after = _printable(mask(text))[:SHOWN]
    return f"“{_printable(from_unicode(after, encoding))[:SHOWN]}” → “{after}”"


def _printable(text: str) -> str:
    """On one line, and without controls, which some encodings use for letters and terminals obey."""
    return "".join(character if character.isprintable() else "·" for character in " ".join(text.split()))


def _read(cell: object, guess: Guess | None) -> object:
    return recover(cell, guess) if guess is not None and isinstance(cell, str) else cell


def _with_unicode(answers: Values, table: Table, text: str, guess: Guess) -> Iterator[Sequence[object]]:
    # Read once more rather than kept: the state holds no petition.
    for row, answer in zip(table.rows({text}), answers, strict=True):
        cell = row.cells.get(text)
        yield [*answer, recover(cell, guess) if isinstance(cell, str) else None]


def _named(table: Table, wanted: str, option: str) -> str:
    """The column called `wanted`, exactly or but for case, diacritics and Unicode form."""
    if wanted in table.columns:
        return wanted
    alike = [name for name, shown in _shown(table).items() if _fold(shown) == _fold(wanted)]
    if len(alike) == 1:
        return alike[0]
    raise invalid(table.path, f"has no column '{wanted}'; give {option} one of: {', '.join(table.columns)}")


def _shown(table: Table) -> dict[str, str]:
    """Column names, and how they look in the font they were written for."""
    guess = detect([" ".join(table.columns)], fewest_words=1)
    return {name: recover(name, guess) for name in table.columns}


def _fold(name: str) -> str:
    letters = strip_diacritics(name).casefold()
    return "_".join("".join(c if c.isalnum() else " " for c in letters).split())


def _text_column(table: Table, wanted: str | None, progress: Progress) -> str:
    if not table.columns:
        return ""
    if wanted is not None:
        return _named(table, wanted, "--text-column")
    by_fold = {_fold(shown): name for name, shown in reversed(_shown(table).items())}
    chosen = next((by_fold[name] for name in TEXT_COLUMNS if name in by_fold), None) or _longest(table)
    if chosen is None and table.count:
        columns = ", ".join(table.columns)
        raise invalid(table.path, f"has no column that looks like petitions; give --text-column one of: {columns}")
    if chosen is not None:
        progress.say(f"Cột nội dung: “{chosen}” (nếu chưa đúng, chỉ định bằng --text-column).")
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
    if best is None or lengths[best] == 0:
        return None
    return best if len(candidates) == 1 or lengths[best] >= LEAST_MEAN_LENGTH * len(sample) else None
