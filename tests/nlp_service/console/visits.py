"""Visits to the console, logged in by a key of some role."""

import re
from datetime import UTC, datetime

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from nlp_service.keys import create_key
from nlp_service.roles import Role
from nlp_service.store import writing

OWN = {"Origin": "http://127.0.0.1"}


def log_in(client: TestClient, engine: Engine, role: Role) -> None:
    """From now on `client` has the session of a new key of that role."""
    client.cookies.clear()
    with writing(engine) as connection:
        bodies = ["so_xay_dung"] if role is Role.OFFICER else []
        key = create_key(connection, f"khóa {role}", role, datetime.now(UTC), bodies=bodies)
    answer = client.post("/console/login", data={"key": key}, headers=OWN, follow_redirects=False)
    assert answer.status_code == 303, answer.text


def csrf(client: TestClient) -> str:
    """The token that a page of this visitor carries: the model's, which every role may see."""
    token = re.search(r'"X-CSRF-Token": "([^"]+)"', client.get("/console/model").text)
    assert token is not None
    return token.group(1)
