"""What fine-tunes the shipped encoder fine-tunes vinai/phobert-base unchanged: proved on a checkpoint of its layout.

PhoBERT's hub directory is a `RobertaForMaskedLM` of 64,001 words and 258 positions, with `vocab.txt` (63,996 pieces) and
`bpe.codes`. This one has the same layout and 32 instead of 768 wide vectors.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PhobertTokenizer, RobertaForMaskedLM

from nlp_service.encoder import FLOAT_FILE, OnnxEncoder, Runtime
from nlp_service.pipeline import PetitionClassifier
from nlp_service.segment import UndertheseaSegmenter
from nlp_service.tokens import CODES_FILE, VOCABULARY_FILE, PhobertTokens
from tests.training.conftest import TAXONOMY_FILE, make_petitions, sentences, tiny_roberta
from training import export
from training.data import write_petitions
from training.fit import FitConfig, fit, load_run
from training.model import load_encoder, resolve_encoder
from training.vocabulary import learn

PIECES = 63_996
LONG = " ".join(sentences(40))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, segmented: list[str]) -> Path:
    directory = tmp_path_factory.mktemp("hub") / "phobert-base"
    learn(segmented, 340, directory)
    learnt = (directory / VOCABULARY_FILE).read_text(encoding="utf-8").splitlines()
    # Words that no test petition uses fill the middle: real pieces keep low ids and get the highest ones.
    filler = [f"chữ{number} 1" for number in range(PIECES - len(learnt))]
    lines = [*learnt[::2], *filler, *learnt[1::2]]
    (directory / VOCABULARY_FILE).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    torch.manual_seed(2)
    config = tiny_roberta(64_001, initializer_range=0.1, tokenizer_class="PhobertTokenizer")
    RobertaForMaskedLM(config).save_pretrained(directory)
    assert (directory / "model.safetensors").is_file()
    return directory


@pytest.fixture(scope="module")
def run(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch on a dozen petitions, one of them longer than a window, with the shipped config's windows."""
    directory = tmp_path_factory.mktemp("phobert")
    petitions = make_petitions(12)
    write_petitions(
        directory / "train.jsonl", [*petitions[1:], type(petitions[0])("long", LONG, "other", "low", "other")]
    )
    write_petitions(directory / "dev.jsonl", make_petitions(6, 12))
    fit(FitConfig(str(checkpoint), str(directory), str(TAXONOMY_FILE), epochs=1, batch_size=4), directory / "run")
    return directory / "run"


@pytest.fixture(scope="module")
def classifier(run: Path) -> PetitionClassifier:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "MIN_INT8_AGREEMENT", 0.0)
        export.export(run, run.parent / "model", "tiny-phobert")
    return PetitionClassifier.load(run.parent / "model", Runtime.ONNXRUNTIME, threads=1)


def test_ids_are_phobert_tokenizers(checkpoint: Path, segmenter: UndertheseaSegmenter) -> None:
    tokens = PhobertTokens.load(checkpoint)
    reference = PhobertTokenizer(str(checkpoint / VOCABULARY_FILE), str(checkpoint / CODES_FILE))
    assert tokens.size == len(reference) == 64_001
    assert (reference.mask_token_id, reference.convert_tokens_to_ids("<mask>")) == (64_000, 64_000)
    assert [reference.bos_token_id, reference.pad_token_id, reference.eos_token_id, reference.unk_token_id] == [
        0,
        1,
        2,
        3,
    ]
    seen: set[int] = set()
    for text in [*sentences(100), "Sáng nay 3 xe tải chở đất chạy qua cầu, bụi mù!", "漢字 ổ gà"]:
        segmented = segmenter.segment(text)
        ids = tokens.encode(segmented)
        assert ids == reference.encode(segmented, add_special_tokens=False)
        seen.update(ids)
    assert min(seen) < 200 and max(seen) > 63_900, "both ends of the embedding are read"
    assert 64_000 not in seen
    # The last piece stands just before <mask>.
    last = (checkpoint / VOCABULARY_FILE).read_text(encoding="utf-8").splitlines()[-1].rsplit(" ", 1)[0]
    assert reference.convert_tokens_to_ids(last) == 63_999


def test_weights_come_from_the_masked_language_model(checkpoint: Path) -> None:
    assert resolve_encoder(str(checkpoint)) == checkpoint
    encoder = load_encoder(checkpoint, 0.1)
    original = RobertaForMaskedLM.from_pretrained(checkpoint).roberta
    state = encoder.state_dict()
    assert state.keys() == original.state_dict().keys()
    for name, value in original.state_dict().items():
        assert torch.equal(state[name], value), name
    assert tuple(state["embeddings.word_embeddings.weight"].shape) == (64_001, 32)
    assert tuple(state["embeddings.position_embeddings.weight"].shape) == (258, 32)


def test_a_directory_with_only_pytorch_weights_loads(tmp_path: Path, checkpoint: Path) -> None:
    # As vinai/phobert-base has lain on the hub since 2020.
    for name in ("config.json", VOCABULARY_FILE, CODES_FILE):
        (tmp_path / name).symlink_to(checkpoint / name)
    original = RobertaForMaskedLM.from_pretrained(checkpoint)
    torch.save(original.state_dict(), tmp_path / "pytorch_model.bin")
    loaded = load_encoder(resolve_encoder(str(tmp_path)), 0.1).state_dict()
    for name, value in original.roberta.state_dict().items():
        assert torch.equal(loaded[name], value), name


def test_fit_moves_the_encoder_it_was_given(checkpoint: Path, run: Path) -> None:
    model, summary = load_run(run)
    assert len(summary["history"]) == 1
    assert np.isfinite(summary["history"][0]["loss"])
    assert summary["encoder"]["name"] == str(checkpoint)
    before = load_encoder(checkpoint, 0.1).state_dict()
    after = model.encoder.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert "embeddings.word_embeddings.weight" in moved
    assert "encoder.layer.1.output.dense.weight" in moved
    change = (after["encoder.layer.1.output.dense.weight"] - before["encoder.layer.1.output.dense.weight"]).abs().max()
    assert change < 0.01, "fine-tuned, not begun anew"


def test_exported_model_reads_petitions(checkpoint: Path, run: Path, classifier: PetitionClassifier) -> None:
    reference = PhobertTokenizer(str(checkpoint / VOCABULARY_FILE), str(checkpoint / CODES_FILE))
    text = make_petitions(1)[0].text
    answer = classifier.classify(text)
    assert answer.windows == 1
    assert answer.model_version == "tiny-phobert"
    assert answer.embedding.shape == (32,)
    assert 0 < answer.decision.category.probability <= 1
    (window,) = classifier.tokenise(text)
    assert window == reference.encode(classifier.reader.segmenter.segment(" ".join(text.split())))

    pieces = classifier.tokenise(LONG)
    assert len(pieces) > 1
    assert {len(piece) for piece in pieces} == {256}, "all of PhoBERT's positions are used"
    assert classifier.classify(LONG).windows == len(pieces)
    model, _ = load_run(run)
    with torch.inference_mode():
        expected = model(torch.tensor(pieces), torch.ones(len(pieces), 256, dtype=torch.long))[0].numpy()
    served = OnnxEncoder(classifier.bundle.directory / FLOAT_FILE, 1).run(pieces)["category"]
    np.testing.assert_allclose(served, expected, atol=0.02)
