"""What a workbook shows beside the table: colours in its columns, and further sheets. Other formats leave both out."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Tone(StrEnum):
    """How much a cell wants to be seen."""

    ALARM = "alarm"
    CAUTION = "caution"
    CALM = "calm"


Highlights = Mapping[str, Mapping[str | bool, Tone]]
"""Added column -> value -> tone."""


@dataclass(frozen=True)
class Block:
    """A small table on a sheet.

    Attributes:
        columns: its header.
        rows: cells of any kind that a data cell may be; text stays text.
        shares: positions of columns shown as percent.
        links: position of the column whose numbers are those of data rows (from 1); each leads there.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    shares: Collection[int] = ()
    links: int | None = None


@dataclass(frozen=True)
class Sheet:
    """A sheet after the data: lines of text, then blocks. A single block without a title can be filtered."""

    name: str
    blocks: Sequence[Block]
    notes: Sequence[str] = ()


Sheets = Callable[[], Sequence[Sheet]]
"""Asked for after the last data row was written, so that they may tell of all rows."""
