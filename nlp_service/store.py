"""Where petitions are kept: one schema for SQLite (a file, the default) and PostgreSQL (by URL).

Times are aware and in UTC. What a petition is now (category, body, status, due date) stands on its row; how it came to that
is in `predictions`, `routings`, `decisions`, `reviews` and the audit log, to which rows are only ever added.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Dialect,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    event,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from nlp_service.errors import ErrorKind, PetitionError

BUSY_TIMEOUT_S = 30
"""How long a writer waits for another one on SQLite before it gives up."""

Id = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the key is an INTEGER."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, kept in UTC. SQLite has no zones: there it is stored without and read as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuses a time without a zone: nobody could say what it means."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _petition_id(**options: Any) -> Column[int]:
    return Column("petition_id", Id, ForeignKey("petitions.id", ondelete="CASCADE"), nullable=False, **options)


petitions = Table(
    "petitions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("external_id", String(200)),
    Column("text_sha256", String(64), nullable=False, index=True),
    Column("received_at", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("channel", String(50), nullable=False),
    Column("submitted_by", String(100), nullable=False),  # the name of the key that handed it in
    Column("commune_given", String(200)),
    Column("commune_code", String(10)),
    Column("place", JSON, nullable=False),
    Column("location", JSON),  # where the matter is, as the sender gave it: lat, long, address, media_url
    Column("flags", JSON, nullable=False),
    Column("category", String(50), nullable=False),
    Column("urgency", String(20), nullable=False),
    Column("petition_type", String(20), nullable=False),
    Column("zone", String(10), nullable=False),  # auto, suggest, human
    Column("emergency", Boolean, nullable=False),
    Column("restricted", Boolean, nullable=False),
    Column("lead_body", String(50), nullable=False),
    Column("status", String(20), nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("repeat_of", Id),  # the earliest petition with the same words, or of the same sender about the same category
    Column(
        "version", Integer, nullable=False, default=1
    ),  # grows with every change: two clerks never overwrite each other
    Column("masked_at", UtcDateTime),
    # The desk's queue: whether a person is to look, how pressing that is (priority.Risk), by how much the best
    # category led (little: the model was unsure), and how many looked.
    Column("queued", Boolean, nullable=False, default=False),
    Column("risk", SmallInteger, nullable=False, default=3),
    Column("margin", Float, nullable=False, default=0),
    Column("readings", SmallInteger, nullable=False, default=0),
    # Last, since SQLite walks over a long text to reach what stands behind it.
    Column("text", Text, nullable=False),
    Column("folded", Text, nullable=False),  # lower case, no marks: what full-text search looks through
    UniqueConstraint("submitted_by", "external_id"),
    # The one order of every list, emergencies first, then the newest, and behind what most lists are filtered by.
    Index("ix_petitions_order", "emergency", "received_at", "id"),
    *(
        Index(f"ix_petitions_{name}_order", name, "emergency", "received_at", "id")
        for name in ("submitted_by", "commune_code", "category", "status")
    ),
    # What an inbox filters and counts by stands in its index, so that the rows, long texts and all, are not read for it.
    Index("ix_petitions_due", "status", "due_at", "id", "restricted", "lead_body", "commune_code"),
    Index("ix_petitions_external_id", "external_id"),
    Index("ix_petitions_queue", "queued", "risk", "margin", "id"),
    # The full-text index is another thing on each database: it stands in the migration, and search.py asks it.
)

senders = Table(
    "senders",
    metadata,
    _petition_id(primary_key=True),
    Column("name", String(200)),
    Column("phone", String(50)),
    Column("email", String(200)),
    Column("address", String(500)),
    Column("citizen_id", String(20)),
    Column("fingerprint", String(64), index=True),  # of phone, e-mail or citizen id: finds repeats without showing them
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", Id, primary_key=True),
    _petition_id(),
    Column("at", UtcDateTime, nullable=False),
    Column("model_version", String(100), nullable=False),
    Column("taxonomy_version", String(50), nullable=False),
    Column("category", String(50), nullable=False),
    Column("category_probability", Float, nullable=False),
    Column("result", JSON, nullable=False),
    UniqueConstraint("petition_id", "model_version"),
)

routings = Table(
    "routings",
    metadata,
    Column("id", Id, primary_key=True),
    _petition_id(index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("lead", String(50), nullable=False),
    Column("commune_unit", String(50)),
    Column("rule", String(100), nullable=False),
    Column("rules_version", String(100), nullable=False),
    Column("result", JSON, nullable=False),  # supporting bodies, advice, trace, deadlines with their basis
)

assignments = Table(
    "assignments",
    metadata,
    _petition_id(primary_key=True),
    Column("body", String(50), primary_key=True),
    Column("role", String(10), nullable=False),  # lead, commune, support: of the newest routing
    Index("ix_assignments_body", "body", "petition_id"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Id, primary_key=True),
    _petition_id(index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("field", String(30), nullable=False),
    Column("old", String(100)),
    Column("new", String(100), nullable=False),
    Column("reason", Text),
)

embeddings = Table(
    "embeddings",
    metadata,
    _petition_id(primary_key=True),
    # Part of the key: whoever goes back to the model before finds its vectors where they were.
    Column("model_version", String(100), primary_key=True, index=True),
    Column("vector", LargeBinary, nullable=False),  # little-endian float16, of unit length
)

locks = Table(
    "locks",
    metadata,
    _petition_id(primary_key=True),
    Column("holder", String(100), nullable=False, index=True),
    Column("taken_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

operations = Table(
    "operations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("request_id", String(64), unique=True),  # of the page that asked: sent again, it is done once
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("action", String(30), nullable=False),
    Column("summary", JSON, nullable=False),
    Column("undone_at", UtcDateTime),
    Index("ix_operations_actor", "actor", "id"),
)

changes = Table(
    "changes",
    metadata,
    Column("operation_id", Id, ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True),
    _petition_id(primary_key=True, index=True),
    Column("before", JSON, nullable=False),  # the columns that the operation changed, as they were
    Column("route", JSON),  # the routing that it replaced
    Column("version", Integer, nullable=False),  # of the petition after it: undone only while nobody changed it since
)

reviews = Table(
    "reviews",
    metadata,
    Column("id", Id, primary_key=True),
    _petition_id(index=True),
    Column("operation_id", Id, ForeignKey("operations.id", ondelete="SET NULL"), index=True),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("reviewer", String(100), nullable=False),
    Column("reading", SmallInteger, nullable=False),  # 1 the first, 2 a second one made blind, 3 settles the two
    Column("category", String(50), nullable=False),
    Column("urgency", String(20), nullable=False),
    Column("petition_type", String(20), nullable=False),
    Column("sure", Boolean, nullable=False),
    Column("bulk", Boolean, nullable=False, default=False),  # one of many under one label: not read one by one
    Column("model_version", String(100), nullable=False),
    Column("suggested", JSON, nullable=False),  # what the model had said: category, urgency, petition_type, zone
    Column("withdrawn_at", UtcDateTime),
    Column("withdrawn_by", Id),  # the operation that took its place, or that undid it
)

links = Table(
    "links",
    metadata,
    Column("id", Id, primary_key=True),
    _petition_id(index=True),
    Column("other_id", Id, ForeignKey("petitions.id", ondelete="CASCADE"), nullable=False, index=True),
    Column(
        "kind", String(20), nullable=False
    ),  # merged (into the other), related, part (of the other, which was split)
    Column("operation_id", Id, ForeignKey("operations.id", ondelete="SET NULL"), index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("undone_at", UtcDateTime),
)

users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("full_name", String(200), nullable=False),
    Column("password_hash", String(200), nullable=False),
    Column("role", String(20), nullable=False),
    Column("bodies", JSON, nullable=False),
    Column("communes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_login_at", UtcDateTime),
    Column("disabled_at", UtcDateTime),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), index=True),  # either a user or a key
    Column("key_id", Id, ForeignKey("api_keys.id", ondelete="CASCADE"), index=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Id, primary_key=True, autoincrement=False),
    Column("at", String(40), nullable=False),  # as it was hashed, to the letter
    Column("actor", String(100), nullable=False),
    Column("action", String(50), nullable=False),
    Column("subject", String(100), nullable=False, index=True),
    Column("payload", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", Id, nullable=False),
    Column("hash", String(64), nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(100), nullable=False, index=True),  # again after the one before it was revoked
    Column("prefix", String(20), nullable=False, unique=True),
    Column("secret_sha256", String(64), nullable=False),
    Column("role", String(20), nullable=False),
    Column("bodies", JSON, nullable=False),
    Column("communes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("actor", String(100), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("request_sha256", String(64), nullable=False),
    Column("response", JSON, nullable=False),
    Column("at", UtcDateTime, nullable=False, index=True),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Id, primary_key=True),
    _petition_id(index=True),
    Column("payload", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt_at", UtcDateTime, index=True),  # null when it is delivered or given up
    Column("delivered_at", UtcDateTime),
    Column("last_error", String(200)),
)

deletions = Table(
    "deletions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("petition_id", Id, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("mode", String(10), nullable=False),  # mask, delete
    Column("reason", String(200), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("text_sha256", String(64), nullable=False),
)


shadow_pairs = Table(  # what two models said of the same live petitions; shadow.py
    "shadow_pairs",
    metadata,
    Column("day", Date, primary_key=True),
    Column("current", String(100), primary_key=True),
    Column("candidate", String(100), primary_key=True),
    Column("head", String(20), primary_key=True),
    Column("current_label", String(50), primary_key=True),
    Column("candidate_label", String(50), primary_key=True),
    Column("n", Integer, nullable=False),
)

shadow_days = Table(
    "shadow_days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("current", String(100), primary_key=True),
    Column("candidate", String(100), primary_key=True),
    Column("compared", Integer, nullable=False),
    Column("dropped", Integer, nullable=False),
    Column("current_petitions", Integer, nullable=False),
    Column("current_seconds", Float, nullable=False),
    Column("candidate_seconds", Float, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),  # random: nobody counts up to another one's
    Column("owner", String(100), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("file_name", String(255), nullable=False),  # as its owner calls it; no path is ever made of it
    Column("input_ending", String(10), nullable=False),
    Column("output_ending", String(10), nullable=False),
    Column("input_bytes", BigInteger, nullable=False),
    Column("options", JSON, nullable=False),
    Column("state", String(20), nullable=False),  # queued, running, done, failed, cancelled
    Column("cancelling", Boolean, nullable=False, default=False),  # seen by whoever runs it
    Column("rows_done", Integer, nullable=False, default=0),
    Column("rows_total", Integer),
    Column("rows_per_second", Float),
    Column("attempts", Integer, nullable=False, default=0),  # runs since it last got further
    Column("runner", String(32)),  # who runs it, for as long as it renews its lease
    Column("lease_until", UtcDateTime),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("error", JSON),  # kind, message
    Index("ix_jobs_owner", "owner", "created_at"),
    Index("ix_jobs_state", "state", "created_at"),
)


def open_store(url: str) -> Engine:
    """An engine for `sqlite:///file.db` or `postgresql://…`; the schema is not touched.

    Raises:
        PetitionError: INVALID_STORE if the URL is not one of these, MISSING_EXTRA if PostgreSQL's driver is not installed.
    """
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise ArgumentError(f"'{parsed.drivername}' is neither sqlite nor postgresql")
        if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
            raise ArgumentError("a store in memory is another one for every thread")
        if parsed.get_backend_name() == "postgresql":
            return create_engine(parsed, hide_parameters=True, pool_pre_ping=True, pool_size=10, max_overflow=10)
        # Parameters are petitions: they must not stand in the message of an error.
        engine = create_engine(
            parsed, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
        )
        _prepare_sqlite(engine)
    except (ArgumentError, NoSuchModuleError) as error:
        raise PetitionError(
            ErrorKind.INVALID_STORE,
            f"PETITIONS_STORE is not a database URL ({type(error).__name__}); use sqlite:///petitions.db or postgresql://user@host/name",
        ) from error
    except ModuleNotFoundError as error:
        raise PetitionError(
            ErrorKind.MISSING_EXTRA, "PostgreSQL's driver is not installed; run: pip install 'petitions[postgres]'"
        ) from error
    return engine


def _prepare_sqlite(engine: Engine) -> None:
    path = Path(engine.url.database or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Petitions are personal data: nobody else on the machine reads the file.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself: see on_begin
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # what was answered is on the disk
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA secure_delete=ON")  # what is forgotten is gone from the file
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        # A transaction that reads first and writes later would fail when another wrote in between.
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes: committed at the end, rolled back on an error."""
    with engine.connect().execution_options(writing=True) as connection, connection.begin():
        yield connection


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """For reading in several statements: all of them see the store as it was at the first."""
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":  # a transaction on SQLite is a snapshot already
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def reach(engine: Engine) -> None:
    """Raises SQLAlchemyError when the database does not answer."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def open_current(url: str) -> Engine:
    """Open a store and bring its schema up to date. Raises PetitionError as `open_store` and `upgrade` do."""
    engine = open_store(url)
    upgrade(engine)
    return engine


def upgrade(engine: Engine) -> None:
    """Bring the schema to this version (Alembic); does nothing when it is there already.

    Raises:
        PetitionError: INVALID_STORE when the database cannot be reached or its schema is of a newer version.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    try:
        with writing(engine) as connection:
            if connection.dialect.name == "postgresql":
                # Two services that start together must not both create the tables.
                connection.execute(text("SELECT pg_advisory_xact_lock(7217)"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (SQLAlchemyError, CommandError) as error:
        raise PetitionError(
            ErrorKind.INVALID_STORE,
            f"the store at {engine.url.render_as_string(hide_password=True)} cannot be opened ({type(error).__name__}); "
            "check PETITIONS_STORE, that the database runs, and that this program is not older than its schema",
        ) from error
