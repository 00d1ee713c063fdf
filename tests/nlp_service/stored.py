"""Rows of petitions with what a model said of them at intake."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, insert

from nlp_service.store import petitions, predictions, writing
from tests.nlp_service.offices import NOW

MODEL = "petition-b"


def row(at: datetime = NOW, **changes: Any) -> dict[str, Any]:
    """For `keep`: category, confidence, commune, text, model, repeat_of, masked_at."""
    return {"at": at, "category": "other", "confidence": 0.9, "text": "đường hỏng", "model": MODEL, **changes}


def keep(engine: Engine, rows: Iterable[dict[str, Any]]) -> list[int]:
    """Store petitions."""
    rows = list(rows)
    blank = {
        **{name: {} for name in ("place", "flags")},
        **{name: "x" for name in ("text_sha256", "channel", "submitted_by", "urgency", "petition_type")},
        **{name: "x" for name in ("zone", "lead_body", "status", "folded")},
        **{"emergency": False, "restricted": False},
    }
    with writing(engine) as connection:
        ids = list(
            connection.execute(
                insert(petitions).returning(petitions.c.id, sort_by_parameter_order=True),
                [
                    {
                        **blank,
                        **{name: r["at"] for name in ("received_at", "created_at", "updated_at", "due_at")},
                        **{name: r.get(name) for name in ("repeat_of", "masked_at")},
                        "commune_code": r.get("commune"),
                        "category": r["category"],
                        "text": r["text"],
                    }
                    for r in rows
                ],
            ).scalars()
        )
        told = [said(i, r["at"], r["model"], r["category"], r["confidence"]) for i, r in zip(ids, rows, strict=True)]
        connection.execute(insert(predictions), told)
    return ids


def said(petition: int, at: datetime, model: str, category: str, confidence: float) -> dict[str, Any]:
    """A row of predictions."""
    return {
        **{"petition_id": petition, "at": at, "model_version": model, "taxonomy_version": "0.1"},
        **{"category": category, "category_probability": confidence, "result": {}},
    }
