from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, insert

from nlp_service.store import predictions, writing
from nlp_service.stored_profiles import Stored, monday, stored_profiles, week_of
from tests.nlp_service.offices import NOW
from tests.nlp_service.stored import MODEL, keep, row, said

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
SINCE, UNTIL = MONDAY - timedelta(weeks=1), MONDAY + timedelta(weeks=1)


def profiles(engine: Engine, by: str = "week") -> Stored:
    with engine.connect() as connection:
        return stored_profiles(connection, MODEL, SINCE, UNTIL, by, lambda word: word == "đường")


def test_petitions_are_counted_by_week_and_commune_within_their_time(engine: Engine) -> None:
    second = timedelta(seconds=1)
    moments = (SINCE - second, SINCE, MONDAY - second, MONDAY, UNTIL - second, UNTIL)
    keep(engine, [row(at, commune=None if at == MONDAY else "15976", category=str(n)) for n, at in enumerate(moments)])
    weeks = profiles(engine).groups
    assert {week: dict(found.counts["category"]) for week, found in weeks.items()} == {
        "2026-W47": {"1": 1, "2": 1},
        "2026-W48": {"3": 1, "4": 1},
    }
    communes = profiles(engine, "commune").groups
    assert {code: sum(found.counts["category"].values()) for code, found in communes.items()} == {"-": 1, "15976": 3}


def test_confidence_length_and_unknown_words_are_counted(engine: Engine) -> None:
    keep(engine, [row(confidence=0.55, text="đường hỏng"), row(confidence=0.99, text="đường", masked_at=NOW)])
    (found,) = profiles(engine).groups.values()
    assert dict(found.counts["confidence"]) == {"0.5 to 0.6": 1, "0.95 or more": 1}
    assert dict(found.counts["length"]) == {"below 10": 1}
    assert dict(found.counts["unknown"]) == {"0.4 or more": 1}


def test_what_counts_is_what_the_model_said_at_intake(engine: Engine) -> None:
    first, *_ = keep(engine, [row(category="other"), row(model="petition-a"), row(model="petition-a")])
    old = first + 1
    keep(engine, [row(repeat_of=first, category="land_administration")])
    with writing(engine) as connection:  # the new model read an older petition again, a newer model this one
        connection.execute(
            insert(predictions), [said(old, NOW + timedelta(hours=1), MODEL, "land_administration", 0.5)]
        )
        connection.execute(insert(predictions), [said(first, NOW + timedelta(hours=1), "petition-c", "other", 0.5)])
    stored = profiles(engine)
    (found,) = stored.groups.values()
    assert dict(found.counts["category"]) == {"other": 1}
    assert (stored.repeats, stored.others) == (1, 2)


def test_a_week_begins_on_monday_also_over_new_year() -> None:
    assert monday(NOW) == MONDAY and monday(MONDAY) == MONDAY
    assert week_of(datetime(2027, 1, 3, 23, tzinfo=UTC)) == "2026-W53"
    assert monday(datetime(2027, 1, 1, tzinfo=UTC)) == datetime(2026, 12, 28, tzinfo=UTC)
