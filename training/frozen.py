"""What a served model's encoder says of texts: the vector that its heads read, remembered in the run directory. No torch."""

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from nlp_service.bundle import Bundle
from nlp_service.diacritics import DIACRITICS_FILE
from nlp_service.encoder import FLOAT_FILE, INT8_FILE, OnnxEncoder, Runtime
from nlp_service.pipeline import PetitionClassifier
from nlp_service.tokens import CODES_FILE, VOCABULARY_FILE
from training.heads import LinearHead, expose, read_heads
from training.reads import read_all

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]

SAVED_EVERY = 2_000
"""Texts between two savings: some half a minute of work that a kill may cost."""


class FrozenEncoder:
    """Reads texts with a model's int8 network, as the service does, up to the vector before the heads.

    Vectors are kept by a hash of the text, in a file named by all that they follow from: a model made from this one by new
    heads has the same encoder and finds them again.

    Args:
        model: model directory or pointer file; stays as it is.
        run: directory of the remembered vectors.

    Raises:
        PetitionError: INVALID_MODEL for a directory that is none.
        ValueError: a network whose heads are not linear.
    """

    def __init__(self, model: Path, run: Path) -> None:
        self._classifier = PetitionClassifier.load(model, Runtime.ONNXRUNTIME)
        bundle = self.bundle
        labels = {head: spec.labels for head, spec in bundle.manifest.heads.items()}
        self.pooled, self.heads = read_heads(onnx.load(bundle.directory / FLOAT_FILE), labels)
        network = onnx.load(bundle.directory / INT8_FILE)
        expose(network, self.pooled)
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / INT8_FILE
            onnx.save(network, file)
            self._classifier.encoder = OnnxEncoder(file, len(os.sched_getaffinity(0)))
        self._file = run / f"vectors-{_identity(bundle, network, self.heads)[:16]}.npz"
        self._known = _load(self._file)

    @property
    def bundle(self) -> Bundle:
        """The model that the encoder is taken from."""
        return self._classifier.bundle

    def wordings(self, texts: Sequence[str]) -> list[str]:
        """The texts as the model reads them, marks restored and shouting calmed."""
        return [self._classifier.reader.wording(text) for text in texts]

    def vectors(self, texts: Sequence[str]) -> Floats:
        """(texts, hidden), the mean over each text's windows. Raises PetitionError for a text that cannot be read."""
        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        missing = [(key, text) for key, text in dict(zip(keys, texts, strict=True)).items() if key not in self._known]
        log.info("%d of %d texts to read", len(missing), len(texts))
        started = time.monotonic()
        for start in range(0, len(missing), SAVED_EVERY):
            part = missing[start : start + SAVED_EVERY]
            reads = read_all(self._classifier, [text for _, text in part])
            self._known.update((key, read.embedding) for (key, _), read in zip(part, reads, strict=True))
            _save(self._file, self._known)
            log.info("%d read, %.0f s", start + len(part), time.monotonic() - started)
        return np.stack([self._known[key] for key in keys])


def _identity(bundle: Bundle, network: onnx.ModelProto, heads: dict[str, LinearHead]) -> str:
    """A hash of what a vector depends on beside the text: the encoder's weights and how text becomes ids."""
    manifest = bundle.manifest
    digest = hashlib.sha256()
    for tensor in network.graph.initializer:
        # The heads are in the network too, and are what changes.
        if not tensor.name.startswith(tuple(f"heads.{head}." for head in heads)):
            digest.update(tensor.SerializeToString(deterministic=True))
    reading = [manifest.text_version, manifest.segmenter, manifest.window, manifest.window_overlap]
    files = [name for name in manifest.files if name in (VOCABULARY_FILE, CODES_FILE, DIACRITICS_FILE)]
    digest.update(json.dumps([reading, {name: manifest.files[name] for name in sorted(files)}]).encode())
    return digest.hexdigest()


def _load(file: Path) -> dict[bytes, Floats]:
    if not file.exists():
        return {}
    with np.load(file) as stored:
        return {key.tobytes(): row for key, row in zip(stored["keys"], stored["vectors"], strict=True)}


def _save(file: Path, known: dict[bytes, Floats]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".tmp")
    with scratch.open("wb") as stream:
        keys = np.stack([np.frombuffer(key, np.uint8) for key in known])
        np.savez(stream, keys=keys, vectors=np.stack(list(known.values())))
    scratch.replace(file)
