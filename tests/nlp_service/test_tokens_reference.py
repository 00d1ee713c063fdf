"""Id for id what transformers' PhobertTokenizer gives, on the shipped vocabulary. Needs the `train` extra."""

import json
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
    for line in (ROOT / "datasets/petitions/test.jsonl").open(encoding="utf-8"):
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
