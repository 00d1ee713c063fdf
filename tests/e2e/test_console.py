"""The console as a clerk uses it: by keyboard, in a real browser, with the shipped model."""

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect
from sqlalchemy import func, select, update

from nlp_service.roles import Role
from nlp_service.store import petitions, reviews, writing
from nlp_service.users import create_user
from tests.e2e.conftest import Clerk, Console, hand_in

pytestmark = pytest.mark.slow

PASSWORD = "một buổi sáng ở phường"


def settled(page: Page) -> None:
    """The page is there with all its parts."""
    page.wait_for_load_state("networkidle")


def number(page: Page) -> int:
    """Of the petition on the page."""
    found = re.search(r"/petitions/(\d+)", page.url)
    assert found is not None, page.url
    return int(found.group(1))


def wait_for_another(page: Page, before: int) -> None:
    page.wait_for_url(lambda url: f"/petitions/{before}?" not in f"{url}?")
    settled(page)


def cycle(page: Page, key: str, name: str, wanted: str) -> None:
    """Press a key until the radio that it moves says what is wanted."""
    for _ in range(6):
        if page.locator(f"#verdict input[name={name}]:checked").get_attribute("value") == wanted:
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} never comes to {wanted}")


def decide(page: Page, truth: dict[str, Any]) -> None:
    """Give a petition its right labels with the fewest keys, and send it."""
    cycle(page, "k", "urgency", truth["urgency"])
    cycle(page, "l", "petition_type", truth["petition_type"])
    for key in "123":
        candidate = page.locator(f"#candidate-{key}")
        if candidate.count() and candidate.get_attribute("value") == truth["category"]:
            page.keyboard.press(key)
            return
    page.keyboard.press("c")
    page.locator("[data-other]").select_option(truth["category"])
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")


def test_a_clerk_handles_fifty_petitions_by_keyboard(clerk: Clerk, console: Console) -> None:
    hand_in(console, 260)
    page = clerk.page
    page.goto("/console/")
    settled(page)
    page.keyboard.press("Enter")
    page.wait_for_url("**/petitions/**")
    settled(page)
    handled: dict[int, dict[str, Any]] = {}
    for turn in range(50):
        petition = number(page)
        assert petition not in handled
        identity = re.search(r"mã (\S+)", page.locator(".head .facts").inner_text())
        assert identity is not None
        handled[petition] = console.truth[identity.group(1)]
        decide(page, handled[petition])
        wait_for_another(page, petition)
        expect(page.locator(".notice.done")).to_contain_text(str(petition))
        if turn == 10:  # a slip, taken back and done again
            page.keyboard.press("u")
            page.wait_for_url(f"**/petitions/{petition}?*")
            settled(page)
            decide(page, handled[petition])
            wait_for_another(page, petition)
    with console.engine.connect() as connection:
        said = connection.execute(
            select(reviews.c.petition_id, reviews.c.category, reviews.c.urgency, reviews.c.petition_type).where(
                reviews.c.withdrawn_at.is_(None)
            )
        ).all()
    assert {row.petition_id: (row.category, row.urgency, row.petition_type) for row in said} == {
        petition: (truth["category"], truth["urgency"], truth["petition_type"]) for petition, truth in handled.items()
    }
    assert clerk.complaints == []


def test_the_first_petition_of_the_queue_shows_why_and_what_is_like_it(clerk: Clerk, console: Console) -> None:
    hand_in(console, 40)
    page = clerk.page
    page.goto("/console/next")
    settled(page)
    expect(page.locator("#why mark").first).to_be_visible()
    expect(page.locator("#text mark").first).to_be_visible()
    expect(page.locator("#similar")).not_to_contain_text("Đang tìm")
    assert clerk.complaints == []


class TestLostConnection:
    @pytest.fixture
    def at_work(self, clerk: Clerk, console: Console) -> Clerk:
        hand_in(console, 40)
        clerk.page.goto("/console/next")
        settled(clerk.page)
        return clerk

    def test_keeps_the_correction_and_sends_it_when_it_is_back(self, at_work: Clerk, console: Console) -> None:
        page, petition = at_work.page, number(at_work.page)
        cycle(page, "l", "petition_type", "complaint")
        at_work.context.set_offline(True)
        page.keyboard.press("2")
        expect(page.locator("#offline")).to_be_visible()
        chosen = page.locator("#candidate-2").get_attribute("value")
        assert page.locator("#verdict input[name=category]:checked").get_attribute("value") == chosen
        at_work.context.set_offline(False)
        wait_for_another(page, petition)
        with console.engine.connect() as connection:
            said = connection.execute(select(reviews.c.petition_id, reviews.c.category, reviews.c.petition_type)).all()
        assert said == [(petition, chosen, "complaint")]

    def test_an_answer_lost_on_the_way_is_not_done_twice(self, at_work: Clerk, console: Console) -> None:
        page, petition = at_work.page, number(at_work.page)
        lost: list[str] = []

        def lose(route: Route) -> None:
            if lost:
                route.continue_()
                return
            lost.append(route.request.url)
            route.fetch()
            route.abort("connectionreset")

        page.route("**/decide", lose)
        page.keyboard.press("Enter")
        expect(page.locator("#offline")).to_be_visible()
        page.locator("#resend").click()
        wait_for_another(page, petition)
        with console.engine.connect() as connection:
            assert connection.execute(select(func.count()).select_from(reviews)).scalar_one() == 1

    def test_a_page_that_is_loaded_again_brings_the_correction_back(self, at_work: Clerk) -> None:
        page = at_work.page
        cycle(page, "l", "petition_type", "denunciation")
        page.reload()
        settled(page)
        assert page.locator("#verdict input[name=petition_type]:checked").get_attribute("value") == "denunciation"
        expect(page.locator("[data-restored]")).to_be_visible()


def test_what_another_changed_meanwhile_is_said_and_the_correction_stays(clerk: Clerk, console: Console) -> None:
    hand_in(console, 40)
    page = clerk.page
    page.goto("/console/next")
    settled(page)
    petition = number(page)
    cycle(page, "l", "petition_type", "denunciation")
    with writing(console.engine) as connection:
        connection.execute(update(petitions).where(petitions.c.id == petition).values(version=petitions.c.version + 1))
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_contain_text("đã thay đổi")
    assert page.locator("#verdict input[name=petition_type]:checked").get_attribute("value") == "denunciation"
    with console.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(reviews)).scalar_one() == 0


def log_in(page: Page, name: str) -> None:
    page.goto("/console/login")
    page.fill("#name", name)
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/console/queue")


def test_two_clerks_get_two_petitions_and_see_each_other(clerk: Clerk, second_clerk: Clerk, console: Console) -> None:
    hand_in(console, 60)
    from datetime import UTC, datetime

    with writing(console.engine) as connection:
        for name in ("lan", "hung"):
            create_user(connection, name, name.title(), PASSWORD, Role.REVIEWER, datetime.now(UTC))
    for person, name in ((clerk, "lan"), (second_clerk, "hung")):
        log_in(person.page, name)
        person.page.goto("/console/next")
        settled(person.page)
    first, second = number(clerk.page), number(second_clerk.page)
    assert first != second
    second_clerk.page.goto(f"/console/petitions/{first}")
    expect(second_clerk.page.locator("main")).to_contain_text("lan đang xử lý đơn này")
    second_clerk.page.keyboard.press("n")
    second_clerk.page.wait_for_url("**flow=1*")
    settled(second_clerk.page)
    clerk.page.keyboard.press("Enter")
    expect(clerk.page.locator("#notice")).to_contain_text("hung đang xử lý")
    second_clerk.page.keyboard.press("Enter")
    wait_for_another(second_clerk.page, first)
    assert clerk.complaints == [] or all("409" in said for said in clerk.complaints)


def test_a_session_that_ended_brings_the_clerk_back_with_the_correction(clerk: Clerk, console: Console) -> None:
    hand_in(console, 40)
    from datetime import UTC, datetime

    with writing(console.engine) as connection:
        create_user(connection, "lan", "Lan", PASSWORD, Role.REVIEWER, datetime.now(UTC))
    page = clerk.page
    log_in(page, "lan")
    page.goto("/console/next")
    settled(page)
    petition = number(page)
    cycle(page, "l", "petition_type", "complaint")
    clerk.context.clear_cookies()
    page.keyboard.press("Enter")
    page.wait_for_url("**/console/login?next=*")
    page.fill("#name", "lan")
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/petitions/{petition}?*")
    settled(page)
    assert page.locator("#verdict input[name=petition_type]:checked").get_attribute("value") == "complaint"


PAGES = (
    "/console/queue",
    "/console/next",
    "/console/petitions/1/split",
    "/console/search",
    "/console/bodies",
    "/console/bulk",
    "/console/try",
    "/console/model",
    "/console/audit",
)


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious_on_any_page(clerk: Clerk, console: Console, width: int) -> None:
    hand_in(console, 60)
    page = clerk.page
    page.set_viewport_size({"width": width, "height": 900})
    found = []
    for path in PAGES:
        page.goto(path)
        settled(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{path} scrolls sideways"
        for violation in Axe().run(page).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                found.append((path, violation["id"], [node["target"] for node in violation["nodes"]][:3]))
    assert found == []
    assert clerk.complaints == []


def test_every_key_of_a_page_is_told_and_can_be_turned_off(clerk: Clerk, console: Console) -> None:
    hand_in(console, 40)
    page = clerk.page
    page.goto("/console/next")
    settled(page)
    petition = number(page)
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    told = set(page.locator("#keys-list dt").all_inner_texts())
    assert {"Enter", "1", "2", "3", "c", "k", "l", "x", "s", "j", "o", "t", "d"} <= told
    page.locator("#keys-on").uncheck()
    page.keyboard.press("Escape")
    before = page.locator("#verdict input[name=petition_type]:checked").get_attribute("value")
    page.keyboard.press("l")
    page.keyboard.press("2")
    assert page.locator("#verdict input[name=petition_type]:checked").get_attribute("value") == before
    assert number(page) == petition
