"""From logits to an answer a clerk can act on: calibrated probabilities, three zones, a set, emergencies first.

numpy only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nlp_service.bundle import Manifest, PredictionSets
from nlp_service.emergency import Sign
from nlp_service.taxonomy import EMERGENCY, Taxonomy

Floats = npt.NDArray[np.float32]

ALTERNATIVES = 3
_LEGAL = ("complaint", "denunciation")


@dataclass(frozen=True)
class Scored:
    """A label with its calibrated probability."""

    id: str
    name: str
    probability: float


@dataclass(frozen=True)
class Reason:
    """Why the decision is what it is: a stable code for programs, a sentence for the clerk."""

    code: str
    message: str


@dataclass(frozen=True)
class Decision:
    """What to do with one petition.

    Attributes:
        category: the most probable category.
        alternatives: the next ones, at most three, most probable first.
        urgency: the level; `emergency` as soon as its probability reaches the manifest's threshold, or the
            lexicon finds a sign of one.
        decision: `auto` (route it), `suggest` (a clerk picks among candidates), `human` (a person reads first).
        prediction_set: the categories that stay plausible at the coverage that the manifest states, most probable first,
            the best one always among them; empty if the manifest states none.
    """

    category: Scored
    alternatives: tuple[Scored, ...]
    urgency: Scored
    petition_type: Scored
    decision: str
    reasons: tuple[Reason, ...]
    prediction_set: tuple[Scored, ...] = ()


def softmax(logits: Floats, temperature: float) -> Floats:
    """Row-wise softmax of logits divided by `temperature` (Guo et al. 2017, On calibration of modern neural networks)."""
    scaled = logits.astype(np.float64) / temperature
    exponent = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    result: Floats = (exponent / exponent.sum(axis=-1, keepdims=True)).astype(np.float32)
    return result


def pool_windows(logits: Floats) -> Floats:
    """One row of logits for a petition read in several windows: their mean."""
    result: Floats = logits.mean(axis=0)
    return result


def decide(logits: Mapping[str, Floats], manifest: Manifest, taxonomy: Taxonomy, sign: Sign | None = None) -> Decision:
    """Turn one petition's logits, a vector for every head, into a decision.

    Args:
        sign: what the emergency lexicon found; it raises the alarm as the model does.

    Raises:
        ValueError: a logit is no number: the network is broken, and no answer is better than a wrong one.
    """
    if not all(np.isfinite(values).all() for values in logits.values()):
        raise ValueError("the network's output holds values that are no numbers")
    names = {head: {label.id: label.name for label in labels} for head, labels in taxonomy.heads.items()}
    ranked: dict[str, list[Scored]] = {}
    for head, spec in manifest.heads.items():
        probabilities = softmax(logits[head], spec.temperature)
        order = np.argsort(-probabilities, kind="stable")
        ranked[head] = [
            Scored(spec.labels[i], names[head][spec.labels[i]], round(float(probabilities[i]), 4)) for i in order
        ]
    thresholds = manifest.thresholds
    category, petition_type = ranked["category"][0], ranked["petition_type"][0]
    urgency = ranked["urgency"][0]
    emergency = next(level for level in ranked["urgency"] if level.id == EMERGENCY)
    called = urgency.id == EMERGENCY or emergency.probability >= thresholds.emergency
    reasons: list[Reason] = []
    if called or sign:
        urgency = emergency
    if called:
        reasons.append(
            Reason(
                "emergency",
                f"Có dấu hiệu khẩn cấp ({urgency.probability:.0%}): báo ngay cho người trực, không chờ duyệt.",
            )
        )
    elif sign:
        reasons.append(
            Reason("emergency_sign", f"Có dấu hiệu khẩn cấp ({sign.name}): báo ngay cho người trực, không chờ duyệt.")
        )
    human = False
    if any(c.review_always for c in taxonomy.categories if c.id == category.id):
        human = True
        reasons.append(Reason("category_other", "Chưa xác định được lĩnh vực: cần người đọc."))
    best_three = sum(scored.probability for scored in ranked["category"][:ALTERNATIVES])
    if best_three < thresholds.suggest:
        human = True
        reasons.append(Reason("category_unclear", f"Ba lĩnh vực khả dĩ nhất chỉ đạt {best_three:.0%}: cần người đọc."))
    for scored in ranked["petition_type"][1:]:
        if scored.id in _LEGAL and scored.probability >= thresholds.legal_doubt:
            human = True
            reasons.append(
                Reason(
                    "legal_doubt",
                    f"Có thể là {scored.name.lower()} ({scored.probability:.0%}): hệ quả pháp lý khác, cần người xác định loại đơn.",
                )
            )
    if human:
        zone = "human"
    elif category.probability >= thresholds.auto:
        zone = "auto"
        reasons.append(Reason("confident", f"Lĩnh vực rõ ({category.probability:.0%}): chuyển thẳng được."))
    else:
        zone = "suggest"
        reasons.append(
            Reason("choose_candidate", f"Lĩnh vực chưa chắc ({category.probability:.0%}): chọn trong các gợi ý.")
        )
    return Decision(
        category=category,
        alternatives=tuple(ranked["category"][1 : 1 + ALTERNATIVES]),
        urgency=urgency,
        petition_type=petition_type,
        decision=zone,
        reasons=tuple(reasons),
        prediction_set=plausible(ranked["category"], manifest.prediction_sets.get("category")),
    )


def seen_first(decision: Decision) -> Decision:
    """The decision where the province lets nothing go on by itself: what would, is suggested. The alarm is raised as before."""
    if decision.decision != "auto":
        return decision
    reason = Reason(
        "seen_first",
        f"Lĩnh vực rõ ({decision.category.probability:.0%}), nhưng mọi đơn đều có người xem trước khi chuyển.",
    )
    return replace(decision, decision="suggest", reasons=(*decision.reasons[:-1], reason))


def plausible(ranked: Sequence[Scored], sets: PredictionSets | None) -> tuple[Scored, ...]:
    """The labels of a set out of all labels, most probable first; the first one whatever its probability."""
    if sets is None:
        return ()
    return (ranked[0], *(scored for scored in ranked[1:] if scored.probability >= sets.threshold))
