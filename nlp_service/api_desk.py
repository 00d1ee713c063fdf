"""The review desk for other programs: what waits, what a person decides, undo, why, and what is alike."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import Body, FastAPI, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from nlp_service.api_access import Handler
from nlp_service.api_errors import ERRORS
from nlp_service.api_petitions import MAX_PAGE, PetitionId, PetitionListed, QueryText, Short, storable
from nlp_service.casework import Filter
from nlp_service.desk import Outcome, Verdict
from nlp_service.explain import explain
from nlp_service.office import Office
from nlp_service.similar import Likeness


class QueuedPetition(PetitionListed):
    """A petition that waits for a person."""

    risk: int = Field(
        description="0 emergency, 1 complaint or denunciation or doubt of one, 2 sensitive or unclear, 3 ordinary"
    )
    margin: float = Field(
        description="By how much the best category leads the second: little where the model is unsure"
    )
    readings: int = Field(description="How many people have read it")
    holder: str | None = Field(description="Who works on it now")


class QueueOut(BaseModel):
    """The first of the queue, in the order in which they should be read."""

    petitions: list[QueuedPetition]
    total: int


class VerdictIn(BaseModel):
    """What a person says of a petition; what is left out stays as it is."""

    version: int = Field(description="The version that was read; 409 if it has changed since")
    category: Short | None = None
    urgency: Short | None = None
    petition_type: Short | None = None
    commune: Short | None = Field(default=None, description="Code of a commune or ward")
    outside: bool = Field(default=False, description="Not for the province to decide")
    sure: bool = Field(default=True, description="False: another opinion would be welcome")
    reason: Annotated[str, Field(max_length=2_000), AfterValidator(storable)] | None = None
    request_id: Annotated[str, Field(min_length=8, max_length=64), AfterValidator(storable)] | None = Field(
        default=None, description="The same one sent again is answered again and not done again"
    )

    model_config = ConfigDict(extra="forbid")


class OutcomeOut(BaseModel):
    """What was done."""

    id: int = Field(description="Of the operation, to undo it by")
    action: str
    petitions: list[int]
    summary: dict[str, Any] = Field(description="`message`, a Vietnamese sentence, and what else the action tells")


class SimilarPetition(BaseModel):
    """A petition like another one."""

    id: int
    received_at: datetime
    commune: str | None
    category: str
    status: str
    likeness: float = Field(description="0 to 1, of meaning and words")
    kind: Likeness
    reason: str = Field(description="Vietnamese sentence")
    excerpt: str = Field(description="The beginning, personal data masked")


class SimilarOut(BaseModel):
    """What is like a petition, the most alike first."""

    similar: list[SimilarPetition]
    joint: dict[str, Any] | None = Field(
        description="Several people about one matter in one commune within a month: `petitions`, `voices`, `message`"
    )


def add_desk(app: FastAPI) -> None:
    """Add the endpoints; they take `office` from the app's state when it runs."""

    @app.get("/v1/queue", operation_id="read_queue", tags=["desk"], responses=ERRORS)
    def read_queue(
        request: Request,
        principal: Handler,
        commune: QueryText = None,
        category: QueryText = None,
        body: QueryText = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    ) -> QueueOut:
        """What waits for a person: by risk, then by doubt, and no two alike in a row."""
        wanted = Filter(commune=commune, categories=(category,) if category else (), body=body)
        items, total = _office(request).queue.page(principal, wanted, limit)
        return QueueOut.model_validate({"petitions": items, "total": total})

    @app.post("/v1/petitions/{petition_id}/verdict", operation_id="decide_petition", tags=["desk"], responses=ERRORS)
    def decide(
        request: Request, principal: Handler, petition_id: PetitionId, said: Annotated[VerdictIn, Body()]
    ) -> OutcomeOut:
        """Accept or correct a petition's labels: it goes where it then belongs, and is a labelled example."""
        verdict = Verdict(**said.model_dump(exclude={"version", "request_id"}))
        desk = _office(request).desk
        return _told(desk.decide(principal, petition_id, verdict, said.version, said.request_id))

    @app.post("/v1/operations/{operation_id}/undo", operation_id="undo_operation", tags=["desk"], responses=ERRORS)
    def undo(request: Request, principal: Handler, operation_id: PetitionId) -> OutcomeOut:
        """Put back what an operation of your own changed, as long as nobody changed it since."""
        return _told(_office(request).desk.undo(principal, operation_id))

    @app.get(
        "/v1/petitions/{petition_id}/explanation", operation_id="explain_petition", tags=["desk"], responses=ERRORS
    )
    def explanation(request: Request, principal: Handler, petition_id: PetitionId) -> dict[str, Any]:
        """The words that moved the category and the urgency, and without which words the urgency would be another one."""
        at = _office(request)
        return explain(at.classifier, at.casework.text(principal, petition_id)).as_dict()

    @app.get("/v1/petitions/{petition_id}/similar", operation_id="similar_petitions", tags=["desk"], responses=ERRORS)
    def similar(request: Request, principal: Handler, petition_id: PetitionId) -> SimilarOut:
        """Petitions like this one: repeats, the same matter told by others, and whether many complain of it."""
        found = _office(request).similar(principal, petition_id)
        return SimilarOut(
            similar=[SimilarPetition.model_validate(asdict(entry)) for entry in found.similar],
            joint=asdict(found.joint) if found.joint else None,
        )


def _told(outcome: Outcome) -> OutcomeOut:
    return OutcomeOut(id=outcome.id, action=outcome.action, petitions=list(outcome.petitions), summary=outcome.summary)


def _office(request: Request) -> Office:
    office: Office = request.app.state.office
    return office
