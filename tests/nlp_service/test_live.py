from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, insert

from nlp_service.live import answering_since, desk, wilson
from nlp_service.store import petitions, predictions, reviews, writing
from tests.nlp_service.offices import NOW

MODEL = "petition-b"
SAID = {"category": "land_administration", "urgency": "normal", "petition_type": "feedback", "zone": "suggest"}


def _petition(connection: Connection) -> int:
    values = {
        **{name: NOW for name in ("received_at", "created_at", "updated_at", "due_at")},
        **{name: {} for name in ("place", "flags")},
        **{name: "x" for name in ("text_sha256", "channel", "submitted_by", "category", "urgency", "petition_type")},
        **{name: "x" for name in ("zone", "lead_body", "status", "text", "folded")},
        **{"emergency": False, "restricted": False},
    }
    return int(connection.execute(insert(petitions).values(values).returning(petitions.c.id)).scalar_one())


def _review(
    connection: Connection, petition_id: int, at: datetime = NOW, zone: str = "suggest", **changes: object
) -> None:
    values = {
        "petition_id": petition_id,
        "at": at,
        "reviewer": "lan",
        "reading": 1,
        **{head: SAID[head] for head in ("category", "urgency", "petition_type")},
        "sure": True,
        "bulk": False,
        "model_version": MODEL,
        "suggested": {**SAID, "zone": zone},
        **changes,
    }
    connection.execute(insert(reviews).values(values))


def test_what_was_kept_is_counted_by_zone_and_by_head(engine: Engine) -> None:
    with writing(engine) as connection:
        petition = _petition(connection)
        for category in ("land_administration", "land_administration", "transport_infrastructure"):
            _review(connection, petition, category=category, urgency="urgent")
        _review(connection, petition, zone="human")
        auto, suggest, human, all_zones = desk(connection, MODEL, NOW - timedelta(days=30)).single
    assert (auto.zone, auto.count, auto.heads["category"].value) == ("auto", 0, None)
    kept = {head: (rate.hits, rate.count) for head, rate in suggest.heads.items()}
    assert kept == {"category": (2, 3), "urgency": (0, 3), "petition_type": (3, 3)}
    assert (human.zone, human.heads["category"].value) == ("human", 1.0)
    assert (all_zones.zone, all_zones.heads["category"].hits, all_zones.count) == (None, 3, 4)
    assert suggest.heads["category"].interval == pytest.approx((0.2077, 0.9385), abs=1e-4)


def test_only_standing_first_readings_of_this_model_and_time_count(engine: Engine) -> None:
    with writing(engine) as connection:
        petition = _petition(connection)
        _review(connection, petition)
        _review(connection, petition, withdrawn_at=NOW)
        _review(connection, petition, reading=2)
        _review(connection, petition, at=NOW - timedelta(days=31))
        _review(connection, petition, model_version="petition-a")
        _review(connection, petition, bulk=True, category="other")
        found = desk(connection, MODEL, NOW - timedelta(days=30))
    assert found.single[-1].count == 1
    assert found.others == 1
    assert (found.bulk.count, found.bulk.heads["category"].hits) == (1, 0)


def test_a_model_answers_since_its_first_petition_whatever_rows_are_gone(engine: Engine) -> None:
    with writing(engine) as connection:
        assert answering_since(connection, MODEL) is None
        petition = _petition(connection)
        for row, model in ((1, "petition-a"), (2, "petition-a0"), (7, MODEL), (8, MODEL), (30, MODEL)):
            values = {
                "id": row,
                "petition_id": petition if row != 8 and row != 30 else _petition(connection),
                "at": NOW + timedelta(hours=row),
                "model_version": model,
                "taxonomy_version": "0.1",
                "category": "other",
                "category_probability": 0.5,
                "result": {},
            }
            connection.execute(insert(predictions).values(values))
        assert answering_since(connection, MODEL) == NOW + timedelta(hours=7)
        assert answering_since(connection, "petition-a") is None


def test_an_interval_without_cases_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0 and wilson(10, 10)[1] == 1.0
