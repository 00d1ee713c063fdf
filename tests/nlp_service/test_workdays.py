"""Periods in working time. What is due when was counted on paper calendars, never with the code."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import holidays
import pytest

from nlp_service.workdays import WorkingCalendar, load_calendar

DATASETS = Path(__file__).resolve().parents[2] / "datasets"
OFFICE_HOURS = ((time(7, 30), time(11, 30)), (time(13, 30), time(17, 0)))


@pytest.fixture(scope="module")
def calendar() -> WorkingCalendar:
    return load_calendar(DATASETS / "holidays.yaml", OFFICE_HOURS)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+07:00")


@pytest.mark.parametrize(
    ("day", "working"),
    [
        ("2025-01-24", True),  # Friday before Tết
        ("2025-01-27", False),
        ("2025-01-31", False),
        ("2025-02-03", True),
        ("2025-04-07", False),  # Giỗ Tổ Hùng Vương, 10/3 by the moon
        ("2025-04-26", True),  # Saturday worked for 2 May
        ("2025-05-02", False),
        ("2025-05-03", False),
        ("2025-09-01", False),
        ("2026-01-02", False),  # the package does not know this swap
        ("2026-01-10", True),
        ("2026-01-17", False),  # any Saturday
        ("2026-02-16", False),
        ("2026-02-20", False),
        ("2026-02-23", True),
        ("2026-04-27", False),  # Giỗ Tổ on Sunday 26, made up
        ("2026-08-22", True),
        ("2026-08-31", False),
        ("2026-11-24", False),  # Ngày Văn hóa Việt Nam
        ("2025-11-24", True),  # not yet in 2025
        ("2026-11-23", True),  # a swap is proposed, not decided
        ("2026-11-28", False),
        ("2019-01-05", True),
        ("2019-04-29", False),
    ],
)
def test_days_off_and_worked(calendar: WorkingCalendar, day: str, working: bool) -> None:
    assert calendar.is_working(date.fromisoformat(day)) is working


WORKING_DAYS = [
    # received, working days, last day
    ("2025-03-03 09:00", 1, "2025-03-04"),  # Monday
    ("2025-03-07 17:05", 1, "2025-03-10"),  # Friday after hours
    ("2025-03-07 17:05", 10, "2025-03-21"),
    ("2025-03-08 10:00", 1, "2025-03-10"),  # Saturday
    ("2025-03-09 23:59", 1, "2025-03-10"),  # Sunday night
    ("2025-03-10 00:01", 1, "2025-03-11"),  # two minutes later the day itself is not counted
    # Tết 2025: 25 January to 2 February
    ("2025-01-24 16:00", 1, "2025-02-03"),
    ("2025-01-23 08:00", 3, "2025-02-04"),
    ("2025-01-29 08:00", 1, "2025-02-03"),  # mùng một
    ("2025-01-20 08:00", 10, "2025-02-10"),
    # Giỗ Tổ Hùng Vương 2025, a Monday
    ("2025-04-04 10:00", 1, "2025-04-08"),
    ("2025-04-03 10:00", 5, "2025-04-11"),
    # 30/4 and 1/5/2025, Friday 2 May off, Saturday 26 April worked
    ("2025-04-25 15:00", 1, "2025-04-26"),
    ("2025-04-25 15:00", 3, "2025-04-29"),
    ("2025-04-25 15:00", 4, "2025-05-05"),
    ("2025-04-29 17:30", 1, "2025-05-05"),
    ("2025-05-02 09:00", 1, "2025-05-05"),
    # 2/9/2025
    ("2025-08-29 09:00", 1, "2025-09-03"),
    ("2025-09-02 09:00", 2, "2025-09-04"),
    # New Year 2026: 1 to 4 January off, Saturday 10 January worked
    ("2025-12-31 16:00", 1, "2026-01-05"),
    ("2025-12-31 16:00", 6, "2026-01-10"),
    ("2025-12-31 16:00", 7, "2026-01-12"),
    # Tết 2026: 14 to 22 February
    ("2026-02-13 16:59", 1, "2026-02-23"),
    ("2026-02-10 09:00", 7, "2026-02-26"),
    ("2026-02-14 09:00", 2, "2026-02-24"),
    # Giỗ Tổ 2026 made up on Monday 27 April; 30 April and 1 May a Thursday and a Friday
    ("2026-04-24 09:00", 1, "2026-04-28"),
    ("2026-04-24 09:00", 3, "2026-05-04"),
    # 2/9/2026: 29 August to 2 September off, Saturday 22 August worked
    ("2026-08-21 09:00", 1, "2026-08-22"),
    ("2026-08-21 09:00", 7, "2026-09-03"),
    ("2026-08-31 09:00", 1, "2026-09-03"),
    # Ngày Văn hóa Việt Nam, a Tuesday
    ("2026-11-23 09:00", 1, "2026-11-25"),
    # earlier years
    ("2024-02-07 09:00", 1, "2024-02-15"),
    ("2024-04-26 09:00", 1, "2024-05-02"),
    ("2024-04-26 09:00", 3, "2024-05-04"),
    ("2023-01-19 09:00", 1, "2023-01-27"),
    ("2023-04-28 09:00", 1, "2023-05-04"),
    ("2023-08-31 09:00", 1, "2023-09-05"),
    ("2022-08-31 09:00", 1, "2022-09-05"),
    ("2021-02-09 09:00", 1, "2021-02-17"),
    ("2020-01-22 09:00", 1, "2020-01-30"),
    ("2019-02-01 09:00", 1, "2019-02-11"),
    ("2019-01-04 09:00", 1, "2019-01-05"),
]

CALENDAR_DAYS = [
    # received, days, last day
    ("2025-03-03 09:00", 10, "2025-03-13"),
    ("2025-03-05 09:00", 10, "2025-03-17"),  # ends on a Saturday
    ("2025-01-16 09:00", 10, "2025-02-03"),  # ends on Sunday 26 January, Tết follows
    ("2026-01-28 09:00", 30, "2026-02-27"),  # across Tết: its days count
    ("2026-01-16 09:00", 30, "2026-02-23"),  # ends inside Tết
    ("2025-04-16 09:00", 10, "2025-04-26"),  # ends on a Saturday worked
    ("2025-04-22 09:00", 10, "2025-05-05"),  # ends on the swapped Friday
    ("2025-08-02 09:00", 30, "2025-09-03"),
    ("2025-12-22 09:00", 10, "2026-01-05"),
    ("2025-12-31 09:00", 10, "2026-01-10"),
    ("2026-10-25 09:00", 30, "2026-11-25"),
    ("2026-07-23 09:00", 30, "2026-08-22"),
    ("2026-07-24 09:00", 30, "2026-08-24"),
    ("2026-03-27 09:00", 30, "2026-04-28"),
    ("2024-02-01 09:00", 30, "2024-03-04"),  # 29 days in that February
]

WORKING_HOURS = [
    # received, office hours, due
    ("2025-03-03 08:00", 8, "2025-03-04 08:30"),
    ("2025-03-03 07:00", 4, "2025-03-03 11:30"),
    ("2025-03-03 07:30", 7.5, "2025-03-03 17:00"),
    ("2025-03-03 12:00", 1, "2025-03-03 14:30"),
    ("2025-03-03 11:30", 1, "2025-03-03 14:30"),
    ("2025-03-03 17:00", 1, "2025-03-04 08:30"),
    ("2025-03-07 17:05", 8, "2025-03-11 08:00"),
    ("2025-03-07 16:00", 8, "2025-03-10 16:30"),
    ("2025-03-09 23:00", 0.5, "2025-03-10 08:00"),
    ("2025-03-11 02:15", 8, "2025-03-12 08:00"),
    ("2025-01-24 16:30", 1, "2025-02-03 08:00"),
    ("2025-04-25 16:30", 2, "2025-04-26 09:00"),
    ("2025-04-30 09:00", 8, "2025-05-06 08:00"),
    ("2025-12-31 16:00", 2, "2026-01-05 08:30"),
]


@pytest.mark.parametrize(("received", "n", "last"), WORKING_DAYS)
def test_working_days(calendar: WorkingCalendar, received: str, n: int, last: str) -> None:
    assert calendar.add_working_days(at(received), n) == at(f"{last} 23:59:59")


@pytest.mark.parametrize(("received", "n", "last"), CALENDAR_DAYS)
def test_calendar_days(calendar: WorkingCalendar, received: str, n: int, last: str) -> None:
    assert calendar.add_calendar_days(at(received), n) == at(f"{last} 23:59:59")


@pytest.mark.parametrize(("received", "hours", "due"), WORKING_HOURS)
def test_working_hours(calendar: WorkingCalendar, received: str, hours: float, due: str) -> None:
    assert calendar.add_working_hours(at(received), hours) == at(due)


def test_the_day_is_vietnams_whatever_zone_the_moment_is_given_in(calendar: WorkingCalendar) -> None:
    monday_evening = datetime(2025, 3, 3, 18, tzinfo=UTC)  # 01:00 on Tuesday in Vietnam
    due = calendar.add_working_days(monday_evening, 1)
    assert (due.date(), due.utcoffset()) == (date(2025, 3, 5), timedelta(hours=7))
    assert calendar.add_working_days(date(2025, 3, 3), 1).date() == date(2025, 3, 4)


@pytest.mark.parametrize(
    "add",
    [
        lambda c: c.add_working_days(datetime(2025, 3, 3), 1),
        lambda c: c.add_calendar_days(datetime(2025, 3, 3), 1),
        lambda c: c.add_working_hours(datetime(2025, 3, 3), 1),
    ],
)
def test_a_moment_needs_a_time_zone(calendar: WorkingCalendar, add: Callable[[WorkingCalendar], datetime]) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        add(calendar)


@pytest.mark.parametrize(
    "add",
    [
        lambda c: c.add_working_days(date(2025, 3, 3), 0),
        lambda c: c.add_calendar_days(date(2025, 3, 3), -1),
        lambda c: c.add_working_hours(datetime(2025, 3, 3, tzinfo=UTC), 0),
    ],
)
def test_a_period_has_a_length(calendar: WorkingCalendar, add: Callable[[WorkingCalendar], datetime]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        add(calendar)


def test_decided_years_are_certain_others_are_estimated(calendar: WorkingCalendar) -> None:
    assert calendar.certain(date(2026, 2, 16))
    assert calendar.certain(date(2019, 1, 1), date(2026, 11, 22))
    assert not calendar.certain(date(2026, 11, 20), date(2026, 11, 25))  # the proposed swap of the 23rd
    assert not calendar.certain(date(2026, 12, 30), date(2027, 1, 4))
    assert not calendar.is_working(date(2027, 2, 8))  # mùng ba Tết Đinh Mùi, from the package
    assert not calendar.is_working(date(2027, 9, 2))


def test_the_package_agrees_with_the_decisions_but_for_one_swap(calendar: WorkingCalendar) -> None:
    """Two sources, typed independently: a slip in either shows."""
    differing = set()
    for year in range(2019, 2027):
        package = holidays.country_holidays("VN", years=year)
        for day in (date(year, 1, 1) + timedelta(days=i) for i in range(366)):
            working = day not in package if day.weekday() < 5 else day in package.weekend_workdays
            if day.year == year and working is not calendar.is_working(day):
                differing.add(day.isoformat())
    assert differing <= {"2026-01-02", "2026-01-10"}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{name: Tết, source: Quyết định, checked: true, days_off: [2025-01-25]}", "2025-01-25 is a Saturday"),
        ("{name: Tết, source: Quyết định, checked: true, days_worked: [2025-01-24]}", "2025-01-24 is a Friday"),
        ("{name: Tết, source: Quyết định, checked: true, days_off: [2026-01-26]}", "no date of that year"),
        ("{name: Tết, source: Quyết định, checked: true, days_off: [27/1]}", "'27/1' is no date"),
        (
            "{name: Tết, source: Quyết định, checked: true, days_off: [2025-01-27, 2025-01-27]}",
            "2025-01-27 is given twice",
        ),
        ("{name: Tết, source: Quyết định, checked: true}", "2025, 'Tết': give days_off"),
        ("{name: Tết, source: '', checked: true, days_off: [2025-01-27]}", "give a source"),
        ("{name: Tết, source: Quyết định, checked: 1, days_off: [2025-01-27]}", "checked as true or false"),
        ("{name: Tết, source: Quyết định, days_off: [2025-01-27]}", "an entry needs name, source, checked"),
        ("Tết", "an entry needs name"),
    ],
)
def test_holidays_that_do_not_fit_are_named(tmp_path: Path, entry: str, told: str) -> None:
    path = tmp_path / "holidays.yaml"
    path.write_text(f"years:\n  2025:\n    - {entry}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=told) as caught:
        load_calendar(path, OFFICE_HOURS)
    assert str(path) in str(caught.value)
