"""`petitions`: parse, call, print. Heavy imports wait until a command needs them."""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from nlp_service import __version__
from nlp_service.encoder import Runtime
from nlp_service.errors import PetitionError
from nlp_service.settings import Settings

app = typer.Typer(
    name="petitions",
    help="Phân loại đơn thư, phản ánh, kiến nghị của công dân: lĩnh vực, mức khẩn, loại đơn.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ModelOption = Annotated[Path | None, typer.Option("--model", help="Model directory or pointer file [PETITIONS_MODEL]")]
RuntimeOption = Annotated[Runtime | None, typer.Option("--runtime", help="Model runtime [PETITIONS_RUNTIME]")]


def main() -> None:
    """Console script; a PetitionError becomes one line on stderr and exit code 2."""
    try:
        app()
    except PetitionError as error:
        _fail(error)


def _fail(error: PetitionError) -> NoReturn:
    print(f"petitions: {error.kind.value}: {error.message}", file=sys.stderr)
    sys.exit(2)


def _settings(model: Path | None, runtime: Runtime | None) -> Settings:
    given: dict[str, Any] = {"model": model, "runtime": runtime}
    return Settings(**{name: value for name, value in given.items() if value is not None})


def _version(show: bool) -> None:
    if show:
        typer.echo(f"petitions {__version__}")
        raise typer.Exit


@app.callback()
def callback(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show version")] = False,
) -> None:
    """Phân loại đơn thư, phản ánh, kiến nghị của công dân: lĩnh vực, mức khẩn, loại đơn."""


@app.command()
def classify(
    text: Annotated[str | None, typer.Argument(help="The petition; without it, read from stdin")] = None,
    model: ModelOption = None,
    runtime: RuntimeOption = None,
) -> None:
    """Classify one petition: one JSON object on stdout."""
    settings = _settings(model, runtime)
    from nlp_service.pipeline import PetitionClassifier
    from nlp_service.text import check

    if text is None:
        text = sys.stdin.buffer.read().decode("utf-8", errors="replace")
    # Checked before the model is loaded: an empty text fails at once.
    check(text, settings.max_chars)
    classifier = PetitionClassifier.load(settings.model, settings.runtime, settings.threads, settings.max_chars)
    typer.echo(json.dumps(classifier.classify(text).as_dict(), ensure_ascii=False, indent=2))


@app.command()
def label(
    input_file: Annotated[Path, typer.Argument(metavar="INPUT", help="CSV, XLSX, JSONL or Parquet file")],
    output_file: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Labelled file; format by its extension")],
    text_column: Annotated[
        str | None, typer.Option(help="Column with the petition; found by itself if not named")
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column that names a row in messages")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 = one a core")] = 0,
    model: ModelOption = None,
    runtime: RuntimeOption = None,
) -> None:
    """Label a file of petitions. Run the same command again to go on after an interruption."""
    settings = _settings(model, runtime)
    from nlp_service.label import TerminalProgress, label_file

    with TerminalProgress() as progress:
        report = label_file(
            input_file,
            output_file,
            model=settings.model,
            runtime=settings.runtime,
            text_column=text_column,
            id_column=id_column,
            workers=workers,
            max_chars=settings.max_chars,
            progress=progress,
        )
        seconds = max(report.seconds, 0.001)
        progress.say(
            f"Xong: {report.rows} dòng, {report.errors} dòng lỗi, {report.counts['urgency'].get('emergency', 0)} khẩn cấp; "
            f"{seconds:.0f} giây, {(report.rows - report.resumed_rows) / seconds:.0f} dòng/giây."
        )


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address [PETITIONS_HOST]")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port [PETITIONS_PORT]")] = None,
    model: ModelOption = None,
    runtime: RuntimeOption = None,
) -> None:
    """Serve the API and the console."""
    settings = _settings(model, runtime)
    import uvicorn

    from nlp_service.api import create_app
    from nlp_service.pipeline import PetitionClassifier

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Loaded here and not in the app's start-up, so that a damaged model is one line and exit code 2.
    classifier = PetitionClassifier.load(settings.model, settings.runtime, settings.threads, settings.max_chars)
    uvicorn.run(
        create_app(settings, classifier),
        host=host or settings.host,
        port=settings.port if port is None else port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=30,
    )
