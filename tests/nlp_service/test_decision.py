from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_service.bundle import Bundle, Head, Manifest, PredictionSets, Thresholds, load_bundle
from nlp_service.decision import Decision, decide, pool_windows, seen_first, softmax
from nlp_service.emergency import Sign
from nlp_service.taxonomy import EMERGENCY, Taxonomy
from tests.nlp_service.conftest import Floats, WriteModel


@pytest.fixture
def bundle(write_model: WriteModel) -> Bundle:
    return load_bundle(write_model())


def answer(bundle: Bundle, sign: Sign | None = None, **probabilities: dict[str, float]) -> Decision:
    """A decision from probabilities; what is not named shares the rest of its head."""
    logits = {}
    for head, spec in bundle.manifest.heads.items():
        given_ = probabilities.get(head, {spec.labels[0]: 0.97})
        rest = (1 - sum(given_.values())) / (len(spec.labels) - len(given_))
        logits[head] = np.log(np.array([given_.get(label, rest) for label in spec.labels], dtype=np.float32))
    return decide(logits, bundle.manifest, bundle.taxonomy, sign)


def codes(decision: Decision) -> list[str]:
    return [reason.code for reason in decision.reasons]


CALM: dict[str, Any] = {"urgency": {"normal": 0.95}, "petition_type": {"feedback": 0.95}}


def test_a_sure_category_is_routed(bundle: Bundle) -> None:
    decision = answer(bundle, category={"land_administration": 0.9}, **CALM)
    assert (decision.decision, codes(decision)) == ("auto", ["confident"])
    assert decision.category.probability == pytest.approx(0.9, abs=1e-3)
    assert decision.category.name.startswith("Đất đai")


def test_where_a_person_sees_all_first_a_sure_category_is_suggested_and_nothing_else_changes(bundle: Bundle) -> None:
    sure = answer(bundle, category={"land_administration": 0.9}, **CALM)
    seen = seen_first(sure)
    assert (seen.decision, codes(seen)) == ("suggest", ["seen_first"])
    assert replace(seen, decision="auto", reasons=sure.reasons) == sure
    alarm = answer(bundle, category={"land_administration": 0.9}, urgency={"emergency": 0.9})
    assert codes(seen_first(alarm)) == ["emergency", "seen_first"]
    doubtful = answer(bundle, category={"land_administration": 0.5}, **CALM)
    assert seen_first(doubtful) == doubtful


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


@pytest.fixture
def with_sets(write_model: WriteModel) -> Bundle:
    sets = {"category": {"coverage": 0.95, "kind": "marginal", "threshold": 0.1}}
    return load_bundle(write_model(prediction_sets=sets))


def test_a_set_holds_every_plausible_category_in_order(with_sets: Bundle) -> None:
    chances = {
        "land_administration": 0.3,
        "other": 0.1,
        "judicial_civil_disputes": 0.25,
        "official_conduct": 0.15,
        "agriculture_rural": 0.11,
        "education_training": 0.0899,
    }
    found = answer(with_sets, category=chances, **CALM).prediction_set
    assert [scored.id for scored in found] == [
        "land_administration",
        "judicial_civil_disputes",
        "official_conduct",
        "agriculture_rural",
        "other",
    ]
    assert found[1].probability == pytest.approx(0.25, abs=1e-3)
    assert found[1].name.startswith("Tư pháp")


def test_a_set_of_a_sure_petition_is_its_category(with_sets: Bundle) -> None:
    decision = answer(with_sets, category={"land_administration": 0.9, "other": 0.0999}, **CALM)
    assert decision.prediction_set == (decision.category,)


def test_no_set_is_empty_even_if_nothing_is_plausible(with_sets: Bundle) -> None:
    decision = answer(with_sets, category={"land_administration": 0.09}, **CALM)
    assert decision.prediction_set == (decision.category,)


def test_a_model_that_states_no_coverage_shows_no_set(bundle: Bundle) -> None:
    assert answer(bundle, category={"land_administration": 0.5}, **CALM).prediction_set == ()


SIGN = Sign("trapped", "người mắc kẹt giữa nước lũ", ())


def test_the_lexicon_raises_the_alarm_where_the_model_does_not(bundle: Bundle) -> None:
    decision = answer(bundle, SIGN, category={"disaster_fire_rescue": 0.9}, **CALM)
    assert decision.urgency.id == EMERGENCY
    assert decision.urgency.probability < 0.1, "the model's own doubt is shown"
    assert codes(decision) == ["emergency_sign", "confident"]
    assert "mắc kẹt giữa nước lũ" in decision.reasons[0].message


def test_the_alarm_is_told_once(bundle: Bundle) -> None:
    decision = answer(bundle, SIGN, urgency={EMERGENCY: 0.9}, petition_type={"feedback": 0.95})
    assert codes(decision).count("emergency") == 1
    assert "emergency_sign" not in codes(decision)


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


def rows(bundle: Bundle, values: list[float]) -> dict[str, Floats]:
    """Logits of every head, taken from `values` in turn."""
    heads = bundle.manifest.heads
    return {head: np.resize(np.array(values, dtype=np.float32), len(spec.labels)) for head, spec in heads.items()}


logits = st.lists(st.floats(-20, 20, width=32), min_size=21, max_size=21)
probability = st.floats(0, 1)


@given(logits, st.floats(0.3, 5), probability, probability, probability, probability, probability)
def test_a_decision_holds_together_whatever_the_network_says(
    shared: Bundle,
    values: list[float],
    temperature: float,
    auto: float,
    suggest: float,
    emergency: float,
    doubt: float,
    kept: float,
) -> None:
    thresholds = Thresholds(auto=auto, suggest=suggest, emergency=emergency, legal_doubt=doubt)
    heads = {name: replace_temperature(head, temperature) for name, head in shared.manifest.heads.items()}
    sets = {"category": PredictionSets(coverage=0.9, kind="marginal", threshold=kept)}
    manifest = shared.manifest.model_copy(update={"thresholds": thresholds, "heads": heads, "prediction_sets": sets})
    bundle = shared.model_copy(update={"manifest": manifest})
    decision = decide(rows(bundle, values), manifest, bundle.taxonomy)
    shown = [decision.category, *decision.alternatives]
    assert len(decision.alternatives) == 3 and len({scored.id for scored in shown}) == 4
    assert [scored.probability for scored in shown] == sorted((s.probability for s in shown), reverse=True)
    for scored in (*shown, decision.urgency, decision.petition_type):
        assert 0 <= scored.probability <= 1 and scored.probability == round(scored.probability, 4)
    assert sum(scored.probability for scored in shown) <= 1.0002
    plausible = decision.prediction_set
    kept_alternatives = [scored for scored in decision.alternatives if scored.probability >= kept]
    assert list(plausible[: len(shown)]) == [decision.category, *kept_alternatives]
    assert all(scored.probability >= kept for scored in plausible[1:])
    assert decision.decision in {"auto", "suggest", "human"}
    told = codes(decision)
    assert ("emergency" in told) == (decision.urgency.id == EMERGENCY)
    assert ({"category_other", "category_unclear", "legal_doubt"} & set(told) != set()) == (
        decision.decision == "human"
    )
    assert ("confident" in told, "choose_candidate" in told) == (
        decision.decision == "auto",
        decision.decision == "suggest",
    )
    if decision.decision == "auto":
        assert decision.category.probability >= auto and decision.category.id != "other"
    if decision.urgency.id != EMERGENCY:
        chance = softmax(rows(bundle, values)["urgency"], temperature)[list(heads["urgency"].labels).index(EMERGENCY)]
        assert round(float(chance), 4) < emergency


def replace_temperature(head: Head, temperature: float) -> Head:
    return head.model_copy(update={"temperature": temperature})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, taxonomy: Taxonomy) -> Bundle:
    heads = {name: Head(labels=tuple(x.id for x in labels), temperature=1) for name, labels in taxonomy.heads.items()}
    manifest = Manifest(
        format=1, version="x", created="", encoder={}, trained_on={}, text_version="1", segmenter="", taxonomy_version="1",
        taxonomy_sha256="", window=256, window_overlap=64, heads=heads, files={}, scores={},
        thresholds=Thresholds(auto=0.8, suggest=0.6, emergency=0.2, legal_doubt=0.2),
    )  # fmt: skip
    return Bundle(directory=tmp_path_factory.getbasetemp(), manifest=manifest, taxonomy=taxonomy)


@given(st.permutations(range(21)), st.floats(0.2, 5), st.floats(1.1, 5))
def test_a_temperature_changes_how_sure_and_not_what(
    shared: Bundle, order: list[int], temperature: float, warmer: float
) -> None:
    values = rows(shared, [place / 3 for place in order])

    def decided(temperature: float) -> Decision:
        heads = {name: replace_temperature(head, temperature) for name, head in shared.manifest.heads.items()}
        return decide(values, shared.manifest.model_copy(update={"heads": heads}), shared.taxonomy)

    cool, warm = decided(temperature), decided(temperature * warmer)
    assert [x.id for x in (cool.category, *cool.alternatives)] == [x.id for x in (warm.category, *warm.alternatives)]
    assert cool.petition_type.id == warm.petition_type.id
    assert cool.category.probability > warm.category.probability


@given(st.permutations(range(21)), st.randoms(use_true_random=False))
def test_the_network_s_label_order_makes_no_difference(shared: Bundle, places: list[int], random: Random) -> None:
    values = rows(shared, [place / 3 for place in places])
    expected = decide(values, shared.manifest, shared.taxonomy)
    shuffled, heads = {}, {}
    for name, head in shared.manifest.heads.items():
        order = random.sample(range(len(head.labels)), len(head.labels))
        shuffled[name] = values[name][order]
        heads[name] = head.model_copy(update={"labels": tuple(head.labels[i] for i in order)})
    manifest = shared.manifest.model_copy(update={"heads": heads})
    assert decide(shuffled, manifest, shared.taxonomy) == expected


@given(st.lists(st.floats(-3e4, 3e4, width=32), min_size=2, max_size=30), st.floats(0.05, 20))
def test_softmax_stands_logits_of_any_size(values: list[float], temperature: float) -> None:
    row = np.array([values, values[::-1]], dtype=np.float32)
    before = row.copy()
    p = softmax(row, temperature)
    assert p.dtype == np.float32 and np.isfinite(p).all()
    assert p.sum(axis=-1) == pytest.approx([1, 1], abs=1e-5)
    assert np.array_equal(row, before)


@pytest.mark.parametrize(
    ("best", "zone"), [(0.8, "auto"), (0.7999, "suggest"), (0.85, "auto"), (0.75, "suggest"), (0.55, "suggest")]
)
def test_the_zone_turns_exactly_at_its_threshold(bundle: Bundle, best: float, zone: str) -> None:
    assert answer(bundle, category={"land_administration": best, "other": 0.1}, **CALM).decision == zone


@pytest.mark.parametrize(("third", "zone"), [(0.1, "suggest"), (0.0999, "human")])
def test_three_candidates_have_to_explain_enough(bundle: Bundle, third: float, zone: str) -> None:
    three = {"land_administration": 0.4, "official_conduct": 0.1, "education_training": third}
    assert answer(bundle, category=three, **CALM).decision == zone


@pytest.mark.parametrize(("chance", "level"), [(0.2, "emergency"), (0.19996, "emergency"), (0.1999, "normal")])
def test_what_is_compared_is_what_is_shown(bundle: Bundle, chance: float, level: str) -> None:
    # Four decimals, rounded before the comparison: an answer never shows 0.2 beside a threshold of 0.2 and says no.
    decision = answer(bundle, urgency={"normal": 0.7, "emergency": chance})
    assert decision.urgency.id == level
    if level == "emergency":
        assert decision.urgency.probability == 0.2


def test_an_emergency_with_a_sure_category_is_routed_and_raised(bundle: Bundle) -> None:
    decision = answer(
        bundle, category={"disaster_fire_rescue": 0.95}, urgency={"emergency": 0.9}, petition_type={"feedback": 0.95}
    )
    assert (decision.decision, codes(decision)) == ("auto", ["emergency", "confident"])
    assert "90%" in decision.reasons[0].message


def test_an_emergency_is_raised_before_every_doubt(bundle: Bundle) -> None:
    decision = answer(
        bundle,
        category={"other": 0.3},
        urgency={"low": 0.7, "emergency": 0.25},
        petition_type={"feedback": 0.5, "complaint": 0.24, "denunciation": 0.24},
    )
    assert decision.decision == "human"
    assert codes(decision)[0] == "emergency"
    assert sorted(codes(decision)[1:]) == ["category_other", "category_unclear", "legal_doubt", "legal_doubt"]


def test_a_possible_recommendation_is_no_legal_doubt(bundle: Bundle) -> None:
    decision = answer(
        bundle,
        category={"land_administration": 0.95},
        urgency={"normal": 0.95},
        petition_type={"feedback": 0.5, "recommendation": 0.45},
    )
    assert (decision.decision, codes(decision)) == ("auto", ["confident"])


def test_a_denunciation_that_may_be_a_complaint_meets_a_person(bundle: Bundle) -> None:
    decision = answer(
        bundle,
        category={"official_conduct": 0.95},
        urgency={"normal": 0.95},
        petition_type={"denunciation": 0.6, "complaint": 0.35},
    )
    assert (decision.decision, codes(decision)) == ("human", ["legal_doubt"])
    assert "khiếu nại" in decision.reasons[0].message


def test_two_categories_leave_one_alternative(bundle: Bundle) -> None:
    few = tuple(c for c in bundle.taxonomy.categories if c.id in {"land_administration", "other"})
    heads = {**bundle.manifest.heads, "category": Head(labels=tuple(c.id for c in few), temperature=1)}
    small = bundle.model_copy(
        update={
            "taxonomy": replace(bundle.taxonomy, categories=few),
            "manifest": bundle.manifest.model_copy(update={"heads": heads}),
        }
    )
    values = {**rows(bundle, [0.0] * 21), "category": np.array([2, -2], dtype=np.float32)}
    decision = decide(values, small.manifest, small.taxonomy)
    assert [a.id for a in decision.alternatives] == ["other"]


def test_a_broken_network_gives_no_answer(bundle: Bundle) -> None:
    logits = {head: np.zeros(len(spec.labels), dtype=np.float32) for head, spec in bundle.manifest.heads.items()}
    logits["urgency"][0] = np.nan
    with pytest.raises(ValueError, match="no numbers"):
        decide(logits, bundle.manifest, bundle.taxonomy)
