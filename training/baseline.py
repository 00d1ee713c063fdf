"""TF-IDF and a linear SVM on the same petitions: the honest baseline that every report shows beside the network."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC

from nlp_service.text import normalise
from training.data import Petition
from training.linear import features


class Baseline:
    """One linear SVM a head over word 1-2-grams and character 2-5-grams; no segmentation, no pre-training."""

    def __init__(self, train: Sequence[Petition], heads: dict[str, tuple[str, ...]], seed: int = 13) -> None:
        texts = [normalise(petition.text) for petition in train]
        self._heads = heads
        self._features = make_union(*features())
        matrix = self._features.fit_transform(texts)
        self._models = {
            head: make_pipeline(LinearSVC(C=0.5, class_weight="balanced", random_state=seed)).fit(
                matrix, [ids.index(petition.label(head)) for petition in train]
            )
            for head, ids in heads.items()
        }

    def scores(self, texts: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
        """(texts, classes) margins for every head; a class unseen in training scores lowest."""
        matrix = self._features.transform([normalise(text) for text in texts])
        result = {}
        for head, ids in self._heads.items():
            model = self._models[head]
            margins = model.decision_function(matrix)
            if margins.ndim == 1:
                margins = np.stack([-margins, margins], axis=1)
            full = np.full((len(texts), len(ids)), margins.min() - 1)
            full[:, model.classes_] = margins
            result[head] = full
        return result
