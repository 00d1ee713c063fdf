"""Emergencies go out at once: an outbox in the store, emptied by one worker that posts signed webhooks and tries again.

An alert is stored in the transaction that stores its petition, so none is lost with the process; it is delivered at least once, and
`X-Petitions-Alert` (its id) lets the receiver drop a second copy. The signature is over the time and the body, so that an old alert
cannot be replayed: `X-Petitions-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`.
"""

import hashlib
import hmac
import json
import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import Engine, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from nlp_service.store import alerts, writing

log = logging.getLogger(__name__)

SIGNATURE_HEADER, ALERT_HEADER = "X-Petitions-Signature", "X-Petitions-Alert"
ATTEMPTS = 50
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=2), timedelta(minutes=5)
"""Doubling between these: a receiver that is down for hours still gets its alerts, the fiftieth after about four hours."""

TIMEOUT_S = 10
CLAIM = timedelta(minutes=1)
"""After so long another process may try an alert that one took and did not come back with."""

_BLOCK = 20


class Post(Protocol):
    """Sends one request; returns the HTTP status, raises OSError when there is no answer."""

    def __call__(self, url: str, body: bytes, headers: dict[str, str]) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Webhook:
    """Where alerts go, and the secret that signs them."""

    url: str
    secret: str


def sign(secret: str, at: datetime, body: bytes) -> str:
    """The signature header of `body` sent at `at`."""
    seconds = int(at.timestamp())
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """Over HTTP, without following redirects: an alert goes where it was told to go, or is tried again."""
    import httpx2

    try:
        return httpx2.post(url, content=body, headers=headers, timeout=TIMEOUT_S, follow_redirects=False).status_code
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ConnectionError(type(error).__name__) from error


class Dispatcher:
    """Delivers what is in the outbox, soonest first; `wake` makes it look at once.

    Args:
        count: told "delivered", "failed" or "given_up" for every attempt (a metric).
    """

    def __init__(
        self,
        engine: Engine,
        webhook: Webhook,
        send: Post = post,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        count: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self._engine = engine
        self._webhook = webhook
        self._send = send
        self._clock = clock
        self._count = count
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)

    def start(self) -> None:
        """Begin to deliver, starting with what an earlier process left."""
        self._thread.start()

    def wake(self) -> None:
        """Look into the outbox now."""
        self._wake.set()

    def stop(self) -> None:
        """Finish the delivery at hand and end; what is left stays in the outbox."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(TIMEOUT_S + 1)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self.deliver()
                wait = self._until_next()
            except Exception as error:  # the database may be away for a while: alerts must not stop for that
                log.error("alerts: the outbox could not be read (%s); trying again", type(error).__name__)
                wait = LONGEST_WAIT.total_seconds() / 10
            self._wake.wait(wait)

    def deliver(self) -> int:
        """Try everything that is due, and return how many alerts were delivered."""
        delivered = 0
        while not self._stopping.is_set():
            with self._engine.connect() as connection:
                rows = connection.execute(
                    select(alerts.c.id, alerts.c.payload, alerts.c.attempts)
                    .where(alerts.c.next_attempt_at <= self._clock())
                    .order_by(alerts.c.next_attempt_at, alerts.c.id)
                    .limit(_BLOCK)
                ).all()
            if not rows:
                break
            for row in rows:
                if self._stopping.is_set():
                    break
                if self._claim(row.id, row.attempts):
                    delivered += self._attempt(row.id, row.payload, row.attempts)
        return delivered

    def _claim(self, alert_id: int, attempts: int) -> bool:
        """Takes an alert for this process: with several on one store each attempt is made by one of them."""
        with writing(self._engine) as connection:
            done = connection.execute(
                update(alerts)
                .where(
                    alerts.c.id == alert_id, alerts.c.attempts == attempts, alerts.c.next_attempt_at <= self._clock()
                )
                .values(attempts=attempts + 1, next_attempt_at=self._clock() + CLAIM)
            )
        return done.rowcount == 1

    def _attempt(self, alert_id: int, payload: dict[str, Any], attempts: int) -> bool:
        now = self._clock()
        body = json.dumps({"alert_id": alert_id, **payload}, ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            ALERT_HEADER: str(alert_id),
            SIGNATURE_HEADER: sign(self._webhook.secret, now, body),
        }
        try:
            status = self._send(self._webhook.url, body, headers)
            problem = None if 200 <= status < 300 else f"HTTP {status}"
        except OSError as error:
            problem = str(error) or type(error).__name__
        if problem is None:
            values: dict[str, Any] = {"delivered_at": self._clock(), "next_attempt_at": None, "last_error": None}
            self._count("delivered")
        else:
            wait = min(FIRST_WAIT * 2 ** min(attempts, 20), LONGEST_WAIT)
            given_up = attempts + 1 >= ATTEMPTS
            values = {"next_attempt_at": None if given_up else now + wait, "last_error": problem[:200]}
            log.error(
                "alert %d: attempt %d failed (%s)%s", alert_id, attempts + 1, problem, ", given up" if given_up else ""
            )
            self._count("given_up" if given_up else "failed")
        with writing(self._engine) as connection:
            connection.execute(
                update(alerts).where(alerts.c.id == alert_id, alerts.c.delivered_at.is_(None)).values(values)
            )
        return problem is None

    def _until_next(self) -> float:
        with self._engine.connect() as connection:
            due: datetime | None = connection.execute(select(func.min(alerts.c.next_attempt_at))).scalar_one()
        if due is None:
            return LONGEST_WAIT.total_seconds()
        return max((due - self._clock()).total_seconds(), 0.05)


def undelivered(engine: Engine) -> float:
    """Alerts that wait or were given up (a metric: anything but 0 for long needs a person); NaN while the store is away."""
    try:
        with engine.connect() as connection:
            waiting = select(func.count()).select_from(alerts).where(alerts.c.delivered_at.is_(None))
            count: int = connection.execute(waiting).scalar_one()
            return float(count)
    except SQLAlchemyError:
        return math.nan
