import numpy as np

from nlp_service.taxonomy import Taxonomy
from tests.training.conftest import make_petitions
from training.baseline import Baseline


def test_baseline_learns_simple_stories(taxonomy: Taxonomy) -> None:
    heads = {head: tuple(label.id for label in labels) for head, labels in taxonomy.heads.items()}
    train, test = make_petitions(96), make_petitions(24, 96)
    scores = Baseline(train, heads).scores([petition.text for petition in test])
    seen = {petition.category for petition in train}
    for head, ids in heads.items():
        assert scores[head].shape == (24, len(ids))
        assert [ids[i] for i in scores[head].argmax(axis=1)] == [petition.label(head) for petition in test]
    unseen = [i for i, category in enumerate(heads["category"]) if category not in seen]
    known = [i for i, category in enumerate(heads["category"]) if category in seen]
    assert scores["category"][:, unseen].max() < scores["category"][:, known].min()


def test_baseline_of_two_classes_gives_both_a_score(taxonomy: Taxonomy) -> None:
    train = [petition for petition in make_petitions(60) if petition.urgency in ("emergency", "low")]
    ids = ("emergency", "urgent", "normal", "low")
    scores = Baseline(train, {"urgency": ids}).scores([petition.text for petition in train[:8]])["urgency"]
    assert [ids[i] for i in scores.argmax(axis=1)] == [petition.urgency for petition in train[:8]]
    assert np.isfinite(scores).all()
