"""JSONL: one JSON object a line, in whatever charset its first 64 KiB show; out UTF-8.

The columns are the keys in order of appearance; keys that a row lacks stay away in JSONL output. A line that is no JSON
object becomes a marked row with its text under `_raw`. Blank lines are no rows.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from nlp_service.tables.lines import charset_notes, charset_of, check_lines, text_lines
from nlp_service.tables.table import Added, Row, Table, Values, invalid, jsonable, reading

RAW = "_raw"


def open_file(path: Path) -> Table:
    """Read through the file once: encoding, keys, number of rows. Refuses a file without any object."""
    check_lines(path)
    charset = charset_of(path)
    notes = charset_notes(charset)
    columns: dict[str, None] = {}
    count = objects = 0
    for row in _rows(path, charset):
        count += 1
        objects += row.problem is None
        columns |= dict.fromkeys(row.cells)
    if count and not objects:
        raise invalid(path, "has no line that is a JSON object; JSONL holds one object a line")
    return Table(path, tuple(columns), count, lambda only: _rows(path, charset), notes)


def write_file(path: Path, table: Table, added: Added, values: Values) -> None:
    """Write one line a row."""
    with path.open("wb") as stream:
        for cells in table.merged(added, values):
            line = jsonable(cells)
            try:
                encoded = json.dumps(line, ensure_ascii=False).encode()
            except UnicodeEncodeError:  # a lone surrogate, which only an escape can carry
                encoded = json.dumps(line).encode()
            stream.write(encoded + b"\n")


def _rows(path: Path, charset: str) -> Iterator[Row]:
    with reading(path, charset), text_lines(path, charset, newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                # NaN is not JSON, but Python writes it.
                cells = json.loads(line, parse_constant=lambda name: None)
            except (ValueError, RecursionError):
                cells = None
            if isinstance(cells, dict):
                yield Row(cells)
            else:
                yield Row({RAW: line.rstrip("\r\n")}, f"line {number} is not a JSON object")
