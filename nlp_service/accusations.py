"""Which office a petition accuses, and which it is only written to: the words before and after its name tell."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from nlp_service.phrases import Phrases, join_patterns, phrases, whole_words

_BEFORE, _AFTER = 80, 100
"""Characters of the sentence read before and after the mention of an office to see whether it is accused."""

_SENTENCE_END = re.compile(r"[.;!?\n](?=\s|$)")
_SAME_ADDRESS = 40
"""At most so many characters apart the offices of one list of addressees stand."""
_AT_ONCE = 25
"""An act told within so many characters after an office is what it did about the matter, not what it is accused of."""


class Blame(IntEnum):
    """What a petition says of an office."""

    NAMED = 1
    NEGLECT = 2
    FAULT = 3
    MISDEED = 4


@dataclass(frozen=True)
class Accusations:
    """Finds offices in a wording and tells the accused from those who are only written to.

    Attributes:
        offices: by guard.
        header: what is before a list of those who are written to; `clause`: what ends it.
        before: groups `to` (it is spoken to) and `blamed`; the one nearest to the office counts.
        after: groups `misdeed`, `fault`, `neglect`, `act` (what it is asked to do or did well) and `other` (somebody else
            is spoken of); the first counts.
    """

    offices: Phrases[str]
    header: re.Pattern[str]
    clause: re.Pattern[str]
    before: re.Pattern[str]
    after: re.Pattern[str]
    denied: re.Pattern[str]

    def find(self, text: str) -> dict[str, tuple[Blame, str]]:
        """Guards whose office is named, unless it is only spoken to or told to have acted -> the gravest, its words."""
        found: dict[str, tuple[Blame, str]] = {}
        header = self.header.search(text)
        spoken_to = header.end() if header else len(text)
        for guard, start, end in self._mentions(text):
            told_from = max(0, start - _BEFORE, spoken_to if spoken_to <= start else 0)
            before = _SENTENCE_END.split(text[told_from:start])[-1]
            after = _SENTENCE_END.split(text[end : end + _AFTER])[0]
            nearest = list(self.before.finditer(before))[-1:]
            stance = nearest[0].lastgroup if nearest else None
            between = text[spoken_to:start]
            if stance is None and spoken_to <= start <= spoken_to + _SAME_ADDRESS and not self.clause.search(between):
                stance = "to"
            blame, words = self._told(after)
            if stance == "blamed" and blame is not None:
                blame, words = Blame.MISDEED, nearest[0].group()
            if stance == "to":
                spoken_to = end
                if blame != Blame.NEGLECT:  # "gửi chủ tịch xã việc ông A nhận tiền": not what the one written to did
                    continue
            if blame is not None and (guard not in found or blame > found[guard][0]):
                found[guard] = blame, f"{text[start:end]} … {words}" if words else text[start:end]
        return found

    def _told(self, after: str) -> tuple[Blame | None, str]:
        """What is told after the office; None if at once that it acted."""
        for match in self.after.finditer(after):
            if match.lastgroup == "act" and match.start() < _AT_ONCE:
                return None, ""
            if match.lastgroup in ("act", "other"):
                break
            if match.lastgroup == "neglect":
                return Blame.NEGLECT, match.group()
            if not self.denied.search(after[: match.start()]):
                return Blame.MISDEED if match.lastgroup == "misdeed" else Blame.FAULT, match.group()
        return Blame.NAMED, ""

    def _mentions(self, text: str) -> list[tuple[str, int, int]]:
        """Guard, start and end; of what overlaps the first, of what begins together the longest."""
        mentions: list[tuple[str, int, int]] = []
        for guard, start, end in self.offices.find(text):
            if not mentions or start >= mentions[-1][2]:
                mentions.append((guard, start, end))
            elif start == mentions[-1][1] and end > mentions[-1][2]:
                mentions[-1] = (guard, start, end)
        return mentions


def load_accusations(entry: Mapping[str, list[str]], offices: Iterable[tuple[str, str]]) -> Accusations:
    """Of the table's `accusations` and its offices: guard and joined patterns.

    Raises:
        KeyError, ValueError: a list is missing or a pattern is none.
    """
    names = ("header", "clause", "titles", "to", "blamed", "misdeed", "fault", "neglect", "other", "act", "denied")
    part = {name: join_patterns(f"accusations '{name}'", entry[name]) for name in names}
    to = rf"(?P<to>(?:{part['to']})(?!\w)(?:\W|(?:{part['titles']})(?!\w))*$)"
    return Accusations(
        offices=phrases(offices),
        header=whole_words(part["header"]),
        clause=re.compile(rf"[.!?]|(?<!\w)(?:{part['clause']})(?!\w)"),
        before=re.compile(rf"(?<!\w)(?:(?P<blamed>{part['blamed']})(?!\w)|{to})"),
        after=whole_words(
            "|".join(f"(?P<{name}>{part[name]})" for name in ("misdeed", "fault", "neglect", "other", "act"))
        ),
        denied=re.compile(rf"(?<!\w)(?:{part['denied']})\s*$"),
    )
