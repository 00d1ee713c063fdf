import itertools
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.text import CHUNK_CHARS, MAX_CHARS, check, chunks, normalise, strip_diacritics, unshout

# Any code point, surrogates too; and what makes trouble, close together: bare marks, invisible characters, spaces of all kinds.
anything = st.one_of(
    st.text(st.characters(), max_size=300),
    st.text(
        st.sampled_from(
            "aAeoEODđ\u0300\u0301\u0309\u0323\u0302\u031b\u0328 \t\r\n\x00\x1c\x7f\x85\xa0\xad\u200b\u200d\u200e\u2000\u2028"
            "\u2029\u202e\u3000\ufeff\ufe0f\ue000\ud800\u0378\u212b\ufb2c\u1ea4\u1ee9\U0001f64f"
        ),
        max_size=40,
    ),
)
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(anything)
def test_normalise_is_idempotent_and_leaves_one_form(text: str) -> None:
    clean = normalise(text)
    assert normalise(clean) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert clean == " ".join(clean.split())
    assert not any(unicodedata.category(character) in INVISIBLE for character in clean)
    assert all(character == " " for character in clean if unicodedata.category(character) == "Zs")
    assert len(clean) <= 3 * len(text)


@given(anything)
def test_how_letters_were_typed_makes_no_difference(text: str) -> None:
    assert (
        normalise(unicodedata.normalize("NFD", text))
        == normalise(unicodedata.normalize("NFC", text))
        == normalise(text)
    )


@given(st.text(st.sampled_from([chr(code) for code in range(32, 127)])))
def test_plain_ascii_keeps_every_character_but_doubled_spaces(text: str) -> None:
    assert normalise(text) == " ".join(text.split())


def test_an_invisible_character_never_splits_or_glues_words() -> None:
    assert normalise("rác\u200bthải \u200b đổ") == "rácthải đổ"
    assert normalise("rác\nthải\x00đổ\x1fra\u2028kênh") == "rác thải đổ ra kênh"
    assert normalise("a\u0323\u200b\u0302") == "ậ"


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
        ("\u0300\u0301", ErrorKind.EMPTY_TEXT),
        ("🙏🙏 :))", ErrorKind.EMPTY_TEXT),
        ("\x00\ud800\ue000", ErrorKind.EMPTY_TEXT),
        (None, ErrorKind.INVALID_REQUEST),
        (b"m\xe1t", ErrorKind.INVALID_REQUEST),
        (["bí mật"], ErrorKind.INVALID_REQUEST),
        ({"text": "bí mật"}, ErrorKind.INVALID_REQUEST),
        (True, ErrorKind.INVALID_REQUEST),
        (17.5, ErrorKind.INVALID_REQUEST),
        ("bí mật " * 20, ErrorKind.TEXT_TOO_LONG),
    ],
)
def test_what_cannot_be_read_is_refused_without_quoting_it(text: object, kind: ErrorKind) -> None:
    with pytest.raises(PetitionError) as caught:
        check(text, max_chars=100)
    assert caught.value.kind is kind
    told = str(caught.value.as_dict())
    assert not any(word in told for word in ("bí mật", "m\\xe1t", "17.5", "True"))


def test_a_text_of_exactly_the_limit_is_read_and_one_more_is_not() -> None:
    assert check("ă" * 100, max_chars=100) == "ă" * 100
    with pytest.raises(PetitionError) as caught:
        check("ă" * 101, max_chars=100)
    assert caught.value.detail == {"characters": 101, "limit": 100}
    assert "101" in caught.value.message and "100" in caught.value.message
    # Every character counts, seen or not: invisible ones cost work as well.
    with pytest.raises(PetitionError):
        check("ă" + "\u200b" * 100, max_chars=100)


@given(anything)
def test_what_passes_the_check_is_normalised_and_has_something_to_read(text: str) -> None:
    try:
        clean = check(text)
    except PetitionError as error:
        assert error.kind is ErrorKind.EMPTY_TEXT
        assert not any(character.isalnum() for character in normalise(text))
    else:
        assert clean == normalise(text)


@given(st.text(st.sampled_from("aăđ ấ.,!?1"), max_size=5000), st.integers(20, 300))
def test_chunks_are_bounded_and_lose_nothing(text: str, size: int) -> None:
    text = normalise(text)
    pieces = chunks(text, size)
    assert all(0 < len(piece) <= size for piece in pieces)
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")
    # Two neighbours never fit into one piece with room to spare: the number of pieces grows with the text, not faster.
    assert all(len(a) + len(b) >= size // 2 for a, b in itertools.pairwise(pieces))


@given(st.lists(st.text(st.sampled_from("aăđấ.,!?;…"), min_size=1, max_size=20), max_size=300), st.integers(20, 90))
@example(["a" * 20, "b" * 20, "c"], 20)
def test_chunks_joined_by_spaces_are_the_text(words: list[str], size: int) -> None:
    text = normalise(" ".join(words))
    assert " ".join(chunks(text, size)) == text


def test_chunks_end_at_sentences_where_there_are_some() -> None:
    text = "Câu thứ nhất dài vừa phải. " * 100
    assert all(piece.endswith(".") for piece in chunks(normalise(text), 200))


def test_a_text_without_spaces_is_cut_all_the_same() -> None:
    assert [len(piece) for piece in chunks("a." * 2_500, 1_000)] == [1_000] * 5
    assert [len(piece) for piece in chunks("a." * 25_000)] == [CHUNK_CHARS] * (MAX_CHARS // CHUNK_CHARS)


def test_a_short_text_is_one_chunk_and_an_empty_one_none() -> None:
    assert chunks("a" * CHUNK_CHARS) == ["a" * CHUNK_CHARS]
    assert chunks("") == []


def test_strip_diacritics() -> None:
    assert strip_diacritics("Đường ngập, ƯỚT sũng") == "Duong ngap, UOT sung"


@given(st.text(st.sampled_from("aăâđêôơưĂÂĐÊÔƠƯấầẩẫậắằếềộớứựỵỹẠẶỢ xyz19.,"), max_size=60))
def test_without_diacritics_nothing_but_ascii_is_left(text: str) -> None:
    bare = strip_diacritics(text)
    assert bare.isascii() and len(bare) == len(text)
    assert bare == strip_diacritics(unicodedata.normalize("NFD", text)) == strip_diacritics(bare)


@pytest.mark.parametrize(
    ("text", "size", "pieces"),
    [
        ("a" * 20 + " b", 20, ["a" * 20, "b"]),
        ("a" * 21 + " b", 20, ["a" * 20, "a b"]),
        ("a b " + "c" * 25, 20, ["a b", "c" * 20, "c" * 5]),
        ("Kính gửi. " + "nước đục " * 3 + "cả xóm", 24, ["Kính gửi. nước đục nước", "đục nước đục cả xóm"]),
        ("Đường hỏng. Nước đục. Mất", 22, ["Đường hỏng. Nước đục.", "Mất"]),
    ],
    ids=[
        "a word of the size",
        "a word of one more",
        "a long word after short ones",
        "an early sentence end is no place",
        "a late one is",
    ],
)
def test_where_chunks_are_cut(text: str, size: int, pieces: list[str]) -> None:
    assert chunks(text, size) == pieces


@pytest.mark.parametrize(
    ("text", "calm"),
    [
        ("ĐƯỜNG HỎNG NẶNG QUÁ RỒI", "Đường hỏng nặng quá rồi"),
        ("Gửi xã. CỨU VỚI, 3 NGƯỜI TRÊN MÁI NHÀ! Mong giúp", "Gửi xã. Cứu với, 3 người trên mái nhà! Mong giúp"),
        ("UBND TP HCM", "UBND TP HCM"),
        ("Chủ tịch UBND xã", "Chủ tịch UBND xã"),
        ("", ""),
    ],
)
def test_shouts_are_calmed_and_abbreviations_kept(text: str, calm: str) -> None:
    assert unshout(text) == calm


@given(st.text(max_size=150))
def test_calming_changes_case_alone(text: str) -> None:
    calm = unshout(text)
    assert calm.lower() == text.lower()
    assert unshout(calm) == calm
