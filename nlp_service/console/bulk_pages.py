"""One label for many petitions: chosen by a filter, looked at before it is done."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response
from sqlalchemy import case, func, or_, select

from nlp_service.bulk import MOST, Preview
from nlp_service.casework import Filter, scope
from nlp_service.console import words
from nlp_service.console.access import Handler
from nlp_service.console.desk_pages import choices
from nlp_service.console.filters import asked
from nlp_service.console.pages import Pages, office
from nlp_service.desk import DECIDABLE, Verdict
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.roles import Principal
from nlp_service.routing import COMPLAINT, DENUNCIATION
from nlp_service.sessions import Session
from nlp_service.store import petitions, snapshot
from nlp_service.taxonomy import EMERGENCY

LABELS = {"new_category": "category", "new_urgency": "urgency", "new_type": "petition_type"}
"""Field of the form -> field of the verdict."""


@dataclass(frozen=True)
class Stakes:
    """Petitions among many which ought to be read one by one: a label that is wrong does harm there."""

    emergencies: int
    legal: int

    def __bool__(self) -> bool:
        return bool(self.emergencies or self.legal)


def add_pages(app: FastAPI, pages: Pages) -> None:
    """Add the page of bulk decisions."""

    @app.get("/console/bulk", include_in_schema=False)
    def empty(request: Request, visitor: Handler, done: int | None = None) -> Response:
        given = {name: value for name, value in request.query_params.items() if name != "words"}
        return _page(request, visitor, given, done=done)

    @app.post("/console/bulk", include_in_schema=False)
    async def bulk(request: Request, visitor: Handler) -> Response:
        """`act`: preview, apply, or nothing: then the filter comes from another page."""
        form = dict((await request.form()).items())
        acts = {"preview": _preview, "apply": _apply}
        return await run_in_threadpool(acts.get(str(form.get("act")), _page), request, visitor, form)

    def _preview(
        request: Request, visitor: Session, form: Mapping[str, Any], *told: str, status: int = 200
    ) -> Response:
        wish = asked(form, office(request).rules)
        problems = [*told, *wish.problems, *_problems(request, form)]
        if len(problems) > len(told):
            return _page(request, visitor, form, problems, status=422)
        try:
            preview = office(request).bulk.preview(visitor.principal, wish.wanted, _verdict(form))
        except PetitionError as error:
            if error.kind is not ErrorKind.BATCH_TOO_LARGE:
                raise
            many = f"Bộ lọc này tìm thấy nhiều hơn {words.number(MOST)} đơn, quá nhiều cho một lần: hãy lọc hẹp hơn."
            return _page(request, visitor, form, [*told, many], status=error.http_status)
        stakes = _stakes(request, visitor.principal, wish.wanted)
        return _page(request, visitor, form, problems, preview, stakes, status)

    def _apply(request: Request, visitor: Session, form: Mapping[str, Any]) -> Response:
        wish = asked(form, office(request).rules)
        if wish.problems or _problems(request, form):
            return _preview(request, visitor, form, status=422)
        if not form.get("aware") and _stakes(request, visitor.principal, wish.wanted):
            unaware = "Chưa ghi gì: trong đó có đơn cần đọc riêng. Hãy xem cảnh báo và đánh dấu nếu vẫn làm."
            return _preview(request, visitor, form, unaware, status=422)
        token, request_id = str(form.get("token", "")), str(form.get("request_id", ""))[:64] or None
        try:
            outcome = office(request).bulk.apply(visitor.principal, wish.wanted, _verdict(form), token, request_id)
        except PetitionError as error:
            if error.kind not in (ErrorKind.CONFLICT, ErrorKind.BATCH_TOO_LARGE, ErrorKind.INVALID_REQUEST):
                raise
            return _preview(request, visitor, form, _conflict(error), status=error.http_status)
        query = f"{wish.query}&" if wish.query else ""
        return RedirectResponse(f"/console/bulk?{query}done={outcome.id}", 303)

    def _page(
        request: Request,
        visitor: Session,
        form: Mapping[str, Any],
        problems: list[str] | None = None,
        preview: Preview | None = None,
        stakes: Stakes | None = None,
        status: int = 200,
        done: int | None = None,
    ) -> Response:
        wish = asked(form, office(request).rules)
        chosen = {name: str(form.get(name) or "") for name in (*LABELS, "confirm")}
        page = pages.show(
            request,
            "bulk.html",
            visitor,
            status,
            asked=wish,
            chosen=chosen,
            problems=wish.problems if problems is None else problems,
            preview=preview,
            stakes=stakes,
            calmed=chosen["new_urgency"] not in ("", EMERGENCY),
            raised=chosen["new_urgency"] == EMERGENCY,
            most=MOST,
            done=office(request).desk.done(visitor.principal, done) if done is not None else None,
            **choices(request),
        )
        # Where the browser comes back to: the same labels, never the words.
        page.headers["HX-Push-Url"] = f"/console/bulk?{wish.query}" if wish.query else "/console/bulk"
        return page


def _problems(request: Request, form: Mapping[str, Any]) -> list[str]:
    """What is wrong with what was chosen to be said."""
    labels = office(request).rules.taxonomy.heads
    given = {head: str(form.get(name) or "") for name, head in LABELS.items()}
    if any(value and value not in {label.id for label in labels[head]} for head, value in given.items()):
        return ["Nhãn mới: không có lựa chọn này nữa, hãy chọn lại trong danh sách."]
    if any(given.values()) and form.get("confirm"):
        return ["Hãy chọn một trong hai: gán nhãn mới, hoặc xác nhận như hiện có."]
    if not any(given.values()) and not form.get("confirm"):
        return ["Hãy chọn nhãn mới, hoặc đánh dấu “Xác nhận như hiện có”."]
    return []


def _verdict(form: Mapping[str, Any]) -> Verdict:
    category, urgency, petition_type = (str(form.get(name) or "") or None for name in LABELS)
    return Verdict(category, urgency, petition_type)


def _stakes(request: Request, principal: Principal, wanted: Filter) -> Stakes:
    conditions = [
        *scope(principal),
        *office(request).casework.conditions(principal, wanted),
        petitions.c.status.in_([status.value for status in DECIDABLE]),
    ]
    legal = petitions.c.petition_type.in_((COMPLAINT, DENUNCIATION))
    sums = [
        func.coalesce(func.sum(case((when, 1), else_=0)), 0)
        for when in (petitions.c.emergency.is_(True), or_(legal, petitions.c.restricted.is_(True)))
    ]
    with snapshot(request.app.state.engine) as connection:
        emergencies, legal_ones = connection.execute(select(*sums).where(*conditions)).one()
    return Stakes(emergencies, legal_ones)


def _conflict(error: PetitionError) -> str:
    held, changed = error.detail.get("held"), error.detail.get("changed")
    if held:
        numbers = words.joined(str(number) for number in held)
        return f"Chưa ghi gì: có người đang xử lý đơn {numbers}. Hãy đợi họ xong, hoặc lọc để bỏ các đơn đó ra."
    if changed or error.kind is ErrorKind.CONFLICT:
        return "Chưa ghi gì: các đơn đã thay đổi từ khi bạn xem trước. Dưới đây là bản xem trước mới, hãy xem lại."
    return "Chưa ghi gì: bộ lọc không còn đơn nào để gán nhãn."
