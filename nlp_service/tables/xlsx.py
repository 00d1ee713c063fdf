"""Excel out: the data on the first sheet, then whatever sheets the caller adds. Text never becomes a formula, a link or a
number; dates stay dates.

The header stays in sight and filters; ours is green, the input's grey. Columns are as wide as their first rows need; one
of long texts is wrapped, in rows of one height. An added float is a share, shown as percent.
"""

import datetime as dt
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

from nlp_service.tables.sheets import Highlights, Sheets
from nlp_service.tables.table import Added, Table, Values, as_text, extra, invalid
from nlp_service.tables.xlsx_cells import CELL_UNITS, LONG, TOP, Formats, column_width, constant, write_cell
from nlp_service.tables.xlsx_sheets import write_sheet

ROWS, COLUMNS = 1_048_576, 16_384
"""Excel's limits of a sheet."""

SAMPLE_ROWS = 200
"""Rows that are held back to see how wide the columns must be."""

LONG_ROW, HEADER_ROW = 45, 24
"""Heights in points: three lines of a long text; a header with room for the filter's arrow."""


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


def write_file(
    path: Path,
    table: Table,
    added: Added,
    values: Values,
    sheets: Sheets | None = None,
    highlights: Highlights | None = None,
) -> None:
    """Write header, rows, further sheets; the rows in constant memory."""
    xlsxwriter = extra("xlsxwriter")
    as_typed = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    options = {"constant_memory": True, "tmpdir": str(path.parent), "use_zip64": True, **as_typed}
    options["default_format_properties"] = TOP
    workbook = xlsxwriter.Workbook(str(path), options)
    try:
        workbook.set_properties({"created": dt.datetime(2000, 1, 1)})
        formats = Formats(workbook)
        data = workbook.add_worksheet()
        _write_data(data, table, added, values, highlights or {}, formats)
        for sheet in sheets() if sheets else ():
            write_sheet(workbook.add_worksheet(sheet.name), sheet, data.get_name(), formats)
        workbook.close()
    except BaseException as error:
        with suppress(Exception):  # closes its temporary files
            workbook.close()
        if isinstance(error, xlsxwriter.exceptions.FileCreateError):
            raise OSError(*error.args[0].args) from error
        raise


def _write_data(
    sheet: Any, table: Table, added: Added, values: Values, highlights: Highlights, formats: Formats
) -> None:
    columns = table.columns_with(added)
    rows = table.merged(added, values)
    sample = list(islice(rows, SAMPLE_ROWS))
    widths = [column_width(name, [cells.get(name) for cells in sample]) for name in columns]
    if LONG in widths:
        sheet.set_default_row(LONG_ROW)
    sheet.set_row(0, HEADER_ROW)
    for position, (name, width) in enumerate(zip(columns, widths, strict=True)):
        body = formats.wrapped if width == LONG else formats.share if added.get(name) is float else None
        sheet.set_column(position, position, width, body)
        write_cell(sheet, 0, position, name, formats, formats.our_header if name in added else formats.input_header)
    tones = {columns.index(name): of for name, of in highlights.items() if name in added}
    truths = {at: {value: formats.truths[tone] for value, tone in of.items()} for at, of in tones.items()}
    last = 0
    for last, cells in enumerate(chain(sample, rows), 1):
        for position, name in enumerate(columns):
            value = cells.get(name)
            look = truths.get(position, {}).get(value, formats.truth) if isinstance(value, bool) else None
            write_cell(sheet, last, position, value, formats, look)
    if not columns:
        return
    sheet.freeze_panes(1, 0)
    sheet.autofilter(0, 0, last, len(columns) - 1)
    for position, of in tones.items():
        for text, tone in of.items():
            if isinstance(text, str) and last:
                rule = {"type": "cell", "criteria": "==", "value": constant(text), "format": formats.tones[tone]}
                sheet.conditional_format(1, position, last, position, rule)


def _utf16_units(text: str) -> int:
    # A text under half the limit cannot exceed it.
    return len(text.encode("utf-16-le", "surrogatepass")) // 2 if len(text) > CELL_UNITS // 2 else len(text)
