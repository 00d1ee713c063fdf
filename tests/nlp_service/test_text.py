import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.text import check, chunks, normalise, strip_diacritics

anything = st.text(st.characters(), max_size=300)


@given(anything)
def test_normalise_is_idempotent_and_leaves_one_form(text: str) -> None:
    clean = normalise(text)
    assert normalise(clean) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert clean == " ".join(clean.split())
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in clean)
    assert len(clean) <= 3 * len(text)


def test_decomposed_and_composed_text_read_the_same() -> None:
    text = "Đường làng hỏng nặng, đề nghị sửa chữa"
    assert normalise(unicodedata.normalize("NFD", text)) == text
    assert normalise("\ufeffĐường\u200b làng\r\n\thỏng\u00a0nặng,\x1f đề nghị\u2028sửa chữa\u00ad") == text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", ErrorKind.EMPTY_TEXT),
        (" \u200b\n", ErrorKind.EMPTY_TEXT),
        ("…?!", ErrorKind.EMPTY_TEXT),
        (None, ErrorKind.INVALID_REQUEST),
        (b"m\xe1t", ErrorKind.INVALID_REQUEST),
        ("bí mật " * 20, ErrorKind.TEXT_TOO_LONG),
    ],
)
def test_what_cannot_be_read_is_refused_without_quoting_it(text: object, kind: ErrorKind) -> None:
    with pytest.raises(PetitionError) as caught:
        check(text, max_chars=100)
    assert caught.value.kind is kind
    assert "bí mật" not in str(caught.value.as_dict())


@given(st.text(st.sampled_from("aăđ ấ.,!?1"), max_size=5000), st.integers(20, 300))
def test_chunks_are_bounded_and_lose_nothing(text: str, size: int) -> None:
    text = normalise(text)
    pieces = chunks(text, size)
    assert all(0 < len(piece) <= size for piece in pieces)
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")


def test_chunks_end_at_sentences_where_there_are_some() -> None:
    text = "Câu thứ nhất dài vừa phải. " * 100
    assert all(piece.endswith(".") for piece in chunks(normalise(text), 200))


def test_a_text_without_spaces_is_cut_all_the_same() -> None:
    assert [len(piece) for piece in chunks("a." * 2_500, 1_000)] == [1_000] * 5


def test_strip_diacritics() -> None:
    assert strip_diacritics("Đường ngập, ƯỚT sũng") == "Duong ngap, UOT sung"
