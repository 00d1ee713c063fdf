"""PetitionClassifier: read, encode, decide. The service, the CLI, batch labelling and evaluation use it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from nlp_service.bundle import HEADS, Bundle, load_bundle
from nlp_service.decision import Decision, Scored, decide, pool_windows, seen_first
from nlp_service.diacritics import DIACRITICS_FILE
from nlp_service.emergency import LEXICON_FILE, Lexicon, Sign, load_lexicon
from nlp_service.encoder import Encoder, Runtime, open_encoder
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.linear import LINEAR_FILE, LinearModel
from nlp_service.reading import Reader, load_reader
from nlp_service.segment import UndertheseaSegmenter
from nlp_service.text import MAX_CHARS, check

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Classification:
    """The answer for one petition, with what it was read by.

    Attributes:
        windows: how many overlapping windows of 256 positions the text took; all of it was read.
        embedding: (hidden,) mean over the windows, for similarity.
        wording: the text with marks restored and shouting calmed, as the rules read it; it is the petition: not for logs.
    """

    decision: Decision
    windows: int
    model_version: str
    taxonomy_version: str
    embedding: Floats
    wording: str = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The JSON result of the contract."""
        decision = self.decision
        return {
            "category": _scored(decision.category),
            "alternatives": [_scored(scored) for scored in decision.alternatives],
            "prediction_set": [_scored(scored) for scored in decision.prediction_set],
            "urgency": _scored(decision.urgency),
            "petition_type": _scored(decision.petition_type),
            "decision": decision.decision,
            "reasons": [{"code": reason.code, "message": reason.message} for reason in decision.reasons],
            "windows": self.windows,
            "model_version": self.model_version,
            "taxonomy_version": self.taxonomy_version,
        }


def _scored(scored: Scored) -> dict[str, Any]:
    return {"id": scored.id, "name": scored.name, "probability": scored.probability}


@dataclass(frozen=True)
class Read:
    """What network, linear model and lexicon say of one petition before anything is decided."""

    logits: dict[str, Floats]
    embedding: Floats
    windows: int
    sign: Sign | None
    wording: str = field(repr=False)


AHEAD = 8
"""Petitions that are segmented before the network begins to read them."""

_Prepared = tuple[str, list[list[int]]] | PetitionError
"""A petition's wording and its windows of ids, or why there are none."""


class PetitionClassifier:
    """Reads petitions with one verified model. Holds no state between calls; safe to share between threads.

    Args:
        ahead: segment the next petitions of a batch in one thread while the network reads the last ones in others.
        auto: whether a petition may go on by itself; if not, it is suggested at most.
    """

    def __init__(
        self,
        bundle: Bundle,
        reader: Reader,
        encoder: Encoder,
        lexicon: Lexicon | None = None,
        linear: LinearModel | None = None,
        max_chars: int = MAX_CHARS,
        ahead: bool = False,
        auto: bool = True,
    ) -> None:
        self.bundle = bundle
        self.reader = reader
        self.encoder = encoder
        self.lexicon = lexicon
        self.linear = linear
        self.max_chars = max_chars
        self.auto = auto
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="encode") if ahead else None

    @classmethod
    def load(
        cls,
        path: Path,
        runtime: Runtime = Runtime.AUTO,
        threads: int = 0,
        max_chars: int = MAX_CHARS,
        auto: bool = True,
    ) -> "PetitionClassifier":
        """Open a model directory, or the one a pointer file names.

        Raises:
            PetitionError: INVALID_MODEL naming the file at fault; MISSING_EXTRA for a runtime that is not installed.
        """
        bundle = load_bundle(path)
        manifest, directory = bundle.manifest, bundle.directory
        try:
            # Only files that the manifest lists have been verified.
            reader = load_reader(
                directory,
                UndertheseaSegmenter(),
                manifest.window,
                manifest.window_overlap,
                diacritics=DIACRITICS_FILE in manifest.files,
            )
            lexicon = load_lexicon(directory / LEXICON_FILE) if LEXICON_FILE in manifest.files else None
            linear = LinearModel.load(directory / LINEAR_FILE) if LINEAR_FILE in manifest.files else None
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise PetitionError(
                ErrorKind.INVALID_MODEL,
                f"{directory} cannot be read: {error}; export the model again",
                file=str(directory),
            ) from error
        sizes = {head: len(spec.labels) for head, spec in manifest.heads.items()}
        if (linear and linear.sizes != sizes) or (manifest.linear and not linear):
            raise PetitionError(
                ErrorKind.INVALID_MODEL,
                f"{directory / LINEAR_FILE} is missing or has other heads than the manifest; export the model again",
                file=str(directory / LINEAR_FILE),
            )
        return cls(
            bundle=bundle,
            reader=reader,
            encoder=open_encoder(directory, runtime, threads),
            lexicon=lexicon,
            linear=linear,
            max_chars=max_chars,
            ahead=threads != 1,
            auto=auto,
        )

    def classify(self, text: object) -> Classification:
        """Answer one petition.

        Raises:
            PetitionError: EMPTY_TEXT, TEXT_TOO_LONG, INVALID_REQUEST (not a string).
        """
        answer = self.classify_many([text])[0]
        if isinstance(answer, PetitionError):
            raise answer
        return answer

    def classify_many(self, texts: Sequence[object]) -> list[Classification | PetitionError]:
        """Answer many, in order; a text that cannot be read gets its error and spoils nothing else."""
        answers: list[Classification | PetitionError] = []
        reads = self.read_many(texts)
        for read in reads:
            if isinstance(read, PetitionError):
                answers.append(read)
                continue
            manifest = self.bundle.manifest
            answers.append(
                Classification(
                    decision=self.decide(read),
                    windows=read.windows,
                    model_version=manifest.version,
                    taxonomy_version=manifest.taxonomy_version,
                    embedding=read.embedding,
                    wording=read.wording,
                )
            )
        return answers

    def decide(self, read: Read) -> Decision:
        """What follows from a reading."""
        decision = decide(read.logits, self.bundle.manifest, self.bundle.taxonomy, read.sign)
        return decision if self.auto else seen_first(decision)

    def tokenise(self, text: object) -> list[list[int]]:
        """The windows of ids that the network reads for `text`. Raises PetitionError as `classify` does."""
        return self.reader.windows(self.reader.wording(check(text, self.max_chars)))

    def read_many(self, texts: Sequence[object]) -> list[Read | PetitionError]:
        """Logits, pooled over each petition's windows and joined with the linear model's, before any decision."""
        if self._ahead is None or len(texts) <= AHEAD:
            prepared = [self._prepare(text) for text in texts]
            return self._join(prepared, self._run(prepared))
        # The network reads some petitions while the next ones are segmented: on two cores neither waits for the other.
        parts = []
        for start in range(0, len(texts), AHEAD):
            prepared = [self._prepare(text) for text in texts[start : start + AHEAD]]
            parts.append((prepared, self._ahead.submit(self._run, prepared)))
        return [read for prepared, running in parts for read in self._join(prepared, running.result())]

    def _prepare(self, text: object) -> _Prepared:
        try:
            wording = self.reader.wording(check(text, self.max_chars))
            return wording, self.reader.windows(wording)
        except PetitionError as error:
            return error

    def _run(self, prepared: Sequence[_Prepared]) -> dict[str, Floats]:
        windows = [window for item in prepared if not isinstance(item, PetitionError) for window in item[1]]
        return self.encoder.run(windows) if windows else {}

    def _join(self, prepared: Sequence[_Prepared], outputs: dict[str, Floats]) -> list[Read | PetitionError]:
        reads: list[Read | PetitionError] = []
        start = 0
        for item in prepared:
            if isinstance(item, PetitionError):
                reads.append(item)
                continue
            wording, pieces = item
            part = slice(start, start + len(pieces))
            start += len(pieces)
            reads.append(self.combine({name: rows[part] for name, rows in outputs.items()}, wording))
        return reads

    def combine(self, rows: Mapping[str, Floats], wording: str) -> Read:
        """One petition's reading from its wording and the network's rows for its windows."""
        logits = {head: pool_windows(rows[head]) for head in HEADS}
        if self.linear:
            margins = self.linear.margins(wording)
            weights = self.bundle.manifest.linear
            logits = {head: logits[head] + np.float32(weights.get(head, 0)) * margins[head] for head in HEADS}
        return Read(
            logits=logits,
            embedding=rows["embedding"].mean(axis=0),
            windows=len(rows["embedding"]),
            sign=self.lexicon.find(wording) if self.lexicon else None,
            wording=wording,
        )
