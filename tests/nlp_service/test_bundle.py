import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlp_service.bundle import load_bundle, resolve
from nlp_service.errors import ErrorKind, PetitionError
from tests.nlp_service.conftest import WriteModel


def test_a_whole_directory_loads_by_path_and_by_pointer(write_model: WriteModel) -> None:
    directory = write_model()
    pointer = directory.parent / "current"
    pointer.write_text("tiny-1\n", encoding="utf-8")
    assert resolve(pointer) == directory
    assert load_bundle(pointer).manifest == load_bundle(directory).manifest
    assert load_bundle(directory).manifest.version == "tiny-1"


def edit(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no manifest": (lambda d: (d / "manifest.json").unlink(), "manifest.json is missing"),
    "cut manifest": (
        lambda d: (d / "manifest.json").write_text('{"format": 1', encoding="utf-8") and None,
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
    "missing head": (lambda d: edit(d, lambda m: m["heads"].pop("urgency") and None), "has no head 'urgency'"),
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
