"""The report of a labelling run as one page for people: no other file, no script, no style attribute, nothing to load."""

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from nlp_service.console.figures import PERCENT, SETS, share, told
from nlp_service.console.words import moment, number
from nlp_service.label_report import RunReport
from nlp_service.label_summary import BINS, UNKNOWN, Counts, Figures
from nlp_service.label_words import NO_BODY, NO_PLACE, REASONS, Names, error
from nlp_service.taxonomy import EMERGENCY

SHOWN = 20
"""Communes, and bodies."""

TINTS = 4
"""Shades of a table's cells beside white; the stylesheet names them."""

_CONSOLE = Path(__file__).parent / "console"


@dataclass(frozen=True)
class Bar:
    """A row of a table with a bar: `share` is a part of all rows, `width` of the longest bar; None for no bar."""

    name: str
    count: int
    share: float
    width: float | None


@dataclass(frozen=True)
class Cell:
    """A cell of the heat table. `tint`: its class; empty for white."""

    count: int
    tint: str


@dataclass(frozen=True)
class Heat:
    """Categories by urgency."""

    levels: list[str]
    rows: list[tuple[str, list[Cell], int]]


def page(report: RunReport, names: Names) -> str:
    """The page, in Vietnamese. Whatever came from the input is escaped."""
    of = report.figures
    counts = of.counts

    def labels(head: str) -> list[Bar]:
        return bars(((names.label(head, id), count) for id, count in counts[head].items()), of.labelled)

    zones = (
        (names.zone(id), counts["decision"][id]) for id in ("auto", "suggest", "human") if id in counts["decision"]
    )
    return _template().render(
        report=report,
        figures=of,
        policy=CONTENT_SECURITY_POLICY,
        categories=labels("category"),
        types=labels("petition_type"),
        zones=bars(zones, of.labelled),
        communes=_most(counts["commune_code"], of.commune_names, NO_PLACE, "{} xã, phường khác", of.labelled),
        bodies=_most(counts["lead_body"], names.bodies, NO_BODY, "{} đơn vị khác", of.labelled),
        reasons=bars(((REASONS.get(why, why), count) for why, count in of.review_reasons.items()), of.rows),
        heat=heat(of, names),
        confidence=_confidence(of),
        errors=[(*error(kind), count, of.error_rows[kind]) for kind, count in of.errors.items()],
        precision=[(SETS.get(name, name), told(rate)) for name, rate in report.auto_precision.measured.items()],
    )


def bars(counts: Iterable[tuple[str, int]], of: int) -> list[Bar]:
    """A bar a name, in the order given; `of` is all rows that the shares are parts of."""
    pairs = list(counts)
    longest = max((count for _, count in pairs), default=0) or 1
    return [Bar(name, count, _part(count, of), count / longest) for name, count in pairs]


def _most(counts: Counts, names: Mapping[str, str], unknown: str, rest: str, of: int) -> list[Bar]:
    """The SHOWN most frequent; then, without bars, the sum of the others and what nothing tells. Empty if nothing is told."""
    known = [(names.get(id, id), count) for id, count in counts.items() if id != UNKNOWN]
    if not known:
        return []
    sums = [
        (rest.format(len(known) - SHOWN), sum(count for _, count in known[SHOWN:])),
        (unknown, counts.get(UNKNOWN, 0)),
    ]
    return bars(known[:SHOWN], of) + [Bar(name, count, _part(count, of), None) for name, count in sums if count]


def _part(count: int, of: int) -> float:
    return count / of if of else 0.0


def heat(figures: Figures, names: Names) -> Heat:
    """Darker for more rows; the root of their number, so that what is rare does not vanish."""
    of = figures.category_by_urgency
    levels = names.in_order("urgency", figures.counts["urgency"])
    most = max((count for row in of.values() for count in row.values()), default=1)

    def cell(level: str, count: int) -> Cell:
        shade = math.ceil(TINTS * math.sqrt(count / most))
        return Cell(count, f"{'miss' if level == EMERGENCY else 'hit'}{shade}" if shade else "")

    rows = [
        (
            names.label("category", id),
            [cell(level, of[id].get(level, 0)) for level in levels],
            sum(of[id].values()),
        )
        for id in names.in_order("category", of)
    ]
    return Heat([names.label("urgency", level) for level in levels], rows)


def _confidence(of: Figures) -> list[tuple[str, Bar, Bar]]:
    names = [f"{100 * i // BINS}–{100 * (i + 1) // BINS}{PERCENT}" for i in range(BINS)]
    category, urgency = (
        bars(zip(names, of.probabilities[head].bins, strict=True), of.labelled) for head in ("category", "urgency")
    )
    return list(zip(names, category, urgency, strict=True))


def _style() -> str:
    files = (_CONSOLE / "static" / "style.css", _CONSOLE / "templates" / "label_report.css")
    return "".join(file.read_text(encoding="utf-8") for file in files)


_STYLE = _style()
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"
"""Stands in the page; whoever serves it sends it as a header, too."""


@cache
def _template() -> Template:
    loader = FileSystemLoader(_CONSOLE / "templates")
    environment = Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters.update(number=number, moment=moment, share=share)
    environment.globals.update(style=Markup(_STYLE))
    return environment.get_template("label_report.html")
