"""What a labelling run on a cluster keeps, in `<OUTPUT>.parts/`: answers, part by part, and the rows that repeat others.

    run.json                    the fingerprint: what is labelled with what
    answers-FILE-PART.parquet   the answers and signatures of the rows of one part, in row order
    repeats-FILE.parquet        row of the file -> the row, through all files, that it repeats

A part is a whole number of chunks of one input file, and its file appears whole or not at all: what is there is done,
whoever wrote it. No petition text is in it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.filesystems import Place, appearing, reaching
from nlp_service.label_answers import CHUNK, COLUMNS, Answer
from nlp_service.tables.table import extra

MOST_CHUNKS, LEAST_PARTS = 16, 64
SIGNATURE = "signature"


def part_rows(rows: int) -> int:
    """Rows a part of a file with so many: enough parts for many workers, few enough files for a large table."""
    return CHUNK * max(1, min(MOST_CHUNKS, rows // (LEAST_PARTS * CHUNK)))


def part_count(rows: int) -> int:
    """Parts of a file with so many rows."""
    return -(-rows // part_rows(rows))


@dataclass(frozen=True)
class Parts:
    """The directory of a run's parts; picklable. Files are numbered from 0, and the parts of each from 0."""

    directory: Place

    def start(self, fingerprint: Mapping[str, Any]) -> bool:
        """Make the directory fit for the run; true if an earlier run with another fingerprint was thrown away.

        Raises:
            PetitionError: INVALID_FILE if it cannot be written, or holds something else.
        """
        fs = extra("pyarrow.fs")
        files, run = self.directory.files, self.directory / "run.json"
        with reaching(self.directory):
            files.create_dir(self.directory.path, recursive=True)
            present = files.get_file_info(fs.FileSelector(self.directory.path))
            if present and not any(info.base_name == "run.json" for info in present):
                message = "is in the way: it holds something else; move it or choose another output"
                raise PetitionError(ErrorKind.INVALID_FILE, f"{self.directory} {message}", file=str(self.directory))
            if present and self._fingerprint() == fingerprint:
                return False
            if present:
                files.delete_dir_contents(self.directory.path)
            with appearing(run) as temporary, files.open_output_stream(temporary.path) as stream:
                stream.write(json.dumps(fingerprint, ensure_ascii=False, indent=1).encode())
        return bool(present)

    def exist(self) -> bool:
        """Whether a run is under way, or was interrupted."""
        run = self.directory / "run.json"
        return bool(run.files.get_file_info(run.path).is_file)

    def done(self) -> dict[int, set[int]]:
        """Number of a file -> numbers of its finished parts."""
        fs = extra("pyarrow.fs")
        with reaching(self.directory):
            found = self.directory.files.get_file_info(fs.FileSelector(self.directory.path))
        done: dict[int, set[int]] = {}
        for info in found:
            kind, *numbers = info.base_name.removesuffix(".parquet").split("-")
            if kind == "answers" and info.size:
                file, part = map(int, numbers)
                done.setdefault(file, set()).add(part)
        return done

    def keep_answers(self, file: int, part: int, answers: Sequence[Answer], signatures: Sequence[bytes | None]) -> None:
        """Keep a part; answering it again writes the same."""
        columns = dict(zip(COLUMNS, zip(*answers, strict=True), strict=True)) | {SIGNATURE: signatures}
        self._write(self._answers(file, part), columns, COLUMNS | {SIGNATURE: bytes})

    def answers(self, file: int, parts: int) -> Iterator[Answer]:
        """All answers of a file, in row order."""
        return chain.from_iterable(self._rows(self._answers(file, part), list(COLUMNS)) for part in range(parts))

    def signatures(self, file: int, parts: int) -> Iterator[bytes | None]:
        """All signatures of a file, in row order; nothing else is read."""
        for part in range(parts):
            for (signature,) in self._rows(self._answers(file, part), [SIGNATURE]):
                yield signature

    def keep_repeats(self, file: int, repeats: Mapping[int, int]) -> None:
        """Keep which rows of a file (from 1) repeat which rows (from 1, through all files)."""
        columns = {"row": list(repeats), "repeat_of": list(repeats.values())}
        self._write(self.directory / f"repeats-{file:06}.parquet", columns, {"row": int, "repeat_of": int})

    def repeats(self, file: int) -> dict[int, int]:
        """What `keep_repeats` kept."""
        return dict(self._rows(self.directory / f"repeats-{file:06}.parquet", ["row", "repeat_of"]))

    def remove(self) -> None:
        """Forget everything: the output is written."""
        with reaching(self.directory):
            self.directory.files.delete_dir(self.directory.path)

    def _answers(self, file: int, part: int) -> Place:
        return self.directory / f"answers-{file:06}-{part:06}.parquet"

    def _fingerprint(self) -> object:
        with self.directory.files.open_input_stream((self.directory / "run.json").path) as stream:
            try:
                return json.loads(stream.read())
            except ValueError:
                return None

    def _write(self, target: Place, columns: Mapping[str, Sequence[Any]], types: Mapping[str, type]) -> None:
        pa, pq = extra("pyarrow"), extra("pyarrow.parquet")
        arrow = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_(), bytes: pa.binary()}
        schema = pa.schema([(name, arrow[kind]) for name, kind in types.items()])
        table = pa.table({name: pa.array(columns[name], arrow[kind]) for name, kind in types.items()}, schema)
        with reaching(target), appearing(target) as temporary:
            pq.write_table(table, temporary.path, filesystem=target.files, compression="zstd")

    def _rows(self, source: Place, columns: list[str]) -> Iterator[list[Any]]:
        pq = extra("pyarrow.parquet")
        with (
            reaching(source),
            source.files.open_input_file(source.path) as stream,
            pq.ParquetFile(stream) as file,
        ):
            table = file.read(columns=columns, use_threads=False)
        lists = [table.column(name).to_pylist() for name in columns]
        return map(list, zip(*lists, strict=True))
