"""How readily a label that was learnt from a few petitions is given."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

TAKEN = 0.003
"""Share of the held-out petitions with another label that a new one may take: more would be seen in the known labels' F1, and with
less a petition or two that lie near by chance keep it silent (docs/experiments.md)."""


def raise_new(logits: Doubles, truth: npt.NDArray[np.int64], new: Sequence[int]) -> Doubles:
    """(labels,) what to add to the logits, so that each of the `new` takes `TAKEN` of the petitions that bear another label.

    Learnt from a few petitions among thousands, a new label asks for too little; how frequent it will be nobody knows yet.
    None is lowered.

    Args:
        logits: (petitions, labels) of petitions that nothing was learnt from.
        truth: (petitions,) their labels, by number.
    """
    added = np.zeros(logits.shape[1])
    for label in new:
        others = logits[truth != label]
        room = np.sort(np.delete(others, label, axis=1).max(axis=1) - others[:, label])
        if len(room):
            added[label] = max(0.0, np.nextafter(room[int(TAKEN * len(room))], -np.inf))
    return added
