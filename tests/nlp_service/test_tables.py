"""Tables: what a user put into a file comes out of it again, in every format, and a broken file is refused in one line."""

import datetime as dt
import json
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.legacy import Encoding, from_unicode
from nlp_service.tables import ENDINGS_IN, Row, Table, check_output, open_table, write_table
from nlp_service.tables.csv_output import begins_a_formula

ENDINGS = (".csv", ".xlsx", ".jsonl", ".parquet")
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufffe\uffff"), max_size=40)


def table(rows: Sequence[dict[str, Any]], **options: Any) -> Table:
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(Path("memory"), columns, len(rows), lambda only: iter([Row(row) for row in rows]), **options)


def written(directory: Path, ending: str, source: Table, **added: Sequence[Any]) -> Path:
    path = directory / f"out{ending}"
    kinds = {name: float if isinstance(values[0], float) else str for name, values in added.items()}
    values: Iterable[Sequence[Any]] = zip(*added.values(), strict=True) if added else [()] * source.count
    write_table(path, source, kinds, values, directory)
    return path


def cells(path: Path) -> list[dict[str, Any]]:
    return [row.cells for row in open_table(path).rows()]


def file(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(PetitionError) as caught:
        list(open_table(path).rows())
    assert caught.value.kind is ErrorKind.INVALID_FILE
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6))
def test_any_text_comes_back(ending: str, texts: list[tuple[str, str]]) -> None:
    # "x": blank rows at the end of a sheet are no rows, so none is blank.
    rows = [{"id": "x", "Nội dung": first, "ghi chú": second} for first, second in texts]
    with tempfile.TemporaryDirectory() as directory:
        path = written(Path(directory), ending, table(rows))
        back = [{name: value or "" for name, value in row.items()} for row in cells(path)]
    if ending == ".csv":
        rows = [{name: f"'{cell}" if begins_a_formula(cell) else cell for name, cell in row.items()} for row in rows]
    assert back == rows


@pytest.mark.parametrize("ending", ENDINGS)
def test_characters_no_file_can_carry_do_not_stop_the_writing(tmp_path: Path, ending: str) -> None:
    source = table([{"id": 1, "text": "mất \ud83d điện \uffff \0 nước"}])
    [row] = cells(written(tmp_path, ending, source))
    assert "điện" in row["text"] and "nước" in row["text"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_same_table_gives_same_bytes(tmp_path: Path, ending: str) -> None:
    source = table([{"id": 1, "text": "đường hỏng"}, {"id": 2, "text": "ngập"}])
    first = written(tmp_path, ending, source, score=[0.5, None]).read_bytes()
    assert written(tmp_path, ending, source, score=[0.5, None]).read_bytes() == first


def test_xlsx_does_not_tell_the_time_of_writing(tmp_path: Path) -> None:
    path = written(tmp_path, ".xlsx", table([{"id": 1}]))
    with zipfile.ZipFile(path) as archive:
        assert b"2000-01-01T00:00:00Z" in archive.read("docProps/core.xml")


@pytest.mark.parametrize("ending", ENDINGS)
def test_added_columns_come_last_and_an_existing_one_is_replaced_in_place(tmp_path: Path, ending: str) -> None:
    source = table([{"id": "1", "urgency": "old", "text": "a"}, {"id": "2", "urgency": "old", "text": "b"}])
    path = written(tmp_path, ending, source, urgency=["low", None], score=[0.25, None])
    assert open_table(path).columns == ("id", "urgency", "text", "score")
    first, second = cells(path)
    assert first["urgency"] == "low" and float(first["score"]) == 0.25
    assert not second["urgency"] and not second["score"] and second["text"] == "b"


def test_the_output_stays_as_it_was_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = file(tmp_path, "out.csv", "old")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(ValueError):
        write_table(path, table([{"id": 1}, {"id": 2}]), {"x": str}, [("only one",)], scratch)
    assert path.read_text() == "old"


@pytest.mark.parametrize("name", ["a.pdf", "a.json", "a.doc", "a"])
def test_unknown_ending_names_the_known_ones(tmp_path: Path, name: str) -> None:
    assert ", ".join(ENDINGS_IN) in refusal(file(tmp_path, name, "x"))


@pytest.mark.parametrize("name", ["a.xls", "a.ods", "a.docx", "a"])
def test_what_cannot_be_written_is_refused_with_what_can(tmp_path: Path, name: str) -> None:
    with pytest.raises(PetitionError, match=r"use one of \.csv, \.xlsx, \.jsonl, \.parquet"):
        check_output(tmp_path / name, table([]), {})


def test_missing_file_and_directory(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none.csv")
    (tmp_path / "directory").mkdir()
    assert "holds no file" in refusal(tmp_path / "directory")


@pytest.mark.parametrize(("ending", "module"), [(".parquet", "pyarrow.parquet"), (".xlsx", "python_calamine")])
def test_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, module: str
) -> None:
    path = written(tmp_path, ending, table([{"id": 1}]))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PetitionError, match=r"pip install 'petitions\[tables\]'") as caught:
        open_table(path)
    assert caught.value.kind is ErrorKind.MISSING_EXTRA


# CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_csv_delimiter_is_found_and_kept_and_excel_gets_a_bom(tmp_path: Path, delimiter: str, bom: str) -> None:
    lines = [["mã", '"nội dung, chi tiết; khác"'], ["1", '"ngập, hỏng; mất | điện"']]
    path = file(tmp_path, "in.csv", bom + "\n".join(delimiter.join(line) for line in lines))
    source = open_table(path)
    assert source.columns == ("mã", "nội dung, chi tiết; khác")
    assert cells(path) == [{"mã": "1", "nội dung, chi tiết; khác": "ngập, hỏng; mất | điện"}]
    content = written(tmp_path, ".csv", source, error=["x"]).read_bytes()
    assert content.startswith("\ufeffmã".encode() + delimiter.encode())


def test_csv_cells_stay_as_they_are(tmp_path: Path) -> None:
    content = 'id,text\r\n007,"HYPERLINK(""x"")"\r\n1e5,"hai\ndòng "\r\n'
    out = written(tmp_path, ".csv", open_table(file(tmp_path, "in.csv", content)))
    assert out.read_bytes() == b"\xef\xbb\xbf" + content.encode()


def test_csv_rows_that_do_not_fit_are_kept_and_marked(tmp_path: Path) -> None:
    lines = ["id,text", '1,"ông "Ba" nói"', "2,đường hỏng, ngập", "3,tốt", "", "4", "5,thừa,,", '6,"mới"']
    path = file(tmp_path, "in.csv", "\n".join(lines) + "\n\n")
    source = open_table(path)
    assert source.columns == ("id", "text", "column_3")
    rows = list(source.rows())
    assert [row.cells["id"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert source.count == 6
    problems = {row.cells["id"]: row.problem for row in rows if row.problem}
    assert set(problems) == {"1", "2"}
    assert "line 2" in str(problems["1"]) and "3 cells, the header 2" in str(problems["2"])
    assert rows[1].cells["column_3"] == " ngập"
    assert rows[3].cells["text"] == ""


def test_csv_with_one_column_keeps_its_empty_cells(tmp_path: Path) -> None:
    path = file(tmp_path, "in.csv", "text\nmột\n\nba\n\n")
    assert [row["text"] for row in cells(path)] == ["một", "", "ba"]


ROADS = "mã;nội dung\r\n1;Đường vào thôn bị ngập, hỏng nặng\r\n2;Đèn chiếu sáng tắt cả tuần\r\n"


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-16-be", "cp1258"])
def test_csv_in_another_charset_is_read_and_it_is_said(tmp_path: Path, charset: str) -> None:
    old = from_unicode(ROADS, Encoding.CP1258_AS_CP1252).encode("cp1252") if charset == "cp1258" else b""
    source = open_table(file(tmp_path, "in.csv", old or ROADS.encode(charset)))
    assert source.columns == ("mã", "nội dung")
    texts = [row.cells["nội dung"] for row in source.rows()]
    assert texts == ["Đường vào thôn bị ngập, hỏng nặng", "Đèn chiếu sáng tắt cả tuần"]
    assert charset in source.notes[0]
    assert written(tmp_path, ".csv", source).read_bytes() == b"\xef\xbb\xbf" + ROADS.encode()


@pytest.mark.parametrize("encoding", [Encoding.TCVN3, Encoding.VNI, Encoding.VISCII, Encoding.VPS])
def test_csv_in_an_old_font_is_read_as_windows_shows_it(tmp_path: Path, encoding: Encoding) -> None:
    shown = from_unicode(ROADS, encoding)
    data = b"".join(c.encode("latin-1" if "\x80" <= c < "\xa0" else "cp1252") for c in shown)
    path = file(tmp_path, "in.csv", data)
    assert written(tmp_path, ".csv", open_table(path)).read_bytes() == b"\xef\xbb\xbf" + shown.encode()


def test_csv_is_utf8_wherever_its_first_64_kib_end(tmp_path: Path) -> None:
    for before in range(3):
        path = file(tmp_path, "in.csv", "text\n" + "a" * before + "ế" * 30_000)
        assert open_table(path).notes == ()
        assert cells(path) == [{"text": "a" * before + "ế" * 30_000}]


def test_csv_that_is_damaged_is_refused_with_its_line(tmp_path: Path) -> None:
    damaged = "id,text\n1,đường ngập\n2,tốt".encode()
    assert "not UTF-8 text in line 3" in refusal(file(tmp_path, "a.csv", damaged + b" \xff\n"))
    late = b"id,text\n1,tot\n2," + b"a" * 70_000 + b"\xff\n"
    assert "not UTF-8 text in line 3" in refusal(file(tmp_path, "b.csv", late))
    assert "no utf-16 text" in refusal(file(tmp_path, "c.csv", ROADS.encode("utf-16") + b"\n"))
    assert "NUL character in line 2" in refusal(file(tmp_path, "d.csv", "id,text\n1,a\0b\n"))


def test_csv_with_a_quote_that_never_closes_is_refused(tmp_path: Path) -> None:
    message = refusal(file(tmp_path, "a.csv", 'id,text\n1,a\n2,"ngập nặng\n3,c\n4,d\n'))
    assert "line 3" in message and "never closes" in message
    assert "ngập" not in message


def test_csv_cell_longer_than_the_usual_limit_is_read(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "id,text\n1," + "a" * 300_000 + "\n")
    assert len(cells(path)[0]["text"]) == 300_000


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("a,,a,a", ("a", "column_2", "a (2)", "a (3)")),
        ("category,category", ("category", "category (2)")),
        ("column_2,", ("column_2", "column_2 (2)")),
        ("a,a,a (2)", ("a", "a (3)", "a (2)")),
    ],
)
def test_every_column_has_its_own_name(tmp_path: Path, header: str, columns: tuple[str, ...]) -> None:
    assert open_table(file(tmp_path, "a.csv", header + "\n")).columns == columns


# JSONL


def test_jsonl_keys_keep_their_order_and_absent_ones_stay_away(tmp_path: Path) -> None:
    lines = ['{"id": 1, "text": "a"}', "", '{"text": "b", "extra": [1, {"x": null}], "n": NaN}']
    path = file(tmp_path, "in.jsonl", "\n".join(lines))
    source = open_table(path)
    assert source.columns == ("id", "text", "extra", "n")
    out = written(tmp_path, ".jsonl", source, error=["x", None]).read_text("utf-8")
    assert out.splitlines() == [
        '{"id": 1, "text": "a", "error": "x"}',
        '{"text": "b", "extra": [1, {"x": null}], "n": null, "error": null}',
    ]


@pytest.mark.parametrize("bad", ['{"id": 2, ', "[1]", '"text"', '{"n": ' + "9" * 5000 + "}", "[" * 100_000])
def test_a_bad_jsonl_line_is_a_marked_row_with_its_text(tmp_path: Path, bad: str) -> None:
    path = file(tmp_path, "in.jsonl", f'{{"id": 1}}\n{bad}\r\n{{"id": 3}}\n')
    rows = list(open_table(path).rows())
    assert [row.problem for row in rows] == [None, "line 2 is not a JSON object", None]
    assert rows[1].cells == {"_raw": bad}


def test_jsonl_lines_end_at_newlines_only(tmp_path: Path) -> None:
    path = file(tmp_path, "in.jsonl", '{"text": "a\u2028b\x85c"}\r\n{"text":\r"d"}')
    assert [row["text"] for row in cells(path)] == ["a\u2028b\x85c", "d"]


def test_a_file_without_any_json_object_is_refused(tmp_path: Path) -> None:
    assert "one object a line" in refusal(file(tmp_path, "a.jsonl", "id,text\n1,a\n"))
    assert "one object a line" in refusal(file(tmp_path, "b.jsonl", json.dumps([{"text": "a"}])))
    damaged = '{"a": "đường hỏng"}\n{"a": "'.encode() + b'\xff"}\n'
    assert "line 2" in refusal(file(tmp_path, "c.jsonl", damaged))


# XLSX


def test_xlsx_text_never_becomes_formula_link_or_number(tmp_path: Path) -> None:
    texts = [
        "=1+1",
        '=HYPERLINK("http://x")',
        "+84",
        "-1",
        "@a",
        "{=1}",
        "http://x.vn",
        "007",
        "1e5",
        "<r>đậm</r>",
        "<r>",
    ]
    path = written(tmp_path, ".xlsx", table([{"text": text} for text in texts]))
    assert [row["text"] for row in cells(path)] == texts
    with zipfile.ZipFile(path) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
        assert "<f>" not in sheet and "hyperlink" not in sheet.replace("=HYPERLINK", "")
        assert "<v>" not in sheet


def test_xlsx_numbers_and_dates_keep_their_kind(tmp_path: Path) -> None:
    row = {
        "whole": 5,
        "half": 2.5,
        "yes": True,
        "day": dt.date(2026, 11, 24),
        "moment": dt.datetime(2026, 11, 24, 7, 30, 15),
        "clock": dt.time(7, 30),
        "long": dt.timedelta(hours=30),
        "empty": None,
    }
    path = written(tmp_path, ".xlsx", table([row]))
    again = written(tmp_path, ".xlsx", open_table(path))
    assert cells(again) == [row]
    assert {name: type(value) for name, value in cells(again)[0].items()} == {n: type(v) for n, v in row.items()}
    [as_csv] = cells(written(tmp_path, ".csv", open_table(again)))
    assert as_csv["whole"] == "5" and as_csv["day"] == "2026-11-24" and as_csv["moment"] == "2026-11-24 07:30:15"


def test_values_excel_cannot_hold_become_text(tmp_path: Path) -> None:
    odd = [
        12345678901234567,
        dt.date(1890, 5, 19),
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        dt.timedelta(seconds=-5),
        float("inf"),
        [1, "đ"],
        b"\xff",
        Decimal("1.50"),
    ]
    path = written(tmp_path, ".xlsx", table([{"value": value} for value in odd]))
    assert [row["value"] for row in cells(path)] == [
        *("12345678901234567", "1890-05-19", "2026-01-01 00:00:00+00:00", "-1 day, 23:59:55"),
        *("inf", '[1, "đ"]', "/w==", "1.50"),
    ]


def sheets(path: Path, contents: dict[str, list[list[Any]]], hidden: Sequence[str] = ()) -> Path:
    import xlsxwriter

    with xlsxwriter.Workbook(str(path)) as workbook:
        for name, rows in contents.items():
            sheet = workbook.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
            if name in hidden:
                sheet.hide()
            elif hidden:
                sheet.activate()
                sheet.set_first_sheet()
    return path


def test_xlsx_titles_above_the_header_are_passed_over_and_it_is_said(tmp_path: Path) -> None:
    rows: list[list[Any]] = [
        ["UBND XÃ A", "", "", "CỘNG HÒA XÃ HỘI"],
        [],
        ["SỔ ĐƠN"],
        ["STT", "Họ tên", "Nội dung", "Địa chỉ", "Ngày", ""],
        [1, "A", "x", "", "", "", ""],
        [],
        [2, "B", "y", "", "", "thừa"],
        ["", ""],
    ]
    source = open_table(sheets(tmp_path / "in.xlsx", {"S": rows}))
    assert source.columns == ("STT", "Họ tên", "Nội dung", "Địa chỉ", "Ngày", "column_6")
    assert [row.cells["STT"] for row in source.rows()] == [1, None, 2]
    assert source.count == 3
    assert [row.cells["column_6"] for row in source.rows()] == [None, None, "thừa"]
    assert "dòng 4" in source.notes[0]


def test_xlsx_reads_the_first_visible_sheet_and_says_which(tmp_path: Path) -> None:
    contents = {"ẩn": [["a"], ["1"]], "Đơn": [["text"], ["x"]], "khác": [["b"], ["2"]]}
    source = open_table(sheets(tmp_path / "in.xlsx", contents, hidden=["ẩn"]))
    assert source.columns == ("text",)
    assert any("ẩn" in note for note in source.notes) and any("“khác”" in note for note in source.notes)


def test_broken_xlsx_is_refused(tmp_path: Path) -> None:
    whole = sheets(tmp_path / "whole.xlsx", {"S": [["text"], ["x"]]}).read_bytes()
    for content in (b"", b"text\nx\n", whole[: len(whole) // 2]):
        assert "Excel" in refusal(file(tmp_path, "broken.xlsx", content)) or b"PK" in content


def test_what_a_sheet_cannot_hold_is_refused_before_any_work(tmp_path: Path) -> None:
    out = tmp_path / "out.xlsx"
    check_output(out, table([{"text": "a" * 32_767}]), {"error": str})
    for source, message in [
        (table([{"text": "ok"}, {"text": "a" * 32_768}]), "row 2, column 'text'"),
        (table([{"text": "😀" * 16_384}]), "32,768 characters"),
        (Table(Path("x"), ("text",), 1_048_576, lambda only: iter(())), "1,048,577 rows"),
        (table([{str(n): n for n in range(16_384)}]), "16,385 columns"),
    ]:
        with pytest.raises(PetitionError, match=message):
            check_output(out, source, {"error": str})
        check_output(out.with_suffix(".csv"), source, {"error": str})


# Parquet


def test_parquet_keeps_every_type(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    original = pa.table(
        {
            "text": pa.array(["a", None]),
            "when": pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns", "Asia/Ho_Chi_Minh")),
            "money": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
            "tags": pa.array([["x", "y"], None]),
            "kind": pa.array(["k", "k"]).dictionary_encode(),
            "place": pa.array([{"xã": "A", "at": 5}, None], pa.struct({"xã": pa.string(), "at": pa.timestamp("ns")})),
            "small": pa.array([1, 2], pa.int8()),
        }
    ).replace_schema_metadata({"pandas": "{}"})
    pq.write_table(original, tmp_path / "in.parquet")
    source = open_table(tmp_path / "in.parquet")
    out = pq.read_table(written(tmp_path, ".parquet", source, category=["x", None], score=[0.5, None]))
    assert out.drop_columns(["category", "score"]).equals(original)
    assert out.schema.field("score").type == pa.float64()
    assert out.schema.metadata == {b"pandas": b"{}"}
    assert out.column("category").to_pylist() == ["x", None]
    assert [row.cells for row in source.rows({"text"})] == [{"text": "a"}, {"text": None}]
    assert pq.read_table(written(tmp_path, ".parquet", source, kind=["x", "y"])).schema.metadata is None


def test_parquet_to_other_formats_uses_text_where_it_must(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    when = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"tags": pa.array([["đ", 'x"y']]), "when": when, "n": pa.array([3])}), path)
    [as_csv] = cells(written(tmp_path, ".csv", open_table(path)))
    assert as_csv == {"tags": '["đ", "x\\"y"]', "when": "2023-11-14 22:13:20.123456", "n": "3"}
    [as_jsonl] = cells(written(tmp_path, ".jsonl", open_table(path)))
    assert as_jsonl == {"tags": ["đ", 'x"y'], "when": "2023-11-14T22:13:20.123456", "n": 3}


def test_parquet_types_are_inferred_from_other_formats(tmp_path: Path) -> None:
    rows = [
        {"n": 1, "x": 1, "big": 2**60, "mixed": 1, "day": dt.date(2026, 1, 2), "flag": True, "none": None},
        {"n": 2, "x": 0.5, "big": 2, "mixed": ["a"], "day": None, "flag": None},
    ]
    import pyarrow.parquet as pq

    out = pq.read_table(written(tmp_path, ".parquet", table(rows)))
    types = {field.name: str(field.type) for field in out.schema}
    assert types == {
        **{"n": "int64", "x": "double", "big": "string", "mixed": "string"},
        **{"day": "date32[day]", "flag": "bool", "none": "string"},
    }
    assert out.column("big").to_pylist() == [str(2**60), "2"]
    assert out.column("mixed").to_pylist() == ["1", '["a"]']


def test_broken_parquet_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path, ".parquet", table([{"text": "đường hỏng " * 50}] * 50)).read_bytes()
    damaged = bytearray(whole)
    damaged[40:400] = bytes(360)
    for content in (b"", b"text\nx\n", whole[: len(whole) // 2], bytes(damaged)):
        assert "Parquet" in refusal(file(tmp_path, "broken.parquet", content))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_without_rows_keeps_its_header(tmp_path: Path, ending: str) -> None:
    source = open_table(file(tmp_path, "in.csv", "id,text\n"))
    out = open_table(written(tmp_path, ending, source))
    assert out.count == 0 and list(out.rows()) == []
    assert out.columns == (() if ending == ".jsonl" else ("id", "text"))


@pytest.mark.parametrize("name", ["empty.csv", "empty.jsonl"])
def test_an_empty_file_is_an_empty_table(tmp_path: Path, name: str) -> None:
    source = open_table(file(tmp_path, name, ""))
    assert source.columns == () and source.count == 0 and list(source.rows()) == []
