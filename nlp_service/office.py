"""What the service works with, made when it starts (`app.state.office`) and handed to every request."""

from dataclasses import dataclass

from nlp_service.bulk import Bulk
from nlp_service.casework import Casework
from nlp_service.desk import Desk
from nlp_service.intake import Intake
from nlp_service.pipeline import PetitionClassifier
from nlp_service.queue import Queue
from nlp_service.triage import Rules


@dataclass(frozen=True)
class Office:
    """One province's desk: model, rules, and what is done with petitions."""

    classifier: PetitionClassifier
    rules: Rules
    casework: Casework
    intake: Intake
    desk: Desk
    queue: Queue
    bulk: Bulk
