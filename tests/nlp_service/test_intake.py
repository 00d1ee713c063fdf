import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select

from nlp_service import audit
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.intake import Intake, Receipt, RequestKey, fingerprint
from nlp_service.store import alerts, assignments, petitions, predictions, routings, senders
from nlp_service.triage import Sender
from tests.nlp_service.offices import BRIBE, DOUBTFUL, FLOOD, NOW, POTHOLE, classified, incoming, shipped_rules


@pytest.fixture
def intake(engine: Engine) -> Intake:
    return Intake(engine, shipped_rules(), clock=lambda: NOW, on_alert=lambda: None)


def take(intake: Intake, *texts: str, **changes: object) -> list[Receipt]:
    found = [incoming(text, **changes) for text in texts]
    receipts: list[Receipt] = intake.take(found, [classified(text) for text in texts], "cổng")
    return receipts


def count(engine: Engine, table: object) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()  # type: ignore[arg-type]


def test_a_petition_is_kept_with_all_that_was_said_of_it(engine: Engine, intake: Intake) -> None:
    (receipt,) = take(intake, POTHOLE, external_id="PA-1", sender=Sender(name="Lê Thị Bưởi", phone="0900000001"))
    body = receipt.body
    assert receipt.created and body["status"] == "routed" and body["version"] == 1
    assert body["place"]["status"] == "found" and "Nga Thắng" in body["place"]["commune"]
    assert body["routing"]["lead"]["name"] and body["routing"]["trace"] and body["routing"]["rule"]
    assert all(deadline["basis"] for deadline in body["routing"]["deadlines"])
    with engine.connect() as connection:
        row = connection.execute(select(petitions)).mappings().one()
        assert row["text"] == POTHOLE and row["received_at"] == NOW
        assert connection.execute(select(predictions.c.result)).scalar_one() == body["classification"]
        assert connection.execute(select(routings.c.result)).scalar_one() == body["routing"]
        assert connection.execute(select(routings.c.rules_version)).scalar_one() == shipped_rules().version
        assert connection.execute(select(senders.c.name)).scalar_one() == "Lê Thị Bưởi"
        roles = {row.body: row.role for row in connection.execute(select(assignments.c.body, assignments.c.role))}
        assert roles[body["routing"]["lead"]["id"]] == "lead"
        entry = audit.history(connection, f"petition:{body['id']}")[0]
    assert (entry["actor"], entry["category"], entry["model_version"]) == (
        "cổng",
        "transport_infrastructure",
        "fixed-1",
    )
    assert "ổ gà" not in str(entry)


def test_the_same_external_id_is_the_same_petition(engine: Engine, intake: Intake) -> None:
    first = take(intake, POTHOLE, external_id="PA-1")[0]
    again = take(intake, POTHOLE + "  ", external_id="PA-1")[0]
    assert (again.created, again.body["id"]) == (False, first.body["id"])
    assert again.body == first.body
    assert count(engine, petitions) == 1


def test_another_text_under_a_known_id_is_a_conflict_and_spoils_nothing_else(engine: Engine, intake: Intake) -> None:
    take(intake, POTHOLE, external_id="PA-1")
    items = [incoming(FLOOD, external_id="PA-1"), incoming(DOUBTFUL, external_id="PA-2")]
    conflict, made = intake.take(items, [classified(item.text) for item in items], "cổng")
    assert isinstance(conflict, PetitionError) and conflict.kind is ErrorKind.CONFLICT
    assert made.created and count(engine, petitions) == 2


def test_repeats_within_one_request_are_one_petition(engine: Engine, intake: Intake) -> None:
    items = [incoming(POTHOLE, external_id="A"), incoming(POTHOLE, external_id="A"), incoming(FLOOD, external_id="A")]
    first, same, other = intake.take(items, [classified(item.text) for item in items], "cổng")
    assert (first.created, same.created, same.body["id"]) == (True, False, first.body["id"])
    assert isinstance(other, PetitionError) and other.kind is ErrorKind.CONFLICT
    assert count(engine, petitions) == 1


def test_what_could_not_be_read_is_not_stored(engine: Engine, intake: Intake) -> None:
    error = PetitionError(ErrorKind.EMPTY_TEXT, "text holds no letter or digit; send the petition's words")
    bad, good = intake.take([incoming(""), incoming()], [error, classified(POTHOLE)], "cổng")
    assert bad is error and good.created and count(engine, petitions) == 1


def test_a_repeated_request_gets_its_first_answer(engine: Engine, intake: Intake) -> None:
    def answer(receipts: list[Receipt | PetitionError]) -> dict[str, object]:
        return {"ids": [receipt.body["id"] for receipt in receipts if isinstance(receipt, Receipt)]}

    request = RequestKey("k1", "a" * 64)
    first = intake.take([incoming()], [classified(POTHOLE)], "cổng", request, answer)
    assert intake.take([incoming()], [classified(POTHOLE)], "cổng", request, answer) == first
    assert intake.replay("cổng", request) == first
    assert intake.replay("another client", request) is None
    with pytest.raises(PetitionError) as failure:
        intake.take([incoming()], [classified(POTHOLE)], "cổng", replace(request, request_sha256="b" * 64), answer)
    assert failure.value.kind is ErrorKind.CONFLICT and count(engine, petitions) == 1


def test_many_at_once_with_the_same_ids_store_each_once(engine: Engine, intake: Intake) -> None:
    results: list[list[Receipt]] = []
    start = threading.Barrier(4)

    def send() -> None:
        items = [incoming(POTHOLE, external_id=f"PA-{number}") for number in range(20)]
        start.wait()
        results.append(intake.take(items, [classified(POTHOLE)] * 20, "cổng"))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(engine, petitions) == 20
    assert sum(receipt.created for receipts in results for receipt in receipts) == 20
    assert len({tuple(receipt.body["id"] for receipt in receipts) for receipts in results}) == 1
    with engine.connect() as connection:
        assert audit.verify(connection).intact


def test_requests_with_the_same_ids_crosswise_do_not_stop_each_other(engine: Engine, intake: Intake) -> None:
    problems: list[BaseException] = []
    names = [f"PA-{number}" for number in range(60)]

    def send(order: list[str]) -> None:
        try:
            for _ in range(3):
                items = [incoming(POTHOLE, external_id=name) for name in order]
                intake.take(items, [classified(POTHOLE)] * len(items), "cổng")
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=send, args=(order,)) for order in (names, names[::-1], names, names[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems and count(engine, petitions) == 60


def test_ids_are_each_system_s_own(engine: Engine, intake: Intake) -> None:
    first = intake.take([incoming(POTHOLE, external_id="1")], [classified(POTHOLE)], "cổng")[0]
    other = intake.take([incoming(FLOOD, external_id="1")], [classified(FLOOD)], "đường dây nóng")[0]
    same = intake.take([incoming(POTHOLE, external_id="2")], [classified(POTHOLE)], "đường dây nóng")[0]
    assert first.created and other.created and other.body["id"] != first.body["id"]
    assert same.body["repeat_of"] is None  # that somebody else sent the same is not told to this system


def test_what_failed_may_be_sent_again_under_the_same_key(engine: Engine, intake: Intake) -> None:
    failure = PetitionError(ErrorKind.CLASSIFICATION_FAILED, "reading this petition failed; send it again")
    request = RequestKey("k", "a" * 64)
    intake.take([incoming()], [failure], "cổng", request, lambda receipts: {"made": isinstance(receipts[0], Receipt)})
    made = intake.take(
        [incoming()],
        [classified(POTHOLE)],
        "cổng",
        request,
        lambda receipts: {"made": isinstance(receipts[0], Receipt)},
    )
    assert made == {"made": True} and count(engine, petitions) == 1


def test_without_a_receiver_no_alert_is_kept_for_later(engine: Engine) -> None:
    quiet = Intake(engine, shipped_rules(), clock=lambda: NOW)
    assert take(quiet, FLOOD)[0].body["emergency"] and count(engine, alerts) == 0


def test_an_emergency_goes_to_the_outbox_whatever_the_model_doubts(engine: Engine, intake: Intake) -> None:
    woken: list[bool] = []
    intake._on_alert = lambda: woken.append(True)
    (receipt,) = take(intake, FLOOD)
    assert receipt.body["emergency"] and receipt.body["status"] == "in_review"
    assert receipt.body["due_at"] <= (NOW + timedelta(hours=4)).isoformat()
    take(intake, POTHOLE)
    with engine.connect() as connection:
        payload = connection.execute(select(alerts.c.payload)).scalar_one()
    assert payload["petition_id"] == receipt.body["id"] and woken == [True]
    assert "nóc nhà" not in str(payload)


def test_same_words_or_same_sender_about_the_same_are_repeats(intake: Intake) -> None:
    sender = Sender(phone="0900 000 001")
    first = take(intake, POTHOLE, sender=sender)[0].body
    words = take(intake, POTHOLE.upper())[0].body
    same_sender = take(intake, "Ổ gà chỗ cầu ngày một to.", sender=Sender(phone="+84900000001"))[0].body
    other_matter = take(intake, DOUBTFUL, sender=sender)[0].body
    later = take(intake, "Lại ổ gà nữa.", sender=sender, received_at=NOW + timedelta(days=400))[0].body
    assert first["repeat_of"] is None
    assert (words["repeat_of"], same_sender["repeat_of"]) == (first["id"], first["id"])
    assert (other_matter["repeat_of"], later["repeat_of"]) == (None, None)
    long_ago = incoming("Ổ gà đầu ngõ.", sender=Sender(phone="0900000009"), received_at=NOW - timedelta(days=800))
    recent = incoming("Ổ gà cuối ngõ.", sender=Sender(phone="0900000009"))
    mixed = intake.take([long_ago, recent], [classified(long_ago.text), classified(recent.text)], "cổng")
    assert mixed[1].body["repeat_of"] is None
    strangers = [take(intake, text, sender=Sender(phone="0"))[0].body for text in ("Ổ gà một.", "Ổ gà hai.")]
    assert strangers[1]["repeat_of"] is None
    pair = take(intake, "Ổ gà mới.", "Ổ gà mới.")
    assert pair[1].body["repeat_of"] == pair[0].body["id"] and pair[0].body["repeat_of"] is None


def test_a_denunciation_is_restricted_and_kept_from_the_accused(engine: Engine, intake: Intake) -> None:
    (receipt,) = take(intake, BRIBE)
    routing = receipt.body["routing"]
    assert receipt.body["restricted"] and routing["lead"]["id"] == "thanh_tra_tinh"
    with engine.connect() as connection:
        bodies = set(connection.execute(select(assignments.c.body)).scalars())
    assert "chu_tich_ubnd_xa" not in bodies
    assert "Lê Văn Tám" not in str(routing)


def test_a_sender_is_known_by_id_then_phone_then_mail() -> None:
    assert fingerprint(Sender()) is None
    assert fingerprint(Sender(name="A")) is None
    assert fingerprint(Sender(phone="0900000001")) == fingerprint(Sender(phone="+84 900 000 001", email="a@b.vn"))
    assert fingerprint(Sender(email="A@b.vn ")) == fingerprint(Sender(email="a@b.vn"))
    assert fingerprint(Sender(citizen_id="038000000001", phone="0900000001")) != fingerprint(Sender(phone="0900000001"))
