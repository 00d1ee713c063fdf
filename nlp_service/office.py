"""What the service works with (`app.state.office`): made for one model, never changed, handed whole to every request."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from nlp_service.batching import Batcher
from nlp_service.bulk import Bulk
from nlp_service.casework import Casework, scope
from nlp_service.desk import Desk
from nlp_service.errors import PetitionError
from nlp_service.intake import Intake
from nlp_service.pipeline import Classification, PetitionClassifier
from nlp_service.queue import Queue
from nlp_service.roles import Principal, Right
from nlp_service.similar import Found, similar
from nlp_service.similar_index import SimilarIndex
from nlp_service.store import snapshot
from nlp_service.triage import Rules

Answer = Classification | PetitionError
Classify = Callable[[Sequence[object]], Awaitable[list[Answer]]]


@dataclass(frozen=True)
class Office:
    """One province's desk: a model, the rules for its labels, and what is done with petitions by both.

    A request takes the office once (serving.py): classified, stored and explained by one model, whatever comes meanwhile.

    Attributes:
        batcher: the model's own queue.
        classify: answers texts in order through that queue; what cannot be read gets its error.
    """

    engine: Engine
    classifier: PetitionClassifier
    rules: Rules
    casework: Casework
    intake: Intake
    desk: Desk
    queue: Queue
    bulk: Bulk
    index: SimilarIndex
    batcher: Batcher[str, Answer]
    classify: Classify

    @property
    def version(self) -> str:
        """Of the model."""
        return self.classifier.bundle.manifest.version

    def similar(self, principal: Principal, petition_id: int) -> Found:
        """Petitions like one, among those that the principal may see; their texts masked, as in lists.

        Raises:
            PetitionError: FORBIDDEN, NOT_FOUND.
        """
        principal.require(Right.READ_RAW)
        with snapshot(self.engine) as connection:
            return similar(connection, self.index, petition_id, scope(principal), by_sender=True)
