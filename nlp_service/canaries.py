"""Canaries: a few invented petitions on which every sane model agrees. A model that fails them does not get to answer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlp_service.decision import softmax
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.pipeline import PetitionClassifier, Read
from nlp_service.taxonomy import EMERGENCY

CANARIES_FILE = "canaries.jsonl"
"""Beside the rules: whoever changes the taxonomy changes both."""

CATEGORIES_RIGHT = 0.8
"""Least share of categories: a model may differ on one in five, one whose labels were mixed up differs on nearly all."""

FALSE_ALARMS = 0.2
"""Largest share of the ordinary ones that may be called emergencies: a model that always raises the alarm warns of nothing."""


@dataclass(frozen=True)
class Canary:
    """A petition with what it is. `emergency`: it must be called one."""

    id: str
    text: str
    category: str
    emergency: bool


def load_canaries(path: Path) -> tuple[Canary, ...]:
    """Read a JSONL file of `id`, `text`, `category` and, for emergencies, `urgency`.

    Raises:
        PetitionError: INVALID_RULES naming the file and the line.
    """
    found: list[Canary] = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found.append(Canary(row["id"], row["text"], row["category"], row.get("urgency") == EMERGENCY))
    except (OSError, ValueError, KeyError, TypeError) as error:
        where = f"{path}, line {len(found) + 1}" if path.is_file() else str(path)
        raise PetitionError(
            ErrorKind.INVALID_RULES,
            f"{where} holds no canaries ({type(error).__name__}); copy {CANARIES_FILE} from the source's datasets",
        ) from error
    if not found:
        raise PetitionError(
            ErrorKind.INVALID_RULES, f"{path} is empty; copy {CANARIES_FILE} from the source's datasets"
        )
    return tuple(found)


def self_test(classifier: PetitionClassifier, canaries: Sequence[Canary]) -> list[str]:
    """What is wrong with a model, a sentence each that names canaries by id; empty for a model that may answer.

    Every answer must be numbers that sum to one, every emergency called one, and enough of the rest read rightly.
    """
    try:
        reads = classifier.read_many([canary.text for canary in canaries])
        broken = [
            canary.id
            for canary, found in zip(canaries, reads, strict=True)
            if isinstance(found, PetitionError)
            or not all(
                np.isfinite(probabilities := softmax(found.logits[head], spec.temperature)).all()
                and abs(float(probabilities.sum()) - 1) < 1e-3
                for head, spec in classifier.bundle.manifest.heads.items()
            )
        ]
        if broken:
            return [f"no probabilities for {_listed(broken)}"]
        read = [
            (canary, classifier.decide(found))
            for canary, found in zip(canaries, reads, strict=True)
            if isinstance(found, Read)
        ]
    except Exception as error:
        return [f"reading the canaries failed ({type(error).__name__})"]
    raised = {canary.id for canary, decision in read if decision.urgency.id == EMERGENCY}
    ordinary = [canary.id for canary in canaries if not canary.emergency]
    missed = [canary.id for canary in canaries if canary.emergency and canary.id not in raised]
    alarms = [name for name in ordinary if name in raised]
    right = sum(decision.category.id == canary.category for canary, decision in read)
    wrong = [canary.id for canary, decision in read if decision.category.id != canary.category]
    problems = []
    if missed:
        problems.append(f"emergencies not raised: {_listed(missed)}")
    if len(alarms) > FALSE_ALARMS * len(ordinary):
        problems.append(f"{len(alarms)} of {len(ordinary)} ordinary petitions called emergencies: {_listed(alarms)}")
    if right < CATEGORIES_RIGHT * len(canaries):
        problems.append(
            f"{right} of {len(canaries)} categories right, at least {CATEGORIES_RIGHT:.0%} needed; wrong: {_listed(wrong)}"
        )
    return problems


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
