"""A real browser on a real service with the shipped model. Without Chromium the tests that need one skip visibly."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from sqlalchemy import Engine

from nlp_service.api import create_app
from nlp_service.pipeline import PetitionClassifier
from nlp_service.settings import Settings
from nlp_service.store import open_store

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip(
            "no Chromium on this machine (Debian: apt install chromium): the console is not tested in a browser"
        )
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def shipped() -> PetitionClassifier:
    return PetitionClassifier.load(ROOT / "models" / "current")


@dataclass
class Console:
    """A service that runs, its store, and the petitions it was given with their labels."""

    url: str
    engine: Engine
    truth: dict[str, dict[str, Any]]


@pytest.fixture
def console(tmp_path: Path, shipped: PetitionClassifier) -> Iterator[Console]:
    store = f"sqlite:///{tmp_path / 'console.db'}"
    app = create_app(Settings(store=store, rate_per_minute=1_000_000), shipped)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    engine = open_store(store)
    yield Console(url, engine, {})
    engine.dispose()
    server.should_exit = True
    thread.join()


def hand_in(console: Console, count: int) -> None:
    """Our own held-out petitions, with their ids as external ids."""
    with (ROOT / "datasets" / "petitions" / "dev.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(count), lines, strict=False)]
    now = datetime.now(UTC).isoformat()
    for start in range(0, count, 100):
        block = [{"text": r["text"], "external_id": r["id"], "received_at": now} for r in rows[start : start + 100]]
        answer = httpx2.post(f"{console.url}/v1/petitions", json={"petitions": block}, timeout=120)
        answer.raise_for_status()
    console.truth.update({row["id"]: row for row in rows})


@dataclass
class Clerk:
    """A person at a browser. `complaints` is what the browser's console said."""

    context: BrowserContext
    page: Page
    complaints: list[str]


@pytest.fixture
def clerk(browser: Browser, console: Console) -> Iterator[Clerk]:
    yield from _sit_down(browser, console)


@pytest.fixture
def second_clerk(browser: Browser, console: Console) -> Iterator[Clerk]:
    yield from _sit_down(browser, console)


def _sit_down(browser: Browser, console: Console) -> Iterator[Clerk]:
    context = browser.new_context(base_url=console.url, viewport={"width": 1280, "height": 900}, locale="vi-VN")
    context.set_default_timeout(15_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield Clerk(context, page, complaints)
    context.close()
