"""On which side of a data set every story is, for ever: a test set stays one, whatever is pulled later.

`sides.jsonl` beside the releases holds no text: an id, the group, the side, and the signature by which copies are known. So
a story stays where it is when its petition has been erased, and a later copy of a test petition never gets into training.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

from training.data import split_of
from training.groups import Text, clusters

SIDES_FILE = "sides.jsonl"
DEV_SHARE = 0.12

_MOST_FOR_TEST = 2
"""At most one petition in so many is tested on, however few there are."""


@dataclass(frozen=True)
class Placed:
    """A story's member and where it stands.

    Attributes:
        signature: hexadecimal; None where the words are too few to be recognised.
    """

    id: str
    group: str
    side: str
    signature: str | None

    @property
    def as_text(self) -> Text:
        """What later texts are compared with."""
        return Text(self.id, "", _ties(self.id, self.group), bytes.fromhex(self.signature) if self.signature else None)


@dataclass(frozen=True)
class Newcomer:
    """A petition that may need a side.

    Attributes:
        day: it was received on; None if nobody knows.
        ties: ids of petitions that it repeats, continues or is a part of.
    """

    id: str
    text: str
    day: date | None = None
    ties: tuple[str, ...] = ()


def read_sides(file: Path) -> list[Placed]:
    """What has been placed so far; nothing if there is no such file yet."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8") as stream:
        return [Placed(**json.loads(line)) for line in stream]


def append_sides(file: Path, placed: Iterable[Placed]) -> None:
    """Add rows at the end."""
    with file.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(asdict(row)) + "\n" for row in placed)


def place(
    newcomers: Sequence[Newcomer],
    known: Sequence[Placed],
    test_since: date | None,
    test_share: float = 0.0,
) -> dict[str, Placed | None]:
    """Where every newcomer goes, by id; None for one that is like stories of two sides and can be on neither.

    A story that is placed already takes its new members with it. A new one is tested on if all of it was received on
    `test_since` or later; what has no day is, by a hash, with the chance `test_share`. The rest is split into train and dev.
    """
    placed_before = {row.id: row for row in known}
    texts = [row.as_text for row in known]
    new = sorted((n for n in newcomers if n.id not in placed_before), key=lambda n: n.id)
    texts += [Text(n.id, n.text, (*_ties(n.id), *(f"id {tie}" for tie in n.ties))) for n in new]
    found = clusters(texts)
    sides: dict[int, dict[str, str]] = {}  # of a story: its sides, and the first group on each
    for row, story in zip(known, found, strict=False):
        sides.setdefault(story, {}).setdefault(row.side, row.group)
    members: dict[int, list[Newcomer]] = {}
    sketches: dict[str, bytes | None] = {}
    for newcomer, story, text in zip(new, found[len(known) :], texts[len(known) :], strict=True):
        members.setdefault(story, []).append(newcomer)
        sketches[newcomer.id] = text.sketch
    result: dict[str, Placed | None] = {n.id: placed_before.get(n.id) for n in newcomers}
    for story, group_members in members.items():
        before = sides.get(story, {})
        if len(before) > 1:
            continue
        group = group_members[0].id
        side, group = next(iter(before.items()), (_new_side(group, group_members, test_since, test_share), group))
        for newcomer in group_members:
            sketch = sketches[newcomer.id]
            result[newcomer.id] = Placed(newcomer.id, group, side, sketch.hex() if sketch else None)
    return result


def latest_period(days: Sequence[date], share: float, least: int) -> date | None:
    """The day from which on petitions make the test set: the latest `share` of the time between first and last.

    Earlier if that are fewer than `least` petitions, but never so early that it takes more than half of them. None without days.
    """
    if not days:
        return None
    first, last = min(days), max(days)
    cut = last - timedelta(days=int((last - first).days * share))
    counts = Counter(days)
    ordered = sorted(counts, reverse=True)
    while (earlier := next((day for day in ordered if day < cut), None)) is not None:
        taken = sum(count for day, count in counts.items() if day >= cut)
        if taken >= least or (taken + counts[earlier]) * _MOST_FOR_TEST > len(days):
            break
        cut = earlier
    return cut


def _new_side(group: str, members: Sequence[Newcomer], test_since: date | None, test_share: float) -> str:
    days = [member.day for member in members]
    if all(day is not None for day in days):
        if test_since is not None and all(day >= test_since for day in days if day is not None):
            return "test"
        return split_of(group, DEV_SHARE, 0.0)
    return split_of(group, DEV_SHARE, test_share)


def _ties(identity: str, group: str = "") -> tuple[str, ...]:
    return (f"id {identity}", *((f"group {group}",) if group else ()))
