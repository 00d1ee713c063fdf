"""`petitions serve` in a process of its own, commands beside it, and people who ask it without a pause."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from nlp_service.settings import Settings
from tests.nlp_service.registries import ROOT

LINES = (ROOT / "datasets" / "canaries.jsonl").read_text(encoding="utf-8").splitlines()
PETITIONS = [json.loads(line)["text"] for line in LINES]
MAIN = [sys.executable, "-c", "from nlp_service.cli import main; main()"]
TRAIN = [sys.executable, "-c", "from training.cli import main; main()"]


@dataclass
class Service:
    """A running service; commands have the same settings."""

    url: str
    settings: Settings
    environment: dict[str, str]

    def models(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`petitions models …`."""
        return self.run([*MAIN, "models", *arguments])

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=self.environment, timeout=600)

    def ready(self) -> dict[str, str]:
        body: dict[str, str] = httpx2.get(f"{self.url}/readyz", timeout=60).json()
        return body

    def wait_for(self, version: str) -> None:
        deadline = time.monotonic() + 180
        while self.ready()["model_version"] != version:
            assert time.monotonic() < deadline, f"{version} did not take over"
            time.sleep(0.1)

    def answers(self, texts: Sequence[str] = PETITIONS) -> list[dict[str, Any]]:
        with httpx2.Client(base_url=self.url, timeout=60) as client:
            return [client.post("/v1/classify", json={"text": text}).json() for text in texts]


@contextmanager
def serve(settings: Settings, directory: Path) -> Iterator[Service]:
    """Until the block ends; log and jobs lie in `directory`."""
    environment = {
        **os.environ,
        "PETITIONS_MODEL": str(settings.model),
        "PETITIONS_RULES": str(settings.rules),
        "PETITIONS_STORE": settings.store,
        "PETITIONS_RATE_PER_MINUTE": "1000000",
        "PETITIONS_JOBS": str(directory / "jobs"),
        "PETITIONS_THREADS": "1",
    }
    log = directory / "log"
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
    """Asks one petition and then a batch, over and over, and keeps what it heard.

    Attributes:
        pause: seconds between an answer and the next question.
    """

    url: str
    pause: float = 0
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
            while not self.stopped.wait(self.pause):
                number += 1
                try:
                    self._ask(client, number)
                except httpx2.HTTPError as error:
                    self.failures.append(type(error).__name__)

    def changes(self) -> list[str]:
        """The versions in the order in which they took over."""
        return [v for i, v in enumerate(self.versions) if i == 0 or self.versions[i - 1] != v]

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


@contextmanager
def load(service: Service, people: int = 2, pause: float = 0) -> Iterator[list[Load]]:
    """People who ask until the block ends."""
    loads = [Load(service.url, pause) for _ in range(people)]
    threads = [threading.Thread(target=each.run) for each in loads]
    for thread in threads:
        thread.start()
    try:
        yield loads
    finally:
        for each in loads:
            each.stopped.set()
        for thread in threads:
            thread.join()
