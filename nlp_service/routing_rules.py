"""The routing table (datasets/routing.yaml): conditions, rules, guards; read, checked against the taxonomy, frozen."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from nlp_service.accusations import Accusations, Blame, load_accusations
from nlp_service.phrases import Phrases, join_patterns, phrases, whole_words
from nlp_service.taxonomy import Taxonomy

ANY_CATEGORY = "*"


@dataclass(frozen=True)
class Condition:
    """A fact told by the wording, or by the wording and the kind of place."""

    id: str
    name: str
    words: str
    unless: re.Pattern[str] | None
    zone_words: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Rule:
    """Category and constraints (None: any) -> bodies. `to_confirm`: the responsibility is proposed, not read in a text."""

    id: str
    category: str
    condition: str | None
    zone: str | None
    petition_type: str | None
    urgency: str | None
    lead: str
    support: tuple[str, ...]
    commune_unit: str | None
    commune_leads: bool
    basis: str
    priority: int
    to_confirm: bool

    @property
    def specificity(self) -> int:
        """How many constraints it has beside the category."""
        return sum(x is not None for x in (self.condition, self.zone, self.petition_type, self.urgency))

    def meets(self, other: "Rule") -> bool:
        """Whether one petition can match both."""
        fixed = ((self.petition_type, other.petition_type), (self.urgency, other.urgency))
        return all(mine is None or theirs is None or mine == theirs for mine, theirs in fixed)


@dataclass(frozen=True)
class Guard:
    """An office that can be accused, who must then not get the petition, and who gets it instead.

    Attributes:
        advice: to the writer, where the province does not decide; `redirect` is who does.
        misdeeds_only: being slow is no accusation: the highest offices hear that in half of all letters.
        on_mention: where conduct is the matter, being named is enough to be kept out.
        condition: words that keep it out as an accusation does.
    """

    id: str
    name: str
    excludes: frozenset[str]
    instead: tuple[str, ...]
    advice: str
    redirect: str | None
    misdeeds_only: bool
    on_mention: bool
    condition: str | None
    basis: str

    def least(self, guarded: bool) -> Blame:
        """The least that has to be said; `guarded`: a denunciation, or conduct is the matter."""
        if not guarded or self.misdeeds_only:
            return Blame.MISDEED
        return Blame.NAMED if self.on_mention else Blame.NEGLECT


@dataclass(frozen=True)
class Extra:
    """An entry of `emergency`, `restricted` or `outside`; it holds when every constraint that is there does."""

    id: str
    name: str
    condition: str | None
    unless: frozenset[str]
    categories: frozenset[str]
    petition_types: frozenset[str]
    elsewhere: bool
    add: tuple[str, ...]
    lead: str | None
    redirect: str | None
    advice: str
    basis: str

    def holds(self, category: str, petition_type: str, found: Mapping[str, str], elsewhere: bool) -> bool:
        """For a petition of that category and type whose conditions `found` hold."""
        return (
            (not self.categories or category in self.categories)
            and (not self.petition_types or petition_type in self.petition_types)
            and (self.condition is None or self.condition in found)
            and (not self.elsewhere or elsewhere)
            and not self.unless & found.keys()
        )


@dataclass(frozen=True)
class Conditions:
    """Conditions looked for together.

    Attributes:
        phrases: by condition and the zone that the place has to lie in, None for any place.
    """

    phrases: Phrases[tuple[str, str | None]]
    unless: dict[str, re.Pattern[str]]

    def find(self, text: str, zones: frozenset[str]) -> dict[str, str]:
        """Conditions that hold -> the words that say so."""
        found: dict[str, str] = {}
        for (condition, zone), start, end in self.phrases.find(text):
            if zone is None or zone in zones:
                found.setdefault(condition, text[start:end])
        return {
            id_: words for id_, words in found.items() if id_ not in self.unless or not self.unless[id_].search(text)
        }


@dataclass(frozen=True)
class RoutingRules:
    """The routing table as it is written, checked against a taxonomy.

    Attributes:
        bodies: id -> Vietnamese name, the taxonomy's and the table's own.
        commune_names: commune bodies: id -> kind of unit -> name with `{unit}` in it.
        by_category: its rules and those of every category, strongest first.
        anywhere, within: the conditions that matter to every petition, and to one of a category.
        fallback: who leads when all who would are accused, in this order; the last can never be.
    """

    version: str
    bodies: dict[str, str]
    commune_names: dict[str, dict[str, str]]
    conditions: dict[str, Condition]
    by_category: dict[str, tuple[Rule, ...]]
    anywhere: Conditions
    within: dict[str, Conditions]
    accusations: Accusations
    guards: dict[str, Guard]
    guarded_categories: frozenset[str]
    escalate_if: str
    emergency: tuple[Extra, ...]
    restricted: tuple[Extra, ...]
    outside: tuple[Extra, ...]
    fallback: tuple[str, ...]


def read_rules(path: Path, taxonomy: Taxonomy) -> RoutingRules:
    """Read and check a routing table against a taxonomy.

    Raises:
        ValueError: naming the file and the entry: a field or id that is not known, a pattern that is none, a category
            without default rule (GAP), or two rules of equal strength that one petition can match (CONFLICT).
    """
    try:
        document = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return _Loader(document, taxonomy).rules()
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    except KeyError as error:
        raise ValueError(f"{path}: lacks {error}; compare it with the shipped file") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


_RULE_FIELDS = frozenset(
    [
        "id",
        "category",
        "condition",
        "zone",
        "petition_type",
        "urgency",
        "lead",
        "support",
        "commune_unit",
        "level",
        "basis",
        "priority",
        "confirm",
    ]
)
_EXTRA_FIELDS = frozenset(
    [
        "id",
        "name_vi",
        "condition",
        "unless",
        "categories",
        "petition_types",
        "place",
        "add",
        "lead",
        "redirect",
        "advice",
        "basis",
        "confirm",
    ]
)
_GUARD_FIELDS = frozenset(
    [
        "id",
        "name_vi",
        "words",
        "excludes",
        "instead",
        "advice",
        "redirect",
        "misdeeds_only",
        "on_mention",
        "condition",
        "basis",
        "confirm",
    ]
)
_CONDITION_FIELDS = frozenset(["name_vi", "words", "unless", "zone_words"])


class _Loader:
    """Checks every reference while it builds the table."""

    def __init__(self, document: dict[str, Any], taxonomy: Taxonomy) -> None:
        self.document = document
        self.taxonomy = taxonomy
        self.bodies = taxonomy.bodies | {body: entry["name_vi"] for body, entry in document["bodies"].items()}
        self.commune_names: dict[str, dict[str, str]] = document["commune_names"]
        self.zones = frozenset(document["zones"])
        self.types = frozenset(label.id for label in taxonomy.petition_types)
        self.levels = frozenset(label.id for label in taxonomy.urgency_levels)
        self.categories = tuple(category.id for category in taxonomy.categories)
        self.conditions = {id_: self._condition(id_, entry) for id_, entry in document["conditions"].items()}

    def rules(self) -> RoutingRules:
        document = self.document
        self._known("commune_names", "body", self.commune_names, self.taxonomy.bodies)
        rules = self._by_category()
        guards = {guard.id: guard for guard in map(self._guard, document["guards"])}
        emergency, restricted, outside = (
            tuple(self._extra(section, entry) for entry in document[section])
            for section in ("emergency", "restricted", "outside")
        )
        escalate_if = document["escalate_if"]
        self._known("escalate_if", "condition", [escalate_if], self.conditions)
        fallback = tuple(document["fallback"])
        self._known("fallback", "body", fallback, self.bodies)
        for guard in guards.values():
            if fallback[-1] in guard.excludes:
                raise ValueError(
                    f"guard '{guard.id}' excludes '{fallback[-1]}', the last of fallback; nobody would lead"
                )
        guarded = frozenset(document["guarded_categories"])
        self._known("guarded_categories", "category", guarded, self.categories)
        extras = (*emergency, *restricted, *outside)
        return RoutingRules(
            version=str(document["version"]),
            bodies=self.bodies,
            commune_names=self.commune_names,
            conditions=self.conditions,
            by_category=rules,
            anywhere=self._together(
                [
                    escalate_if,
                    *(guard.condition for guard in guards.values()),
                    *(id_ for extra in extras for id_ in (extra.condition, *extra.unless)),
                ]
            ),
            within={
                category: self._together(rule.condition for rule in rules[category]) for category in self.categories
            },
            accusations=load_accusations(
                document["accusations"],
                [
                    (guard["id"], join_patterns(f"guard '{guard['id']}'", guard["words"]))
                    for guard in document["guards"]
                ],
            ),
            guards=guards,
            guarded_categories=guarded,
            escalate_if=escalate_if,
            emergency=emergency,
            restricted=restricted,
            outside=outside,
            fallback=fallback,
        )

    def _known(self, where: str, what: str, ids: Iterable[str | None], known: Iterable[str]) -> None:
        if unknown := sorted({id_ for id_ in ids if id_ is not None} - set(known)):
            raise ValueError(f"{where} names unknown {what} '{unknown[0]}'")

    def _fields(self, where: str, entry: Mapping[str, Any], fields: frozenset[str], required: str) -> None:
        self._known(where, "field", entry, fields)
        if missing := [field for field in required.split() if not entry.get(field)]:
            raise ValueError(f"{where} lacks '{missing[0]}'")

    def _condition(self, id_: str, entry: dict[str, Any]) -> Condition:
        where = f"condition '{id_}'"
        self._fields(where, entry, _CONDITION_FIELDS, "name_vi words")
        zone_words: dict[str, list[str]] = entry.get("zone_words", {})
        self._known(where, "zone", zone_words, self.zones)
        return Condition(
            id_,
            entry["name_vi"],
            join_patterns(where, entry["words"]),
            whole_words(join_patterns(where, entry["unless"])) if entry.get("unless") else None,
            tuple((zone, join_patterns(where, words)) for zone, words in zone_words.items()),
        )

    def _by_category(self) -> dict[str, tuple[Rule, ...]]:
        rules = [self._rule(entry) for entry in self.document["rules"]]
        ids = [rule.id for rule in rules]
        if repeated := sorted({id_ for id_ in ids if ids.count(id_) > 1}):
            raise ValueError(f"rule '{repeated[0]}' is there twice")
        by_category = {}
        for category in self.categories:
            own = [rule for rule in rules if rule.category in (category, ANY_CATEGORY)]
            if not any(rule.specificity == 0 for rule in own):
                raise ValueError(f"GAP: category '{category}' has no rule without constraints")
            for first, second in combinations(own, 2):
                strength = (first.specificity, first.priority)
                if strength == (second.specificity, second.priority) and first.meets(second):
                    raise ValueError(
                        f"CONFLICT: rules '{first.id}' and '{second.id}' can match one petition with equal strength; "
                        "give one of them another priority"
                    )
            by_category[category] = tuple(sorted(own, key=lambda rule: (-rule.specificity, -rule.priority)))
        return by_category

    def _rule(self, entry: dict[str, Any]) -> Rule:
        where = f"rule '{entry.get('id')}'"
        self._fields(where, entry, _RULE_FIELDS, "id category lead basis")
        self._known(where, "category", [entry["category"]], (*self.categories, ANY_CATEGORY))
        self._known(where, "condition", [entry.get("condition")], self.conditions)
        self._known(where, "zone", [entry.get("zone")], self.zones)
        self._known(where, "petition type", [entry.get("petition_type")], self.types)
        self._known(where, "urgency", [entry.get("urgency")], self.levels)
        self._known(where, "body", [entry["lead"], *entry.get("support", [])], self.bodies)
        self._known(where, "commune body", [entry.get("commune_unit")], self.commune_names)
        level = entry.get("level", "province")
        self._known(where, "level", [level], ("commune", "province"))
        if entry["lead"] in self.commune_names:
            raise ValueError(f"{where}: lead is the province's body; the commune's is commune_unit with level: commune")
        if level == "commune" and not entry.get("commune_unit"):
            raise ValueError(f"{where} has level: commune but no commune_unit")
        return Rule(
            id=entry["id"],
            category=entry["category"],
            condition=entry.get("condition"),
            zone=entry.get("zone"),
            petition_type=entry.get("petition_type"),
            urgency=entry.get("urgency"),
            lead=entry["lead"],
            support=tuple(entry.get("support", [])),
            commune_unit=entry.get("commune_unit"),
            commune_leads=level == "commune",
            basis=entry["basis"],
            priority=int(entry.get("priority", 0)),
            to_confirm=bool(entry.get("confirm", False)),
        )

    def _guard(self, entry: dict[str, Any]) -> Guard:
        where = f"guard '{entry.get('id')}'"
        self._fields(where, entry, _GUARD_FIELDS, "id name_vi words instead basis")
        excludes = frozenset(entry.get("excludes", []))
        self._known(where, "body", [*excludes, *entry["instead"], entry.get("redirect")], self.bodies)
        self._known(where, "condition", [entry.get("condition")], self.conditions)
        if wrong := sorted(excludes & set(entry["instead"])):
            raise ValueError(f"{where} sends to '{wrong[0]}', which it excludes")
        return Guard(
            id=entry["id"],
            name=entry["name_vi"],
            excludes=excludes,
            instead=tuple(entry["instead"]),
            advice=entry.get("advice", ""),
            redirect=entry.get("redirect"),
            misdeeds_only=bool(entry.get("misdeeds_only", False)),
            on_mention=bool(entry.get("on_mention", False)),
            condition=entry.get("condition"),
            basis=entry["basis"],
        )

    def _extra(self, section: str, entry: dict[str, Any]) -> Extra:
        where = f"{section} '{entry.get('id')}'"
        self._fields(where, entry, _EXTRA_FIELDS, "id name_vi" if section == "emergency" else "id name_vi basis")
        unless = frozenset(entry.get("unless", []))
        self._known(where, "condition", [entry.get("condition"), *unless], self.conditions)
        self._known(where, "category", entry.get("categories", []), self.categories)
        self._known(where, "petition type", entry.get("petition_types", []), self.types)
        self._known(where, "body", [entry.get("lead"), entry.get("redirect"), *entry.get("add", [])], self.bodies)
        self._known(where, "place", [entry.get("place")], ["outside"])
        return Extra(
            id=entry["id"],
            name=entry["name_vi"],
            condition=entry.get("condition"),
            unless=unless,
            categories=frozenset(entry.get("categories", [])),
            petition_types=frozenset(entry.get("petition_types", [])),
            elsewhere="place" in entry,
            add=tuple(entry.get("add", [])),
            lead=entry.get("lead"),
            redirect=entry.get("redirect"),
            advice=entry.get("advice", ""),
            basis=entry.get("basis", ""),
        )

    def _together(self, used: Iterable[str | None]) -> Conditions:
        conditions = [self.conditions[id_] for id_ in dict.fromkeys(used) if id_ is not None]
        words = [
            ((condition.id, zone), text)
            for condition in conditions
            for zone, text in ((None, condition.words), *condition.zone_words)
        ]
        return Conditions(phrases(words), {each.id: each.unless for each in conditions if each.unless})
