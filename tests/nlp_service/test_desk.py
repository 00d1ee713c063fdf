from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from nlp_service import audit, locks
from nlp_service.casework import Casework, Filter, Status
from nlp_service.desk import Desk, Verdict
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.intake import Intake
from nlp_service.queue import Queue
from nlp_service.roles import Principal, Role
from nlp_service.store import alerts, decisions, links, petitions, reviews, snapshot, writing
from tests.nlp_service.offices import BRIBE, DOUBTFUL, FLOOD, NOW, POTHOLE, classified, incoming, shipped_rules

LAN = Principal("lan", Role.REVIEWER)
HUNG = Principal("hùng", Role.REVIEWER)
MAI = Principal("mai", Role.REVIEWER)


class Office:
    """A desk, its queue and its intake over one store, at one moment."""

    def __init__(self, engine: Engine, second_readings: float = 0.0) -> None:
        self.engine = engine
        self.now = NOW
        self.alarms = 0
        clock = lambda: self.now  # noqa: E731
        self.casework = Casework(engine, clock)
        self.desk = Desk(engine, shipped_rules(), str, clock, second_readings, self._alarm)
        self.queue = Queue(engine, self.casework, "fixed-1", clock)
        self.intake = Intake(engine, shipped_rules(), clock, self._alarm)

    def _alarm(self) -> None:
        self.alarms += 1

    def receive(self, *texts: str, **changes: object) -> list[int]:
        receipts = self.intake.take([incoming(t, **changes) for t in texts], [classified(t) for t in texts], "portal")
        return [receipt.body["id"] for receipt in receipts]

    def read(self, petition_id: int) -> dict[str, Any]:
        return self.casework.read(Principal("auditor", Role.AUDITOR), petition_id)

    def waiting(self, principal: Principal) -> list[int]:
        return [item["id"] for item in self.queue.page(principal, Filter(), 50)[0]]

    def rows(self, table: Any, *columns: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [
                tuple(row) for row in connection.execute(select(*(table.c[c] for c in columns)).order_by(table.c.id))
            ]


@pytest.fixture
def office(engine: Engine) -> Office:
    return Office(engine)


def refused(act: Callable[[], object]) -> PetitionError:
    with pytest.raises(PetitionError) as failure:
        act()
    return failure.value


def test_a_corrected_petition_goes_at_once_where_it_belongs(office: Office) -> None:
    [doubtful] = office.receive(DOUBTFUL)
    before = office.read(doubtful)
    assert before["status"] == "in_review"
    outcome = office.desk.decide(LAN, doubtful, Verdict(category="environment_resources", urgency="urgent"), 1)
    after = office.read(doubtful)
    assert (after["category"], after["urgency"], after["status"]) == ("environment_resources", "urgent", "routed")
    assert after["routing"]["lead"] != before["routing"]["lead"]
    assert after["routing"]["lead"]["name"] in outcome.summary["message"]
    assert after["due_at"] < before["due_at"]
    assert office.waiting(LAN) == []
    inbox = office.casework.find(LAN, Filter(body=after["routing"]["lead"]["id"]), 10)
    assert [item["id"] for item in inbox.items] == [doubtful]


def test_a_decision_is_a_labelled_example_with_who_and_how_sure(office: Office) -> None:
    [doubtful] = office.receive(DOUBTFUL)
    office.desk.decide(LAN, doubtful, Verdict(category="land_administration", sure=False), 1)
    assert office.rows(
        reviews, "reviewer", "category", "urgency", "petition_type", "sure", "reading", "model_version", "suggested"
    ) == [
        (
            "lan", "land_administration", "low", "other", False, 1, "fixed-1",
            {"category": "other", "urgency": "low", "petition_type": "other", "zone": "human"},
        )
    ]  # fmt: skip


def test_accepting_changes_no_label_and_sends_the_petition_on(office: Office) -> None:
    [doubtful] = office.receive(DOUBTFUL)
    office.desk.decide(LAN, doubtful, Verdict(), 1)
    after = office.read(doubtful)
    assert (after["category"], after["status"]) == ("other", "routed")
    assert office.rows(decisions, "field", "old", "new") == [("status", "in_review", "routed")]


def test_every_decision_stands_in_an_audit_log_that_is_whole(office: Office) -> None:
    [doubtful] = office.receive(DOUBTFUL)
    office.desk.decide(LAN, doubtful, Verdict(category="land_administration"), 1)
    office.desk.undo(LAN)
    with snapshot(office.engine) as connection:
        entries = audit.history(connection, f"petition:{doubtful}")
        assert audit.verify(connection).intact
    assert [entry["action"] for entry in entries] == ["petition.received", "petition.decide", "petition.undo"]
    assert entries[1]["category"] == {"old": "other", "new": "land_administration"}
    assert entries[1]["actor"] == "lan"


def test_two_clerks_never_overwrite_each_other(office: Office) -> None:
    [doubtful] = office.receive(DOUBTFUL)
    office.desk.decide(LAN, doubtful, Verdict(category="land_administration"), 1)
    error = refused(lambda: office.desk.decide(HUNG, doubtful, Verdict(category="education_training"), 1))
    assert error.kind is ErrorKind.CONFLICT and "version" in error.message
    assert office.read(doubtful)["category"] == "land_administration"


def test_the_same_request_sent_again_is_done_once(office: Office) -> None:
    first, _ = office.receive(DOUBTFUL, DOUBTFUL + " Lần hai.")
    done = office.desk.decide(LAN, first, Verdict(category="land_administration"), 1, "page-1")
    again = office.desk.decide(LAN, first, Verdict(category="land_administration"), 1, "page-1")
    assert again == done
    assert len(office.rows(reviews, "id")) == 1


@pytest.mark.parametrize(
    "verdict",
    [Verdict(category="nonsense"), Verdict(urgency="very"), Verdict(commune="99999"), Verdict(petition_type="x")],
)
def test_a_label_that_there_is_not_is_refused_and_nothing_happens(office: Office, verdict: Verdict) -> None:
    [doubtful] = office.receive(DOUBTFUL)
    assert refused(lambda: office.desk.decide(LAN, doubtful, verdict, 1)).kind is ErrorKind.INVALID_REQUEST
    assert office.waiting(LAN) == [doubtful]


def test_a_corrected_place_moves_the_petition_to_that_commune(office: Office) -> None:
    [doubtful] = office.receive(DOUBTFUL)
    code = office.casework.find(LAN, Filter(), 1).items[0]["place"]["commune_code"]
    assert code is None
    unit = next(iter(shipped_rules().gazetteer.units.values()))
    office.desk.decide(LAN, doubtful, Verdict(category="transport_infrastructure", commune=unit.code), 1)
    after = office.read(doubtful)
    assert after["place"]["commune"] == unit.full_name
    assert after["routing"]["commune_code"] == unit.code
    assert [i["id"] for i in office.casework.find(LAN, Filter(commune=unit.code), 5).items] == [doubtful]


def test_outside_the_province_is_redirected_whatever_the_rules_say(office: Office) -> None:
    [doubtful] = office.receive(DOUBTFUL)
    office.desk.decide(LAN, doubtful, Verdict(outside=True, reason="Việc của tỉnh Nghệ An."), 1)
    after = office.read(doubtful)
    assert after["status"] == "redirected" and after["flags"]["out_of_jurisdiction"]
    assert after["decisions"][-1]["reason"] == "Việc của tỉnh Nghệ An."
    office.desk.decide(LAN, doubtful, Verdict(category="land_administration"), 2)
    assert office.read(doubtful)["status"] == "routed"


def test_an_emergency_raised_by_a_person_alerts_the_officer_on_duty(office: Office) -> None:
    [doubtful] = office.receive(DOUBTFUL)
    assert office.rows(alerts, "petition_id") == []
    office.desk.decide(LAN, doubtful, Verdict(category="disaster_fire_rescue", urgency="emergency"), 1)
    assert office.rows(alerts, "petition_id") == [(doubtful,)]
    assert office.read(doubtful)["emergency"]
    assert office.alarms > 0


class TestUndo:
    def test_puts_everything_back_and_the_petition_into_the_queue(self, office: Office) -> None:
        [doubtful] = office.receive(DOUBTFUL)
        before = office.read(doubtful)
        office.desk.decide(LAN, doubtful, Verdict(category="environment_resources", urgency="urgent"), 1)
        outcome = office.desk.undo(LAN)
        after = office.read(doubtful)
        same = ("category", "urgency", "petition_type", "status", "due_at", "place", "flags", "routing")
        assert {name: after[name] for name in same} == {name: before[name] for name in same}
        assert after["version"] == 3  # who saw the decision must read again
        assert office.waiting(LAN) == [doubtful]
        assert "Đã hoàn tác" in outcome.summary["message"]
        lead = before["routing"]["lead"]["id"]
        assert [i["id"] for i in office.casework.find(LAN, Filter(body=lead), 9).items] == [doubtful]

    def test_an_undone_decision_is_no_example(self, office: Office) -> None:
        [doubtful] = office.receive(DOUBTFUL)
        office.desk.decide(LAN, doubtful, Verdict(category="land_administration"), 1)
        office.desk.decide(LAN, doubtful, Verdict(category="education_training"), 2)
        office.desk.undo(LAN)
        assert office.rows(reviews, "category", "withdrawn_at") == [
            ("land_administration", None),
            ("education_training", NOW),
        ]

    def test_undoes_the_last_thing_then_the_one_before(self, office: Office) -> None:
        first, second = office.receive(DOUBTFUL, DOUBTFUL + " Nữa.")
        office.desk.decide(LAN, first, Verdict(), 1)
        office.desk.decide(LAN, second, Verdict(), 1)
        assert office.desk.undo(LAN).petitions == (second,)
        assert office.desk.undo(LAN).petitions == (first,)
        assert refused(lambda: office.desk.undo(LAN)).kind is ErrorKind.NOT_FOUND

    def test_is_for_who_did_it(self, office: Office) -> None:
        [doubtful] = office.receive(DOUBTFUL)
        done = office.desk.decide(LAN, doubtful, Verdict(), 1)
        assert refused(lambda: office.desk.undo(HUNG, done.id)).kind is ErrorKind.NOT_FOUND

    def test_never_undoes_what_somebody_did_since(self, office: Office) -> None:
        [doubtful] = office.receive(DOUBTFUL)
        done = office.desk.decide(LAN, doubtful, Verdict(category="land_administration"), 1)
        office.desk.decide(HUNG, doubtful, Verdict(category="education_training"), 2)
        assert refused(lambda: office.desk.undo(LAN, done.id)).kind is ErrorKind.CONFLICT
        assert office.read(doubtful)["category"] == "education_training"


class TestMerge:
    def test_closes_the_repeat_and_names_the_one_that_goes_on(self, office: Office) -> None:
        first, second = office.receive(POTHOLE, POTHOLE + " Xin nhắc lại.")
        office.desk.merge(LAN, second, first, 1)
        after = office.read(second)
        assert (after["status"], after["repeat_of"]) == ("merged", first)
        assert office.rows(links, "petition_id", "other_id", "kind") == [(second, first, "merged")]
        office.desk.undo(LAN)
        assert office.read(second)["status"] == "routed"
        assert office.rows(links, "undone_at") == [(NOW,)]

    def test_into_a_merged_one_goes_to_the_one_that_goes_on(self, office: Office) -> None:
        first, second, third = office.receive(POTHOLE, POTHOLE + " Hai.", POTHOLE + " Ba.")
        office.desk.merge(LAN, second, first, 1)
        office.desk.merge(LAN, third, second, 1)
        assert office.read(third)["repeat_of"] == first

    def test_never_into_itself_nor_round_a_circle(self, office: Office) -> None:
        first, second = office.receive(POTHOLE, POTHOLE + " Hai.")
        assert refused(lambda: office.desk.merge(LAN, first, first, 1)).kind is ErrorKind.INVALID_REQUEST
        office.desk.merge(LAN, second, first, 1)
        assert refused(lambda: office.desk.merge(LAN, first, second, 1)).kind is ErrorKind.INVALID_REQUEST

    def test_taken_up_again_it_stands_by_itself(self, office: Office) -> None:
        first, second = office.receive(POTHOLE, POTHOLE + " Hai.")
        office.desk.merge(LAN, second, first, 1)
        office.casework.change_status(LAN, second, Status.IN_REVIEW, None)
        assert office.rows(links, "undone_at") == [(NOW,)]
        assert office.waiting(LAN) == [second]


def test_linked_petitions_both_go_on(office: Office) -> None:
    first, second = office.receive(POTHOLE, FLOOD)
    office.desk.link(LAN, second, first, 1)
    assert [office.read(i)["status"] for i in (first, second)] == ["routed", "in_review"]
    assert refused(lambda: office.desk.link(LAN, first, second, 1)).kind is ErrorKind.CONFLICT


class TestSplit:
    def test_makes_petitions_of_the_parts_and_closes_the_whole(self, office: Office) -> None:
        [whole] = office.receive(f"{DOUBTFUL} {POTHOLE}", commune="Nga Thắng")
        parts, before = [DOUBTFUL, POTHOLE], office.read(whole)["status"]
        outcome = office.desk.split(LAN, whole, parts, [classified(t) for t in parts], 1, office.intake)
        made = outcome.summary["parts"]
        assert office.read(whole)["status"] == "split"
        assert [office.read(i)["category"] for i in made] == ["other", "transport_infrastructure"]
        assert [office.read(i)["repeat_of"] for i in made] == [None, None]
        assert office.read(made[0])["received_at"] == office.read(whole)["received_at"]
        office.desk.undo(LAN)
        assert [office.read(i)["status"] for i in (whole, *made)] == [before, "merged", "merged"]
        assert office.waiting(LAN) == []

    def test_is_not_undone_once_a_part_was_decided(self, office: Office) -> None:
        [whole] = office.receive(DOUBTFUL)
        parts = [DOUBTFUL, POTHOLE]
        made = office.desk.split(LAN, whole, parts, [classified(t) for t in parts], 1, office.intake).summary["parts"]
        office.desk.decide(HUNG, made[0], Verdict(), 1)
        split = office.desk.recent(LAN)[0]["id"]
        assert refused(lambda: office.desk.undo(LAN, split)).kind is ErrorKind.CONFLICT


class TestQueue:
    def test_emergencies_come_first_then_denunciations_then_doubt(self, office: Office) -> None:
        _, doubtful, bribe, flood = office.receive(POTHOLE, DOUBTFUL, BRIBE, FLOOD)
        with writing(office.engine) as connection:
            connection.execute(update(petitions).values(queued=True).where(petitions.c.id == bribe))
        assert office.waiting(LAN) == [flood, bribe, doubtful]

    def test_what_one_works_on_is_not_given_to_another(self, office: Office) -> None:
        first, second = office.receive(DOUBTFUL, DOUBTFUL + " Nữa.")
        given = {office.queue.next(LAN, Filter()), office.queue.next(HUNG, Filter())}
        assert given == {first, second}
        assert office.queue.next(MAI, Filter()) is None

    def test_a_lock_runs_out(self, office: Office) -> None:
        [doubtful] = office.receive(DOUBTFUL)
        office.queue.next(LAN, Filter())
        office.now += locks.LOCK_FOR + timedelta(seconds=1)
        assert office.queue.next(HUNG, Filter()) == doubtful

    def test_a_decision_on_what_another_works_on_waits_until_it_is_taken_over(self, office: Office) -> None:
        [doubtful] = office.receive(DOUBTFUL)
        office.queue.next(LAN, Filter())
        error = refused(lambda: office.desk.decide(HUNG, doubtful, Verdict(), 1))
        assert error.kind is ErrorKind.CONFLICT and error.detail["holder"] == "lan"
        assert office.queue.take(HUNG, doubtful, over=True).holder == "hùng"
        office.desk.decide(HUNG, doubtful, Verdict(), 1)

    def test_put_aside_it_waits_for_the_next_one(self, office: Office) -> None:
        first, second = office.receive(DOUBTFUL, DOUBTFUL + " Nữa.")
        now = office.queue.next(LAN, Filter())
        assert now is not None
        office.queue.release(LAN, now)
        assert office.queue.next(LAN, Filter(), after=now) == ({first, second} - {now}).pop()
        assert office.queue.next(HUNG, Filter()) == now

    def test_an_officer_is_given_its_own_alone(self, office: Office) -> None:
        office.receive(DOUBTFUL)
        officer = Principal("sở", Role.OFFICER, frozenset({"so_y_te"}))
        assert office.queue.next(officer, Filter()) is None


class TestTwoReaders:
    @pytest.fixture
    def double(self, engine: Engine) -> Office:
        return Office(engine, second_readings=1.0)

    def test_the_second_reader_is_another_person(self, double: Office) -> None:
        [doubtful] = double.receive(DOUBTFUL)
        double.desk.decide(LAN, doubtful, Verdict(), 1)
        assert double.read(doubtful)["status"] == "routed"  # nobody waits for the second opinion
        assert double.waiting(LAN) == []
        assert double.waiting(HUNG) == [doubtful]

    def test_where_they_agree_it_is_done(self, double: Office) -> None:
        [doubtful] = double.receive(DOUBTFUL)
        double.desk.decide(LAN, doubtful, Verdict(category="land_administration"), 1)
        outcome = double.desk.decide(HUNG, doubtful, Verdict(category="land_administration"), 2)
        assert outcome.summary["agreed"]
        assert double.waiting(MAI) == []

    def test_where_they_do_not_a_third_settles_it(self, double: Office) -> None:
        [doubtful] = double.receive(DOUBTFUL)
        double.desk.decide(LAN, doubtful, Verdict(category="land_administration"), 1)
        double.desk.decide(HUNG, doubtful, Verdict(category="education_training"), 2)
        assert double.read(doubtful)["category"] == "land_administration"  # until then the first one's stands
        assert double.waiting(MAI) == [doubtful]
        double.desk.decide(MAI, doubtful, Verdict(category="education_training"), 3)
        assert double.read(doubtful)["category"] == "education_training"
        assert double.waiting(MAI) == double.waiting(LAN) == []
        assert double.rows(reviews, "reviewer", "reading") == [("lan", 1), ("hùng", 2), ("mai", 3)]

    def test_who_decides_again_before_the_second_reader_changes_its_own_reading(self, double: Office) -> None:
        [doubtful] = double.receive(DOUBTFUL)
        double.desk.decide(LAN, doubtful, Verdict(category="land_administration"), 1)
        double.desk.decide(LAN, doubtful, Verdict(category="education_training"), 2)
        assert double.rows(reviews, "category", "reading", "withdrawn_at") == [
            ("land_administration", 1, NOW),
            ("education_training", 1, None),
        ]
        assert double.waiting(HUNG) == [doubtful]
