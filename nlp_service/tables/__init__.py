"""Tables in and out as rows of plain values, streamed: CSV, workbooks, JSONL, Parquet, and letters in files. Knows
nothing of petitions.

What a reader of the output may rely on (each format's module says the rest):

- Every input column and row, in order; an added column that already exists is replaced in place. Blank rows at the end
  are no rows. An empty column name becomes `column_3`, a repeated one `name (2)`.
- The same table gives the same bytes, and a file appears whole or not at all.
- A value that the output format cannot hold becomes text: ISO dates, JSON for lists and objects, base64 for bytes.
- No text becomes a formula: Excel and Parquet know it by its type; in CSV, see `csv_output`, it gets an apostrophe.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from nlp_service.tables import csv_output, delimited, jsonl, letters, parquet, workbook, xlsx
from nlp_service.tables.containers import check_kind
from nlp_service.tables.identity import fingerprint, stamp
from nlp_service.tables.sheets import Block, Highlights, Sheet, Sheets, Tone
from nlp_service.tables.table import Added, Row, Table, Values, invalid, reading

__all__ = [
    "ENDINGS_IN",
    "ENDINGS_OUT",
    "MEDIA_TYPES",
    "Added",
    "Block",
    "Highlights",
    "Row",
    "Sheet",
    "Sheets",
    "Table",
    "Tone",
    "Values",
    "check_output",
    "fingerprint",
    "invalid",
    "open_table",
    "stamp",
    "write_table",
]


_Kind = TypeVar("_Kind")


class _Dress(NamedTuple):
    sheets: Sheets | None
    highlights: Highlights | None


_Write = Callable[[Path, Table, Added, Values, _Dress], int]
"""Returns how many cells got an apostrophe."""


def _plain(write: Callable[[Path, Table, Added, Values], int | None]) -> _Write:
    return lambda path, table, added, values, dress: write(path, table, added, values) or 0


def _write_xlsx(path: Path, table: Table, added: Added, values: Values, dress: _Dress) -> int:
    xlsx.write_file(path, table, added, values, dress.sheets, dress.highlights)
    return 0


class _Output(NamedTuple):
    write: _Write
    media_type: str
    check: Callable[[Path, Table, Added], None] = lambda path, table, added: None


_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": delimited.open_file,
    ".tsv": delimited.open_file,
    **dict.fromkeys(workbook.ENDINGS, workbook.open_file),
    ".jsonl": jsonl.open_file,
    ".parquet": parquet.open_file,
    **dict.fromkeys(letters.LETTERS, letters.open_letter),
    ".zip": letters.open_zip,
}
_OUTPUTS = {
    ".csv": _Output(_plain(csv_output.write_file), "text/csv; charset=utf-8"),
    ".xlsx": _Output(_write_xlsx, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", xlsx.check_fits),
    ".jsonl": _Output(_plain(jsonl.write_file), "application/x-ndjson"),
    ".parquet": _Output(_plain(parquet.write_file), "application/vnd.apache.parquet", parquet.check_installed),
}
MEDIA_TYPES = {ending: output.media_type for ending, output in _OUTPUTS.items()}
"""Of what `write_table` writes, by ending."""

ENDINGS_IN, ENDINGS_OUT = tuple(_READERS), tuple(_OUTPUTS)
"""What `open_table` reads, folders of letters beside them, and what `write_table` writes."""


def open_table(path: Path, sheet: str | None = None) -> Table:
    """Open a file by its ending, or a folder of letters, and read through it once, so that a broken one is refused before
    any work.

    Of Parquet only the footer is read; damage further in shows when the rows are read. Of letters, each is read in its
    turn; a broken one is a row with a problem.

    Args:
        sheet: the sheet of a workbook to read; None means all that hold the same table.

    Raises:
        PetitionError: INVALID_FILE naming the fault, with its line where there is one; MISSING_EXTRA.
    """
    if sheet is not None and path.suffix.lower() not in workbook.ENDINGS:
        raise invalid(path, f"has no sheets; leave --sheet away, or give one of {', '.join(workbook.ENDINGS)}")
    if path.is_dir():
        with reading(path):
            return letters.open_folder(path)
    read = _by_ending(path, _READERS)
    if not path.is_file():
        raise invalid(path, "is not a file" if path.exists() else "does not exist; check the path")
    with reading(path):
        check_kind(path)
        return workbook.open_file(path, sheet) if sheet is not None else read(path)


def check_output(path: Path, table: Table, added: Added) -> None:
    """Refuse what `write_table` could not write, before any work.

    Raises:
        PetitionError: INVALID_FILE if the ending is unknown or an Excel sheet cannot hold the table; MISSING_EXTRA.
    """
    _by_ending(path, _OUTPUTS).check(path, table, added)


def write_table(
    path: Path,
    table: Table,
    added: Added,
    values: Values,
    scratch: Path,
    sheets: Sheets | None = None,
    highlights: Highlights | None = None,
) -> int:
    """Write `table` with the columns `added`: streamed to a file in `scratch`, synced, then renamed over `path`.

    Args:
        added: column name -> str, float, int or bool.
        values: one sequence a row, in the order of `added`; None for an empty cell.
        scratch: a directory on the file system of `path`.
        sheets: for further sheets of a workbook; asked once, after the last row.
        highlights: values of added columns that a workbook colours.

    Returns:
        How many cells of a CSV got an apostrophe, lest they be formulas.

    Raises:
        OSError: the disk is full or not writable; `path` is as it was.
        ValueError: `values` and the table differ in length.
        PetitionError: MISSING_EXTRA; INVALID_FILE if the source turns out to be damaged.
    """
    temporary = scratch / f"output{path.suffix}"
    guarded = _by_ending(path, _OUTPUTS).write(temporary, table, added, values, _Dress(sheets, highlights))
    _sync(temporary)
    os.replace(temporary, path)
    _sync(path.parent)
    return guarded


def _by_ending(path: Path, known: dict[str, _Kind]) -> _Kind:
    try:
        return known[path.suffix.lower()]
    except KeyError:
        raise invalid(path, f"has the ending '{path.suffix}'; use one of {', '.join(known)}") from None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
