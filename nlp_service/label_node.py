"""What a node of a cluster does for a labelling run: look at a file, read its parts, answer them, write the labelled file.

Knows nothing of what runs the nodes. Each step may be done again, anywhere, and comes out the same.
"""

import socket
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from nlp_service import __version__
from nlp_service.bundle import MANIFEST, sha256
from nlp_service.encoder import Runtime
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.filesystems import fetched, put, reaching
from nlp_service.label_answers import CHUNK, ERROR, Item, Labeller, Load, answer, loader
from nlp_service.label_columns import REPEAT_OF, Columns, Selection, added_columns, choose
from nlp_service.label_jobs import Job
from nlp_service.label_parts import Parts, part_count, part_rows
from nlp_service.label_progress import ERRORS_TOLD, Silent
from nlp_service.label_sheets import HIGHLIGHTS, sheets
from nlp_service.label_summary import Figures, Summary
from nlp_service.label_words import Names
from nlp_service.repeats import signature
from nlp_service.tables import Added, Table, open_table, write_table


@dataclass(frozen=True)
class Looked:
    """A job whose file was read through.

    Attributes:
        said: for the clerk, in Vietnamese.
        before: rows of the files before it.
    """

    job: Job
    rows: int
    chosen: Selection
    said: tuple[str, ...]
    before: int = 0

    @property
    def parts(self) -> int:
        """How many the file has."""
        return part_count(self.rows)


@dataclass(frozen=True)
class Part:
    """Some rows of a file on their way to the model."""

    file: int
    number: int
    first_row: int
    items: list[Item] = field(repr=False)


class Answered(NamedTuple):
    """A part that is kept.

    Attributes:
        told: the first errors: row of the file, how the user calls it, the error.
    """

    file: int
    rows: int
    told: list[tuple[int, object, str]]


class Written(NamedTuple):
    """A labelled file: what its rows are, and how many cells got an apostrophe, lest they be taken for formulas."""

    figures: Figures
    guarded_cells: int


@dataclass(frozen=True)
class Model:
    """The model and rules that every node must have, at the same paths.

    Attributes:
        program, manifest_sha256, rules_version: what they are where the run was started.
    """

    directory: Path
    rules: Path
    runtime: Runtime
    max_chars: int
    manifest_sha256: str
    rules_version: str
    program: str = __version__

    def load(self) -> Labeller:
        """Load it here.

        Raises:
            PetitionError: INVALID_MODEL or INVALID_RULES naming this node if what it has differs; MISSING_EXTRA.
        """
        node = socket.gethostname()
        if self.program != __version__:
            message = f"node {node} has petitions {__version__}, this run {self.program}; install the same on all nodes"
            raise PetitionError(ErrorKind.INVALID_MODEL, message)
        manifest = self.directory / MANIFEST
        found = sha256(manifest) if manifest.is_file() else "no file"
        if found != self.manifest_sha256:
            message = f"{manifest} on node {node} has SHA-256 {found[:12]}, this run {self.manifest_sha256[:12]}"
            raise PetitionError(ErrorKind.INVALID_MODEL, f"{message}; copy the model to the same path on all nodes")
        labeller = loader(self.directory, self.rules, self.runtime, self.max_chars)()
        if labeller.rules is None or labeller.rules.version != self.rules_version:
            message = f"{self.rules} on node {node} are not the rules {self.rules_version} of this run"
            raise PetitionError(ErrorKind.INVALID_RULES, f"{message}; copy them to the same path on all nodes")
        return labeller


class _Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def look(columns: Columns, job: Job) -> Looked:
    """Read a file through and choose its columns, so that whatever cannot be labelled is refused before any work.

    Raises:
        PetitionError: INVALID_FILE naming the file and the fault; MISSING_EXTRA.
    """
    notes = _Notes()
    with fetched(job.file) as path:
        table = open_table(path, job.sheet)
        chosen, _ = choose(table, Path(job.output.name), columns, notes)
    return Looked(job, table.count, chosen, tuple(notes.said))


def read(looked: Looked, done: Collection[int]) -> Iterator[Part]:
    """The parts of a file that are not `done`. Raises PetitionError if it was changed since it was looked at."""
    size = part_rows(looked.rows)
    with fetched(looked.job.file) as path:
        items = looked.chosen.items(open_table(path, looked.job.sheet))
        for number in range(looked.parts):
            part = list(islice(items, size))
            if number not in done:
                yield Part(looked.job.number, number, number * size + 1, part)


class Answering:
    """Answers and keeps parts; the model is loaded with the first one."""

    def __init__(self, load: Load, parts: Parts) -> None:
        self._load = load
        self._parts = parts
        self._labeller: Labeller | None = None

    def __call__(self, part: Part) -> Answered:
        """Answer a part in the chunks, and so in the very questions, of a run on one machine."""
        self._labeller = self._labeller or self._load()
        answers = []
        for start in range(0, len(part.items), CHUNK):
            answers += answer(self._labeller, part.items[start : start + CHUNK])
        self._parts.keep_answers(part.file, part.number, answers, list(map(_signature, part.items)))
        rows = enumerate(zip(part.items, answers, strict=True), part.first_row)
        errors = ((row, item.id, values[ERROR]) for row, (item, values) in rows if values[ERROR] is not None)
        return Answered(part.file, len(part.items), list(islice(errors, ERRORS_TOLD)))


def _signature(item: Item) -> bytes | None:
    return signature(item.text) if isinstance(item.text, str) and item.problem is None else None


def write(parts: Parts, names: Names, looked: Looked) -> Written:
    """Write the labelled file, as `tables` writes it; it appears whole or not at all.

    Raises:
        PetitionError: INVALID_FILE if the input was changed, or the output cannot be written.
    """
    summary, output = Summary(), looked.job.output
    with fetched(looked.job.file) as path, reaching(output):
        table = open_table(path, looked.job.sheet)
        added = added_columns(table, looked.chosen)
        values = _values(table, looked, parts, added, summary)
        output.files.create_dir(str(PurePosixPath(output.path).parent), recursive=True)
        # A local file is renamed into place, so its draft must be on the same disk.
        with TemporaryDirectory(prefix="write-", dir=parts.directory.local) as directory:
            scratch = Path(directory)
            target = output.local or scratch / f"labelled{output.suffix}"
            guarded = write_table(target, table, added, values, scratch, lambda: sheets(summary, names), HIGHLIGHTS)
            if output.local is None:
                put(target, output)
    return Written(summary.figures(), guarded)


def _values(table: Table, looked: Looked, parts: Parts, added: Added, summary: Summary) -> Iterator[Sequence[Any]]:
    chosen, number = looked.chosen, looked.job.number
    repeats = parts.repeats(number)
    groups: dict[int, int] = {}
    rows = zip(table.rows(chosen.again), parts.answers(number, looked.parts), strict=True)
    for row_number, (row, answers) in enumerate(rows, 1):
        leader = repeats.get(row_number)
        values = [*answers, leader, *chosen.turned(row)]
        # The summary keeps four bytes for every number up to the largest, and numbers run through all files.
        group = None if leader is None else groups.setdefault(leader, len(groups))
        shown = dict(zip(added, values, strict=True)) | {REPEAT_OF: group}
        summary.add(row_number, chosen.id_of(row), shown)
        yield values
