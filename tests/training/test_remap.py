import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from nlp_service.errors import PetitionError
from nlp_service.taxonomy import Taxonomy
from training.remap import Remapping, read_mapping, remap_directory

MAPPING = """
from = "0.0"
to = "{version}"
[category]
roads = "transport_infrastructure"
bridges = "transport_infrastructure"
[split.category.water]
into = ["water_supply_drainage", "disaster_fire_rescue"]
[split.category.water.words]
water_supply_drainage = ["nước máy", "cống"]
disaster_fire_rescue = ["mắc kẹt"]
"""


def _row(identity: str, category: str, text: str = "Ván cầu mục", **more: Any) -> dict[str, Any]:
    return {"id": identity, "text": text, "category": category, "urgency": "low", "petition_type": "other", **more}


@pytest.fixture
def mapping(tmp_path: Path, taxonomy: Taxonomy) -> Remapping:
    file = tmp_path / "mapping.toml"
    file.write_text(MAPPING.format(version=taxonomy.version), encoding="utf-8")
    return read_mapping(file, taxonomy)


def test_renamed_and_merged_labels_remember_what_they_were(mapping: Remapping) -> None:
    for old in ("roads", "bridges"):
        row, undecided = mapping.row(_row("a", old, secondary=["roads", "other", "bridges"], origin={"readers": 2}))
        assert (row["category"], undecided) == ("transport_infrastructure", [])
        assert row["secondary"] == ["other"]  # not the primary one again
        assert row["origin"] == {"readers": 2, "relabelled": [{"taxonomy": "0.0", "category": old}]}


def test_a_label_that_stays_leaves_no_mark(mapping: Remapping) -> None:
    row = _row("a", "other")
    assert mapping.row(row) == (row, [])


@pytest.mark.parametrize(
    ("text", "category", "asked"),
    [
        ("NƯỚC MÁY yếu cả tháng", "water_supply_drainage", []),
        ("Ba người mắc kẹt trên mái", "disaster_fire_rescue", []),
        ("Ba người mắc kẹt dưới cống", "water", ["category"]),
        ("Nước vào nhà", "water", ["category"]),
        ("Ông Cống nói vậy", "water_supply_drainage", []),
        ("cốngg", "water", ["category"]),
    ],
)
def test_a_split_label_goes_by_words_or_to_a_person(
    mapping: Remapping, text: str, category: str, asked: list[str]
) -> None:
    row, undecided = mapping.row(_row("a", "water", text))
    assert (row["category"], undecided) == (category, asked)


def test_a_directory_is_remapped_and_the_open_rows_are_listed(tmp_path: Path, mapping: Remapping) -> None:
    data = tmp_path / "old"
    data.mkdir()
    for side, rows in {"train": [_row("a", "roads"), _row("b", "water")], "test": [_row("c", "other")]}.items():
        (data / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert remap_directory(data, mapping, tmp_path / "new") == {"changed": 1, "for a person": 1, "unchanged": 1}
    [listed] = map(json.loads, (tmp_path / "new" / "relabel.jsonl").read_text(encoding="utf-8").splitlines())
    assert (listed["id"], listed["part"]) == ("b", "train")
    assert listed["relabel"] == {"category": ["water_supply_drainage", "disaster_fire_rescue"]}
    kept = (tmp_path / "new" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in kept] == ["a"]
    with pytest.raises(ValueError, match="exists"):
        remap_directory(data, mapping, tmp_path / "new")


def test_a_label_nobody_mapped_stops_everything(tmp_path: Path, mapping: Remapping) -> None:
    data = tmp_path / "old"
    data.mkdir()
    rows = [_row("a", "other"), _row("b", "ferries")]
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(ValueError, match=r"train.jsonl line 2: category 'ferries' is not in taxonomy"):
        remap_directory(data, mapping, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('roads = "transport_infrastructure"', 'roads = "streets"', "'streets' is not in taxonomy"),
        ("[category]", "[categories]", "has 'categories'"),
        ('from = "0.0"', "", "lacks 'from'"),
        ('cống"]', 'cống"]\nother = ["x"]', "words for 'other'"),
        ('"water_supply_drainage", "disaster', '"disaster', "split into 1 label"),
        ("roads =", "water =", "both renamed and split"),
    ],
)
def test_a_mapping_that_cannot_be_right_is_refused(
    tmp_path: Path, taxonomy: Taxonomy, old: str, new: str, named: str
) -> None:
    file = tmp_path / "mapping.toml"
    text = MAPPING.format(version=taxonomy.version)
    if "split into 1" in named:  # its words go with the label
        text = text.replace('water_supply_drainage = ["nước máy", "cống"]\n', "")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(PetitionError, match=named):
        read_mapping(file, taxonomy)


def test_a_mapping_to_another_taxonomy_is_refused(tmp_path: Path, taxonomy: Taxonomy) -> None:
    file = tmp_path / "mapping.toml"
    file.write_text(MAPPING.format(version=taxonomy.version), encoding="utf-8")
    with pytest.raises(PetitionError, match="the one given is 9"):
        read_mapping(file, dataclasses.replace(taxonomy, version="9"))
