"""Workbooks of offices: several sheets, two rows of header, formats old and open, macros and formulas left asleep."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
import xlwt

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.tables import open_table
from nlp_service.tables.headers import find_header


def workbook(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    with xlsxwriter.Workbook(str(path)) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return path


def cells(path: Path, sheet: str | None = None) -> list[dict[str, Any]]:
    return [row.cells for row in open_table(path, sheet).rows()]


def refusal(path: Path, sheet: str | None = None) -> str:
    with pytest.raises(PetitionError) as caught:
        list(open_table(path, sheet).rows())
    assert caught.value.kind is ErrorKind.INVALID_FILE
    return caught.value.message


YEARS = {
    "2019": [["STT", "Nội dung"], [1, "Đường hỏng"], [2, "Mất nước"]],
    "2020": [["STT", "Nội dung", "Ghi chú"], [1, "Mất điện", "x"]],
    "Tổng hợp": [["Lĩnh vực", "Số đơn"], ["Giao thông", 3]],
}


def test_sheets_with_the_same_table_are_one(tmp_path: Path) -> None:
    path = workbook(tmp_path / "in.xlsx", YEARS)
    table = open_table(path)
    assert table.columns == ("STT", "Nội dung", "Ghi chú", "sheet") and table.count == 3
    assert [(row["sheet"], row["STT"], row["Nội dung"]) for row in cells(path)] == [
        ("2019", 1, "Đường hỏng"),
        ("2019", 2, "Mất nước"),
        ("2020", 1, "Mất điện"),
    ]
    assert any("“2019” 2 dòng, “2020” 1 dòng" in note for note in table.notes)
    assert any("Bỏ qua" in note and "“Tổng hợp”" in note for note in table.notes)


def test_a_named_sheet_alone(tmp_path: Path) -> None:
    path = workbook(tmp_path / "in.xlsx", YEARS)
    assert cells(path, "2020") == [{"STT": 1, "Nội dung": "Mất điện", "Ghi chú": "x"}]
    assert "no sheet '2021'; give --sheet one of: 2019, 2020, Tổng hợp" in refusal(path, "2021")
    (text := tmp_path / "in.csv").write_text("text\nx\n")
    assert "has no sheets" in refusal(text, "2020")


def test_merged_headers_are_joined_and_titles_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "in.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet()
        sheet.merge_range(0, 0, 0, 4, "SỔ TIẾP CÔNG DÂN NĂM 2019")
        sheet.merge_range(2, 0, 3, 0, "STT")
        sheet.merge_range(2, 1, 2, 2, "Người gửi")
        sheet.write_row(3, 1, ["Họ tên", "Địa chỉ"])
        sheet.merge_range(2, 3, 3, 3, "Nội dung")
        sheet.merge_range(2, 4, 3, 4, "Ghi chú")
        sheet.write_row(4, 0, [1, "Bà Lê Thị Thử", "thôn Một", "Đường hỏng"])
    table = open_table(path)
    assert table.columns == ("STT", "Người gửi / Họ tên", "Người gửi / Địa chỉ", "Nội dung", "Ghi chú")
    assert [row.cells["Nội dung"] for row in table.rows()] == ["Đường hỏng"]
    assert any("1 dòng có chữ phía trên" in note for note in table.notes)


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (
            [["STT", "Người gửi", "", "Nội dung"], ["", "Họ tên", "Địa chỉ", ""], [1.0, "A", "B", "x"]],
            ["STT", "Người gửi / Họ tên", "Người gửi / Địa chỉ", "Nội dung"],
        ),
        # A row of data that lacks a value is no second header.
        ([["STT", "Nội dung", "Ghi chú"], ["", "Đường hỏng", "x"]], ["STT", "Nội dung", "Ghi chú"]),
        ([["STT", "Nội dung", ""], [1.0, "Đường hỏng", "x"]], ["STT", "Nội dung", ""]),
        ([["Mã", "Nội dung", ""], ["", "Đường hỏng " * 10, "x"]], ["Mã", "Nội dung", ""]),
    ],
)
def test_two_rows_of_header_by_their_shape(rows: list[list[Any]], labels: list[str]) -> None:
    assert find_header(rows, 0, None).labels == labels


def ods(path: Path, rows: str) -> Path:
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    content = (
        f'<?xml version="1.0"?><office:document-content {spaces}><office:body><office:spreadsheet>'
        f'<table:table table:name="Đơn">{rows}</table:table></office:spreadsheet></office:body></office:document-content>'
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        package.writestr("META-INF/manifest.xml", "<manifest/>")
        package.writestr("content.xml", content)
    return path


def ods_row(*texts: str, repeated: int = 1) -> str:
    inner = "".join(
        f'<table:table-cell office:value-type="string"><text:p>{text}</text:p></table:table-cell>' for text in texts
    )
    return f'<table:table-row table:number-rows-repeated="{repeated}">{inner}</table:table-row>'


def test_ods_is_read_with_the_empty_rest_of_its_sheet(tmp_path: Path) -> None:
    rest = '<table:table-row table:number-rows-repeated="1048570"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
    path = ods(tmp_path / "in.ods", ods_row("STT", "Nội dung") + ods_row("1", "Mất nước") + rest)
    assert cells(path) == [{"STT": "1", "Nội dung": "Mất nước"}]


def xls(path: Path, *rows: list[Any]) -> Path:
    book = xlwt.Workbook()
    sheet = book.add_sheet("Đơn")
    for number, row in enumerate(rows):
        for column, value in enumerate(row):
            sheet.write(number, column, value)
    book.save(str(path))
    return path


def test_old_workbooks_are_read(tmp_path: Path) -> None:
    path = xls(tmp_path / "in.xls", ["STT", "Nội dung"], [1, "Mất nước sạch đã ba ngày"], [2, "Đường hỏng"])
    assert cells(path) == [
        {"STT": 1, "Nội dung": "Mất nước sạch đã ba ngày"},
        {"STT": 2, "Nội dung": "Đường hỏng"},
    ]


def test_macros_stay_asleep_and_formulas_show_their_last_value(tmp_path: Path) -> None:
    plain = tmp_path / "plain.xlsx"
    with xlsxwriter.Workbook(str(plain)) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["text", "tổng"])
        sheet.write_string(1, 0, "=cmd|' /C calc'!A0")
        sheet.write_formula(1, 1, "=1+1", None, 2)
    path = tmp_path / "in.xlsm"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w") as package:
        for name in source.namelist():
            package.writestr(name, source.read(name))
        package.writestr("xl/vbaProject.bin", b"\xd0\xcf\x11\xe0 Shell(evil)")
    assert cells(path) == [{"text": "=cmd|' /C calc'!A0", "tổng": 2}]
