"""What a run reads beside the petition: where, when, and in which old encoding."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlp_service.bundle import load_bundle
from nlp_service.decision import Decision, Scored
from nlp_service.errors import PetitionError
from nlp_service.label import label_file
from nlp_service.label_answers import COLUMNS, Classify, Item, Labeller, answer
from nlp_service.label_columns import Columns, Selection, select, year_of
from nlp_service.label_progress import Silent
from nlp_service.legacy import Encoding, from_unicode
from nlp_service.pipeline import Classification
from nlp_service.tables import Row, Table, open_table, write_table
from nlp_service.triage import Rules, load_rules

MODEL = Path("models/current")


class Heard(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def table(rows: Sequence[dict[str, Any]], path: Path = Path("in.csv")) -> Table:
    return Table(path, tuple(rows[0]), len(rows), lambda only: map(Row, rows))


def items(rows: Sequence[dict[str, Any]], **options: Any) -> list[Item]:
    source = table(rows)
    return list(select(source, Columns(**options), Silent()).items(source))


@pytest.fixture(scope="module")
def rules() -> Rules:
    return load_rules(Path("datasets"), load_bundle(MODEL).taxonomy)


def saying(
    category: str = "transport_infrastructure", urgency: str = "normal", kind: str = "feedback", zone: str = "auto"
) -> Classify:
    def classify(texts: Sequence[object]) -> list[Classification | Any]:
        labels = [Scored(name, name, 0.9) for name in (category, urgency, kind)]
        decision = Decision(labels[0], (), labels[1], labels[2], zone, ())
        return [
            Classification(decision, 1, "m", "1", np.zeros(2, np.float32), wording=str(text).lower()) for text in texts
        ]

    return classify


def answered(item: Item, rules: Rules | None, **labels: str) -> dict[str, Any]:
    [values] = answer(Labeller(saying(**labels), rules), [item])
    return dict(zip(COLUMNS, values, strict=True))


@pytest.mark.parametrize(
    ("cell", "year"),
    [
        (dt.date(2019, 3, 12), 2019),
        (dt.datetime(2026, 1, 1, 8), 2026),
        ("12/03/2019", 2019),
        ("ngày 3 tháng 4 năm 2021", 2021),
        (2020, 2020),
        (2020.0, 2020),
        ("Số 2019/UBND ngày 5/6/2022", 2022),
        (43_567, None),
        ("12/03/19", None),
        ("120199", None),
        (None, None),
        (True, None),
        ("", None),
    ],
)
def test_the_year_of_a_cell(cell: object, year: int | None) -> None:
    assert year_of(cell) == year


def test_place_and_date_columns_are_found_by_name_and_told() -> None:
    rows = [
        {
            "STT": 1,
            "Ngày nhận": "12/3/2019",
            "Huyện": "Hoằng Hóa",
            "Xã, phường": "Hoằng Phong",
            "Địa chỉ": "12 phố Bà Triệu",
            "Nội dung": "Đường hỏng nặng",
        }
    ]
    progress = Heard()
    selection = select(table(rows), Columns(), progress)
    assert selection.places == (("Xã, phường", "Huyện"), ("Địa chỉ",))
    assert any("“Xã, phường” + “Huyện”; “Địa chỉ”" in message for message in progress.said)
    [item] = selection.items(table(rows))
    assert item.places == ("Hoằng Phong, Hoằng Hóa", "12 phố Bà Triệu")
    assert item.year == 2019


def test_named_columns_replace_the_found_ones() -> None:
    rows = [
        {"Nội dung": "Đường hỏng", "Địa chỉ": "xã A", "Nơi khác": "xã B", "Thôn": "thôn C", "Lúc": 2018, "Ngày": 1999}
    ]
    [item] = items(rows, places=("thôn", "noi khac"), date="Lúc")
    assert (item.places, item.year) == (("thôn C, xã B",), 2018)
    with pytest.raises(PetitionError, match=r"no column 'xa'.*--place-column one of: Nội dung, Địa chỉ"):
        items(rows, places=("xa",))


def test_an_empty_place_field_leaves_the_word_to_the_next() -> None:
    [item] = items([{"text": "Đường hỏng", "xã": None, "địa chỉ": "xã Hoằng Phong"}])
    assert item.places == ("xã Hoằng Phong",)


def test_a_place_in_an_old_font_is_read_and_all_such_columns_are_turned(tmp_path: Path) -> None:
    places = ["xã Hoằng Phong", "phường Hạc Thành", "xã Thọ Xuân", "xã Nga Sơn", "xã Triệu Sơn", "xã Thường Xuân"]
    texts = [
        "Đường vào thôn bị ngập, hỏng nặng",
        "Đèn chiếu sáng tắt cả tuần",
        "Nước sinh hoạt có mùi lạ",
        "Bãi rác cạnh trường bốc mùi",
        "Đề nghị sửa cầu cũ",
        "Giá điện tăng quá nhanh",
    ]
    old = [
        {
            "mã": f"A{n}",
            "text": from_unicode(text, Encoding.TCVN3),
            from_unicode("địa chỉ", Encoding.TCVN3): from_unicode(place, Encoding.TCVN3),
        }
        for n, (text, place) in enumerate(zip(texts, places, strict=True))
    ]
    source = table(old)
    assert [item.places for item in select(source, Columns(), Silent()).items(source)] == [(place,) for place in places]
    path = tmp_path / "in.jsonl"
    write_table(path, source, {}, [()] * len(old), tmp_path)
    label_file(path, output := tmp_path / "out.jsonl", model=MODEL, classify=saying(), workers=1)
    out = open_table(output)
    assert out.columns[-2:] == ("text_unicode", "địa chỉ_unicode")
    assert [row.cells["địa chỉ_unicode"] for row in out.rows()] == places
    assert [row.cells["text_unicode"] for row in out.rows()] == texts


def test_an_old_place_becomes_todays_commune(rules: Rules) -> None:
    # Hoằng Phong was merged in 2025; what it is today stands in datasets/places.yaml.
    today = rules.gazetteer.resolve("xã Hoằng Phong, huyện Hoằng Hóa", 2019).unit
    assert today is not None and today.name != "Hoằng Phong"
    row = answered(Item("Đường liên thôn hỏng nặng", places=("Hoằng Phong, Hoằng Hóa",), year=2019), rules)
    assert (row["commune_code"], row["commune"]) == (today.code, today.full_name)
    assert row["lead_body"] in rules.routing.bodies


def test_the_text_says_where_if_no_field_does(rules: Rules) -> None:
    text = "Đường qua xã Hoằng Phong, huyện Hoằng Hóa hỏng nặng"
    by_text = answered(Item(text, places=("không rõ",), year=2019), rules)
    assert (
        by_text["commune_code"]
        == answered(Item("Đường hỏng", places=("Hoằng Phong, Hoằng Hóa",), year=2019), rules)["commune_code"]
    )
    assert by_text["commune_code"]
    by_field = answered(Item(text, places=("phường Hạc Thành",), year=2026), rules)
    assert by_field["commune"] == "Phường Hạc Thành"


@pytest.mark.parametrize(
    ("item", "labels", "expected"),
    [
        (Item("Đường hỏng nặng"), {}, False),
        (Item("Đường hỏng nặng"), {"zone": "suggest"}, True),
        (Item("Đường hỏng nặng"), {"zone": "human"}, True),
        (Item("Cháy nhà, cứu với"), {"urgency": "emergency"}, True),
        (Item("Đường hỏng nặng", places=("quận Cầu Giấy, thành phố Hà Nội",)), {}, True),
        (Item("Đường hỏng nặng", problem="line 3 is broken"), {}, True),
    ],
)
def test_who_needs_a_person(rules: Rules, item: Item, labels: dict[str, str], expected: bool) -> None:
    assert answered(item, rules, **labels)["needs_review"] is expected


def test_a_rule_that_fails_on_a_row_is_that_rows_error(rules: Rules) -> None:
    secret = "Đường hỏng tại nhà ông Kín"
    row = answered(Item(secret), rules, category="no_such_category")
    assert row["error"].startswith("classification_failed: ") and "ValueError" in row["error"]
    assert row["category"] is None and row["needs_review"] is True and "Kín" not in row["error"]


def test_a_selection_without_rules_leaves_place_and_body_empty() -> None:
    row = answered(Item("Đường hỏng", places=("phường Hạc Thành",)), None)
    assert row["category"] == "transport_infrastructure" and row["commune_code"] is None and row["lead_body"] is None


def test_cells_that_are_no_text_are_no_place() -> None:
    selection = Selection("text", (("a", "b"),))
    assert selection.item(Row({"text": "x", "a": None, "b": 15_000})).places == ("15000",)
