"""What heads are taught: class probabilities that leave something to secondary categories."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.data import Petition

Doubles = npt.NDArray[np.float64]


def class_probabilities(
    petitions: Sequence[Petition], head: str, labels: Sequence[str], secondary_weight: float
) -> Doubles:
    """(petitions, labels) class probabilities; secondary categories share `secondary_weight` of the category's."""
    column = {label: place for place, label in enumerate(labels)}
    matrix = np.zeros((len(petitions), len(labels)))
    for row, petition in enumerate(petitions):
        others = petition.secondary if head == "category" else ()
        matrix[row, column[petition.label(head)]] = 1 - secondary_weight if others else 1
        for other in others:
            matrix[row, column[other]] += secondary_weight / len(others)
    return matrix
