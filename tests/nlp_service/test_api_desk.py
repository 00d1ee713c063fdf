from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from nlp_service.api import create_app
from nlp_service.pipeline import PetitionClassifier
from nlp_service.settings import Settings
from tests.nlp_service.offices import DOUBTFUL, FLOOD, POTHOLE, ROOT, FixedClassifier, local_client


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    app = create_app(Settings(store=f"sqlite:///{tmp_path / 'desk.db'}"), FixedClassifier())  # type: ignore[arg-type]
    with local_client(app) as client:
        yield client


def hand_in(client: TestClient, *texts: str) -> list[int]:
    answer = client.post("/v1/petitions", json={"petitions": [{"text": text} for text in texts]})
    return [receipt["petition"]["id"] for receipt in answer.json()["results"]]


def test_the_queue_names_what_is_pressing_first(client: TestClient) -> None:
    _, doubtful, flood = hand_in(client, POTHOLE, DOUBTFUL, FLOOD)
    queue = client.get("/v1/queue").json()
    assert queue["total"] == 2
    assert [(item["id"], item["risk"]) for item in queue["petitions"]] == [(flood, 0), (doubtful, 2)]


def test_a_verdict_moves_the_petition_and_undo_brings_it_back(client: TestClient) -> None:
    [petition] = hand_in(client, DOUBTFUL)
    said = {"version": 1, "category": "land_administration", "sure": False, "request_id": "page-0001"}
    done = client.post(f"/v1/petitions/{petition}/verdict", json=said)
    assert done.status_code == 200 and done.json()["petitions"] == [petition]
    assert client.get(f"/v1/petitions/{petition}").json()["category"] == "land_administration"
    assert client.post(f"/v1/petitions/{petition}/verdict", json=said).json() == done.json()
    undone = client.post(f"/v1/operations/{done.json()['id']}/undo")
    assert undone.status_code == 200
    assert client.get(f"/v1/petitions/{petition}").json()["category"] == "other"


def test_a_verdict_on_another_version_is_a_conflict(client: TestClient) -> None:
    [petition] = hand_in(client, DOUBTFUL)
    answer = client.post(f"/v1/petitions/{petition}/verdict", json={"version": 7})
    assert answer.status_code == 409 and answer.json()["error"]["detail"]["version"] == 1


def test_what_says_the_same_is_found(client: TestClient) -> None:
    first, second = hand_in(client, POTHOLE, POTHOLE + " Xin nhắc lại lần nữa.")
    found = client.get(f"/v1/petitions/{second}/similar").json()
    assert [entry["id"] for entry in found["similar"]] == [first]
    assert found["similar"][0]["kind"] == "repeated"


def test_the_words_that_decided_are_told(tmp_path: Path) -> None:
    classifier = PetitionClassifier.load(ROOT / "models" / "current")
    app = create_app(Settings(store=f"sqlite:///{tmp_path / 'why.db'}"), classifier)
    with local_client(app) as client:
        [petition] = hand_in(client, POTHOLE)
        why = client.get(f"/v1/petitions/{petition}/explanation").json()
    assert why["category"]["label"]["id"] == "transport_infrastructure"
    assert any("ổ gà" in span["words"] for span in why["category"]["spans"])
