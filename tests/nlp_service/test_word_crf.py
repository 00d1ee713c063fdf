"""The CRF against the sum over all its feature strings, with made-up weights; test_segment.py has underthesea's own."""

import hashlib
import itertools
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from underthesea_core import CRFFeaturizer

from nlp_service.word_crf import WordCrf, read_crfsuite

LABELS = ("I-W", "B-W")
TEMPLATES = [
    *(f"T[{place}]{kind}" for place in range(-2, 3) for kind in ("", ".lower", ".istitle", ".is_in_dict")),
    *(f"T[{place}].isdigit" for place in (-1, 0, 1)),
    *(f"T[{pair}]{kind}" for pair in ("-2,-1", "-1,0", "0,1", "1,2") for kind in ("", ".lower", ".is_in_dict")),
    *(f"T[{pair}]{kind}" for pair in ("-2,0", "-1,1", "0,2") for kind in ("", ".is_in_dict")),
    "T[0,1].istitle",
    "T[0,2].istitle",
]
"""Those that underthesea's model was trained with (its features.bin)."""

Weights = dict[str, tuple[float, float]]
Tags = tuple[str, ...]


def crfsuite(labels: tuple[str, ...], weights: Weights, transitions: dict[tuple[int, int], float]) -> bytes:
    """A model file as far as tagging needs it."""
    names = list(weights)
    features = [
        (0, names.index(name), label, weight) for name, row in weights.items() for label, weight in enumerate(row)
    ]
    features += [(1, source, target, weight) for (source, target), weight in transitions.items()]
    body = struct.pack("<4sII", b"FEAT", 0, len(features)) + b"".join(struct.pack("<IIId", *row) for row in features)
    label_part, name_part = _quarks(labels), _quarks(names)
    at_labels = 48 + len(body)
    at_names = at_labels + len(label_part)
    length = at_names + len(name_part)
    header = (b"lCRF", length, b"FOMC", 100, len(features), len(labels), len(names), 48, at_labels, at_names, 0, 0)
    return struct.pack("<4sI4s9I", *header) + body + label_part + name_part


def _quarks(names: list[str] | tuple[str, ...]) -> bytes:
    records, offsets = b"", []
    for number, name in enumerate(names):
        offsets.append(24 + len(records))
        text = name.encode() + b"\0"
        records += struct.pack("<II", number, len(text)) + text
    table = struct.pack(f"<{len(names)}I", *offsets)
    return struct.pack("<4s5I", b"CQDB", 0, 0, 0, len(names), 24 + len(records)) + records + table


def weight(key: str) -> float:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**31 - 1


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    weights = {"T[0]=rác": (0.5, -1.25), "T[0,1].lower=rác thải": (0.0, 2.0)}
    labels, read, transitions = read_crfsuite(crfsuite(LABELS, weights, {(0, 1): 3.0, (1, 1): -0.5}))
    assert labels == list(LABELS)
    assert read == {name: list(row) for name, row in weights.items()}
    assert transitions == [[0.0, 3.0], [0.0, -0.5]]


def sentences() -> Iterator[list[str]]:
    choose = random.Random(5)
    vocabulary = ["Rác", "rác", "thải", "Thải", "2", "15", "ủy", "ban", "Ủy", "BOS", "EOS", "True", "-", "ĐƯỜNG", "a=b"]
    for length in (1, 1, 2, 2, 3, 3, 3, 4, 5, 6, 7):
        for _ in range(6):
            yield [choose.choice(vocabulary) for _ in range(length)]


def test_tags_are_the_best_path_over_all_features(tmp_path: Path) -> None:
    dictionary = {"rác", "thải", "rác thải", "ủy ban", "ủy", "ban", "rác thải rác", "ban ủy ban"}
    featurizer = CRFFeaturizer(TEMPLATES, dictionary)
    flag_templates = CRFFeaturizer(["T[0].isdigit", "T[0].istitle", "T[0].is_in_dict"], dictionary)

    def flags(syllable: str) -> tuple[bool, bool, bool]:
        digit, title, known = (value.endswith("=True") for value in flag_templates.process([[[syllable]]])[0][0])
        return digit, title, known

    rows = list(sentences())
    features = [featurizer.process([[[syllable] for syllable in row]])[0] for row in rows]
    # Three in four features have weights; the rest stands for what training never saw.
    names = sorted({name for row in features for place in row for name in place if weight(name) < 0.5})
    weights = {name: (weight("I" + name), weight("B" + name)) for name in names}
    transitions = {(a, b): weight(f"{a} {b}") for a in (0, 1) for b in (0, 1)}
    path = tmp_path / "models.bin"
    path.write_bytes(crfsuite(LABELS, weights, transitions))
    crf = WordCrf(path, dictionary, flags)
    given_tags = set()
    for row, places in zip(rows, features, strict=True):
        scores = [[sum(weights[n][label] for n in place if n in weights) for label in (0, 1)] for place in places]

        def total(tags: tuple[int, ...], scores: list[list[float]] = scores) -> float:
            return sum(scores[t][tag] for t, tag in enumerate(tags)) + sum(
                transitions[pair] for pair in itertools.pairwise(tags)
            )

        best = max(itertools.product((0, 1), repeat=len(row)), key=total)
        assert crf.begins(row) == [tag == 1 for tag in best], row
        given_tags |= {*best}
    assert given_tags == {0, 1}
    assert crf.begins([]) == []


def test_a_model_of_other_labels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pos.bin"
    path.write_bytes(crfsuite(("N", "V"), {"T[0]=rác": (1.0, 0.0)}, {}))
    with pytest.raises(ValueError, match=r"pos\.bin has labels \['N', 'V'\]"):
        WordCrf(path, set(), lambda _: (False, False, False))


WHOLE = crfsuite(LABELS, {"T[0]=rác": (1.0, 0.0)}, {})


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"lCRF", id="only the magic"),
        pytest.param(b"lCRF" + b"\0" * 60, id="another type"),
        pytest.param(b"\x80\x04\x95" * 40, id="a pickle"),
        pytest.param("đây là một lá đơn kiến nghị của bà con thôn Đông ".encode() * 3, id="text"),
        pytest.param(WHOLE[:-1], id="cut by a byte"),
        pytest.param(WHOLE[:60], id="cut in the features"),
        pytest.param(WHOLE + b"\0", id="longer than it says"),
    ],
)
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="CRFsuite"):
        read_crfsuite(data)
