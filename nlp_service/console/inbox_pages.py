"""Bodies and their inboxes: what each has open, what is due first, what is overdue."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response

from nlp_service.casework import DUE_SOON, NEXT, OPEN, Status
from nlp_service.console import words
from nlp_service.console.access import Handler, Reader
from nlp_service.console.desk_pages import choices
from nlp_service.console.filters import Asked, asked
from nlp_service.console.inbox_export import MEDIA_TYPES, export
from nlp_service.console.pages import Pages, office
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.inbox import Inbox, Part, own_bodies
from nlp_service.roles import Right
from nlp_service.sessions import Session
from nlp_service.workdays import VIETNAM

PAGE = 50
EXPORT_BLOCK, EXPORT_MOST = 500, 5_000
"""Petitions in one file: some seconds of work."""

PARTS = {Part.LEAD.value: "Chủ trì", Part.COMMUNE.value: "Cấp xã", Part.SUPPORT.value: "Phối hợp"}
GROUPS = {"overdue": "Quá hạn", "soon": "Còn dưới hai ngày", "later": "Còn hạn", "ended": "Không còn mở"}
STEPS = (Status.IN_PROGRESS, Status.ANSWERED)
"""What an officer says of a petition without opening it."""


def add_pages(app: FastAPI, pages: Pages) -> None:
    """Add the table of bodies and the inboxes."""

    @app.get("/console/bodies", include_in_schema=False)
    def bodies(request: Request, visitor: Reader, part: str = "") -> Response:
        """Whose petitions wait, the most overdue first; an officer of one body is led to its inbox."""
        own = own_bodies(visitor.principal)
        if len(own) == 1:
            return RedirectResponse(f"/console/bodies/{own[0]}", 303)
        loads = _inbox(request).loads(visitor.principal, _part(part))
        return pages.show(
            request, "bodies.html", visitor, loads=loads, part=_part(part), parts=PARTS, **choices(request)
        )

    @app.get("/console/bodies/{body}", include_in_schema=False)
    def inbox(
        request: Request, visitor: Reader, body: str, cursor: str | None = None, changed: int | None = None
    ) -> Response:
        said = f"Đã ghi trạng thái mới của đơn {changed}." if changed is not None else None
        return _page(request, visitor, body, request.query_params, cursor, said)

    @app.get("/console/bodies/{body}/export.{kind}", include_in_schema=False)
    def as_file(request: Request, visitor: Reader, body: str, kind: str) -> Response:
        """The inbox under the same filter, as a file."""
        _known(request, body)
        if kind not in MEDIA_TYPES:
            raise PetitionError(ErrorKind.NOT_FOUND, f"there is no export as '{kind}'; choose csv or xlsx")
        wish, part = _wish(request, request.query_params), _part(request.query_params.get("part"))
        if wish.problems:
            raise PetitionError(ErrorKind.INVALID_REQUEST, " ".join(wish.problems))
        items: list[dict[str, Any]] = []
        cursor = None
        while len(items) <= EXPORT_MOST:
            page = _inbox(request).page(visitor.principal, body, wish.wanted, EXPORT_BLOCK, part, cursor)
            items += page.items
            cursor = page.cursor
            if cursor is None:
                break
        if len(items) > EXPORT_MOST:
            message = f"Nhiều hơn {words.number(EXPORT_MOST)} đơn, quá nhiều cho một tệp: hãy lọc bớt rồi tải lại."
            return _page(request, visitor, body, request.query_params, None, None, message, 413)
        content = export(kind, items, {**choices(request)["names"], **PARTS})
        disposition = f'attachment; filename="{body}-{datetime.now(VIETNAM):%Y-%m-%d}.{kind}"'
        return Response(content, media_type=MEDIA_TYPES[kind], headers={"Content-Disposition": disposition})

    @app.post("/console/bodies/{body}/status", include_in_schema=False)
    async def status(request: Request, visitor: Handler, body: str) -> Response:
        form = dict((await request.form()).items())
        return await run_in_threadpool(_change, request, visitor, body, form)

    def _change(request: Request, visitor: Session, body: str, form: Mapping[str, Any]) -> Response:
        """The next step of one petition, and back to the inbox as it was."""
        cursor = str(form.get("cursor") or "") or None
        petition_id, version = _number(form.get("petition")), _number(form.get("version"))
        step = next((step for step in STEPS if step == form.get("step")), None)
        if petition_id is None or version is None or step is None:
            return _page(request, visitor, body, form, cursor, None, "Chưa ghi gì: hãy bấm lại nút trên đơn.", 422)
        try:
            office(request).casework.change_status(visitor.principal, petition_id, step, None, version)
        except PetitionError as error:
            if error.kind not in (ErrorKind.CONFLICT, ErrorKind.NOT_FOUND):
                raise
            message = f"Chưa ghi gì: đơn {petition_id} đã thay đổi từ khi bạn mở trang. Dưới đây là bản mới."
            return _page(request, visitor, body, form, cursor, None, message, error.http_status)
        query = _query(_wish(request, form), _part(form.get("part")))
        place = f"{urlencode({'cursor': cursor})}&" if cursor else ""
        return RedirectResponse(f"/console/bodies/{body}?{query}{place}changed={petition_id}", 303)

    def _page(
        request: Request,
        visitor: Session,
        body: str,
        given: Mapping[str, Any],
        cursor: str | None = None,
        said: str | None = None,
        problem: str | None = None,
        status: int = 200,
    ) -> Response:
        _known(request, body)
        wish, part = _wish(request, given), _part(given.get("part"))
        problems = [*wish.problems, *([problem] if problem else [])]
        items, after = [], None
        load = _inbox(request).load(visitor.principal, body)
        if not wish.problems:
            try:
                found = _inbox(request).page(visitor.principal, body, wish.wanted, PAGE, part, cursor)
                items, after = found.items, found.cursor
            except PetitionError as error:
                if error.kind is not ErrorKind.INVALID_REQUEST:
                    raise
                problems.append("Không mở được trang này của danh sách: hãy xem lại từ đầu.")
        handles = visitor.principal.may(Right.HANDLE)
        page = pages.show(
            request,
            "inbox.html",
            visitor,
            status if status != 200 or not problems else 422,
            body=body,
            name=_name(request, visitor, body),
            load=load,
            groups=_grouped(items, datetime.now(UTC)),
            steps={
                s.value: [step.value for step in STEPS if handles and s in OPEN and step in NEXT[s]] for s in Status
            },
            asked=wish,
            part=part,
            parts=PARTS,
            query=_query(wish, part),
            problems=problems,
            after=after,
            cursor=cursor,
            alone=len(own_bodies(visitor.principal)) == 1,
            done={"summary": {"message": said}, "can_undo": False} if said else None,
            **choices(request),
        )
        if request.method == "POST":
            page.headers["HX-Push-Url"] = f"/console/bodies/{body}?{_query(wish, part)}"
        return page


def _inbox(request: Request) -> Inbox:
    return Inbox(request.app.state.engine, office(request).casework)


def _known(request: Request, body: str) -> None:
    if body not in office(request).rules.routing.bodies:
        raise PetitionError(ErrorKind.NOT_FOUND, "there is no such body; /console/bodies lists them")


def _name(request: Request, visitor: Session, body: str) -> str:
    """Of a commune's body the commune's too, for an officer of one commune."""
    rules, communes = office(request).rules, list(visitor.principal.communes)
    return rules.routing.name(body, rules.gazetteer.units.get(communes[0]) if len(communes) == 1 else None)


def _wish(request: Request, given: Mapping[str, Any]) -> Asked:
    """The filter; the body stands in the path, and words are for the search."""
    return asked({n: v for n, v in given.items() if n not in ("body", "words")}, office(request).rules)


def _part(given: Any) -> Part | None:
    return next((part for part in Part if part == given), None)


def _query(wish: Asked, part: Part | None) -> str:
    """The filter for an address in which more follows: empty, or with `&` at its end."""
    return "".join(f"{item}&" for item in (wish.query, f"part={part}" if part else "") if item)


def _number(given: Any) -> int | None:
    known = isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 19
    return int(given) if known else None


def _grouped(items: list[dict[str, Any]], now: datetime) -> list[tuple[str, list[dict[str, Any]]]]:
    """Petitions under headings, in the order in which they come."""
    groups: list[tuple[str, list[dict[str, Any]]]] = []
    for item in items:
        left = datetime.fromisoformat(item["due_at"]) - now
        if Status(item["status"]) not in OPEN:
            name = "ended"
        elif left.total_seconds() < 0:
            name = "overdue"
        else:
            name = "soon" if left <= DUE_SOON else "later"
        if not groups or groups[-1][0] != GROUPS[name]:
            groups.append((GROUPS[name], []))
        groups[-1][1].append(item)
    return groups
