"""The sheets of a workbook after its data: few rows, made to be read and printed."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from nlp_service.tables.sheets import Block, Sheet
from nlp_service.tables.table import as_text
from nlp_service.tables.xlsx_cells import Formats, write_cell

A4 = 9
"""As Excel counts sizes of paper."""

NARROWEST, WIDEST = 13, 76
"""Widths in characters; longer texts are wrapped."""

LINE = 16
"""Points a line of a header takes."""


def write_sheet(target: Any, sheet: Sheet, data: str, formats: Formats) -> None:
    """Write one sheet.

    Args:
        target: a new worksheet.
        data: the name of the sheet with the data, where links lead.
    """
    target.set_landscape()
    target.set_paper(A4)
    target.fit_to_pages(1, 0)
    rows = [row for block in sheet.blocks for row in (block.rows or [[None] * len(block.columns)])]
    widths = [_width(cells) for cells in zip_longest(*rows)]
    for position, width in enumerate(widths):
        target.set_column(position, position, width, formats.wrapped if width == WIDEST else None)
    at = 0
    for note in sheet.notes:
        write_cell(target, at, 0, note, formats, formats.note)
        at += 1
    for block in sheet.blocks:
        at += bool(at)
        if block.title:
            write_cell(target, at, 0, block.title, formats, formats.title)
            at += 1
        head, at = at, _write_block(target, block, at, widths, data, formats)
        if len(sheet.blocks) == 1 and not block.title:
            target.freeze_panes(head + 1, 0)
            target.autofilter(head, 0, at - 1, len(block.columns) - 1)
    if len(sheet.blocks) > 1:
        target.freeze_panes(0, 1)


def _write_block(target: Any, block: Block, at: int, widths: Sequence[int], data: str, formats: Formats) -> int:
    """Returns the row after it."""
    lines = max(-(-len(name) // (width - 3)) for name, width in zip(block.columns, widths, strict=False))
    target.set_row(at, LINE * lines)
    for position, name in enumerate(block.columns):
        write_cell(target, at, position, name, formats, formats.our_header)
    for number, row in enumerate(block.rows, at + 1):
        for position, value in enumerate(row):
            if position == block.links:
                target.write_url(number, position, f"internal:'{data}'!A{value + 1}", formats.link)
                target.write_number(number, position, value, formats.link)
            else:
                write_cell(
                    target, number, position, value, formats, formats.share if position in block.shares else None
                )
    return at + 1 + len(block.rows)


def _width(cells: Sequence[object]) -> int:
    longest = max(len(as_text(cell)) for cell in cells)
    return min(max(longest + 2, NARROWEST), WIDEST)
