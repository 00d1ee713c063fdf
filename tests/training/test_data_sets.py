"""The shipped petitions are fit to train on."""

from pathlib import Path

import pytest

from nlp_service.taxonomy import Taxonomy, load_taxonomy
from training.check import Matter, check, read_matters
from training.data import Petition, read_petitions, split_of

DATASETS = Path(__file__).resolve().parents[2] / "datasets"


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return load_taxonomy(DATASETS / "taxonomy.yaml")


@pytest.fixture(scope="module")
def parts(taxonomy: Taxonomy) -> dict[str, list[Petition]]:
    return {
        name: read_petitions(DATASETS / "petitions" / f"{name}.jsonl", taxonomy) for name in ("train", "dev", "test")
    }


def test_no_duplicates_no_leaks_no_unknown_matters(parts: dict[str, list[Petition]], taxonomy: Taxonomy) -> None:
    findings = check(parts, taxonomy, read_matters(DATASETS / "matters.yaml"))
    assert [finding.message for finding in findings if finding.fatal] == []


def test_every_petition_lies_where_its_group_belongs(parts: dict[str, list[Petition]]) -> None:
    for name, petitions in parts.items():
        misplaced = [p.id for p in petitions if split_of(p.group, 0.12, 0.12) != name]
        assert misplaced == []


def test_matters_and_examples_fit_the_taxonomy(taxonomy: Taxonomy) -> None:
    known = {category.id for category in taxonomy.categories}
    assert {matter.category for matter in read_matters(DATASETS / "matters.yaml").values()} == known


def test_check_finds_what_it_is_for(taxonomy: Taxonomy) -> None:
    def petition(identity: str, text: str, group: str, matter: str | None = None) -> Petition:
        return Petition(identity, text, "other", "low", "other", "chat", group, matter=matter)

    story = "Đèn đường ở ngõ ba tắt đã hai tuần nay mà chưa thấy ai đến sửa cho bà con"
    parts = {
        "train": [petition("1", story, "a"), petition("2", "Số tôi là 0912 345 678 nhé các anh chị", "b")],
        "test": [
            petition("3", story + " nhé", "c"),
            petition("4", "Một chuyện khác hẳn chẳng giống ai", "a"),
            petition("2", "Lại một chuyện nữa hoàn toàn không liên quan", "d", matter="other.nothing"),
        ],
    }
    matters = {"other.thanks": Matter("other.thanks", "Cảm ơn", "other", "local")}
    told = {(finding.kind, finding.fatal): finding.message for finding in check(parts, taxonomy, matters)}
    assert "2 occurs 2 times" in told["id", True]
    assert "group a is in test and train" in told["leak", True]
    assert "across splits" in told["near duplicate", True]
    assert "unknown matter other.nothing" in told["matter", True]
    assert "other.thanks has 0 petitions" in told["matter", False]
    assert told["personal data", False] == "2 holds what looks like a real phone number"
