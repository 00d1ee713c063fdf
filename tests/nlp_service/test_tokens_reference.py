"""Id for id what transformers' PhobertTokenizer gives, on the shipped vocabulary. Needs the `train` extra."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_service.segment import UndertheseaSegmenter
from nlp_service.text import normalise, strip_diacritics
from nlp_service.tokens import PhobertTokens

transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[2]
OURS = PhobertTokens.load(ROOT / "models" / "encoder")
REFERENCE: Any = transformers.PhobertTokenizer.from_pretrained(str(ROOT / "models" / "encoder"))
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def reference(text: str) -> list[int]:
    ids: list[int] = REFERENCE(text, add_special_tokens=False)["input_ids"]
    return ids


def test_on_segmented_petitions() -> None:
    segmenter = UndertheseaSegmenter()
    for line in (ROOT / "datasets/petitions/test.jsonl").read_text(encoding="utf-8").splitlines():
        text = normalise(json.loads(line)["text"])
        for variant in (text, strip_diacritics(text), text.upper()):
            segmented = segmenter.segment(variant)
            assert OURS.encode(segmented) == reference(segmented)


words = st.one_of(
    st.text(st.sampled_from("aăâbcdđeêghiklmnoôơpqrstuưvxyấầẩẫậệốớụ_.,-0123456789@"), min_size=1, max_size=12),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=5),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(words, max_size=25))
def test_on_generated_text(parts: list[str]) -> None:
    text = normalise(" ".join(parts))
    if not any(special in text for special in SPECIAL):
        assert OURS.encode(text) == reference(text)


def test_sizes_agree() -> None:
    assert OURS.size == len(REFERENCE)
    assert REFERENCE.mask_token_id == OURS.size - 1


# Merges of a small alphabet in any order, vocabularies that lack some of their pieces: what a trained one seldom shows.
letters = st.sampled_from("abư_@")
pieces = st.text(letters, min_size=1, max_size=3)


@st.composite
def vocabularies(draw: st.DrawFn) -> tuple[str, str]:
    known = {*"abư_@", *(f"{letter}</w>" for letter in "abư_@")}
    merges: list[tuple[str, str]] = []
    for _ in range(draw(st.integers(0, 12))):
        left = draw(st.sampled_from(sorted(piece for piece in known if not piece.endswith("</w>"))))
        right = draw(st.sampled_from(sorted(known)))
        if (left, right) not in merges:
            merges.append((left, right))
            known.add(left + right)
    spoken = sorted({piece.removesuffix("</w>") if piece.endswith("</w>") else f"{piece}@@" for piece in known})
    lines = draw(st.lists(st.sampled_from(spoken), unique=True, min_size=1))
    return "".join(f"{line} 1\n" for line in lines), "".join(f"{left} {right} 1\n" for left, right in merges)


@settings(max_examples=150)
@given(vocabularies(), st.lists(st.text(st.sampled_from("abư_@c漢"), min_size=1, max_size=8), max_size=12))
def test_on_generated_vocabularies(files: tuple[str, str], words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        vocabulary, codes = Path(name) / "vocab.txt", Path(name) / "bpe.codes"
        vocabulary.write_text(files[0], encoding="utf-8")
        codes.write_text(files[1], encoding="utf-8")
        tokenizer = transformers.PhobertTokenizer(str(vocabulary), str(codes))
        ours = PhobertTokens.load(Path(name))
    text = " ".join(words)
    assert ours.encode(text) == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ours.size == len(tokenizer)


def test_a_line_ends_at_a_line_feed_and_nowhere_else(tmp_path: Path) -> None:
    # A vocabulary learnt from raw web text may hold what Python's splitlines() takes for an end of line.
    vocabulary, codes = tmp_path / "vocab.txt", tmp_path / "bpe.codes"
    vocabulary.write_text("a\u2028b 3\nc 2\n\x85d@@ 1\n", encoding="utf-8", newline="\n")
    codes.write_text("c c</w> 1\n", encoding="utf-8")
    tokenizer = transformers.PhobertTokenizer(str(vocabulary), str(codes))
    ours = PhobertTokens.load(tmp_path)
    assert ours.size == len(tokenizer) == 8
    assert ours.encode("c") == tokenizer("c", add_special_tokens=False)["input_ids"] == [5]
