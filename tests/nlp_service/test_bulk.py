from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from nlp_service import audit, bulk, locks
from nlp_service.bulk import Bulk
from nlp_service.casework import Casework, Filter, Status
from nlp_service.desk import Desk, Outcome, Verdict
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.intake import Intake
from nlp_service.roles import Principal, Role
from nlp_service.store import decisions, operations, petitions, reviews, snapshot, writing
from tests.nlp_service.offices import BRIBE, DOUBTFUL, FLOOD, NOW, POTHOLE, classified, incoming, shipped_rules

LAN = Principal("lan", Role.REVIEWER)
HUNG = Principal("hùng", Role.REVIEWER)
OTHERS = Filter(categories=("other",))
LAND = Verdict(category="land_administration")


class Office:
    """A desk with bulk decisions over one store, at one moment."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.now = NOW
        self.alarms = 0
        clock = lambda: self.now  # noqa: E731
        self.casework = Casework(engine, clock)
        self.desk = Desk(engine, shipped_rules(), str, clock, on_alert=self._alarm)
        self.bulk = Bulk(engine, self.casework, self.desk)
        self._intake = Intake(engine, shipped_rules(), clock)

    def _alarm(self) -> None:
        self.alarms += 1

    def receive(self, *texts: str) -> list[int]:
        given = [incoming(text) for text in texts]
        return [r.body["id"] for r in self._intake.take(given, [classified(t) for t in texts], "portal")]

    def state(self) -> dict[int, Any]:
        """What bulk decisions may change, of every petition; versions grow and are not among it."""
        names = ("category", "urgency", "petition_type", "status", "lead_body", "due_at", "queued", "risk", "readings")
        with self.engine.connect() as connection:
            rows = connection.execute(select(petitions).order_by(petitions.c.id)).mappings()
            return {row["id"]: {name: row[name] for name in names} for row in rows}

    def rows(self, table: Any, *columns: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [
                tuple(row) for row in connection.execute(select(*(table.c[c] for c in columns)).order_by(table.c.id))
            ]

    def do(self, wanted: Filter = OTHERS, verdict: Verdict = LAND, principal: Principal = LAN) -> Outcome:
        """Preview and apply."""
        return self.bulk.apply(principal, wanted, verdict, self.bulk.preview(principal, wanted, verdict).token)


@pytest.fixture
def office(engine: Engine) -> Office:
    return Office(engine)


def refused(act: Callable[[], object]) -> PetitionError:
    with pytest.raises(PetitionError) as failure:
        act()
    return failure.value


def doubtful(count: int) -> list[str]:
    return [f"{DOUBTFUL} Lần {i}." for i in range(count)]


def test_a_preview_tells_what_applying_then_does(office: Office) -> None:
    ids = office.receive(*doubtful(3), POTHOLE)
    settled = ids[0]
    office.desk.decide(LAN, settled, Verdict(), 1)  # routed, still "other"
    before = office.state()
    preview = office.bulk.preview(LAN, OTHERS, LAND)
    assert office.state() == before and len(office.rows(operations, "id")) == 1
    outcome = office.bulk.apply(LAN, OTHERS, LAND, preview.token)
    after = office.state()
    assert sorted(outcome.petitions) == ids[:3] and preview.count == 3
    changed = {
        name: sum(before[i][name] != after[i][name] for i in ids) for name in ("category", "lead_body", "status")
    }
    assert changed == {
        "category": preview.relabelled,
        "lead_body": preview.rerouted,
        "status": preview.restatused,
    }
    assert preview.restatused == 2
    assert preview.before == {"other": 3}
    leads = [office.casework.read(LAN, i)["routing"]["lead"]["name"] for i in ids[:3]]
    assert preview.leads == {leads[0]: 3} and len(set(leads)) == 1
    assert after[ids[3]] == before[ids[3]]


def test_samples_are_masked_and_few(office: Office) -> None:
    office.receive(*(f"{text} Gọi tôi số 0912345678." for text in doubtful(7)))
    samples = office.bulk.preview(LAN, OTHERS, LAND).samples
    assert len(samples) == bulk.SAMPLES
    assert all("0912345678" not in str(sample) and sample["excerpt"] for sample in samples)


def test_an_applied_label_is_an_example_that_says_it_was_not_read_one_by_one(office: Office) -> None:
    office.receive(*doubtful(2))
    office.do()
    assert office.rows(reviews, "reviewer", "category", "urgency", "bulk", "reading") == [
        ("lan", "land_administration", "low", True, 1)
    ] * 2  # fmt: skip


def test_confirming_changes_no_label_and_sends_all_on(office: Office) -> None:
    office.receive(*doubtful(2))
    preview = office.bulk.preview(LAN, OTHERS, Verdict())
    assert (preview.relabelled, preview.restatused) == (0, 2)
    office.do(verdict=Verdict())
    assert {(row["category"], row["status"], row["queued"]) for row in office.state().values()} == {
        ("other", "routed", False)
    }
    assert office.rows(decisions, "field", "new") == [("status", "routed")] * 2


def test_petitions_that_changed_since_the_preview_are_not_touched(office: Office) -> None:
    first, second = office.receive(*doubtful(2))
    token = office.bulk.preview(LAN, OTHERS, LAND).token
    office.desk.decide(HUNG, first, Verdict(urgency="normal"), 1)
    before = office.state()
    error = refused(lambda: office.bulk.apply(LAN, OTHERS, LAND, token))
    assert error.kind is ErrorKind.CONFLICT
    assert office.state() == before and office.state()[second]["category"] == "other"


def test_a_petition_that_came_in_since_the_preview_is_a_conflict(office: Office) -> None:
    office.receive(*doubtful(2))
    token = office.bulk.preview(LAN, OTHERS, LAND).token
    office.receive(DOUBTFUL + " Mới.")
    error = refused(lambda: office.bulk.apply(LAN, OTHERS, LAND, token))
    assert (error.kind, error.detail["count"]) == (ErrorKind.CONFLICT, 3)
    assert office.rows(reviews, "id") == []


def test_a_token_is_good_for_what_was_previewed_alone(office: Office) -> None:
    office.receive(*doubtful(2))
    token = office.bulk.preview(LAN, OTHERS, LAND).token
    other = Verdict(category="education_training")
    assert refused(lambda: office.bulk.apply(LAN, OTHERS, other, token)).kind is ErrorKind.CONFLICT
    assert office.rows(reviews, "id") == []


def test_one_petition_in_anothers_hands_holds_all_of_them_back(office: Office) -> None:
    _, second = office.receive(*doubtful(2))
    token = office.bulk.preview(LAN, OTHERS, LAND).token
    with writing(office.engine) as connection:
        locks.take(connection, second, "hùng", office.now)
    before = office.state()
    error = refused(lambda: office.bulk.apply(LAN, OTHERS, LAND, token))
    assert (error.kind, error.detail["held"]) == (ErrorKind.CONFLICT, [second])
    assert office.state() == before and office.rows(reviews, "id") == [] and office.rows(operations, "id") == []
    office.now += locks.LOCK_FOR + timedelta(seconds=1)  # a lock that ran out holds nobody back
    assert len(office.bulk.apply(LAN, OTHERS, LAND, token).petitions) == 2


def test_ones_own_lock_is_no_hindrance(office: Office) -> None:
    [petition] = office.receive(DOUBTFUL)
    with writing(office.engine) as connection:
        locks.take(connection, petition, "lan", office.now)
    assert office.do().petitions == (petition,)


def test_it_is_undone_as_one(office: Office) -> None:
    office.receive(*doubtful(3), POTHOLE)
    before = office.state()
    outcome = office.do()
    assert office.state() != before
    assert len(office.desk.undo(LAN, outcome.id).petitions) == 3
    assert office.state() == before
    assert {row[0] is not None for row in office.rows(reviews, "withdrawn_at")} == {True}


def test_undoing_leaves_alone_what_somebody_changed_since(office: Office) -> None:
    first, second = office.receive(*doubtful(2))
    outcome = office.do()
    office.casework.change_status(HUNG, first, Status.IN_PROGRESS, None)
    assert office.desk.undo(LAN, outcome.id).petitions == (second,)
    after = office.state()
    assert (after[first]["category"], after[second]["category"]) == ("land_administration", "other")


def test_an_officer_decides_on_its_own_petitions_alone(office: Office) -> None:
    pothole, elsewhere = office.receive(POTHOLE, "Đường ở xã Mường Lát nhiều ổ gà, đề nghị sửa.")
    commune = office.casework.read(LAN, pothole)["place"]["commune_code"]
    officer = Principal("hoa", Role.OFFICER, frozenset({"phong_kinh_te"}), frozenset({commune}))
    wanted, verdict = Filter(categories=("transport_infrastructure",)), Verdict(urgency="urgent")
    assert office.bulk.preview(officer, wanted, verdict).count == 1
    assert office.do(wanted, verdict, officer).petitions == (pothole,)
    assert office.state()[elsewhere]["urgency"] == "normal"


def test_who_may_not_handle_petitions_may_not_even_look(office: Office) -> None:
    office.receive(DOUBTFUL)
    auditor = Principal("thanh", Role.AUDITOR)
    assert refused(lambda: office.bulk.preview(auditor, OTHERS, LAND)).kind is ErrorKind.FORBIDDEN
    assert refused(lambda: office.bulk.apply(auditor, OTHERS, LAND, "x")).kind is ErrorKind.FORBIDDEN


def test_petitions_that_are_done_with_are_not_found(office: Office) -> None:
    open_, answered = office.receive(*doubtful(2))
    office.casework.change_status(LAN, answered, Status.ANSWERED, None)
    assert office.do().petitions == (open_,)


def test_a_filter_that_finds_nothing_has_nothing_to_apply(office: Office) -> None:
    preview = office.bulk.preview(LAN, OTHERS, LAND)
    assert (preview.count, preview.before, preview.samples) == (0, {}, [])
    error = refused(lambda: office.bulk.apply(LAN, OTHERS, LAND, preview.token))
    assert error.kind is ErrorKind.INVALID_REQUEST


def test_an_unknown_label_is_refused(office: Office) -> None:
    office.receive(DOUBTFUL)
    for verdict in (Verdict(category="nonsense"), Verdict(urgency="very")):
        assert refused(lambda v=verdict: office.bulk.preview(LAN, OTHERS, v)).kind is ErrorKind.INVALID_REQUEST  # type: ignore[misc]


def test_more_than_one_operation_takes_is_refused_before_any_work(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MOST", 3)
    office.receive(*doubtful(3))
    token = office.bulk.preview(LAN, OTHERS, LAND).token
    office.receive(DOUBTFUL + " Thứ tư.")
    for act in (
        lambda: office.bulk.preview(LAN, OTHERS, LAND),
        lambda: office.bulk.apply(LAN, OTHERS, LAND, token),
    ):
        error = refused(act)
        assert (error.kind, error.detail["limit"]) == (ErrorKind.BATCH_TOO_LARGE, 3)
    assert office.rows(reviews, "id") == []


def test_words_find_petitions_for_those_who_may_read_them(office: Office) -> None:
    office.receive(POTHOLE, *doubtful(2))
    assert office.bulk.preview(LAN, Filter(words="hom truoc"), LAND).count == 2


def test_a_mixed_lot_is_told_by_its_categories(office: Office) -> None:
    office.receive(POTHOLE, BRIBE, FLOOD, *doubtful(2))
    preview = office.bulk.preview(LAN, Filter(), LAND)
    assert next(iter(preview.before)) == "other" and preview.before == {
        "other": 2, "transport_infrastructure": 1, "official_conduct": 1, "disaster_fire_rescue": 1
    }  # fmt: skip
    assert sum(preview.leads.values()) == 5


def test_emergencies_raised_together_alarm(office: Office) -> None:
    office.receive(*doubtful(2))
    office.do(verdict=Verdict(urgency="emergency"))
    assert office.alarms == 1
    assert {row["urgency"] for row in office.state().values()} == {"emergency"}


def test_three_hundred_petitions_in_one_operation(office: Office) -> None:
    ids = office.receive(*doubtful(300))
    outcome = office.do()
    assert sorted(outcome.petitions) == ids and outcome.summary["count"] == 300
    assert len(office.rows(operations, "id")) == 1
    assert {row["category"] for row in office.state().values()} == {"land_administration"}
    with snapshot(office.engine) as connection:
        assert audit.verify(connection).intact
        assert "petition.bulk" in [entry["action"] for entry in audit.history(connection, f"petition:{ids[-1]}")]
    assert len(office.desk.undo(LAN).petitions) == 300
    assert {row["category"] for row in office.state().values()} == {"other"}


def test_the_same_request_sent_again_is_done_once(office: Office) -> None:
    office.receive(*doubtful(2))
    token = office.bulk.preview(LAN, OTHERS, LAND).token
    first = office.bulk.apply(LAN, OTHERS, LAND, token, "page-1")
    assert office.bulk.apply(LAN, OTHERS, LAND, token, "page-1") == first
