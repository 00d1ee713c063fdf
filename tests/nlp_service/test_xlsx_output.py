"""What a labelled file looks like to whoever opens it: widths, colours, further sheets; and that no cell is a formula."""

import re
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from nlp_service.tables import Block, Row, Sheet, Table, Tone, open_table, write_table

ATTACK = "=cmd|' /C calc'!A0"
LETTER = "Đường vào thôn lầy lội, mưa xuống là xe không đi được, kính mong xã cho đổ bê tông. " * 3
MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
ADDED = {"urgency": str, "urgency_probability": float, "needs_review": bool}
HIGHLIGHTS = {"urgency": {"emergency": Tone.ALARM}, "needs_review": {True: Tone.CAUTION}}


def table(rows: Sequence[dict[str, Any]]) -> Table:
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(Path("memory"), columns, len(rows), lambda only: iter([Row(row) for row in rows]))


def labelled(path: Path, **options: Any) -> Path:
    """Three rows, the second an emergency."""
    rows = [{"stt": number, "noi_dung": LETTER} for number in (1, 2, 3)]
    values = [("normal", 0.8125, False), ("emergency", 0.5, True), ("normal", 0.9, False)]
    write_table(path, table(rows), ADDED, values, path.parent, **{"highlights": HIGHLIGHTS, **options})
    return path


def part(path: Path, name: str) -> ElementTree.Element:
    with zipfile.ZipFile(path) as archive:
        return ElementTree.fromstring(archive.read(name))


def sheet_xml(path: Path, number: int = 1) -> ElementTree.Element:
    return part(path, f"xl/worksheets/sheet{number}.xml")


def cell(sheet: ElementTree.Element, reference: str) -> ElementTree.Element:
    found = sheet.find(f".//{MAIN}c[@r='{reference}']")
    assert found is not None
    return found


def look(path: Path, reference: str) -> ElementTree.Element:
    """The format of a data cell."""
    formats = part(path, "xl/styles.xml").find(f"{MAIN}cellXfs")
    assert formats is not None
    return formats[int(cell(sheet_xml(path), reference).get("s", "0"))]


def fill(path: Path, reference: str) -> str | None:
    fills = part(path, "xl/styles.xml").find(f"{MAIN}fills")
    assert fills is not None
    colour = fills[int(look(path, reference).get("fillId", "0"))].find(f".//{MAIN}fgColor")
    return None if colour is None else colour.get("rgb")


def test_header_stays_in_sight_and_filters_all_rows(tmp_path: Path) -> None:
    sheet = sheet_xml(labelled(tmp_path / "out.xlsx"))
    pane, rows = sheet.find(f".//{MAIN}pane"), sheet.find(f"{MAIN}autoFilter")
    assert pane is not None and (pane.get("ySplit"), pane.get("state")) == ("1", "frozen")
    assert rows is not None and rows.get("ref") == "A1:E4"


def test_our_headers_differ_from_the_input_s(tmp_path: Path) -> None:
    path = labelled(tmp_path / "out.xlsx")
    assert fill(path, "A1") == fill(path, "B1") != fill(path, "C1") == fill(path, "E1")


def test_long_texts_are_wrapped_in_rows_of_one_height_and_short_columns_stay_narrow(tmp_path: Path) -> None:
    path = labelled(tmp_path / "out.xlsx")
    sheet = sheet_xml(path)
    heights = {row.get("ht") for row in sheet.iter(f"{MAIN}row") if row.get("r") != "1"}
    widths = [float(column.get("width", "0")) for column in sheet.iter(f"{MAIN}col")]
    alignment = look(path, "B2").find(f"{MAIN}alignment")
    assert len(heights) == 1 and None not in heights
    assert alignment is not None and alignment.get("wrapText") == "1"
    assert widths[0] < 10 < 50 < widths[1] < 70


def test_short_rows_keep_their_usual_height(tmp_path: Path) -> None:
    write_table(tmp_path / "out.xlsx", table([{"stt": 1}]), {}, [()], tmp_path)
    assert [row.get("ht") for row in sheet_xml(tmp_path / "out.xlsx").iter(f"{MAIN}row")][1:] == [None]


def test_one_long_note_does_not_widen_its_column(tmp_path: Path) -> None:
    rows = [{"ghi chú": "xong"}] * 99 + [{"ghi chú": LETTER}]
    write_table(tmp_path / "out.xlsx", table(rows), {}, [()] * 100, tmp_path)
    [column] = sheet_xml(tmp_path / "out.xlsx").iter(f"{MAIN}col")
    assert float(column.get("width", "0")) < 20


def test_probabilities_show_as_percent_and_keep_their_digits(tmp_path: Path) -> None:
    path = labelled(tmp_path / "out.xlsx")
    assert look(path, "D2").get("numFmtId") != "0"
    assert "0%" in {kind.get("formatCode") for kind in part(path, "xl/styles.xml").iter(f"{MAIN}numFmt")}
    assert next(open_table(path).rows()).cells["urgency_probability"] == 0.8125


def test_what_matters_is_coloured(tmp_path: Path) -> None:
    path = labelled(tmp_path / "out.xlsx")
    [rule] = sheet_xml(path).findall(f"{MAIN}conditionalFormatting")
    assert rule.get("sqref") == "C2:C4"
    assert rule.findtext(f".//{MAIN}formula") == '"emergency"'
    assert fill(path, "E3") is not None
    assert fill(path, "E2") is None


def test_further_sheets_follow_the_data_and_are_asked_for_after_the_last_row(tmp_path: Path) -> None:
    written: list[int] = []

    def values() -> Any:
        for number in (1, 2):
            written.append(number)
            yield ()

    def sheets() -> list[Sheet]:
        assert written == [1, 2]
        return [Sheet("Tổng hợp", (Block(("Lĩnh vực", "Số đơn"), [("Đất đai", 2)], "Chung"),), ("Máy gán.",))]

    path = tmp_path / "out.xlsx"
    write_table(path, table([{"stt": 1}, {"stt": 2}]), {}, values(), tmp_path, sheets)
    names = [sheet.get("name") for sheet in part(path, "xl/workbook.xml").iter(f"{MAIN}sheet")]
    texts = [text.text for text in sheet_xml(path, 2).iter(f"{MAIN}t")]
    assert names == ["Sheet1", "Tổng hợp"]
    assert texts == ["Máy gán.", "Chung", "Lĩnh vực", "Số đơn", "Đất đai"]
    assert [row.cells for row in open_table(path).rows()] == [{"stt": 1}, {"stt": 2}]


def test_a_row_number_leads_to_its_row(tmp_path: Path) -> None:
    review = Sheet("Cần xem lại", (Block(("Dòng", "Mã"), [(2, "TH-2")], links=0),), ("1 dòng.",))
    sheet = sheet_xml(labelled(tmp_path / "out.xlsx", sheets=lambda: [review]), 2)
    [link] = sheet.iter(f"{MAIN}hyperlink")
    assert (link.get("ref"), link.get("location")) == (
        "A4",
        "'Sheet1'!A3",
    )  # below note, gap, header; data start in row 2
    assert cell(sheet, "A4").findtext(f"{MAIN}v") == "2"


def test_nothing_becomes_a_formula_or_a_link_on_any_sheet(tmp_path: Path) -> None:
    attacks = (ATTACK, "@SUM(1)", "+1+1", "http://x.test", "internal:'Sheet1'!A1", "<r>a</r>")
    block = Block((ATTACK, "b"), [(attack, attack) for attack in attacks], ATTACK, shares=(1,))
    path = tmp_path / "out.xlsx"
    rows = [{ATTACK: attack, "Nội dung": attack} for attack in attacks]
    values = [(attack,) for attack in attacks]
    write_table(path, table(rows), {"text_unicode": str}, values, tmp_path, lambda: [Sheet("Lỗi", (block,), (ATTACK,))])
    for number in (1, 2):
        sheet = sheet_xml(path, number)
        assert not list(sheet.iter(f"{MAIN}f")) and not list(sheet.iter(f"{MAIN}hyperlink"))
        assert {"".join(text.itertext()) for text in sheet.iter(f"{MAIN}is")} >= {ATTACK, *attacks}


def test_same_run_gives_same_bytes(tmp_path: Path) -> None:
    sheets = [Sheet("Lỗi", (Block(("Dòng",), [(1,)], links=0),))]
    first = labelled(tmp_path / "out.xlsx", sheets=lambda: sheets).read_bytes()
    assert labelled(tmp_path / "out.xlsx", sheets=lambda: sheets).read_bytes() == first


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_other_formats_do_not_ask_for_sheets(tmp_path: Path, ending: str) -> None:
    path = labelled(tmp_path / f"out{ending}", sheets=lambda: pytest.fail("asked"))
    assert [row.cells["stt"] for row in open_table(path).rows()] in ([1, 2, 3], ["1", "2", "3"])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice is not installed")
def test_libreoffice_opens_and_draws_it(tmp_path: Path) -> None:
    # A truth under a conditional format crashes its drawing (7.4): the PDF is what proves it.
    sheets = [Sheet("Lỗi", (Block(("Dòng", "Lỗi"), [(2, "trống")], links=0),), ("1 dòng lỗi.",))]
    path = labelled(tmp_path / "out.xlsx", sheets=lambda: sheets)
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    command = ["soffice", profile, "--headless", "--convert-to", "pdf", "--outdir", str(tmp_path), str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=180)
    assert (tmp_path / "out.pdf").read_bytes().startswith(b"%PDF")


def csv_cells(tmp_path: Path, *texts: str) -> tuple[list[str], int]:
    """The texts as they come back from a CSV, and how many were guarded."""
    path = tmp_path / "out.csv"
    rows = [{"stt": "1", "text": text} for text in texts]
    guarded = write_table(path, table(rows), {}, [()] * len(rows), tmp_path)
    return [row.cells["text"] for row in open_table(path).rows()], guarded


@pytest.mark.parametrize(
    "text",
    [
        *(ATTACK, '=HYPERLINK("http://x.test","bấm")', "@SUM(1)", "+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0"),
        *("\t=1+1", "\r=1+1", " =1+1", "\ufeff=1+1", "＝1+1", "－A1", "-A1", "+84-912-345-678", "- Đề nghị sửa cầu."),
    ],
)
def test_csv_cells_that_could_be_formulas_get_an_apostrophe(tmp_path: Path, text: str) -> None:
    assert csv_cells(tmp_path, text) == ([f"'{text}"], 1)


@pytest.mark.parametrize(
    "text",
    [
        *("+84 912 345 678", "-5", "+1.250,5", "-1e-05", "-12,5%", "+84 (912) 345678", "-", "---", ""),
        *("'=1", "a=b", "Họ tên: A", "1+1", "x@y.vn", "5-3"),
    ],
)
def test_csv_numbers_telephones_and_plain_text_stay_as_they_are(tmp_path: Path, text: str) -> None:
    assert csv_cells(tmp_path, text) == ([text], 0)


def test_csv_headers_and_added_columns_are_guarded_too(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    write_table(path, table([{ATTACK: 1}]), {"text_unicode": str}, [(ATTACK,)], tmp_path)
    assert not re.search(r'(?m)(?:^|[,"])=', path.read_text(encoding="utf-8-sig"))


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_formats_with_types_keep_every_cell(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    write_table(path, table([{"text": ATTACK}]), {}, [()], tmp_path)
    assert [row.cells["text"] for row in open_table(path).rows()] == [ATTACK]


def test_guarding_a_very_long_cell_takes_no_time(tmp_path: Path) -> None:
    # Each character more would cost a pass over all others if the pattern could split the digits in many ways.
    text = "+" + "1" * 200_000 + "x"
    assert csv_cells(tmp_path, text) == ([f"'{text}"], 1)
