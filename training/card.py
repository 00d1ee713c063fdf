"""The model card: what a model is, what it was trained on, how it scored, what it is not for."""

from pathlib import Path
from typing import Any

from nlp_service.bundle import Thresholds, load_bundle
from nlp_service.diacritics import DIACRITICS_FILE
from nlp_service.emergency import LEXICON_FILE
from training.calibration import NEVER
from training.export import write_scores
from training.report import summary_table

_DROPPED = ("reliability", "confusion", "labels", "classes")
_KEPT = ("category", "curve", "prediction_sets")
"""Whole in the manifest: the console's page of the model draws them."""


def write_card(directory: Path, reports: dict[str, dict[str, Any]]) -> None:
    """Put the scores into the manifest and write README.md in the model directory."""
    write_scores(
        directory,
        {
            name: _brief(report) | {key: report[key] for key in _KEPT if key in report}
            for name, report in reports.items()
        },
    )
    manifest = load_bundle(directory).manifest
    encoder = manifest.encoder
    counts = ", ".join(f"{part['count']} {name}" for name, part in manifest.trained_on.items())
    thresholds = manifest.thresholds
    lines = [
        f"# {manifest.version}",
        "",
        "Reads a citizen's petition in Vietnamese and gives issue category, urgency and petition type with calibrated",
        "probabilities. It suggests; a person decides.",
        "",
        f"- Encoder: {encoder.get('name', 'unknown')}. {encoder.get('note', '')}".rstrip(),
        f"- Segmenter {manifest.segmenter}, taxonomy {manifest.taxonomy_version}, windows of {manifest.window} positions"
        f" overlapping by {manifest.window_overlap}, logits averaged over windows.",
        f"- Trained on petitions written by the project ({counts}; content hashes in manifest.json). No real petition was"
        " used for training.",
        f"- Temperatures: {', '.join(f'{head} {spec.temperature:.2f}' for head, spec in manifest.heads.items())}.",
        _routing(thresholds),
        f"- Read by a person first when the three best categories together have less than {thresholds.suggest:.2f}, for the"
        f" category other, or when a complaint or denunciation is possible; emergency from {thresholds.emergency:.2f}.",
        *(
            f"- Beside the best {head} stand those from probability {sets.threshold:.4f}: the right one is among them for"
            f" {100 * sets.coverage:g} % of petitions like the dev ones ({sets.kind}: on average, not for every {head})."
            for head, sets in manifest.prediction_sets.items()
        ),
        *(
            [
                "- A linear model over words and letters (linear.npz) is added to the network's logits, times "
                + ", ".join(f"{head} {weight:g}" for head, weight in manifest.linear.items())
                + "."
            ]
            if manifest.linear
            else []
        ),
        *(
            ["- Sentences typed without marks are read with marks that a trigram model of syllables restores."]
            if DIACRITICS_FILE in manifest.files
            else []
        ),
        *(
            ["- Emergencies are called by the network or by a small reviewed lexicon (emergency.yaml)."]
            if LEXICON_FILE in manifest.files
            else []
        ),
        "",
        "## Scores",
        "",
        "`petitions-train evaluate` on the exported int8 network. Own petitions and real ones are reported apart; each rate",
        "with its count and 95 % interval. Scores on our own test split read higher than life: the same people wrote",
        "the training petitions.",
        "",
        summary_table(reports),
        "",
        "## Not for",
        "",
        "- Deciding anything with legal effect: type, refusal and transfer are a person's decision (AI Law 134/2025/QH15,",
        "  Art. 27).",
        "- Emergency calls: the service raises an alarm, it does not replace 112, 113, 114, 115.",
        "- Languages other than Vietnamese, scanned images, letters typed in legacy fonts.",
        "",
    ]
    (directory / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _routing(thresholds: Thresholds) -> str:
    if thresholds.auto >= NEVER:
        return "- Nothing is routed automatically: the dev petitions gave no probability that is safe."
    stated = (
        f", where {100 * thresholds.auto_precision:g} % should be right (estimated on dev)"
        if thresholds.auto_precision is not None
        else ""
    )
    return f"- Routed automatically from probability {thresholds.auto:.2f}{stated}."


def _brief(report: dict[str, Any]) -> dict[str, Any]:
    """The report without its long tables: what a program wants from the manifest."""
    return {
        key: _brief(value) if isinstance(value, dict) else value for key, value in report.items() if key not in _DROPPED
    }
