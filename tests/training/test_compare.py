import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from nlp_service.bundle import MANIFEST, load_bundle
from nlp_service.models import objections, read_gates
from nlp_service.pipeline import PetitionClassifier
from tests.training.conftest import TAXONOMY_FILE, make_petitions
from training import cli
from training import compare as compare_module
from training import quick as quick_module
from training.compare import Case, compare_models, compare_on
from training.comparison_report import write_comparison
from training.data import digest, write_petitions
from training.gates import GateLimits, failures
from training.quick import QuickConfig, quick

LOOSE = GateLimits(category_cases=3, emergency_recall=0.0, ece=1.0, latency_ratio=10.0)
"""The tiny test set has four petitions a category."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    """The model under another name."""
    directory = tmp_path_factory.mktemp("copy") / "tiny-2"
    shutil.copytree(model_dir, directory)
    content = json.loads((directory / MANIFEST).read_text(encoding="utf-8")) | {"version": "tiny-2"}
    (directory / MANIFEST).write_text(json.dumps(content), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, petitions_dir: Path) -> Path:
    """A quick model of petitions in which the roads are labelled anything but roads."""
    root = tmp_path_factory.mktemp("spoilt")
    wrong = ("education_training", "business_market", "health_food_safety")
    for side, (count, start) in {"train": (96, 0), "dev": (42, 96)}.items():
        rows = [
            replace(p, category=wrong[n % 3]) if p.category == "transport_infrastructure" else p
            for n, p in enumerate(make_petitions(count, start))
        ]
        write_petitions(root / f"{side}.jsonl", rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quick_module, "MIN_INT8_AGREEMENT", 0.0)
        config = QuickConfig(data=str(root), taxonomy=str(TAXONOMY_FILE), strength=0.01)
        quick(config, model_dir, root / "run", root / "tiny-bad", "tiny-bad")
    return root / "tiny-bad"


def test_a_copy_passes_and_may_be_promoted(copy: Path, model_dir: Path, petitions_dir: Path) -> None:
    report = compare_models(copy, model_dir, [petitions_dir], LOOSE)
    assert report["passed"] and report["failures"] == []
    for name in ("macro_f1", "top1", "ece"):
        assert report["sets"]["test"]["scores"][name]["interval"] == [0, 0]
    gates = read_gates(copy)
    assert gates is not None
    assert (gates.candidate, gates.against, gates.passed) == ("tiny-2", "tiny-1", True)
    assert gates.data_sha256 == digest(make_petitions(24, 138))
    assert objections(gates, "tiny-2", "tiny-1") == []
    assert load_bundle(copy), "the verdict is no part of what the hashes cover"


def test_wrong_labels_in_one_category_are_refused_by_its_name(
    spoilt: Path, model_dir: Path, petitions_dir: Path
) -> None:
    report = compare_models(spoilt, model_dir, [petitions_dir], LOOSE)
    assert not report["passed"]
    (named,) = [failure for failure in report["failures"] if "'transport_infrastructure'" in failure]
    row = report["sets"]["test"]["categories"]["transport_infrastructure"]
    assert f"from {row['current']:.3f} to {row['candidate']:.3f} on 4 petitions" in named
    assert "limit -0.050" in named and "95 % interval" in named
    gates = read_gates(spoilt)
    assert gates is not None and not gates.passed
    assert named in objections(gates, "tiny-bad", "tiny-1")


def _report(**changes: Any) -> dict[str, Any]:
    same = {"candidate": 0.9, "current": 0.9, "difference": 0.0, "interval": [-0.01, 0.01]}
    report = {
        "scores": {name: dict(same) for name in ("macro_f1", "top1", "emergency_precision")}
        | {"ece": same | {"candidate": 0.02}, "emergency_recall": same | {"candidate": 0.955}},
        "categories": {"other": {"count": 30} | same},
        "emergencies": {"count": 66, "called": 63, "called_before": 63},
    }
    for path, value in changes.items():
        part: Any = report
        *parents, last = path.split("__")
        for key in parents:
            part = part[key]
        part[last] = value
    return report


LATENCY = {"candidate_ms": 8.0, "current_ms": 8.0, "ratio": 1.0}


def test_what_keeps_all_limits_has_no_failure() -> None:
    assert failures(_report(), LATENCY, GateLimits()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scores__macro_f1__interval": [-0.05, -0.001]}, ["macro-F1", "no chance"]),
        ({"categories__other__difference": -0.051}, ["'other'", "30 petitions", "-0.051", "limit -0.050"]),
        ({"scores__emergency_recall__candidate": 0.94, "emergencies__called": 62}, ["0.940 (62/66)", "limit 0.950"]),
        ({"scores__emergency_recall__candidate": None}, ["no emergency", "name a data set"]),
        ({"scores__ece__candidate": 0.0501}, ["ECE", "0.050"]),
    ],
)
def test_each_limit_fails_alone_and_says_why(changes: dict[str, Any], said: list[str]) -> None:
    (failure,) = failures(_report(**changes), LATENCY, GateLimits())
    for part in said:
        assert part in failure


@pytest.mark.parametrize(
    "changes",
    [
        {"scores__macro_f1__interval": [-0.05, 0.0], "scores__macro_f1__difference": -0.02},
        {"categories__other__difference": -0.05},
        {"categories__other__difference": -0.4, "categories__other__count": 29},
        {"scores__emergency_recall__candidate": 0.95},
        {"scores__ece__candidate": 0.05},
    ],
)
def test_at_the_limit_it_passes(changes: dict[str, Any]) -> None:
    assert failures(_report(**changes), LATENCY, GateLimits()) == []


def test_a_slower_model_is_refused() -> None:
    (failure,) = failures(_report(), {"candidate_ms": 9.0, "current_ms": 8.0, "ratio": 1.125}, GateLimits())
    assert "9.0 ms" in failure and "8.0 ms" in failure and "1.12 times" in failure
    assert failures(_report(), LATENCY | {"ratio": 1.1}, GateLimits()) == []


def test_models_are_timed_by_turns_on_the_same_petitions(
    model_dir: Path, copy: Path, petitions_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[tuple[str, str]] = []
    classify = PetitionClassifier.classify

    def slower(model: PetitionClassifier, text: Any) -> Any:
        timed.append((model.bundle.manifest.version, text))
        for _ in range(3 if model.bundle.manifest.version == "tiny-2" else 1):
            answer = classify(model, text)
        return answer

    monkeypatch.setattr(PetitionClassifier, "classify", slower)
    report = compare_models(copy, model_dir, [petitions_dir], replace(LOOSE, latency_ratio=1.1))
    assert 2 < report["latency"]["ratio"] < 4
    assert any("times as long" in failure for failure in report["failures"])
    for first, second in zip(timed[::2], timed[1::2], strict=True):
        assert first[1] == second[1] and {first[0], second[0]} == {"tiny-1", "tiny-2"}


def test_slices_are_by_register_length_place_and_time(tmp_path: Path, model_dir: Path, copy: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with (data / "test.jsonl").open("w", encoding="utf-8") as stream:
        for number, petition in enumerate(make_petitions(24, 138)):
            text = petition.text if number else petition.text + " Dân khổ lắm." * 40
            row = asdict(petition) | {"text": text}
            if number < 12:
                row["origin"] = {"commune_code": "14797", "received_at": "2026-11-03"}
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    slices = compare_models(copy, model_dir, [data], LOOSE)["sets"]["test"]["slices"]
    counts = {name: part["count"] for name, part in slices.items()}
    assert counts.pop("register portal_report") + counts.pop("register short_letter") == 24
    assert counts["81 syllables or more"] == 1 and counts["0 to 30 syllables"] == 23
    assert counts["commune 14797"] == counts["month 2026-11"] == 12
    assert counts["without diacritics"] == counts["in capitals"] == 24


def test_only_common_categories_are_compared_and_a_new_one_is_told_alone(
    model_dir: Path, classifier: PetitionClassifier, copy: Path
) -> None:
    """The current model knows one category less: as if the candidate had been taught it."""
    known = classifier.bundle.manifest.heads["category"]
    reader = PetitionClassifier.load(copy)
    label = "transport_infrastructure"
    fewer = known.model_copy(update={"labels": tuple("unknown" if name == label else name for name in known.labels)})
    manifest = reader.bundle.manifest.model_copy(update={"heads": reader.bundle.manifest.heads | {"category": fewer}})
    names = {category.id: category for category in reader.bundle.taxonomy.categories}
    categories = tuple(replace(c, id="unknown") if c.id == label else c for c in names.values())
    reader.bundle = reader.bundle.model_copy(
        update={"manifest": manifest, "taxonomy": replace(reader.bundle.taxonomy, categories=categories)}
    )
    found = compare_on(classifier, reader, [Case(petition) for petition in make_petitions(24, 138)])
    assert label not in found["categories"]
    assert sum(row["count"] for row in found["categories"].values()) == 20
    assert found["new"][label]["count"] == 4
    right = classifier.classify_many([p.text for p in make_petitions(24, 138)])
    answered = [answer.decision.category.id == label for answer in right]  # type: ignore[union-attr]
    hits = sum(a and p.category == label for a, p in zip(answered, make_petitions(24, 138), strict=True))
    assert found["new"][label]["recall"] == hits / 4
    assert found["scores"]["top1"]["difference"] == 0


def test_report_names_what_failed_and_shows_both_sets(
    tmp_path: Path, spoilt: Path, model_dir: Path, petitions_dir: Path
) -> None:
    write_petitions(tmp_path / "real.jsonl", make_petitions(12, 300))
    report = compare_models(spoilt, model_dir, [petitions_dir], LOOSE, real=tmp_path / "real.jsonl")
    write_comparison(report, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "**Không đạt**" in text
    for failure in report["failures"]:
        assert f"- **{failure}**" in text
    assert "Test petitions (24 in" in text and "Real petitions, not judged by the gates (12 in" in text
    assert "| transport_infrastructure | 4 | " in text
    assert json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8")) == report
    assert not any(petition.text in text for petition in make_petitions(24, 138))


def test_without_petitions_nothing_is_judged(tmp_path: Path, copy: Path, model_dir: Path) -> None:
    write_petitions(tmp_path / "test.jsonl", [])
    (copy / "gates.json").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="no petition to compare"):
        compare_models(copy, model_dir, [tmp_path], LOOSE)
    assert read_gates(copy) is None


def test_command_says_what_failed_and_returns_1(
    tmp_path: Path,
    copy: Path,
    spoilt: Path,
    model_dir: Path,
    petitions_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gates = tmp_path / "gates.toml"
    gates.write_text("category_cases = 3\nemergency_recall = 0.0\nece = 1.0\nlatency_ratio = 10.0\n")

    def call(candidate: Path, limits: Path = gates) -> tuple[Any, str, str]:
        options = ["--data", petitions_dir, "--gates", limits, "--output", tmp_path / "report"]
        monkeypatch.setattr(sys, "argv", ["petitions-train", *map(str, ["compare", candidate, model_dir, *options])])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code, *capsys.readouterr()

    code, out, _ = call(copy)
    assert not code and "gates passed" in out
    code, out, _ = call(spoilt)
    assert code == 1 and "FAILED category 'transport_infrastructure'" in out
    (tmp_path / "bad.toml").write_text("ecce = 0.1\n")
    code, _, err = call(copy, tmp_path / "bad.toml")
    assert code == 2 and "bad.toml: ecce" in err


def test_shipped_gates_are_the_ones_the_code_documents() -> None:
    from training.toml_config import read_config

    shipped = read_config(TAXONOMY_FILE.parents[1] / "training" / "configs" / "gates.toml", GateLimits)
    assert shipped == GateLimits()
    assert compare_module.VARIANTS.keys() == {"without diacritics", "in capitals"}
