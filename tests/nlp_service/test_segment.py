import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from underthesea import word_tokenize

from nlp_service.segment import UndertheseaSegmenter
from nlp_service.text import chunks, normalise, strip_diacritics
from nlp_service.word_crf import read_crfsuite

PETITIONS = Path(__file__).resolve().parents[2] / "datasets" / "petitions" / "test.jsonl"


@pytest.fixture(scope="module")
def segmenter() -> UndertheseaSegmenter:
    return UndertheseaSegmenter()


def reference(text: str) -> str:
    return " ".join(word_tokenize(piece, format="text") for piece in chunks(text))


def test_joins_the_syllables_of_a_word(segmenter: UndertheseaSegmenter) -> None:
    assert segmenter.segment("Rác thải đổ ra bờ kênh") == "Rác_thải đổ ra bờ kênh"
    assert segmenter.segment("") == ""


def test_equals_underthesea_on_petitions(segmenter: UndertheseaSegmenter) -> None:
    texts = [normalise(json.loads(line)["text"]) for line in PETITIONS.open(encoding="utf-8")]
    texts += [strip_diacritics(text) for text in texts[::3]] + [text.upper() for text in texts[::5]]
    assert len(texts) > 500
    for text in texts:
        assert segmenter.segment(text) == reference(text)


syllables = st.sampled_from(
    [
        "đường",
        "làng",
        "hỏng",
        "Ủy",
        "ban",
        "nhân",
        "dân",
        "xã",
        "Thọ",
        "Xuân",
        "rác",
        "thải",
        "ô",
        "nhiễm",
        "EOS",
        "BOS",
        "False",
        "True",
        "2",
        "15/7/2025",
        "NĐ-CP",
        "km",
        "0912",
        "TP.",
        "www.vd.vn",
        "a@b.vn",
        ":))",
        "...",
        "-",
        "/",
        "(",
        ")",
        ",",
        ".",
        "H'Mông",
        "hoà",
        "thuỷ",
        "36A-1234",
        "<",
        ">",
        "_",
        "=",
        "+",
        "x",
        "y",
        "1.000.000",
        "☎",
        "🙏",
        "duong",
        "lang",
        "v.v",
    ]
)
words = st.one_of(syllables, st.text(st.characters(codec="utf-8"), min_size=1, max_size=6))


@settings(max_examples=150, deadline=None)
@given(st.lists(words, max_size=40), st.sampled_from([" ", "", ", "]))
def test_equals_underthesea_on_odd_text(parts: list[str], joint: str) -> None:
    text = normalise(joint.join(parts))
    assert SHARED.segment(text) == reference(text)


SHARED = UndertheseaSegmenter()


def test_calls_do_not_influence_each_other(segmenter: UndertheseaSegmenter) -> None:
    texts = [normalise(json.loads(line)["text"]) for line in PETITIONS.open(encoding="utf-8")][:80]
    first = {text: segmenter.segment(text) for text in texts}
    random.Random(3).shuffle(texts)
    assert {text: segmenter.segment(text) for text in texts} == first


def test_other_files_are_refused() -> None:
    with pytest.raises(ValueError, match="CRFsuite"):
        read_crfsuite(b"lCRF" + b"\0" * 60)
