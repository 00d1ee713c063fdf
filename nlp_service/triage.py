"""What an office adds to the model's answer: the place, flags, the body that gets the petition, and by when. Pure."""

import hashlib
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
class Assessment:
    """Everything that follows from a petition and its classification by rule.

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
    """The rules in force, read from files. `version` changes with any of them."""

    gazetteer: Gazetteer
    routing: RoutingTable
    deadlines: DeadlineRules
    version: str

    def assess(self, incoming: Incoming, classification: Classification) -> Assessment:
        """Place, flags, routing and deadlines of one petition."""
        decision = classification.decision
        year = incoming.received_at.year
        place = self.gazetteer.resolve(incoming.commune, year) if incoming.commune else None
        if place is None or place.status is PlaceStatus.UNKNOWN:
            place = self.gazetteer.find(incoming.text, year)
        second = decision.alternatives[0].probability if decision.alternatives else 0.0
        flags = extract(
            incoming.text,
            sender_name=incoming.sender.name,
            sender_address=incoming.sender.address,
            petition_type=decision.petition_type.id,
            second_probability=second,
        )
        routing = self.routing.route(
            category=decision.category.id,
            petition_type=decision.petition_type.id,
            urgency=decision.urgency.id,
            wording=classification.wording,
            place=place,
        )
        deadlines = self.deadlines.deadlines(
            decision.petition_type.id,
            decision.urgency.id,
            incoming.received_at,
            remote=place.unit is not None and REMOTE in place.unit.zones,
        )
        return Assessment(place, flags, routing, deadlines, emergency=decision.urgency.id == EMERGENCY)


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
            load_gazetteer(places), table, load_deadlines(deadlines, holidays), f"{table.version}+{digest[:12]}"
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
