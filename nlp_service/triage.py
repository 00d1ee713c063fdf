"""What an office adds to the model's answer: the place, flags, the body that gets the petition, and by when. Pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from nlp_service.deadlines import Deadline, DeadlineRules, load_deadlines
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.flags import Flags, extract
from nlp_service.pii import mask
from nlp_service.pipeline import Classification
from nlp_service.places import Gazetteer, Place, PlaceStatus, load_gazetteer
from nlp_service.routing import Routing, RoutingTable, load_routing
from nlp_service.taxonomy import EMERGENCY, Taxonomy

REMOTE = "mountain"
"""The zone whose complaints have the longer limits of remote areas (Law on Complaints 2011, Articles 28 and 37)."""


@dataclass(frozen=True)
class Sender:
    """Who sent it, apart from the text."""

    name: str | None = None
    phone: str | None = None
    email: str | None = None
    address: str | None = None
    citizen_id: str | None = None

    def known(self) -> dict[str, str]:
        """The fields that are filled."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True)
class Incoming:
    """A petition as it comes in.

    Attributes:
        external_id: the sending system's own id; a second petition with the same one is the first, sent again.
        received_at: aware.
        commune: the place field of the form, if the sender filled one.
        location: where the matter is, for people: lat, long, address, media_url.
    """

    text: str
    received_at: datetime
    external_id: str | None = None
    channel: str = "api"
    commune: str | None = None
    sender: Sender = field(default_factory=Sender)
    location: dict[str, Any] | None = None


@dataclass(frozen=True)
class Labels:
    """What a petition is, said by the model or by a person: ids of the taxonomy."""

    category: str
    urgency: str
    petition_type: str


@dataclass(frozen=True)
class Assessment:
    """Everything that follows from a petition and its labels by rule.

    Attributes:
        deadlines: in order of time; the last is the one to answer by.
    """

    place: Place
    flags: Flags
    routing: Routing
    deadlines: tuple[Deadline, ...]
    emergency: bool

    @property
    def answer_by(self) -> datetime:
        """When the petition is due: for an emergency its first action, else the last of its deadlines."""
        return self.deadlines[0 if self.emergency else -1].due_at


@dataclass(frozen=True)
class Rules:
    """The rules in force, read from files.

    Attributes:
        version: changes with any of them.
        taxonomy: the labels that they speak of.
    """

    gazetteer: Gazetteer
    routing: RoutingTable
    deadlines: DeadlineRules
    version: str
    taxonomy: Taxonomy

    def sensitive(self, category: str) -> bool:
        """Whether the taxonomy says that petitions of this category are seen only by those who need them."""
        return any(entry.sensitive for entry in self.taxonomy.categories if entry.id == category)

    def assess(self, incoming: Incoming, classification: Classification) -> Assessment:
        """Place, flags, routing and deadlines of a petition that the model has just read."""
        decision = classification.decision
        labels = Labels(decision.category.id, decision.urgency.id, decision.petition_type.id)
        second = decision.alternatives[0].probability if decision.alternatives else 0.0
        return self.judge(incoming, labels, classification.wording, self.locate(incoming), second)

    def locate(self, incoming: Incoming) -> Place:
        """The place by the form's field, or where that says nothing by the text."""
        fields = (incoming.commune,) if incoming.commune else ()
        return self.place(incoming.text, fields, incoming.received_at.year)

    def place(self, text: str, fields: Sequence[str] = (), year: int | None = None) -> Place:
        """The place by the first of `fields` that names one, or by the text. `year` of receipt, as in `Gazetteer.resolve`."""
        named = (self.gazetteer.resolve(field, year) for field in fields)
        return next((place for place in named if place.status is not PlaceStatus.UNKNOWN), None) or self.gazetteer.find(
            text, year
        )

    def judge(
        self, incoming: Incoming, labels: Labels, wording: str, place: Place, second_probability: float
    ) -> Assessment:
        """Flags, routing and deadlines of a petition with these labels at this place.

        Args:
            wording: the text as the rules read it (`Classification.wording`).
            second_probability: the model's, of the category that comes second.
        """
        flags = extract(
            incoming.text,
            sender_name=incoming.sender.name,
            sender_address=incoming.sender.address,
            petition_type=labels.petition_type,
            second_probability=second_probability,
        )
        routing = self.routing.route(
            category=labels.category,
            petition_type=labels.petition_type,
            urgency=labels.urgency,
            wording=wording,
            place=place,
        )
        deadlines = self.deadlines.deadlines(
            labels.petition_type,
            labels.urgency,
            incoming.received_at,
            remote=place.unit is not None and REMOTE in place.unit.zones,
        )
        return Assessment(place, flags, routing, deadlines, emergency=labels.urgency == EMERGENCY)

    def place_of(self, stored: dict[str, Any]) -> Place:
        """The place that `place_as_dict` wrote; a unit that is no longer known is UNKNOWN."""
        units = self.gazetteer.units
        status = PlaceStatus(stored["status"])
        unit = units.get(stored["commune_code"]) if stored["commune_code"] else None
        if status is PlaceStatus.FOUND and unit is None:
            return Place(PlaceStatus.UNKNOWN)
        candidates = tuple(units[entry["code"]] for entry in stored["candidates"] if entry["code"] in units)
        return Place(status, unit, candidates, stored["evidence"], stored["former"], stored["province"])


def load_rules(directory: Path, taxonomy: Taxonomy) -> Rules:
    """Read places.yaml, routing.yaml, deadlines.yaml and holidays.yaml.

    Raises:
        PetitionError: INVALID_RULES naming the file and the entry that does not fit.
    """
    files = [directory / name for name in ("places.yaml", "routing.yaml", "deadlines.yaml", "holidays.yaml")]
    try:
        digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        places, routing, deadlines, holidays = files
        table = load_routing(routing, taxonomy)
        return Rules(
            load_gazetteer(places),
            table,
            load_deadlines(deadlines, holidays),
            f"{table.version}+{digest[:12]}",
            taxonomy,
        )
    except (OSError, ValueError) as error:
        raise PetitionError(
            ErrorKind.INVALID_RULES,
            f"the rules in {directory} cannot be read: {error}; correct them or set PETITIONS_RULES",
        ) from error


def place_as_dict(place: Place) -> dict[str, Any]:
    """For JSON and the store."""
    return {
        "status": place.status.value,
        "commune_code": place.unit.code if place.unit else None,
        "commune": place.unit.full_name if place.unit else None,
        "candidates": [{"code": unit.code, "name": unit.full_name} for unit in place.candidates],
        "evidence": mask(place.evidence),
        "former": place.former,
        "province": place.province,
    }


def flags_as_dict(assessment: Assessment) -> dict[str, Any]:
    """For JSON and the store; the words that a flag was found by are masked."""
    flags = assessment.flags.as_dict()
    evidence = {name: mask(value) for name, value in flags.items() if name.endswith("_evidence")}
    return {**flags, **evidence, "out_of_jurisdiction": assessment.routing.outside}


def routing_as_dict(assessment: Assessment, table: RoutingTable) -> dict[str, Any]:
    """For JSON and the store: bodies with their names, the trace, and every deadline with its basis."""
    routing, unit = assessment.routing, assessment.place.unit
    return {
        "lead": {"id": routing.lead, "name": routing.lead_name},
        "supporting": [{"id": body, "name": table.name(body, unit)} for body in routing.supporting],
        "commune_unit": (
            {"id": routing.commune_unit, "name": table.name(routing.commune_unit, unit)}
            if routing.commune_unit
            else None
        ),
        "commune_code": routing.commune_code,
        "restricted": routing.restricted,
        "outside": routing.outside,
        "advice": list(routing.advice),
        "redirect": {"id": routing.redirect, "name": table.name(routing.redirect)} if routing.redirect else None,
        "rule": routing.rule,
        # The words that a rule was found by may hold a name, and a trace is read by more people than the petition.
        "trace": [{**asdict(step), "evidence": mask(step.evidence)} for step in routing.trace],
        "deadlines": [{**asdict(deadline), "due_at": deadline.due_at.isoformat()} for deadline in assessment.deadlines],
    }
