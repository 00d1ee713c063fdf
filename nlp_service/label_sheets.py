"""The sheets that a labelled workbook has after its data, for people: counts, what to look at, what failed."""

from collections.abc import Sequence

from nlp_service.label_summary import UNKNOWN, Figures, Summary
from nlp_service.label_words import NO_PLACE, REASONS, Names, error
from nlp_service.tables import Block, Highlights, Sheet, Tone
from nlp_service.taxonomy import EMERGENCY

HIGHLIGHTS: Highlights = {
    "urgency": {EMERGENCY: Tone.ALARM, "urgent": Tone.CAUTION},
    "decision": {"human": Tone.CAUTION, "auto": Tone.CALM},
    "needs_review": {True: Tone.CAUTION},
}
NOTE = "Số đơn theo kết quả máy gán, chưa có người kiểm tra."


def sheets(summary: Summary, names: Names) -> list[Sheet]:
    """“Tổng hợp”, “Cần xem lại” and “Lỗi”, always all three."""
    figures = summary.figures()
    return [_counts(figures, names), _reviews(summary, figures, names), _failures(summary, figures)]


def _counts(figures: Figures, names: Names) -> Sheet:
    zones = figures.counts["decision"]
    reasons = figures.review_reasons
    totals: list[Sequence[object]] = [
        ("Dòng dữ liệu", figures.rows),
        ("Đã gán nhãn", figures.labelled),
        ("Lỗi, chưa gán nhãn", figures.failed),
        ("Khẩn cấp", figures.emergencies),
        ("Cần người xem", figures.needs_review),
        *((f"   trong đó: {REASONS.get(reason, reason)}", count) for reason, count in reasons.items()),
        ("Dòng trùng với dòng trước", figures.repeats),
        ("   thuộc số nhóm", figures.repeat_groups),
        ("   nhóm lớn nhất (dòng)", figures.largest_repeat_group),
        *((names.zone(zone), zones[zone]) for zone in ("auto", "suggest", "human") if zone in zones),
    ]
    categories = names.in_order("category", figures.category_by_urgency)
    levels = names.in_order("urgency", figures.counts["urgency"])
    communes = [code for code in figures.commune_by_category if code != UNKNOWN]
    return Sheet(
        "Tổng hợp",
        (
            Block(("Nội dung", "Số dòng"), totals, "Chung"),
            Block(
                ("Lĩnh vực", "Tổng", *(names.label("urgency", level) for level in levels)),
                [
                    (
                        names.label("category", category),
                        figures.counts["category"][category],
                        *(figures.category_by_urgency[category].get(level) for level in levels),
                    )
                    for category in categories
                ],
                "Lĩnh vực và mức khẩn",
            ),
            Block(
                ("Xã, phường", "Tổng", *(names.label("category", category) for category in categories)),
                [
                    (
                        NO_PLACE if code == UNKNOWN else figures.commune_names.get(code, code),
                        figures.counts["commune_code"][code],
                        *(figures.commune_by_category[code].get(category) for category in categories),
                    )
                    for code in [*communes, *({UNKNOWN} & figures.commune_by_category.keys())]
                ],
                "Xã, phường và lĩnh vực",
            ),
        ),
        (NOTE,),
    )


def _reviews(summary: Summary, figures: Figures, names: Names) -> Sheet:
    reviews = summary.reviews()
    failed = f" {figures.failed} dòng lỗi ở trang “Lỗi”." if figures.failed else ""
    all_told = figures.needs_review - figures.failed
    listed = f"{len(reviews)} dòng cần người xem"
    if len(reviews) < all_told:
        listed = f"{len(reviews)} dòng cần xem nhất trong {all_told}; các dòng khác: lọc cột needs_review"
    rows = [
        (
            review.number,
            review.id,
            names.label("category", review.category),
            review.category_probability,
            names.label("urgency", review.urgency),
            REASONS[review.why],
        )
        for review in reviews
    ]
    columns = ("Dòng dữ liệu", "Mã", "Lĩnh vực máy gán", "Xác suất", "Mức khẩn", "Vì sao")
    order = "Khẩn cấp trước, rồi đến lĩnh vực ít chắc nhất; bấm số dòng để mở dòng đó."
    return Sheet("Cần xem lại", (Block(columns, rows, shares=(3,), links=0),), (f"{listed}. {order}{failed}",))


def _failures(summary: Summary, figures: Figures) -> Sheet:
    failures = summary.failures()
    listed = f"{figures.failed} dòng lỗi" if failures else "Không có dòng lỗi"
    if len(failures) < figures.failed:
        listed = f"{len(failures)} dòng lỗi đầu tiên trong {figures.failed}; các dòng khác: lọc cột error"
    rows = [(failure.number, failure.id, *error(failure.kind), failure.message) for failure in failures]
    columns = ("Dòng dữ liệu", "Mã", "Lỗi", "Việc cần làm", "Thông báo của máy")
    return Sheet("Lỗi", (Block(columns, rows, links=0),), (f"{listed}.",))
