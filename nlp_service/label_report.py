"""The report of a labelling run, for programs.

It holds no petition, no id of a row and no path; the same run gives the same report but for its `timing`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from nlp_service.label_summary import Figures
from nlp_service.live import Rate, wilson

FORMAT = 1
NOTE = "counts are of what the model said, not of what is true"


@dataclass(frozen=True)
class Source:
    """The input.

    Attributes:
        name: without its directories, which may tell who works there.
        text_column: the one that was read.
        encodings: column -> the old encoding that it was found in.
        notes: what was decided while reading, in Vietnamese.
    """

    name: str
    bytes: int
    sha256: str
    text_column: str
    encodings: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Versions:
    """What answered; None for what took no part."""

    program: str
    model: str | None = None
    taxonomy: str | None = None
    rules: str | None = None


@dataclass(frozen=True)
class Precision:
    """How often what is routed without a look is routed rightly.

    Attributes:
        stated: what the threshold was chosen to keep; None if the model does not say.
        measured: by set of test petitions, with 95 % intervals (Wilson). They are not the rows of this run.
    """

    stated: float | None = None
    measured: Mapping[str, Rate] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """When a run was. `resumed_rows` were answered by an earlier, interrupted one and are in no speed."""

    started_at: datetime
    finished_at: datetime
    seconds: float
    resumed_rows: int = 0


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Attributes:
        output: its name without directories.
        options: as the user gave them, for who runs it again.
        guarded_cells: cells of a CSV that got an apostrophe, lest a spreadsheet take them for formulas.
    """

    source: Source
    output: str
    options: Mapping[str, Any]
    versions: Versions
    auto_precision: Precision
    figures: Figures
    timing: Timing
    guarded_cells: int = 0

    def rows_per_second(self) -> float:
        """Of the rows that this run answered itself."""
        return round((self.figures.rows - self.timing.resumed_rows) / max(self.timing.seconds, 0.001), 1)

    def as_json(self) -> str:
        """The report for programs."""
        document = {"format": FORMAT, "note": NOTE, **asdict(self)}
        timing = document.pop("timing") | {"rows_per_second": self.rows_per_second()}
        document["timing"] = {name: _plain(value) for name, value in timing.items()}
        return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def auto_precision(stated: float | None, scores: Mapping[str, Any]) -> Precision:
    """From a model's manifest: `thresholds.auto_precision` and `scores`; sets that overlap another one are left out."""
    measured = {}
    for name, of in scores.items():
        zones = of.get("zones", {}) if isinstance(of, Mapping) else {}
        right = zones.get("auto", {}).get("top1", {})
        if right.get("count") and not name.endswith(", all"):
            hits, count = int(right["hits"]), int(right["count"])
            low, high = wilson(hits, count)
            measured[name] = Rate(hits, count, (round(low, 4), round(high, 4)))
    return Precision(stated, measured)


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
