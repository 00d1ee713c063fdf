import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from nlp_service.api import create_app
from nlp_service.console.desk_pages import parts_of, sentences, suggested_parts
from nlp_service.settings import Settings
from tests.nlp_service.offices import BRIBE, DOUBTFUL, FLOOD, POTHOLE, FixedClassifier, local_client

OWN = {"Origin": "http://127.0.0.1"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    app = create_app(Settings(store=f"sqlite:///{tmp_path / 'desk.db'}"), FixedClassifier())  # type: ignore[arg-type]
    with local_client(app) as client:
        yield client


def hand_in(client: TestClient, *texts: str) -> list[int]:
    answer = client.post("/v1/petitions", json={"petitions": [{"text": text} for text in texts]})
    return [receipt["petition"]["id"] for receipt in answer.json()["results"]]


def fields(page: str) -> dict[str, str]:
    """What the verdict's form would send as it stands."""
    form = page.split('id="verdict"', 1)[1].split("</form>", 1)[0]
    found = {}
    for tag in re.findall(r"<input [^>]*>", form):
        given = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if given.get("type") in ("radio", "checkbox") and " checked" not in tag:
            continue
        if "name" in given:
            found[given["name"]] = given.get("value", "")
    return found


def decide(client: TestClient, petition: int, **changes: str) -> str:
    page = client.get(f"/console/petitions/{petition}?flow=1").text
    answer = client.post(f"/console/petitions/{petition}/decide", data={**fields(page), **changes}, headers=OWN)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_the_first_page_of_a_clerk_is_the_queue(client: TestClient) -> None:
    hand_in(client, DOUBTFUL, POTHOLE)
    page = client.get("/console/")
    assert "Hàng đợi: 1 đơn" in page.text
    assert "Việc hôm trước chưa xong" in page.text


def test_an_empty_queue_says_so_in_words(client: TestClient) -> None:
    assert "Hết đơn chờ" in client.get("/console/queue").text
    assert "Không có đơn nào khớp bộ lọc" in client.get("/console/queue?category=other").text


def test_confirming_sends_the_petition_on_and_brings_the_next(client: TestClient) -> None:
    first, second = hand_in(client, DOUBTFUL, DOUBTFUL + " Nữa.")
    page = decide(client, first)
    assert f"<h1>Đơn {second}</h1>" in page
    assert f"Đã xác nhận đơn {first}" in page
    assert client.get(f"/v1/petitions/{first}").json()["status"] == "routed"


def test_a_correction_is_told_with_where_the_petition_went_and_can_be_undone(client: TestClient) -> None:
    [petition] = hand_in(client, DOUBTFUL)
    page = decide(client, petition, category="land_administration", commune="Phường Hạc Thành")
    found = client.get(f"/v1/petitions/{petition}").json()
    assert (found["category"], found["place"]["commune"]) == ("land_administration", "Phường Hạc Thành")
    assert found["routing"]["lead"]["name"] in page
    undo = re.search(r"/console/operations/\d+/undo", page)
    assert undo is not None
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)
    assert csrf is not None
    back = client.post(undo.group(), data={"csrf": csrf.group(1)}, headers=OWN)
    assert f"<h1>Đơn {petition}</h1>" in back.text and "Đã hoàn tác" in back.text
    assert client.get(f"/v1/petitions/{petition}").json()["category"] == "other"


def test_a_commune_that_there_is_not_is_said_beside_the_form(client: TestClient) -> None:
    [petition] = hand_in(client, DOUBTFUL)
    form = {**fields(client.get(f"/console/petitions/{petition}").text), "commune": "Xã Không Đâu"}
    answer = client.post(f"/console/petitions/{petition}/decide", data=form, headers={**OWN, "HX-Request": "true"})
    assert answer.status_code == 422
    assert answer.headers["HX-Retarget"] == "#notice"
    assert "Không có xã, phường nào tên như vậy" in answer.text


def test_where_it_would_go_is_shown_before_it_is_sent(client: TestClient) -> None:
    [petition] = hand_in(client, DOUBTFUL)
    form = {**fields(client.get(f"/console/petitions/{petition}").text), "category": "health_food_safety"}
    answer = client.post(f"/console/petitions/{petition}/route", data=form, headers=OWN)
    assert "Sở Y tế" in answer.text
    assert client.get(f"/v1/petitions/{petition}").json()["version"] == 1


def test_without_the_token_of_the_page_nothing_happens(client: TestClient) -> None:
    [petition] = hand_in(client, DOUBTFUL)
    form = {**fields(client.get(f"/console/petitions/{petition}").text), "csrf": "x"}
    assert client.post(f"/console/petitions/{petition}/decide", data=form, headers=OWN).status_code == 403
    assert client.get(f"/v1/petitions/{petition}").json()["version"] == 1


def test_a_petition_is_shown_as_text_and_never_run(client: TestClient) -> None:
    [petition] = hand_in(client, '<script>alert(1)</script> Việc "hôm trước" & chưa xong <b>nhé</b>.')
    page = client.get(f"/console/petitions/{petition}").text
    assert "<script>alert" not in page and "<b>nhé" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_lines_of_a_letter_stay_lines(client: TestClient) -> None:
    [petition] = hand_in(client, "Kính gửi: UBND xã\n\nViệc hôm trước chưa xong.\nXin cảm ơn.")
    page = client.get(f"/console/petitions/{petition}").text
    assert "<p>Kính gửi: UBND xã</p><p>Việc hôm trước chưa xong.</p><p>Xin cảm ơn.</p>" in page


def test_a_petition_that_there_is_not_is_a_page_for_people(client: TestClient) -> None:
    answer = client.get("/console/petitions/999")
    assert answer.status_code == 404
    assert "Không có đơn này" in answer.text and "<main" in answer.text


def test_an_emergency_is_seen_at_once(client: TestClient) -> None:
    [petition] = hand_in(client, FLOOD)
    assert "KHẨN CẤP" in client.get(f"/console/petitions/{petition}").text


def test_merging_from_the_page_closes_the_repeat(client: TestClient) -> None:
    first, second = hand_in(client, DOUBTFUL, DOUBTFUL + " Nữa.")
    form = {**fields(client.get(f"/console/petitions/{second}").text), "other": str(first)}
    client.post(f"/console/petitions/{second}/merge", data=form, headers=OWN)
    assert client.get(f"/v1/petitions/{second}").json()["status"] == "merged"


def test_a_merge_with_itself_is_refused_in_words(client: TestClient) -> None:
    [first] = hand_in(client, DOUBTFUL)
    form = {**fields(client.get(f"/console/petitions/{first}").text), "other": str(first)}
    answer = client.post(f"/console/petitions/{first}/merge", data=form, headers={**OWN, "HX-Request": "true"})
    assert answer.status_code == 422 and "chính nó" in answer.text


def test_splitting_makes_two_petitions_each_with_what_is_common(client: TestClient) -> None:
    letter = "Kính gửi UBND xã.\n1. Đường nhiều ổ gà.\n2. Việc hôm trước chưa xong."
    [whole] = hand_in(client, letter)
    page = client.get(f"/console/petitions/{whole}/split").text
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)
    assert csrf is not None
    form = {"csrf": csrf.group(1), "version": "1", "piece-0": "all", "piece-1": "1", "piece-2": "2"}
    client.post(f"/console/petitions/{whole}/split", data=form, headers=OWN)
    parts = [link["petition_id"] for link in client.get(f"/v1/petitions/{whole}").json()["links"]]
    texts = [client.get(f"/v1/petitions/{part}").json()["text"] for part in parts]
    assert texts == ["Kính gửi UBND xã.\n1. Đường nhiều ổ gà.", "Kính gửi UBND xã.\n2. Việc hôm trước chưa xong."]


def test_one_part_is_no_split(client: TestClient) -> None:
    [whole] = hand_in(client, DOUBTFUL)
    page = client.get(f"/console/petitions/{whole}").text
    form = {**fields(page), "piece-0": "1"}
    answer = client.post(f"/console/petitions/{whole}/split", data=form, headers={**OWN, "HX-Request": "true"})
    assert answer.status_code == 422 and "ít nhất hai phần" in answer.text


def test_a_status_is_changed_with_its_reason(client: TestClient) -> None:
    [petition] = hand_in(client, BRIBE)
    page = client.get(f"/console/petitions/{petition}").text
    form = {"csrf": fields(page)["csrf"], "version": "1", "status": "rejected", "reason": "Không có địa chỉ."}
    client.post(f"/console/petitions/{petition}/status", data=form, headers=OWN)
    found = client.get(f"/v1/petitions/{petition}").json()
    assert (found["status"], found["decisions"][-1]["reason"]) == ("rejected", "Không có địa chỉ.")


def test_a_list_of_matters_is_cut_at_its_items() -> None:
    pieces = sentences("Kính gửi UBND.\n1. Đường hỏng. Đã báo nhiều lần.\n2. Nước bẩn.")
    assert pieces == ["Kính gửi UBND.", "1. Đường hỏng.", "Đã báo nhiều lần.", "2. Nước bẩn."]
    assert suggested_parts(pieces) == ["all", "1", "1", "2"]


def test_what_belongs_to_no_part_is_left_out() -> None:
    assert parts_of(["a", "b", "c"], {"piece-0": "1", "piece-1": "none", "piece-2": "2"}) == ["a", "c"]
