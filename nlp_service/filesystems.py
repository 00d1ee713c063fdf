"""Files wherever pyarrow reaches: paths of this machine, and URIs such as s3://, gs://, abfs://, hdfs://."""

import fnmatch
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.tables.table import extra


@dataclass(frozen=True)
class Place:
    """A path in a file system; picklable.

    Attributes:
        files: a pyarrow.fs.FileSystem.
        path: without scheme and host.
    """

    files: Any
    path: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        """The ending, as it stands."""
        return PurePosixPath(self.path).suffix

    @property
    def local(self) -> Path | None:
        """The same as a path of this machine, if it is one."""
        return Path(self.path) if self.files.type_name == "local" else None

    def __truediv__(self, name: str) -> "Place":
        return Place(self.files, f"{self.path.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.path if self.local else f"{self.files.type_name}:{self.path}"


@dataclass(frozen=True)
class Stored:
    """A file as it was when it was listed.

    Attributes:
        name: relative to the directory that was listed.
        modified_ns: None where the file system does not say.
    """

    place: Place
    name: str
    size: int
    modified_ns: int | None


def place(uri: str) -> Place:
    """Where `uri` points: a URI, or a path of this machine. Nothing need be there.

    Raises:
        PetitionError: INVALID_FILE if the URI cannot be understood; MISSING_EXTRA.
    """
    fs = extra("pyarrow.fs")
    if "://" not in uri:
        return Place(fs.LocalFileSystem(), str(Path(uri).absolute()))
    with reaching(uri):
        files, path = fs.FileSystem.from_uri(uri)
    return Place(files, path)


def listed(where: Place) -> list[Stored]:
    """The file at `where`, the files that match it (`*`, `?`, `[…]`), or all files below it, by name.

    Names that begin with `.` or `_` are passed over below a directory, as everywhere in data lakes.

    Raises:
        PetitionError: INVALID_FILE if there is none, or the file system cannot be reached.
    """
    fs = extra("pyarrow.fs")
    with reaching(where):
        info = where.files.get_file_info(where.path)
        if info.type == fs.FileType.File:
            return [_stored(where.files, info, str(PurePosixPath(where.path).parent))]
        base = _above_wildcards(where.path)
        if info.type == fs.FileType.NotFound and base == where.path:
            raise _invalid(where, "does not exist; check the path")
        selector = fs.FileSelector(base, recursive=True, allow_not_found=True)
        found = [info for info in where.files.get_file_info(selector) if info.type == fs.FileType.File]
    files = [_stored(where.files, info, base) for info in found]
    if base == where.path:
        files = [file for file in files if not any(part[0] in "._" for part in file.name.split("/"))]
    else:
        files = [file for file in files if _matches(file.place.path, where.path)]
    if not files:
        raise _invalid(where, "holds no file; check the path")
    return sorted(files, key=lambda file: file.name)


@contextmanager
def fetched(file: Stored) -> Iterator[Path]:
    """The file as a path of this machine, copied into a temporary directory for as long if it is elsewhere.

    Errors speak of the file, not of the copy.

    Raises:
        PetitionError: INVALID_FILE if it was changed since it was listed, or cannot be read.
    """
    where = file.place
    with reaching(where):
        info = where.files.get_file_info(where.path)
    if (info.size, _modified(info)) != (file.size, file.modified_ns):
        raise _invalid(where, "was changed or removed while it was being labelled; run the same command again")
    if where.local:
        yield where.local
        return
    with tempfile.TemporaryDirectory(prefix="petitions-") as scratch:
        copy = Path(scratch) / where.name
        with reaching(where):
            _copy(where, place(str(copy)))
        try:
            yield copy
        except PetitionError as error:
            raise PetitionError(error.kind, error.message.replace(str(copy), str(where)), **error.detail) from error


def put(source: Path, target: Place) -> None:
    """Copy a file of this machine to `target`, where it appears whole or not at all."""
    with reaching(target), appearing(target) as temporary:
        _copy(place(str(source)), temporary)


@contextmanager
def appearing(target: Place) -> Iterator[Place]:
    """A place to write to, beside `target`; at the end of the block it becomes `target`."""
    # Hidden, so that a listing passes over what a killed process leaves behind.
    temporary = Place(target.files, str(PurePosixPath(target.path).parent)) / f".{target.name}.{uuid.uuid4().hex}"
    try:
        yield temporary
        target.files.move(temporary.path, target.path)
    except BaseException:
        with suppress(OSError):
            target.files.delete_file(temporary.path)
        raise


@contextmanager
def reaching(where: object) -> Iterator[None]:
    """Turns the faults of disks and networks into INVALID_FILE."""
    pa = extra("pyarrow")
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise _invalid(where, f"cannot be read or written on {socket.gethostname()}: {reason}") from error


def _copy(source: Place, target: Place) -> None:
    with source.files.open_input_stream(source.path) as incoming, target.files.open_output_stream(target.path) as out:
        while part := incoming.read(1 << 20):
            out.write(part)


def _stored(files: Any, info: Any, base: str) -> Stored:
    name = str(PurePosixPath(info.path).relative_to(base))
    return Stored(Place(files, info.path), name, info.size, _modified(info))


def _modified(info: Any) -> int | None:
    return None if info.mtime is None else info.mtime_ns


def _above_wildcards(path: str) -> str:
    parts = path.split("/")
    wild = (position for position, part in enumerate(parts) if any(sign in part for sign in "*?["))
    return "/".join(parts[: next(wild, len(parts))]) or "/"


def _matches(path: str, pattern: str) -> bool:
    """Part by part: a wildcard stands for no slash."""
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _invalid(where: object, reason: str) -> PetitionError:
    return PetitionError(ErrorKind.INVALID_FILE, f"{where} {reason}", file=str(where))
