"""Why a petition got its answer: the words that moved it, and what would change its urgency.

A word is left out wherever it stands and the rest is read again as the service reads, network, linear model and lexicon
(occlusion; Li et al. 2016, Understanding neural networks through representation erasure). What the probability of the
answer loses is what the word was worth. The linear model says beforehand which words are worth the network's time, so
the cost is bounded whatever the length: a window of a long letter is read again only if a word is missing from it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nlp_service.decision import Decision, Scored, softmax
from nlp_service.erasure import margins_without
from nlp_service.occlusion import Answer, Drop, Occlusion, Place
from nlp_service.pipeline import PetitionClassifier
from nlp_service.taxonomy import EMERGENCY
from nlp_service.text import check

Floats = npt.NDArray[np.float32]

BUDGET = 2_400
"""Positions that the network reads for one explanation, at 60 to 90 µs each (tests/benchmarks/explain.py)."""

LEAST = 800
"""Positions for leaving words out of a letter that takes the budget by being read once."""

CANDIDATES = 24
"""Words tried one by one: more than are shown, and their choice by the linear model seldom misses one of them."""

PIECES = 12
"""Into how many a text is cut where no linear model chooses."""

MOST_FOR, MOST_AGAINST, MOST_TURNING = 8, 3, 6
WORTH_SHOWING, WORTH_BESIDE = 0.2, 0.15
"""Least change of the log odds, 5 points of 50 % or half a point of 97 %; and least share of the strongest word's."""


@dataclass(frozen=True)
class Span:
    """A word that moved an answer, or words that did together.

    Attributes:
        places: start and end of each occurrence in the normalised text (`nlp_service.text.normalise`); none where that
            cannot be told.
        weight: what the label's probability loses without it; negative if it speaks against the label.
        log_odds: the same in log odds, to shade by: of a near-certain answer the probability hardly moves.
        estimated: in a long letter, which the network cannot read again for every word: only the linear model read it
            without this one. The weight is then near, rather too small (on letters of six windows the correlation
            is 0.97 for the category, 0.85 for the urgency).
    """

    words: str
    places: tuple[Place, ...]
    weight: float
    log_odds: float
    estimated: bool = False


@dataclass(frozen=True)
class Grounds:
    """What speaks for a label and what against.

    Attributes:
        label: with its probability for the whole text.
        spans: at most 8 that speak for it, the strongest first, then at most 3 against it, the strongest first; no two
            overlap. May be empty.
    """

    label: Scored
    spans: tuple[Span, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON."""
        label = {"id": self.label.id, "name": self.label.name, "probability": self.label.probability}
        return {"label": label, "spans": [_span(span) for span in self.spans]}


@dataclass(frozen=True)
class Turning:
    """The fewest words found without which the urgency is another one.

    Attributes:
        words: each once, neighbours together.
        places: start and end of all of them in the normalised text; none where that cannot be told.
        urgency: the level without them.
    """

    words: tuple[str, ...]
    places: tuple[Place, ...]
    urgency: Scored


@dataclass(frozen=True)
class Explanation:
    """Why a petition got its category and its urgency. Quotes the petition: not for logs.

    Attributes:
        turning: None if nothing that was tried changes the urgency.
        emergency, threshold: the probability of an emergency, and from which one on the alarm is raised.
        sign: name of what the emergency lexicon recognised.
        sentences: urgency, alarm and lexicon for the clerk, in Vietnamese.
        positions: what the network read for it.
    """

    category: Grounds
    urgency: Grounds
    turning: Turning | None
    emergency: float
    threshold: float
    sign: str | None
    sentences: tuple[str, ...]
    model_version: str
    positions: int
    _tried: "_Tried" = field(repr=False, compare=False)

    def for_label(self, identity: str) -> Grounds:
        """Grounds of any category or urgency level, without reading again: "why not the second candidate?".

        Raises:
            KeyError: the model knows no such label.
        """
        return self._tried.grounds(identity)

    def as_dict(self) -> dict[str, Any]:
        """JSON."""
        turning = self.turning and {
            "words": list(self.turning.words),
            "places": _places(self.turning.places),
            "urgency": {"id": self.turning.urgency.id, "name": self.turning.urgency.name},
        }
        return {
            "category": self.category.as_dict(),
            "urgency": self.urgency.as_dict(),
            "turning": turning,
            "emergency": {"probability": round(self.emergency, 4), "threshold": self.threshold, "sign": self.sign},
            "sentences": list(self.sentences),
            "model_version": self.model_version,
        }


def _places(places: Iterable[Place]) -> list[dict[str, int]]:
    return [{"start": start, "end": end} for start, end in places]


def _span(span: Span) -> dict[str, Any]:
    return {
        "words": span.words,
        "places": _places(span.places),
        "weight": round(span.weight, 4),
        "log_odds": round(span.log_odds, 2),
        "estimated": span.estimated,
    }


def explain(classifier: PetitionClassifier, text: object) -> Explanation:
    """Explain the answer that `classifier` gives for `text`.

    Raises:
        PetitionError: as `PetitionClassifier.classify`.
    """
    shown = check(text, classifier.max_chars)
    petition = Occlusion(classifier, shown)
    budget = max(BUDGET, petition.positions + LEAST)
    reserve = (budget - petition.positions) // 4
    # A quarter is kept for words that change the urgency together only.
    candidates = _candidates(classifier, petition)
    singles = petition.affordable(candidates, budget - reserve)
    answers = dict(zip(singles, petition.without(singles), strict=True))
    estimates = {drop: petition.answer(logits) for drop, logits in candidates.items() if drop not in answers}
    tried = _Tried(petition, answers, estimates)
    turning = tried.turning()
    if turning is None:
        joined = petition.affordable(tried.joined(), budget)
        turning = _Tried(petition, dict(zip(joined, petition.without(joined), strict=True)), {}).turning()
    decision, sign = petition.whole.decision, petition.sign.name if petition.sign else None
    manifest = classifier.bundle.manifest
    emergency = petition.whole.probability("urgency", manifest.heads["urgency"].labels.index(EMERGENCY))
    signs = (sign, *_each_once(petition.phrases(petition.alarm))) if sign else ()
    return Explanation(
        category=tried.grounds(decision.category.id),
        urgency=tried.grounds(decision.urgency.id),
        turning=turning,
        emergency=emergency,
        threshold=manifest.thresholds.emergency,
        sign=sign,
        sentences=tuple(_sentences(decision, turning, emergency, manifest.thresholds.emergency, signs)),
        model_version=manifest.version,
        positions=petition.positions,
        _tried=tried,
    )


def _candidates(classifier: PetitionClassifier, petition: Occlusion) -> dict[Drop, dict[str, Floats]]:
    """Words worth leaving out, the most promising first, each with all its occurrences, and the logits to be expected.

    These are as if the network's did not change. Without a linear model to choose by: the whole text in pieces.
    """
    whole, manifest = petition.whole, classifier.bundle.manifest
    speaking = [number for number, word in enumerate(petition.words) if any(map(str.isalnum, word))]
    if classifier.linear is None:
        pieces = np.array_split(speaking, min(PIECES, len(speaking)))
        return {tuple(piece.tolist()): whole.logits for piece in pieces}
    alike: dict[str, list[int]] = {}
    for number in speaking:
        alike.setdefault(petition.words[number].lower(), []).append(number)
    drops = [tuple(numbers) for numbers in alike.values()]
    margins = margins_without(classifier.linear, petition.words, drops)
    expected = {
        head: whole.logits[head] + np.float32(manifest.linear.get(head, 0)) * (rows[1:] - rows[0])
        for head, rows in margins.items()
    }
    ranked = []
    for head, label in (("category", whole.decision.category.id), ("urgency", whole.decision.urgency.id)):
        spec = manifest.heads[head]
        number = spec.labels.index(label)
        odds = log_odds(softmax(expected[head], spec.temperature)[:, number])
        ranked.append(np.argsort(-np.abs(odds - log_odds(whole.probability(head, number))), kind="stable").tolist())
    order = dict.fromkeys(number for pair in zip(*ranked, strict=True) for number in pair)
    return {drops[i]: {head: rows[i] for head, rows in expected.items()} for i in list(order)[:CANDIDATES]}


@dataclass(frozen=True)
class _Tried:
    """What was left out of a petition, and the answers without it, read or estimated."""

    petition: Occlusion
    read: dict[Drop, Answer]
    estimated: dict[Drop, Answer]

    def losses(self, identity: str) -> list[tuple[float, float, Drop]]:
        """What the label loses in log odds and in probability without each drop, the largest loss first."""
        head, label, _ = self.petition.labels()[identity]
        before = self.petition.whole.probability(head, label)
        losses = []
        for drop, answer in {**self.read, **self.estimated}.items():
            after = answer.probability(head, label)
            losses.append((float(log_odds(before) - log_odds(after)), before - after, drop))
        return sorted(losses, key=lambda loss: -loss[0])

    def grounds(self, identity: str) -> Grounds:
        """See `Explanation.for_label`."""
        head, label, name = self.petition.labels()[identity]
        losses = self.losses(identity)
        least = max([WORTH_SHOWING, *(WORTH_BESIDE * abs(odds) for odds, _, _ in losses)])
        speaking_for = [loss for loss in losses if loss[0] >= least][:MOST_FOR]
        against = [loss for loss in reversed(losses) if loss[0] <= -least][:MOST_AGAINST]
        spans = []
        for odds, weight, drop in [*speaking_for, *against]:
            phrases = self.petition.phrases(drop)
            places = self.petition.places(phrases)
            spans.append(Span(phrases[0][0], places, weight, odds, estimated=drop in self.estimated))
        return Grounds(Scored(identity, name, round(self.petition.whole.probability(head, label), 4)), tuple(spans))

    def joined(self) -> list[Drop]:
        """Words that hold the urgency up, put together: those of the lexicon, then more and more of the strongest."""
        alarm = self.petition.alarm
        losses = self.losses(self.petition.whole.decision.urgency.id)
        strongest = [drop for odds, _, drop in losses if odds > 0][:MOST_TURNING]
        unions = [
            tuple(sorted({*alarm, *(word for drop in strongest[:count] for word in drop)}))
            for count in range(len(strongest) + 1)
        ]
        return unions[0 if alarm else 2 :]

    def turning(self) -> Turning | None:
        """The fewest words read without that change the urgency; of as many, those that move it most."""
        level = self.petition.whole.decision.urgency.id
        turns = [
            (len(drop), -abs(odds), drop)
            for odds, _, drop in self.losses(level)
            if drop in self.read and self.read[drop].decision.urgency.id != level
        ]
        if not turns:
            return None
        drop = min(turns)[-1]
        phrases = self.petition.phrases(drop)
        return Turning(_each_once(phrases), self.petition.places(phrases), self.read[drop].decision.urgency)


def _each_once(phrases: Iterable[tuple[str, Place]]) -> tuple[str, ...]:
    words: dict[str, str] = {}
    for phrase, _ in phrases:
        words.setdefault(phrase.lower(), phrase)
    return tuple(words.values())


def log_odds(probability: npt.ArrayLike) -> Floats:
    """ln p/(1-p), p kept a millionth from 0 and 1."""
    p = np.clip(np.asarray(probability, np.float64), 1e-6, 1 - 1e-6)
    result: Floats = np.log(p / (1 - p))
    return result


def _sentences(
    decision: Decision, turning: Turning | None, emergency: float, threshold: float, signs: Sequence[str]
) -> Iterator[str]:
    chance, limit = f"{emergency:.0%}", f"{threshold:.0%}"
    if chance == limit:
        chance, limit = (f"{value:.1%}".replace(".", ",") for value in (emergency, threshold))
    yield f"Xác suất khẩn cấp {chance}, {'đạt' if emergency >= threshold else 'dưới'} ngưỡng báo động {limit}."
    if signs:
        name, *words = signs
        yield f"Từ vựng khẩn cấp nhận ra: {name}{f' ({_quoted(words)})' if words else ''}."
    if turning:
        yield f"Nếu bỏ {_quoted(turning.words)} thì mức khẩn là {turning.urgency.name}."
    else:
        yield f"Đã thử bỏ những từ nổi bật nhất: mức khẩn vẫn là {decision.urgency.name}."


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"«{word}»" for word in words)
