"""Workbooks in: XLSX, XLSM, XLS and ODS, values only; macros and formulas are never run, cells hold what they last showed.

The header is the first row with at least half as many filled cells as the fullest of the first thirty, so that titles
above a table are passed over; a row of groups above it ("Người gửi" over "Họ tên" and "Địa chỉ"), merged in the file,
joins it. Sheets that hold the same table are read one after the other, with the column `sheet`; others are passed over.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from nlp_service.tables.containers import XLSX, check_parts, kind_of
from nlp_service.tables.headers import Merged, find_header
from nlp_service.tables.table import Row, Table, extra, invalid, unique_names
from nlp_service.tables.trial import survives

ENDINGS = (".xlsx", ".xlsm", ".xls", ".ods")
HEADER_SEARCH_ROWS = 30
EXACT = 10**15
"""Excel keeps fifteen decimal digits of a number."""

SHEET = "sheet"
"""The column that says which sheet a row is from."""


@dataclass(frozen=True)
class _Found:
    """A table on a sheet.

    Attributes:
        header_at: position of the header among the sheet's rows, from 0.
        last: position of the last row that is not empty.
        above: rows with words above the header that are not part of it.
    """

    name: str
    sheet: Any
    columns: tuple[str, ...]
    header_at: int
    last: int
    above: int

    @property
    def count(self) -> int:
        return self.last - self.header_at

    def rows(self) -> Iterator[dict[str, Any]]:
        for row in islice(self.sheet.iter_rows(), self.header_at + 1, self.last + 1):
            yield dict(zip(self.columns, map(_plain, row), strict=False))


def open_file(path: Path, sheet: str | None = None) -> Table:
    """Load the sheets (calamine keeps them in memory) and find their headers.

    Args:
        sheet: the only one to read; None means all visible ones that hold the same table as the first.
    """
    with path.open("rb") as stream:
        # By its beginning, as its reader goes: a ZIP may also hang at the end of an old workbook.
        old = path.suffix.lower() == ".xls" and kind_of(stream) != XLSX
    if old:
        if not survives(path):
            raise invalid(
                path, "is not a readable workbook, perhaps a harmful one; open it in Excel and save it as .xlsx"
            )
    else:
        check_parts(path)
    sheets, notes = _load(path, sheet)
    tables = [found for name, loaded in sheets if (found := _table(name, loaded)) is not None]
    if not tables:
        return Table(path, (), 0, lambda only: iter(()))
    first = tables[0]
    same = [found for found in tables if _same(found.columns, first.columns)]
    if others := [found.name for found in tables if found not in same]:
        notes.append(f"Bỏ qua trang tính có cột khác: {_quoted(others)} (muốn đọc: --sheet).")
    if len(same) > 1:
        counts = ", ".join(f"“{found.name}” {found.count} dòng" for found in same)
        notes.append(f"Đọc {len(same)} trang tính: {counts}; cột {SHEET} ghi tên trang.")
    elif len(sheets) > 1:
        notes.append(f"Đọc trang tính “{first.name}”.")
    for found in same:
        if found.above:
            where = f"Trang “{found.name}”: tên" if len(same) > 1 else "Tên"
            notes.append(
                f"{where} cột lấy ở dòng {found.header_at + 1}; {found.above} dòng có chữ phía trên không được ghi vào kết quả."
            )
    columns = tuple(dict.fromkeys(name for found in same for name in found.columns))
    if len(same) == 1:
        return Table(path, columns, first.count, partial(_rows, same, None), notes=tuple(notes))
    named = unique_names((*columns, SHEET))[-1]
    return Table(path, (*columns, named), sum(f.count for f in same), partial(_rows, same, named), notes=tuple(notes))


def _rows(tables: Sequence[_Found], named: str | None, only: Collection[str] | None) -> Iterator[Row]:
    for found in tables:
        for cells in found.rows():
            yield Row(cells if named is None else cells | {named: found.name})


def _load(path: Path, wanted: str | None) -> tuple[list[tuple[str, Any]], list[str]]:
    calamine = extra("python_calamine")
    advice = "open it in Excel or LibreOffice and save it as .xlsx"
    try:
        with calamine.CalamineWorkbook.from_path(path) as workbook:
            sheets = [sheet for sheet in workbook.sheets_metadata if sheet.typ == calamine.SheetTypeEnum.WorkSheet]
            if not sheets:
                raise invalid(path, "has no worksheet")
            visible = [sheet.name for sheet in sheets if sheet.visible == calamine.SheetVisibleEnum.Visible]
            names = visible or [sheets[0].name]
            if wanted is not None:
                if wanted not in [sheet.name for sheet in sheets]:
                    known = ", ".join(sheet.name for sheet in sheets)
                    raise invalid(path, f"has no sheet '{wanted}'; give --sheet one of: {known}")
                names = [wanted]
            loaded = [(name, workbook.get_sheet_by_name(name)) for name in names]
    except calamine.PasswordError as error:
        raise invalid(path, "is protected by a password; save it without one") from error
    except calamine.CalamineError as error:
        raise invalid(path, f"is not a readable workbook ({error}); {advice}") from error
    except OSError:
        raise
    except BaseException as error:
        # A fault of the reader's own (PanicException is no Exception) is as good as a broken file.
        if type(error).__name__ != "PanicException":
            raise
        raise invalid(path, f"is not a readable workbook; {advice}") from error
    hidden = len(sheets) - len(visible) if wanted is None and visible else 0
    return loaded, [f"Không đọc {hidden} trang tính ẩn."] if hidden else []


def _table(name: str, sheet: Any) -> _Found | None:
    """The table on a sheet; None if there is nothing."""
    start = [list(row) for row in islice(sheet.iter_rows(), HEADER_SEARCH_ROWS)]
    filled = [sum(value != "" for value in row) for row in start]
    fullest = max(filled, default=0)
    if fullest == 0:
        return None
    at = next(number for number, cells in enumerate(filled) if cells * 2 >= fullest)
    header = find_header(start, at, _merged(sheet))
    last = width = 0
    for number, row in enumerate(islice(sheet.iter_rows(), header.last, None), header.last):
        if used := [position for position, value in enumerate(row, 1) if value != ""]:
            last, width = number, max(width, used[-1])
    width = max(width, *(position + 1 for position, label in enumerate(header.labels) if label), 0)
    labels = [*header.labels, *[""] * width][:width]
    above = sum(cells > 0 for cells in filled[: header.first])
    return _Found(name, sheet, unique_names(labels), header.last, max(last, header.last), above)


def _merged(sheet: Any) -> list[Merged] | None:
    ranges = sheet.merged_cell_ranges
    if ranges is None or sheet.start is None:
        return None
    shift = sheet.start[1]  # rows are told from the sheet's first, columns from the first that is filled
    return [(top, bottom, left - shift, right - shift) for (top, left), (bottom, right) in ranges]


def _same(columns: Sequence[str], first: Sequence[str]) -> bool:
    return 2 * len(set(columns) & set(first)) >= max(len(set(columns)), len(set(first)))


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"“{name}”" for name in names)


def _plain(value: object) -> object:
    if value == "":
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return int(value)
    return value
