"""An Open311 GeoReport v2 face of the petitions, so that any 311 client can hand in and follow requests.

http://wiki.open311.org/GeoReport_v2/: services are the issue categories; a request is a petition, classified by its words whatever
service the client chose. JSON and XML, form-encoded input, times in ISO 8601 with zone. Descriptions are masked. Errors have the
specification's shape, `[{"code", "description"}]`, not the API's own.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any
from xml.etree import ElementTree

from fastapi import APIRouter, FastAPI, Form, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from nlp_service.api_access import Gate
from nlp_service.api_errors import retry_after
from nlp_service.api_petitions import MAX_ID, OLDEST, Moment, PetitionSubmit, submit_all
from nlp_service.casework import NEXT, OPEN, Casework, Filter, Status
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.roles import Principal, Right
from nlp_service.taxonomy import Taxonomy

PREFIX = "/open311/v2"
DEFAULT_SPAN = timedelta(days=90)
MOST_REQUESTS = 1000
"""Both from the specification: without dates the last ninety days, at most a thousand requests."""

NOTICE = "Đã tiếp nhận và phân loại theo nội dung. Đây không phải đường dây khẩn cấp: gọi 112, 113, 114, 115."
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_BOTH: dict[str, Any] = {"application/json": {}, "text/xml": {}}
_RESPONSES = {
    200: "What was asked for",
    201: "The request was taken in",
    400: "Something is missing or malformed",
    403: "No key, or one that may not do this",
    404: "There is no such service or request",
    413: "The description is too long",
    429: "Too many requests; see Retry-After",
    503: "Not ready, or stopping",
}
_CLOSED = tuple(status for status in Status if status not in OPEN)
_STATUS_NOTES = {
    Status.IN_REVIEW: "Đang được cán bộ xem xét",
    Status.ROUTED: "Đã chuyển đơn vị phụ trách",
    Status.IN_PROGRESS: "Đang giải quyết",
    Status.ANSWERED: "Đã trả lời",
    Status.CLOSED: "Đã kết thúc",
    Status.REDIRECTED: "Đã hướng dẫn gửi đến cơ quan có thẩm quyền",
    Status.REJECTED: "Không đủ điều kiện thụ lý",
    Status.MERGED: "Đã gộp với phản ánh khác cùng nội dung",
    Status.SPLIT: "Đã tách thành nhiều phản ánh để giải quyết riêng",
}
assert set(_STATUS_NOTES) == set(NEXT)


class Format(StrEnum):
    """What the path ends in."""

    JSON = "json"
    XML = "xml"


class _Open311Route(APIRoute):
    """Turns every error below `PREFIX` into the specification's shape, in the format that was asked for."""

    def get_route_handler(self) -> Callable[..., Any]:
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            fmt = Format.XML if request.url.path.endswith(".xml") else Format.JSON
            try:
                handled: Response = await inner(request)
                return handled
            except PetitionError as error:
                status, message = error.http_status, error.message
                headers = retry_after(error)
                # The specification knows 400 for what is wrong with the input, and 403 for a missing or wrong key.
                status = {422: 400, 401: 403}.get(status, status)
            except (RequestValidationError, ValidationError, HTTPException) as error:
                status, message, headers = 400, _problem(error), {}
            answer = _answer(fmt, "errors", "error", [{"code": status, "description": message}], status)
            answer.headers.update(headers)
            return answer

        return handle


def add_open311(app: FastAPI) -> None:
    """Add the endpoints below `PREFIX`."""
    router = APIRouter(
        prefix=PREFIX,
        route_class=_Open311Route,
        tags=["open311"],
        default_response_class=Response,
        responses={status: {"description": text, "content": _BOTH} for status, text in _RESPONSES.items()},
    )

    @router.get("/discovery.{fmt}", operation_id="open311_discovery")
    def discovery(request: Request, fmt: Format) -> Response:
        """Where the endpoint is and what it speaks."""
        base = str(request.base_url).rstrip("/") + PREFIX
        found = {
            "changeset": "2026-11-27T00:00:00+07:00",
            "contact": "Người vận hành dịch vụ tiếp nhận phản ánh, kiến nghị",
            "key_service": "petitions keys create NAME --role intake",
            "endpoints": [
                {
                    "specification": "http://wiki.open311.org/GeoReport_v2",
                    "url": base,
                    "changeset": "2026-11-27T00:00:00+07:00",
                    "type": "production",
                    "formats": ["application/json", "text/xml"],
                }
            ],
        }
        if fmt is Format.JSON:
            return JSONResponse(found)
        return _xml(_element("discovery", found, {"endpoints": "endpoint", "formats": "format"}))

    @router.get("/services.{fmt}", operation_id="open311_services")
    def services(request: Request, fmt: Format) -> Response:
        """The issue categories."""
        return _answer(fmt, "services", "service", [_service(category) for category in _taxonomy(request).categories])

    @router.get("/services/{service_code}.{fmt}", operation_id="open311_service")
    def service(request: Request, service_code: str, fmt: Format) -> Response:
        """The definition of one service: no service asks for attributes."""
        _known(_taxonomy(request), service_code)
        if fmt is Format.JSON:
            return JSONResponse({"service_code": service_code, "attributes": []})
        return _xml(
            _element(
                "service_definition", {"service_code": service_code, "attributes": []}, {"attributes": "attribute"}
            )
        )

    @router.post("/requests.{fmt}", operation_id="open311_submit", status_code=201)
    async def submit(
        request: Request,
        fmt: Format,
        service_code: Annotated[str | None, Form()] = None,
        description: Annotated[str | None, Form()] = None,
        address_string: Annotated[str | None, Form()] = None,
        address_id: Annotated[str | None, Form()] = None,
        lat: Annotated[float | None, Form()] = None,
        long: Annotated[float | None, Form()] = None,
        email: Annotated[str | None, Form()] = None,
        first_name: Annotated[str | None, Form()] = None,
        last_name: Annotated[str | None, Form()] = None,
        phone: Annotated[str | None, Form()] = None,
        media_url: Annotated[str | None, Form()] = None,
        api_key: Annotated[str | None, Form()] = None,
    ) -> Response:
        """Hand in a request. A place is needed: lat and long, address_string, or address_id (a commune's code)."""
        principal = await _admit(request, api_key, Right.SUBMIT)
        if not service_code:
            raise PetitionError(ErrorKind.INVALID_REQUEST, "service_code was not provided; see /services")
        _known(_taxonomy(request), service_code)
        if not (description or "").strip():
            raise PetitionError(ErrorKind.INVALID_REQUEST, "description was not provided; send the citizen's words")
        if not (address_string or address_id or (lat is not None and long is not None)):
            raise PetitionError(
                ErrorKind.INVALID_REQUEST, "no location was provided; send lat and long, address_string or address_id"
            )
        name = (
            " ".join(part for part in (last_name, first_name) if part) or None
        )  # a Vietnamese family name comes first
        submission = PetitionSubmit.model_validate(
            {
                "text": description,
                "channel": "open311",
                "commune": (address_id or address_string or "")[:200] or None,
                "sender": {"name": name, "phone": phone or None, "email": email or None},
                "location": {
                    name: value
                    for name, value in (
                        ("lat", lat),
                        ("long", long),
                        ("address", address_string),
                        ("media_url", media_url),
                    )
                    if value not in (None, "")
                },
            }
        )
        receipt = (await submit_all(request.app, principal, [submission], None, many=False))["body"]
        made = {"service_request_id": str(receipt["id"]), "service_notice": NOTICE, "account_id": None}
        return _answer(fmt, "service_requests", "request", [made], 201)

    @router.get("/requests.{fmt}", operation_id="open311_requests")
    async def requests(
        request: Request,
        fmt: Format,
        service_request_id: Annotated[str | None, Query(max_length=2_000)] = None,
        service_code: Annotated[str | None, Query(max_length=2_000)] = None,
        start_date: Moment | None = None,
        end_date: Moment | None = None,
        status: Annotated[str | None, Query(pattern="^(open|closed)(,(open|closed))?$")] = None,
        api_key: str | None = None,
    ) -> Response:
        """Requests: of the last ninety days if no date and no id is given, at most a thousand."""
        principal = await _admit(request, api_key, Right.READ)
        wanted = set((status or "open,closed").split(","))
        statuses = (*(OPEN if "open" in wanted else ()), *(_CLOSED if "closed" in wanted else ()))
        ids = _ids(service_request_id)
        if not ids and start_date is None:
            start_date = max(end_date or datetime.now(UTC), OLDEST + DEFAULT_SPAN) - DEFAULT_SPAN
        codes = [code for code in (service_code or "").split(",") if code]
        for code in codes:
            _known(_taxonomy(request), code)
        found = Filter(
            categories=tuple(codes), statuses=statuses, ids=ids, received_from=start_date, received_to=end_date
        )
        page = await run_in_threadpool(_casework(request).find, principal, found, MOST_REQUESTS)
        return _answer(fmt, "service_requests", "request", [_request(item) for item in page.items])

    @router.get("/requests/{service_request_id}.{fmt}", operation_id="open311_request")
    async def read(request: Request, service_request_id: str, fmt: Format, api_key: str | None = None) -> Response:
        """One request."""
        principal = await _admit(request, api_key, Right.READ)
        ids = _ids(service_request_id)
        page = await run_in_threadpool(_casework(request).find, principal, Filter(ids=ids or (0,)), 1)
        if not page.items:
            raise PetitionError(ErrorKind.NOT_FOUND, f"service_request_id {service_request_id[:40]} was not found")
        return _answer(fmt, "service_requests", "request", [_request(page.items[0])])

    app.include_router(router)


async def _admit(request: Request, api_key: str | None, right: Right) -> Principal:
    gate: Gate = request.app.state.gate
    principal: Principal = await run_in_threadpool(gate.admit, request, api_key)
    principal.require(right)
    return principal


def _known(taxonomy: Taxonomy, service_code: str) -> None:
    if all(category.id != service_code for category in taxonomy.categories):
        raise PetitionError(ErrorKind.NOT_FOUND, f"service_code {service_code[:60]} was not found; see /services")


def _ids(given: str | None) -> tuple[int, ...]:
    parts = [part.strip() for part in (given or "").split(",") if part.strip()]
    if len(parts) > MOST_REQUESTS or any(
        not (part.isascii() and part.isdigit()) or int(part) > MAX_ID for part in parts
    ):
        raise PetitionError(
            ErrorKind.INVALID_REQUEST,
            f"service_request_id must be at most {MOST_REQUESTS} numbers, with commas between them",
        )
    return tuple(int(part) for part in parts)


def _service(category: Any) -> dict[str, Any]:
    return {
        "service_code": category.id,
        "service_name": category.name,
        "description": category.definition,
        "metadata": False,
        "type": "realtime",
        "keywords": "",
        "group": "",
    }


def _request(item: Mapping[str, Any]) -> dict[str, Any]:
    location = item["location"] or {}
    status = Status(item["status"])
    commune = item["place"]["commune"]
    return {
        "service_request_id": str(item["id"]),
        "status": "open" if status in OPEN else "closed",
        "status_notes": _STATUS_NOTES[status],
        "service_name": item["category_name"],
        "service_code": item["category"],
        "description": item["excerpt"],
        "agency_responsible": item["lead"]["name"],
        "service_notice": None,
        "requested_datetime": item["received_at"],
        "updated_datetime": item["updated_at"],
        "expected_datetime": item["due_at"],
        "address": commune,
        "address_id": item["place"]["commune_code"],
        "zipcode": None,
        "lat": location.get("lat"),
        "long": location.get("long"),
        "media_url": location.get("media_url"),
    }


def _taxonomy(request: Request) -> Taxonomy:
    taxonomy: Taxonomy = request.app.state.office.rules.taxonomy
    return taxonomy


def _casework(request: Request) -> Casework:
    casework: Casework = request.app.state.casework
    return casework


def _problem(error: Exception) -> str:
    errors = getattr(error, "errors", None)
    if callable(errors):
        first = errors()[0]
        return f"{first['loc'][-1]}: {first['msg']}"
    return str(getattr(error, "detail", "")) or "the request could not be read"


def _answer(fmt: Format, root: str, item: str, rows: list[dict[str, Any]], status: int = 200) -> Response:
    if fmt is Format.JSON:
        return JSONResponse(rows, status)
    element = ElementTree.Element(root)
    for row in rows:
        element.append(_element(item, row))
    return _xml(element, status)


def _element(name: str, value: Any, items: Mapping[str, str] | None = None) -> ElementTree.Element:
    """A value as XML; members of the list under a name are elements of the name that `items` gives."""
    element = ElementTree.Element(name)
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, list):
                group = ElementTree.SubElement(element, key)
                for member in inner:
                    group.append(_element((items or {})[key], member, items))
            else:
                element.append(_element(key, inner, items))
    elif value is not None:
        element.text = str(value).lower() if isinstance(value, bool) else _NOT_XML.sub("", str(value))
    return element


def _xml(element: ElementTree.Element, status: int = 200) -> Response:
    body = ElementTree.tostring(element, encoding="utf-8", xml_declaration=True)
    return Response(body, status, media_type="text/xml; charset=utf-8")
