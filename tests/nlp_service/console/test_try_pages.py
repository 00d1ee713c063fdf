"""With the shipped model, since what moved an answer is part of the page."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select

from nlp_service.api import create_app
from nlp_service.encoder import Runtime
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.pipeline import PetitionClassifier
from nlp_service.roles import Role
from nlp_service.settings import Settings
from nlp_service.store import metadata
from tests.nlp_service.console.visits import OWN, csrf, log_in
from tests.nlp_service.offices import FLOOD, POTHOLE, local_client, shipped_rules

ROOT = Path(__file__).resolve().parents[3]
HTMX = {**OWN, "HX-Request": "true"}


@pytest.fixture(scope="module")
def shipped() -> PetitionClassifier:
    return PetitionClassifier.load(ROOT / "models" / "current", Runtime.ONNXRUNTIME, max_chars=2_000)


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """One kind of database is enough: nothing is asked of it."""
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def client(store_url: str, shipped: PetitionClassifier) -> Iterator[TestClient]:
    with local_client(create_app(Settings(store=store_url, max_chars=2_000), shipped, shipped_rules())) as client:
        yield client


def tried(client: TestClient, text: str, headers: dict[str, str] = HTMX, status: int = 200) -> str:
    answer = client.post("/console/try", data={"csrf": csrf(client), "text": text}, headers=headers)
    assert answer.status_code == status
    return answer.text


def test_the_answer_says_what_it_is_where_it_goes_by_when_and_why(client: TestClient) -> None:
    found = tried(client, POTHOLE)
    assert "<strong>Hạ tầng giao thông, vận tải</strong>" in found and found.count("<meter") == 4
    assert "Chuyển: <strong>Phòng Kinh tế xã Nga Thắng</strong>" in found and "<dd>Xã Nga Thắng</dd>" in found
    assert "ngày làm việc" in found and "Các mốc" in found
    assert "<mark>ổ gà</mark>" in found
    assert client.get("/v1/model").json()["version"] in found
    assert "<main" not in found


def test_without_script_the_whole_page_comes_back_with_the_text_in_its_field(client: TestClient) -> None:
    found = tried(client, "\n" + POTHOLE + "\nDòng hai.", OWN)
    field = found.split("<textarea", 1)[1].split(">", 1)[1].split("</textarea>", 1)[0]
    # HTML drops the first line break of a field.
    assert field.replace("\r", "") == "\n\n" + POTHOLE + "\nDòng hai."
    assert "Máy đọc thành" in found and "<main" in found


def test_an_emergency_is_shouted_and_says_whom_to_call(client: TestClient) -> None:
    assert "112, 113, 114, 115" in tried(client, FLOOD)
    assert "KHẨN CẤP" not in tried(client, POTHOLE)


def test_nothing_of_a_try_is_stored(client: TestClient, engine: Engine) -> None:
    def sizes() -> dict[str, int]:
        with engine.connect() as connection:
            return {name: connection.scalar(select(func.count()).select_from(table)) or 0 for name, table in tables}

    tables = list(metadata.tables.items())
    before = sizes()
    tried(client, FLOOD)
    assert sizes() == before and before["petitions"] == 0


def test_a_text_that_cannot_be_read_is_refused_in_vietnamese_and_stays(client: TestClient) -> None:
    assert "hãy nhập ít nhất một chữ" in tried(client, "… !", status=422)
    long = "Đường hỏng. " * 200
    found = tried(client, long, OWN, status=413)
    assert "Đơn quá dài: 2.400 ký tự, tối đa 2.000" in found and long.strip() in found


def test_a_full_queue_is_said_in_vietnamese(client: TestClient) -> None:
    async def busy(texts: object) -> object:
        raise PetitionError(ErrorKind.QUEUE_FULL, "512 petitions are waiting")

    state = client.app.state  # type: ignore[attr-defined]
    state.office = replace(state.office, classify=busy)
    found = tried(client, POTHOLE, status=429)
    assert "Hệ thống đang bận" in found and "waiting" not in found


def test_what_is_in_a_petition_is_shown_and_not_run(client: TestClient) -> None:
    found = tried(client, f"<script>alert(1)</script> {POTHOLE}", OWN)
    assert "<script>alert" not in found and "&lt;script&gt;" in found


def test_the_text_is_never_in_an_address(client: TestClient) -> None:
    assert 'method="post" action="/console/try"' in client.get("/console/try").text
    assert POTHOLE not in client.get("/console/try", params={"text": POTHOLE}).text


def test_who_may_classify_may_try_and_an_auditor_may_not(client: TestClient, engine: Engine) -> None:
    log_in(client, engine, Role.OFFICER)
    assert "Máy đọc thành" in tried(client, POTHOLE)
    log_in(client, engine, Role.AUDITOR)
    assert client.get("/console/try").status_code == 403
    assert "Vai trò của bạn không được làm việc này" in tried(client, POTHOLE, OWN, status=403)
