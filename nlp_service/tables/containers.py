"""What a file really is, and whether a packed one is safe to open. Nothing is ever unpacked to disk.

The limits stand far from what people have and near enough that no file can fill memory or time: 200,000 long petitions
are some 300 MB of XML, packed ten to fifty times.
"""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from nlp_service.tables.table import invalid

MAX_ENTRIES = 100_000
MAX_BYTES = 4 * 1024**3
"""Unpacked, all parts together."""

MAX_RATIO, RATIO_FROM = 200, 32 * 1024**2
"""A part that unpacks to more than RATIO_FROM bytes may be packed so tightly, no more: text never is."""

MAX_RUN = 4 * 1024**2
"""Bytes of XML without a tag. Excel's longest cell has 32,767 characters, at most six bytes each."""

MAX_CELLS = 60_000_000
"""Between the corners of a sheet: the reader makes room for all of them, filled or not."""

_CHUNK = 64 * 1024
_DAMAGED = "is damaged or cut off, or no such file at all; open it in Excel or Word and save it again, or get it anew"
_OVERLAP = 512
_CELL = re.compile(rb'<c r="([A-Z]{1,3})(\d{1,7})"')
_REPEATED = re.compile(
    rb'<table:table-cell[^<>]*number-columns-repeated="\d{4,}"[^<>]*[^/]>'
    rb'|<table:table-row[^<>]*number-rows-repeated="\d{5,}"[^<>]*>\s*<table:table-cell(?:[^<>/]|/(?!>))*>'
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MAGIC = (
    (b"%PDF", "a PDF file"),
    (b"{\\rtf", "an RTF document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"MZ", "a Windows program"),
)
SAVE_AS = {
    ".csv": "save it as CSV",
    ".tsv": "save it as CSV",
    ".jsonl": "save it as JSONL",
    ".xls": "open it in Excel and save it as .xlsx",
    ".ods": "open it in LibreOffice and save it as .ods or .xlsx",
    ".docx": "open it in Word and save it as .docx",
    ".txt": "save it as plain text",
    ".zip": "pack the folder as .zip",
    ".parquet": "write it as Parquet",
}
"""What to do about a file with this ending that is something else."""

XLSX, ODS, DOCX, XLS, DOC, ZIP = (
    "an XLSX workbook",
    "an ODS workbook",
    "a DOCX letter",
    "an old XLS workbook",
    "an old Word document (.doc)",
    "a ZIP archive",
)
PROTECTED = "protected by a password"
HTML, XML_2003 = "a web page", "an XML spreadsheet of Excel 2003"
EXPECTED: dict[str, set[str | None]] = {
    ".xlsx": {XLSX},
    ".xlsm": {XLSX},
    ".xls": {XLS, XLSX},
    ".ods": {ODS},
    ".docx": {DOCX},
    ".docm": {DOCX},
    ".zip": {ZIP},
    ".parquet": {"a Parquet file"},
    ".csv": {None},
    ".tsv": {None},
    ".jsonl": {None},
    ".txt": {None},
}
"""Ending -> what such a file is; None for text."""


def kind_of(stream: IO[bytes]) -> str | None:
    """What the first bytes (of a package, its names) say that a file is; None for text and what nobody knows."""
    head = stream.read(4096)
    if head.startswith(_OLE):
        return _ole(head + stream.read(4 * 1024**2))
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return _package(stream)
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    start = head.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<table", b"<head", b"<meta", b"<style")):
        return HTML
    if start.startswith(b"<?xml") and b"urn:schemas-microsoft-com:office:spreadsheet" in start:
        return XML_2003
    return HTML if start.startswith(b"<?xml") and b"<html" in start else None


def check_kind(path: Path) -> None:
    """Refuse a file that is not what its ending says. Raises PetitionError INVALID_FILE saying what it is."""
    ending = path.suffix.lower()
    expected = EXPECTED.get(ending)
    with path.open("rb") as stream:
        kind = kind_of(stream)
    if expected is None or kind in expected or (kind is None and None not in expected):
        return  # what cannot be told is for its reader to say
    if kind == PROTECTED:
        raise invalid(path, f"is {PROTECTED}; save it without one")
    if kind in (HTML, XML_2003) and ending in (".xls", ".xlsx"):
        raise invalid(path, f"is {kind} under the name of a workbook, as some programs export; {SAVE_AS['.xls']}")
    raise invalid(path, f"is {kind}, not what its ending '{ending}' says; {_next_step(kind, ending)}")


def _next_step(kind: str | None, ending: str) -> str:
    endings = [name for name, kinds in EXPECTED.items() if kind in kinds and kind is not None]
    return f"rename it to {endings[0]}" if endings else SAVE_AS.get(ending, SAVE_AS[".xls"])


def open_package(path: Path) -> ZipFile:
    """Open a ZIP package after checking what can be checked without unpacking.

    Raises:
        PetitionError: INVALID_FILE if it is damaged, protected, overlapping or unpacks to too much.
    """
    try:
        package = ZipFile(path)
    except (BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise invalid(path, _DAMAGED) from error
    try:
        check_entries(path, package, path.stat().st_size)
    except BaseException:
        package.close()
        raise
    return package


def check_entries(path: Path, package: ZipFile, packed: int) -> None:
    """Number, sizes and kinds of the entries of a package of `packed` bytes. Raises PetitionError INVALID_FILE."""
    entries = package.infolist()
    if len(entries) > MAX_ENTRIES:
        raise invalid(path, f"holds {len(entries):,} entries, limit {MAX_ENTRIES:,}; split it")
    if sum(entry.compress_size for entry in entries) > packed:
        raise invalid(path, "holds entries that overlap, as an archive bomb does; pack it anew")
    for entry in entries:
        if entry.flag_bits & 1:
            raise invalid(path, f"is {PROTECTED}; save it without one")
        if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise invalid(path, "is packed by a method other than deflate; pack it anew as an ordinary ZIP")
        if entry.file_size > max(RATIO_FROM, MAX_RATIO * entry.compress_size):
            raise invalid(path, _bomb(entry.file_size))
    if (total := sum(entry.file_size for entry in entries)) > MAX_BYTES:
        raise invalid(path, f"unpacks to {total:,} bytes, limit {MAX_BYTES:,}; split it")


def check_parts(path: Path) -> None:
    """Unpack every part of a workbook in memory, chunk by chunk: it must be whole, of the size that it says, with cells of a
    sane size in a sheet of a sane one.

    For packages whose reader believes what they say. Raises PetitionError INVALID_FILE.
    """
    with open_package(path) as package:
        for entry in package.infolist():
            watch = _Watch(path) if entry.filename.endswith(".xml") else None
            for chunk in unpacked(path, package, entry):
                if watch:
                    watch.look_at(chunk)


class _Watch:
    """Looks through a part of XML as it goes by."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._run = 0
        self._tail = b""
        self._last_row = self._last_column = 1

    def look_at(self, chunk: bytes) -> None:
        first = chunk.find(b"<")
        self._run = self._run + len(chunk) if first < 0 else max(0, len(chunk) - 1 - chunk.rfind(b"<"))
        if self._run > MAX_RUN:
            raise invalid(self._path, f"has a cell of more than {MAX_RUN:,} bytes; cut it down or split the petition")
        text = self._tail + chunk
        self._tail = text[-_OVERLAP:]
        for column, row in set(_CELL.findall(text)):
            self._last_row = max(self._last_row, int(row))
            self._last_column = max(self._last_column, _number(column))
        if self._last_row * self._last_column > MAX_CELLS:
            where = f"{self._last_row:,} rows of {self._last_column:,} columns"
            raise invalid(self._path, f"has cells so far apart that its sheet spans {where}; delete the stray ones")
        if _REPEATED.search(text):
            raise invalid(
                self._path, "has a filled cell or row that is repeated thousands of times; delete the repetitions"
            )


def _number(column: bytes) -> int:
    """Of "A" 1, of "XFD" 16,384."""
    number = 0
    for letter in column[-3:]:
        number = number * 26 + letter - 64
    return number


def unpacked(path: Path, package: ZipFile, entry: ZipInfo) -> Iterator[bytes]:
    """The bytes of an entry, in chunks, no more than it says that it has.

    The packed bytes are read by hand, since a reader that trusts the size would not notice that there is more.
    Raises PetitionError INVALID_FILE.
    """
    stream = package.fp
    if stream is None:
        raise ValueError("the package is closed")
    inflate = zlib.decompressobj(-15) if entry.compress_type == ZIP_DEFLATED else None
    size, left = 0, entry.compress_size
    try:
        stream.seek(entry.header_offset)
        header = stream.read(30)
        if len(header) < 30 or header[:4] != b"PK\3\4":
            raise zlib.error("no header")
        stream.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
        while left > 0 and (packed := stream.read(min(_CHUNK, left))):
            left -= len(packed)
            while packed:
                chunk = inflate.decompress(packed, _CHUNK) if inflate else packed
                packed = inflate.unconsumed_tail if inflate else b""
                size += len(chunk)
                if size > entry.file_size:
                    raise invalid(path, _bomb(size))
                if chunk:
                    yield chunk
    except (OSError, zlib.error) as error:
        raise invalid(path, _DAMAGED) from error
    if size != entry.file_size:
        raise invalid(path, _DAMAGED)


def _bomb(size: int) -> str:
    return f"unpacks to {size:,} bytes or more from very little, as an archive bomb does; get it again from where it came from"


def _package(stream: IO[bytes]) -> str:
    try:
        with ZipFile(stream) as package:
            names = set(package.namelist())
            if "mimetype" in names and package.getinfo("mimetype").file_size < 200:
                mimetype = package.read("mimetype")
                if mimetype.startswith(b"application/vnd.oasis.opendocument.spreadsheet"):
                    return ODS
                if mimetype.startswith(b"application/vnd.oasis.opendocument"):
                    return "a document of LibreOffice"
    except Exception:  # whatever is wrong with it is said where it is opened
        return ZIP
    if any(name.startswith("xl/") for name in names):
        return XLSX
    return DOCX if any(name.startswith("word/") for name in names) else ZIP


def _ole(head: bytes) -> str:
    # Names in an OLE directory are UTF-16.
    if "EncryptedPackage".encode("utf-16-le") in head:
        return PROTECTED
    if "WordDocument".encode("utf-16-le") in head:
        return DOC
    return XLS
