from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from nlp_service.casework import Casework, Due, Filter, Status
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.inbox import Inbox, Load, Part
from nlp_service.intake import Intake
from nlp_service.roles import Principal, Role
from tests.nlp_service.offices import BRIBE, DOUBTFUL, FLOOD, NOW, POTHOLE, classified, incoming, shipped_rules

LAN = Principal("lan", Role.REVIEWER)
ROADS = "phong_kinh_te"  # leads potholes of a commune
PROVINCE_ROADS = "so_xay_dung"  # supports them
OFFICE = "van_phong_ubnd_tinh"  # leads what nobody is sure of

POTHOLE_ELSEWHERE = "Đường ở xã Mường Lát nhiều ổ gà, đề nghị sửa."


class Store:
    """Petitions, and inboxes that look at them at one moment."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.now = NOW
        clock = lambda: self.now  # noqa: E731
        self.casework = Casework(engine, clock)
        self.inbox = Inbox(engine, self.casework, clock)
        self._intake = Intake(engine, shipped_rules(), clock)

    def receive(self, *texts: str, at: datetime = NOW) -> list[int]:
        given = [incoming(text, received_at=at) for text in texts]
        return [r.body["id"] for r in self._intake.take(given, [classified(t) for t in texts], "portal")]

    def ids(self, principal: Principal, body: str, wanted: Filter | None = None, **how: Any) -> list[int]:
        return [item["id"] for item in self.inbox.page(principal, body, wanted or Filter(), 50, **how).items]

    def due(self, petition_id: int) -> datetime:
        return datetime.fromisoformat(self.casework.read(LAN, petition_id)["due_at"])


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine)


def loads(store: Store, principal: Principal = LAN, part: Part | None = None) -> dict[str, Load]:
    return {load.body: load for load in store.inbox.loads(principal, part)}


def test_the_petition_that_is_due_first_comes_first_whenever_it_came_in(store: Store) -> None:
    [late] = store.receive(POTHOLE)
    [early] = store.receive(POTHOLE + " Sửa gấp.", at=NOW - timedelta(days=20))
    assert store.due(early) < store.due(late)
    assert store.ids(LAN, ROADS) == [early, late]


def test_a_body_has_its_part_in_every_petition(store: Store) -> None:
    [pothole] = store.receive(POTHOLE)
    [leading] = store.inbox.page(LAN, ROADS, Filter(), 10).items
    [helping] = store.inbox.page(LAN, PROVINCE_ROADS, Filter(), 10).items
    assert (leading["part"], helping["part"]) == ("lead", "support")
    assert leading["excerpt"].startswith("Đường liên thôn")
    assert store.ids(LAN, ROADS, part=Part.SUPPORT) == [] and store.ids(LAN, ROADS, part=Part.LEAD) == [pothole]


def test_loads_count_what_is_open_overdue_and_due_soon(store: Store) -> None:
    [a, b, c] = store.receive(POTHOLE, POTHOLE + " Hai.", POTHOLE + " Ba.")
    store.receive(POTHOLE + " Bốn.", at=NOW - timedelta(days=60))
    store.now = store.due(a) - timedelta(days=2)
    assert loads(store)[ROADS] == Load(ROADS, open=4, overdue=1, soon=3)
    store.now -= timedelta(seconds=1)
    assert loads(store)[ROADS] == Load(ROADS, open=4, overdue=1, soon=0)
    store.now = store.due(a) + timedelta(seconds=1)
    store.casework.change_status(LAN, b, Status.ANSWERED, None)
    assert loads(store)[ROADS] == Load(ROADS, open=3, overdue=3, soon=0) == store.inbox.load(LAN, ROADS)
    assert store.ids(LAN, ROADS, Filter(due=Due.OVERDUE))[1:] == [a, c]


def test_the_body_with_most_overdue_stands_first(store: Store) -> None:
    store.receive(DOUBTFUL, at=NOW - timedelta(days=90))
    store.receive(*(f"{POTHOLE} {i}" for i in range(3)))
    assert [load.body for load in store.inbox.loads(LAN)] == [OFFICE, ROADS, PROVINCE_ROADS]


def test_loads_of_one_part_leave_the_others_out(store: Store) -> None:
    store.receive(POTHOLE)
    assert set(loads(store, part=Part.LEAD)) == {ROADS}
    assert set(loads(store, part=Part.SUPPORT)) == {PROVINCE_ROADS}
    assert store.inbox.load(LAN, ROADS, Part.SUPPORT).open == 0


def test_what_is_done_with_leaves_the_inbox_and_is_found_by_its_status(store: Store) -> None:
    [first, second] = store.receive(POTHOLE, POTHOLE + " Hai.")
    store.casework.change_status(LAN, first, Status.ANSWERED, None)
    assert store.ids(LAN, ROADS) == [second]
    assert store.ids(LAN, ROADS, Filter(statuses=(Status.ANSWERED,))) == [first]


def test_pages_follow_each_other_without_gap_or_repeat(store: Store) -> None:
    ids = store.receive(*(f"{POTHOLE} {i}" for i in range(5)))  # all due at the same time
    ids += store.receive(*(f"{POTHOLE} {i}" for i in range(5, 7)), at=NOW - timedelta(days=9))
    seen, cursor = [], None
    while True:
        page = store.inbox.page(LAN, ROADS, Filter(), 3, None, cursor)
        seen.append([item["id"] for item in page.items])
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == [[*ids[5:], ids[0]], ids[1:4], ids[4:5]]


@pytest.mark.parametrize("cursor", ["x", "!", "W10", "WyIyMDI2LTExLTI1VDAwOjAwOjAwIiwxXQ", "WzEsMl0", "e30"])
def test_a_cursor_that_no_inbox_gave_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(PetitionError) as failure:
        store.inbox.page(LAN, ROADS, Filter(), 3, None, cursor)
    assert failure.value.kind is ErrorKind.INVALID_REQUEST


def test_an_officer_sees_its_own_bodies_and_no_other(store: Store) -> None:
    [pothole] = store.receive(POTHOLE)
    officer = Principal("hoa", Role.OFFICER, frozenset({PROVINCE_ROADS, OFFICE}))
    assert store.inbox.loads(officer) == [Load(PROVINCE_ROADS, 1, 0, 0), Load(OFFICE, 0, 0, 0)]
    assert store.ids(officer, PROVINCE_ROADS) == [pothole]
    for call in (lambda: store.ids(officer, ROADS), lambda: store.inbox.load(officer, ROADS)):
        with pytest.raises(PetitionError) as failure:
            call()
        assert failure.value.kind is ErrorKind.NOT_FOUND


def test_an_officer_of_a_commune_sees_that_communes_alone(store: Store) -> None:
    here, there = store.receive(POTHOLE, POTHOLE_ELSEWHERE)
    code = store.casework.read(LAN, here)["place"]["commune_code"]
    both = frozenset({ROADS}), frozenset({code})
    assert store.ids(Principal("tư", Role.OFFICER, *both), ROADS) == [here]
    assert store.inbox.loads(Principal("tư", Role.OFFICER, *both)) == [Load(ROADS, 1, 0, 0)]
    whole = Principal("năm", Role.OFFICER, frozenset(), frozenset({code}))
    assert {load.body: load.open for load in store.inbox.loads(whole)} == {ROADS: 1, PROVINCE_ROADS: 1}
    assert sorted(store.ids(LAN, ROADS)) == [here, there]


def test_a_restricted_petition_is_in_the_inbox_of_its_lead_alone(store: Store) -> None:
    [bribe] = store.receive(BRIBE)
    lead = store.casework.read(LAN, bribe)["routing"]["lead"]["id"]
    assert store.ids(Principal("bảy", Role.OFFICER, frozenset({lead})), lead) == [bribe]
    commune = store.casework.read(LAN, bribe)["place"]["commune_code"]
    in_commune = Principal("tám", Role.OFFICER, frozenset(), frozenset({commune}))
    assert store.ids(in_commune, lead) == [] and store.inbox.loads(in_commune) == []


def test_an_intake_key_counts_what_it_handed_in(store: Store) -> None:
    store.receive(POTHOLE)
    assert loads(store, Principal("portal", Role.INTAKE))[ROADS].open == 1
    assert loads(store, Principal("other", Role.INTAKE)) == {}


def test_an_emergency_is_due_at_its_first_action(store: Store) -> None:
    [flood] = store.receive(FLOOD)
    lead = store.casework.read(LAN, flood)["routing"]["lead"]["id"]
    assert loads(store)[lead].soon == 1


@pytest.mark.parametrize("principal", [LAN, Principal("hoa", Role.OFFICER, frozenset({ROADS}))])
def test_an_inbox_never_reads_all_that_the_body_ever_had(store: Store, principal: Principal) -> None:
    """Open petitions are found by status: the rows of the answered ones are not looked at."""
    if store.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL plans by what the tables hold")
    statements: list[tuple[str, Any]] = []
    event.listen(
        store.engine, "before_cursor_execute", lambda c, cursor, sql, given, *rest: statements.append((sql, given))
    )
    store.ids(principal, ROADS)
    sql, given = next(found for found in statements if "ORDER BY petitions.due_at" in found[0])
    with store.engine.connect() as connection:
        plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given)]
    assert plan[0].startswith("SEARCH petitions USING") and "(status=?" in plan[0]
    assert not any(step.startswith("SCAN") for step in plan)
