"""A new version of a model with the same weights: its temperatures, thresholds and prediction sets chosen anew.

For when the held-out petitions or the way of choosing have changed; nothing is trained. No torch.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from nlp_service.bundle import MANIFEST, Manifest, load_bundle
from nlp_service.encoder import Runtime
from nlp_service.pipeline import PetitionClassifier, Read
from training.calibration import AUTO_PRECISION, calibrated
from training.card_files import write_cards
from training.data import Petition, read_petitions
from training.provenance import now, of_calibration, side_used
from training.reads import read_all, read_margins, stack
from training.reference import write_reference_of


def recalibrate(model: Path, output: Path, version: str, dev: Path, auto_precision: float = AUTO_PRECISION) -> Manifest:
    """Write `output`: the files of `model`, byte for byte, and a manifest calibrated on the petitions of `dev`.

    Args:
        model: a model directory or a pointer file to one; it stays as it is.
        dev: JSONL of petitions that the model was not trained on.

    Raises:
        FileExistsError: `output` is there already: versions are never overwritten.
        PetitionError: INVALID_MODEL for a directory that is none.
        ValueError: a petition of `dev` does not fit the model's taxonomy.
    """
    with new_version(output) as scratch:
        bundle = load_bundle(model)
        petitions = read_petitions(dev, bundle.taxonomy)
        for name in bundle.manifest.files:
            shutil.copyfile(bundle.directory / name, scratch / name)
        draft = bundle.manifest.model_copy(
            update={
                "version": version,
                "created": now(),
                "trained_on": bundle.manifest.trained_on | {"dev": side_used([dev], petitions)},
                "provenance": of_calibration(bundle.manifest.provenance, bundle.manifest.version),
                "scores": {},
            }
        )
        classifier = open_draft(scratch, draft)
        reads = read_all(classifier, [petition.text for petition in petitions])
        manifest = calibrated_manifest(classifier, reads, petitions, auto_precision)
        complete(scratch, manifest, petitions)
    return manifest


@contextmanager
def new_version(output: Path) -> Iterator[Path]:
    """A scratch directory that becomes `output` when the block is done, and nothing if it fails.

    Raises:
        FileExistsError: `output` is there already.
    """
    if output.exists():
        raise FileExistsError(f"{output} exists; a model version is written once, choose another name")
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=output.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        scratch.rename(output)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def open_draft(directory: Path, draft: Manifest) -> PetitionClassifier:
    """Make a directory of files loadable and load it, so that calibration reads petitions exactly as serving will.

    The linear model has no weight: it is calibration that chooses it.
    """
    write_manifest(directory, draft.model_copy(update={"linear": {}}))
    return PetitionClassifier.load(directory, Runtime.ONNXRUNTIME)


def calibrated_manifest(
    classifier: PetitionClassifier,
    reads: Sequence[Read],
    petitions: Sequence[Petition],
    auto_precision: float,
    weights: Mapping[str, float] | None = None,
) -> Manifest:
    """The manifest of a draft, calibrated on what `open_draft`'s classifier read of `petitions`; `weights` as `calibrated`'s."""
    return calibrated(
        classifier.bundle.manifest,
        classifier.bundle.taxonomy,
        stack([read.logits for read in reads]),
        read_margins(classifier, reads),
        petitions,
        auto_precision,
        weights,
    )


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """manifest.json in `directory`."""
    (directory / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")


def complete(directory: Path, manifest: Manifest, dev: Sequence[Petition]) -> None:
    """What every new model directory gets beside its files: manifest.json, reference.json of the held-out petitions, cards."""
    write_manifest(directory, manifest)
    if dev:
        write_reference_of(directory, dev, "dev")
    write_cards(directory)
