import json
from pathlib import Path
from typing import Any

import pytest

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.models import Gates, Registry, headline, objections, read_gates
from tests.nlp_service.conftest import WriteModel


def registry(write_model: WriteModel, *names: str) -> Registry:
    """Small model directories, the first of them current."""
    directories = [write_model(name, created=f"2026-11-2{number}T00:00:00+00:00") for number, name in enumerate(names)]
    pointer = directories[0].parent / "current"
    pointer.write_text(f"{names[0]}\n", encoding="utf-8")
    return Registry.at(pointer)


def test_models_are_listed_newest_first_with_what_is_wrong(write_model: WriteModel) -> None:
    found = registry(write_model, "a", "b", "c", "d")
    folder = found.pointer.parent
    (folder / "c" / "vocab.txt").write_text("x 1\n", encoding="utf-8")
    (folder / "d" / "manifest.json").write_text("{", encoding="utf-8")
    (folder / "encoder").mkdir()  # no model: it has no manifest
    found.point(folder / "b", [folder / "a"])
    entries = found.entries()
    assert [(entry.version, entry.mark) for entry in entries] == [
        ("c", ""),
        ("b", "current"),
        ("a", "previous"),
        ("d", ""),
    ]
    assert [entry.problem is None for entry in entries] == [False, True, True, False]
    assert "vocab.txt" in str(entries[0].problem) and "manifest" in str(entries[3].problem)


def test_a_model_is_found_by_directory_first_and_by_version(write_model: WriteModel) -> None:
    found = registry(write_model, "a", "b")
    write_model("copied", version="a-2")
    write_model("other", version="named")
    write_model("named", version="b-2")
    assert found.find("a-2").name == "copied" and found.find("named").name == "named"
    with pytest.raises(PetitionError, match=r"there is no model 'e'.*a, b, copied, named, other") as failure:
        found.find("e")
    assert failure.value.kind is ErrorKind.NOT_FOUND


def test_what_answered_before_is_remembered_and_bounded(write_model: WriteModel) -> None:
    found = registry(write_model, "a")
    folder = found.pointer.parent
    found.point(folder / "m14", [folder / f"m{number}" for number in range(14)])
    assert [directory.name for directory in found.earlier()] == [f"m{number}" for number in range(4, 14)]
    assert found.current() == folder / "m14"


def test_a_promotion_stopped_between_its_files_leads_back_to_what_was_before(write_model: WriteModel) -> None:
    found = registry(write_model, "a", "b")
    folder = found.pointer.parent
    (folder / "previous").write_text("z\na\n", encoding="utf-8")  # and the pointer still says a
    assert [directory.name for directory in found.earlier()] == ["z"]


def test_a_pointer_that_names_nothing_does_not_keep_others_from_being_promoted(write_model: WriteModel) -> None:
    found = registry(write_model, "a")
    found.pointer.write_bytes(b"\xff\xfe\x00")
    assert found.current() is None
    assert [entry.mark for entry in found.entries()] == [""]


def test_pointers_are_replaced_whole_and_leave_no_scratch_files(write_model: WriteModel, monkeypatch: Any) -> None:
    found = registry(write_model, "a", "b")
    folder = found.pointer.parent

    def full(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("nlp_service.models.os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        found.point(folder / "b", [folder / "a"])
    monkeypatch.undo()
    assert found.current() == folder / "a"
    assert not list(folder.glob(".*"))


def test_a_model_directory_is_no_pointer(write_model: WriteModel) -> None:
    with pytest.raises(PetitionError, match="PETITIONS_MODEL is the directory"):
        Registry.at(write_model("a"))


def gates(**changes: Any) -> Gates:
    return Gates.model_validate({"format": 1, "candidate": "b", "against": "a", "passed": True} | changes)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (gates(), []),
        (None, ["gates.json is missing: run petitions-train compare b a"]),
        (gates(candidate="c"), ["gates.json is about 'c', not about 'b': run petitions-train compare"]),
        (gates(against="z"), ["it was compared with 'z', and 'a' answers now: run petitions-train compare"]),
        (gates(passed=False, failures=("top-1 fell", "slow")), ["top-1 fell", "slow"]),
        (gates(passed=False), ["its gates were not passed"]),
    ],
)
def test_a_candidate_follows_only_the_model_it_was_compared_with(found: Gates | None, said: list[str]) -> None:
    assert objections(found, "b", "a") == said


def test_a_report_of_gates_that_cannot_be_read_is_no_pass(tmp_path: Path) -> None:
    assert read_gates(tmp_path) is None
    (tmp_path / "gates.json").write_text(json.dumps({"format": 2, "candidate": "b", "against": "a", "passed": True}))
    with pytest.raises(PetitionError, match="no report of gates"):
        read_gates(tmp_path)


def test_scores_of_own_and_real_petitions_stand_apart() -> None:
    rate = {"value": 0.88, "hits": 88, "count": 100}
    scores = {
        "own test": {"category": {"top1": rate}, "emergency": {"recall": {"value": None, "hits": 0, "count": 0}}},
        "real, all": {"category": {"top1": {**rate, "value": 0.9}}, "emergency": {"recall": rate}},
        "note": "x",
    }
    assert headline(scores) == {
        "own test": "category 0.88 (88/100)",
        "real, all": "category 0.90 (88/100), emergencies 0.88 (88/100)",
    }
