import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, delete, update

from nlp_service import audit_search
from nlp_service.api import create_app
from nlp_service.audit import Entry, append, verify
from nlp_service.console.audit_pages import ACTIONS, PAGE, problem, told
from nlp_service.roles import Role
from nlp_service.settings import Settings
from nlp_service.store import audit, audit_head, writing
from tests.nlp_service.console.visits import OWN, csrf, log_in
from tests.nlp_service.offices import POTHOLE, FixedClassifier, local_client, shipped_rules

NOON = datetime(2026, 11, 27, 5, 0, tzinfo=UTC)


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """One kind of database is enough here: what is asked of it is tested on both in test_audit_search.py."""
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def client(store_url: str) -> Iterator[TestClient]:
    with local_client(create_app(Settings(store=store_url), FixedClassifier(), shipped_rules())) as client:  # type: ignore[arg-type]
        yield client


def write(engine: Engine, *entries: Entry) -> None:
    with writing(engine) as connection:
        for number, entry in enumerate(entries):
            append(connection, NOON + timedelta(minutes=number), [entry])


def rows(page: str) -> list[str]:
    """The table's rows as they read."""
    body = page.split("<tbody>", 1)[1].split("</tbody>", 1)[0] if "<tbody>" in page else ""
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)).strip() for row in body.split("<tr>")[1:]]


def checked(client: TestClient, head: str = "", **headers: str) -> str:
    answer = client.post("/console/audit/verify", data={"csrf": csrf(client), "head": head}, headers={**OWN, **headers})
    assert answer.status_code in (200, 422)
    return answer.text


def test_rows_are_told_in_words_with_names_instead_of_ids(client: TestClient, engine: Engine) -> None:
    change = {"category": {"old": "other", "new": "land_administration"}, "queued": {"old": True, "new": False}}
    write(
        engine,
        Entry("lan", "user.create", "user:hung", {"role": "officer", "communes": [], "bodies": ["so_xay_dung"]}),
        Entry("lan", "petition.decide", "petition:7", {"operation": 3, **change, "due_at": {"old": None, "new": "x"}}),
    )
    page = client.get("/console/audit").text
    newest, older = rows(page)
    assert newest.startswith("2 27/11/2026 12:01:00 lan Quyết định Đơn 7")
    assert "Lĩnh vực Khác → Đất đai" in newest and "Trong hàng đợi có → không" in newest
    assert 'href="/console/petitions/7"' in page
    assert "Tạo người dùng Người dùng hung" in older
    assert "Vai trò Cán bộ đơn vị" in older and "Xã, phường không có" in older


def test_times_in_a_row_are_those_of_vietnam() -> None:
    assert list(told({"due_at": {"old": None, "new": "2026-12-01T16:59:59+00:00"}}, {})) == [
        ("Hạn", "không có → 01/12/2026 23:59:59")
    ]


def test_what_somebody_wrote_into_a_row_is_not_run(client: TestClient, engine: Engine) -> None:
    write(engine, Entry("<script>alert(1)</script>", "<b>x", "petition:<i>", {"<u>": "<img src=x>"}))
    page = client.get("/console/audit").text
    assert not re.search(r"<script>alert|<b>x|<i>|<u>|<img", page)


def test_a_petition_that_came_in_is_told_without_its_words(client: TestClient) -> None:
    client.post("/v1/petitions", json={"petitions": [{"text": POTHOLE}]})
    [row] = rows(client.get("/console/audit").text)
    assert "Nhận đơn" in row and "Đơn 1" in row
    assert "Hạ tầng giao thông, vận tải" in row and POTHOLE[:10] not in row


def test_pages_go_back_through_the_log_and_keep_the_filter(client: TestClient, engine: Engine) -> None:
    write(engine, *(Entry("lan", "petition.read", f"petition:{n}", {}) for n in range(PAGE + 10)))
    page = client.get("/console/audit?actor=lan").text
    assert len(rows(page)) == PAGE
    link = re.search(r'href="(/console/audit\?actor=lan&(?:amp;)?before=\d+)"', page)
    assert link is not None
    older = client.get(link.group(1).replace("&amp;", "&")).text
    assert len(rows(older)) == 10 and "Về mới nhất" in older and "Cũ hơn" not in older


def test_the_filters_of_the_page_are_understood(client: TestClient, engine: Engine) -> None:
    write(
        engine,
        Entry("lan", "petition.read", "petition:1", {}),
        Entry("hùng", "petition.read", "petition:1", {}),
        Entry("hùng", "petition.status", "petition:2", {}),
    )

    def found(query: str) -> list[str]:
        return [row.split()[0] for row in rows(client.get(f"/console/audit?{query}").text)]

    assert found("actor=hùng") == ["3", "2"]
    assert found("petition=1&action=petition.read") == ["2", "1"]
    assert found("action=petition.status&first=2026-11-27&last=2026-11-27") == ["3"]
    assert found("last=2026-11-26") == []
    assert "Không có dòng nào khớp bộ lọc" in client.get("/console/audit?last=2026-11-26").text


def test_a_filter_that_cannot_be_is_refused_in_vietnamese(client: TestClient) -> None:
    for query, said in (("petition=abc", "Số đơn chỉ gồm chữ số"), ("first=32", "Ngày không đúng")):
        answer = client.get(f"/console/audit?{query}")
        assert answer.status_code == 422 and said in answer.text
    assert client.get("/console/audit?last=9999-12-31").status_code == 422


def test_a_long_search_stops_and_offers_to_go_on(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(engine, *(Entry("lan", "petition.read", f"petition:{n}", {}) for n in range(6)))
    monkeypatch.setattr(audit_search.search, "__defaults__", (None, 4))
    page = client.get("/console/audit?actor=hùng").text
    assert "Chưa thấy dòng nào khớp" in page and "Tìm tiếp" in page
    assert "Đã tìm ngược đến 27/11/2026 12:02:00" in page


def test_a_whole_chain_is_said_to_be_whole_with_its_head(client: TestClient, engine: Engine) -> None:
    write(engine, *(Entry("lan", "petition.read", f"petition:{n}", {}) for n in range(3)))
    alone = checked(client, **{"HX-Request": "true"})
    assert "Chuỗi còn nguyên" in alone and "3 dòng" in alone and "<main" not in alone
    with engine.connect() as connection:
        head = verify(connection).head
    assert head in alone
    write(engine, Entry("lan", "petition.read", "petition:9", {}))
    whole_page = checked(client, f" {head.upper()} ")
    assert "mã đã ghi trước đây vẫn nằm trong chuỗi" in whole_page and "<main" in whole_page


def test_a_head_that_is_not_in_the_chain_or_is_none_is_told_apart(client: TestClient, engine: Engine) -> None:
    write(engine, Entry("lan", "petition.read", "petition:1", {}))
    assert "hoặc mã chép sai, hoặc cả chuỗi đã bị viết lại" in checked(client, "a" * 64)
    assert "gồm đúng 64 ký tự" in checked(client, "abc")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (delete(audit).where(audit.c.seq == 2), "Thiếu dòng 2"),
        (update(audit).where(audit.c.seq == 2).values(payload="{}"), "Dòng 2 đã bị sửa"),
        (update(audit).where(audit.c.seq == 2).values(previous="0" * 64), "Dòng 2 không nối"),
        (delete(audit).where(audit.c.seq == 4), "Chuỗi dừng ở dòng 3"),
        (update(audit_head).values(seq=9), "Chuỗi dừng ở dòng 4"),
    ],
)
def test_a_broken_chain_is_said_in_words_with_the_place(
    client: TestClient, engine: Engine, damage: object, said: str
) -> None:
    write(engine, *(Entry("lan", "petition.read", f"petition:{n}", {"n": n}) for n in range(4)))
    with writing(engine) as connection:
        connection.execute(damage)  # type: ignore[call-overload]
        assert problem(verify(connection)) is not None
    page = checked(client)
    assert "Chuỗi KHÔNG còn nguyên" in page and said in page


@pytest.mark.parametrize("role", [Role.INTAKE, Role.OFFICER, Role.REVIEWER])
def test_who_may_not_audit_sees_neither_log_nor_chain(client: TestClient, engine: Engine, role: Role) -> None:
    log_in(client, engine, role)
    assert client.get("/console/audit").status_code == 403
    answer = client.post("/console/audit/verify", data={"csrf": csrf(client)}, headers=OWN)
    assert answer.status_code == 403 and "Vai trò của bạn không được làm việc này" in answer.text


def test_an_auditor_sees_the_log_and_who_logged_in(client: TestClient, engine: Engine) -> None:
    log_in(client, engine, Role.AUDITOR)
    [row] = rows(client.get("/console/audit").text)
    assert "khóa auditor Đăng nhập Khóa API khóa auditor" in row
    assert '<option value="khóa auditor">' in client.get("/console/audit").text
    assert "Chuỗi còn nguyên" in checked(client)


def test_the_names_of_actions_are_all_different() -> None:
    assert len(set(ACTIONS.values())) == len(ACTIONS)
