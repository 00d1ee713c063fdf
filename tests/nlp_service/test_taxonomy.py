import hashlib
import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
import yaml

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.taxonomy import Taxonomy, load_taxonomy

SHIPPED = Path(__file__).resolve().parents[2] / "datasets" / "taxonomy.yaml"
DOCUMENT = json.dumps(yaml.safe_load(SHIPPED.read_bytes()))  # JSON is YAML, and quick to copy and to change


def test_the_shipped_taxonomy() -> None:
    taxonomy = load_taxonomy(SHIPPED)
    assert len(taxonomy.categories) == 21
    assert [level.id for level in taxonomy.urgency_levels] == ["emergency", "urgent", "normal", "low"]
    assert len(taxonomy.petition_types) == 5
    assert len(taxonomy.confusable_pairs) == 10
    assert next(c for c in taxonomy.categories if c.id == "other").review_always
    assert taxonomy.bodies[taxonomy.categories[0].lead] == "Sở Nông nghiệp và Môi trường"


def broken(document: dict[str, Any], change: str) -> None:
    first = document["issue_categories"][0]
    if change == "same id twice":
        document["issue_categories"].append(dict(first))
    elif change == "unknown body 'so_lua'":
        first["lead"] = "so_lua"
    elif change == "unknown default_urgency 'gấp'":
        first["default_urgency"] = "gấp"
    elif change == "'definition'":
        del first["definition"]
    elif change == "unknown category 'roads'":
        document["confusable_pairs"][0] = ["roads", "other"]
    elif change == "must exist":
        document["issue_categories"] = [c for c in document["issue_categories"] if c["id"] != "other"]
        document["confusable_pairs"] = []


@pytest.mark.parametrize(
    "told",
    [
        "same id twice",
        "unknown body 'so_lua'",
        "unknown default_urgency 'gấp'",
        "'definition'",
        "unknown category 'roads'",
        "must exist",
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, told: str) -> None:
    path = write(tmp_path, lambda document: broken(document, told))
    with pytest.raises(PetitionError, match=told) as caught:
        load_taxonomy(path)
    assert caught.value.kind is ErrorKind.INVALID_TAXONOMY
    assert str(path) in caught.value.message


def test_no_yaml_is_an_invalid_taxonomy(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.yaml"
    path.write_text("a: [1\nb: }", encoding="utf-8")
    with pytest.raises(PetitionError, match="is not a taxonomy"):
        load_taxonomy(path)


def test_everything_the_shipped_taxonomy_names_exists(taxonomy: Taxonomy) -> None:
    ids = [category.id for category in taxonomy.categories]
    assert len({*ids}) == 21
    levels = {level.id for level in taxonomy.urgency_levels}
    for category in taxonomy.categories:
        assert {category.lead, *category.commune} <= set(taxonomy.bodies), category.id
        assert category.commune and category.name and category.definition
        assert category.default_urgency in levels
    assert all(first != second and {first, second} <= {*ids} for first, second in taxonomy.confusable_pairs)
    assert [label.id for label in taxonomy.petition_types][:2] == ["complaint", "denunciation"]
    assert [category.id for category in taxonomy.categories if category.review_always] == ["other"]
    assert {category.id for category in taxonomy.categories if category.sensitive} < {*ids}


def test_a_taxonomy_is_known_by_its_bytes(taxonomy: Taxonomy) -> None:
    assert taxonomy.sha256 == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert taxonomy.version == str(yaml.safe_load(SHIPPED.read_bytes())["version"])


def test_urgency_runs_from_the_gravest_whatever_the_file_s_order(tmp_path: Path) -> None:
    path = write(tmp_path, lambda d: d["urgency_levels"].reverse())
    assert [level.id for level in load_taxonomy(path).urgency_levels] == ["emergency", "urgent", "normal", "low"]


def test_a_taxonomy_is_frozen(taxonomy: Taxonomy) -> None:
    for thing, field in ((taxonomy, "version"), (taxonomy.categories[0], "name"), (taxonomy.urgency_levels[0], "id")):
        with pytest.raises(FrozenInstanceError):
            setattr(thing, field, "x")
    assert isinstance(taxonomy.categories, tuple) and isinstance(taxonomy.categories[0].commune, tuple)


def write(directory: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    document = json.loads(DOCUMENT)
    change(document)
    path = directory / "taxonomy.yaml"
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return path


MORE_BREAKS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "category twice": (
        lambda d: d["issue_categories"].append(dict(d["issue_categories"][3])),
        "category has the same id twice: 'transport_infrastructure'",
    ),
    "level twice": (lambda d: d["urgency_levels"].append(d["urgency_levels"][0]), "same id twice: 'emergency'"),
    "type twice": (lambda d: d["petition_types"].append(d["petition_types"][4]), "same id twice: 'other'"),
    "category without a lead": (
        lambda d: d["issue_categories"][3].pop("lead"),
        "transport_infrastructure lacks 'lead'",
    ),
    "category without an id": (lambda d: d["issue_categories"][3].pop("id"), "a category lacks 'id'"),
    "commune body unknown": (
        lambda d: d["issue_categories"][3]["commune"].append("phong_lua"),
        "transport_infrastructure names unknown body 'phong_lua'",
    ),
    "commune bodies not a list": (
        lambda d: d["issue_categories"][3].update(commune="phong_kinh_te"),
        "transport_infrastructure names unknown body",
    ),
    "body without a name": (lambda d: d["bodies"]["commune"].update(ao={}), "lacks 'name_vi'"),
    "empty name": (lambda d: d["petition_types"][0].update(name_vi="  "), "petition_type has an empty name"),
    "name not a string": (lambda d: d["petition_types"][0].update(name_vi=7), "is not a taxonomy"),
    "no emergency": (lambda d: d["urgency_levels"].pop(0), "urgency 'emergency' must exist"),
    "pair of three": (lambda d: d["confusable_pairs"].append(["other"] * 3), "is not a taxonomy"),
    "bodies a list": (lambda d: d.update(bodies=["so_xay_dung"]), "is not a taxonomy"),
    "category a string": (lambda d: d["issue_categories"].append("roads"), "is not a taxonomy"),
    "rank a word": (lambda d: d["urgency_levels"][0].update(rank="cao"), "is not a taxonomy"),
    "no categories": (lambda d: d.pop("issue_categories"), "lacks 'issue_categories'"),
    "no pairs": (lambda d: d.pop("confusable_pairs"), "lacks 'confusable_pairs'"),
}


@pytest.mark.parametrize("case", MORE_BREAKS)
def test_a_broken_taxonomy_is_refused_by_entry(tmp_path: Path, case: str) -> None:
    change, told = MORE_BREAKS[case]
    path = write(tmp_path, change)
    with pytest.raises(PetitionError) as caught:
        load_taxonomy(path)
    assert caught.value.kind is ErrorKind.INVALID_TAXONOMY
    assert told in caught.value.message and str(path) in caught.value.message


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"- 1\n- 2\n", b"\xff\xfe\x00", b"PK\x03\x04\x00", b"a: !!python/object:os.system {}"]
)
def test_other_files_are_no_taxonomy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "taxonomy.yaml"
    path.write_bytes(content)
    with pytest.raises(PetitionError, match="is not a taxonomy") as caught:
        load_taxonomy(path)
    assert "\n" not in caught.value.message
