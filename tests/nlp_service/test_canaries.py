from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlp_service.canaries import load_canaries, self_test
from nlp_service.errors import PetitionError
from nlp_service.pipeline import PetitionClassifier, Read
from tests.nlp_service.registries import ROOT, SHIPPED

CANARIES = load_canaries(ROOT / "datasets" / "canaries.jsonl")


@pytest.fixture(scope="module")
def shipped() -> PetitionClassifier:
    return PetitionClassifier.load(SHIPPED, threads=1)


class Twisted(PetitionClassifier):
    """The shipped model with other logits."""

    def __init__(self, whole: PetitionClassifier, **twists: Any) -> None:
        self.__dict__.update(whole.__dict__)
        self.twists = twists

    def read_many(self, texts: Sequence[object]) -> list[Any]:
        return [self._twisted(read) for read in super().read_many(texts)]

    def _twisted(self, read: Any) -> Any:
        if not isinstance(read, Read):
            return read
        logits = {head: self.twists.get(head, lambda row: row)(row) for head, row in read.logits.items()}
        return replace(read, logits=logits, sign=None)


def level(classifier: PetitionClassifier, name: str) -> int:
    return classifier.bundle.manifest.heads["urgency"].labels.index(name)


def test_the_shipped_model_passes(shipped: PetitionClassifier) -> None:
    assert self_test(shipped, CANARIES) == []
    assert sum(canary.emergency for canary in CANARIES) >= 3 and len(CANARIES) >= 20


def test_answers_that_are_no_numbers_fail(shipped: PetitionClassifier) -> None:
    [said] = self_test(Twisted(shipped, petition_type=lambda row: row * np.float32(np.nan)), CANARIES)
    assert said.startswith("no probabilities for C-01, C-02")


def test_a_model_that_raises_fails_and_the_text_is_not_told(shipped: PetitionClassifier) -> None:
    def broken(row: Any) -> Any:
        raise RuntimeError(CANARIES[0].text)

    assert self_test(Twisted(shipped, urgency=broken), CANARIES) == ["reading the canaries failed (RuntimeError)"]


def test_categories_in_another_order_fail(shipped: PetitionClassifier) -> None:
    [said] = self_test(Twisted(shipped, category=lambda row: np.roll(row, 1)), CANARIES)
    assert "categories right, at least 80% needed; wrong: C-01" in said


def test_a_model_that_raises_no_emergency_fails(shipped: PetitionClassifier) -> None:
    def calm(row: Any) -> Any:
        lowered = row.copy()
        lowered[level(shipped, "emergency")] = -20
        return lowered

    assert self_test(Twisted(shipped, urgency=calm), CANARIES) == ["emergencies not raised: C-01, C-02, C-03, C-04"]


def test_a_model_that_raises_everything_fails(shipped: PetitionClassifier) -> None:
    def shrill(row: Any) -> Any:
        raised = row.copy()
        raised[level(shipped, "emergency")] = 20
        return raised

    [said] = self_test(Twisted(shipped, urgency=shrill), CANARIES)
    assert said.startswith("18 of 18 ordinary petitions called emergencies")


@pytest.mark.parametrize(
    ("content", "said"), [(None, "canaries.jsonl holds no"), ('{"id": "a"}\n', "line 1"), ("", "is empty")]
)
def test_a_file_without_canaries_is_one_clear_error(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "canaries.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(PetitionError, match=said):
        load_canaries(tmp_path / "canaries.jsonl")
