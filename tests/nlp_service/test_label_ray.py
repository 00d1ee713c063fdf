"""Labelling on a Ray cluster, a real one on this machine: the same answers as on one machine, whatever dies on the way.

The model is faked but for one test.
"""

import csv
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nlp_service.bundle import MANIFEST, sha256
from nlp_service.encoder import Runtime
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.label import LabelReport, label_file
from nlp_service.label_answers import CHUNK, Classify, Labeller
from nlp_service.label_columns import REPEAT_OF, Columns
from nlp_service.label_jobs import FILES
from nlp_service.label_node import Model
from nlp_service.label_parts import LEAST_PARTS, MOST_CHUNKS, part_count, part_rows
from nlp_service.label_ray import label_files
from nlp_service.pipeline import Classification
from nlp_service.ray_cluster import each
from nlp_service.tables import Row, Table, open_table, write_table
from tests.nlp_service.conftest import WriteModel
from tests.nlp_service.test_label import Heard, choking, fake, source

ray = pytest.importorskip("ray", reason="ray is not installed: labelling on a cluster is not tested")

pytestmark = [
    pytest.mark.slow,
    # Ray Data's own, of itself.
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
]

SECRET = "ông Nguyễn Văn Kín"
SHIPPED = Path(__file__).resolve().parents[2] / "models" / "current"
RULES = SHIPPED.parents[1] / "datasets"
PLACES = ("thôn Đông", "bản Pa", "khu phố 3", "xóm Chùa", "làng Vạc")
MATTERS = (
    "đường vào hỏng nặng, xe rác không vào được",
    "nước giếng có mùi hôi từ khi trại lợn mở",
    "cột điện nghiêng sắp đổ vào nhà dân",
    "chưa được trả giấy chứng nhận đất đã nộp từ năm ngoái",
)

Cluster = Path


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three CPUs; yields the directory with everything that Ray writes."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as directory:
        for patience in (2, 1, 0):
            try:
                ray.init(
                    address="local",
                    num_cpus=3,
                    include_dashboard=False,
                    log_to_driver=False,
                    object_store_memory=100 << 20,
                    _temp_dir=directory,
                )
                break
            except Exception:  # a busy machine may be too slow for Ray's 30 seconds
                ray.shutdown()
                if not patience:
                    raise
        yield Path(directory)
        ray.shutdown()


class Once:
    """Does something in the first actor that comes to the word, and answers."""

    def __init__(self, mark: Path, word: str) -> None:
        self.mark = mark
        self.word = word

    def __call__(self, texts: Sequence[object]) -> list[Classification | PetitionError]:
        if any(self.word in str(text) for text in texts):
            try:
                self.mark.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return fake(texts)


class Logged:
    """Writes down how many texts it is asked for."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __call__(self, texts: Sequence[object]) -> list[Classification | PetitionError]:
        with self.log.open("a") as stream:
            stream.write(f"{len(texts)}\n")
        return fake(texts)

    def asked(self) -> int:
        return sum(map(int, self.log.read_text().split())) if self.log.exists() else 0


class Impatient(Heard):
    """Presses Ctrl-C when so many rows are done."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows

    def advance(self, done: int, total: int) -> None:
        super().advance(done, total)
        if done >= self.rows:
            raise KeyboardInterrupt


def deadly(texts: Sequence[object]) -> list[Classification | PetitionError]:
    if any("chết" in str(text) for text in texts):
        os.kill(os.getpid(), signal.SIGKILL)
    return fake(texts)


def stuck(word: str, texts: Sequence[object]) -> list[Classification | PetitionError]:
    time.sleep(20 if any(word in str(text) for text in texts) else 0)
    return fake(texts)


def quoting(text: str) -> str:
    raise ValueError(f"cannot read {text}")


def run(input: object, output: object, classify: Classify = fake, **options: Any) -> LabelReport:
    return label_files(str(input), str(output), model=Path("none"), classify=classify, workers=2, **options)


def alone(input: Path, output: Path, classify: Classify = fake) -> bytes:
    """What one machine makes of it."""
    label_file(input, output, model=Path("none"), classify=classify, workers=1)
    return output.read_bytes()


def petition(n: int) -> str:
    return f"Nhà số {n}, {PLACES[n % 5]} phản ánh {MATTERS[n // 5 % 4]}, lần {n // 20}, mong các cấp xem xét."


def table(path: Path, count: int, first: int = 0, secret: int | None = None) -> Path:
    added = {} if secret is None else {first + secret: f" Người chết nghẹn vì {SECRET}."}
    rows = [
        {"mã": f"{n:03}", "text": petition(n) + added.get(n, ""), "xã": "xã Quảng Ninh", "số": n}
        for n in range(first, first + count)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ("mã", "text", "xã", "số")
    write_table(path, Table(path, columns, count, lambda only: map(Row, rows)), {}, [()] * count, path.parent)
    return path


def written(directory: Path) -> str:
    """Everything in it that can be read as text."""
    files = (file for file in directory.rglob("*") if file.is_file() and file.stat().st_size < 50 << 20)
    return "\n".join(file.read_bytes().decode("utf-8", "replace") for file in files)


def cells(path: Path, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row.cells[name] for name in columns) for row in open_table(path).rows()]


# The same as on one machine


def test_one_file_comes_out_byte_for_byte_as_on_one_machine(cluster: Cluster, tmp_path: Path) -> None:
    input = table(tmp_path / "don.csv", 3 * CHUNK + 50)
    with input.open("a", encoding="utf-8", newline="") as stream:
        stream.write('007,,,\r\n008,"dấu ngoặc "sai" ở giữa",x,1\r\n009,nhiều,ô,hơn,tiêu đề\r\n010,  ,,\r\n')
        csv.writer(stream).writerow(["011", petition(5), "", ""])
    heard = Heard()
    report = run(input, tmp_path / "ra.csv", progress=heard)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["don.csv", "ra.csv"]
    assert (tmp_path / "ra.csv").read_bytes() == alone(input, tmp_path / "mot.csv")
    assert report.rows == 3 * CHUNK + 55
    assert report.errors == 4
    assert report.repeats >= 1
    assert heard.steps[0] == (0, report.rows)
    assert heard.steps[-1] == (report.rows, report.rows)
    assert len(heard.steps) == 1 + part_count(report.rows)
    assert any("Cột nội dung: “text”" in said for said in heard.said)


def test_a_directory_comes_out_file_by_file(cluster: Cluster, tmp_path: Path) -> None:
    names = {"2019/a.csv": (0, 300), "2019/b.parquet": (290, 30), "2020/a.jsonl": (1_000, 20)}
    for name, (first, count) in names.items():
        table(tmp_path / "kho" / name, count, first)
    (tmp_path / "kho" / "ghi_chu.txt").write_text("không phải bảng", encoding="utf-8")
    elsewhere = f"fsspec+file://{tmp_path}"  # reached as S3 is
    report = run(f"{elsewhere}/kho", f"{elsewhere}/ra")
    assert sorted(str(p.relative_to(tmp_path / "ra")) for p in (tmp_path / "ra").rglob("*.*")) == [*names, FILES]
    repeats = []
    for name in names:
        output = tmp_path / f"mot{Path(name).suffix}"
        alone(tmp_path / "kho" / name, output)
        ours, theirs = open_table(tmp_path / "ra" / name), open_table(output)
        assert ours.columns == theirs.columns
        assert ours.schema == theirs.schema
        kept = [column for column in ours.columns if column != REPEAT_OF]
        assert cells(tmp_path / "ra" / name, *kept) == cells(output, *kept)
        repeats += [int(row or 0) for (row,) in cells(tmp_path / "ra" / name, REPEAT_OF)]
    # Repeats are those of one table with all the rows.
    numbers = [n for first, count in names.values() for n in range(first, first + count)]
    alone(source(tmp_path, [{"text": petition(n)} for n in numbers], ".parquet"), tmp_path / "all.parquet")
    assert repeats == [row or 0 for (row,) in cells(tmp_path / "all.parquet", REPEAT_OF)]
    assert any(0 < leader <= 300 for leader in repeats[300:])
    assert cells(tmp_path / "ra" / FILES, "file", "first_row", "rows") == [
        ("2019/a.csv", "1", "300"),
        ("2019/b.parquet", "301", "30"),
        ("2020/a.jsonl", "331", "20"),
    ]
    assert report.rows == 350
    assert not (tmp_path / "ra.parts").exists()


def test_the_shipped_model_answers_the_same_to_the_last_bit(cluster: Cluster, tmp_path: Path) -> None:
    input = table(tmp_path / "don.parquet", CHUNK + 20)
    options: dict[str, Any] = {"model": SHIPPED, "rules": RULES}
    label_file(input, tmp_path / "mot.parquet", workers=1, **options)
    report = label_files(str(input), str(tmp_path / "ra.parquet"), workers=2, **options)
    assert (tmp_path / "ra.parquet").read_bytes() == (tmp_path / "mot.parquet").read_bytes()
    assert report.errors == 0


# Whatever dies on the way


def test_an_actor_that_is_killed_costs_no_row(cluster: Cluster, tmp_path: Path) -> None:
    input = table(tmp_path / "don.csv", 4 * CHUNK, secret=2 * CHUNK)
    expected = alone(input, tmp_path / "mot.csv")
    run(input, tmp_path / "ra.csv", Once(tmp_path / "killed", "chết"))
    assert (tmp_path / "killed").exists()
    assert (tmp_path / "ra.csv").read_bytes() == expected


def test_a_text_that_kills_every_actor_ends_the_run_and_what_is_done_is_kept(cluster: Cluster, tmp_path: Path) -> None:
    input = table(tmp_path / "don.csv", 3 * CHUNK, secret=3 * CHUNK - 1)
    with pytest.raises(PetitionError, match=r"\d+ of 768 rows are kept") as caught:
        run(input, tmp_path / "ra.csv", deadly)
    assert caught.value.kind is ErrorKind.CLASSIFICATION_FAILED
    assert not (tmp_path / "ra.csv").exists()
    log = Logged(tmp_path / "asked")
    report = run(input, tmp_path / "ra.csv", log)
    assert report.resumed_rows > 0
    assert log.asked() == report.rows - report.resumed_rows


def test_what_the_model_fails_on_is_an_error_of_its_row_and_no_log_quotes_it(cluster: Cluster, tmp_path: Path) -> None:
    input = table(tmp_path / "don.csv", CHUNK + 2, secret=CHUNK)
    expected = alone(input, tmp_path / "mot.csv", choking)
    heard = Heard()
    report = run(input, tmp_path / "ra.csv", choking, progress=heard, columns=Columns(id="mã"))
    assert (tmp_path / "ra.csv").read_bytes() == expected
    assert report.counts["error"] == {"classification_failed": 1}
    assert any("Dòng dữ liệu 257 (mã 256): classification_failed" in said for said in heard.said)
    with pytest.raises(PetitionError, match=r"ValueError in test_label_ray\.py") as caught:
        list(each(quoting, [SECRET]))
    assert SECRET not in caught.value.message
    assert SECRET not in written(cluster / "session_latest" / "logs")
    assert not any(SECRET in said for said in heard.said)


def test_an_interrupted_run_continues_where_it_was(cluster: Cluster, tmp_path: Path) -> None:
    table(tmp_path / "kho" / "a.csv", 3 * CHUNK)
    table(tmp_path / "kho" / "b.csv", CHUNK + 10, first=5_000)
    impatient = Impatient(CHUNK)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "kho", tmp_path / "ra", partial(stuck, "Nhà số 5009,"), progress=impatient)
    assert any("chạy lại đúng lệnh này để làm tiếp" in said for said in impatient.said)
    assert petition(1) not in written(tmp_path / "ra.parts")
    log = Logged(tmp_path / "asked")
    report = run(tmp_path / "kho", tmp_path / "ra", log)
    assert CHUNK <= report.resumed_rows < report.rows
    assert log.asked() == report.rows - report.resumed_rows
    run(tmp_path / "kho", tmp_path / "whole")
    for name in ("a.csv", "b.csv", FILES):
        assert (tmp_path / "ra" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_another_input_starts_over(cluster: Cluster, tmp_path: Path) -> None:
    input = table(tmp_path / "don.csv", 2 * CHUNK)
    with pytest.raises(KeyboardInterrupt):
        run(input, tmp_path / "ra.csv", progress=Impatient(CHUNK))
    table(input, 2 * CHUNK, first=7)
    heard = Heard()
    report = run(input, tmp_path / "ra.csv", progress=heard)
    assert report.resumed_rows == 0
    assert any("làm lại từ đầu" in said for said in heard.said)
    assert (tmp_path / "ra.csv").read_bytes() == alone(input, tmp_path / "mot.csv")


# What is refused


def test_a_file_that_does_not_fit_is_named_before_any_work(cluster: Cluster, tmp_path: Path) -> None:
    table(tmp_path / "kho" / "a.csv", 3)
    (tmp_path / "kho" / "b.csv").write_text("tên,tuổi\nan,3\n", encoding="utf-8")
    log = Logged(tmp_path / "asked")
    with pytest.raises(PetitionError, match=r"kho/b\.csv has no column") as caught:
        run(tmp_path / "kho", tmp_path / "ra", log)
    assert caught.value.kind is ErrorKind.INVALID_FILE
    assert log.asked() == 0
    assert not (tmp_path / "ra.parts").exists()


def test_a_node_with_another_model_or_other_rules_is_refused(
    tmp_path: Path, write_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_model()
    right = sha256(directory / MANIFEST)
    monkeypatch.setattr("nlp_service.label_node.loader", lambda *_: lambda: Labeller(fake, _Rules()))  # type: ignore[arg-type]
    model = Model(directory, RULES, Runtime.ONNXRUNTIME, 1_000, right, _Rules.version)
    assert model.load().classify is fake
    for changes, kind, reason in (
        ({"manifest_sha256": "0" * 64}, ErrorKind.INVALID_MODEL, f"has SHA-256 {right[:12]}, this run 000000000000"),
        ({"directory": tmp_path / "nowhere"}, ErrorKind.INVALID_MODEL, "has SHA-256 no file"),
        ({"rules_version": "others"}, ErrorKind.INVALID_RULES, "are not the rules others of this run"),
        ({"program": "0.0.0"}, ErrorKind.INVALID_MODEL, "this run 0.0.0; install the same"),
    ):
        with pytest.raises(PetitionError, match=reason) as caught:
            replace(model, **changes).load()
        assert caught.value.kind is kind
        assert f"node {socket.gethostname()}" in caught.value.message


def test_what_a_node_refuses_ends_the_run_and_keeps_nothing(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlp_service.label.sha256", lambda _: "0" * 64)
    with pytest.raises(PetitionError, match=r"manifest\.json on node .* this run 000000000000") as caught:
        label_files(str(table(tmp_path / "don.csv", 2)), str(tmp_path / "ra.csv"), model=SHIPPED, rules=RULES)
    assert caught.value.kind is ErrorKind.INVALID_MODEL
    assert not (tmp_path / "ra.csv.parts").exists()


class _Rules:
    version = "ours"


@pytest.mark.parametrize(
    ("input", "output", "reason"),
    [
        ("kho/*.csv", "ra.csv", "give a directory"),
        ("kho", "kho/ra", "inside the input directory"),
        ("kho/a.csv", "kho", "is an input itself"),
        ("kho/a.csv", ".", "holds something else"),
        ("kho/a.csv", "khac/ra.csv", "create it first"),
        ("kho/a.csv", "kho/a.csv", "is the input itself"),
        ("khong_co", "ra", "check the path"),
    ],
)
def test_paths_that_cannot_be_meant_are_refused(tmp_path: Path, input: str, output: str, reason: str) -> None:
    table(tmp_path / "kho" / "a.csv", 2)
    table(tmp_path / "kho" / "b.csv", 2)
    with pytest.raises(PetitionError, match=reason) as caught:
        run(tmp_path / input, tmp_path / output)
    assert caught.value.kind is ErrorKind.INVALID_FILE
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["kho", "kho/a.csv", "kho/b.csv"]


def test_parts_are_whole_chunks_and_not_too_many() -> None:
    assert part_rows(0) == part_rows(100) == part_rows(CHUNK * LEAST_PARTS) == CHUNK
    assert part_rows(10**9) == CHUNK * MOST_CHUNKS
    assert part_count(0) == 0
    assert part_count(CHUNK + 1) == 2


# A cluster of its own

SCRIPT = """
import sys
from pathlib import Path
from nlp_service.label_ray import label_files
from tests.nlp_service.test_label import fake
label_files(sys.argv[1], sys.argv[2], model=Path("none"), classify=fake, workers=1)
"""


def test_a_run_of_its_own_leaves_no_process_and_no_directory(tmp_path: Path) -> None:
    input = table(tmp_path / "don.csv", 3)
    scratch = Path("/tmp") / f"r{os.getpid()}"  # short: Ray's sockets are in it
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch), "RAY_ADDRESS": ""}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(input), str(tmp_path / "ra.csv")],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ra.csv").read_bytes() == alone(input, tmp_path / "mot.csv")
    assert list(scratch.iterdir()) == []
    scratch.rmdir()
    deadline = time.monotonic() + 10
    while (left := _processes_that_mention(str(scratch))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def _processes_that_mention(word: str) -> list[str]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if word in command:
            found.append(command.split("\0")[0])
    return found


def test_a_cluster_that_is_not_there_is_said(tmp_path: Path) -> None:
    code = SCRIPT.replace("workers=1", "address='127.0.0.1:1'")
    done = subprocess.run(
        [sys.executable, "-c", code, str(table(tmp_path / "don.csv", 3)), str(tmp_path / "ra.csv")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "there is no Ray cluster at '127.0.0.1:1'" in done.stderr
