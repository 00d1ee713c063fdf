"""`/v1/jobs`: hand in a file to be labelled, watch, download, cancel."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nlp_service import tables
from nlp_service.api_access import Classifier
from nlp_service.api_errors import ERRORS, problems
from nlp_service.api_petitions import MAX_PAGE, Short
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.job_desk import JobDesk
from nlp_service.job_files import ending, result_name
from nlp_service.jobs import Job, Options, State
from nlp_service.legacy import Encoding
from nlp_service.roles import Principal
from nlp_service.tables import ENDINGS_OUT
from nlp_service.uploads import Form, declared_bytes, receive

UPLOADS = frozenset({"/v1/jobs", "/console/jobs"})
"""Paths that take files: their bodies have a limit of their own and are read as they arrive."""

MEDIA_TYPES = {**tables.MEDIA_TYPES, "json": "application/json", "html": "text/html; charset=utf-8"}
"""Of results by ending, and of reports by kind."""

JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


class JobIn(BaseModel):
    """The fields beside the file; an empty one is one that was not given."""

    format: Literal["csv", "xlsx", "jsonl", "parquet"] | None = Field(
        default=None, description="Of the result; as the file if it is not given, XLSX where that cannot be written"
    )
    sheet: Short | None = Field(default=None, description="Of a workbook; all that hold the same table if not given")
    text_column: Short | None = Field(default=None, description="Column with the petition; found if not given")
    id_column: Short | None = Field(default=None, description="Column that names a row")
    place_column: list[Short] = Field(
        default=[], max_length=5, description="Columns that say where, read together; found if not given"
    )
    date_column: Short | None = Field(default=None, description="Column that dates a row; found if not given")
    encoding: Literal["auto"] | Encoding | None = Field(
        default=None, description="How the petitions are written; found if auto or not given"
    )

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def of(cls, form: Form) -> "JobIn":
        """Raises PetitionError INVALID_REQUEST naming the field that is wrong."""
        given: dict[str, Any] = {}
        for name, value in form.fields:
            if value.strip():
                given[name] = [*given.get(name, ()), value] if name == "place_column" else value
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            found = problems(error.errors())
            message = f"{found[0]['where']}: {found[0]['problem']}; see /openapi.json for the expected shape"
            raise PetitionError(ErrorKind.INVALID_REQUEST, message, problems=found) from error

    def options(self) -> Options:
        """How to read the file."""
        encoding = None if self.encoding in (None, "auto") else str(self.encoding)
        places = tuple(self.place_column)
        return Options(self.sheet, self.text_column, self.id_column, places, self.date_column, encoding)

    def output_ending(self, file_name: str) -> str:
        """Of the result of a file."""
        own = f".{self.format}" if self.format else ending(file_name)
        return own if own in ENDINGS_OUT else ".xlsx"


class JobErrorOut(BaseModel):
    """Why a job failed."""

    kind: ErrorKind
    message: str


class JobOut(BaseModel):
    """A labelling job."""

    id: str
    owner: str = Field(description="Who handed it in: nobody else sees it but admins")
    file_name: str
    input_bytes: int
    format: str = Field(description="Of the result")
    state: State
    cancelling: bool = Field(description="It is to be cancelled and has not ended yet")
    rows_done: int
    rows_total: int | None = Field(description="Null until the file was read")
    rows_per_second: float | None
    seconds_left: float | None = Field(description="At the rate so far; writing the result comes on top")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="When a job that has ended is removed with its files")
    error: JobErrorOut | None


class JobsOut(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobOut]


def _file(description: str, *kinds: str) -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPES[kind]: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
    return {**ERRORS, 200: {"description": description, "content": content}}


def add_jobs(app: FastAPI) -> None:
    """Add the endpoints; they take `job_desk` from the app's state when it runs."""
    form = JobIn.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions = form.pop("$defs", {})
    form["properties"]["file"] = {"type": "string", "format": "binary", "description": "The file to label"}
    form["required"] = ["file"]
    form["properties"]["encoding"]["anyOf"] = [{"enum": ["auto", *definitions["Encoding"]["enum"]], "type": "string"}]

    @app.post(
        "/v1/jobs",
        operation_id="submit_job",
        tags=["jobs"],
        status_code=202,
        responses=ERRORS,
        openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}},
    )
    async def submit(request: Request, principal: Classifier, response: Response) -> JobOut:
        """Hand in a file to be labelled; a job is run when those before it have ended."""
        job = await take(request, principal)
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return _told(job_desk(request), job)

    @app.get("/v1/jobs", operation_id="list_jobs", tags=["jobs"], responses=ERRORS)
    def find(request: Request, principal: Classifier, limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50) -> JobsOut:
        """Your jobs, the newest first; for an admin everybody's."""
        desk = job_desk(request)
        return JobsOut(jobs=[_told(desk, job) for job in desk.listed(principal, limit)])

    @app.get("/v1/jobs/{job_id}", operation_id="read_job", tags=["jobs"], responses=ERRORS)
    def read(request: Request, principal: Classifier, job_id: JobId) -> JobOut:
        """How far a job is."""
        desk = job_desk(request)
        return _told(desk, desk.read(principal, job_id)[0])

    @app.get(
        "/v1/jobs/{job_id}/result",
        operation_id="download_job",
        tags=["jobs"],
        response_class=FileResponse,
        responses=_file("The labelled file", *ENDINGS_OUT),
    )
    def result(request: Request, principal: Classifier, job_id: JobId) -> Response:
        """The labelled file of a job that is done."""
        return send_result(job_desk(request), principal, job_id)

    @app.get(
        "/v1/jobs/{job_id}/report",
        operation_id="download_job_report",
        tags=["jobs"],
        response_class=FileResponse,
        responses=_file("What the run counted and noted", "json", "html"),
    )
    def report(
        request: Request, principal: Classifier, job_id: JobId, format: Literal["json", "html"] = "json"
    ) -> Response:
        """What was found and decided while labelling, for a program or for a person."""
        return send_report(job_desk(request), principal, job_id, format)

    @app.post("/v1/jobs/{job_id}/cancel", operation_id="cancel_job", tags=["jobs"], responses=ERRORS)
    def cancel(request: Request, principal: Classifier, job_id: JobId) -> JobOut:
        """End a job and remove its files; one that runs ends within a second or two."""
        desk = job_desk(request)
        return _told(desk, desk.cancel(principal, job_id))


async def take(request: Request, principal: Principal, admit: Callable[[Form], Form] = lambda form: form) -> Job:
    """Queue the file of a form.

    Args:
        admit: looks at the form when it has come in, and returns the fields that are the job's.

    Raises:
        PetitionError: FORBIDDEN, BODY_TOO_LARGE, INVALID_FILE, INVALID_REQUEST, INVALID_STORE. Nothing is kept then.
    """
    desk = job_desk(request)
    job_id = await run_in_threadpool(desk.reserve, principal, declared_bytes(request))
    try:
        form = admit(await receive(request, partial(desk.open_input, job_id), desk.limit))
        wanted = JobIn.of(form)
    except BaseException:
        desk.discard(job_id)  # not in a thread: a request that was broken off gets none
        raise
    output, options = wanted.output_ending(form.file_name), wanted.options()
    return await run_in_threadpool(desk.submit, principal, job_id, form.file_name, form.file_bytes, output, options)


def send_result(desk: JobDesk, principal: Principal, job_id: str) -> Response:
    """The labelled file as a download."""
    job, path = desk.result(principal, job_id)
    return _download(path, MEDIA_TYPES[job.output_ending], result_name(job))


def send_report(desk: JobDesk, principal: Principal, job_id: str, kind: str) -> Response:
    """The run's report as a download."""
    job, path = desk.report(principal, job_id, kind)
    return _download(path, MEDIA_TYPES[kind], f"{result_name(job)}.report.{kind}")


def _download(path: FilePath, media_type: str, name: str) -> Response:
    # Never shown in place: what is in it came from a stranger's file.
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Security-Policy": "sandbox"}
    return FileResponse(path, media_type=media_type, filename=name, headers=headers)


def _told(desk: JobDesk, job: Job) -> JobOut:
    return JobOut(
        id=job.id,
        owner=job.owner,
        file_name=job.file_name,
        input_bytes=job.input_bytes,
        format=job.output_ending.removeprefix("."),
        state=job.state,
        cancelling=job.cancelling,
        rows_done=job.rows_done,
        rows_total=job.rows_total,
        rows_per_second=job.rows_per_second,
        seconds_left=job.seconds_left,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        expires_at=job.finished_at and job.finished_at + desk.keep_for,
        error=JobErrorOut.model_validate(job.error) if job.error else None,
    )


def job_desk(request: Request) -> JobDesk:
    """The jobs of the app that serves this request."""
    found: JobDesk = request.app.state.job_desk
    return found
