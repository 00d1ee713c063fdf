"""PhoBERT's BPE without transformers: `vocab.txt` + `bpe.codes` -> ids, and overlapping windows for long texts.

Equal, id for id, to `transformers.PhobertTokenizer` on segmented text (a property test holds the two together), ten
times faster, and without its unbounded cache. Where they differ on purpose: a citizen who types `<mask>` gets the
characters, not the special token.
"""

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import WhitespaceSplit

BOS, PAD, EOS, UNK = 0, 1, 2, 3
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
VOCABULARY_FILE, CODES_FILE = "vocab.txt", "bpe.codes"


class PhobertTokens:
    """Segmented text to PhoBERT ids. `size` counts the special tokens and `<mask>`, as the model's embedding does."""

    def __init__(self, tokenizer: Tokenizer, known: int) -> None:
        self._tokenizer = tokenizer
        self._known = known
        self.mask = known
        self.size = known + 1

    @classmethod
    def load(cls, directory: Path) -> "PhobertTokens":
        """Read `vocab.txt` and `bpe.codes` from `directory`.

        Raises:
            OSError: a file is missing.
            ValueError: a line is not PhoBERT's format.
        """
        ids: dict[str, int] = {}
        # Not splitlines(): a piece may hold a character such as U+2028 or U+0085, which PhobertTokenizer keeps in its line.
        lines = (directory / VOCABULARY_FILE).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        for number, line in enumerate(lines, start=1):
            piece, _, count = line.strip().rpartition(" ")
            if not piece or not count.isdigit():
                raise ValueError(f"{VOCABULARY_FILE} line {number} is not 'piece count'")
            ids[_mark(piece)] = len(_SPECIAL) + number - 1
        known = len(_SPECIAL) + len(lines)
        merges = []
        spare = known + 1
        for number, line in enumerate((directory / CODES_FILE).read_text(encoding="utf-8").split("\n")[:-1], start=1):
            parts = line.split()
            if len(parts) != 3:
                raise ValueError(f"{CODES_FILE} line {number} is not 'left right count'")
            left, right = parts[:2]
            merges.append((left, right))
            # A merge may lead through a piece that vocab.txt lacks: it needs an id here and becomes <unk> afterwards.
            for piece in (left, right, left + right):
                if piece not in ids:
                    ids[piece] = spare
                    spare += 1
        for special, identity in zip(_SPECIAL, (BOS, PAD, EOS, UNK), strict=True):
            ids.setdefault(f"\0{special}", identity)
        model = BPE(vocab=ids, merges=merges, unk_token=f"\0{_SPECIAL[UNK]}", end_of_word_suffix="</w>", fuse_unk=False)
        tokenizer = Tokenizer(model)
        tokenizer.pre_tokenizer = WhitespaceSplit()
        return cls(tokenizer, known)

    def encode(self, segmented_text: str) -> list[int]:
        """Ids of a segmented text, without `<s>` and `</s>`."""
        known = self._known
        return [i if i < known else UNK for i in self._tokenizer.encode(segmented_text, add_special_tokens=False).ids]


def _mark(piece: str) -> str:
    """PhoBERT marks what goes on ("th@@"), BPE libraries mark what ends ("th</w>")."""
    return piece[:-2] if piece.endswith("@@") and piece != "@@" else piece + "</w>"


def windows(ids: list[int], size: int = 256, overlap: int = 64) -> list[list[int]]:
    """Cut ids into windows of at most `size` positions, `<s>` and `</s>` included, sharing `overlap` ids.

    The last window reaches to the end and is full: a letter's request often stands there.
    Windows advance only with `overlap` < `size` - 2, which a manifest guarantees.
    """
    body = size - 2
    if len(ids) <= body:
        return [[BOS, *ids, EOS]]
    starts = list(range(0, len(ids) - body, body - overlap))
    return [[BOS, *ids[start : start + body], EOS] for start in [*starts, len(ids) - body]]
