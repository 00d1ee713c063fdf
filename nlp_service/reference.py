"""reference.json beside a model: what petitions it was not trained on looked like to it. Drift is measured from there.

Like gates.json it is written after the manifest's files (by `export`, `quick`, `calibrate`, or anew by `petitions-train reference`) and is not among them.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from nlp_service.bundle import Bundle, Manifest
from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.profile import EDGES, Profile

REFERENCE_FILE = "reference.json"


class Reference(BaseModel):
    """The file.

    Attributes:
        model_sha256: `fingerprint` of the model that read the petitions.
        part: of the data, e.g. dev.
        data_sha256: of petitions and labels, as in manifests.
        edges, counts: see profile.py.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    format: Literal[1]
    model_version: str
    model_sha256: str
    part: str
    petitions: int
    data_sha256: str
    at: str
    edges: dict[str, tuple[float, ...]]
    counts: dict[str, dict[str, int]]

    @property
    def profile(self) -> Profile:
        """For drift.py."""
        return Profile(self.counts)


def fingerprint(manifest: Manifest) -> str:
    """Hex digest of all that categories and confidence follow from. Not of the scores, which evaluation may add later."""
    content = manifest.model_dump(mode="json", include={"files", "heads", "linear"})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_reference(bundle: Bundle) -> Reference | None:
    """A model's reference; None if it has none.

    Raises:
        PetitionError: INVALID_MODEL for a file that cannot be read, or that another model or another version wrote.
    """
    file = bundle.directory / REFERENCE_FILE
    if not file.is_file():
        return None
    try:
        found = Reference.model_validate_json(file.read_bytes())
    except (ValidationError, OSError) as error:
        raise _invalid(file, "is no reference") from error
    if found.model_sha256 != fingerprint(bundle.manifest):
        raise _invalid(file, f"was made by '{found.model_version}' or before this model was calibrated")
    if found.edges != EDGES:
        raise _invalid(file, "counts in other bins than this program")
    return found


def _invalid(file: Path, reason: str) -> PetitionError:
    return PetitionError(
        ErrorKind.INVALID_MODEL, f"{file} {reason}; run: petitions-train reference {file.parent}", file=str(file)
    )
