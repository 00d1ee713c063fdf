"""A model's figures as its page draws them: rates in words, tables, and where the lines of a chart run. Pure.

The figures are those that `petitions-train evaluate --card` writes into the manifest (`scores`, by set of petitions). A model
that was scored before some of them existed lacks them: what needs them is None here, and the page leaves it out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nlp_service.console.words import number
from nlp_service.live import Rate

SETS = {
    "own test": "Đơn tự viết, để riêng",
    "real, ordinary": "Đơn thật: thường ngày",
    "real, rescue appeals": "Đơn thật: kêu cứu",
    "real, all": "Đơn thật: tất cả",
}
"""Sets of petitions as evaluation names them, and as people do."""

REAL = "real"
"""How the names of sets of real petitions begin."""

FEW = 30
"""Cases below which a rate says little: its 95 % interval is then some 30 points wide."""

NONE = "–"
PERCENT = "\N{NO-BREAK SPACE}%"

ROWS = (
    ("Lĩnh vực đúng ngay ở gợi ý đầu", ("category", "top1")),
    ("Lĩnh vực đúng có trong ba gợi ý đầu", ("category", "top3")),
    ("Lĩnh vực: F1 trung bình các lớp", ("category", "macro_f1")),
    ("Mức khẩn đúng", ("urgency", "accuracy")),
    ("Đơn khẩn cấp được báo động", ("emergency", "recall")),
    ("Báo động đúng là khẩn cấp", ("emergency", "precision")),
    ("Loại đơn đúng", ("petition_type", "accuracy")),
    ("Lĩnh vực đúng khi gõ không dấu", ("variants", "without_diacritics")),
    ("Lĩnh vực đúng khi gõ sai chính tả", ("variants", "typing_slips")),
    ("Để so sánh: TF-IDF và SVM, lĩnh vực đúng", ("baseline", "category", "top1")),
)
"""What the first table shows: a name, and where the rate stands in a set's scores."""


def share(value: float | None) -> str:
    """ "87,9 %" with a space at which no line breaks; never 0 nor 100 % for what is not quite."""
    if value is None:
        return NONE
    if 0 < value < 0.0005:
        return f"dưới 0,1{PERCENT}"
    if 0.9995 <= value < 1:
        return f"trên 99,9{PERCENT}"
    return number(value * 100, 1).removesuffix(",0") + PERCENT


def told(rate: Mapping[str, Any] | Rate | None) -> str:
    """A rate with what it rests on: "87,9 % (925/1.052; 85,8 đến 89,8 %)"; a dash without cases."""
    if isinstance(rate, Rate):
        rate = {"value": rate.value, "hits": rate.hits, "count": rate.count, "interval": rate.interval}
    if not rate or rate.get("value") is None:
        return NONE
    low, high = rate["interval"]
    cases = f"{number(rate['hits'])}/{number(rate['count'])}" if "hits" in rate else f"{number(rate['count'])} đơn"
    return f"{share(rate['value'])} ({cases}; {share(low).removesuffix(PERCENT)} đến {share(high)})"


def found(scores: Mapping[str, Any], path: Sequence[str]) -> Any:
    """What stands at a path of keys; None where one is missing."""
    value: Any = scores
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


@dataclass(frozen=True)
class ScoreSet:
    """The scores of one set of petitions.

    Attributes:
        id: as evaluation names it.
        real: petitions of citizens, not of our own writing.
    """

    id: str
    name: str
    real: bool
    count: int
    scores: Mapping[str, Any]

    def told(self, *path: str) -> str:
        """The rate at a path of keys, in words."""
        return told(found(self.scores, path))


def score_sets(scores: Mapping[str, Any]) -> list[ScoreSet]:
    """Own petitions first, then real ones, as the manifest has them."""
    sets = [
        ScoreSet(name, SETS.get(name, name), name.startswith(REAL), int(of["count"]), of)
        for name, of in scores.items()
        if isinstance(of, Mapping) and "count" in of
    ]
    return sorted(sets, key=lambda found: found.real)


def summary(sets: Sequence[ScoreSet]) -> list[tuple[str, list[str]]]:
    """Rows of the first table, a cell a set; rows that no set has are left out."""
    rows = [(name, [of.told(*path) for of in sets]) for name, path in ROWS]
    return [(name, cells) for name, cells in rows if any(cell != NONE for cell in cells)]


@dataclass(frozen=True)
class Cell:
    """Petitions of one category that were read as another, or as their own.

    Attributes:
        shade: a class of the style sheet: `hit` or `miss` and how large a share of the row it is, 1 to 4; empty for none.
    """

    count: int
    shade: str


@dataclass(frozen=True)
class Confusion:
    """What petitions were read as.

    Attributes:
        names: of rows and columns; a row is what petitions are, a column what they were read as.
        worst: the most frequent mistakes: right name, name given, how many, of how many.
    """

    names: list[str]
    rows: list[list[Cell]]
    worst: list[tuple[str, str, int, int]]


def confusion(category: Mapping[str, Any] | None, names: Mapping[str, str], worst: int = 6) -> Confusion | None:
    """The matrix of categories.

    Args:
        names: of labels, by id.
    """
    if not category or not category.get("confusion") or not category.get("labels"):
        return None
    shown = [names.get(label, label) for label in category["labels"]]
    matrix: list[list[int]] = category["confusion"]
    rows = [
        [Cell(count, _shade(count, sum(row), i == j)) for j, count in enumerate(row)] for i, row in enumerate(matrix)
    ]
    mistakes = [
        (shown[i], shown[j], count, sum(row))
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return Confusion(shown, rows, sorted(mistakes, key=lambda mistake: -mistake[2])[:worst])


def _shade(count: int, total: int, right: bool) -> str:
    if not count:
        return ""
    level = 1 + sum(count / total > limit for limit in ((0.5, 0.7, 0.85) if right else (0.03, 0.08, 0.15)))
    return f"{'hit' if right else 'miss'}{level}"


@dataclass(frozen=True)
class Class:
    """Scores of one category.

    Attributes:
        count: petitions of this category; the other figures of a category without any say nothing.
        covered: how often its petitions' prediction set has it, in words.
    """

    name: str
    count: int
    precision: float
    recall: float
    f1: float
    covered: str


def classes(scores: Mapping[str, Any], names: Mapping[str, str]) -> list[Class]:
    """Per category, in the taxonomy's order; empty for a model scored without."""
    return [
        Class(
            names.get(label, label),
            int(of["count"]),
            of["precision"],
            of["recall"],
            of["f1"],
            told(found(scores, ("prediction_sets", "classes", label))),
        )
        for label, of in (found(scores, ("category", "classes")) or {}).items()
    ]


# --- charts ---------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 50, 396, 12, 252
"""A chart's own units; the style sheet makes it as wide as there is room."""


@dataclass(frozen=True)
class Tick:
    """Where a number stands at an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Dot:
    """A point of a chart, with its size."""

    x: float
    y: float
    r: float = 2.5


@dataclass(frozen=True)
class Mark:
    """The working point.

    Attributes:
        low, high: the ends of its interval.
    """

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Chart:
    """Everything to draw, in the chart's units.

    Attributes:
        line: `points` of a polyline.
        level: y of the stated precision; None if none is stated.
        ideal: `points` of the line on which probabilities would be true; empty where there is no such line.
        desc: what it shows, in words.
    """

    x_ticks: list[Tick]
    y_ticks: list[Tick]
    line: str
    dots: list[Dot]
    desc: str
    level: float | None = None
    mark: Mark | None = None
    ideal: str = ""


@dataclass(frozen=True)
class _Frame:
    """From shares to a chart's units: x from 0 to 1, y from `floor` to 1."""

    floor: float = 0.0

    def x(self, value: float) -> float:
        return round(LEFT + value * (RIGHT - LEFT), 1)

    def y(self, value: float) -> float:
        return round(BOTTOM - (max(value, self.floor) - self.floor) / (1 - self.floor) * (BOTTOM - TOP), 1)

    def x_ticks(self) -> list[Tick]:
        return [Tick(self.x(step / 5), f"{step * 20}{PERCENT}") for step in range(6)]

    def y_ticks(self) -> list[Tick]:
        step = next(step for step in (2, 5, 10, 20) if (1 - self.floor) * 100 / step <= 6)
        return [Tick(self.y(value / 100), f"{value}{PERCENT}") for value in range(round(self.floor * 100), 101, step)]

    def points(self, pairs: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in pairs)


def curve_chart(scores: Mapping[str, Any]) -> Chart | None:
    """How many petitions could be routed without a look, against how many of those rightly; where the model works now.

    Args:
        scores: of one set, with `curve` and `zones`.
    """
    curve = scores.get("curve")
    if not curve or not curve.get("points"):
        return None
    points = sorted((point["share"], point["precision"]) for point in curve["points"])
    auto = found(scores, ("zones", "auto"))
    works = bool(auto) and found(auto, ("top1", "value")) is not None
    low, high = auto["top1"]["interval"] if works else (1.0, 1.0)
    lowest = min([low, *(precision for _, precision in points), curve.get("stated") or 1.0])
    frame = _Frame(min(0.9, math.floor(lowest * 10) / 10))
    mark, sentences = None, []
    if works:
        at, right = auto["share"]["value"], auto["top1"]["value"]
        mark = Mark(frame.x(at), frame.y(right), frame.y(low), frame.y(high))
        sentences.append(f"Điểm đang dùng: {share(at)} số đơn được chuyển thẳng, {share(right)} trong số đó đúng.")
    for wanted in (0.95, 0.97, 0.99):
        reached = reachable(curve["points"], wanted)
        if reached is not None:
            sentences.append(f"Muốn {share(wanted)} đúng thì chuyển thẳng được {share(reached)}.")
    return Chart(
        x_ticks=frame.x_ticks(),
        y_ticks=frame.y_ticks(),
        line=frame.points(points),
        dots=[Dot(frame.x(x), frame.y(y)) for x, y in points],
        desc=" ".join(sentences),
        level=frame.y(curve["stated"]) if curve.get("stated") else None,
        mark=mark,
    )


def reachable(points: Sequence[Mapping[str, float]], precision: float) -> float | None:
    """The largest share on the curve with at least this precision, told afterwards; None if it is nowhere reached."""
    return max((point["share"] for point in points if point["precision"] >= precision), default=None)


def reliability_chart(points: Sequence[Mapping[str, float]] | None) -> Chart | None:
    """Said against seen: of the petitions with some probability, how many were right. A dot's area grows with its petitions."""
    if not points:
        return None
    frame = _Frame()
    most = max(point["count"] for point in points)
    widest = max(points, key=lambda point: abs(point["confidence"] - point["accuracy"]) * (point["count"] >= FEW))
    pairs = [(point["confidence"], point["accuracy"]) for point in points]
    return Chart(
        x_ticks=frame.x_ticks(),
        y_ticks=frame.y_ticks(),
        line=frame.points(pairs),
        dots=[
            Dot(
                frame.x(point["confidence"]),
                frame.y(point["accuracy"]),
                round(3 + 6 * math.sqrt(point["count"] / most), 1),
            )
            for point in points
        ],
        desc="Càng gần đường chéo, xác suất máy nói càng đúng với thực tế. "
        f"Lệch nhất: máy nói {share(widest['confidence'])}, thực tế đúng {share(widest['accuracy'])} "
        f"({number(widest['count'])} đơn).",
        ideal=frame.points([(0, 0), (1, 1)]),
    )
