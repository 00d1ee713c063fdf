"""The restorer that ships, on Vietnamese that is in no data set."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_service.diacritics import Diacritics, one_spelling
from nlp_service.text import strip_diacritics

SHIPPED = Diacritics.load(Path(__file__).parents[2] / "models" / "encoder" / "diacritics.npz")


@pytest.mark.parametrize(
    "text",
    [
        "Đường liên thôn hỏng nặng, xe máy không đi được, đề nghị xã sửa trước mùa mưa.",
        "Nhà tôi bị ngập nước tới mái, có hai cháu nhỏ, xin cứu giúp.",
        "Tôi đã nộp hồ sơ cấp giấy chứng nhận quyền sử dụng đất từ tháng 3 mà chưa có kết quả.",
        "Trường mầm non thu tiền học thêm không đúng quy định.",
    ],
)
def test_ordinary_petitions_come_back(text: str) -> None:
    assert SHIPPED.restore(strip_diacritics(text)) == text
    assert SHIPPED.restore(strip_diacritics(text).lower()) == text.lower()
    assert SHIPPED.restore(strip_diacritics(text).upper()) == text.upper()


def test_sentences_with_marks_stay_as_they_are() -> None:
    text = "Kính gửi ủy ban nhân dân phường Hạc Thành. duong truoc nha toi ngap nuoc moi khi mua to. Xin cảm ơn."
    restored = SHIPPED.restore(text)
    assert restored.startswith(
        "Kính gửi ủy ban nhân dân phường Hạc Thành. đường trước nhà tôi ngập nước mỗi khi mưa to"
    )
    assert restored.endswith("Xin cảm ơn.")


@pytest.mark.parametrize(
    "text",
    ["Please repair the road in front of my house, it is dangerous", "https://example.com/a?b=c", "OK", "3m x 4m", ""],
)
def test_other_languages_and_codes_stay(text: str) -> None:
    assert SHIPPED.restore(text) == text


@given(st.text(max_size=200))
def test_any_text_keeps_its_length_and_letters(text: str) -> None:
    restored = SHIPPED.restore(text)
    assert len(restored) == len(text)
    assert strip_diacritics(restored).lower() == strip_diacritics(text).lower()


@given(st.text(alphabet="aeioubcdghklmnpqrstvxy .,!1\n", max_size=120))
def test_any_bare_letters_keep_their_length(text: str) -> None:
    assert strip_diacritics(SHIPPED.restore(text)) == text


def test_one_spelling() -> None:
    assert one_spelling("hoà thuý khoẻ quý hoàn thuỷ") == "hòa thúy khỏe quý hoàn thủy"


@pytest.mark.parametrize(
    "text",
    ["a" * 50_000, "a.b " * 12_000, "nuoc " * 10_000, "." * 50_000, "a@" * 25_000, "NUOC" * 12_000],
    ids=["one word", "dots", "syllables", "marks", "addresses", "shout"],
)
def test_odd_texts_of_the_longest_size_take_no_minutes(text: str) -> None:
    started = time.process_time()
    SHIPPED.restore(text)
    assert time.process_time() - started < 10  # a quadratic step took over 20 on one word
