"""Decided petitions of a store as labelled examples: masked, with who decided, how sure, and how many agreed.

Taken is what a person decided, is not asked about again, and was not taken back. A reading that is still owed keeps a petition
out; two readers who differ keep it apart, as a conflict, until a third one settles it.
"""

import hashlib
import hmac
import re
import secrets
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, or_, select

from nlp_service.bundle import HEADS
from nlp_service.casework import Status
from nlp_service.pii import TOKENS, Kind, find, mask
from nlp_service.store import links, petitions, reviews, senders
from nlp_service.workdays import VIETNAM
from training.data import Petition
from training.releases import Example

KEY_FILE = "reviewers.key"

_UNDECIDED = (Status.IN_REVIEW.value, Status.SPLIT.value)
"""Taken up again; or one letter of several matters, whose parts are petitions of their own."""

_BLOCK = 500

_SENDER = {
    "name": Kind.NAME,
    "phone": Kind.PHONE,
    "email": Kind.EMAIL,
    "address": Kind.ADDRESS,
    "citizen_id": Kind.CITIZEN_ID,
}
_SHORTEST = 6
"""A sender's name or number shorter than this could be any word."""


@dataclass(frozen=True)
class Pulled:
    """What was found, and how many petitions were left out, by reason."""

    examples: list[Example]
    left_out: Counter[str]


def collect(
    connection: Connection,
    key: bytes,
    since: date | None = None,
    until: date | None = None,
    restricted: bool = False,
) -> Pulled:
    """Labelled examples from a `store.snapshot`, oldest petition first.

    Args:
        key: of the readers' pseudonyms.
        since, until: days of receipt in Vietnam, both included.
        restricted: also petitions that only the body which leads may see.
    """
    left_out: Counter[str] = Counter()
    examples = []
    for rows in _decided(connection, since, until):
        ids = [row["id"] for row in rows]
        said = _reviews(connection, ids)
        ties = _ties(connection, rows)
        known = {
            row["petition_id"]: row
            for row in connection.execute(select(senders).where(senders.c.petition_id.in_(ids))).mappings()
        }
        for row in rows:
            reason = _reason_against(row, said[row["id"]], restricted)
            if reason:
                left_out[reason] += 1
            else:
                text = masked(row["text"], known.get(row["id"], {}))
                examples.append(_example(row, text, said[row["id"]], ties[row["id"]], key))
    return Pulled(examples, left_out)


def reviewers_key(directory: Path) -> bytes:
    """The key of the readers' pseudonyms, made once: with it names can be told from pseudonyms, without it not."""
    file = directory / KEY_FILE
    if not file.exists():
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32), encoding="ascii")
    return bytes.fromhex(file.read_text(encoding="ascii"))


def pseudonym(name: str, key: bytes) -> str:
    """The same for one name and key, and no way back without both."""
    return "r-" + hmac.new(key, name.encode(), hashlib.sha256).hexdigest()[:8]


def masked(text: str, sender: Mapping[Any, Any]) -> str:
    """The text without personal data; names that it gives away once, and what its sender gave, wherever they stand."""
    text = unicodedata.normalize("NFC", text)
    known = [(unicodedata.normalize("NFC", str(sender.get(field) or "")), kind) for field, kind in _SENDER.items()]
    names = (text[found.start : found.end] for found in find(text) if found.kind is Kind.NAME)
    known += [(name, Kind.NAME) for name in names if " " in name]  # a given name alone is a word too
    for value, kind in known:
        if len(value.strip()) >= _SHORTEST:
            loose = r"[\s.\-]*".join(map(re.escape, value.split()))
            text = re.sub(rf"(?<!\w){loose}(?!\w)", TOKENS[kind], text, flags=re.IGNORECASE)
    return mask(text)


def _decided(connection: Connection, since: date | None, until: date | None) -> Iterator[list[Mapping[Any, Any]]]:
    """Petitions that a person read, in blocks."""
    wanted = [petitions.c.readings > 0]
    if since is not None:
        wanted.append(petitions.c.received_at >= _midnight(since))
    if until is not None:
        wanted.append(petitions.c.received_at < _midnight(until + timedelta(days=1)))
    columns = [column for column in petitions.c if column.name not in ("folded", "place", "location", "flags")]
    last = 0
    while True:
        rows = (
            connection.execute(
                select(*columns).where(*wanted, petitions.c.id > last).order_by(petitions.c.id).limit(_BLOCK)
            )
            .mappings()
            .all()
        )
        if not rows:
            return
        last = rows[-1]["id"]
        yield list(rows)


def _reviews(connection: Connection, ids: Sequence[int]) -> dict[int, dict[int, Mapping[Any, Any]]]:
    """By petition, then by reading, what stands of what was said."""
    said: dict[int, dict[int, Mapping[Any, Any]]] = defaultdict(dict)
    standing = and_(reviews.c.petition_id.in_(ids), reviews.c.withdrawn_at.is_(None))
    for row in connection.execute(select(reviews).where(standing).order_by(reviews.c.id)).mappings():
        said[row["petition_id"]][row["reading"]] = row
    return said


def _ties(connection: Connection, rows: Iterable[Mapping[Any, Any]]) -> dict[int, set[int]]:
    """Petitions of one story: merged, related, parts of one letter, repeats."""
    ties: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        ties[row["id"]] |= {row["repeat_of"]} - {None}
    ids = list(ties)
    tied = or_(links.c.petition_id.in_(ids), links.c.other_id.in_(ids))
    for link in connection.execute(
        select(links.c.petition_id, links.c.other_id).where(tied, links.c.undone_at.is_(None))
    ):
        ties[link.petition_id].add(link.other_id)
        ties[link.other_id].add(link.petition_id)
    return ties


def _reason_against(row: Mapping[Any, Any], said: Mapping[int, Mapping[Any, Any]], restricted: bool) -> str | None:
    if 1 not in said and 3 not in said:
        return "decision taken back"
    if row["status"] in _UNDECIDED:
        return "taken up again or split"
    if row["queued"] and not _conflict(said):
        return "another reading owed"
    if row["restricted"] and not restricted:
        return "restricted"
    return None


def _conflict(said: Mapping[int, Mapping[Any, Any]]) -> bool:
    return 3 not in said and 1 in said and 2 in said and _labels(said[1]) != _labels(said[2])


def _labels(review: Mapping[Any, Any]) -> dict[str, str]:
    return {head: review[head] for head in HEADS}


def _example(
    row: Mapping[Any, Any], text: str, said: Mapping[int, Mapping[Any, Any]], ties: Iterable[int], key: bytes
) -> Example:
    final = said.get(3) or said[1]
    conflict = _conflict(said)
    day = _day(row["received_at"])
    origin = {
        "source": "store",
        "received_at": day.isoformat(),
        "decided_at": _day(final["at"]).isoformat(),
        "commune_code": row["commune_code"],
        "annotator": pseudonym(final["reviewer"], key),
        "readers": len({review["reviewer"] for review in said.values()}),
        "agreed": sum(_labels(review) == _labels(final) for review in said.values()),
        "sure": final["sure"],
        "bulk": final["bulk"],
        "conflict": conflict,
        "restricted": row["restricted"],
        "model_version": final["model_version"],
        "suggested": final["suggested"],
        "text_sha256": row["text_sha256"],
    }
    if len(said) > 1:
        origin["readings"] = [
            {"reading": number, "annotator": pseudonym(review["reviewer"], key), **_labels(review)}
            for number, review in sorted(said.items())
        ]
    petition = Petition(_id(row["id"]), text, *(final[head] for head in HEADS))
    return Example(petition, origin, day, tuple(sorted(_id(tie) for tie in ties)))


def _id(petition_id: int) -> str:
    return f"s{petition_id:08d}"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), VIETNAM)


def _day(moment: datetime) -> date:
    return moment.astimezone(VIETNAM).date()
