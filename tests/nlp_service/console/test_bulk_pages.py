import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from nlp_service import bulk as bulk_module
from nlp_service import locks
from nlp_service.roles import Role
from nlp_service.store import writing
from tests.nlp_service.console.visitors import Visitor, at_this_machine, hand_in, hidden, logged_in, new_app, shown
from tests.nlp_service.offices import BRIBE, DOUBTFUL, FLOOD, POTHOLE

BULK = "/console/bulk"


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return new_app(tmp_path)


@pytest.fixture
def visitor(app: FastAPI) -> Iterator[Visitor]:
    with at_this_machine(app) as visitor:
        yield visitor


def doubtful(visitor: Visitor, count: int) -> list[int]:
    return hand_in(visitor, *(f"{DOUBTFUL} Lần {i}." for i in range(count)))


def preview(visitor: Visitor, **fields: Any) -> str:
    answer = visitor.post(BULK, act="preview", **fields)
    assert answer.status_code == 200, answer.text
    return answer.text


def apply_form(page: str) -> str | None:
    """The form that writes, where the page has one."""
    return next((form for form in page.split("<form ") if 'value="apply"' in form), None)


def apply(visitor: Visitor, page: str, **changes: str) -> Any:
    form = apply_form(page)
    assert form is not None
    return visitor.client.post(
        BULK, data={**hidden(form.split("</form>")[0]), **changes}, headers={"Origin": str(visitor.client.base_url)}
    )


def labels(visitor: Visitor, petition: int) -> tuple[str, str, str, str]:
    found = visitor.client.get(f"/v1/petitions/{petition}").json()
    return found["category"], found["urgency"], found["petition_type"], found["status"]


def chosen(page: str, name: str) -> str:
    select = re.search(rf'<select name="{name}">(.*?)</select>', page, re.DOTALL)
    assert select is not None
    found = re.search(r'value="([^"]*)" selected', select[1])
    return found[1] if found else ""


def test_a_filter_and_a_label_are_previewed_written_and_undone_as_one(visitor: Visitor) -> None:
    ids = doubtful(visitor, 3)
    [pothole] = hand_in(visitor, POTHOLE)
    page = preview(visitor, category="other", new_category="land_administration")
    assert "3. Xem trước: 3 đơn" in page and "Ghi cho 3 đơn" in page
    assert shown(page) == ids
    assert [labels(visitor, i)[0] for i in ids] == ["other"] * 3
    answer = apply(visitor, page)
    assert "Đã gán nhãn 3 đơn." in answer.text
    assert [labels(visitor, i)[::3] for i in ids] == [("land_administration", "routed")] * 3
    assert labels(visitor, pothole)[0] == "transport_infrastructure"
    undo = re.search(r'action="(/console/operations/\d+/undo)"', answer.text)
    assert undo is not None
    visitor.send(answer.text, undo[1])
    assert [labels(visitor, i)[::3] for i in ids] == [("other", "in_review")] * 3


def test_the_preview_says_what_would_change_from_what_to_where(visitor: Visitor) -> None:
    doubtful(visitor, 2)
    page = preview(visitor, status="in_review", new_category="health_food_safety")
    facts = dict(re.findall(r"<dt>([^<]*)</dt><dd>(\d+) đơn", page))
    assert facts == {"Đổi nhãn": "2", "Đổi đơn vị chủ trì": "2", "Đổi trạng thái": "2"}
    before, after = page.split("Lĩnh vực hiện nay")[1].split("Đơn vị chủ trì sau khi ghi")
    assert "Khác" in before.split("</table>")[0] and '<td class="number">2</td>' in before
    assert "Sở Y tế" in after.split("</table>")[0]
    assert "alarm-line" not in page and 'name="aware"' not in page


def test_confirming_as_they_are_sends_them_on(visitor: Visitor) -> None:
    [petition] = doubtful(visitor, 1)
    page = preview(visitor, category="other", confirm="1")
    assert "không nhãn nào đổi" in page
    apply(visitor, page)
    assert labels(visitor, petition)[::3] == ("other", "routed")


def test_words_choose_petitions_and_never_stand_in_an_address(visitor: Visitor) -> None:
    pothole, _ = hand_in(visitor, POTHOLE, DOUBTFUL)
    answer = visitor.post(BULK, act="preview", words="ổ gà", urgency="normal", new_type="recommendation")
    assert shown(answer.text) == [pothole] and 'name="words" value="ổ gà"' in answer.text
    assert answer.headers["HX-Push-Url"] == f"{BULK}?urgency=normal"
    written = apply(visitor, answer.text)
    assert labels(visitor, pothole)[2] == "recommendation"
    assert "words" not in str(written.url) and "%E1%BB%95" not in str(written.url)
    assert "ổ gà" not in visitor.get(f"{BULK}?words=ổ+gà").text


def test_an_address_brings_its_filter(visitor: Visitor) -> None:
    page = visitor.get(f"{BULK}?category=other&received_from=2026-01-05").text
    assert chosen(page, "category") == "other" and 'name="received_from" value="2026-01-05"' in page
    assert apply_form(page) is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "Hãy chọn nhãn mới"),
        ({"new_urgency": "urgent", "confirm": "1"}, "một trong hai"),
        ({"new_category": "gone"}, "Nhãn mới: không có lựa chọn này"),
        ({"new_type": "feedback", "received_to": "32/01/2026"}, "Ngày nhận không đúng"),
        ({"new_type": "feedback", "body": "gone"}, "“Đơn vị”"),
    ],
)
def test_what_was_typed_stays_when_something_is_wrong_with_it(
    visitor: Visitor, fields: dict[str, str], said: str
) -> None:
    [petition] = doubtful(visitor, 1)
    for act in ("preview", "apply"):
        answer = visitor.post(BULK, act=act, words="hôm trước", category="other", **fields)
        assert answer.status_code == 422
        assert said in answer.text and apply_form(answer.text) is None
        assert 'value="hôm trước"' in answer.text and chosen(answer.text, "category") == "other"
        for name in ("new_urgency", "new_type"):
            assert chosen(answer.text, name) == fields.get(name, "")
    assert labels(visitor, petition)[3] == "in_review"


def test_a_filter_that_finds_nothing_offers_nothing(visitor: Visitor) -> None:
    page = preview(visitor, category="other", confirm="1")
    assert "Không có đơn nào còn mở" in page and apply_form(page) is None


def test_a_filter_that_finds_too_much_asks_for_a_narrower_one(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_module, "MOST", 2)
    doubtful(visitor, 3)
    answer = visitor.post(BULK, act="preview", category="other", new_urgency="urgent")
    assert answer.status_code == 413 and "hãy lọc hẹp hơn" in answer.text
    assert chosen(answer.text, "new_urgency") == "urgent"


def test_no_filter_at_all_is_warned_about(visitor: Visitor) -> None:
    doubtful(visitor, 1)
    assert "Bộ lọc đang trống" in preview(visitor, confirm="1")
    assert "Bộ lọc đang trống" not in preview(visitor, category="other", confirm="1")


@pytest.mark.parametrize(
    ("text", "said"), [(FLOOD, "trong đó có 1 đơn khẩn cấp"), (BRIBE, "có 1 đơn khiếu nại, tố cáo")]
)
def test_emergencies_and_denunciations_are_warned_about_and_written_by_intent_alone(
    visitor: Visitor, text: str, said: str
) -> None:
    [delicate] = hand_in(visitor, text)
    doubtful(visitor, 2)
    before = labels(visitor, delicate)
    page = preview(visitor, new_category="land_administration")
    assert said in page and 'role="alert"' in page
    assert '<input type="checkbox" name="aware" value="1" required>' in page
    answer = apply(visitor, page)
    assert answer.status_code == 422 and "Chưa ghi gì: trong đó có đơn cần đọc riêng" in answer.text
    assert labels(visitor, delicate) == before
    assert "Đã gán nhãn 3 đơn." in apply(visitor, answer.text, aware="1").text
    assert labels(visitor, delicate)[0] == "land_administration"


def test_taking_the_alarm_away_or_raising_it_is_said_loudest(visitor: Visitor) -> None:
    hand_in(visitor, FLOOD)
    doubtful(visitor, 1)
    assert "sẽ KHÔNG còn là khẩn cấp" in preview(visitor, new_urgency="low")
    assert "sẽ KHÔNG còn là khẩn cấp" not in preview(visitor, new_type="feedback")
    assert "Mọi đơn này sẽ thành khẩn cấp" in preview(visitor, category="other", new_urgency="emergency")


def test_petitions_that_changed_meanwhile_bring_a_new_preview_and_nothing_else(visitor: Visitor) -> None:
    ids = doubtful(visitor, 2)
    page = preview(visitor, words="hôm trước", category="other", new_category="land_administration")
    ids += hand_in(visitor, f"{DOUBTFUL} Đơn mới.")
    answer = apply(visitor, page)
    assert answer.status_code == 409
    assert "đã thay đổi từ khi bạn xem trước" in answer.text and "3. Xem trước: 3 đơn" in answer.text
    assert [labels(visitor, i)[0] for i in ids] == ["other"] * 3
    assert 'value="hôm trước"' in answer.text and chosen(answer.text, "new_category") == "land_administration"
    assert "Đã gán nhãn 3 đơn." in apply(visitor, answer.text).text


def test_a_petition_in_anothers_hands_is_named_and_nothing_is_written(app: FastAPI, visitor: Visitor) -> None:
    first, second = doubtful(visitor, 2)
    page = preview(visitor, category="other", confirm="1")
    with writing(app.state.engine) as connection:
        locks.take(connection, second, "hùng", datetime.now(UTC))
    answer = apply(visitor, page)
    assert answer.status_code == 409 and f"có người đang xử lý đơn {second}." in answer.text
    assert labels(visitor, first)[3] == "in_review"
    assert apply_form(answer.text) is not None


def test_an_officer_is_shown_and_writes_its_own_petitions_alone(
    app: FastAPI, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pothole, _ = hand_in(visitor, POTHOLE, DOUBTFUL)
    officer = logged_in(app, monkeypatch, "hoa", Role.OFFICER, bodies=["phong_kinh_te"])
    page = preview(officer, new_urgency="urgent")
    assert shown(page) == [pothole] and "Xem trước: 1 đơn" in page
    assert "Đã gán nhãn 1 đơn." in apply(officer, page).text


def test_who_may_not_handle_petitions_is_not_let_in(
    app: FastAPI, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    auditor = logged_in(app, monkeypatch, "thanh", Role.AUDITOR)
    assert auditor.get(BULK).status_code == 403
    assert auditor.post(BULK, act="preview", confirm="1").status_code == 403


def test_without_the_token_of_the_page_nothing_happens(visitor: Visitor) -> None:
    [petition] = doubtful(visitor, 1)
    page = preview(visitor, category="other", confirm="1")
    assert apply(visitor, page, csrf="x").status_code == 403
    assert labels(visitor, petition)[3] == "in_review"


def test_a_petition_is_shown_as_text_and_never_run(visitor: Visitor) -> None:
    hand_in(visitor, '<script>alert(1)</script> Việc "hôm trước" & chưa xong <b>nhé</b>.')
    page = preview(visitor, words='"><script>alert(2)</script> "hôm trước"', confirm="1")
    assert "&lt;script&gt;alert(1)" in preview(visitor, category="other", confirm="1")
    assert "<script>alert" not in page and "<b>nhé" not in page
