"""Scores of a model directory on labelled petitions, read exactly as the service reads them."""

import random
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from nlp_service.bundle import HEADS
from nlp_service.decision import Decision, decide, softmax
from nlp_service.live import wilson
from nlp_service.pipeline import PetitionClassifier
from nlp_service.taxonomy import EMERGENCY
from nlp_service.text import strip_diacritics
from training.augment import slip
from training.baseline import Baseline
from training.calibration import NEVER, expected_calibration_error
from training.data import Petition, digest
from training.reads import read_all, read_logits, stack

Floats = npt.NDArray[np.float32]


def _slipped(text: str) -> str:
    # The same slips in every run: seeded by the text itself.
    return slip(text, random.Random(text), rate=0.04)


VARIANTS: dict[str, Callable[[str], str]] = {
    "without_diacritics": strip_diacritics,
    "typing_slips": _slipped,
    "decomposed_unicode": lambda text: unicodedata.normalize("NFD", text),
    "capitals": str.upper,
    "lower_case": str.lower,
}


def evaluate(
    classifier: PetitionClassifier, petitions: Sequence[Petition], baseline: Baseline | None = None
) -> dict[str, Any]:
    """Every score of one set of petitions, each rate with its count and 95 % interval (Wilson; macro-F1: bootstrap)."""
    manifest, taxonomy = classifier.bundle.manifest, classifier.bundle.taxonomy
    reads = read_all(classifier, [petition.text for petition in petitions])
    logits = stack([read.logits for read in reads])
    probabilities = {head: softmax(logits[head], manifest.heads[head].temperature) for head in HEADS}
    labels = {head: manifest.heads[head].labels for head in HEADS}
    report: dict[str, Any] = {"count": len(petitions), "sha256": digest(petitions)}
    report["category"] = category_scores(probabilities["category"], petitions, labels["category"])
    for head in ("urgency", "petition_type"):
        report[head] = head_scores(probabilities[head], petitions, head, labels[head])
    decisions = [classifier.decide(read) for read in reads]
    called = np.array([decision.urgency.id == EMERGENCY for decision in decisions])
    real = np.array([petition.urgency == EMERGENCY for petition in petitions])
    signs = np.array([read.sign is not None for read in reads])
    alone = np.array([decide(read.logits, manifest, taxonomy).urgency.id == EMERGENCY for read in reads])
    report["emergency"] = {
        "recall_model": rate(int((alone & real).sum()), int(real.sum())),
        "precision_model": rate(int((alone & real).sum()), int(alone.sum())),
        "recall_lexicon": rate(int((signs & real).sum()), int(real.sum())),
        "precision_lexicon": rate(int((signs & real).sum()), int(signs.sum())),
        "recall": rate(int((called & real).sum()), int(real.sum())),
        "precision": rate(int((called & real).sum()), int(called.sum())),
    }
    right = [decision.category.id in petition.accepted for decision, petition in zip(decisions, petitions, strict=True)]
    thresholds = manifest.thresholds
    report["curve"] = {
        "stated": thresholds.auto_precision,
        "threshold": thresholds.auto if thresholds.auto < NEVER else None,
        "points": curve(decisions, right),
    }
    if sets := manifest.prediction_sets.get("category"):
        report["prediction_sets"] = {
            "stated": sets.coverage,
            "threshold": sets.threshold,
            **set_scores(decisions, petitions, labels["category"]),
        }
    zones = [decision.decision for decision in decisions]
    report["zones"] = {
        zone: {
            "share": rate(zones.count(zone), len(zones)),
            "top1": rate(sum(r for r, z in zip(right, zones, strict=True) if z == zone), zones.count(zone)),
        }
        for zone in ("auto", "suggest", "human")
    }
    report["variants"] = {
        name: category_scores(
            softmax(
                read_logits(classifier, [change(p.text) for p in petitions])["category"],
                manifest.heads["category"].temperature,
            ),
            petitions,
            labels["category"],
        )["top1"]
        for name, change in VARIANTS.items()
    }
    registers = sorted({petition.register for petition in petitions} - {""})
    report["registers"] = {
        register: rate(
            sum(r for r, p in zip(right, petitions, strict=True) if p.register == register),
            sum(p.register == register for p in petitions),
        )
        for register in registers
    }
    if baseline is not None:
        margins = baseline.scores([petition.text for petition in petitions])
        report["baseline"] = {
            "category": category_scores(_as_probabilities(margins["category"]), petitions, labels["category"]),
            "without_diacritics": category_scores(
                _as_probabilities(baseline.scores([strip_diacritics(p.text) for p in petitions])["category"]),
                petitions,
                labels["category"],
            )["top1"],
            **{
                head: head_scores(_as_probabilities(margins[head]), petitions, head, labels[head])
                for head in ("urgency", "petition_type")
            },
        }
    return report


def category_scores(probabilities: Floats, petitions: Sequence[Petition], labels: Sequence[str]) -> dict[str, Any]:
    """Top-1 and top-3 count any accepted category as right; macro-F1 and confusion go by the primary label."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    names = [[labels[i] for i in row[:3]] for row in order]
    top1 = [row[0] in p.accepted for row, p in zip(names, petitions, strict=True)]
    top3 = [bool(set(row) & set(p.accepted)) for row, p in zip(names, petitions, strict=True)]
    # A right answer counts as the label that it is right for.
    truth = np.array(
        [labels.index(row[0] if row[0] in p.accepted else p.category) for row, p in zip(names, petitions, strict=True)]
    )
    return {
        "top1": rate(sum(top1), len(top1)),
        "top3": rate(sum(top3), len(top3)),
        "ece": round(expected_calibration_error(probabilities, truth), 4),
        **_classwise(order[:, 0], truth, labels),
        "reliability": _reliability(probabilities, truth),
    }


def curve(decisions: Sequence[Decision], right: Sequence[bool], points: int = 50) -> list[dict[str, float]]:
    """How many petitions would be routed automatically at other thresholds, and how many of those rightly.

    Returns:
        At most `points`, evenly spaced over the petitions that may be routed, the highest threshold first: `threshold`,
        `share` of all petitions, `precision` among the `count` routed ones.
    """
    top = np.array([decision.category.probability for decision in decisions])
    routable = np.array([decision.decision != "human" for decision in decisions])
    hits = np.array(right)
    ranked = np.sort(top[routable])[::-1]
    if not len(ranked):
        return []
    found = []
    for threshold in np.unique(ranked[np.linspace(0, len(ranked) - 1, points).astype(int)])[::-1]:
        routed = routable & (top >= threshold)
        found.append(
            {
                "threshold": float(threshold),
                "share": round(float(routed.mean()), 4),
                "precision": round(float(hits[routed].mean()), 4),
                "count": int(routed.sum()),
            }
        )
    return found


def set_scores(decisions: Sequence[Decision], petitions: Sequence[Petition], labels: Sequence[str]) -> dict[str, Any]:
    """Coverage and size of the prediction sets; a set covers a petition if an accepted category is in it.

    Returns:
        `coverage` over all, `classes` by the petition's primary category, `singletons` (one category alone), `mean_size`,
        and `sizes`, how many sets have 1, 2, ... categories.
    """
    covered = [
        any(scored.id in petition.accepted for scored in decision.prediction_set)
        for decision, petition in zip(decisions, petitions, strict=True)
    ]
    sizes = np.array([len(decision.prediction_set) for decision in decisions])
    by_class = {
        label: [hit for hit, petition in zip(covered, petitions, strict=True) if petition.category == label]
        for label in labels
    }
    return {
        "coverage": rate(sum(covered), len(covered)),
        "mean_size": round(float(sizes.mean()), 4),
        "singletons": rate(int((sizes == 1).sum()), len(sizes)),
        "sizes": {str(size): int((sizes == size).sum()) for size in np.unique(sizes)},
        "classes": {label: rate(sum(hits), len(hits)) for label, hits in by_class.items()},
    }


def head_scores(
    probabilities: Floats, petitions: Sequence[Petition], head: str, labels: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, ECE, macro-F1 and per-class scores of urgency or petition type."""
    truth = np.array([labels.index(petition.label(head)) for petition in petitions])
    guess = probabilities.argmax(axis=1)
    scores = {
        "accuracy": rate(int((guess == truth).sum()), len(truth)),
        "ece": round(expected_calibration_error(probabilities, truth), 4),
        **_classwise(guess, truth, labels),
        "reliability": _reliability(probabilities, truth),
    }
    if head == "petition_type":
        # The law treats kiến nghị and phản ánh as one concept (Law on Citizen Reception 2013, Art. 2.2).
        merge = {labels.index("feedback"): labels.index("recommendation")}
        merged = _classwise(
            np.array([merge.get(g, g) for g in guess]), np.array([merge.get(t, t) for t in truth]), labels
        )
        scores["macro_f1_legal_types"] = merged["macro_f1"]
    return scores


def rate(hits: int, total: int) -> dict[str, Any]:
    """A rate that carries its count and 95 % Wilson interval; None without cases."""
    low, high = wilson(hits, total)
    value = round(hits / total, 4) if total else None
    return {"value": value, "hits": hits, "count": total, "interval": [round(low, 4), round(high, 4)]}


def macro_f1(guess: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    """Mean F1 over the classes that occur in `truth`."""
    # By counts and not by scikit-learn, which takes a hundred times as long: the bootstrap asks for thousands.
    size = int(max(guess.max(), truth.max())) + 1
    labelled, answered = np.bincount(truth, minlength=size), np.bincount(guess, minlength=size)
    hits = np.bincount(truth[guess == truth], minlength=size)
    occurs = labelled > 0
    return float((2 * hits[occurs] / (labelled + answered)[occurs]).mean())


def _classwise(guess: npt.NDArray[np.int64], truth: npt.NDArray[np.int64], labels: Sequence[str]) -> dict[str, Any]:
    generator = np.random.default_rng(13)
    replicates = []
    for _ in range(300):
        rows = generator.integers(0, len(truth), len(truth))
        replicates.append(macro_f1(guess[rows], truth[rows]))
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, guess, labels=range(len(labels)), zero_division=0
    )
    return {
        "macro_f1": {
            "value": round(macro_f1(guess, truth), 4),
            "count": len(truth),
            "classes": len(np.unique(truth)),
            "interval": [round(float(np.percentile(replicates, q)), 4) for q in (2.5, 97.5)],
        },
        "classes": {
            label: {
                "precision": round(float(precision[i]), 4),
                "recall": round(float(recall[i]), 4),
                "f1": round(float(f1[i]), 4),
                "count": int(support[i]),
            }
            for i, label in enumerate(labels)
        },
        "labels": list(labels),
        "confusion": confusion_matrix(truth, guess, labels=range(len(labels))).tolist(),
    }


def _reliability(probabilities: Floats, truth: npt.NDArray[np.int64], bins: int = 10) -> list[dict[str, float]]:
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "confidence": round(float(confidence[index == b].mean()), 4),
            "accuracy": round(float(right[index == b].mean()), 4),
            "count": int((index == b).sum()),
        }
        for b in range(bins)
        if (index == b).any()
    ]


def _as_probabilities(margins: npt.NDArray[np.float64]) -> Floats:
    """Margins are no probabilities; the softmax only keeps their order (the baseline's ECE is not reported)."""
    return softmax(margins.astype(np.float32), 1.0)
