"""A model directory: what a model is, which files it has, and the proof that they are whole.

    manifest.json     versions, label order, temperatures, thresholds, file hashes, scores
    model.onnx        the network, weights in fp16
    model.int8.onnx   the same, weights in int8
    vocab.txt bpe.codes taxonomy.yaml
    README.md README.vi.md   the model card, written from the manifest; no hash covers it
    emergency.yaml    signs of an emergency, read beside the model
    linear.npz        a linear model whose margins are added to the network's logits
    diacritics.npz    restores marks in texts typed without, if the model was taught with it

`models/current` is a one-line text file that names the directory to serve, so that promotion is one atomic rename.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nlp_service import text
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.taxonomy import Taxonomy, load_taxonomy

MANIFEST = "manifest.json"
FORMAT = 1
HEADS = ("category", "urgency", "petition_type")
REQUIRED = ("taxonomy.yaml", "vocab.txt", "bpe.codes")
"""What every model has beside its network; the network's file depends on the runtime."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Head(_Strict):
    """Label order of one output row, and the temperature its logits are divided by."""

    labels: tuple[str, ...] = Field(min_length=2)
    temperature: float = Field(gt=0, allow_inf_nan=False)

    @field_validator("labels")
    @classmethod
    def _each_once(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) != len(labels):
            raise ValueError("a label stands twice")
        return labels


class Thresholds(_Strict):
    """Probabilities at which the service acts; chosen on held-out petitions, never in settings.

    Attributes:
        auto: at or above it the category is routed without a look; above 1 for a model that may never do so.
        auto_precision: share of right categories that `auto` was chosen to keep among the petitions routed without a
            look, right being an accepted category; None in models calibrated before it was stated.
        suggest: sum of the three best categories below which a person reads first.
        emergency: probability of `emergency` that raises it, whatever the best level is.
        legal_doubt: probability of complaint or denunciation, not the best type, that asks for a person.
    """

    auto: float = Field(ge=0, le=1.1)
    suggest: float = Field(ge=0, le=1.1)
    emergency: float = Field(ge=0, le=1)
    legal_doubt: float = Field(ge=0, le=1)
    auto_precision: float | None = Field(default=None, gt=0, le=1)


class PredictionSets(_Strict):
    """Which labels stay plausible beside the best one: a conformal prediction set (Vovk et al. 2005).

    Attributes:
        coverage: share of petitions whose right label is in their set.
        kind: `marginal`, the only one so far: the coverage holds over all petitions, not within every label.
        threshold: a label with at least this probability is in the set.
    """

    coverage: float = Field(gt=0, lt=1)
    kind: Literal["marginal"]
    threshold: float = Field(ge=0, le=1)


class Code(_Strict):
    """The program that made a model.

    Attributes:
        version: of the package.
        commit: of the git work tree that it ran from; None outside one.
        changed: whether the program's files differed from that commit; None outside a work tree.
    """

    version: str
    commit: str | None = None
    changed: bool | None = None


class Run(_Strict):
    """The training that a model's weights come from.

    Attributes:
        command: of `petitions-train`.
        config_sha256: of the run's config; see `training.provenance`.
        encoder: what the config names; for `quick` the version of the model whose encoder was kept.
        started, ended: ISO 8601 with zone; None for runs of before this was noted.
    """

    command: Literal["fit", "quick"]
    config_sha256: str
    seed: int
    encoder: str
    started: str | None = None
    ended: str | None = None


class Provenance(_Strict):
    """How a model came about.

    Attributes:
        code: of the run, or of the calibration where that came later; None where nobody noted it.
        recalibrated_from: version with the same weights whose thresholds were chosen anew.
    """

    code: Code | None = None
    run: Run | None = None
    recalibrated_from: str | None = None


class Manifest(_Strict):
    """manifest.json. Extra keys are refused: a typo must not silently fall back to a default.

    Attributes:
        trained_on: a side of the data (`train`, `dev`) and its `count` and `sha256`; since provenance is kept also how many
            are `real`, the `sets` they come from, and the `period` of receipt (first and last day) where rows are dated.
        linear: for every head what the linear model's margins are multiplied by before they are added to the network's
            logits; empty without a linear model.
        prediction_sets: for a head, how its sets are made; empty in models calibrated before there were any.
        provenance: None in models made before it was kept.
    """

    format: Literal[1]
    version: str = Field(min_length=1)
    created: str
    encoder: dict[str, Any]
    trained_on: dict[str, Any]
    text_version: str
    segmenter: str
    taxonomy_version: str
    taxonomy_sha256: str
    window: int = Field(gt=2)
    window_overlap: int = Field(ge=0)
    heads: dict[str, Head]
    linear: dict[str, float] = {}
    thresholds: Thresholds
    prediction_sets: dict[str, PredictionSets] = {}
    files: dict[str, str]
    scores: dict[str, Any]
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _windows_advance(self) -> "Manifest":
        if self.window_overlap >= self.window - 2:
            raise ValueError(
                f"window_overlap {self.window_overlap} leaves a window of {self.window} nothing new to read"
            )
        return self


class Bundle(_Strict):
    """A verified model directory."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    directory: Path
    manifest: Manifest
    taxonomy: Taxonomy


def resolve(path: Path) -> Path:
    """The model directory behind `path`: itself, or the one that a pointer file such as `models/current` names.

    Raises:
        PetitionError: INVALID_MODEL for a file that cannot be a pointer.
    """
    if not path.is_file():
        return path
    try:
        name = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        name = ""
    if not 0 < len(name.encode()) <= 255 or not name.isprintable():
        raise _invalid(path, "is no pointer file, one line with the name of a model directory; give --model either")
    return path.parent / name


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_bundle(path: Path) -> Bundle:
    """Read a model directory and verify every file it lists.

    Raises:
        PetitionError: INVALID_MODEL, naming the file that is missing, damaged or does not fit.
    """
    directory = resolve(path)
    manifest_path = directory / MANIFEST
    if not manifest_path.is_file():
        raise _invalid(manifest_path, "is missing; give --model a model directory or a pointer file to one")
    try:
        manifest = Manifest.model_validate_json(manifest_path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _invalid(manifest_path, f"does not fit format {FORMAT}: {where}: {first['msg']}") from error
    for name in REQUIRED:
        if name not in manifest.files:
            raise _invalid(manifest_path, f"does not list '{name}'; export the model again")
    for name, expected in manifest.files.items():
        file = directory / name
        if Path(name).name != name:
            raise _invalid(manifest_path, f"lists '{name}', which is not a plain file name")
        if not file.is_file():
            raise _invalid(file, "is missing; copy the model directory again")
        if sha256(file) != expected:
            raise _invalid(file, "does not match its hash in the manifest; copy the model directory again")
    if manifest.text_version != text.VERSION:
        raise _invalid(
            manifest_path,
            f"was trained on text form {manifest.text_version}, this program makes {text.VERSION}; retrain or downgrade",
        )
    taxonomy = load_taxonomy(directory / "taxonomy.yaml")
    if taxonomy.sha256 != manifest.taxonomy_sha256:
        raise _invalid(directory / "taxonomy.yaml", "is not the taxonomy the model was trained for")
    if unknown := (set(manifest.heads) | set(manifest.prediction_sets)) - set(HEADS):
        raise _invalid(manifest_path, f"has unknown head '{sorted(unknown)[0]}'")
    for head in HEADS:
        if head not in manifest.heads:
            raise _invalid(manifest_path, f"has no head '{head}'")
        known = {label.id for label in taxonomy.heads[head]}
        if unknown := set(manifest.heads[head].labels) ^ known:
            raise _invalid(manifest_path, f"and taxonomy.yaml differ in {head} '{sorted(unknown)[0]}'")
    return Bundle(directory=directory, manifest=manifest, taxonomy=taxonomy)


def _invalid(file: Path, reason: str) -> PetitionError:
    return PetitionError(ErrorKind.INVALID_MODEL, f"{file} {reason}", file=str(file))
