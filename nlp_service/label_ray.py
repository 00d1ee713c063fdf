"""Batch labelling beyond one machine, on Ray: every input file comes out as `label_file` would write it.

Only `repeat_of` differs: rows are numbered, and repeats looked for, through all files in the order of their names.

    look     a task a file       reads it through, chooses its columns, counts its rows
    label    tasks and actors    tasks read files part by part; actors, a CPU and a model each, answer and keep parts
    repeats  here                reads the signatures of all parts in order and finds the rows that repeat others
    write    a task a file       joins the file with its answers

In between, everything is in `label_parts`; the same command continues there. A node or actor that dies is replaced, and
what it had in hand is done again. Every node must reach input, output and model at the same paths, and one run at a
time write an output.
"""

import csv
import hashlib
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path

from nlp_service import __version__
from nlp_service.bundle import resolve
from nlp_service.encoder import Runtime
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.filesystems import Place, place, put, reaching
from nlp_service.label import Engine, LabelReport, open_engine
from nlp_service.label_answers import CHUNK, Classify, Load
from nlp_service.label_columns import Columns
from nlp_service.label_jobs import FILES, Job, check_free, is_file, jobs_of
from nlp_service.label_node import Answering, Looked, Model, Part, look, read, write
from nlp_service.label_parts import Parts, part_rows
from nlp_service.label_progress import ErrorsTold, Progress, Silent, told_guarded
from nlp_service.ray_cluster import LOCAL, connected, each, through
from nlp_service.repeats import Repeats
from nlp_service.text import MAX_CHARS

FILES_TOLD = 10


def label_files(
    input: str,
    output: str,
    *,
    model: Path,
    rules: Path | None = None,
    runtime: Runtime = Runtime.AUTO,
    columns: Columns | None = None,
    sheet: str | None = None,
    workers: int = 0,
    address: str = LOCAL,
    max_chars: int = MAX_CHARS,
    progress: Progress | None = None,
    classify: Classify | None = None,
) -> LabelReport:
    """Label one file into a file, or a file, a directory or a pattern of files into a directory.

    Args:
        input: path or URI (see `filesystems`); in a pattern `*` stands for no slash.
        output: a file if it has the ending of a table, and then so must be the input; else a directory, where every
            file gets the name and format that it has below the input.
        columns: None means find them, file by file.
        sheet: of workbooks; None means all that hold the same table.
        workers: actors; 0 means one a CPU of the cluster.
        address: LOCAL, or what `ray.init` takes: "auto", "host:port".
        classify: stands in for the model; picklable.

    Raises:
        PetitionError: INVALID_FILE, INVALID_MODEL and INVALID_RULES (also of a node that differs), MISSING_EXTRA,
            INVALID_REQUEST (no such cluster), CLASSIFICATION_FAILED (cluster or actors fail for good). Parts that are
            done are kept for the same command.
        KeyboardInterrupt: parts that are done are kept.
    """
    started = time.monotonic()
    progress, columns = progress or Silent(), columns or Columns()
    target = place(output)
    jobs = jobs_of(place(input), target, sheet)
    parts = Parts(Place(target.files, target.path.rstrip("/") + ".parts"))
    check_free(target, parts.exist())
    engine = _engine(model, rules, runtime, max_chars, classify)
    fingerprint = engine.fingerprint | {
        "format": 1,
        "program": __version__,
        "input": _digest((job.file.name, job.file.size, job.file.modified_ns) for job in jobs),
        "columns": _digest([columns, sheet]),
        "max_chars": max_chars,
        "chunk": CHUNK,
    }
    with connected(address, workers) as actors:
        files = _look(jobs, columns, progress)
        if parts.start(fingerprint):
            progress.say("Tệp vào, mô hình hoặc tùy chọn đã khác lần chạy dở trước: làm lại từ đầu.")
        with _keeping(files, parts, progress):
            resumed = _label(files, parts, engine.load, actors, progress)
            progress.say("Đang tìm dòng trùng.")
            _find_repeats(files, parts)
            progress.say(f"Đang ghi kết quả vào {target}")
            _unlist(target)
            written = list(each(partial(write, parts, engine.names), files))
            if not is_file(target):
                _write_list(files, target)
        with reaching(target):
            parts.remove()
    told_guarded(sum(one.guarded_cells for one in written), progress)
    return LabelReport.of([one.figures for one in written], resumed, time.monotonic() - started)


def _engine(model: Path, rules: Path | None, runtime: Runtime, max_chars: int, classify: Classify | None) -> Engine:
    """As on one machine, but that every node compares what it has."""
    if classify is not None:
        return open_engine(model, rules, runtime, max_chars, classify)
    directory, rules = resolve(model).absolute(), (rules or Path("datasets")).absolute()
    engine = open_engine(directory, rules, runtime, max_chars)
    known = engine.fingerprint
    same = Model(directory, rules, runtime, max_chars, known["manifest_sha256"], known["rules"])
    return engine._replace(load=same.load)


def _look(jobs: Sequence[Job], columns: Columns, progress: Progress) -> list[Looked]:
    if len(jobs) > 1:
        progress.say(f"Đang đọc qua {len(jobs)} tệp.")
    files = sorted(each(partial(look, columns), jobs), key=lambda file: file.job.number)
    before = accumulate((file.rows for file in files), initial=0)
    files = [replace(file, before=rows) for file, rows in zip(files, before, strict=False)]
    told: set[tuple[str, ...]] = set()
    for file in files:
        if file.said in told:
            continue
        if len(told) == FILES_TOLD:
            progress.say(f"Còn tệp khác được đọc theo cách khác {FILES_TOLD} tệp trên.")
            break
        told.add(file.said)
        for message in file.said:
            progress.say(message if len(files) == 1 else f"Tệp {file.job.file.name}: {message}")
    return files


def _label(files: Sequence[Looked], parts: Parts, load: Load, actors: int, progress: Progress) -> int:
    """Answer and keep what is not yet kept. Returns the rows that were."""
    kept = parts.done()
    total, resumed = sum(file.rows for file in files), _rows_done(files, kept)
    if resumed:
        progress.say(f"Làm tiếp lần chạy trước: {resumed}/{total} dòng đã xong.")
    progress.advance(resumed, total)
    todo = [(file, kept.get(file.job.number, set())) for file in files]
    todo = [(file, done) for file, done in todo if len(done) < file.parts]
    done, errors = resumed, ErrorsTold(progress)
    names = {} if len(files) == 1 else {file.job.number: file.job.file.name for file in files}
    for answered in through(_read, todo, partial(Answering, load, parts), min(actors, _parts_left(todo))):
        done += answered.rows
        for row, id, error in answered.told:
            errors.tell(row, id, error, names.get(answered.file, ""))
        progress.advance(done, total)
    return resumed


def _read(todo: tuple[Looked, set[int]]) -> Iterator[Part]:
    return read(*todo)


def _parts_left(todo: Sequence[tuple[Looked, set[int]]]) -> int:
    return sum(file.parts - len(done) for file, done in todo)


def _rows_done(files: Sequence[Looked], kept: Mapping[int, set[int]]) -> int:
    return sum(
        min(part_rows(file.rows), file.rows - part * part_rows(file.rows))
        for file in files
        for part in kept.get(file.job.number, ())
    )


def _find_repeats(files: Sequence[Looked], parts: Parts) -> None:
    # Beside the output rather than in a temporary directory, which may be small.
    scratch = tempfile.TemporaryDirectory(prefix="repeats-", dir=parts.directory.local)
    with scratch as directory, Repeats(Path(directory)) as repeats:
        for file in files:
            found = {}
            for row, signature in enumerate(parts.signatures(file.job.number, file.parts), 1):
                if (leader := repeats.add_signature(file.before + row, signature)) is not None:
                    found[row] = leader
            parts.keep_repeats(file.job.number, found)


def _unlist(target: Place) -> None:
    """An earlier run's list must not stand beside files of two runs."""
    listed = target / FILES
    with reaching(listed):
        if not is_file(target) and listed.files.get_file_info(listed.path).is_file:
            listed.files.delete_file(listed.path)


def _write_list(files: Sequence[Looked], target: Place) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / FILES
        with draft.open("w", encoding="utf-8-sig", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["file", "first_row", "rows"])
            writer.writerows([file.job.file.name, file.before + 1, file.rows] for file in files)
        put(draft, target / FILES)


@contextmanager
def _keeping(files: Sequence[Looked], parts: Parts, progress: Progress) -> Iterator[None]:
    """Whatever ends the run says what is kept."""
    try:
        yield
    except BaseException as error:
        kept, total = _rows_done(files, parts.done()), sum(file.rows for file in files)
        if not kept:
            parts.remove()
        if isinstance(error, KeyboardInterrupt | SystemExit):
            progress.say(f"Đã dừng; {kept}/{total} dòng đã xong được giữ lại; chạy lại đúng lệnh này để làm tiếp.")
        if isinstance(error, PetitionError) and error.kind is ErrorKind.CLASSIFICATION_FAILED:
            advice = f"{kept} of {total} rows are kept, run the same command again to continue"
            raise PetitionError(error.kind, f"{error.message}; {advice}", **error.detail) from error
        raise


def _digest(values: Iterable[object]) -> str:
    return hashlib.sha256("\n".join(map(repr, values)).encode()).hexdigest()
