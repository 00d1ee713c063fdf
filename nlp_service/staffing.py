"""Makes an office for a model: its queue, its index, and everything that works by its labels."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from nlp_service.batching import Batcher
from nlp_service.bulk import Bulk
from nlp_service.casework import Casework
from nlp_service.desk import Desk
from nlp_service.errors import PetitionError
from nlp_service.intake import Intake
from nlp_service.metrics import Metrics
from nlp_service.office import Answer, Office
from nlp_service.pipeline import Classification
from nlp_service.queue import Queue
from nlp_service.serving import Model
from nlp_service.settings import Settings
from nlp_service.shadow import Shadow
from nlp_service.similar_index import SimilarIndex
from nlp_service.text import check

MODEL_BATCH = 32
"""Petitions read together: enough to keep the cores busy, few enough that a lone request behind them waits little."""


@dataclass(frozen=True)
class Staffing:
    """What stays when the model changes.

    Attributes:
        on_alert: as `Intake` takes it.
        shadow: reads what was answered; None: nothing does.
    """

    engine: Engine
    casework: Casework
    settings: Settings
    metrics: Metrics
    on_alert: Callable[[], None] | None = None
    shadow: Shadow | None = None

    def office(self, model: Model) -> Office:
        """An office whose queue and index are not started yet."""
        loaded, rules, engine = model.classifier, model.rules, self.engine
        version = loaded.bundle.manifest.version

        def read(texts: Sequence[str]) -> Sequence[Answer]:
            started = time.perf_counter()
            answers = loaded.classify_many(texts)
            if self.shadow:
                self.shadow.took(version, len(texts), time.perf_counter() - started)
            return answers

        async def classify(texts: Sequence[object]) -> list[Answer]:
            return await self._classify(batcher, texts)

        batcher: Batcher[str, Answer] = Batcher(
            read, self.settings.max_queue, MODEL_BATCH, self.metrics.batch_size.observe
        )
        desk = Desk(
            engine,
            rules,
            loaded.reader.wording,
            second_readings=self.settings.second_readings,
            on_alert=self.on_alert,
        )
        return Office(
            engine,
            loaded,
            rules,
            self.casework,
            Intake(engine, rules, on_alert=self.on_alert),
            desk,
            Queue(engine, self.casework, version),
            Bulk(engine, self.casework, desk),
            SimilarIndex(engine, version, self.settings.index),
            batcher,
            classify,
        )

    async def _classify(self, batcher: Batcher[str, Answer], texts: Sequence[object]) -> list[Answer]:
        """Answers in order; what cannot be read never takes a place in the queue."""
        answers: list[Answer | None] = []
        readable: list[str] = []
        for text in texts:
            try:
                readable.append(check(text, self.settings.max_chars))
                answers.append(None)
            except PetitionError as error:
                answers.append(error)
        read = await batcher.submit(readable) if readable else []
        if self.shadow:
            self.shadow.offer(readable, read)
        following = iter(read)
        complete = [next(following) if item is None else item for item in answers]
        for item in complete:
            if isinstance(item, Classification):
                decision = item.decision
                self.metrics.classified.labels(
                    decision.category.id, decision.urgency.id, decision.petition_type.id, decision.decision
                ).inc()
        return complete
