"""A service whose pointer moves, with the shipped model under other names."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from nlp_service import serving
from nlp_service.api import create_app
from nlp_service.keys import create_key
from nlp_service.roles import Role
from nlp_service.settings import Settings
from nlp_service.store import embeddings, open_store, predictions, writing
from tests.nlp_service.offices import FLOOD, NOW, POTHOLE, local_client
from tests.nlp_service.registries import add_model, damage, mixed_up, registry


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return registry(tmp_path / "models", "a", "b")


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def client(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(serving, "EVERY_S", 3600.0)  # these tests look for themselves
    with local_client(app) as client:
        app.state.serving._following.cancel()
        yield client


def point(settings: Settings, name: str) -> None:
    settings.model.write_text(f"{name}\n", encoding="utf-8")


def reload(client: TestClient, status: int = 200) -> dict[str, Any]:
    answer = client.post("/v1/model/reload")
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_everything_that_names_a_model_follows(client: TestClient, settings: Settings) -> None:
    before = client.post("/v1/classify", json={"text": POTHOLE}).json()
    assert reload(client) == {"model_version": "a", "changed": False, "previous": None}
    point(settings, "b")
    assert reload(client) == {"model_version": "b", "changed": True, "previous": "a"}
    assert client.get("/v1/model").json()["thresholds"]["auto"] == pytest.approx(0.9048)
    assert client.get("/readyz").json() == {"status": "ready", "model_version": "b"}
    metrics = client.get("/metrics").text
    assert (
        'petitions_model_info{runtime="' in metrics and 'version="b"} 1.0' in metrics and 'version="a"' not in metrics
    )
    assert "petitions_model_switches_total 1.0" in metrics
    assert "Mô hình b</h1>" in client.get("/console/model").text
    stored = client.post("/v1/petitions", json={"petitions": [{"text": POTHOLE}]}).json()["results"][0]["petition"]
    assert stored["classification"]["model_version"] == "b"
    assert client.get(f"/v1/petitions/{stored['id']}/explanation").json()["model_version"] == "b"
    point(settings, "a")
    assert reload(client)["model_version"] == "a"
    assert client.post("/v1/classify", json={"text": POTHOLE}).json() == before


def test_nothing_goes_on_unseen_where_the_province_says_so_whichever_model_answers(settings: Settings) -> None:
    with local_client(create_app(settings)) as client:
        assert client.post("/v1/classify", json={"text": POTHOLE}).json()["decision"] == "auto"
    with local_client(create_app(settings.model_copy(update={"auto_route": False}))) as client:
        for name in ("a", "b"):
            point(settings, name)
            assert reload(client)["model_version"] == name
            answer = client.post("/v1/classify", json={"text": POTHOLE}).json()
            assert (answer["decision"], answer["reasons"][-1]["code"]) == ("suggest", "seen_first")
        client.post("/v1/petitions", json={"petitions": [{"text": POTHOLE}]})
        assert client.get("/v1/queue").json()["total"] == 1


def test_likeness_is_of_the_model_that_answers_and_comes_back_with_a_rollback(
    client: TestClient, app: FastAPI, settings: Settings
) -> None:
    texts = [{"text": POTHOLE}, {"text": f"{POTHOLE} Mong sớm."}]
    ids = [r["petition"]["id"] for r in client.post("/v1/petitions", json={"petitions": texts}).json()["results"]]

    def indexed() -> int:
        office = app.state.office
        deadline = time.monotonic() + 20
        while not office.index.complete and time.monotonic() < deadline:
            time.sleep(0.05)
        office.index.catch_up()
        return len(office.index)

    assert indexed() == 2
    point(settings, "b")
    reload(client)
    assert indexed() == 0
    client.post("/v1/petitions", json={"petitions": [{"text": FLOOD}]})
    assert indexed() == 1
    point(settings, "a")
    reload(client)
    assert indexed() == 2
    similar = client.get(f"/v1/petitions/{ids[0]}/similar").json()["similar"]
    assert [entry["id"] for entry in similar] == [ids[1]]
    with app.state.engine.connect() as connection:
        assert (
            len(connection.execute(select(embeddings)).all()) == len(connection.execute(select(predictions)).all()) == 3
        )


@pytest.mark.parametrize("fault", ["damaged", "mixed up", "missing", "garbage", "same version"])
def test_a_model_that_cannot_answer_leaves_the_old_one(client: TestClient, settings: Settings, fault: str) -> None:
    models = settings.model.parent
    said = {
        "damaged": "linear.npz does not match its hash",
        "mixed up": "categories right, at least 80% needed",
        "missing": "manifest.json is missing",
        "garbage": "is no pointer file",
        "same version": "has the version of the model that answers",
    }[fault]
    if fault == "damaged":
        damage(models / "b")
    elif fault == "mixed up":
        add_model(models, "mixed", heads=mixed_up())
    elif fault == "same version":
        add_model(models, "again", version="a")
    before = client.post("/v1/classify", json={"text": POTHOLE}).json()
    name = {"mixed up": "mixed", "missing": "nothing", "garbage": "\x00\x01", "same version": "again"}.get(fault, "b")
    point(settings, name)
    assert said in reload(client, status=500)["error"]["message"]
    ready = client.get("/readyz")
    assert ready.status_code == 200 and said in ready.json()["warning"] and ready.json()["model_version"] == "a"
    assert "petitions_model_refused 1.0" in client.get("/metrics").text
    assert "Một mô hình khác được chọn nhưng không dùng được" in client.get("/console/model").text
    assert client.post("/v1/classify", json={"text": POTHOLE}).json() == before
    point(settings, "a")
    reload(client)
    assert "warning" not in client.get("/readyz").json()
    assert "petitions_model_refused 0.0" in client.get("/metrics").text


def test_a_refused_model_is_not_loaded_again_at_every_look(
    app: FastAPI, client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    real = serving.open_model

    def counted(path: Path, given: Settings) -> serving.Model:
        opened.append(path)
        return real(path, given)

    def look() -> bool:
        assert client.portal is not None
        return client.portal.call(app.state.serving.look)  # type: ignore[no-any-return]

    monkeypatch.setattr(serving, "open_model", counted)
    damage(settings.model.parent / "b")
    point(settings, "b")
    assert not look() and not look() and len(opened) == 1
    monkeypatch.setattr(serving, "RETRY_AFTER_S", -1.0)
    reload(client, status=500)
    assert not look() and len(opened) == 3  # its copy may have been under way


def test_a_request_is_answered_whole_by_the_model_it_began_with(
    app: FastAPI, client: TestClient, settings: Settings
) -> None:
    """A batch longer than the model's own, and the pointer moves while it is read: to a model that is in memory."""
    for name in ("b", "a"):
        point(settings, name)
        reload(client)
    point(settings, "b")

    async def during() -> tuple[set[str], str]:
        at = app.state.office
        reading = asyncio.create_task(at.classify([f"{POTHOLE} Lần {number}." for number in range(120)]))
        await asyncio.sleep(0)
        assert await app.state.serving.look() and not reading.done()
        answers = await reading
        return {answer.model_version for answer in answers}, app.state.office.version

    assert client.portal is not None
    assert client.portal.call(during) == ({"a"}, "b")


def test_going_back_takes_no_loading(client: TestClient, settings: Settings) -> None:
    point(settings, "b")
    reload(client)
    damage(settings.model.parent / "a")  # on the disk; what is in memory was verified
    point(settings, "a")
    assert reload(client) == {"model_version": "a", "changed": True, "previous": "b"}


def test_only_an_operator_makes_the_service_look(client: TestClient, app: FastAPI, settings: Settings) -> None:
    engine = open_store(settings.store)
    with writing(engine) as connection:
        scopes = {Role.OFFICER: ["so_xay_dung"]}
        keys = {role: create_key(connection, role.value, role, NOW, bodies=scopes.get(role, [])) for role in Role}
    engine.dispose()
    for role, key in keys.items():
        answer = client.post("/v1/model/reload", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == (200 if role is Role.ADMIN else 403), role


def test_the_service_looks_by_itself(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(settings)
    with local_client(app) as client:
        point(settings, "b")
        deadline = time.monotonic() + 60
        while client.get("/readyz").json()["model_version"] != "b" and time.monotonic() < deadline:
            time.sleep(0.2)
        assert client.get("/readyz").json()["model_version"] == "b"


def test_a_model_from_elsewhere_stays_until_the_pointer_moves(settings: Settings, tmp_path: Path) -> None:
    from nlp_service.pipeline import PetitionClassifier

    elsewhere = add_model(tmp_path / "elsewhere", "own")
    app = create_app(settings, PetitionClassifier.load(elsewhere, threads=1))
    with local_client(app) as client:
        assert reload(client) == {"model_version": "own", "changed": False, "previous": None}
        point(settings, "b")
        assert reload(client)["model_version"] == "b"
