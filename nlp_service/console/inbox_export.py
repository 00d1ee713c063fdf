"""An inbox as a file for Excel. No cell can be a formula, whatever a petition or another system's code begins with."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nlp_service import tables
from nlp_service.tables import Row, Table, write_table
from nlp_service.workdays import VIETNAM

MEDIA_TYPES = {kind: tables.MEDIA_TYPES[f".{kind}"] for kind in ("csv", "xlsx")}

COLUMNS = (
    "Số đơn",
    "Mã đơn",
    "Hạn",
    "Trạng thái",
    "Vai trò",
    "Khẩn cấp",
    "Lĩnh vực",
    "Mức khẩn",
    "Loại đơn",
    "Xã, phường",
    "Chủ trì",
    "Nhận lúc",
    "Nội dung (đã che thông tin cá nhân)",
)

_BEGINS_A_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def export(kind: str, items: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> bytes:
    """The file.

    Args:
        kind: csv or xlsx.
        items: as `Inbox.page` gives them.
        names: Vietnamese names of labels, statuses and parts, by id.
    """
    # XLSX keeps text as text by its type; CSV has no types, there an apostrophe keeps it.
    guard = _inert if kind == "csv" else lambda value: value

    def rows(only: object) -> Iterator[Row]:
        for item in items:
            yield Row({name: guard(value) for name, value in zip(COLUMNS, _cells(item, names), strict=True)})

    with TemporaryDirectory() as directory:
        path, scratch = Path(directory) / f"inbox.{kind}", Path(directory) / "scratch"
        scratch.mkdir()
        write_table(path, Table(path, COLUMNS, len(items), rows), {}, [()] * len(items), scratch)
        return path.read_bytes()


def _cells(item: Mapping[str, Any], names: Mapping[str, str]) -> tuple[Any, ...]:
    return (
        item["id"],
        item["external_id"],
        _local(item["due_at"]),
        names[item["status"]],
        names[item["part"]],
        "có" if item["emergency"] else None,
        *(names.get(item[head], item[head]) for head in ("category", "urgency", "petition_type")),
        item["place"]["commune"],
        item["lead"]["name"],
        _local(item["received_at"]),
        item["excerpt"],
    )


def _local(value: str) -> datetime:
    """Vietnam's time without its zone: cells know none."""
    return datetime.fromisoformat(value).astimezone(VIETNAM).replace(tzinfo=None, microsecond=0)


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_BEGINS_A_FORMULA) else value
