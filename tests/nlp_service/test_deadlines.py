"""Deadlines of whole petitions. What is due when was counted on paper calendars, never with the code."""

import json
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from nlp_service.deadlines import DeadlineRules, load_deadlines
from nlp_service.taxonomy import load_taxonomy

DATASETS = Path(__file__).resolve().parents[2] / "datasets"
HOLIDAYS = DATASETS / "holidays.yaml"
DOCUMENT = json.dumps(yaml.safe_load((DATASETS / "deadlines.yaml").read_bytes()))


@pytest.fixture(scope="module")
def rules() -> DeadlineRules:
    return load_deadlines(DATASETS / "deadlines.yaml", HOLIDAYS)


def at(text: str) -> datetime:
    """A moment in Vietnam; a date alone is its last second."""
    return datetime.fromisoformat(f"{text}+07:00" if ":" in text else f"{text} 23:59:59+07:00")


PETITIONS = [
    # a complaint across Tết 2025: day 10 is Monday 27 January, in Tết; 30 days from 3 February
    (
        ("complaint", "normal", {}, "2025-01-17 10:00"),
        [("acknowledge", "2025-01-20"), ("accept", "2025-02-03"), ("resolve", "2025-03-05")],
    ),
    (
        ("complaint", "normal", {"complex": True}, "2025-01-17 10:00"),
        [("acknowledge", "2025-01-20"), ("accept", "2025-02-03"), ("resolve", "2025-03-20")],
    ),
    (
        ("complaint", "normal", {"remote": True}, "2025-01-17 10:00"),
        [("acknowledge", "2025-01-20"), ("accept", "2025-02-03"), ("resolve", "2025-03-20")],
    ),
    (
        ("complaint", "normal", {"remote": True, "complex": True}, "2025-01-17 10:00"),
        [("acknowledge", "2025-01-20"), ("accept", "2025-02-03"), ("resolve", "2025-04-04")],
    ),
    # accepted on the Monday: 30 days from there
    (
        ("complaint", "normal", {"accepted_at": at("2025-01-20 09:00")}, "2025-01-17 10:00"),
        [("acknowledge", "2025-01-20"), ("accept", "2025-02-03"), ("resolve", "2025-02-19")],
    ),
    # a denunciation on the last Friday before Tết 2026, after hours
    (
        ("denunciation", "urgent", {}, "2026-02-13 17:05"),
        [
            ("forward", "2026-02-23"),
            ("acknowledge", "2026-02-24 08:00"),
            ("first_action", "2026-02-24"),
            ("accept", "2026-03-03"),
            ("resolve", "2026-04-02"),
        ],
    ),
    # 60 days from 3 March is Saturday 2 May, after 30 April and 1 May
    (
        ("denunciation", "low", {"complex": True}, "2026-02-13 17:05"),
        [("acknowledge", "2026-02-25"), ("accept", "2026-03-03"), ("resolve", "2026-05-04")],
    ),
    # an emergency on the first night of Tết does not wait
    (
        ("feedback", "emergency", {}, "2026-02-14 23:50"),
        [("forward", "2026-02-15 00:20"), ("first_action", "2026-02-15 03:50"), ("result", "2026-02-27")],
    ),
    (
        ("complaint", "emergency", {}, "2025-05-02 12:00"),
        [
            ("forward", "2025-05-02 12:30"),
            ("first_action", "2025-05-02 16:00"),
            ("accept", "2025-05-12"),
            ("resolve", "2025-06-11"),
        ],
    ),
    # Saturday 22 August 2026 is worked, 31 August to 2 September are off
    (
        ("feedback", "normal", {}, "2026-08-20 08:00"),
        [("acknowledge", "2026-08-21"), ("notice", "2026-09-07")],
    ),
    (
        ("feedback", "urgent", {}, "2026-08-27 16:00"),
        [
            ("acknowledge", "2026-08-28 16:30"),
            ("forward", "2026-08-28"),
            ("first_action", "2026-09-03"),
            ("result", "2026-09-08"),
        ],
    ),
    (
        ("recommendation", "low", {}, "2026-08-03 09:00"),
        [("acknowledge", "2026-08-06"), ("notice", "2026-08-17"), ("result", "2026-09-03")],
    ),
    # received on a holiday
    (("other", "normal", {}, "2025-09-02 09:00"), [("acknowledge", "2025-09-03"), ("result", "2025-09-16")]),
    # at the year's end
    (("other", "low", {}, "2025-12-31 23:59"), [("acknowledge", "2026-01-07"), ("result", "2026-01-30")]),
]


@pytest.mark.parametrize(("petition", "due"), PETITIONS)
def test_petitions(
    rules: DeadlineRules, petition: tuple[str, str, dict[str, Any], str], due: list[tuple[str, str]]
) -> None:
    petition_type, urgency, conditions, received = petition
    found = rules.deadlines(petition_type, urgency, at(received), **conditions)
    assert [(deadline.step, deadline.due_at) for deadline in found] == [(step, at(moment)) for step, moment in due]
    assert not any(deadline.provisional for deadline in found)


def test_a_deadline_tells_the_clerk_its_limit_and_its_basis(rules: DeadlineRules) -> None:
    accept, resolve = rules.deadlines("complaint", "normal", at("2025-03-03 09:00"), complex=True)[1:]
    assert (accept.name, accept.limit, accept.basis) == ("Thụ lý khiếu nại", "10 ngày", "Luật Khiếu nại 2011, Điều 27")
    assert resolve.limit == "45 ngày kể từ ngày thụ lý"
    assert not resolve.proposed
    forward, first_action, result = rules.deadlines("feedback", "emergency", at("2025-03-03 09:00"))
    assert [d.limit for d in (forward, first_action, result)] == ["30 phút", "4 giờ", "5 ngày làm việc"]
    assert result.proposed
    assert "không phải quy định của tỉnh" in result.basis
    acknowledge = rules.deadlines("feedback", "urgent", at("2025-03-03 09:00"))[0]
    assert acknowledge.limit == "8 giờ làm việc"


def test_every_type_and_urgency_of_the_taxonomy_has_an_answer_in_order(rules: DeadlineRules) -> None:
    taxonomy = load_taxonomy(DATASETS / "taxonomy.yaml")
    pairs = {(kind.id, level.id) for kind in taxonomy.petition_types for level in taxonomy.urgency_levels}
    assert rules.steps.keys() == pairs
    for petition_type, urgency in pairs:
        for received in ("2025-01-24 17:05", "2026-04-24 09:00", "2026-08-21 03:00", "2031-12-31 23:59"):
            found = rules.deadlines(petition_type, urgency, at(received), remote=True, complex=True)
            assert found[-1].step in ("resolve", "result", "notice")
            assert at(received) < found[0].due_at
            assert all(earlier.due_at <= later.due_at for earlier, later in pairwise(found))
            assert all(("đề xuất" in deadline.basis.lower()) is deadline.proposed for deadline in found)


@pytest.mark.parametrize(
    ("petition_type", "urgency", "received", "provisional"),
    [
        # a swap of Monday 23 for Saturday 28 November 2026 is proposed
        ("feedback", "normal", "2026-11-20 09:00", ["acknowledge", "notice"]),
        ("feedback", "normal", "2026-11-25 09:00", ["notice"]),
        ("other", "urgent", "2026-11-23 16:00", ["acknowledge", "result"]),
        # days of the calendar pass a doubtful day unmoved, unless they end there
        ("complaint", "normal", "2026-11-16 09:00", []),
        ("complaint", "normal", "2026-11-18 09:00", ["accept", "resolve"]),
        # 2027 is not decided
        ("complaint", "normal", "2026-12-01 09:00", ["resolve"]),
        ("recommendation", "normal", "2026-12-31 09:00", ["acknowledge", "notice"]),
        # the clock needs no calendar
        ("other", "emergency", "2027-02-06 00:10", ["result"]),
    ],
)
def test_what_may_still_move_is_provisional(
    rules: DeadlineRules, petition_type: str, urgency: str, received: str, provisional: list[str]
) -> None:
    found = rules.deadlines(petition_type, urgency, at(received))
    assert [deadline.step for deadline in found if deadline.provisional] == provisional


def test_what_cannot_be_answered_is_refused(rules: DeadlineRules) -> None:
    with pytest.raises(ValueError, match="type 'praise' with urgency 'normal'"):
        rules.deadlines("praise", "normal", at("2025-03-03 09:00"))
    with pytest.raises(ValueError, match="no time zone"):
        rules.deadlines("complaint", "emergency", datetime(2025, 3, 3))


def step(document: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = document["by_type"]["complaint"]["any"][0]
    return entry


BROKEN: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda d: d["by_urgency"].pop("low"), "no steps for petition type 'complaint' with urgency 'low'"),
    (lambda d: d["by_type"]["feedback"].pop("normal"), "no steps for petition type 'feedback' with urgency 'normal'"),
    (lambda d: d["by_type"]["complaint"]["any"].clear(), "no steps for petition type 'complaint'"),
    (lambda d: d["by_type"]["complaint"]["any"].pop(0), "'resolve' counts from 'accept'"),
    (lambda d: d["by_type"]["complaint"]["any"].append(step(d)), "step 'accept' is given twice"),
    (lambda d: step(d).update(unit="weeks"), "complaint, 'accept': unit is one of"),
    (lambda d: step(d).update({"from": "sent"}), "from is one of"),
    (lambda d: step(d).update(within="10"), "whole numbers above 0"),
    (lambda d: step(d).update(complex=0), "whole numbers above 0"),
    (lambda d: step(d).update(basis=" "), "give a basis"),
    (lambda d: step(d).update(proposed=True), "says 'đề xuất' when"),
    (lambda d: step(d).pop("basis"), "KeyError 'basis'"),
    (lambda d: d.pop("by_type"), "KeyError 'by_type'"),
    (lambda d: d["office_hours"].update(sessions=[[450, 690]]), "pairs such as"),  # YAML reads a bare 7:30 as 450
    (lambda d: d["office_hours"]["sessions"].reverse(), "not in order"),
]


@pytest.mark.parametrize(("change", "told"), BROKEN, ids=[told for _, told in BROKEN])
def test_limits_that_do_not_fit_are_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    document = json.loads(DOCUMENT)
    change(document)
    path = tmp_path / "deadlines.yaml"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ValueError, match=told) as caught:
        load_deadlines(path, HOLIDAYS)
    assert str(path) in str(caught.value)
