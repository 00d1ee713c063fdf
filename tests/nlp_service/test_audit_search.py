from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Engine, delete, update

from nlp_service.audit import Entry, append
from nlp_service.audit_search import Piece, Wanted, newest, search
from nlp_service.store import audit, snapshot, writing

MIDNIGHT = datetime(2026, 11, 26, 17, 0, tzinfo=UTC)  # of the 27th in Vietnam


@pytest.fixture
def log(engine: Engine) -> Engine:
    """Twelve rows, a row every two hours around midnight: hùng's are 3, 6, 9, 12."""
    with writing(engine) as connection:
        for number in range(1, 13):
            actor = "hùng" if number % 3 == 0 else "lan"
            action = "petition.read" if number % 2 else "petition.decide"
            entry = Entry(actor, action, f"petition:{number % 4}", {"n": number})
            append(connection, MIDNIGHT + timedelta(hours=2 * (number - 7)), [entry])
    return engine


def find(
    engine: Engine, wanted: Wanted | None = None, size: int = 50, before: int | None = None, stretch: int = 100
) -> Piece:
    with snapshot(engine) as connection:
        return search(connection, wanted or Wanted(), size, before, stretch)


def numbers(piece: Piece) -> list[int]:
    return [line.seq for line in piece.lines]


def test_an_empty_log_has_nothing_to_show(engine: Engine) -> None:
    piece = find(engine)
    assert (piece.lines, piece.before, piece.complete) == ((), None, True)


def test_pages_follow_one_another_newest_first_without_a_gap(log: Engine) -> None:
    first = find(log, size=5)
    assert numbers(first) == [12, 11, 10, 9, 8] and first.lines[0].payload == {"n": 12}
    second = find(log, size=5, before=first.before)
    third = find(log, size=5, before=second.before)
    assert numbers(second) == [7, 6, 5, 4, 3]
    assert (numbers(third), third.before, third.complete) == ([2, 1], None, True)


def test_filters_hold_together(log: Engine) -> None:
    assert numbers(find(log, Wanted(actor="hùng"))) == [12, 9, 6, 3]
    assert numbers(find(log, Wanted(actor="hùng", actions=("petition.read",)))) == [9, 3]
    assert numbers(find(log, Wanted(subject="petition:1"))) == [9, 5, 1]
    assert numbers(find(log, Wanted(subject="petition:1", actor="lan"), size=1)) == [5]
    assert numbers(find(log, Wanted(actor="ai đó"))) == []


def test_the_pages_of_one_subject_follow_one_another_too(log: Engine) -> None:
    first = find(log, Wanted(subject="petition:1"), size=2)
    assert numbers(first) == [9, 5]
    assert numbers(find(log, Wanted(subject="petition:1"), size=2, before=first.before)) == [1]


def test_days_are_those_of_vietnam_both_ends_included(log: Engine) -> None:
    assert numbers(find(log, Wanted(last=date(2026, 11, 26)))) == [6, 5, 4, 3, 2, 1]
    assert numbers(find(log, Wanted(first=date(2026, 11, 27)))) == [12, 11, 10, 9, 8, 7]
    assert numbers(find(log, Wanted(first=date(2026, 11, 27), last=date(2026, 11, 27), actor="hùng"))) == [12, 9]
    assert numbers(find(log, Wanted(first=date(2026, 11, 28)))) == []


def test_a_search_that_looks_at_a_stretch_says_how_far_it_came_and_goes_on(log: Engine) -> None:
    piece = find(log, Wanted(actor="ai đó"), stretch=5)
    assert (piece.lines, piece.before, piece.complete) == ((), 8, False)
    assert piece.searched_to == "2026-11-26T19:00:00+00:00"
    found: list[int] = []
    before: int | None = None
    for _ in range(3):
        piece = find(log, Wanted(actor="hùng"), before=before, stretch=5)
        found, before = found + numbers(piece), piece.before
    assert (found, before, piece.complete) == ([12, 9, 6, 3], None, True)


def test_a_log_with_a_hole_and_a_spoilt_row_can_still_be_read(log: Engine) -> None:
    with writing(log) as connection:
        connection.execute(delete(audit).where(audit.c.seq.in_([7, 8])))
        connection.execute(update(audit).where(audit.c.seq == 12).values(at="hôm qua", payload="{"))
    piece = find(log)
    assert numbers(piece) == [12, 11, 10, 9, 6, 5, 4, 3, 2, 1]
    assert (piece.lines[0].at, piece.lines[0].payload) == ("hôm qua", {"payload": "{"})
    with snapshot(log) as connection:
        assert newest(connection) == 12
