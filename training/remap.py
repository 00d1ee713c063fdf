"""Labels of an older taxonomy in a newer one: renamed and merged by a table, split by words or by a person.

    from = "0.1"
    to = "0.2"

    [category]                       # and so for urgency, petition_type
    "old_name" = "new_name"          # renamed; several old names with one new one are merged

    [split.category."old_name"]      # one old label that became several
    into = ["water", "drainage"]
    [split.category."old_name".words]
    drainage = ["ngập", "cống"]      # a text with words of exactly one new label gets it; else a person decides

What a row was labelled before stays in its `origin`, with the version of the taxonomy that it was labelled by.
"""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlp_service.bundle import HEADS
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.taxonomy import Taxonomy
from nlp_service.text import normalise

FILES = ("train", "dev", "test", "conflicts")
RELABEL = "relabel.jsonl"


@dataclass(frozen=True)
class Split:
    """One label that became several.

    Attributes:
        words: of every new label that has some, a pattern of them.
    """

    into: tuple[str, ...]
    words: dict[str, re.Pattern[str]]

    def of(self, text: str) -> str | None:
        """The one new label whose words the text has; None for none, or more than one."""
        folded = normalise(text).casefold()
        found = [label for label, pattern in self.words.items() if pattern.search(folded)]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class Remapping:
    """What became of the labels, by head; a label that is in neither stays as it is."""

    before: str
    taxonomy: Taxonomy
    renamed: dict[str, dict[str, str]]
    split: dict[str, dict[str, Split]]

    def row(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The row with new labels, and the heads that a person must decide, whose old label stays.

        Raises:
            ValueError: a label that is neither mapped nor in the new taxonomy.
        """
        new, old, open_heads = dict(row), {}, []
        for head in HEADS:
            label = self._label(head, row[head], row["text"])
            if label is None:
                open_heads.append(head)
            elif label != row[head]:
                old[head], new[head] = row[head], label
        for field in ("secondary", "accept"):
            others = [self._label("category", label, row["text"]) for label in row.get(field, ())]
            kept = list(dict.fromkeys(label for label in others if label is not None))
            if field in row:
                new[field] = [label for label in kept if field == "accept" or label != new["category"]]
        if old:
            origin = dict(row.get("origin") or {})
            history = [*origin.get("relabelled", ()), {"taxonomy": self.before, **old}]
            new["origin"] = {**origin, "relabelled": history}
        return new, open_heads

    def _label(self, head: str, label: str, text: str) -> str | None:
        if label in self.split[head]:
            return self.split[head][label].of(text)
        label = self.renamed[head].get(label, label)
        if label not in {known.id for known in self.taxonomy.heads[head]}:
            raise ValueError(
                f"{head} '{label}' is not in taxonomy {self.taxonomy.version} and the mapping does not name it"
            )
        return label


def read_mapping(path: Path, taxonomy: Taxonomy) -> Remapping:
    """Read and check a mapping file.

    Raises:
        PetitionError: INVALID_TAXONOMY naming the entry that does not fit, or if it leads to another taxonomy's version.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        if str(document["to"]) != taxonomy.version:
            raise ValueError(f"leads to taxonomy {document['to']}, the one given is {taxonomy.version}")
        if odd := set(document) - {"from", "to", "split", *HEADS}:
            raise ValueError(f"has '{odd.pop()}'; use from, to, split, {', '.join(HEADS)}")
        splits = document.get("split", {})
        if odd := set(splits) - set(HEADS):
            raise ValueError(f"has split.{odd.pop()}; use split.{', split.'.join(HEADS)}")
        remapping = Remapping(
            str(document["from"]),
            taxonomy,
            {head: dict(document.get(head, {})) for head in HEADS},
            {head: {old: _split(old, entry) for old, entry in splits.get(head, {}).items()} for head in HEADS},
        )
        _check(remapping)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise PetitionError(ErrorKind.INVALID_TAXONOMY, f"{path} is no mapping: {reason}; correct it") from error
    return remapping


def remap_directory(data: Path, remapping: Remapping, output: Path) -> dict[str, int]:
    """Write every part with new labels, and rows for a person to `relabel.jsonl`; how many of each kind.

    Raises:
        ValueError: naming the line of a label that nothing maps, or if `output` exists; nothing is written then.
    """
    if output.exists():
        raise ValueError(f"{output} exists; name a new directory")
    parts: dict[str, list[dict[str, Any]]] = {}
    relabel: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for side in FILES:
        path = data / f"{side}.jsonl"
        if not path.exists():
            continue
        parts[f"{side}.jsonl"] = []
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                row = json.loads(line)
                try:
                    new, open_heads = remapping.row(row)
                except ValueError as error:
                    raise ValueError(f"{path} line {number}: {error}") from error
                if open_heads:
                    choices = {head: list(remapping.split[head][row[head]].into) for head in open_heads}
                    relabel.append({**new, "part": side, "relabel": choices})
                    counts["for a person"] += 1
                else:
                    parts[f"{side}.jsonl"].append(new)
                    counts["changed" if new != row else "unchanged"] += 1
    if not parts:
        raise ValueError(f"{data} has none of {', '.join(f'{side}.jsonl' for side in FILES)}")
    output.mkdir(parents=True, mode=0o700)
    for name, rows in {**parts, RELABEL: relabel}.items():
        with (output / name).open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return dict(counts)


def _split(old: str, entry: dict[str, Any]) -> Split:
    into, words = tuple(entry["into"]), entry.get("words", {})
    if len(set(into)) < 2:
        raise ValueError(f"'{old}' is split into {len(set(into))} label; name two or more, or rename it")
    if odd := set(words) - set(into):
        raise ValueError(f"'{old}' has words for '{odd.pop()}', which it is not split into")
    patterns = {
        label: re.compile("|".join(rf"(?<!\w){re.escape(normalise(word).casefold())}(?!\w)" for word in said))
        for label, said in words.items()
        if said
    }
    return Split(into, patterns)


def _check(remapping: Remapping) -> None:
    for head in HEADS:
        known = {label.id for label in remapping.taxonomy.heads[head]}
        goals = [
            *remapping.renamed[head].values(),
            *(i for split in remapping.split[head].values() for i in split.into),
        ]
        if unknown := [goal for goal in goals if goal not in known]:
            raise ValueError(f"{head} '{unknown[0]}' is not in taxonomy {remapping.taxonomy.version}")
        if both := set(remapping.renamed[head]) & set(remapping.split[head]):
            raise ValueError(f"{head} '{both.pop()}' is both renamed and split")
