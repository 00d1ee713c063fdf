import logging
from pathlib import Path

import huggingface_hub
import pytest
import torch

from training.model import PetitionModel, load_encoder, parameter_groups, resolve_encoder
from training.pooling import mean_pool, pad


@pytest.fixture(scope="module")
def model(encoder_dir: Path) -> PetitionModel:
    torch.manual_seed(1)
    return PetitionModel(load_encoder(encoder_dir, 0.1), {"category": 5, "urgency": 4}, 0.1).eval()


def test_padding_is_masked() -> None:
    matrix, mask = pad([[0, 7, 2], [0, 7, 8, 9, 2], [2]])
    assert matrix.tolist() == [[0, 7, 2, 1, 1], [0, 7, 8, 9, 2], [2, 1, 1, 1, 1]]
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]


def test_mean_leaves_padding_out() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]])
    assert mean_pool(hidden, torch.tensor([[1, 1, 0]])).tolist() == [[2.0, 3.0]]
    assert mean_pool(hidden, torch.tensor([[0, 0, 0]])).tolist() == [[0.0, 0.0]]


@torch.inference_mode()
def test_a_row_does_not_depend_on_its_batch(model: PetitionModel) -> None:
    rows = [[0, 17, 2], [0, 9, 25, 31, 47, 5, 2], [0, 44, 8, 2]]
    together = model(*pad(rows))
    assert [tuple(part.shape) for part in together] == [(3, 5), (3, 4), (3, 32)]
    for index, row in enumerate(rows):
        for part, alone in zip(together, model(*pad([row])), strict=True):
            torch.testing.assert_close(part[index], alone[0], atol=1e-5, rtol=1e-5)


def test_encoder_is_fp32_with_the_dropout_asked_for(encoder_dir: Path) -> None:
    encoder = load_encoder(encoder_dir, 0.25)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert (encoder.config.hidden_dropout_prob, encoder.config.attention_probs_dropout_prob) == (0.25, 0.0)
    assert not any("pooler" in name for name, _ in encoder.named_parameters())


def test_lower_layers_learn_slower(model: PetitionModel) -> None:
    groups = parameter_groups(model, learning_rate=1e-3, layer_decay=0.5, head_rate=1e-2, decay=0.1)
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {}
    for group in groups:
        assert group["lr"] == group["initial_lr"]
        assert isinstance(group["params"], list)
        for parameter in group["params"]:
            found[names[parameter]] = (group["lr"], group["weight_decay"])
    assert found.keys() == set(names.values()), "every parameter once"
    assert found["heads.category.weight"] == (pytest.approx(1e-2), 0.1)
    assert found["heads.urgency.bias"] == (pytest.approx(1e-2), 0.0)
    assert found["encoder.encoder.layer.1.output.dense.weight"] == (pytest.approx(1e-3), 0.1)
    assert found["encoder.encoder.layer.0.output.dense.weight"] == (pytest.approx(5e-4), 0.1)
    assert found["encoder.embeddings.word_embeddings.weight"] == (pytest.approx(2.5e-4), 0.1)
    assert found["encoder.embeddings.LayerNorm.weight"] == (pytest.approx(2.5e-4), 0.0)


def test_a_hub_id_is_fetched(monkeypatch: pytest.MonkeyPatch, encoder_dir: Path) -> None:
    asked: list[tuple[str, list[str]]] = []

    def fetch(source: str, allow_patterns: list[str]) -> str:
        asked.append((source, allow_patterns))
        return str(encoder_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert resolve_encoder("vinai/phobert-base") == encoder_dir
    assert asked[0][0] == "vinai/phobert-base"
    assert {"vocab.txt", "bpe.codes", "config.json"} < set(asked[0][1])


def test_licence_of_phobert_v2_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, encoder_dir: Path
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **kwargs: str(encoder_dir))
    with caplog.at_level(logging.WARNING):
        resolve_encoder("vinai/phobert-base")
        assert not caplog.text
        resolve_encoder("vinai/phobert-base-v2")
    assert "AGPL-3.0" in caplog.text


@pytest.mark.parametrize("source", ["/nowhere/encoder", "./encoder", "encoder", "models/a/b"])
def test_what_is_neither_a_directory_nor_an_id_is_refused(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **kwargs: pytest.fail("asked the hub"))
    with pytest.raises(FileNotFoundError, match="neither a directory nor a hub id"):
        resolve_encoder(source)


@pytest.mark.parametrize("missing", ["config.json", "vocab.txt", "bpe.codes"])
def test_a_directory_of_another_format_names_the_missing_file(tmp_path: Path, encoder_dir: Path, missing: str) -> None:
    for file in encoder_dir.iterdir():
        if file.name != missing:
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(FileNotFoundError, match=missing):
        resolve_encoder(str(tmp_path))
