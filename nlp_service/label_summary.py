"""What the rows of a labelling run are, counted in bounded memory: of what the model said, not of what is true."""

import heapq
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from nlp_service.taxonomy import EMERGENCY

REVIEWS_KEPT, ERRORS_KEPT = 5_000, 1_000
ROWS_NAMED = 20
"""Rows that the report names for each kind of error."""

ID_CHARS = 200
BINS = 10
UNKNOWN = "unknown"
"""Stands for a commune that nothing tells, and for a body without rules."""

COUNTED = ("category", "urgency", "petition_type", "decision", "commune_code", "lead_body")
SCORED = ("category", "urgency")

Counts = dict[str, int]


class Review(NamedTuple):
    """A row that a person must look at.

    Attributes:
        number: of the data row, from 1.
        why: emergency, human, suggest, or outside (the province is not the one to decide).
    """

    number: int
    id: object
    category: str
    category_probability: float
    urgency: str
    urgency_probability: float
    why: str


class Failure(NamedTuple):
    """A row that could not be read."""

    number: int
    id: object
    kind: str
    message: str


@dataclass(frozen=True)
class Histogram:
    """Probabilities of one head: rows in ten bins of equal width from 0 to 1, and their mean (None without rows)."""

    bins: tuple[int, ...]
    mean: float | None


@dataclass(frozen=True)
class Figures:
    """What was counted. Counts run from the most common down; rows with an error are in none of the labels' counts.

    Attributes:
        needs_review: rows that a person must look at, rows with an error among them.
        review_reasons: of those, by reason; `error` is one.
        repeats: rows that repeat an earlier one, in `repeat_groups` groups; the largest, first row included.
        counts: column -> value -> rows.
        category_by_urgency: category -> urgency -> rows.
        commune_by_category: commune -> category -> rows.
        commune_names: of today, by code.
        errors: kind -> rows; `error_rows`: the numbers of the first ones.
    """

    rows: int
    labelled: int
    failed: int
    emergencies: int
    needs_review: int
    review_reasons: Counts
    repeats: int
    repeat_groups: int
    largest_repeat_group: int
    counts: dict[str, Counts]
    category_by_urgency: dict[str, Counts]
    commune_by_category: dict[str, Counts]
    commune_names: dict[str, str]
    probabilities: dict[str, Histogram]
    errors: Counts
    error_rows: dict[str, tuple[int, ...]]


class Summary:
    """Counts rows as they are written. Memory is flat but for four bytes a row that tell repeats."""

    def __init__(self) -> None:
        self.rows = self.needs_review = 0
        self._counts = {name: Counter[str]() for name in COUNTED}
        self._urgencies, self._communes = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        self._names: dict[str, str] = {}
        self._reasons, self._errors = Counter[str](), Counter[str]()
        self._error_rows: dict[str, list[int]] = {}
        self._bins = {head: [0] * BINS for head in SCORED}
        self._sums = dict.fromkeys(SCORED, 0.0)
        self._repeats = self._groups = self._largest = 0
        self._copies = array("I")
        self._reviews: list[tuple[tuple[bool, float, int], Review]] = []
        self._failures: list[Failure] = []

    def add(self, number: int, id: object, values: Mapping[str, Any]) -> None:
        """Count one row.

        Args:
            number: of the data row, from 1.
            id: how the user calls it; it shows in the workbook only.
            values: ours, by column.
        """
        self.rows += 1
        self.needs_review += bool(values["needs_review"])
        if (leader := values.get("repeat_of")) is not None:
            self._add_repeat(leader)
        if values["error"] is not None:
            self._add_failure(number, id, values["error"])
            return
        for name, counter in self._counts.items():
            counter[values[name] or UNKNOWN] += 1
        category, urgency, commune = values["category"], values["urgency"], values["commune_code"]
        self._urgencies[category, urgency] += 1
        self._communes[commune or UNKNOWN, category] += 1
        if commune and commune not in self._names:
            self._names[commune] = values["commune"]
        for head in SCORED:
            probability = values[f"{head}_probability"]
            self._bins[head][min(int(probability * BINS), BINS - 1)] += 1
            self._sums[head] += probability
        if values["needs_review"]:
            self._add_review(number, id, values)

    def reviews(self) -> list[Review]:
        """The rows that need a person most: emergencies, the surest first; then the least sure categories."""
        return [review for _, review in sorted(self._reviews, reverse=True)]

    def failures(self) -> list[Failure]:
        """The first rows that could not be read."""
        return list(self._failures)

    def figures(self) -> Figures:
        """What was counted so far."""
        failed = self._errors.total()
        labelled = self.rows - failed
        return Figures(
            rows=self.rows,
            labelled=labelled,
            failed=failed,
            emergencies=self._counts["urgency"][EMERGENCY],
            needs_review=self.needs_review,
            review_reasons=_sorted(self._reasons),
            repeats=self._repeats,
            repeat_groups=self._groups,
            largest_repeat_group=self._largest,
            counts={name: _sorted(counter) for name, counter in self._counts.items()},
            category_by_urgency=_nested(self._counts["category"], self._urgencies),
            commune_by_category=_nested(self._counts["commune_code"], self._communes),
            commune_names=dict(sorted(self._names.items())),
            probabilities={
                head: Histogram(tuple(bins), round(self._sums[head] / labelled, 4) if labelled else None)
                for head, bins in self._bins.items()
            },
            errors=_sorted(self._errors),
            error_rows={kind: tuple(rows) for kind, rows in sorted(self._error_rows.items())},
        )

    def _add_repeat(self, leader: int) -> None:
        if leader >= len(self._copies):
            self._copies.extend([0] * (leader + 1 - len(self._copies)))
        self._copies[leader] += 1
        self._repeats += 1
        self._groups += self._copies[leader] == 1
        self._largest = max(self._largest, self._copies[leader] + 1)

    def _add_failure(self, number: int, id: object, error: str) -> None:
        kind, _, message = error.partition(": ")
        self._errors[kind] += 1
        self._reasons["error"] += 1
        if len(named := self._error_rows.setdefault(kind, [])) < ROWS_NAMED:
            named.append(number)
        if len(self._failures) < ERRORS_KEPT:
            self._failures.append(Failure(number, _short(id), kind, message))

    def _add_review(self, number: int, id: object, values: Mapping[str, Any]) -> None:
        emergency, decision = values["urgency"] == EMERGENCY, values["decision"]
        why = "emergency" if emergency else "outside" if decision == "auto" else decision
        self._reasons[why] += 1
        need = values["urgency_probability"] if emergency else -values["category_probability"]
        rank = (emergency, need, -number)
        if len(self._reviews) == REVIEWS_KEPT and rank < self._reviews[0][0]:
            return
        review = Review(
            number,
            _short(id),
            values["category"],
            values["category_probability"],
            values["urgency"],
            values["urgency_probability"],
            why,
        )
        push = heapq.heappush if len(self._reviews) < REVIEWS_KEPT else heapq.heappushpop
        push(self._reviews, (rank, review))


def _short(id: object) -> object:
    return id[:ID_CHARS] if isinstance(id, str) else id


def _sorted(counter: Mapping[str, int]) -> Counts:
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))


def _nested(outer: Mapping[str, int], pairs: Mapping[tuple[str, str], int]) -> dict[str, Counts]:
    nested: dict[str, Counter[str]] = {name: Counter() for name in _sorted(outer)}
    for (name, inner), count in pairs.items():
        nested[name][inner] = count
    return {name: _sorted(counter) for name, counter in nested.items()}
