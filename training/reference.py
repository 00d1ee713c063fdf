"""reference.json: how a model sees petitions that it was not trained on, the beginning that drift is measured from."""

from collections.abc import Sequence
from pathlib import Path

from nlp_service.bundle import load_bundle
from nlp_service.encoder import Runtime
from nlp_service.pipeline import PetitionClassifier
from nlp_service.profile import EDGES, FEATURES, Profile
from nlp_service.reference import REFERENCE_FILE, Reference, fingerprint
from training.data import Petition, digest, read_petitions
from training.files import replace_text
from training.provenance import now
from training.reads import read_all


def write_reference(model: Path, data: Path, part: str = "dev") -> Reference:
    """Let a model read `part`.jsonl of `data` and write reference.json into its directory, replaced whole.

    Args:
        model: directory or pointer file.
        part: not what the model was trained on: it is surer of that than of anything it will meet.

    Raises:
        PetitionError: INVALID_MODEL; a petition that cannot be read.
        ValueError: the model was trained on that part; a row does not fit the model's taxonomy; there is no petition.
    """
    bundle = load_bundle(model)
    manifest = bundle.manifest
    petitions = read_petitions(data / f"{part}.jsonl", bundle.taxonomy)
    if not petitions:
        raise ValueError(f"{data / part}.jsonl holds no petition; name a part that does")
    if part == "train" or digest(petitions) == manifest.trained_on.get("train", {}).get("sha256"):
        raise ValueError(
            f"{manifest.version} was trained on {data / part}.jsonl and is too sure of it; name a part it was not trained on, such as dev"
        )
    return write_reference_of(bundle.directory, petitions, part)


def write_reference_of(directory: Path, petitions: Sequence[Petition], part: str) -> Reference:
    """reference.json in `directory`, of petitions at hand. Categories are the model's own answers, as in the store, not the labels.

    Raises:
        PetitionError: INVALID_MODEL; a petition that cannot be read.
    """
    classifier = PetitionClassifier.load(directory, Runtime.ONNXRUNTIME)
    manifest = classifier.bundle.manifest
    knows = classifier.linear.knows if classifier.linear else None
    profile = Profile()
    for petition, read in zip(petitions, read_all(classifier, [p.text for p in petitions]), strict=True):
        category = classifier.decide(read).category
        profile.add(category.id, category.probability, petition.text, knows)
    reference = Reference(
        format=1,
        model_version=manifest.version,
        model_sha256=fingerprint(manifest),
        part=part,
        petitions=len(petitions),
        data_sha256=digest(petitions),
        at=now(),
        edges=EDGES,
        counts={feature: dict(sorted(profile.counts[feature].items())) for feature in FEATURES},
    )
    replace_text(directory / REFERENCE_FILE, reference.model_dump_json(indent=1) + "\n")
    return reference
