"""Repeated rows: copies are found through what people change in them, other letters are left alone."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nlp_service import repeats
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.repeats import Repeats, likeness, signature
from nlp_service.text import MAX_CHARS, fold, strip_diacritics

ROAD = (
    "Kính gửi Ủy ban nhân dân xã. Ngày 12/3/2026 xe chở đất của công ty làm nứt tường ba nhà ở ngõ Cây Gạo, bụi phủ kín "
    "sân phơi thóc, trẻ con ho suốt đêm. Chúng tôi đã gọi hai lần mà chưa ai xuống. Đề nghị dừng xe và bồi thường. "
    "Người viết: Trịnh Văn Kín."
)
CLINIC = (
    "Trạm y tế chỉ mở cửa buổi sáng, người già đi tiêm phải chờ đến trưa rồi về không. Thuốc huyết áp tháng này lại hết, "
    "cô y tá bảo ra hiệu thuốc mà mua. Mong trên xem lại việc cấp thuốc bảo hiểm."
)
MARKET = (
    "Chợ chiều họp lấn hết lòng đường trước trường cấp hai, tan học các cháu phải len giữa xe máy và sạp cá. Đã có hai "
    "cháu ngã. Cử tri yêu cầu dời chợ vào bãi đất trống cạnh sân bóng."
)

COPIES = {
    "date": ROAD.replace("12/3/2026", "28 tháng 11 năm 2025"),
    "greeting": ROAD.replace("Kính gửi Ủy ban nhân dân xã.", "Thưa các bác,"),
    "sender": ROAD.replace("Trịnh Văn Kín", "Lò Thị Mẩy"),
    "no diacritics": strip_diacritics(ROAD),
    "capitals": ROAD.upper(),
    "punctuation": re.sub(r"[.,:]", " ; ", ROAD).replace(" ", "\n"),
    "decomposed and invisible": ROAD.replace("nứt", "nư\u0301\u200bt").replace("thóc", "tho\u0301\u00adc"),
    "one more sentence": ROAD + " Nếu không sửa bà con sẽ lên tỉnh.",
    "slips": ROAD.replace("tường", "tuờgn").replace("thóc", "thcó").replace("đêm", "ddeem"),
}

FORM = """CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM
Độc lập - Tự do - Hạnh phúc
ĐƠN KIẾN NGHỊ
Kính gửi: Chủ tịch UBND xã. Tôi tên là: {name}, sinh năm {year}, căn cước công dân số 03812345{year}, ngày cấp 1/2/{year}.
Tôi làm đơn này xin trình bày với quý cơ quan một việc như sau: {matter}
Kính mong quý cơ quan xem xét giải quyết theo quy định của pháp luật. Tôi xin cam đoan những nội dung trên là hoàn toàn
đúng sự thật và xin chịu trách nhiệm trước pháp luật. Tôi xin chân thành cảm ơn. Người làm đơn (ký và ghi rõ họ tên)
{name}"""


def crafted(seed: int, *shared: tuple[slice, bytes]) -> bytes:
    """A signature of its own but for some parts of others."""
    lanes = np.random.default_rng(seed).integers(0, 256, repeats.PERMUTATIONS, np.uint8)
    for part, other in shared:
        lanes[part] = np.frombuffer(other, np.uint8)[part]
    return lanes.tobytes()


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_is_found_whatever_its_sender_changed(tmp_path: Path, change: str) -> None:
    with Repeats(tmp_path) as rows:
        assert rows.add(1, CLINIC) is None
        assert rows.add(2, ROAD) is None
        assert rows.add(3, COPIES[change]) == 2


def test_another_letter_on_the_same_form_is_no_repeat(tmp_path: Path) -> None:
    matters = ("Mương thủy lợi bị lấp.", "Đèn đường tắt cả tháng nay.", "Con bò của tôi bị xe ben tông chết.")
    with Repeats(tmp_path) as rows:
        letters = [FORM.format(name="Hà Công Lẽ", year=1958, matter=matter) for matter in (*matters, ROAD, CLINIC)]
        assert [rows.add(number, letter) for number, letter in enumerate(letters)] == [None] * 5
        assert rows.add(9, FORM.format(name="Vi Thị Sáng", year=1990, matter=CLINIC)) == 4


def test_a_short_text_repeats_only_what_is_the_same_word_for_word(tmp_path: Path) -> None:
    with Repeats(tmp_path) as rows:
        assert rows.add(1, "Mất nước ở xóm 3, cứu!") is None
        assert rows.add(2, "Mất nước ở xóm 4, cứu!") is None
        assert rows.add(3, "Mất nước ở xóm 3, cứu với!") is None
        assert rows.add(4, "MAT NUOC o xo\u00adm 4 - c\u200buu") == 2


@pytest.mark.parametrize("text", ["", " .. ", "____", "Ok.", "Cảm ơn!"])
def test_a_text_too_short_to_tell_repeats_nothing(tmp_path: Path, text: str) -> None:
    assert signature(text) is None
    with Repeats(tmp_path) as rows:
        assert rows.add(1, text) is None
        assert rows.add(2, text) is None


def test_every_copy_names_the_first_one_though_it_is_likest_to_another_copy(tmp_path: Path) -> None:
    longer = COPIES["one more sentence"]
    with Repeats(tmp_path) as rows:
        assert [rows.add(number, text) for number, text in ((4, ROAD), (7, longer), (8, longer))] == [None, 4, 4]


@pytest.mark.parametrize(("of_first", "expected"), [(20, 2), (25, 1), (30, 1)])
def test_a_row_joins_the_likest_leader_and_of_equals_the_earliest(tmp_path: Path, of_first: int, expected: int) -> None:
    both, own = slice(50, 110), slice(0, of_first)
    first = crafted(1)
    second = crafted(2, (both, first))
    row = crafted(3, (slice(0, 50), second), (own, first), (both, first))
    with Repeats(tmp_path) as rows:
        assert rows.add_signature(1, first) is None
        assert rows.add_signature(2, second) is None
        assert rows.add_signature(3, row) == expected


def test_thousands_of_letters_on_an_unknown_form_are_told_apart_and_their_copies_found(tmp_path: Path) -> None:
    form = crafted(0)
    letters = [crafted(seed, (slice(0, 128, 2), form)) for seed in range(1, 3_001)]
    with Repeats(tmp_path) as rows:
        assert [rows.add_signature(number, letter) for number, letter in enumerate(letters)] == [None] * 3_000
        copies = [rows.add_signature(5_000 + number, letter) for number, letter in enumerate(letters)]
        assert copies == list(range(3_000))


def test_the_estimate_is_the_share_of_common_word_triples() -> None:
    vocabulary = ["mương", "lúa", "cầu", "trâu", "đèn", "bụi", "rác", "chợ", "vườn", "máy", "sông", "gạch", "trạm"]
    generator = np.random.default_rng(5)
    errors = []
    for changed in range(0, 60, 2):
        words = generator.choice(vocabulary, 120).tolist()
        other = words[: 120 - changed] + generator.choice(vocabulary, changed).tolist()
        one, two = ({tuple(text[i : i + 3]) for i in range(len(text) - 2)} for text in (words, other))
        first, second = (np.frombuffer(signature(" ".join(text)) or b"", np.uint8) for text in (words, other))
        errors.append(likeness(int((first == second).sum())) - len(one & two) / len(one | two))
    assert abs(float(np.mean(errors))) < 0.03
    assert float(np.std(errors)) < 0.06


def test_signatures_of_other_processes_compare() -> None:
    program = "import sys; from nlp_service.repeats import signature; print(signature(sys.argv[1]).hex())"
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    made = subprocess.run([sys.executable, "-c", program, ROAD], capture_output=True, text=True, env=environment)
    own = signature(ROAD)
    assert own is not None
    assert made.stdout.strip() == own.hex()
    assert own.hex().startswith("108d65e74bfba836")  # and those of other versions


def test_the_scratch_file_holds_no_words_and_goes_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "CACHE_KIB", 40)  # so that everything is written at once
    with Repeats(tmp_path) as rows:
        rows.add(1, ROAD)
        rows.add(2, "Mất nước ở xóm 3, cứu!")
        for number in range(3, 1_000):
            rows.add_signature(number, crafted(number))
        (path,) = tmp_path.iterdir()
        written = path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
    assert len(written) > 100_000
    assert not [word for word in ("Trịnh", "trinh", "nuoc") if word.encode() in written]
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_forgotten(tmp_path: Path) -> None:
    left = Repeats(tmp_path)
    left.add(1, ROAD)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"cut off")
    with Repeats(tmp_path) as rows:
        assert rows.add(1, ROAD) is None
        assert rows.add(2, ROAD) == 1
    left.close()


def test_no_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(PetitionError, match="cannot be written") as caught:
        Repeats(tmp_path / "missing")
    assert caught.value.kind == ErrorKind.INVALID_FILE


def test_a_full_disk_is_said_without_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "CACHE_KIB", 40)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Repeats(tmp_path) as rows:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            with pytest.raises(PetitionError, match="make room there") as caught:
                for number in range(10_000):
                    rows.add(number, f"{MARKET} {fold(str(np.random.default_rng(number).bytes(200)))}")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.kind == ErrorKind.INVALID_FILE
    assert "chợ" not in caught.value.message.lower()
    assert list(tmp_path.iterdir()) == []


def test_of_a_very_long_cell_no_more_is_read_than_of_the_longest_petition() -> None:
    text = " ".join(f"từ{number}" for number in range(30_000))
    assert signature(text) == signature(text[:MAX_CHARS])
