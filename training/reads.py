"""What a model directory says of labelled petitions, read as the service reads them. No torch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nlp_service.bundle import HEADS
from nlp_service.errors import PetitionError
from nlp_service.pipeline import PetitionClassifier, Read

Floats = npt.NDArray[np.float32]


def read_all(classifier: PetitionClassifier, texts: Sequence[str]) -> list[Read]:
    """What network and lexicon say, as served. Raises PetitionError for a text that cannot be read."""
    reads: list[Read] = []
    for start in range(0, len(texts), 64):
        for read in classifier.read_many(texts[start : start + 64]):
            if isinstance(read, PetitionError):
                raise read
            reads.append(read)
    return reads


def read_logits(classifier: PetitionClassifier, texts: Sequence[str]) -> dict[str, Floats]:
    """(texts, classes) for every head, as served. Raises PetitionError for a text that cannot be read."""
    return stack([read.logits for read in read_all(classifier, texts)])


def stack(rows: Sequence[dict[str, Floats]]) -> dict[str, Floats]:
    """(rows, classes) for every head."""
    return {head: np.stack([row[head] for row in rows]) for head in HEADS}


def read_margins(classifier: PetitionClassifier, reads: Sequence[Read]) -> dict[str, Floats]:
    """The linear model's margins, (reads, classes) for every head; empty without a linear model."""
    if classifier.linear is None:
        return {}
    return stack([classifier.linear.margins(read.wording) for read in reads])
