"""Fakes that stand for the network and the segmenter, and a small model directory that loads."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
import uvicorn

from nlp_service import text
from nlp_service.bundle import sha256
from nlp_service.encoder import OUTPUTS, Windows
from nlp_service.settings import Settings
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


@pytest.fixture
def running_service(store_url: str) -> Iterator[str]:
    """The address of a service with a fixed network, on a free port, with a pothole and a flood to find."""
    # Imported here: most tests of this folder need neither a store nor rules.
    from nlp_service.api import create_app
    from tests.nlp_service.offices import FLOOD, POTHOLE, FixedClassifier

    app = create_app(Settings(store=store_url, rate_per_minute=1_000_000), FixedClassifier())  # type: ignore[arg-type]
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    httpx2.post(f"{url}/v1/petitions", json={"petitions": [{"text": POTHOLE}, {"text": FLOOD}]})
    yield url
    server.should_exit = True
    thread.join()
