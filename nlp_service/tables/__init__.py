"""Tables in and out: CSV, XLSX, JSONL and Parquet as rows of plain values, streamed. Knows nothing of petitions.

What a reader of the output may rely on (each format's module says the rest):

- Every input column and row, in order; an added column that already exists is replaced in place. Blank rows at the end
  are no rows. An empty column name becomes `column_3`, a repeated one `name (2)`.
- The same table gives the same bytes, and a file appears whole or not at all.
- A value that the output format cannot hold becomes text: ISO dates, JSON for lists and objects, base64 for bytes.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nlp_service.tables import delimited, jsonl, parquet, workbook, xlsx
from nlp_service.tables.table import Added, Row, Table, Values, invalid, reading

__all__ = ["Added", "Row", "Table", "Values", "check_output", "invalid", "open_table", "write_table"]


class _Format(NamedTuple):
    open: Callable[[Path], Table]
    write: Callable[[Path, Table, Added, Values], None]
    check: Callable[[Path, Table, Added], None] = lambda path, table, added: None


_FORMATS = {
    ".csv": _Format(delimited.open_file, delimited.write_file),
    ".xlsx": _Format(workbook.open_file, xlsx.write_file, xlsx.check_fits),
    ".jsonl": _Format(jsonl.open_file, jsonl.write_file),
    ".parquet": _Format(parquet.open_file, parquet.write_file, parquet.check_installed),
}


def open_table(path: Path) -> Table:
    """Open a file by its ending and read through it once, so that a broken one is refused before any work.

    Of Parquet only the footer is read; damage further in shows when the rows are read.

    Raises:
        PetitionError: INVALID_FILE naming the fault, with its line where there is one; MISSING_EXTRA.
    """
    table_format = _format(path)
    if not path.is_file():
        raise invalid(path, "is not a file" if path.exists() else "does not exist; check the path")
    with reading(path):
        return table_format.open(path)


def check_output(path: Path, table: Table, added: Added) -> None:
    """Refuse what `write_table` could not write, before any work.

    Raises:
        PetitionError: INVALID_FILE if the ending is unknown or an Excel sheet cannot hold the table; MISSING_EXTRA.
    """
    _format(path).check(path, table, added)


def write_table(path: Path, table: Table, added: Added, values: Values, scratch: Path) -> None:
    """Write `table` with the columns `added`: streamed to a file in `scratch`, synced, then renamed over `path`.

    Args:
        added: column name -> str, float, int or bool.
        values: one sequence a row, in the order of `added`; None for an empty cell.
        scratch: a directory on the file system of `path`.

    Raises:
        OSError: the disk is full or not writable; `path` is as it was.
        ValueError: `values` and the table differ in length.
        PetitionError: MISSING_EXTRA; INVALID_FILE if the source turns out to be damaged.
    """
    temporary = scratch / f"output{path.suffix}"
    _format(path).write(temporary, table, added, values)
    _sync(temporary)
    os.replace(temporary, path)
    _sync(path.parent)


def _format(path: Path) -> _Format:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise invalid(path, f"has the ending '{path.suffix}'; use one of {', '.join(_FORMATS)}") from None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
