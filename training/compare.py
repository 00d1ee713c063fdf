"""A candidate beside the current model, both read as the service reads them: scores, slices, latency, gates.

Category scores are on the categories that both know; one that only the candidate knows is reported alone.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nlp_service.decision import Decision
from nlp_service.encoder import Runtime
from nlp_service.pipeline import PetitionClassifier
from nlp_service.taxonomy import EMERGENCY, Taxonomy
from nlp_service.text import strip_diacritics
from training.card_files import write_cards
from training.data import Petition, digest, read_origins, read_petitions
from training.gates import GateLimits, failures, write_verdict
from training.paired import Answers, compare
from training.reads import read_all

Bools = npt.NDArray[np.bool_]

LENGTHS = ((0, 30), (31, 80), (81, None))
"""Bands of a petition's length, in syllables."""

VARIANTS: dict[str, Callable[[str], str]] = {"without diacritics": strip_diacritics, "in capitals": str.upper}

SMALLEST_SLICE = 10
"""Petitions that a commune or a month must have to be reported."""

TIMED = 40
ROUNDS = 5


@dataclass(frozen=True)
class Case:
    """A test petition.

    Attributes:
        commune: code of the commune, where the data says it.
        month: of receipt, 2026-11, where the data says it.
    """

    petition: Petition
    commune: str | None = None
    month: str | None = None


def compare_models(
    candidate: Path,
    current: Path,
    data: Sequence[Path],
    limits: GateLimits,
    real: Path | None = None,
) -> dict[str, Any]:
    """Compare, and leave gates.json in the candidate's directory, and cards that tell of it.

    Args:
        candidate, current: model directories or pointer files.
        data: directories with a test.jsonl.
        real: JSONL of real petitions, reported apart.

    Returns:
        `candidate`, `against`, `sets` (`test`, `real`), `latency`, `passed`, `failures`; see `training.comparison_report`.

    Raises:
        PetitionError: INVALID_MODEL; a petition that cannot be read.
        ValueError: a row fits the taxonomy of neither model; there is no petition.
    """
    models = [PetitionClassifier.load(path, Runtime.ONNXRUNTIME) for path in (candidate, current)]
    new, old = (model.bundle for model in models)
    taxonomy = _joined(new.taxonomy, old.taxonomy)
    sets = {
        "test": [case for number, path in enumerate(data) for case in _cases(path / "test.jsonl", taxonomy, number)]
    }
    if real is not None:
        sets["real"] = _cases(real, taxonomy, 0)
    if not all(sets.values()):
        raise ValueError(
            "there is no petition to compare models on; name directories with a test.jsonl that holds some"
        )
    report: dict[str, Any] = {
        "candidate": new.manifest.version,
        "against": old.manifest.version,
        "data": {
            name: {"count": len(cases), "sha256": digest([case.petition for case in cases])}
            for name, cases in sets.items()
        },
        "sets": {name: compare_on(models[0], models[1], cases) for name, cases in sets.items()},
    }
    texts = [case.petition.text for case in sets["test"]]
    report["latency"] = _latency(candidate, current, texts[:: max(1, len(texts) // TIMED)][:TIMED])
    failed = failures(report["sets"]["test"], report["latency"], limits)
    verdict = write_verdict(
        new.directory, report["candidate"], report["against"], failed, report["data"]["test"]["sha256"]
    )
    write_cards(new.directory)
    return report | {"passed": verdict.passed, "failures": failed, "at": verdict.at}


def compare_on(candidate: PetitionClassifier, current: PetitionClassifier, cases: Sequence[Case]) -> dict[str, Any]:
    """The report of one set: `count`, `scores`, `categories`, `slices`, `new`, `emergencies`."""
    petitions, groups = [case.petition for case in cases], [case.petition.group for case in cases]
    known = set(current.bundle.manifest.heads["category"].labels)
    labels = [label for label in candidate.bundle.manifest.heads["category"].labels if label in known]
    decisions = _decide(candidate, [petition.text for petition in petitions])
    one = answers(decisions, petitions, labels)
    other = answers(_decide(current, [petition.text for petition in petitions]), petitions, labels)
    scores = compare(one, other, groups)
    by_class = scores.pop("f1")
    counts = np.bincount(one.truth, minlength=len(labels) + 1)
    slices = {}
    for name, rows in _slices(cases):
        found = compare(one.of(rows), other.of(rows), [group for group, row in zip(groups, rows, strict=True) if row])
        slices[name] = {"count": int(rows.sum()), "macro_f1": found["macro_f1"], "top1": found["top1"]}
    for name, change in VARIANTS.items():
        texts = [change(petition.text) for petition in petitions]
        changed = [answers(_decide(model, texts), petitions, labels) for model in (candidate, current)]
        found = compare(changed[0], changed[1], groups)
        slices[name] = {"count": len(cases), "macro_f1": found["macro_f1"], "top1": found["top1"]}
    return {
        "count": len(cases),
        "groups": len(set(groups)),
        "scores": scores,
        "categories": {
            label: {"count": int(counts[place])} | by_class[place]
            for place, label in enumerate(labels)
            if counts[place] and by_class[place]["difference"] is not None
        },
        "slices": slices,
        "new": {
            label: _alone(decisions, petitions, label)
            for label in candidate.bundle.manifest.heads["category"].labels
            if label not in known
        },
        "emergencies": {
            "count": int(one.emergency.sum()),
            "called": int((one.emergency & one.called).sum()),
            "called_before": int((other.emergency & other.called).sum()),
        },
    }


def answers(decisions: Sequence[Decision], petitions: Sequence[Petition], labels: Sequence[str]) -> Answers:
    """Decisions in terms of `labels`; any other category has the number after the last."""
    column = {label: place for place, label in enumerate(labels)}
    guesses = [decision.category.id for decision in decisions]
    right = [guess in petition.accepted for guess, petition in zip(guesses, petitions, strict=True)]
    truth = [
        guess if hit else petition.category for guess, hit, petition in zip(guesses, right, petitions, strict=True)
    ]
    return Answers(
        classes=len(labels),
        truth=np.array([column.get(label, len(labels)) for label in truth], dtype=np.int64),
        guess=np.array([column.get(label, len(labels)) for label in guesses], dtype=np.int64),
        right=np.array(right, dtype=bool),
        judged=np.array([petition.category in column for petition in petitions], dtype=bool),
        confidence=np.array([decision.category.probability for decision in decisions]),
        emergency=np.array([petition.urgency == EMERGENCY for petition in petitions], dtype=bool),
        called=np.array([decision.urgency.id == EMERGENCY for decision in decisions], dtype=bool),
    )


def _decide(model: PetitionClassifier, texts: Sequence[str]) -> list[Decision]:
    return [model.decide(read) for read in read_all(model, texts)]


def _alone(decisions: Sequence[Decision], petitions: Sequence[Petition], label: str) -> dict[str, Any]:
    """Precision, recall and F1 of a category that only the candidate knows, on all petitions."""
    answered = [decision.category.id == label for decision in decisions]
    labelled = [petition.category == label for petition in petitions]
    hits = sum(a and b for a, b in zip(answered, labelled, strict=True))
    both = sum(answered) + sum(labelled)
    return {
        "count": sum(labelled),
        "precision": round(hits / sum(answered), 4) if any(answered) else None,
        "recall": round(hits / sum(labelled), 4) if any(labelled) else None,
        "f1": round(2 * hits / both, 4) if both else None,
    }


def _slices(cases: Sequence[Case]) -> Iterator[tuple[str, Bools]]:
    registers = np.array([case.petition.register for case in cases])
    for register in sorted(set(registers) - {""}):
        yield f"register {register}", registers == register
    lengths = np.array([len(case.petition.text.split()) for case in cases])
    for low, high in LENGTHS:
        rows = (lengths >= low) & (lengths <= (high or np.inf))
        if rows.any():
            yield f"{low} to {high} syllables" if high else f"{low} syllables or more", rows
    for name, values in (("commune", [case.commune for case in cases]), ("month", [case.month for case in cases])):
        for value in sorted({value for value in values if value}):
            rows = np.array([other == value for other in values], dtype=bool)
            if rows.sum() >= SMALLEST_SLICE:
                yield f"{name} {value}", rows


def _latency(candidate: Path, current: Path, texts: Sequence[str]) -> dict[str, float]:
    """Milliseconds of CPU time of one petition on one thread, both models by turns.

    CPU time, the best of several rounds: other work on the machine does not count against either.
    """
    models = [PetitionClassifier.load(path, Runtime.ONNXRUNTIME, threads=1) for path in (candidate, current)]
    best = np.full((len(models), len(texts)), np.inf)
    for turn in range(ROUNDS):
        for place, text in enumerate(texts):
            for which in (0, 1) if turn % 2 else (1, 0):
                started = time.thread_time()
                models[which].classify(text)
                best[which, place] = min(best[which, place], time.thread_time() - started)
    ours, theirs = best.mean(axis=1) * 1000
    return {
        "candidate_ms": round(float(ours), 3),
        "current_ms": round(float(theirs), 3),
        "ratio": round(float(ours / theirs), 4),
        "petitions": len(texts),
    }


def _cases(file: Path, taxonomy: Taxonomy, number: int) -> list[Case]:
    petitions = read_petitions(file, taxonomy)
    # Two sets may count their groups alike.
    named = [replace(p, group=f"{number}/{p.group}") if number else p for p in petitions]
    return [
        Case(petition, origin.get("commune_code"), str(origin["received_at"])[:7] if "received_at" in origin else None)
        for petition, origin in zip(named, read_origins(file), strict=True)
    ]


def _joined(first: Taxonomy, second: Taxonomy) -> Taxonomy:
    """The first taxonomy with the categories that only the second has: petitions may be labelled by either."""
    known = {category.id for category in first.categories}
    return replace(first, categories=(*first.categories, *(c for c in second.categories if c.id not in known)))
