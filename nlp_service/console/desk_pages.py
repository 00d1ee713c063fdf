"""The desk: the queue, one petition, and what is decided about it."""

import re
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import FastAPI, Form, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response

from nlp_service.casework import NEXT, Filter, Status
from nlp_service.console import words
from nlp_service.console.access import Handler, RawReader, Reader
from nlp_service.console.pages import Pages, office
from nlp_service.desk import DECIDABLE, Outcome, Verdict
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.explain import explain
from nlp_service.pipeline import Classification
from nlp_service.roles import Right
from nlp_service.sessions import Session
from nlp_service.similar import NAMES
from nlp_service.text import normalise

QUEUE_PAGE = 30
MAX_ID = 2**63 - 1

_SENTENCE = re.compile(r"(?<=[.!?;…])(?<!^\d\.)(?<!^\d\d\.)\s+")
"""Behind a sentence's end, not behind the number of a list's item."""
_ITEM = re.compile(r"\s*(?:\d{1,2}[.)/]|[-+•*]|thứ (?:nhất|hai|ba|tư|năm)\b)", re.IGNORECASE)
"""How a list of several matters begins each of them."""

PetitionId = Annotated[int, Path(ge=1, le=MAX_ID)]
Given = Annotated[str, Form(max_length=200)]


def read_filter(request: Request) -> Filter:
    """The filter in a page's address: labels, a body, a commune, a status; never words."""
    given = {name: value for name, value in request.query_params.items() if value}
    try:
        statuses = (Status(given["status"]),) if "status" in given else ()
    except ValueError:
        statuses = ()
    return Filter(
        commune=given.get("commune"),
        categories=(given["category"],) if "category" in given else (),
        urgency=given.get("urgency"),
        petition_type=given.get("petition_type"),
        body=given.get("body"),
        statuses=statuses,
    )


def filter_query(wanted: Filter) -> str:
    """The same filter as the query of an address, without `?`."""
    values = {
        "commune": wanted.commune,
        "category": wanted.categories[0] if wanted.categories else None,
        "urgency": wanted.urgency,
        "petition_type": wanted.petition_type,
        "body": wanted.body,
        "status": wanted.statuses[0].value if wanted.statuses else None,
    }
    return urlencode({name: value for name, value in values.items() if value})


def choices(request: Request) -> dict[str, Any]:
    """What a page needs to name and to offer labels, communes and bodies."""
    rules = office(request).rules
    taxonomy = rules.taxonomy
    return {
        "categories": [(c.id, c.name) for c in taxonomy.categories],
        "urgencies": [(u.id, u.name) for u in taxonomy.urgency_levels],
        "types": [(t.id, t.name) for t in taxonomy.petition_types],
        "communes": sorted(((u.code, u.full_name) for u in rules.gazetteer.units.values()), key=lambda unit: unit[1]),
        "bodies": sorted(rules.routing.bodies.items(), key=lambda body: body[1]),
        "names": {
            **{label.id: label.name for labels in taxonomy.heads.values() for label in labels},
            **rules.routing.bodies,
            **words.STATUSES,
            **{u.code: u.full_name for u in rules.gazetteer.units.values()},
        },
    }


def add_pages(app: FastAPI, pages: Pages) -> None:
    """Add the pages of the desk."""

    @app.get("/console/queue", include_in_schema=False)
    def queue(request: Request, visitor: Handler, done: int | None = None) -> Response:
        wanted = read_filter(request)
        items, total = office(request).queue.page(visitor.principal, wanted, QUEUE_PAGE)
        return pages.show(
            request,
            "queue.html",
            visitor,
            items=items,
            total=total,
            wanted=wanted,
            query=filter_query(wanted),
            done=_done(request, visitor, done),
            **choices(request),
        )

    @app.get("/console/next", include_in_schema=False)
    def next_petition(
        request: Request, visitor: Handler, done: int | None = None, after: int | None = None
    ) -> Response:
        """The petition to read now, or the empty queue."""
        at = office(request)
        wanted = read_filter(request)
        if after is not None:
            at.queue.release(visitor.principal, after)
        found = at.queue.next(visitor.principal, wanted, after)
        query = [filter_query(wanted), f"done={done}" if done is not None else ""]
        path = f"/console/petitions/{found}" if found else "/console/queue"
        return _to(path, "flow=1" if found else "", *query)

    @app.get("/console/petitions/{petition_id}", include_in_schema=False)
    def petition(
        request: Request, visitor: Reader, petition_id: PetitionId, done: int | None = None, flow: bool = False
    ) -> Response:
        at, principal = office(request), visitor.principal
        found = at.casework.read(principal, petition_id)
        standing = at.queue.standing(principal, petition_id)
        handles = principal.may(Right.HANDLE)
        decidable = handles and found["status"] in DECIDABLE
        lock = at.queue.take(principal, petition_id) if decidable and (flow or standing.queued) else standing.lock
        labels = _labels(found, standing.blind)
        return pages.show(
            request,
            "petition.html",
            visitor,
            petition=found,
            lines=words.paragraphs(found["text"]),
            standing=standing,
            labels=labels,
            candidates=_candidates(found)[:3],
            coverage=sets.coverage if (sets := at.classifier.bundle.manifest.prediction_sets.get("category")) else None,
            holder=lock.holder if lock and lock.holder != principal.name else None,
            lock=lock,
            decidable=decidable,
            raw=principal.may(Right.READ_RAW),
            next_statuses=[s.value for s in Status if handles and s in NEXT[Status(found["status"])]],
            query=filter_query(read_filter(request)),
            flow=flow,
            done=_done(request, visitor, done),
            **choices(request),
        )

    @app.get("/console/petitions/{petition_id}/why", include_in_schema=False)
    def why(request: Request, visitor: RawReader, petition_id: PetitionId) -> Response:
        """The words that moved the answer: a part of the petition's page, which it asks for when it is there."""
        at = office(request)
        text = at.casework.text(visitor.principal, petition_id)
        found = explain(at.classifier, text)
        places = [
            {"start": start, "end": end}
            for span in found.category.spans
            if span.weight > 0
            for start, end in span.places
        ]
        return pages.show(request, "_why.html", visitor, why=found, lines=words.paragraphs(text, places))

    @app.get("/console/petitions/{petition_id}/similar", include_in_schema=False)
    def similar(request: Request, visitor: RawReader, petition_id: PetitionId) -> Response:
        """Petitions like this one, beside it: a part of its page."""
        at = office(request)
        text = at.casework.text(visitor.principal, petition_id)
        found = at.similar(visitor.principal, petition_id)
        row = at.queue.standing(visitor.principal, petition_id)
        return pages.show(
            request,
            "_similar.html",
            visitor,
            petition_id=petition_id,
            lines=words.paragraphs(text),
            found=found,
            shown=[(entry, words.marked(entry.excerpt, entry.shared)) for entry in found.similar],
            version=row.version,
            decidable=visitor.principal.may(Right.HANDLE) and row.status in DECIDABLE,
            flow=bool(request.query_params.get("flow")),
            query=filter_query(read_filter(request)),
            names=choices(request)["names"],
            likeness=NAMES,
        )

    @app.post("/console/petitions/{petition_id}/route", include_in_schema=False)
    async def route(request: Request, visitor: Handler, petition_id: PetitionId) -> Response:
        """Where the petition would go as the form stands."""
        verdict = _verdict(request, dict((await request.form()).items()))
        judged = await run_in_threadpool(office(request).desk.preview, visitor.principal, petition_id, verdict)
        return pages.show(request, "_route.html", visitor, judged=judged)

    @app.post("/console/petitions/{petition_id}/hold", include_in_schema=False)
    def hold(request: Request, visitor: Handler, petition_id: PetitionId, over: Given = "") -> Response:
        """Still at work on it; with `over`, from now on this visitor and no longer another."""
        lock = office(request).queue.take(visitor.principal, petition_id, over=bool(over))
        if over:
            return _to(f"/console/petitions/{petition_id}", "flow=1")
        if lock.holder != visitor.principal.name:
            return pages.notice(request, f"{lock.holder} đã nhận đơn này. Hãy tải lại trang trước khi quyết định.", 409)
        return Response(status_code=204)

    @app.post("/console/petitions/{petition_id}/decide", include_in_schema=False)
    async def decide(request: Request, visitor: Handler, petition_id: PetitionId) -> Response:
        form = dict((await request.form()).items())
        verdict = _verdict(request, form)
        return await run_in_threadpool(
            _act, request, visitor, petition_id, form,
            lambda at, version, request_id: at.desk.decide(visitor.principal, petition_id, verdict, version, request_id),
        )  # fmt: skip

    @app.post("/console/petitions/{petition_id}/merge", include_in_schema=False)
    @app.post("/console/petitions/{petition_id}/link", include_in_schema=False)
    async def join(request: Request, visitor: Handler, petition_id: PetitionId) -> Response:
        form = dict((await request.form()).items())
        other = _number(form.get("other"))
        desk = office(request).desk
        act = desk.merge if request.url.path.endswith("/merge") else desk.link
        return await run_in_threadpool(
            _act, request, visitor, petition_id, form,
            lambda at, version, request_id: act(visitor.principal, petition_id, other, version, request_id),
        )  # fmt: skip

    @app.get("/console/petitions/{petition_id}/split", include_in_schema=False)
    def split_page(request: Request, visitor: RawReader, petition_id: PetitionId) -> Response:
        visitor.principal.require(Right.HANDLE)
        at = office(request)
        found = at.casework.read(visitor.principal, petition_id)
        pieces = sentences(found["text"])
        return pages.show(
            request,
            "split.html",
            visitor,
            petition=found,
            pieces=list(zip(pieces, suggested_parts(pieces), strict=True)),
        )

    @app.post("/console/petitions/{petition_id}/split", include_in_schema=False)
    async def split(request: Request, visitor: Handler, petition_id: PetitionId) -> Response:
        form = dict((await request.form()).items())
        at = office(request)
        text = await run_in_threadpool(at.casework.text, visitor.principal, petition_id)
        parts = parts_of(sentences(text), form)
        if len(parts) < 2:
            return pages.notice(request, "Hãy chia nội dung thành ít nhất hai phần, mỗi phần một vụ việc.", 422)
        read = await at.classify(parts)
        failed = next((answer for answer in read if isinstance(answer, PetitionError)), None)
        if failed is not None:
            raise failed
        done = [answer for answer in read if isinstance(answer, Classification)]
        return await run_in_threadpool(
            _act, request, visitor, petition_id, form,
            lambda _, version, request_id: at.desk.split(
                visitor.principal, petition_id, parts, done, version, at.intake, request_id
            ),
        )  # fmt: skip

    @app.post("/console/petitions/{petition_id}/status", include_in_schema=False)
    def status(
        request: Request,
        visitor: Handler,
        petition_id: PetitionId,
        status: Annotated[Status, Form()],
        version: Annotated[int, Form()],
        reason: Annotated[str, Form(max_length=2_000)] = "",
    ) -> Response:
        office(request).casework.change_status(visitor.principal, petition_id, status, reason or None, version)
        return _to(f"/console/petitions/{petition_id}")

    @app.post("/console/operations/{operation_id}/undo", include_in_schema=False)
    def undo(request: Request, visitor: Handler, operation_id: PetitionId) -> Response:
        outcome = office(request).desk.undo(visitor.principal, operation_id)
        if len(outcome.petitions) == 1:
            return _to(f"/console/petitions/{outcome.petitions[0]}", f"done={outcome.id}", "flow=1")
        return _to("/console/queue", f"done={outcome.id}")

    def _act(request: Request, visitor: Session, petition_id: int, form: dict[str, Any], act: Any) -> Response:
        """Do one thing with a petition and go on: to the next one in the queue, or back to this one."""
        try:
            outcome: Outcome = act(
                office(request), _number(form.get("version")), str(form.get("request_id"))[:64] or None
            )
        except PetitionError as error:
            if error.kind is ErrorKind.INVALID_REQUEST:
                return pages.notice(request, "Không gộp, không liên kết được đơn với chính nó: hãy chọn đơn khác.", 422)
            if error.kind is not ErrorKind.CONFLICT:
                raise
            message = (
                f"{error.detail['holder']} đang xử lý đơn này. Hãy nhận lại đơn trước khi quyết định."
                if "holder" in error.detail
                else "Đơn đã thay đổi từ khi bạn mở, nên chưa ghi gì. Phần bạn vừa sửa còn nguyên: hãy tải lại trang để xem bản mới."
                if "version" in error.detail
                else "Không làm được với đơn ở trạng thái này. Hãy tải lại trang để xem bản mới."
            )
            return pages.notice(request, message, error.http_status)
        if form.get("flow"):
            return _to("/console/next", str(form.get("query", "")), f"done={outcome.id}")
        return _to(f"/console/petitions/{petition_id}", f"done={outcome.id}")


def sentences(text: str) -> list[str]:
    """A petition cut where it may be split: at line breaks and sentence ends."""
    pieces = [piece for line in text.splitlines() for piece in _SENTENCE.split(normalise(line))]
    return [piece for piece in pieces if piece]


def suggested_parts(pieces: list[str]) -> list[str]:
    """A first guess: each item of a list and what follows it is a part; what stands before the list belongs to all."""
    part = 0
    parts = []
    for piece in pieces:
        if _ITEM.match(piece):
            part += 1
        parts.append(str(min(part, 4)) if part else "all")
    return parts


def parts_of(pieces: list[str], form: dict[str, Any]) -> list[str]:
    """The texts of a split: `piece-N` of the form says to which part a piece belongs, `all` to each, `none` to none."""
    given = [str(form.get(f"piece-{number}", "all")) for number in range(len(pieces))]
    numbers = sorted({value for value in given if value.isdigit()})
    return [
        "\n".join(piece for piece, value in zip(pieces, given, strict=True) if value in (number, "all"))
        for number in numbers
    ]


def _candidates(petition: dict[str, Any]) -> list[dict[str, Any]]:
    classification = petition["classification"]
    return [classification["category"], *classification["alternatives"]]


def _labels(petition: dict[str, Any], blind: bool) -> dict[str, str]:
    """What the form begins with: what stands, or for a blind reading what the model says."""
    heads = ("category", "urgency", "petition_type")
    return {head: petition["classification"][head]["id"] if blind else petition[head] for head in heads}


def _verdict(request: Request, form: dict[str, Any]) -> Verdict:
    commune = str(form.get("commune", "")).strip()
    code = None
    if commune and commune != str(form.get("commune_now", "")):
        place = office(request).rules.gazetteer.resolve(commune)
        if place.unit is None:
            raise PetitionError(
                ErrorKind.INVALID_REQUEST,
                "Không có xã, phường nào tên như vậy, hoặc có nhiều: hãy chọn trong danh sách.",
            )
        code = place.unit.code
    return Verdict(
        category=_text(form.get("category")),
        urgency=_text(form.get("urgency")),
        petition_type=_text(form.get("petition_type")),
        commune=code,
        outside=bool(form.get("outside")),
        sure=not form.get("unsure"),
        reason=_text(form.get("reason")),
    )


def _text(value: Any) -> str | None:
    return value.strip()[:2_000] or None if isinstance(value, str) else None


def _number(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    raise PetitionError(ErrorKind.INVALID_REQUEST, "Hãy nhập số của một đơn.")


def _done(request: Request, visitor: Session, operation_id: int | None) -> dict[str, Any] | None:
    return office(request).desk.done(visitor.principal, operation_id) if operation_id else None


def _to(path: str, *query: str) -> Response:
    given = "&".join(part for part in query if part)
    return RedirectResponse(f"{path}?{given}" if given else path, 303)
