"""Letters in: DOCX and TXT, one letter a file, alone, in a folder or in a ZIP, as a table with the columns `file` and `text`.

Files are read one at a time and nothing is unpacked to disk. Folders are walked in the order that people count in ("2"
before "10"); hidden files and the lock files of programs are passed over, links are not followed. What is no letter is a
row with a problem that says what it is and what to do. A letter in an old Vietnamese encoding is read in it, each by itself.

Of a DOCX the body's text counts, with tables and text boxes; deleted text, comments, headers and footers do not.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile, ZipInfo

from nlp_service.charsets import decode, detect_bytes
from nlp_service.errors import PetitionError
from nlp_service.legacy import Encoding, detect, recover
from nlp_service.tables.containers import (
    DOC,
    DOCX,
    EXPECTED,
    MAX_RUN,
    PROTECTED,
    SAVE_AS,
    ZIP,
    check_entries,
    kind_of,
    open_package,
    unpacked,
)
from nlp_service.tables.table import Row, Table, invalid

COLUMNS = ("file", "text")
LETTERS = (".docx", ".docm", ".txt")
TABLES = EXPECTED.keys() - {*LETTERS, ".zip"}
MAX_LETTER = 64 * 1024**2
"""Bytes of one letter, unpacked. A petition of 50,000 characters is 0.2 MB; pictures in a DOCX do not count."""

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_STRICT = "http://purl.oclc.org/ooxml/wordprocessingml/main"
_FALLBACK = "http://schemas.openxmlformats.org/markup-compatibility/2006 Fallback"


@dataclass(frozen=True)
class _File:
    """Something that may be a letter: its name as shown, its size, and how to get its bytes."""

    name: str
    size: int
    read: Callable[[], bytes]


def open_letter(path: Path) -> Table:
    """One DOCX or TXT file: a table of one row. A broken one is refused."""
    row = _row(_File(path.name, path.stat().st_size, path.read_bytes))
    if row.problem is not None:
        raise invalid(path, row.problem.removeprefix(f"{path.name} "))
    return Table(path, COLUMNS, 1, lambda only: iter([row]))


def open_folder(path: Path) -> Table:
    """All files below a folder."""
    count = sum(1 for _ in folder_files(path))
    if not count:
        raise invalid(path, "holds no file that could be a letter; give a folder with .docx and .txt files, or a table")
    return Table(path, COLUMNS, count, partial(_rows, partial(_in_folder, path)), notes=(_told(count),))


def open_zip(path: Path) -> Table:
    """All files in a ZIP archive.

    Raises:
        PetitionError: INVALID_FILE if it is damaged, protected, or unpacks to too much.
    """
    with open_package(path) as package:
        count = len(_letters_of(package))
    return Table(path, COLUMNS, count, partial(_rows, partial(_in_zip, path)), notes=(_told(count),))


def folder_files(path: Path) -> Iterator[Path]:
    """The files below a folder, in the order that they are read in. Links are not followed."""
    for entry in sorted(path.iterdir(), key=lambda entry: _natural(entry.name)):
        if _passed_over(entry.name) or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from folder_files(entry)
        elif entry.is_file():
            yield entry


def _told(count: int) -> str:
    return f"Đọc {count} tệp, mỗi tệp một đơn (cột file ghi tên tệp)."


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _passed_over(name: str) -> bool:
    hidden = name.startswith((".", "~$", "__MACOSX")) and name != ".."
    return hidden or name in ("Thumbs.db", "desktop.ini")


def _in_folder(path: Path) -> Iterator[_File]:
    for file in folder_files(path):
        yield _File(file.relative_to(path).as_posix(), file.stat().st_size, file.read_bytes)


def _letters_of(package: ZipFile) -> list[ZipInfo]:
    entries = [
        entry
        for entry in package.infolist()
        if not entry.is_dir() and not any(map(_passed_over, PurePosixPath(entry.filename).parts))
    ]
    return sorted(entries, key=lambda entry: [_natural(part) for part in PurePosixPath(entry.filename).parts])


def _in_zip(path: Path) -> Iterator[_File]:
    with open_package(path) as package:
        for entry in _letters_of(package):
            # Names are shown and never used as paths; one that climbs is told by its last part alone.
            parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
            name = "/".join(parts) if ".." not in parts and "/" not in parts[0] and ":" not in parts[0] else parts[-1]
            yield _File(name, entry.file_size, partial(_unpack, path, package, entry))


def _unpack(path: Path, package: ZipFile, entry: ZipInfo) -> bytes:
    if entry.external_attr >> 16 & 0o170000 == 0o120000:
        raise invalid(path, "holds a link here, which is not followed; put the file itself in")
    return b"".join(unpacked(path, package, entry))


def _rows(files: Callable[[], Iterator[_File]], only: Collection[str] | None) -> Iterator[Row]:
    if only is not None and "text" not in only:
        return (Row({"file": file.name}) for file in files())
    return map(_row, files())


def _row(file: _File) -> Row:
    """A letter's row; what is none, or cannot be read, has a problem instead of a text."""
    try:
        return Row({"file": file.name, "text": _text(file)})
    except PetitionError as error:
        return Row({"file": file.name, "text": None}, error.message)
    except OSError as error:
        return Row({"file": file.name, "text": None}, f"cannot be read: {error.strerror or error}")


def _text(file: _File) -> str:
    here = Path(file.name)
    ending = here.suffix.lower()
    if ending in TABLES:
        raise invalid(here, "is a table and no letter; label it by itself")
    if ending not in LETTERS and ending not in (".doc", ""):
        raise invalid(here, f"is no letter that can be read; {SAVE_AS['.docx']} or as .txt, or type it in")
    if file.size > MAX_LETTER:
        raise invalid(here, f"has {file.size:,} bytes, limit {MAX_LETTER:,}; {SAVE_AS['.docx']} without its pictures")
    data = file.read()
    kind = kind_of(BytesIO(data))
    if kind == DOCX:
        return _docx(here, data)
    if kind == PROTECTED:
        raise invalid(here, f"is {PROTECTED}; save it without one")
    if kind == DOC or ending == ".doc":
        raise invalid(here, f"is {DOC}; {SAVE_AS['.docx']}")
    if kind is not None:
        what = "no readable DOCX letter" if kind == ZIP and ending != ".txt" else kind
        raise invalid(here, f"is {what}; {SAVE_AS['.docx']} or as .txt")
    if ending in (".docx", ".docm"):
        raise invalid(here, f"is no DOCX letter; {SAVE_AS['.docx']}")
    return _plain(here, data)


def _plain(path: Path, data: bytes) -> str:
    text = decode(data, detect_bytes(data))
    if "\0" in text:
        raise invalid(path, "has NUL characters: it is no text; save it as plain text in UTF-8")
    return _recovered(text)


def _recovered(text: str) -> str:
    """In Unicode, judged by its own lines."""
    guess = detect(text.splitlines(), fewest_words=2)
    return recover(text, guess) if set(guess.encodings) - {Encoding.DECOMPOSED} else text


def _docx(path: Path, data: bytes) -> str:
    damaged = f"is damaged or cut off; {SAVE_AS['.docx']} again"
    try:
        with ZipFile(BytesIO(data)) as package:
            # Sizes are checked against the bytes at hand: the letter may itself lie in an archive.
            check_entries(path, package, len(data))
            body = next((entry for entry in package.infolist() if entry.filename == "word/document.xml"), None)
            if body is None:
                raise invalid(path, damaged)
            if body.file_size > MAX_LETTER:
                raise invalid(path, f"has {body.file_size:,} bytes of text, limit {MAX_LETTER:,}; split it")
            letter = _Body()
            letter.read(unpacked(path, package, body))
    except (BadZipFile, NotImplementedError, ValueError) as error:
        raise invalid(path, damaged) from error
    except expat.ExpatError as error:
        raise invalid(path, damaged) from error
    return _recovered(letter.text())


class _Body:
    """Text of a document's body, by expat: no external entity is fetched, and a document type is refused."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._skipped = 0
        self._in_text = False
        self._size = 0

    def read(self, chunks: Iterator[bytes]) -> None:
        """Raises expat.ExpatError, ValueError for a document type or a text beyond MAX_RUN."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        for chunk in chunks:
            parser.Parse(chunk, False)
        parser.Parse(b"", True)

    def text(self) -> str:
        """Paragraphs as lines, cells of a table's row divided by tabs."""
        lines = (line.strip(" \t") for line in "".join(self._parts).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")

    def _doctype(self, *declaration: object) -> None:
        raise ValueError("a document type has no place in a letter")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self._skipped or name == _FALLBACK or _local(name) in ("del", "moveFrom", "delText", "instrText"):
            self._skipped += 1
            return
        match _local(name):
            case "t":
                self._in_text = True
            case "tab":
                self._parts.append("\t")
            case "br" | "cr":
                self._parts.append("\n")
            case "noBreakHyphen":
                self._parts.append("-")

    def _end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
            return
        match _local(name):
            case "t":
                self._in_text = False
            case "p":
                self._parts.append("\n")
            case "tc":
                while self._parts and self._parts[-1] == "\n":
                    self._parts.pop()
                self._parts.append("\t")
            case "tr":
                self._parts.append("\n")

    def _characters(self, text: str) -> None:
        if self._in_text and not self._skipped:
            self._size += len(text)
            if self._size > MAX_RUN:
                raise ValueError("a text of millions of characters is no letter")
            self._parts.append(text)


def _local(name: str) -> str:
    """The name of an element of word processing; "" for others."""
    space, _, local = name.rpartition(" ")
    return local if space in (_WORD, _STRICT) else ""
