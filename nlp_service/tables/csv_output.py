"""CSV out: UTF-8 with BOM, so that Excel reads it right, and a CSV input's delimiter.

A CSV has no types: Excel takes a cell that begins with = + - or @ for a formula, and `=cmd|' /C calc'!A0` may start a
program. Petitions are written by anybody, so such a cell gets an apostrophe in front (OWASP, CSV injection), header and
all; the caller is told how many. Left as they are: numbers and telephone numbers ("-5", "+84 912 345 678"), and dashes
alone. "+84-912-345-678" is none of these: Excel would subtract. A petition that begins with "- " gets one, too: Excel
would show #NAME?. Whoever needs each cell as it came takes .xlsx, .jsonl or .parquet, which have types.

What this cannot help: a program that is told another delimiter finds other cells.
"""

import csv
import re
from pathlib import Path

from nlp_service.tables.table import Added, Table, Values, as_text, clean

_BEGINS_A_FORMULA = frozenset("=+-@＝＋－＠")
_SKIPPED = " \t\r\n\v\f\u00a0\u3000\ufeff\u200b\0"
"""Spreadsheets skip some of these before a formula."""

_HARMLESS = re.compile(r"[+-]+|[+-][\d \u00a0.,()]+(?:[eE][+-]?\d+)?%?", re.ASCII)


def write_file(path: Path, table: Table, added: Added, values: Values) -> int:
    """Write header and rows; how many cells got an apostrophe."""
    guarded = 0

    def cell(value: object) -> str:
        nonlocal guarded
        # NUL is legal in JSON, but hardly a CSV reader takes it.
        text = clean(as_text(value)).replace("\0", "\ufffd")
        if not begins_a_formula(text):
            return text
        guarded += 1
        return f"'{text}"

    columns = table.columns_with(added)
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream, delimiter=table.delimiter)
        writer.writerow([cell(name) for name in columns])
        for cells in table.merged(added, values):
            writer.writerow([cell(cells.get(name)) for name in columns])
    return guarded


def begins_a_formula(text: str) -> bool:
    """Whether a spreadsheet may read this cell of a CSV as a formula that is no mere number."""
    shown = text.strip(_SKIPPED)
    return shown[:1] in _BEGINS_A_FORMULA and not _HARMLESS.fullmatch(shown)
