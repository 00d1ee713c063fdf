"""`petitions`: parse, call, print. Heavy imports wait until a command needs them."""

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from nlp_service import __version__, cli_models, cli_report
from nlp_service.encoder import Runtime
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.roles import Role
from nlp_service.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

app = typer.Typer(
    name="petitions",
    help="Phân loại đơn thư, phản ánh, kiến nghị của công dân: lĩnh vực, mức khẩn, loại đơn.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

keys = typer.Typer(name="keys", help="API keys: create, list, revoke.", no_args_is_help=True)
app.add_typer(keys)

users = typer.Typer(
    name="users", help="Users of the console: create, list, disable, enable, password.", no_args_is_help=True
)
app.add_typer(users)
app.add_typer(cli_report.app)
app.add_typer(cli_models.app)

ModelOption = Annotated[Path | None, typer.Option("--model", help="Model directory or pointer file [PETITIONS_MODEL]")]
BodyOption = Annotated[
    list[str] | None, typer.Option("--body", help="Officer: body whose petitions it sees; repeatable")
]
CommuneOption = Annotated[
    list[str] | None, typer.Option("--commune", help="Officer: commune, by code or name; repeatable")
]
PasswordOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the first line of stdin, not from the terminal")
]
RuntimeOption = Annotated[Runtime | None, typer.Option("--runtime", help="Model runtime [PETITIONS_RUNTIME]")]


class LabelEngine(StrEnum):
    """Where batch labelling runs."""

    LOCAL = "local"
    RAY = "ray"


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
    input_file: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="CSV, XLSX, XLS, ODS, JSONL, Parquet, DOCX, TXT, ZIP or a folder of letters"
        ),
    ],
    output_file: Annotated[str, typer.Argument(metavar="OUTPUT", help=".csv, .xlsx, .jsonl or .parquet")],
    text_column: Annotated[
        str | None, typer.Option(help="Column with the petition; found by itself if not named")
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column that names a row in messages")] = None,
    sheet: Annotated[
        str | None, typer.Option(help="Sheet of a workbook; all that hold the same table if not named")
    ] = None,
    place_column: Annotated[
        list[str] | None, typer.Option(help="Column that says where; repeatable, read together; found if not named")
    ] = None,
    date_column: Annotated[
        str | None, typer.Option(help="Column that dates a row, for places whose names changed; found if not named")
    ] = None,
    encoding: Annotated[
        str, typer.Option(help="How the petitions are written: auto, unicode, tcvn3, vni, viqr… (docs/encodings.md)")
    ] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 = one a core")] = 0,
    engine: Annotated[
        LabelEngine, typer.Option(help="local, or ray: a cluster, many files, URIs (docs/archives.md)")
    ] = LabelEngine.LOCAL,
    address: Annotated[str, typer.Option(help="With --engine ray: local, auto, or the cluster's host:port")] = "local",
    model: ModelOption = None,
    runtime: RuntimeOption = None,
) -> None:
    """Label petitions. Run the same command again to go on after an interruption."""
    settings = _settings(model, runtime)
    from nlp_service.label import label_file
    from nlp_service.label_columns import Columns
    from nlp_service.label_progress import TerminalProgress
    from nlp_service.old_encodings import Encoding

    if encoding not in ("auto", *Encoding):
        raise typer.BadParameter(f"{encoding!r} is none of: auto, {', '.join(Encoding)}", param_hint="--encoding")
    known = None if encoding == "auto" else Encoding(encoding)
    columns = Columns(text_column, id_column, tuple(place_column or ()), date_column, known)
    with TerminalProgress() as progress:
        common: dict[str, Any] = {
            "model": settings.model,
            "rules": settings.rules,
            "runtime": settings.runtime,
            "columns": columns,
            "sheet": sheet,
            "workers": workers,
            "max_chars": settings.max_chars,
            "progress": progress,
        }
        if engine is LabelEngine.RAY:
            from nlp_service.label_ray import label_files

            report = label_files(input_file, output_file, address=address, **common)
        else:
            report = label_file(Path(input_file), Path(output_file), **common)
        seconds = max(report.seconds, 0.001)
        progress.say(
            f"Xong: {report.rows} dòng, {report.errors} dòng lỗi, {report.counts['urgency'].get('emergency', 0)} khẩn cấp, "
            f"{report.needs_review} cần người xem, {report.repeats} dòng trùng; "
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
    from nlp_service.logs import without_values
    from nlp_service.pipeline import PetitionClassifier
    from nlp_service.triage import load_rules

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(without_values)
    for noisy in ("alembic", "httpx2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    address = host or settings.host
    _refuse_open_door(address, settings)
    # Loaded here and not in the app's start-up, so that a damaged model or rule file is one line and exit code 2.
    classifier = PetitionClassifier.load(settings.model, settings.runtime, settings.threads, settings.max_chars)
    rules = load_rules(settings.rules, classifier.bundle.taxonomy)
    uvicorn.run(
        create_app(settings, classifier, rules),
        host=address,
        port=settings.port if port is None else port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=30,
    )


def _refuse_open_door(address: str, settings: Settings) -> None:
    """Beyond loopback nobody is let in without a key or a user, so there has to be one."""
    from nlp_service.keys import any_key
    from nlp_service.roles import is_loopback

    with _store(settings).connect() as connection:
        if not is_loopback(address) and not any_key(connection):
            raise PetitionError(
                ErrorKind.INVALID_REQUEST,
                f"{address} can be reached from other machines and there is neither an API key nor a user; make one first: "
                "petitions keys create NAME --role admin, or petitions users create NAME --full-name … --role admin",
            )


def _store(settings: Settings) -> "Engine":
    from nlp_service.store import open_current

    return open_current(settings.store)


@keys.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="Whose key it is; shown in the audit log")],
    role: Annotated[Role, typer.Option(help="What it may do")],
    body: BodyOption = None,
    commune: CommuneOption = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Days until it expires; never if not given")
    ] = None,
) -> None:
    """Make an API key and print it. It is shown this once."""
    from nlp_service import audit
    from nlp_service.keys import create_key
    from nlp_service.store import writing

    settings = Settings()
    bodies, communes = _known_scope(settings, body or [], commune or [])
    now = datetime.now(UTC)
    with writing(_store(settings)) as connection:
        key = create_key(
            connection,
            name,
            role,
            now,
            bodies=bodies,
            communes=communes,
            lifetime=timedelta(days=days) if days else None,
        )
        payload = {"role": role.value, "bodies": bodies, "communes": communes}
        audit.append(connection, now, [audit.Entry("cli", "key.create", f"key:{name}", payload)])
    typer.echo(key)


def _known_scope(settings: Settings, bodies: list[str], communes: list[str]) -> tuple[list[str], list[str]]:
    """A misspelt body or commune would be a key that opens nothing, or worse."""
    from nlp_service.bundle import load_bundle
    from nlp_service.places import PlaceStatus
    from nlp_service.triage import load_rules

    if not bodies and not communes:
        return [], []
    rules = load_rules(settings.rules, load_bundle(settings.model).taxonomy)
    for body in bodies:
        if body not in rules.routing.bodies:
            known = ", ".join(sorted(rules.routing.bodies))
            raise PetitionError(ErrorKind.INVALID_REQUEST, f"there is no body '{body}'; known: {known}")
    codes = []
    for commune in communes:
        place = rules.gazetteer.resolve(commune)
        if place.status is not PlaceStatus.FOUND or place.unit is None:
            candidates = ", ".join(f"{unit.code} {unit.full_name}" for unit in place.candidates) or "none"
            raise PetitionError(
                ErrorKind.INVALID_REQUEST,
                f"'{commune}' is no commune of today; give its code (candidates: {candidates})",
            )
        codes.append(place.unit.code)
    return bodies, codes


@keys.command("list")
def keys_list() -> None:
    """List keys: name, role, scope, last use. Never the keys themselves."""
    from nlp_service.keys import list_keys

    now = datetime.now(UTC)
    with _store(Settings()).connect() as connection:
        found = list_keys(connection)
    for key in found:
        state = "in use" if key.usable(now) else "revoked" if key.revoked_at else "expired"
        used = key.last_used_at.strftime("%Y-%m-%d %H:%M") if key.last_used_at else "never used"
        scope = ",".join((*key.bodies, *key.communes)) or "-"
        typer.echo("\t".join((key.name, f"{key.prefix}…", key.role.value, scope, state, used)))


@keys.command("revoke")
def keys_revoke(name: Annotated[str, typer.Argument(help="Name of the key")]) -> None:
    """Take a key back, at once."""
    from nlp_service import audit
    from nlp_service.keys import revoke_key
    from nlp_service.store import writing

    now = datetime.now(UTC)
    with writing(_store(Settings())) as connection:
        revoke_key(connection, name, now)
        audit.append(connection, now, [audit.Entry("cli", "key.revoke", f"key:{name}", {})])
    typer.echo(f"revoked: {name}")


@users.command("create")
def users_create(
    name: Annotated[str, typer.Argument(help="Name to log in by; shown in the audit log")],
    full_name: Annotated[str, typer.Option(help="The person's name, shown in the console")],
    role: Annotated[Role, typer.Option(help="What the user may do")],
    body: BodyOption = None,
    commune: CommuneOption = None,
    password_stdin: PasswordOption = False,
) -> None:
    """Make a user who logs in to the console."""
    from nlp_service import audit
    from nlp_service.store import writing
    from nlp_service.users import create_user

    settings = Settings()
    bodies, communes = _known_scope(settings, body or [], commune or [])
    password, now = _new_password(password_stdin), datetime.now(UTC)
    with writing(_store(settings)) as connection:
        user = create_user(connection, name, full_name, password, role, now, bodies=bodies, communes=communes)
        payload = {"role": role.value, "bodies": bodies, "communes": communes}
        audit.append(connection, now, [audit.Entry("cli", "user.create", f"user:{user.name}", payload)])
    typer.echo(f"created: {user.name}")


def _new_password(from_stdin: bool) -> str:
    """Never an argument: those stand in the shell's history and in the list of processes."""
    if from_stdin:
        return sys.stdin.buffer.readline().decode("utf-8", errors="replace").rstrip("\r\n")
    if not sys.stdin.isatty():
        raise PetitionError(
            ErrorKind.INVALID_REQUEST, "there is no terminal to ask for the password; give it by --password-stdin"
        )
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt="The same again", err=True)
    return password


@users.command("list")
def users_list() -> None:
    """List users: name, full name, role, scope, last login."""
    from nlp_service.users import list_users

    with _store(Settings()).connect() as connection:
        found = list_users(connection)
    for user in found:
        state = "disabled" if user.disabled_at else "in use"
        login = user.last_login_at.strftime("%Y-%m-%d %H:%M") if user.last_login_at else "never logged in"
        scope = ",".join((*user.bodies, *user.communes)) or "-"
        typer.echo("\t".join((user.name, user.full_name, user.role.value, scope, state, login)))


@users.command("disable")
def users_disable(name: Annotated[str, typer.Argument(help="Name of the user")]) -> None:
    """Keep a user out, at once."""
    from nlp_service.users import disable_user

    _change_user("user.disable", name, disable_user)
    typer.echo(f"disabled: {name}")


@users.command("enable")
def users_enable(name: Annotated[str, typer.Argument(help="Name of the user")]) -> None:
    """Let a disabled user in again, by the same password."""
    from nlp_service.users import enable_user

    _change_user("user.enable", name, lambda connection, name, now: enable_user(connection, name))
    typer.echo(f"enabled: {name}")


@users.command("password")
def users_password(
    name: Annotated[str, typer.Argument(help="Name of the user")], password_stdin: PasswordOption = False
) -> None:
    """Give a user another password; whoever is logged in as that user is logged out."""
    from nlp_service.users import set_password

    password = _new_password(password_stdin)
    _change_user("user.password", name, lambda connection, name, now: set_password(connection, name, password))
    typer.echo(f"changed: {name}")


def _change_user(action: str, name: str, change: "Callable[[Connection, str, datetime], None]") -> None:
    from nlp_service import audit
    from nlp_service.keys import canonical
    from nlp_service.store import writing

    now = datetime.now(UTC)
    with writing(_store(Settings())) as connection:
        change(connection, name, now)
        audit.append(connection, now, [audit.Entry("cli", action, f"user:{canonical(name)}", {})])


@app.command("verify-audit")
def verify_audit(
    head: Annotated[str | None, typer.Option(help="A head noted earlier: it must still be in the chain")] = None,
) -> None:
    """Walk the audit log; exit code 1 if a row was changed, removed or moved."""
    from nlp_service import audit
    from nlp_service.store import snapshot

    with snapshot(_store(Settings())) as connection:
        verdict = audit.verify(connection, head)
    if verdict.intact:
        typer.echo(f"intact: {verdict.rows} rows, head {verdict.head}")
        return
    typer.echo(f"BROKEN at row {verdict.broken_at}: {verdict.problem}; {verdict.rows} rows before it are whole")
    raise typer.Exit(1)


@app.command()
def forget(
    older_than_days: Annotated[int, typer.Option(min=1, max=36_500, help="Age since receipt")],
    reason: Annotated[str, typer.Option(help="Goes into the register of deletions")],
    delete: Annotated[bool, typer.Option("--delete", help="Delete instead of masking")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count")] = False,
) -> None:
    """Mask the personal data of ended petitions past their time (or delete them), and keep a register of it."""
    from nlp_service.retention import Mode
    from nlp_service.retention import forget as forget_old

    if len(reason) > 200:
        raise PetitionError(
            ErrorKind.INVALID_REQUEST, f"the reason has {len(reason)} characters, limit 200; shorten it"
        )
    mode = Mode.DELETE if delete else Mode.MASK
    report = forget_old(_store(Settings()), mode, timedelta(days=older_than_days), "cli", reason, dry_run)
    verb = f"{'would be' if dry_run else 'were'} {'deleted' if delete else 'masked'}"
    typer.echo(f"{report.done} petitions {verb}; {report.still_open} of that age are still open and stay")
