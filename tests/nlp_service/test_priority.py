from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nlp_service.decision import Decision, Reason, Scored
from nlp_service.priority import Risk, Waiting, margin, risk, spread


def decision(kind: str = "feedback", zone: str = "suggest", reasons: tuple[str, ...] = ()) -> Decision:
    return Decision(
        Scored("transport_infrastructure", "", 0.5),
        (Scored("land_administration", "", 0.4),),
        Scored("normal", "", 0.9),
        Scored(kind, "", 0.9),
        zone,
        tuple(Reason(code, "") for code in reasons),
    )


def vector(*values: float) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(values, np.float32)


def test_an_emergency_is_read_before_anything_else() -> None:
    assert risk(decision("denunciation"), emergency=True, restricted=True, sensitive=True) is Risk.EMERGENCY


def test_what_may_be_a_complaint_is_legal_even_where_another_type_is_likelier() -> None:
    assert risk(decision(reasons=("legal_doubt",)), False, False, False) is Risk.LEGAL
    assert risk(decision("complaint"), False, False, False) is Risk.LEGAL
    assert risk(decision(), False, restricted=True, sensitive=False) is Risk.LEGAL


def test_what_nobody_can_tell_comes_before_a_choice_between_two() -> None:
    assert risk(decision(zone="human"), False, False, False) is Risk.SENSITIVE
    assert risk(decision(), False, False, False) is Risk.ORDINARY


def test_doubt_is_how_little_the_first_leads() -> None:
    assert margin(decision()) == 0.1


def test_the_more_doubtful_comes_first_and_its_copy_later() -> None:
    a, copy, other = (
        Waiting(1, 3, 0.10, vector(1, 0)),
        Waiting(2, 3, 0.11, vector(1, 0)),
        Waiting(3, 3, 0.30, vector(0, 1)),
    )
    assert [item.id for item in spread([a, copy, other])] == [1, 3, 2]


def test_what_the_reader_has_just_had_is_not_given_again_at_once() -> None:
    waiting = [Waiting(1, 3, 0.1, vector(1, 0)), Waiting(2, 3, 0.2, vector(0, 1))]
    assert [item.id for item in spread(waiting, [vector(1, 0)])] == [2, 1]


def test_emergencies_keep_their_order_however_alike_they_are() -> None:
    waiting = [Waiting(i, 0, 0.5, vector(1, 0)) for i in range(4)]
    assert [item.id for item in spread(waiting)] == [0, 1, 2, 3]


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1), st.booleans()), max_size=30))
def test_nothing_is_lost_and_risk_is_never_passed_over(rows: list[tuple[int, float, bool]]) -> None:
    waiting = [
        Waiting(i, level, lead, vector(1, i) / np.float32(np.hypot(1, i)) if known else None)
        for i, (level, lead, known) in enumerate(rows)
    ]
    ordered = spread(waiting)
    assert sorted(item.id for item in ordered) == list(range(len(rows)))
    assert all(first.risk <= second.risk for first, second in pairwise(ordered))
