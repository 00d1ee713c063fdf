"""Labelling jobs as they are used: in a browser, and by a service that is killed in the middle."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from nlp_service.label import label_file
from tests.e2e.conftest import ROOT, Clerk
from tests.nlp_service.job_fakes import group, wait_for

pytestmark = pytest.mark.slow


def petitions(path: Path, count: int) -> None:
    """Our own held-out petitions, again and again, each time with another number."""
    with (ROOT / "datasets" / "petitions" / "dev.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Mã", "Nội dung"])
        writer.writerows([i, f"{texts[i % len(texts)]} Số {i}."] for i in range(count))


@pytest.mark.parametrize("width", [1280, 390])
def test_the_archivist_sends_a_file_watches_it_and_gets_it_labelled(clerk: Clerk, tmp_path: Path, width: int) -> None:
    page, source = clerk.page, tmp_path / "Đơn thư năm 2019.csv"
    petitions(source, 20)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("/console/jobs")
    page.set_input_files("#job-file", source)
    page.get_by_role("button", name="Gửi tệp").click()
    expect(page.locator("main")).to_contain_text("Đã nhận tệp Đơn thư năm 2019.csv.")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    button = page.get_by_role("link", name="Tải kết quả")
    expect(button).to_be_visible(timeout=120_000)  # without reloading: the list asks for itself
    found = Axe().run(page).response["violations"]
    assert [violation["id"] for violation in found if violation["impact"] in ("serious", "critical")] == []
    with page.expect_download() as download:
        button.click()
    assert download.value.suggested_filename == "Đơn thư năm 2019 (đã gán nhãn).csv"
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["Mã"] for row in rows] == [str(i) for i in range(20)]
    assert all(row["category"] and not row["error"] for row in rows)
    assert clerk.complaints == []


class Service:
    """`petitions serve`, to be killed and started again."""

    def __init__(self, directory: Path, store: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._environment = {
            **os.environ,
            "PETITIONS_STORE": store,
            "PETITIONS_JOBS": str(directory),
            "PETITIONS_RATE_PER_MINUTE": "1000000",
        }
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", "from nlp_service.cli import main; main()", "serve", "--port", str(self.port)]
        self.process = subprocess.Popen(command, cwd=ROOT, env=self._environment)
        wait_for(self._ready)

    def _ready(self) -> bool:
        assert self.process.poll() is None, "the service did not start"
        try:
            return httpx2.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200
        except httpx2.HTTPError:
            return False

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(httpx2.get(f"http://127.0.0.1:{self.port}/v1/jobs/{job_id}", timeout=60).json())

    def end(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait(60)


def job_process(service: int) -> int:
    """The process under the service that leads a group of its own: the job's."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        fields = status.read_text().rpartition(")")[2].split()
        pid = int(status.parent.name)
        if int(fields[1]) == service and int(fields[2]) == pid:
            return pid
    raise AssertionError("no job runs")


def test_a_service_that_is_killed_in_the_middle_goes_on_and_writes_the_same_bytes(
    tmp_path: Path, store_url: str
) -> None:
    ends_in_the_middle(tmp_path, store_url, signal.SIGKILL)


def test_a_service_that_is_stopped_in_the_middle_goes_on_and_writes_the_same_bytes(tmp_path: Path) -> None:
    ends_in_the_middle(tmp_path, f"sqlite:///{tmp_path / 'petitions.db'}", signal.SIGTERM)


def ends_in_the_middle(tmp_path: Path, store_url: str, how: signal.Signals) -> None:
    source, by_hand = tmp_path / "input.csv", tmp_path / "by hand.xlsx"
    petitions(source, 1100)
    service = Service(tmp_path / "jobs", store_url)
    try:
        url = f"http://127.0.0.1:{service.port}/v1/jobs"
        with source.open("rb") as stream:
            taken = httpx2.post(url, files={"file": ("đơn.csv", stream)}, data={"format": "xlsx"}, timeout=60)
        job_id = taken.json()["id"]
        wait_for(lambda: service.job(job_id)["rows_done"])
        before = service.job(job_id)["rows_done"]
        process = job_process(service.process.pid)
        service.end(how)
        wait_for(lambda: group(process) == [])
        service.start()
        job = service.job(job_id)
        assert 256 <= before <= job["rows_done"] < 1100, "it was done before it was killed"
        if how is signal.SIGTERM:
            assert job["state"] in ("queued", "running")
        wait_for(lambda: service.job(job_id)["state"] not in ("queued", "running"))
        job = service.job(job_id)
        assert job["state"] == "done", job
        result = httpx2.get(f"{url}/{job_id}/result", timeout=60).content
    finally:
        service.end(signal.SIGKILL)
    label_file(source, by_hand, model=ROOT / "models" / "current", rules=ROOT / "datasets")
    assert result == by_hand.read_bytes()
