"""Finding similar petitions: does a second teller of a matter find the first, and how fast among a million?

    python -m tests.benchmarks.similar --count 1000000 --work /tmp/similar

retold.jsonl holds 60 petitions of dev and test told again, 30 each, written with the first telling in sight: it shares more
words than a stranger's would. Weights were chosen on dev; the bounds of a kind (`SAME_MATTER_HERE`, ...) on all 60.
Speed is measured on the embeddings of the labelled petitions with noise: the index on `--count` of them in a store that
holds nothing else, the whole look-up on a store of `--rows` full petitions. Give it a few GB of room.
"""

import argparse
import json
import os
import resource
import sqlite3
import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine

from nlp_service.encoder import Runtime
from nlp_service.errors import PetitionError
from nlp_service.intake import fingerprint
from nlp_service.pipeline import PetitionClassifier
from nlp_service.similar import MEANING, NEAREST, PHRASES, WORDS, similar
from nlp_service.similar_index import META_FILE, SimilarIndex
from nlp_service.store import open_store, snapshot, upgrade
from nlp_service.text import fold, normalise
from nlp_service.triage import Sender
from nlp_service.vectors import Floats, pack

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 25, tzinfo=UTC)
MODEL = "benchmark"
BLOCK = 10_000
NOISE = (0.3, 1.2)
"""Length of the noise, in lengths of an embedding: a copy's cosine with its original is 0.96 to 0.64. Recall depends on it:
with 1.0 throughout, where the ten nearest are hardly nearer than others, it is 0.86 of 20,000 instead of 0.97 of a million."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "current")
    parser.add_argument("--count", type=int, default=1_000_000, help="embeddings in the index")
    parser.add_argument("--rows", type=int, default=100_000, help="full petitions in the store")
    parser.add_argument("--work", type=Path, required=True, help="a directory for the stores and the embeddings")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    labelled = [row for split in ("train", "dev", "test") for row in lines(ROOT / f"datasets/petitions/{split}.jsonl")]
    retold = list(lines(Path(__file__).parent / "retold.jsonl"))
    vectors = embedded(chosen.model, [row["text"] for row in [*labelled, *retold]], chosen.work / "vectors.npy")
    known = np.linalg.norm(vectors, axis=1) > 0  # all but what cannot be read
    quality(labelled, retold, vectors)
    clusters = vectors[: len(labelled)][known[: len(labelled)]]
    whole_look_up(chosen.work, labelled, clusters, chosen.rows)
    index_alone(chosen.work, clusters, chosen.count)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def embedded(model: Path, texts: Sequence[str], kept: Path) -> Floats:
    if kept.exists():
        found: Floats = np.load(kept)
        return found
    classifier = PetitionClassifier.load(model, Runtime.ONNXRUNTIME, threads=1)
    start = time.perf_counter()
    reads = classifier.read_many(texts)
    print(f"{len(texts):,} petitions read in {time.perf_counter() - start:.0f} s")
    width = next(len(read.embedding) for read in reads if not isinstance(read, PetitionError))
    vectors = unit(
        np.stack([np.zeros(width, np.float32) if isinstance(read, PetitionError) else read.embedding for read in reads])
    )
    np.save(kept, vectors)
    return vectors


def unit(vectors: Floats) -> Floats:
    result: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return result.astype(np.float32)


def noisy(clusters: Floats, count: int, generator: np.random.Generator) -> Floats:
    width = clusters.shape[1]
    length = generator.uniform(*NOISE, size=(count, 1)) / np.sqrt(width)
    noise = (generator.normal(size=(count, width)) * length).astype(np.float32)
    return unit(clusters[generator.integers(len(clusters), size=count)] + noise)


# Quality.


def quality(labelled: Sequence[dict[str, Any]], retold: Sequence[dict[str, Any]], vectors: Floats) -> None:
    """Recall of the petition that was told again, among all labelled ones."""
    place = {row["id"]: number for number, row in enumerate(labelled)}
    gold = np.array([place[row["of"]] for row in retold])
    stored, asked = vectors[: len(labelled)], vectors[len(labelled) :]
    words = [grams(row["text"]) for row in [*labelled, *retold]]
    shares = np.array(
        [
            [(share(own[0], other[0]), share(own[1], other[1])) for other in words[: len(labelled)]]
            for own in words[len(labelled) :]
        ]
    )
    meaning = np.maximum(asked @ stored.T, 0)
    combined = MEANING * meaning + WORDS * shares[:, :, 0] + PHRASES * shares[:, :, 1]
    names = [json.loads(line)["id"] for line in (ROOT / "datasets/petitions/dev.jsonl").open(encoding="utf-8")]
    dev = np.isin([row["of"] for row in retold], names)
    print(f"\n{len(retold)} petitions told again, found among {len(labelled):,}:")
    for name, scores in (
        ("embedding", meaning),
        ("common words", shares[:, :, 0]),
        ("common pairs of words", shares[:, :, 1]),
        ("all three, as served", combined),
    ):
        ranks = (scores > scores[np.arange(len(gold)), gold][:, None]).sum(axis=1)
        for split, chosen in (("dev", dev), ("test", ~dev)):
            recalls = ", ".join(f"@{k} {np.mean(ranks[chosen] < k):.0%}" for k in (1, 3, 10, 100))
            print(f"  {name:24} {split:5} {recalls}")


def grams(text: str) -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    words = fold(normalise(text)).replace(",", " ").replace(".", " ").split()
    return frozenset(words), frozenset(pairwise(words))


def share(first: frozenset[Any], second: frozenset[Any]) -> float:
    return len(first & second) / (len(first | second) or 1)


# Speed.


def index_alone(work: Path, clusters: Floats, count: int) -> None:
    generator = np.random.default_rng(7)
    engine = fresh_store(work / "embeddings.db")
    vectors = np.concatenate(
        [noisy(clusters, min(BLOCK, count - start), generator) for start in range(0, count, BLOCK)]
    )
    with raw(work / "embeddings.db") as connection:
        connection.execute("PRAGMA foreign_keys=OFF")  # embeddings without petitions
        connection.executemany(
            "INSERT INTO embeddings (petition_id, model_version, vector) VALUES (?, ?, ?)",
            ((number + 1, MODEL, pack(vector)) for number, vector in enumerate(vectors)),
        )
        connection.commit()
    print(f"\nindex of {count:,} embeddings of {vectors.shape[1]} (SQLite file {size(work / 'embeddings.db')})")
    before = resident()
    index = SimilarIndex(engine, MODEL, work / "index")
    start, busy = time.perf_counter(), time.thread_time()
    index.reconcile()
    took, busy = time.perf_counter() - start, time.thread_time() - busy
    print(f"  built in {took:.0f} s on one thread: {count / took:,.0f}/s, {count / busy:,.0f} a second of CPU time")
    print(f"  memory {(resident() - before) / 2**30:.2f} GiB")
    asked = noisy(clusters, 300, generator)
    likeness = asked @ vectors.T
    best = np.argpartition(-likeness, 10, axis=1)[:, :10] + 1
    found, again, times = [], [], []
    for number, vector in enumerate(asked):
        start = time.perf_counter()
        ids = [i for i, _ in index.neighbours(vector, NEAREST)]
        times.append(time.perf_counter() - start)
        found.append(len(set(ids[:10]) & set(best[number].tolist())) / 10)
        ids.sort(key=lambda i: -likeness[number, i - 1])
        again.append(len(set(ids[:10]) & set(best[number].tolist())) / 10)
    print(f"  recall@10 {np.mean(found):.3f}; {np.mean(again):.3f} once the {NEAREST} are compared exactly, as served")
    print(f"  nearest {NEAREST} with the check in the store: {spread(times)}")
    start = time.perf_counter()
    index.save()
    print(f"  saved in {time.perf_counter() - start:.1f} s, {size(next((work / 'index').glob('*.usearch')))}")
    start = time.perf_counter()
    loaded = SimilarIndex(engine, MODEL, work / "index")
    print(f"  loaded in {time.perf_counter() - start:.1f} s ({META_FILE} and digest checked)")
    start = time.perf_counter()
    loaded.reconcile()
    print(f"  compared with the store in {time.perf_counter() - start:.1f} s")


def whole_look_up(work: Path, labelled: Sequence[dict[str, Any]], clusters: Floats, count: int) -> None:
    generator = np.random.default_rng(8)
    engine = fresh_store(work / "petitions.db")
    readable = [row for row in labelled if any(character.isalnum() for character in row["text"])][: len(clusters)]
    vectors = noisy(clusters, count, generator)
    with raw(work / "petitions.db") as connection:
        for start in range(0, count, BLOCK):
            numbers = range(start, min(start + BLOCK, count))
            rows = [
                row_of(number + 1, readable[int(generator.integers(len(readable)))], generator) for number in numbers
            ]
            insert(connection, "petitions", rows)
            insert(connection, "embeddings", [
                {"petition_id": n + 1, "model_version": MODEL, "vector": pack(vectors[n])} for n in numbers
            ])  # fmt: skip
            insert(connection, "senders", [
                {"petition_id": n + 1, "fingerprint": fingerprint(Sender(phone=f"09{n % 90_000:08}"))} for n in numbers
            ])  # fmt: skip
            result = json.dumps({"category": {"id": "other", "name": "Khác", "probability": 0.9}})
            insert(connection, "predictions", [
                {"petition_id": n + 1, "at": NOW.isoformat(sep=" "), "model_version": MODEL, "taxonomy_version": "1",
                 "category": "other", "category_probability": 0.9, "result": result} for n in numbers
            ])  # fmt: skip
            insert(connection, "routings", [
                {"petition_id": n + 1, "at": NOW.isoformat(sep=" "), "lead": "x", "rule": "x", "rules_version": "1",
                 "result": json.dumps({"lead": {"id": "x", "name": "x"}})} for n in numbers
            ])  # fmt: skip
            connection.commit()
    index = SimilarIndex(engine, MODEL)
    index.reconcile()
    times = []
    for petition_id in generator.integers(1, count + 1, size=300).tolist():
        start = time.perf_counter()
        with snapshot(engine) as connection:
            similar(connection, index, petition_id, [], by_sender=True)
        times.append(time.perf_counter() - start)
    print(f"\nwhole look-up among {count:,} petitions (SQLite file {size(work / 'petitions.db')}): {spread(times)}")


def row_of(petition_id: int, labelled: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
    commune = int(generator.integers(166))
    at = (NOW - timedelta(minutes=int(generator.integers(3 * 365 * 24 * 60)))).replace(tzinfo=None).isoformat(sep=" ")
    return {
        "id": petition_id, "text_sha256": f"{petition_id:064}", "received_at": at, "created_at": at, "updated_at": at,
        "channel": "api", "submitted_by": "x", "commune_code": f"{commune:05}",
        "place": json.dumps({"commune": f"Xã số {commune}"}), "location": "null", "flags": "{}",
        "category": labelled["category"], "urgency": "normal", "petition_type": labelled["petition_type"],
        "zone": "auto", "emergency": labelled["urgency"] == "emergency", "restricted": False, "lead_body": "x",
        "status": "routed", "due_at": at, "version": 1, "queued": False, "risk": 3, "margin": 0, "readings": 0,
        "text": labelled["text"], "folded": fold(normalise(labelled["text"])),
    }  # fmt: skip


def fresh_store(path: Path) -> Engine:
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        file.unlink(missing_ok=True)
    engine = open_store(f"sqlite:///{path}")
    upgrade(engine)
    return engine


def raw(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path)


def insert(connection: sqlite3.Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    names = list(rows[0])
    connection.executemany(
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
        [tuple(row.values()) for row in rows],
    )


def spread(times: Sequence[float]) -> str:
    ordered = sorted(times)
    return (
        f"median {statistics.median(times) * 1e3:.1f} ms, p95 {ordered[int(0.95 * len(ordered))] * 1e3:.1f} ms, "
        f"longest {ordered[-1] * 1e3:.1f} ms"
    )


def size(path: Path) -> str:
    return f"{path.stat().st_size / 2**30:.2f} GiB"


def resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
