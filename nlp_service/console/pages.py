"""What every page has in common: its frame, its notices, what it takes from the app."""

import uuid
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from fastapi.templating import Jinja2Templates

from nlp_service.office import Office
from nlp_service.sessions import Session


def office(request: Request) -> Office:
    """The office of the app that serves this request."""
    found: Office = request.app.state.office
    return found


@dataclass(frozen=True)
class Pages:
    """Renders templates for a visitor."""

    templates: Jinja2Templates

    def show(self, request: Request, template: str, visitor: Session, status: int = 200, **context: Any) -> Response:
        """A page, or a part of one. Every one has the visitor, and a number of its own for what it may ask to be done."""
        context = {"visitor": visitor, "request_id": uuid.uuid4().hex, **context}
        return self.templates.TemplateResponse(request, template, context, status)

    def notice(self, request: Request, message: str, status: int, kind: str = "error") -> Response:
        """A sentence above the page that stays as it is: nothing that was typed is lost."""
        body = self.templates.get_template("_notice.html").render({"message": message, "kind": kind})
        return HTMLResponse(body, status, {"HX-Retarget": "#notice", "HX-Reswap": "innerHTML"})
