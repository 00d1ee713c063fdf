"""HTTP: which model answers, what its labels are, and looking at the pointer at once."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from nlp_service.api_access import needs
from nlp_service.api_errors import ERRORS
from nlp_service.office import Office
from nlp_service.roles import Principal, Right
from nlp_service.serving import Serving

Operator = Annotated[Principal, Depends(needs(Right.OPERATE))]


class ReloadOut(BaseModel):
    """What answers after a look at the pointer."""

    model_config = ConfigDict(protected_namespaces=())

    model_version: str
    changed: bool = Field(description="Whether another model took over just now")
    previous: str | None = Field(description="Version kept in memory, so that going back takes no loading")


def add_models(app: FastAPI) -> None:
    """Add the endpoints; they take `office` and `serving` from the app's state when it runs."""

    @app.get("/v1/model", operation_id="model", tags=["model"])
    async def model(request: Request) -> dict[str, Any]:
        """What answers: the manifest, the runtime, the segmenter."""
        classifier = _office(request).classifier
        return {
            **classifier.bundle.manifest.model_dump(mode="json"),
            "runtime": classifier.encoder.name,
            "running_segmenter": classifier.reader.segmenter.version,
        }

    @app.post("/v1/model/reload", operation_id="reload_model", tags=["model"], responses=ERRORS)
    async def reload(request: Request, principal: Operator) -> ReloadOut:
        """Serve the model that the pointer names, without waiting for the next look; one that was refused is tried again.

        Answers when the model has taken over. A model that cannot be served is the error, and the old one goes on.
        """
        serving: Serving = request.app.state.serving
        changed = await serving.look(again=True)
        before = serving.before
        return ReloadOut(
            model_version=serving.office.version, changed=changed, previous=before.version if before else None
        )

    @app.get("/v1/taxonomy", operation_id="taxonomy", tags=["model"])
    async def taxonomy(request: Request) -> dict[str, Any]:
        """Every label the service can answer, with its Vietnamese name."""
        labels = _office(request).classifier.bundle.taxonomy
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


def _office(request: Request) -> Office:
    office: Office = request.app.state.office
    return office
