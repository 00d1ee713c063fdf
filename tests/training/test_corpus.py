import json
import random
from collections import Counter
from pathlib import Path

import pytest
import zstandard

from nlp_service.segment import UndertheseaSegmenter
from nlp_service.text import strip_diacritics
from tests.training.conftest import sentences
from training.corpus import (
    Noise,
    Source,
    align,
    petition_lines,
    read_lines,
    readings,
    roughen,
    sample,
    segment_all,
    units,
)

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork, from Python 3.12 on


@pytest.fixture
def root(tmp_path: Path) -> Path:
    short = [f"câu ngắn số {number}" for number in range(200)]
    long = [f"câu dài {number} " + "từ " * 30 for number in range(200)]
    (tmp_path / "plain.txt").write_text("\n".join([*short, *long, "hai từ", ""]), encoding="utf-8")
    packed = "".join(f"dòng nén thứ {number}\n" for number in range(100)).encode()
    (tmp_path / "packed.txt.zst").write_bytes(zstandard.compress(packed))
    return tmp_path


def test_plain_and_compressed_files_read_alike(root: Path) -> None:
    assert len(list(read_lines(root / "plain.txt"))) == 401
    assert [line.strip() for line in read_lines(root / "packed.txt.zst")][:2] == ["dòng nén thứ 0", "dòng nén thứ 1"]


def test_sample_draws_what_was_asked(root: Path) -> None:
    sources = [Source("plain.txt", 100), Source("packed.txt.zst", 40)]
    drawn = sample(sources, root, max_words=10, long_share=0.2, seed=1)
    kinds = Counter(line.split()[1] for line in drawn)
    assert kinds == {"ngắn": 80, "dài": 20, "nén": 40}
    assert len(set(drawn)) == len(drawn), "without replacement"
    assert drawn == sample(sources, root, max_words=10, long_share=0.2, seed=1)
    assert drawn != sample(sources, root, max_words=10, long_share=0.2, seed=2)
    assert len(sample([Source("packed.txt.zst", 1_000)], root, 10, 0.2, 1)) == 100, "a short file gives all it has"
    assert "hai từ" not in sample([Source("plain.txt", 1_000)], root, 10, 1.0, 1)


LINE = "Đường Hỏng nặng, từ 2/2024"


def test_lines_are_roughened_at_their_rates() -> None:
    generator = random.Random(1)
    noise = Noise(undiacritised=0.3, restored=0.0, slips=0.0, lower=0.2)
    seen = Counter(roughen(LINE, generator, noise) for _ in range(3_000))
    bare = strip_diacritics(LINE)
    assert seen.keys() == {LINE, bare, bare.lower(), LINE.lower()}
    assert seen[LINE] / 3_000 == pytest.approx(0.5, abs=0.04)
    assert (seen[bare] + seen[bare.lower()]) / 3_000 == pytest.approx(0.3, abs=0.04)


def test_restored_lines_go_through_the_restorer() -> None:
    noise = Noise(undiacritised=0, restored=1, slips=0, lower=0)
    seen = {roughen(LINE, random.Random(seed), noise, str.title) for seed in range(9)}
    assert seen == {strip_diacritics(LINE).title()}


def test_slips_keep_the_number_of_units() -> None:
    noise = Noise(undiacritised=0, restored=0, slips=1, lower=0)
    line = "Đường liên thôn (dài 2,5 km) hỏng nặng: 3 xe ngã... ở a, b!"
    rough = [roughen(line, random.Random(seed), noise) for seed in range(200)]
    assert {len(units(text)) for text in rough} == {len(units(line))}
    assert len(set(rough)) > 100
    assert any("dduwowngf" in text.lower() for text in rough), "telex leftovers"


def test_processes_keep_the_order(segmenter: UndertheseaSegmenter) -> None:
    texts = sentences(25)
    assert segment_all(texts, processes=2, block=4) == [segmenter.segment(text) for text in texts]


def test_words_know_their_units(segmenter: UndertheseaSegmenter) -> None:
    text = "Rác thải đổ ra kênh từ 2/2024, hoà giải... 2.000 đ"
    (reading,) = readings([text], processes=1)
    assert reading.words == segmenter.segment(text).split()
    assert reading.units is not None
    texts = [text[start:end] for start, end in units(text)]
    covered = ["".join(texts[start:end]) for start, end in reading.units]
    assert [word.replace("_", "").replace("hòa", "hoà") for word in reading.words] == covered


def test_words_that_do_not_add_up_have_no_units() -> None:
    assert align(["rác", "thải"], ["rác", "thải", "đổ"]) is None
    assert align(["rác_thải"], ["rác", "thải"]) == [(0, 2)]
    assert align(["2.0", "00"], ["2", ".", "000"]) == [(0, 3), (2, 3)]
    assert align([], []) == []
    assert align(["", "rác"], ["rác"]) is None


def test_petitions_become_lines_whole_where_short_and_cut_at_sentences_where_long(tmp_path: Path) -> None:
    long = " ".join(f"Câu thứ {number} nói về con đường hỏng." for number in range(30))
    texts = ["Đèn đường hỏng.\nMong sửa sớm.", long, "a b", "từ " * 250]
    path = tmp_path / "petitions.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    lines = petition_lines(path, most_words=100)
    assert lines[0] == "Đèn đường hỏng. Mong sửa sớm."
    assert all(3 <= len(line.split()) <= 100 for line in lines)
    assert " ".join(lines[1:4]) == long and all(line.endswith("hỏng.") for line in lines[1:4])
    assert len(lines) == 5 and len(lines[4].split()) == 100
