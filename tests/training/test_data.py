import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest

from nlp_service.taxonomy import Taxonomy
from tests.training.conftest import make_petitions
from training.data import Petition, digest, read_petitions, split, split_of, write_petitions

ROW: dict[str, Any] = {
    "id": "p1",
    "text": "Đường hỏng",
    "category": "transport_infrastructure",
    "urgency": "normal",
    "petition_type": "feedback",
}


def _write(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ('{"id": "p2", "text": ', "JSONDecodeError"),
        ("", "JSONDecodeError"),
        ("[1, 2]", "TypeError"),
        (json.dumps({**ROW, "category": "roads"}), "unknown category 'roads'"),
        (json.dumps({**ROW, "urgency": "high"}), "unknown urgency 'high'"),
        (json.dumps({**ROW, "petition_type": "letter"}), "unknown petition_type 'letter'"),
        (json.dumps({**ROW, "secondary": ["roads"]}), "unknown category 'roads'"),
        (json.dumps({**ROW, "accept": ["other", "roads"]}), "unknown category 'roads'"),
        (json.dumps({**ROW, "register": "telegram"}), "unknown register 'telegram'"),
        (json.dumps({**ROW, "text": " \n"}), "empty text"),
        (json.dumps({**ROW, "text": 7}), "empty text"),
        (json.dumps({key: value for key, value in ROW.items() if key != "urgency"}), "urgency"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, taxonomy: Taxonomy, bad: str, named: str) -> None:
    good = json.dumps(ROW, ensure_ascii=False)
    path = _write(tmp_path / "petitions.jsonl", good, good, bad, good)
    with pytest.raises(ValueError, match=f"petitions.jsonl line 3: .*{named}"):
        read_petitions(path, taxonomy)


def test_fields_that_may_be_left_out(tmp_path: Path, taxonomy: Taxonomy) -> None:
    (petition,) = read_petitions(_write(tmp_path / "p.jsonl", json.dumps(ROW)), taxonomy)
    assert (petition.register, petition.group, petition.secondary, petition.matter) == ("", "p1", (), None)
    assert petition.accepted == ("transport_infrastructure",)


def test_written_petitions_come_back(tmp_path: Path, taxonomy: Taxonomy) -> None:
    petitions = [
        *make_petitions(14),
        Petition("x1", "Hai dòng\nvà \"ngoặc\" \\ \t 🚧", "other", "low", "other", "chat", "g", ("land_administration",)),
        # Pasted from a web page: line separators that JSON leaves as they are.
        Petition("x2", "Một\u2028hai\u2029ba\x85bốn\rnăm\x0bsáu", "other", "low", "other", group="g"),
        Petition("x3", "Nhiều nghĩa", "other", "urgent", "complaint", group="h", matter="other.m", accept=("other", "official_conduct")),
    ]  # fmt: skip
    path = tmp_path / "petitions.jsonl"
    write_petitions(path, petitions)
    assert read_petitions(path, taxonomy) == petitions
    assert "Đường" in path.read_text("utf-8") or "đường" in path.read_text("utf-8"), "kept readable, not escaped"
    write_petitions(path, [])
    assert read_petitions(path, taxonomy) == []


def test_split_never_separates_a_group() -> None:
    petitions = [
        dataclasses.replace(petition, group=f"story{number % 40}")
        for number, petition in enumerate(make_petitions(200))
    ]
    parts = split(petitions, dev=0.3, test=0.3)
    groups = {name: {petition.group for petition in part} for name, part in parts.items()}
    assert all(groups.values())
    assert sum(len(names) for names in groups.values()) == 40
    assert sum(len(part) for part in parts.values()) == 200
    for part in parts.values():  # in the order given
        assert [p.id for p in part] == [p.id for p in petitions if p in part]


def test_split_stays_when_data_grows_and_moves() -> None:
    before = split(make_petitions(100))
    grown = make_petitions(300)
    random.Random(1).shuffle(grown)
    after = split(grown)
    for name, part in before.items():
        assert {petition.id for petition in part} <= {petition.id for petition in after[name]}


def test_split_shares_are_about_what_is_asked() -> None:
    parts = [split_of(f"group {number}", dev=0.12, test=0.2) for number in range(4_000)]
    assert parts.count("test") / 4_000 == pytest.approx(0.2, abs=0.03)
    assert parts.count("dev") / 4_000 == pytest.approx(0.12, abs=0.03)
    assert {split_of(f"group {number}", 0, 0) for number in range(50)} == {"train"}
    # Fixed for good: a change here would move test petitions into training.
    fixed = {"W1-g0013": "test", "W1-g0022": "dev", "W1-g0001": "train"}
    assert {group: split_of(group, 0.12, 0.12) for group in fixed} == fixed


def test_digest_goes_by_content_and_not_by_order() -> None:
    petitions = make_petitions(20)
    assert digest(petitions) == digest(reversed(petitions))
    for field, value in {
        "text": "khác",
        "category": "other",
        "urgency": "urgent",
        "petition_type": "other",
        "secondary": ("other",),
    }.items():
        changed = [dataclasses.replace(petitions[0], **{field: value}), *petitions[1:]]
        assert digest(changed) != digest(petitions), field
    assert digest(petitions[1:]) != digest(petitions)
