"""Train the linear model that stands beside the network: TF-IDF and a linear SVM a head, stored in int8 without pickles."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_union
from sklearn.svm import LinearSVC

from nlp_service.linear import LETTER_GRAMS, WORD_GRAMS, LinearModel
from training.data import Petition

Doubles = npt.NDArray[np.float64]
Labels = Mapping[str, Sequence[str]]
"""Label order of every head."""

C = 0.5
NEVER_SEEN = -2.0
"""Intercept of a label that no petition bears."""


def features() -> tuple[TfidfVectorizer, TfidfVectorizer]:
    """Of words and of letters, not fitted."""
    return (
        TfidfVectorizer(ngram_range=WORD_GRAMS, min_df=2, sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=LETTER_GRAMS, min_df=3, sublinear_tf=True),
    )


def fit_linear(wordings: Sequence[str], petitions: Sequence[Petition], labels: Labels, path: Path, seed: int) -> None:
    """Write `path`. A class without a petition gets the lowest margin of all.

    Args:
        wordings: the petitions' texts as the reader words them.
        labels: label order of every head.
    """
    words, letters = features()
    matrix = make_union(words, letters).fit_transform(wordings)
    columns = np.concatenate([_head(matrix, petitions, head, ids, seed) for head, ids in labels.items()])
    weights, scales = _in_int8(columns[:, :-1].T)
    _write(
        path,
        labels,
        words=_joined(words.get_feature_names_out()),
        letters=_joined(letters.get_feature_names_out()),
        idf=np.concatenate([words.idf_, letters.idf_]).astype(np.float16),
        weights=weights,
        scales=scales,
        intercepts=columns[:, -1].astype(np.float32),
    )


def extend_linear(
    served: LinearModel,
    known: Labels,
    wordings: Sequence[str],
    petitions: Sequence[Petition],
    labels: Labels,
    path: Path,
    seed: int,
) -> None:
    """Write `path`: labels that `served` knows keep their weights, new ones are learnt on its features.

    Args:
        known: label order of `served`.
    """
    matrix = make_union(*_served_features(served)).transform(wordings)
    ends = np.cumsum([0, *served.sizes.values()]).tolist()
    begin = dict(zip(served.sizes, ends, strict=False))
    weights, scales, intercepts = [], [], []
    for head, ids in labels.items():
        for label in ids:
            if label in known[head]:
                column = begin[head] + list(known[head]).index(label)
                weight, scale = served.weights[:, [column]], served.scales[[column]]
                intercept = served.intercepts[column]
            else:
                row = _one(matrix, petitions, head, label, len(ids), seed)
                weight, scale = _in_int8(row[:-1, None])
                intercept = row[-1]
            weights.append(weight)
            scales.append(scale)
            intercepts.append(intercept)
    _write(
        path,
        labels,
        words=_joined(list(served.words)),
        letters=_joined(list(served.letters)),
        idf=served.idf.astype(np.float16),
        weights=np.concatenate(weights, axis=1),
        scales=np.concatenate(scales),
        intercepts=np.array(intercepts, np.float32),
    )


def _served_features(served: LinearModel) -> tuple[TfidfVectorizer, TfidfVectorizer]:
    words, letters = features()
    words.set_params(vocabulary=list(served.words))
    letters.set_params(vocabulary=list(served.letters))
    words.idf_, letters.idf_ = np.split(served.idf.astype(np.float64), [len(served.words)])
    return words, letters


def _head(matrix: csr_matrix, petitions: Sequence[Petition], head: str, ids: Sequence[str], seed: int) -> Doubles:
    """(labels, features + 1), the intercept last."""
    truth = [ids.index(petition.label(head)) for petition in petitions]
    model = LinearSVC(C=C, class_weight="balanced", random_state=seed).fit(matrix, truth)
    found = np.column_stack([model.coef_, model.intercept_])
    columns = np.zeros((len(ids), found.shape[1]))
    columns[:, -1] = NEVER_SEEN
    # With two classes there is one row, the second class's.
    columns[model.classes_] = found if len(model.classes_) > 2 else np.concatenate([-found, found])
    return columns


def _one(matrix: csr_matrix, petitions: Sequence[Petition], head: str, label: str, labels: int, seed: int) -> Doubles:
    """(features + 1,) of one label, as `_head` would learn it: there too each label is told from all others by itself."""
    truth = np.array([petition.label(head) == label for petition in petitions])
    if not truth.any():
        return np.append(np.zeros(matrix.shape[1]), NEVER_SEEN)
    # What "balanced" means in LinearSVC: it makes a label's own petitions heavier, and leaves the others.
    own = len(petitions) / (labels * truth.sum())
    model = LinearSVC(C=C, class_weight={True: own, False: 1.0}, random_state=seed).fit(matrix, truth)
    return np.append(model.coef_[0], model.intercept_)


def _in_int8(columns: Doubles) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """(features, classes) in int8, and the scales (classes,) that they are to be multiplied by."""
    scales = np.maximum(np.abs(columns).max(axis=0), 1e-9) / 127
    return np.round(columns / scales).astype(np.int8), scales.astype(np.float32)


def _write(path: Path, labels: Labels, **arrays: Any) -> None:
    sizes = np.array([len(ids) for ids in labels.values()])
    scratch = path.with_suffix(".tmp")
    with scratch.open("wb") as stream:
        np.savez_compressed(stream, heads=_joined(list(labels)), sizes=sizes, **arrays)
    scratch.rename(path)


def _joined(names: Sequence[str]) -> np.ndarray:
    return np.frombuffer("\n".join(names).encode("utf-8"), np.uint8)
