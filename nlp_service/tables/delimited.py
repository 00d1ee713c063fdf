"""CSV in, in whatever charset its first 64 KiB show (see `lines`); `csv_output` writes it.

A file in one of the old Vietnamese charsets is read as cp1252: what its columns hold is for `legacy` to say. One that is
UTF-8 but for some bytes is refused.

Cells are text and stay as they are. A row whose quotes or number of cells do not fit is kept and marked; cells beyond
the header go to `column_N`. Blank lines are no rows, except in a file with one column, where they are empty cells.
"""

import csv
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from nlp_service.tables.lines import charset_notes, charset_of, check_lines, text_lines
from nlp_service.tables.table import Row, Table, invalid, reading, unique_names

DELIMITERS = ",;\t|"
MAX_RECORD = 16 * 1024**2
"""Characters of a row: far beyond what a petition may have, and what memory is kept for."""


class _Record(NamedTuple):
    line: int
    cells: list[str]
    badly_quoted: bool


def open_file(path: Path) -> Table:
    """Read through the file once: encoding, quotes, width, number of rows."""
    check_lines(path)
    charset = charset_of(path)
    notes = charset_notes(charset)
    delimiter = _delimiter(path, charset)
    records = _records(path, charset, delimiter)
    header = next((record for record in records if record.cells), None)
    if header is None:
        return Table(path, (), 0, lambda only: iter(()), notes, delimiter)
    if header.badly_quoted:
        raise invalid(path, f'has a quote in its header (line {header.line}) that is not doubled; write "" for it')
    named = width = len(header.cells)
    count = 0
    for number, record in enumerate(_rows_of(records, named), 1):
        if record.cells:
            count = number
        if any(record.cells[width:]):
            width = len(record.cells)
    columns = unique_names(header.cells + [""] * (width - named))

    def read(only: Collection[str] | None) -> Iterator[Row]:
        again = _records(path, charset, delimiter)
        next(record for record in again if record.cells)
        for record in islice(_rows_of(again, named), count):
            cells = record.cells + [""] * (named - len(record.cells))
            yield Row(dict(zip(columns, cells, strict=False)), _problem(record, named, delimiter))

    return Table(path, columns, count, read, notes, delimiter)


def _rows_of(records: Iterator[_Record], named: int) -> Iterator[_Record]:
    return (record for record in records if record.cells or named == 1)


def _problem(record: _Record, named: int, delimiter: str) -> str | None:
    if record.badly_quoted:
        return f'line {record.line} has a quote inside a quoted cell that is not doubled; write "" for it'
    if any(record.cells[named:]):
        found = f"line {record.line} has {len(record.cells)} cells, the header {named}"
        return f"{found}; put the cell that contains {delimiter!r} in double quotes"
    return None


def _delimiter(path: Path, charset: str) -> str:
    """The delimiter that cuts the header into most cells without cutting through quotes; a comma if none does."""
    fit = dict.fromkeys(DELIMITERS, (False, 0))
    for delimiter in DELIMITERS:
        with suppress(StopIteration):
            header = next(record for record in _records(path, charset, delimiter, unclosed_ok=True) if record.cells)
            if not header.badly_quoted:
                fit[delimiter] = (not any('"' in cell for cell in header.cells), len(header.cells))
    return max(fit, key=lambda delimiter: fit[delimiter])


def _records(path: Path, charset: str, delimiter: str, unclosed_ok: bool = False) -> Iterator[_Record]:
    # The limit is the module's, for all readers. How long a petition may be is for others to say, row by row.
    csv.field_size_limit(2**31 - 1)
    record: list[str] = []
    size = 0
    ended = False

    def kept(stream: Iterable[str]) -> Iterator[str]:
        nonlocal ended, size
        for number, line in enumerate(stream, 1):
            size += len(line)
            if size > MAX_RECORD:
                raise invalid(path, f"has a row of more than {MAX_RECORD:,} characters (line {number}); cut it down")
            if "\0" in line:
                raise invalid(path, f"has a NUL character in line {number}: not text, or UTF-16; save it as UTF-8")
            record.append(line)
            yield line
        ended = True

    with reading(path, charset), text_lines(path, charset) as stream:
        reader = csv.reader(kept(stream), delimiter=delimiter, strict=True)
        while True:
            first_line = reader.line_num + 1
            record.clear()
            size = 0
            try:
                yield _Record(first_line, next(reader), badly_quoted=False)
            except StopIteration:
                return
            except csv.Error as error:
                if ended and not unclosed_ok:
                    raise invalid(path, f"has a quote that opens in line {first_line} and never closes") from error
                # The cells as a lenient program would read them.
                yield _Record(first_line, next(csv.reader(record, delimiter=delimiter)), badly_quoted=True)
