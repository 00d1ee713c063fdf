"""Labelled petitions from somebody else's table: columns and label names mapped, every row checked, texts masked.

Problems name row and column, never the text. Rows count from 1, below the header, as in a spreadsheet without it.
"""

import hashlib
import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from nlp_service.bundle import HEADS
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.pii import mask
from nlp_service.tables import Table
from nlp_service.taxonomy import Taxonomy
from training.data import Petition
from training.releases import Example

FIELDS = ("text", *HEADS, "id", "received_at", "annotator", "commune_code")

_DATES = ("%Y-%m-%d", "%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y")
_SHOWN = 10


@dataclass(frozen=True)
class Mapping:
    """How a table is read.

    Attributes:
        columns: field -> column.
        fill: label of a head that has no column.
        labels: of every head, what a cell may say (folded) -> id.
    """

    columns: dict[str, str]
    fill: dict[str, str]
    labels: dict[str, dict[str, str]]

    @classmethod
    def parse(cls, columns: Sequence[str], fill: Sequence[str], labels: Path | None, taxonomy: Taxonomy) -> "Mapping":
        """From `field=column` and `head=label`; cells may say a label's id, its Vietnamese name, or what the TOML lists.

        Raises:
            PetitionError: INVALID_REQUEST naming what does not fit.
        """
        known = {
            head: {_key(said): label.id for label in ids for said in (label.id, label.name)}
            for head, ids in taxonomy.heads.items()
        }
        for head, names in _toml(labels).items() if labels else ():
            if head not in known:
                raise _request(f"{labels} has the table [{head}]; use {', '.join(HEADS)}")
            for said, label in names.items():
                if label not in known[head].values():
                    raise _request(f"{labels}: '{label}' is no {head} of taxonomy {taxonomy.version}")
                known[head][_key(said)] = label
        mapped, filled = _pairs(columns, FIELDS, "--map"), _pairs(fill, HEADS, "--fill")
        for head, label in filled.items():
            if _key(label) not in known[head]:
                raise _request(f"--fill: '{label}' is no {head} of taxonomy {taxonomy.version}")
            filled[head] = known[head][_key(label)]
        missing = [field for field in ("text", *HEADS) if field not in mapped and field not in filled]
        if missing:
            raise _request(
                f"nothing says the {missing[0]}; give --map {missing[0]}=COLUMN or --fill {missing[0]}=LABEL"
            )
        return cls(mapped, filled, known)


@dataclass(frozen=True)
class Imported:
    """What a table holds.

    Attributes:
        examples: rows without a problem, and of equal ones the first; those whose text has two labels are in conflict.
        problems: sentences, one for every kind and column.
        left_out: rows that are no example, by reason.
    """

    examples: list[Example]
    problems: list[str]
    left_out: dict[str, int]


def read_table(table: Table, mapping: Mapping) -> Imported:
    """Every row checked. Raises PetitionError INVALID_REQUEST for a column that the table does not have."""
    for field, column in mapping.columns.items():
        if column not in table.columns:
            raise _request(f"{table.path} has no column '{column}' (--map {field}=); it has {', '.join(table.columns)}")
    faults: dict[tuple[str, str], list[int]] = defaultdict(list)
    rows: dict[str, list[tuple[int, Example]]] = defaultdict(list)  # by what the text says
    ids: dict[str, int] = {}
    left_out: Counter[str] = Counter()
    for number, row in enumerate(table.rows(mapping.columns.values()), start=1):
        wrong = [("row", row.problem)] if row.problem else _faults(row.cells, mapping)
        example = None if wrong else _example(row.cells, mapping, number, table.path.name)
        if example and "id" in mapping.columns and ids.setdefault(example.petition.id, number) != number:
            wrong = [(mapping.columns["id"], f"the id of row {ids[example.petition.id]} again")]
        for fault in wrong:
            faults[fault].append(number)
        if wrong or example is None:
            left_out["not readable"] += 1
        else:
            rows[_key(example.petition.text)].append((number, example))
    examples = []
    for same in rows.values():
        kept, repeats = _settled(same)
        examples += kept
        left_out["repeated"] += repeats
    problems = [f"column '{column}': {fault} ({_rows(numbers)})" for (column, fault), numbers in faults.items()]
    return Imported(examples, problems, {reason: n for reason, n in sorted(left_out.items()) if n})


def _faults(cells: dict[str, Any], mapping: Mapping) -> list[tuple[str, str]]:
    """Column and fault."""
    faults = []
    text = cells[mapping.columns["text"]]
    if not isinstance(text, str) or not text.strip():
        faults.append((mapping.columns["text"], "empty text"))
    for head in HEADS:
        if head not in mapping.columns:
            continue
        said = str(cells[mapping.columns[head]] or "").strip()
        if not said and head in mapping.fill:
            continue
        if _key(said) not in mapping.labels[head]:
            # A cell longer than any label's name is no label: it may be the petition, in the wrong column.
            shown = (
                f"'{said}'"
                if said and len(said) <= _longest(mapping.labels[head])
                else "a long text"
                if said
                else "nothing"
            )
            faults.append((mapping.columns[head], f"{shown} is no {head}"))
    if "received_at" in mapping.columns:
        value = cells[mapping.columns["received_at"]]
        if value not in (None, "") and _date(value) is None:
            faults.append((mapping.columns["received_at"], "no date; write 2026-11-28 or 28/11/2026"))
    return faults


def _example(cells: dict[str, Any], mapping: Mapping, number: int, source: str) -> Example:
    def said(field: str) -> str:
        return str(cells[mapping.columns[field]] or "").strip() if field in mapping.columns else ""

    labels = [mapping.labels[head][_key(said(head))] if said(head) else mapping.fill[head] for head in HEADS]
    text = unicodedata.normalize("NFC", cells[mapping.columns["text"]])
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    day = _date(cells[mapping.columns["received_at"]]) if "received_at" in mapping.columns else None
    origin: dict[str, Any] = {
        "source": source,
        "row": number,
        "readers": 1,
        "text_sha256": sha256,
        **({"received_at": day.isoformat()} if day else {}),
        **{field: said(field) for field in ("annotator", "commune_code") if said(field)},
        **({"filled": filled} if (filled := [head for head in HEADS if not said(head)]) else {}),
    }
    # Not the row's number: a table that grows in the middle keeps the sides of its petitions.
    identity = said("id") or f"i{sha256[:16]}"
    return Example(Petition(identity, mask(text), labels[0], labels[1], labels[2]), origin, day)


def _settled(same: Sequence[tuple[int, Example]]) -> tuple[list[Example], int]:
    """Of rows with the same text: one if they agree, else one of each opinion, in conflict; and how many repeat."""
    by_labels: dict[tuple[str, ...], Example] = {}
    for _, example in same:
        by_labels.setdefault(tuple(example.petition.label(head) for head in HEADS), example)
    kept = list(by_labels.values())
    repeats = len(same) - len(kept)
    if len(kept) == 1:
        return kept, repeats
    numbers = [number for number, _ in same]
    return [
        Example(_renamed(example.petition, place), {**example.origin, "conflict": True, "rows": numbers}, example.day)
        for place, example in enumerate(kept, start=1)
    ], repeats


def _renamed(petition: Petition, place: int) -> Petition:
    return Petition(
        f"{petition.id}-{place}", petition.text, petition.category, petition.urgency, petition.petition_type
    )


def _date(value: object) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    for form in _DATES:
        try:
            return datetime.strptime(str(value).strip()[:10], form).date()
        except ValueError:
            continue
    return None


def _pairs(given: Iterable[str], fields: Sequence[str], option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for pair in given:
        field, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not value or field not in fields or field in pairs:
            raise _request(f"{option} {pair}: write FIELD=VALUE, each field once, with one of {', '.join(fields)}")
        pairs[field] = value
    return pairs


def _toml(path: Path) -> dict[str, dict[str, str]]:
    try:
        document: dict[str, dict[str, str]] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _request(f"{path}: {error}") from error
    for head, names in document.items():
        if not isinstance(names, dict) or not all(isinstance(label, str) for label in names.values()):
            raise _request(f'{path}: [{head}] must be a table of "their name" = "id"')
    return document


def _key(said: str) -> str:
    return " ".join(unicodedata.normalize("NFC", said).casefold().split())


def _longest(labels: Iterable[str]) -> int:
    return max(map(len, labels))


def _rows(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    return f"{len(numbers)} {'row' if len(numbers) == 1 else 'rows'}: {shown}{', …' if len(numbers) > _SHOWN else ''}"


def _request(message: str) -> PetitionError:
    return PetitionError(ErrorKind.INVALID_REQUEST, message)
