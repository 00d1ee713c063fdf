import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nlp_service.bundle import load_bundle
from nlp_service.pipeline import PetitionClassifier
from nlp_service.profile import FEATURES
from nlp_service.reference import read_reference
from tests.training.conftest import make_petitions
from training import cli
from training.data import digest, write_petitions
from training.reference import write_reference


@pytest.fixture
def copy(tmp_path: Path, model_dir: Path) -> Path:
    return Path(shutil.copytree(model_dir, tmp_path / "tiny-1"))


def test_the_reference_holds_the_model_s_own_answers_on_dev(
    copy: Path, tmp_path: Path, classifier: PetitionClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = [replace(petition, category="other") for petition in make_petitions(42, 96)]
    write_petitions(tmp_path / "dev.jsonl", dev)
    monkeypatch.setattr(sys, "argv", ["petitions-train", "reference", str(copy), str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    found = read_reference(load_bundle(copy))
    assert found is not None
    assert (found.model_version, found.part, found.petitions) == ("tiny-1", "dev", 42)
    assert found.data_sha256 == digest(dev)
    answers = [classifier.classify(petition.text).decision.category.id for petition in dev]
    assert found.counts["category"] == {label: answers.count(label) for label in set(answers)}
    assert {feature: sum(found.counts[feature].values()) for feature in FEATURES} == dict.fromkeys(FEATURES, 42)
    assert set(found.counts["unknown"]) & {"below 0.01", "0.01 to 0.03"}, "dev tells the stories of train"
    words = (copy / "reference.json").read_text(encoding="utf-8")
    assert "đường" not in words and set(json.loads(words)["counts"]) == set(FEATURES)


@pytest.mark.parametrize(("name", "count"), [("train", 10), ("dev", 96)])
def test_petitions_that_the_model_was_trained_on_are_refused(copy: Path, tmp_path: Path, name: str, count: int) -> None:
    write_petitions(tmp_path / f"{name}.jsonl", make_petitions(count))
    before = (copy / "reference.json").read_bytes()
    with pytest.raises(ValueError, match="trained on"):
        write_reference(copy, tmp_path, name)
    assert (copy / "reference.json").read_bytes() == before


def test_an_empty_part_is_refused(copy: Path, tmp_path: Path) -> None:
    write_petitions(tmp_path / "dev.jsonl", [])
    with pytest.raises(ValueError, match="no petition"):
        write_reference(copy, tmp_path)
