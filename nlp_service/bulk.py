"""One label for many petitions: chosen by a filter, looked at before, done as one operation, undone as one."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, select

from nlp_service.casework import Casework, Filter, listed, scope
from nlp_service.desk import DECIDABLE, Desk, Judged, Outcome, Verdict
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.intake import stored
from nlp_service.roles import Principal, Right
from nlp_service.store import petitions, snapshot

MOST = 2_000
"""Petitions in one operation: some seconds of work, in one transaction."""

SAMPLES = 5
_BLOCK = 200


@dataclass(frozen=True)
class Preview:
    """What a bulk decision would do.

    Attributes:
        count: petitions that the filter finds and that can be decided on.
        relabelled, rerouted, restatused: how many of them would get another label, lead body, status.
        before: how many have which category now; `leads`: how many would go to which body, by name.
        samples: some of them, as lists show them.
        token: of exactly these petitions in this state; `apply` does nothing else.
    """

    count: int
    relabelled: int
    rerouted: int
    restatused: int
    before: dict[str, int]
    leads: dict[str, int]
    samples: list[dict[str, Any]]
    token: str


class Bulk:
    """Bulk decisions on behalf of a principal, within its scope."""

    def __init__(self, engine: Engine, casework: Casework, desk: Desk) -> None:
        self._engine = engine
        self._casework = casework
        self._desk = desk

    def preview(self, principal: Principal, wanted: Filter, verdict: Verdict) -> Preview:
        """What would happen.

        Raises:
            PetitionError: FORBIDDEN, INVALID_REQUEST (an unknown label), BATCH_TOO_LARGE for a filter that finds more
                than one operation takes.
        """
        principal.require(Right.HANDLE)
        self._desk.known(verdict)
        self._casework.note_search(principal, wanted)
        with snapshot(self._engine) as connection:
            judged = self._judged(connection, principal, wanted, verdict)
        return Preview(
            count=len(judged),
            relabelled=sum(item.relabelled for item in judged),
            rerouted=sum(item.rerouted for item in judged),
            restatused=sum(item.values["status"] != item.row["status"] for item in judged),
            before=dict(Counter(item.row["category"] for item in judged).most_common()),
            leads=dict(Counter(item.route["lead"]["name"] for item in judged).most_common()),
            samples=[listed(item.row) for item in judged[:SAMPLES]],
            token=_token(judged, verdict),
        )

    def apply(
        self, principal: Principal, wanted: Filter, verdict: Verdict, token: str, request_id: str | None = None
    ) -> Outcome:
        """Do what was previewed.

        Raises:
            PetitionError: as `preview`; CONFLICT if the petitions are no longer those of the preview, or in somebody's hands.
        """
        principal.require(Right.HANDLE)
        self._desk.known(verdict)
        with snapshot(self._engine) as connection:  # judging takes its time, and nobody waits for it
            judged = self._judged(connection, principal, wanted, verdict)

        def act(connection: Connection) -> Outcome:
            if _token(judged, verdict) != token:
                raise PetitionError(
                    ErrorKind.CONFLICT,
                    "the petitions that the filter finds have changed since the preview; look at it again",
                    count=len(judged),
                )
            if not judged:
                raise PetitionError(
                    ErrorKind.INVALID_REQUEST, "the filter finds no petition to decide on; choose another"
                )
            self._desk.hold(connection, principal, [item.row for item in judged])
            count = len(judged)
            summary = {"message": f"Đã gán nhãn {count} đơn.", "count": count, "verdict": asdict(verdict)}
            return self._desk.write(connection, principal, judged, verdict, "bulk", summary, request_id, bulk=True)

        return self._desk.once(request_id, act)

    def _judged(self, connection: Connection, principal: Principal, wanted: Filter, verdict: Verdict) -> list[Judged]:
        conditions = [
            *scope(principal),
            *self._casework.conditions(principal, wanted),
            petitions.c.status.in_([status.value for status in DECIDABLE]),
        ]
        ids = connection.execute(
            select(petitions.c.id).where(*conditions).order_by(petitions.c.id).limit(MOST + 1)
        ).scalars()
        found = list(ids)
        if len(found) > MOST:
            raise PetitionError(
                ErrorKind.BATCH_TOO_LARGE,
                f"the filter finds more than {MOST:,} petitions, the most that one operation takes; narrow it",
                limit=MOST,
            )
        judged: list[Judged] = []
        for start in range(0, len(found), _BLOCK):
            block = found[start : start + _BLOCK]
            rows = stored(connection, petitions.c.id.in_(block), scope(principal))
            judged += self._desk.judge(connection, sorted(rows, key=lambda row: int(row["id"])), verdict)
        return judged


def _token(judged: Sequence[Judged], verdict: Verdict) -> str:
    rows = [(item.id, item.row["version"]) for item in judged]
    return hashlib.sha256(repr((rows, verdict)).encode()).hexdigest()
