"""The HTTP contract, against the shipped model."""

import asyncio
import json
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from nlp_service.api import create_app
from nlp_service.errors import PetitionError
from nlp_service.pipeline import Classification, PetitionClassifier
from nlp_service.settings import Settings
from tests.nlp_service.offices import local_client

ROOT = Path(__file__).resolve().parents[2]
POTHOLE = (
    "Đường liên thôn đoạn qua trường tiểu học xã Thọ Lập nhiều ổ gà sâu, trời mưa xe máy ngã liên tục, đề nghị sửa."
)


@pytest.fixture(scope="module")
def classifier() -> PetitionClassifier:
    return PetitionClassifier.load(ROOT / "models" / "current")


@pytest.fixture
def client(classifier: PetitionClassifier) -> Iterator[TestClient]:
    with local_client(create_app(Settings(), classifier)) as client:
        yield client


def test_one_petition_gets_the_whole_answer(client: TestClient, classifier: PetitionClassifier) -> None:
    answer = client.post("/v1/classify", json={"text": POTHOLE, "commune": None, "received_at": "2026-11-20T08:00:00Z"})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {
        "category", "alternatives", "prediction_set", "urgency", "petition_type", "decision", "reasons", "windows", "model_version",
        "taxonomy_version",
    }  # fmt: skip
    assert body["category"]["id"] == "transport_infrastructure"
    assert body["category"]["name"] == "Hạ tầng giao thông, vận tải"
    assert 1 <= len(body["alternatives"]) <= 3
    assert body["category"]["probability"] >= body["alternatives"][0]["probability"]
    assert body["decision"] in {"auto", "suggest", "human"}
    assert body["reasons"] and all(reason["code"] and reason["message"] for reason in body["reasons"])
    assert body["windows"] == 1
    assert body["model_version"] == classifier.bundle.manifest.version


def test_batch_keeps_order_and_a_bad_petition_spoils_nothing(client: TestClient) -> None:
    petitions = [
        {"id": "a", "text": POTHOLE},
        {"id": "b", "text": "   "},
        {"id": 3, "text": 17},
        {"text": "Nước máy bị đục cả tuần nay."},
        {"id": "e"},
    ]
    results = client.post("/v1/classify/batch", json={"petitions": petitions}).json()["results"]
    assert [result.get("id") for result in results] == ["a", "b", 3, None, "e"]
    assert results[0]["result"]["category"]["id"] == "transport_infrastructure"
    assert results[1]["error"]["kind"] == "empty_text"
    assert results[2]["error"]["kind"] == "invalid_request"
    assert results[3]["result"]["category"]["id"] == "water_supply_drainage"
    assert results[4]["error"]["kind"] == "invalid_request"


def test_an_answer_does_not_depend_on_what_is_asked_beside_it(client: TestClient) -> None:
    alone = client.post("/v1/classify", json={"text": POTHOLE}).json()
    others = [{"text": text} for text in ("Mất điện.", POTHOLE, "Thủ tục làm khai sinh thế nào? " * 80)]
    together = client.post("/v1/classify/batch", json={"petitions": others}).json()["results"]
    assert together[1]["result"] == alone


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"text": ""}, 422, "empty_text"),
        ({"text": " \u200b\n\t "}, 422, "empty_text"),
        ({"text": "?!…"}, 422, "empty_text"),
        ({"text": None}, 422, "invalid_request"),
        ({"text": ["a"]}, 422, "invalid_request"),
        ({}, 422, "invalid_request"),
        ({"text": "mất điện", "received_at": "hôm qua"}, 422, "invalid_request"),
        ({"text": "a " * 30_000}, 413, "text_too_long"),
    ],
)
def test_bad_input_is_told_in_one_shape(client: TestClient, body: object, status: int, kind: str) -> None:
    answer = client.post("/v1/classify", json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"kind", "message", "detail"}
    assert error["kind"] == kind


def test_broken_json_and_broken_utf8_are_invalid_requests(client: TestClient) -> None:
    for content in (b'{"text": ', b'{"text": "\xff\xfe"}', b"[]", b""):
        answer = client.post("/v1/classify", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, content
        assert answer.json()["error"]["kind"] == "invalid_request"


def test_unknown_paths_and_methods_have_the_same_shape(client: TestClient) -> None:
    assert client.get("/v1/nothing").json()["error"]["kind"] == "not_found"
    answer = client.get("/v1/classify")
    assert (answer.status_code, answer.json()["error"]["kind"]) == (405, "method_not_allowed")


def test_limits_name_themselves(classifier: PetitionClassifier) -> None:
    settings = Settings(max_body_bytes=2_000, max_batch=2)
    with local_client(create_app(settings, classifier)) as client:
        answer = client.post("/v1/classify", json={"text": "a" * 3_000})
        assert (answer.status_code, answer.json()["error"]["kind"]) == (413, "body_too_large")
        assert "PETITIONS_MAX_BODY_BYTES" in answer.json()["error"]["message"]
        streamed = client.post("/v1/classify", content=iter([b"x" * 1_500, b"x" * 1_500]))
        assert (streamed.status_code, streamed.json()["error"]["kind"]) == (413, "body_too_large")
        answer = client.post("/v1/classify/batch", json={"petitions": [{"text": "mất điện"}] * 3})
        assert (answer.status_code, answer.json()["error"]["kind"]) == (413, "batch_too_large")


def test_a_full_queue_refuses_at_once_and_recovers(classifier: PetitionClassifier) -> None:
    slow = _Gated(classifier)
    with local_client(create_app(Settings(max_queue=2, max_batch=2), slow)) as client:
        waiting = threading.Thread(target=lambda: client.post("/v1/classify", json={"text": "một"}))
        waiting.start()
        slow.entered.wait(10)
        filling = threading.Thread(
            target=lambda: client.post("/v1/classify/batch", json={"petitions": [{"text": "hai"}, {"text": "ba"}]})
        )
        filling.start()
        while "petitions_queue_depth 2.0" not in client.get("/metrics").text:
            pass
        refused = client.post("/v1/classify", json={"text": "bốn"})
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["error"]["kind"] == "queue_full"
        slow.gate.set()
        waiting.join()
        filling.join()
        assert client.post("/v1/classify", json={"text": POTHOLE}).status_code == 200


def test_a_failing_batch_fails_its_own_requests_only(classifier: PetitionClassifier) -> None:
    with local_client(create_app(Settings(), _Failing(classifier))) as client:
        failed = client.post("/v1/classify", json={"text": "làm hỏng"})
        assert (failed.status_code, failed.json()["error"]["kind"]) == (500, "classification_failed")
        assert client.post("/v1/classify", json={"text": POTHOLE}).status_code == 200
        assert client.get("/readyz").status_code == 200


def test_closing_answers_what_was_accepted(classifier: PetitionClassifier) -> None:
    slow = _Gated(classifier)
    app = create_app(Settings(), slow)

    async def scenario() -> list[Classification | PetitionError]:
        async with app.router.lifespan_context(app):
            accepted = asyncio.create_task(app.state.batcher.submit(["Mất điện ba ngày nay", POTHOLE]))
            await asyncio.to_thread(slow.entered.wait, 10)
            threading.Timer(0.2, slow.gate.set).start()
        return await accepted

    assert all(isinstance(answer, Classification) for answer in asyncio.run(scenario()))


def test_operations(client: TestClient, classifier: PetitionClassifier) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["model_version"] == classifier.bundle.manifest.version
    client.post("/v1/classify", json={"text": POTHOLE})
    metrics = client.get("/metrics").text
    assert 'petitions_classified_total{category="transport_infrastructure"' in metrics
    assert 'petitions_http_requests_total{method="POST",route="/v1/classify",status="200"}' in metrics
    model = client.get("/v1/model").json()
    assert model["version"] == classifier.bundle.manifest.version
    assert model["running_segmenter"].startswith("underthesea")
    taxonomy = client.get("/v1/taxonomy").json()
    assert len(taxonomy["categories"]) == 21
    assert taxonomy["categories"][0]["lead"]["name"].startswith("Sở")


def test_no_word_of_a_petition_reaches_logs_metrics_or_errors(
    classifier: PetitionClassifier, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "Lò Văn Bí Mật ở bản Xa Lắc"
    with local_client(create_app(Settings(), _Failing(classifier))) as client:
        answers = [
            client.post("/v1/classify", json={"text": f"{secret} làm hỏng"}),
            client.post("/v1/classify", json={"text": secret, "received_at": secret}),
            client.post("/v1/classify", json={"text": [secret]}),
            client.post("/v1/classify/batch", json={"petitions": [{"text": secret, "commune": [secret]}]}),
            client.post("/v1/classify", content=f'{{"text": "{secret}"'.encode()),
        ]
        told = "".join(answer.text for answer in answers) + client.get("/metrics").text
    assert all(answer.status_code >= 400 for answer in answers)
    assert "Bí Mật" not in told and "B\\u00ed M" not in told
    assert "Bí Mật" not in caplog.text


def test_the_console_is_served_and_needs_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "Hàng đợi" in page.text
    assert "http://" not in page.text and "https://" not in page.text
    for file in re.findall(r'"(/console/static/[^"]+)"', page.text):
        assert client.get(file).status_code == 200


def test_openapi_is_the_committed_one(client: TestClient) -> None:
    committed = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    assert client.get("/openapi.json").json() == committed, "the API changed: run `python -m tests.write_openapi`"


class _Wrapped(PetitionClassifier):
    def __init__(self, inner: PetitionClassifier) -> None:
        super().__init__(inner.bundle, inner.reader, inner.encoder)


class _Gated(_Wrapped):
    """Holds every batch until the gate opens."""

    def __init__(self, inner: PetitionClassifier) -> None:
        super().__init__(inner)
        self.entered, self.gate = threading.Event(), threading.Event()

    def classify_many(self, texts: Sequence[object]) -> list[Classification | PetitionError]:
        self.entered.set()
        assert self.gate.wait(20)
        return super().classify_many(texts)


class _Failing(_Wrapped):
    """Breaks on one text, as a fault in a library would."""

    def classify_many(self, texts: Sequence[object]) -> list[Classification | PetitionError]:
        for text in texts:
            if str(text).endswith("làm hỏng"):
                raise RuntimeError(f"cannot read {text}")
        return super().classify_many(texts)
