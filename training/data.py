"""Labelled petitions: read, check against the taxonomy, split by group so that no story is on both sides."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nlp_service.taxonomy import Taxonomy

REGISTERS = (
    "formal_letter",
    "short_letter",
    "portal_report",
    "chat",
    "no_diacritics",
    "voter_minutes",
    "phone_transcript",
    "meeting_note",
    "question",
    "long_multi_issue",
)


@dataclass(frozen=True)
class Petition:
    """A labelled petition.

    Attributes:
        secondary: categories that it touches beside the primary one.
        register: how it is written, one of REGISTERS; empty for real petitions, whose writers we did not choose.
        group: ties variants of one story together; a group is never split.
        matter: the common matter of datasets/matters.yaml that it tells, if it tells one.
        accept: categories that count as right where the reading leaves room (evaluation sets); else just `category`.
    """

    id: str
    text: str
    category: str
    urgency: str
    petition_type: str
    register: str = ""
    group: str = ""
    secondary: tuple[str, ...] = ()
    matter: str | None = None
    accept: tuple[str, ...] = field(default=())

    def label(self, head: str) -> str:
        """The label of one head."""
        value: str = getattr(self, head)
        return value

    @property
    def accepted(self) -> tuple[str, ...]:
        """Categories that count as right."""
        return self.accept or (self.category,)


def read_petitions(path: Path, taxonomy: Taxonomy) -> list[Petition]:
    """Read a JSONL file of petitions.

    Raises:
        ValueError: naming the line whose JSON, fields or labels do not fit the taxonomy.
    """
    known = {head: {label.id for label in labels} for head, labels in taxonomy.heads.items()}
    petitions = []
    # Not splitlines(): a text may hold a line separator such as U+2028, which JSON does not escape.
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                petitions.append(_petition(json.loads(line), known))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} line {number}: {type(error).__name__} {error}") from error
    return petitions


def _petition(row: dict[str, Any], known: dict[str, set[str]]) -> Petition:
    for head, ids in known.items():
        if row[head] not in ids:
            raise ValueError(f"unknown {head} '{row[head]}'")
    for category in (*row.get("secondary", ()), *row.get("accept", ())):
        if category not in known["category"]:
            raise ValueError(f"unknown category '{category}'")
    register = row.get("register", "")
    if register and register not in REGISTERS:
        raise ValueError(f"unknown register '{register}'")
    if not isinstance(row["text"], str) or not row["text"].strip():
        raise ValueError("empty text")
    return Petition(
        id=str(row["id"]),
        text=row["text"],
        category=row["category"],
        urgency=row["urgency"],
        petition_type=row["petition_type"],
        register=register,
        group=str(row.get("group", row["id"])),
        secondary=tuple(row.get("secondary", ())),
        matter=row.get("matter"),
        accept=tuple(row.get("accept", ())),
    )


def write_petitions(path: Path, petitions: Iterable[Petition]) -> None:
    """One JSON object a line, as `as_row` gives it."""
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(as_row(petition), ensure_ascii=False) + "\n" for petition in petitions)


def as_row(petition: Petition) -> dict[str, Any]:
    """A petition as it is written: fields that say nothing are left out."""
    fields = {name: value for name, value in asdict(petition).items() if value not in (None, (), "")}
    return {**fields, "secondary": list(petition.secondary)}


def read_origins(path: Path) -> list[dict[str, Any]]:
    """Of every petition in a JSONL file what `origin` says of its label; empty where it says nothing."""
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line).get("origin") or {} for line in stream]


def split_of(group: str, dev: float, test: float) -> str:
    """`train`, `dev` or `test` by a hash of the group: the same when the data grows, whatever its order."""
    share = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    if share < test:
        return "test"
    return "dev" if share < test + dev else "train"


def split(petitions: Sequence[Petition], dev: float = 0.12, test: float = 0.12) -> dict[str, list[Petition]]:
    """All three parts, in the order given."""
    parts: dict[str, list[Petition]] = {"train": [], "dev": [], "test": []}
    for petition in petitions:
        parts[split_of(petition.group, dev, test)].append(petition)
    return parts


def digest(petitions: Iterable[Petition]) -> str:
    """A content hash of the petitions and their labels, independent of their order."""
    rows = sorted(json.dumps(asdict(petition), ensure_ascii=False, sort_keys=True) for petition in petitions)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
