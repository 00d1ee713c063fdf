import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nlp_service import __version__
from nlp_service.bundle import Code, Manifest
from nlp_service.taxonomy import Taxonomy
from tests.training.conftest import ROOT, Run, make_petitions
from training.data import as_row, digest
from training.provenance import code, config_sha256, of_fit, petitions_used, side_used, started
from training.sets import read_sets

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def _git(directory: Path, *arguments: str) -> str:
    names = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for role in ("AUTHOR", "COMMITTER"):
        names |= {f"GIT_{role}_NAME": "A", f"GIT_{role}_EMAIL": "a@example.org"}
    done = subprocess.run(
        ["git", "-C", str(directory), *arguments], env=os.environ | names, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The two packages, with a file each, in no work tree."""
    root = tmp_path / "program"
    for package in ("nlp_service", "training"):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text("x = 1\n")
    return root


@pytest.fixture
def work_tree(program: Path) -> Path:
    _git(program, "init", "--quiet")
    _git(program, "add", ".")
    _git(program, "commit", "--quiet", "-m", "first")
    return program


def test_code_outside_a_work_tree_is_the_version_alone(program: Path) -> None:
    assert code(program) == Code(version=__version__)


@needs_git
def test_code_of_a_work_tree_is_its_commit(work_tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commit = _git(work_tree, "rev-parse", "HEAD")
    (work_tree / "notes.txt").write_text("no code")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))  # as in a hook of another repository
    assert code(work_tree) == Code(version=__version__, commit=commit, changed=False)


@needs_git
@pytest.mark.parametrize("change", ["nlp_service/__init__.py", "training/new.py"])
def test_code_that_is_not_the_commit_s_says_so(work_tree: Path, change: str) -> None:
    (work_tree / change).write_text("x = 2\n")
    assert code(work_tree).changed is True


@needs_git
def test_an_installed_copy_is_not_the_code_of_the_work_tree_around_it(work_tree: Path) -> None:
    installed = work_tree / ".venv" / "site-packages"
    for package in ("nlp_service", "training"):
        shutil.copytree(work_tree / package, installed / package)
    assert code(installed) == Code(version=__version__)


def _write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def test_real_petitions_are_counted_with_the_period_of_their_receipt(tmp_path: Path, taxonomy: Taxonomy) -> None:
    own, pulled = make_petitions(4), make_petitions(3, 50)
    remapped = {"relabelled": [{"taxonomy": "0.1", "category": "other"}]}
    days = ("2026-03-09", "2026-01-05", None)
    for side in ("train", "dev"):
        last = make_petitions(1, 80 if side == "dev" else 90)
        # What was written here and carried to another taxonomy has an origin too.
        _write(
            tmp_path / "own" / f"{side}.jsonl",
            [as_row(p) | {"origin": remapped} for p in (own if side == "train" else last)],
        )
    _write(
        tmp_path / "2026-11-28-abc" / "train.jsonl",
        [
            as_row(p) | {"origin": {"source": "store"} | ({"received_at": day} if day else {})}
            for p, day in zip(pulled, days, strict=True)
        ],
    )
    _write(tmp_path / "2026-11-28-abc" / "dev.jsonl", [])
    (tmp_path / "newest").symlink_to(tmp_path / "2026-11-28-abc")
    data = [str(tmp_path / "own"), str(tmp_path / "newest")]
    sides = read_sets(data, taxonomy)
    used = petitions_used(data, sides)
    assert used["train"] == {
        "count": 7,
        "sha256": digest(sides["train"]),
        "real": 3,
        "sets": [{"name": "own", "count": 4}, {"name": "2026-11-28-abc", "count": 3}],
        "period": ["2026-01-05", "2026-03-09"],
    }
    assert used["dev"]["real"] == 0 and "period" not in used["dev"]


def test_own_petitions_have_no_period(petitions_dir: Path) -> None:
    used = side_used([petitions_dir / "dev.jsonl"], make_petitions(42, 96))
    assert used["real"] == 0 and "period" not in used


def test_a_run_says_when_it_first_began(tmp_path: Path) -> None:
    first = started(tmp_path)
    (tmp_path / "started").write_text("2026-01-01T00:00:00+00:00\n")
    assert started(tmp_path) == "2026-01-01T00:00:00+00:00" != first


def test_a_config_is_its_values_whatever_their_order() -> None:
    assert config_sha256({"seed": 1, "data": "a"}) == config_sha256({"data": "a", "seed": 1})
    assert config_sha256({"seed": 1, "data": "a"}) != config_sha256({"seed": 2, "data": "a"})


def test_a_run_leaves_what_the_manifest_says_of_it(run: Run) -> None:
    made = of_fit(run.summary)
    assert made.code is not None and made.code.version == __version__
    assert made.run is not None and made.run.started is not None and made.run.ended is not None
    assert made.run.started <= made.run.ended
    assert (made.run.command, made.run.encoder, made.run.seed) == ("fit", run.config.encoder, run.config.seed)


def test_a_run_of_before_has_neither_code_nor_times(run: Run) -> None:
    old = {key: value for key, value in run.summary.items() if key not in ("code", "started", "ended")}
    made = of_fit(old)
    assert made.code is None
    assert made.run is not None and (made.run.started, made.run.ended) == (None, None)
    assert made.run.config_sha256 == config_sha256(old["config"])


def test_the_shipped_manifests_load_without_it() -> None:
    for file in (ROOT / "models").glob("petition-*/manifest.json"):
        Manifest.model_validate_json(file.read_bytes())
