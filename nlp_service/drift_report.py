"""`petitions report drift`: stored petitions of the last weeks beside the model's reference, an earlier time, or each other."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from nlp_service.bundle import Bundle
from nlp_service.drift import Finding, Verdict, judge
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.profile import Knows, Profile, joined
from nlp_service.reference import REFERENCE_FILE, Reference, read_reference
from nlp_service.stored_profiles import monday, stored_profiles

Period = tuple[datetime, datetime]
"""From the first moment to before the second."""


@dataclass(frozen=True)
class DriftReport:
    """What has changed.

    Attributes:
        against: in words, what the petitions are compared with.
        repeats, others: petitions left out, see `Stored`.
    """

    model_version: str
    since: datetime
    until: datetime
    by: str
    against: str
    findings: list[Finding]
    repeats: int
    others: int

    @property
    def drifting(self) -> bool:
        """Whether anything is."""
        return any(finding.verdict is Verdict.DRIFTING for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "model_version": self.model_version,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "by": self.by,
            "against": self.against,
            "drifting": self.drifting,
            "left_out": {"repeats": self.repeats, "other_models": self.others},
            "findings": [finding.as_dict() for finding in self.findings],
        }


def drift_report(
    connection: Connection,
    bundle: Bundle,
    knows: Knows | None,
    now: datetime,
    weeks: int = 8,
    by: str = "week",
    against: Period | None = None,
) -> DriftReport:
    """Petitions of the last `weeks` weeks, the one that runs included, by week or commune.

    Args:
        connection: a `store.snapshot`.
        knows: words of the model's training petitions; None if it keeps none.
        against: an earlier time; without it weeks are compared with the model's reference.json, a commune with all others.

    Raises:
        PetitionError: INVALID_REQUEST for a time that is none or runs into the weeks, NOT_FOUND without reference.json,
            INVALID_MODEL for one that does not fit.
    """
    version = bundle.manifest.version
    since = monday(now) - timedelta(weeks=weeks - 1)
    if against and not against[0] < against[1] <= since:
        raise PetitionError(
            ErrorKind.INVALID_REQUEST,
            f"--against is {_told(against)}, which is no time before the weeks looked at (since {since:%Y-%m-%d}); "
            "end it earlier, or look at fewer --weeks",
        )
    reference = _reference(bundle) if by == "week" and against is None else None

    recent = stored_profiles(connection, version, since, now, by, knows)
    groups = dict(sorted(recent.groups.items()))
    if against:
        told = f"{_told(against)}{', the same commune' if by == 'commune' else ''}"
        earlier = stored_profiles(connection, version, *against, by, knows).groups
        whole = joined(earlier.values())
        pairs = {
            group: (profile, whole if by == "week" else earlier.get(group, Profile()))
            for group, profile in groups.items()
        }
    elif reference:
        told = f"{reference.petitions} petitions that the model was not trained on ({reference.part})"
        pairs = {group: (profile, reference.profile) for group, profile in groups.items()}
    else:
        told = "all others of the same weeks"
        whole = joined(groups.values())
        pairs = {group: (profile, whole - profile) for group, profile in groups.items()}
    return DriftReport(version, since, now, by, told, judge(pairs), recent.repeats, recent.others)


def _reference(bundle: Bundle) -> Reference:
    found = read_reference(bundle)
    if found is None:
        raise PetitionError(
            ErrorKind.NOT_FOUND,
            f"{bundle.directory} has no {REFERENCE_FILE}; run petitions-train reference {bundle.directory}, or compare with "
            "an earlier time: --against YYYY-MM-DD:YYYY-MM-DD",
        )
    return found


def _told(period: Period) -> str:
    return f"{period[0]:%Y-%m-%d} to {period[1] - timedelta(days=1):%Y-%m-%d}"
