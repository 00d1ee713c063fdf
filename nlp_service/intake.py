"""Taking petitions in: classified, assessed and stored in one transaction, so that what was answered is kept, once.

Intake is idempotent twice over: a petition with an external id that is known is the same petition, and a request that is
repeated with its Idempotency-Key gets the first answer again.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from nlp_service import audit
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.pipeline import Classification
from nlp_service.priority import margin, risk
from nlp_service.store import (
    alerts,
    assignments,
    embeddings,
    idempotency,
    petitions,
    predictions,
    routings,
    senders,
    writing,
)
from nlp_service.text import fold, normalise
from nlp_service.triage import Assessment, Incoming, Rules, Sender, flags_as_dict, place_as_dict, routing_as_dict
from nlp_service.vectors import pack

log = logging.getLogger(__name__)

REPEAT_WITHIN = timedelta(days=365)
"""The same sender about the same category within this time is a repeat."""

IDEMPOTENCY_KEPT = timedelta(days=7)
"""Long enough for a client that repeats a request after a long week-end's outage."""

_ATTEMPTS = 5
_GIVE_WAY = ("40P01", "40001")
_SHORTEST_NUMBER = 9


@dataclass(frozen=True)
class Receipt:
    """What became of one petition handed in: `body` is its JSON; `created` is false for one that was here already."""

    body: dict[str, Any]
    created: bool


@dataclass(frozen=True)
class RequestKey:
    """An Idempotency-Key and what it was sent with."""

    key: str
    request_sha256: str


@dataclass(frozen=True)
class _Work:
    """One petition on its way into the store."""

    incoming: Incoming
    classification: Classification
    assessment: Assessment
    folded: str
    sha256: str


class Intake:
    """Stores what came in, with its classification and everything that follows from it by rule.

    Args:
        names: Vietnamese names of bodies by id.
        on_alert: called after the commit when an emergency was among the petitions; None: nobody is to be alerted.
    """

    def __init__(
        self,
        engine: Engine,
        rules: Rules,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_alert: Callable[[], None] | None = None,
    ) -> None:
        self._engine = engine
        self._rules = rules
        self._clock = clock
        self._on_alert = on_alert

    def replay(self, actor: str, request: RequestKey) -> Any | None:
        """The answer that this request got the first time; None if it is new.

        Raises:
            PetitionError: CONFLICT if the key came with another request before.
        """
        with self._engine.connect() as connection:
            return _replay(connection, actor, request)

    def take(
        self,
        incoming: Sequence[Incoming],
        classifications: Sequence[Classification | PetitionError],
        actor: str,
        request: RequestKey | None = None,
        answer: Callable[[list[Receipt | PetitionError]], Any] = lambda receipts: receipts,
    ) -> Any:
        """Store a batch and return `answer(receipts)`, which is also what a repeated request will get.

        A petition that could not be classified is not stored: its receipt is the error.
        """
        work = [
            self._work(i, c) if isinstance(c, Classification) else c
            for i, c in zip(incoming, classifications, strict=True)
        ]
        for attempt in range(_ATTEMPTS):
            try:
                with writing(self._engine) as connection:
                    response, alarm = self._store(connection, work, actor, request, answer)
                if alarm and self._on_alert:
                    self._on_alert()
                return response
            except DBAPIError as error:
                # Another request stored one of these external ids, or this key, at the same moment: now it is there to be
                # found. PostgreSQL may also have chosen this one to give way (deadlock, serialisation).
                again = isinstance(error, IntegrityError) or getattr(error.orig, "sqlstate", "") in _GIVE_WAY
                if not again or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def add(
        self,
        connection: Connection,
        incoming: Sequence[Incoming],
        classifications: Sequence[Classification],
        actor: str,
    ) -> list[dict[str, Any]]:
        """Store petitions within the caller's transaction, each as `describe` gives it; none may have an external id."""
        work = [self._work(i, c) for i, c in zip(incoming, classifications, strict=True)]
        return self._insert(connection, work, actor, self._clock())

    def _work(self, incoming: Incoming, classification: Classification) -> _Work:
        folded = fold(normalise(incoming.text))
        sha256 = hashlib.sha256(folded.encode()).hexdigest()
        return _Work(incoming, classification, self._rules.assess(incoming, classification), folded, sha256)

    def _store(
        self,
        connection: Connection,
        work: Sequence[_Work | PetitionError],
        actor: str,
        request: RequestKey | None,
        answer: Callable[[list[Receipt | PetitionError]], Any],
    ) -> tuple[Any, bool]:
        """The answer, and whether a new emergency is in it."""
        if request and (known := _replay(connection, actor, request)) is not None:
            return known, False
        receipts, fresh = _known(connection, work, actor)
        now = self._clock()
        bodies = self._insert(connection, [work[index] for index in fresh], actor, now) if fresh else []  # type: ignore[misc]
        for index, body in zip(fresh, bodies, strict=True):
            receipts[index] = Receipt(body, created=True)
        for index, earlier in _within_batch(work, fresh, receipts).items():
            receipts[index] = earlier
        complete = [receipt for receipt in receipts if receipt is not None]
        response = answer(complete)
        failed = any(isinstance(receipt, PetitionError) and receipt.http_status >= 500 for receipt in complete)
        if request and not failed:  # what failed here may be sent again under the same key
            forget_requests(connection, now)
            connection.execute(
                insert(idempotency).values(
                    actor=actor, key=request.key, request_sha256=request.request_sha256, response=response, at=now
                )
            )
        return response, any(body["emergency"] for body in bodies)

    def _insert(self, connection: Connection, work: Sequence[_Work], actor: str, now: datetime) -> list[dict[str, Any]]:
        rows = [_petition_row(item, actor, now, self._rules) for item in work]
        ids = list(
            connection.execute(
                insert(petitions).returning(petitions.c.id, sort_by_parameter_order=True), rows
            ).scalars()
        )
        numbered = list(zip(ids, work, strict=True))
        known_senders = [
            {"petition_id": i, **item.incoming.sender.__dict__, "fingerprint": fingerprint(item.incoming.sender)}
            for i, item in numbered
            if item.incoming.sender.known()
        ]
        if known_senders:
            connection.execute(insert(senders), known_senders)
        results = [item.classification.as_dict() for item in work]
        connection.execute(
            insert(predictions),
            [
                prediction_row(i, now, item.classification, result)
                for (i, item), result in zip(numbered, results, strict=True)
            ],
        )
        routes = [routing_as_dict(item.assessment, self._rules.routing) for item in work]
        connection.execute(
            insert(routings),
            [routing_row(i, now, route, self._rules.version) for i, route in zip(ids, routes, strict=True)],
        )
        connection.execute(
            insert(assignments),
            [row for i, route in zip(ids, routes, strict=True) for row in assignment_rows(i, route)],
        )
        connection.execute(
            insert(embeddings),
            [
                {
                    "petition_id": i,
                    "model_version": item.classification.model_version,
                    "vector": pack(item.classification.embedding),
                }
                for i, item in numbered
            ],
        )
        repeats = _repeats(connection, numbered)
        if repeats:
            connection.execute(
                update(petitions).where(petitions.c.id == bindparam("own")).values(repeat_of=bindparam("earlier")),
                [{"own": i, "earlier": earlier} for i, earlier in repeats.items()],
            )
        seen = _seen(connection, repeats.values(), [petitions.c.submitted_by == actor])
        emergencies = [
            alert_row(
                i,
                now,
                item.incoming,
                {"id": decision.category.id, "name": decision.category.name},
                decision.urgency.probability,
                [reason.message for reason in decision.reasons if reason.code.startswith("emergency")],
                item.assessment,
                route["lead"],
            )
            for (i, item), route in zip(numbered, routes, strict=True)
            if item.assessment.emergency and self._on_alert
            for decision in (item.classification.decision,)
        ]
        if emergencies:
            connection.execute(insert(alerts), emergencies)
        audit.append(connection, now, [self._entry(i, item, actor) for i, item in numbered])
        return [
            describe({**row, "id": i, "repeat_of": seen.get(repeats.get(i)), "version": 1}, result, route)
            for i, row, result, route in zip(ids, rows, results, routes, strict=True)
        ]

    def _entry(self, petition_id: int, item: _Work, actor: str) -> audit.Entry:
        decision, routing = item.classification.decision, item.assessment.routing
        return audit.Entry(
            actor,
            "petition.received",
            f"petition:{petition_id}",
            {
                "text_sha256": item.sha256,
                "model_version": item.classification.model_version,
                "category": decision.category.id,
                "urgency": decision.urgency.id,
                "petition_type": decision.petition_type.id,
                "zone": decision.decision,
                "lead": routing.lead,
                "rule": routing.rule,
                "rules_version": self._rules.version,
                "due_at": item.assessment.answer_by.isoformat(),
            },
        )


def describe(row: Mapping[Any, Any], classification: dict[str, Any], routing: dict[str, Any]) -> dict[str, Any]:
    """A stored petition for people who may not read its text: what it was judged to be, where it went, by when."""
    return {
        "id": row["id"],
        "external_id": row["external_id"],
        "received_at": _iso(row["received_at"]),
        "channel": row["channel"],
        "status": row["status"],
        "version": row["version"],
        "emergency": row["emergency"],
        "restricted": row["restricted"],
        "category": row["category"],
        "urgency": row["urgency"],
        "petition_type": row["petition_type"],
        "place": row["place"],
        "location": row["location"],
        "flags": row["flags"],
        "repeat_of": row["repeat_of"],
        "due_at": _iso(row["due_at"]),
        "classification": classification,
        "routing": routing,
    }


def fingerprint(sender: Sender) -> str | None:
    """The same for two petitions of one sender: of the citizen id, else the phone's last nine digits, else the e-mail."""
    numbers = [_digits(number)[-length:] for number, length in ((sender.citizen_id, 12), (sender.phone, 9))]
    email = (sender.email or "").strip().lower()
    # Shorter ones are placeholders ("0", "không có"), which strangers share.
    for value in (*(n for n in numbers if len(n) >= _SHORTEST_NUMBER), email if "@" in email else ""):
        if value:
            return hashlib.sha256(value.encode()).hexdigest()
    return None


def assignment_rows(petition_id: int, route: dict[str, Any]) -> list[dict[str, Any]]:
    """Which bodies a petition belongs to, each once, in its first role.

    Args:
        route: as `routing_as_dict` gives it.
    """
    roles: dict[str, str] = {route["lead"]["id"]: "lead"}
    if route["commune_unit"]:
        roles.setdefault(route["commune_unit"]["id"], "commune")
    for body in route["supporting"]:
        roles.setdefault(body["id"], "support")
    return [{"petition_id": petition_id, "body": body, "role": role} for body, role in roles.items()]


def routing_row(petition_id: int, at: datetime, route: dict[str, Any], rules_version: str) -> dict[str, Any]:
    """A row of `routings`."""
    unit = route["commune_unit"]
    return {
        "petition_id": petition_id,
        "at": at,
        "lead": route["lead"]["id"],
        "commune_unit": unit["id"] if unit else None,
        "rule": route["rule"],
        "rules_version": rules_version,
        "result": route,
    }


def alert_row(
    petition_id: int,
    at: datetime,
    incoming: Incoming,
    category: dict[str, str],
    probability: float | None,
    reasons: Sequence[str],
    assessment: Assessment,
    lead: dict[str, str],
) -> dict[str, Any]:
    """A row of `alerts`: what the duty officer's system is told. Enough to act and to find the petition, nothing of its text.

    Args:
        category, lead: `id` and `name`.
        probability: the model's; None where a person raised the alarm.
    """
    payload = {
        "event": "petition.emergency",
        "petition_id": petition_id,
        "external_id": incoming.external_id,
        "received_at": incoming.received_at.astimezone(UTC).isoformat(),
        "category": category,
        "emergency_probability": probability,
        "reasons": list(reasons),
        "commune": place_as_dict(assessment.place)["commune"],
        "lead": lead,
        "first_action_by": assessment.answer_by.isoformat(),
    }
    return {"petition_id": petition_id, "payload": payload, "created_at": at, "attempts": 0, "next_attempt_at": at}


def _petition_row(item: _Work, actor: str, now: datetime, rules: Rules) -> dict[str, Any]:
    decision, assessment, incoming = item.classification.decision, item.assessment, item.incoming
    routing = assessment.routing
    # What the model is sure of goes on by itself; where the law asks for a person's judgement, or the model is not sure, one looks.
    routed = decision.decision == "auto" and not routing.outside
    return {
        "external_id": incoming.external_id,
        "text": incoming.text,
        "folded": item.folded,
        "text_sha256": item.sha256,
        "received_at": incoming.received_at,
        "created_at": now,
        "updated_at": now,
        "channel": incoming.channel,
        "submitted_by": actor,
        "commune_given": incoming.commune,
        "commune_code": assessment.place.unit.code if assessment.place.unit else None,
        "place": place_as_dict(assessment.place),
        "location": incoming.location,
        "flags": flags_as_dict(assessment),
        "category": decision.category.id,
        "urgency": decision.urgency.id,
        "petition_type": decision.petition_type.id,
        "zone": decision.decision,
        "emergency": assessment.emergency,
        "restricted": routing.restricted,
        "lead_body": routing.lead,
        "status": "routed" if routed else "in_review",
        "due_at": assessment.answer_by,
        "queued": not routed or assessment.emergency,  # an emergency goes on at once, and is looked at all the same
        "risk": risk(decision, assessment.emergency, routing.restricted, rules.sensitive(decision.category.id)).value,
        "margin": margin(decision),
    }


def _known(
    connection: Connection, work: Sequence[_Work | PetitionError], actor: str
) -> tuple[list[Receipt | PetitionError | None], list[int]]:
    """Receipts of what needs no storing (errors, petitions that are here already), and the places of those to store."""
    external = {w.incoming.external_id for w in work if isinstance(w, _Work) and w.incoming.external_id}
    own = petitions.c.submitted_by == actor
    here = (
        {row["external_id"]: row for row in stored(connection, and_(own, petitions.c.external_id.in_(external)), [own])}
        if external
        else {}
    )
    receipts: list[Receipt | PetitionError | None] = []
    fresh: list[int] = []
    first: set[str] = set()
    for index, item in enumerate(work):
        if isinstance(item, PetitionError):
            receipts.append(item)
            continue
        name = item.incoming.external_id
        if name in here:
            receipts.append(_same_or_conflict(item, here[name]["text_sha256"], here[name]["body"]))
            continue
        receipts.append(None)
        if name is None or name not in first:
            fresh.append(index)
        if name:
            first.add(name)
    # Always in the same order, so that two requests with the same ids do not wait for each other crosswise.
    fresh.sort(key=lambda index: _external_id(work[index]))
    return receipts, fresh


def _external_id(item: _Work | PetitionError) -> str:
    """What a petition is called by its sender; "" if it is not called anything."""
    return (item.incoming.external_id or "") if isinstance(item, _Work) else ""


def _within_batch(
    work: Sequence[_Work | PetitionError], fresh: Sequence[int], receipts: Sequence[Receipt | PetitionError | None]
) -> dict[int, Receipt | PetitionError]:
    """Receipts of petitions that repeat the external id of an earlier one of the same batch."""
    firsts: dict[str, int] = {}
    for index in fresh:
        item = work[index]
        if isinstance(item, _Work) and item.incoming.external_id:
            firsts[item.incoming.external_id] = index
    result: dict[int, Receipt | PetitionError] = {}
    for index, receipt in enumerate(receipts):
        item = work[index]
        if receipt is None and isinstance(item, _Work) and item.incoming.external_id:
            original = firsts[item.incoming.external_id]
            first, made = work[original], receipts[original]
            assert isinstance(first, _Work) and isinstance(made, Receipt)
            result[index] = _same_or_conflict(item, first.sha256, made.body)
    return result


def _same_or_conflict(item: _Work, sha256: str, body: dict[str, Any]) -> Receipt | PetitionError:
    if item.sha256 == sha256:
        return Receipt(body, created=False)
    return PetitionError(
        ErrorKind.CONFLICT,
        f"external_id is that of petition {body['id']}, which has another text; send the new one under an id of its own",
        petition_id=body["id"],
    )


def stored(
    connection: Connection, where: ColumnElement[bool], seen_by: Sequence[ColumnElement[bool]]
) -> list[dict[str, Any]]:
    """Petitions with their first prediction, which their labels began with, and their newest routing: the row's columns, and
    `body` as `describe` gives it. What later models said on reading them again (reread.py) is in `predictions`.

    Args:
        connection: a `store.snapshot`, or the transaction that writes.
        seen_by: what the reader may see: `repeat_of` names no other petition.
    """
    columns = [column for column in petitions.c if column.name != "folded"]
    rows = connection.execute(select(*columns).where(where)).mappings().all()
    ids = [row["id"] for row in rows]
    newest: dict[str, dict[int, Any]] = {}
    for name, table, last in (
        ("classification", predictions, predictions.c.id.desc()),
        ("routing", routings, routings.c.id),
    ):
        found = connection.execute(
            select(table.c.petition_id, table.c.result).where(table.c.petition_id.in_(ids)).order_by(last)
        )
        newest[name] = {row.petition_id: row.result for row in found}
    seen = _seen(connection, [row["repeat_of"] for row in rows], seen_by)
    return [
        {
            **row,
            "body": describe(
                {**row, "repeat_of": seen.get(row["repeat_of"])},
                newest["classification"][row["id"]],
                newest["routing"][row["id"]],
            ),
        }
        for row in rows
    ]


def _seen(
    connection: Connection, ids: Iterable[int | None], seen_by: Sequence[ColumnElement[bool]]
) -> dict[int | None, int]:
    """Those of `ids` that a reader may see, each under itself: who else petitioned is nobody's business."""
    wanted = {i for i in ids if i is not None}
    if not wanted:
        return {}
    return {
        i: i for i in connection.execute(select(petitions.c.id).where(petitions.c.id.in_(wanted), *seen_by)).scalars()
    }


def forget_requests(connection: Connection, now: datetime) -> None:
    """Drop the remembered answers whose time is over."""
    connection.execute(delete(idempotency).where(idempotency.c.at < now - IDEMPOTENCY_KEPT))


def _repeats(connection: Connection, numbered: Sequence[tuple[int, _Work]]) -> dict[int, int]:
    """For petitions that repeat an earlier one (the same words, or the same sender about the same category): its id."""
    prints = {i: fingerprint(item.incoming.sender) for i, item in numbered}
    texts = {item.sha256 for _, item in numbered}
    first_of_text = {
        row.text_sha256: row.first
        for row in connection.execute(
            select(petitions.c.text_sha256, func.min(petitions.c.id).label("first"))
            .where(petitions.c.text_sha256.in_(texts))
            .group_by(petitions.c.text_sha256)
        )
    }
    of_sender: list[Any] = []
    if known := {value for value in prints.values() if value}:
        of_sender = list(
            connection.execute(
                select(senders.c.fingerprint, petitions.c.category, petitions.c.id, petitions.c.received_at)
                .join(petitions, senders.c.petition_id == petitions.c.id)
                .where(senders.c.fingerprint.in_(known))
                .order_by(petitions.c.id)
            )
        )
    repeats: dict[int, int] = {}
    for i, item in numbered:
        category, received = item.classification.decision.category.id, item.incoming.received_at
        earlier = [
            row.id
            for row in of_sender
            if (row.fingerprint, row.category) == (prints[i], category)
            and timedelta() <= received - row.received_at <= REPEAT_WITHIN
        ]
        earliest = min(first_of_text[item.sha256], *earlier, i)
        if earliest < i:
            repeats[i] = earliest
    return repeats


def _replay(connection: Connection, actor: str, request: RequestKey) -> Any | None:
    row = connection.execute(
        select(idempotency.c.request_sha256, idempotency.c.response).where(
            idempotency.c.actor == actor, idempotency.c.key == request.key
        )
    ).one_or_none()
    if row is None:
        return None
    if row.request_sha256 != request.request_sha256:
        raise PetitionError(
            ErrorKind.CONFLICT, "this Idempotency-Key came with another request before; use a new key for a new request"
        )
    return row.response


def prediction_row(
    petition_id: int, at: datetime, classification: Classification, result: dict[str, Any]
) -> dict[str, Any]:
    """A row of `predictions`. `result`: the classification as JSON."""
    category = classification.decision.category
    return {
        "petition_id": petition_id,
        "at": at,
        "model_version": classification.model_version,
        "taxonomy_version": classification.taxonomy_version,
        "category": category.id,
        "category_probability": category.probability,
        "result": result,
    }


def request_sha256(body: bytes) -> str:
    """What tells whether two requests are the same: their bytes."""
    return hashlib.sha256(body).hexdigest()


def _digits(value: str | None) -> str:
    return "".join(character for character in value or "" if character.isdigit())


def _iso(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")  # as pydantic writes it where a petition is read
