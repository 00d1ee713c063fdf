"""The console: pages for clerks on the API's own data. Puts the parts together; each page is in its own module."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader

from nlp_service.console import (
    audit_pages,
    bulk_pages,
    desk_pages,
    inbox_pages,
    job_pages,
    model_pages,
    search_pages,
    try_pages,
    words,
)
from nlp_service.console.access import Visitor, add_access
from nlp_service.console.pages import Pages
from nlp_service.errors import PetitionError
from nlp_service.roles import Right

HERE = Path(__file__).parent


def add_console(app: FastAPI) -> Pages:
    """Add every page under /console, and what turns an error on the way there into a page."""
    loader = FileSystemLoader(HERE / "templates")
    templates = Jinja2Templates(env=Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True))
    for function in (words.moment, words.day, words.until, words.percent, words.number, words.joined):
        templates.env.filters[function.__name__] = function
    templates.env.globals.update(words=words, Right=Right)
    pages = Pages(templates)
    app.mount("/console/static", StaticFiles(directory=HERE / "static"), name="static")
    add_access(app, templates)

    @app.get("/", include_in_schema=False)
    async def to_console() -> RedirectResponse:
        return RedirectResponse("/console/")

    @app.get("/console", include_in_schema=False)
    async def with_slash() -> RedirectResponse:
        return RedirectResponse("/console/")

    @app.get("/console/", include_in_schema=False)
    def first_page(request: Request, visitor: Visitor) -> Response:
        principal = visitor.principal
        return RedirectResponse("/console/queue" if principal.may(Right.HANDLE) else "/console/search", 303)

    for module in (
        desk_pages,
        search_pages,
        inbox_pages,
        bulk_pages,
        job_pages,
        model_pages,
        audit_pages,
        try_pages,
    ):
        module.add_pages(app, pages)
    return pages


def page_of_error(pages: Pages, request: Request, error: PetitionError) -> Response:
    """What a clerk sees of an error: a notice beside what was typed, or a page of its own."""
    message = words.ERRORS.get(error.kind, error.message)
    context: dict[str, Any] = {"message": message, "visitor": None}
    if "hx-request" in request.headers:
        return pages.notice(request, message, error.http_status)
    return pages.templates.TemplateResponse(request, "refused.html", context, error.http_status)
