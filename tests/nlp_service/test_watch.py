import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import Engine, event, insert

from nlp_service.api import create_app
from nlp_service.bundle import load_bundle
from nlp_service.drift import Verdict
from nlp_service.settings import Settings
from nlp_service.store import reviews, writing
from nlp_service.watch import Watch
from tests.nlp_service.conftest import WriteModel
from tests.nlp_service.offices import NOW, FixedClassifier, local_client
from tests.nlp_service.stored import MODEL, keep, row
from tests.nlp_service.test_drift_report import mix, week, write

SAID = {"category": "other", "urgency": "low", "petition_type": "other"}


class FakeOffice(SimpleNamespace):
    @property
    def version(self) -> str:
        return str(self.classifier.bundle.manifest.version)


@pytest.fixture
def office(write_model: WriteModel) -> Any:
    return FakeOffice(classifier=SimpleNamespace(bundle=load_bundle(write_model(MODEL)), linear=None))


def soon(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def scraped(watch: Watch) -> list[str]:
    registry = CollectorRegistry()
    registry.register(watch)
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def review(engine: Engine, petition: int, category: str, zone: str, **changes: Any) -> None:
    with writing(engine) as connection:
        values = {
            **{"petition_id": petition, "at": NOW, "reviewer": "lan", "reading": 1, "sure": True, "bulk": False},
            **{**SAID, "category": category, "model_version": MODEL, "suggested": {**SAID, "zone": zone}, **changes},
        }
        connection.execute(insert(reviews).values(values))


def test_live_accuracy_has_its_counts_and_bounds(engine: Engine, office: Any) -> None:
    watch = Watch(engine, lambda: office, lambda: NOW)
    assert scraped(watch) == [], "nothing was looked up yet"
    (petition,) = keep(engine, [row()])
    for category, zone in (("other", "auto"), ("other", "human"), ("land_administration", "human")):
        review(engine, petition, category, zone)
    review(engine, petition, "land_administration", "human", at=NOW - timedelta(days=29))
    watch.look()
    lines = scraped(watch)
    for expected in (
        'petitions_live_readings{head="category",zone="human"} 2.0',
        'petitions_live_kept{head="category",zone="human"} 1.0',
        'petitions_live_readings{head="category",zone="suggest"} 0.0',
        'petitions_live_kept{head="urgency",zone="human"} 2.0',
    ):
        assert expected in lines
    bounds = {
        line.split('"')[1]: float(line.split()[-1])
        for line in lines
        if line.startswith("petitions_live_accuracy") and 'head="category"' in line
    }
    assert bounds == {
        name: pytest.approx(n, abs=1e-3) for name, n in (("value", 0.667), ("lower", 0.208), ("upper", 0.939))
    }
    assert not [line for line in lines if line.startswith("petitions_drift")], "one petition says nothing"


def test_last_week_is_compared_with_the_weeks_before_and_with_the_reference(engine: Engine, office: Any) -> None:
    write(office.classifier.bundle, mix(0, 0, 100))
    keep(engine, [*week(mix(0, 0, 200)), *week(mix(50, 50), 1), *week(mix(50, 50), 2), *week(mix(50, 50), 9)])
    keep(engine, week(mix(0, 0, 500), 10))
    watch = Watch(engine, lambda: office, lambda: NOW)
    watch.look()
    assert watch.seen is not None and watch.seen.begins == datetime(2026, 11, 16, tzinfo=UTC)
    found = {against: findings[0] for against, findings in watch.seen.drift.items()}
    assert (found["before"].count, found["before"].against) == (100, 200)
    assert found["before"].verdict is Verdict.STABLE and found["reference"].verdict is Verdict.DRIFTING
    lines = scraped(watch)
    assert 'petitions_drifting{against="before",feature="category"} 0.0' in lines
    assert 'petitions_drifting{against="reference",feature="category"} 1.0' in lines
    assert 'petitions_drift{against="before",feature="length"} 0.0' in lines


def test_the_weeks_before_are_read_once_a_day_and_what_came_in_late_is_seen(engine: Engine, office: Any) -> None:
    keep(engine, [*week(mix(50, 50), 1), *week(mix(50, 50), 2)])
    now = NOW
    watch = Watch(engine, lambda: office, lambda: now)
    watch.look()
    keep(engine, [*week(mix(100), 1), *week(mix(100), 2)])
    asked = []

    def count(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    watch.look()
    assert len([statement for statement in asked if "petitions.text" in statement]) == 1
    asked.clear()
    scraped(watch)
    assert not asked, "a scrape asks the store nothing"
    assert watch.seen is not None
    assert (watch.seen.drift["before"][0].count, watch.seen.drift["before"][0].against) == (200, 100)
    now = NOW + timedelta(days=1)
    watch.look()
    assert watch.seen.drift["before"][0].against == 200


def test_another_model_begins_anew(engine: Engine, office: Any, write_model: WriteModel) -> None:
    keep(engine, [*week(mix(50, 50), 1), *week(mix(50, 50), 2)])
    watch = Watch(engine, lambda: office, lambda: NOW)
    watch.look()
    office.classifier.bundle = load_bundle(write_model("petition-c"))
    watch.look()
    assert watch.seen is not None and watch.seen.model_version == "petition-c"
    assert watch.seen.drift["before"][0].verdict is Verdict.TOO_FEW


def test_a_store_that_is_away_stops_nothing(engine: Engine, office: Any, caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(engine, lambda: office, lambda: NOW)
    watch.look()
    seen = watch.seen
    with writing(engine) as connection:
        connection.exec_driver_sql("ALTER TABLE reviews RENAME TO gone")
    watch.start()
    soon(lambda: "could not be looked up" in caplog.text)
    watch.close()
    assert watch.seen is seen


def test_the_service_watches_from_its_start(store_url: str) -> None:
    app = create_app(Settings(store=store_url), FixedClassifier())  # type: ignore[arg-type]
    with local_client(app) as client:
        soon(lambda: 'petitions_live_readings{head="urgency",zone="auto"} 0.0' in client.get("/metrics").text)
    assert not app.state.watch._thread.is_alive()
