"""A small model directory whose network is not opened: enough for what reads the manifest."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlp_service import text
from nlp_service.bundle import sha256
from nlp_service.taxonomy import load_taxonomy

SHIPPED_TAXONOMY = Path(__file__).resolve().parents[2] / "datasets" / "taxonomy.yaml"

WriteModel = Callable[..., Path]


@pytest.fixture
def write_model(tmp_path: Path) -> WriteModel:
    """Writes a valid model directory; keyword arguments replace fields of its manifest."""

    def write(name: str = "tiny-1", **changes: Any) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        shutil.copyfile(SHIPPED_TAXONOMY, directory / "taxonomy.yaml")
        (directory / "model.int8.onnx").write_bytes(b"network")
        taxonomy = load_taxonomy(directory / "taxonomy.yaml")
        manifest = {
            "format": 1,
            "version": name,
            "created": "2026-11-24T00:00:00+00:00",
            "encoder": {},
            "trained_on": {},
            "text_version": text.VERSION,
            "segmenter": "underthesea 9.5.0",
            "taxonomy_version": taxonomy.version,
            "taxonomy_sha256": taxonomy.sha256,
            "window": 256,
            "window_overlap": 64,
            "heads": {
                head: {"labels": [label.id for label in labels], "temperature": 1.0}
                for head, labels in taxonomy.heads.items()
            },
            "thresholds": {"auto": 0.8, "suggest": 0.6, "emergency": 0.2, "legal_doubt": 0.2},
            "files": {name: sha256(directory / name) for name in ("model.int8.onnx", "taxonomy.yaml")},
            "scores": {},
            **changes,
        }
        (directory / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return directory

    return write
