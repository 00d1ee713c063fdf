"""Promotion and rollback by command while a real service is asked without a pause: no request fails, none is answered half."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nlp_service.settings import Settings
from tests.nlp_service.registries import ROOT, damage, pass_gates, registry

LINES = (ROOT / "datasets" / "canaries.jsonl").read_text(encoding="utf-8").splitlines()
PETITIONS = [json.loads(line)["text"] for line in LINES]
MAIN = [sys.executable, "-c", "from nlp_service.cli import main; main()"]


@dataclass
class Service:
    """`petitions serve` in a process of its own, and commands beside it with the same settings."""

    url: str
    settings: Settings
    environment: dict[str, str]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*MAIN, "models", *arguments], capture_output=True, text=True, cwd=ROOT, env=self.environment, timeout=300
        )

    def ready(self) -> dict[str, str]:
        body: dict[str, str] = httpx2.get(f"{self.url}/readyz", timeout=60).json()
        return body

    def wait_for(self, version: str) -> None:
        deadline = time.monotonic() + 180
        while self.ready()["model_version"] != version:
            assert time.monotonic() < deadline, f"{version} did not take over"
            time.sleep(0.1)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    settings = registry(tmp_path / "models", "a", "b")
    pass_gates(tmp_path / "models" / "b", "a")
    environment = {
        **os.environ,
        "PETITIONS_MODEL": str(settings.model),
        "PETITIONS_RULES": str(settings.rules),
        "PETITIONS_STORE": settings.store,
        "PETITIONS_RATE_PER_MINUTE": "1000000",
        "PETITIONS_JOBS": str(tmp_path / "jobs"),
        "PETITIONS_THREADS": "1",
    }
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen([*MAIN, "serve", "--port", "0"], cwd=ROOT, env=environment, stderr=stream)
    try:
        deadline = time.monotonic() + 180
        while not (found := re.search(r"running on (http://\S+)", said := log.read_text(encoding="utf-8"))):
            assert process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.1)
        yield Service(found[1], settings, environment)
    finally:
        process.terminate()
        process.wait(60)


@dataclass
class Load:
    """Asks without a pause, one petition and then a batch, and keeps what it heard."""

    url: str
    stopped: threading.Event = field(default_factory=threading.Event)
    versions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def hears(self, version: str) -> None:
        """Wait until it was answered by this version."""
        deadline = time.monotonic() + 120
        while self.versions[-1:] != [version]:
            assert not self.failures and time.monotonic() < deadline, f"{version} was not heard: {self.failures}"
            time.sleep(0.05)

    def run(self) -> None:
        number = 0
        with httpx2.Client(base_url=self.url, timeout=120) as client:
            while not self.stopped.is_set():
                number += 1
                try:
                    self._ask(client, number)
                except httpx2.HTTPError as error:
                    self.failures.append(type(error).__name__)

    def _ask(self, client: httpx2.Client, number: int) -> None:
        if number % 5:
            answer = client.post("/v1/classify", json={"text": PETITIONS[number % len(PETITIONS)]})
            results = [answer.json()]
        else:
            batch = [{"text": f"{text} Lần {number}."} for text in PETITIONS * 2]  # more than the model reads together
            answer = client.post("/v1/classify/batch", json={"petitions": batch})
            results = [item["result"] for item in answer.json()["results"]]
        versions = {result["model_version"] for result in results}
        if answer.status_code != 200 or len(versions) != 1:
            self.failures.append(f"{answer.status_code} {versions}")
        else:
            self.versions.append(versions.pop())


def answers(service: Service) -> list[dict[str, Any]]:
    return [httpx2.post(f"{service.url}/v1/classify", json={"text": t}, timeout=60).json() for t in PETITIONS]


def changes(versions: list[str]) -> list[str]:
    return [v for i, v in enumerate(versions) if i == 0 or versions[i - 1] != v]


@pytest.mark.slow
def test_promote_and_roll_back_under_load(service: Service) -> None:
    before = answers(service)
    loads = [Load(service.url) for _ in range(2)]
    threads = [threading.Thread(target=load.run) for load in loads]
    for thread in threads:
        thread.start()
    try:
        promoted = service.command("promote", "b")
        assert promoted.returncode == 0, promoted.stderr
        service.wait_for("b")
        for load in loads:
            load.hears("b")
        back = service.command("rollback")
        assert back.returncode == 0, back.stderr
        service.wait_for("a")
        for load in loads:
            load.hears("a")
    finally:
        for load in loads:
            load.stopped.set()
        for thread in threads:
            thread.join()
    for load in loads:
        assert load.failures == []
        assert changes(load.versions) == ["a", "b", "a"]
    assert answers(service) == before


@pytest.mark.slow
def test_a_damaged_model_is_refused_by_the_command_and_by_the_service(service: Service) -> None:
    before = answers(service)
    damage(service.settings.model.parent / "b")
    refused = service.command("promote", "b")
    assert (refused.returncode, "linear.npz does not match its hash" in refused.stderr) == (2, True)
    assert len(refused.stderr.strip().splitlines()) == 1
    assert service.settings.model.read_text(encoding="utf-8") == "a\n"
    service.settings.model.write_text("b\n", encoding="utf-8")  # by hand, past the command
    deadline = time.monotonic() + 60
    while "warning" not in service.ready() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "linear.npz" in service.ready()["warning"]
    assert answers(service) == before
