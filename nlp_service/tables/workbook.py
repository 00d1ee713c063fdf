"""Excel workbooks in. Read is the first visible sheet, values only.

The header is the first row with at least half as many filled cells as the fullest of the first thirty, so that titles
above a table are passed over.
"""

from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

from nlp_service.tables.table import Row, Table, as_text, extra, invalid, unique_names

HEADER_SEARCH_ROWS = 30
EXACT = 10**15
"""Excel keeps fifteen decimal digits of a number."""


def open_file(path: Path) -> Table:
    """Load the sheet (calamine keeps it in memory) and find its header."""
    calamine = extra("python_calamine")
    try:
        with calamine.CalamineWorkbook.from_path(path) as workbook:
            sheets = [sheet for sheet in workbook.sheets_metadata if sheet.typ == calamine.SheetTypeEnum.WorkSheet]
            visible = [sheet for sheet in sheets if sheet.visible == calamine.SheetVisibleEnum.Visible]
            if not sheets:
                raise invalid(path, "has no worksheet")
            name = (visible or sheets)[0].name
            sheet = workbook.get_sheet_by_name(name)
    except calamine.PasswordError as error:
        raise invalid(path, "is protected by a password; save it without one") from error
    except calamine.CalamineError as error:
        raise invalid(path, f"is not a readable Excel file ({error}); open it in Excel, save it as .xlsx") from error
    filled = [sum(value != "" for value in row) for row in islice(sheet.iter_rows(), HEADER_SEARCH_ROWS)]
    fullest = max(filled, default=0)
    if fullest == 0:
        return Table(path, (), 0, lambda only: iter(()))
    header_at = next(number for number, cells in enumerate(filled) if cells * 2 >= fullest)
    last = width = 0
    for number, row in enumerate(islice(sheet.iter_rows(), header_at, None), header_at):
        if used := [position for position, value in enumerate(row, 1) if value != ""]:
            last, width = number, max(width, used[-1])
    header = next(islice(sheet.iter_rows(), header_at, None))[:width]
    columns = unique_names([as_text(_plain(value)) for value in header])

    def read(only: Collection[str] | None) -> Iterator[Row]:
        for row in islice(sheet.iter_rows(), header_at + 1, last + 1):
            yield Row(dict(zip(columns, map(_plain, row), strict=False)))

    notes = []
    if len(sheets) > 1:
        notes.append(f"Đọc trang tính “{name}”; tệp có {len(sheets)} trang, các trang khác không được đọc.")
    if above := sum(cells > 0 for cells in filled[:header_at]):
        notes.append(f"Tên cột lấy ở dòng {header_at + 1}; {above} dòng có chữ phía trên không được ghi vào kết quả.")
    return Table(path, columns, last - header_at, read, notes=tuple(notes))


def _plain(value: object) -> object:
    if value == "":
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return int(value)
    return value
