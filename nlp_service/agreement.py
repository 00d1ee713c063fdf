"""How well readers agree: Cohen's kappa over petitions that two of them read apart. Pure, but for `readings`."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from nlp_service.store import reviews

HEADS = ("category", "urgency", "petition_type")


@dataclass(frozen=True)
class Agreement:
    """Of one head.

    Attributes:
        count: petitions with two readings.
        agreed: share of them with the same label; None without any.
        kappa: agreement beyond chance, 1 for perfect, 0 for what chance alone would give (Cohen 1960); None without any,
            or where both readers only ever said one and the same label.
        interval: 95 %, by the large-sample standard error of kappa (Fleiss, Cohen and Everitt 1969, simplified).
    """

    count: int
    agreed: float | None
    kappa: float | None
    interval: tuple[float, float] | None


def agreement(pairs: Sequence[tuple[str, str]]) -> Agreement:
    """Of the labels that a first and a second reader gave the same petitions."""
    count = len(pairs)
    if not count:
        return Agreement(0, None, None, None)
    seen = sum(first == second for first, second in pairs) / count
    firsts, seconds = Counter(first for first, _ in pairs), Counter(second for _, second in pairs)
    chance = sum(firsts[label] * seconds[label] for label in firsts) / count**2
    if chance == 1:
        return Agreement(count, seen, None, None)
    kappa = (seen - chance) / (1 - chance)
    error = math.sqrt(seen * (1 - seen) / count) / (1 - chance)
    return Agreement(count, seen, kappa, (max(-1.0, kappa - 1.96 * error), min(1.0, kappa + 1.96 * error)))


def readings(connection: Connection) -> dict[str, list[tuple[str, str]]]:
    """First and second label of every petition that was read twice, by head."""
    second = reviews.alias()
    rows = connection.execute(
        select(
            *(reviews.c[head].label(f"first_{head}") for head in HEADS),
            *(second.c[head].label(f"second_{head}") for head in HEADS),
        )
        .join(second, second.c.petition_id == reviews.c.petition_id)
        .where(
            reviews.c.reading == 1,
            second.c.reading == 2,
            reviews.c.withdrawn_at.is_(None),
            second.c.withdrawn_at.is_(None),
            reviews.c.bulk.is_(False),
        )
    ).mappings()
    pairs: dict[str, list[tuple[str, str]]] = {head: [] for head in HEADS}
    row: Any
    for row in rows:
        for head in HEADS:
            pairs[head].append((row[f"first_{head}"], row[f"second_{head}"]))
    return pairs
