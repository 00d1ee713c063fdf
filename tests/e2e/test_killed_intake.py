"""SIGKILL in the middle of an intake of 5,000 petitions, several times: nothing that was answered is lost, nothing is there twice."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select

from nlp_service import audit
from nlp_service.store import open_store, petitions

ROOT = Path(__file__).resolve().parents[2]
COUNT, BATCH, KILLS = 5_000, 50, 4


class Server:
    """The service in a process of its own, to be killed and started again."""

    def __init__(self, store: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._command = [sys.executable, "-m", "tests.e2e.intake_server", store, str(self.port)]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self._command, cwd=ROOT)
        for _ in range(300):
            try:
                if httpx2.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200:
                    return process
            except httpx2.HTTPError:
                pass
            time.sleep(0.1)
        raise TimeoutError("the server did not become ready")

    def kill_and_restart(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = self._start()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(store_url: str) -> Iterator[Server]:
    server = Server(store_url)
    yield server
    server.stop()


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_is_there_twice(server: Server, store_url: str) -> None:
    generator = random.Random(5)
    moments = sorted(generator.sample(range(5, COUNT // BATCH - 5), KILLS))
    answered: dict[str, int] = {}
    url = f"http://127.0.0.1:{server.port}/v1/petitions"
    for number in range(COUNT // BATCH):
        names = [f"PA-{number * BATCH + i}" for i in range(BATCH)]
        body = {"petitions": [{"text": f"Ổ gà số {name} trước cổng trường.", "external_id": name} for name in names]}
        killer = None
        if number in moments:
            # In the middle of this very request, or just before or after it.
            killer = threading.Timer(generator.uniform(0, 0.15), os.kill, (server.process.pid, signal.SIGKILL))
            killer.start()
        while True:
            try:
                answer = httpx2.post(url, json=body, timeout=30)
                break
            except httpx2.HTTPError:  # killed under the request: the client sends it again, as clients do
                if killer:
                    killer.join()
                server.kill_and_restart()
        assert answer.status_code == 200, answer.text
        for name, result in zip(names, answer.json()["results"], strict=True):
            assert answered.setdefault(name, result["petition"]["id"]) == result["petition"]["id"]
        if killer:
            killer.join()
            server.kill_and_restart()
    engine = open_store(store_url)
    with engine.connect() as connection:
        stored = {
            row.external_id: row.id for row in connection.execute(select(petitions.c.external_id, petitions.c.id))
        }
        assert connection.execute(select(func.count()).select_from(petitions)).scalar_one() == COUNT
        verdict = audit.verify(connection)
    engine.dispose()
    assert stored == answered
    assert (verdict.intact, verdict.rows) == (True, COUNT)
