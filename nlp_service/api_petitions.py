"""`/v1/petitions`: hand in, list, read, change the status; `/v1/audit/verify`."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Body, FastAPI, Header, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
)

from nlp_service import audit
from nlp_service.api_access import Auditor, Handler, Reader, Submitter
from nlp_service.api_errors import ERRORS, ErrorBody, problems
from nlp_service.casework import Casework, Due, Filter, Status
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.intake import Receipt, RequestKey, request_sha256
from nlp_service.office import Office
from nlp_service.roles import Principal
from nlp_service.store import snapshot
from nlp_service.triage import Incoming, Sender
from nlp_service.workdays import VIETNAM

OLDEST = datetime(1990, 1, 1, tzinfo=UTC)
NEWEST_AHEAD = timedelta(days=1)
"""Clocks of other systems may be ahead, not by more than this."""

MAX_PAGE = 200
MAX_ID = 2**63 - 1


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""PostgreSQL stores no NUL, and half a character (a lone surrogate) is none in UTF-8."""


def storable(value: str) -> str:
    """The same text; ValueError where a database would not take it."""
    if _UNSTORABLE.search(value):
        raise ValueError("must hold neither NUL nor half a character (a lone surrogate)")
    return value


def _placed_in_time(value: datetime) -> datetime:
    """A time without a zone is Vietnam's; years that no petition can be of are slips."""
    value = value if value.tzinfo else value.replace(tzinfo=VIETNAM)
    if not OLDEST <= value <= datetime.now(UTC) + NEWEST_AHEAD:
        raise ValueError("must be between 1990 and now")
    return value


def _aware(value: datetime) -> datetime:
    try:
        return (value if value.tzinfo else value.replace(tzinfo=VIETNAM)).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("must be a time between the years 1 and 9999 in UTC") from error


Short = Annotated[str, Field(max_length=200), AfterValidator(storable)]
Moment = Annotated[datetime, AfterValidator(_aware)]


class SenderIn(BaseModel):
    """Who sent the petition; kept apart from its text."""

    name: Short | None = None
    phone: Annotated[str, Field(max_length=50), AfterValidator(storable)] | None = None
    email: Short | None = None
    address: Annotated[str, Field(max_length=500), AfterValidator(storable)] | None = None
    citizen_id: Annotated[str, Field(max_length=20), AfterValidator(storable)] | None = None

    model_config = ConfigDict(extra="forbid")


class LocationIn(BaseModel):
    """Where the matter is, for people; the commune is found by name, not by coordinates."""

    lat: Annotated[float, Field(ge=-90, le=90)] | None = None
    long: Annotated[float, Field(ge=-180, le=180)] | None = None
    address: Annotated[str, Field(max_length=500), AfterValidator(storable)] | None = None
    media_url: Annotated[str, Field(max_length=2_000), AfterValidator(storable)] | None = None

    model_config = ConfigDict(extra="forbid")


class PetitionSubmit(BaseModel):
    """A petition to keep and route."""

    text: str = Field(description="The petition's words, Vietnamese, plain text")
    external_id: Short | None = Field(
        default=None, min_length=1, description="The sending system's own id; makes handing in idempotent"
    )
    received_at: Annotated[datetime, AfterValidator(_placed_in_time)] | None = Field(
        default=None, description="When it came in, ISO 8601; without a zone Vietnam's time; now if not given"
    )
    channel: Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[a-z0-9_.-]+$")] = Field(
        default="api", description="portal, letter, chat, voters_minutes …"
    )
    commune: Short | None = Field(default=None, description="Commune or ward, today's or an older one, or its code")
    sender: SenderIn = Field(default_factory=SenderIn)
    location: LocationIn | None = None

    model_config = ConfigDict(extra="forbid")


class PetitionsSubmit(BaseModel):
    """Many petitions in one request; one that cannot be read spoils nothing else."""

    # Checked one by one in the endpoint; the schema says what each has to be.
    petitions: Annotated[
        list[Any],
        WithJsonSchema({"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/PetitionSubmit"}}),
        Field(min_length=1),
    ]

    model_config = ConfigDict(extra="forbid")


def _one_or_many(body: Any) -> str:
    many = "petitions" in body if isinstance(body, dict) else isinstance(body, PetitionsSubmit)
    return "many" if many else "one"


Submission = Annotated[
    Annotated[PetitionSubmit, Tag("one")] | Annotated[PetitionsSubmit, Tag("many")], Discriminator(_one_or_many)
]


class PetitionOut(BaseModel):
    """A petition as it was judged and routed, without its text."""

    id: int
    external_id: str | None
    received_at: datetime
    channel: str
    status: Status
    version: int = Field(description="Grows with every change; send it back to be sure that nobody was faster")
    emergency: bool
    restricted: bool = Field(description="Seen only by the leading body and by reviewers")
    category: str
    urgency: str
    petition_type: str
    place: dict[str, Any]
    location: dict[str, Any] | None
    flags: dict[str, Any]
    repeat_of: int | None = Field(
        description="The earliest petition with the same words, or of the same sender about the same"
    )
    due_at: datetime
    classification: dict[str, Any] = Field(description="The model's answer, as /v1/classify gives it")
    routing: dict[str, Any] = Field(
        description="Bodies, advice, deadlines with their legal basis, and the trace that explains them"
    )


class ReceiptOut(BaseModel):
    """What became of one petition of many."""

    created: bool | None = Field(default=None, description="False: it was here already")
    petition: PetitionOut | None = None
    error: ErrorBody | None = None


class ReceiptsOut(BaseModel):
    """Receipts in the order of the request."""

    results: list[ReceiptOut]


class PetitionListed(BaseModel):
    """A petition in a list: short, and masked whoever asks."""

    id: int
    external_id: str | None
    received_at: datetime
    channel: str
    status: Status
    version: int
    emergency: bool
    restricted: bool
    category: str
    category_name: str
    category_probability: float
    zone: str
    urgency: str
    petition_type: str
    place: dict[str, Any]
    flags: dict[str, Any]
    repeat_of: int | None
    due_at: datetime
    lead: dict[str, Any]
    excerpt: str = Field(description="The beginning, personal data masked")


class PageOut(BaseModel):
    """Emergencies first, then the newest."""

    petitions: list[PetitionListed]
    cursor: str | None = Field(description="Give it back for the next page; null at the end")


class PetitionDetail(PetitionOut):
    """A petition with its text and everything that happened to it."""

    text: str
    text_masked: bool = Field(
        description="Personal data is masked: this role reads no raw text, or its time has passed"
    )
    sender: dict[str, Any] | None
    links: list[dict[str, Any]] = Field(
        description="merged_into, merged_from, part_of, part, related: with `petition_id` of the other"
    )
    predictions: list[dict[str, Any]]
    routings: list[dict[str, Any]]
    decisions: list[dict[str, Any]]
    audit: list[dict[str, Any]]


class StatusIn(BaseModel):
    """A new status."""

    status: Status
    reason: Annotated[str, Field(max_length=2_000), AfterValidator(storable)] | None = None
    version: int | None = Field(default=None, description="The version you saw; 409 if it has changed since")

    model_config = ConfigDict(extra="forbid")


class VerdictOut(BaseModel):
    """Whether the audit log is whole."""

    intact: bool
    rows: int = Field(description="Rows that are whole, from the beginning")
    head: str = Field(description="Hash of the last of them; note it elsewhere, and give it back later")
    broken_at: int | None
    problem: str | None


PetitionId = Annotated[int, Path(ge=1, le=MAX_ID)]
QueryText = Annotated[Short | None, Query()]


def add_petitions(app: FastAPI, max_batch: int) -> None:
    """Add the endpoints; they take `intake`, `casework`, `engine` and `classify` from the app's state when it runs."""

    @app.post(
        "/v1/petitions",
        operation_id="submit_petitions",
        tags=["petitions"],
        status_code=201,
        responses={
            **ERRORS,
            200: {"model": PetitionOut | ReceiptsOut, "description": "Many petitions, or one that was here already"},
        },
        response_model=PetitionOut | ReceiptsOut,
    )
    async def submit(
        request: Request,
        principal: Submitter,
        submission: Annotated[Submission, Body()],
        idempotency_key: Annotated[Short | None, Header(min_length=1)] = None,
    ) -> Response:
        """Hand in one petition, or many: kept, classified, routed."""
        items = submission.petitions if isinstance(submission, PetitionsSubmit) else [submission]
        if len(items) > max_batch:
            raise PetitionError(
                ErrorKind.BATCH_TOO_LARGE,
                f"{len(items)} petitions in one request, limit {max_batch}; send several requests",
                petitions=len(items),
                limit=max_batch,
            )
        key = RequestKey(idempotency_key, request_sha256(await request.body())) if idempotency_key else None
        many = isinstance(submission, PetitionsSubmit)
        answer = await submit_all(request.app, principal, items, key, many)
        return JSONResponse(
            answer["body"], answer["status"]
        )  # as it is: checking it again would cost more than routing it

    @app.get("/v1/petitions", operation_id="list_petitions", tags=["petitions"], responses=ERRORS)
    def find(
        request: Request,
        principal: Reader,
        commune: QueryText = None,
        category: QueryText = None,
        urgency: QueryText = None,
        petition_type: QueryText = None,
        body: QueryText = None,
        status: Status | None = None,
        due: Due | None = None,
        received_from: Moment | None = None,
        received_to: Moment | None = None,
        q: Annotated[Short | None, Query(description="Every word must be in the text; marks may be left out")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        cursor: QueryText = None,
    ) -> PageOut:
        """Petitions in your scope, emergencies first, then the newest."""
        wanted = Filter(
            commune=commune,
            categories=(category,) if category else (),
            urgency=urgency,
            petition_type=petition_type,
            body=body,
            statuses=(status,) if status else (),
            due=due,
            received_from=received_from,
            received_to=received_to,
            words=q,
        )
        page = _casework(request).find(principal, wanted, limit, cursor)
        return PageOut.model_validate({"petitions": page.items, "cursor": page.cursor})

    @app.get("/v1/petitions/{petition_id}", operation_id="read_petition", tags=["petitions"], responses=ERRORS)
    def read(request: Request, principal: Reader, petition_id: PetitionId) -> PetitionDetail:
        """One petition with its trace and history. Reading a raw text is noted in the audit log."""
        return PetitionDetail.model_validate(_casework(request).read(principal, petition_id))

    @app.patch("/v1/petitions/{petition_id}/status", operation_id="change_status", tags=["petitions"], responses=ERRORS)
    def change_status(
        request: Request, principal: Handler, petition_id: PetitionId, change: Annotated[StatusIn, Body()]
    ) -> PetitionOut:
        """Give a petition another status."""
        changed = _casework(request).change_status(principal, petition_id, change.status, change.reason, change.version)
        return PetitionOut.model_validate(changed)

    @app.get("/v1/audit/verify", operation_id="verify_audit", tags=["audit"], responses=ERRORS)
    def verify(
        request: Request,
        principal: Auditor,
        head: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="A head noted earlier")] = None,
    ) -> VerdictOut:
        """Walk the whole audit log and say whether a row was changed, removed or moved."""
        with snapshot(request.app.state.engine) as connection:
            verdict = audit.verify(connection, head)
        return VerdictOut(
            intact=verdict.intact,
            rows=verdict.rows,
            head=verdict.head,
            broken_at=verdict.broken_at,
            problem=verdict.problem,
        )


async def submit_all(
    app: FastAPI, principal: Principal, items: list[Any], key: RequestKey | None, many: bool
) -> dict[str, Any]:
    """Classify and store; `{"status", "body"}` of the response, which is also what a repeated request gets."""
    at: Office = app.state.office  # one model and its rules from here to the end
    if key and (known := await run_in_threadpool(at.intake.replay, principal.name, key)) is not None:
        return dict(known)
    checked = [_checked(item) for item in items]
    incoming = [item for item in checked if isinstance(item, Incoming)]
    read = iter(await at.classify([item.text for item in incoming]) if incoming else [])
    classified = [next(read) if isinstance(item, Incoming) else item for item in checked]
    # What could not be checked has no petition; its place is held by the error alone.
    placeholders = [item if isinstance(item, Incoming) else Incoming("", datetime.now(UTC)) for item in checked]

    def answer(receipts: list[Receipt | PetitionError]) -> dict[str, Any]:
        if many:
            return {"status": 200, "body": {"results": [_receipt(receipt) for receipt in receipts]}}
        receipt = receipts[0]
        if isinstance(receipt, PetitionError):
            raise receipt
        return {"status": 201 if receipt.created else 200, "body": receipt.body}

    result: dict[str, Any] = await run_in_threadpool(
        at.intake.take, placeholders, classified, principal.name, key, answer
    )
    return result


def _checked(item: Any) -> Incoming | PetitionError:
    if not isinstance(item, PetitionSubmit):
        try:
            item = PetitionSubmit.model_validate(item)
        except ValidationError as error:
            found = problems(error.errors())
            return PetitionError(
                ErrorKind.INVALID_REQUEST,
                f"{found[0]['where']}: {found[0]['problem']}; see /openapi.json for the expected shape",
                problems=found,
            )
    return Incoming(
        text=_UNSTORABLE.sub("", item.text),
        received_at=item.received_at or datetime.now(UTC),
        external_id=item.external_id,
        channel=item.channel,
        commune=item.commune,
        sender=Sender(**item.sender.model_dump()),
        location=item.location.model_dump(exclude_none=True) if item.location else None,
    )


def _receipt(receipt: Receipt | PetitionError) -> dict[str, Any]:
    if isinstance(receipt, PetitionError):
        return receipt.as_dict()
    return {"created": receipt.created, "petition": receipt.body}


def _casework(request: Request) -> Casework:
    casework: Casework = request.app.state.casework
    return casework
