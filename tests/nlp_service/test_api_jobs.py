"""Labelling jobs over HTTP."""

import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from python_calamine import CalamineWorkbook
from sqlalchemy import select, update

from nlp_service import audit
from nlp_service.api import create_app
from nlp_service.jobs import State
from nlp_service.keys import create_key
from nlp_service.roles import Role
from nlp_service.settings import Settings
from nlp_service.store import audit as audit_table
from nlp_service.store import jobs as jobs_table
from nlp_service.store import snapshot, writing
from tests.nlp_service.job_fakes import answer, labelled, rest, rows, wait_for
from tests.nlp_service.offices import ROOT, FixedClassifier, local_client

LIMIT = 300_000
NAME = "Đơn thư ông Nguyễn Văn Kín.csv"


def build(directory: Path, store_url: str | None = None, **options: Any) -> FastAPI:
    store = store_url or f"sqlite:///{directory / 'store.db'}"
    settings = Settings(
        store=store, jobs=directory / "jobs", max_job_bytes=LIMIT, max_body_bytes=10_000, rate_per_minute=1_000_000
    )
    return create_app(settings, FixedClassifier(), **options)  # type: ignore[arg-type]


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return build(tmp_path, job_classify=answer)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with local_client(app) as client:
        yield client


@pytest.fixture
def idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Jobs are taken in, and none is run."""
    rest(monkeypatch)
    with local_client(build(tmp_path)) as client:
        yield client


def send(client: TestClient, content: bytes = b"", name: str = NAME, **options: Any) -> httpx2.Response:
    sent: httpx2.Response = client.post("/v1/jobs", files={"file": (name, content or rows(3))}, **options)
    return sent


def done(client: TestClient, job_id: str) -> dict[str, Any]:
    def read() -> dict[str, Any]:
        return dict(client.get(f"/v1/jobs/{job_id}").json())

    wait_for(lambda: read()["state"] not in ("queued", "running"))
    return read()


def bearer(app: FastAPI, name: str, role: Role) -> dict[str, str]:
    with writing(app.state.engine) as connection:
        bodies = ["so_xay_dung"] if role is Role.OFFICER else []
        key = create_key(connection, name, role, datetime.now(UTC), bodies=bodies)
    return {"Authorization": f"Bearer {key}"}


def test_a_file_comes_back_labelled(client: TestClient, tmp_path: Path) -> None:
    taken = send(client, rows(300))
    assert taken.status_code == 202 and taken.headers["location"] == f"/v1/jobs/{taken.json()['id']}"
    job = done(client, taken.json()["id"])
    assert (job["state"], job["rows_done"], job["rows_total"], job["format"]) == ("done", 300, 300, "csv")
    kept = datetime.fromisoformat(job["expires_at"]) - datetime.fromisoformat(job["finished_at"])
    assert kept == timedelta(days=7)
    result = client.get(f"/v1/jobs/{job['id']}/result")
    assert result.content == labelled(tmp_path / "by_hand", rows(300))
    assert result.headers["content-disposition"] == (
        f"attachment; filename*=utf-8''{quote('Đơn thư ông Nguyễn Văn Kín (đã gán nhãn).csv')}"
    )
    assert result.headers["x-content-type-options"] == "nosniff"
    assert result.headers["content-type"].startswith("text/csv")
    report = client.get(f"/v1/jobs/{job['id']}/report").json()
    assert (report["source"]["name"], report["output"]) == (NAME, "Đơn thư ông Nguyễn Văn Kín (đã gán nhãn).csv")
    metrics = client.get("/metrics").text
    assert 'petitions_jobs{state="done"} 1.0' in metrics and "petitions_job_rows_total 300.0" in metrics


def test_the_report_of_a_run_is_a_download_too(client: TestClient, tmp_path: Path) -> None:
    job = done(client, send(client).json()["id"])
    output = tmp_path / "jobs" / job["id"] / "output.csv"
    for path in output.parent.glob("*.report.*"):
        path.unlink()
    missing = client.get(f"/v1/jobs/{job['id']}/report")
    assert missing.status_code == 404 and "left no report" in missing.json()["error"]["message"]
    Path(f"{output}.report.json").write_text('{"rows": 3}')
    Path(f"{output}.report.html").write_text("<script>alert(1)</script>")
    assert client.get(f"/v1/jobs/{job['id']}/report").json() == {"rows": 3}
    page = client.get(f"/v1/jobs/{job['id']}/report", params={"format": "html"})
    assert page.headers["content-disposition"].startswith("attachment")
    assert page.headers["content-security-policy"] == "sandbox"


def test_options_and_format_are_obeyed(client: TestClient) -> None:
    data = "noi_dung,y_kien\nĐã chuyển các bác xem giúp cho dân nhờ,Đường liên thôn nhiều ổ gà\n".encode()
    taken = send(client, data, data={"text_column": "y_kien", "format": "xlsx", "encoding": "auto", "sheet": ""})
    job = done(client, taken.json()["id"])
    book = CalamineWorkbook.from_filelike(io.BytesIO(client.get(f"/v1/jobs/{job['id']}/result").content))
    names, first = book.get_sheet_by_index(0).to_python()[:2]
    assert dict(zip(names, first, strict=True))["category"] == "transport_infrastructure"


def test_the_shipped_model_labels_a_file_as_it_classifies(tmp_path: Path) -> None:
    text = "Khu phố 3 đèn đường tắt cả tháng, tối om, đi lại rất nguy hiểm, mong điện lực và phường sửa giúp."
    settings = Settings(store=f"sqlite:///{tmp_path / 's.db'}", jobs=tmp_path / "jobs", model=ROOT / "models/current")
    with local_client(create_app(settings)) as client:
        job = done(client, send(client, f'noi_dung\n"{text}"\n'.encode()).json()["id"])
        assert job["state"] == "done", job
        content = client.get(f"/v1/jobs/{job['id']}/result").content.decode("utf-8-sig")
        [row] = csv.DictReader(io.StringIO(content))
        expected = client.post("/v1/classify", json={"text": text}).json()
    assert row["category"] == expected["category"]["id"]
    assert float(row["category_probability"]) == expected["category"]["probability"]


def test_a_bad_file_ends_in_an_error_that_names_it(client: TestClient, tmp_path: Path) -> None:
    taken = send(client, b"PK\x03\x04 broken", "sổ cũ.xlsx")
    assert taken.status_code == 202
    job = done(client, taken.json()["id"])
    assert job["state"] == "failed" and job["error"]["kind"] == "invalid_file"
    assert job["error"]["message"].startswith("sổ cũ.xlsx ") and str(tmp_path) not in json.dumps(job)
    refused = client.get(f"/v1/jobs/{job['id']}/result")
    assert refused.status_code == 409 and "failed" in refused.json()["error"]["message"]


def kept(client: TestClient) -> list[str]:
    root = client.app.state.job_desk._files._root  # type: ignore[attr-defined]
    return [path.name for path in root.rglob("*")] if root.exists() else []


@pytest.mark.parametrize("name", ["đơn.pdf", "đơn", "đơn.csv.exe", ".csv", "a.xlsx/../../x.sh"])
def test_a_kind_of_file_that_cannot_be_read_is_refused_at_once(idle: TestClient, name: str) -> None:
    refused = send(idle, name=name)
    assert refused.status_code == 422 and refused.json()["error"]["kind"] == "invalid_file"
    assert ".csv" in refused.json()["error"]["message"] and kept(idle) == []


@pytest.mark.parametrize(
    "name", ["../../../etc/cron.d/đơn.csv", "C:\\đơn thư\\đơn.csv", "/tmp/đơn.csv", "a/../đơn.csv"]
)
def test_a_name_is_never_a_path(idle: TestClient, name: str) -> None:
    job = send(idle, name=name).json()
    assert job["file_name"] == "đơn.csv"
    assert sorted(kept(idle)) == sorted([job["id"], "input.csv"])


def test_a_long_name_with_line_breaks_is_cut_and_kept_in_one_line(idle: TestClient) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="' + "ơ".encode() * 400 + b'\x07.CSV"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    job = idle.post("/v1/jobs", content=body + rows(1) + b"\r\n--x--\r\n", headers=headers).json()
    assert job["file_name"] == "ơ" * 196 + ".CSV"


def test_a_file_over_the_limit_is_refused_by_its_declared_size_and_while_it_comes(idle: TestClient) -> None:
    fits, over = b"a" * LIMIT, b"a" * (LIMIT + 1)
    assert send(idle, fits).status_code == 202
    before = len(kept(idle))

    def body(data: bytes) -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
        for start in range(0, len(data), 10_000):
            yield data[start : start + 10_000]
        yield b"\r\n--x--\r\n"

    chunked = idle.post("/v1/jobs", content=body(over), headers={"Content-Type": "multipart/form-data; boundary=x"})
    for refused in (send(idle, over), send(idle, over * 3), chunked):
        assert refused.status_code == 413
        error = refused.json()["error"]
        assert error["kind"] == "body_too_large" and "300,000" in error["message"]
        assert "PETITIONS_MAX_JOB_BYTES" in error["message"]
    assert len(kept(idle)) == before


def test_other_requests_keep_their_own_limit(idle: TestClient) -> None:
    refused = idle.post("/v1/classify", json={"text": "a" * 20_000})
    assert refused.status_code == 413 and "PETITIONS_MAX_BODY_BYTES" in refused.json()["error"]["message"]


def test_a_full_disk_is_told_before_anything_is_read(idle: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_000))
    refused = send(idle, b"a" * 5_000)
    assert refused.status_code == 503
    error = refused.json()["error"]
    assert "1,000 are free" in error["message"] and error["detail"]["needed"] > 15_000 and kept(idle) == []


def multipart(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    return b"".join(b"--x\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + end


FILE = b'name="file"; filename="a.csv"\r\n\r\nnoi_dung\nx'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing of the kind",
        multipart(b'name="sheet"\r\n\r\n1'),
        multipart(FILE, FILE),
        multipart(FILE, end=b""),
        multipart(b'name="file"\r\n\r\nnoi_dung\nx'),
        multipart(b'name="other"; filename="a.csv"\r\n\r\nx'),
        multipart(b'name="sheet"\r\n\r\n' + b"a" * 5_000, FILE),
        multipart(*[b'name="place_column"\r\n\r\na'] * 30, FILE),
        multipart(b'name="sheet"\r\n\r\n' + b"a" * 500, FILE),
        multipart(b'name="encoding"\r\n\r\nklingon', FILE),
        multipart(b'name="nonsense"\r\n\r\n1', FILE),
        multipart(b'name="sheet"\r\n\r\na\0b', FILE),
    ],
)
def test_a_malformed_form_is_refused_and_leaves_nothing(idle: TestClient, body: bytes) -> None:
    refused = idle.post("/v1/jobs", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert refused.status_code == 422 and refused.json()["error"]["kind"] == "invalid_request"
    assert kept(idle) == [] and idle.get("/v1/jobs").json() == {"jobs": []}


def test_something_else_than_a_form_is_refused(idle: TestClient) -> None:
    assert idle.post("/v1/jobs", json={"file": "x"}).status_code == 422


async def ask(app: FastAPI, headers: list[tuple[bytes, bytes]], messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the app sends for an upload that comes in these messages; asking for more fails."""
    coming, sent = iter(messages), list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        return next(coming)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": "/v1/jobs", "raw_path": b"/v1/jobs", "query_string": b"",
        "scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 5), "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"multipart/form-data; boundary=x"), *headers],
    }  # fmt: skip
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    return sent


@pytest.mark.anyio
async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    begun = {"type": "http.request", "body": multipart(FILE, end=b""), "more_body": True}
    await ask(build(tmp_path), [], [begun, {"type": "http.disconnect"}])
    assert list((tmp_path / "jobs").iterdir()) == []


@pytest.mark.anyio
async def test_what_declares_to_be_too_large_is_refused_without_being_read(tmp_path: Path) -> None:
    sent = await ask(build(tmp_path), [(b"content-length", b"900000")], [])
    assert sent[0]["status"] == 413 and list((tmp_path / "jobs").iterdir()) == []


def test_owners_do_not_see_each_other_and_an_admin_sees_all(idle: TestClient) -> None:
    app: Any = idle.app
    lan, hung = bearer(app, "lan", Role.REVIEWER), bearer(app, "hùng", Role.OFFICER)
    admin = bearer(app, "quản trị", Role.ADMIN)
    hers = send(idle, headers=lan).json()["id"]
    his = send(idle, headers=hung).json()["id"]
    for who, expected in ((lan, [hers]), (hung, [his]), (admin, [his, hers])):
        assert [job["id"] for job in idle.get("/v1/jobs", headers=who).json()["jobs"]] == expected
    for method, path in (("get", ""), ("get", "/result"), ("get", "/report"), ("post", "/cancel")):
        refused = idle.request(method, f"/v1/jobs/{hers}{path}", headers=hung)
        assert (refused.status_code, refused.json()["error"]["kind"]) == (404, "not_found")
    assert idle.get(f"/v1/jobs/{hers}", headers=admin).json()["owner"] == "lan"
    assert idle.get(f"/v1/jobs/{hers}", headers=lan).json()["state"] == "queued"


@pytest.mark.parametrize("role", [Role.INTAKE, Role.AUDITOR])
def test_who_reads_no_raw_petitions_has_no_jobs(idle: TestClient, role: Role) -> None:
    key = bearer(idle.app, "cổng", role)  # type: ignore[arg-type]
    for refused in (send(idle, headers=key), idle.get("/v1/jobs", headers=key)):
        assert refused.status_code == 403
    assert kept(idle) == []


def test_without_a_key_nothing_is_taken_in(idle: TestClient) -> None:
    bearer(idle.app, "lan", Role.REVIEWER)  # type: ignore[arg-type]
    assert send(idle).status_code == 401 and kept(idle) == []


def test_what_waits_can_be_cancelled_and_cancelling_again_changes_nothing(idle: TestClient) -> None:
    job_id = send(idle).json()["id"]
    for _ in range(2):
        assert idle.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    assert kept(idle) == []
    with writing(idle.app.state.engine) as connection:  # type: ignore[attr-defined]
        connection.execute(update(jobs_table).values(state=State.DONE))
    assert idle.post(f"/v1/jobs/{job_id}/cancel").status_code == 409


def test_the_audit_log_tells_who_did_what_and_not_what_the_file_is_called(client: TestClient) -> None:
    engine = client.app.state.engine  # type: ignore[attr-defined]
    data = rows(3)
    job_id = send(client, data).json()["id"]
    done(client, job_id)
    client.get(f"/v1/jobs/{job_id}/result")
    cancelled = send(client, rows(600)).json()["id"]
    for _ in range(2):
        client.post(f"/v1/jobs/{cancelled}/cancel")
    with snapshot(engine) as connection:
        told = audit.history(connection, f"job:{job_id}")
        assert [(entry["actor"], entry["action"], entry["bytes"]) for entry in told] == [
            ("local", "job.submit", len(data)),
            ("local", "job.download", len(data)),
        ]
        assert [entry["action"] for entry in audit.history(connection, f"job:{cancelled}")] == [
            "job.submit",
            "job.cancel",
        ]
        assert "Kín" not in str(connection.execute(select(audit_table)).all())
        assert audit.verify(connection).intact


def test_an_unknown_job_and_no_id_at_all(idle: TestClient) -> None:
    assert idle.get(f"/v1/jobs/{'0' * 32}").status_code == 404
    assert idle.get("/v1/jobs/..%2f..%2fetc").status_code in (404, 422)
    assert idle.get("/v1/jobs/1").status_code == 422


@pytest.mark.anyio
async def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    import tracemalloc

    settings = Settings(store=f"sqlite:///{tmp_path / 's.db'}", jobs=tmp_path / "jobs")
    app = create_app(settings, FixedClassifier(), job_classify=answer)  # type: ignore[arg-type]
    size = 60_000_000

    async def body() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nnoi_dung\n'
        for _ in range(size // 60_000):
            yield b"x" * 60_000
        yield b"\r\n--x--\r\n"

    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app, client=("127.0.0.1", 5))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            tracemalloc.start()
            taken = await client.post(
                "/v1/jobs", content=body(), headers={"Content-Type": "multipart/form-data; boundary=x"}
            )
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert taken.status_code == 202, taken.text
            assert taken.json()["input_bytes"] > size
            await client.post(f"/v1/jobs/{taken.json()['id']}/cancel")
    assert peak < 20_000_000
