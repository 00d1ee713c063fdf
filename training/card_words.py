"""What both languages of the model card share: how a sentence is chosen, how figures, days and sets of petitions are named. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from nlp_service.console.figures import REAL, SETS
from nlp_service.console.words import number

Say = Callable[[str, str], str]
"""Chooses between a sentence in English and the same in Vietnamese."""

_ALL_REAL = "real, all"

_SETS = {
    "own test": "Own test petitions, kept apart",
    "real, ordinary": "Real petitions: ordinary",
    "real, rescue appeals": "Real petitions: rescue appeals",
    _ALL_REAL: "Real petitions: all",
}


def named(name: str, say: Say) -> str:
    """A set of petitions, as people call it."""
    return say(_SETS.get(name, name), SETS.get(name, name))


def shown_sets(scores: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Sets for the text, real ones first; the set of all real ones only where it is not told in parts."""
    real = [name for name in scores if name.startswith(REAL) and name != _ALL_REAL]
    own = [name for name in scores if not name.startswith(REAL)]
    names = [*(real or [name for name in scores if name == _ALL_REAL]), *own]
    return [(name, scores[name]) for name in names if isinstance(scores[name], Mapping)]


def share(rate: Mapping[str, Any], say: Say) -> str:
    """ "83 (62/75; 73 to 90)": of a hundred, what was counted, 95 % interval."""
    value, low, high = (f"{100 * share:.0f}" for share in (rate["value"], *rate["interval"]))
    counted = f"{count(rate['hits'], say)}/{count(rate['count'], say)}"
    return f"**{value}** ({counted}; {low} {say('to', 'đến')} {high})"


def count(value: int, say: Say) -> str:
    """ "1,052", or "1.052"."""
    return say(f"{value:,}", number(value))


def plain(value: float) -> str:
    """As short as it can be said, with a decimal comma."""
    return f"{value:g}".replace(".", ",")


def day(moment: str, say: Say) -> str:
    """ "2026-11-28", or as Vietnamese writes it."""
    day = moment[:10]
    return say(day, "/".join(reversed(day.split("-"))))
