"""What people do with petitions that are in the store: list, read, change the status. Every look at a raw text, and every search in them, is audited.

Who sees what is decided here and nowhere else: an officer the petitions of its bodies and communes, a restricted one only
where its body leads; an intake key what it handed in itself; raw text and senders only roles that need them
(`roles.RIGHTS`). What is outside a scope does not exist for the one who asks: 404, as for an id that was never given.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Engine,
    and_,
    exists,
    false,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from nlp_service import audit
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.intake import stored
from nlp_service.pii import mask
from nlp_service.roles import Principal, Right, Role
from nlp_service.search import contains, query_words
from nlp_service.store import (
    UtcDateTime,
    assignments,
    decisions,
    links,
    petitions,
    predictions,
    routings,
    senders,
    snapshot,
    writing,
)
from nlp_service.store import audit as audit_rows
from nlp_service.text import normalise

EXCERPT_CHARS = 240
UNSURE_CHARS = 80
"""No name, number or address is longer."""

DUE_SOON = timedelta(days=2)


class Status(StrEnum):
    """Where a petition stands."""

    IN_REVIEW = "in_review"
    ROUTED = "routed"
    IN_PROGRESS = "in_progress"
    ANSWERED = "answered"
    CLOSED = "closed"
    REDIRECTED = "redirected"
    REJECTED = "rejected"
    MERGED = "merged"
    SPLIT = "split"


NEXT: dict[Status, frozenset[Status]] = {
    Status.IN_REVIEW: frozenset(
        {Status.ROUTED, Status.IN_PROGRESS, Status.REDIRECTED, Status.REJECTED, Status.ANSWERED}
    ),
    Status.ROUTED: frozenset(
        {Status.IN_REVIEW, Status.IN_PROGRESS, Status.REDIRECTED, Status.REJECTED, Status.ANSWERED}
    ),
    Status.IN_PROGRESS: frozenset({Status.IN_REVIEW, Status.ANSWERED, Status.REDIRECTED, Status.REJECTED}),
    Status.ANSWERED: frozenset({Status.CLOSED, Status.IN_PROGRESS}),
    Status.REDIRECTED: frozenset({Status.CLOSED, Status.IN_REVIEW}),
    Status.REJECTED: frozenset({Status.CLOSED, Status.IN_REVIEW}),
    Status.CLOSED: frozenset({Status.IN_REVIEW}),
    Status.MERGED: frozenset({Status.IN_REVIEW}),
    Status.SPLIT: frozenset({Status.IN_REVIEW}),
}
"""Which status may follow which. Whatever was ended can be taken up again, by way of review. Merging and splitting are the
desk's (desk.py): they need to know with what, and into what."""

OPEN = (Status.IN_REVIEW, Status.ROUTED, Status.IN_PROGRESS)


class Due(StrEnum):
    """Open petitions by their deadline: passed, or within two days."""

    OVERDUE = "overdue"
    SOON = "soon"


@dataclass(frozen=True)
class Filter:
    """What to list; everything given must hold.

    Attributes:
        words: every word must be in the text, the last at least begun, marks optional; only for roles that read raw text.
        received_from: inclusive.
        received_to: exclusive.
    """

    commune: str | None = None
    categories: tuple[str, ...] = ()
    urgency: str | None = None
    petition_type: str | None = None
    body: str | None = None
    statuses: tuple[Status, ...] = ()
    ids: tuple[int, ...] = ()
    due: Due | None = None
    received_from: datetime | None = None
    received_to: datetime | None = None
    words: str | None = None


@dataclass(frozen=True)
class Page:
    """Petitions in order, emergencies first, then the newest; `cursor` asks for those after them, None at the end."""

    items: list[dict[str, Any]]
    cursor: str | None


class Casework:
    """Reading and handling what is in the store, each call on behalf of a principal."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._engine = engine
        self._clock = clock

    def find(self, principal: Principal, wanted: Filter, limit: int, cursor: str | None = None) -> Page:
        """One page of the petitions in the principal's scope.

        Raises:
            PetitionError: FORBIDDEN to search texts without the right to read them, INVALID_REQUEST for a broken cursor.
        """
        principal.require(Right.READ)
        conditions = [*scope(principal), *self.conditions(principal, wanted)]
        if cursor:
            conditions.append(_after(cursor))
        order = (petitions.c.emergency.desc(), petitions.c.received_at.desc(), petitions.c.id.desc())
        with snapshot(self._engine) as connection:
            ids = (
                connection.execute(select(petitions.c.id).where(*conditions).order_by(*order).limit(limit + 1))
                .scalars()
                .all()
            )
            found = {row["id"]: row for row in stored(connection, petitions.c.id.in_(ids[:limit]), scope(principal))}
        self.note_search(principal, wanted)
        rows = [found[i] for i in ids[:limit]]
        more = len(ids) > limit and rows
        return Page([listed(row) for row in rows], _cursor(rows[-1]) if more else None)

    def read(self, principal: Principal, petition_id: int) -> dict[str, Any]:
        """One petition with its trace and history; its text raw for roles that need it (audited), else masked.

        Raises:
            PetitionError: NOT_FOUND if there is none in the principal's scope.
        """
        principal.require(Right.READ)
        raw = principal.may(Right.READ_RAW)
        with snapshot(self._engine) as connection:
            row = one(connection, principal, petition_id)
            body: dict[str, Any] = dict(row["body"])
            sender = (
                connection.execute(select(senders).where(senders.c.petition_id == petition_id)).mappings().one_or_none()
            )
            body["text"] = row["text"] if raw else mask(row["text"])
            body["location"] = row["location"] if raw else _point(row)
            body["text_masked"] = not raw or row["masked_at"] is not None
            body["sender"] = _sender(principal, row, dict(sender) if sender else None)
            body["predictions"] = _history(connection, predictions, petition_id, "result", "model_version")
            body["routings"] = _history(connection, routings, petition_id, "result", "rules_version")
            body["decisions"] = [
                {
                    **entry,
                    "at": entry["at"].isoformat(),
                    "reason": entry["reason"] if raw else mask(entry["reason"] or "") or None,
                }
                for entry in connection.execute(
                    select(
                        decisions.c.at,
                        decisions.c.actor,
                        decisions.c.field,
                        decisions.c.old,
                        decisions.c.new,
                        decisions.c.reason,
                    )
                    .where(decisions.c.petition_id == petition_id)
                    .order_by(decisions.c.id)
                ).mappings()
            ]
            body["links"] = _linked(connection, principal, petition_id)
            body["audit"] = audit.history(connection, f"petition:{petition_id}") if principal.may(Right.AUDIT) else []
        if raw:
            self._note(principal, "petition.read", f"petition:{petition_id}")
        return body

    def text(self, principal: Principal, petition_id: int) -> str:
        """The raw text for a part of a page. Audited as reading, but once for who has read the petition already.

        Raises:
            PetitionError: FORBIDDEN, NOT_FOUND.
        """
        principal.require(Right.READ_RAW)
        subject = f"petition:{petition_id}"
        seen = (
            audit_rows.c.subject == subject,
            audit_rows.c.actor == principal.name,
            audit_rows.c.action == "petition.read",
        )
        with snapshot(self._engine) as connection:
            row = connection.execute(
                select(petitions.c.text).where(petitions.c.id == petition_id, *scope(principal))
            ).one_or_none()
            read = connection.execute(select(audit_rows.c.seq).where(*seen).limit(1)).first() is not None
        if row is None:
            raise missing(petition_id)
        if not read:
            self._note(principal, "petition.read", subject)
        return str(row.text)

    def note_search(self, principal: Principal, wanted: Filter) -> None:
        """Whoever looks for words in texts is in the audit log; the words are not."""
        if wanted.words:
            self._note(principal, "petitions.search", "petitions")

    def _note(self, principal: Principal, action: str, subject: str) -> None:
        with writing(self._engine) as connection:
            audit.append(connection, self._clock(), [audit.Entry(principal.name, action, subject, {})])

    def change_status(
        self, principal: Principal, petition_id: int, status: Status, reason: str | None, version: int | None = None
    ) -> dict[str, Any]:
        """Give a petition another status and return it as `describe` does.

        Args:
            version: the one the caller saw; another one now means that somebody was faster.

        Raises:
            PetitionError: FORBIDDEN, NOT_FOUND, CONFLICT (not from this status, or changed meanwhile),
                INVALID_REQUEST (ending a petition without a reason).
        """
        principal.require(Right.HANDLE)
        if status in (Status.REDIRECTED, Status.REJECTED) and not (reason or "").strip():
            raise PetitionError(ErrorKind.INVALID_REQUEST, f"status '{status}' needs a reason; send it as `reason`")
        with writing(self._engine) as connection:
            row = one(connection, principal, petition_id, lock=True)
            old = Status(row["status"])
            if version is not None:
                check_version(row, version)
            if status not in NEXT[old]:
                allowed = ", ".join(sorted(NEXT[old]))
                raise PetitionError(
                    ErrorKind.CONFLICT,
                    f"petition {petition_id} is '{old}' and cannot become '{status}'; possible: {allowed}",
                )
            now = self._clock()
            connection.execute(
                update(petitions)
                .where(petitions.c.id == petition_id)
                .values(
                    status=status.value,
                    queued=status is Status.IN_REVIEW,
                    version=petitions.c.version + 1,
                    updated_at=now,
                )
            )
            if old is Status.MERGED:  # it goes on by itself again
                merged = and_(links.c.petition_id == petition_id, links.c.kind == "merged", links.c.undone_at.is_(None))
                connection.execute(update(links).where(merged).values(undone_at=now))
            connection.execute(
                insert(decisions).values(
                    petition_id=petition_id, at=now, actor=principal.name, field="status", old=old.value, new=status.value,
                    reason=reason,
                )
            )  # fmt: skip
            # The reason may speak of people: the chain holds that there is one, `decisions` holds the words.
            payload = {"old": old.value, "new": status.value, "reasoned": bool(reason)}
            audit.append(
                connection, now, [audit.Entry(principal.name, "petition.status", f"petition:{petition_id}", payload)]
            )
            return {**row["body"], "status": status.value, "version": row["version"] + 1}

    def conditions(self, principal: Principal, wanted: Filter) -> list[ColumnElement[bool]]:
        """What a filter asks of `petitions`; the principal's scope is not in it.

        Raises:
            PetitionError: FORBIDDEN to search texts without the right to read them.
        """
        columns = petitions.c
        equal = {
            columns.commune_code: wanted.commune,
            columns.urgency: wanted.urgency,
            columns.petition_type: wanted.petition_type,
        }
        conditions: list[ColumnElement[bool]] = [
            column == value for column, value in equal.items() if value is not None
        ]
        if wanted.categories:
            conditions.append(columns.category.in_(wanted.categories))
        if wanted.statuses:
            conditions.append(columns.status.in_([status.value for status in wanted.statuses]))
        if wanted.ids:
            conditions.append(columns.id.in_(wanted.ids))
        if wanted.body is not None:
            conditions.append(_belongs_to([wanted.body]))
        if wanted.received_from is not None:
            conditions.append(columns.received_at >= wanted.received_from)
        if wanted.received_to is not None:
            conditions.append(columns.received_at < wanted.received_to)
        if wanted.due is not None:
            now = self._clock()
            conditions.append(columns.status.in_([status.value for status in OPEN]))
            conditions.append(
                columns.due_at < now if wanted.due is Due.OVERDUE else columns.due_at.between(now, now + DUE_SOON)
            )
        if wanted.words:
            principal.require(Right.READ_RAW)
            words = query_words(wanted.words)
            conditions.append(contains(words, self._engine.dialect.name) if words else false())
        return conditions


def scope(principal: Principal) -> list[ColumnElement[bool]]:
    """Conditions that keep a query within what the principal may see."""
    if principal.role is Role.INTAKE:
        return [petitions.c.submitted_by == principal.name]
    if principal.role is not Role.OFFICER:
        return []
    conditions: list[ColumnElement[bool]] = []
    if principal.communes:
        conditions.append(petitions.c.commune_code.in_(principal.communes))
    if principal.bodies:
        conditions.append(_belongs_to(sorted(principal.bodies)))
        conditions.append(or_(petitions.c.restricted.is_(False), petitions.c.lead_body.in_(principal.bodies)))
    else:
        conditions.append(petitions.c.restricted.is_(False))
    return conditions


def _belongs_to(bodies: Sequence[str]) -> ColumnElement[bool]:
    return exists().where(assignments.c.petition_id == petitions.c.id, assignments.c.body.in_(bodies))


def one(connection: Connection, principal: Principal, petition_id: int, lock: bool = False) -> dict[str, Any]:
    """A petition in the principal's scope as `intake.stored` gives it. Raises PetitionError NOT_FOUND.

    Args:
        lock: nobody else changes it until the transaction ends.
    """
    if lock:
        connection.execute(select(petitions.c.id).where(petitions.c.id == petition_id).with_for_update())
    rows = stored(connection, and_(petitions.c.id == petition_id, *scope(principal)), scope(principal))
    if not rows:
        raise missing(petition_id)
    return rows[0]


def check_version(row: Mapping[str, Any], version: int) -> None:
    """Raises PetitionError CONFLICT if a petition is no longer as its reader saw it."""
    if row["version"] != version:
        raise PetitionError(
            ErrorKind.CONFLICT,
            f"petition {row['id']} is at version {row['version']}, not {version}: somebody changed it; read it again",
            version=row["version"],
        )


def missing(petition_id: int) -> PetitionError:
    """What is outside a scope does not exist."""
    return PetitionError(
        ErrorKind.NOT_FOUND, f"there is no petition {petition_id} that you may see", petition_id=petition_id
    )


def _linked(connection: Connection, principal: Principal, petition_id: int) -> list[dict[str, Any]]:
    """Links that were not undone, seen from `petition_id`, to petitions that the principal may see.

    merged_into and merged_from, part_of and part, related.
    """
    ways = {"merged": ("merged_into", "merged_from"), "part": ("part_of", "part"), "related": ("related", "related")}
    rows = connection.execute(
        select(links.c.petition_id, links.c.other_id, links.c.kind)
        .where(or_(links.c.petition_id == petition_id, links.c.other_id == petition_id), links.c.undone_at.is_(None))
        .order_by(links.c.id)
    ).all()
    others = {row.other_id if row.petition_id == petition_id else row.petition_id for row in rows}
    seen = set(
        connection.execute(select(petitions.c.id).where(petitions.c.id.in_(others), *scope(principal))).scalars()
    )
    found = [
        {"kind": ways[row.kind][row.petition_id != petition_id], "petition_id": other}
        for row in rows
        if (other := row.other_id if row.petition_id == petition_id else row.petition_id) in seen
    ]
    return found


def _sender(principal: Principal, row: dict[str, Any], sender: dict[str, Any] | None) -> dict[str, Any] | None:
    """A denouncer's identity is confidential (Law on Denunciations 2018, Article 56): not even the body that settles it sees it here."""
    if sender is None or not principal.may(Right.READ_RAW):
        return None
    if (row["restricted"] or row["petition_type"] == "denunciation") and principal.role is Role.OFFICER:
        return None
    return {name: sender[name] for name in ("name", "phone", "email", "address", "citizen_id") if sender[name]}


def _history(connection: Connection, table: Any, petition_id: int, *columns: str) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(table.c.at, *(table.c[name] for name in columns))
        .where(table.c.petition_id == petition_id)
        .order_by(table.c.id)
    ).mappings()
    return [{**row, "at": row["at"].isoformat()} for row in rows]


def listed(row: dict[str, Any]) -> dict[str, Any]:
    """In a list a petition is short and masked, whoever asks: the raw text is read one at a time, and audited."""
    clean = normalise(row["text"])
    masked = mask(clean[: 2 * EXCERPT_CHARS])
    # The end of a text that was cut is never shown: a number cut in two is not recognised.
    shown = EXCERPT_CHARS if len(clean) <= 2 * EXCERPT_CHARS else min(EXCERPT_CHARS, max(len(masked) - UNSURE_CHARS, 0))
    excerpt = masked if len(masked) <= shown else masked[:shown].rsplit(" ", 1)[0] + " …"
    body = {name: value for name, value in row["body"].items() if name not in ("classification", "routing")}
    classification, routing = row["body"]["classification"], row["body"]["routing"]
    return {
        **body,
        "location": _point(row),
        "excerpt": excerpt,
        "zone": row["zone"],
        "updated_at": row["updated_at"].astimezone(UTC).isoformat(),
        "category_name": classification["category"]["name"],
        "category_probability": classification["category"]["probability"],
        "lead": routing["lead"],
    }


def _point(row: dict[str, Any]) -> dict[str, Any] | None:
    """Of the location the coordinates alone, for who reads no raw text; of a restricted petition nothing."""
    location = row["location"] or {}
    return None if row["restricted"] else {name: location[name] for name in ("lat", "long") if name in location} or None


def _cursor(row: dict[str, Any]) -> str:
    place = [row["emergency"], row["received_at"].astimezone(UTC).isoformat(), row["id"]]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _after(cursor: str) -> ColumnElement[bool]:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        emergency, received, petition_id = json.loads(raw)
        at = datetime.fromisoformat(received)
        if not (isinstance(emergency, bool) and isinstance(petition_id, int) and 0 < petition_id < 2**63 and at.tzinfo):
            raise ValueError
        at = at.astimezone(UTC)
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise PetitionError(
            ErrorKind.INVALID_REQUEST, "this cursor is not one that a list returned; start again without `cursor`"
        ) from error
    columns = petitions.c
    place = tuple_(literal(emergency, Boolean()), literal(at, UtcDateTime()), literal(petition_id, BigInteger()))
    return tuple_(columns.emergency, columns.received_at, columns.id) < place
