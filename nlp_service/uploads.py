"""A form with one file, streamed: the file goes to the disk as it arrives and is never whole in memory.

Starlette's own forms go through the system's temporary directory, which may be memory, and know no limit for a file.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from nlp_service.errors import ErrorKind, PetitionError

FILE_FIELD = "file"
MOST_FIELDS, LONGEST_FIELD = 20, 2_000
FRAME = 65_536
"""Bytes that a form may have beside its file."""

OpenFile = Callable[[str], BinaryIO]
"""Takes the name that the sender gave; may refuse it."""


@dataclass(frozen=True)
class Form:
    """What came: the other fields in order, the name that the file was sent with, its size."""

    fields: tuple[tuple[str, str], ...]
    file_name: str
    file_bytes: int


def declared_bytes(request: Request) -> int | None:
    """The size that a request says it has."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() and declared.isascii() else None


async def receive(request: Request, open_file: OpenFile, limit: int) -> Form:
    """Read a multipart form whose field `file` is a file; on the disk when this returns.

    Args:
        limit: bytes of the file. A body that declares more is refused before it is read.

    Raises:
        PetitionError: BODY_TOO_LARGE, INVALID_REQUEST, and what `open_file` raises. What was written stays: remove it.
    """
    if (declared_bytes(request) or 0) > limit + FRAME:
        raise too_large(limit)
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    boundary = parameters.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise _malformed("send it as multipart/form-data")
    reader = _Reader(open_file, limit)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin_part,
                "on_header_field": reader.header_name,
                "on_header_value": reader.header_value,
                "on_header_end": reader.end_header,
                "on_headers_finished": reader.end_headers,
                "on_part_data": reader.data,
                "on_part_end": reader.end_part,
                "on_end": reader.end,
            },
        )
        async for chunk in request.stream():
            # In a thread: a disk that is slow must not stop the service.
            await run_in_threadpool(parser.write, chunk)
    except FormParserError as error:
        raise _malformed("it is no well-formed multipart/form-data") from error
    except ClientDisconnect as error:
        raise _malformed("it broke off; send it again") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"the file cannot be kept ({reason}); have the operator look at the disk of PETITIONS_JOBS"
        raise PetitionError(ErrorKind.INVALID_STORE, message) from error
    finally:
        reader.close()
    return reader.form()


def too_large(limit: int) -> PetitionError:
    """The error for a file over its limit."""
    return PetitionError(
        ErrorKind.BODY_TOO_LARGE,
        f"the file has more than {limit:,} bytes, the limit; split it or raise PETITIONS_MAX_JOB_BYTES",
        limit=limit,
    )


def _malformed(reason: str) -> PetitionError:
    return PetitionError(
        ErrorKind.INVALID_REQUEST, f"the upload cannot be read: {reason}; its field '{FILE_FIELD}' is the file"
    )


class _Reader:
    """Gathers what the parser finds."""

    def __init__(self, open_file: OpenFile, limit: int) -> None:
        self._open_file = open_file
        self._limit = limit
        self._fields: list[tuple[str, str]] = []
        self._file_name: str | None = None
        self._file_bytes = 0
        self._complete = False
        self._file: BinaryIO | None = None  # while its part is read
        self._header = self._value = self._disposition = b""
        self._name = ""
        self._text = bytearray()

    def begin_part(self) -> None:
        self._disposition = b""
        self._text.clear()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", errors="replace")
        is_file = b"filename" in options
        if is_file != (self._name == FILE_FIELD) or (is_file and self._file_name is not None):
            raise _malformed("it has another file, or none where one must be")
        if is_file:
            self._file_name = options[b"filename"].decode("utf-8", errors="replace")
            self._file = self._open_file(self._file_name)
        elif len(self._fields) == MOST_FIELDS:
            raise _malformed(f"it has more than {MOST_FIELDS} fields")

    def data(self, data: bytes, start: int, end: int) -> None:
        size = end - start
        if self._file is not None:
            self._file_bytes += size
            if self._file_bytes > self._limit:
                raise too_large(self._limit)
            self._file.write(memoryview(data)[start:end])
        elif len(self._text) + size > LONGEST_FIELD:
            raise _malformed(f"a field has more than {LONGEST_FIELD} bytes")
        else:
            self._text += data[start:end]

    def end_part(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self.close()
        else:
            self._fields.append((self._name, self._text.decode("utf-8", errors="replace")))

    def end(self) -> None:
        self._complete = True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def form(self) -> Form:
        if not self._complete:
            raise _malformed("it broke off; send it again")
        if not self._file_name:
            raise _malformed("it has no file")
        return Form(tuple(self._fields), self._file_name, self._file_bytes)
