"""The model: which one answers, how good it is on tests and at the desk, and where its limits are."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from nlp_service import live
from nlp_service.agreement import agreement, readings
from nlp_service.console import figures, words
from nlp_service.console.access import Reader
from nlp_service.console.pages import Pages, office
from nlp_service.drift import FAR, Verdict
from nlp_service.serving import Serving
from nlp_service.shadow_counts import comparisons
from nlp_service.store import snapshot
from nlp_service.watch import BEFORE, REFERENCE, WEEKS_BEFORE, Seen, Watch

PERIODS = (30, 90)
"""Days of the desk's work that are looked back on."""

HEAD_NAMES = {"category": "Lĩnh vực", "urgency": "Mức khẩn", "petition_type": "Loại đơn"}
SHADOW_HEADS = {**HEAD_NAMES, "zone": "Vùng"}
FEATURE_NAMES = {"category": "Lĩnh vực", "confidence": "Độ chắc của máy", "length": "Độ dài", "unknown": "Từ lạ"}
COMPARED = {BEFORE: "So với các tuần trước", REFERENCE: "So với đơn đã thử"}
VERDICTS = {Verdict.STABLE: "không đổi", Verdict.DRIFTING: "có thay đổi", Verdict.TOO_FEW: "quá ít đơn"}


def add_pages(app: FastAPI, pages: Pages) -> None:
    """Add the page of the model."""

    @app.get("/console/model", include_in_schema=False)
    def model(request: Request, visitor: Reader, of: str = "") -> Response:
        """`of`: the set of petitions whose details are shown."""
        bundle = office(request).classifier.bundle
        manifest, taxonomy = bundle.manifest, bundle.taxonomy
        names = {label.id: label.name for labels in taxonomy.heads.values() for label in labels}
        sets = figures.score_sets(manifest.scores)
        chosen = next((found for found in sets if found.id == of), sets[0] if sets else None)
        scores: Any = chosen.scores if chosen else {}
        return pages.show(
            request,
            "model.html",
            visitor,
            manifest=manifest,
            figures=figures,
            heads=HEAD_NAMES,
            sets=sets,
            summary=figures.summary(sets),
            chosen=chosen,
            curve=figures.curve_chart(scores),
            points=figures.found(scores, ("curve", "points")) or [],
            reliability=figures.reliability_chart(figures.found(scores, ("category", "reliability"))),
            bins=figures.found(scores, ("category", "reliability")) or [],
            confusion=figures.confusion(scores.get("category"), names),
            classes=figures.classes(scores, names),
            label_names={**words.ZONES, **names},
            shadow_heads=SHADOW_HEADS,
            drift=_drift(request, manifest.version),
            features=FEATURE_NAMES,
            compared=COMPARED,
            verdicts=VERDICTS,
            weeks_before=WEEKS_BEFORE,
            far=FAR,
            **_live(request, manifest.version),
        )


def _drift(request: Request, version: str) -> Seen | None:
    watch: Watch = request.app.state.watch
    return watch.seen if watch.seen and watch.seen.model_version == version else None


def _live(request: Request, version: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    serving: Serving = request.app.state.serving
    with snapshot(request.app.state.engine) as connection:
        pairs = readings(connection)
        return {
            "since": live.answering_since(connection, version),
            "desks": [(days, live.desk(connection, version, now - timedelta(days=days))) for days in PERIODS],
            "agreements": {head: agreement(pairs[head]) for head in HEAD_NAMES},
            "shadows": comparisons(connection, (now - timedelta(days=PERIODS[0])).date()),
            "shadow_days": PERIODS[0],
            "refused": serving.problem,
        }
