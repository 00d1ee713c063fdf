"""The review desk: its queue, locks, readings, links and undo; users and their sessions; embeddings; full-text search."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add columns and tables; petitions that wait for a person already stand in the queue."""
    for column in (
        sa.Column("queued", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("risk", sa.SmallInteger(), nullable=False, server_default="3"),
        sa.Column("margin", sa.Float(), nullable=False, server_default="0"),
        sa.Column("readings", sa.SmallInteger(), nullable=False, server_default="0"),
    ):
        op.add_column("petitions", column)
    op.create_index("ix_petitions_queue", "petitions", ["queued", "risk", "margin", "id"])
    op.drop_index("ix_petitions_due", "petitions")
    op.create_index(
        "ix_petitions_due", "petitions", ["status", "due_at", "id", "restricted", "lead_body", "commune_code"]
    )
    op.create_index("ix_petitions_external_id", "petitions", ["external_id"])
    op.execute(
        "UPDATE petitions SET queued = (status = 'in_review' OR (emergency AND status = 'routed')),"
        " risk = CASE WHEN emergency THEN 0 WHEN restricted OR petition_type IN ('complaint', 'denunciation') THEN 1"
        " WHEN zone = 'human' THEN 2 ELSE 3 END,"
        " margin = COALESCE((SELECT MAX(category_probability) FROM predictions"
        " WHERE predictions.petition_id = petitions.id), 0)"
    )
    _search()
    _people()
    _desk()


def _search() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("CREATE INDEX ix_petitions_words ON petitions USING gin (to_tsvector('simple', folded))")
        return
    # The index holds no text of its own, and forgets what the table forgets.
    op.execute(
        "CREATE VIRTUAL TABLE petitions_words USING fts5(folded, content='petitions', content_rowid='id', detail=full)"
    )
    for name, event, drop, add in (
        ("insert", "INSERT", False, True),
        ("delete", "DELETE", True, False),
        ("update", "UPDATE OF folded", True, True),
    ):
        statements = []
        if drop:
            statements.append(
                "INSERT INTO petitions_words (petitions_words, rowid, folded) VALUES ('delete', old.id, old.folded);"
            )
        if add:
            statements.append("INSERT INTO petitions_words (rowid, folded) VALUES (new.id, new.folded);")
        op.execute(f"CREATE TRIGGER petitions_words_{name} AFTER {event} ON petitions BEGIN {' '.join(statements)} END")
    op.execute("INSERT INTO petitions_words (petitions_words) VALUES ('rebuild')")


def _people() -> None:
    op.create_table(
        "users",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("full_name", sa.String(length=200), nullable=False),
        sa.Column("password_hash", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("bodies", sa.JSON(), nullable=False),
        sa.Column("communes", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_login_at", TIME, nullable=True),
        sa.Column("disabled_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("name", name="uq_users_name"),
    )
    op.create_table(
        "sessions",
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("user_id", ID, nullable=True),
        sa.Column("key_id", ID, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_sessions_user_id_users", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_sessions_key_id_api_keys", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_sessions"),
    )
    for column in ("user_id", "key_id", "expires_at"):
        op.create_index(f"ix_sessions_{column}", "sessions", [column])


def _of_petition(table: str, column: str = "petition_id") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], ["petitions.id"], name=f"fk_{table}_{column}_petitions", ondelete="CASCADE"
    )


def _of_operation(table: str, ondelete: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["operation_id"], ["operations.id"], name=f"fk_{table}_operation_id_operations", ondelete=ondelete
    )


def _desk() -> None:
    op.create_table(
        "embeddings",
        sa.Column("petition_id", ID, nullable=False),
        sa.Column("model_version", sa.String(length=100), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        _of_petition("embeddings"),
        sa.PrimaryKeyConstraint("petition_id", name="pk_embeddings"),
    )
    op.create_index("ix_embeddings_model_version", "embeddings", ["model_version"])
    op.create_table(
        "locks",
        sa.Column("petition_id", ID, nullable=False),
        sa.Column("holder", sa.String(length=100), nullable=False),
        sa.Column("taken_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        _of_petition("locks"),
        sa.PrimaryKeyConstraint("petition_id", name="pk_locks"),
    )
    op.create_index("ix_locks_holder", "locks", ["holder"])
    op.create_table(
        "operations",
        sa.Column("id", ID, nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=30), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.Column("undone_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_operations"),
        sa.UniqueConstraint("request_id", name="uq_operations_request_id"),
    )
    op.create_index("ix_operations_actor", "operations", ["actor", "id"])
    op.create_table(
        "changes",
        sa.Column("operation_id", ID, nullable=False),
        sa.Column("petition_id", ID, nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("route", sa.JSON(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        _of_operation("changes", "CASCADE"),
        _of_petition("changes"),
        sa.PrimaryKeyConstraint("operation_id", "petition_id", name="pk_changes"),
    )
    op.create_index("ix_changes_petition_id", "changes", ["petition_id"])
    op.create_table(
        "reviews",
        sa.Column("id", ID, nullable=False),
        sa.Column("petition_id", ID, nullable=False),
        sa.Column("operation_id", ID, nullable=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("reviewer", sa.String(length=100), nullable=False),
        sa.Column("reading", sa.SmallInteger(), nullable=False),
        sa.Column("category", sa.String(length=50), nullable=False),
        sa.Column("urgency", sa.String(length=20), nullable=False),
        sa.Column("petition_type", sa.String(length=20), nullable=False),
        sa.Column("sure", sa.Boolean(), nullable=False),
        sa.Column("bulk", sa.Boolean(), nullable=False),
        sa.Column("model_version", sa.String(length=100), nullable=False),
        sa.Column("suggested", sa.JSON(), nullable=False),
        sa.Column("withdrawn_at", TIME, nullable=True),
        sa.Column("withdrawn_by", ID, nullable=True),
        _of_petition("reviews"),
        _of_operation("reviews", "SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
    )
    op.create_table(
        "links",
        sa.Column("id", ID, nullable=False),
        sa.Column("petition_id", ID, nullable=False),
        sa.Column("other_id", ID, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("operation_id", ID, nullable=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("undone_at", TIME, nullable=True),
        _of_petition("links"),
        _of_petition("links", "other_id"),
        _of_operation("links", "SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_links"),
    )
    for table, columns in (
        ("reviews", ("petition_id", "operation_id", "at")),
        ("links", ("petition_id", "other_id", "operation_id")),
    ):
        for column in columns:
            op.create_index(f"ix_{table}_{column}", table, [column])
