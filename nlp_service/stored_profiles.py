"""Profiles of stored petitions, by week or commune. Rows stream: only counts are held.

Counted is what one model said when a petition came in, whatever people said afterwards and later models on reading it again.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta

from sqlalchemy import Connection, and_, select

from nlp_service.profile import Knows, Profile
from nlp_service.store import petitions, predictions

BY = ("week", "commune")
_BLOCK = 500


@dataclass
class Stored:
    """Petitions received in some time.

    Attributes:
        groups: by week ("2026-W47", of receipt, UTC) or by code of the commune ("-" without one).
        repeats: left out, since a letter sent fifty times is one reason to write, not fifty.
        others: left out, since another model answered them.
    """

    groups: dict[str, Profile] = field(default_factory=dict)
    repeats: int = 0
    others: int = 0


def stored_profiles(
    connection: Connection, model_version: str, since: datetime, until: datetime, by: str, knows: Knows | None
) -> Stored:
    """Petitions received from `since` to before `until`.

    Args:
        by: one of BY.
        knows: as `Profile.add` takes it.
    """
    # What a model said at intake has the petition's own moment, what was read again a later one.
    at_intake = and_(predictions.c.petition_id == petitions.c.id, predictions.c.at == petitions.c.created_at)
    rows = connection.execute(
        select(
            *(petitions.c[name] for name in ("received_at", "commune_code", "repeat_of", "masked_at", "text")),
            *(predictions.c[name] for name in ("model_version", "category", "category_probability")),
        )
        .join(predictions, at_intake)
        .where(
            petitions.c.emergency.in_((True, False)),  # the index of times begins with it
            petitions.c.received_at >= since,
            petitions.c.received_at < until,
        )
        .execution_options(yield_per=_BLOCK)
    )
    found = Stored()
    for row in rows:
        if row.model_version != model_version:
            found.others += 1
        elif row.repeat_of is not None:
            found.repeats += 1
        else:
            group = week_of(row.received_at) if by == "week" else row.commune_code or "-"
            text = row.text if row.masked_at is None else None
            profile = found.groups.setdefault(group, Profile())
            profile.add(row.category, row.category_probability, text, knows)
    return found


def week_of(moment: datetime) -> str:
    """ISO week: "2026-W47"."""
    year, week, _ = moment.isocalendar()
    return f"{year}-W{week:02d}"


def monday(moment: datetime) -> datetime:
    """When the ISO week of an aware moment began, UTC."""
    day = moment.astimezone(UTC).date()
    return datetime.combine(day - timedelta(days=day.weekday()), time(), UTC)
