import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nlp_service.bundle import load_bundle, sha256
from nlp_service.encoder import FLOAT_FILE, INT8_FILE, Runtime
from nlp_service.errors import PetitionError
from nlp_service.linear import LINEAR_FILE
from nlp_service.pipeline import PetitionClassifier
from nlp_service.reference import read_reference
from nlp_service.taxonomy import load_taxonomy
from tests.training.conftest import TAXONOMY_FILE, make_petitions
from training import frozen
from training import quick as quick_module
from training.data import Petition, digest, write_petitions
from training.export import ExportMismatch
from training.frozen import FrozenEncoder
from training.provenance import config_sha256
from training.quick import QuickConfig, quick
from training.reads import read_all
from training.targets import class_probabilities
from training.toml_config import read_config


@pytest.fixture(autouse=True)
def _any_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network this small may answer otherwise in int8."""
    monkeypatch.setattr(quick_module, "MIN_INT8_AGREEMENT", 0.0)


@pytest.fixture
def config(petitions_dir: Path) -> QuickConfig:
    return QuickConfig(data=str(petitions_dir), taxonomy=str(TAXONOMY_FILE))


def _right(model: Path, petitions: Sequence[Petition]) -> float:
    answers = PetitionClassifier.load(model, Runtime.ONNXRUNTIME, 1).classify_many([p.text for p in petitions])
    found = [answer.decision.category.id for answer in answers if not isinstance(answer, PetitionError)]
    return sum(guess == petition.category for guess, petition in zip(found, petitions, strict=True)) / len(petitions)


def _with_category(directory: Path) -> Path:
    """The shipped taxonomy and one category more."""
    document = yaml.safe_load(TAXONOMY_FILE.read_text(encoding="utf-8"))
    like = next(entry for entry in document["issue_categories"] if entry["id"] == "public_order_security")
    new = like | {"id": "military_service", "name_vi": "Nghĩa vụ quân sự", "lead": "bo_chqs_tinh"}
    document["issue_categories"].insert(0, new)
    document["version"] = "0.2"
    path = directory / "taxonomy.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return path


def test_same_petitions_give_about_the_same_model(
    tmp_path: Path, model_dir: Path, config: QuickConfig, petitions_dir: Path
) -> None:
    manifest = quick(config, model_dir, tmp_path / "run", tmp_path / "tiny-2", "tiny-2")
    assert load_bundle(tmp_path / "tiny-2").manifest == manifest
    old = load_bundle(model_dir).manifest
    assert manifest.heads["category"].labels == old.heads["category"].labels
    assert manifest.trained_on == old.trained_on
    assert manifest.encoder == old.encoder | {"frozen_from": "tiny-1"}
    assert manifest.scores == {}
    reference = read_reference(load_bundle(tmp_path / "tiny-2"))
    assert reference is not None and (reference.part, reference.petitions) == ("dev", 42)
    made = manifest.provenance
    assert made is not None and made.run is not None and made.code is not None
    assert (made.run.command, made.run.encoder, made.run.seed) == ("quick", "tiny-1", config.seed)
    assert made.run.config_sha256 == config_sha256(asdict(config))
    assert made.run.started is not None and made.run.ended is not None and made.run.started <= made.run.ended
    assert "Encoder frozen from tiny-1" in (tmp_path / "tiny-2" / "README.md").read_text(encoding="utf-8")
    test = make_petitions(24, 138)
    assert _right(tmp_path / "tiny-2", test) >= _right(model_dir, test) - 0.05


def test_similar_petitions_are_found_as_before(tmp_path: Path, model_dir: Path, config: QuickConfig) -> None:
    quick(config, model_dir, tmp_path / "run", tmp_path / "tiny-2", "tiny-2")
    texts = [petition.text for petition in make_petitions(6)]
    before, after = (
        read_all(PetitionClassifier.load(model, Runtime.ONNXRUNTIME, 1), texts)
        for model in (model_dir, tmp_path / "tiny-2")
    )
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-4)


def _of_new_category(directory: Path) -> tuple[Path, list[Petition]]:
    """A data set of ten petitions of it, and these with two more."""
    data = directory / "new"
    data.mkdir()
    stories = ("lệnh gọi nhập ngũ sai tên, xin hoãn nghĩa vụ quân sự", "khám tuyển nghĩa vụ quân sự, xin hoãn nhập ngũ")
    new = [
        replace(
            p, id=f"n{i}", group=f"n{i}", text=f"Thôn {i}: {stories[i % 2]}.", category="military_service", secondary=()
        )
        for i, p in enumerate(make_petitions(12))
    ]
    write_petitions(data / "train.jsonl", new[:10])
    write_petitions(data / "dev.jsonl", [])
    return data, new


def test_a_category_more(tmp_path: Path, model_dir: Path, petitions_dir: Path) -> None:
    data, new = _of_new_category(tmp_path)
    taxonomy = _with_category(tmp_path)
    config = QuickConfig(data=[str(petitions_dir), str(data)], taxonomy=str(taxonomy))
    manifest = quick(config, model_dir, tmp_path / "run", tmp_path / "tiny-2", "tiny-2")
    assert manifest.heads["category"].labels[0] == "military_service"
    assert manifest.taxonomy_version == "0.2"
    assert manifest.trained_on["train"]["count"] == 106
    assert [part["count"] for part in manifest.trained_on["train"]["sets"]] == [96, 10]
    assert _right(tmp_path / "tiny-2", new[10:]) == 1.0
    test = make_petitions(24, 138)
    assert _right(tmp_path / "tiny-2", test) >= _right(model_dir, test) - 0.05


def test_a_category_more_leaves_the_others_as_they_are_where_they_are_held_without_end(
    tmp_path: Path, model_dir: Path, petitions_dir: Path
) -> None:
    data, new = _of_new_category(tmp_path)
    toml = tmp_path / "add.toml"
    toml.write_text(
        f'data = ["{petitions_dir}", "{data}"]\ntaxonomy = "{_with_category(tmp_path)}"\nstrength = inf\n',
        encoding="utf-8",
    )
    output = tmp_path / "tiny-2"
    quick(read_config(toml, QuickConfig), model_dir, tmp_path / "run", output, "tiny-2")
    assert _right(output, new[10:]) == 1.0
    texts = [petition.text for petition in make_petitions(24, 138)]
    before, after = (read_all(PetitionClassifier.load(m, Runtime.ONNXRUNTIME, 1), texts) for m in (model_dir, output))
    place = load_bundle(output).manifest.heads["category"].labels.index("military_service")
    for one, other in zip(before, after, strict=True):
        # The exported network had its heads in int8, this one has them in floats.
        np.testing.assert_allclose(one.logits["urgency"], other.logits["urgency"], atol=0.05)
        np.testing.assert_allclose(one.logits["category"], np.delete(other.logits["category"], place), atol=0.05)


def test_without_a_new_category_nothing_can_be_learnt_where_all_are_held(
    tmp_path: Path, model_dir: Path, config: QuickConfig
) -> None:
    with pytest.raises(ValueError, match=r"strength = inf learns new labels alone, and tiny-1 knows all"):
        quick(replace(config, strength=np.inf), model_dir, tmp_path / "run", tmp_path / "tiny-2", "tiny-2")
    assert not (tmp_path / "tiny-2").exists()


def test_two_runs_give_one_model(tmp_path: Path, model_dir: Path, config: QuickConfig) -> None:
    made = [quick(config, model_dir, tmp_path / f"run{i}", tmp_path / f"m{i}", "tiny-2") for i in (1, 2)]
    for name in (INT8_FILE, FLOAT_FILE):
        assert sha256(tmp_path / "m1" / name) == sha256(tmp_path / "m2" / name)
    with np.load(tmp_path / "m1" / LINEAR_FILE) as one, np.load(tmp_path / "m2" / LINEAR_FILE) as other:
        for part in one.files:
            np.testing.assert_array_equal(one[part], other[part])
    for field in ("heads", "linear", "thresholds", "prediction_sets"):
        assert getattr(made[0], field) == getattr(made[1], field)


def test_no_text_is_read_twice_even_by_a_model_made_from_this_one(
    tmp_path: Path, model_dir: Path, config: QuickConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def spy(classifier: PetitionClassifier, texts: Sequence[str]) -> Any:
        read.extend(texts)
        return read_all(classifier, texts)

    monkeypatch.setattr(frozen, "read_all", spy)
    quick(config, model_dir, tmp_path / "run", tmp_path / "tiny-2", "tiny-2")
    first = len(read)
    assert first == len({petition.text for petition in make_petitions(96)})
    quick(replace(config, strength=5.0), model_dir, tmp_path / "run", tmp_path / "tiny-3", "tiny-3")
    quick(config, tmp_path / "tiny-2", tmp_path / "run", tmp_path / "tiny-4", "tiny-4")
    assert len(read) == first
    encoder = FrozenEncoder(tmp_path / "tiny-2", tmp_path / "run")
    np.testing.assert_array_equal(
        encoder.vectors(read[:1]), FrozenEncoder(model_dir, tmp_path / "other").vectors(read[:1])
    )


def test_what_was_read_before_a_kill_is_not_lost(
    tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = sorted({petition.text for petition in make_petitions(30)})
    monkeypatch.setattr(frozen, "SAVED_EVERY", 8)
    calls: list[int] = []

    def dies(classifier: PetitionClassifier, part: Sequence[str]) -> Any:
        calls.append(len(part))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read_all(classifier, part)

    with monkeypatch.context() as patch:
        patch.setattr(frozen, "read_all", dies)
        with pytest.raises(KeyboardInterrupt):
            FrozenEncoder(model_dir, tmp_path / "run").vectors(texts)
        FrozenEncoder(model_dir, tmp_path / "run").vectors(texts)
    assert sum(calls) == len(texts) + 8, "only the part that was interrupted is read again"
    np.testing.assert_array_equal(
        FrozenEncoder(model_dir, tmp_path / "run").vectors(texts),
        FrozenEncoder(model_dir, tmp_path / "fresh").vectors(texts),
    )


def test_another_reading_of_text_has_its_own_vectors(tmp_path: Path, model_dir: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(model_dir, other)
    content = json.loads((other / "manifest.json").read_text(encoding="utf-8"))
    content["window_overlap"] += 1
    (other / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    for model in (model_dir, other):
        FrozenEncoder(model, tmp_path / "run").vectors(["Đường hỏng"])
    assert len(list((tmp_path / "run").iterdir())) == 2


def test_training_texts_without_a_word_are_left_out(
    tmp_path: Path, model_dir: Path, config: QuickConfig, petitions_dir: Path
) -> None:
    data = tmp_path / "petitions"
    shutil.copytree(petitions_dir, data)
    rows = [*make_petitions(96), replace(make_petitions(1)[0], id="marks", group="marks", text="???")]
    write_petitions(data / "train.jsonl", rows)
    manifest = quick(replace(config, data=str(data)), model_dir, tmp_path / "run", tmp_path / "tiny-2", "tiny-2")
    trained_on = manifest.trained_on["train"]
    assert (trained_on["count"], trained_on["sha256"]) == (97, digest(rows))


def test_nothing_is_left_where_it_fails(
    tmp_path: Path, model_dir: Path, config: QuickConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: sha256(path) for path in model_dir.iterdir()}
    monkeypatch.setattr(quick_module, "MIN_INT8_AGREEMENT", 1.01)
    with pytest.raises(ExportMismatch, match=r"model\.onnx and model\.int8\.onnx"):
        quick(config, model_dir, tmp_path / "run", tmp_path / "models" / "tiny-2", "tiny-2")
    assert not list((tmp_path / "models").iterdir())
    assert {path.name: sha256(path) for path in model_dir.iterdir()} == before
    with pytest.raises(FileExistsError, match="tiny-1"):
        quick(config, model_dir, tmp_path / "run", model_dir, "tiny-1")


def test_a_category_that_the_taxonomy_lacks_is_refused(tmp_path: Path, model_dir: Path, config: QuickConfig) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_petitions(data / "train.jsonl", [replace(make_petitions(1)[0], category="military_service")])
    write_petitions(data / "dev.jsonl", make_petitions(6, 96))
    with pytest.raises(ValueError, match=r"line 1.*unknown category 'military_service'"):
        quick(replace(config, data=str(data)), model_dir, tmp_path / "run", tmp_path / "tiny-2", "tiny-2")


def test_secondary_categories_share_their_weight() -> None:
    def petition(category: str, *secondary: str) -> Petition:
        return Petition("p", "Đường hỏng", category, "normal", "feedback", secondary=secondary)

    rows = [petition("a"), petition("a", "b"), petition("c", "a", "d")]
    expected = [[1, 0, 0, 0], [0.8, 0.2, 0, 0], [0.1, 0, 0.8, 0.1]]
    np.testing.assert_allclose(class_probabilities(rows, "category", ["a", "b", "c", "d"], 0.2), expected)
    assert class_probabilities(rows, "urgency", ["low", "normal"], 0.2).tolist() == [[0, 1]] * 3


def test_shipped_config_reads_what_is_shipped() -> None:
    from training.toml_config import read_config

    root = TAXONOMY_FILE.parents[1]
    settled = read_config(root / "training" / "configs" / "quick.toml", QuickConfig)
    assert settled.taxonomy == "datasets/taxonomy.yaml"
    assert load_taxonomy(root / settled.taxonomy).categories
