"""Who is asking: the API key of a request, its role, and how often it may ask."""

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.keys import any_key, authenticate, note_use
from nlp_service.roles import LOCAL, Principal, Right, is_loopback
from nlp_service.store import writing

GUESSES = RateLimitItemPerMinute(60)
"""Wrong keys that an address may present in a minute."""


class Gate:
    """Lets a request in as somebody, or not at all. One for an app; its counts live as long as the process."""

    def __init__(self, per_minute: int) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._limit = RateLimitItemPerMinute(per_minute)

    def admit(self, request: Request, presented: str | None = None) -> Principal:
        """Who asks.

        Args:
            presented: a key that came by another way than a header (Open311's `api_key`).

        Raises:
            PetitionError: UNAUTHENTICATED, RATE_LIMITED.
        """
        key = presented or _presented(request)
        client = address(request)
        engine, now = request.app.state.engine, datetime.now(UTC)
        with engine.connect() as connection:
            if key is None:
                self._count(self._limit, f"address {client}")
                if from_here(request) and not any_key(connection):
                    return LOCAL
                raise PetitionError(
                    ErrorKind.UNAUTHENTICATED,
                    "an API key is needed; send it as 'Authorization: Bearer KEY' (`petitions keys create` makes one)",
                )
            try:
                principal, stale = authenticate(connection, key, now)
            except PetitionError:
                # Good keys from the same address (a proxy's) go on.
                self._count(GUESSES, client)
                raise
        self._count(self._limit, f"key {principal.name}")
        if stale:
            with writing(engine) as connection:
                note_use(connection, principal.name, now)
        return principal

    def _count(self, limit: RateLimitItem, who: str) -> None:
        wait = wait_s(self._limiter, limit, who)
        if not wait:
            return
        raise PetitionError(
            ErrorKind.RATE_LIMITED,
            f"more than {limit.amount} requests a minute; try again in {wait} s, or send many petitions in one request",
            limit=limit.amount,
            retry_after_s=wait,
        )


_BEARER = HTTPBearer(auto_error=False, description="An API key (`petitions keys create`); X-API-Key is read too")
"""Says in the OpenAPI description that a key is asked for; the gate reads the header itself."""


def needs(right: Right) -> Callable[..., Principal]:
    """A dependency: the principal, if its role includes `right`. Not async: it asks the store, so it runs in a thread."""

    def admitted(request: Request, bearer: Annotated[object, Depends(_BEARER)]) -> Principal:
        gate: Gate = request.app.state.gate
        principal = gate.admit(request)
        principal.require(right)
        return principal

    return admitted


Classifier = Annotated[Principal, Depends(needs(Right.CLASSIFY))]
Submitter = Annotated[Principal, Depends(needs(Right.SUBMIT))]
Reader = Annotated[Principal, Depends(needs(Right.READ))]
Handler = Annotated[Principal, Depends(needs(Right.HANDLE))]
Auditor = Annotated[Principal, Depends(needs(Right.AUDIT))]


def _presented(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key") or None


def wait_s(limiter: MovingWindowRateLimiter, limit: RateLimitItem, who: str) -> int:
    """Counts one more of `who`: 0 if it is within the limit, otherwise the seconds until the next is."""
    if limiter.hit(limit, who):
        return 0
    return max(1, math.ceil(limiter.get_window_stats(limit, who).reset_time - time.time()))


def address(request: Request) -> str:
    """Where a request came from."""
    return request.client.host if request.client else "unknown"


def from_here(request: Request) -> bool:
    """From this machine, by its own name, and not from a web page of another one.

    A page whose name was pointed at this machine (DNS rebinding) asks by that name; a form on a page says where it is from.
    """
    origin = request.headers.get("origin")
    return (
        is_loopback(address(request))
        and is_loopback(request.url.hostname or "")
        and (origin is None or is_loopback(urlsplit(origin).hostname or ""))
    )
