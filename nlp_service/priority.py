"""In which order petitions wait for a person: the risky ones first, then the doubtful ones, no two alike in a row. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from nlp_service.decision import Decision

Floats = npt.NDArray[np.float32]

LIKENESS_WEIGHT = 0.5
"""How much being like one that was just read counts against being doubtful. A choice: a petition whose two best categories are
equally likely still comes before a copy of the last one that is a little more doubtful."""

_LEGAL = ("complaint", "denunciation")


class Risk(IntEnum):
    """What it costs to read a petition late; the lower, the sooner it is read."""

    EMERGENCY = 0
    LEGAL = 1
    """A complaint or denunciation, or one that may be: limits in law, and people to protect."""
    SENSITIVE = 2
    """Of a sensitive category, or so unclear that nobody can tell."""
    ORDINARY = 3


def risk(decision: Decision, emergency: bool, restricted: bool, sensitive: bool) -> Risk:
    """What it would cost to read a petition late.

    Args:
        restricted: kept from all but the body that leads.
        sensitive: of a category that the taxonomy calls so.
    """
    if emergency:
        return Risk.EMERGENCY
    doubt = any(reason.code == "legal_doubt" for reason in decision.reasons)
    if restricted or doubt or decision.petition_type.id in _LEGAL:
        return Risk.LEGAL
    return Risk.SENSITIVE if sensitive or decision.decision == "human" else Risk.ORDINARY


def margin(decision: Decision) -> float:
    """By how much the best category leads the second, 0 to 1: little where the model is unsure (margin sampling)."""
    second = decision.alternatives[0].probability if decision.alternatives else 0.0
    return round(decision.category.probability - second, 4)


@dataclass(frozen=True)
class Waiting:
    """A petition in the queue.

    Attributes:
        vector: its embedding, of unit length; None if it has none of the model in use.
    """

    id: int
    risk: int
    margin: float
    vector: Floats | None


def spread(waiting: Sequence[Waiting], read: Sequence[Floats] = ()) -> list[Waiting]:
    """The same petitions, by risk, and within one risk so that each is doubtful and unlike those before it.

    Maximal marginal relevance (Carbonell and Goldstein 1998), with doubt for relevance. Emergencies keep their order.

    Args:
        waiting: in order of risk, then doubt; a window of the queue, not all of it.
        read: embeddings of what the reader has just had.
    """
    result: list[Waiting] = []
    shown = list(read)
    for level in sorted({item.risk for item in waiting}):
        left = [item for item in waiting if item.risk == level]
        if level == Risk.EMERGENCY:
            result += left
        else:
            result += _spread(left, shown)
        shown += [item.vector for item in left if item.vector is not None]
    return result


def _spread(left: Sequence[Waiting], shown: Sequence[Floats]) -> list[Waiting]:
    width = next((len(vector) for vector in (*(item.vector for item in left), *shown) if vector is not None), 0)
    nothing = np.zeros(width, np.float32)  # like nothing
    vectors = np.stack([nothing if item.vector is None else item.vector for item in left])
    likeness = (vectors @ np.stack(shown).T).max(axis=1) if shown else np.zeros(len(left), np.float32)
    doubt = np.array([1 - item.margin for item in left])
    result: list[Waiting] = []
    for _ in left:
        best = int((doubt - LIKENESS_WEIGHT * np.maximum(likeness, 0)).argmax())
        doubt[best] = -np.inf
        result.append(left[best])
        likeness = np.maximum(likeness, vectors @ vectors[best])
    return result
