import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from sqlalchemy import Engine, select

from nlp_service.alerts import ALERT_HEADER, ATTEMPTS, SIGNATURE_HEADER, Dispatcher, Webhook, post, sign, undelivered
from nlp_service.intake import Intake
from nlp_service.store import alerts
from tests.nlp_service.offices import FLOOD, NOW, classified, incoming, shipped_rules

WEBHOOK = Webhook("http://duty.example/alerts", "s3cret")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Receiver:
    """Stands for the duty officer's system: answers with what it is told to."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.seen: list[tuple[str, bytes, dict[str, str]]] = []

    def __call__(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        self.seen.append((url, body, headers))
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def emergency(engine: Engine) -> Callable[[], int]:
    intake = Intake(engine, shipped_rules(), clock=lambda: NOW, on_alert=lambda: None)

    def make() -> int:
        petition_id: int = intake.take([incoming(FLOOD)], [classified(FLOOD)], "cổng")[0].body["id"]
        return petition_id

    return make


def test_an_alert_is_signed_and_sent_once(engine: Engine, emergency: Callable[[], int]) -> None:
    petition_id, receiver = emergency(), Receiver()
    dispatcher = Dispatcher(engine, WEBHOOK, receiver, Clock())
    assert undelivered(engine) == 1
    assert (dispatcher.deliver(), dispatcher.deliver()) == (1, 0)
    ((url, body, headers),) = receiver.seen
    assert url == WEBHOOK.url and json.loads(body)["petition_id"] == petition_id
    assert headers[SIGNATURE_HEADER] == sign("s3cret", NOW, body) != sign("other", NOW, body)
    assert json.loads(body)["alert_id"] == int(headers[ALERT_HEADER])
    assert undelivered(engine) == 0


def test_a_receiver_that_is_down_gets_it_later_with_growing_pauses(
    engine: Engine, emergency: Callable[[], int]
) -> None:
    emergency()
    clock, outcomes = Clock(), list[str]()
    receiver = Receiver(500, ConnectionError("refused"), 302)
    dispatcher = Dispatcher(engine, WEBHOOK, receiver, clock, outcomes.append)
    waits = []
    for _ in range(3):
        assert dispatcher.deliver() == 0
        with engine.connect() as connection:
            row = connection.execute(select(alerts.c.next_attempt_at, alerts.c.last_error)).one()
        waits.append((row.next_attempt_at - clock.now).total_seconds())
        assert dispatcher.deliver() == 0  # not before its time
        clock.now = row.next_attempt_at
    assert waits == [2, 4, 8]
    assert dispatcher.deliver() == 1 and len(receiver.seen) == 4
    assert outcomes == ["failed", "failed", "failed", "delivered"]


def test_after_fifty_attempts_a_person_is_needed(engine: Engine, emergency: Callable[[], int]) -> None:
    emergency()
    clock, outcomes = Clock(), list[str]()
    dispatcher = Dispatcher(engine, WEBHOOK, Receiver(*[503] * 200), clock, outcomes.append)
    for _ in range(ATTEMPTS + 5):
        dispatcher.deliver()
        clock.now += timedelta(minutes=5)
    assert outcomes.count("failed") == ATTEMPTS - 1 and outcomes[-1] == "given_up" and len(outcomes) == ATTEMPTS
    assert undelivered(engine) == 1


def test_of_several_processes_one_sends_an_alert(engine: Engine, emergency: Callable[[], int]) -> None:
    for _ in range(8):
        emergency()
    receiver = Receiver()
    dispatchers = [Dispatcher(engine, WEBHOOK, receiver, Clock()) for _ in range(3)]
    threads = [threading.Thread(target=dispatcher.deliver) for dispatcher in dispatchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = [headers[ALERT_HEADER] for _, _, headers in receiver.seen]
    assert len(sent) == len(set(sent)) == 8 and undelivered(engine) == 0


def test_what_an_earlier_process_left_is_sent_by_the_next(engine: Engine, emergency: Callable[[], int]) -> None:
    emergency()
    sent = threading.Event()

    def receive(url: str, body: bytes, headers: dict[str, str]) -> int:
        sent.set()
        return 200

    dispatcher = Dispatcher(engine, WEBHOOK, receive)
    dispatcher.start()
    try:
        assert sent.wait(10)
        sent.clear()
        emergency()
        dispatcher.wake()
        assert sent.wait(10)
    finally:
        dispatcher.stop()
    assert undelivered(engine) == 0


def test_over_real_http_and_to_nobody() -> None:
    got: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.headers[SIGNATURE_HEADER], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        assert post(url, b"{}", {SIGNATURE_HEADER: "t=1,v1=x"}) == 204
        thread.join()
    assert got == [("t=1,v1=x", b"{}")]
    for nowhere in ("http://127.0.0.1:1/", "http://[::1"):
        with pytest.raises(OSError):
            post(nowhere, b"{}", {})
