"""Rows that repeat an earlier one: the same letter again, with another date, greeting or sender, without diacritics, mistyped.

A text's `signature` is 128 bytes: for each of 128 orders of its word triples, eight bits of the first one's hash
(b-bit MinHash, Li and König 2010). The share of equal bytes estimates the share of common triples (Jaccard). Four
bytes make a band; texts with a band in common are compared (LSH). A row joins the likest leader from LIKENESS on, the
earliest of equals, else it becomes a leader itself. What is said depends on the rows and their order alone.

@@FIGURES@@
"""

import re
import sqlite3
import zlib
from collections import Counter
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.text import fold

LIKENESS = 0.55
"""Least share of common word triples."""

PERMUTATIONS = 128
"""The error of a likeness is 0.044 (one standard deviation) at 0.5."""

BANDS = 20
"""Of 32 possible ones; each costs a look-up and an insertion a row, in a tree that may be larger than its cache."""

LEADERS_A_BAND = 16
"""Later ones are not listed in a full band: a form that 100,000 letters share costs no more than one that 16 share."""

COMPARED = 16
"""Leaders compared with a row: those with the most bands in common."""

LEAST_TRIPLES = 6
"""A text with fewer that count (eight words have six) repeats only what is the same word for word."""

LEAST_WORDS = 3
"""Two people may well say the same in fewer."""

CACHE_KIB = 64 * 1024

FORM = """
Cộng hòa xã hội chủ nghĩa Việt Nam. Độc lập, tự do, hạnh phúc. Ngày tháng năm. Đơn đề nghị, kiến nghị, phản ánh.
Kính gửi Chủ tịch Ủy ban nhân dân (UBND) tỉnh, xã, phường. Tôi tên là. Họ và tên người làm đơn. Sinh năm. Địa chỉ,
hộ khẩu thường trú tại thôn. Căn cước công dân (CCCD) số, ngày cấp, nơi cấp: Công an, Cục Cảnh sát quản lý hành chính
về trật tự xã hội. Số điện thoại liên hệ. Nay tôi viết đơn này xin trình bày với quý cơ quan nội dung vụ việc như sau.
Kính mong quý cơ quan quan tâm, xem xét, giải quyết theo quy định của pháp luật, đảm bảo quyền và lợi ích hợp pháp.
Tôi xin cam đoan, cam kết những nội dung, những lời đã trình bày trên là hoàn toàn đúng sự thật, nếu sai tôi xin chịu
trách nhiệm trước pháp luật. Xin chân thành cảm ơn, trân trọng. Ký tên hoặc điểm chỉ, ghi rõ họ tên. Đơn khiếu nại,
tố cáo; người khiếu nại, người tố cáo, người bị tố cáo; nơi cư trú, tổ dân phố, phường; giấy tờ tùy thân. Gửi kèm theo
đơn là các tài liệu, chứng cứ có liên quan (nếu có). Đề nghị người có thẩm quyền thụ lý, trả lời bằng văn bản.
"""
"""What letters say for form's sake. Three words in a row that are all from here, or numbers, do not count."""

_WORD = re.compile(r"[^\W_]+")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]+")
_FORM_WORDS = frozenset(_WORD.findall(fold(FORM)))

# PCG64's raw stream is the same in every version of numpy, so signatures made anywhere can be compared.
_RAW = np.random.PCG64(2026).random_raw(3 + 2 * PERMUTATIONS)
_MIX = _RAW[:3] | np.uint64(1)
_FLIP, _SPREAD = (_RAW[3:] >> np.uint64(32)).astype(np.uint32).reshape(2, PERMUTATIONS)
_SPREAD |= np.uint32(1)

_DIGEST_BYTES = 16
_KNOWN_CHARS = 16
_PART = 4_096


def signature(text: str) -> bytes | None:
    """What of a text decides whether it repeats another, alike on every machine; None if it is too short to tell.

    128 bytes, of which most may differ, or for a short text 16, a digest. Takes time in proportion to the text.
    """
    tokens = text.split()
    codes = np.fromiter(
        chain.from_iterable(_known(token) if len(token) <= _KNOWN_CHARS else _codes(token) for token in tokens),
        np.uint64,
    )
    if len(codes) < LEAST_WORDS:
        return None
    triples = _triples(codes)
    if len(triples) < LEAST_TRIPLES:
        words = [word for token in tokens for word in _words(token)]
        return blake2b(" ".join(words).encode(), digest_size=_DIGEST_BYTES).digest()
    least = np.full(PERMUTATIONS, 0xFFFFFFFF, np.uint32)
    for start in range(0, len(triples), _PART):
        part = triples[start : start + _PART, np.newaxis]
        np.minimum(least, ((part ^ _FLIP) * _SPREAD).min(axis=0), out=least)
    # The upper bits of a least hash are mostly zeros, and a product mixes little into its lowest ones.
    return (least >> np.uint32(8)).astype(np.uint8).tobytes()


def _words(text: str) -> list[str]:
    """Folded words: runs of letters and digits."""
    return _WORD.findall(fold(_INVISIBLE.sub("", text)))


def _codes(token: str) -> tuple[int, ...]:
    """A hash for every word in it; the lowest bit says that the word is a form's or a number."""
    return tuple(
        zlib.crc32(word.encode()) << 1 | (word in _FORM_WORDS or word.isdecimal()) for word in _words(token)
    )


# Splitting and folding would be two thirds of the work. Vietnamese has some 7,000 syllables.
_known = lru_cache(maxsize=32_768)(_codes)


def _triples(codes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """Hashes of every three words in a row that count."""
    first, second, third = codes[:-2], codes[1:-1], codes[2:]
    counts = (first & second & third & np.uint64(1)) == 0
    mixed = first * _MIX[0] + second * _MIX[1] + third * _MIX[2]
    return (mixed[counts] >> np.uint64(32)).astype(np.uint32)


class Repeats:
    """The leaders so far, in a scratch file of hashes in `directory`, which `close` removes.

    Rows are added in one order from one thread. Memory stays at CACHE_KIB whatever their number.

    Raises:
        PetitionError: INVALID_FILE, also while rows are added: the file cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "repeats.sqlite"
        try:
            self._path.unlink(missing_ok=True)  # of a run that was killed
            self._path.touch(mode=0o600)
            self._database = sqlite3.connect(self._path, isolation_level=None)
            self._database.executescript(
                f"""
                PRAGMA journal_mode = OFF;
                PRAGMA synchronous = OFF;
                PRAGMA locking_mode = EXCLUSIVE;
                PRAGMA cache_size = -{CACHE_KIB};
                CREATE TABLE leaders (number INTEGER PRIMARY KEY, signature BLOB);
                CREATE TABLE bands (band INTEGER, number INTEGER, PRIMARY KEY (band, number)) WITHOUT ROWID;
                CREATE TABLE short (digest BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID;
                BEGIN;
                """
            )
        except (OSError, sqlite3.Error) as error:
            raise self._unwritable(error) from error

    def add(self, number: int, text: str) -> int | None:
        """The number of the earlier row that row `number` repeats; None if it is the first of its kind."""
        return self.add_signature(number, signature(text))

    def add_signature(self, number: int, signature: bytes | None) -> int | None:
        """The same for a signature that was made elsewhere."""
        if signature is None:
            return None
        try:
            if len(signature) == _DIGEST_BYTES:
                return self._same(number, signature)
            return self._like(number, signature)
        except sqlite3.Error as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Forget all rows."""
        self._database.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _same(self, number: int, digest: bytes) -> int | None:
        found = self._database.execute("SELECT number FROM short WHERE digest = ?", (digest,)).fetchone()
        if found is None:
            self._database.execute("INSERT INTO short VALUES (?, ?)", (digest, number))
            return None
        return int(found[0])

    def _like(self, number: int, signature: bytes) -> int | None:
        values = np.frombuffer(signature, "<u4")[:BANDS].tolist()
        bands = [place << 32 | value for place, value in enumerate(values)]
        listed = self._database.execute(_LISTED, bands).fetchall()
        if listed:
            shared = Counter(leader for _, leader in listed)
            likest = self._likest(signature, sorted(shared, key=lambda leader: (-shared[leader], leader))[:COMPARED])
            if likest is not None:
                return likest
        in_band = Counter(band for band, _ in listed)
        self._database.execute("INSERT INTO leaders VALUES (?, ?)", (number, signature))
        self._database.executemany(
            "INSERT INTO bands VALUES (?, ?)", [(band, number) for band in bands if in_band[band] < LEADERS_A_BAND]
        )
        return None

    def _likest(self, signature: bytes, leaders: list[int]) -> int | None:
        query = "SELECT signature FROM leaders WHERE number = ?"
        found = b"".join(self._database.execute(query, (leader,)).fetchone()[0] for leader in leaders)
        equal = (np.frombuffer(found, np.uint8).reshape(-1, PERMUTATIONS) == np.frombuffer(signature, np.uint8)).sum(1)
        most, leader = max(zip(equal.tolist(), (-leader for leader in leaders), strict=True))
        return -leader if _likeness(most) >= LIKENESS else None

    def _unwritable(self, error: Exception) -> PetitionError:
        message = f"{self._path} cannot be written: {error}; make room there (some 1.5 GB for a million rows) and run again"
        return PetitionError(ErrorKind.INVALID_FILE, message, file=str(self._path))


_LISTED = f"SELECT band, number FROM bands WHERE band IN ({', '.join('?' * BANDS)})"


def _likeness(equal: int) -> float:
    """The share of common triples if so many bytes are equal; one in 256 is by chance."""
    return (equal / PERMUTATIONS - 1 / 256) / (1 - 1 / 256)
