"""Promotion and rollback: prove that a model can answer, then move the pointer, with a row in the audit log.

Nothing is sent to the services: each sees the pointer move, proves the model again on its own machine, and switches.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from nlp_service import audit
from nlp_service.bundle import load_bundle
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.models import Registry, objections, read_gates, version_of
from nlp_service.serving import open_model
from nlp_service.settings import Settings
from nlp_service.store import writing

ACTOR = "cli"
LONGEST_REASON = 200


@dataclass(frozen=True)
class Moved:
    """Where the pointer was, and is.

    Attributes:
        overridden: objections of the gates that were overridden by force.
    """

    before: str | None
    now: str
    overridden: tuple[str, ...] = ()


def promote(engine: Engine, settings: Settings, version: str, reason: str | None = None, force: bool = False) -> Moved:
    """Make a model the current one.

    Args:
        force: in spite of its gates; takes a reason. What the self-test finds cannot be overridden.

    Raises:
        PetitionError: NOT_FOUND, INVALID_REQUEST (force without a reason), CONFLICT (gates, already current, or the
            pointer moved meanwhile), INVALID_MODEL, INVALID_RULES.
    """
    if force and not (reason or "").strip():
        raise PetitionError(ErrorKind.INVALID_REQUEST, '--force takes a reason: add --reason "…"; it is kept for good')
    reason = _short(reason)
    registry = Registry.at(settings.model)
    directory, current = registry.find(version), registry.current()
    candidate = load_bundle(directory).manifest.version
    now = version_of(current) if current else None
    if directory == current or candidate == now:
        raise PetitionError(ErrorKind.CONFLICT, f"'{candidate}' is the current model; there is nothing to promote")
    found = tuple(objections(read_gates(directory), candidate, now))
    if found and not force:
        raise PetitionError(
            ErrorKind.CONFLICT,
            f"'{candidate}' is not promoted: {'; '.join(found)} (to override: --force --reason \"…\")",
            failures=list(found),
        )
    open_model(directory, settings)
    earlier = [*registry.earlier(), *([current] if current else [])]
    payload = {"from": now, "reason": reason, "forced": force, "overridden": list(found)}
    _move(engine, registry, "model.promote", current, directory, earlier, payload)
    return Moved(now, candidate, found)


def rollback(engine: Engine, settings: Settings, reason: str | None = None) -> Moved:
    """Go back to the model that answered before. Again: to the one before that.

    Raises:
        PetitionError: CONFLICT (there is none, or the pointer moved meanwhile), INVALID_MODEL, INVALID_RULES.
    """
    reason = _short(reason)
    registry = Registry.at(settings.model)
    current, earlier = registry.current(), registry.earlier()
    if not earlier:
        raise PetitionError(
            ErrorKind.CONFLICT, "no model answered before this one; choose one with: petitions models promote VERSION"
        )
    directory = earlier.pop()
    open_model(directory, settings)
    now = version_of(current) if current else None
    _move(engine, registry, "model.rollback", current, directory, earlier, {"from": now, "reason": reason})
    return Moved(now, load_bundle(directory).manifest.version)


def _move(
    engine: Engine,
    registry: Registry,
    action: str,
    current: Path | None,
    directory: Path,
    earlier: list[Path],
    payload: dict[str, Any],
) -> None:
    """The audit log's row and the pointer, both or neither."""
    when = datetime.now(UTC)
    before = registry.earlier()
    moved = False
    try:
        with writing(engine) as connection:
            # Its head is locked from here on: two operators go one after the other.
            subject = f"model:{load_bundle(directory).manifest.version}"
            audit.append(connection, when, [audit.Entry(ACTOR, action, subject, payload)])
            if registry.current() != current:
                raise PetitionError(ErrorKind.CONFLICT, "somebody moved the pointer meanwhile; look again and repeat")
            moved = True
            registry.point(directory, earlier)
    except BaseException:
        if moved and current is not None:  # the row was not committed
            registry.point(current, before)
        raise


def _short(reason: str | None) -> str | None:
    reason = (reason or "").strip() or None
    if reason and len(reason) > LONGEST_REASON:
        raise PetitionError(
            ErrorKind.INVALID_REQUEST,
            f"the reason has {len(reason)} characters, limit {LONGEST_REASON}; shorten it",
        )
    return reason
