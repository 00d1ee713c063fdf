import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_service.tokens import BOS, EOS, UNK, PhobertTokens, windows

ENCODER = Path(__file__).resolve().parents[2] / "models" / "encoder"


@given(st.integers(0, 2000), st.integers(10, 256), st.data())
def test_windows_cover_every_id_and_share_the_overlap(count: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, (size - 2) // 2))
    ids = list(range(100, 100 + count))
    pieces = windows(ids, size, overlap)
    assert all(piece[0] == BOS and piece[-1] == EOS and len(piece) <= size for piece in pieces)
    bodies = [piece[1:-1] for piece in pieces]
    assert sorted({identity for body in bodies for identity in body}) == ids
    if len(pieces) > 1:
        assert all(len(body) == size - 2 for body in bodies)
        assert bodies[-1][-1] == ids[-1]
        assert all(len(set(a) & set(b)) >= overlap for a, b in itertools.pairwise(bodies))
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


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [("vocab.txt", "đường 12\nlàng\n", "vocab.txt line 2"), ("bpe.codes", "a b\n", "bpe.codes line 1")],
)
def test_a_malformed_line_is_named(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / "vocab.txt").write_text("a 2\nb 1\n", encoding="utf-8")
    (tmp_path / "bpe.codes").write_text("a b 1\n", encoding="utf-8")
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=told):
        PhobertTokens.load(tmp_path)
