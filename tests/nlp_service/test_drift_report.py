"""What `petitions report drift` says of a store."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from nlp_service.bundle import Bundle, load_bundle
from nlp_service.cli import app
from nlp_service.drift import Verdict
from nlp_service.drift_report import DriftReport, Period, drift_report
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.profile import EDGES, Profile
from nlp_service.reference import REFERENCE_FILE, Reference, fingerprint, read_reference
from nlp_service.store import open_current
from tests.nlp_service.conftest import WriteModel
from tests.nlp_service.offices import NOW
from tests.nlp_service.stored import MODEL, keep, row

WEEK = timedelta(weeks=1)
LABELS = ("other", "land_administration", "transport_infrastructure")


@pytest.fixture
def bundle(write_model: WriteModel) -> Bundle:
    return load_bundle(write_model(MODEL))


def mix(*counts: int) -> list[str]:
    """Categories, in turn."""
    return [label for label, count in zip(LABELS, counts, strict=False) for _ in range(count)]


def week(categories: list[str], back: int = 0, commune: str | None = None) -> list[dict[str, Any]]:
    return [row(NOW - back * WEEK, category=category, commune=commune) for category in categories]


def write(bundle: Bundle, categories: list[str], **changes: object) -> None:
    """reference.json with these answers."""
    profile = Profile()
    for category in categories:
        profile.add(category, 0.9, "đường hỏng", None)
    values: dict[str, Any] = {
        **{"format": 1, "model_version": MODEL, "model_sha256": fingerprint(bundle.manifest), "part": "dev"},
        **{"petitions": len(categories), "data_sha256": "0", "at": "2026-11-28T00:00:00+00:00", "edges": EDGES},
        "counts": {feature: dict(counts) for feature, counts in profile.counts.items()},
    }
    content = Reference(**values | changes).model_dump_json()
    (bundle.directory / REFERENCE_FILE).write_text(content, encoding="utf-8")


def report(engine: Engine, bundle: Bundle, by: str = "week", against: Period | None = None) -> DriftReport:
    with engine.connect() as connection:
        return drift_report(connection, bundle, None, NOW + timedelta(hours=1), 2, by, against)


def told(report: DriftReport, feature: str = "category") -> dict[str, Verdict]:
    return {found.group: found.verdict for found in report.findings if found.feature == feature}


def test_weeks_are_compared_with_the_reference(engine: Engine, bundle: Bundle) -> None:
    write(bundle, mix(100, 100))
    keep(engine, [*week(mix(50, 50), 1), *week(mix(10, 40, 50)), *week(mix(0, 0, 100), 2)])
    found = report(engine, bundle)
    assert told(found) == {"2026-W47": Verdict.STABLE, "2026-W48": Verdict.DRIFTING}
    named = next(f for f in found.findings if f.group == "2026-W48" and f.feature == "category").moved[0]
    assert (named.bin, named.before, named.now) == ("transport_infrastructure", 0.0, 0.5)
    assert told(found, "length") == {"2026-W47": Verdict.STABLE, "2026-W48": Verdict.STABLE}
    assert told(found, "unknown") == {"2026-W47": Verdict.TOO_FEW, "2026-W48": Verdict.TOO_FEW}, "no word is kept"
    assert found.drifting and found.against == "200 petitions that the model was not trained on (dev)"


def test_weeks_are_compared_with_an_earlier_time(engine: Engine, bundle: Bundle) -> None:
    keep(engine, [*week(mix(20, 20, 60), 3), *week(mix(10, 10, 30)), *week(mix(0, 99), 5)])
    days = (NOW - 3 * WEEK - timedelta(days=1), NOW - 2 * WEEK - timedelta(days=6))
    found = report(engine, bundle, against=days)
    assert told(found) == {"2026-W48": Verdict.STABLE}
    assert found.findings[0].against == 100


def test_a_commune_is_compared_with_all_others_of_the_same_weeks(engine: Engine, bundle: Bundle) -> None:
    rows = [row for code in (*"abcdefgh", None) for row in week(mix(20, 20), commune=code)]
    keep(engine, [*rows, *week(mix(5, 5, 30), commune="4"), *week(mix(0, 0, 5), commune="5")])
    found = report(engine, bundle, "commune")
    same = dict.fromkeys("-abcdefgh", Verdict.STABLE)
    assert told(found) == {**same, "4": Verdict.DRIFTING, "5": Verdict.TOO_FEW}
    assert {f.count + f.against for f in found.findings if f.feature == "category"} == {405}


def test_a_commune_is_compared_with_itself_before(engine: Engine, bundle: Bundle) -> None:
    keep(engine, [*week(mix(5, 5, 40), 2, "4"), *week(mix(5, 5, 40), commune="4")])
    keep(engine, [*week(mix(40, 5, 5), 2, "6"), *week(mix(5, 5, 40), commune="6"), *week(mix(40), commune="7")])
    found = report(engine, bundle, "commune", (NOW - 2 * WEEK, NOW - 2 * WEEK + timedelta(days=1)))
    assert told(found) == {"4": Verdict.STABLE, "6": Verdict.DRIFTING, "7": Verdict.TOO_FEW}


@pytest.mark.parametrize("days", [(-20, -8), (-30, -30), (-20, -30)])
def test_a_time_that_is_none_or_overlaps_is_refused(engine: Engine, bundle: Bundle, days: tuple[int, int]) -> None:
    first, last = (NOW + timedelta(days=n) for n in days)
    with pytest.raises(PetitionError) as error:
        report(engine, bundle, against=(first, last))
    assert error.value.kind is ErrorKind.INVALID_REQUEST and "2026-11-16" in error.value.message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_sha256": "0", "model_version": "petition-a"}, "made by 'petition-a'"),
        ({"edges": {"length": (1.0,)}}, "other bins"),
    ],
)
def test_a_reference_that_does_not_fit_is_refused(bundle: Bundle, changes: dict[str, object], said: str) -> None:
    write(bundle, mix(1), **changes)
    with pytest.raises(PetitionError) as error:
        read_reference(bundle)
    assert said in error.value.message and f"petitions-train reference {bundle.directory}" in error.value.message
    (bundle.directory / REFERENCE_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(PetitionError):
        read_reference(bundle)


def test_scores_that_evaluation_adds_leave_the_reference_valid(bundle: Bundle) -> None:
    write(bundle, mix(1))
    manifest = bundle.manifest.model_copy(update={"scores": {"own test": {}}})
    assert read_reference(bundle.model_copy(update={"manifest": manifest})) is not None


@pytest.fixture
def stored_now(tmp_path: Path) -> Iterator[Engine]:
    engine = open_current(f"sqlite:///{tmp_path}/p.db")
    yield engine
    engine.dispose()


def command(bundle: Bundle, engine: Engine, *arguments: str) -> Result:
    environment = {"PETITIONS_STORE": str(engine.url), "PETITIONS_MODEL": str(bundle.directory), "COLUMNS": "300"}
    return CliRunner().invoke(app, ["report", "drift", *arguments], env=environment)


def test_the_command_tells_what_drifts_and_fails_only_if_asked_to(stored_now: Engine, bundle: Bundle) -> None:
    write(bundle, mix(100, 100))
    at = datetime.now(UTC) - timedelta(seconds=1)
    keep(stored_now, [row(at, category="land_administration") for _ in range(100)])
    found = command(bundle, stored_now)
    assert found.exit_code == 0, found.output
    assert "DRIFTING: other 50 % -> 0 %; land_administration 50 % -> 100 %" in found.output
    assert "too few" in found.output, "of unknown words, which this model does not know"
    assert command(bundle, stored_now, "--fail").exit_code == 1
    as_json = json.loads(command(bundle, stored_now, "--json").output)
    assert as_json["drifting"] and as_json["left_out"] == {"repeats": 0, "other_models": 0}
    assert {finding["feature"]: finding["verdict"] for finding in as_json["findings"]} == {
        **{"category": "drifting", "confidence": "stable", "length": "stable", "unknown": "too few"}
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "petitions-train reference"),
        (("--against", "2026-01-01"), "YYYY-MM-DD:YYYY-MM-DD"),
        (("--against", "2026-01-01:soon"), "'soon' is no day"),
        (("--by", "moon"), "week, commune"),
    ],
)
def test_a_wrong_question_is_answered_in_a_line(
    stored_now: Engine, bundle: Bundle, arguments: tuple[str, ...], said: str
) -> None:
    found = command(bundle, stored_now, *arguments)
    assert found.exit_code != 0
    assert said in found.output + str(found.exception)
