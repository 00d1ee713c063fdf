"""On the shipped model under other names."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from nlp_service import audit
from nlp_service.cli import app
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.models import Registry
from nlp_service.promotion import promote, rollback
from nlp_service.settings import Settings
from nlp_service.store import open_store, upgrade
from tests.nlp_service.registries import ROOT, add_model, damage, mixed_up, pass_gates, registry

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = registry(tmp_path / "models", "a", "b", "c")
    pass_gates(tmp_path / "models" / "b", "a")
    pass_gates(tmp_path / "models" / "c", "b")
    return found


@pytest.fixture
def engine(settings: Settings) -> Engine:
    """What is asked of the store is tested on both kinds in test_audit.py."""
    engine = open_store(settings.store)
    upgrade(engine)
    return engine


def current(settings: Settings) -> str:
    return settings.model.read_text(encoding="utf-8").strip()


def history(engine: Engine, version: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        rows = audit.history(connection, f"model:{version}")
    return [{name: row[name] for name in row if name not in ("seq", "at")} for row in rows]


def refused(settings: Settings, engine: Engine, version: str, **options: Any) -> PetitionError:
    with pytest.raises(PetitionError) as failure:
        promote(engine, settings, version, **options)
    assert current(settings) == "a" and not Registry.at(settings.model).earlier()
    return failure.value


def test_there_and_back_again(settings: Settings, engine: Engine) -> None:
    assert promote(engine, settings, "b", "quý bốn").now == "b"
    assert promote(engine, settings, "c").before == "b"
    assert [directory.name for directory in Registry.at(settings.model).earlier()] == ["a", "b"]
    assert rollback(engine, settings, "chậm").now == "b" and current(settings) == "b"
    assert rollback(engine, settings).now == "a" and current(settings) == "a"
    with pytest.raises(PetitionError, match="no model answered before"):
        rollback(engine, settings)
    assert history(engine, "b") == [
        {
            "actor": "cli",
            "action": "model.promote",
            "from": "a",
            "reason": "quý bốn",
            "forced": False,
            "overridden": [],
        },
        {"actor": "cli", "action": "model.rollback", "from": "c", "reason": "chậm"},
    ]


def test_gates_are_overridden_only_by_force_with_a_reason_that_is_kept(settings: Settings, engine: Engine) -> None:
    assert "compared with 'b', and 'a' answers now" in refused(settings, engine, "c").message
    pass_gates(settings.model.parent / "c", "a", passed=False, failures=["education_training fell by 7 points"])
    failed = refused(settings, engine, "c")
    assert failed.kind is ErrorKind.CONFLICT and "education_training fell by 7 points" in failed.message
    assert "takes a reason" in refused(settings, engine, "c", force=True).message
    assert "takes a reason" in refused(settings, engine, "c", force=True, reason=" ").message
    promote(engine, settings, "c", reason="bão số 9, cần ngay", force=True)
    assert current(settings) == "c"
    assert history(engine, "c")[0] == {
        "actor": "cli",
        "action": "model.promote",
        "from": "a",
        "reason": "bão số 9, cần ngay",
        "forced": True,
        "overridden": ["education_training fell by 7 points"],
    }


def test_what_cannot_answer_is_refused_force_or_not(settings: Settings, engine: Engine) -> None:
    models = settings.model.parent
    damage(models / "b")
    assert "linear.npz does not match its hash" in refused(settings, engine, "b", force=True, reason="x").message
    add_model(models, "mixed", heads=mixed_up())
    assert "categories right, at least 80% needed" in refused(settings, engine, "mixed", force=True, reason="x").message
    add_model(models, "old-text", text_version="1")
    assert "was trained on text form 1" in refused(settings, engine, "old-text", force=True, reason="x").message
    assert "nothing to promote" in refused(settings, engine, "a").message


def test_a_model_for_other_labels_than_the_rules_is_refused(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    for name in ("places.yaml", "deadlines.yaml", "holidays.yaml", "canaries.jsonl"):
        shutil.copyfile(ROOT / "datasets" / name, rules / name)
    routing = (ROOT / "datasets" / "routing.yaml").read_text(encoding="utf-8")
    (rules / "routing.yaml").write_text(routing.replace("education_training", "education"), encoding="utf-8")
    failed = refused(settings.model_copy(update={"rules": rules}), engine, "b")
    assert failed.kind is ErrorKind.INVALID_RULES and "education" in failed.message


def test_a_row_that_cannot_be_written_leaves_the_pointer(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Registry.point

    def point(self: Registry, directory: Path, earlier: Any) -> None:
        real(self, directory, earlier)
        if directory.name == "b":
            raise KeyboardInterrupt  # stopped after the pointer moved, before the row was committed

    monkeypatch.setattr(Registry, "point", point)
    with pytest.raises(KeyboardInterrupt):
        promote(engine, settings, "b")
    assert current(settings) == "a" and history(engine, "b") == []


def test_commands_say_what_happened(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETITIONS_MODEL", str(settings.model))
    monkeypatch.setenv("PETITIONS_RULES", str(settings.rules))
    monkeypatch.setenv("PETITIONS_STORE", settings.store)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["models", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    damage(settings.model.parent / "c")
    assert "current: b (before: a)" in run("promote", "b")
    lines = {line.split("\t")[1]: line.split("\t") for line in run("list").splitlines()}
    assert [lines[name][0] for name in "abc"] == ["previous", "current", "-"]
    assert lines["a"][-1] == "whole" and lines["c"][-1].startswith("DAMAGED")
    assert "own test: category" in lines["b"][3] and "real, all: category" in lines["b"][3]
    shown = run("show", "b")
    assert (
        "trained on train\t" in shown and "scores, own test\tcategory" in shown and "gates\tagainst a: passed" in shown
    )
    assert "current: a (before: b)" in run("rollback", "--reason", "thử")
    assert "nothing was compared in 30 days" in run("shadow")


def test_show_says_what_a_model_comes_from(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {
        "code": {"version": "9.9", "commit": "abc123", "changed": True},
        "run": {
            "command": "quick",
            "config_sha256": "d" * 64,
            "seed": 13,
            "encoder": "a",
            "started": "2026-05-01T01:02:03+00:00",
        },
        "recalibrated_from": "a1",
    }
    sides = {
        "train": {
            "count": 50,
            "sha256": "e" * 64,
            "real": 20,
            "period": ["2026-01-05", "2026-03-09"],
            "sets": [{"name": "own", "count": 30}, {"name": "pulled", "count": 20}],
        }
    }
    add_model(settings.model.parent, "d", provenance=made, trained_on=sides)
    monkeypatch.setenv("PETITIONS_MODEL", str(settings.model))
    shown = CliRunner().invoke(app, ["models", "show", "d"], catch_exceptions=False).output
    assert (
        "50 petitions, 20 real, received 2026-01-05 to 2026-03-09, from own and pulled, sha256 eeeeeeeeeeee…" in shown
    )
    assert "code\tpetitions 9.9, commit abc123 with changes" in shown
    assert "run\tquick from a, seed 13, 2026-05-01T01:02:03+00:00 to ?, config sha256 dddddddddddd…" in shown
    assert "recalibrated\tweights of a1" in shown
