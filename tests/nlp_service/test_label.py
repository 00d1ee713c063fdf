"""Batch labelling: every row answered beside its own text, whatever happens on the way. The model is faked."""

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from nlp_service import label_answers
from nlp_service.cli import app
from nlp_service.decision import Decision, Scored
from nlp_service.encoder import Runtime
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.label import LabelReport, label_file
from nlp_service.label_answers import CHUNK, COLUMNS, Classify, Item, Labeller, answered
from nlp_service.label_columns import REPEAT_OF, Columns
from nlp_service.label_progress import TerminalProgress
from nlp_service.legacy import Encoding, from_unicode
from nlp_service.pipeline import Classification
from nlp_service.tables import Row, Table, open_table, write_table
from nlp_service.text import check

ADDED = (*COLUMNS, REPEAT_OF)
ENDINGS = (".csv", ".xlsx", ".jsonl", ".parquet")
CATEGORIES = ("roads", "water", "land", "waste")
SECRET = "ông Nguyễn Văn Kín"


def fake(texts: Sequence[object], max_chars: int = 1_000) -> list[Classification | PetitionError]:
    """Answers that depend on the text alone."""
    answers: list[Classification | PetitionError] = []
    for text in texts:
        try:
            digest = hashlib.sha256(check(text, max_chars).encode()).digest()
        except PetitionError as error:
            answers.append(error)
            continue
        ranked = [Scored(name, name, round(digest[i] / 256, 4)) for i, name in enumerate(CATEGORIES)]
        shift = digest[9] % len(ranked)
        ranked = ranked[shift:] + ranked[:shift]
        low, kind = Scored("low", "Thấp", 0.75), Scored("feedback", "Phản ánh", 0.5)
        decision = Decision(ranked[0], tuple(ranked[1:]), low, kind, "suggest", ())
        answers.append(Classification(decision, 1, "fake-1", "1", np.zeros(2, np.float32), wording=""))
    return answers


def slow(texts: Sequence[object]) -> list[Classification | PetitionError]:
    time.sleep(60 if any("đợi" in str(text) for text in texts) else 0.4)
    return fake(texts)


def deadly(texts: Sequence[object]) -> list[Classification | PetitionError]:
    if any("chết" in str(text) for text in texts):
        os.kill(os.getpid(), signal.SIGKILL)
    return fake(texts)


def choking(texts: Sequence[object]) -> list[Classification | PetitionError]:
    if any("nghẹn" in str(text) for text in texts):
        raise RuntimeError(f"cannot read {texts!r}")
    return fake(texts)


def unloadable() -> Labeller:
    raise PetitionError(ErrorKind.MISSING_EXTRA, "not installed", runtime="x")


class Interrupted:
    """Ctrl-C in the chunk numbered `after` (from 0)."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, texts: Sequence[object]) -> list[Classification | PetitionError]:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return fake(texts)


class Counting:
    """Counts the texts it is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, texts: Sequence[object]) -> list[Classification | PetitionError]:
        self.asked += len(texts)
        return fake(texts)


class Heard:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[tuple[int, int]] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def advance(self, done: int, total: int) -> None:
        self.steps.append((done, total))


def run(
    input: Path,
    output: Path,
    classify: Classify = fake,
    workers: int = 1,
    text_column: str | None = None,
    id_column: str | None = None,
    encoding: Encoding | None = None,
    **options: Any,
) -> LabelReport:
    columns = Columns(text_column, id_column, encoding=encoding)
    return label_file(input, output, model=Path("none"), columns=columns, classify=classify, workers=workers, **options)


def petitions(count: int) -> list[dict[str, Any]]:
    return [{"stt": n, "text": f"Đường thôn {n} hỏng, đi lại khó khăn", "ghi chú": "=1+1"} for n in range(count)]


def source(tmp_path: Path, rows: Sequence[dict[str, Any]], ending: str = ".csv") -> Path:
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    path = tmp_path / f"in{ending}"
    write_table(path, Table(path, columns, len(rows), lambda only: map(Row, rows)), {}, [()] * len(rows), tmp_path)
    return path


def cells(path: Path) -> list[dict[str, Any]]:
    return [row.cells for row in open_table(path).rows()]


def partial(output: Path) -> Path:
    return output.with_name(output.name + ".partial")


def refused(input: Path, output: Path, **options: Any) -> str:
    before = output.read_bytes() if output.is_file() else None
    with pytest.raises(PetitionError) as caught:
        run(input, output, **options)
    assert caught.value.kind is ErrorKind.INVALID_FILE
    assert "\n" not in caught.value.message
    assert (output.read_bytes() if output.is_file() else None) == before
    assert not partial(output).exists()
    return caught.value.message


# What comes out


@pytest.mark.parametrize("before", ENDINGS)
@pytest.mark.parametrize("after", ENDINGS)
def test_every_format_to_every_format(tmp_path: Path, before: str, after: str) -> None:
    rows = petitions(3)
    report = run(source(tmp_path, rows, before), output := tmp_path / f"out{after}")
    table = open_table(output)
    assert table.columns == ("stt", "text", "ghi chú", *ADDED)
    assert (report.rows, report.labelled, report.errors, report.resumed_rows) == (3, 3, 0, 0)
    for row, original, expected in zip(cells(output), rows, fake([row["text"] for row in rows]), strict=True):
        assert isinstance(expected, Classification)
        assert str(row["stt"]) == str(original["stt"])
        # In CSV nothing but a mark keeps a spreadsheet from calculating.
        assert (row["text"], row["ghi chú"]) == (original["text"], "'=1+1" if ".csv" in (before, after) else "=1+1")
        decision = expected.decision
        assert row["category"] == decision.category.id
        assert float(row["category_probability"]) == decision.category.probability
        assert [row["category_2"], row["category_3"]] == [scored.id for scored in decision.alternatives[:2]]
        assert (row["urgency"], float(row["urgency_probability"])) == ("low", 0.75)
        assert (row["petition_type"], row["decision"], row["model_version"]) == ("feedback", "suggest", "fake-1")
        assert not row["error"]
    assert not partial(output).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        {f"in{before}", f"out{after}", f"out{after}.report.html", f"out{after}.report.json"}
    )


def test_the_report_of_a_run_tells_numbers_and_no_petition(tmp_path: Path) -> None:
    matters = [
        "đường liên thôn bị xe tải cày nát từ hồi đầu năm",
        "nước máy đục ngầu và có mùi tanh suốt một tuần",
        "đèn cao áp trước cổng trường tắt cả tháng nay rồi",
        "bãi rác cạnh chợ bốc mùi hôi không ai thu gom",
        "cán bộ hẹn trả sổ đỏ nhiều lần mà chưa thấy",
    ]
    rows = [{"mã": f"Đ-{n}", "text": f"{SECRET} phản ánh {matter}"} for n, matter in enumerate(matters)]
    rows += [{"mã": "Đ-5", "text": ""}, {"mã": "=1+1", "text": rows[0]["text"].upper()}]
    run(source(tmp_path, rows), output := tmp_path / "out.xlsx", id_column="mã")
    report = json.loads((tmp_path / "out.xlsx.report.json").read_text("utf-8"))
    page = (tmp_path / "out.xlsx.report.html").read_text("utf-8")
    figures = report["figures"]
    assert (figures["rows"], figures["labelled"], figures["failed"], figures["repeats"]) == (7, 6, 1, 1)
    assert report["source"]["name"] == "in.csv" and report["source"]["text_column"] == "text"
    assert sum(figures["counts"]["category"].values()) == 6
    for told in (json.dumps(report, ensure_ascii=False), page):
        assert "Kín" not in told and "KÍN" not in told and "Đ-3" not in told and str(tmp_path) not in told
    assert page.startswith("<!doctype html>") and "in.csv" in page
    assert cells(output)[6]["repeat_of"] == 1 and cells(output)[5]["repeat_of"] is None


def test_a_folder_of_letters_is_labelled_and_resumed_by_content(tmp_path: Path) -> None:
    (folder := tmp_path / "thư").mkdir()
    for n in range(3):
        (folder / f"{n}.txt").write_text(f"Đường thôn {n} hỏng, đi lại khó khăn", "utf-8")
    (folder / "3.pdf").write_bytes(b"%PDF-1.7")
    report = run(folder, output := tmp_path / "out.csv")
    assert (report.rows, report.errors) == (4, 1)
    found = {row["file"]: (row["text"], row["error"]) for row in cells(output)}
    assert found["1.txt"] == ("Đường thôn 1 hỏng, đi lại khó khăn", "")
    assert found["3.pdf"][1].startswith("invalid_request: 3.pdf is no letter")


def test_a_bad_row_gets_its_error_and_the_others_their_answers(tmp_path: Path) -> None:
    texts = ["Đường hỏng", "", "a" * 1_001, 5, None, ["x"], " \u200b ", "Mất nước"]
    lines = [json.dumps({"id": n, "text": text}) for n, text in enumerate(texts)]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join([*lines, '{"id": 8, "te', '{"id": 9}']), "utf-8")
    report = run(path, output := tmp_path / "out.jsonl")
    rows = cells(output)
    kinds = [row["error"] and row["error"].partition(": ")[0] for row in rows]
    assert kinds == [
        *(None, "empty_text", "text_too_long", "invalid_request", "empty_text", "invalid_request", "empty_text"),
        *(None, "invalid_request", "empty_text"),
    ]
    assert "limit 1,000" in rows[2]["error"] and "line 9" in rows[8]["error"]
    assert rows[8]["_raw"] == '{"id": 8, "te'
    assert all(
        row[name] is None for row in rows if row["error"] for name in COLUMNS if name not in ("error", "needs_review")
    )
    assert all(row["category"] in CATEGORIES for row in rows if not row["error"])
    assert (report.rows, report.labelled, report.errors) == (10, 2, 8)
    assert report.counts["error"] == {"empty_text": 4, "invalid_request": 3, "text_too_long": 1}
    assert sum(report.counts["category"].values()) == 2
    assert report.counts["decision"] == {"suggest": 2}


def test_a_text_that_breaks_the_model_takes_no_other_row_along(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = petitions(5)
    rows[3]["text"] = f"{SECRET} nghẹn"
    progress = Heard()
    run(source(tmp_path, rows), output := tmp_path / "out.csv", choking, progress=progress)
    errors = [row["error"] for row in cells(output)]
    assert errors[3].startswith("classification_failed: ") and "RuntimeError" in errors[3]
    assert errors[:3] + errors[4:] == [""] * 4
    told = " ".join([errors[3], *progress.said, *capfd.readouterr()])
    assert SECRET not in told


def test_columns_of_ours_are_replaced_in_place_and_it_is_said(tmp_path: Path) -> None:
    rows = [{"urgency": "emergency", "text": "Mất điện", "error": "old", "id": "1"}]
    progress = Heard()
    run(source(tmp_path, rows), first := tmp_path / "first.csv", progress=progress)
    assert open_table(first).columns[:4] == ("urgency", "text", "error", "id")
    assert cells(first)[0]["urgency"] == "low" and cells(first)[0]["error"] == ""
    assert any("urgency, error" in message for message in progress.said)
    run(first, second := tmp_path / "second.csv")
    assert second.read_bytes() == first.read_bytes()


def test_a_labelled_file_is_read_by_its_petitions_not_by_our_errors(tmp_path: Path) -> None:
    rows = [{"lời dân": "Ngập cả tuần nay rồi", "error": "x" * 500}]
    progress = Heard()
    run(source(tmp_path, rows), tmp_path / "out.csv", progress=progress)
    assert any("“lời dân”" in message for message in progress.said)


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_an_empty_file_gives_our_header(tmp_path: Path, ending: str) -> None:
    (path := tmp_path / f"in{ending}").write_text("")
    report = run(path, output := tmp_path / "out.csv")
    assert report.rows == 0 and open_table(output).columns == ADDED


@pytest.mark.parametrize("ending", [".csv", ".xlsx", ".parquet"])
def test_a_header_alone_gives_a_header(tmp_path: Path, ending: str) -> None:
    (path := tmp_path / "in.csv").write_text("id,something\n")
    report = run(path, output := tmp_path / f"out{ending}")
    assert report.rows == report.labelled == 0
    assert open_table(output).columns == ("id", "something", *ADDED)
    assert not partial(output).exists()


# Columns


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        ({"text": "ngắn", "chú thích": "dài " * 50}, "text"),
        ({"chú thích": "dài " * 50, "Nội dung": "ngắn"}, "Nội dung"),
        ({"Họ tên": "A", "NOI DUNG ĐƠN": "ngắn"}, "NOI DUNG ĐƠN"),
        (
            {"Họ tên": "A", "No\u0323\u0302i dung pha\u0309n a\u0301nh": "b"},
            "No\u0323\u0302i dung pha\u0309n a\u0301nh",
        ),
        ({"Họ tên": "Nguyễn Văn A", "lời dân": "Đường trước nhà ngập cả tuần"}, "lời dân"),
        ({"đơn": "ngắn"}, "đơn"),
    ],
)
def test_the_text_column_is_found_and_told(tmp_path: Path, columns: dict[str, str], chosen: str) -> None:
    progress = Heard()
    run(source(tmp_path, [columns] * 3), output := tmp_path / "out.csv", progress=progress)
    assert sum(f"“{chosen}”" in message for message in progress.said) == 1
    [expected] = fake([columns[chosen]])
    assert isinstance(expected, Classification)
    row = cells(output)[0]
    assert row["category_probability"] == repr(expected.decision.category.probability)


def test_without_a_likely_column_the_columns_are_listed(tmp_path: Path) -> None:
    path = source(tmp_path, [{"Họ tên": "Nguyễn Văn A", "Ngày": "24/11/2026"}])
    message = refused(path, tmp_path / "out.csv")
    assert "Họ tên, Ngày" in message and "--text-column" in message


def test_columns_are_named_by_the_user(tmp_path: Path) -> None:
    rows = [{"Mã đơn": "Đ-17", "text": "Đường hỏng", "Lời dân": ""}]
    progress = Heard()
    path = source(tmp_path, rows)
    run(path, output := tmp_path / "out.csv", text_column="loi dan", id_column="Mã đơn", progress=progress)
    assert cells(output)[0]["error"].startswith("empty_text")
    assert any("(mã Đ-17)" in message for message in progress.said)
    for option in ("text_column", "id_column"):
        message = refused(path, tmp_path / "other.csv", **{option: "nope"})
        assert "'nope'" in message and "Mã đơn, text, Lời dân" in message


# Old encodings

OLD = "stt;Nội dung;ghi chú\n" + "".join(
    f"{n};{text};ghi\n"
    for n, text in enumerate(
        [
            "Đường vào thôn bị ngập, hỏng nặng, đi lại khó khăn",
            "Đèn chiếu sáng ở ngõ tắt cả tuần nay",
            "Nước sinh hoạt có mùi lạ, đề nghị kiểm tra",
            "Bãi rác cạnh trường học bốc mùi hôi thối",
        ]
    )
)


def old_bytes(encoding: Encoding) -> bytes:
    return from_unicode(OLD, encoding).encode("cp1252")


def labels(path: Path) -> list[list[Any]]:
    return [[row[name] for name in COLUMNS] for row in cells(path)]


def labelled_utf8(tmp_path: Path) -> Path:
    (path := tmp_path / "utf8.csv").write_text(OLD, "utf-8")
    run(path, output := tmp_path / "utf8_out.csv")
    assert open_table(output).columns == ("stt", "Nội dung", "ghi chú", *ADDED)
    return output


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("tcvn3", old_bytes(Encoding.TCVN3)),
        ("tcvn3", from_unicode(OLD, Encoding.TCVN3).encode()),
        ("vni", old_bytes(Encoding.VNI)),
        ("vni", from_unicode(OLD, Encoding.VNI).encode("utf-8-sig")),
        ("viqr", from_unicode(OLD, Encoding.VIQR).encode()),
        ("utf8_as_cp1252", from_unicode(OLD, Encoding.UTF8_AS_CP1252).encode()),
    ],
)
def test_an_old_encoding_gets_the_labels_of_the_unicode_file(tmp_path: Path, encoding: str, data: bytes) -> None:
    expected = labelled_utf8(tmp_path)
    (path := tmp_path / "in.csv").write_bytes(data)
    progress = Heard()
    run(path, output := tmp_path / "out.csv", progress=progress)
    assert labels(output) == labels(expected)
    source = open_table(path)
    assert open_table(output).columns == (*source.columns, *ADDED, "text_unicode")
    text = source.columns[1]
    assert [row[text] for row in cells(output)] == [row.cells[text] for row in source.rows()]
    assert [row["text_unicode"] for row in cells(output)] == [row["Nội dung"] for row in cells(expected)]
    assert sum(f": {encoding} (100% số ô" in message for message in progress.said) == 1


@pytest.mark.parametrize("data", [OLD.encode("utf-16"), old_bytes(Encoding.CP1258_AS_CP1252)])
def test_a_charset_that_says_all_gives_the_very_same_file(tmp_path: Path, data: bytes) -> None:
    (path := tmp_path / "in.csv").write_bytes(data)
    run(path, output := tmp_path / "out.csv")
    assert output.read_bytes() == labelled_utf8(tmp_path).read_bytes()


@pytest.mark.parametrize("ending", [".xlsx", ".jsonl", ".parquet"])
def test_old_fonts_are_read_in_every_format(tmp_path: Path, ending: str) -> None:
    rows = [{"text": from_unicode(row["Nội dung"], Encoding.TCVN3)} for row in cells(labelled_utf8(tmp_path))]
    run(source(tmp_path, rows, ending), output := tmp_path / f"out{ending}")
    assert cells(output)[1]["text_unicode"] == "Đèn chiếu sáng ở ngõ tắt cả tuần nay"
    assert cells(output)[1]["text"] == rows[1]["text"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_cells_that_are_no_text_stop_no_old_font(tmp_path: Path, ending: str) -> None:
    good = [from_unicode(row["Nội dung"], Encoding.VNI) for row in cells(labelled_utf8(tmp_path))]
    lines = [json.dumps({"text": text}) for text in (*good, 5, None, ["x"], f"{good[0]} \ud83d")]
    (path := tmp_path / "in.jsonl").write_text("\n".join(lines))
    report = run(path, output := tmp_path / f"out{ending}")
    assert report.errors == 3
    texts = [row["text_unicode"] or None for row in cells(output)]
    assert texts[4:7] == [None] * 3 and str(texts[7]).startswith(str(texts[0]))


def test_marks_of_their_own_are_unicode_too(tmp_path: Path) -> None:
    rows = [{"text": unicodedata.normalize("NFD", f"Đường thôn {n} hỏng, đi lại khó khăn")} for n in range(5)]
    progress = Heard()
    run(source(tmp_path, rows), output := tmp_path / "out.csv", progress=progress)
    assert open_table(output).columns == ("text", *ADDED)
    assert len([message for message in progress.said if "Bảng mã" in message]) == 0


def test_a_person_knows_the_encoding_better(tmp_path: Path) -> None:
    (path := tmp_path / "in.csv").write_text(from_unicode(OLD, Encoding.VNI), "utf-8")
    run(path, untouched := tmp_path / "untouched.csv", encoding=Encoding.UNICODE)
    assert "text_unicode" not in open_table(untouched).columns
    short = source(tmp_path, [{"text": "c¸"}])
    run(short, auto := tmp_path / "auto.csv")
    assert "text_unicode" not in open_table(auto).columns
    progress = Heard()
    run(short, told := tmp_path / "told.csv", encoding=Encoding.TCVN3, progress=progress)
    assert cells(told)[0]["text_unicode"] == "cá"
    assert any("“c¸” → “cá”" in message for message in progress.said)


def test_an_unknown_encoding_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    arguments = ["label", "--encoding", "tcvn", str(source(tmp_path, petitions(1))), str(tmp_path / "out.csv")]
    refused = CliRunner().invoke(app, arguments, env={"COLUMNS": "400"})
    assert refused.exit_code == 2 and "auto, unicode" in refused.output and "tcvn3" in refused.output


def test_the_sample_shown_names_nobody_and_moves_no_cursor(tmp_path: Path) -> None:
    text = f"Ngõ\x1b[2J tối. Tôi là {SECRET[4:]}, số điện thoại 0912345678, đề nghị sửa đường thôn đang hỏng nặng quá lâu rồi"
    progress = Heard()
    run(source(tmp_path, [{"text": from_unicode(text, Encoding.TCVN3)}]), tmp_path / "out.csv", progress=progress)
    [told] = [message for message in progress.said if "Bảng mã" in message]
    assert "[HỌ TÊN]" in told and "0912345678" not in told and "Kín" not in told and "KÝn" not in told
    assert told.isprintable()
    before, after = told.partition("“")[2].split("” → “")
    assert len(before) <= 60 and len(after.partition("”")[0]) <= 60


def test_an_interrupted_run_keeps_its_guess_and_another_starts_over(tmp_path: Path) -> None:
    rows = [{"text": from_unicode(f"Đường thôn {n} hỏng, đi lại khó khăn", Encoding.VNI)} for n in range(2 * CHUNK)]
    path, output, progress = source(tmp_path, rows), tmp_path / "out.csv", Heard()
    run(path, whole := tmp_path / "whole.csv")
    with pytest.raises(KeyboardInterrupt):
        run(path, output, Interrupted(1))
    assert json.loads((partial(output) / "run.json").read_bytes())["encodings"] == {"text": [["vni"], 1.0, False]}
    assert run(path, output).resumed_rows == CHUNK
    assert output.read_bytes() == whole.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run(path, output, Interrupted(1))
    assert run(path, output, encoding=Encoding.UNICODE, progress=progress).resumed_rows == 0
    assert any("làm lại từ đầu" in message for message in progress.said)


# Files that cannot be


def test_input_as_output_is_refused(tmp_path: Path) -> None:
    path = source(tmp_path, petitions(2))
    (tmp_path / "link.csv").symlink_to(path)
    assert "is the input itself" in refused(path, path)
    assert "is the input itself" in refused(path, tmp_path / "link.csv")


def test_hopeless_paths_are_refused_before_any_work(tmp_path: Path) -> None:
    path = source(tmp_path, petitions(2))
    counting = Counting()
    assert "directory does not exist" in refused(path, tmp_path / "none" / "out.csv", classify=counting)
    assert "is a directory" in refused(path, tmp_path, classify=counting)
    assert ".parquet" in refused(path, tmp_path / "out.xls", classify=counting)
    assert "does not exist" in refused(tmp_path / "none.csv", tmp_path / "out.csv", classify=counting)
    (tmp_path / "broken.xlsx").write_bytes(b"PK\3\4 but no more")
    (tmp_path / "out.csv").write_text("old result")
    assert "not what its ending" in refused(tmp_path / "broken.xlsx", tmp_path / "out.csv", classify=counting)
    long = source(tmp_path, [{"text": "a" * 40_000}], ".jsonl")
    assert "row 1, column 'text'" in refused(long, tmp_path / "out.xlsx", classify=counting)
    assert counting.asked == 0


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = source(tmp_path, petitions(2))
    mine = tmp_path / "out.csv.partial" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    with pytest.raises(PetitionError, match="is in the way"):
        run(path, tmp_path / "out.csv")
    assert mine.read_text() == "years of work"


def test_two_runs_do_not_write_one_output(tmp_path: Path) -> None:
    path, output = source(tmp_path, petitions(2)), tmp_path / "out.csv"

    def second_run(texts: Sequence[object]) -> list[Classification | PetitionError]:
        with pytest.raises(PetitionError, match="another run"):
            run(path, output)
        return fake(texts)

    assert run(path, output, second_run).errors == 0


def test_an_input_that_changes_under_way_is_noticed(tmp_path: Path) -> None:
    path, output = source(tmp_path, petitions(2)), tmp_path / "out.csv"

    def changing(texts: Sequence[object]) -> list[Classification | PetitionError]:
        path.write_text("text\nkhác\n", "utf-8")
        return fake(texts)

    with pytest.raises(PetitionError, match="was changed"):
        run(path, output, changing)
    assert not output.exists()
    assert run(path, output).rows == 1


# Going on after an interruption


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path, ending: str) -> None:
    path = source(tmp_path, petitions(3 * CHUNK + 10), ending)
    run(path, whole := tmp_path / f"whole{ending}")
    output, progress, counting = tmp_path / f"out{ending}", Heard(), Counting()
    with pytest.raises(KeyboardInterrupt):
        run(path, output, Interrupted(2), progress=progress)
    assert not output.exists()
    assert "512/778" in progress.said[-1] and "chạy lại" in progress.said[-1]
    again = Heard()
    report = run(path, output, counting, progress=again)
    assert output.read_bytes() == whole.read_bytes()
    assert (report.rows, report.resumed_rows, counting.asked) == (778, 512, 266)
    assert sum(report.counts["category"].values()) == 778
    assert again.steps[0] == (512, 778) and again.steps[-1] == (778, 778)
    assert not partial(output).exists()


@pytest.mark.parametrize("damage", [b'["roads", 0.', b"[null]\n", b"\0" * 4096, b'{"a": 1}\n', b"7\n"])
def test_a_torn_end_of_the_state_is_answered_again(tmp_path: Path, damage: bytes) -> None:
    path = source(tmp_path, petitions(2 * CHUNK + 10))
    run(path, whole := tmp_path / "whole.csv")
    with pytest.raises(KeyboardInterrupt):
        run(path, output := tmp_path / "out.csv", Interrupted(1))
    state = partial(output) / "answers.jsonl"
    lines = state.read_bytes().splitlines(keepends=True)
    state.write_bytes(b"".join(lines) + lines[0] * (CHUNK - 1) + damage)
    assert run(path, output, counting := Counting()).resumed_rows == CHUNK
    assert counting.asked == CHUNK + 10
    assert output.read_bytes() == whole.read_bytes()


def test_all_rows_answered_but_not_written_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, output = source(tmp_path, petitions(5)), tmp_path / "out.csv"

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(PetitionError, match=r"No space left.*5 of 5 rows are kept"):
        patch.setattr("nlp_service.label.write_table", full)
        run(path, output)
    assert run(path, output, counting := Counting()).resumed_rows == 5
    assert counting.asked == 0 and len(cells(output)) == 5


@pytest.mark.parametrize("change", ["input", "option", "state"])
def test_something_else_starts_over_and_says_so(tmp_path: Path, change: str) -> None:
    rows = petitions(2 * CHUNK)
    path, output, progress = source(tmp_path, rows), tmp_path / "out.csv", Heard()
    with pytest.raises(KeyboardInterrupt):
        run(path, output, Interrupted(1))
    options: dict[str, Any] = {}
    if change == "input":
        rows[0]["text"] = "Chợ cháy"
        source(tmp_path, rows)
    elif change == "option":
        options = {"text_column": "ghi chú"}
    else:
        (partial(output) / "run.json").write_text("{")
    report = run(path, output, progress=progress, **options)
    assert report.resumed_rows == 0
    assert any("làm lại từ đầu" in message for message in progress.said)
    run(path, fresh := tmp_path / "fresh.csv", **options)
    assert output.read_bytes() == fresh.read_bytes()


def test_no_petition_is_in_the_state(tmp_path: Path) -> None:
    rows = petitions(2 * CHUNK)
    for row in rows:
        row["text"] = f"{SECRET}: {row['text']}"
    rows[7]["text"] += "dài" * 1_000
    output = tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        run(source(tmp_path, rows), output, Interrupted(1))
    files = list(partial(output).iterdir())
    assert sorted(file.name for file in files) == ["answers.jsonl", "run.json"]
    assert all("Kín" not in file.read_text("utf-8") and "K\\u00edn" not in file.read_text() for file in files)


def test_a_run_without_one_answer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(source(tmp_path, petitions(3)), tmp_path / "out.csv", Interrupted(0))
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


# Processes


def test_many_workers_give_the_same_bytes_in_the_same_order(tmp_path: Path) -> None:
    rows = petitions(4 * CHUNK + 1)
    rows[300]["text"] = "nghẹn"
    path = source(tmp_path, rows)
    run(path, one := tmp_path / "one.csv", choking, workers=1)
    report = run(path, two := tmp_path / "two.csv", choking, workers=2)
    assert report.errors == 1
    assert one.read_bytes() == two.read_bytes()


def test_a_dead_worker_is_one_error_and_the_rows_before_it_are_kept(tmp_path: Path) -> None:
    rows = petitions(12 * CHUNK)
    rows[-1]["text"] = "chết"
    path, output = source(tmp_path, rows), tmp_path / "out.csv"
    with pytest.raises(PetitionError, match="a worker process died") as caught:
        run(path, output, deadly, workers=2)
    assert caught.value.kind is ErrorKind.CLASSIFICATION_FAILED
    assert not output.exists()
    report = run(path, output, workers=2)
    assert 0 < report.resumed_rows < report.rows
    assert report.resumed_rows % CHUNK == 0


def test_an_error_while_loading_in_a_worker_reaches_the_caller() -> None:
    chunks = [[Item("a")], [Item("b")]]
    with pytest.raises(PetitionError, match="not installed") as caught:
        list(answered(unloadable, chunks, 2, 2 * CHUNK))
    assert caught.value.kind is ErrorKind.MISSING_EXTRA
    assert caught.value.detail == {"runtime": "x"}


def test_a_small_file_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_answers, "ProcessPoolExecutor", None)
    assert run(source(tmp_path, petitions(CHUNK)), tmp_path / "out.csv", workers=0).rows == CHUNK


SCRIPT = """
import signal, sys
from pathlib import Path
from tests.nlp_service.test_label import fake, slow
from nlp_service.errors import PetitionError
from nlp_service.label import label_file
from nlp_service.label_progress import TerminalProgress
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs deaf to Ctrl-C
limit = int(sys.argv[4])
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with TerminalProgress() as progress:
        label_file(Path(sys.argv[1]), Path(sys.argv[2]), model=Path("none"), workers=int(sys.argv[3]),
                   progress=progress, classify=fake if limit else slow)
except PetitionError as error:
    sys.exit(error.message)
except KeyboardInterrupt:
    sys.exit(130)
"""


def start(input: Path, output: Path, workers: int, limit: int = 0) -> "subprocess.Popen[str]":
    arguments = [str(input), str(output), str(workers), str(limit)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_rows(output: Path, process: "subprocess.Popen[str]", rows: int) -> None:
    answers = partial(output) / "answers.jsonl"
    until = time.monotonic() + 60
    while not answers.exists() or answers.read_bytes().count(b"\n") < rows:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] + [grand for child in children for grand in descendants(int(child))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_leaves_no_process_and_goes_on(tmp_path: Path, workers: int, sent: signal.Signals) -> None:
    rows = petitions(6 * CHUNK)
    rows[3 * CHUNK]["text"] += " đợi"
    path = source(tmp_path, rows, ".xlsx")
    run(path, whole := tmp_path / "whole.xlsx")
    output = tmp_path / "out.xlsx"
    with start(path, output, workers) as process:
        wait_for_rows(output, process, CHUNK)
        family = descendants(process.pid)
        assert len(family) >= (workers if workers > 1 else 0)
        # A terminal sends Ctrl-C to all of them, a service manager SIGTERM; the killer of memory hogs picks one.
        os.kill(process.pid, sent) if sent is signal.SIGKILL else os.killpg(process.pid, sent)
        _, told = process.communicate(timeout=30)
    assert process.returncode == (-sent if sent is signal.SIGKILL else 130)
    if sent is not signal.SIGKILL:
        assert "Đã dừng" in told and "Traceback" not in told
    until = time.monotonic() + 10
    while any(map(alive, family)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, family))
    assert not output.exists()
    report = run(path, output)
    assert 0 < report.resumed_rows < report.rows
    assert output.read_bytes() == whole.read_bytes()
    assert not partial(output).exists()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_is_one_line_and_nothing_is_half_written(tmp_path: Path, ending: str) -> None:
    # A limit on file size that the answers pass and the output does not: the text makes the output bigger.
    rows = [{"text": hashlib.shake_256(str(n).encode()).hexdigest(400)} for n in range(CHUNK)]
    path, output = source(tmp_path, rows), tmp_path / f"out{ending}"
    output.write_text("old")
    with start(path, output, 1, limit=60_000) as process:
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "cannot be written: " in told and "File too large; 256 of 256 rows are kept" in told
    assert "Traceback" not in told
    assert output.read_text() == "old"
    assert run(path, output, counting := Counting()).resumed_rows == CHUNK
    assert counting.asked == 0 and len(cells(output)) == CHUNK
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        ["in.csv", output.name, f"{output.name}.report.html", f"{output.name}.report.json"]
    )


# Progress


def test_errors_are_told_by_row_and_not_all_of_them(tmp_path: Path) -> None:
    rows = [{"stt": n, "text": "" if n % 2 else "Đường hỏng"} for n in range(40)]
    progress = Heard()
    run(source(tmp_path, rows), tmp_path / "out.csv", progress=progress, id_column="stt")
    told = [message for message in progress.said if message.startswith("Dòng dữ liệu")]
    assert told[0].startswith("Dòng dữ liệu 2 (mã 1): empty_text") and len(told) == 10
    assert sum("xem cột error" in message for message in progress.said) == 1


def test_the_bar_is_quiet_where_stderr_is_no_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with TerminalProgress() as progress:
        progress.say("Cột nội dung: “[bold]text[/bold]” " + "dài " * 60)
        progress.advance(5, 10)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and "[bold]text[/bold]" in captured.err and "5/10" not in captured.err


def test_csv_output_is_for_excel(tmp_path: Path) -> None:
    (path := tmp_path / "in.csv").write_text("mã;nội dung\n001;Đường hỏng, ngập\n", "utf-8")
    run(path, output := tmp_path / "out.csv")
    content = output.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    header, row = csv.reader(io.StringIO(content.decode("utf-8-sig")), delimiter=";")
    assert header == ["mã", "nội dung", *ADDED] and row[:2] == ["001", "Đường hỏng, ngập"]


def test_a_model_that_is_no_model_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path, output = source(tmp_path, petitions(1)), tmp_path / "out.csv"
    with pytest.raises(PetitionError) as caught:
        label_file(path, output, model=tmp_path / "none", runtime=Runtime.AUTO)
    assert caught.value.kind is ErrorKind.INVALID_MODEL
    assert not partial(output).exists() and not output.exists()
