import csv
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from python_calamine import CalamineWorkbook

from nlp_service.console import inbox_pages
from nlp_service.roles import Role
from tests.nlp_service.console.visitors import Visitor, at_this_machine, hand_in, logged_in, new_app, shown
from tests.nlp_service.offices import BRIBE, DOUBTFUL, FLOOD, POTHOLE, shipped_rules

ROADS = "phong_kinh_te"
HERE = f"/console/bodies/{ROADS}"


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return new_app(tmp_path)


@pytest.fixture
def visitor(app: FastAPI) -> Iterator[Visitor]:
    with at_this_machine(app) as visitor:
        yield visitor


def potholes(visitor: Visitor) -> tuple[int, int]:
    """One overdue for long, one that came in just now."""
    [old] = hand_in(visitor, POTHOLE, days_ago=60)
    [new] = hand_in(visitor, POTHOLE + " Sửa sớm giúp dân.")
    return old, new


def status(visitor: Visitor, petition: int) -> str:
    return str(visitor.client.get(f"/v1/petitions/{petition}").json()["status"])


def step(visitor: Visitor, page: str, petition: int, step: str, **changes: str) -> str:
    """Press a button of one petition in the list."""
    row = next(row for row in page.split("<li ") if f"/console/petitions/{petition}" in row)
    assert f'name="step" value="{step}"' in row
    answer = visitor.send(row, f"{HERE}/status", step=step, **changes)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_bodies_stand_with_their_counts_the_overdue_ones_first(visitor: Visitor) -> None:
    potholes(visitor)
    hand_in(visitor, *(f"{DOUBTFUL} {i}" for i in range(3)))
    page = visitor.get("/console/bodies").text
    rows = re.findall(r"<tr>\s*<th scope=\"row\">(.*?)</tr>", page, re.DOTALL)
    told = [re.sub(r"<[^>]+>|\s+", " ", row).split() for row in rows]
    assert [(" ".join(cells[:-3]), *map(int, cells[-3:])) for cells in told] == [
        (shipped_rules().routing.name(ROADS), 1, 0, 2),
        ("Sở Xây dựng", 1, 0, 2),
        ("Văn phòng UBND tỉnh", 0, 0, 3),
    ]
    assert f'href="{HERE}?due=overdue">1</a>' in page


def test_bodies_can_be_counted_by_what_they_have_to_do(visitor: Visitor) -> None:
    potholes(visitor)
    page = visitor.get("/console/bodies?part=support").text
    assert "Sở Xây dựng" in page and "Phòng Kinh tế" not in page
    assert 'href="/console/bodies/so_xay_dung?part=support&amp;due=overdue"' in page


def test_without_open_petitions_the_table_says_so(visitor: Visitor) -> None:
    assert "Không đơn vị nào có đơn đang mở" in visitor.get("/console/bodies").text


def test_an_inbox_begins_with_what_is_overdue_and_says_so(visitor: Visitor) -> None:
    old, new = potholes(visitor)
    page = visitor.get(HERE).text
    assert shown(page) == [old, new]
    headings = re.findall(r'<h2 class="results[^"]*">([^<]*)</h2>', page)
    assert headings == ["Quá hạn", "Còn hạn"]
    assert page.index('<h2 class="results over">') < page.index(f"Đơn {old}<") < page.index(">Còn hạn<")
    assert "Đang mở 2 đơn" in page and "quá hạn 1</a>" in page
    assert page.count('<span class="tag">Chủ trì</span>') == 2


def test_a_supporting_body_is_told_who_leads(visitor: Visitor) -> None:
    hand_in(visitor, POTHOLE)
    page = visitor.get("/console/bodies/so_xay_dung").text
    assert '<span class="tag">Phối hợp</span>' in page and "chủ trì: Phòng Kinh tế xã Nga Thắng" in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("part=lead", ["old", "new"]),
        ("part=support", []),
        ("due=overdue", ["old"]),
        ("status=in_progress", []),
        ("category=transport_infrastructure", ["old", "new"]),
        ("words=tuyệt+chủng", ["old", "new"]),
    ],
)
def test_an_inbox_keeps_to_its_filter(visitor: Visitor, query: str, expected: list[str]) -> None:
    old, new = potholes(visitor)
    page = visitor.get(f"{HERE}?{query}").text
    assert shown(page) == [{"old": old, "new": new}[name] for name in expected]
    if not expected:
        assert "Không có đơn nào khớp bộ lọc" in page


def test_a_filter_that_means_nothing_is_said(visitor: Visitor) -> None:
    potholes(visitor)
    answer = visitor.get(f"{HERE}?due=never")
    assert answer.status_code == 422 and "“Hạn”" in answer.text and shown(answer.text) == []


def test_a_step_is_taken_on_the_row_and_leads_back_to_the_same_list(visitor: Visitor) -> None:
    old, new = potholes(visitor)
    page = step(visitor, visitor.get(f"{HERE}?category=transport_infrastructure&part=lead").text, old, "in_progress")
    assert status(visitor, old) == "in_progress"
    assert f"Đã ghi trạng thái mới của đơn {old}." in page
    assert '<option value="transport_infrastructure" selected>' in page and '<option value="lead" selected>' in page
    page = step(visitor, page, old, "answered")
    assert status(visitor, old) == "answered"
    assert shown(page) == [new]
    assert shown(visitor.get(f"{HERE}?status=answered").text) == [old]


def test_a_step_from_an_old_page_writes_nothing_and_shows_what_is_new(visitor: Visitor) -> None:
    old, new = potholes(visitor)
    page = visitor.get(f"{HERE}?part=lead").text
    step(visitor, page, old, "in_progress")
    row = next(row for row in page.split("<li ") if f"/console/petitions/{old}" in row)
    answer = visitor.send(row, f"{HERE}/status", step="answered")
    assert answer.status_code == 409
    assert f"Chưa ghi gì: đơn {old} đã thay đổi" in answer.text
    assert status(visitor, old) == "in_progress"
    assert shown(answer.text) == [old, new] and '<option value="lead" selected>' in answer.text


@pytest.mark.parametrize("changes", [{"step": "closed"}, {"petition": "x"}, {"version": ""}])
def test_a_step_that_the_page_does_not_offer_writes_nothing(visitor: Visitor, changes: dict[str, str]) -> None:
    [petition] = hand_in(visitor, POTHOLE)
    answer = visitor.send(visitor.get(HERE).text, f"{HERE}/status", **{"step": "in_progress", **changes})
    assert answer.status_code == 422 and "Chưa ghi gì" in answer.text
    assert status(visitor, petition) == "routed"


def test_a_long_inbox_comes_page_by_page(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_pages, "PAGE", 2)
    ids = hand_in(visitor, *(f"{POTHOLE} {i}" for i in range(5)))
    seen, address = [], HERE
    for _ in range(3):
        page = visitor.get(address).text
        seen += shown(page)
        ahead = re.search(r'<a class="button quiet" href="([^"]*cursor=[^"]*)"', page)
        address = ahead[1].replace("&amp;", "&") if ahead else ""
    assert seen == ids and not address
    assert "Về đầu danh sách" in page


def test_a_step_on_the_second_page_leads_back_to_it(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_pages, "PAGE", 2)
    ids = hand_in(visitor, *(f"{POTHOLE} {i}" for i in range(4)))
    ahead = re.search(r'href="([^"]*cursor=[^"]*)"', visitor.get(HERE).text)
    assert ahead is not None
    page = step(visitor, visitor.get(ahead[1]).text, ids[2], "answered")
    assert shown(page) == [ids[3]]


def test_a_place_in_the_list_that_there_is_not_asks_to_begin_again(visitor: Visitor) -> None:
    potholes(visitor)
    answer = visitor.get(f"{HERE}?cursor=nonsense")
    assert answer.status_code == 422 and "xem lại từ đầu" in answer.text


def test_a_body_that_there_is_not_has_no_inbox(visitor: Visitor) -> None:
    assert visitor.get("/console/bodies/nobody").status_code == 404
    assert visitor.get("/console/bodies/nobody/export.csv").status_code == 404
    assert visitor.get(f"{HERE}/export.pdf").status_code == 404


def test_an_officer_of_one_body_comes_to_its_inbox_and_to_no_other(
    app: FastAPI, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    [pothole, elsewhere] = hand_in(visitor, POTHOLE, "Đường ở xã Mường Lát nhiều ổ gà, đề nghị sửa.")
    commune = visitor.client.get(f"/v1/petitions/{pothole}").json()["place"]["commune_code"]
    officer = logged_in(app, monkeypatch, "hoa", Role.OFFICER, bodies=[ROADS], communes=[commune])
    answer = officer.get("/console/bodies")
    assert answer.url.path == HERE
    assert "<h1>Phòng Kinh tế xã Nga Thắng</h1>" in answer.text and "Mọi đơn vị" not in answer.text
    assert shown(answer.text) == [pothole]
    assert officer.get("/console/bodies/so_xay_dung").status_code == 404
    assert officer.get("/console/bodies/so_xay_dung/export.csv").status_code == 404
    strange = {"petition": str(elsewhere), "version": "1"}
    assert officer.send(answer.text, f"{HERE}/status", step="answered", **strange).status_code == 404
    assert [row[0] for row in sheet(officer.get(f"{HERE}/export.xlsx").content)[1:]] == [pothole]


def test_an_auditor_sees_inboxes_and_takes_no_step(
    app: FastAPI, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    [pothole] = hand_in(visitor, POTHOLE)
    page = visitor.get(HERE).text
    auditor = logged_in(app, monkeypatch, "thanh", Role.AUDITOR)
    seen = auditor.get(HERE).text
    assert shown(seen) == [pothole] and 'name="step"' not in seen
    token = re.search(r'X-CSRF-Token": "([^"]+)"', seen)
    assert token is not None
    answer = auditor.send(page, f"{HERE}/status", step="answered", csrf=token[1])
    assert answer.status_code == 403


def test_a_restricted_petition_stays_out_of_inboxes_that_may_not_see_it(
    app: FastAPI, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    [bribe] = hand_in(visitor, BRIBE)
    assert shown(visitor.get("/console/bodies/thanh_tra_tinh").text) == [bribe]
    commune = visitor.client.get(f"/v1/petitions/{bribe}").json()["place"]["commune_code"]
    officer = logged_in(app, monkeypatch, "hoa", Role.OFFICER, communes=[commune])
    assert shown(officer.get("/console/bodies/thanh_tra_tinh").text) == []


def test_an_emergency_shows_in_the_inbox_of_who_rescues(visitor: Visitor) -> None:
    [flood] = hand_in(visitor, FLOOD)
    page = visitor.get("/console/bodies/bo_chqs_tinh").text
    assert shown(page) == [flood] and '<li class="item alarm">' in page


def test_a_petition_is_shown_as_text_and_never_run(visitor: Visitor) -> None:
    hand_in(visitor, '<script>alert(1)</script> "Ổ gà" & <b>hố</b> ở xã Nga Thắng.')
    page = visitor.get(HERE).text
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page and "<b>hố" not in page


# ------------------------------------------------------------------------------------------------------------- files


def sheet(content: bytes) -> list[list[object]]:
    return CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0).to_python()


def test_the_inbox_is_a_file_for_excel_with_times_of_vietnam_and_masked_texts(visitor: Visitor) -> None:
    [petition] = hand_in(
        visitor, POTHOLE + " Gọi tôi số 0912345678.", external_id="00042", received_at="2026-01-05T08:30:00+07:00"
    )
    answer = visitor.get(f"{HERE}/export.xlsx")
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="{ROADS}-20')
    assert answer.headers["cache-control"] == "no-store"
    header, row = sheet(answer.content)
    cells = dict(zip(map(str, header), row, strict=True))
    assert (cells["Số đơn"], cells["Mã đơn"]) == (petition, "00042")
    assert str(cells["Nhận lúc"]) == "2026-01-05 08:30:00"
    assert (cells["Vai trò"], cells["Trạng thái"]) == ("Chủ trì", "Đã chuyển")
    assert (
        cells["Lĩnh vực"]
        == visitor.client.get(f"/v1/petitions/{petition}").json()["classification"]["category"]["name"]
    )
    assert str(cells["Nội dung (đã che thông tin cá nhân)"]).startswith("Đường liên thôn")
    assert "0912345678" not in str(row)


@pytest.mark.parametrize("code", ["=1+1", "+84912", "-2", "@SUM(A1)", "＝1+1"])
def test_no_cell_of_a_file_is_a_formula(visitor: Visitor, code: str) -> None:
    hand_in(visitor, f'=HYPERLINK("http://x") {POTHOLE}', external_id=code)
    _, row = csv.reader(io.StringIO(visitor.get(f"{HERE}/export.csv").content.decode("utf-8-sig")))
    assert row[1] == f"'{code}" and row[-1].startswith("'=HYPERLINK")
    content = visitor.get(f"{HERE}/export.xlsx").content
    workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
    assert workbook.get_sheet_by_index(0).to_python()[1][1] == code
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        assert b"<f>" not in parts.read("xl/worksheets/sheet1.xml")


def test_a_file_holds_what_the_filter_finds_and_all_of_it(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_pages, "EXPORT_BLOCK", 2)
    [old] = hand_in(visitor, POTHOLE, days_ago=60)
    new = hand_in(visitor, *(f"{POTHOLE} {i}" for i in range(4)))
    assert [row[0] for row in sheet(visitor.get(f"{HERE}/export.xlsx").content)[1:]] == [old, *new]
    assert [row[0] for row in sheet(visitor.get(f"{HERE}/export.xlsx?due=overdue").content)[1:]] == [old]
    assert "export.xlsx?due=overdue&amp;" in visitor.get(f"{HERE}?due=overdue").text


def test_too_many_for_a_file_are_said_and_the_filter_stays(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_pages, "EXPORT_MOST", 2)
    hand_in(visitor, *(f"{POTHOLE} {i}" for i in range(3)))
    answer = visitor.get(f"{HERE}/export.csv?part=lead")
    assert answer.status_code == 413 and "hãy lọc bớt" in answer.text
    assert '<option value="lead" selected>' in answer.text
    assert visitor.get(f"{HERE}/export.csv?due=never").status_code == 422
