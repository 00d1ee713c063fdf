"""Petitions like another one: the same words again, the same matter told by somebody else, one matter that many complain of.

Candidates come from four sides, so that none alone must find everything: the nearest embeddings of the whole store, the
same words, the same sender, and what came from the same commune around the same time. They are ranked by likeness of
meaning and of words, place and time; weights and bounds are from retold petitions (tests/benchmarks/similar.py).

Who sees what is the caller's business (`casework.scope`): what is outside a scope is no candidate.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Connection, and_, func, select, union_all

from nlp_service.casework import Status, listed, missing
from nlp_service.intake import stored
from nlp_service.store import embeddings, petitions, senders
from nlp_service.text import fold
from nlp_service.vectors import unpack

Floats = npt.NDArray[np.float32]
Span = tuple[int, int]

NEAREST = 100
SAME_AT_MOST = 30
AROUND = timedelta(days=90)
AROUND_AT_MOST = 100
"""Petitions of the commune before, and as many after; emergencies apart."""

COMPARED = 50
"""Of these and of the nearest, how many are compared word by word: those whose meaning is closest."""

READ_CHARS = 4_000
"""Of a text, for comparing words."""

MEANING, WORDS, PHRASES = 0.4, 0.4, 0.2
"""Weights of the embeddings' cosine and of the shares of common words and common pairs of words. Identical texts have 1."""

SAME_PLACE, SAME_TIME = 0.05, 0.03
"""Added for the order alone, the second in full on the same day."""

TIME_FADES = timedelta(days=60)

REPEATED_PHRASES = 0.5
"""Share of common pairs of words. Slips in 3 % of the letters leave more; two petitions of ours have at most 0.26."""

CONTAINED_PHRASES, CONTAINED_AT_LEAST = 0.8, 20
"""The same for a petition that was sent again with more in it: of the shorter one's pairs, if it has so many."""

SAME_MATTER_HERE, SAME_MATTER_SOMEWHERE, SAME_KIND = 0.20, 0.24, 0.14
"""Least likeness: in one commune, where a commune is not known, and to be shown at all."""

JOINT_WITHIN = timedelta(days=30)
JOINT_AT_LEAST = 3

_WORD = re.compile(r"\w+")


class Neighbourhood(Protocol):
    """What finds the nearest embeddings: `similar_index.SimilarIndex`."""

    model_version: str

    def neighbours(self, vector: Floats, count: int) -> list[tuple[int, float]]:
        """(petition id, cosine), the nearest first."""
        ...


class Likeness(StrEnum):
    """How two petitions are alike, the most alike first."""

    SAME_WORDS = "same_words"
    REPEATED = "repeated"
    SAME_MATTER = "same_matter"
    SAME_SENDER = "same_sender"
    SAME_KIND = "same_kind"


NAMES = {
    Likeness.SAME_WORDS: "Trùng nguyên văn",
    Likeness.REPEATED: "Gần như trùng nguyên văn",
    Likeness.SAME_MATTER: "Có thể cùng vụ việc",
    Likeness.SAME_SENDER: "Cùng người gửi",
    Likeness.SAME_KIND: "Cùng loại việc",
}

_ONE_MATTER = (Likeness.SAME_WORDS, Likeness.REPEATED, Likeness.SAME_MATTER)


@dataclass(frozen=True)
class Similar:
    """A petition like the one that was asked for, with enough to decide whether they are one matter.

    Attributes:
        commune: full name, None if not known.
        likeness: 0 to 1, of meaning and words.
        reason: a Vietnamese sentence.
        excerpt: the beginning, masked for every role.
        shared: places in `excerpt` of words that both petitions have in the same order.
    """

    id: int
    received_at: datetime
    commune: str | None
    category: str
    category_name: str
    status: str
    likeness: float
    kind: Likeness
    reason: str
    excerpt: str
    shared: tuple[Span, ...]


@dataclass(frozen=True)
class Joint:
    """The sign of a joint complaint: several people about one matter in one commune within a month.

    Attributes:
        petitions: ids, the one that was asked for among them, by time.
        voices: different senders; where a sender is not known, different texts.
        message: a Vietnamese sentence.
    """

    petitions: tuple[int, ...]
    voices: int
    message: str


@dataclass(frozen=True)
class Found:
    """What is like a petition, the most alike first, and whether many complain of it."""

    similar: tuple[Similar, ...]
    joint: Joint | None


@dataclass(frozen=True)
class _Petition:
    """What is compared.

    Attributes:
        sender: fingerprint; None also where it must not be told.
        words, phrases: folded words, and pairs of neighbours.
    """

    id: int
    received_at: datetime
    commune: str | None
    commune_name: str | None
    category: str
    status: str
    text_sha256: str
    sender: str | None
    vector: Floats | None
    words: frozenset[str]
    phrases: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class _Compared:
    other: _Petition
    likeness: float
    rank: float
    kind: Likeness | None
    reason: str


def similar(
    connection: Connection,
    index: Neighbourhood,
    petition_id: int,
    seen_by: Sequence[ColumnElement[bool]],
    by_sender: bool,
    limit: int = 10,
) -> Found:
    """Petitions like one in the reader's scope.

    Args:
        connection: a `store.snapshot`.
        seen_by: what the reader may see, as `casework.scope` gives it.
        by_sender: tell what comes from the same sender; only for readers who may see senders. Of denunciations and
            restricted petitions it is told to nobody: it would say who denounced.

    Raises:
        PetitionError: NOT_FOUND if there is no such petition in the scope.
    """
    own = _read(connection, index.model_version, [petition_id], seen_by, by_sender)
    if not own:
        raise missing(petition_id)
    ids = _candidates(connection, index, own[0], seen_by) - {petition_id}
    compared = [_compare(own[0], other) for other in _read(connection, index.model_version, ids, seen_by, by_sender)]
    # What was merged goes on in another petition, which stands for it; it still counts among the voices.
    shown = [item for item in compared if item.kind and item.other.status != Status.MERGED]
    order = list(Likeness)
    shown.sort(key=lambda item: (order.index(item.kind or Likeness.SAME_KIND), -item.rank, -item.other.id))
    return Found(_shown(connection, own[0], shown[:limit], seen_by), _joint(own[0], compared))


def _candidates(
    connection: Connection, index: Neighbourhood, own: _Petition, seen_by: Sequence[ColumnElement[bool]]
) -> set[int]:
    """Ids of what is worth comparing word by word, its own perhaps among them."""
    columns = petitions.c
    newest = select(columns.id).where(*seen_by).order_by(columns.id.desc()).limit(SAME_AT_MOST)
    sure = set(connection.execute(newest.where(columns.text_sha256 == own.text_sha256)).scalars())
    if own.sender:
        same_sender = select(senders.c.petition_id).where(senders.c.fingerprint == own.sender)
        sure.update(connection.execute(newest.where(columns.id.in_(same_sender))).scalars())
    around = _around(connection, own, seen_by)
    if own.vector is None:
        return sure | set(around)
    nearest = {i for i, _ in index.neighbours(own.vector, NEAREST)}
    rows = connection.execute(
        select(embeddings.c.petition_id, embeddings.c.vector)
        .join(petitions, columns.id == embeddings.c.petition_id)
        .where(
            embeddings.c.petition_id.in_(sorted(nearest.union(around))),
            embeddings.c.model_version == index.model_version,
            *seen_by,
        )
    ).all()
    if not rows:
        return sure | set(around[:COMPARED])
    meaning = np.stack([unpack(row.vector) for row in rows]) @ own.vector
    closest = {rows[place].petition_id for place in np.argsort(-meaning)[: COMPARED + 1]}
    # Those without an embedding of this model can be compared by their words alone.
    unknown = set(around).difference(row.petition_id for row in rows)
    return sure | closest | set(sorted(unknown, reverse=True)[:COMPARED])


def _around(connection: Connection, own: _Petition, seen_by: Sequence[ColumnElement[bool]]) -> list[int]:
    """Ids of what came from the same commune around the same time."""
    if own.commune is None:
        return []
    columns = petitions.c
    parts = []
    for emergency in (False, True):  # the index has them apart
        here = select(columns.id).where(columns.commune_code == own.commune, columns.emergency.is_(emergency), *seen_by)
        before = columns.received_at.between(own.received_at - AROUND, own.received_at)
        after = columns.received_at.between(own.received_at, own.received_at + AROUND)
        parts.append(here.where(before).order_by(columns.received_at.desc()).limit(AROUND_AT_MOST))
        parts.append(here.where(after).order_by(columns.received_at).limit(AROUND_AT_MOST))
    queries = [select(part.subquery().c.id) for part in parts]
    return list(dict.fromkeys(connection.execute(union_all(*queries)).scalars()))


def _read(
    connection: Connection,
    model_version: str,
    ids: Iterable[int],
    seen_by: Sequence[ColumnElement[bool]],
    by_sender: bool,
) -> list[_Petition]:
    columns = petitions.c
    rows = connection.execute(
        select(
            columns.id,
            columns.received_at,
            columns.commune_code,
            columns.place,
            columns.category,
            columns.status,
            columns.text_sha256,
            columns.restricted,
            columns.petition_type,
            func.substr(columns.folded, 1, READ_CHARS).label("folded"),
            senders.c.fingerprint,
            embeddings.c.vector,
        )
        .select_from(petitions)
        .outerjoin(senders, senders.c.petition_id == columns.id)
        .outerjoin(
            embeddings, and_(embeddings.c.petition_id == columns.id, embeddings.c.model_version == model_version)
        )
        .where(columns.id.in_(sorted(ids)), *seen_by)
    )
    return [_petition(row, by_sender) for row in rows]


def _petition(row: Any, by_sender: bool) -> _Petition:
    confidential = row.restricted or row.petition_type == "denunciation"
    vector = unpack(row.vector) if row.vector is not None else None
    words = _WORD.findall(row.folded)
    return _Petition(
        id=row.id,
        received_at=row.received_at,
        commune=row.commune_code,
        commune_name=row.place["commune"],
        category=row.category,
        status=row.status,
        text_sha256=row.text_sha256,
        sender=row.fingerprint if by_sender and not confidential else None,
        vector=vector if vector is not None and vector.any() else None,
        words=frozenset(words),
        phrases=frozenset(pairwise(words)),
    )


def _compare(own: _Petition, other: _Petition) -> _Compared:
    meaning = 0.0
    if own.vector is not None and other.vector is not None:
        meaning = max(0.0, float(own.vector @ other.vector))
    words, phrases = _share(own.words, other.words), _share(own.phrases, other.phrases)
    likeness = min(1.0, MEANING * meaning + WORDS * words + PHRASES * phrases)
    here = own.commune is not None and own.commune == other.commune
    elsewhere = None not in (own.commune, other.commune) and not here
    apart = abs(own.received_at - other.received_at)
    rank = likeness + SAME_PLACE * here + SAME_TIME * float(np.exp(-apart / TIME_FADES))
    kind = _kind(own, other, likeness, phrases, here, elsewhere)
    return _Compared(other, likeness, rank, kind, _reason(own, other, kind, words, apart) if kind else "")


def _share(first: frozenset[Any], second: frozenset[Any]) -> float:
    return len(first & second) / (len(first | second) or 1)


def _kind(
    own: _Petition, other: _Petition, likeness: float, phrases: float, here: bool, elsewhere: bool
) -> Likeness | None:
    if own.text_sha256 == other.text_sha256:
        return Likeness.SAME_WORDS
    shorter = min(len(own.phrases), len(other.phrases))
    contained = shorter >= CONTAINED_AT_LEAST and len(own.phrases & other.phrases) >= CONTAINED_PHRASES * shorter
    if phrases >= REPEATED_PHRASES or contained:
        return Likeness.REPEATED
    if not elsewhere and likeness >= (SAME_MATTER_HERE if here else SAME_MATTER_SOMEWHERE):
        return Likeness.SAME_MATTER
    if own.sender is not None and own.sender == other.sender:
        return Likeness.SAME_SENDER
    return Likeness.SAME_KIND if likeness >= SAME_KIND else None


def _reason(own: _Petition, other: _Petition, kind: Likeness, words: float, apart: timedelta) -> str:
    parts = []
    if kind is not Likeness.SAME_SENDER and own.sender is not None and own.sender == other.sender:
        parts.append("cùng người gửi")
    if own.commune is None or other.commune is None:
        parts.append("chưa rõ địa bàn")
    elif own.commune == other.commune:
        parts.append(f"cùng {_inside(other.commune_name)}")
    else:
        parts.append(f"ở {_inside(other.commune_name)}")
    parts.append(f"cách {apart.days} ngày" if apart.days else "cùng ngày")
    if kind is not Likeness.SAME_WORDS:
        parts.append(f"chung {words:.0%} từ ngữ".replace("%", " %"))
    return f"{NAMES[kind]}: {', '.join(parts)}."


def _inside(name: str | None) -> str:
    """A unit's name inside a sentence: "Xã Nga Thắng" -> "xã Nga Thắng"."""
    return name[0].lower() + name[1:] if name else "xã, phường"


def _joint(own: _Petition, compared: Sequence[_Compared]) -> Joint | None:
    if own.commune is None:
        return None
    together = [own] + [
        item.other for item in compared if item.kind in _ONE_MATTER and item.other.commune == own.commune
    ]
    months = [
        [petition for petition in together if timedelta() <= petition.received_at - first.received_at <= JOINT_WITHIN]
        for first in together
        if timedelta() <= own.received_at - first.received_at <= JOINT_WITHIN
    ]
    month = sorted(max(months, key=_voices), key=lambda petition: (petition.received_at, petition.id))
    voices = _voices(month)
    if voices < JOINT_AT_LEAST:
        return None
    days = max((month[-1].received_at - month[0].received_at).days, 1)
    return Joint(
        tuple(petition.id for petition in month),
        voices,
        f"Có thể là đơn của nhiều người về cùng vụ việc: {len(month)} đơn từ {voices} người gửi hoặc lời trình bày "
        f"khác nhau ở {_inside(own.commune_name)} trong {days} ngày.",
    )


def _voices(together: Iterable[_Petition]) -> int:
    """How many speak: by their senders, and where a sender is not known, by their words."""
    return len({petition.sender or petition.text_sha256 for petition in together})


def _shown(
    connection: Connection, own: _Petition, chosen: Sequence[_Compared], seen_by: Sequence[ColumnElement[bool]]
) -> tuple[Similar, ...]:
    ids = [item.other.id for item in chosen]
    rows = {row["id"]: listed(row) for row in stored(connection, and_(petitions.c.id.in_(ids), *seen_by), seen_by)}
    return tuple(
        Similar(
            id=item.other.id,
            received_at=item.other.received_at,
            commune=item.other.commune_name,
            category=item.other.category,
            category_name=rows[item.other.id]["category_name"],
            status=item.other.status,
            likeness=round(item.likeness, 3),
            kind=item.kind,
            reason=item.reason,
            excerpt=rows[item.other.id]["excerpt"],
            shared=_spans(rows[item.other.id]["excerpt"], own.phrases),
        )
        for item in chosen
        if item.kind
    )


def _spans(excerpt: str, phrases: frozenset[tuple[str, str]]) -> tuple[Span, ...]:
    """Runs of words whose neighbours are neighbours in the other petition too."""
    words = list(_WORD.finditer(excerpt))
    folded = [fold(word.group()) for word in words]
    spans: list[Span] = []
    for place, pair in enumerate(pairwise(folded)):
        if pair not in phrases:
            continue
        start, end = words[place].start(), words[place + 1].end()
        if spans and start < spans[-1][1]:
            start = spans.pop()[0]
        spans.append((start, end))
    return tuple(spans)
