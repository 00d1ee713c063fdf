"""The taxonomy: categories, urgency levels, petition types, the bodies that answer. Read, checked, frozen."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nlp_service.errors import ErrorKind, PetitionError

OTHER = "other"
EMERGENCY = "emergency"


@dataclass(frozen=True)
class Label:
    """One class of one head: the id that data and JSON carry, the name that people see."""

    id: str
    name: str


@dataclass(frozen=True)
class Category(Label):
    """An issue category.

    Attributes:
        definition: one sentence for people who label.
        lead: id of the provincial body that leads.
        commune: ids of the commune's bodies, first the usual one.
        default_urgency: the level when nothing in the text raises or lowers it.
        sensitive: seen only by those who need it.
        review_always: a person looks whatever the model says.
    """

    definition: str
    lead: str
    commune: tuple[str, ...]
    default_urgency: str
    sensitive: bool
    review_always: bool


@dataclass(frozen=True)
class Taxonomy:
    """What the model may answer. `urgency_levels` run from the gravest to the least."""

    version: str
    sha256: str
    categories: tuple[Category, ...]
    urgency_levels: tuple[Label, ...]
    petition_types: tuple[Label, ...]
    bodies: dict[str, str]
    confusable_pairs: tuple[tuple[str, str], ...]

    @property
    def heads(self) -> dict[str, tuple[Label, ...]]:
        """The model's three heads and their classes, in the file's order."""
        return {
            "category": self.categories,
            "urgency": self.urgency_levels,
            "petition_type": self.petition_types,
        }


def load_taxonomy(path: Path) -> Taxonomy:
    """Read and check a taxonomy file.

    Raises:
        PetitionError: INVALID_TAXONOMY, naming the entry that does not fit.
    """
    raw = path.read_bytes()
    try:
        document = yaml.safe_load(raw)
        return _parse(document, hashlib.sha256(raw).hexdigest())
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error).split("\n")[0]
        raise PetitionError(
            ErrorKind.INVALID_TAXONOMY, f"{path} is not a taxonomy: {reason}; compare it with the shipped file"
        ) from error


def _parse(document: dict[str, Any], sha256: str) -> Taxonomy:
    bodies = {body: entry["name_vi"] for group in document["bodies"].values() for body, entry in group.items()}
    levels = sorted(document["urgency_levels"], key=lambda level: -level["rank"])
    urgency = tuple(Label(level["id"], level["name_vi"]) for level in levels)
    taxonomy = Taxonomy(
        version=str(document["version"]),
        sha256=sha256,
        categories=tuple(_category(entry) for entry in document["issue_categories"]),
        urgency_levels=urgency,
        petition_types=tuple(Label(entry["id"], entry["name_vi"]) for entry in document["petition_types"]),
        bodies=bodies,
        confusable_pairs=tuple((first, second) for first, second in document["confusable_pairs"]),
    )
    _check(taxonomy)
    return taxonomy


def _category(entry: dict[str, Any]) -> Category:
    try:
        return Category(
            id=entry["id"],
            name=entry["name_vi"],
            definition=entry["definition"],
            lead=entry["lead"],
            commune=tuple(entry["commune"]),
            default_urgency=entry["default_urgency"],
            sensitive=bool(entry.get("sensitive", False)),
            review_always=entry.get("review") == "always",
        )
    except KeyError as error:
        raise ValueError(f"{entry.get('id', 'a category')} lacks {error}") from error


def _check(taxonomy: Taxonomy) -> None:
    for head, labels in taxonomy.heads.items():
        ids = [label.id for label in labels]
        if repeated := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"{head} has the same id twice: '{repeated[0]}'")
        if any(not label.name.strip() for label in labels):
            raise ValueError(f"{head} has an empty name")
    categories = {category.id for category in taxonomy.categories}
    levels = {level.id for level in taxonomy.urgency_levels}
    if OTHER not in categories or EMERGENCY not in levels:
        raise ValueError(f"category '{OTHER}' and urgency '{EMERGENCY}' must exist")
    for category in taxonomy.categories:
        if category.default_urgency not in levels:
            raise ValueError(f"{category.id} has unknown default_urgency '{category.default_urgency}'")
        for body in (category.lead, *category.commune):
            if body not in taxonomy.bodies:
                raise ValueError(f"{category.id} names unknown body '{body}'")
    for pair in taxonomy.confusable_pairs:
        if unknown := set(pair) - categories:
            raise ValueError(f"confusable_pairs names unknown category '{unknown.pop()}'")
