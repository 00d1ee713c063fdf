"""Letters in files: one a row, in the order that people count in, whatever else lies beside them."""

import os
import zipfile
from pathlib import Path

import pytest

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.legacy import Encoding, from_unicode
from nlp_service.tables import fingerprint, open_table, stamp
from nlp_service.tables.letters import MAX_LETTER

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def docx(path: Path, body: str, before: str = "") -> Path:
    """A DOCX with this XML in its body."""
    document = f'<?xml version="1.0" encoding="UTF-8"?>{before}<w:document {W}><w:body>{body}</w:body></w:document>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("[Content_Types].xml", "<Types/>")
        package.writestr("word/document.xml", document)
    return path


def paragraph(*texts: str) -> str:
    return "<w:p>" + "".join(f"<w:r><w:t>{text}</w:t></w:r>" for text in texts) + "</w:p>"


def rows(path: Path) -> list[tuple[str, str | None]]:
    return [(row.cells["file"], row.cells["text"]) for row in open_table(path).rows()]


def refusal(path: Path) -> str:
    with pytest.raises(PetitionError) as caught:
        list(open_table(path).rows())
    assert caught.value.kind is ErrorKind.INVALID_FILE
    return caught.value.message


def test_a_letter_is_a_table_of_one_row(tmp_path: Path) -> None:
    path = docx(tmp_path / "đơn.docx", paragraph("Kính gửi ", "UBND xã") + paragraph("Đường &amp; cầu hỏng"))
    assert rows(path) == [("đơn.docx", "Kính gửi UBND xã\nĐường & cầu hỏng")]
    (text := tmp_path / "đơn.txt").write_text("Mất nước\nđã ba ngày", "utf-8-sig")
    assert rows(text) == [("đơn.txt", "Mất nước\nđã ba ngày")]


def test_what_counts_of_a_docx(tmp_path: Path) -> None:
    body = (
        "<w:p><w:r><w:t>Tôi là</w:t><w:tab/><w:t>dân xã</w:t><w:br/><w:t>xin trình bày</w:t></w:r></w:p>"
        "<w:tbl><w:tr><w:tc>" + paragraph("Họ tên") + "</w:tc><w:tc>" + paragraph("Thôn") + "</w:tc></w:tr></w:tbl>"
        "<w:p><w:del><w:r><w:delText>câu đã xóa</w:delText></w:r></w:del><w:ins><w:r><w:t>câu mới</w:t></w:r></w:ins></w:p>"
        '<w:p><w:r><w:instrText>HYPERLINK "http://xấu"</w:instrText></w:r><w:r><w:t>chữ hiện ra</w:t></w:r></w:p>'
    )
    [(_, text)] = rows(docx(tmp_path / "a.docx", body))
    assert text == "Tôi là\tdân xã\nxin trình bày\nHọ tên\tThôn\ncâu mới\nchữ hiện ra"


def test_a_letter_in_an_old_font_is_read_by_itself(tmp_path: Path) -> None:
    letter = "Đường vào thôn bị ngập, hỏng nặng, đi lại khó khăn, đề nghị sửa chữa"
    (tmp_path / "cũ.txt").write_bytes(from_unicode(letter, Encoding.TCVN3).encode("cp1252"))
    docx(tmp_path / "vni.docx", paragraph(from_unicode(letter, Encoding.VNI)))
    (tmp_path / "mới.txt").write_text(letter, "utf-16")
    assert {text for _, text in rows(tmp_path)} == {letter}


def test_a_folder_in_the_order_people_count_in_with_what_is_no_letter(tmp_path: Path) -> None:
    folder = tmp_path / "2019"
    (folder / "sub").mkdir(parents=True)
    for name in ("Đơn 10.txt", "Đơn 2.txt", "sub/1.txt"):
        (folder / name).write_text(f"nội dung {name}", "utf-8")
    for name in (".DS_Store", "~$đơn.docx", "Thumbs.db"):
        (folder / name).write_bytes(b"x")
    (folder / "ảnh.jpg").write_bytes(b"\xff\xd8\xff\xe0 picture")
    (folder / "bảng.xlsx").write_bytes(b"PK")
    (folder / "cũ.doc").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "WordDocument".encode("utf-16-le"))
    (folder / "hỏng.docx").write_bytes(b"PK\3\4 cut off")
    table = open_table(folder)
    assert [row.cells["file"] for row in table.rows()] == [
        *("bảng.xlsx", "cũ.doc", "hỏng.docx", "sub/1.txt", "Đơn 2.txt", "Đơn 10.txt", "ảnh.jpg")
    ]
    assert table.count == 7
    problems = {row.cells["file"]: row.problem for row in table.rows()}
    assert problems["Đơn 2.txt"] is None and problems["sub/1.txt"] is None
    for name, told in {
        "ảnh.jpg": "no letter that can be read",
        "bảng.xlsx": "label it by itself",
        "cũ.doc": "old Word document",
        "hỏng.docx": "DOCX",
    }.items():
        assert told in (problems[name] or "") and name in (problems[name] or "")


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("không phải của ai")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("Mất điện")
    (folder / "loop").symlink_to(folder)
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    assert rows(folder) == [("a.txt", "Mất điện")]


def test_an_archive_is_read_like_its_folder_and_nothing_is_unpacked(tmp_path: Path) -> None:
    before = tmp_path / "đơn.zip"
    with zipfile.ZipFile(before, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("thư/10.txt", "mười")
        package.writestr("thư/2.txt", "hai")
        package.writestr("__MACOSX/._2.txt", "x")
        package.writestr("../../../../tmp/thoát.txt", "leo ra ngoài")
        package.writestr("/etc/tuyệt đối.txt", "tuyệt đối")
        package.writestr("C:\\Windows\\x.txt", "ổ đĩa")
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        package.writestr(link, "/etc/passwd")
    found = dict(rows(before))
    assert found == {
        "thư/2.txt": "hai",
        "thư/10.txt": "mười",
        "thoát.txt": "leo ra ngoài",
        "tuyệt đối.txt": "tuyệt đối",
        "x.txt": "ổ đĩa",
        "link.txt": None,
    }
    assert list(found).index("thư/2.txt") < list(found).index("thư/10.txt")
    [link_row] = [row for row in open_table(before).rows() if row.cells["file"] == "link.txt"]
    assert "link" in (link_row.problem or "")
    assert os.listdir(tmp_path) == ["đơn.zip"]


def test_an_empty_folder_and_an_archive_in_name_only(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no file" in refusal(tmp_path / "empty")
    (tmp_path / "a.zip").write_bytes(b"not packed")
    assert "damaged" in refusal(tmp_path / "a.zip")


@pytest.mark.parametrize(
    "before",
    [
        '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>',
        '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_entities_have_no_place_in_a_letter(tmp_path: Path, before: str) -> None:
    path = docx(tmp_path / "a.docx", paragraph("Mất nước"), before)
    assert "damaged" in refusal(path)


def test_a_letter_that_fills_memory_is_refused(tmp_path: Path) -> None:
    bomb = docx(tmp_path / "bom.docx", paragraph("0" * (MAX_LETTER + 1)))
    assert bomb.stat().st_size < 1_000_000 and "archive bomb" in refusal(bomb)
    long = docx(tmp_path / "dài.docx", paragraph("số 1 " * 1_000_000))
    assert "damaged" in refusal(long) or "limit" in refusal(long)


def test_a_folder_is_another_one_when_a_letter_changes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Mất nước")
    before = fingerprint(tmp_path), stamp(tmp_path)
    assert (fingerprint(tmp_path), stamp(tmp_path)) == before
    (tmp_path / "b.txt").write_text("Mất điện")
    assert fingerprint(tmp_path) != before[0] and stamp(tmp_path) != before[1]
