"""What the service works with, made when it starts (`app.state.office`) and handed to every request."""

from dataclasses import dataclass

from sqlalchemy import Engine

from nlp_service.bulk import Bulk
from nlp_service.casework import Casework, scope
from nlp_service.desk import Desk
from nlp_service.intake import Intake
from nlp_service.pipeline import PetitionClassifier
from nlp_service.queue import Queue
from nlp_service.roles import Principal, Right
from nlp_service.similar import Found, similar
from nlp_service.similar_index import SimilarIndex
from nlp_service.store import snapshot
from nlp_service.triage import Rules


@dataclass(frozen=True)
class Office:
    """One province's desk: model, rules, and what is done with petitions."""

    engine: Engine
    classifier: PetitionClassifier
    rules: Rules
    casework: Casework
    intake: Intake
    desk: Desk
    queue: Queue
    bulk: Bulk
    index: SimilarIndex

    def similar(self, principal: Principal, petition_id: int) -> Found:
        """Petitions like one, among those that the principal may see; their texts masked, as in lists.

        Raises:
            PetitionError: FORBIDDEN, NOT_FOUND.
        """
        principal.require(Right.READ_RAW)
        with snapshot(self.engine) as connection:
            return similar(connection, self.index, petition_id, scope(principal), by_sender=True)
