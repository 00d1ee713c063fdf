"""Rows that repeat an earlier one: the same letter again, with another date, greeting or sender, without diacritics, mistyped.

A text's `signature` is 128 bytes: for each of 128 orders of its word triples, eight bits of the first one's hash
(b-bit MinHash, Li and König 2010). The share of equal bytes estimates the share of common triples (Jaccard). Four
bytes make a band; texts with a band in common are compared (LSH). A row joins the likest leader from LIKENESS on, the
earliest of equals, else it becomes a leader itself. What is said depends on the rows and their order alone.

Of the 8,487 petitions in `datasets/petitions` (half have 45 words or fewer) none is linked to another; likenesses end at
0.32, retellings at 0.18. Links found between each petition of eight words or more and a changed copy of it:

    in % of petitions with                   < 25 words   25-44   45 or more    all
    no diacritics, capitals, punctuation            100     100          100    100
    another date                                     99     100          100    100
    another sender's name                            98     100          100    100
    another greeting                                 79     100          100     97
    a sentence added                                 61      99          100     94
    5 % of the words mistyped                        81      89           94     91
    date, greeting, name, no diacritics              49      96          100     91

At 0.5 each of the last three lines gains 2 to 4 points, but letters on a form are linked sooner. Filled-in forms of 150 words
that FORM was written with are told apart from 20 words of their own. One that it does not know at all links letters
of which it is about 70 % or more: with 171 words of form, 482 of 1,500 letters with 45 to 69 words of their own, 4 of
746 with 70 to 99. So does a message that differs by one word (a place, a number) from another, from some 13 words on.
"""

import re
import sqlite3
import zlib
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.text import MAX_CHARS, fold

LIKENESS = 0.55
"""Least share of common word triples."""

PERMUTATIONS = 128
"""The error of a likeness is 0.044 (one standard deviation) at 0.5."""

BANDS = 20
"""Of 32 possible ones; each costs a look-up and an insertion a row. 20 find 85 % of the pairs at LIKENESS, all but 4 in 1,000 at 0.7.

A band leads to the first leader that has it and to no other, so a row is compared with 20 leaders at most, however
many letters share a form.
"""

LEAST_TRIPLES = 6
"""A text with fewer that count (eight words have six) repeats only what is the same word for word."""

LEAST_WORDS = 3
"""Two people may well say the same in fewer."""

CACHE_KIB = 64 * 1024
"""Of the scratch file, in memory."""

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

_ONE, _HALF, _LANE = np.uint64(1), np.uint64(32), np.uint32(8)
# PCG64's raw stream is the same in every version of numpy, so signatures made anywhere can be compared.
_RAW: npt.NDArray[np.uint64] = np.random.PCG64(2026).random_raw(3 + 2 * PERMUTATIONS)
_MIX = _RAW[:3] | _ONE
_DRAWN: npt.NDArray[np.uint32] = (_RAW[3:] >> _HALF).astype(np.uint32)
_FLIP, _SPREAD = _DRAWN[:PERMUTATIONS], _DRAWN[PERMUTATIONS:] | np.uint32(1)

_DIGEST_BYTES = 16
_KNOWN_CHARS = 64


def signature(text: str) -> bytes | None:
    """What of a text decides whether it repeats another, alike on every machine; None if it is too short to tell.

    128 bytes, of which most may differ, or for a short text 16, a digest. Reads MAX_CHARS characters.
    """
    tokens = text[:MAX_CHARS].split()
    read = _known if len(max(tokens, key=len, default="")) <= _KNOWN_CHARS else _codes
    codes = np.fromiter(chain.from_iterable(map(read, tokens)), np.uint64)
    if len(codes) < LEAST_WORDS:
        return None
    triples = _triples(codes)
    if len(triples) < LEAST_TRIPLES:
        words = [word for token in tokens for word in _words(token)]
        return blake2b(" ".join(words).encode(), digest_size=_DIGEST_BYTES).digest()
    least: npt.NDArray[np.uint32] = ((triples[:, np.newaxis] ^ _FLIP) * _SPREAD).min(axis=0)
    # The upper bits of a least hash are mostly zeros, and a product mixes little into its lowest ones.
    return (least >> _LANE).astype(np.uint8).tobytes()


def _words(text: str) -> list[str]:
    """Folded words: runs of letters and digits."""
    return _WORD.findall(fold(_INVISIBLE.sub("", text)))


def _codes(token: str) -> tuple[int, ...]:
    """A hash for every word in it; the lowest bit says that the word is a form's or a number."""
    return tuple(zlib.crc32(word.encode()) << 1 | (word in _FORM_WORDS or word.isdecimal()) for word in _words(token))


# Splitting and folding would be two thirds of the work. Vietnamese has some 7,000 syllables.
_known = lru_cache(maxsize=32_768)(_codes)


def _triples(codes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """Hashes of every three words in a row that count."""
    first, second, third = codes[:-2], codes[1:-1], codes[2:]
    counts: npt.NDArray[np.bool_] = (first & second & third & _ONE) == 0
    mixed: npt.NDArray[np.uint64] = first * _MIX[0] + second * _MIX[1] + third * _MIX[2]
    return (mixed[counts] >> _HALF).astype(np.uint32)


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
                CREATE TABLE bands (band INTEGER PRIMARY KEY, leader INTEGER);
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
        leaders = self._database.execute(_LEADERS, bands).fetchall()
        if leaders and (likest := self._likest(signature, leaders)) is not None:
            return likest
        self._database.execute("INSERT INTO leaders VALUES (?, ?)", (number, signature))
        self._database.execute(_LEAD, [value for band in bands for value in (band, number)])
        return None

    def _likest(self, signature: bytes, leaders: list[tuple[int, bytes]]) -> int | None:
        found = np.frombuffer(b"".join(other for _, other in leaders), np.uint8).reshape(-1, PERMUTATIONS)
        equal = (found == np.frombuffer(signature, np.uint8)).sum(axis=1).tolist()
        most, earliest = max((same, -leader) for same, (leader, _) in zip(equal, leaders, strict=True))
        return -earliest if likeness(most) >= LIKENESS else None

    def _unwritable(self, error: Exception) -> PetitionError:
        message = f"{self._path} cannot be written: {error}; make room there (0.5 GB for a million rows) and run again"
        return PetitionError(ErrorKind.INVALID_FILE, message, file=str(self._path))


_LEADERS = f"""
SELECT number, signature FROM leaders
WHERE number IN (SELECT leader FROM bands WHERE band IN ({", ".join("?" * BANDS)}))
"""
_LEAD = f"INSERT OR IGNORE INTO bands VALUES {', '.join(['(?, ?)'] * BANDS)}"


def likeness(equal: int) -> float:
    """The share of common triples if so many bytes are equal; one in 256 is by chance."""
    return (equal / PERMUTATIONS - 1 / 256) / (1 - 1 / 256)
