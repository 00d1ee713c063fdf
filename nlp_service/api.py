"""The HTTP service: `create_app` builds it from settings; nothing happens at import."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
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
from nlp_service.api_petitions import Short, add_petitions
from nlp_service.batching import Batcher
from nlp_service.bulk import Bulk
from nlp_service.casework import Casework
from nlp_service.console.app import add_console, page_of_error
from nlp_service.desk import Desk
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.intake import Intake
from nlp_service.metrics import Metrics
from nlp_service.office import Office
from nlp_service.open311 import add_open311
from nlp_service.pipeline import Classification, PetitionClassifier
from nlp_service.queue import Queue
from nlp_service.settings import Settings
from nlp_service.similar_index import SimilarIndex
from nlp_service.store import open_store, reach, upgrade
from nlp_service.text import check
from nlp_service.triage import Rules, load_rules

log = logging.getLogger(__name__)

MODEL_BATCH = 32
"""Petitions read together: enough to keep the cores busy, few enough that a lone request behind them waits little."""


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


def create_app(settings: Settings, classifier: PetitionClassifier | None = None, rules: Rules | None = None) -> FastAPI:
    """The service as an ASGI application.

    Args:
        classifier: a loaded one (tests); without it the model of `settings.model` is loaded when the app starts, and a
            PetitionError from loading stops the start.
        rules: loaded ones; without them those of `settings.rules`.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loaded = (
            classifier
            if classifier is not None
            else await asyncio.to_thread(
                PetitionClassifier.load, settings.model, settings.runtime, settings.threads, settings.max_chars
            )
        )
        manifest = loaded.bundle.manifest
        metrics.model.info({"version": manifest.version, "runtime": loaded.encoder.name})
        in_force: Rules = (
            rules if rules is not None else await asyncio.to_thread(load_rules, settings.rules, loaded.bundle.taxonomy)
        )
        engine = open_store(settings.store)
        await asyncio.to_thread(upgrade, engine)
        dispatcher = _dispatcher(engine, settings, metrics)
        batcher: Batcher[str, Classification | PetitionError] = Batcher(
            loaded.classify_many, settings.max_queue, MODEL_BATCH, metrics.batch_size.observe
        )
        metrics.queue_depth.set_function(lambda: batcher.depth)
        batcher.start()
        state = app.state
        state.classifier, state.batcher, state.engine = loaded, batcher, engine
        state.gate = Gate(settings.rate_per_minute)
        state.casework = Casework(engine)
        index = SimilarIndex(engine, manifest.version, settings.index)
        index.start()
        wake = dispatcher.wake if dispatcher else None
        state.intake = Intake(engine, in_force, on_alert=wake)
        desk = Desk(engine, in_force, loaded.reader.wording, second_readings=settings.second_readings, on_alert=wake)
        state.office = Office(
            engine,
            loaded,
            in_force,
            state.casework,
            state.intake,
            desk,
            Queue(engine, state.casework, manifest.version),
            Bulk(engine, state.casework, desk),
            index,
        )
        state.classify = partial(_classify, app, settings, metrics)
        if dispatcher:
            dispatcher.start()
        log.info("ready: model %s on %s, rules %s", manifest.version, loaded.encoder.name, in_force.version)
        try:
            yield
        finally:
            await batcher.close()
            await asyncio.to_thread(index.close)
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
    add_open311(app)
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


async def _classify(
    app: FastAPI, settings: Settings, metrics: Metrics, texts: Sequence[object]
) -> list[Classification | PetitionError]:
    """Answers in order; what cannot be read never takes a place in the queue."""
    answers: list[Classification | PetitionError | None] = []
    readable: list[str] = []
    for text in texts:
        try:
            readable.append(check(text, settings.max_chars))
            answers.append(None)
        except PetitionError as error:
            answers.append(error)
    batcher: Batcher[str, Classification | PetitionError] = app.state.batcher
    read = iter(await batcher.submit(readable) if readable else [])
    complete = [next(read) if item is None else item for item in answers]
    for item in complete:
        if isinstance(item, Classification):
            decision = item.decision
            metrics.classified.labels(
                decision.category.id, decision.urgency.id, decision.petition_type.id, decision.decision
            ).inc()
    return complete


def _add_classify(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    @app.post("/v1/classify", operation_id="classify", tags=["classify"], responses=ERRORS)
    async def classify(request: Request, principal: Classifier, petition: Annotated[PetitionIn, Body()]) -> ResultOut:
        """Classify one petition."""
        result = (await request.app.state.classify([petition.text]))[0]
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
        answers = await request.app.state.classify([p.text for p in petitions])
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
        """The model is loaded, its worker alive, the store reachable."""
        batcher = getattr(request.app.state, "batcher", None)
        if batcher is None or not batcher.alive:
            raise PetitionError(ErrorKind.SHUTTING_DOWN, "the model is not ready; try again in a few seconds")
        try:
            await asyncio.to_thread(reach, request.app.state.engine)
        except SQLAlchemyError as error:
            raise PetitionError(
                ErrorKind.INVALID_STORE, f"the store does not answer ({type(error).__name__}); check the database"
            ) from error
        return {"status": "ready", "model_version": request.app.state.classifier.bundle.manifest.version}

    @app.get("/metrics", operation_id="metrics", tags=["operations"], response_class=Response)
    def read_metrics() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/model", operation_id="model", tags=["model"])
    async def model(request: Request) -> dict[str, Any]:
        """What answers: the manifest, the runtime, the segmenter."""
        classifier: PetitionClassifier = request.app.state.classifier
        return {
            **classifier.bundle.manifest.model_dump(mode="json"),
            "runtime": classifier.encoder.name,
            "running_segmenter": classifier.reader.segmenter.version,
        }

    @app.get("/v1/taxonomy", operation_id="taxonomy", tags=["model"])
    async def taxonomy(request: Request) -> dict[str, Any]:
        """Every label the service can answer, with its Vietnamese name."""
        classifier: PetitionClassifier = request.app.state.classifier
        labels = classifier.bundle.taxonomy
        return {
            "version": labels.version,
            "categories": [
                {
                    "id": category.id,
                    "name": category.name,
                    "definition": category.definition,
                    "lead": {"id": category.lead, "name": labels.bodies[category.lead]},
                    "sensitive": category.sensitive,
                }
                for category in labels.categories
            ],
            "urgency_levels": [{"id": level.id, "name": level.name} for level in labels.urgency_levels],
            "petition_types": [{"id": kind.id, "name": kind.name} for kind in labels.petition_types],
        }


class _BodyLimit:
    """Refuses a body over `limit` bytes, by its declared length or, without one, while it arrives."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
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
