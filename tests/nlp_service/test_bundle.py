import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlp_service.bundle import load_bundle, resolve
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.taxonomy import Taxonomy
from tests.nlp_service.conftest import WriteModel


def test_a_whole_directory_loads_by_path_and_by_pointer(write_model: WriteModel) -> None:
    directory = write_model()
    pointer = directory.parent / "current"
    pointer.write_text("tiny-1\n", encoding="utf-8")
    assert resolve(pointer) == directory
    assert load_bundle(pointer).manifest == load_bundle(directory).manifest
    assert load_bundle(directory).manifest.version == "tiny-1"


def test_a_manifest_of_before_the_stated_precision_and_the_sets_loads(write_model: WriteModel) -> None:
    manifest = load_bundle(write_model()).manifest
    assert manifest.thresholds.auto_precision is None
    assert manifest.prediction_sets == {}


def edit(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


def _manifest_directory(directory: Path) -> None:
    (directory / "manifest.json").unlink()
    (directory / "manifest.json").mkdir()


def _forget_taxonomy(directory: Path) -> None:
    edit(directory, lambda manifest: manifest["files"].pop("taxonomy.yaml"))
    (directory / "taxonomy.yaml").unlink()


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


SETS = {"coverage": 0.95, "kind": "marginal", "threshold": 0.08}

DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda d: (d / "manifest.json").unlink(), "manifest.json is missing"),
    "cut manifest": (
        lambda d: (d / "manifest.json").write_text('{"format": 1', encoding="utf-8"),
        "manifest.json",
    ),
    "no network": (lambda d: (d / "model.int8.onnx").unlink(), "model.int8.onnx is missing"),
    "changed network": (lambda d: append(d / "model.int8.onnx"), "model.int8.onnx does not match its hash"),
    "changed taxonomy": (lambda d: append(d / "taxonomy.yaml"), "taxonomy.yaml does not match its hash"),
    "unknown key": (lambda d: edit(d, lambda m: m.update(treshold=1)), "manifest.json does not fit format 1: treshold"),
    "newer format": (lambda d: edit(d, lambda m: m.update(format=2)), "manifest.json does not fit format 1: format"),
    "probability over 1": (
        lambda d: edit(d, lambda m: m["thresholds"].update(auto=1.2)),
        "manifest.json does not fit format 1: thresholds.auto",
    ),
    "other text form": (lambda d: edit(d, lambda m: m.update(text_version="0")), "was trained on text form 0"),
    "other taxonomy": (
        lambda d: edit(d, lambda m: m.update(taxonomy_sha256="0")),
        "taxonomy.yaml is not the taxonomy the model was trained for",
    ),
    "missing label": (
        lambda d: edit(d, lambda m: m["heads"]["category"]["labels"].remove("education_training")),
        "differ in category 'education_training'",
    ),
    "label twice": (
        lambda d: edit(d, lambda m: m["heads"]["urgency"]["labels"].append("low")),
        "manifest.json does not fit format 1: heads.urgency.labels",
    ),
    "unknown label": (
        lambda d: edit(d, lambda m: m["heads"]["petition_type"]["labels"].append("praise")),
        "manifest.json and taxonomy.yaml differ in petition_type 'praise'",
    ),
    "unknown head": (
        lambda d: edit(d, lambda m: m["heads"].update(flags={"labels": ["a", "b"], "temperature": 1})),
        "manifest.json has unknown head 'flags'",
    ),
    "unknown key in a head": (
        lambda d: edit(d, lambda m: m["heads"]["urgency"].update(temprature=2)),
        "manifest.json does not fit format 1: heads.urgency.temprature",
    ),
    "unknown head in the sets": (
        lambda d: edit(d, lambda m: m.update(prediction_sets={"categories": dict(SETS)})),
        "manifest.json has unknown head 'categories'",
    ),
    "sets of a kind that is not known": (
        lambda d: edit(d, lambda m: m.update(prediction_sets={"category": SETS | {"kind": "mondrian"}})),
        "manifest.json does not fit format 1: prediction_sets.category.kind",
    ),
    "coverage of one": (
        lambda d: edit(d, lambda m: m.update(prediction_sets={"category": SETS | {"coverage": 1}})),
        "manifest.json does not fit format 1: prediction_sets.category.coverage",
    ),
    "precision over 1": (
        lambda d: edit(d, lambda m: m["thresholds"].update(auto_precision=95)),
        "manifest.json does not fit format 1: thresholds.auto_precision",
    ),
    "missing threshold": (
        lambda d: edit(d, lambda m: m["thresholds"].pop("emergency")),
        "manifest.json does not fit format 1: thresholds.emergency",
    ),
    "temperature zero": (
        lambda d: edit(d, lambda m: m["heads"]["urgency"].update(temperature=0)),
        "manifest.json does not fit format 1: heads.urgency.temperature",
    ),
    "temperature without end": (
        lambda d: edit(d, lambda m: m["heads"]["urgency"].update(temperature=float("inf"))),
        "manifest.json does not fit format 1: heads.urgency.temperature",
    ),
    "threshold not a number": (
        lambda d: edit(d, lambda m: m["thresholds"].update(suggest=float("nan"))),
        "manifest.json does not fit format 1: thresholds.suggest",
    ),
    "windows that skip text": (
        lambda d: edit(d, lambda m: m.update(window=20, window_overlap=18)),
        "window_overlap 18 leaves a window of 20 nothing new to read",
    ),
    "manifest of bytes": (lambda d: _write(d / "manifest.json", b"\xff\x00"), "manifest.json does not fit format 1"),
    "manifest a directory": (
        _manifest_directory,
        "manifest.json is missing",
    ),
    "no vocabulary": (lambda d: (d / "vocab.txt").unlink(), "vocab.txt is missing"),
    "changed byte of the merges": (lambda d: _flip(d / "bpe.codes"), "bpe.codes does not match its hash"),
    "vocabulary not listed": (lambda d: edit(d, lambda m: m["files"].pop("vocab.txt")), "does not list 'vocab.txt'"),
    "taxonomy neither listed nor there": (
        _forget_taxonomy,
        "does not list 'taxonomy.yaml'",
    ),
    "absolute file name": (
        lambda d: edit(d, lambda m: m["files"].update({"/etc/passwd": "0"})),
        "lists '/etc/passwd', which is not a plain file name",
    ),
    "the directory above": (lambda d: edit(d, lambda m: m["files"].update({"..": "0"})), ".. is missing"),
    "missing head": (lambda d: edit(d, lambda m: m["heads"].pop("urgency")), "has no head 'urgency'"),
    "path in a file name": (
        lambda d: edit(d, lambda m: m["files"].update({"../secret": "0"})),
        "which is not a plain file name",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_mismatching_directory_is_refused_by_name(write_model: WriteModel, damage: str) -> None:
    directory = write_model()
    harm, told = DAMAGES[damage]
    harm(directory)
    with pytest.raises(PetitionError) as caught:
        load_bundle(directory)
    assert caught.value.kind is ErrorKind.INVALID_MODEL
    assert told in caught.value.message


def test_a_pointer_to_nothing_is_refused(tmp_path: Path) -> None:
    pointer = tmp_path / "current"
    pointer.write_text("gone\n", encoding="utf-8")
    with pytest.raises(PetitionError, match=r"gone/manifest\.json is missing"):
        load_bundle(pointer)


POINTERS = {
    "a network": b"\x08\x07\x12\xff\xfe" * 80,
    "a manifest": b'{"format": 1,\n "version": "x"}',
    "nothing": b" \n",
    "a long line": b"x" * 300,
    "two names": b"tiny-1\ntiny-2\n",
    "a null": b"tiny-1\0",
}


@pytest.mark.parametrize("content", POINTERS.values(), ids=POINTERS)
def test_a_file_that_is_no_pointer_is_refused(write_model: WriteModel, content: bytes) -> None:
    path = write_model().parent / "current"
    path.write_bytes(content)
    with pytest.raises(PetitionError, match="current is no pointer file") as caught:
        load_bundle(path)
    assert caught.value.kind is ErrorKind.INVALID_MODEL
    assert caught.value.detail == {"file": str(path)}


def test_a_pointer_may_name_a_directory_elsewhere(write_model: WriteModel, tmp_path: Path) -> None:
    directory = write_model("mô hình 1")
    (tmp_path / "kept").mkdir()
    pointer = tmp_path / "kept" / "current"
    for name in (str(directory), "../mô hình 1"):
        pointer.write_text(f"{name}\n", encoding="utf-8")
        assert load_bundle(pointer).manifest.version == "mô hình 1"


def test_a_path_to_nothing_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(PetitionError, match=r"nowhere/manifest\.json is missing; give --model"):
        load_bundle(tmp_path / "nowhere")


def test_a_file_that_the_manifest_does_not_list_is_no_matter(write_model: WriteModel) -> None:
    directory = write_model()
    (directory / "README.md").write_text("card", encoding="utf-8")
    assert load_bundle(directory).directory == directory


def test_the_label_order_is_the_manifest_s(write_model: WriteModel, taxonomy: Taxonomy) -> None:
    turned = {
        head: {"labels": [label.id for label in reversed(labels)], "temperature": 1.5}
        for head, labels in taxonomy.heads.items()
    }
    bundle = load_bundle(write_model(heads=turned))
    assert bundle.manifest.heads["urgency"].labels == ("low", "normal", "urgent", "emergency")
    assert bundle.manifest.heads["urgency"].temperature == 1.5
