"""Excel out: one plain sheet. Text never becomes a formula, a link or a number; dates stay dates."""

import datetime as dt
import math
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from nlp_service.tables.table import Added, Table, Values, as_text, clean, extra, invalid

ROWS, COLUMNS, CELL_UNITS, DIGITS = 1_048_576, 16_384, 32_767, 15
"""Excel's limits: sheet size, UTF-16 units in a cell, exact decimal digits of a number."""

_DATES = {
    dt.datetime: "dd/mm/yyyy hh:mm:ss",
    dt.date: "dd/mm/yyyy",
    dt.time: "hh:mm:ss",
    dt.timedelta: "[h]:mm:ss",
}


def check_fits(path: Path, table: Table, added: Added) -> None:
    """Refuse a table that a sheet cannot hold. Raises PetitionError INVALID_FILE naming the first cell at fault."""
    extra("xlsxwriter")
    use = "write .csv, .jsonl or .parquet instead"
    if table.count >= ROWS:
        raise invalid(path, f"would need {table.count + 1:,} rows, an Excel sheet has {ROWS:,}; {use}")
    if (width := len(table.columns_with(added))) > COLUMNS:
        raise invalid(path, f"would need {width:,} columns, an Excel sheet has {COLUMNS:,}; {use}")
    for number, row in enumerate(table.rows(), 1):
        for name, value in row.cells.items():
            if name not in added and (units := _utf16_units(as_text(value))) > CELL_UNITS:
                where = f"row {number}, column '{name}' ({units:,} characters)"
                raise invalid(path, f"cannot hold {where}: an Excel cell takes {CELL_UNITS:,}; {use}")


def write_file(path: Path, table: Table, added: Added, values: Values) -> None:
    """Write header and rows, in constant memory."""
    xlsxwriter = extra("xlsxwriter")
    as_typed = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    options = {"constant_memory": True, "tmpdir": str(path.parent), "use_zip64": True, **as_typed}
    workbook = xlsxwriter.Workbook(str(path), options)
    try:
        workbook.set_properties({"created": dt.datetime(2000, 1, 1)})
        formats = {kind: workbook.add_format({"num_format": pattern}) for kind, pattern in _DATES.items()}
        sheet = workbook.add_worksheet()
        columns = table.columns_with(added)
        header = dict(zip(columns, columns, strict=True))
        for number, cells in enumerate(chain([header], table.merged(added, values))):
            for position, name in enumerate(columns):
                _write_cell(sheet, number, position, cells.get(name), formats)
        workbook.close()
    except BaseException as error:
        with suppress(Exception):  # closes its temporary files
            workbook.close()
        if isinstance(error, xlsxwriter.exceptions.FileCreateError):
            raise OSError(*error.args[0].args) from error
        raise


def _write_cell(sheet: Any, row: int, column: int, value: object, formats: Mapping[type, Any]) -> None:
    match value:
        case None | "":
            return
        case bool():
            sheet.write_boolean(row, column, value)
            return
        case int() | float() if _exact(value):
            sheet.write_number(row, column, value)
            return
        case dt.date() | dt.time() | dt.timedelta() if _in_calendar(value):
            sheet.write_datetime(row, column, value, formats[type(value)])
            return
    text = clean(as_text(value))
    if text.startswith("<r>") and text.endswith("</r>"):
        # xlsxwriter 3.3.1 takes such a string for its own rich-text mark-up and writes it into the XML unescaped.
        sheet.write_rich_string(row, column, "<", formats[dt.date], text[1:])
    else:
        sheet.write_string(row, column, text)


def _exact(value: int | float) -> bool:
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 10**DIGITS


def _in_calendar(value: object) -> bool:
    """Excel has no time zones, no day before 1900 and no negative duration."""
    if isinstance(value, dt.timedelta):
        return value >= dt.timedelta(0)
    return getattr(value, "tzinfo", None) is None and getattr(value, "year", 1900) >= 1900


def _utf16_units(text: str) -> int:
    # A text under half the limit cannot exceed it.
    return len(text.encode("utf-16-le", "surrogatepass")) // 2 if len(text) > CELL_UNITS // 2 else len(text)
