"""The quick path: a served model's encoder stays as it is; its heads and the linear model are learnt anew, in minutes.

For new labels, corrected ones, or a category more. What the encoder has never seen it will not learn here: when heads no longer
do, `fit` trains all of it. Similar petitions are found as before: the embedding stays bit for bit.
"""

import logging
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx
from pydantic import ConfigDict

from nlp_service import text
from nlp_service.bundle import HEADS, Bundle, Head, Manifest, Thresholds, sha256
from nlp_service.emergency import LEXICON_FILE, load_lexicon
from nlp_service.encoder import FLOAT_FILE, INT8_FILE, OnnxEncoder
from nlp_service.linear import LINEAR_FILE, LinearModel
from nlp_service.pipeline import PetitionClassifier
from nlp_service.taxonomy import Taxonomy, load_taxonomy
from training import provenance
from training.calibration import AUTO_PRECISION
from training.data import Petition
from training.export import MIN_INT8_AGREEMENT, ExportMismatch
from training.fit import class_weights
from training.frozen import FrozenEncoder
from training.heads import LinearHead, learn_head, replace_heads
from training.linear import extend_linear, fit_linear
from training.new_labels import raise_new
from training.reads import read_all, stack
from training.recalibrate import calibrated_manifest, complete, new_version, open_draft
from training.sets import read_sets
from training.targets import class_probabilities

log = logging.getLogger(__name__)

COMPARED = 200
"""Dev petitions that both networks of the new model must agree on: OpenVINO serves the one in floats."""


@dataclass(frozen=True)
class QuickConfig:
    """One quick run; the TOML file has the same names.

    Attributes:
        data: directory with train.jsonl and dev.jsonl, or several: see `training.sets`.
        taxonomy: may have categories that the served model does not know, and lack some that it knows.
        lexicon: file of the emergency lexicon; the served model's if not given.
        strength: how firmly the heads hold to the served ones, in petitions: see `training.heads.learn_head`. The encoder knows
            the petitions it was trained on by heart, so heads learnt anew on them alone are worse than the served ones.
            Infinite (`inf` in TOML): labels that the served model knows keep their part of heads and linear model; only new
            ones are learnt.
        strength_new: the same of a label that the served model does not know, which has nothing to hold to.
        balance: how much more rare classes weigh: see `training.fit.class_weights`.
        secondary_weight: share of a petition's weight that its secondary categories get.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    data: str | list[str]
    taxonomy: str
    lexicon: str | None = None
    seed: int = 13
    strength: float = 100.0
    strength_new: float = 0.3
    balance: float = 0.3
    secondary_weight: float = 0.15


def quick(
    config: QuickConfig, model: Path, run: Path, output: Path, version: str, auto_precision: float = AUTO_PRECISION
) -> Manifest:
    """Write the model directory `output`: the encoder of `model`, heads and linear model of the config's petitions.

    Args:
        model: a model directory or a pointer file to one; it stays as it is.
        run: directory that remembers what the encoder said of every text.

    Raises:
        ExportMismatch: the network in floats and the one in int8 answer differently; nothing is written.
        FileExistsError: `output` is there already: versions are never overwritten.
        PetitionError: INVALID_MODEL, INVALID_TAXONOMY; a dev petition that cannot be read.
        ValueError: a petition does not fit the taxonomy; an infinite strength without a new label.
    """
    started = provenance.now()
    taxonomy = load_taxonomy(Path(config.taxonomy))
    if config.lexicon:
        load_lexicon(Path(config.lexicon))
    sides = read_sets(config.data, taxonomy)
    used = provenance.petitions_used(config.data, sides)
    # The service refuses a text of marks alone; there is nothing in it to learn either.
    train = [p for p in sides["train"] if any(character.isalnum() for character in p.text)]
    with new_version(output) as scratch:
        encoder = FrozenEncoder(model, run)
        new = {
            head: [label.id for label in known if label.id not in encoder.heads[head].labels]
            for head, known in taxonomy.heads.items()
        }
        if math.isinf(config.strength) and not any(new.values()):
            raise ValueError(
                f"strength = inf learns new labels alone, and {encoder.bundle.manifest.version} knows all of the taxonomy's; "
                "leave strength out to learn from corrections"
            )
        heads = learn_heads(config, encoder, train, taxonomy)
        _copy(encoder.bundle, config, scratch)
        wordings = encoder.wordings([text.normalise(petition.text) for petition in train])
        _learn_linear(config, encoder, wordings, train, taxonomy, scratch / LINEAR_FILE)
        if any(new.values()) and sides["dev"]:
            heads |= _raised(heads, new, encoder, LinearModel.load(scratch / LINEAR_FILE), sides["dev"])
        for name in (INT8_FILE, FLOAT_FILE):
            network = onnx.load(encoder.bundle.directory / name)
            replace_heads(network, encoder.pooled, heads)
            onnx.save(network, scratch / name)
        log.info("linear model learnt; calibrating on %d dev petitions", len(sides["dev"]))
        kept = encoder.bundle.manifest.version
        draft = _draft(encoder.bundle, taxonomy, heads, scratch, version).model_copy(
            update={"trained_on": used, "provenance": provenance.of_quick(asdict(config), kept, started)}
        )
        classifier = open_draft(scratch, draft)
        reads = read_all(classifier, [petition.text for petition in sides["dev"]])
        _compare(classifier, [petition.text for petition in sides["dev"]], stack([r.logits for r in reads])["category"])
        # With another weight known labels would not answer as before.
        weights = encoder.bundle.manifest.linear if math.isinf(config.strength) else None
        manifest = calibrated_manifest(classifier, reads, sides["dev"], auto_precision, weights)
        complete(scratch, manifest, sides["dev"])
    return manifest


def learn_heads(
    config: QuickConfig, encoder: FrozenEncoder, petitions: Sequence[Petition], taxonomy: Taxonomy
) -> dict[str, LinearHead]:
    """The three heads, in the taxonomy's labels."""
    pooled = encoder.vectors([petition.text for petition in petitions])
    learnt = {}
    for head, known in taxonomy.heads.items():
        labels = [label.id for label in known]
        by_class = class_weights(petitions, head, labels, config.balance).numpy().astype(np.float64)
        wanted = class_probabilities(petitions, head, labels, config.secondary_weight)
        served = encoder.heads[head]
        strength = np.array([config.strength if label in served.labels else config.strength_new for label in labels])
        learnt[head] = learn_head(served.relabelled(labels), pooled, wanted, wanted @ by_class, strength)
    return learnt


def _raised(
    heads: Mapping[str, LinearHead],
    new: Mapping[str, Sequence[str]],
    encoder: FrozenEncoder,
    linear: LinearModel,
    dev: Sequence[Petition],
) -> dict[str, LinearHead]:
    """The heads that have new labels, those raised; read together with the linear model, as served."""
    margins = [linear.margins(wording) for wording in encoder.wordings([text.normalise(p.text) for p in dev])]
    pooled = encoder.vectors([petition.text for petition in dev])
    raised = {}
    for name, ids in new.items():
        if ids:
            head = heads[name]
            weight = encoder.bundle.manifest.linear.get(name, 0)
            logits = head.logits(pooled) + weight * np.stack([row[name] for row in margins])
            truth = np.array([head.labels.index(petition.label(name)) for petition in dev])
            places = [head.labels.index(label) for label in ids]
            raised[name] = replace(head, bias=head.bias + raise_new(logits, truth, places))
    return raised


def _learn_linear(
    config: QuickConfig,
    encoder: FrozenEncoder,
    wordings: Sequence[str],
    petitions: Sequence[Petition],
    taxonomy: Taxonomy,
    file: Path,
) -> None:
    labels = {head: [label.id for label in known] for head, known in taxonomy.heads.items()}
    bundle = encoder.bundle
    if math.isinf(config.strength) and LINEAR_FILE in bundle.manifest.files:
        served = LinearModel.load(bundle.directory / LINEAR_FILE)
        known = {head: spec.labels for head, spec in bundle.manifest.heads.items()}
        extend_linear(served, known, wordings, petitions, labels, file, config.seed)
    else:
        fit_linear(wordings, petitions, labels, file, config.seed)


def _copy(bundle: Bundle, config: QuickConfig, directory: Path) -> None:
    made = (INT8_FILE, FLOAT_FILE, LINEAR_FILE, "taxonomy.yaml")
    for name in bundle.manifest.files:
        if name not in made:
            shutil.copyfile(bundle.directory / name, directory / name)
    shutil.copyfile(config.taxonomy, directory / "taxonomy.yaml")
    if config.lexicon:
        shutil.copyfile(config.lexicon, directory / LEXICON_FILE)


def _draft(
    bundle: Bundle, taxonomy: Taxonomy, heads: Mapping[str, LinearHead], directory: Path, version: str
) -> Manifest:
    before = bundle.manifest
    return before.model_copy(
        update={
            "version": version,
            "created": provenance.now(),
            "encoder": before.encoder | {"frozen_from": before.version},
            "taxonomy_version": taxonomy.version,
            "taxonomy_sha256": taxonomy.sha256,
            "heads": {head: Head(labels=heads[head].labels, temperature=1.0) for head in HEADS},
            "thresholds": Thresholds(auto=1, suggest=1, emergency=0.5, legal_doubt=0.2),
            "prediction_sets": {},
            "files": {path.name: sha256(path) for path in sorted(directory.iterdir())},
            "scores": {},
        }
    )


def _compare(classifier: PetitionClassifier, texts: Sequence[str], int8: npt.NDArray[np.float32]) -> None:
    """The network in floats must find the category that the int8 one finds. Both without the linear model."""
    network = OnnxEncoder(classifier.bundle.directory / FLOAT_FILE, len(os.sched_getaffinity(0)))
    rows = [network.run(classifier.tokenise(petition))["category"].mean(axis=0) for petition in texts[:COMPARED]]
    agreement = float(np.mean([row.argmax() == other.argmax() for row, other in zip(rows, int8, strict=False)]))
    log.info("%s and %s agree on %.1f %% of %d dev categories", FLOAT_FILE, INT8_FILE, 100 * agreement, len(rows))
    if agreement < MIN_INT8_AGREEMENT:
        raise ExportMismatch(
            f"{FLOAT_FILE} and {INT8_FILE} agree on {agreement:.3f} of {len(rows)} categories, limit {MIN_INT8_AGREEMENT}"
        )
