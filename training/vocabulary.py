"""A BPE vocabulary in PhoBERT's file format, and its first embeddings, carried over from the teacher's."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.trainers import BpeTrainer

from nlp_service.tokens import BOS, CODES_FILE, EOS, PAD, UNK, VOCABULARY_FILE
from training.teacher import Teacher

SPECIAL_IDS = 5
"""<s>, <pad>, </s>, <unk> before the pieces of vocab.txt, <mask> behind them."""

_END = "</w>"


def learn(segmented: Iterable[str], size: int, directory: Path, alphabet: int = 400) -> None:
    """Learn a BPE of `size` ids (special tokens included) and write `vocab.txt` and `bpe.codes` to `directory`.

    Args:
        segmented: lines whose words are joined by spaces, underscores inside words kept.
        alphabet: rarer characters than so many become <unk>.
    """
    lines = list(segmented)
    tokenizer = Tokenizer(BPE(end_of_word_suffix=_END))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    trainer = BpeTrainer(
        vocab_size=size - SPECIAL_IDS, end_of_word_suffix=_END, limit_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    counts = Counter(
        piece for encoding in tokenizer.encode_batch(lines, add_special_tokens=False) for piece in encoding.tokens
    )
    pieces = sorted(tokenizer.get_vocab(), key=lambda piece: (-counts[piece], piece))
    directory.mkdir(parents=True, exist_ok=True)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    (directory / CODES_FILE).write_text(
        "".join(f"{left} {right} {counts[left + right]}\n" for left, right in merges), encoding="utf-8"
    )
    # Last: a run that was killed takes vocab.txt for the sign that both files are there.
    (directory / VOCABULARY_FILE).write_text(
        "".join(f"{_phobert_form(piece)} {counts[piece]}\n" for piece in pieces), encoding="utf-8"
    )


def _phobert_form(piece: str) -> str:
    return piece.removesuffix(_END) if piece.endswith(_END) else piece + "@@"


def read_pieces(directory: Path) -> list[str]:
    """The pieces of `vocab.txt` in the order of their ids, from id 4 on."""
    lines = (directory / VOCABULARY_FILE).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return [line.rsplit(" ", 1)[0] for line in lines]


def transfer_embeddings(pieces: list[str], teacher: Teacher) -> torch.Tensor:
    """First word embeddings, (vocabulary, hidden): each piece is the mean of the teacher's pieces for the same letters."""
    table = teacher.word_embeddings
    rows = torch.empty(len(pieces) + SPECIAL_IDS, table.shape[1])
    rows[BOS], rows[PAD], rows[EOS] = table[teacher.bos], table[teacher.pad], table[teacher.eos]
    rows[UNK] = rows[-1] = table.mean(0)
    for index, piece in enumerate(pieces, start=UNK + 1):
        ids = teacher.tokenise(piece.removesuffix("@@").replace("_", " "))
        rows[index] = table[ids].mean(0) if ids else rows[UNK]
    return rows
