"""The data card: what is in a data set, counted, for whoever trains on it or has to answer for it. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nlp_service.pii import TOKENS
from nlp_service.taxonomy import Taxonomy
from training.data import Petition, digest

Row = tuple[Petition, Mapping[str, Any]]

_LEAST = 5
"""Communes with fewer petitions are counted together: a count of one may be somebody."""

_ELSEWHERE = f"fewer than {_LEAST} each"


def data_card(parts: Mapping[str, Sequence[Row]], taxonomy: Taxonomy, source: Mapping[str, Any]) -> dict[str, Any]:
    """Counts for JSON.

    Args:
        parts: petitions with their origin by side; those of `conflicts` are counted as such and nowhere else.
        source: copied as it is.
    """
    rows = [row for side, part in parts.items() if side != "conflicts" for row in part]
    petitions = [petition for petition, _ in rows]
    origins = [origin for _, origin in rows]
    return {
        "format": 1,
        "source": dict(source),
        "taxonomy": {"version": taxonomy.version, "sha256": taxonomy.sha256},
        "petitions": {
            side: {"count": len(part), "sha256": digest(petition for petition, _ in part)}
            for side, part in parts.items()
        },
        "periods": {side: period(origin for _, origin in part) for side, part in parts.items()},
        "groups": len({petition.group for petition in petitions}),
        "conflicts": len(parts.get("conflicts", ())),
        "one_reader": sum(origin.get("readers", 1) == 1 for origin in origins),
        "bulk": sum(bool(origin.get("bulk")) for origin in origins),
        "unsure": sum(origin.get("sure") is False for origin in origins),
        "counts": {
            **{head: _counted(petition.label(head) for petition in petitions) for head in taxonomy.heads},
            "annotator": _counted(origin.get("annotator") or "unknown" for origin in origins),
            "month": dict(
                sorted(_counted(str(origin.get("received_at") or "unknown")[:7] for origin in origins).items())
            ),
            "commune": _grouped(_counted(origin.get("commune_code") or "unknown" for origin in origins)),
        },
        "masked": {
            kind.value: count
            for kind, token in TOKENS.items()
            if (count := sum(petition.text.count(token) for petition in petitions))
        },
    }


def card_text(card: Mapping[str, Any]) -> str:
    """The card as a page."""
    counts = card["counts"]
    lines = [
        f"# Labelled petitions {card['name']}",
        "",
        "Personal data: masked, but stories of real people. Not for publication, not for anyone who may not read petitions.",
        "",
        "| part | petitions | received | sha256 |",
        "|---|---|---|---|",
        *(
            f"| {side} | {part['count']:,} | {' to '.join(card['periods'][side] or ['unknown'])} | `{part['sha256'][:12]}` |"
            for side, part in card["petitions"].items()
        ),
        "",
        f"Content: `{card['sha256']}`. Taxonomy {card['taxonomy']['version']}. {card['groups']:,} stories, none on two sides; "
        "a story of the test set stays in it in every later release.",
        "",
        f"From: {', '.join(f'{name} {value}' for name, value in card['source'].items())}.",
        "",
        f"Labels: {card['one_reader']:,} by one reader alone, {card['bulk']:,} given to many petitions at once, "
        f"{card['unsure']:,} by a reader who was not sure; {card['conflicts']:,} on which two readers differ and nobody "
        "decided (`conflicts.jsonl`, in no part). Whoever reads first sees what the model suggests: agreement with the "
        "model reads higher than it is. Annotators are pseudonyms: a keyed hash of the name, whose key lies beside the releases.",
        "",
        f"Masked by rules, which miss some: {_listed(card['masked'])}.",
    ]
    for name in ("category", "urgency", "petition_type", "annotator", "month", "commune"):
        lines += ["", f"**{name}**: {_listed(counts[name])}"]
    return "\n".join(lines) + "\n"


def period(origins: Iterable[Mapping[str, Any]]) -> list[str] | None:
    """First and last day of receipt, as ISO dates; None where no row is dated."""
    days = sorted(origin["received_at"] for origin in origins if origin.get("received_at"))
    return [days[0], days[-1]] if days else None


def _counted(values: Iterable[str]) -> dict[str, int]:
    counter = Counter(values)
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))


def _grouped(counts: Mapping[str, int]) -> dict[str, int]:
    rare = sum(count for count in counts.values() if count < _LEAST)
    return {
        **{name: count for name, count in counts.items() if count >= _LEAST},
        **({_ELSEWHERE: rare} if rare else {}),
    }


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"
