"""Cells of an Excel sheet: how values are written, how they look, how wide a column of them is."""

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any

from nlp_service.tables.sheets import Tone
from nlp_service.tables.table import as_text, clean

CELL_UNITS, DIGITS = 32_767, 15
"""Excel's limits: UTF-16 units in a cell, exact decimal digits of a number."""

NARROWEST, WIDEST, LONG = 7, 40, 60
"""Widths in characters; a column where a quarter of the cells is longer than LONG is that wide, and wrapped."""

_DATES = {
    dt.datetime: "dd/mm/yyyy hh:mm:ss",
    dt.date: "dd/mm/yyyy",
    dt.time: "hh:mm:ss",
    dt.timedelta: "[h]:mm:ss",
}
_TONES = {
    Tone.ALARM: {"bg_color": "#FDECEB", "font_color": "#A3131A"},
    Tone.CAUTION: {"bg_color": "#FFF6D9", "font_color": "#6B4A00"},
    Tone.CALM: {"bg_color": "#E8F1EE", "font_color": "#0B5A4A"},
}


TOP = {"valign": "top"}
"""Where every cell's text stands; the workbook's default, which costs nothing a cell."""

_TRUTH = {"align": "center"}


class Formats:
    """The formats of one workbook."""

    def __init__(self, workbook: Any) -> None:
        head = {"bold": True, "valign": "vcenter", "border": 1, "border_color": "#C6CCC7", "text_wrap": True}
        self.dates = {kind: workbook.add_format({"num_format": pattern}) for kind, pattern in _DATES.items()}
        self.plain = workbook.add_format()
        self.wrapped = workbook.add_format({"text_wrap": True})
        self.share = workbook.add_format({"num_format": "0%", "align": "center"})
        self.input_header = workbook.add_format({"bg_color": "#E4E7E4", **head})
        self.our_header = workbook.add_format({"bg_color": "#0B5A4A", "font_color": "#FFFFFF", **head})
        self.title = workbook.add_format({"bold": True, "font_size": 13, "font_color": "#0B5A4A"})
        self.note = workbook.add_format({"font_color": "#55605A"})
        self.link = workbook.add_format({"font_color": "#0B5A4A", "underline": 1, "align": "center"})
        self.tones = {tone: workbook.add_format(look) for tone, look in _TONES.items()}
        # LibreOffice 7.4 shows a truth of the default format as 0 or 1, and crashes as it draws one under a conditional format.
        self.truth = workbook.add_format(_TRUTH)
        self.truths = {tone: workbook.add_format({**look, **_TRUTH}) for tone, look in _TONES.items()}


def column_width(name: str, sample: Sequence[object]) -> int:
    """In characters, for a header and some of its cells."""
    lengths = sorted(_shown_length(value) for value in sample if value is not None) or [0]
    if lengths[len(lengths) * 3 // 4] > LONG:
        return LONG
    needed = max(lengths[len(lengths) * 9 // 10] + 2, min(len(name) + 4, 30))
    return min(max(needed, NARROWEST), WIDEST)


def _shown_length(value: object) -> int:
    match value:
        case str():
            return max(map(len, value[:CELL_UNITS].splitlines()), default=0)
        case float():
            return 5
        case dt.datetime():
            return 19
    return len(str(value))


def constant(text: str) -> str:
    """As a conditional format's rule writes it."""
    return '"{}"'.format(text.replace('"', '""'))


def write_cell(sheet: Any, row: int, column: int, value: object, formats: Formats, look: Any = None) -> None:
    """Write one value; what Excel cannot hold as it is becomes text. Without a look, the column's.

    Only these calls of xlsxwriter are made, none of which reads a text as anything else.
    """
    match value:
        case None | "":
            return
        case bool():
            sheet.write_boolean(row, column, value, look)
            return
        case int() | float() if _exact(value):
            sheet.write_number(row, column, value, look)
            return
        case dt.date() | dt.time() | dt.timedelta() if _in_calendar(value):
            sheet.write_datetime(row, column, value, formats.dates[type(value)])
            return
    text = clean(as_text(value))
    if text.startswith("<r>") and text.endswith("</r>"):
        # xlsxwriter 3.3.1 takes such a string for its own rich-text mark-up and writes it into the XML unescaped.
        fragments = ["<", formats.plain, text[1:]]
        sheet.write_rich_string(row, column, *fragments, *([look] if look else []))
    else:
        sheet.write_string(row, column, text, look)


def _exact(value: int | float) -> bool:
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 10**DIGITS


def _in_calendar(value: object) -> bool:
    """Excel has no time zones, no day before 1900 and no negative duration."""
    if isinstance(value, dt.timedelta):
        return value >= dt.timedelta(0)
    return getattr(value, "tzinfo", None) is None and getattr(value, "year", 1900) >= 1900
