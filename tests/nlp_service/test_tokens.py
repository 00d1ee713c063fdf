import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_service.tokens import BOS, EOS, UNK, PhobertTokens, windows

ENCODER = Path(__file__).resolve().parents[2] / "models" / "encoder"


@given(st.integers(0, 2000), st.integers(10, 256), st.data())
def test_windows_cover_every_id_and_share_the_overlap(count: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 3))
    ids = list(range(100, 100 + count))
    pieces = windows(ids, size, overlap)
    assert all(piece[0] == BOS and piece[-1] == EOS and len(piece) <= size for piece in pieces)
    bodies = [piece[1:-1] for piece in pieces]
    assert sorted({identity for body in bodies for identity in body}) == ids
    if len(pieces) > 1:
        assert all(len(body) == size - 2 for body in bodies)
        assert bodies[-1][-1] == ids[-1]
        shared = [len(set(a) & set(b)) for a, b in itertools.pairwise(bodies)]
        assert shared[:-1] == [overlap] * (len(shared) - 1) and shared[-1] >= overlap
        # No window more than it takes.
        assert len(bodies) == math.ceil((count - overlap) / (size - 2 - overlap))
    else:
        assert bodies == [ids]


def test_special_tokens_typed_by_a_citizen_are_characters() -> None:
    tokens = PhobertTokens.load(ENCODER)
    for text in ("<mask>", "<s>", "</s>", "<pad>", "<unk>"):
        ids = tokens.encode(text)
        assert not set(ids) & {0, 1, 2, tokens.size - 1}, text


def test_unknown_characters_become_unk_and_nothing_else() -> None:
    tokens = PhobertTokens.load(ENCODER)
    assert UNK in tokens.encode("\u0e01")
    assert max(tokens.encode("đường \u0e01 làng_xóm \u4e2d")) < tokens.size


def write(directory: Path, vocabulary: str, codes: str = "") -> PhobertTokens:
    (directory / "vocab.txt").write_text(vocabulary, encoding="utf-8")
    (directory / "bpe.codes").write_text(codes, encoding="utf-8")
    return PhobertTokens.load(directory)


def test_ids_are_the_lines_of_the_vocabulary(tmp_path: Path) -> None:
    tokens = write(tmp_path, "rác 9\nthải 8\nrác_thải 7\nr@@ 3\ná@@ 2\nc 1\n", "á c</w> 3\nr ác</w> 2\n")
    assert tokens.size == 6 + 5  # with <s>, <pad>, </s>, <unk> and <mask>
    assert tokens.encode("rác") == [4]
    assert tokens.encode("c rác") == [9, 4]
    assert tokens.encode("rár") == [7, 8, UNK]  # "r" that ends a word has no line of its own
    assert tokens.encode("") == tokens.encode("  ") == []


def test_a_merge_whose_piece_has_no_line_is_unknown_unless_it_leads_on(tmp_path: Path) -> None:
    tokens = write(tmp_path, "rác 9\nr@@ 3\ná@@ 2\nc 1\n", "á c</w> 3\nr ác</w> 2\n")
    assert tokens.encode("rác") == [4]
    assert tokens.encode("ác") == [UNK]
    assert tokens.encode("áác") == [6, UNK]


def test_every_unknown_character_is_one_unk(tmp_path: Path) -> None:
    tokens = write(tmp_path, "a 1\na@@ 1\n")
    assert tokens.encode("漢字a字") == [UNK, UNK, 5, UNK]


@given(st.text(max_size=60))
def test_any_text_gives_ids_of_the_vocabulary_and_no_special_ones(text: str) -> None:
    ids = SHIPPED.encode(text)
    assert all(UNK <= identity < SHIPPED.size - 1 for identity in ids)
    assert len(ids) <= len(text)
    assert SHIPPED.encode(text) == ids


SHIPPED = PhobertTokens.load(ENCODER)


def test_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"ab 1\r\na@@ 1\r\n")
    (tmp_path / "bpe.codes").write_bytes(b"a b</w> 1\r\n")
    assert PhobertTokens.load(tmp_path).encode("ab aab") == [4, 5, 4]


@pytest.mark.parametrize("name", ["vocab.txt", "bpe.codes"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path, "a 1\n")
    (tmp_path / name).unlink()
    with pytest.raises(OSError, match=name):
        PhobertTokens.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("vocab.txt", "đường 12\nlàng\n", "vocab.txt line 2"),
        ("vocab.txt", "đường 12\n\nlàng 3\n", "vocab.txt line 2"),
        ("vocab.txt", "đường -1\n", "vocab.txt line 1"),
        ("vocab.txt", '{"đường": 12}\n', "vocab.txt line 1"),
        ("vocab.txt", "", "vocab.txt line 1"),
        ("bpe.codes", "a b\n", "bpe.codes line 1"),
        ("bpe.codes", "#version: 0.2\na b 1\n", "bpe.codes line 1"),
        ("bpe.codes", "a b 1\n\na b 1\n", "bpe.codes line 2"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / "vocab.txt").write_text("a 2\nb 1\n", encoding="utf-8")
    (tmp_path / "bpe.codes").write_text("a b 1\n", encoding="utf-8")
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=told):
        PhobertTokens.load(tmp_path)


def test_windows_by_hand() -> None:
    ids = list(range(10, 20))
    assert windows(ids, 12, 2) == [[BOS, *ids, EOS]]
    assert windows(ids, 8, 2) == [[BOS, *range(10, 16), EOS], [BOS, *range(14, 20), EOS]]
    assert windows(ids, 7, 1) == [[BOS, *range(10, 15), EOS], [BOS, *range(14, 19), EOS], [BOS, *range(15, 20), EOS]]
    assert windows([], 8, 2) == [[BOS, EOS]]
