"""Stores on real databases: SQLite always, PostgreSQL where there is one."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from nlp_service.store import open_store, upgrade


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes where a user's petitions would be."""
    monkeypatch.setenv("PETITIONS_STORE", f"sqlite:///{tmp_path / 'petitions.db'}")
    monkeypatch.setenv("PETITIONS_JOBS", str(tmp_path / "jobs"))


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind; PostgreSQL where PETITIONS_TEST_POSTGRES_URL says that there is one."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    server = os.environ.get("PETITIONS_TEST_POSTGRES_URL")
    if not server:
        pytest.skip("PETITIONS_TEST_POSTGRES_URL is not set: PostgreSQL is not tested")
    schema = f"test_{uuid.uuid4().hex}"
    url = make_url(server).set(drivername="postgresql+psycopg")
    admin = create_engine(url)
    with admin.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    try:
        yield url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    finally:
        with admin.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        admin.dispose()


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    """An open store with its schema."""
    engine = open_store(store_url)
    upgrade(engine)
    yield engine
    engine.dispose()
