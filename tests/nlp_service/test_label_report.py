"""The report of a labelling run: counts that add up, a page that anybody can open, and nothing of a petition in either."""

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from nlp_service import label_summary
from nlp_service.label_page import CONTENT_SECURITY_POLICY, page
from nlp_service.label_report import Precision, RunReport, Source, Timing, Versions, auto_precision
from nlp_service.label_sheets import sheets
from nlp_service.label_summary import Summary
from nlp_service.label_words import Names
from nlp_service.tables import Sheet
from nlp_service.taxonomy import Taxonomy

STARTED = datetime(2026, 11, 28, 5, tzinfo=UTC)
PERSON = "Lê Thị Hoài Thu 0912345678"
FAILED = {"error": "empty_text: the text is empty; give one", "needs_review": True, "repeat_of": None}


@pytest.fixture
def names(taxonomy: Taxonomy) -> Names:
    return Names.of(taxonomy, taxonomy.bodies)


def row(**values: Any) -> dict[str, Any]:
    plain = {
        "category": "land_administration",
        "category_probability": 0.95,
        "urgency": "normal",
        "urgency_probability": 0.9,
        "petition_type": "feedback",
        "decision": "auto",
        "error": None,
        "commune_code": "14797",
        "commune": "Phường Hạc Thành",
        "lead_body": "so_xay_dung",
        "needs_review": False,
        "repeat_of": None,
    }
    return plain | values


def summary_of(*rows: dict[str, Any]) -> Summary:
    summary = Summary()
    for number, values in enumerate(rows, 1):
        summary.add(number, f"{PERSON} {number}", values)
    return summary


def report_of(summary: Summary, **changes: Any) -> RunReport:
    report = RunReport(
        source=Source("đơn 2019.xlsx", 1234, "ab" * 32, "Nội dung"),
        output="kết quả.xlsx",
        options={"workers": 2},
        versions=Versions("0.1.0", "petition-1", "0.1", "r1"),
        auto_precision=Precision(0.95),
        figures=summary.figures(),
        timing=Timing(STARTED, STARTED + timedelta(seconds=20), 20.0, resumed_rows=1),
    )
    return replace(report, **changes)


class Elements(HTMLParser):
    """Every element's name and attributes, the text that people see, and what stands in <style>."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.style = ""
        self.feed(document)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "style" and not self.style:
            self.style = data
        else:
            self.texts.append(data)


def test_every_row_is_counted_once() -> None:
    rows = [
        row(),
        row(category="education_training", urgency="emergency", needs_review=True, commune_code=None, commune=None),
        row(decision="suggest", needs_review=True, lead_body=None),
        FAILED,
    ]
    figures = summary_of(*rows).figures()
    assert (figures.rows, figures.labelled, figures.failed) == (4, 3, 1)
    assert (figures.emergencies, figures.needs_review) == (1, 3)
    assert figures.review_reasons == {"emergency": 1, "error": 1, "suggest": 1}
    assert figures.counts["category"] == {"land_administration": 2, "education_training": 1}
    assert figures.counts["commune_code"] == {"14797": 2, "unknown": 1}
    assert figures.counts["lead_body"] == {"so_xay_dung": 2, "unknown": 1}
    assert figures.category_by_urgency["education_training"] == {"emergency": 1}
    assert figures.commune_by_category["14797"] == {"land_administration": 2}
    assert figures.commune_names == {"14797": "Phường Hạc Thành"}
    assert (figures.errors, figures.error_rows) == ({"empty_text": 1}, {"empty_text": (4,)})


def test_probabilities_fall_into_ten_bins() -> None:
    probabilities = (0.0, 0.0999, 0.1, 0.55, 1.0)
    histogram = summary_of(*(row(category_probability=p) for p in probabilities)).figures().probabilities["category"]
    assert histogram.bins == (2, 1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert histogram.mean == pytest.approx(0.35, abs=1e-4)


def test_repeats_are_told_by_group() -> None:
    leaders = (None, 1, 1, None, 4, None)
    figures = summary_of(*(row(repeat_of=leader) for leader in leaders)).figures()
    assert (figures.repeats, figures.repeat_groups, figures.largest_repeat_group) == (3, 2, 3)


def test_emergencies_come_first_then_the_least_sure() -> None:
    rows = [
        row(category_probability=0.4, decision="human", needs_review=True),
        row(category_probability=0.9, urgency="emergency", urgency_probability=0.3, needs_review=True),
        row(category_probability=0.2, decision="human", needs_review=True),
        row(),
        row(category_probability=0.9, urgency="emergency", urgency_probability=0.8, needs_review=True),
        row(category_probability=0.99, needs_review=True),
    ]
    reviews = summary_of(*rows).reviews()
    assert [(review.number, review.why) for review in reviews] == [
        (5, "emergency"),
        (2, "emergency"),
        (3, "human"),
        (1, "human"),
        (6, "outside"),
    ]


def test_the_lists_keep_what_needs_a_person_most_however_many_rows_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_summary, "REVIEWS_KEPT", 2)
    monkeypatch.setattr(label_summary, "ERRORS_KEPT", 2)
    unsure = [row(category_probability=p, decision="human", needs_review=True) for p in (0.3, 0.1, 0.2, 0.4)]
    alarm = row(urgency="emergency", needs_review=True)
    summary = summary_of(*unsure, alarm, FAILED, FAILED, FAILED)
    assert [review.number for review in summary.reviews()] == [5, 2]
    assert [failure.number for failure in summary.failures()] == [6, 7]
    assert (summary.figures().needs_review, summary.figures().failed) == (8, 3)


def test_sheets_say_what_is_left_out_of_them(monkeypatch: pytest.MonkeyPatch, names: Names) -> None:
    monkeypatch.setattr(label_summary, "REVIEWS_KEPT", 1)
    monkeypatch.setattr(label_summary, "ERRORS_KEPT", 1)
    doubtful = row(decision="suggest", needs_review=True)
    _, review, failed = sheets(summary_of(doubtful, doubtful, FAILED, FAILED), names)
    assert "1 dòng cần xem nhất trong 2" in review.notes[0] and "2 dòng lỗi ở trang “Lỗi”" in review.notes[0]
    assert "1 dòng lỗi đầu tiên trong 2" in failed.notes[0]


def test_sheets_speak_vietnamese_and_lead_to_the_rows(names: Names, taxonomy: Taxonomy) -> None:
    summary = summary_of(row(), row(urgency="emergency", needs_review=True, commune_code=None), FAILED)
    counts, review, failed = sheets(summary, names)
    assert [sheet.name for sheet in (counts, review, failed)] == ["Tổng hợp", "Cần xem lại", "Lỗi"]
    land = next(category.name for category in taxonomy.categories if category.id == "land_administration")
    assert block(counts, "Lĩnh vực và mức khẩn") == [(land, 2, 1, 1)]
    assert block(counts, "Xã, phường và lĩnh vực") == [("Phường Hạc Thành", 1, 1), ("Chưa rõ xã, phường", 1, 1)]
    [[number, id, category, *_]] = review.blocks[0].rows
    assert (number, id, category) == (2, f"{PERSON} 2", land)
    assert [cells[0] for cells in failed.blocks[0].rows] == [3]
    assert failed.blocks[0].rows[0][2] == "Ô nội dung trống"


def block(sheet: Sheet, title: str) -> list[tuple[Any, ...]]:
    [found] = [block for block in sheet.blocks if block.title == title]
    return [tuple(cells) for cells in found.rows]


def test_json_is_the_same_but_for_its_timing() -> None:
    summary = summary_of(row(), FAILED)
    first, later = report_of(summary), report_of(summary, timing=Timing(STARTED, STARTED + timedelta(1), 1.0))
    documents = [json.loads(report.as_json()) for report in (first, later)]
    assert documents[0].pop("timing") == {
        "started_at": "2026-11-28T05:00:00+00:00",
        "finished_at": "2026-11-28T05:00:20+00:00",
        "seconds": 20.0,
        "resumed_rows": 1,
        "rows_per_second": 0.1,  # one of the two rows in these 20 seconds
    }
    documents[1].pop("timing")
    assert documents[0] == documents[1]
    assert documents[0]["format"] == 1 and "not of what is true" in documents[0]["note"]


def test_ties_are_in_one_order_whatever_the_rows_order() -> None:
    rows = [row(category=category) for category in ("education_training", "land_administration")]
    texts = [json.dumps(summary_of(*order).figures().counts["category"]) for order in (rows, rows[::-1])]
    assert texts[0] == texts[1]


def test_neither_report_names_a_row_s_person(names: Names) -> None:
    summary = summary_of(row(urgency="emergency", needs_review=True), FAILED)
    report = report_of(summary)
    assert PERSON in str(summary.reviews()) and PERSON in str(summary.failures())
    assert PERSON not in report.as_json() and PERSON not in page(report, names)


def test_the_precision_of_routing_comes_with_what_was_measured() -> None:
    right = {"zones": {"auto": {"top1": {"hits": 49, "count": 53, "value": 0.9245}}}}
    precision = auto_precision(0.95, {"real, ordinary": right, "real, all": right, "old": {"count": 3}, "note": "x"})
    assert set(precision.measured) == {"real, ordinary"}
    rate = precision.measured["real, ordinary"]
    assert (rate.hits, rate.count) == (49, 53)
    assert rate.interval == pytest.approx((0.8214, 0.9703), abs=1e-4)


def test_page_says_how_far_to_trust_it(names: Names) -> None:
    right = {"real, ordinary": {"zones": {"auto": {"top1": {"hits": 49, "count": 53}}}}}
    text = Elements(page(report_of(summary_of(row()), auto_precision=auto_precision(0.95, right)), names)).text
    assert "kết quả máy gán" in text and "chưa có người kiểm tra" in text
    assert "khoảng 5 đơn có thể sai" in text
    assert "Đơn thật: thường ngày: 92,5 % (49/53; 82,1 đến 97 %)" in text
    unstated = Elements(page(report_of(summary_of(row()), auto_precision=Precision()), names)).text
    assert "không nêu độ đúng" in unstated and "có thể sai" not in unstated


def test_page_loads_and_runs_nothing(names: Names) -> None:
    document = page(report_of(summary_of(row(), FAILED)), names)
    elements = Elements(document)
    assert not {tag for tag, _ in elements.found} & {"script", "link", "img", "iframe", "object", "form", "a"}
    attributes = {name for _, attrs in elements.found for name in attrs}
    assert not attributes & {"style", "src", "href"} and not {name for name in attributes if name.startswith("on")}
    assert "url(" not in elements.style and "@import" not in elements.style


def test_page_s_policy_allows_its_own_style_only(names: Names) -> None:
    elements = Elements(page(report_of(summary_of(row())), names))
    digest = base64.b64encode(hashlib.sha256(elements.style.encode()).digest()).decode()
    [policy] = [attrs["content"] for _, attrs in elements.found if "http-equiv" in attrs]
    assert policy == CONTENT_SECURITY_POLICY
    assert f"style-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY and "default-src 'none'" in CONTENT_SECURITY_POLICY


def test_whatever_comes_from_the_input_is_escaped(names: Names) -> None:
    evil = "<script>alert(1)</script>\"'&"
    source = Source(evil, 1, "ab", evil, {evil: evil}, (evil,))
    report = report_of(summary_of(row(commune=evil)), source=source, output=evil, options={evil: evil})
    document = page(report, names)
    assert "<script" not in document
    assert Elements(document).text.count("<script>alert(1)</script>\"'&") >= 8


def test_page_names_places_bodies_and_what_to_do(names: Names, taxonomy: Taxonomy) -> None:
    text = Elements(page(report_of(summary_of(row(), row(commune_code=None), FAILED)), names)).text
    for shown in ("Phường Hạc Thành", "Chưa rõ xã, phường", taxonomy.bodies["so_xay_dung"], "Ô nội dung trống"):
        assert shown in text
    assert "land_administration" not in text and "14797" not in text


def test_the_most_frequent_communes_are_named_and_the_others_summed(names: Names) -> None:
    rows = [row(commune_code=f"{code:05}", commune=f"Xã {code}") for code in range(23) for _ in range(30 - code)]
    text = Elements(page(report_of(summary_of(*rows)), names)).text
    assert "Xã 19 11" in text and "Xã 20 " not in text
    assert "3 xã, phường khác 27" in text  # 10 + 9 + 8


@pytest.mark.parametrize(
    ("kind", "step"), [("text_too_long", "Chia đơn thành nhiều dòng"), ("a_kind_of_tomorrow", "báo người quản trị")]
)
def test_every_kind_of_error_has_a_next_step_and_its_first_rows(names: Names, kind: str, step: str) -> None:
    failed = FAILED | {"error": f"{kind}: why"}
    text = Elements(page(report_of(summary_of(*[failed] * 25)), names)).text
    assert f"25 {'' if step[0].isupper() else 'Xem'}" in text and step in text
    assert "18, 19, 20…" in text and "20, 21" not in text


def test_guarded_cells_are_told(names: Names) -> None:
    assert "1.200 ô trong tệp CSV" in Elements(page(report_of(summary_of(row()), guarded_cells=1200), names)).text
    assert "tệp CSV" not in Elements(page(report_of(summary_of(row())), names)).text


@pytest.mark.parametrize("rows", [(), (FAILED,)])
def test_a_run_without_any_label_has_a_report_too(names: Names, rows: tuple[dict[str, Any], ...]) -> None:
    summary = summary_of(*rows)
    report = report_of(summary, source=Source("rỗng.csv", 0, "ab", ""))
    assert json.loads(report.as_json())["figures"]["probabilities"]["category"]["mean"] is None
    assert "Kết quả phân loại đơn thư" in page(report, names)
    assert [len(sheet.blocks) for sheet in sheets(summary, names)] == [3, 1, 1]
