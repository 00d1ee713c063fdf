"""Is the labelled data fit to train on? Duplicates, leaks between splits, coverage of matters, counts, personal data."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from datasketch import MinHash, MinHashLSH

from nlp_service.taxonomy import Taxonomy
from nlp_service.text import normalise, strip_diacritics
from training.data import REGISTERS, Petition

NEAR_DUPLICATE = 0.7
"""Jaccard similarity of word triples from which two petitions count as the same text."""

PETITIONS_A_MATTER, REGISTERS_A_MATTER = 8, 4
MINIMUMS = {"category": 150, "urgency": 350, "petition_type": 300, "register": 300}

_PERSONAL = {
    "citizen id (12 digits)": re.compile(r"(?<!\d)0\d{11}(?!\d)"),
    "e-mail address": re.compile(r"[\w.+-]+@(?!example\.)[\w-]+\.[\w.]+"),
    "phone number": re.compile(r"(?<!\d)(?:\+84|0)(?:[ .-]?\d){9}(?!\d)"),
}


@dataclass(frozen=True)
class Finding:
    """Something a person should look at; `fatal` ones fail the check."""

    kind: str
    message: str
    fatal: bool


@dataclass(frozen=True)
class Matter:
    """A concrete matter that people report often, of datasets/matters.yaml."""

    id: str
    name_vi: str
    category: str
    scope: str


def read_matters(path: Path) -> dict[str, Matter]:
    """Matters by id. Raises ValueError for an entry without its category's prefix."""
    document: dict[str, list[dict[str, Any]]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    matters = {}
    for category, entries in document.items():
        for entry in entries:
            if not entry["id"].startswith(f"{category}."):
                raise ValueError(f"{path}: matter {entry['id']} is listed under {category}")
            matters[entry["id"]] = Matter(entry["id"], entry["name_vi"], category, entry["scope"])
    return matters


def check(parts: Mapping[str, Sequence[Petition]], taxonomy: Taxonomy, matters: Mapping[str, Matter]) -> list[Finding]:
    """Every finding over all splits together."""
    everything = [(name, petition) for name, petitions in parts.items() for petition in petitions]
    petitions = [petition for _, petition in everything]
    return [
        *_repeated(everything),
        *_near_duplicates(everything),
        *_coverage(petitions, matters),
        *_shortages(petitions, taxonomy),
        *_personal(petitions),
    ]


def counts(petitions: Sequence[Petition]) -> dict[str, Counter[str]]:
    """How many petitions a label and a register."""
    return {
        name: Counter(str(getattr(petition, name)) for petition in petitions)
        for name in ("category", "urgency", "petition_type", "register")
    }


def _repeated(everything: Sequence[tuple[str, Petition]]) -> list[Finding]:
    findings = []
    for identity, times in Counter(petition.id for _, petition in everything).items():
        if times > 1:
            findings.append(Finding("id", f"id {identity} occurs {times} times", True))
    places: dict[str, set[str]] = {}
    for name, petition in everything:
        places.setdefault(petition.group, set()).add(name)
    findings += [
        Finding("leak", f"group {group} is in {' and '.join(sorted(names))}", True)
        for group, names in places.items()
        if len(names) > 1
    ]
    return findings


def _near_duplicates(everything: Sequence[tuple[str, Petition]]) -> list[Finding]:
    index = MinHashLSH(threshold=NEAR_DUPLICATE, num_perm=64)
    findings = []
    seen: dict[str, tuple[str, Petition]] = {}
    for name, petition in everything:
        sketch = MinHash(num_perm=64, seed=1)
        sketch.update_batch([shingle.encode() for shingle in _shingles(petition.text)])
        for other in index.query(sketch):
            place, twin = seen[other]
            if twin.group == petition.group or _similarity(twin.text, petition.text) < NEAR_DUPLICATE:
                continue
            where = "within" if place == name else "across"
            findings.append(
                Finding("near duplicate", f"{twin.id} ({place}) and {petition.id} ({name}), {where} splits", True)
            )
        key = f"{name}/{petition.id}"
        if key not in seen:
            seen[key] = (name, petition)
            index.insert(key, sketch)
    return findings


def _shingles(text: str) -> set[str]:
    words = re.findall(r"\w+", strip_diacritics(normalise(text)).lower())
    return {" ".join(words[i : i + 3]) for i in range(max(len(words) - 2, 1))}


def _similarity(first: str, second: str) -> float:
    a, b = _shingles(first), _shingles(second)
    return len(a & b) / len(a | b)


def _coverage(petitions: Sequence[Petition], matters: Mapping[str, Matter]) -> list[Finding]:
    by_matter: dict[str, list[Petition]] = {identity: [] for identity in matters}
    findings = []
    for petition in petitions:
        if petition.matter is None:
            continue
        if petition.matter not in matters:
            findings.append(Finding("matter", f"{petition.id} names unknown matter {petition.matter}", True))
        else:
            by_matter[petition.matter].append(petition)
    for identity, told in by_matter.items():
        registers = {petition.register for petition in told}
        if len(told) < PETITIONS_A_MATTER or len(registers) < REGISTERS_A_MATTER:
            findings.append(
                Finding(
                    "matter",
                    f"{identity} has {len(told)} petitions in {len(registers)} registers, "
                    f"wanted {PETITIONS_A_MATTER} in {REGISTERS_A_MATTER}",
                    False,
                )
            )
    return findings


def _shortages(petitions: Sequence[Petition], taxonomy: Taxonomy) -> list[Finding]:
    have = counts(petitions)
    wanted = {head: [label.id for label in labels] for head, labels in taxonomy.heads.items()}
    wanted["register"] = list(REGISTERS)
    return [
        Finding("count", f"{head} {label} has {have[head][label]} petitions, wanted {MINIMUMS[head]}", False)
        for head, labels in wanted.items()
        for label in labels
        if have[head][label] < MINIMUMS[head]
    ]


def _personal(petitions: Sequence[Petition]) -> list[Finding]:
    return [
        Finding("personal data", f"{petition.id} holds what looks like a real {kind}", False)
        for petition in petitions
        for kind, pattern in _PERSONAL.items()
        if pattern.search(petition.text)
    ]
