import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update

from nlp_service.api import create_app
from nlp_service.jobs import State
from nlp_service.roles import Role
from nlp_service.settings import Settings
from nlp_service.store import jobs, writing
from tests.nlp_service.console.visitors import Visitor, at_this_machine, hidden, logged_in
from tests.nlp_service.job_fakes import answer, rest, rows, wait_for
from tests.nlp_service.offices import FixedClassifier

HERE = "/console/jobs"
POLLS = 'hx-trigger="every 2s"'
NAME = "đơn <b>cũ.csv"


def build(directory: Path) -> FastAPI:
    settings = Settings(store=f"sqlite:///{directory / 's.db'}", jobs=directory / "jobs", max_job_bytes=2_500_000)
    return create_app(settings, FixedClassifier(), job_classify=answer)  # type: ignore[arg-type]


@pytest.fixture
def visitor(tmp_path: Path) -> Iterator[Visitor]:
    with at_this_machine(build(tmp_path)) as visitor:
        yield visitor


@pytest.fixture
def idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Visitor]:
    """Files are taken in, and none is labelled."""
    rest(monkeypatch)
    with at_this_machine(build(tmp_path)) as visitor:
        yield visitor


def send(visitor: Visitor, data: bytes = b"", name: str = NAME, **changes: Any) -> httpx2.Response:
    """Fill in the page's own form, and send it."""
    page = visitor.get(HERE).text
    form = page.split(f'action="{HERE}"', 1)[1].split("</form>", 1)[0]
    fields = {**hidden(form), **dict.fromkeys(re.findall(r'<(?:input|select) name="(\w+)"', form), ""), **changes}
    own = {"Origin": str(visitor.client.base_url).rstrip("/")}
    sent: httpx2.Response = visitor.client.post(HERE, data=fields, files={"file": (name, data or rows(3))}, headers=own)
    return sent


def ids(page: str) -> list[str]:
    return re.findall(r'<h3 id="job-([0-9a-f]{32})">', page)


def set_job(visitor: Visitor, **values: Any) -> None:
    with writing(visitor.client.app.state.engine) as connection:  # type: ignore[attr-defined]
        connection.execute(update(jobs).values(values))


def test_a_file_goes_in_and_comes_back_labelled(visitor: Visitor) -> None:
    page = send(visitor, rows(40)).text
    assert "Đã nhận tệp đơn &lt;b&gt;cũ.csv." in page and POLLS in page
    [job_id] = ids(page)
    wait_for(lambda: "Tải kết quả" in visitor.get(f"{HERE}/list").text)
    part = visitor.get(f"{HERE}/list").text
    assert "<main" not in part and POLLS not in part and "40 dòng" in part and "lưu đến" in part
    result = visitor.get(f"{HERE}/{job_id}/result")
    assert result.headers["content-disposition"].startswith("attachment; filename*=utf-8''%C4%91%C6%A1n")
    assert result.text.count("transport_infrastructure") == 40


def test_progress_is_told_in_words(idle: Visitor) -> None:
    send(idle)
    assert "Đang chờ" in idle.get(f"{HERE}/list").text
    set_job(idle, state=State.RUNNING, rows_done=0, rows_total=None)
    part = idle.get(f"{HERE}/list").text
    assert "đang đọc tệp" in part and POLLS in part and "<progress" in part
    for done, said in ((512, "512/20.000 dòng, 100 dòng/giây, còn khoảng 3 phút"), (19_000, "còn dưới một phút")):
        set_job(idle, rows_done=done, rows_total=20_000, rows_per_second=100.0)
        assert said in idle.get(f"{HERE}/list").text
    set_job(idle, rows_done=20_000)
    assert "đang ghi kết quả" in idle.get(f"{HERE}/list").text


def test_a_failure_is_told_in_vietnamese_with_what_an_admin_needs(idle: Visitor) -> None:
    send(idle)
    set_job(idle, state=State.FAILED, error={"kind": "invalid_file", "message": "đơn.csv has no column 'x'"})
    part = idle.get(f"{HERE}/list").text
    assert "Không đọc được tệp" in part and "has no column &#39;x&#39;" in part and POLLS not in part


def test_cancelling_removes_the_file_and_leads_back_to_the_list(idle: Visitor, tmp_path: Path) -> None:
    [job_id] = ids(send(idle).text)
    page = idle.send(idle.get(HERE).text, f"{HERE}/{job_id}/cancel").text
    assert "Đã hủy" in page and "Hủy và xóa tệp" not in page
    assert list((tmp_path / "jobs").iterdir()) == []
    # A page that was open elsewhere still had the button.
    assert "Đã hủy" in idle.post(f"{HERE}/{job_id}/cancel").text


def test_a_file_that_is_not_taken_is_refused_in_vietnamese_on_the_page(
    idle: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for data, name, status, said in (
        (b"x", "đơn.pdf", 422, "Không nhận loại tệp này. Hãy gửi tệp .csv"),
        (b"a" * 2_500_001, "đơn.csv", 413, "Tệp quá lớn: tối đa 2,5 MB"),
    ):
        refused = send(idle, data, name)
        assert refused.status_code == status and said in refused.text and f'action="{HERE}"' in refused.text
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 2_000})())
    full = send(idle, b"a" * 50_000)
    assert full.status_code == 503 and "Máy chủ không đủ chỗ: cần" in full.text and "còn 2,0 kB" in full.text
    assert list((tmp_path / "jobs").glob("*")) == [] and ids(idle.get(HERE).text) == []


def test_without_the_token_or_from_another_site_nothing_is_taken(
    idle: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lan = logged_in(idle.client.app, monkeypatch, "lan", Role.REVIEWER)  # type: ignore[arg-type]
    changed = send(lan, csrf="another")
    assert changed.status_code == 403 and "tệp chưa được nhận" in changed.text
    token = re.search(r'name="csrf" value="([^"]+)"', lan.get(HERE).text)
    assert token is not None
    foreign = {"Origin": "http://elsewhere.example"}
    fields, files = {"csrf": token.group(1)}, {"file": ("a.csv", b"x")}
    assert lan.client.post(HERE, data=fields, files=files, headers=foreign).status_code == 403
    assert list((tmp_path / "jobs").glob("*")) == [] and ids(lan.get(HERE).text) == []


def test_people_see_their_own_files_and_an_admin_whose_they_are(idle: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    app: Any = idle.client.app
    lan = logged_in(app, monkeypatch, "lan", Role.REVIEWER)
    hung = logged_in(app, monkeypatch, "hung", Role.OFFICER, bodies=["so_xay_dung"])
    admin = logged_in(app, monkeypatch, "chu", Role.ADMIN)
    [hers] = ids(send(lan).text)
    [his] = ids(send(hung).text)
    assert ids(lan.get(HERE).text) == [hers] and "lan ·" not in lan.get(f"{HERE}/list").text
    assert ids(admin.get(HERE).text) == [his, hers] and "· lan" in admin.get(f"{HERE}/list").text
    set_job(idle, state=State.DONE, rows_total=3, finished_at=datetime.now(UTC))
    gone = hung.get(f"{HERE}/{hers}/result")
    assert gone.status_code == 404 and "Không có tệp này" in gone.text
    hung.post(f"{HERE}/{hers}/cancel")
    assert "Xong" in lan.get(f"{HERE}/list").text


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.INTAKE])
def test_other_roles_are_not_let_in(idle: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: Role) -> None:
    other = logged_in(idle.client.app, monkeypatch, "khac", role)  # type: ignore[arg-type]
    own = {"Origin": "http://donthu.example"}
    for refused in (other.get(HERE), other.client.post(HERE, files={"file": ("a.csv", b"x")}, headers=own)):
        assert refused.status_code == 403 and "Vai trò của bạn" in refused.text
    stranger = TestClient(other.client.app, base_url="http://donthu.example", client=("10.0.0.9", 5))
    answer = stranger.post(HERE, files={"file": ("a.csv", b"x")}, headers=own, follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"].startswith("/console/login")
    assert not (tmp_path / "jobs").exists()
