import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.tables import open_table
from nlp_service.taxonomy import Taxonomy
from tests.training.test_pull import MATTERS, Result, train  # noqa: F401 — a fixture
from training.imports import Imported, Mapping, read_table

FILL = ("urgency=normal", "petition_type=feedback")


@pytest.fixture
def imported(tmp_path: Path, taxonomy: Taxonomy) -> Callable[..., Imported]:
    def read(rows: list[tuple[str, str]], toml: str = "", **columns: Any) -> Imported:
        file = tmp_path / "cũ.csv"
        lines = ["Nội dung,Lĩnh vực", *(f'"{text}",{label}' for text, label in rows)]
        file.write_text("\n".join(lines), encoding="utf-8")
        labels = tmp_path / "labels.toml"
        labels.write_text(toml, encoding="utf-8")
        mapping = Mapping.parse(["text=Nội dung", "category=Lĩnh vực"], FILL, labels, taxonomy)
        return read_table(open_table(file), mapping)

    return read


def test_labels_by_id_by_vietnamese_name_and_by_table(imported: Callable[..., Imported]) -> None:
    rows = [
        (MATTERS[0], "electricity_telecom_lighting"),
        (MATTERS[1], "NÔNG NGHIỆP, nông thôn"),
        (MATTERS[2], "Loa đài"),
    ]
    rows[1] = (MATTERS[1], '"giáo dục và  ĐÀO TẠO"')
    found = imported(rows, '[category]\n"loa đài" = "culture_ethnic_religion"')
    assert found.problems == []
    assert [example.petition.category for example in found.examples] == [
        "electricity_telecom_lighting",
        "education_training",
        "culture_ethnic_religion",
    ]
    assert {example.petition.urgency for example in found.examples} == {"normal"}


def test_problems_name_column_rows_and_count_but_never_a_text(imported: Callable[..., Imported]) -> None:
    secret = "ông Tư ở xóm trên lấn đất " * 5
    found = imported(
        [(MATTERS[0], "Điện"), ("  ", "other"), (MATTERS[1], "other"), (MATTERS[2], "Điện"), (MATTERS[3], secret)]
    )
    assert found.problems == [
        "column 'Lĩnh vực': 'Điện' is no category (2 rows: 1, 4)",
        "column 'Nội dung': empty text (1 row: 2)",
        "column 'Lĩnh vực': a long text is no category (1 row: 5)",
    ]
    assert [example.origin["row"] for example in found.examples] == [3]
    assert found.left_out == {"not readable": 4}


def test_repeats_are_kept_once_and_two_opinions_are_a_conflict(imported: Callable[..., Imported]) -> None:
    found = imported(
        [
            (MATTERS[0], "other"),
            (MATTERS[0].upper(), "other"),
            (MATTERS[1], "other"),
            (MATTERS[1], "agriculture_rural"),
        ]
    )
    assert found.left_out == {"repeated": 1}
    assert [bool(example.origin.get("conflict")) for example in found.examples] == [False, True, True]
    assert found.examples[1].origin["rows"] == [3, 4]
    assert len({example.petition.id for example in found.examples}) == 3


def test_texts_are_masked(imported: Callable[..., Imported]) -> None:
    [example] = imported([("Tôi là Nguyễn Thị Hường, gọi 0987 654 321, mất điện.", "other")]).examples
    assert "Hường" not in example.petition.text and "654" not in example.petition.text


@pytest.mark.parametrize(
    ("columns", "fill", "named"),
    [
        (["text=Nội dung"], ["urgency=low", "petition_type=other"], "nothing says the category"),
        (["text=Nội dung", "kind=x"], [], "--map kind=x"),
        (["text=Nội dung", "category=a"], ["urgency=gấp lắm"], "'gấp lắm' is no urgency"),
        (["text=Nội dung", "text=Khác"], [], "each field once"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused(
    columns: list[str], fill: list[str], named: str, taxonomy: Taxonomy
) -> None:
    with pytest.raises(PetitionError, match=named) as failure:
        Mapping.parse(columns, fill, None, taxonomy)
    assert failure.value.kind is ErrorKind.INVALID_REQUEST


def test_the_command_refuses_or_leaves_out_and_writes_a_release(
    tmp_path: Path,
    train: Callable[..., Result],  # noqa: F811
) -> None:
    file = tmp_path / "old.csv"
    rows = [f'"{matter}",other,{day + 10}/11/2026' for day, matter in enumerate(MATTERS)]
    file.write_text("\n".join(["t,c,d", *rows, "x,nonsense,1/1/2026", "y,other,hôm qua"]), encoding="utf-8")
    arguments = ["import", file, "--output", tmp_path / "out", "--map", "text=t", "--map", "category=c"]
    arguments += [
        "--map",
        "received_at=d",
        "--fill",
        "urgency=low",
        "--fill",
        "petition_type=other",
        "--test-least",
        "0",
    ]
    refused = train(*arguments)
    assert refused.code == 1 and not (tmp_path / "out").exists()
    assert "column 'c': 'nonsense' is no category (1 row: 9)" in refused.err
    assert "column 'd': no date" in refused.err and "1 row: 10" in refused.err
    taken = train(*arguments, "--skip")
    assert taken.code == 0, taken.err
    [release] = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    tested = [json.loads(line) for line in (release / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["origin"]["received_at"] for row in tested} == {"2026-11-16", "2026-11-17"}
