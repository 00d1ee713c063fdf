import dataclasses
import random
import unicodedata
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from nlp_service.decision import Decision, Scored
from nlp_service.live import wilson
from nlp_service.pipeline import PetitionClassifier
from tests.training.conftest import make_petitions
from training.baseline import Baseline
from training.data import Petition
from training.evaluate import VARIANTS, category_scores, curve, evaluate, head_scores, macro_f1, rate, set_scores

LABELS = ("transport_infrastructure", "environment_resources", "other", "land_administration")


def _petition(category: str, *accept: str, urgency: str = "normal", petition_type: str = "feedback") -> Petition:
    return Petition("p", "Đường hỏng", category, urgency, petition_type, accept=accept)


@pytest.fixture(scope="module")
def petitions() -> list[Petition]:
    return make_petitions(24, 138)


@pytest.fixture(scope="module")
def report(classifier: PetitionClassifier, petitions: list[Petition]) -> dict[str, Any]:
    labels = {head: spec.labels for head, spec in classifier.bundle.manifest.heads.items()}
    return evaluate(classifier, petitions, Baseline(make_petitions(96), labels))


def test_every_accepted_category_counts_as_right() -> None:
    probabilities = np.array(
        [[0.7, 0.2, 0.06, 0.04], [0.7, 0.2, 0.06, 0.04], [0.7, 0.2, 0.06, 0.04], [0.1, 0.2, 0.3, 0.4]], dtype=np.float32
    )
    petitions = [
        _petition("environment_resources", "environment_resources", "transport_infrastructure"),  # right by accept
        _petition("environment_resources"),  # second
        _petition("land_administration"),  # fourth
        _petition("land_administration"),
    ]
    scores = category_scores(probabilities, petitions, LABELS)
    assert (scores["top1"]["hits"], scores["top1"]["count"], scores["top1"]["value"]) == (2, 4, 0.5)
    assert (scores["top3"]["hits"], scores["top3"]["count"]) == (3, 4)
    # An accepted answer is no confusion: it stands on the diagonal of what was answered.
    assert scores["confusion"] == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]]
    assert scores["classes"]["land_administration"] == {"precision": 1.0, "recall": 0.5, "f1": 0.6667, "count": 2}
    # Bin of 0.7 (three times, one right) and of 0.4 (once, right).
    assert scores["ece"] == pytest.approx(0.75 * (0.7 - 1 / 3) + 0.25 * 0.6, abs=1e-3)


def test_accept_alone_decides_where_it_is_given() -> None:
    # A label that is not among the accepted ones is an annotation mistake that no model should be paid for.
    probabilities = np.array([[0.9, 0.1, 0, 0]], dtype=np.float32)
    scores = category_scores(probabilities, [_petition("transport_infrastructure", "other")], LABELS)
    assert scores["top1"]["hits"] == 0


def _decision(probability: float, *others: str, category: str = "other", zone: str = "suggest") -> Decision:
    """A decision whose set holds its category and `others`."""
    best = Scored(category, category, probability)
    calm = Scored("low", "low", 1)
    plausible = (best, *(Scored(name, name, 0.1) for name in others))
    return Decision(best, (), calm, calm, zone, (), plausible)


def test_the_curve_says_what_other_thresholds_would_route() -> None:
    decisions = [_decision(0.9), _decision(0.8), _decision(0.99, zone="human"), _decision(0.8), _decision(0.5)]
    assert curve(decisions, [True, True, False, False, False]) == [
        {"threshold": 0.9, "share": 0.2, "precision": 1.0, "count": 1},
        {"threshold": 0.8, "share": 0.6, "precision": 0.6667, "count": 3},
        {"threshold": 0.5, "share": 0.8, "precision": 0.5, "count": 4},
    ]
    assert curve([_decision(0.9, zone="human")], [True]) == []


def test_a_long_curve_has_fifty_points_from_one_petition_to_all() -> None:
    generator = np.random.default_rng(1)
    decisions = [_decision(round(float(p), 4)) for p in generator.random(2_000)]
    points = curve(decisions, list(generator.random(2_000) < 0.9))
    assert len(points) == 50
    assert (points[0]["count"], points[-1]["count"], points[-1]["share"]) == (1, 2_000, 1.0)
    steps = np.diff([point["share"] for point in points])
    assert steps.min() > 0.015 and steps.max() < 0.025


def test_a_set_covers_a_petition_by_any_accepted_category() -> None:
    decisions = [
        _decision(0.9),
        _decision(0.5, "land_administration"),
        _decision(0.4, "environment_resources", "land_administration"),
        _decision(0.9),
    ]
    petitions = [
        _petition("other"),
        _petition("transport_infrastructure", "transport_infrastructure", "land_administration"),
        _petition("transport_infrastructure"),
        _petition("environment_resources"),
    ]
    scores = set_scores(decisions, petitions, LABELS)
    assert scores["coverage"] == rate(2, 4)
    assert (scores["mean_size"], scores["singletons"]) == (1.75, rate(2, 4))
    assert scores["sizes"] == {"1": 2, "2": 1, "3": 1}
    assert scores["classes"] == {
        "transport_infrastructure": rate(1, 2),
        "environment_resources": rate(0, 1),
        "other": rate(1, 1),
        "land_administration": rate(0, 0),
    }


def test_rates_carry_count_and_interval() -> None:
    assert rate(8, 10) == {"value": 0.8, "hits": 8, "count": 10, "interval": [0.4902, 0.9433]}
    assert rate(0, 0) == {"value": None, "hits": 0, "count": 0, "interval": [0.0, 1.0]}


def test_macro_f1_is_over_the_classes_that_occur() -> None:
    truth, guess = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 3])
    assert macro_f1(guess, truth) == pytest.approx((1 + 2 / 3) / 2)
    assert macro_f1(truth, truth) == 1
    generator = np.random.default_rng(1)
    for _ in range(20):
        truth, guess = generator.integers(0, 9, 40), generator.integers(0, 12, 40)
        expected = f1_score(truth, guess, average="macro", labels=np.unique(truth), zero_division=0)
        assert macro_f1(guess, truth) == pytest.approx(expected)


def test_recommendation_and_feedback_are_one_in_law() -> None:
    ids = ("complaint", "denunciation", "recommendation", "feedback", "other")
    probabilities = np.eye(5, dtype=np.float32)[[2, 3, 0, 4]]
    petitions = [
        _petition("other", petition_type=kind) for kind in ("feedback", "recommendation", "complaint", "other")
    ]
    scores = head_scores(probabilities, petitions, "petition_type", ids)
    assert scores["accuracy"]["value"] == 0.5
    assert scores["macro_f1"]["value"] == 0.5
    assert scores["macro_f1_legal_types"]["value"] == 1.0
    assert scores["macro_f1_legal_types"]["classes"] == 3
    assert "macro_f1_legal_types" not in head_scores(
        np.eye(4, dtype=np.float32), [_petition("other", urgency="low")] * 4, "urgency", ("a", "b", "c", "low")
    )


def test_variants_change_the_writing_and_nothing_else() -> None:
    text = "Đường liên thôn hỏng nặng, đề nghị xã Hoằng Châu sửa chữa trước mùa mưa bão."
    assert VARIANTS["without_diacritics"](text).isascii()
    assert unicodedata.normalize("NFC", VARIANTS["decomposed_unicode"](text)) == text
    assert VARIANTS["decomposed_unicode"](text) != text
    assert VARIANTS["capitals"](text).isupper()
    assert VARIANTS["lower_case"](text) == text.lower()
    random.seed(1)
    first = VARIANTS["typing_slips"](text)
    random.seed(2)
    assert VARIANTS["typing_slips"](text) == first != text, "the same slips in every run"


def _rates(value: Any) -> list[dict[str, Any]]:
    """Every rate anywhere in a report."""
    if not isinstance(value, dict):
        return []
    found = [value] if "hits" in value else []
    return found + [rate for part in value.values() for rate in _rates(part)]


def test_report_is_what_the_service_would_answer(
    classifier: PetitionClassifier, petitions: list[Petition], report: dict[str, Any]
) -> None:
    answers = [classifier.classify(petition.text).decision for petition in petitions]
    assert report["count"] == 24
    pairs = list(zip(answers, petitions, strict=True))
    assert report["category"]["top1"]["hits"] == sum(a.category.id == p.category for a, p in pairs)
    assert report["urgency"]["accuracy"]["count"] == 24
    called = [a.urgency.id == "emergency" for a in answers]
    real = [p.urgency == "emergency" for p in petitions]
    both = sum(a and b for a, b in zip(called, real, strict=True))
    assert report["emergency"]["recall"] == rate(both, sum(real))
    assert report["emergency"]["precision"] == rate(both, sum(called))
    assert sum(zone["share"]["hits"] for zone in report["zones"].values()) == 24
    for name, zone in report["zones"].items():
        inside = [a.category.id == p.category for a, p in pairs if a.decision == name]
        assert zone == {"share": rate(len(inside), 24), "top1": rate(sum(inside), len(inside))}
    routed = [point for point in report["curve"]["points"] if point["threshold"] >= report["curve"]["threshold"]]
    assert routed[-1]["count"] <= report["zones"]["auto"]["share"]["hits"]
    manifest = classifier.bundle.manifest
    assert report["curve"]["stated"] == manifest.thresholds.auto_precision
    inside = [p.category in {scored.id for scored in a.prediction_set} for a, p in pairs]
    assert report["prediction_sets"]["coverage"] == rate(sum(inside), 24)
    assert report["prediction_sets"]["stated"] == manifest.prediction_sets["category"].coverage
    assert report["variants"].keys() == VARIANTS.keys()
    assert report["variants"]["decomposed_unicode"] == report["category"]["top1"]
    letters = [(a, p) for a, p in pairs if p.register == "short_letter"]
    assert report["registers"]["short_letter"] == rate(
        sum(a.category.id == p.category for a, p in letters), len(letters)
    )
    assert report["registers"].keys() == {"short_letter", "portal_report"}


def test_every_rate_of_the_report_can_be_weighed(report: dict[str, Any]) -> None:
    rates = _rates(report)
    assert len(rates) > 20
    for found in rates:
        assert found["interval"] == pytest.approx(wilson(found["hits"], found["count"]), abs=1e-4)
        assert found["value"] == (round(found["hits"] / found["count"], 4) if found["count"] else None)
    for head in ("category", "urgency", "petition_type"):
        f1 = report[head]["macro_f1"]
        low, high = f1["interval"]
        assert low <= f1["value"] <= high
        assert f1["count"] == 24
        assert sum(scores["count"] for scores in report[head]["classes"].values()) == 24
        assert sum(point["count"] for point in report[head]["reliability"]) == 24


def test_baseline_stands_beside_the_model(report: dict[str, Any]) -> None:
    assert report["baseline"]["category"]["top1"]["value"] == 1.0, "simple stories are easy for TF-IDF"
    assert report["baseline"]["urgency"]["accuracy"]["count"] == 24
    assert report["baseline"]["without_diacritics"]["count"] == 24


def test_accept_sets_of_the_service(classifier: PetitionClassifier, petitions: list[Petition]) -> None:
    everything = tuple(label for label in classifier.bundle.manifest.heads["category"].labels)
    lenient = [dataclasses.replace(petition, accept=everything) for petition in petitions]
    scores = evaluate(classifier, lenient)
    assert scores["category"]["top1"]["value"] == 1.0
    assert {zone["top1"]["value"] for zone in scores["zones"].values()} <= {1.0, None}
    assert "baseline" not in scores
