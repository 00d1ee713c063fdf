"""`petitions models`: which models there are, which one answers, promotion and rollback, and what a shadow found."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlp_service.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from nlp_service.bundle import Provenance
    from nlp_service.live import Rate
    from nlp_service.shadow_counts import Comparison

app = typer.Typer(name="models", help="Models: list, show, promote, rollback, shadow, reread.", no_args_is_help=True)

VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Version, or name of the directory")]
ReasonOption = Annotated[str | None, typer.Option(help="Goes into the audit log; no personal data")]


@app.command("list")
def models_list() -> None:
    """List models, the newest first: which answers, which a rollback leads to, scores, whether the files are whole."""
    from nlp_service.models import Registry, headline

    for entry in Registry.at(Settings().model).entries():
        scores = headline(entry.manifest.scores) if entry.manifest else {}
        typer.echo(
            "\t".join(
                (
                    entry.mark or "-",
                    entry.version,
                    entry.manifest.created[:10] if entry.manifest else "-",
                    "; ".join(f"{name}: {told}" for name, told in scores.items()) or "no scores",
                    f"DAMAGED: {entry.problem}" if entry.problem else "whole",
                )
            )
        )


@app.command("show")
def models_show(version: VersionArgument) -> None:
    """Show one model: what it is, what it was trained on, its scores on own and real petitions apart, its gates."""
    from nlp_service.bundle import load_bundle
    from nlp_service.models import Registry, headline, read_gates

    directory = Registry.at(Settings().model).find(version)
    manifest, gates = load_bundle(directory).manifest, read_gates(directory)
    limits = manifest.thresholds
    lines: list[tuple[str, str]] = [
        ("version", manifest.version),
        ("directory", str(directory)),
        ("created", manifest.created),
        ("encoder", str(manifest.encoder.get("name", "-"))),
        ("taxonomy", f"{manifest.taxonomy_version}, {len(manifest.heads['category'].labels)} categories"),
        ("text form", f"{manifest.text_version}, {manifest.segmenter}"),
        ("thresholds", f"auto {limits.auto}, suggest {limits.suggest}, emergency {limits.emergency}"),
        *((f"trained on {name}", _part(of)) for name, of in manifest.trained_on.items()),
        *_made(manifest.provenance),
        *((f"scores, {name}", told) for name, told in headline(manifest.scores).items()),
    ]
    if gates is None:
        lines.append(("gates", "not compared yet (petitions-train compare)"))
    else:
        verdict = "passed" if gates.passed else f"FAILED: {'; '.join(gates.failures)}"
        lines.append(("gates", f"against {gates.against}: {verdict}"))
    for name, value in lines:
        typer.echo(f"{name}\t{value}")


@app.command("promote")
def models_promote(
    version: VersionArgument,
    reason: ReasonOption = None,
    force: Annotated[bool, typer.Option("--force", help="In spite of its gates; takes a reason")] = False,
) -> None:
    """Prove that a model can answer and make it the current one; running services follow within seconds."""
    from nlp_service.promotion import promote

    settings = Settings()
    moved = promote(_store(settings), settings, version, reason, force)
    for objection in moved.overridden:
        typer.echo(f"overridden: {objection}", err=True)
    typer.echo(f"current: {moved.now} (before: {moved.before or 'none'}); running services follow within seconds")


@app.command("rollback")
def models_rollback(reason: ReasonOption = None) -> None:
    """Go back to the model that answered before; again: to the one before that."""
    from nlp_service.promotion import rollback

    settings = Settings()
    moved = rollback(_store(settings), settings, reason)
    typer.echo(f"current: {moved.now} (before: {moved.before or 'none'}); running services follow within seconds")


@app.command("shadow")
def models_shadow(days: Annotated[int, typer.Option(min=1, max=3_650, help="How far to look back")] = 30) -> None:
    """Tell how a candidate (PETITIONS_SHADOW) answered beside the current model."""
    from nlp_service.shadow_counts import comparisons
    from nlp_service.store import snapshot

    since = (datetime.now(UTC) - timedelta(days=days)).date()
    with snapshot(_store(Settings())) as connection:
        found = comparisons(connection, since)
    if not found:
        typer.echo(f"nothing was compared in {days} days; set PETITIONS_SHADOW to a model directory and restart")
    for comparison in found:
        for line in _told(comparison):
            typer.echo(line)


@app.command("reread")
def models_reread(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count")] = False,
    pause: Annotated[float, typer.Option(min=0, help="Seconds between batches: leaves the cores to the service")] = 0.2,
) -> None:
    """Let the current model read stored open petitions, for likeness; nothing that they are said to be changes."""
    from nlp_service.pipeline import PetitionClassifier
    from nlp_service.reread import LOWEST_PRIORITY, reread, unread

    settings = Settings()
    engine = _store(settings)
    if dry_run:
        from nlp_service.bundle import load_bundle

        typer.echo(f"{unread(engine, load_bundle(settings.model).manifest.version)} open petitions to read")
        return
    import os

    os.nice(LOWEST_PRIORITY)
    classifier = PetitionClassifier.load(settings.model, settings.runtime, 1, settings.max_chars)
    done = reread(engine, classifier, pause)
    typer.echo(f"{done.read} open petitions read by {classifier.bundle.manifest.version}, {done.failed} failed")
    if done.emergencies:
        ids = ", ".join(str(i) for i in done.emergencies)
        typer.echo(f"called emergencies now and not before, for a person to look at: {ids}")


def _part(of: Any) -> str:
    if not isinstance(of, dict):
        return str(of)
    told = [f"{of.get('count', '?')} petitions"]
    if "real" in of:
        told.append(f"{of['real']} real")
    if days := of.get("period"):
        told.append(f"received {days[0]} to {days[1]}")
    if sets := of.get("sets"):
        told.append(f"from {' and '.join(part['name'] for part in sets)}")
    return f"{', '.join(told)}, sha256 {str(of.get('sha256', '?'))[:12]}…"


def _made(provenance: "Provenance | None") -> list[tuple[str, str]]:
    if provenance is None:
        return []
    lines = []
    if provenance.recalibrated_from:
        lines.append(("recalibrated", f"weights of {provenance.recalibrated_from}"))
    if code := provenance.code:
        commit = f", commit {code.commit}{' with changes' if code.changed else ''}" if code.commit else ""
        lines.append(("code", f"petitions {code.version}{commit}"))
    if run := provenance.run:
        when = f", {run.started or '?'} to {run.ended or '?'}"
        lines.append(
            ("run", f"{run.command} from {run.encoder}, seed {run.seed}{when}, config sha256 {run.config_sha256[:12]}…")
        )
    return lines


def _told(found: "Comparison") -> list[str]:
    lines = [
        f"{found.candidate} beside {found.current}, {found.first} to {found.last}: "
        f"{found.compared} petitions compared, {found.dropped} dropped"
    ]
    lines += [f"  same {head}\t{_rate(rate)}" for head, rate in found.heads.items()]
    lines += [f"  {pair.head}\t{pair.current} -> {pair.candidate}\t{pair.count}" for pair in found.disagreements] or [
        "  no disagreement"
    ]
    lines.append(
        f"  emergencies that only the current model raised: {found.only_current}, only the candidate: {found.only_candidate}"
    )
    current, candidate = (f"{ms:.1f} ms" if ms is not None else "-" for ms in (found.current_ms, found.candidate_ms))
    lines.append(
        f"  a petition took {current} (current, in batches, all threads), {candidate} (candidate, alone, one thread, "
        "lowest priority): petitions-train compare measures both alike"
    )
    return lines


def _rate(rate: "Rate") -> str:
    if rate.value is None:
        return "-"
    low, high = rate.interval
    return f"{rate.value:.3f} ({rate.hits}/{rate.count}; 95 % {low:.3f} to {high:.3f})"


def _store(settings: Settings) -> "Engine":
    from nlp_service.store import open_current

    return open_current(settings.store)
