from pathlib import Path

import pytest
import torch
from transformers import PhobertTokenizer

from nlp_service.segment import UndertheseaSegmenter
from nlp_service.tokens import CODES_FILE, UNK, VOCABULARY_FILE, PhobertTokens
from tests.training.conftest import VOCABULARY
from tests.training.e5s1 import TinyE5
from training.teacher import Teacher, read_e5s1
from training.vocabulary import learn, read_pieces, transfer_embeddings

UNSEEN = (
    "Sáng nay tôi chạy xe qua cầu Bố, thấy 3 ổ gà rộng 0,5m; ai chịu trách nhiệm?",
    "SỬA ĐÈN ĐƯỜNG CHO DÂN!!! sdt 0912345678",
    "duong lien thon hong nang, mua la ngap",
    "Приветствие 漢字 🚧",
    "hay quá@@ =@@= @ a@@",  # "@@" is PhoBERT's mark of a piece that goes on
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, segmented: list[str]) -> Path:
    directory = tmp_path_factory.mktemp("vocabulary")
    learn(iter(segmented), VOCABULARY, directory)
    return directory


@pytest.fixture(scope="module")
def reference(directory: Path) -> PhobertTokenizer:
    return PhobertTokenizer(str(directory / VOCABULARY_FILE), str(directory / CODES_FILE))


@pytest.fixture(scope="module")
def teacher(e5s1: TinyE5) -> Teacher:
    return read_e5s1(e5s1.path)


def test_size_is_as_asked(directory: Path, reference: PhobertTokenizer) -> None:
    assert PhobertTokens.load(directory).size == VOCABULARY
    assert len(reference) == VOCABULARY
    assert reference.mask_token_id == VOCABULARY - 1
    pieces = read_pieces(directory)
    assert len(set(pieces)) == len(pieces) == VOCABULARY - 5


def test_both_tokenizers_read_the_files_alike(
    directory: Path, reference: PhobertTokenizer, segmented: list[str], segmenter: UndertheseaSegmenter
) -> None:
    tokens = PhobertTokens.load(directory)
    for text in [*segmented, *(segmenter.segment(text) for text in UNSEEN)]:
        ids = tokens.encode(text)
        assert ids == reference.encode(text, add_special_tokens=False), text
        assert reference.build_inputs_with_special_tokens(ids) == reference.encode(text)


def test_what_was_learnt_from_has_no_unknown_letters(directory: Path, segmented: list[str]) -> None:
    tokens = PhobertTokens.load(directory)
    assert not any(UNK in tokens.encode(text) for text in segmented)
    assert UNK in tokens.encode("漢字")


def test_words_of_several_syllables_keep_their_underscore(directory: Path, segmented: list[str]) -> None:
    assert any("ổ_gà" in text for text in segmented)
    pieces = read_pieces(directory)
    tokens = PhobertTokens.load(directory)
    assert [pieces[i - 4] for i in tokens.encode("ổ_gà")] == ["ổ_gà"]
    assert "".join(pieces[i - 4].removesuffix("@@") for i in tokens.encode("đường_tắt")) == "đường_tắt"


def test_pieces_stand_by_falling_count(directory: Path) -> None:
    counts = [int(line.rsplit(" ", 1)[1]) for line in (directory / VOCABULARY_FILE).read_text("utf-8").splitlines()]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 100


def test_rare_letters_become_unknown(tmp_path: Path) -> None:
    lines = ["đường hỏng nặng"] * 50 + ["ξ"]
    learn(lines, 60, tmp_path, alphabet=8)
    assert PhobertTokens.load(tmp_path).encode("ξ") == [UNK]


def test_first_embeddings_are_means_of_the_teachers(teacher: Teacher, e5s1: TinyE5) -> None:
    rows = transfer_embeddings(["đường", "đường_liên", "thôn@@", "漢"], teacher)
    table = torch.from_numpy(e5s1.weights["emb.word"]).view(-1, e5s1.hidden)
    piece = {text: table[index] for index, text in enumerate(e5s1.pieces)}
    assert rows.shape == (9, e5s1.hidden)
    for row, special in enumerate(("<s>", "<pad>", "</s>")):
        assert torch.equal(rows[row], piece[special])
    for row in (3, 8):  # <unk> and <mask> have no counterpart
        torch.testing.assert_close(rows[row], table.mean(0))
    torch.testing.assert_close(rows[4], piece["▁đường"])
    torch.testing.assert_close(rows[5], (piece["▁đường"] + piece["▁liên"]) / 2)
    torch.testing.assert_close(rows[6], piece["▁thôn"])
    torch.testing.assert_close(rows[7], (piece["▁"] + piece["<unk>"]) / 2)
