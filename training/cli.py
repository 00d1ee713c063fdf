"""`petitions-train`: parse, call, print. Says in one line when the `train` extra is missing."""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli_data import TAXONOMY
from training.cli_data import commands as data_commands
from training.cli_models import PETITIONS, AutoPrecision
from training.cli_models import commands as model_commands
from training.toml_config import read_config

if TYPE_CHECKING:
    from nlp_service.bundle import Manifest

app = typer.Typer(
    name="petitions-train",
    help="Make the encoder, fine-tune petition models, export and evaluate them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_commands)
app.add_typer(model_commands)


def main() -> None:
    """Console script; a mistake of the caller's is one line on stderr and exit code 2."""
    try:
        import safetensors  # noqa: F401
        import sklearn  # noqa: F401
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        print(f"petitions-train: {error.name} is not installed; run: pip install 'petitions[train]'", file=sys.stderr)
        sys.exit(2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "huggingface_hub", "onnxruntime"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from nlp_service.errors import PetitionError
    from training.export import ExportMismatch

    try:
        app()
    except (PetitionError, ExportMismatch, OSError, ValueError) as error:
        print(f"petitions-train: {error}", file=sys.stderr)
        sys.exit(2)


@app.command()
def encoder(
    config: Annotated[Path, typer.Argument(help="TOML of an EncoderConfig")],
    output: Annotated[Path, typer.Option(help="Directory for the encoder")] = Path("models/encoder"),
    work: Annotated[Path, typer.Option(help="Directory for corpus, teacher embeddings, checkpoints")] = Path(
        "runs/encoder"
    ),
) -> None:
    """Distil a compact encoder in PhoBERT's format from text files; goes on where it was stopped."""
    from training.distil import EncoderConfig, distil

    report = distil(read_config(config, EncoderConfig), work, output)
    typer.echo(json.dumps(report["history"][-1]))


@app.command()
def diacritics(
    config: Annotated[Path, typer.Argument(help="TOML of a DiacriticsConfig")],
    output: Annotated[Path, typer.Option(help="File for the restorer")] = Path("models/encoder/diacritics.npz"),
) -> None:
    """Learn to restore the marks of Vietnamese typed without them, from text files and petitions."""
    from training.diacritics import DiacriticsConfig, make_restorer

    typer.echo(json.dumps(make_restorer(read_config(config, DiacriticsConfig), output)))


@app.command()
def split(
    sources: Annotated[list[Path], typer.Argument(help="JSONL files of labelled petitions")],
    output: Annotated[Path, typer.Option(help="Directory for train, dev and test")] = PETITIONS,
    dev: float = 0.12,
    test: float = 0.12,
) -> None:
    """Split labelled petitions by group; a group's part never changes when more petitions come."""
    from nlp_service.taxonomy import load_taxonomy
    from training.data import read_petitions, write_petitions
    from training.data import split as split_by_group

    taxonomy = load_taxonomy(TAXONOMY)
    petitions = [petition for source in sources for petition in read_petitions(source, taxonomy)]
    output.mkdir(parents=True, exist_ok=True)
    for name, part in split_by_group(petitions, dev, test).items():
        write_petitions(output / f"{name}.jsonl", part)
        typer.echo(f"{name}: {len(part)}")


@app.command("check-data")
def check_data(
    data: Annotated[Path, typer.Option(help="Directory with train.jsonl, dev.jsonl and test.jsonl")] = PETITIONS,
    matters: Annotated[Path, typer.Option(help="The common matters")] = Path("datasets/matters.yaml"),
) -> None:
    """Check the labelled petitions: duplicates, leaks, coverage, counts, personal data. Exit code 1 if unfit."""
    from nlp_service.taxonomy import load_taxonomy
    from training.check import check, counts, read_matters
    from training.data import read_petitions

    taxonomy = load_taxonomy(TAXONOMY)
    parts = {name: read_petitions(data / f"{name}.jsonl", taxonomy) for name in ("train", "dev", "test")}
    typer.echo(", ".join(f"{name} {len(part)}" for name, part in parts.items()))
    for head, counter in counts([petition for part in parts.values() for petition in part]).items():
        typer.echo(f"{head}: " + ", ".join(f"{label} {n}" for label, n in counter.most_common()))
    findings = check(parts, taxonomy, read_matters(matters))
    for finding in findings:
        typer.echo(f"{'ERROR' if finding.fatal else 'note'} {finding.kind}: {finding.message}")
    raise typer.Exit(1 if any(finding.fatal for finding in findings) else 0)


@app.command()
def fit(
    config: Annotated[Path, typer.Argument(help="TOML of a FitConfig")],
    run: Annotated[Path, typer.Option(help="Directory of this run")],
    encoder_source: Annotated[
        str | None,
        typer.Option("--encoder", help="Instead of the config's: a directory or hub id (vinai/phobert-base)"),
    ] = None,
) -> None:
    """Fine-tune an encoder on the labelled petitions; goes on where it was stopped."""
    from training.fit import FitConfig
    from training.fit import fit as fit_run

    changes = {"encoder": encoder_source} if encoder_source else {}
    fit_config = read_config(config, FitConfig, **changes)
    typer.echo(json.dumps(fit_run(fit_config, run)["history"][-1]))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A finished run")],
    output: Annotated[Path, typer.Argument(help="New model directory, e.g. models/petition-2026-11-25")],
    version: Annotated[str | None, typer.Option(help="Version in answers; the directory's name if not given")] = None,
    auto_precision: AutoPrecision = None,
) -> None:
    """Write the model directory: ONNX, tokenizer, calibration, hashes. Fails when ONNX and torch disagree."""
    from training.calibration import AUTO_PRECISION
    from training.export import export as export_run

    _echo_calibration(export_run(run, output, version or output.name, auto_precision or AUTO_PRECISION))


@app.command()
def calibrate(
    model: Annotated[Path, typer.Argument(help="Model directory or pointer file; stays as it is")],
    output: Annotated[Path, typer.Option(help="New model directory, e.g. models/petition-2026-11-25")],
    data: Annotated[Path, typer.Option(help="Directory with dev.jsonl")] = PETITIONS,
    version: Annotated[str | None, typer.Option(help="Version in answers; the directory's name if not given")] = None,
    auto_precision: AutoPrecision = None,
) -> None:
    """Write a new version with the same weights: temperatures, thresholds and prediction sets chosen anew on dev."""
    from training.calibration import AUTO_PRECISION
    from training.recalibrate import recalibrate

    _echo_calibration(
        recalibrate(model, output, version or output.name, data / "dev.jsonl", auto_precision or AUTO_PRECISION)
    )


def _echo_calibration(manifest: "Manifest") -> None:
    calibration = manifest.model_dump(include={"version", "linear", "thresholds", "prediction_sets"})
    calibration["temperatures"] = {head: spec.temperature for head, spec in manifest.heads.items()}
    typer.echo(json.dumps(calibration))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model directory or pointer file")],
    data: Annotated[
        Path, typer.Option(help="Directory with train.jsonl (for the baseline) and test.jsonl")
    ] = PETITIONS,
    real: Annotated[Path | None, typer.Option(help="JSONL of real petitions, evaluation only, reported apart")] = None,
    output: Annotated[Path, typer.Option(help="Directory for report.md, report.json and pictures")] = Path(
        "runs/report"
    ),
    card: Annotated[bool, typer.Option(help="Write the scores into the manifest and the model card")] = False,
) -> None:
    """Score a model on the test split and on real petitions, beside TF-IDF + linear SVM."""
    from nlp_service.bundle import HEADS, resolve
    from nlp_service.encoder import Runtime
    from nlp_service.pipeline import PetitionClassifier
    from nlp_service.taxonomy import EMERGENCY
    from training.baseline import Baseline
    from training.card_files import record_scores
    from training.data import read_petitions
    from training.evaluate import evaluate as evaluate_set
    from training.report import write_report
    from training.score_table import summary_table

    # The network that calibration read: the figures are then the same on a machine whose service takes the other one.
    classifier = PetitionClassifier.load(model, Runtime.ONNXRUNTIME)
    taxonomy, manifest = classifier.bundle.taxonomy, classifier.bundle.manifest
    labels = {head: manifest.heads[head].labels for head in HEADS}
    baseline = Baseline(read_petitions(data / "train.jsonl", taxonomy), labels)
    sets = {"own test": read_petitions(data / "test.jsonl", taxonomy)}
    if real is not None:
        petitions = read_petitions(real, taxonomy)
        sets["real, ordinary"] = [p for p in petitions if p.urgency != EMERGENCY]
        sets["real, rescue appeals"] = [p for p in petitions if p.urgency == EMERGENCY]
        sets["real, all"] = petitions
    reports = {name: evaluate_set(classifier, rows, baseline) for name, rows in sets.items() if rows}
    write_report(reports, labels, f"Evaluation of {manifest.version}", output)
    if card:
        record_scores(resolve(model), reports)
    typer.echo(summary_table(reports))


@app.command()
def benchmark(
    data: Annotated[Path, typer.Argument(help="Directory with train.jsonl, dev.jsonl and test.jsonl")],
    encoder_source: Annotated[str, typer.Option("--encoder", help="Directory or hub id")] = "models/encoder",
    label: Annotated[str, typer.Option(help="Label field, e.g. label or labels.sentiment")] = "label",
    seeds: Annotated[int, typer.Option(help="Number of seeds")] = 1,
    epochs: int = 4,
    learning_rate: float = 2e-4,
    layer_decay: Annotated[float, typer.Option(help="Rate of a layer over that of the one above it")] = 1.0,
) -> None:
    """Fine-tune an encoder on a public classification set and print its test scores, one JSON line a seed."""
    from training.benchmark import BenchmarkConfig, run_benchmark

    config = BenchmarkConfig(
        data=data, label=label, epochs=epochs, learning_rate=learning_rate, layer_decay=layer_decay
    )
    for seed in range(seeds):
        typer.echo(json.dumps(run_benchmark(encoder_source, config, seed), ensure_ascii=False))
