"""Patterns of words in data files, many of them looked for at once. Pure functions over lower-case text."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")

_LETTER = re.compile(r"[\w ](?![?*+{])")
_GROUP = re.compile(r"(?<!\\)\((?!\?)")
_GAP = re.compile(r"\[\^[^\]]*\]\{0,\d+\}")


@dataclass(frozen=True)
class Phrases(Generic[Key]):
    """Keys and their patterns, by the letter that begins them; one pattern finds the places where any may begin."""

    begin: re.Pattern[str]
    patterns: dict[str, tuple[tuple[Key, re.Pattern[str]], ...]]

    def find(self, text: str) -> Iterator[tuple[Key, int, int]]:
        """Key, start and end of every phrase, from left to right, at one place in the keys' order."""
        for place in self.begin.finditer(text):
            for key, pattern in self.patterns[text[place.start()]]:
                if match := pattern.match(text, place.start()):
                    yield key, match.start(), match.end()


def phrases(words: Iterable[tuple[Key, str]]) -> Phrases[Key]:
    """Of keys and joined patterns (see `join_patterns`).

    Raises:
        ValueError: a pattern that can begin with something else than a letter or a digit.
    """
    heads: list[str] = []
    by_letter: dict[str, dict[Key, re.Pattern[str]]] = {}
    for key, text in words:
        pattern = re.compile(rf"(?:{text})(?!\w)")
        for head in _from_a_letter(text):
            heads.append(head)
            by_letter.setdefault(head[0], {})[key] = pattern
    return Phrases(
        re.compile(rf"(?<!\w)(?={_tree(heads)})"),
        {letter: tuple(patterns.items()) for letter, patterns in by_letter.items()},
    )


def join_patterns(where: str, patterns: list[str]) -> str:
    """One pattern of several, without groups of its own; a gap such as `[^.]{0,40}` begins and ends at a word's edge.

    Raises:
        ValueError: naming `where` and what is no list or no regular expression.
    """
    if not isinstance(patterns, list) or not patterns:
        raise ValueError(f"{where}: words are a list of patterns")
    for text in patterns:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"{where}: '{text}' is no regular expression: {error}") from error
    return _GAP.sub(r"\\b\g<0>\\b", "|".join(_GROUP.sub("(?:", text) for text in patterns))


def whole_words(pattern: str) -> re.Pattern[str]:
    """The pattern where it is no part of a longer word: "lũ" is not in "lũng"."""
    return re.compile(rf"(?<!\w)(?:{pattern})(?!\w)")


def _tree(texts: list[str]) -> str:
    """One pattern that shares what the patterns begin with: ten times as fast as trying one after the other."""
    letters: dict[str, list[str]] = {}
    ends: list[str] = []
    for text in texts:
        if len(texts) > 1 and _LETTER.match(text):
            letters.setdefault(text[0], []).append(text[1:])
        else:
            ends.append(rf"(?:{text})(?!\w)")
    return f"(?:{'|'.join([*(letter + _tree(rests) for letter, rests in letters.items()), *dict.fromkeys(ends)])})"


def _from_a_letter(pattern: str) -> list[str]:
    """The pattern's alternatives, each beginning with a letter or digit: "(a|b)? c|d" -> "a c", "b c", " c", "d"."""
    alternatives = []
    depth = start = 0
    for place, character in enumerate(pattern + "|"):
        depth += (character == "(") - (character == ")")
        if character != "|" or depth:
            continue
        text = pattern[start:place]
        start = place + 1
        if not text.startswith("(?:"):
            if not _LETTER.match(text):
                raise ValueError(f"pattern '{text}' has to begin with a letter or a digit")
            alternatives.append(text)
            continue
        close = next(i for i in range(len(text)) if text[: i + 1].count("(") == text[: i + 1].count(")"))
        body, rest = text[3:close], text[close + 1 :]
        if rest[:1] in ("*", "+", "{"):
            raise ValueError(f"pattern '{text}' begins with a repeated group")
        if optional := rest.startswith("?"):
            rest = rest[1:]
        alternatives += [head + rest for head in _from_a_letter(body)]
        if optional:
            alternatives += _from_a_letter(rest)
    return alternatives
