"""Corrupted and hostile files: each ends in one clear error, soon, in little memory, and harms nothing."""

import io
import os
import random
import resource
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import xlsxwriter

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.tables import containers, open_table
from tests.nlp_service.test_letters import docx, paragraph
from tests.nlp_service.test_workbooks import ods, ods_row, xls

MEMORY = 500_000  # KiB that a refusal may take


def refusal(path: Path) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PetitionError) as caught:
        list(open_table(path).rows())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY
    assert caught.value.kind is ErrorKind.INVALID_FILE
    assert "\n" not in caught.value.message and str(path) in caught.value.message
    return caught.value.message


def xlsx(path: Path, text: str = "Đường hỏng") -> Path:
    with xlsxwriter.Workbook(str(path)) as book:
        book.add_worksheet().write_column(0, 0, ["text", text])
    return path


def replaced(path: Path, part: str, chunks: Callable[[], Iterator[bytes]]) -> Path:
    """The workbook with one part of other content."""
    with zipfile.ZipFile(path) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as package:
        for name, data in parts.items():
            with package.open(name, "w", force_zip64=True) as stream:
                for chunk in chunks() if name == part else [data]:
                    stream.write(chunk)
    return path


def test_a_workbook_that_is_an_archive_bomb(tmp_path: Path) -> None:
    zeros = b"0" * 1024**2

    def bomb() -> Iterator[bytes]:
        yield b"<sst><si><t>"
        for _ in range(1024):
            yield zeros

    path = replaced(xlsx(tmp_path / "bom.xlsx"), "xl/sharedStrings.xml", bomb)
    assert path.stat().st_size < 10_000_000
    assert "archive bomb" in refusal(path)


def test_a_bomb_under_the_name_of_an_old_workbook(tmp_path: Path) -> None:
    path = replaced(xlsx(tmp_path / "bom.xlsx"), "xl/sharedStrings.xml", lambda: iter([b"<sst>" + b"0" * 64 * 1024**2]))
    assert "archive bomb" in refusal(path.rename(tmp_path / "bom.xls"))


def test_an_old_workbook_whose_sectors_run_in_a_circle(tmp_path: Path) -> None:
    data = bytearray(xls(tmp_path / "a.xls", ["text"], ["Mất nước"]).read_bytes())
    directory, table = (struct.unpack_from("<I", data, at)[0] for at in (48, 76))
    struct.pack_into("<I", data, 512 * (1 + table) + 4 * directory, directory)  # the sector that follows it is itself
    (path := tmp_path / "vòng.xls").write_bytes(bytes(data))
    assert "perhaps a harmful one" in refusal(path)
    with zipfile.ZipFile(path, "a") as package:
        package.writestr("a.txt", "x")
    assert zipfile.is_zipfile(path) and "perhaps a harmful one" in refusal(path)


def test_a_cell_of_many_megabytes_that_packs_badly(tmp_path: Path) -> None:
    noise = random.Random(3).randbytes(1024**2).hex().encode()

    def cell() -> Iterator[bytes]:
        yield b'<?xml version="1.0"?><sst xmlns="x" count="2"><si><t>text</t></si><si><t>'
        for _ in range(20):
            yield noise
        yield b"</t></si></sst>"

    path = replaced(xlsx(tmp_path / "ô.xlsx"), "xl/sharedStrings.xml", cell)
    assert "has a cell of more than" in refusal(path)


def test_a_csv_cell_of_a_gigabyte(tmp_path: Path) -> None:
    path = tmp_path / "ô.csv"
    with path.open("wb") as stream:
        stream.write(b"id,text\n1,")
        stream.truncate(1024**3)  # a hole on the disk: NULs to whoever reads
    assert "line of more than" in refusal(path)
    with path.open("w") as stream:
        stream.write('id,text\n1,"')
        for _ in range(40):
            stream.write("một dòng của ô không bao giờ đóng\n" * 15_000)
    assert "has a row of more than" in refusal(path)


def test_a_sheet_that_spans_billions_of_cells(tmp_path: Path) -> None:
    path = tmp_path / "xa.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet()
        sheet.write(0, 0, "text")
        sheet.write(1_048_575, 16_383, "x")
    assert "1,048,576 rows of 16,384 columns" in refusal(path)


@pytest.mark.parametrize(
    "rows",
    [
        ods_row("text") + ods_row("x", repeated=1_000_000),
        ods_row("text").replace("<table:table-cell ", '<table:table-cell table:number-columns-repeated="16000" '),
    ],
)
def test_an_ods_that_repeats_a_filled_cell_a_million_times(tmp_path: Path, rows: str) -> None:
    assert "repeated thousands of times" in refusal(ods(tmp_path / "a.ods", rows))


def test_entries_that_overlap(tmp_path: Path) -> None:
    kernel = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = kernel.compress(b"0" * 10_000_000) + kernel.flush()
    data, directory = io.BytesIO(), io.BytesIO()
    crc = zlib.crc32(b"0" * 10_000_000)
    data.write(
        struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, crc, len(packed), 10_000_000, 5, 0) + b"a.txt" + packed
    )
    for n in range(200):
        name = f"{n}.txt".encode()
        directory.write(
            struct.pack(
                "<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, crc, len(packed), 10_000_000, len(name), 0, 0, 0, 0, 0, 0
            )
            + name
        )
    start = data.tell()
    data.write(directory.getvalue())
    data.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 200, 200, len(directory.getvalue()), start, 0))
    (path := tmp_path / "chồng.zip").write_bytes(data.getvalue())
    assert "overlap" in refusal(path)


def test_a_part_that_lies_about_its_size(tmp_path: Path) -> None:
    path = xlsx(tmp_path / "dối.xlsx", "x" * 30_000)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as package:
        size = package.getinfo("xl/sharedStrings.xml").file_size
    path.write_bytes(data.replace(struct.pack("<I", size), struct.pack("<I", 100)))
    assert "archive bomb" in refusal(path)


def test_more_entries_than_anyone_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MAX_ENTRIES", 50)
    with zipfile.ZipFile(path := tmp_path / "nhiều.zip", "w") as package:
        for n in range(51):
            package.writestr(f"{n}.txt", "x")
    assert "51 entries, limit 50" in refusal(path)


def test_nuls(tmp_path: Path) -> None:
    (path := tmp_path / "a.csv").write_bytes(b"id,text\n1,a\0b\n")
    assert "NUL" in refusal(path)
    (path := tmp_path / "a.txt").write_bytes("Mất nước\0 ba ngày".encode())
    assert "NUL" in refusal(path)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.xlsx", b"%PDF-1.7", "is a PDF file"),
        ("a.csv", b"PK\5\6" + b"\0" * 18, "is a ZIP archive, not what its ending '.csv' says; rename it to .zip"),
        ("a.csv", b"%PDF-1.7", "is a PDF file"),
        ("a.jsonl", b"\x1f\x8b\x08", "is a gzip archive"),
        ("a.xls", b"<html><table><tr><td>text</td></tr></table></html>", "is a web page under the name of a workbook"),
        (
            "a.xls",
            b'<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"/>',
            "is an XML spreadsheet of Excel 2003",
        ),
        ("a.parquet", b"id,text\n1,a\n", "parquet"),
        ("a.docx", b"{\\rtf1 x}", "is an RTF document"),
        (
            "a.xlsx",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le"),
            "protected by a password",
        ),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "password"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "Workbook".encode("utf-16-le"), "is an old XLS workbook"),
    ],
)
def test_a_file_that_is_not_what_it_is_called(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (path := tmp_path / name).write_bytes(content)
    assert told in refusal(path)


def test_a_workbook_called_csv_is_to_be_renamed(tmp_path: Path) -> None:
    path = xlsx(tmp_path / "a.xlsx").rename(tmp_path / "a.csv")
    assert "is an XLSX workbook, not what its ending '.csv' says; rename it to .xlsx" in refusal(path)


def test_a_zip_with_a_password(tmp_path: Path) -> None:
    with zipfile.ZipFile(path := tmp_path / "khóa.zip", "w") as package:
        package.writestr("a.txt", "x")
    data = bytearray(path.read_bytes())
    for at in (data.find(b"PK\3\4") + 6, data.find(b"PK\1\2") + 8):
        data[at] |= 1
    path.write_bytes(bytes(data))
    assert "password" in refusal(path)


def test_external_entities_and_laughs_reach_nothing(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    before = f'<!DOCTYPE d [<!ENTITY l0 "ha">{laughs}<!ENTITY x SYSTEM "file:///etc/hostname">]>'
    assert "damaged" in refusal(docx(tmp_path / "a.docx", paragraph("&l9;&x;"), before))


@pytest.mark.parametrize("ending", [".xlsx", ".xls", ".ods", ".docx", ".zip"])
def test_whatever_is_cut_off_or_flipped_there_is_one_error_or_a_table(tmp_path: Path, ending: str) -> None:
    make: dict[str, Callable[[Path], object]] = {
        ".xlsx": xlsx,
        ".xls": lambda path: xls(path, ["text"], ["Mất nước"]),
        ".ods": lambda path: ods(path, ods_row("text") + ods_row("Mất nước")),
        ".docx": lambda path: docx(path, paragraph("Mất nước")),
        ".zip": lambda path: zipfile.ZipFile(path, "w").writestr("a.txt", "Mất nước"),
    }
    make[ending](path := tmp_path / f"whole{ending}")
    whole, draw = path.read_bytes(), random.Random(11)
    broken = tmp_path / f"broken{ending}"
    for _ in range(40 if ending == ".xls" else 120):
        data = bytearray(whole)
        if draw.random() < 0.3:
            del data[draw.randrange(len(data)) :]
        else:
            for _ in range(draw.randint(1, 8)):
                data[draw.randrange(len(data))] = draw.randrange(256)
        broken.write_bytes(bytes(data))
        try:
            list(open_table(broken).rows())
        except PetitionError as error:
            assert error.kind is ErrorKind.INVALID_FILE
    assert sorted(os.listdir(tmp_path)) == [f"broken{ending}", f"whole{ending}"]
