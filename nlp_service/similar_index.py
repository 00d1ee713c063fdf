"""The nearest embeddings among a million stored ones within milliseconds: a graph (HNSW) in memory, by usearch.

The store is what counts: the index follows it, and whatever it finds is checked there. It is one path for any number of
petitions, answers from what it holds while it is still being built, and can be kept in a file for the next start.
"""

import json
import logging
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError
from usearch.index import Index

from nlp_service.bundle import sha256
from nlp_service.store import embeddings
from nlp_service.vectors import unpack

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

DTYPE = "i8"
"""Of the vectors inside: a million take 0.6 GiB, with f16 1.7 times as much. What it blurs, `similar` sets right with the stored ones."""

CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 64, 256
"""Chosen by measurement: twice the connectivity builds half as fast and finds 1 % more; a smaller expansion finds a tenth less."""

BLOCK = 2_000
AT_ONCE = 32
"""Vectors added while look-ups wait: some 20 ms at a million."""

OVERLAP = 2_000
"""Ids looked at again: a transaction that began earlier may commit later."""

EVERY_S = 2.0
RECONCILE_EVERY_S = 6 * 3600.0

META_FILE = "similar.json"
_FORMAT = 1


class SimilarIndex:
    """Embeddings of one model in the store. Safe to share between threads.

    Args:
        model_version: embeddings of other models are not comparable and left out.
        directory: where to keep the index between starts; None keeps it nowhere. The file follows from personal data: its
            owner alone may read it.
    """

    def __init__(self, engine: Engine, model_version: str, directory: Path | None = None) -> None:
        self.model_version = model_version
        self.complete = False  # whether everything that the store held at the start is in it
        self._engine = engine
        self._directory = directory
        self._updating = threading.Lock()
        self._using = threading.Lock()  # usearch grows its memory as it adds: no look-up beside that
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._last = 0
        self._saved = 0
        self._index = self._load()

    def __len__(self) -> int:
        return len(self._index) if self._index is not None else 0

    def start(self, every_s: float = EVERY_S) -> None:
        """Build and follow the store in a thread, until `close`; then it may be started again."""
        if self._closing.is_set():
            self._closing.clear()
            self._saved = 0  # meanwhile another model's index may have taken the place of the file
        self._thread = threading.Thread(target=self._follow, args=(every_s,), name="similar", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following, and keep what is there for the next start."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        if self.complete and len(self) != self._saved:
            self.save()

    def catch_up(self) -> int:
        """Add what is new in the store; how many. At once if another thread is at it."""
        if not self._updating.acquire(blocking=False):
            return 0
        try:
            return self._add_after(max(0, self._last - OVERLAP))[0]
        finally:
            self._updating.release()

    def reconcile(self) -> int:
        """Compare with the whole store: add what is missing, forget what is gone; how many were added."""
        with self._updating:
            held = self._ids()
            added, seen = self._add_after(0)
            if self._closing.is_set():
                return added
            self._forget(np.setdiff1d(held, seen))
            self.complete = True
            return added

    def neighbours(self, vector: Floats, count: int) -> list[tuple[int, float]]:
        """(petition id, cosine) of the nearest, the best first; fewer than `count` where some are gone from the store.

        A vector of zeros has none.
        """
        if self._index is None or not vector.any():
            return []
        with self._using:
            found = self._index.search(vector, count, threads=1)
        ids = found.keys.astype(np.int64)
        kept = self._stored(ids.tolist())
        self._forget(np.array([i for i in ids.tolist() if i not in kept], np.int64))
        return [
            (i, 1 - distance) for i, distance in zip(ids.tolist(), found.distances.tolist(), strict=True) if i in kept
        ]

    def save(self) -> None:
        """Write the index to its directory, whole or not at all. Nothing happens without a directory, or if it is empty."""
        if self._directory is None or self._index is None:
            return
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._updating:
            handle, name = tempfile.mkstemp(prefix=".similar-", dir=self._directory)
            os.close(handle)
            file = Path(name)
            try:
                with self._using:
                    self._index.save(file)
                    count = len(self._index)
                digest = sha256(file)
                data = self._directory / f"similar-{digest[:16]}.usearch"
                file.chmod(0o600)
                _flush(file)
                file.replace(data)
                meta = {**self._meta(), "file": data.name, "sha256": digest, "count": count}
                file.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
                file.chmod(0o600)
                _flush(file)
                file.replace(self._directory / META_FILE)
            finally:
                file.unlink(missing_ok=True)
            self._saved = count
        for other in self._directory.glob("similar-*.usearch"):
            if other != data:
                other.unlink(missing_ok=True)

    def _follow(self, every_s: float) -> None:
        due = 0.0
        while not self._closing.is_set():
            try:
                if time.monotonic() >= due:
                    self.reconcile()
                    due = time.monotonic() + RECONCILE_EVERY_S
                self.catch_up()
                if len(self) > 1.1 * self._saved:
                    self.save()
            except (SQLAlchemyError, OSError) as error:
                # Its text may quote what was asked for.
                log.warning("the index of similar petitions fell behind (%s); it tries again", type(error).__name__)
            self._closing.wait(every_s)

    def _add_after(self, after: int) -> tuple[int, Ids]:
        """Add every embedding of a petition past `after`; how many were new, and the ids of all of them."""
        added, seen = 0, []
        while not self._closing.is_set():
            columns = embeddings.c
            with self._engine.connect() as connection:
                ids = np.array(
                    connection.execute(
                        select(columns.petition_id)
                        .where(columns.model_version == self.model_version, columns.petition_id > after)
                        .order_by(columns.petition_id)
                        .limit(BLOCK)
                    )
                    .scalars()
                    .all(),
                    np.int64,
                )
                if not len(ids):
                    break
                missing = ids[~self._holds(ids)].tolist()
                rows = (
                    connection.execute(
                        select(columns.petition_id, columns.vector).where(
                            columns.model_version == self.model_version, columns.petition_id.in_(missing)
                        )
                    ).all()
                    if missing
                    else []
                )
            added += self._add([row.petition_id for row in rows], [unpack(row.vector) for row in rows])
            seen.append(ids)
            after = int(ids[-1])
            self._last = max(self._last, after)
        return added, np.concatenate(seen) if seen else np.empty(0, np.int64)

    def _add(self, ids: list[int], vectors: list[Floats]) -> int:
        known = [(i, vector) for i, vector in zip(ids, vectors, strict=True) if vector.any()]
        if not known:
            return 0
        if self._index is None:
            self._index = _empty(len(known[0][1]))
        for start in range(0, len(known), AT_ONCE):
            part = known[start : start + AT_ONCE]
            with self._using:
                self._index.add(np.array([i for i, _ in part]), np.stack([v for _, v in part]), threads=1)
            time.sleep(0.0005)  # else this thread takes the lock again before a look-up that waits for it wakes
        return len(known)

    def _holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        if self._index is None:
            return np.zeros(len(ids), bool)
        with self._using:
            held: npt.NDArray[np.bool_] = np.asarray(self._index.contains(ids), bool)
        return held

    def _ids(self) -> Ids:
        if self._index is None:
            return np.empty(0, np.int64)
        with self._using:
            return np.asarray(self._index.keys[:]).astype(np.int64)

    def _stored(self, ids: list[int]) -> set[int]:
        columns = embeddings.c
        with self._engine.connect() as connection:
            return set(
                connection.execute(
                    select(columns.petition_id).where(
                        columns.petition_id.in_(ids), columns.model_version == self.model_version
                    )
                ).scalars()
            )

    def _forget(self, ids: Ids) -> None:
        if self._index is not None and len(ids):
            with self._using:
                self._index.remove(ids)

    def _meta(self) -> dict[str, Any]:
        return {"format": _FORMAT, "model_version": self.model_version, "dtype": DTYPE, "connectivity": CONNECTIVITY}

    def _load(self) -> Index | None:
        if self._directory is None or not (self._directory / META_FILE).exists():
            return None
        try:
            meta = json.loads((self._directory / META_FILE).read_text(encoding="utf-8"))
            if {name: meta[name] for name in self._meta()} != self._meta():
                log.info("the index of similar petitions was made for another model or program; it is built anew")
                return None
            file = self._directory / Path(meta["file"]).name
            if sha256(file) != meta["sha256"]:
                raise ValueError("the file is not the one that was written")
            index = _empty(0)
            index.load(file)
            if len(index) != meta["count"]:
                raise ValueError(f"{len(index)} vectors instead of {meta['count']}")
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            log.warning(
                "the index of similar petitions in %s is damaged (%s); it is built anew", self._directory, error
            )
            return None
        # These two are not in the file. mypy misses the setters, since usearch 2.26 defines them far from the getters.
        index.expansion_add = EXPANSION_ADD  # type: ignore[misc]
        index.expansion_search = EXPANSION_SEARCH  # type: ignore[misc]
        self._saved = len(index)
        return index


def _empty(dimensions: int) -> Index:
    return Index(
        ndim=dimensions,
        metric="cos",
        dtype=DTYPE,
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
    )


def _flush(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
