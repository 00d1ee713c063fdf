"""The review desk: what a person decides about a petition, done at once, kept with who and how sure, and undone as one.

A decision gives the petition its labels, sends it where the rules say that a petition of these labels goes, and is a labelled
example. Every operation remembers what it changed; undoing it puts that back, as long as nobody changed the petition since.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from nlp_service import audit
from nlp_service.casework import OPEN, Status, check_version, one
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.intake import Intake, alert_row, assignment_rows, routing_row
from nlp_service.locks import held_by_another, release
from nlp_service.pipeline import Classification
from nlp_service.places import Place, PlaceStatus
from nlp_service.priority import Risk
from nlp_service.roles import Principal, Right
from nlp_service.store import (
    alerts,
    assignments,
    changes,
    decisions,
    embeddings,
    links,
    locks,
    operations,
    petitions,
    reviews,
    routings,
    senders,
    writing,
)
from nlp_service.text import check
from nlp_service.triage import (
    Assessment,
    Incoming,
    Labels,
    Rules,
    Sender,
    flags_as_dict,
    place_as_dict,
    routing_as_dict,
)

BY_A_PERSON = "cán bộ xác định"
"""Stands as the evidence of a place that a person gave."""

UNDO_WITHIN = timedelta(days=7)

DECIDABLE = (*OPEN, Status.REDIRECTED)
"""What was redirected may turn out to be the province's after all."""

_HEADS = ("category", "urgency", "petition_type")


@dataclass(frozen=True)
class Verdict:
    """What a person says of a petition.

    Attributes:
        labels: what is left None stays as it is.
        commune: code of the unit, if the petition's place was wrong or unknown; None leaves it.
        outside: not for the province to decide, whatever the rules found.
        sure: False for a reader who would like another opinion.
    """

    category: str | None = None
    urgency: str | None = None
    petition_type: str | None = None
    commune: str | None = None
    outside: bool = False
    sure: bool = True
    reason: str | None = None

    def labels(self, now: Mapping[str, Any]) -> Labels:
        """The labels that a petition (a row) has after it."""
        return Labels(*(getattr(self, head) or now[head] for head in _HEADS))


@dataclass(frozen=True)
class Outcome:
    """What an operation did.

    Attributes:
        id: of the operation, to undo it by.
        petitions: ids that it changed.
        summary: for JSON: `message`, a Vietnamese sentence, and what else the action tells.
    """

    id: int
    action: str
    petitions: tuple[int, ...]
    summary: dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """A petition and what would become of it under a verdict, computed before anything is written."""

    row: dict[str, Any]
    incoming: Incoming
    labels: Labels
    assessment: Assessment
    route: dict[str, Any]
    values: dict[str, Any]
    reading: int

    @property
    def id(self) -> int:
        """Of the petition."""
        return int(self.row["id"])

    @property
    def relabelled(self) -> bool:
        """Whether a label is another one now."""
        return any(getattr(self.labels, head) != self.row[head] for head in _HEADS)

    @property
    def rerouted(self) -> bool:
        """Whether another body leads now."""
        return bool(self.values["lead_body"] != self.row["lead_body"])


class Desk:
    """Decisions on petitions, each call on behalf of a principal.

    Args:
        wording: from a stored text to what the rules read (`Reader.wording`); called only for petitions that are decided.
        second_readings: share of petitions that a second person reads, without seeing what the first one said.
        on_alert: called after the commit when a person raised an emergency.
    """

    def __init__(
        self,
        engine: Engine,
        rules: Rules,
        wording: Callable[[str], str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        second_readings: float = 0.0,
        on_alert: Callable[[], None] | None = None,
    ) -> None:
        self._engine = engine
        self._rules = rules
        self._wording = wording
        self._clock = clock
        self._second_readings = second_readings
        self._on_alert = on_alert

    def decide(
        self, principal: Principal, petition_id: int, verdict: Verdict, version: int, request_id: str | None = None
    ) -> Outcome:
        """Accept what the petition is said to be, or correct it; it goes where it then belongs.

        Args:
            version: the one the reader saw.
            request_id: of the page that asks; the same one again is answered and not done again.

        Raises:
            PetitionError: FORBIDDEN, NOT_FOUND, CONFLICT (changed meanwhile, or in somebody else's hands),
                INVALID_REQUEST (an unknown label or commune).
        """
        principal.require(Right.HANDLE)
        self.known(verdict)
        return self.once(request_id, lambda c: self._decide(c, principal, petition_id, verdict, version, request_id))

    def preview(self, principal: Principal, petition_id: int, verdict: Verdict) -> Judged:
        """What `decide` would make of a petition. Raises PetitionError as it does, but for CONFLICT."""
        principal.require(Right.HANDLE)
        self.known(verdict)
        with self._engine.connect() as connection:
            return self.judge(connection, [one(connection, principal, petition_id)], verdict)[0]

    def done(self, principal: Principal, operation_id: int) -> dict[str, Any] | None:
        """An operation of the principal's own as `recent` gives it; None if there is no such one."""
        return next(iter(self.recent(principal, 1, operation_id)), None)

    def merge(
        self, principal: Principal, petition_id: int, into: int, version: int, request_id: str | None = None
    ) -> Outcome:
        """Close a petition as a repeat of another one, which goes on for both.

        Raises:
            PetitionError: as `decide`; INVALID_REQUEST to merge a petition into itself.
        """
        principal.require(Right.HANDLE)

        def act(connection: Connection) -> Outcome:
            row = self._take(connection, principal, petition_id, version)
            root = _root(connection, principal, into)
            if root == petition_id:
                raise PetitionError(
                    ErrorKind.INVALID_REQUEST, f"petition {petition_id} cannot be merged into itself; choose another"
                )
            values = {"status": Status.MERGED.value, "queued": False, "repeat_of": root}
            summary = {"message": f"Đã gộp đơn {petition_id} vào đơn {root}.", "into": root}
            outcome = self._record(connection, principal, "merge", [(row, values)], summary, request_id)
            self._link(connection, principal, outcome.id, petition_id, root, "merged")
            return outcome

        return self.once(request_id, act)

    def link(
        self, principal: Principal, petition_id: int, other: int, version: int, request_id: str | None = None
    ) -> Outcome:
        """Note that two petitions are about one matter; both go on."""
        principal.require(Right.HANDLE)

        def act(connection: Connection) -> Outcome:
            row = self._take(connection, principal, petition_id, version)
            one(connection, principal, other)
            if other == petition_id:
                raise PetitionError(
                    ErrorKind.INVALID_REQUEST, f"petition {petition_id} cannot be linked to itself; choose another"
                )
            pair = or_(
                and_(links.c.petition_id == petition_id, links.c.other_id == other),
                and_(links.c.petition_id == other, links.c.other_id == petition_id),
            )
            if connection.execute(select(links.c.id).where(pair, links.c.undone_at.is_(None))).first():
                raise PetitionError(ErrorKind.CONFLICT, f"petitions {petition_id} and {other} are linked already")
            summary = {"message": f"Đã liên kết đơn {petition_id} với đơn {other}.", "with": other}
            outcome = self._record(connection, principal, "link", [(row, {})], summary, request_id)
            self._link(connection, principal, outcome.id, petition_id, other, "related")
            return outcome

        return self.once(request_id, act)

    def split(
        self,
        principal: Principal,
        petition_id: int,
        texts: Sequence[str],
        read: Sequence[Classification],
        version: int,
        intake: Intake,
        request_id: str | None = None,
    ) -> Outcome:
        """Make petitions of their own of the parts of one that holds several matters; the whole is closed.

        Args:
            texts: two parts or more; `read` is what the model says of each.

        Raises:
            PetitionError: as `decide`; INVALID_REQUEST for fewer than two parts.
        """
        principal.require(Right.HANDLE)
        if len(texts) < 2:
            raise PetitionError(ErrorKind.INVALID_REQUEST, f"{len(texts)} part is no split; give two or more")

        def act(connection: Connection) -> Outcome:
            row = self._take(connection, principal, petition_id, version)
            whole = self._incoming(connection, [row])[petition_id]
            parts = [
                Incoming(text, whole.received_at, None, whole.channel, whole.commune, whole.sender, whole.location)
                for text in texts
            ]
            made = [body["id"] for body in intake.add(connection, parts, read, row["submitted_by"])]
            # The parts of one letter do not repeat each other.
            connection.execute(update(petitions).where(petitions.c.id.in_(made)).values(repeat_of=None))
            values = {"status": Status.SPLIT.value, "queued": False}
            numbers = ", ".join(str(i) for i in made)
            summary = {"message": f"Đã tách đơn {petition_id} thành các đơn {numbers}.", "parts": made}
            outcome = self._record(connection, principal, "split", [(row, values)], summary, request_id)
            for part in made:
                self._link(connection, principal, outcome.id, part, petition_id, "part")
            return outcome

        return self.once(request_id, act)

    def judge(self, connection: Connection, rows: Sequence[dict[str, Any]], verdict: Verdict) -> list[Judged]:
        """What would become of petitions (`intake.stored`) under a verdict. Writes nothing."""
        incoming = self._incoming(connection, rows)
        return [self._judge(row, incoming[row["id"]], verdict, max(1, row["readings"])) for row in rows]

    def write(
        self,
        connection: Connection,
        principal: Principal,
        judged: Sequence[Judged],
        verdict: Verdict,
        action: str,
        summary: dict[str, Any],
        request_id: str | None,
        bulk: bool = False,
    ) -> Outcome:
        """Do what was judged, as one operation. The caller has locked the rows and compared their versions."""
        now = self._clock()
        moved = {item.id: item for item in judged if item.route != item.row["body"]["routing"]}
        outcome = self._record(
            connection,
            principal,
            action,
            [(item.row, item.values) for item in judged],
            summary,
            request_id,
            {i: item.row["body"]["routing"] for i, item in moved.items()},
            verdict.reason,
        )
        self._reroute(connection, {i: item.route for i, item in moved.items()}, now)
        for reading in {item.reading for item in judged}:
            for block in _blocks(item.id for item in judged if item.reading == reading):
                # What is said now takes the place of what was said in the same reading.
                earlier = (reviews.c.petition_id.in_(block), reviews.c.reading == reading)
                _withdraw(connection, now, outcome.id, *earlier)
        connection.execute(
            insert(reviews),
            [
                {
                    "petition_id": item.id,
                    "operation_id": outcome.id,
                    "at": now,
                    "reviewer": principal.name,
                    "reading": item.reading,
                    **asdict(item.labels),
                    "sure": verdict.sure,
                    "bulk": bulk,
                    "model_version": item.row["body"]["classification"]["model_version"],
                    "suggested": {
                        **{head: item.row["body"]["classification"][head]["id"] for head in _HEADS},
                        "zone": item.row["zone"],
                    },
                }
                for item in judged
            ],
        )
        raised = [item for item in judged if item.assessment.emergency and not item.row["emergency"]]
        if raised and self._on_alert:
            connection.execute(insert(alerts), [self._alert(item, now) for item in raised])
        return outcome

    def undo(self, principal: Principal, operation_id: int | None = None) -> Outcome:
        """Put back what an operation changed; without an id the principal's last one.

        Petitions that somebody changed since stay as they are, and are counted in the summary; if none can be put back,
        nothing happens.

        Raises:
            PetitionError: NOT_FOUND if there is no such operation of the principal's to undo, CONFLICT if every petition
                was changed since.
        """
        principal.require(Right.HANDLE)
        with writing(self._engine) as connection:
            now = self._clock()
            own = [
                operations.c.actor == principal.name,
                operations.c.undone_at.is_(None),
                operations.c.at > now - UNDO_WITHIN,
            ]
            if operation_id is not None:
                own.append(operations.c.id == operation_id)
            row = (
                connection.execute(
                    select(operations).where(*own).order_by(operations.c.id.desc()).limit(1).with_for_update()
                )
                .mappings()
                .one_or_none()
            )
            if row is None:
                raise PetitionError(
                    ErrorKind.NOT_FOUND,
                    f"there is nothing of yours to undo (of the last {UNDO_WITHIN.days} days); the petition's page shows what was done",
                )
            return self._undo(connection, principal, dict(row), now)

    def recent(self, principal: Principal, count: int = 10, operation_id: int | None = None) -> list[dict[str, Any]]:
        """The principal's last operations (or one of them), newest first: id, at, action, summary, can_undo."""
        since = self._clock() - UNDO_WITHIN
        which = [operations.c.actor == principal.name]
        if operation_id is not None:
            which.append(operations.c.id == operation_id)
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(operations).where(*which).order_by(operations.c.id.desc()).limit(count)
            ).mappings()
            return [
                {
                    **{name: row[name] for name in ("id", "at", "action", "summary")},
                    "can_undo": row["undone_at"] is None and row["at"] > since,
                }
                for row in rows
            ]

    def hold(self, connection: Connection, principal: Principal, rows: Sequence[dict[str, Any]]) -> None:
        """Lock many petitions that were judged before. Raises PetitionError CONFLICT if one changed or somebody works on it."""
        versions = {row["id"]: row["version"] for row in rows}
        for block in _blocks(versions):
            now = connection.execute(
                select(petitions.c.id, petitions.c.version)
                .where(petitions.c.id.in_(block))
                .order_by(petitions.c.id)
                .with_for_update()
            ).all()
            changed = [row.id for row in now if row.version != versions[row.id]] + [
                i for i in block if i not in {row.id for row in now}
            ]
            held = (
                connection.execute(
                    select(locks.c.petition_id).where(
                        locks.c.petition_id.in_(block),
                        locks.c.holder != principal.name,
                        locks.c.expires_at > self._clock(),
                    )
                )
                .scalars()
                .all()
            )
            if changed or held:
                raise PetitionError(
                    ErrorKind.CONFLICT,
                    f"{len(changed)} of these petitions were changed since, {len(held)} are in somebody's hands; look again",
                    changed=changed[:20],
                    held=list(held[:20]),
                )

    def once(self, request_id: str | None, act: Callable[[Connection], Outcome]) -> Outcome:
        """Do it in one transaction; a request that was answered before gets its answer again."""
        try:
            with writing(self._engine) as connection:
                if (done := _replayed(connection, request_id)) is not None:
                    return done
                outcome = act(connection)
        except IntegrityError:
            # The same request twice at the same moment: the other one has done it.
            with self._engine.connect() as connection:
                if (done := _replayed(connection, request_id)) is None:
                    raise
            return done
        if self._on_alert:
            self._on_alert()
        return outcome

    def _decide(
        self,
        connection: Connection,
        principal: Principal,
        petition_id: int,
        verdict: Verdict,
        version: int,
        request_id: str | None,
    ) -> Outcome:
        row = self._take(connection, principal, petition_id, version)
        reading = self._reading(connection, principal, row)
        if reading == 2:
            return self._second(connection, principal, row, verdict, request_id)
        judged = self._judge(row, self._incoming(connection, [row])[petition_id], verdict, reading)
        summary = {
            "message": _sentence(judged),
            "changed": [head for head in _HEADS if getattr(judged.labels, head) != row[head]],
            "lead": judged.route["lead"]["name"],
        }
        return self.write(connection, principal, [judged], verdict, "decide", summary, request_id)

    def _second(
        self,
        connection: Connection,
        principal: Principal,
        row: dict[str, Any],
        verdict: Verdict,
        request_id: str | None,
    ) -> Outcome:
        """A blind reading changes nothing where it agrees; where it does not, a third one settles it."""
        labels = verdict.labels(row["body"]["classification_ids"])
        first = connection.execute(
            select(*(reviews.c[head] for head in _HEADS)).where(
                reviews.c.petition_id == row["id"], reviews.c.reading == 1, reviews.c.withdrawn_at.is_(None)
            )
        ).one()
        agreed = tuple(first) == (labels.category, labels.urgency, labels.petition_type)
        values = {"readings": 2, "queued": not agreed}
        message = f"Đã ghi lần đọc thứ hai của đơn {row['id']}: " + (
            "hai người cùng ý." if agreed else "hai người khác ý, chờ người thứ ba."
        )
        outcome = self._record(
            connection, principal, "second_reading", [(row, values)], {"message": message, "agreed": agreed}, request_id
        )
        connection.execute(
            insert(reviews).values(
                petition_id=row["id"],
                operation_id=outcome.id,
                at=self._clock(),
                reviewer=principal.name,
                reading=2,
                **asdict(labels),
                sure=verdict.sure,
                model_version=row["body"]["classification"]["model_version"],
                suggested={**row["body"]["classification_ids"], "zone": row["zone"]},
            )
        )
        return outcome

    def _reading(self, connection: Connection, principal: Principal, row: dict[str, Any]) -> int:
        """Which reading a decision is: 1 the first (or the same person again), 2 a blind second one, 3 what settles."""
        if row["readings"] == 0:
            return 1
        first = connection.execute(
            select(reviews.c.reviewer).where(
                reviews.c.petition_id == row["id"], reviews.c.reading == 1, reviews.c.withdrawn_at.is_(None)
            )
        ).scalar()
        if row["readings"] == 1:
            if first == principal.name:
                return 1
            return 2 if row["queued"] and first is not None else 3
        return 3

    def _judge(self, row: dict[str, Any], incoming: Incoming, verdict: Verdict, reading: int = 1) -> Judged:
        labels = verdict.labels(row)
        place = self._place(row, verdict)
        classification = row["body"]["classification"]
        second = classification["alternatives"][0]["probability"] if classification["alternatives"] else 0.0
        assessment = self._rules.judge(incoming, labels, self._wording(check(row["text"])), place, second)
        route = routing_as_dict(assessment, self._rules.routing)
        lead = assessment.routing.lead
        outside = verdict.outside or assessment.routing.outside
        status = Status.REDIRECTED if outside else Status(row["status"])
        if status is Status.IN_REVIEW or (not outside and (lead != row["lead_body"] or status is Status.REDIRECTED)):
            status = Status.ROUTED  # who leads now has not begun
        values = {
            **asdict(labels),
            "emergency": assessment.emergency,
            "restricted": assessment.routing.restricted,
            "lead_body": lead,
            "status": status.value,
            "due_at": assessment.answer_by,
            "commune_code": place.unit.code if place.unit else None,
            "place": place_as_dict(place),
            "flags": {**flags_as_dict(assessment), "out_of_jurisdiction": outside},
            "queued": reading == 1 and self._wants_second(row["id"]),
            "risk": self._risk(labels, assessment).value,
            "readings": reading,
        }
        return Judged(row, incoming, labels, assessment, route, values, reading)

    def _risk(self, labels: Labels, assessment: Assessment) -> Risk:
        """How pressing another reading is, by what a person said."""
        if assessment.emergency:
            return Risk.EMERGENCY
        if assessment.routing.restricted or labels.petition_type in ("complaint", "denunciation"):
            return Risk.LEGAL
        return Risk.SENSITIVE if self._rules.sensitive(labels.category) else Risk.ORDINARY

    def _place(self, row: dict[str, Any], verdict: Verdict) -> Place:
        if verdict.commune is None:
            return self._rules.place_of(row["place"])
        return Place(PlaceStatus.FOUND, self._rules.gazetteer.units[verdict.commune], evidence=BY_A_PERSON)

    def _wants_second(self, petition_id: int) -> bool:
        """The same petitions whatever happens to them, and no pattern that a clerk could know."""
        digest = hashlib.sha256(f"second reading {petition_id}".encode()).digest()
        return int.from_bytes(digest[:4], "big") < self._second_readings * 2**32

    def _incoming(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> dict[int, Incoming]:
        """Petitions as they came in, by id."""
        known = {
            row.petition_id: Sender(row.name, row.phone, row.email, row.address, row.citizen_id)
            for block in _blocks([row["id"] for row in rows])
            for row in connection.execute(select(senders).where(senders.c.petition_id.in_(block)))
        }
        return {
            row["id"]: Incoming(
                row["text"],
                row["received_at"],
                row["external_id"],
                row["channel"],
                row["commune_given"],
                known.get(row["id"], Sender()),
                row["location"],
            )
            for row in rows
        }

    def known(self, verdict: Verdict) -> None:
        """Raises PetitionError INVALID_REQUEST for a label or commune that there is not."""
        for head, labels in self._rules.taxonomy.heads.items():
            value = getattr(verdict, head)
            if value is not None and value not in {label.id for label in labels}:
                raise PetitionError(
                    ErrorKind.INVALID_REQUEST, f"'{value}' is no {head} of the taxonomy; /v1/taxonomy lists them"
                )
        if verdict.commune is not None and verdict.commune not in self._rules.gazetteer.units:
            raise PetitionError(
                ErrorKind.INVALID_REQUEST, f"'{verdict.commune}' is no code of a commune or ward of the province"
            )

    def _take(self, connection: Connection, principal: Principal, petition_id: int, version: int) -> dict[str, Any]:
        """The petition's row, locked, as the principal saw it and in nobody else's hands."""
        row = one(connection, principal, petition_id, lock=True)
        check_version(row, version)
        if row["status"] not in DECIDABLE:
            raise PetitionError(
                ErrorKind.CONFLICT,
                f"petition {petition_id} is '{row['status']}' and no longer decided on; take it up again first",
            )
        if (other := held_by_another(connection, petition_id, principal.name, self._clock())) is not None:
            raise PetitionError(
                ErrorKind.CONFLICT,
                f"petition {petition_id} is in the hands of '{other}'; take it over first",
                holder=other,
            )
        classification = row["body"]["classification"]
        row["body"]["classification_ids"] = {head: classification[head]["id"] for head in _HEADS}
        return row

    def _record(
        self,
        connection: Connection,
        principal: Principal,
        action: str,
        changed: Sequence[tuple[dict[str, Any], dict[str, Any]]],
        summary: dict[str, Any],
        request_id: str | None,
        replaced: Mapping[int, dict[str, Any]] | None = None,
        reason: str | None = None,
    ) -> Outcome:
        """Write new values of petitions (row, values), and beside them what they were, who changed them, and when.

        Args:
            replaced: the routing of petitions that get another one.
            reason: of a change of status, in a person's words.
        """
        now = self._clock()
        operation_id = connection.execute(
            insert(operations)
            .values(request_id=request_id, at=now, actor=principal.name, action=action, summary=summary)
            .returning(operations.c.id)
        ).scalar_one()
        for columns, rows in _by_columns(changed).items():
            connection.execute(
                update(petitions)
                .where(petitions.c.id == bindparam("own"))
                .values(
                    {
                        **{
                            petitions.c[name]: bindparam(f"new_{name}", type_=petitions.c[name].type)
                            for name in columns
                        },
                        petitions.c.version: petitions.c.version + 1,
                        petitions.c.updated_at: now,
                    }
                ),
                [{"own": row["id"], **{f"new_{name}": values[name] for name in columns}} for row, values in rows],
            )
        connection.execute(
            insert(changes),
            [
                {
                    "operation_id": operation_id,
                    "petition_id": row["id"],
                    "before": {name: _plain(row[name]) for name in values},
                    "route": (replaced or {}).get(row["id"]),
                    "version": row["version"] + 1,
                }
                for row, values in changed
            ],
        )
        told = [entry for row, values in changed for entry in _told(row, values, principal.name, now, reason)]
        if told:
            connection.execute(insert(decisions), told)
        audit.append(
            connection,
            now,
            [
                audit.Entry(
                    principal.name,
                    f"petition.{action}",
                    f"petition:{row['id']}",
                    {
                        "operation": operation_id,
                        **{
                            name: {"old": _plain(row[name]), "new": _plain(values[name])}
                            for name in values
                            if name not in ("place", "flags", "risk") and _plain(values[name]) != _plain(row[name])
                        },
                        **{name: summary[name] for name in ("into", "with", "parts") if name in summary},
                    },
                )
                for row, values in changed
            ],
        )
        release(connection, [row["id"] for row, _ in changed], principal.name)
        return Outcome(int(operation_id), action, tuple(row["id"] for row, _ in changed), summary)

    def _reroute(self, connection: Connection, routes: Mapping[int, dict[str, Any]], now: datetime) -> None:
        if not routes:
            return
        connection.execute(insert(routings), [routing_row(i, now, r, self._rules.version) for i, r in routes.items()])
        for block in _blocks(routes):
            connection.execute(delete(assignments).where(assignments.c.petition_id.in_(block)))
        connection.execute(insert(assignments), [row for i, r in routes.items() for row in assignment_rows(i, r)])

    def _link(
        self, connection: Connection, principal: Principal, operation_id: int, petition_id: int, other: int, kind: str
    ) -> None:
        connection.execute(
            insert(links).values(
                petition_id=petition_id,
                other_id=other,
                kind=kind,
                operation_id=operation_id,
                at=self._clock(),
                actor=principal.name,
            )
        )

    def _alert(self, item: Judged, now: datetime) -> dict[str, Any]:
        names = {category.id: category.name for category in self._rules.taxonomy.categories}
        return alert_row(
            item.id,
            now,
            item.incoming,
            {"id": item.labels.category, "name": names[item.labels.category]},
            None,
            ["Cán bộ xác định là khẩn cấp."],
            item.assessment,
            item.route["lead"],
        )

    def _undo(self, connection: Connection, principal: Principal, operation: dict[str, Any], now: datetime) -> Outcome:
        done = (
            connection.execute(select(changes).where(changes.c.operation_id == operation["id"]).order_by("petition_id"))
            .mappings()
            .all()
        )
        ids = [change["petition_id"] for change in done]
        rows = {
            row["id"]: row
            for block in _blocks(ids)
            for row in connection.execute(
                select(*(column for column in petitions.c if column.name not in ("text", "folded")))
                .where(petitions.c.id.in_(block))
                .with_for_update()
            ).mappings()
        }
        fresh = [change for change in done if rows[change["petition_id"]]["version"] == change["version"]]
        parts = operation["summary"].get("parts", [])
        untouched = connection.execute(
            select(func.count()).where(petitions.c.id.in_(parts), petitions.c.version == 1)
        ).scalar_one()
        if not fresh or untouched < len(parts):
            raise PetitionError(
                ErrorKind.CONFLICT,
                f"operation {operation['id']} cannot be undone: its petitions were changed since; correct them one by one",
            )
        back = [(dict(rows[change["petition_id"]]), _typed(change["before"])) for change in fresh]
        left = len(done) - len(fresh)
        message = f"Đã hoàn tác: {operation['summary'].get('message', '')}"
        if left:
            message += f" {left} đơn đã có người sửa sau đó nên giữ nguyên."
        summary = {"message": message, "undid": operation["id"], "left": left}
        outcome = self._record(connection, principal, "undo", back, summary, None)
        # An undo is not undone: to do the thing again is as quick.
        connection.execute(update(operations).where(operations.c.id == outcome.id).values(undone_at=now))
        connection.execute(update(operations).where(operations.c.id == operation["id"]).values(undone_at=now))
        undone = [change["petition_id"] for change in fresh]
        for block in _blocks(undone):
            of_these = reviews.c.petition_id.in_(block)
            _withdraw(connection, now, outcome.id, of_these, reviews.c.operation_id == operation["id"])
            connection.execute(
                update(reviews)
                .where(of_these, reviews.c.withdrawn_by == operation["id"])
                .values(withdrawn_at=None, withdrawn_by=None)
            )
        connection.execute(update(links).where(links.c.operation_id == operation["id"]).values(undone_at=now))
        self._reroute(connection, {c["petition_id"]: c["route"] for c in fresh if c["route"]}, now)
        if parts:
            self._withdraw_parts(connection, principal, parts, ids[0])
        return outcome

    def _withdraw_parts(self, connection: Connection, principal: Principal, parts: Sequence[int], whole: int) -> None:
        """The parts of a split that is undone go back into the whole; nothing that was received is removed."""
        rows = connection.execute(
            select(*(column for column in petitions.c if column.name not in ("text", "folded"))).where(
                petitions.c.id.in_(parts)
            )
        ).mappings()
        values = {"status": Status.MERGED.value, "queued": False, "repeat_of": whole}
        withdrawn = [(dict(row), values) for row in rows]
        outcome = self._record(connection, principal, "withdraw_parts", withdrawn, {"into": whole}, None)
        connection.execute(update(operations).where(operations.c.id == outcome.id).values(undone_at=self._clock()))
        connection.execute(delete(embeddings).where(embeddings.c.petition_id.in_(parts)))


def _withdraw(connection: Connection, now: datetime, by: int, *which: ColumnElement[bool]) -> None:
    connection.execute(
        update(reviews).where(*which, reviews.c.withdrawn_at.is_(None)).values(withdrawn_at=now, withdrawn_by=by)
    )


def _root(connection: Connection, principal: Principal, petition_id: int) -> int:
    """The petition that goes on for `petition_id`: itself, or the one it was merged into."""
    seen = {petition_id}
    while True:
        row = one(connection, principal, petition_id)
        if row["status"] != Status.MERGED or row["repeat_of"] is None or row["repeat_of"] in seen:
            return petition_id
        petition_id = row["repeat_of"]
        seen.add(petition_id)


def _replayed(connection: Connection, request_id: str | None) -> Outcome | None:
    if request_id is None:
        return None
    row = connection.execute(select(operations).where(operations.c.request_id == request_id)).mappings().one_or_none()
    if row is None:
        return None
    ids = connection.execute(select(changes.c.petition_id).where(changes.c.operation_id == row["id"])).scalars().all()
    return Outcome(row["id"], row["action"], tuple(ids), dict(row["summary"]))


def _by_columns(
    changed: Iterable[tuple[dict[str, Any], dict[str, Any]]],
) -> dict[tuple[str, ...], list[tuple[dict[str, Any], dict[str, Any]]]]:
    groups: dict[tuple[str, ...], list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for row, values in changed:
        groups.setdefault(tuple(sorted(values)), []).append((row, values))
    return groups


def _told(
    row: dict[str, Any], values: dict[str, Any], actor: str, now: datetime, reason: str | None
) -> list[dict[str, Any]]:
    """Rows of `decisions`: what a person reads of what changed."""
    shown = ("category", "urgency", "petition_type", "commune_code", "lead_body", "status")
    return [
        {
            "petition_id": row["id"],
            "at": now,
            "actor": actor,
            "field": name,
            "old": row[name],
            "new": values[name] or "",
            "reason": reason if name == "status" else None,
        }
        for name in shown
        if name in values and values[name] != row[name]
    ]


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _typed(before: Mapping[str, Any]) -> dict[str, Any]:
    return {name: datetime.fromisoformat(value) if name == "due_at" else value for name, value in before.items()}


def _sentence(judged: Judged) -> str:
    lead = judged.route["lead"]["name"]
    if judged.values["status"] == Status.REDIRECTED:
        return f"Đơn {judged.id}: ngoài thẩm quyền, hướng dẫn người gửi."
    if judged.relabelled:
        return f"Đã sửa đơn {judged.id} và chuyển {lead}."
    return f"Đã xác nhận đơn {judged.id}, chuyển {lead}."


def _blocks(ids: Iterable[int], size: int = 500) -> list[list[int]]:
    """SQLite takes no more than some thousands of parameters in a statement."""
    known = list(ids)
    return [known[start : start + size] for start in range(0, len(known), size)]
