import random
from collections import Counter
from pathlib import Path

import pytest
import zstandard

from nlp_service.segment import UndertheseaSegmenter
from nlp_service.text import strip_diacritics
from tests.training.conftest import sentences
from training.corpus import Source, prepare, read_lines, roughen, sample, segment_all

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


def test_lines_are_roughened_at_their_rates() -> None:
    generator = random.Random(1)
    line = "Đường Hỏng nặng"
    seen = Counter(roughen(line, generator, undiacritised=0.3, recased=0.2) for _ in range(3_000))
    bare = strip_diacritics(line)
    assert seen.keys() == {line, bare, bare.lower(), line.lower(), line.upper()}
    assert seen[line] / 3_000 == pytest.approx(0.5, abs=0.04)
    assert (seen[bare] + seen[bare.lower()]) / 3_000 == pytest.approx(0.3, abs=0.04)


def test_processes_keep_the_order(segmenter: UndertheseaSegmenter) -> None:
    texts = sentences(25)
    assert segment_all(texts, processes=2, block=4) == [segmenter.segment(text) for text in texts]


def test_teacher_reads_clean_and_student_rough_lines(segmenter: UndertheseaSegmenter) -> None:
    lines = [f"  {line}\u200b " for line in sentences(20)]
    prepared = prepare(lines, undiacritised=1.0, recased=0.0, processes=1, seed=3)
    assert [line.clean for line in prepared] == sentences(20)
    for line in prepared:
        assert line.segmented.isascii()
        assert line.segmented.lower().replace("_", "").replace(" ", "") == strip_diacritics(line.clean).lower().replace(
            " ", ""
        )
