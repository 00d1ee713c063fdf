"""`petitions report …`: what happened, for people and, with --json, for programs."""

import json
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.settings import Settings

if TYPE_CHECKING:
    from nlp_service.drift_report import DriftReport
    from nlp_service.live import Rate

app = typer.Typer(name="report", help="Reports: how right the model was, what drifts.", no_args_is_help=True)


@app.command()
def quality(
    since: Annotated[str | None, typer.Option(help="First day, YYYY-MM-DD; 28 days ago if not given")] = None,
    until: Annotated[str | None, typer.Option(help="Last day, YYYY-MM-DD; today if not given")] = None,
    by: Annotated[str, typer.Option(help="zone, category, commune, week or reviewer")] = "zone",
    model_version: Annotated[
        str | None, typer.Option(help="Whose suggestions; the current model's if not given")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables")] = False,
) -> None:
    """How right the model was by what people decided at the desk, each rate with its count and 95 % interval."""
    from nlp_service.bundle import load_bundle
    from nlp_service.quality import BY, verdicts
    from nlp_service.quality import quality as summed
    from nlp_service.store import open_current, snapshot

    if by not in BY:
        raise typer.BadParameter(f"{by!r} is none of: {', '.join(BY)}", param_hint="--by")
    settings = Settings()
    version = model_version or load_bundle(settings.model).manifest.version
    first = day(since, "--since") if since else datetime.now(UTC) - timedelta(days=28)
    after = day(until, "--until") + timedelta(days=1) if until else datetime.now(UTC)
    with snapshot(open_current(settings.store)) as connection:
        report = summed(verdicts(connection, version, first, after), version, first, after, by)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), ensure_ascii=False, indent=1))
        return
    typer.echo(f"model {version}, {first:%Y-%m-%d} to {after - timedelta(microseconds=1):%Y-%m-%d}")
    typer.echo("kept by the first reader, who sees the suggestion (biased upwards):")
    for head, rate in report.first.items():
        typer.echo(f"  {head:14s} {told(rate)}")
    typer.echo("kept by a second reader who does not see the first one's verdict (fairer):")
    for head, rate in report.second.items():
        typer.echo(f"  {head:14s} {told(rate)}")
    typer.echo(
        f"emergencies raised: recall {told(report.emergency_recall)}, precision {told(report.emergency_precision)}"
    )
    typer.echo(f"category kept by the first reader, by {by}:")
    for value, rate in report.groups.items():
        typer.echo(f"  {value:32s} {told(rate)}")
    typer.echo("most frequent corrections:")
    for head, pairs in report.overrides.items():
        for suggested, said, times in pairs:
            typer.echo(f"  {head:14s} {suggested} -> {said}: {times}")


@app.command()
def drift(
    weeks: Annotated[int, typer.Option(min=1, max=520, help="How many weeks back, the one that runs included")] = 8,
    by: Annotated[str, typer.Option(help="week or commune")] = "week",
    against: Annotated[
        str | None,
        typer.Option(
            help="Earlier time, YYYY-MM-DD:YYYY-MM-DD; if not given, weeks are compared with the model's reference.json, "
            "a commune with all other petitions"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table")] = False,
    fail: Annotated[bool, typer.Option("--fail", help="Exit code 1 if anything drifts")] = False,
) -> None:
    """Whether petitions have changed: categories, the model's confidence, length, unknown words; see docs/watch.md."""
    from nlp_service.bundle import load_bundle
    from nlp_service.drift_report import drift_report
    from nlp_service.linear import LINEAR_FILE, LinearModel
    from nlp_service.store import open_current, snapshot
    from nlp_service.stored_profiles import BY

    if by not in BY:
        raise typer.BadParameter(f"{by!r} is none of: {', '.join(BY)}", param_hint="--by")
    earlier = _period(against) if against else None
    settings = Settings()
    bundle = load_bundle(settings.model)
    linear = LinearModel.load(bundle.directory / LINEAR_FILE) if LINEAR_FILE in bundle.manifest.files else None
    with snapshot(open_current(settings.store)) as connection:
        knows = linear.knows if linear else None
        report = drift_report(connection, bundle, knows, datetime.now(UTC), weeks, by, earlier)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), ensure_ascii=False, indent=1))
    else:
        _tell_drift(report)
    raise typer.Exit(1 if fail and report.drifting else 0)


def _tell_drift(report: "DriftReport") -> None:
    from nlp_service.drift import FAR, LEAST, Verdict

    typer.echo(f"model {report.model_version}, {report.since:%Y-%m-%d} to {report.until:%Y-%m-%d}")
    typer.echo(f"compared with {report.against}")
    typer.echo(f"{report.by:10s} {'':10s} petitions  against   PSI  p")
    for found in report.findings:
        if found.psi is None or found.p is None:
            continue
        moved = "; ".join(f"{move.bin} {100 * move.before:.0f} % -> {100 * move.now:.0f} %" for move in found.moved)
        verdict = f"DRIFTING: {moved}" if found.verdict is Verdict.DRIFTING else found.verdict.value
        typer.echo(
            f"{found.group:10s} {found.feature:10s} {found.count:9d} {found.against:8d}  {found.psi:4.2f}  {found.p:.5f}  {verdict}"
        )
    few = sorted({found.group for found in report.findings if found.verdict is Verdict.TOO_FEW})
    if few:
        typer.echo(f"too few for at least one of the four (under {LEAST} on one side): {', '.join(few)}")
    typer.echo(
        f"drifting: PSI {FAR} or more, and not by chance; left out: {report.repeats} repeats, {report.others} of other models"
    )


def _period(text: str) -> tuple[datetime, datetime]:
    first, colon, last = text.partition(":")
    if not colon:
        raise PetitionError(
            ErrorKind.INVALID_REQUEST,
            f"--against '{text}' is no time; write it as YYYY-MM-DD:YYYY-MM-DD, first and last day",
        )
    return day(first, "--against"), day(last, "--against") + timedelta(days=1)


def told(rate: "Rate") -> str:
    """ "0.83 (62/75; 0.73-0.90)"."""
    if rate.value is None:
        return "no cases"
    return f"{rate.value:.2f} ({rate.hits}/{rate.count}; {rate.interval[0]:.2f}-{rate.interval[1]:.2f})"


def day(text: str, option: str) -> datetime:
    """The beginning of a day, UTC. Raises PetitionError INVALID_REQUEST."""
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError as error:
        raise PetitionError(
            ErrorKind.INVALID_REQUEST, f"{option} '{text}' is no day; write it as YYYY-MM-DD"
        ) from error
