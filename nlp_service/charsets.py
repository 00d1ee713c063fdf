"""The charset of a text file, old Vietnamese ones included."""

import unicodedata

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.legacy import detect
from nlp_service.old_encodings import Encoding, shown_on_windows, to_unicode

OWN_CHARSETS = {"tcvn3": Encoding.TCVN3, "viscii": Encoding.VISCII, "vni": Encoding.VNI, "vps": Encoding.VPS}
"""Names that `detect_bytes` gives and Python has no codec for; `decode` knows them."""

_SNIFFED = 65_536
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def detect_bytes(data: bytes) -> str:
    """The charset of a text file, by its first 64 KiB: a name for `decode`, one of Python's or of `OWN_CHARSETS`."""
    for mark, name in _BOMS:
        if data.startswith(mark):
            return name
    head = data[:_SNIFFED]
    if wide := _without_bom(head):
        return wide
    if _is_utf8(head, whole=len(head) == len(data)):
        return "utf-8"
    guess = detect(shown_on_windows(head).splitlines(), fewest_words=1)
    if guess.encoding is Encoding.CP1258_AS_CP1252:
        return "cp1258"
    return next((name for name, encoding in OWN_CHARSETS.items() if encoding is guess.encoding), "cp1252")


def decode(data: bytes, charset: str) -> str:
    """A text file's text in NFC. Bytes that cp1252 leaves out become C1 controls, as on Windows.

    Read a table as "cp1252" rather than in one of `OWN_CHARSETS`, and let `detect` look at its columns one by one.

    Raises:
        PetitionError: INVALID_FILE if a byte does not fit or no such charset is known.
    """
    if charset == "cp1252":
        return shown_on_windows(data)
    if charset in OWN_CHARSETS:
        return to_unicode(shown_on_windows(data), OWN_CHARSETS[charset])
    try:
        return unicodedata.normalize("NFC", data.decode(charset))
    except UnicodeDecodeError as error:
        message = f"byte {error.start:,} (0x{data[error.start]:02x}) is no {charset}; save the file as UTF-8"
        raise PetitionError(ErrorKind.INVALID_FILE, message, byte=error.start, charset=charset) from error
    except LookupError as error:
        message = f"no charset {charset!r} is known; use utf-8, utf-16, cp1258, cp1252 or {', '.join(OWN_CHARSETS)}"
        raise PetitionError(ErrorKind.INVALID_FILE, message, charset=charset) from error


def _without_bom(data: bytes) -> str | None:
    """UTF-16 shows by its NULs: the high half of an ASCII or Latin-1 character is one, the low half never."""
    units = len(data) // 2
    if not units:
        return None
    first, second = data[: 2 * units : 2].count(0), data[1 : 2 * units : 2].count(0)
    if max(first, second) < 0.3 * units or min(first, second) > 0.01 * units:
        return None
    return "utf-16-le" if second > first else "utf-16-be"


def _is_utf8(data: bytes, whole: bool) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return not whole and error.start >= len(data) - 3 and error.reason == "unexpected end of data"
    return True
