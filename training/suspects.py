"""Labels that are probably wrong, by confident learning (Northcutt, Jiang and Chuang 2021) on out-of-sample probabilities.

A label is likely wrong if the model, which has not seen it, is as sure of another class as it usually is of that class's own
members. Written here: the method is a few lines of numpy, the library for it (cleanlab) brings pandas.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_union
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.taxonomy import Taxonomy
from nlp_service.text import normalise
from training.data import Petition, read_origins, read_petitions
from training.linear import features

Floats = npt.NDArray[np.float64]

FOLDS = 5

_UNSEEN = -2.0
"""Margin of a class that a fold has no petition of."""


@dataclass(frozen=True)
class Labelled:
    """Petitions with who labelled each (empty if nobody knows), and the classes of every head."""

    petitions: list[Petition]
    annotators: list[str]
    classes: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.petitions)

    def given(self, head: str) -> npt.NDArray[np.int64]:
        """(petitions,) numbers of the labels given."""
        place = {label: number for number, label in enumerate(self.classes[head])}
        return np.array([place[petition.label(head)] for petition in self.petitions], np.int64)


@dataclass(frozen=True)
class Suspect:
    """A label in doubt.

    Attributes:
        suggested: what the model would have said.
        score: 0 to 1, how doubtful: the probability that the model leaves to all other labels.
        likely: confident learning counts it as wrong.
    """

    id: str
    given: str
    suggested: str
    score: float
    likely: bool
    annotator: str


def read_labelled(path: Path, taxonomy: Taxonomy) -> Labelled:
    """Of a JSONL file, or of train.jsonl in a directory. Raises ValueError as `read_petitions` does."""
    file = path / "train.jsonl" if path.is_dir() else path
    petitions = read_petitions(file, taxonomy)
    annotators = [str(origin.get("annotator") or "") for origin in read_origins(file)]
    classes = {
        head: [label.id for label in labels if any(p.label(head) == label.id for p in petitions)]
        for head, labels in taxonomy.heads.items()
    }
    return Labelled(petitions, annotators, classes)


def out_of_sample(labelled: Labelled, head: str, model: Path | None = None, seed: int = 13) -> Floats:
    """(petitions, classes) probabilities by models that have seen neither the petition nor another of its group.

    Args:
        model: read by its embeddings; None reads by TF-IDF. The embeddings of a model that was trained on these very labels
            know a little of them.

    Raises:
        PetitionError: INVALID_REQUEST for an unknown head, fewer than five groups, or a single class.
    """
    if head not in labelled.classes:
        raise PetitionError(ErrorKind.INVALID_REQUEST, f"'{head}' is no head; use {', '.join(labelled.classes)}")
    groups = [petition.group for petition in labelled.petitions]
    count = len(labelled.classes[head])
    if len(set(groups)) < FOLDS or count < 2:
        raise PetitionError(
            ErrorKind.INVALID_REQUEST,
            f"{len(set(groups))} groups with {count} labels; suspects need {FOLDS} groups and two labels at least",
        )
    given = labelled.given(head)
    texts = [normalise(petition.text) for petition in labelled.petitions]
    vectors = make_union(*features()).fit_transform(texts) if model is None else embeddings(texts, model)
    margins = np.full((len(texts), count), _UNSEEN)
    for train, rest in GroupKFold(FOLDS, shuffle=True, random_state=seed).split(texts, given, groups):
        seen = np.unique(given[train])
        if len(seen) < 2:
            continue
        # The baseline's model: a logistic regression on as many features takes minutes a fold.
        found = LinearSVC(C=0.5, random_state=seed).fit(vectors[train], given[train]).decision_function(vectors[rest])
        margins[np.ix_(rest, seen)] = found if len(seen) > 2 else np.stack([-found, found], axis=1)
    return _probabilities(margins, given)


def find_suspects(labelled: Labelled, head: str, probabilities: Floats) -> list[Suspect]:
    """Every label, the most doubtful first."""
    given = labelled.given(head)
    scores, suggested, likely = confident_learning(given, probabilities)
    classes = labelled.classes[head]
    return [
        Suspect(
            labelled.petitions[i].id,
            classes[given[i]],
            classes[suggested[i]],
            round(float(scores[i]), 4),
            bool(likely[i]),
            labelled.annotators[i],
        )
        for i in np.argsort(-scores, kind="stable")
    ]


def confident_learning(
    given: npt.NDArray[np.int64], probabilities: Floats
) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(petitions,) scores, suggested labels, and whether the label falls off the diagonal of the confident joint."""
    rows = np.arange(len(given))
    # How sure the model is of a class where that class was given: rare and vague ones have a lower bar.
    usual = np.array(
        [
            probabilities[given == label, label].mean() if (given == label).any() else 1.0
            for label in range(probabilities.shape[1])
        ]
    )
    confident = np.where(probabilities >= usual, probabilities, 0.0)
    best = confident.argmax(axis=1)
    likely = (confident.max(axis=1) > 0) & (best != given)
    others = probabilities.copy()
    others[rows, given] = -1
    suggested = np.where(likely, best, others.argmax(axis=1))
    # Of flipped labels, this finds more in its first tenth than margins do, adjusted by class or not.
    scores: Floats = 1 - probabilities[rows, given]
    return scores, suggested.astype(np.int64), likely


def write_suspects(path: Path, suspects: Sequence[Suspect]) -> None:
    """CSV, or JSONL by the ending. Raises PetitionError INVALID_FILE for another one."""
    if path.suffix not in (".csv", ".jsonl"):
        raise PetitionError(ErrorKind.INVALID_FILE, f"{path} has the ending '{path.suffix}'; use .csv or .jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        if path.suffix == ".jsonl":
            stream.writelines(json.dumps(asdict(suspect)) + "\n" for suspect in suspects)
        else:
            writer = csv.DictWriter(stream, [field.name for field in fields(Suspect)])
            writer.writeheader()
            writer.writerows(asdict(suspect) for suspect in suspects)


def embeddings(texts: Sequence[str], model: Path) -> Floats:
    """(texts, hidden) of length 1 by the model in a directory; zeros for a text without a word, which it cannot read."""
    from nlp_service.pipeline import PetitionClassifier

    classifier = PetitionClassifier.load(model)
    rows: list[npt.NDArray[np.float32] | None] = []
    for start in range(0, len(texts), 64):
        reads = classifier.read_many(texts[start : start + 64])
        rows += [None if isinstance(read, PetitionError) else read.embedding for read in reads]
    width = next((len(row) for row in rows if row is not None), 1)
    stacked = np.stack([np.zeros(width) if row is None else row.astype(np.float64) for row in rows])
    result: Floats = normalize(stacked)
    return result


def _probabilities(margins: Floats, given: npt.NDArray[np.int64]) -> Floats:
    """Of margins, by the one temperature under which the labels given are likeliest."""
    rows = np.arange(len(given))
    tried = [softmax(margins * scale, axis=1) for scale in np.geomspace(0.5, 16, 21)]
    best: Floats = max(tried, key=lambda p: float(np.log(p[rows, given] + 1e-12).mean()))
    return best
