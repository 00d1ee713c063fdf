import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nlp_service.bundle import MANIFEST, load_bundle, sha256
from nlp_service.errors import PetitionError
from nlp_service.pipeline import PetitionClassifier
from nlp_service.taxonomy import Taxonomy
from tests.training.conftest import make_petitions
from training import recalibrate as recalibrate_module
from training.data import digest, read_petitions, write_petitions
from training.reads import read_all, read_logits
from training.recalibrate import recalibrate


def test_a_new_version_has_the_same_weights_and_the_old_one_stays(
    tmp_path: Path, model_dir: Path, petitions_dir: Path
) -> None:
    before = {path.name: sha256(path) for path in model_dir.iterdir()}
    manifest = recalibrate(model_dir, tmp_path / "v2", "v2", petitions_dir / "dev.jsonl")
    assert {path.name: sha256(path) for path in model_dir.iterdir()} == before
    assert load_bundle(tmp_path / "v2").manifest == manifest
    old = load_bundle(model_dir).manifest
    for name, value in old.files.items():
        assert sha256(tmp_path / "v2" / name) == value
    assert manifest.version == "v2"
    made, before_it = manifest.provenance, old.provenance
    assert made is not None and before_it is not None
    assert (made.recalibrated_from, made.run) == ("tiny-1", before_it.run), "the weights are that run's"
    assert "Same weights as tiny-1" in (tmp_path / "v2" / "README.md").read_text(encoding="utf-8")


def test_it_is_calibrated_as_export_does(tmp_path: Path, model_dir: Path, petitions_dir: Path) -> None:
    spoilt = tmp_path / "v1"
    shutil.copytree(model_dir, spoilt)
    content = json.loads((spoilt / MANIFEST).read_text(encoding="utf-8"))
    content["heads"]["category"]["temperature"] = 9.0
    content["linear"]["category"] = 0.5
    content["thresholds"]["auto"] = 0.1
    del content["thresholds"]["auto_precision"], content["prediction_sets"]
    content["scores"], content["created"] = {"own test": {"count": 24}}, "2020-01-01T00:00:00+00:00"
    (spoilt / MANIFEST).write_text(json.dumps(content), encoding="utf-8")
    assert load_bundle(spoilt).manifest.prediction_sets == {}
    exported = load_bundle(model_dir).manifest
    manifest = recalibrate(spoilt, tmp_path / "v2", "v2", petitions_dir / "dev.jsonl")
    for field in ("heads", "linear", "thresholds", "prediction_sets", "trained_on"):
        assert getattr(manifest, field) == getattr(exported, field), field
    assert manifest.scores == {}, "they were another calibration's"
    assert manifest.created > "2026"


def test_it_says_what_it_was_calibrated_on(tmp_path: Path, model_dir: Path, taxonomy: Taxonomy) -> None:
    write_petitions(tmp_path / "dev.jsonl", make_petitions(36, 400))
    manifest = recalibrate(model_dir, tmp_path / "v2", "v2", tmp_path / "dev.jsonl", auto_precision=0.8)
    held_out = read_petitions(tmp_path / "dev.jsonl", taxonomy)
    assert (manifest.trained_on["dev"]["count"], manifest.trained_on["dev"]["sha256"]) == (36, digest(held_out))
    assert manifest.trained_on["dev"]["sets"] == [{"name": tmp_path.name, "count": 36}]
    assert manifest.trained_on["train"] == load_bundle(model_dir).manifest.trained_on["train"]
    assert manifest.thresholds.auto_precision == 0.8


def test_a_version_is_written_once(tmp_path: Path, model_dir: Path, petitions_dir: Path) -> None:
    (tmp_path / "v2").mkdir()
    with pytest.raises(FileExistsError, match="v2"):
        recalibrate(model_dir, tmp_path / "v2", "v2", petitions_dir / "dev.jsonl")
    assert not list((tmp_path / "v2").iterdir())


def test_what_is_stopped_leaves_nothing(
    tmp_path: Path, model_dir: Path, petitions_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(recalibrate_module, "calibrated", stopped)
    with pytest.raises(KeyboardInterrupt):
        recalibrate(model_dir, tmp_path / "models" / "v2", "v2", petitions_dir / "dev.jsonl")
    assert not list((tmp_path / "models").iterdir())


def test_no_model_is_a_clear_error(tmp_path: Path, petitions_dir: Path) -> None:
    (tmp_path / "v1").mkdir()
    with pytest.raises(PetitionError, match=r"manifest\.json is missing"):
        recalibrate(tmp_path / "v1", tmp_path / "models" / "v2", "v2", petitions_dir / "dev.jsonl")
    assert not list((tmp_path / "models").iterdir())


def test_reads_are_those_of_the_service_in_their_order(classifier: PetitionClassifier) -> None:
    texts = [petition.text for petition in make_petitions(70)]
    reads = read_all(classifier, texts)
    logits = read_logits(classifier, texts)
    for place in (0, 63, 64, 69):
        alone = classifier.read_many([texts[place]])[0]
        assert not isinstance(alone, PetitionError)
        assert reads[place].wording == alone.wording
        np.testing.assert_array_equal(logits["category"][place], alone.logits["category"])
