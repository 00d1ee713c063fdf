import pytest

from nlp_service.charsets import OWN_CHARSETS, decode, detect_bytes
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.old_encodings import Encoding, from_unicode


def as_bytes(text: str, charset: str) -> bytes:
    if charset in OWN_CHARSETS:
        shown = from_unicode(text, OWN_CHARSETS[charset])
    elif charset == "cp1258":
        shown = from_unicode(text, Encoding.CP1258_AS_CP1252)
    else:
        return text.encode(charset)
    return b"".join(c.encode("cp1252") if ord(c) > 0xFF else bytes([ord(c)]) for c in shown)


@pytest.mark.parametrize(
    "charset", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1258", "tcvn3", "viscii", "vni", "vps"]
)
def test_text_files_are_read(charset: str) -> None:
    text = (
        "Kính gửi Ủy ban nhân dân xã Nga Sơn.\r\nĐường thôn hỏng nặng, trẻ em đi học rất khó khăn. "
        "Đề nghị xã sớm sửa chữa cho dân được nhờ.\r\n"
    )
    data = as_bytes(text, charset)
    assert detect_bytes(data) == charset
    assert decode(data, charset) == (text.replace("Ủ", "ủ") if charset == "tcvn3" else text)


def test_utf8_cut_within_a_letter_is_utf8_still() -> None:
    assert detect_bytes(b"x" * 65_535 + "ư".encode()) == "utf-8"
    assert detect_bytes("xã".encode()[:-1]) == "cp1252"


@pytest.mark.parametrize(
    ("data", "charset"), [(b"", "utf-8"), (b"A, B", "utf-8"), (b"\0" * 9, "utf-8"), ("café".encode("cp1252"), "cp1252")]
)
def test_what_is_no_vietnamese_is_read_as_ever(data: bytes, charset: str) -> None:
    assert detect_bytes(data) == charset


@pytest.mark.parametrize("charset", ["utf-8", "klingon"])
def test_a_charset_that_does_not_fit_is_refused(charset: str) -> None:
    with pytest.raises(PetitionError) as caught:
        decode("Sơn".encode("cp1258"), charset)
    assert caught.value.kind is ErrorKind.INVALID_FILE
    assert "utf-8" in caught.value.message.lower()
