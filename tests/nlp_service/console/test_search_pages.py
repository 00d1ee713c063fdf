import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from nlp_service.console.search_pages import PAGE
from nlp_service.roles import Role
from nlp_service.store import audit
from tests.nlp_service.console.visitors import Visitor, at_this_machine, hand_in, logged_in, new_app, shown
from tests.nlp_service.offices import BRIBE, DOUBTFUL, FLOOD, POTHOLE

SEARCH = "/console/search"


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return new_app(tmp_path)


@pytest.fixture
def visitor(app: FastAPI) -> Iterator[Visitor]:
    with at_this_machine(app) as visitor:
        yield visitor


def test_without_a_filter_the_newest_petitions_are_shown_emergencies_first(visitor: Visitor) -> None:
    flood, older = hand_in(visitor, FLOOD, POTHOLE, days_ago=3)
    [newer] = hand_in(visitor, DOUBTFUL)
    assert shown(visitor.get(SEARCH).text) == [flood, newer, older]


def test_an_empty_store_says_what_will_be_here(visitor: Visitor) -> None:
    assert "Chưa có đơn nào." in visitor.get(SEARCH).text


def test_words_are_found_with_and_without_marks_and_stay_in_the_field(visitor: Visitor) -> None:
    pothole, _ = hand_in(visitor, POTHOLE, DOUBTFUL)
    for typed in ("ổ gà liên thôn", "o ga lien tho"):
        page = visitor.post(SEARCH, words=typed)
        assert shown(page.text) == [pothole]
        assert f'name="words" value="{typed}"' in page.text
        assert "Kết quả: 1 đơn" in page.text


def test_words_never_stand_in_an_address(visitor: Visitor) -> None:
    hand_in(visitor, POTHOLE, DOUBTFUL)
    answer = visitor.post(SEARCH, words="ổ gà", category="transport_infrastructure")
    assert str(answer.url).endswith(SEARCH)
    assert answer.headers["HX-Push-Url"] == f"{SEARCH}?category=transport_infrastructure"
    addresses = re.findall(r'(?:href|action)="([^"]*)"', answer.text)
    assert addresses and not [address for address in addresses if "words" in address or "ga" in address.split("?")[-1]]


def test_words_in_an_address_are_not_searched_for(visitor: Visitor) -> None:
    pothole, doubtful = hand_in(visitor, POTHOLE, DOUBTFUL)
    page = visitor.get(f"{SEARCH}?words=ổ+gà").text
    assert set(shown(page)) == {pothole, doubtful} and "ổ gà" not in page.split("<ol", 1)[0]


def test_labels_alone_become_an_address_that_can_be_kept(visitor: Visitor) -> None:
    pothole, _ = hand_in(visitor, POTHOLE, DOUBTFUL)
    answer = visitor.post(SEARCH, words=" ", category="transport_infrastructure", urgency="")
    assert answer.history[0].status_code == 303
    assert str(answer.url).endswith(f"{SEARCH}?category=transport_infrastructure")
    assert shown(answer.text) == [pothole]
    assert '<option value="transport_infrastructure" selected>' in answer.text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("urgency=emergency", ["flood"]),
        ("petition_type=denunciation", ["bribe"]),
        ("status=in_review", ["flood", "doubtful"]),
        ("due=overdue", ["old"]),
        ("received_to=2020-12-31", ["old"]),
        ("received_from=01/01/2021&status=routed", ["bribe"]),
        ("commune=CODE", ["old"]),
        ("body=BODY", ["flood"]),
        ("received_from=2020-03-05&received_to=2020-03-05", ["old"]),
        ("received_from=2020-03-06&received_to=2020-03-06", []),
    ],
)
def test_every_filter_of_the_address_is_kept(visitor: Visitor, query: str, expected: list[str]) -> None:
    # Half past eleven in the evening, in Vietnam.
    [old] = hand_in(visitor, POTHOLE, received_at="2020-03-05T23:30:00")
    flood, bribe, doubtful = hand_in(visitor, FLOOD, BRIBE, DOUBTFUL)
    numbers = {"old": old, "flood": flood, "bribe": bribe, "doubtful": doubtful}
    found = {name: visitor.client.get(f"/v1/petitions/{number}").json() for name, number in numbers.items()}
    query = query.replace("CODE", found["old"]["place"]["commune_code"])
    query = query.replace("BODY", found["flood"]["routing"]["lead"]["id"])
    assert sorted(shown(visitor.get(f"{SEARCH}?{query}").text)) == sorted(numbers[name] for name in expected)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("received_from=31/02/2026", "Ngày nhận không đúng"),
        ("received_to=0001-01-01", "Ngày nhận không đúng"),
        ("received_from=2026-03-02&received_to=2026-03-01", "ở sau"),
        ("category=gone", "“Lĩnh vực”: không có lựa chọn này nữa"),
        ("status=nonsense", "“Trạng thái”"),
        ("due=never", "“Hạn”"),
    ],
)
def test_a_filter_that_means_nothing_is_said_and_finds_nothing(visitor: Visitor, query: str, said: str) -> None:
    hand_in(visitor, POTHOLE)
    answer = visitor.get(f"{SEARCH}?{query}")
    assert answer.status_code == 422
    assert said in answer.text and shown(answer.text) == []


@pytest.mark.parametrize(("words", "said"), [("?!", "Chưa có chữ nào để tìm"), ("a" * 201, "dài 201 ký tự")])
def test_words_that_cannot_be_searched_stay_in_the_field(visitor: Visitor, words: str, said: str) -> None:
    answer = visitor.post(SEARCH, words=words, urgency="normal")
    assert answer.status_code == 422 and said in answer.text
    assert f'name="words" value="{words}"' in answer.text
    assert '<option value="normal" selected>' in answer.text


def test_nothing_found_says_what_to_try(visitor: Visitor) -> None:
    hand_in(visitor, POTHOLE)
    page = visitor.post(SEARCH, words="cây xanh").text
    assert "Không có đơn nào khớp." in page and "Hãy thử ít chữ hơn" in page


def test_many_results_come_page_by_page_and_back(visitor: Visitor) -> None:
    ids = hand_in(visitor, *(f"Đường ngõ {i} nhiều ổ gà." for i in range(2 * PAGE + 3)))
    seen, page = [], visitor.post(SEARCH, words="ổ gà").text
    firsts = []
    for number in (1, 2, 3):
        firsts.append(shown(page)[0])
        seen += shown(page)
        assert (f"trang {number}" in page) == (number > 1)
        forms = re.findall(r'<form method="post" action="/console/search">.*?</form>', page, re.DOTALL)
        ahead = [form for form in forms if "Trang sau" in form]
        if number < 3:
            page = visitor.send(ahead[0], SEARCH).text
        else:
            assert not ahead
            back = next(form for form in forms if "Trang trước" in form)
    assert sorted(seen) == sorted(ids) and len(seen) == len(set(seen))
    page = visitor.send(back, SEARCH).text
    assert shown(page)[0] == firsts[1] and 'value="ổ gà"' in page


def test_a_page_that_there_is_not_asks_to_begin_again(visitor: Visitor) -> None:
    hand_in(visitor, POTHOLE)
    answer = visitor.post(SEARCH, words="ổ gà", trail="nonsense")
    assert answer.status_code == 422 and "hãy tìm lại từ đầu" in answer.text and 'value="ổ gà"' in answer.text


@pytest.mark.parametrize("form", ["{}", "#{}", " {} "])
def test_a_number_leads_to_its_petition(visitor: Visitor, form: str) -> None:
    _, second = hand_in(visitor, POTHOLE, DOUBTFUL)
    answer = visitor.post(SEARCH, words=form.format(second))
    assert answer.url.path == f"/console/petitions/{second}"


def test_another_systems_code_leads_to_its_petition(visitor: Visitor) -> None:
    hand_in(visitor, DOUBTFUL)
    [coded] = hand_in(visitor, POTHOLE, external_id="PA-2026/77")
    assert visitor.post(SEARCH, words="PA-2026/77").url.path == f"/console/petitions/{coded}"


def test_a_code_that_is_anothers_number_shows_both(visitor: Visitor) -> None:
    [first] = hand_in(visitor, DOUBTFUL)
    [coded] = hand_in(visitor, POTHOLE, external_id=str(first))
    page = visitor.post(SEARCH, words=str(first)).text
    assert sorted(shown(page)) == [first, coded] and "2 đơn mang số hoặc mã này" in page


def test_a_number_that_no_petition_has_is_looked_for_in_the_texts(visitor: Visitor) -> None:
    [road] = hand_in(visitor, "Quốc lộ 217 nhiều ổ gà.")
    page = visitor.post(SEARCH, words="217").text
    assert shown(page) == [road] and "Không có đơn mang số hoặc mã này" in page


def test_an_auditor_is_told_why_words_do_not_search_and_may_use_numbers(
    app: FastAPI, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    [pothole] = hand_in(visitor, POTHOLE)
    auditor = logged_in(app, monkeypatch, "thanh", Role.AUDITOR)
    page = auditor.get(SEARCH).text
    assert "không được tìm theo lời trong đơn" in page and "Làm hàng loạt" not in page
    answer = auditor.post(SEARCH, words="ổ gà")
    assert answer.status_code == 422 and shown(answer.text) == []
    assert "vai trò của bạn không được tìm theo lời" in answer.text and 'value="ổ gà"' in answer.text
    assert auditor.post(SEARCH, words=str(pothole)).url.path == f"/console/petitions/{pothole}"


def test_a_number_outside_an_officers_scope_is_as_one_that_there_is_not(
    app: FastAPI, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    [pothole] = hand_in(visitor, POTHOLE, external_id="PA-1")
    officer = logged_in(app, monkeypatch, "hoa", Role.OFFICER, bodies=["so_y_te"])
    for words in (str(pothole), "PA-1", "ổ gà"):
        answer = officer.post(SEARCH, words=words)
        assert answer.status_code == 200 and "Không có đơn nào khớp" in answer.text


def test_a_search_of_texts_stands_in_the_audit_log_without_its_words(app: FastAPI, visitor: Visitor) -> None:
    hand_in(visitor, POTHOLE)
    visitor.post(SEARCH, words="liên thôn")
    with app.state.engine.connect() as connection:
        rows = connection.execute(select(audit)).all()
    assert [row.actor for row in rows if row.action == "petitions.search"] == ["local"]
    assert not any("thôn" in row.payload or "thon" in row.payload for row in rows)


def test_the_filter_goes_on_to_a_bulk_decision_with_its_words(visitor: Visitor) -> None:
    hand_in(visitor, POTHOLE)
    page = visitor.post(SEARCH, words="ổ gà", urgency="normal").text
    assert '<button class="quiet" formaction="/console/bulk"' in page
    bulk = visitor.post("/console/bulk", words="ổ gà", urgency="normal").text
    assert 'name="words" value="ổ gà"' in bulk and '<option value="normal" selected>' in bulk


def test_a_petition_and_the_words_are_shown_as_text_and_never_run(visitor: Visitor) -> None:
    hand_in(visitor, '<script>alert(1)</script> Việc "hôm trước" & chưa xong <b>nhé</b>.')
    typed = '"><script>alert(2)</script> hom truoc'
    page = visitor.post(SEARCH, words=typed).text
    assert "<script>alert" not in page and "<b>nhé" not in page
    field = re.search(r'name="words" value="([^"]*)"', page)
    assert field is not None and unescape(field.group(1)) == typed
    assert "&lt;script&gt;alert(1)" in visitor.get(SEARCH).text
