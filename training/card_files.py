"""The cards in a model's directory, the scores in its manifest, the model's part of the technical file: read, made, written."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlp_service.bundle import MANIFEST, Bundle, load_bundle
from nlp_service.models import read_gates
from training.card import cards, technical_summary
from training.data import read_petitions
from training.files import replace_text
from training.provenance import side_used

BEGIN = "<!-- model: petitions-train card -->"
END = "<!-- /model -->"

_DROPPED = ("reliability", "confusion", "labels", "classes")
_KEPT = ("category", "curve", "prediction_sets")
"""Whole in the manifest: the console's page of the model and the cards need them."""


def write_cards(directory: Path) -> None:
    """README.md and README.vi.md, from what the directory says. No hash covers them.

    Raises:
        PetitionError: INVALID_MODEL for a damaged directory or gates.json.
    """
    bundle = load_bundle(directory)
    for name, text in cards(bundle.manifest, bundle.taxonomy, read_gates(directory)).items():
        replace_text(directory / name, text)


def record_scores(directory: Path, reports: Mapping[str, dict[str, Any]]) -> None:
    """Put an evaluation into the manifest and write the cards anew."""
    brief = {
        name: _brief(report) | {key: report[key] for key in _KEPT if key in report} for name, report in reports.items()
    }
    _change(directory, {"scores": brief})
    write_cards(directory)


def record_data(directory: Path, data: Sequence[Path]) -> list[str]:
    """Note of petitions that a manifest of before names by hash alone how many are real, their period and their sets.

    Args:
        data: the directories that the model was made from, in the order of its config.

    Returns:
        The sides whose content has the hash in the manifest; the others stay as they are: nothing is guessed.
    """
    bundle = load_bundle(directory)
    known = {side: _used(bundle, data, side) for side in bundle.manifest.trained_on}
    same = {
        side: used
        for side, used in known.items()
        if used is not None and used["sha256"] == bundle.manifest.trained_on[side].get("sha256")
    }
    if same:
        _change(directory, {"trained_on": bundle.manifest.trained_on | same})
    return list(same)


def write_technical_file(directory: Path, file: Path) -> None:
    """Put the model into its part of a technical file; the rest stays as people wrote it.

    Raises:
        ValueError: the file has no such part.
    """
    text = file.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{file} lacks the lines '{BEGIN}' and '{END}'; begin with a copy of docs/technical-file.md")
    summary = technical_summary(load_bundle(directory).manifest, read_gates(directory))
    replace_text(file, f"{before}{BEGIN}\n{summary}\n{END}{after}")


def _used(bundle: Bundle, data: Sequence[Path], side: str) -> dict[str, Any] | None:
    files = [path / f"{side}.jsonl" for path in data]
    if not all(file.is_file() for file in files):
        return None
    return side_used(files, [petition for file in files for petition in read_petitions(file, bundle.taxonomy)])


def _brief(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report without its long tables: what a program wants from the manifest."""
    return {
        key: _brief(value) if isinstance(value, dict) else value for key, value in report.items() if key not in _DROPPED
    }


def _change(directory: Path, values: Mapping[str, Any]) -> None:
    """Other values in the manifest; nothing that a hash covers changes."""
    path = directory / MANIFEST
    content = json.loads(path.read_text(encoding="utf-8")) | values
    replace_text(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
