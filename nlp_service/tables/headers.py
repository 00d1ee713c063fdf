"""Headers of one row or of two, with groups above ("Người gửi" over "Họ tên" and "Địa chỉ"). Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from nlp_service.tables.table import as_text

Merged = tuple[int, int, int, int]
"""A merged range: first and last row, first and last column, from 0."""

LONGEST_LABEL = 80
"""Characters; where nothing tells merged cells, a longer text is a petition and no label."""


class Header(NamedTuple):
    """Labels by column, "" where there is none, and the rows that they stand in."""

    labels: list[str]
    first: int
    last: int


def find_header(rows: Sequence[Sequence[object]], at: int, merged: Sequence[Merged] | None) -> Header:
    """The header whose row is `at`, or one of two rows that `at` is part of.

    Args:
        rows: the first of a sheet; "" for an empty cell.
        merged: what the file says of merged cells; None if it does not say, then the shape of two rows tells.
    """
    if merged is None:
        pair = (at, at + 1) if at + 1 < len(rows) and _stacked(rows[at], rows[at + 1]) else None
        return _two(rows, *pair, _by_shape(rows[at], rows[at + 1])) if pair else _one(rows, at)
    width = max(map(len, rows))
    for top in (at, at - 1):
        groups = [
            (left, right)
            for first, last, left, right in merged
            if first == last == top and left < right and right - left + 1 < width and _label(rows, top, left)
        ]
        below = top + 1
        if top >= 0 and below < len(rows) and groups and _fill(rows[below], groups):
            return _two(rows, top, below, groups)
    return _one(rows, at)


def _one(rows: Sequence[Sequence[object]], at: int) -> Header:
    return Header([_label(rows, at, column) for column in range(len(rows[at]))], at, at)


def _two(rows: Sequence[Sequence[object]], top: int, below: int, groups: Sequence[tuple[int, int]]) -> Header:
    labels = []
    for column in range(max(len(rows[top]), len(rows[below]))):
        left = next((left for left, right in groups if left <= column <= right), column)
        upper, lower = _label(rows, top, left), _label(rows, below, column)
        labels.append(f"{upper} / {lower}" if upper and lower else upper or lower)
    return Header(labels, top, below)


def _fill(row: Sequence[object], groups: Sequence[tuple[int, int]]) -> bool:
    """Whether every column under a group has a label."""
    return all(
        column < len(row) and isinstance(row[column], str) and row[column] != ""
        for left, right in groups
        for column in range(left, right + 1)
    )


def _stacked(top: Sequence[object], below: Sequence[object]) -> bool:
    """Whether a row of labels stands under groups: it fills the gaps of the row above, and that one fills all of its own."""
    labels = [value for value in below if value != ""]
    if not labels or not all(isinstance(value, str) and len(value) <= LONGEST_LABEL for value in labels):
        return False
    groups = _by_shape(top, below)
    alone = [column for column, value in enumerate(top) if value != "" and _at(below, column) == ""]
    in_groups = {column for left, right in groups for column in range(left, right + 1)}
    covered = {column for column, value in enumerate(below) if value != ""}
    return bool(groups) and bool(alone) and covered == in_groups


def _by_shape(top: Sequence[object], below: Sequence[object]) -> list[tuple[int, int]]:
    """A label, and beside it gaps that the row below fills."""
    groups, column = [], 0
    while column < len(top):
        end = column
        while end + 1 < len(below) and _at(top, end + 1) == "" and below[end + 1] != "":
            end += 1
        if top[column] != "" and end > column and _at(below, column) != "":
            groups.append((column, end))
        column = end + 1
    return groups


def _at(row: Sequence[object], column: int) -> object:
    return row[column] if column < len(row) else ""


def _label(rows: Sequence[Sequence[object]], row: int, column: int) -> str:
    value = _at(rows[row], column) if row >= 0 else ""
    whole = isinstance(value, float) and value.is_integer()
    return " ".join(as_text(int(value) if whole else value).split())  # type: ignore[call-overload]
