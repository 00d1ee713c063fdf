"""underthesea's word segmentation CRF, read from its own files and evaluated without building feature strings.

underthesea 9.5 turns every syllable into 43 strings ("T[-1,0].lower=rác thải"), hands them to Rust and back, and looks
each up: nine tenths of the time. The strings are only keys to weights, so here the weights are grouped by the words they
speak of when the model is loaded, and a syllable needs six look-ups. The tags are the same, which a test checks on
thousands of texts against underthesea itself. Only where several paths score exactly alike, as in a run of symbols
without weights ("[[¡¡[["), may another one of them be taken: there the order of additions decides.
"""

import struct
from collections.abc import Callable
from pathlib import Path

Row = tuple[float, ...]
"""For every template of a family, how much it speaks for label B over label I: only that difference decides a path."""

_UNIGRAM = ("T[-2]", "T[-1]", "T[0]", "T[1]", "T[2]")
_BIGRAM = ("T[-2,-1]", "T[-1,0]", "T[0,1]", "T[1,2]")
_TRIGRAM = ("T[-2,0]", "T[-1,1]", "T[0,2]")
_BOS, _EOS = "BOS", "EOS"
_MARGIN = 3
_CACHED_SYLLABLES = 50_000


class WordCrf:
    """Tags syllables B (begins a word) or I (goes on with it).

    Args:
        model: CRFsuite's binary model file with the two labels B-W and I-W.
        dictionary: lower-case words and phrases behind the `is_in_dict` features.
        flags: `(isdigit, istitle, is_in_dict)` of one syllable as underthesea's featurizer sees it.
    """

    def __init__(self, model: Path, dictionary: set[str], flags: Callable[[str], tuple[bool, bool, bool]]) -> None:
        labels, weights, transitions = read_crfsuite(model.read_bytes())
        if sorted(labels) != ["B-W", "I-W"]:
            raise ValueError(f"{model.name} has labels {labels}, expected B-W and I-W")
        begin, inside = labels.index("B-W"), labels.index("I-W")
        self._weights = {name: row[begin] - row[inside] for name, row in weights.items()}
        self._transitions = tuple(transitions[a][b] for a in (begin, inside) for b in (begin, inside))
        self._dictionary = dictionary
        self._flags = flags
        self._unigrams: dict[str, tuple[Row, bool]] = {}
        self._bigram = self._group(_BIGRAM, "")
        self._bigram_lower = self._group(_BIGRAM, ".lower")
        self._trigram = self._group(_TRIGRAM, "")
        truth = (False, True)
        self._bigram_flags = {(t, k): self._constant(_BIGRAM, "T[0,1]", str(t), str(k)) for t in truth for k in truth}
        self._trigram_flags = {(t, k): self._constant(_TRIGRAM, "T[0,2]", str(t), str(k)) for t in truth for k in truth}
        self._edges = {
            edge: (
                self._unigram_row(edge, edge, edge, edge, edge),
                self._constant(_BIGRAM, "T[0,1]", edge, edge, value=edge),
                self._constant(_TRIGRAM, "T[0,2]", edge, edge, value=edge),
            )
            for edge in (_BOS, _EOS)
        }

    def begins(self, syllables: list[str]) -> list[bool]:
        """For every syllable, whether a word begins there."""
        n = len(syllables)
        if n == 0:
            return []
        # scores[_MARGIN + t] is what speaks for B at syllable t; the margins take what falls outside the text.
        scores = [0.0] * (n + 2 * _MARGIN + 1)
        lowered = [syllable.lower() for syllable in syllables]
        unigrams = [self._unigrams.get(syllable) or self._unigram(syllable) for syllable in syllables]
        for t, (row, _) in enumerate(unigrams):
            scores[t + 5] += row[0]
            scores[t + 4] += row[1]
            scores[t + 3] += row[2]
            scores[t + 2] += row[3]
            scores[t + 1] += row[4]
        dictionary, raw_rows, lower_rows = self._dictionary, self._bigram, self._bigram_lower
        for t in range(n - 1):
            key = f"{lowered[t]} {lowered[t + 1]}"
            self._add_bigram(scores, t, self._bigram_flags[unigrams[t][1] and unigrams[t + 1][1], key in dictionary])
            if found := lower_rows.get(key):
                self._add_bigram(scores, t, found)
            if found := raw_rows.get(f"{syllables[t]} {syllables[t + 1]}"):
                self._add_bigram(scores, t, found)
        rows = self._trigram
        for t in range(n - 2):
            title = unigrams[t][1] and unigrams[t + 1][1] and unigrams[t + 2][1]
            known = f"{lowered[t]} {lowered[t + 1]} {lowered[t + 2]}" in dictionary
            self._add_trigram(scores, t, self._trigram_flags[title, known])
            if found := rows.get(f"{syllables[t]} {syllables[t + 1]} {syllables[t + 2]}"):
                self._add_trigram(scores, t, found)
        self._add_edges(scores, n)
        return self._viterbi(scores[_MARGIN : _MARGIN + n])

    @staticmethod
    def _add_bigram(scores: list[float], t: int, row: Row) -> None:
        # The pair (t, t + 1) is T[-2,-1] at t + 2, T[-1,0] at t + 1, T[0,1] at t and T[1,2] at t - 1.
        scores[t + 5] += row[0]
        scores[t + 4] += row[1]
        scores[t + 3] += row[2]
        scores[t + 2] += row[3]

    @staticmethod
    def _add_trigram(scores: list[float], t: int, row: Row) -> None:
        # The triple (t, t + 2) is T[-2,0] at t + 2, T[-1,1] at t + 1 and T[0,2] at t.
        scores[t + 5] += row[0]
        scores[t + 4] += row[1]
        scores[t + 3] += row[2]

    def _add_edges(self, scores: list[float], n: int) -> None:
        """What lies beyond the ends is BOS, or EOS where it does not begin before the text."""
        for width, family in ((1, 0), (2, 1), (3, 2)):
            for t in (-2, -1, *range(max(n - width + 1, 0), n + 2)):
                for slot, weight in enumerate(self._edges[_BOS if t < 0 else _EOS][family]):
                    place = t + 2 - slot
                    if 0 <= place < n:
                        scores[_MARGIN + place] += weight

    def _viterbi(self, scores: list[float]) -> list[bool]:
        bb, bi, ib, ii = self._transitions
        begin, inside = scores[0], 0.0
        back: list[tuple[bool, bool]] = []
        for score in scores[1:]:
            from_begin = (begin + bb >= inside + ib, begin + bi >= inside + ii)
            back.append(from_begin)
            begin, inside = (
                (begin + bb if from_begin[0] else inside + ib) + score,
                begin + bi if from_begin[1] else inside + ii,
            )
        is_begin = begin >= inside
        tags = [is_begin]
        for to_begin, to_inside in reversed(back):
            is_begin = to_begin if is_begin else to_inside
            tags.append(is_begin)
        tags.reverse()
        return tags

    def _unigram(self, syllable: str) -> tuple[Row, bool]:
        digit, title, known = self._flags(syllable)
        row = self._unigram_row(syllable, syllable.lower(), str(digit), str(title), str(known))
        if len(self._unigrams) >= _CACHED_SYLLABLES:
            self._unigrams.clear()
        self._unigrams[syllable] = (row, title)
        return row, title

    def _unigram_row(self, raw: str, lower: str, digit: str, title: str, known: str) -> Row:
        values = {"": raw, ".lower": lower, ".isdigit": digit, ".istitle": title, ".is_in_dict": known}
        return tuple(
            # A template that the model was not trained with has no weight and adds nothing.
            sum(self._weights.get(f"{template}{suffix}={value}", 0.0) for suffix, value in values.items())
            for template in _UNIGRAM
        )

    def _constant(
        self, templates: tuple[str, ...], titled: str, title: str, known: str, value: str | None = None
    ) -> Row:
        """What the flags of an n-gram add; beyond an edge of the text, `value` (BOS, EOS) stands for its words too."""
        get = self._weights.get
        return tuple(
            get(f"{template}.is_in_dict={known}", 0.0)
            + (get(f"{template}.istitle={title}", 0.0) if template == titled else 0.0)
            + (get(f"{template}={value}", 0.0) + get(f"{template}.lower={value}", 0.0) if value else 0.0)
            for template in templates
        )

    def _group(self, templates: tuple[str, ...], suffix: str) -> dict[str, Row]:
        """Weights of one family by the words they speak of."""
        rows: dict[str, list[float]] = {}
        slots = {template + suffix: slot for slot, template in enumerate(templates)}
        for name, weight in self._weights.items():
            template, _, words = name.partition("=")
            if template in slots and words not in (_BOS, _EOS):
                rows.setdefault(words, [0.0] * len(templates))[slots[template]] = weight
        return {words: tuple(row) for words, row in rows.items()}


def read_crfsuite(data: bytes) -> tuple[list[str], dict[str, list[float]], list[list[float]]]:
    """Labels, state weights by attribute, and transition weights of a CRFsuite model (format lCRF, type FOMC).

    Layout: chokkan/crfsuite, lib/crf/src/crf1d_model.c and lib/cqdb/src/cqdb.c.

    Raises:
        ValueError: another format.
    """
    header = struct.Struct("<4sI4s9I")
    # The second field is the file's length: a cut file is refused here, not read in part.
    if (
        len(data) < header.size
        or data[:4] != b"lCRF"
        or data[8:12] != b"FOMC"
        or header.unpack_from(data)[1] != len(data)
    ):
        raise ValueError("not a whole CRFsuite model file")
    _, _, _, _, _, n_labels, _, at_features, at_labels, at_attributes, _, _ = header.unpack_from(data)
    labels, attributes = _quarks(data, at_labels), _quarks(data, at_attributes)
    weights = {name: [0.0] * n_labels for name in attributes}
    transitions = [[0.0] * n_labels for _ in range(n_labels)]
    (count,) = struct.unpack_from("<I", data, at_features + 8)
    for kind_of, source, target, weight in struct.iter_unpack(
        "<IIId", data[at_features + 12 : at_features + 12 + 20 * count]
    ):
        if kind_of == 0:
            weights[attributes[source]][target] = weight
        else:
            transitions[source][target] = weight
    return labels, weights, transitions


def _quarks(data: bytes, at: int) -> list[str]:
    """The strings of a constant quark database, by id."""
    chunk, _, _, _, count, backward = struct.unpack_from("<4s5I", data, at)
    if chunk != b"CQDB":
        raise ValueError("not a CRFsuite model file")
    names = []
    for offset in struct.unpack_from(f"<{count}I", data, at + backward):
        _, length = struct.unpack_from("<II", data, at + offset)
        names.append(data[at + offset + 8 : at + offset + 8 + length].split(b"\0")[0].decode("utf-8"))
    return names
