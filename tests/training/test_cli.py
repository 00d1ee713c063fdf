import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nlp_service.bundle import load_bundle
from nlp_service.taxonomy import Taxonomy
from tests.training.conftest import ROOT, TAXONOMY_FILE, Run, make_petitions
from training import cli
from training.data import read_petitions, write_petitions


class Result(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Run `petitions-train` in this process; three real processes below show that the difference does not matter."""
    levels = {name: logging.getLogger(name).level for name in ("httpx", "huggingface_hub", "onnxruntime")}

    def call(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["petitions-train", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        code = left.value.code
        return Result(code if isinstance(code, int) else 0, captured.out, captured.err)

    yield call
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def _toml(path: Path, values: dict[str, Any]) -> Path:
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()), encoding="utf-8")
    return path


def _process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "training", *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, timeout=300
    )


def _one_line(text: str, start: str = "petitions-train: ") -> bool:
    return text.startswith(start) and text.count("\n") == 1


def test_help_lists_the_commands() -> None:
    result = _process("--help")
    assert result.returncode == 0
    for name in ("encoder", "diacritics", "split", "fit", "export", "calibrate", "evaluate", "card", "benchmark"):
        assert f" {name} " in result.stdout, name


def test_a_missing_file_is_one_line_and_code_2(tmp_path: Path) -> None:
    result = _process("fit", tmp_path / "no.toml", "--run", tmp_path / "run")
    assert result.returncode == 2
    assert _one_line(result.stderr)
    assert "no.toml" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("epochs = = 3", "line 1"),
        ('encoder = "e"\n', "data"),
        ('encoder = "e"\ndata = "d"\ntaxonomy = "t"\nepoch = 3\n', "epoch: "),
    ],
    ids=["no TOML", "a name is missing", "a name is misspelt"],
)
def test_a_bad_fit_config_is_one_line_and_code_2(command: Command, tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    result = command("fit", tmp_path / "bad.toml", "--run", tmp_path / "run")
    assert result.code == 2
    assert _one_line(result.err)
    assert "bad.toml" in result.err
    assert named in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('corpus_root = "."\n', "sources: "),
        ('corpus_root = "."\nsources = [{path = "a.txt", line = 3}]\n', "sources.0.line"),
        ('corpus_root = "."\nsources = []\nlayer = 3\n', "layer: "),
        ('corpus_root = "."\nsources = []\nlayers = "many"\n', "layers: "),
        ('corpus_root = "."\nsources = []\n[noise]\nslip = 0.1\n', "noise.slip: "),
    ],
)
def test_a_bad_encoder_config_is_one_line_and_code_2(command: Command, tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    result = command("encoder", tmp_path / "bad.toml", "--work", tmp_path / "work", "--output", tmp_path / "out")
    assert result.code == 2
    assert _one_line(result.err)
    assert named in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"encoder": "/nowhere"}, "/nowhere"),
        ({"data": "/nowhere"}, "train.jsonl"),
        ({"taxonomy": "/nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_what_a_config_names_and_is_not_there(
    command: Command, tmp_path: Path, fit_values: dict[str, Any], change: dict[str, str], named: str
) -> None:
    result = command("fit", _toml(tmp_path / "run.toml", {**fit_values, **change}), "--run", tmp_path / "run")
    assert result.code == 2
    assert _one_line(result.err)
    assert named in result.err


def test_a_missing_extra_is_one_line_and_code_2(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    result = command("--help")
    assert result.code == 2
    assert _one_line(result.err)
    assert "pip install" in result.err
    assert "train" in result.err


def test_split_writes_what_it_counts(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taxonomy: Taxonomy
) -> None:
    monkeypatch.setattr(cli, "TAXONOMY", TAXONOMY_FILE)
    for name, start in (("a", 0), ("b", 60)):
        write_petitions(tmp_path / f"{name}.jsonl", make_petitions(60, start))
    result = command("split", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--output", tmp_path / "out")
    assert result.code == 0
    parts = {name: read_petitions(tmp_path / "out" / f"{name}.jsonl", taxonomy) for name in ("train", "dev", "test")}
    assert result.out.splitlines() == [f"{name}: {len(part)}" for name, part in parts.items()]
    assert sum(len(part) for part in parts.values()) == 120


def test_split_of_a_bad_file_names_the_line(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "TAXONOMY", TAXONOMY_FILE)
    write_petitions(tmp_path / "a.jsonl", make_petitions(3))
    with (tmp_path / "a.jsonl").open("a") as stream:
        stream.write("{}\n")
    result = command("split", tmp_path / "a.jsonl", "--output", tmp_path / "out")
    assert result.code == 2
    assert _one_line(result.err)
    assert "a.jsonl line 4" in result.err
    assert not (tmp_path / "out").exists()


def test_fit_shows_its_progress_and_export_its_version(
    command: Command, tmp_path: Path, run: Run, fit_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _toml(tmp_path / "run.toml", {**fit_values, "encoder": "/nowhere", "epochs": 1})
    process = _process("fit", config, "--run", tmp_path / "run", "--encoder", fit_values["encoder"])
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["epoch"] == 1
    assert "epoch 1 of 1" in process.stderr

    monkeypatch.setattr("training.export.MIN_INT8_AGREEMENT", 0.0)
    result = command("export", tmp_path / "run", tmp_path / "petition-1")
    assert result.code == 0, result.err
    assert json.loads(result.out)["version"] == load_bundle(tmp_path / "petition-1").manifest.version == "petition-1"
    result = command("export", tmp_path / "run", tmp_path / "petition-1")
    assert result.code == 2
    assert _one_line(result.err)
    assert "petition-1" in result.err


def test_export_mismatch_is_one_line_and_code_2(
    command: Command, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.export.MIN_INT8_AGREEMENT", 1.01)
    result = command("export", run.directory, tmp_path / "petition-1")
    assert result.code == 2
    assert _one_line(result.err)
    assert "model.int8.onnx" in result.err


def test_calibrate_writes_a_version_beside_the_old_one(
    command: Command, tmp_path: Path, model_dir: Path, petitions_dir: Path
) -> None:
    arguments = ("calibrate", model_dir, "--output", tmp_path / "petition-2", "--data", petitions_dir)
    result = command(*arguments, "--auto-precision", "0.9")
    assert result.code == 0, result.err
    printed, manifest = json.loads(result.out), load_bundle(tmp_path / "petition-2").manifest
    assert printed["version"] == manifest.version == "petition-2"
    assert printed["thresholds"] == manifest.thresholds.model_dump()
    assert printed["thresholds"]["auto_precision"] == 0.9
    assert printed["prediction_sets"]["category"]["coverage"] == 0.95
    result = command(*arguments)
    assert result.code == 2
    assert _one_line(result.err)
    assert "written once" in result.err


def test_evaluate_reports_the_real_ones_apart(
    command: Command, tmp_path: Path, model_dir: Path, petitions_dir: Path
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model_dir, copy)
    write_petitions(tmp_path / "real.jsonl", make_petitions(12))
    options = ("--data", petitions_dir, "--real", tmp_path / "real.jsonl", "--output", tmp_path / "report", "--card")
    result = command("evaluate", copy, *options)
    assert result.code == 0, result.err
    assert result.out.startswith("| | own test | real, ordinary | real, rescue appeals | real, all |")
    written = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert [report["count"] for report in written.values()] == [24, 10, 2, 12]
    assert load_bundle(copy).manifest.scores.keys() == written.keys()
    assert result.out.strip() in (copy / "README.md").read_text(encoding="utf-8")


def test_card_writes_what_the_directory_says(
    command: Command, tmp_path: Path, model_dir: Path, petitions_dir: Path
) -> None:
    copy, file = tmp_path / "tiny-1", tmp_path / "file.md"
    shutil.copytree(model_dir, copy)
    for name in ("README.md", "README.vi.md"):
        (copy / name).unlink()
    (tmp_path / "current").write_text("tiny-1\n", encoding="utf-8")
    shutil.copyfile(ROOT / "docs" / "technical-file.md", file)
    result = command("card", tmp_path / "current", "--data", petitions_dir, "--technical-file", file)
    assert (result.code, result.out.splitlines()[0]) == (0, "petitions with the manifest's hash: train, dev")
    for name in ("README.md", "README.vi.md"):
        assert (copy / name).read_bytes() == (model_dir / name).read_bytes()
    assert "Phiên bản tiny-1" in file.read_text(encoding="utf-8")
    file.write_text("", encoding="utf-8")
    result = command("card", copy, "--technical-file", file)
    assert result.code == 2 and _one_line(result.err)


def test_evaluate_of_no_model_is_one_line_and_code_2(command: Command, tmp_path: Path) -> None:
    result = command("evaluate", tmp_path)
    assert result.code == 2
    assert _one_line(result.err)
    assert "manifest.json" in result.err
