"""An office for tests: the shipped rules, a network that answers by the petition's words, a clock that stands still."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient

from nlp_service.bundle import Bundle, load_bundle
from nlp_service.decision import Decision, Reason, Scored
from nlp_service.errors import PetitionError
from nlp_service.pipeline import Classification
from nlp_service.taxonomy import EMERGENCY, Taxonomy, load_taxonomy
from nlp_service.text import check
from nlp_service.triage import Incoming, Rules, load_rules

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)  # a Wednesday, ten in the morning in Vietnam

POTHOLE = "Đường liên thôn ở xã Nga Thắng nhiều ổ gà, xe máy ngã liên tục, đề nghị sửa."
FLOOD = "Cứu với, nước lên tới nóc nhà rồi, bốn người mắc kẹt trên mái ở xã Mường Lát."
BRIBE = "Tôi tố cáo ông Lê Văn Tám, chủ tịch UBND xã Hoằng Giang, đòi tiền của dân khi làm sổ đỏ."
DOUBTFUL = "Việc hôm trước chưa xong, mong các bác xem."

_LABELS = {
    # a word of the petition: category, urgency, type, zone, probability
    "tố cáo": ("official_conduct", "normal", "denunciation", "auto", 0.95),
    "cứu với": ("disaster_fire_rescue", EMERGENCY, "feedback", "human", 0.4),
    "ổ gà": ("transport_infrastructure", "normal", "feedback", "auto", 0.97),
    "": ("other", "low", "other", "human", 0.3),
}


@cache
def shipped_taxonomy() -> Taxonomy:
    return load_taxonomy(ROOT / "datasets" / "taxonomy.yaml")


@cache
def shipped_rules() -> Rules:
    return load_rules(ROOT / "datasets", shipped_taxonomy())


def classified(text: str) -> Classification:
    """What the fixed network says of a text."""
    taxonomy = shipped_taxonomy()
    names = {head: {label.id: label.name for label in labels} for head, labels in taxonomy.heads.items()}
    category, urgency, kind, zone, probability = next(v for word, v in _LABELS.items() if word in text.lower())
    reasons = (Reason("emergency", "Có dấu hiệu khẩn cấp."),) if urgency == EMERGENCY else (Reason("x", "Vì vậy."),)
    decision = Decision(
        Scored(category, names["category"][category], probability),
        (Scored("land_administration", names["category"]["land_administration"], 0.02),),
        Scored(urgency, names["urgency"][urgency], 0.9),
        Scored(kind, names["petition_type"][kind], 0.9),
        zone,
        reasons,
    )
    return Classification(decision, 1, "fixed-1", taxonomy.version, np.zeros(2, np.float32), text)


@cache
def _shipped_bundle() -> Bundle:
    return load_bundle(ROOT / "models" / "current")


class FixedClassifier:
    """Stands for `PetitionClassifier` where the model is not the point."""

    def __init__(self) -> None:
        self.bundle = _shipped_bundle()
        self.encoder = SimpleNamespace(name="fixed")
        self.linear = None
        self.reader = SimpleNamespace(segmenter=SimpleNamespace(version="fixed"), wording=str)
        self.calls = 0

    def classify_many(self, texts: Sequence[object]) -> list[Classification | PetitionError]:
        self.calls += 1
        return [classified(check(text)) for text in texts]


def local_client(app: FastAPI, **options: Any) -> TestClient:
    """A client on this machine: without a key nobody else is let in."""
    return TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50_000), **options)


def incoming(text: str = POTHOLE, **changes: object) -> Incoming:
    values: dict[str, object] = {"text": text, "received_at": NOW, **changes}
    return Incoming(**values)  # type: ignore[arg-type]
