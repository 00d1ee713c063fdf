"""Several data sets read as one: each is a directory with train, dev and test, and no story may be on both sides of any two."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nlp_service.taxonomy import Taxonomy
from training.data import Petition, read_petitions
from training.groups import Text, clusters

SIDES = ("train", "dev", "test")

_SHOWN = 5


def directories(data: str | list[str]) -> list[Path]:
    """What a run's `data` names. Raises ValueError for none, or one named twice."""
    paths = [Path(name) for name in ([data] if isinstance(data, str) else data)]
    if not paths or len({path.resolve() for path in paths}) < len(paths):
        raise ValueError(f"data names {len(paths)} directories; name at least one, and each once")
    return paths


def read_sets(data: str | list[str], taxonomy: Taxonomy) -> dict[str, list[Petition]]:
    """The petitions of every side, directory after directory; `test` is empty where a single directory has no such file.

    Of several, ids and groups get the directory's place before them from the second on (`2/s17`): two sets may count alike.

    Raises:
        ValueError: a row does not fit the taxonomy; a text, or a near copy of it, is on two sides of two sets.
    """
    paths = directories(data)
    parts: dict[str, list[Petition]] = {side: [] for side in SIDES}
    places: dict[str, list[int]] = {side: [] for side in SIDES}
    for place, path in enumerate(paths, start=1):
        for side in SIDES:
            file = path / f"{side}.jsonl"
            if side == "test" and not file.exists():
                continue
            rows = read_petitions(file, taxonomy)
            if place > 1:
                rows = [replace(row, id=f"{place}/{row.id}", group=f"{place}/{row.group}") for row in rows]
            parts[side] += rows
            places[side] += [place] * len(rows)
    if len(paths) > 1:
        _refuse_leaks(parts, places)
    return parts


def _refuse_leaks(parts: dict[str, list[Petition]], places: dict[str, list[int]]) -> None:
    """Between directories; leaks within one are for `check-data`."""
    everything = [
        (side, place, row) for side, rows in parts.items() for place, row in zip(places[side], rows, strict=True)
    ]
    found = clusters([Text(row.id, row.text, (f"group {row.group}",)) for _, _, row in everything])
    stories: dict[int, list[tuple[str, int, str]]] = {}
    for (side, place, row), story in zip(everything, found, strict=True):
        stories.setdefault(story, []).append((side, place, row.id))
    leaks = [told for story in stories.values() if (told := _leak(story))]
    if leaks:
        raise ValueError(
            f"{len(leaks)} stories are on two sides of two data sets ({'; '.join(leaks[:_SHOWN])}); "
            "make the later set again with the earlier one named as --beside"
        )


def _leak(story: Sequence[tuple[str, int, str]]) -> str | None:
    """The first two of a story that are neither of one side nor of one directory."""
    for side, place, identity in story:
        for other_side, other_place, other in story:
            if side != other_side and place < other_place:
                return f"{identity} in {side} and {other} in {other_side}"
    return None


def sides_of(paths: Sequence[Path], taxonomy: Taxonomy) -> list[tuple[str, Petition]]:
    """Every petition of data sets with the side that it is on, for a new set that must agree with them."""
    return [
        (side, row)
        for path in paths
        for side in SIDES
        if (path / f"{side}.jsonl").exists()
        for row in read_petitions(path / f"{side}.jsonl", taxonomy)
    ]
