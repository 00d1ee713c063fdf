"""The registry: model directories side by side, and a file that names the one to serve.

    models/current     one line, the name of the directory that answers
    models/previous    the directories that answered before it, a name a line, the newest last
    models/NAME/       a model directory (bundle.py), never changed once it is there
    models/NAME/gates.json   how it compared with the model it is to follow (`petitions-train compare`)
    models/NAME/reference.json   what drift is measured from (reference.py)

Pointers are replaced whole and flushed to the disk: whoever reads one sees the old name or the new one.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from nlp_service.bundle import MANIFEST, Manifest, load_bundle, resolve
from nlp_service.errors import ErrorKind, PetitionError

PREVIOUS_FILE = "previous"
GATES_FILE = "gates.json"
REMEMBERED = 10
"""Earlier models that can be gone back to, one after the other."""


class Gates(BaseModel):
    """gates.json: the verdict of a comparison. Not among the manifest's files: it is written after them."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1]
    candidate: str
    against: str
    passed: bool
    failures: tuple[str, ...] = ()
    data_sha256: str | None = None
    at: str | None = None


@dataclass(frozen=True)
class Entry:
    """A model directory in the registry.

    Attributes:
        manifest: None if it cannot be read.
        problem: why the model cannot be served; None for a whole one.
        mark: `current`, `previous` (where a rollback leads), or empty.
    """

    directory: Path
    manifest: Manifest | None
    problem: str | None
    mark: str

    @property
    def version(self) -> str:
        """The manifest's, or the directory's name where there is none."""
        return self.manifest.version if self.manifest else self.directory.name


@dataclass(frozen=True)
class Registry:
    """Models beside a pointer file. Reads the disk anew with every call.

    Args:
        pointer: `models/current`.
    """

    pointer: Path

    @classmethod
    def at(cls, pointer: Path) -> "Registry":
        """Raises PetitionError INVALID_REQUEST if `pointer` is a model directory, or in none: there is nothing to promote to."""
        if pointer.is_dir():
            raise PetitionError(
                ErrorKind.INVALID_REQUEST,
                f"PETITIONS_MODEL is the directory {pointer}, no pointer file; set it to a file such as models/current",
            )
        if not pointer.parent.is_dir():
            raise PetitionError(
                ErrorKind.INVALID_REQUEST,
                f"there is no directory {pointer.parent}; set PETITIONS_MODEL to the pointer file that the service reads",
            )
        return cls(pointer)

    def current(self) -> Path | None:
        """The directory that the pointer names; None without a pointer, or where it names nothing."""
        try:
            return resolve(self.pointer) if self.pointer.is_file() else None
        except PetitionError:
            return None

    def earlier(self) -> list[Path]:
        """Directories that answered before, the newest last."""
        file = self.pointer.parent / PREVIOUS_FILE
        names = file.read_text(encoding="utf-8").split("\n") if file.is_file() else []
        found = [self.pointer.parent / name.strip() for name in names if name.strip()]
        while found and found[-1] == self.current():  # a promotion that was stopped between its two files
            found.pop()
        return found

    def entries(self) -> list[Entry]:
        """Every model directory, the newest first, each with all its files verified."""
        current, earlier = self.current(), self.earlier()
        found = []
        for directory in sorted(self.pointer.parent.iterdir()):
            if not (directory / MANIFEST).is_file():
                continue
            manifest, problem = None, None
            try:
                manifest = Manifest.model_validate_json((directory / MANIFEST).read_bytes())
                load_bundle(directory)
            except (PetitionError, ValidationError, OSError) as error:
                problem = error.message if isinstance(error, PetitionError) else "its manifest cannot be read"
            previous = bool(earlier) and directory == earlier[-1]
            mark = "current" if directory == current else "previous" if previous else ""
            found.append(Entry(directory, manifest, problem, mark))
        return sorted(found, key=lambda entry: entry.manifest.created if entry.manifest else "", reverse=True)

    def find(self, version: str) -> Path:
        """The directory of that name, or the one whose manifest says that version.

        Raises:
            PetitionError: NOT_FOUND, naming those that are there.
        """
        directories = [d for d in self.pointer.parent.iterdir() if (d / MANIFEST).is_file()]
        named = [d for d in directories if d.name == version] or [
            d for d in directories if version_of(d) == version
        ]  # a directory's name first: two may say the same version
        if not named:
            known = ", ".join(sorted(d.name for d in directories)) or "none"
            raise PetitionError(
                ErrorKind.NOT_FOUND, f"there is no model '{version}' in {self.pointer.parent}; there are: {known}"
            )
        return named[0]

    def point(self, directory: Path, earlier: Sequence[Path]) -> None:
        """Make `directory` the current one. `earlier` first: stopped in between, a rollback leads to what answers."""
        names = [before.name for before in earlier][-REMEMBERED:]
        _replace(self.pointer.parent / PREVIOUS_FILE, "".join(f"{name}\n" for name in names))
        _replace(self.pointer, f"{directory.name}\n")


def read_gates(directory: Path) -> Gates | None:
    """A model's comparison; None if there was none.

    Raises:
        PetitionError: INVALID_MODEL for a file that cannot be read.
    """
    file = directory / GATES_FILE
    if not file.is_file():
        return None
    try:
        return Gates.model_validate_json(file.read_bytes())
    except (ValidationError, OSError) as error:
        raise PetitionError(
            ErrorKind.INVALID_MODEL,
            f"{file} is no report of gates; run petitions-train compare again",
            file=str(file),
        ) from error


def objections(gates: Gates | None, candidate: str, current: str | None) -> list[str]:
    """Why a candidate's comparison does not let it follow the current model; empty if it does."""
    if gates is None:
        return [f"{GATES_FILE} is missing: run petitions-train compare {candidate} {current or 'CURRENT'}"]
    if gates.candidate != candidate:
        return [f"{GATES_FILE} is about '{gates.candidate}', not about '{candidate}': run petitions-train compare"]
    if current is not None and gates.against != current:
        return [f"it was compared with '{gates.against}', and '{current}' answers now: run petitions-train compare"]
    if not gates.passed:
        return list(gates.failures) or ["its gates were not passed"]
    return []


def headline(scores: dict[str, Any]) -> dict[str, str]:
    """Key scores by set of petitions, own and real apart: "category 0.88 (925/1052), emergencies 0.95 (63/66)"."""
    lines = {}
    for name, of in scores.items():
        parts = []
        for label, path in (("category", ("category", "top1")), ("emergencies", ("emergency", "recall"))):
            value: Any = of
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if isinstance(value, dict) and value.get("value") is not None:
                parts.append(f"{label} {value['value']:.2f} ({value.get('hits')}/{value.get('count')})")
        if parts:
            lines[name] = ", ".join(parts)
    return lines


def version_of(directory: Path) -> str | None:
    """The version that a directory's manifest says, its files unseen; None where it cannot be read."""
    try:
        return Manifest.model_validate_json((directory / MANIFEST).read_bytes()).version
    except (ValidationError, OSError):
        return None


def _replace(file: Path, content: str) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)  # the service may run as somebody else
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
