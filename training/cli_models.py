"""`petitions-train`'s commands on models: quick, compare, reference. Parse, call, print."""

import json
from pathlib import Path
from typing import Annotated

import typer

from training.toml_config import read_config

commands = typer.Typer()

CURRENT = Path("models/current")
PETITIONS = Path("datasets/petitions")
GATES = Path("training/configs/gates.toml")

AutoPrecision = Annotated[
    float | None,
    typer.Option(min=0.5, max=0.999, help="Precision to state for what is routed automatically; 0.95 if not given"),
]


@commands.command()
def quick(
    config: Annotated[Path, typer.Argument(help="TOML of a QuickConfig, e.g. training/configs/quick.toml")],
    output: Annotated[Path, typer.Option(help="New model directory, e.g. models/petition-2026-12-05")],
    run: Annotated[Path, typer.Option(help="Directory that remembers what the encoder says of each text")],
    model: Annotated[Path, typer.Option(help="Model whose encoder is kept: directory or pointer file")] = CURRENT,
    version: Annotated[str | None, typer.Option(help="Version in answers; the directory's name if not given")] = None,
    auto_precision: AutoPrecision = None,
) -> None:
    """Learn the heads of a model anew on its frozen encoder, in minutes: new labels, corrected ones, a new category."""
    from training.calibration import AUTO_PRECISION
    from training.quick import QuickConfig
    from training.quick import quick as quick_run

    settled = read_config(config, QuickConfig)
    manifest = quick_run(settled, model, run, output, version or output.name, auto_precision or AUTO_PRECISION)
    typer.echo(json.dumps(manifest.model_dump(include={"version", "trained_on", "linear", "thresholds"})))


@commands.command()
def compare(
    candidate: Annotated[Path, typer.Argument(help="Model directory; gates.json is written into it")],
    current: Annotated[Path, typer.Argument(help="Model directory or pointer file")] = CURRENT,
    data: Annotated[list[Path] | None, typer.Option(help="Directory with test.jsonl; may be repeated")] = None,
    real: Annotated[Path | None, typer.Option(help="JSONL of real petitions, reported apart")] = None,
    gates: Annotated[Path, typer.Option(help="TOML of the limits")] = GATES,
    output: Annotated[Path, typer.Option(help="Directory for report.md and report.json")] = Path("runs/compare"),
) -> None:
    """Compare a candidate with the current model on the test petitions. Exit code 1 if it does not pass the gates."""
    from training.compare import compare_models
    from training.comparison_report import write_comparison
    from training.gates import GateLimits

    report = compare_models(candidate, current, data or [PETITIONS], read_config(gates, GateLimits), real)
    write_comparison(report, output)
    for failure in report["failures"]:
        typer.echo(f"FAILED {failure}")
    verdict = "passed" if report["passed"] else "not passed"
    typer.echo(f"{report['candidate']} against {report['against']}: gates {verdict}; {output / 'report.md'}")
    raise typer.Exit(0 if report["passed"] else 1)


@commands.command()
def reference(
    model: Annotated[Path, typer.Argument(help="Model directory or pointer file; reference.json is written into it")],
    data: Annotated[Path, typer.Argument(help="Directory with the part's JSONL file")] = PETITIONS,
    part: Annotated[str, typer.Option(help="Which part; not the one the model was trained on")] = "dev",
) -> None:
    """How a model sees petitions it was not trained on: what `petitions report drift` measures from."""
    from training.reference import write_reference

    made = write_reference(model, data, part)
    typer.echo(f"{made.model_version}: reference.json of {made.petitions} petitions ({made.part})")


@commands.command()
def card(
    model: Annotated[Path, typer.Argument(help="Model directory or pointer file")],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Directories it was made from, in their order: of those with its hash, period and origin are noted"
        ),
    ] = None,
    technical_file: Annotated[
        Path | None, typer.Option(help="Copy of docs/technical-file.md to put the model into")
    ] = None,
) -> None:
    """Write the model cards (English and Vietnamese) anew from what the directory says: scores, gates, provenance."""
    from nlp_service.bundle import resolve
    from training.card_files import record_data, write_cards, write_technical_file

    directory = resolve(model)
    if data:
        sides = record_data(directory, data)
        typer.echo(f"petitions with the manifest's hash: {', '.join(sides) or 'none, so nothing was noted of them'}")
    write_cards(directory)
    typer.echo(f"written: {directory / 'README.md'}, {directory / 'README.vi.md'}")
    if technical_file is not None:
        write_technical_file(directory, technical_file)
        typer.echo(f"written: {technical_file}")
