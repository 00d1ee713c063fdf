"""The files of labelling jobs: a directory a job, named by its id, for its owner alone.

What a user calls a file never becomes a path: a path is made of the job's id and a known ending.
"""

import os
import re
import shutil
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.jobs import Job
from nlp_service.tables import ENDINGS_IN

LONGEST_NAME = 200
ROOM = 3
"""Times its size that a job may take: the file, the answers and the result, which may be larger than the file."""

STALE_S = 3600
"""A directory that belongs to no job may be an upload's, for as long as something is written to it."""

_ID = re.compile("[0-9a-f]{32}")


class JobFiles:
    """Where the files of this machine's jobs are. The directory appears with the first job."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def input(self, job: Job) -> Path:
        """The file that was handed in; gone once the job has ended."""
        return self._of(job.id) / f"input{job.input_ending}"

    def output(self, job: Job) -> Path:
        """The labelled file; there when the job is done."""
        return self._of(job.id) / f"output{job.output_ending}"

    def report(self, job: Job, kind: str) -> Path:
        """What the run wrote about itself: `kind` is json or html."""
        output = self.output(job)
        return output.with_name(f"{output.name}.report.{kind}")

    def here(self, job_id: str) -> bool:
        """Whether this machine has the files of a job; another one that shares the store may have them."""
        return self._of(job_id).is_dir()

    def require_room(self, size: int) -> None:
        """Raises PetitionError INVALID_STORE if a file of `size` bytes, and what comes of it, would fill the disk."""
        nearest = next(path for path in (self._root, *self._root.absolute().parents) if path.is_dir())
        needed, free = size * ROOM, shutil.disk_usage(nearest).free
        if needed > free:
            raise PetitionError(
                ErrorKind.INVALID_STORE,
                f"a job of {size:,} bytes needs {needed:,} bytes of disk, {free:,} are free; send a smaller file, "
                "or have the operator make room or set PETITIONS_JOBS to another disk",
                needed=needed,
                free=free,
            )

    def create(self, job_id: str) -> None:
        """The directory of a new job. Raises PetitionError INVALID_STORE if it cannot be made."""
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._of(job_id).mkdir(mode=0o700)
        except OSError as error:
            message = (
                f"PETITIONS_JOBS cannot be written ({error.strerror}); have the operator set it to another directory"
            )
            raise PetitionError(ErrorKind.INVALID_STORE, message) from error

    def open_input(self, job_id: str, ending: str) -> BinaryIO:
        """A new file for what is handed in, open to be written."""
        path = self._of(job_id) / f"input{ending}"
        return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")

    def remove(self, job_id: str) -> None:
        """Everything of a job; does nothing where it is not."""
        shutil.rmtree(self._of(job_id), ignore_errors=True)

    def strays(self, wanted: set[str]) -> Iterator[str]:
        """Directories of jobs other than the `wanted` that nobody writes to any more."""
        for directory in self._root.iterdir() if self._root.is_dir() else ():
            if not _ID.fullmatch(directory.name) or directory.name in wanted:
                continue
            try:
                newest = max(path.stat().st_mtime for path in (directory, *directory.iterdir()))
            except FileNotFoundError:  # removed meanwhile, by another service
                continue
            if time.time() - newest > STALE_S:
                yield directory.name

    def _of(self, job_id: str) -> Path:
        if not _ID.fullmatch(job_id):
            raise ValueError("not the id of a job")
        return self._root / job_id


def ending(file_name: str) -> str:
    """The ending of a file to be labelled, in lower case.

    Raises:
        PetitionError: INVALID_FILE if files of that kind cannot be read.
    """
    found = Path(file_name).suffix.lower()
    if found not in ENDINGS_IN:
        # Not the whole name: it may name people, and this message is counted and logged by kind alone.
        shown = found if found.isascii() and len(found) <= 10 else ""
        raise PetitionError(
            ErrorKind.INVALID_FILE,
            f"a file with the ending '{shown}' cannot be read; use one of {', '.join(ENDINGS_IN)}",
        )
    return found


def shown_name(sent: str) -> str:
    """A file's name as it may be shown: without directories and control characters, not too long, its ending kept."""
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", sent)[-1])
    name = "".join(letter for letter in name if letter.isprintable()).strip()
    path = Path(name or "file")
    return path.stem[: LONGEST_NAME - len(path.suffix)] + path.suffix


def result_name(job: Job) -> str:
    """What a downloaded result is called."""
    return f"{Path(job.file_name).stem} (đã gán nhãn){job.output_ending}"
