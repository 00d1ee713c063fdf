"""Lines of a text file, in whatever charset its first 64 KiB show.

A file in one of the old Vietnamese charsets is read as cp1252: what its columns hold is for `legacy` to say. One that is
UTF-8 but for some bytes is taken for UTF-8, so that it is refused with its line.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nlp_service.charsets import OWN_CHARSETS, detect_bytes
from nlp_service.old_encodings import shown_on_windows
from nlp_service.tables.table import UTF8, invalid, reading

MAX_LINE = 64 * 1024**2
"""Bytes. Programs that write files end a line long before."""

_HEAD = 65_537  # bytes; one more than are looked at, so that a character cut in two is no fault


def charset_of(path: Path) -> str:
    """`utf-8-sig`, `utf-16…`, `cp1258` or `cp1252`."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    charset = detect_bytes(head)
    if charset.startswith("utf-16"):
        return charset
    if charset.startswith("utf-8") or _is_damaged_utf8(head):
        return UTF8
    return "cp1252" if charset in OWN_CHARSETS else charset


def charset_notes(charset: str) -> tuple[str, ...]:
    """What the clerk is told of a charset that `charset_of` found."""
    return () if charset == UTF8 else (f"Tệp không phải UTF-8; đọc theo bảng mã {charset}.",)


def check_lines(path: Path, limit: int = MAX_LINE) -> None:
    """Refuse a file with a line of more bytes than `limit`, which nobody could read line by line."""
    run = lines = 0
    with reading(path), path.open("rb") as stream:
        while chunk := stream.read(1024**2):
            last = chunk.rfind(b"\n")
            run = run + len(chunk) if last < 0 else len(chunk) - 1 - last
            lines += chunk.count(b"\n")
            if run > limit:
                raise invalid(path, f"has a line of more than {limit:,} bytes (line {lines + 1}); cut it down")


@contextmanager
def text_lines(path: Path, charset: str, newline: str = "") -> Iterator[Iterable[str]]:
    """The file's lines as they are decoded, one by one. `newline` as in `open`."""
    codec = "latin-1" if charset == "cp1252" else charset
    with path.open(encoding=codec, newline=newline) as stream:
        if charset == "cp1252":  # Python's codec refuses the bytes that Windows shows as controls
            yield (shown_on_windows(line.encode(codec)) for line in stream)
        elif charset == "cp1258":  # holds marks as characters of their own
            yield (unicodedata.normalize("NFC", line) for line in stream)
        else:
            yield stream


def _is_damaged_utf8(head: bytes) -> bool:
    """More characters beyond ASCII are whole than are not, which text in an 8-bit charset hardly ever shows."""
    marked = [character for character in head.decode("utf-8", "replace") if not character.isascii()]
    return 2 * marked.count("\ufffd") < len(marked)
