from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_service.bundle import Bundle, load_bundle
from nlp_service.decision import Decision, decide, pool_windows, softmax
from tests.nlp_service.conftest import WriteModel


@pytest.fixture
def bundle(write_model: WriteModel) -> Bundle:
    return load_bundle(write_model())


def answer(bundle: Bundle, **probabilities: dict[str, float]) -> Decision:
    """A decision from probabilities; what is not named shares the rest of its head."""
    logits = {}
    for head, spec in bundle.manifest.heads.items():
        given_ = probabilities.get(head, {spec.labels[0]: 0.97})
        rest = (1 - sum(given_.values())) / (len(spec.labels) - len(given_))
        logits[head] = np.log(np.array([given_.get(label, rest) for label in spec.labels], dtype=np.float32))
    return decide(logits, bundle.manifest, bundle.taxonomy)


def codes(decision: Decision) -> list[str]:
    return [reason.code for reason in decision.reasons]


CALM: dict[str, Any] = {"urgency": {"normal": 0.95}, "petition_type": {"feedback": 0.95}}


def test_a_sure_category_is_routed(bundle: Bundle) -> None:
    decision = answer(bundle, category={"land_administration": 0.9}, **CALM)
    assert (decision.decision, codes(decision)) == ("auto", ["confident"])
    assert decision.category.probability == pytest.approx(0.9, abs=1e-3)
    assert decision.category.name.startswith("Đất đai")


def test_a_doubtful_category_is_suggested_with_candidates_in_order(bundle: Bundle) -> None:
    decision = answer(
        bundle, category={"land_administration": 0.5, "judicial_civil_disputes": 0.2, "other": 0.1}, **CALM
    )
    assert (decision.decision, codes(decision)) == ("suggest", ["choose_candidate"])
    assert [a.id for a in decision.alternatives[:2]] == ["judicial_civil_disputes", "other"]
    assert len(decision.alternatives) == 3


def test_a_person_reads_what_no_three_categories_explain(bundle: Bundle) -> None:
    decision = answer(bundle, category={"land_administration": 0.3}, **CALM)
    assert (decision.decision, codes(decision)) == ("human", ["category_unclear"])


def test_other_always_meets_a_person(bundle: Bundle) -> None:
    decision = answer(bundle, category={"other": 0.99}, **CALM)
    assert (decision.decision, codes(decision)) == ("human", ["category_other"])


@pytest.mark.parametrize("kind", ["complaint", "denunciation"])
def test_a_possible_complaint_or_denunciation_meets_a_person(bundle: Bundle, kind: str) -> None:
    sure = {"land_administration": 0.95}
    doubt = answer(bundle, category=sure, urgency={"normal": 0.95}, petition_type={"feedback": 0.7, kind: 0.22})
    assert (doubt.decision, codes(doubt)) == ("human", ["legal_doubt"])
    none = answer(bundle, category=sure, urgency={"normal": 0.95}, petition_type={"feedback": 0.7, kind: 0.18})
    assert none.decision == "auto"
    plain = answer(bundle, category=sure, urgency={"normal": 0.95}, petition_type={kind: 0.9})
    assert plain.decision == "auto"


def test_an_emergency_is_raised_at_its_threshold_and_whatever_the_category_says(bundle: Bundle) -> None:
    unsure = {"land_administration": 0.3}
    raised = answer(bundle, category=unsure, urgency={"normal": 0.7, "emergency": 0.21})
    assert raised.urgency.id == "emergency"
    assert raised.urgency.probability == pytest.approx(0.21, abs=1e-3)
    assert codes(raised)[0] == "emergency"
    calm = answer(bundle, category=unsure, urgency={"normal": 0.7, "emergency": 0.19})
    assert calm.urgency.id == "normal"


def test_the_likeliest_level_stands_even_under_the_threshold(write_model: WriteModel) -> None:
    strict = {"auto": 0.8, "suggest": 0.6, "emergency": 0.5, "legal_doubt": 0.2}
    bundle = load_bundle(write_model(thresholds=strict))
    assert answer(bundle, urgency={"emergency": 0.45, "urgent": 0.3}).urgency.id == "emergency"


@given(st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=21), st.floats(0.2, 10))
def test_softmax_sums_to_one_and_temperature_keeps_the_order(values: list[float], temperature: float) -> None:
    logits = np.array(values, dtype=np.float32)
    p = softmax(logits, temperature)
    assert p.sum() == pytest.approx(1, abs=1e-5)
    order = np.argsort(-logits, kind="stable")
    assert all(np.diff(p[order]) <= 1e-7)


def test_windows_are_averaged() -> None:
    assert pool_windows(np.array([[1.0, 3.0], [3.0, 5.0]], dtype=np.float32)).tolist() == [2.0, 4.0]
