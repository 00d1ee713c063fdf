from datetime import date

import pytest
from sqlalchemy import Engine

from nlp_service.shadow_counts import Comparison, Pair, Tally, comparisons
from nlp_service.store import snapshot, writing

MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)
ROAD = ("transport_infrastructure", "normal", "feedback", "auto")
DOUBT = ("transport_infrastructure", "normal", "feedback", "human")
FLOOD = ("disaster_fire_rescue", "emergency", "feedback", "auto")
WATER = ("water_supply_drainage", "urgent", "feedback", "auto")


def found(engine: Engine, since: date = MONDAY) -> list[Comparison]:
    with snapshot(engine) as connection:
        return comparisons(connection, since)


def store(engine: Engine, tally: Tally, candidate: str = "b") -> None:
    with writing(engine) as connection:
        tally.store(connection, candidate)


def test_counts_of_several_days_and_services_add_up(engine: Engine) -> None:
    for day, times in ((MONDAY, 2), (TUESDAY, 1), (MONDAY, 1)):
        tally = Tally()
        for _ in range(times):
            tally.compare(day, "a", ROAD, ROAD)
            tally.compare(day, "a", ROAD, DOUBT)
        tally.compare(day, "a", FLOOD, WATER)
        tally.add(day, "a", dropped=3, current_petitions=4, current_seconds=0.02, candidate_seconds=0.09)
        store(engine, tally)
    [both] = found(engine)
    assert (both.current, both.candidate, both.first, both.last) == ("a", "b", MONDAY, TUESDAY)
    assert (both.compared, both.dropped) == (11, 9)
    assert {head: (rate.hits, rate.count) for head, rate in both.heads.items()} == {
        "category": (8, 11),
        "urgency": (8, 11),
        "petition_type": (11, 11),
        "zone": (7, 11),
    }
    low, high = both.heads["category"].interval
    assert 0.43 < low < 8 / 11 < high < 0.91
    assert both.disagreements[0] == Pair("zone", "auto", "human", 4)
    assert Pair("category", "disaster_fire_rescue", "water_supply_drainage", 3) in both.disagreements
    assert (both.only_current, both.only_candidate) == (3, 0)
    assert both.current_ms == pytest.approx(5.0) and both.candidate_ms == pytest.approx(1000 * 0.27 / 11)
    [late] = found(engine, since=TUESDAY)
    assert late.compared == 3


def test_pairs_of_models_stand_apart(engine: Engine) -> None:
    tally = Tally()
    tally.compare(MONDAY, "a", WATER, FLOOD)
    store(engine, tally)
    store(engine, tally, "c")
    later = Tally()
    later.compare(TUESDAY, "b", ROAD, ROAD)
    store(engine, later, "c")
    assert [(item.current, item.candidate, item.only_candidate) for item in found(engine)] == [
        ("b", "c", 0),
        ("a", "b", 1),
        ("a", "c", 1),
    ]
    assert found(engine, date(2026, 11, 25)) == []


def test_what_could_not_be_stored_is_counted_with_the_rest(engine: Engine) -> None:
    first, second = Tally(), Tally()
    first.compare(MONDAY, "a", ROAD, ROAD)
    second.compare(MONDAY, "a", ROAD, WATER)
    second.add(MONDAY, "a", current_seconds=0.5, current_petitions=1)
    second.join(first)
    store(engine, second)
    [both] = found(engine)
    assert both.compared == 2 and both.heads["category"].hits == 1 and both.current_ms == 500


def test_nothing_counted_stores_nothing(engine: Engine) -> None:
    store(engine, Tally())
    assert found(engine) == []
