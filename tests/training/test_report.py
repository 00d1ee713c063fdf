import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nlp_service.pipeline import PetitionClassifier
from tests.training.conftest import make_petitions
from training.evaluate import evaluate, rate
from training.report import write_report
from training.score_table import WORST_OF, percent, share_at, summary_table, worst_coverage


@pytest.fixture(scope="module")
def reports(classifier: PetitionClassifier) -> dict[str, dict[str, Any]]:
    """Two sets; the second holds no emergency, so one of its rates has no cases."""
    calm = [petition for petition in make_petitions(14) if petition.urgency != "emergency"]
    return {"own test": evaluate(classifier, make_petitions(18)), "real, ordinary": evaluate(classifier, calm)}


@pytest.fixture(scope="module")
def labels(classifier: PetitionClassifier) -> dict[str, Sequence[str]]:
    return {head: spec.labels for head, spec in classifier.bundle.manifest.heads.items()}


def test_rates_read_with_count_and_interval() -> None:
    assert percent({"value": 0.8, "hits": 8, "count": 10, "interval": [0.4902, 0.9433]}) == "0.800 (8/10; 0.49 to 0.94)"
    assert percent({"value": 0.512, "count": 75, "interval": [0.4, 0.6]}) == "0.512 (n=75; 0.40 to 0.60)"
    assert percent({"value": None, "hits": 0, "count": 0, "interval": [0.0, 1.0]}) == "–"


def test_table_has_a_column_a_set(reports: dict[str, dict[str, Any]]) -> None:
    lines = summary_table(reports).splitlines()
    assert lines[0] == "| | own test | real, ordinary |"
    assert {line.count("|") for line in lines} == {4}
    rows = {line.split("|")[1].strip(): line for line in lines}
    assert percent(reports["own test"]["category"]["top1"]) in rows["Category top-1"]
    assert percent(reports["real, ordinary"]["zones"]["auto"]["share"]) in rows["Routed automatically"]
    assert rows["Emergency recall"].endswith("| – |")
    assert (
        percent(reports["own test"]["prediction_sets"]["coverage"]) in rows["Prediction sets: right category in them"]
    )


def _curve(*points: tuple[float, float]) -> dict[str, Any]:
    return {"curve": {"points": [{"share": share, "precision": precision} for share, precision in points]}}


def test_the_table_reads_the_curve_from_its_far_end() -> None:
    # The first petition is wrong: the share counts where the precision comes back.
    report = _curve((0.1, 0.0), (0.4, 0.96), (0.5, 0.95), (0.6, 0.91))
    assert share_at(report, 0.95) == "0.500"
    assert share_at(report, 0.9) == "0.600"
    assert share_at(report, 0.97) == "–"


def test_the_worst_category_is_one_with_petitions_enough() -> None:
    rates = {"few": rate(0, WORST_OF - 1), "many": rate(27, 30), "better": rate(95, 100)}
    assert worst_coverage({"classes": rates}) == f"{percent(rate(27, 30))} many"
    assert worst_coverage({"classes": {"few": rate(0, 3)}}) == "–"


def test_a_model_of_before_states_nothing(
    tmp_path: Path, reports: dict[str, dict[str, Any]], labels: dict[str, Sequence[str]]
) -> None:
    old = {key: value for key, value in reports["own test"].items() if key != "prediction_sets"}
    old["curve"] = {**old["curve"], "stated": None, "threshold": None}
    rows = {line.split("|")[1].strip(): line for line in summary_table({"old": old}).splitlines()}
    assert rows["Prediction sets: right category in them"].endswith("| – |")
    write_report({"old": old}, labels, "Evaluation of an old model", tmp_path)
    assert "Prediction sets, stated" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_report_is_written_with_its_pictures(
    tmp_path: Path, reports: dict[str, dict[str, Any]], labels: dict[str, Sequence[str]]
) -> None:
    write_report(reports, labels, "Evaluation of tiny-1", tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Evaluation of tiny-1\n")
    assert summary_table(reports) in text
    assert "## own test (18 petitions)" in text
    assert "| portal_report | " in text
    pictures = re.findall(r"!\[\w+\]\((.+?)\)", text)
    assert len(set(pictures)) == 2 * (3 * 2 + 1), "sets, heads, confusion and reliability, and each set's curve"
    for name in pictures:
        raw = (tmp_path / "report" / name).read_bytes()
        assert raw.startswith(b"\x89PNG")
        assert len(raw) > 5_000
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.md", "report.json", *pictures}
    assert json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8")) == reports
