"""Login, the session cookie and what protects pages, on a small app with two pages of its own."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import httpx2
import pytest
from fastapi import Depends, FastAPI, Form
from fastapi.responses import PlainTextResponse
from fastapi.templating import Jinja2Templates
from fastapi.testclient import TestClient
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import Engine, select, update

from nlp_service import console
from nlp_service import users as users_module
from nlp_service.console import access as module
from nlp_service.console.access import Visitor, add_access, needs, safe_next
from nlp_service.keys import create_key, revoke_key
from nlp_service.roles import Right, Role
from nlp_service.sessions import Session
from nlp_service.store import audit, sessions, writing
from nlp_service.users import create_user, disable_user, set_password
from tests.nlp_service.offices import local_client

TEMPLATES = Path(console.__file__).parent / "templates"
NOW = datetime(2026, 11, 27, 5, 0, tzinfo=UTC)
LAN = "ba con mèo vàng"
WRONG = "năm con mèo xám"
OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real function, with little work: what it costs is not the point here."""
    cheap = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    monkeypatch.setattr(users_module, "_hasher", lambda: cheap)


@pytest.fixture
def app(engine: Engine, tmp_path: Path) -> FastAPI:
    """Two pages, one of which changes something. Without a key or user in the store yet."""
    (tmp_path / "base.html").write_text(
        "<!doctype html><title>{% block title %}{% endblock %}</title>{% block main %}{% endblock %}", encoding="utf-8"
    )
    app = FastAPI()
    app.state.engine = engine
    add_access(app, Jinja2Templates([tmp_path, TEMPLATES]))

    @app.get("/console/page")
    def page(visitor: Visitor) -> PlainTextResponse:
        return PlainTextResponse(f"{visitor.principal.name}|{visitor.full_name}|{visitor.csrf}")

    @app.post("/console/page")
    @app.delete("/console/page")
    def change(visitor: Visitor, note: Annotated[str, Form()] = "") -> PlainTextResponse:
        return PlainTextResponse(f"{visitor.principal.name} changed it: {note}")

    @app.get("/console/audit")
    def audit_page(visitor: Annotated[Session, Depends(needs(Right.AUDIT))]) -> PlainTextResponse:
        return PlainTextResponse(visitor.full_name)

    @app.get("/console/static/a.css")
    def static() -> PlainTextResponse:
        return PlainTextResponse("")

    @app.get("/v1/x")
    def api() -> PlainTextResponse:
        return PlainTextResponse("")

    return app


@pytest.fixture
def client(app: FastAPI, engine: Engine) -> Iterator[TestClient]:
    """On another machine, by plain HTTP; lan is a reviewer."""
    with writing(engine) as connection:
        create_user(connection, "lan", "Lê Thị Lan", LAN, Role.REVIEWER, NOW)
    with TestClient(
        app, base_url="http://donthu.example", client=("10.0.0.7", 50_000), follow_redirects=False
    ) as client:
        yield client


def log_in(client: TestClient, name: str = "lan", password: str = LAN, **fields: str) -> httpx2.Response:
    return client.post("/console/login", data={"name": name, "password": password, **fields}, headers=OWN)


def csrf(client: TestClient) -> str:
    return client.get("/console/page").text.split("|")[2]


def logged(engine: Engine) -> list[tuple[str, str, str]]:
    with engine.connect() as connection:
        rows = connection.execute(select(audit).order_by(audit.c.seq)).all()
    return [(row.actor, row.action, row.subject) for row in rows]


def test_a_stranger_is_led_to_the_login_and_back_to_the_page(client: TestClient) -> None:
    answer = client.get("/console/page?status=routed&p=2")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/console/login?next=%2Fconsole%2Fpage%3Fstatus%3Drouted%26p%3D2"
    form = client.get(answer.headers["location"]).text
    assert 'name="next" value="/console/page?status=routed&amp;p=2"' in form
    answer = log_in(client, next="/console/page?status=routed&p=2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/page?status=routed&p=2")
    assert client.get("/console/page").text.startswith("lan|Lê Thị Lan|")
    assert client.get("/console/login?next=/console/page").headers["location"] == "/console/page"


def test_htmx_is_told_to_load_the_login_instead_of_a_part_of_the_page(client: TestClient) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://donthu.example/console/queue?risk=0"}
    answer = client.get("/console/page", headers=headers)
    assert answer.status_code == 401 and not answer.text
    assert answer.headers["hx-redirect"] == "/console/login?next=%2Fconsole%2Fqueue%3Frisk%3D0"
    elsewhere = {"HX-Request": "true", "HX-Current-URL": "http://evil.example/x"}
    assert client.post("/console/page", headers=elsewhere).headers["hx-redirect"] == "/console/login"


def test_a_form_sent_after_the_session_ended_leads_to_the_login(client: TestClient) -> None:
    answer = client.post("/console/page", headers=OWN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login")


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(client: TestClient, app: FastAPI) -> None:
    cookie = log_in(client).headers["set-cookie"]
    assert re.fullmatch(r"petitions_session=[\w-]{43}; HttpOnly; Path=/console; SameSite=strict", cookie)
    with TestClient(app, base_url="https://donthu.example", follow_redirects=False) as secure:
        assert "; Secure" in log_in(secure).headers["set-cookie"]


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/console/", "//evil.example/console/", "/\\evil.example", "/v1/petitions", "/consolefake", "console/page", "",
     "/console/../v1/x", "/console/%2e%2e/v1/x", "/console//evil.example", "javascript:alert(1)", "/console/\r\nSet-Cookie: a=b",
     "http://[", "/console/login?next=/console/page", "/console/logout", "/console/x\\..\\..\\v1"],
)  # fmt: skip
def test_a_page_outside_the_console_is_no_place_to_go_after_login(target: str) -> None:
    assert safe_next(target) == "/console/"


@pytest.mark.parametrize("target", ["/console", "/console/", "/console/petitions/7?back=%2Fconsole%2F", "/console/x/"])
def test_a_login_leads_back_to_any_page_of_the_console(target: str) -> None:
    assert safe_next(target) == target


def test_a_login_never_leads_out_of_the_console(client: TestClient) -> None:
    assert 'name="next" value="/console/"' in client.get("/console/login?next=//evil.example/").text
    assert log_in(client, next="//evil.example/").headers["location"] == "/console/"
    assert client.get("/console/login?next=//evil.example/").headers["location"] == "/console/"


def test_a_wrong_password_and_an_unknown_name_look_the_same(client: TestClient, engine: Engine) -> None:
    pages = {log_in(client, name, WRONG).text.replace(name, "NAME") for name in ("lan", "tuan")}
    page = pages.pop()
    assert not pages
    assert 'role="alert">Tên đăng nhập hoặc mật khẩu không đúng.' in page
    assert 'value="NAME"' in page and WRONG not in page
    password = re.search(r'<input id="password"[^>]*>', page)
    assert password and "autofocus" in password.group() and 'aria-describedby="login-error"' in password.group()
    assert page.count("autofocus") == 1


def test_only_the_name_of_a_user_who_exists_is_written_down(client: TestClient, engine: Engine) -> None:
    assert log_in(client, " Lan", WRONG).status_code == 401
    assert log_in(client, WRONG, "lan").status_code == 401
    assert log_in(client, "a\0b", "lan").status_code == 401
    assert logged(engine) == [("unknown", "session.refused", "user:lan")]
    with engine.connect() as connection:
        assert WRONG not in str(connection.execute(select(audit)).all())


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"name": " ", "password": LAN}, "name", "tên đăng nhập"),
        ({"name": "lan"}, "password", "mật khẩu"),
        ({"key": " "}, "key", "khóa API"),
        ({"key": "pet_00000000_x"}, "key", "Khóa API không dùng được"),
    ],
)
def test_the_field_to_fill_in_is_named_and_has_the_focus(
    client: TestClient, fields: dict[str, str], field: str, words: str
) -> None:
    answer = client.post("/console/login", data=fields, headers=OWN)
    assert answer.status_code == 401
    assert words in answer.text
    wanted = re.search(rf'<input id="{field}"[^>]*>', answer.text)
    assert wanted and "autofocus" in wanted.group() and "aria-invalid" in wanted.group()
    assert answer.text.count("autofocus") == 1


def test_a_key_opens_the_console_until_it_is_revoked(client: TestClient, engine: Engine) -> None:
    with writing(engine) as connection:
        key = create_key(connection, "Trực ban", Role.ADMIN, NOW)
    answer = client.post("/console/login", data={"key": f" {key} ", "next": "/console/page"}, headers=OWN)
    assert answer.headers["location"] == "/console/page"
    assert client.get("/console/page").text.startswith("Trực ban|Trực ban|")
    with writing(engine) as connection:
        revoke_key(connection, "Trực ban", NOW)
    assert client.get("/console/page").status_code == 303
    assert logged(engine) == [("Trực ban", "session.opened", "key:Trực ban")]


def test_logging_out_ends_the_session_for_good(client: TestClient, engine: Engine) -> None:
    log_in(client)
    token = client.cookies["petitions_session"]
    assert client.post("/console/logout", headers=OWN).status_code == 403
    answer = client.post("/console/logout", data={"csrf": csrf(client)}, headers=OWN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login")
    assert "petitions_session" not in client.cookies
    client.cookies.set("petitions_session", token, path="/console")
    assert client.get("/console/page").status_code == 303
    assert [action for _, action, _ in logged(engine)] == ["session.opened", "session.closed"]


def test_a_login_replaces_the_session_that_the_browser_had(client: TestClient, engine: Engine) -> None:
    log_in(client)
    first = client.cookies["petitions_session"]
    log_in(client)
    assert client.cookies["petitions_session"] != first
    assert [action for _, action, _ in logged(engine)] == ["session.opened", "session.closed", "session.opened"]
    client.cookies.clear()
    client.cookies.set("petitions_session", first, path="/console")
    assert client.get("/console/page").status_code == 303


def test_a_login_clears_away_sessions_that_are_over(client: TestClient, engine: Engine) -> None:
    log_in(client)
    client.cookies.clear()
    with writing(engine) as connection:
        connection.execute(update(sessions).values(expires_at=NOW))
    log_in(client)
    with engine.connect() as connection:
        assert len(connection.execute(select(sessions)).all()) == 1


@pytest.mark.parametrize("change", ["disabled", "password", "idle"])
def test_a_session_ends_with_what_it_rests_on(client: TestClient, engine: Engine, change: str) -> None:
    log_in(client)
    assert client.get("/console/page").status_code == 200
    with writing(engine) as connection:
        if change == "disabled":
            disable_user(connection, "lan", NOW)
        elif change == "password":
            set_password(connection, "lan", WRONG)
        else:
            connection.execute(update(sessions).values(seen_at=datetime.now(UTC) - timedelta(minutes=60)))
    assert client.get("/console/page").status_code == 303


def test_a_visit_keeps_the_session_alive(client: TestClient, engine: Engine) -> None:
    log_in(client)
    with writing(engine) as connection:
        connection.execute(update(sessions).values(seen_at=datetime.now(UTC) - timedelta(minutes=59)))
    client.get("/console/page")
    with engine.connect() as connection:
        seen = connection.scalar(select(sessions.c.seen_at))
    assert seen is not None and datetime.now(UTC) - seen < timedelta(minutes=1)


def test_a_change_takes_the_csrf_token_as_field_or_header(client: TestClient) -> None:
    log_in(client)
    token = csrf(client)
    as_field = client.post("/console/page", data={"csrf": token, "note": "đã gọi"}, headers=OWN)
    assert as_field.text == "lan changed it: đã gọi"
    as_part = client.post("/console/page", data={"csrf": token}, files={"file": b"x"}, headers=OWN)
    assert as_part.status_code == 200
    as_header = client.delete("/console/page", headers={**OWN, "X-CSRF-Token": token})
    assert as_header.status_code == 200
    for data, headers in (
        ({}, {}), ({"csrf": ""}, {}), ({"csrf": token[:-1]}, {}), ({"csrf": "é"}, {}), ({}, {"X-CSRF-Token": "x"}), ({"csrf": client.cookies["petitions_session"]}, {})
    ):  # fmt: skip
        answer = client.post("/console/page", data=data, headers={**OWN, **headers})
        assert answer.status_code == 403
        assert "Hãy tải lại trang" in answer.text and 'role="alert"' in answer.text
    assert client.delete("/console/page", headers=OWN).status_code == 403
    part = client.delete("/console/page", headers={**OWN, "HX-Request": "true"})
    assert part.status_code == 403 and "<title>" not in part.text and "Hãy tải lại trang" in part.text
    assert part.headers["hx-retarget"] == "#notice"


def test_a_change_comes_from_a_page_of_this_site(client: TestClient) -> None:
    log_in(client)
    token, cookies = csrf(client), dict(client.cookies)
    here = "http://donthu.example"
    for headers, expected in (
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://behind-a-proxy.example"}, 200),
        ({"Origin": here}, 200),
        ({"Referer": f"{here}/console/page"}, 200),
        ({}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": here}, 403),
        ({"Origin": "http://evil.example", "Referer": f"{here}/"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"{here}:8080"}, 403),
        ({"Referer": "http://evil.example/donthu.example"}, 403),
        ({"Referer": "http://["}, 403),
    ):
        answer = client.post("/console/page", data={"csrf": token}, headers=headers)
        assert answer.status_code == expected, headers
        key = client.post("/console/login", data={"key": "x"}, headers=headers)
        assert key.status_code == {200: 401}.get(expected, expected), headers
    assert dict(client.cookies) == cookies


def test_a_page_asks_for_a_right(client: TestClient, engine: Engine) -> None:
    log_in(client)
    answer = client.get("/console/audit")
    assert answer.status_code == 403 and "Vai trò của bạn" in answer.text
    with writing(engine) as connection:
        create_user(connection, "minh", "Minh", LAN, Role.AUDITOR, NOW)
    log_in(client, "minh")
    assert client.get("/console/audit").text == "Minh"


def test_guessing_a_users_password_ends_after_ten_attempts_from_wherever(app: FastAPI, client: TestClient) -> None:
    def attempt(host: int, password: str) -> httpx2.Response:
        with TestClient(app, base_url="http://x", client=(f"10.0.1.{host}", 1), follow_redirects=False) as other:
            return log_in(other, "Lan", password)

    assert [attempt(n, WRONG).status_code for n in range(9)] == [401] * 9
    assert attempt(9, LAN).status_code == 303
    assert [attempt(n, WRONG).status_code for n in range(10)] == [401] * 10
    answer = attempt(11, LAN)
    assert answer.status_code == 429 and 0 < int(answer.headers["retry-after"]) <= 300
    assert re.search(r"Hãy thử lại sau \d+ (giây|phút)\.", answer.text)


def test_an_address_tries_no_more_than_thirty_times_a_minute(client: TestClient, engine: Engine) -> None:
    with writing(engine) as connection:
        key = create_key(connection, "a", Role.ADMIN, NOW)
    for n in range(15):
        assert log_in(client, f"u{n}", WRONG).status_code == 401
        assert client.post("/console/login", data={"key": f"pet_0000000{n}_x"}, headers=OWN).status_code == 401
    assert log_in(client).status_code == 429
    assert client.post("/console/login", data={"key": key}, headers=OWN).status_code == 429


def test_without_key_or_user_this_machine_is_let_in_and_nobody_else(app: FastAPI, engine: Engine) -> None:
    with local_client(app, follow_redirects=False) as here:
        assert here.get("/console/page").text.startswith("local|Người dùng tại máy này|")
        assert here.get("/console/login").headers["location"] == "/console/"
        assert here.post("/console/page", headers=OWN).status_code == 403
        assert here.post("/console/page", data={"csrf": csrf(here)}, headers=OWN).status_code == 200
        assert here.post("/console/logout", data={"csrf": csrf(here)}, headers=OWN).status_code == 303
        assert here.get("/console/page", headers={"Host": "rebound.example"}).status_code == 303
        assert here.get("/console/page", headers={"Origin": "http://evil.example"}).status_code == 303
        with TestClient(app, client=("10.0.0.7", 1), follow_redirects=False) as there:
            assert there.get("/console/page", headers={"Host": "127.0.0.1"}).status_code == 303
        with writing(engine) as connection:
            create_user(connection, "lan", "Lan", LAN, Role.ADMIN, NOW)
        assert here.get("/console/page").status_code == 303


def test_the_local_csrf_token_is_another_one_in_every_process(app: FastAPI) -> None:
    with local_client(app) as here:
        assert csrf(here) == csrf(here) != module.Access()._local.csrf


def test_every_answer_of_the_console_says_what_may_run_and_who_may_keep_it(client: TestClient) -> None:
    answers = [client.get(path) for path in ("/console/login", "/console/page", "/console", "/console/nowhere")]
    for answer in [*answers, client.post("/console/login"), log_in(client)]:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy and "form-action 'self'" in policy
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
    static = client.get("/console/static/a.css")
    assert "content-security-policy" in static.headers and "cache-control" not in static.headers
    assert "content-security-policy" not in client.get("/v1/x").headers


def test_the_login_form_is_labelled_and_has_nothing_that_the_policy_forbids(client: TestClient) -> None:
    page = client.get("/console/login").text
    for field, autocomplete in (("name", "username"), ("password", "current-password"), ("key", "off")):
        tag = re.search(rf'<input id="{field}"[^>]*>', page)
        assert tag and f'autocomplete="{autocomplete}"' in tag.group() and f'<label for="{field}">' in page
    assert not re.search(r"<script|<style|\son\w+=|\sstyle=", page)
    evil = log_in(client, '"><script>alert(1)</script>', WRONG).text
    assert "<script" not in evil and "&lt;script&gt;" in evil
