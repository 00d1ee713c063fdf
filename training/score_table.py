"""The table of all scores: a row a score, a column a set of petitions, in English or Vietnamese. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from nlp_service.console.figures import SETS

WORST_OF = 20
"""Petitions that a category must have in a set before it is worth calling the worst."""

HINDSIGHT = (0.95, 0.97, 0.98, 0.99)

Report = Mapping[str, Any]

_DECIMAL = re.compile(r"(?<=\d)\.(?=\d)")


def percent(rate: Report) -> str:
    """`0.71 (53/75, 0.60 to 0.80)`, or a dash without cases."""
    if rate.get("value") is None:
        return "–"
    low, high = rate["interval"]
    count = f"{rate['hits']}/{rate['count']}" if "hits" in rate else f"n={rate['count']}"
    return f"{rate['value']:.3f} ({count}; {low:.2f} to {high:.2f})"


def share_at(report: Report, precision: float) -> str:
    """The largest share on the curve that would have been routed with `precision`, or a dash."""
    points = report["curve"]["points"] if "curve" in report else ()
    shares = [point["share"] for point in points if point["precision"] >= precision]
    return f"{max(shares):.3f}" if shares else "–"


def worst_coverage(sets: Report) -> str:
    """The category whose petitions the sets cover least, among those with WORST_OF petitions."""
    rates = {label: rate for label, rate in sets["classes"].items() if rate["count"] >= WORST_OF}
    if not rates:
        return "–"
    worst = min(rates, key=lambda label: rates[label]["value"])
    return f"{percent(rates[worst])} {worst}"


def summary_table(reports: Mapping[str, Report]) -> str:
    """Markdown, in English; TF-IDF's figure below the model's."""
    return _markdown(reports, [(english, get) for english, _, get in _ROWS], list(reports))


def summary_table_vi(reports: Mapping[str, Report], names: Mapping[str, str]) -> str:
    """The same in Vietnamese: decimal commas, categories by the `names` of their ids."""

    def told(get: Callable[[Report], str], report: Report) -> str:
        cell, _, label = _DECIMAL.sub(",", get(report)).replace(" to ", " đến ").partition(") ")
        return f"{cell}) {names.get(label, label)}" if label else cell

    rows = [(vietnamese, partial(told, get)) for _, vietnamese, get in _ROWS]
    return _markdown(reports, rows, [SETS.get(name, name) for name in reports])


def _markdown(
    reports: Mapping[str, Report], rows: Sequence[tuple[str, Callable[[Report], str]]], heads: Sequence[str]
) -> str:
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(reports)]
    lines += [f"| {name} | " + " | ".join(get(r) for r in reports.values()) + " |" for name, get in rows]
    return "\n".join(lines)


def _rate(*path: str) -> Callable[[Report], str]:
    """The rate at a path of keys; a dash in a model scored before there was such a rate."""

    def get(report: Report) -> str:
        value: Any = report
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return percent(value) if isinstance(value, Mapping) else "–"

    return get


def _in(part: str, show: Callable[[Report], str]) -> Callable[[Report], str]:
    return lambda report: show(report[part]) if part in report else "–"


_sets = partial(_in, "prediction_sets")


_SIMPLE = "· TF-IDF + linear SVM"
_SIMPLE_VI = "· TF-IDF + SVM tuyến tính"
_STATED, _STATED_VI = "· stated", "· mức công bố"

_ROWS: tuple[tuple[str, str, Callable[[Report], str]], ...] = (
    ("Category top-1", "Lĩnh vực đúng ngay ở gợi ý đầu", _rate("category", "top1")),
    (_SIMPLE, _SIMPLE_VI, _rate("baseline", "category", "top1")),
    ("Category top-3", "Lĩnh vực đúng có trong ba gợi ý đầu", _rate("category", "top3")),
    (_SIMPLE, _SIMPLE_VI, _rate("baseline", "category", "top3")),
    ("Category macro-F1", "Lĩnh vực: F1 trung bình các lớp", _rate("category", "macro_f1")),
    (_SIMPLE, _SIMPLE_VI, _rate("baseline", "category", "macro_f1")),
    ("Category ECE", "Lĩnh vực: sai số hiệu chỉnh (ECE)", _in("category", lambda c: f"{c['ece']:.3f}")),
    ("Emergency recall", "Đơn khẩn cấp được báo động", _rate("emergency", "recall")),
    ("· model alone", "· riêng mô hình", _rate("emergency", "recall_model")),
    ("· lexicon alone", "· riêng từ vựng khẩn cấp", _rate("emergency", "recall_lexicon")),
    ("Emergency precision", "Báo động đúng là khẩn cấp", _rate("emergency", "precision")),
    ("· model alone", "· riêng mô hình", _rate("emergency", "precision_model")),
    ("· lexicon alone", "· riêng từ vựng khẩn cấp", _rate("emergency", "precision_lexicon")),
    ("Urgency macro-F1", "Mức khẩn: F1 trung bình các lớp", _rate("urgency", "macro_f1")),
    ("Type macro-F1", "Loại đơn: F1 trung bình các lớp", _rate("petition_type", "macro_f1")),
    (
        "Type macro-F1, phản ánh = kiến nghị",
        "Loại đơn: F1, gộp phản ánh và kiến nghị",
        _rate("petition_type", "macro_f1_legal_types"),
    ),
    ("Routed automatically", "Máy chuyển thẳng", _rate("zones", "auto", "share")),
    ("· right among them", "· đúng trong số đó", _rate("zones", "auto", "top1")),
    (_STATED, _STATED_VI, _in("curve", lambda c: "–" if c["stated"] is None else f"{c['stated']:g}")),
    *(
        (
            f"· could be routed with {precision} right (curve, afterwards)",
            f"· có thể chuyển thẳng nếu cần đúng {_DECIMAL.sub(',', str(precision))} (theo đường cong, tính sau)",
            partial(share_at, precision=precision),
        )
        for precision in HINDSIGHT
    ),
    (
        "Prediction sets: right category in them",
        "Tập lĩnh vực còn có thể: có lĩnh vực đúng",
        _rate("prediction_sets", "coverage"),
    ),
    (_STATED, _STATED_VI, _sets(lambda s: f"{s['stated']:g}")),
    ("· mean number of categories", "· số lĩnh vực trung bình", _sets(lambda s: f"{s['mean_size']:.2f}")),
    ("· one category alone", "· chỉ còn một lĩnh vực", _rate("prediction_sets", "singletons")),
    (
        f"· worst category of {WORST_OF} petitions or more",
        f"· lĩnh vực kém nhất trong số có từ {WORST_OF} đơn",
        _sets(worst_coverage),
    ),
    ("To a person first", "Cần người đọc trước", _rate("zones", "human", "share")),
    ("Top-1 without diacritics", "Gợi ý đầu đúng khi gõ không dấu", _rate("variants", "without_diacritics")),
    ("Top-1 with typing slips", "Gợi ý đầu đúng khi gõ sai", _rate("variants", "typing_slips")),
    ("Top-1 in capitals", "Gợi ý đầu đúng khi viết hoa hết", _rate("variants", "capitals")),
    ("Top-1 decomposed Unicode", "Gợi ý đầu đúng với Unicode tổ hợp", _rate("variants", "decomposed_unicode")),
)
