"""A small reviewed lexicon beside the model: plain signs of an emergency that must not depend on what it was trained on.

A missed call for help costs lives, a false alarm a minute of the officer on duty: model OR lexicon raises the alarm.
The lexicon is data (datasets/emergency.yaml), travels in the model directory and is verified with it.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LEXICON_FILE = "emergency.yaml"


@dataclass(frozen=True)
class Sign:
    """One sign: found when every pattern of `all` is in the text.

    Attributes:
        name: in Vietnamese, for the clerk.
    """

    id: str
    name: str
    all: tuple[re.Pattern[str], ...]


@dataclass(frozen=True)
class Lexicon:
    """Signs, and the patterns that say that an emergency is only told of."""

    signs: tuple[Sign, ...]
    unless: tuple[re.Pattern[str], ...]

    def find(self, wording: str) -> Sign | None:
        """The first sign in a petition's wording (marks restored, any case); None if there is none."""
        text = wording.lower()
        if any(pattern.search(text) for pattern in self.unless):
            return None
        return next((sign for sign in self.signs if all(pattern.search(text) for pattern in sign.all)), None)


def load_lexicon(path: Path) -> Lexicon:
    """Read a lexicon.

    Raises:
        ValueError: naming the sign or the pattern that is not in the format.
    """
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        signs = tuple(
            Sign(entry["id"], entry["name_vi"], tuple(_pattern(path, text) for text in entry["all"]))
            for entry in document["signs"]
        )
        return Lexicon(signs, tuple(_pattern(path, text) for text in document["unless"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: a sign needs id, name_vi and all; {type(error).__name__} {error}") from error


def _pattern(path: Path, text: str) -> re.Pattern[str]:
    try:
        # Whole words: "lũ" is not in "lũng", "sos" not in "sost".
        return re.compile(rf"(?<!\w)(?:{text})(?!\w)")
    except re.error as error:
        raise ValueError(f"{path}: '{text}' is no regular expression: {error}") from error
