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
import threading
import time
from collections import Counter
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
from nlp_service.label_answers import CHUNK, ERROR, Classify, Labeller, Load, answered, loader
from nlp_service.label_columns import Columns, Selection, choose
from nlp_service.label_page import page
from nlp_service.label_progress import ErrorsTold, Progress, Silent, told_guarded
from nlp_service.label_report import Precision, RunReport, Source, Timing, Versions, auto_precision
from nlp_service.label_sheets import HIGHLIGHTS, sheets
from nlp_service.label_state import State, open_state
from nlp_service.label_summary import Figures, Summary
from nlp_service.label_words import Names
from nlp_service.repeats import Repeats
from nlp_service.tables import Added, Table, invalid, open_table, stamp, write_table
from nlp_service.text import MAX_CHARS
from nlp_service.triage import load_rules


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

    @classmethod
    def of(cls, figures: Sequence[Figures], resumed_rows: int, seconds: float) -> "LabelReport":
        """Of a run over one file or several."""
        counts: dict[str, Counter[str]] = {}
        for one in figures:
            for name, found in [*one.counts.items(), ("error", one.errors)]:
                counts.setdefault(name, Counter()).update(found)
        return cls(
            rows=sum(one.rows for one in figures),
            labelled=sum(one.labelled for one in figures),
            errors=sum(one.failed for one in figures),
            resumed_rows=resumed_rows,
            seconds=seconds,
            counts={name: dict(counter.most_common()) for name, counter in counts.items()},
            needs_review=sum(one.needs_review for one in figures),
            repeats=sum(one.repeats for one in figures),
        )


def label_file(
    input: Path,
    output: Path,
    *,
    model: Path,
    rules: Path | None = None,
    runtime: Runtime = Runtime.AUTO,
    sheet: str | None = None,
    columns: Columns | None = None,
    workers: int = 0,
    max_chars: int = MAX_CHARS,
    progress: Progress | None = None,
    classify: Classify | None = None,
    names: tuple[str, str] | None = None,
) -> LabelReport:
    """Label every row of `input` into `output`; formats by file ending (see `tables`). `input` may be a folder of letters.

    Args:
        rules: directory with the tables of places and bodies; needed with a model, without one those columns stay empty.
        sheet: of a workbook; None means all that hold the same table.
        columns: None means find them.
        workers: processes; 0 means one a usable core, 1 means this process.
        classify: stands in for the model; picklable if `workers` is not 1.
        names: of input and output, as the run's report tells them; their own if not given.

    Raises:
        PetitionError: INVALID_FILE (unreadable input, unwritable output, no such column), INVALID_MODEL, INVALID_RULES,
            MISSING_EXTRA, CLASSIFICATION_FAILED (a worker died). Rows answered so far are kept for the same command.
        KeyboardInterrupt: Ctrl-C, or SIGTERM in the main thread; rows answered so far are kept.
    """
    started = time.monotonic()
    progress, columns = progress or Silent(), columns or Columns()
    _check_paths(input, output)
    table = open_table(input, sheet)
    before = stamp(input)
    chosen, added = choose(table, output, columns, progress)
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
    engine = open_engine(model, rules, runtime, max_chars, classify)
    fingerprint |= engine.fingerprint
    with open_state(output, fingerprint, table.count) as state, _keeping(state, output, progress):
        resumed = state.done
        _answer_rest(table, chosen, engine.load, workers, state, progress)
        if stamp(input) != before:
            raise invalid(input, "was changed while it was being labelled; run the same command again")
        progress.say(f"Đang tìm dòng trùng và ghi kết quả vào {output}")
        summary = Summary()
        with Repeats(state.directory) as repeats:
            apostrophes = write_table(
                output,
                table,
                added,
                _finished(table, chosen, state, repeats, added, summary),
                state.directory,
                lambda: sheets(summary, engine.names),
                HIGHLIGHTS,
            )
        figures = summary.figures()
        told_guarded(apostrophes, progress)
        seconds = time.monotonic() - started
        finished_at = datetime.now(UTC)
        report = RunReport(
            source=Source(
                name=names[0] if names else input.name,
                bytes=sum(size for _, size, _ in before),
                sha256=fingerprint["input_sha256"],
                text_column=chosen.text,
                encodings={name: str(guess.encoding) for name, guess in chosen.guesses.items()},
                notes=table.notes,
            ),
            output=names[1] if names else output.name,
            options={
                "sheet": sheet,
                "id_column": chosen.id,
                "place_columns": fingerprint["place_columns"],
                "date_column": chosen.date,
                "encoding": columns.encoding,
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
    return LabelReport.of([figures], resumed, seconds)


class Engine(NamedTuple):
    """What answers rows, what its ids are called, and what a run must be repeated with.

    Attributes:
        load: on one thread, in whichever process calls it.
        fingerprint: for JSON; the same for the same answers.
    """

    load: Load
    names: Names
    versions: Versions
    precision: Precision
    fingerprint: dict[str, Any]


def open_engine(
    model: Path, rules: Path | None, runtime: Runtime, max_chars: int, classify: Classify | None = None
) -> Engine:
    """Look at the model and the rules, without loading the model; arguments as `label_file` takes them.

    Raises:
        PetitionError: INVALID_MODEL, INVALID_RULES.
    """
    if classify is not None:
        return Engine(partial(Labeller, classify), Names(), Versions(__version__), Precision(), {})
    directory = resolve(model)  # a promotion during the run must not change the model
    rules = rules or Path("datasets")
    bundle = load_bundle(directory)
    manifest, in_force = bundle.manifest, load_rules(rules, bundle.taxonomy)
    return Engine(
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
    errors = ErrorsTold(progress)
    progress.advance(state.done, state.rows)
    with closing(answered(load, chunks, workers, state.rows - state.done)) as finished:
        for chunk, answers in finished:
            for number, (item, answer) in enumerate(zip(chunk, answers, strict=True), state.done + 1):
                if (error := answer[ERROR]) is not None:
                    errors.tell(number, item.id, error)
            state.append(answers)
            progress.advance(state.done, state.rows)


def _finished(
    table: Table, chosen: Selection, state: State, repeats: Repeats, added: Added, summary: Summary
) -> Iterator[Sequence[Any]]:
    """The values of the added columns, row by row."""
    rows = zip(table.rows(chosen.again), state.answers(), strict=True)
    for number, (row, answer) in enumerate(rows, 1):
        text = chosen.unicode(chosen.text, row.cells.get(chosen.text))
        repeated = repeats.add(number, text) if isinstance(text, str) and row.problem is None else None
        values = [*answer, repeated, *chosen.turned(row)]
        summary.add(number, chosen.id_of(row), dict(zip(added, values, strict=True)))
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
