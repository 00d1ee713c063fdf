"""Batch labelling: a table in, the same table with the answers beside every row out. Resumable, on all cores.

The state of a run is in `<OUTPUT>.partial/`. The same command continues there; another input, model or option starts
over. OUTPUT appears, or is replaced, at the end, in one rename, byte for byte the same whether the run was interrupted
or not; beside it `<OUTPUT>.report.json` and `<OUTPUT>.report.html` say what the run did.

A row that cannot be read gets `kind: message` in the column `error`, and its labels stay empty. An input column with the
name of one of ours is replaced in place. A column in an old encoding (see `legacy`) stays as it is; its Unicode is in a
column of its own, `text_unicode` for the petitions. No petition text goes into state, messages or logs, but for one
masked sample of every such column.
"""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from nlp_service import __version__, tables
from nlp_service.bundle import MANIFEST, load_bundle, resolve, sha256
from nlp_service.encoder import Runtime
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.label_answers import CHUNK, COLUMNS, Classify, Item, Labeller, Load, answered, loader
from nlp_service.label_columns import REPEAT_OF, Selection, added_columns, select
from nlp_service.label_page import page
from nlp_service.label_progress import Progress, Silent
from nlp_service.label_report import Precision, RunReport, Source, Timing, Versions, auto_precision
from nlp_service.label_sheets import HIGHLIGHTS, sheets
from nlp_service.label_state import State, open_state
from nlp_service.label_summary import Summary
from nlp_service.label_words import Names
from nlp_service.legacy import Encoding
from nlp_service.repeats import Repeats
from nlp_service.tables import Added, Table, check_output, invalid, open_table, stamp, write_table
from nlp_service.text import MAX_CHARS
from nlp_service.triage import load_rules

ERRORS_TOLD = 10


@dataclass(frozen=True)
class LabelReport:
    """What a run did.

    Attributes:
        resumed_rows: rows answered by an earlier, interrupted run.
        counts: for category, urgency, petition_type, decision, commune_code and lead_body: value -> rows; for error:
            kind -> rows.
        needs_review: rows that a person must look at.
        repeats: rows that repeat an earlier one.
    """

    rows: int
    labelled: int
    errors: int
    resumed_rows: int
    seconds: float
    counts: dict[str, dict[str, int]]
    needs_review: int
    repeats: int


def label_file(
    input: Path,
    output: Path,
    *,
    model: Path,
    rules: Path | None = None,
    runtime: Runtime = Runtime.AUTO,
    sheet: str | None = None,
    text_column: str | None = None,
    id_column: str | None = None,
    place_columns: Sequence[str] = (),
    date_column: str | None = None,
    encoding: Encoding | None = None,
    workers: int = 0,
    max_chars: int = MAX_CHARS,
    progress: Progress | None = None,
    classify: Classify | None = None,
) -> LabelReport:
    """Label every row of `input` into `output`; formats by file ending (see `tables`). `input` may be a folder of letters.

    Args:
        rules: directory with the tables of places and bodies; needed with a model, without one those columns stay empty.
        sheet: of a workbook; None means all that hold the same table.
        text_column: None means find it: a known name, else the column with the longest texts.
        id_column: how messages name a row.
        place_columns: that together say where; empty means find them by name. The text is read where they say nothing.
        date_column: that dates a row, for places whose names changed; None means find it by name.
        encoding: of the text column; None means find it in its first cells.
        workers: processes; 0 means one a usable core, 1 means this process.
        classify: stands in for the model; picklable if `workers` is not 1.

    Raises:
        PetitionError: INVALID_FILE (unreadable input, unwritable output, no such column), INVALID_MODEL, INVALID_RULES,
            MISSING_EXTRA, CLASSIFICATION_FAILED (a worker died). Rows answered so far are kept for the same command.
        KeyboardInterrupt: Ctrl-C, or SIGTERM in the main thread; rows answered so far are kept.
    """
    started = time.monotonic()
    progress = progress or Silent()
    _check_paths(input, output)
    table = open_table(input, sheet)
    before = stamp(input)
    check_output(output, table, COLUMNS | {REPEAT_OF: int})
    for note in table.notes:
        progress.say(note)
    chosen = select(
        table,
        progress,
        text=text_column,
        id=id_column,
        places=place_columns,
        date=date_column,
        encoding=encoding,
    )
    added = added_columns(table, chosen)
    if chosen.guesses:
        check_output(output, table, added)
    if replaced := [name for name in table.columns if name in added]:
        progress.say(f"Cột có sẵn được thay bằng kết quả mới: {', '.join(replaced)}.")
    fingerprint: dict[str, Any] = {
        "format": 2,
        "program": __version__,
        "input_sha256": tables.fingerprint(input),
        "sheet": sheet,
        "rows": table.count,
        "text_column": chosen.text,
        "place_columns": [list(field) for field in chosen.places],
        "date_column": chosen.date,
        "encodings": {name: [list(g.encodings), g.share, g.told] for name, g in chosen.guesses.items()},
        "max_chars": max_chars,
        "chunk": CHUNK,
    }
    engine = _given(classify) if classify is not None else _engine(model, rules or Path("datasets"), runtime, max_chars)
    fingerprint |= engine.fingerprint
    with open_state(output, fingerprint, table.count) as state, _keeping(state, output, progress):
        resumed = state.done
        _answer_rest(table, chosen, engine.load, workers, state, progress)
        if stamp(input) != before:
            raise invalid(input, "was changed while it was being labelled; run the same command again")
        progress.say(f"Đang tìm dòng trùng và ghi kết quả vào {output}")
        summary, guarded = Summary(), list[None]()
        with Repeats(state.directory) as repeats:
            write_table(
                output,
                table,
                added,
                _finished(table, chosen, state, repeats, added, summary),
                state.directory,
                lambda: sheets(summary, engine.names),
                HIGHLIGHTS,
                lambda: guarded.append(None),
            )
        figures, apostrophes = summary.figures(), len(guarded)
        if apostrophes:
            progress.say(f"{apostrophes} ô trông như công thức được thêm dấu ' ở đầu để Excel không tính chúng.")
        seconds = time.monotonic() - started
        finished_at = datetime.now(UTC)
        report = RunReport(
            source=Source(
                name=input.name,
                bytes=sum(size for _, size, _ in before),
                sha256=fingerprint["input_sha256"],
                text_column=chosen.text,
                encodings={name: str(guess.encoding) for name, guess in chosen.guesses.items()},
                notes=table.notes,
            ),
            output=output.name,
            options={
                "sheet": sheet,
                "id_column": chosen.id,
                "place_columns": fingerprint["place_columns"],
                "date_column": chosen.date,
                "encoding": encoding,
                "max_chars": max_chars,
            },
            versions=engine.versions,
            auto_precision=engine.precision,
            figures=figures,
            timing=Timing(finished_at - timedelta(seconds=seconds), finished_at, round(seconds, 1), resumed),
            guarded_cells=apostrophes,
        )
        for ending, content in ((".report.json", report.as_json()), (".report.html", page(report, engine.names))):
            _write(output.with_name(output.name + ending), content, state.directory)
        state.remove()
    return LabelReport(
        rows=figures.rows,
        labelled=figures.labelled,
        errors=figures.failed,
        resumed_rows=resumed,
        seconds=seconds,
        counts={**figures.counts, "error": figures.errors},
        needs_review=figures.needs_review,
        repeats=figures.repeats,
    )


class _Engine(NamedTuple):
    """What answers rows, what its ids are called, and what a run must be repeated with."""

    load: Load
    names: Names
    versions: Versions
    precision: Precision
    fingerprint: dict[str, Any]


def _given(classify: Classify) -> _Engine:
    return _Engine(partial(Labeller, classify), Names(), Versions(__version__), Precision(), {})


def _engine(model: Path, rules: Path, runtime: Runtime, max_chars: int) -> _Engine:
    directory = resolve(model)  # a promotion during the run must not change the model
    bundle = load_bundle(directory)
    manifest, in_force = bundle.manifest, load_rules(rules, bundle.taxonomy)
    return _Engine(
        loader(directory, rules, runtime, max_chars),
        Names.of(bundle.taxonomy, in_force.routing.bodies),
        Versions(__version__, manifest.version, bundle.taxonomy.version, in_force.version),
        auto_precision(manifest.thresholds.auto_precision, manifest.scores),
        {
            "model": manifest.version,
            "manifest_sha256": sha256(directory / MANIFEST),
            "rules": in_force.version,
            "runtime": str(runtime),
        },
    )


def _write(path: Path, content: str, scratch: Path) -> None:
    temporary = scratch / "report.tmp"
    temporary.write_text(content, encoding="utf-8")
    os.replace(temporary, path)


def _answer_rest(table: Table, chosen: Selection, load: Load, workers: int, state: State, progress: Progress) -> None:
    if state.done:
        progress.say(f"Làm tiếp lần chạy trước: {state.done}/{state.rows} dòng đã xong.")
    elif state.started_over:
        progress.say("Tệp vào, mô hình hoặc tùy chọn đã khác lần chạy dở trước: làm lại từ đầu.")
    items = chosen.items(table, state.done)
    chunks = iter(lambda: list(islice(items, CHUNK)), [])
    told = 0
    progress.advance(state.done, state.rows)
    with closing(answered(load, chunks, workers, state.rows - state.done)) as finished:
        for chunk, answers in finished:
            for number, (item, answer) in enumerate(zip(chunk, answers, strict=True), state.done + 1):
                if (error := answer[_ERROR]) is not None:
                    told += 1
                    _tell_error(number, item, error, told, progress)
            state.append(answers)
            progress.advance(state.done, state.rows)


_ERROR = list(COLUMNS).index("error")


def _tell_error(number: int, item: Item, error: str, told: int, progress: Progress) -> None:
    if told <= ERRORS_TOLD:
        name = "" if item.id is None else f" (mã {item.id})"
        progress.say(f"Dòng dữ liệu {number}{name}: {error}")
    elif told == ERRORS_TOLD + 1:
        progress.say("Còn dòng lỗi khác: xem cột error trong tệp kết quả.")


def _finished(
    table: Table, chosen: Selection, state: State, repeats: Repeats, added: Added, summary: Summary
) -> Iterator[Sequence[Any]]:
    """The values of the added columns, row by row."""
    # The texts are read once more rather than kept: the state holds no petition.
    only = {chosen.text, *chosen.guesses, *([chosen.id] if chosen.id else [])}
    for number, (row, answer) in enumerate(zip(table.rows(only), state.answers(), strict=True), 1):
        text = chosen.unicode(chosen.text, row.cells.get(chosen.text))
        repeated = repeats.add(number, text) if isinstance(text, str) and row.problem is None else None
        cells = ((name, row.cells.get(name)) for name in chosen.guesses)
        turned = [chosen.unicode(name, cell) if isinstance(cell, str) else None for name, cell in cells]
        values = [*answer, repeated, *turned]
        summary.add(number, row.cells.get(chosen.id) if chosen.id else None, dict(zip(added, values, strict=True)))
        yield values


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
    except (OSError, sqlite3.Error) as error:
        kept = f"{state.done} of {state.rows} rows are kept, run the same command again to continue"
        reason = getattr(error, "strerror", None) or error
        raise invalid(output, f"cannot be written: {reason}; {kept}") from error
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
