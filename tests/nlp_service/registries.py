"""Registries of models for tests: the shipped model under other names, its large files hard-linked."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from nlp_service.bundle import resolve
from nlp_service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = resolve(ROOT / "models" / "current")


def add_model(models: Path, name: str, **changes: Any) -> Path:
    """The shipped model as `name`; keyword arguments replace fields of its manifest, or change dicts among them."""
    directory = models / name
    directory.mkdir(parents=True)
    for file in SHIPPED.iterdir():
        if file.name not in ("manifest.json", "gates.json", "reference.json"):
            try:
                os.link(file, directory / file.name)
            except OSError:  # another file system
                shutil.copyfile(file, directory / file.name)
    manifest = json.loads((SHIPPED / "manifest.json").read_bytes()) | {"version": name}
    for field, value in changes.items():
        manifest[field] = {**manifest.get(field, {}), **value} if isinstance(value, dict) else value
    (directory / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return directory


def mixed_up() -> dict[str, Any]:
    """The heads of a model whose categories stand in another order: every file is whole, every answer is wrong."""
    heads = json.loads((SHIPPED / "manifest.json").read_bytes())["heads"]
    labels = heads["category"]["labels"]
    return {"category": {**heads["category"], "labels": labels[1:] + labels[:1]}}


def damage(directory: Path, name: str = "linear.npz") -> None:
    """One byte of a file, and of no other model's that it was linked with."""
    content = bytearray((directory / name).read_bytes())
    content[len(content) // 2] ^= 1
    (directory / name).unlink()
    (directory / name).write_bytes(bytes(content))


def pass_gates(directory: Path, against: str, **changes: Any) -> None:
    """gates.json as a comparison writes it."""
    verdict = {
        "format": 1,
        "candidate": directory.name,
        "against": against,
        "passed": True,
        "failures": [],
        "data_sha256": "0" * 64,
        "at": "2026-11-28T00:00:00+00:00",
    }
    (directory / "gates.json").write_text(json.dumps(verdict | changes), encoding="utf-8")


def registry(models: Path, *versions: str) -> Settings:
    """Models with different thresholds, the first of them current; settings of a service that serves them."""
    for number, version in enumerate(versions):
        add_model(models, version, thresholds={"auto": 0.8548 + 0.05 * number})
    (models / "current").write_text(f"{versions[0]}\n", encoding="utf-8")
    return Settings(
        model=models / "current",
        rules=ROOT / "datasets",
        store=f"sqlite:///{models.parent / 'petitions.db'}",
        rate_per_minute=1_000_000,
        threads=1,
    )
