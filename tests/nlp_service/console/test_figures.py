from typing import Any

from nlp_service.console.figures import (
    BOTTOM,
    LEFT,
    NONE,
    RIGHT,
    TOP,
    classes,
    confusion,
    curve_chart,
    reachable,
    reliability_chart,
    score_sets,
    share,
    summary,
    told,
)
from nlp_service.live import Rate

NAMES = {"land": "Đất đai", "road": "Đường sá"}
CURVE = [
    {"threshold": 0.99, "share": 0.2, "precision": 1.0, "count": 20},
    {"threshold": 0.9, "share": 0.6, "precision": 0.97, "count": 60},
    {"threshold": 0.4, "share": 0.9, "precision": 0.83, "count": 90},
]


def rate(hits: int, count: int, low: float, high: float) -> dict[str, Any]:
    return {"value": hits / count if count else None, "hits": hits, "count": count, "interval": [low, high]}


def spaced(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_a_rate_is_told_with_its_count_and_interval() -> None:
    assert spaced(told(rate(925, 1052, 0.8582, 0.8976))) == "87,9 % (925/1.052; 85,8 đến 89,8 %)"
    assert spaced(told(Rate(1, 2, (0.0945, 0.9055)))) == "50 % (1/2; 9,4 đến 90,5 %)"
    assert spaced(told({"value": 0.8753, "count": 1052, "interval": [0.85, 0.9]})) == "87,5 % (1.052 đơn; 85 đến 90 %)"
    assert told(rate(0, 0, 0, 1)) == told(None) == NONE


def test_a_share_is_never_told_as_all_or_nothing_when_it_is_not() -> None:
    assert [spaced(share(value)) for value in (0, 0.0001, 0.9999, 1)] == ["0 %", "dưới 0,1 %", "trên 99,9 %", "100 %"]


def test_own_and_real_petitions_stand_apart_and_a_row_that_nobody_scored_is_left_out() -> None:
    scores = {
        "real, all": {"count": 2, "category": {"top1": rate(1, 2, 0.1, 0.9)}},
        "own test": {"count": 4, "category": {"top1": rate(3, 4, 0.3, 0.95)}},
    }
    sets = score_sets(scores)
    assert [(found.name, found.real) for found in sets] == [
        ("Đơn tự viết, để riêng", False),
        ("Đơn thật: tất cả", True),
    ]
    [(name, cells)] = summary(sets)
    assert "gợi ý đầu" in name and spaced(cells[0]).startswith("75 % (3/4") and spaced(cells[1]).startswith("50 % (1/2")


def test_the_matrix_shades_a_row_by_its_shares_and_names_the_worst_mistake() -> None:
    found = confusion({"labels": ["land", "road"], "confusion": [[8, 2], [0, 10]]}, NAMES)
    assert found is not None and found.names == ["Đất đai", "Đường sá"]
    assert [[cell.shade for cell in row] for row in found.rows] == [["hit3", "miss4"], ["", "hit4"]]
    assert found.worst == [("Đất đai", "Đường sá", 2, 10)]


def test_a_category_without_petitions_breaks_nothing() -> None:
    found = confusion({"labels": ["land", "road"], "confusion": [[0, 0], [0, 10]]}, NAMES)
    assert found is not None and [cell.count for cell in found.rows[0]] == [0, 0]


def test_a_model_scored_without_details_has_none() -> None:
    for scores in ({}, {"category": {"top1": rate(1, 2, 0, 1)}, "curve": {"points": []}}):
        assert confusion(scores.get("category"), NAMES) is None
        assert curve_chart(scores) is None
        assert classes(scores, NAMES) == []
    assert reliability_chart(None) is None


def test_the_working_point_lies_on_the_curve_it_was_measured_on() -> None:
    zones = {"auto": {"share": rate(60, 100, 0.5, 0.7), "top1": rate(58, 60, 0.89, 0.99)}}
    chart = curve_chart({"curve": {"stated": 0.95, "points": CURVE}, "zones": zones})
    assert chart is not None and chart.mark is not None and chart.level is not None
    assert chart.mark.x == LEFT + 0.6 * (RIGHT - LEFT)
    assert chart.mark.high < chart.mark.y < chart.mark.low
    assert TOP < chart.level < chart.mark.low
    assert all(LEFT <= dot.x <= RIGHT and TOP <= dot.y <= BOTTOM for dot in chart.dots)
    assert "60 % số đơn" in spaced(chart.desc) and "Muốn 97 % đúng thì chuyển thẳng được 60 %" in spaced(chart.desc)
    assert [spaced(tick.label) for tick in chart.y_ticks] == ["80 %", "85 %", "90 %", "95 %", "100 %"]


def test_a_model_that_routes_nothing_has_a_curve_without_a_working_point() -> None:
    zones = {"auto": {"share": rate(0, 100, 0, 0.04), "top1": rate(0, 0, 0, 1)}}
    chart = curve_chart({"curve": {"stated": None, "points": CURVE}, "zones": zones})
    assert chart is not None and chart.mark is None and chart.level is None


def test_what_could_be_routed_at_a_precision_is_read_off_the_curve() -> None:
    assert reachable(CURVE, 0.95) == 0.6
    assert reachable(CURVE[2:], 0.95) is None


def test_reliability_says_where_the_probabilities_are_furthest_off_with_enough_petitions() -> None:
    points = [
        {"confidence": 0.3, "accuracy": 0.9, "count": 2},
        {"confidence": 0.7, "accuracy": 0.6, "count": 40},
        {"confidence": 0.95, "accuracy": 0.95, "count": 400},
    ]
    chart = reliability_chart(points)
    assert chart is not None and "máy nói 70 %, thực tế đúng 60 % (40 đơn)" in spaced(chart.desc)
    assert chart.dots[0].r < chart.dots[1].r < chart.dots[2].r
