"""Fakes that stand for the network and the segmenter, a small model directory that loads, and stores on real databases."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy import text as sql

from nlp_service import text
from nlp_service.bundle import sha256
from nlp_service.encoder import OUTPUTS, Windows
from nlp_service.store import open_store, upgrade
from nlp_service.taxonomy import Taxonomy, load_taxonomy

SHIPPED_TAXONOMY = Path(__file__).resolve().parents[2] / "datasets" / "taxonomy.yaml"
LETTERS = "aàáảãạăằắẳẵặâầấẩẫậbcdđeèéẻẽẹêềếểễệfghiìíỉĩịjklmnoòóỏõọôồốổỗộơờớởỡợpqrstuùúủũụưừứửữựvwxyỳýỷỹỵz0123456789.,"

Floats = npt.NDArray[np.float32]
WriteModel = Callable[..., Path]

# A busy machine is no fault of the code: examples have no deadline.
hypothesis.settings.register_profile("petitions", deadline=None)
hypothesis.settings.load_profile("petitions")


class FixedEncoder:
    """An `Encoder` without a network: a window's logits follow from its ids alone.

    Attributes:
        calls: how many windows each call of `run` was given.
    """

    def __init__(self, widths: Mapping[str, int], hidden: int = 8) -> None:
        self.name = "fixed"
        self.calls: list[int] = []
        self._widths = {**widths, "embedding": hidden}

    @classmethod
    def for_taxonomy(cls, taxonomy: Taxonomy) -> "FixedEncoder":
        return cls({head: len(labels) for head, labels in taxonomy.heads.items()})

    def run(self, windows: Windows) -> dict[str, Floats]:
        self.calls.append(len(windows))
        return {name: np.stack([self._row(name, window) for window in windows]) for name in OUTPUTS}

    def _row(self, name: str, window: object) -> Floats:
        digest = hashlib.sha256(f"{name} {window}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        return generator.normal(scale=2, size=self._widths[name]).astype(np.float32)


class FakeSegmenter:
    """A `Segmenter` for which every syllable is a word."""

    version = "fake 1"

    def segment(self, text: str) -> str:
        return text


def write_vocabulary(directory: Path) -> None:
    """PhoBERT's two vocabulary files, with every small Vietnamese letter and two merges: "ng" and "ng" that ends a word."""
    pieces = [*LETTERS, *(f"{letter}@@" for letter in LETTERS), "ng@@", "ng"]
    (directory / "vocab.txt").write_text("".join(f"{piece} 1\n" for piece in pieces), encoding="utf-8")
    (directory / "bpe.codes").write_text("n g</w> 2\nn g 1\n", encoding="utf-8")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    return load_taxonomy(SHIPPED_TAXONOMY)


@pytest.fixture
def write_model(tmp_path: Path, taxonomy: Taxonomy) -> WriteModel:
    """Writes a valid model directory; keyword arguments replace fields of its manifest."""

    def write(name: str = "tiny-1", **changes: Any) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        shutil.copyfile(SHIPPED_TAXONOMY, directory / "taxonomy.yaml")
        (directory / "model.int8.onnx").write_bytes(b"network")
        write_vocabulary(directory)
        manifest = {
            "format": 1,
            "version": name,
            "created": "2026-11-24T00:00:00+00:00",
            "encoder": {},
            "trained_on": {},
            "text_version": text.VERSION,
            "segmenter": "underthesea 9.5.0",
            "taxonomy_version": taxonomy.version,
            "taxonomy_sha256": taxonomy.sha256,
            "window": 256,
            "window_overlap": 64,
            "heads": {
                head: {"labels": [label.id for label in labels], "temperature": 1.0}
                for head, labels in taxonomy.heads.items()
            },
            "thresholds": {"auto": 0.8, "suggest": 0.6, "emergency": 0.2, "legal_doubt": 0.2},
            "files": {file.name: sha256(file) for file in directory.iterdir()},
            "scores": {},
            **changes,
        }
        (directory / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return directory

    return write


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes where a user's petitions would be."""
    monkeypatch.setenv("PETITIONS_STORE", f"sqlite:///{tmp_path / 'petitions.db'}")


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind; PostgreSQL where PETITIONS_TEST_POSTGRES_URL says that there is one."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    server = os.environ.get("PETITIONS_TEST_POSTGRES_URL")
    if not server:
        pytest.skip("PETITIONS_TEST_POSTGRES_URL is not set: PostgreSQL is not tested")
    schema = f"test_{uuid.uuid4().hex}"
    url = make_url(server).set(drivername="postgresql+psycopg")
    admin = create_engine(url)
    with admin.begin() as connection:
        connection.execute(sql(f"CREATE SCHEMA {schema}"))
    try:
        yield url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    finally:
        with admin.begin() as connection:
            connection.execute(sql(f"DROP SCHEMA {schema} CASCADE"))
        admin.dispose()


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    """An open store with its schema."""
    engine = open_store(store_url)
    upgrade(engine)
    yield engine
    engine.dispose()
