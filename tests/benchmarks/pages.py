"""Server time of every page of the console with 100,000 petitions in the store: `python -m tests.benchmarks.pages [URL] [--count N]`.

A thousand of our own petitions are read by the shipped model and taken in; the others are copies of them on other days.
"""

import argparse
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, func, insert, literal, literal_column, select, text

from nlp_service.api import create_app
from nlp_service.intake import Intake
from nlp_service.pipeline import Classification, PetitionClassifier
from nlp_service.settings import Settings
from nlp_service.store import (
    assignments,
    embeddings,
    open_store,
    petitions,
    predictions,
    routings,
    upgrade,
    writing,
)
from nlp_service.triage import Incoming, Rules, load_rules
from tests.nlp_service.offices import local_client

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 1_000
QUEUED, OPEN = 10, 25
"""Thousands that wait for a person, and that are not ended: the others were answered long ago."""

RUNS = 7
OWN = {"Origin": "http://127.0.0.1", "HX-Request": "true"}


def fill(engine: Engine, classifier: PetitionClassifier, rules: Rules, count: int) -> None:
    with (ROOT / "datasets" / "petitions" / "train.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for _, line in zip(range(SEEDS), lines, strict=False)]
    now = datetime.now(UTC)
    read = [c for c in classifier.classify_many(texts) if isinstance(c, Classification)]
    incoming = [Incoming(t, now - timedelta(hours=i % 700), channel="portal") for i, t in enumerate(texts)]
    Intake(engine, rules).take(incoming, read, "bench")
    with engine.connect() as connection:
        lowest, highest = connection.execute(select(func.min(petitions.c.id), func.max(petitions.c.id))).one()
    step = highest - lowest + 1
    for copy in range(1, count // SEEDS):
        with writing(engine) as connection:
            for table, key in (
                (petitions, "id"),
                (predictions, ""),
                (routings, ""),
                (assignments, ""),
                (embeddings, ""),
            ):
                connection.execute(_copied(table, key, copy * step, highest, copy, engine.dialect.name))
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(
                text("SELECT setval(pg_get_serial_sequence('petitions', 'id'), (SELECT max(id) FROM petitions))")
            )
        connection.execute(text("ANALYZE"))


def _copied(table: Table, key: str, shift: int, highest: int, copy: int, dialect: str) -> Any:
    """Rows of the seeds once more, under new numbers and as if received `copy` days earlier."""
    own = key or "petition_id"
    columns: dict[str, Any] = {}
    for column in table.c:
        if column.name == own:
            columns[column.name] = column + shift
        elif column.name == "id":
            continue  # numbered by the database
        elif column.name in ("received_at", "due_at"):
            columns[column.name] = _earlier(dialect, column, copy)
        elif column.name == "queued":
            columns[column.name] = column if copy < QUEUED else literal(False)
        elif column.name == "status":
            columns[column.name] = column if copy < OPEN else literal("closed")
        else:
            columns[column.name] = column
    return insert(table).from_select(list(columns), select(*columns.values()).where(table.c[own] <= highest))


def _earlier(dialect: str, column: Any, days: int) -> Any:
    if dialect == "sqlite":
        return func.strftime("%Y-%m-%d %H:%M:%f000", column, f"-{days} days")
    return literal_column(f"{column.table.name}.{column.name} - interval '{days} days'")


def measured(name: str, ask: Callable[[], Any]) -> tuple[str, float, float]:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        answer = ask()
        times.append(1_000 * (time.perf_counter() - start))
        assert answer.status_code < 400, (name, answer.status_code, answer.text[:500])
    return name, statistics.median(times), max(times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url", nargs="?", default=None, help="an empty store; a SQLite file of its own if left out")
    parser.add_argument("--count", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        url = given.url or f"sqlite:///{directory}/pages.db"
        engine = open_store(url)
        upgrade(engine)
        classifier = PetitionClassifier.load(ROOT / "models" / "current")
        rules = load_rules(ROOT / "datasets", classifier.bundle.taxonomy)
        start = time.perf_counter()
        fill(engine, classifier, rules, given.count)
        with engine.connect() as connection:
            stored = connection.execute(select(func.count()).select_from(petitions)).scalar_one()
            queued = connection.execute(
                select(func.count()).select_from(petitions).where(petitions.c.queued.is_(True))
            ).scalar_one()
        print(
            f"{engine.dialect.name}: {stored:,} petitions, {queued:,} in the queue, filled in {time.perf_counter() - start:.0f} s"
        )
        app = create_app(Settings(store=url, rate_per_minute=1_000_000), classifier, rules)
        with local_client(app) as client:
            start = time.perf_counter()
            while not app.state.office.index.complete:
                time.sleep(0.2)
            print(f"index of similar petitions complete after {time.perf_counter() - start:.0f} s")
            _measure(client)
        engine.dispose()


def _measure(client: Any) -> None:
    page = client.get("/console/next").text
    petition = int(re.search(r"<h1>Đơn (\d+)", page)[1])  # type: ignore[index]
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)[1]  # type: ignore[index]
    form = {"csrf": csrf, "category": "land_administration"}
    body = re.search(r"/console/bodies/(\w+)", client.get("/console/bodies").text)
    at = f"/console/petitions/{petition}"

    def decide() -> Any:
        page = client.get("/console/next").text
        number = re.search(r"<h1>Đơn (\d+)", page)[1]  # type: ignore[index]
        version = re.search(r'name="version" value="(\d+)"', page)[1]  # type: ignore[index]
        start = time.perf_counter()
        answer = client.post(
            f"/console/petitions/{number}/decide", data={"csrf": csrf, "version": version, "flow": "1"},
            headers={"Origin": "http://127.0.0.1"}, follow_redirects=False,
        )  # fmt: skip
        decided.append(1_000 * (time.perf_counter() - start))
        return answer

    decided: list[float] = []
    rows = [
        measured("queue", lambda: client.get("/console/queue")),
        measured("queue, one category", lambda: client.get("/console/queue?category=land_administration")),
        measured("next petition, with its page", lambda: client.get("/console/next")),
        measured("petition", lambda: client.get(at)),
        measured("petition: why", lambda: client.get(f"{at}/why")),
        measured("petition: similar", lambda: client.get(f"{at}/similar")),
        measured("petition: where it would go", lambda: client.post(f"{at}/route", data=form, headers=OWN)),
        measured("split", lambda: client.get(f"{at}/split")),
        measured("search, newest", lambda: client.get("/console/search")),
        measured("search, a category", lambda: client.get("/console/search?category=land_administration")),
        *(
            measured(
                f"search, {kind} word",
                lambda word=word: client.post("/console/search", data={"csrf": csrf, "words": word}, headers=OWN),  # type: ignore[misc]
            )
            for kind, word in (("a common", "duong"), ("two", "hoi nuoc"), ("a rare", "boxit"), ("an unknown", "xyzzy"))
        ),
        measured("bodies", lambda: client.get("/console/bodies")),
        *([measured("a body's inbox", lambda: client.get(body.group()))] if body else []),
        measured("bulk", lambda: client.get("/console/bulk")),
        measured("model", lambda: client.get("/console/model")),
        measured("audit", lambda: client.get("/console/audit")),
        measured("try", lambda: client.get("/console/try")),
    ]
    for _ in range(RUNS):
        decide()
    rows.append(("decide", statistics.median(decided), max(decided)))
    print(f"{'page':32} {'median ms':>10} {'worst ms':>10}")
    for name, median, worst in rows:
        print(f"{name:32} {median:10.1f} {worst:10.1f}")


if __name__ == "__main__":
    main()
