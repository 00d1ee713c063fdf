"""The audit log: who did what, and whether the chain is whole."""

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import FastAPI, Form, Query, Request
from fastapi.responses import Response
from sqlalchemy import Connection, select

from nlp_service import audit
from nlp_service.audit_search import Wanted, newest, search
from nlp_service.console import words
from nlp_service.console.access import Auditor
from nlp_service.console.pages import Pages, office
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.sessions import Session
from nlp_service.store import api_keys, snapshot, users
from nlp_service.workdays import VIETNAM

PAGE = 50
MAX_SEQ = 2**63 - 1
FILTERS = ("actor", "action", "petition", "first", "last")

ACTIONS = {
    "job.submit": "Gửi tệp gán nhãn",
    "job.download": "Tải kết quả gán nhãn",
    "job.cancel": "Hủy gán nhãn tệp",
    "petition.received": "Nhận đơn",
    "petition.read": "Đọc nguyên văn",
    "petitions.search": "Tìm trong nội dung đơn",
    "petition.decide": "Quyết định",
    "petition.second_reading": "Đọc lần hai",
    "petition.bulk": "Gán nhãn hàng loạt",
    "petition.status": "Đổi trạng thái",
    "petition.merge": "Gộp đơn",
    "petition.link": "Nối hai đơn",
    "petition.split": "Tách đơn",
    "petition.undo": "Hoàn tác",
    "petition.withdraw_parts": "Rút các phần đã tách",
    "petition.mask": "Che thông tin cá nhân",
    "petition.delete": "Xóa đơn hết hạn lưu",
    "session.opened": "Đăng nhập",
    "session.closed": "Đăng xuất",
    "session.refused": "Đăng nhập sai",
    "user.create": "Tạo người dùng",
    "user.disable": "Khóa người dùng",
    "user.enable": "Mở lại người dùng",
    "user.password": "Đặt lại mật khẩu",
    "key.create": "Tạo khóa API",
    "key.revoke": "Thu hồi khóa API",
    "model.promote": "Đưa mô hình vào dùng",
    "model.rollback": "Quay lại mô hình trước",
}

FIELDS = {
    **words.FIELDS,
    "bytes": "Số byte",
    "report": "Báo cáo",
    "operation": "Thao tác số",
    "zone": "Vùng",
    "lead": "Đơn vị chủ trì",
    "rule": "Quy tắc",
    "rules_version": "Bản quy tắc",
    "model_version": "Mô hình",
    "text_sha256": "Mã băm nội dung",
    "due_at": "Hạn",
    "old": "Cũ",
    "new": "Mới",
    "reason": "Lý do",
    "reasoned": "Có nêu lý do",
    "emergency": "Khẩn cấp",
    "restricted": "Hạn chế xem",
    "queued": "Trong hàng đợi",
    "readings": "Số lần đọc",
    "repeat_of": "Trùng với đơn",
    "into": "Gộp vào đơn",
    "with": "Nối với đơn",
    "parts": "Các phần",
    "role": "Vai trò",
    "bodies": "Đơn vị",
    "communes": "Xã, phường",
    "address": "Từ địa chỉ",
    "from": "Trước đó",
    "forced": "Bỏ qua kiểm định",
    "overridden": "Điều đã bỏ qua",
    "payload": "Dữ liệu",
}

SUBJECTS = {
    "job": "Tệp gán nhãn",
    "user": "Người dùng",
    "key": "Khóa API",
    "model": "Mô hình",
    "petitions": "Nhiều đơn",
}
ACTORS = {"cli": "cli (dòng lệnh trên máy chủ)", "local": "local (tại máy chủ)", "unknown": "unknown (chưa đăng nhập)"}

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}")
_HASH = re.compile(r"[0-9a-f]{64}")


def add_pages(app: FastAPI, pages: Pages) -> None:
    """Add the page of the audit log, and what checks the chain."""

    @app.get("/console/audit", include_in_schema=False)
    def log(
        request: Request, visitor: Auditor, before: Annotated[int | None, Query(ge=1, le=MAX_SEQ)] = None
    ) -> Response:
        return _log(request, visitor, before)

    @app.post("/console/audit/verify", include_in_schema=False)
    def verify(request: Request, visitor: Auditor, head: Annotated[str, Form(max_length=200)] = "") -> Response:
        """Walks the whole chain. Alone for htmx, otherwise above the log."""
        noted = head.strip().lower()
        if noted and not _HASH.fullmatch(noted):
            found: dict[str, Any] = {"refused": "Mã đầu chuỗi gồm đúng 64 ký tự 0–9, a–f. Hãy chép lại cả mã."}
        else:
            with snapshot(request.app.state.engine) as connection:
                found = {"verdict": audit.verify(connection, noted or None)}
            found["problem"] = problem(found["verdict"])
        status = 422 if "refused" in found else 200
        found |= {"noted": noted}
        if "hx-request" in request.headers:
            return pages.show(request, "_verdict.html", visitor, status, **found)
        return _log(request, visitor, None, status, **found)

    def _log(request: Request, visitor: Session, before: int | None, status: int = 200, **more: Any) -> Response:
        given = {name: value.strip() for name, value in request.query_params.items() if value.strip()}
        wanted = read_wanted(given)
        filters = {name: value for name, value in given.items() if name in FILTERS}
        with snapshot(request.app.state.engine) as connection:
            piece = search(connection, wanted, PAGE, before)
            known, total = _actors(connection), newest(connection)
        names = _names(request)
        return pages.show(
            request,
            "audit.html",
            visitor,
            status,
            piece=piece,
            lines=[(line, subject_of(line.subject), list(told(line.payload, names))) for line in piece.lines],
            total=total,
            filters=filters,
            query=urlencode(filters),
            paged=before is not None,
            actions=ACTIONS,
            actors=known,
            actor_names=ACTORS,
            when=when,
            **more,
        )


def read_wanted(given: Mapping[str, str]) -> Wanted:
    """The filter in a page's address.

    Raises:
        PetitionError: INVALID_REQUEST for a number or a day that is none, in Vietnamese.
    """
    petition = given.get("petition", "")
    if petition and not (petition.isascii() and petition.isdigit() and len(petition) < 19):
        raise PetitionError(ErrorKind.INVALID_REQUEST, "Số đơn chỉ gồm chữ số, ví dụ 1024.")
    try:
        first, last = (date.fromisoformat(given[name]) if name in given else None for name in ("first", "last"))
    except ValueError as error:
        raise PetitionError(ErrorKind.INVALID_REQUEST, "Ngày không đúng: hãy chọn ngày trong lịch.") from error
    if last == date.max:
        raise PetitionError(ErrorKind.INVALID_REQUEST, "Ngày không đúng: hãy chọn ngày trong lịch.")
    return Wanted(
        actor=given.get("actor"),
        actions=(given["action"],) if "action" in given else (),
        subject=f"petition:{int(petition)}" if petition else None,
        first=first,
        last=last,
    )


def told(payload: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What a row says, as pairs for people: a change as "old → new", ids by their names."""
    for field, value in payload.items():
        name = FIELDS.get(field, field)
        if isinstance(value, Mapping) and set(value) == {"old", "new"}:
            yield name, f"{_shown(value['old'], names)} → {_shown(value['new'], names)}"
        else:
            yield name, _shown(value, names)


def _shown(value: Any, names: Mapping[str, str]) -> str:
    if value is None or value == "" or value == []:
        return "không có"
    if isinstance(value, bool):
        return "có" if value else "không"
    if isinstance(value, list):
        return ", ".join(_shown(item, names) for item in value)
    if isinstance(value, str):
        return when(value) if _TIME.match(value) else names.get(value, value)
    return str(value)


def when(at: str) -> str:
    """ "25/11/2026 10:05:30", in Vietnam's time; a time that somebody spoilt as it stands."""
    try:
        return datetime.fromisoformat(at).astimezone(VIETNAM).strftime("%d/%m/%Y %H:%M:%S")
    except (ValueError, OverflowError):
        return at


def subject_of(subject: str) -> tuple[str, str | None]:
    """How to call what a row is about, and where it is to be seen, if anywhere."""
    kind, _, name = subject.partition(":")
    if kind == "petition" and name.isascii() and name.isdigit():
        return f"Đơn {name}", f"/console/petitions/{name}"
    return (f"{SUBJECTS[kind]} {name}".strip(), None) if kind in SUBJECTS else (subject, None)


def problem(verdict: audit.Verdict) -> str | None:
    """What is wrong with the chain, in Vietnamese; None if nothing is."""
    if verdict.intact:
        return None
    said, row = verdict.problem or "", verdict.broken_at
    if "is missing" in said:
        return f"Thiếu dòng {row}: có dòng đã bị xóa hoặc đổi số."
    if "does not follow" in said:
        return f"Dòng {row} không nối vào dòng trước nó: có dòng đã bị thay hoặc đổi chỗ."
    if "was changed" in said:
        return f"Dòng {row} đã bị sửa sau khi ghi."
    if "noted head" in said:
        return (
            "Chuỗi tự nó liền mạch nhưng không có mã đã ghi trước đây: hoặc mã chép sai, hoặc cả chuỗi đã bị viết lại."
        )
    return f"Chuỗi dừng ở dòng {verdict.rows}, không khớp với số dòng đã ghi: các dòng cuối đã bị xóa hoặc thêm vào."


def _actors(connection: Connection) -> list[str]:
    """Names to choose from: who may log in or call, not who ever did, which would mean to read the whole log."""
    known = {*connection.scalars(select(users.c.name)), *connection.scalars(select(api_keys.c.name))}
    return [*sorted(known), *(actor for actor in ACTORS if actor not in known)]


def _names(request: Request) -> dict[str, str]:
    rules = office(request).rules
    return {
        **{label.id: label.name for labels in rules.taxonomy.heads.values() for label in labels},
        **rules.routing.bodies,
        **words.STATUSES,
        **words.ZONES,
        **words.ROLES,
        **{unit.code: unit.full_name for unit in rules.gazetteer.units.values()},
    }
