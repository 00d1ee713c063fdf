"""Try a petition: what the model would say of a text, where it would go, by when, and why. Nothing is stored."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Form, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from markupsafe import Markup

from nlp_service.console import words
from nlp_service.console.access import needs
from nlp_service.console.pages import Pages, office
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.explain import Explanation, explain
from nlp_service.office import Office
from nlp_service.pipeline import Classification
from nlp_service.roles import Right
from nlp_service.sessions import Session
from nlp_service.triage import Incoming, flags_as_dict, place_as_dict, routing_as_dict

Trier = Annotated[Session, Depends(needs(Right.CLASSIFY))]


@dataclass(frozen=True)
class Tried:
    """The answer for one text.

    Attributes:
        place, flags, route: as a stored petition would have them.
        coverage: share of petitions whose right category is in the prediction set; None without sets.
        lines: the text in normal form, the words marked that speak for its category.
    """

    classification: Classification
    place: dict[str, Any]
    flags: dict[str, Any]
    route: dict[str, Any]
    due_at: datetime
    coverage: float | None
    why: Explanation
    lines: list[Markup]


def add_pages(app: FastAPI, pages: Pages) -> None:
    """Add the page."""

    @app.get("/console/try", include_in_schema=False)
    def page(request: Request, visitor: Trier) -> Response:
        return pages.show(request, "try.html", visitor, text="")

    @app.post("/console/try", include_in_schema=False)
    async def tried(request: Request, visitor: Trier, text: Annotated[str, Form()] = "") -> Response:
        """The answer: alone for htmx, otherwise below the text on the whole page."""
        status = 200
        try:
            at = office(request)
            answer = (await at.classify([text]))[0]
            if isinstance(answer, PetitionError):
                raise answer
            found: dict[str, Any] = {"tried": await run_in_threadpool(judged, at, text, answer)}
        except PetitionError as error:
            found, status = {"refused": refusal(error)}, error.http_status
        template = "_tried.html" if "hx-request" in request.headers else "try.html"
        return pages.show(request, template, visitor, status, text=text, **found)


def judged(at: Office, text: str, classification: Classification) -> Tried:
    """What follows from the model's answer if the text came in now, and what moved it. Takes as long as some classifications."""
    incoming = Incoming(text, datetime.now(UTC))
    assessment = at.rules.assess(incoming, classification)
    why = explain(at.classifier, text)
    sets = at.classifier.bundle.manifest.prediction_sets.get("category")
    places = [
        {"start": start, "end": end} for span in why.category.spans if span.weight > 0 for start, end in span.places
    ]
    return Tried(
        classification=classification,
        place=place_as_dict(assessment.place),
        flags=flags_as_dict(assessment),
        route=routing_as_dict(assessment, at.rules.routing),
        due_at=assessment.answer_by,
        coverage=sets.coverage if sets else None,
        why=why,
        lines=words.paragraphs(text, places),
    )


def refusal(error: PetitionError) -> str:
    """Why there is no answer, in Vietnamese."""
    if error.kind is ErrorKind.TEXT_TOO_LONG:
        sizes = (words.number(error.detail[name]) for name in ("characters", "limit"))
        return "Đơn quá dài: {} ký tự, tối đa {}. Hãy chia thành nhiều phần.".format(*sizes)
    return words.ERRORS.get(error.kind, "Không phân loại được. Hãy thử lại; nếu vẫn lỗi, báo quản trị viên.")
