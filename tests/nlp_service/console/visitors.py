"""Who visits the pages of petitions: whoever sits at this machine, or a user who logged in from another one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pytest import MonkeyPatch

from nlp_service import users as users_module
from nlp_service.api import create_app
from nlp_service.roles import Role
from nlp_service.settings import Settings
from nlp_service.store import writing
from nlp_service.users import create_user
from tests.nlp_service.offices import FixedClassifier, local_client

PASSWORD = "ba con mèo vàng"


class Visitor:
    """One visitor's browser, without scripts."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self._own = {"Origin": str(client.base_url).rstrip("/")}

    def get(self, path: str) -> httpx2.Response:
        return self.client.get(path)

    def post(self, path: str, **fields: Any) -> httpx2.Response:
        """Send a form, with the token that the visitor's pages carry."""
        token = re.search(r'X-CSRF-Token": "([^"]+)"', self.client.get("/console/search").text)
        assert token is not None
        return self.client.post(path, data={"csrf": token.group(1), **fields}, headers=self._own)

    def send(self, page: str, action: str, **changes: Any) -> httpx2.Response:
        """Send the first form of a page with this action as it stands, but for `changes`."""
        form = page.split(f'action="{action}"', 1)[1].split("</form>", 1)[0]
        return self.client.post(action, data={**hidden(form), **changes}, headers=self._own)


def hidden(form: str) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form)
    return {name: unescape(value) for name, value in found}


def new_app(directory: Path) -> FastAPI:
    settings = Settings(store=f"sqlite:///{directory / 'console.db'}", rate_per_minute=1_000_000)
    return create_app(settings, FixedClassifier())  # type: ignore[arg-type]


@contextmanager
def at_this_machine(app: FastAPI) -> Iterator[Visitor]:
    """Everything may be done by whoever sits here, as long as there is neither key nor user."""
    with local_client(app) as client:
        yield Visitor(client)


def logged_in(app: FastAPI, monkeypatch: MonkeyPatch, name: str, role: Role, **scope: Any) -> Visitor:
    """A user of the running app who has just logged in."""
    # What hashing costs is not the point here.
    cheap = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    monkeypatch.setattr(users_module, "_hasher", lambda: cheap)
    with writing(app.state.engine) as connection:
        create_user(connection, name, name.title(), PASSWORD, role, datetime.now(UTC), **scope)
    client = TestClient(app, base_url="http://donthu.example", client=("10.0.0.7", 50_000))
    answer = client.post(
        "/console/login",
        data={"name": name, "password": PASSWORD},
        headers={"Origin": "http://donthu.example"},
        follow_redirects=False,
    )
    assert answer.status_code == 303, answer.text
    return Visitor(client)


def hand_in(visitor: Visitor, *texts: str, days_ago: float = 0, **fields: Any) -> list[int]:
    """Ids of petitions that came in; as the one at this machine, before there are users."""
    received = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
    petitions = [{"text": text, "received_at": received, **fields} for text in texts]
    answer = visitor.client.post("/v1/petitions", json={"petitions": petitions})
    assert answer.status_code < 300, answer.text
    return [receipt["petition"]["id"] for receipt in answer.json()["results"]]


def shown(page: str) -> list[int]:
    """Numbers of the petitions in a page's list, from above."""
    return [int(number) for number in re.findall(r'<a href="/console/petitions/(\d+)[^"]*">Đơn', page)]
