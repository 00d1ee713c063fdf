"""The HTTP service: `create_app` builds it from settings; nothing happens at import."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nlp_service import __version__
from nlp_service.alerts import Dispatcher, Webhook, undelivered
from nlp_service.api_access import Classifier, Gate
from nlp_service.api_desk import add_desk
from nlp_service.api_errors import ERRORS, ErrorBody, ErrorOut, add_errors
from nlp_service.api_jobs import UPLOADS, add_jobs
from nlp_service.api_models import add_models
from nlp_service.api_petitions import Short, add_petitions
from nlp_service.casework import Casework
from nlp_service.console.app import add_console, page_of_error
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.job_desk import JobDesk
from nlp_service.job_files import JobFiles
from nlp_service.job_process import Work
from nlp_service.job_runner import JobRunner
from nlp_service.jobs import State, count
from nlp_service.label_answers import Classify
from nlp_service.metrics import Metrics
from nlp_service.office import Office
from nlp_service.open311 import add_open311
from nlp_service.pipeline import PetitionClassifier
from nlp_service.serving import Model, Serving
from nlp_service.settings import Settings
from nlp_service.shadow import Shadow
from nlp_service.staffing import Staffing
from nlp_service.store import open_store, reach, upgrade
from nlp_service.triage import Rules, load_rules
from nlp_service.watch import Watch

log = logging.getLogger(__name__)


class PetitionIn(BaseModel):
    """A petition to classify."""

    text: str = Field(description="The petition's words, Vietnamese, plain text")
    commune: str | None = Field(default=None, max_length=200, description="Commune or ward, if the sender named one")
    received_at: datetime | None = Field(default=None, description="When it came in, ISO 8601")


class BatchPetitionIn(BaseModel):
    """One petition of a batch. `text` is checked petition by petition, so that a bad one spoils nothing else."""

    id: Short | int | None = Field(default=None, description="Comes back with the result")
    text: Any = Field(default=None, description="The petition's words, Vietnamese, plain text")
    commune: str | None = Field(default=None, max_length=200)
    received_at: datetime | None = None


class BatchIn(BaseModel):
    """Many petitions in one request."""

    petitions: list[BatchPetitionIn]


class ScoredOut(BaseModel):
    """A label with its probability."""

    id: str
    name: str = Field(description="Vietnamese name, for people")
    probability: float = Field(ge=0, le=1, description="Calibrated on held-out petitions")


class ReasonOut(BaseModel):
    """Why the decision is what it is."""

    code: str
    message: str = Field(description="Vietnamese sentence for the clerk")


class ResultOut(BaseModel):
    """The answer to one petition."""

    category: ScoredOut
    alternatives: list[ScoredOut] = Field(max_length=3)
    prediction_set: list[ScoredOut] = Field(
        default=[], description="Categories that remain possible at the coverage that the model's manifest states"
    )
    urgency: ScoredOut
    petition_type: ScoredOut
    decision: str = Field(description="auto, suggest or human", pattern="^(auto|suggest|human)$")
    reasons: list[ReasonOut]
    windows: int = Field(ge=1, description="Overlapping windows the text was read in; all of it was read")
    model_version: str
    taxonomy_version: str

    model_config = ConfigDict(protected_namespaces=())


class BatchItemOut(BaseModel):
    """Either `result` or `error`, with the sender's id."""

    id: str | int | None = None
    result: ResultOut | None = None
    error: ErrorBody | None = None


class BatchOut(BaseModel):
    """Results in the order of the request."""

    results: list[BatchItemOut]


def create_app(
    settings: Settings,
    classifier: PetitionClassifier | None = None,
    rules: Rules | None = None,
    job_classify: Classify | None = None,
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        classifier: a loaded one (tests); without it the model of `settings.model` is loaded when the app starts, and a
            PetitionError from loading stops the start.
        rules: loaded ones; without them those of `settings.rules`.
        job_classify: stands in for the model in labelling jobs (tests); picklable.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loaded = (
            classifier
            if classifier is not None
            else await asyncio.to_thread(
                PetitionClassifier.load,
                settings.model,
                settings.runtime,
                settings.threads,
                settings.max_chars,
                settings.auto_route,
            )
        )
        in_force: Rules = (
            rules if rules is not None else await asyncio.to_thread(load_rules, settings.rules, loaded.bundle.taxonomy)
        )
        engine = open_store(settings.store)
        await asyncio.to_thread(upgrade, engine)
        dispatcher = _dispatcher(engine, settings, metrics)
        shadow = _shadow(engine, settings, metrics)
        state = app.state
        state.engine, state.casework, state.shadow = engine, Casework(engine), shadow
        state.gate = Gate(settings.rate_per_minute)
        wake = dispatcher.wake if dispatcher else None
        staffing = Staffing(engine, state.casework, settings, metrics, wake, shadow)

        def answers_now(office: Office) -> None:
            state.office, state.batcher = office, office.batcher
            metrics.model.info({"version": office.version, "runtime": office.classifier.encoder.name})

        def took_over(office: Office) -> None:
            answers_now(office)
            metrics.model_switches.inc()
            watch.wake()

        first = staffing.office(Model(loaded, in_force))
        first.batcher.start()
        first.index.start()
        answers_now(first)
        state.serving = Serving(
            settings, first, staffing.office, took_over, lambda problem: metrics.model_refused.set(problem is not None)
        )
        metrics.queue_depth.set_function(lambda: state.batcher.depth)
        state.watch = watch = Watch(engine, lambda: state.office)
        state.serving.start()
        metrics.registry.register(watch)
        watch.start()
        runner = _jobs(app, engine, settings, metrics, job_classify)
        runner.start()
        if shadow:
            shadow.start()
        if dispatcher:
            dispatcher.start()
        log.info("ready: model %s on %s, rules %s", first.version, loaded.encoder.name, in_force.version)
        try:
            yield
        finally:
            metrics.registry.unregister(watch)
            await asyncio.to_thread(watch.close)
            await asyncio.to_thread(runner.stop)
            await state.serving.close()
            if shadow:
                await asyncio.to_thread(shadow.close)
            if dispatcher:
                await asyncio.to_thread(dispatcher.stop)
            engine.dispose()
            log.info("stopped: all accepted petitions were answered")

    app = FastAPI(
        title="Petition triage",
        version=__version__,
        description="Issue category, urgency and petition type of a citizen's petition in Vietnamese.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(_Measure, metrics=metrics)
    app.add_middleware(_BodyLimit, limit=settings.max_body_bytes)
    pages = add_console(app)
    add_errors(app, metrics, partial(page_of_error, pages))
    _add_classify(app, settings, metrics)
    add_petitions(app, min(settings.max_batch, settings.max_queue))
    add_desk(app)
    add_jobs(app)
    add_open311(app)
    add_models(app)
    _add_operations(app, metrics)
    return app


def _dispatcher(engine: Engine, settings: Settings, metrics: Metrics) -> Dispatcher | None:
    if settings.alert_url is None:
        return None
    metrics.alerts_undelivered.set_function(lambda: undelivered(engine))
    if settings.alert_secret is None:
        raise PetitionError(
            ErrorKind.INVALID_REQUEST,
            "PETITIONS_ALERT_URL is set without PETITIONS_ALERT_SECRET; set both: alerts are signed",
        )
    webhook = Webhook(str(settings.alert_url), settings.alert_secret.get_secret_value())
    return Dispatcher(engine, webhook, count=lambda outcome: metrics.alerts.labels(outcome).inc())


def _jobs(app: FastAPI, engine: Engine, settings: Settings, metrics: Metrics, classify: Classify | None) -> JobRunner:
    files, keep_for = JobFiles(settings.jobs), timedelta(days=settings.job_days)
    # The pointer and not a model's directory: a job is labelled by the model that it names when the job begins.
    work = Work(settings.model, settings.rules, settings.runtime, settings.max_chars, classify=classify)
    runner = JobRunner(engine, files, work, keep_for, metrics.job_rows.inc)
    app.state.job_desk = JobDesk(engine, files, settings.max_job_bytes, keep_for, runner.wake)
    for job_state in State:
        metrics.jobs.labels(job_state.value).set_function(partial(count, engine, job_state))
    return runner


def _shadow(engine: Engine, settings: Settings, metrics: Metrics) -> Shadow | None:
    if settings.shadow is None:
        return None
    shadow = Shadow(engine, settings.shadow, settings, lambda outcome, n: metrics.shadow.labels(outcome).inc(n))
    metrics.shadow_running.set_function(lambda: shadow.running)
    return shadow


def _add_classify(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    @app.post("/v1/classify", operation_id="classify", tags=["classify"], responses=ERRORS)
    async def classify(request: Request, principal: Classifier, petition: Annotated[PetitionIn, Body()]) -> ResultOut:
        """Classify one petition."""
        at: Office = request.app.state.office
        result = (await at.classify([petition.text]))[0]
        if isinstance(result, PetitionError):
            raise result
        return ResultOut.model_validate(result.as_dict())

    @app.post(
        "/v1/classify/batch",
        operation_id="classify_batch",
        tags=["classify"],
        responses=ERRORS,
        response_model=BatchOut,
        response_model_exclude_none=True,
    )
    async def classify_batch(request: Request, principal: Classifier, batch: Annotated[BatchIn, Body()]) -> Response:
        """Classify many petitions; results in order, a petition that cannot be read has `error` for `result`."""
        petitions = batch.petitions
        limit = min(settings.max_batch, settings.max_queue)
        if len(petitions) > limit:
            raise PetitionError(
                ErrorKind.BATCH_TOO_LARGE,
                f"{len(petitions)} petitions in one request, limit {limit}; send several requests",
                petitions=len(petitions),
                limit=limit,
            )
        results = []
        at: Office = request.app.state.office
        answers = await at.classify([p.text for p in petitions])
        for petition, item in zip(petitions, answers, strict=True):
            if isinstance(item, PetitionError):
                metrics.errors.labels(item.kind.value).inc()
                results.append({"id": petition.id, **item.as_dict()})
            else:
                results.append({"id": petition.id, "result": item.as_dict()})
        return JSONResponse({"results": results})


def _add_operations(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/healthz", operation_id="healthz", tags=["operations"])
    async def healthz() -> dict[str, str]:
        """The process is up."""
        return {"status": "ok"}

    @app.get("/readyz", operation_id="readyz", tags=["operations"], responses={503: {"model": ErrorOut}})
    async def readyz(request: Request) -> dict[str, str]:
        """The model is loaded, its worker alive, the store reachable. `warning`: another model was to answer and cannot."""
        batcher = getattr(request.app.state, "batcher", None)
        if batcher is None or not batcher.alive:
            raise PetitionError(ErrorKind.SHUTTING_DOWN, "the model is not ready; try again in a few seconds")
        try:
            await asyncio.to_thread(reach, request.app.state.engine)
        except SQLAlchemyError as error:
            raise PetitionError(
                ErrorKind.INVALID_STORE, f"the store does not answer ({type(error).__name__}); check the database"
            ) from error
        serving: Serving = request.app.state.serving
        warning = {"warning": serving.problem} if serving.problem else {}
        return {"status": "ready", "model_version": serving.office.version, **warning}

    @app.get("/metrics", operation_id="metrics", tags=["operations"], response_class=Response)
    def read_metrics() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


class _BodyLimit:
    """Refuses a body over `limit` bytes, by its declared length or, without one, while it arrives. Uploads have their own."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"] == "POST" and scope["path"] in UPLOADS):
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._limit:
            await self._refuse(int(declared), scope, receive, send)
            return
        received = 0
        chunks: list[Message] = []
        while True:
            message = await receive()
            chunks.append(message)
            received += len(message.get("body", b""))
            if received > self._limit:
                await self._refuse(received, scope, receive, send)
                return
            if message["type"] != "http.request" or not message.get("more_body", False):
                break
        pending = iter(chunks)

        async def replay() -> Message:
            return next(pending, None) or await receive()

        await self._app(scope, replay, send)

    async def _refuse(self, size: int, scope: Scope, receive: Receive, send: Send) -> None:
        error = PetitionError(
            ErrorKind.BODY_TOO_LARGE,
            f"request body has {size:,} bytes or more, limit {self._limit:,}; split it or raise PETITIONS_MAX_BODY_BYTES",
            limit=self._limit,
        )
        await JSONResponse(error.as_dict(), error.http_status, {"Connection": "close"})(scope, receive, send)


class _Measure:
    """Counts and times requests by route template, never by raw path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched") or "unmatched"
            self._metrics.requests.labels(scope["method"], route, str(status)).inc()
            self._metrics.request_seconds.labels(route).observe(time.perf_counter() - started)
