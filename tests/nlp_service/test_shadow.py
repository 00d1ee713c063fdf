"""A candidate in its own process, beside a service with the shipped model."""

import os
import signal
import time
from collections.abc import Callable
from datetime import date
from multiprocessing import active_children
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from nlp_service.api import create_app
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.settings import Settings
from nlp_service.shadow import LOWEST_PRIORITY, Shadow
from nlp_service.shadow_counts import Comparison, Pair, comparisons
from nlp_service.store import open_store, snapshot, upgrade
from tests.nlp_service.offices import FLOOD, POTHOLE, classified, local_client
from tests.nlp_service.registries import add_model, damage, mixed_up, registry

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = registry(tmp_path / "models", "a")
    # A candidate whose thresholds send everything to a person, and whose categories stand in another order.
    candidate = add_model(tmp_path / "models", "shadow", thresholds={"auto": 1.1, "legal_doubt": 0.0}, heads=mixed_up())
    return found.model_copy(update={"shadow": candidate})


def until(true: Callable[[], bool], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def found(settings: Settings) -> list[Comparison]:
    engine = open_store(settings.store)
    with snapshot(engine) as connection:
        return comparisons(connection, date(2026, 1, 1))


def compared(client: TestClient) -> bool:
    return "petitions_shadow_total" in (text := client.get("/metrics").text) and _value(text, "compared") >= 3


def _value(metrics: str, outcome: str) -> float:
    line = next(
        (x for x in metrics.splitlines() if x.startswith(f'petitions_shadow_total{{outcome="{outcome}"')), "0 0"
    )
    return float(line.rsplit(" ", 1)[1])


def test_disagreement_is_counted_and_nobody_hears_of_the_candidate(settings: Settings) -> None:
    app = create_app(settings)
    with local_client(app) as client:
        until(lambda: "petitions_shadow_running 1.0" in client.get("/metrics").text)
        [process] = [child for child in active_children() if child.name == "shadow"]
        assert os.getpriority(os.PRIO_PROCESS, process.pid or 0) == LOWEST_PRIORITY
        for text in (POTHOLE, POTHOLE, FLOOD):
            answer = client.post("/v1/classify", json={"text": text}).json()
            assert answer["model_version"] == "a"
            assert answer["category"]["id"] in ("transport_infrastructure", "disaster_fire_rescue")
        client.post("/v1/classify", json={"text": "…"})  # refused: nothing to compare
        until(lambda: compared(client))
    assert not process.is_alive()
    [both] = found(settings)
    assert (both.current, both.candidate, both.compared, both.dropped) == ("a", "shadow", 3, 0)
    assert (both.heads["category"].hits, both.heads["urgency"].hits, both.heads["zone"].hits) == (0, 3, 0)
    assert Pair("category", "transport_infrastructure", "electricity_telecom_lighting", 2) in both.disagreements
    assert (both.current_ms or 0) > 0 and (both.candidate_ms or 0) > 0
    with local_client(create_app(settings.model_copy(update={"shadow": None}))) as client:
        page = client.get("/console/model").text
    assert "shadow bên cạnh a" in page and "Điện, chiếu sáng công cộng, viễn thông" in page


@pytest.mark.parametrize("end", ["damaged", "killed"])
def test_whatever_happens_to_the_candidate_the_service_goes_on(settings: Settings, end: str) -> None:
    if end == "damaged":
        damage(settings.model.parent / "shadow")
    app = create_app(settings)
    with local_client(app) as client:
        shadow = app.state.shadow
        if end == "killed":
            until(lambda: bool(shadow.running))
            [process] = [child for child in active_children() if child.name == "shadow"]
            os.kill(process.pid or 0, signal.SIGKILL)
        until(lambda: shadow.problem is not None)
        assert ("linear.npz" if end == "damaged" else "process ended") in shadow.problem
        assert client.post("/v1/classify", json={"text": POTHOLE}).status_code == 200
        assert client.get("/readyz").status_code == 200
        assert "petitions_shadow_running 0.0" in client.get("/metrics").text


def test_what_it_cannot_hold_is_dropped_counted_and_never_waited_for(settings: Settings) -> None:
    engine = open_store(settings.store)
    upgrade(engine)
    counts: dict[str, int] = {}

    def count(outcome: str, number: int) -> None:
        counts[outcome] = counts.get(outcome, 0) + number

    shadow = Shadow(engine, settings.model.parent / "shadow", settings, count, waiting=2)
    refused = PetitionError(ErrorKind.EMPTY_TEXT, "x")
    shadow.offer([POTHOLE] * 9 + ["?"], [classified(POTHOLE)] * 9 + [refused])  # nobody reads yet
    assert counts == {"dropped": 7}
    shadow.start()
    until(lambda: counts.get("compared") == 2)
    shadow.close()
    [both] = found(settings)
    assert (both.current, both.compared, both.dropped) == ("fixed-1", 2, 7)
