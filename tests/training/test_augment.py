import random
import time
from dataclasses import replace

import pytest

from nlp_service.diacritics import Diacritics
from nlp_service.text import strip_diacritics
from training.augment import Copies, mask_heading, misread, slip, telex, vary

BODY = "Kính gửi: UBND xã Hoằng Châu\nTôi là Lê Thị Hoa. Đường thôn 3 hỏng nặng, đề nghị sửa.\n"
MOTTO = "CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM\nĐộc lập - Tự do - Hạnh phúc\n"


@pytest.mark.parametrize(
    "heading",
    [
        "ĐƠN KHIẾU NẠI\n",
        "Đơn tố cáo\n",
        "ĐƠN KIẾN NGHỊ (về việc sửa đường liên thôn)\n",
        "   ĐƠN XIN XÁC NHẬN   \n",
        MOTTO + "ĐƠN PHẢN ÁNH\n",
        MOTTO + "-------***-------\n\nĐƠN ĐỀ NGHỊ\n",
        MOTTO.replace("HÒA", "HOÀ").replace("-", "–") + "\n   ĐƠN KÊU CỨU KHẨN CẤP\n",
        "\n\n" + MOTTO + "\n\nĐƠN TRÌNH BÀY\n",
        "cộng hoà xã hội chủ nghĩa việt nam\nđộc lập - tự do - hạnh phúc\n______\nđơn khiếu nại lần hai\n",
    ],
)
def test_heading_is_dropped_with_the_motto_above(heading: str) -> None:
    assert mask_heading(heading + BODY) == BODY


def test_lines_before_the_motto_stay() -> None:
    letter = "Thanh Hóa, ngày 3 tháng 11 năm 2026\nĐƠN KHIẾU NẠI\n" + BODY
    assert mask_heading(letter) == "Thanh Hóa, ngày 3 tháng 11 năm 2026\n" + BODY


@pytest.mark.parametrize(
    "text",
    [
        BODY,
        "Đường liên thôn hỏng nặng đã ba năm.",
        "Tôi đã nộp đơn khiếu nại.",
        "Đã gửi đơn xin kiểm tra, đến giờ không có văn bản phản hồi.\nMẹ tôi mất rồi.",
        "Công ty bắt ký đơn xin nghỉ tự nguyện, ai không ký thì chuyển tổ.\nXã Hoằng Hóa.",
        "Thôn có nhiều đơn thư vượt cấp\nđề nghị tỉnh giải quyết.",
        "Hóa đơn đề nghị thanh toán sai số điện.",
        "ĐƠN KHIẾU NẠI",  # nothing but a title: better than no text
        "",
    ],
)
def test_other_text_comes_back_unchanged(text: str) -> None:
    assert mask_heading(text) == text


def test_many_blank_lines_cost_nothing() -> None:
    text = "\n" * 300 + "- - -\n" * 100 + "Kính gửi xã"
    started = time.monotonic()
    assert mask_heading(text) == text
    assert time.monotonic() - started < 2


def test_slips_follow_the_seed() -> None:
    text = "Đường liên thôn hỏng nặng, đề nghị xã sửa chữa trước mùa mưa bão năm nay. " * 4
    assert slip(text, random.Random(1)) == slip(text, random.Random(1))
    assert slip(text, random.Random(1)) != slip(text, random.Random(2))
    assert slip(text, random.Random(1), rate=0) == text
    assert slip("", random.Random(1), rate=1) == ""


def test_slips_keep_to_their_rate_and_spare_digits() -> None:
    text = "a0" * 5_000
    slipped = slip(text, random.Random(3), rate=0.1)
    assert abs(len(slipped) - len(text)) < 150  # as many doubled as dropped
    assert 0.05 < 1 - slipped.count("a0") / 5_000 < 0.2
    digits = "0912 345 678; 15/10/1993 -- 5.000m2"
    assert [c for c in slip(digits, random.Random(3), rate=1) if c.isdigit()] == [c for c in digits if c.isdigit()]


NOTHING = Copies(undiacritised=0, misread=0, lower=0, slips=0, headless=0)


def test_nothing_varies_at_probability_zero() -> None:
    letter = MOTTO + "ĐƠN KHIẾU NẠI\n" + BODY
    for seed in range(50):
        assert vary(letter, random.Random(seed), NOTHING) == letter


def test_each_change_has_its_own_probability() -> None:
    letter = "ĐƠN KHIẾU NẠI\nĐường hỏng"
    generator = random.Random(0)
    assert vary(letter, generator, replace(NOTHING, headless=1)) == "Đường hỏng"
    assert vary(letter, generator, replace(NOTHING, undiacritised=1)) == "DON KHIEU NAI\nDuong hong"
    assert vary(letter, generator, replace(NOTHING, misread=1)) == "DON KHIEU NAI\nDuong hong", "without a restorer"
    assert vary(letter, generator, replace(NOTHING, lower=1)) == letter.lower()
    many = [vary(letter * 5, generator, replace(NOTHING, slips=1)) for _ in range(20)]
    assert len(set(many)) > 10
    share = sum(vary(letter, generator, replace(NOTHING, undiacritised=0.3)) != letter for _ in range(2_000)) / 2_000
    assert share == pytest.approx(0.3, abs=0.05)


def test_same_generator_state_gives_the_same_copy() -> None:
    options = Copies(undiacritised=0.3, misread=0, lower=0.3, slips=0.5, headless=0.5)
    letter = "ĐƠN KHIẾU NẠI\n" + BODY
    first = [vary(letter, random.Random(seed), options) for seed in range(30)]
    assert first == [vary(letter, random.Random(seed), options) for seed in range(30)]
    assert len(set(first)) > 5


@pytest.mark.parametrize(
    ("written", "keys"),
    [
        ("đường", "dduwowngf"),
        ("Thuyền", "Thuyeenf"),
        ("nghĩa", "nghiax"),
        ("quốc", "quoocs"),
        ("rượu", "ruwowuj"),
        ("thôn", "thoon"),
        ("ĐẤT", "DDAATs"),
        ("xe", "xe"),
        ("", ""),
    ],
)
def test_telex_leftovers(written: str, keys: str) -> None:
    assert telex(written) == keys


def test_misread_changes_marks_and_nothing_else(restorer: Diacritics) -> None:
    text = "Đường liên thôn hỏng nặng, 3 hộ dân kêu cứu."
    copies = {misread(text, random.Random(seed), restorer, rate=0.5) for seed in range(30)}
    assert len(copies) > 3
    assert {strip_diacritics(copy).lower() for copy in copies} == {strip_diacritics(text).lower()}
    assert misread(text, random.Random(1), restorer, rate=0).lower() == text.lower()
