"""Train the linear model that stands beside the network: TF-IDF and a linear SVM a head, stored in int8 without pickles."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_union
from sklearn.svm import LinearSVC

from nlp_service.linear import LETTER_GRAMS, WORD_GRAMS
from training.data import Petition


def features() -> tuple[TfidfVectorizer, TfidfVectorizer]:
    """Of words and of letters, not fitted."""
    return (
        TfidfVectorizer(ngram_range=WORD_GRAMS, min_df=2, sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=LETTER_GRAMS, min_df=3, sublinear_tf=True),
    )


def fit_linear(
    wordings: Sequence[str], petitions: Sequence[Petition], labels: Mapping[str, Sequence[str]], path: Path, seed: int
) -> None:
    """Write `path`. A class without a petition gets the lowest margin of all.

    Args:
        wordings: the petitions' texts as the reader words them.
        labels: label order of every head.
    """
    words, letters = features()
    matrix = make_union(words, letters).fit_transform(wordings)
    weights = np.zeros((matrix.shape[1], sum(map(len, labels.values()))))
    intercepts = np.full(weights.shape[1], -2.0)
    column = 0
    for head, ids in labels.items():
        truth = [ids.index(petition.label(head)) for petition in petitions]
        model = LinearSVC(C=0.5, class_weight="balanced", random_state=seed).fit(matrix, truth)
        # With two classes there is one row, the second class's.
        rows = model.coef_ if len(model.classes_) > 2 else np.concatenate([-model.coef_, model.coef_])
        offsets = model.intercept_ if len(model.classes_) > 2 else np.array([-1, 1]) * model.intercept_[0]
        weights[:, column + model.classes_] = rows.T
        intercepts[column + model.classes_] = offsets
        column += len(ids)
    scales = np.maximum(np.abs(weights).max(axis=0), 1e-9) / 127
    scratch = path.with_suffix(".tmp")
    with scratch.open("wb") as stream:
        np.savez_compressed(
            stream,
            words=_joined(words.get_feature_names_out()),
            letters=_joined(letters.get_feature_names_out()),
            heads=_joined(list(labels)),
            sizes=np.array([len(ids) for ids in labels.values()]),
            idf=np.concatenate([words.idf_, letters.idf_]).astype(np.float16),
            weights=np.round(weights / scales).astype(np.int8),
            scales=scales.astype(np.float32),
            intercepts=intercepts.astype(np.float32),
        )
    scratch.rename(path)


def _joined(names: Sequence[str]) -> np.ndarray:
    return np.frombuffer("\n".join(names).encode("utf-8"), np.uint8)
