"""The installed commands as a user runs them, with the shipped model."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nlp_service.cli import app
from nlp_service.errors import PetitionError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SERVING_PYTHON = ROOT / ".venv" / "bin" / "python"
LAMP = "Khu phố 3 đèn đường tắt cả tháng, tối om, đi lại rất nguy hiểm, mong điện lực và phường sửa giúp."
FLOOD = "CỨU VỚI nhà em ở thôn 5 nước lên tới nóc rồi, 4 người có bà cụ và cháu nhỏ mắc kẹt trên mái, điện thoại sắp hết pin"


def petitions(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from nlp_service.cli import main; main()", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_classify_prints_one_json_object() -> None:
    done = petitions("classify", LAMP)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["category"]["id"] == "electricity_telecom_lighting"
    assert json.loads(petitions("classify", stdin=LAMP).stdout) == answer


def test_an_emergency_is_one_without_diacritics_too() -> None:
    from nlp_service.text import strip_diacritics

    for text in (FLOOD, strip_diacritics(FLOOD).lower()):
        answer = json.loads(petitions("classify", text).stdout)
        assert answer["urgency"]["id"] == "emergency", text
        assert "emergency" in [reason["code"] for reason in answer["reasons"]]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("classify", "  "), "empty_text"),
        (("classify", LAMP, "--model", "no/such/model"), "invalid_model"),
        (("label", "no/such.csv", "out.csv"), "invalid_file"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments: tuple[str, ...], kind: str) -> None:
    done = petitions(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(rf"petitions: {kind}: [^\n]+\n", done.stderr), done.stderr


def test_version_and_help() -> None:
    assert petitions("--version").stdout.startswith("petitions 0.")
    shown = petitions("--help").stdout
    assert all(command in shown for command in ("classify", "label", "serve"))


def test_label_gives_what_classify_gives(tmp_path: Path) -> None:
    source, target = tmp_path / "đơn.csv", tmp_path / "kết quả.csv"
    rows = [["1", LAMP, "giữ nguyên"], ["2", "", "x"], ["3", FLOOD, "=1+1"]]
    with source.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["Mã", "Nội dung", "Ghi chú"], *rows])
    done = petitions("label", str(source), str(target))
    assert done.returncode == 0, done.stderr
    with target.open(encoding="utf-8-sig", newline="") as stream:
        labelled = list(csv.DictReader(stream))
    rows[2][2] = "'=1+1"  # lest a spreadsheet calculate it
    assert [[row["Mã"], row["Nội dung"], row["Ghi chú"]] for row in labelled] == rows
    answer = json.loads(petitions("classify", LAMP).stdout)
    first = labelled[0]
    assert first["category"] == answer["category"]["id"]
    assert float(first["category_probability"]) == answer["category"]["probability"]
    assert [first["category_2"], first["category_3"]] == [a["id"] for a in answer["alternatives"][:2]]
    assert (first["urgency"], first["petition_type"]) == (answer["urgency"]["id"], answer["petition_type"]["id"])
    assert (first["decision"], first["model_version"], first["error"]) == (
        answer["decision"], answer["model_version"], "",
    )  # fmt: skip
    assert labelled[1]["error"].startswith("empty_text") and labelled[1]["category"] == ""
    assert labelled[2]["urgency"] == "emergency"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _post(port: int, text: str) -> dict[str, object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/classify",
        json.dumps({"text": text}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, object] = json.load(response)
        return answer


def test_serve_answers_and_stops_gracefully() -> None:
    port = _free_port()
    command = [sys.executable, "-c", "from nlp_service.cli import main; main()", "serve", "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                _post(port, LAMP)
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)
        answers: list[object] = []
        long_text = LAMP * 100
        callers = [threading.Thread(target=lambda: answers.append(_post(port, long_text))) for _ in range(4)]
        for caller in callers:
            caller.start()
        time.sleep(0.3)
        server.send_signal(signal.SIGTERM)
        for caller in callers:
            caller.join()
        assert len(answers) == 4, "requests accepted before SIGTERM were dropped"
        assert server.wait(30) == 0 or server.returncode == -signal.SIGTERM
        log = server.stderr.read() if server.stderr else ""
        assert "all accepted petitions were answered" in log
        assert "đèn đường" not in log
    finally:
        server.kill()
        server.wait()
        if server.stderr:
            server.stderr.close()


@pytest.mark.skipif(not SERVING_PYTHON.exists(), reason="no serving install in .venv: make install")
def test_the_serving_install_has_no_torch_and_answers() -> None:
    program = (
        "import importlib.util, json, sys\n"
        "from nlp_service.pipeline import PetitionClassifier\n"
        "from pathlib import Path\n"
        "import nlp_service.api\n"
        f"answer = PetitionClassifier.load(Path('models/current')).classify({LAMP!r})\n"
        "print(json.dumps([answer.decision.category.id, sorted({'torch', 'transformers'} & set(sys.modules)),"
        " importlib.util.find_spec('torch') is None]))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(SERVING_PYTHON), "-c", program], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["electricity_telecom_lighting", [], True]


def test_a_key_is_needed_before_others_can_reach_the_service() -> None:
    refused = petitions("serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 2
    assert re.fullmatch(
        r"petitions: invalid_request: 0\.0\.0\.0 [^\n]+petitions keys create[^\n]+\n", refused.stderr
    ), refused.stderr


def test_keys_from_the_making_to_the_taking_back() -> None:
    made = petitions(
        "keys", "create", "xã Nga Thắng", "--role", "officer", "--body", "phong_kinh_te", "--commune", "xã Nga Thắng"
    )
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    listed = petitions("keys", "list").stdout
    assert "xã Nga Thắng\t" in listed and "officer\tphong_kinh_te," in listed and "in use\tnever used" in listed
    assert key.split("_", 2)[2] not in listed
    for arguments, words in (
        (("--role", "officer"), "scope"),
        (("--role", "officer", "--body", "so_xay_dug"), "so_xay_dung"),
        (("--role", "officer", "--commune", "xã Không Có"), "Không Có"),
        (("--role", "admin", "--body", "so_y_te"), "scope"),
    ):
        wrong = petitions("keys", "create", "x", *arguments)
        assert wrong.returncode == 2 and words in wrong.stderr, wrong.stderr
    assert petitions("keys", "revoke", "xã Nga Thắng").returncode == 0
    assert "revoked" in petitions("keys", "list").stdout
    assert petitions("keys", "revoke", "xã Nga Thắng").returncode == 2
    verified = petitions("verify-audit")
    assert verified.returncode == 0 and verified.stdout.startswith("intact: 2 rows, head ")


def test_users_from_the_making_to_the_keeping_out() -> None:
    create = ("users", "create", "lan", "--full-name", "Lê Thị Lan", "--password-stdin")
    officer = ("--role", "officer", "--body", "phong_kinh_te", "--commune", "xã Nga Thắng")
    made = petitions(*create, *officer, stdin="ba con mèo vàng\n")
    assert (made.returncode, made.stdout) == (0, "created: lan\n"), made.stderr
    again = petitions(*create, "--role", "admin", stdin="ba con mèo vàng\n")
    assert again.returncode == 2 and re.fullmatch(r"petitions: conflict: [^\n]+'lan'[^\n]+\n", again.stderr), (
        again.stderr
    )

    def here(*arguments: str, stdin: str = "") -> str:
        done = CliRunner().invoke(app, arguments, input=stdin)
        return f"{done.exception.kind}: {done.exception}" if isinstance(done.exception, PetitionError) else done.output

    listed = here("users", "list")
    assert listed.startswith("lan\tLê Thị Lan\tofficer\tphong_kinh_te,") and "in use\tnever logged in" in listed
    other = ("users", "create", "x", "--full-name", "X", "--role", "admin")
    assert here(*other, "--password-stdin", stdin="matkhau123").startswith("invalid_request: the password is among")
    assert here(*other).startswith("invalid_request: there is no terminal")
    assert here("keys", "create", "Lan", "--role", "admin").startswith("conflict: a user")
    assert here("users", "password", "minh", "--password-stdin", stdin="bốn con mèo đen").startswith("not_found: ")
    assert here("users", "password", "lan", "--password-stdin", stdin="bốn con mèo đen\n") == "changed: lan\n"
    assert here("users", "disable", "Lan") == "disabled: Lan\n"
    assert "\tdisabled\t" in here("users", "list")
    assert here("users", "enable", "lan") == "enabled: lan\n"
    assert "\tin use\t" in here("users", "list")
    assert here("verify-audit").startswith("intact: 4 rows, head ")


def test_a_password_is_asked_for_twice_and_never_shown(tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    program = (
        "from nlp_service.cli import app; app(['users', 'create', 'lan', '--full-name', 'Lan', '--role', 'admin'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = b""
        for prompt, answer in ((b"Password: ", b"ba con meo vang"), (b"again: ", b"ba con meo vang")):
            while not shown.endswith(prompt):
                shown += os.read(ours, 1024)
            os.write(ours, answer + b"\n")
        while b"created: lan" not in shown:
            shown += os.read(ours, 1024)
        assert process.wait(60) == 0
    os.close(ours)
    assert b"meo" not in shown


def test_a_broken_audit_log_is_exit_code_1(tmp_path: Path) -> None:
    import sqlite3

    petitions("keys", "create", "a", "--role", "admin")
    with sqlite3.connect(tmp_path / "petitions.db") as connection:
        connection.execute("UPDATE audit SET actor = 'ai đó'")
    broken = petitions("verify-audit")
    assert broken.returncode == 1 and broken.stdout.startswith("BROKEN at row 1")


def test_forgetting_says_what_it_did() -> None:
    done = petitions("forget", "--older-than-days", "1825", "--reason", "hết hạn lưu", "--dry-run")
    assert done.returncode == 0 and done.stdout.startswith("0 petitions would be masked"), done.stderr
