"""How right the model was, by standing verdicts of people who read one petition at a time."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert
from typer.testing import CliRunner

from nlp_service.cli import app
from nlp_service.quality import Quality, quality, verdicts
from nlp_service.store import open_store, petitions, reviews, upgrade, writing
from tests.nlp_service.offices import NOW

MODEL = "petition-b"
SINCE, UNTIL = NOW - timedelta(days=28), NOW + timedelta(days=1)
SUGGESTED = {
    "category": "land_administration",
    "urgency": "normal",
    "petition_type": "feedback",
    "zone": "suggest",
}


def review(engine: Engine, commune: str | None = None, **changes: object) -> None:
    """One petition with one review."""
    with writing(engine) as connection:
        blank = {
            **{name: NOW for name in ("received_at", "created_at", "updated_at", "due_at")},
            **{name: {} for name in ("place", "flags")},
            **{
                name: "x" for name in ("text_sha256", "channel", "submitted_by", "category", "urgency", "petition_type")
            },
            **{name: "x" for name in ("zone", "lead_body", "status", "text", "folded")},
            **{"emergency": False, "restricted": False, "commune_code": commune},
        }
        row = connection.execute(insert(petitions).values(blank).returning(petitions.c.id)).scalar_one()
        values = {
            **{"petition_id": row, "at": NOW, "reviewer": "lan", "reading": 1, "sure": True, "bulk": False},
            **{head: SUGGESTED[head] for head in ("category", "urgency", "petition_type")},
            **{"model_version": MODEL, "suggested": SUGGESTED, **changes},
        }
        connection.execute(insert(reviews).values(values))


def figures(engine: Engine, by: str = "zone") -> Quality:
    with engine.connect() as connection:
        return quality(verdicts(connection, MODEL, SINCE, UNTIL), MODEL, SINCE, UNTIL, by)


def test_first_and_second_readings_stand_apart(engine: Engine) -> None:
    for category in ("land_administration", "land_administration", "transport_infrastructure"):
        review(engine, category=category)
    review(engine, reading=2, category="transport_infrastructure")
    found = figures(engine)
    assert (found.first["category"].hits, found.first["category"].count) == (2, 3)
    assert (found.second["category"].hits, found.second["category"].count) == (0, 1)
    assert found.overrides["category"] == [("land_administration", "transport_infrastructure", 1)]


def test_what_does_not_stand_or_was_not_read_does_not_count(engine: Engine) -> None:
    review(engine)
    review(engine, category="other", withdrawn_at=NOW)
    review(engine, category="other", bulk=True)
    review(engine, category="other", at=NOW - timedelta(days=29))
    review(engine, category="other", at=UNTIL)
    review(engine, category="other", model_version="petition-a")
    review(engine, category="other", reading=3)
    assert (figures(engine).first["category"].hits, figures(engine).first["category"].count) == (1, 1)


def test_emergencies_missed_and_raised_in_vain(engine: Engine) -> None:
    raised = {**SUGGESTED, "urgency": "emergency"}
    review(engine, urgency="emergency", suggested=raised)
    review(engine, urgency="emergency")
    for _ in range(2):
        review(engine, urgency="normal", suggested=raised)
    found = figures(engine)
    assert (found.emergency_recall.hits, found.emergency_recall.count) == (1, 2)
    assert (found.emergency_precision.hits, found.emergency_precision.count) == (1, 3)


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("zone", {"auto": (0, 1), "suggest": (2, 2)}),
        ("commune", {"-": (2, 2), "15976": (0, 1)}),
        ("reviewer", {"hoa": (0, 1), "lan": (2, 2)}),
        ("category", {"land_administration": (2, 2), "other": (0, 1)}),
        ("week", {"2026-W48": (2, 3)}),
    ],
)
def test_told_apart(engine: Engine, by: str, groups: dict[str, tuple[int, int]]) -> None:
    assert NOW.isocalendar()[:2] == (2026, 48)
    review(engine)
    review(engine)
    review(engine, "15976", category="other", reviewer="hoa", suggested={**SUGGESTED, "zone": "auto"})
    assert {name: (rate.hits, rate.count) for name, rate in figures(engine, by).groups.items()} == groups


def test_the_command_tells_counts_and_intervals(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/p.db"
    upgrade(engine := open_store(url))
    review(engine)
    review(engine, category="other")
    command = ["report", "quality", "--since", "2026-10-01", "--until", "2026-12-31", "--model-version", MODEL]
    environment = {"PETITIONS_STORE": url}
    told = CliRunner().invoke(app, command, env=environment)
    assert told.exit_code == 0 and "category       0.50 (1/2; 0.09-0.91)" in told.output
    assert "land_administration -> other: 1" in told.output
    as_json = json.loads(CliRunner().invoke(app, [*command, "--json"], env=environment).output)
    assert as_json["first_readings"]["category"]["hits"] == 1
    assert as_json["second_readings"]["category"]["value"] is None
    refused = CliRunner().invoke(app, ["report", "quality", "--by", "moon"], env={**environment, "COLUMNS": "300"})
    assert refused.exit_code == 2 and "zone, category, commune, week, reviewer" in refused.output
