"""The one error shape over HTTP, and what turns every failure into it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.metrics import Metrics

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1
_MOST_PROBLEMS = 20


class ErrorBody(BaseModel):
    """What went wrong: a kind for programs, a sentence for people."""

    kind: ErrorKind
    message: str
    detail: dict[str, Any]


class ErrorOut(BaseModel):
    """The one error shape."""

    error: ErrorBody


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorOut, "description": description}
    for status, description in (
        (401, "No API key, or one that is not valid"),
        (403, "The key's role may not do this"),
        (404, "There is no such thing that you may see"),
        (409, "It conflicts with what is stored"),
        (413, "Text, batch or body over its limit"),
        (422, "Empty or malformed input"),
        (429, "Queue full or too many requests; see Retry-After"),
        (500, "Reading failed"),
        (503, "Not ready, or stopping"),
    )
}


def problems(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Pydantic's errors as places and sentences; never `input`: it is the petition."""
    return [
        {"where": ".".join(str(part) for part in problem["loc"]), "problem": problem["msg"]}
        for problem in errors[:_MOST_PROBLEMS]
    ]


def retry_after(error: PetitionError) -> dict[str, str]:
    """The header that goes with 429; nothing with other statuses."""
    return {"Retry-After": str(error.detail.get("retry_after_s", RETRY_AFTER_S))} if error.http_status == 429 else {}


def add_errors(
    app: FastAPI, metrics: Metrics, page: Callable[[Request, PetitionError], Response] | None = None
) -> None:
    """Every failure of `app` becomes the one shape, and is counted by kind.

    Args:
        page: what a failure under /console is shown as instead: there a person reads it.
    """

    def respond(request: Request, error: PetitionError, status: int | None = None) -> Response:
        metrics.errors.labels(error.kind.value).inc()
        if page is not None and request.url.path.startswith("/console/"):
            return page(request, error)
        headers = retry_after(error)
        if error.kind is ErrorKind.UNAUTHENTICATED:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(error.as_dict(), status or error.http_status, headers)

    async def on_petition_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, PetitionError)
        return respond(request, error)

    async def on_invalid(request: Request, error: Exception) -> Response:
        # Never `input`: it is the petition.
        assert isinstance(error, RequestValidationError)
        found = problems(error.errors())
        first = found[0]
        return respond(
            request,
            PetitionError(
                ErrorKind.INVALID_REQUEST,
                f"{first['where']}: {first['problem']}; see /openapi.json for the expected shape",
                problems=found,
            ),
        )

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 400:
            message = "the request body is not JSON in UTF-8; see /openapi.json for the expected shape"
            return respond(request, PetitionError(ErrorKind.INVALID_REQUEST, message))
        kinds = {404: ErrorKind.NOT_FOUND, 405: ErrorKind.METHOD_NOT_ALLOWED}
        kind = kinds.get(
            error.status_code, ErrorKind.INVALID_REQUEST if error.status_code < 500 else ErrorKind.INTERNAL
        )
        message = f"{request.method} {request.url.path}: {error.detail}; see /openapi.json for what there is"
        return respond(request, PetitionError(kind, message), error.status_code)

    async def on_store(request: Request, error: Exception) -> Response:
        log.error("the store failed (%s) in %s", type(error).__name__, request.method)
        return respond(
            request,
            PetitionError(
                ErrorKind.INVALID_STORE, f"the store does not answer ({type(error).__name__}); try again shortly"
            ),
        )

    async def on_bug(request: Request, error: Exception) -> Response:
        log.error("unexpected %s in %s %s", type(error).__name__, request.method, request.url.path)
        return respond(
            request, PetitionError(ErrorKind.INTERNAL, f"unexpected {type(error).__name__}; tell the operator")
        )

    app.add_exception_handler(PetitionError, on_petition_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(SQLAlchemyError, on_store)
    app.add_exception_handler(Exception, on_bug)
