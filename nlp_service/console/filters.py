"""A filter of petitions as pages carry it: labels, places and days in an address; words in a form that is sent, never in an
address, for they may be names."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from nlp_service.casework import Due, Filter, Status
from nlp_service.console.words import STATUSES
from nlp_service.search import query_words
from nlp_service.triage import Rules
from nlp_service.workdays import VIETNAM

FIELDS = {
    "category": "Lĩnh vực",
    "urgency": "Mức khẩn",
    "petition_type": "Loại đơn",
    "status": "Trạng thái",
    "commune": "Xã, phường",
    "body": "Đơn vị",
    "due": "Hạn",
    "received_from": "Nhận từ ngày",
    "received_to": "đến hết ngày",
}
"""Fields of a filter that may stand in an address, with their names."""

DUES = {Due.OVERDUE.value: "quá hạn", Due.SOON.value: "còn dưới hai ngày"}

LONGEST_WORDS = 200
OLDEST, NEWEST = date(1990, 1, 1), date(2100, 1, 1)

_DAY = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})", re.ASCII)


@dataclass(frozen=True)
class Asked:
    """What somebody looks for.

    Attributes:
        typed: field -> value as it was typed, `words` among them; without what was left empty.
        wanted: what it means.
        problems: Vietnamese, on fields that mean nothing. While there is one, `wanted` is less narrow than what was meant:
            nothing may be looked for by it, let alone done.
    """

    typed: dict[str, str]
    wanted: Filter
    problems: tuple[str, ...]

    @property
    def query(self) -> str:
        """For an address, without `?` and without the words."""
        return urlencode({name: value for name, value in self.typed.items() if name in FIELDS})


def asked(given: Mapping[str, Any], rules: Rules) -> Asked:
    """Read a filter from an address or a form; fields that are not a filter's are passed over."""
    typed = {name: str(given[name]).strip() for name in (*FIELDS, "words") if str(given.get(name) or "").strip()}
    problems: list[str] = []

    def read(name: str, meaning: Callable[[str], Any]) -> Any:
        if name not in typed:
            return None
        try:
            return meaning(typed[name])
        except ValueError as error:
            problems.append(str(error))
            return None

    taxonomy = rules.taxonomy
    category = read("category", _one_of("category", {label.id for label in taxonomy.categories}))
    status = read("status", _one_of("status", set(STATUSES)))
    due = read("due", _one_of("due", set(DUES)))
    first, last = read("received_from", _day), read("received_to", _day)
    if first and last and first > last:
        problems.append("“Nhận từ ngày” ở sau “đến hết ngày”: hãy sửa một trong hai.")
    wanted = Filter(
        commune=read("commune", _one_of("commune", set(rules.gazetteer.units))),
        categories=(category,) if category else (),
        urgency=read("urgency", _one_of("urgency", {label.id for label in taxonomy.urgency_levels})),
        petition_type=read("petition_type", _one_of("petition_type", {label.id for label in taxonomy.petition_types})),
        body=read("body", _one_of("body", set(rules.routing.bodies))),
        statuses=(Status(status),) if status else (),
        due=Due(due) if due else None,
        received_from=_midnight(first) if first else None,
        received_to=_midnight(last + timedelta(days=1)) if last else None,
        words=read("words", _words),
    )
    return Asked(typed, wanted, tuple(problems))


def _one_of(field: str, known: set[str]) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in known:
            raise ValueError(f"“{FIELDS[field]}”: không có lựa chọn này nữa, hãy chọn lại trong danh sách.")
        return value

    return read


def _day(value: str) -> date:
    """A browser's 2026-11-25, or 25/11/2026 where the browser has no calendar to choose from."""
    written = _DAY.fullmatch(value)
    try:
        found = date(int(written[3]), int(written[2]), int(written[1])) if written else date.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or not OLDEST <= found < NEWEST:
        raise ValueError("Ngày nhận không đúng: hãy nhập như 25/11/2026.")
    return found


def _words(value: str) -> str:
    if len(value) > LONGEST_WORDS:
        raise ValueError(f"Lời cần tìm dài {len(value)} ký tự, nhiều nhất {LONGEST_WORDS}: hãy bớt đi.")
    if not query_words(value):
        raise ValueError("Chưa có chữ nào để tìm: hãy nhập ít nhất một chữ hoặc số.")
    return value


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), VIETNAM)
