import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_service.old_encodings import Encoding, from_unicode, to_unicode
from nlp_service.syllables import LETTERS, LOWER

NO_CAPITALS = (Encoding.TCVN3, Encoding.TCVN3_AS_CP1258, Encoding.VPS)


def same(encoding: Encoding, text: str) -> str:
    """What can come back: capitals that share a code with their small letter do not."""
    return text.lower() if encoding in NO_CAPITALS else text


@pytest.mark.parametrize("encoding", Encoding)
def test_the_whole_alphabet_comes_back(encoding: Encoding) -> None:
    for letter in LETTERS:
        assert same(encoding, to_unicode(from_unicode(letter, encoding), encoding)) == same(encoding, letter)
    assert to_unicode(from_unicode(LOWER, encoding), encoding) == LOWER


@pytest.mark.parametrize("encoding", Encoding)
@given(
    text=st.text(
        st.sampled_from(LETTERS + "abcdeghiklmnopqrstuvxyABCDEGHIKLMNOPQRSTUVXY \n.,;:?!'()+-/\\^~`0123456789")
    )
)
def test_any_vietnamese_text_comes_back(encoding: Encoding, text: str) -> None:
    assert same(encoding, to_unicode(from_unicode(text, encoding), encoding)) == same(encoding, text)


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        (Encoding.DECOMPOSED, "\u0110u\u031bo\u031b\u0300ng"),
        (Encoding.TCVN3, "§\xadêng Lª Lîi, x· Ho»ng Hãa"),
        (Encoding.TCVN3_AS_CP1258, "§\xadêng Lª Lîi, x· Ho»ng Hăa"),
        (Encoding.VNI, "Ñöôøng Leâ Lôïi, xaõ Hoaèng Hoùa"),
        (Encoding.VNI_AS_CP1258, "Ñöôøng Leâ Lôïi, xaơ Hoaèng Hoùa"),
        (Encoding.VIQR, "DDu+o+`ng Le^ Lo+.i, xa~ Hoa(`ng Ho'a"),
        (Encoding.VISCII, "Ðß¶ng Lê Lþi, xã Ho¢ng Hóa"),
        (Encoding.VPS, "ñÜ©ng Lê L®i, xã Ho¢ng Hóa"),
        (Encoding.UTF8_AS_CP1252, "Ä\x90Æ°á»\x9dng LÃª Lá»£i, xÃ£ Hoáº±ng HÃ³a"),
        (Encoding.UTF8_AS_CP1258, "Ä\x90Æ°á»\x9dng LĂª Lá»£i, xĂ£ Hoáº±ng HĂ³a"),
        (Encoding.UTF8_TWICE, "HÃƒÂ³a"),
        (Encoding.CP1258_AS_CP1252, "ÐýõÌng Lê Lõòi, xaÞ HoãÌng Hóa"),
    ],
)
def test_how_each_encoding_looks(encoding: Encoding, written: str) -> None:
    assert to_unicode(written, encoding) in ("Đường Lê Lợi, xã Hoằng Hóa", "Đường", "Hóa")
    assert from_unicode(to_unicode(written, encoding), encoding) == written


@pytest.mark.parametrize(("encoding", "name"), [(Encoding.TCVN3, "TCVN"), (Encoding.VISCII, "VISCII")])
def test_the_tables_are_those_of_glibc(encoding: Encoding, name: str) -> None:
    if not shutil.which("iconv"):
        pytest.skip("no iconv here")
    text = (LOWER + "ĂÂÊÔƠƯĐ") if encoding is Encoding.TCVN3 else LETTERS
    done = subprocess.run(["iconv", "-f", "UTF-8", "-t", name], input=text.encode(), capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this iconv has no {name}")
    shown = "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in done.stdout)
    assert from_unicode(text, encoding) == shown


# What Unikey 4 writes for the alphabet, small letters (of VPS also capitals).
UNIKEY_VNI = bytes.fromhex(
    "61f861f961f561fb61ef61ea61e861e961fc61fa61eb61e261e061e161e361e561e465f865f965f565fb65ef65e265e065e165e365e5"
    "65e4ecedf3e6f26ff86ff96ff56ffb6fef6fe26fe06fe16fe36fe56fe4f4f4f8f4f9f4f5f4fbf4ef75f875f975f575fb75eff6f6f8f6"
    "f9f6f5f6fbf6ef79f879f979f579fbeef1"
)
UNIKEY_VPS = bytes.fromhex(
    "e0e1e3e4e5e6a2a1a4a3a5e2c0c3c5c4c6e8e9ebc8cbea8a89cd8b8cecedefcccef2f3f5d586f4d2d387b0b6d6a9a7abaaaef9fadbfb"
    "f8dcd8d9bbbabfff9acf9b9cc780c18281e5888e8df08fa5c28483c585c6d7c9fedecbca939095948cb5b4b8b7cebcb9bebd86d49796"
    "9998b6f79e9da69faea8daacd1f8d0afadbbb1bfb2ddb3fd9cf1"
)


def test_the_other_tables_are_those_of_unikey() -> None:
    assert from_unicode(LOWER, Encoding.VNI) == UNIKEY_VNI.decode("cp1252")
    assert from_unicode(LOWER.upper(), Encoding.VNI) == UNIKEY_VNI.decode("cp1252").upper()
    shown = "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in UNIKEY_VPS)
    assert from_unicode(LETTERS, Encoding.VPS) == shown


def test_capitals_written_with_codes_of_small_letters_come_back_within_words_in_capitals() -> None:
    assert (
        to_unicode("ñY BAN, TØNH THANH HãA, Hµ NéI, Hµ Néi", Encoding.TCVN3) == "ủY BAN, TỈNH THANH HÓA, Hà NỘI, Hà Nội"
    )


def test_what_typing_and_cleaning_did_to_old_texts() -> None:
    assert to_unicode("Aùnh", Encoding.VNI) == "Ánh"  # the shift key let go early
    assert to_unicode("HÃ  Ná»™i", Encoding.UTF8_AS_CP1252) == "Hà Nội"  # its non-breaking space made a plain one
    assert to_unicode("DdOng", Encoding.VIQR) == "ĐOng"


def test_a_literal_d_before_another_is_escaped_in_viqr() -> None:
    for text in ("dđ", "đd", "add", "ddd", "DĐ"):
        assert to_unicode(from_unicode(text, Encoding.VIQR), Encoding.VIQR) == text
