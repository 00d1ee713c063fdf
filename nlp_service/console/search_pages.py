"""Search: petitions by their words, their number or code, their labels."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response

from nlp_service.casework import Filter
from nlp_service.console.access import Reader
from nlp_service.console.desk_pages import choices
from nlp_service.console.filters import Asked, asked
from nlp_service.console.pages import Pages, office
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.lookup import look_up
from nlp_service.roles import Right
from nlp_service.sessions import Session

PAGE = 30


def add_pages(app: FastAPI, pages: Pages) -> None:
    """Add the search."""

    @app.get("/console/search", include_in_schema=False)
    def newest(request: Request, visitor: Reader) -> Response:
        """The newest petitions under the labels in the address."""
        given = {name: value for name, value in request.query_params.items() if name != "words"}
        wish = asked(given, office(request).rules)
        return _page(request, visitor, wish, wish.wanted)

    @app.post("/console/search", include_in_schema=False)
    async def search(request: Request, visitor: Reader) -> Response:
        form = dict((await request.form()).items())
        return await run_in_threadpool(_search, request, visitor, form)

    def _search(request: Request, visitor: Session, form: Mapping[str, Any]) -> Response:
        """A petition by its number or code, else all that have the words. `trail`: cursors of the pages after the first
        up to the one that is asked for."""
        wish = asked(form, office(request).rules)
        trail = tuple(str(form.get("trail", "")).split())
        words = wish.typed.get("words")
        if not words:
            if trail or wish.problems:
                return _page(request, visitor, wish, wish.wanted, trail)
            return RedirectResponse(f"/console/search?{wish.query}" if wish.query else "/console/search", 303)
        named = [] if trail else look_up(request.app.state.engine, visitor.principal, words)
        if len(named) == 1:
            return RedirectResponse(f"/console/petitions/{named[0]}", 303)
        if named:
            several = f"{len(named)} đơn mang số hoặc mã này."
            return _page(request, visitor, Asked(wish.typed, Filter(), ()), Filter(ids=tuple(named)), note=several)
        numeric = words.removeprefix("#").isdecimal()
        if not visitor.principal.may(Right.READ_RAW):
            missing = "Không có đơn nào mang số hoặc mã này mà bạn được xem, và vai trò của bạn không được tìm theo lời trong đơn."
            return _page(request, visitor, Asked(wish.typed, wish.wanted, (*wish.problems, missing)), wish.wanted)
        note = "Không có đơn mang số hoặc mã này; dưới đây là những đơn có nhắc đến nó." if numeric else None
        return _page(request, visitor, wish, wish.wanted, trail, note)

    def _page(
        request: Request,
        visitor: Session,
        wish: Asked,
        wanted: Filter,
        trail: tuple[str, ...] = (),
        note: str | None = None,
    ) -> Response:
        problems, items, cursor = list(wish.problems), [], None
        if not problems:
            try:
                found = office(request).casework.find(visitor.principal, wanted, PAGE, trail[-1] if trail else None)
                items, cursor = found.items, found.cursor
            except PetitionError as error:
                if error.kind is not ErrorKind.INVALID_REQUEST:
                    raise
                problems.append("Không mở được trang này của kết quả: hãy tìm lại từ đầu.")
        page = pages.show(
            request,
            "search.html",
            visitor,
            422 if problems else 200,
            asked=wish,
            problems=problems,
            note=note,
            items=items,
            number=len(trail) + 1,
            before=" ".join(trail[:-1]),
            after=" ".join((*trail, cursor)) if cursor else None,
            searches=visitor.principal.may(Right.READ_RAW),
            handles=visitor.principal.may(Right.HANDLE),
            **choices(request),
        )
        # Where the browser comes back to: the same labels, never the words.
        page.headers["HX-Push-Url"] = f"/console/search?{wish.query}" if wish.query else "/console/search"
        return page
