"""What the service watches by itself: how right the model is at the desk, and whether last week's petitions have changed.

Looked up in the background now and then; /metrics and the console read what was found last, so that neither costs anything.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from nlp_service import live
from nlp_service.drift import Finding, Verdict, judge
from nlp_service.errors import PetitionError
from nlp_service.office import Office
from nlp_service.profile import Profile, joined
from nlp_service.reference import read_reference
from nlp_service.store import snapshot
from nlp_service.stored_profiles import monday, stored_profiles, week_of

log = logging.getLogger(__name__)

EVERY_S = 900.0
DESK_DAYS = 28
WEEKS_BEFORE = 8
"""Complete weeks before the last one, with which it is compared."""

REFERENCE, BEFORE = "reference", "before"
"""What last week is compared with: the model's reference.json, the weeks before."""

_WEEK = timedelta(weeks=1)


@dataclass(frozen=True)
class Seen:
    """What was found at one time.

    Attributes:
        desk: first readings of the last 28 days.
        begins: the last complete week.
        drift: its findings, by what it is compared with; without REFERENCE for a model that has none.
    """

    model_version: str
    desk: live.Desk
    begins: datetime
    drift: dict[str, list[Finding]]


class Watch(Collector):
    """Looks every quarter of an hour, from `start` to `close`; the metrics of what was seen last.

    Args:
        office: which one answers.

    Attributes:
        seen: None before the first look.
    """

    def __init__(
        self, engine: Engine, office: Callable[[], Office], clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.seen: Seen | None = None
        self._engine = engine
        self._office = office
        self._clock = clock
        self._weeks: dict[tuple[str, datetime], Profile] = {}
        self._day: date | None = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Look for the first time; returns at once."""
        self._thread.start()

    def wake(self) -> None:
        """Look again soon: another model answers."""
        self._wake.set()

    def close(self) -> None:
        """End, after the week at hand."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Look now."""
        office, now = self._office(), self._clock()
        version = office.version
        with self._engine.connect() as connection:
            desk = live.desk(connection, version, now - timedelta(days=DESK_DAYS))
        last = monday(now) - _WEEK
        # Petitions of the last week may still come in; the weeks before are read once a day.
        self._weeks.pop((version, last), None)
        if self._day != now.date():
            self._weeks, self._day = {}, now.date()
        profiles: list[Profile] = []
        for number in range(WEEKS_BEFORE + 1):
            if self._closing.is_set():
                return
            profiles.append(self._week(office, last - number * _WEEK))
        week = week_of(last)
        drift = {BEFORE: judge({week: (profiles[0], joined(profiles[1:]))})}
        reference = self._reference(office)
        if reference is not None:
            drift[REFERENCE] = judge({week: (profiles[0], reference)})
        self.seen = Seen(version, desk, last, drift)

    def _week(self, office: Office, begins: datetime) -> Profile:
        key = (office.version, begins)
        if key not in self._weeks:
            linear = office.classifier.linear
            knows = linear.knows if linear else None
            with snapshot(self._engine) as connection:
                found = stored_profiles(connection, office.version, begins, begins + _WEEK, "week", knows)
            self._weeks[key] = joined(found.groups.values())
        return self._weeks[key]

    def _reference(self, office: Office) -> Profile | None:
        try:
            found = read_reference(office.classifier.bundle)
        except PetitionError as error:
            log.warning("drift is not measured from the model's reference: %s", error.message)
            return None
        return found.profile if found else None

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            try:
                self.look()
            except Exception as error:  # the store may be away for a while; what was seen last stands
                log.warning("live accuracy and drift could not be looked up (%s)", type(error).__name__)
            self._wake.wait(EVERY_S)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """For Prometheus. What there are no petitions for is left out."""
        seen = self.seen
        readings = GaugeMetricFamily(
            "petitions_live_readings",
            f"First readings of the model's answers, last {DESK_DAYS} days",
            labels=["head", "zone"],
        )
        kept = GaugeMetricFamily("petitions_live_kept", "Those of them that kept the answer", labels=["head", "zone"])
        accuracy = GaugeMetricFamily(
            "petitions_live_accuracy",
            "Share of first readings that kept the answer, all zones, with its 95 % interval",
            labels=["head", "bound"],
        )
        far = GaugeMetricFamily(
            "petitions_drift",
            "PSI of the last complete week's petitions, less what chance would give",
            labels=["feature", "against"],
        )
        drifting = GaugeMetricFamily(
            "petitions_drifting", "1 if that is far and not by chance", labels=["feature", "against"]
        )
        for group in seen.desk.single if seen else ():
            for head, rate in group.heads.items():
                if group.zone is not None:
                    readings.add_metric([head, group.zone], rate.count)
                    kept.add_metric([head, group.zone], rate.hits)
                elif rate.value is not None:
                    for bound, value in (
                        ("value", rate.value),
                        ("lower", rate.interval[0]),
                        ("upper", rate.interval[1]),
                    ):
                        accuracy.add_metric([head, bound], value)
        for against, findings in seen.drift.items() if seen else ():
            for found in findings:
                if found.psi is not None:
                    far.add_metric([found.feature, against], found.psi)
                    drifting.add_metric([found.feature, against], found.verdict is Verdict.DRIFTING)
        yield from (readings, kept, accuracy, far, drifting)
