"""Data sets from outside, kept as releases: a directory each, named by day and content, never changed once written.

    DIR/sides.jsonl                      which story is on which side, for all releases
    DIR/2026-11-28-1f2e3d4c5b6a/         train.jsonl dev.jsonl test.jsonl conflicts.jsonl card.json README.md

A row is a `training.data.Petition` with `origin`: where the label comes from. Nothing that looks like personal data is written.
"""

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.pii import find
from nlp_service.taxonomy import Taxonomy
from training.data import Petition, as_row
from training.datacard import card_text, data_card
from training.groups import Text
from training.sets import SIDES
from training.sides import SIDES_FILE, Newcomer, Placed, append_sides, latest_period, place, read_sides

CONFLICTS = "conflicts"

_SHOWN = 10


@dataclass(frozen=True)
class Example:
    """A petition with what is known of its label.

    Attributes:
        petition: its text masked; its group is given when it is placed.
        origin: for JSON; `conflict` keeps it out of train, dev and test, `commune_code`, `received_at`, `annotator`, `bulk`
            and `readers` are counted in the card.
        ties: ids of petitions of the same story.
    """

    petition: Petition
    origin: dict[str, Any]
    day: date | None = None
    ties: tuple[str, ...] = ()

    @property
    def row(self) -> dict[str, Any]:
        """As it is written."""
        return {**as_row(self.petition), "origin": self.origin}


@dataclass(frozen=True)
class Period:
    """What is tested on when a test set is begun or goes on.

    Attributes:
        since: the first day of a new test period; None takes `latest_period` for the first release, and nothing new later.
        share: of the time, or of petitions without a day.
        least: petitions in the test set, if half of all are as many.
    """

    since: date | None = None
    share: float = 0.2
    least: int = 200


@dataclass(frozen=True)
class Release:
    """A data set as it lies on disk; `new` is False where the same content lay there already."""

    directory: Path
    new: bool
    card: dict[str, Any]


def publish(
    examples: Sequence[Example],
    into: Path,
    today: date,
    taxonomy: Taxonomy,
    source: dict[str, Any],
    period: Period = Period(),
    beside: Iterable[tuple[str, Petition]] = (),
) -> Release:
    """Place every example, and write a release unless the last one says the same.

    Args:
        source: for the card: where they come from, and what was left out and why.
        beside: petitions of other data sets, with their sides, that this one will be trained with.

    Raises:
        PetitionError: INVALID_REQUEST for no examples, or an id twice; INVALID_TAXONOMY for a label that it does not have;
            INVALID_FILE naming the ids of texts in which something looks like personal data.
    """
    _refuse(examples, taxonomy)
    into.mkdir(parents=True, exist_ok=True, mode=0o700)
    registry = into / SIDES_FILE
    known = read_sides(registry)
    settled = [example for example in examples if not example.origin.get("conflict")]
    newcomers = [Newcomer(e.petition.id, e.petition.text, e.day, e.ties) for e in settled]
    begun = any(row.side == "test" for row in known)
    since = period.since
    if since is None and not begun:
        since = latest_period([n.day for n in newcomers if n.day], period.share, period.least)
    neighbours = _neighbours(beside)
    placed = place(newcomers, [*known, *neighbours], since, 0.0 if begun else period.share)
    parts: dict[str, list[Example]] = {side: [] for side in (*SIDES, CONFLICTS)}
    for example in sorted(examples, key=lambda e: e.petition.id):
        where = placed.get(example.petition.id)
        if example.origin.get("conflict"):
            parts[CONFLICTS].append(example)
        elif where is not None:
            parts[where.side].append(replace(example, petition=replace(example.petition, group=where.group)))
    card = data_card(
        {side: [(e.petition, e.origin) for e in rows] for side, rows in parts.items()},
        taxonomy,
        {**source, "between_two_sides": len(settled) - sum(len(parts[side]) for side in SIDES)},
    )
    before = {row.id for row in known}
    # First, so that a release which was cut short is placed alike when it is made again.
    append_sides(registry, [row for row in placed.values() if row is not None and row.id not in before])
    return _write(parts, card, into, today)


def _refuse(examples: Sequence[Example], taxonomy: Taxonomy) -> None:
    if not examples:
        raise PetitionError(
            ErrorKind.INVALID_REQUEST, "0 petitions to write; widen the period or the file, nothing was written"
        )
    repeated = [i for i, times in Counter(e.petition.id for e in examples).items() if times > 1]
    if repeated:
        raise PetitionError(ErrorKind.INVALID_REQUEST, f"id '{repeated[0]}' occurs twice; give every petition its own")
    for head, labels in taxonomy.heads.items():
        unknown = Counter(e.petition.label(head) for e in examples)
        for label in labels:
            del unknown[label.id]
        for name, times in unknown.most_common(1):
            raise PetitionError(
                ErrorKind.INVALID_TAXONOMY,
                f"{times} petitions have the {head} '{name}', which taxonomy {taxonomy.version} does not have; take the taxonomy "
                "under which they were labelled, then use `petitions-train remap`",
            )
    personal = [e.petition.id for e in examples if find(e.petition.text)]
    if personal:
        raise PetitionError(
            ErrorKind.INVALID_FILE,
            f"{len(personal)} texts hold what looks like personal data (ids {', '.join(personal[:_SHOWN])}); "
            "mask them first, nothing was written",
        )


def _neighbours(beside: Iterable[tuple[str, Petition]]) -> list[Placed]:
    rows = []
    for side, petition in beside:
        sketch = Text(petition.id, petition.text).sketch
        rows.append(Placed(f"beside {petition.id}", f"beside {petition.group}", side, sketch.hex() if sketch else None))
    return rows


def _write(parts: dict[str, list[Example]], card: dict[str, Any], into: Path, today: date) -> Release:
    files = {
        f"{side}.jsonl": "".join(json.dumps(e.row, ensure_ascii=False, sort_keys=True) + "\n" for e in rows)
        for side, rows in parts.items()
    }
    content = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    same = next(into.glob(f"*-{content[:12]}"), None)
    if same is not None:
        return Release(same, False, json.loads((same / "card.json").read_text(encoding="utf-8")))
    card = {"name": f"{today}-{content[:12]}", "sha256": content, "made": str(today), **card}
    files["card.json"] = json.dumps(card, ensure_ascii=False, indent=1)
    files["README.md"] = card_text(card)
    scratch = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=into))  # nobody else on the machine reads it
    try:
        for name, text in files.items():
            (scratch / name).write_text(text, encoding="utf-8")
        scratch.rename(into / card["name"])
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return Release(into / card["name"], True, card)
