"""Whether an input is still the same: by content, and cheaply by size and time of change. Of folders, too."""

import hashlib
from pathlib import Path

from nlp_service.bundle import sha256
from nlp_service.tables.letters import folder_files

Stamp = tuple[tuple[str, int, int], ...]


def fingerprint(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, or of a folder's file names and contents."""
    if not path.is_dir():
        return sha256(path)
    whole = hashlib.sha256()
    for file in folder_files(path):
        whole.update(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def stamp(path: Path) -> Stamp:
    """Name, size and time of change of a file or of a folder's files: if it changes, so did the input."""
    files = folder_files(path) if path.is_dir() else (path,)
    return tuple((str(file), status.st_size, status.st_mtime_ns) for file in files for status in (file.stat(),))
