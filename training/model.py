"""PhoBERT (or any encoder in its format) with three linear heads on the mean of its word vectors."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import RobertaModel

from nlp_service.tokens import CODES_FILE, VOCABULARY_FILE
from training.pooling import mean_pool

log = logging.getLogger(__name__)

_AGPL = "vinai/phobert-base-v2"


def resolve_encoder(source: str) -> Path:
    """The local directory of an encoder: `source` itself, or a hub id fetched to the cache.

    Raises:
        FileNotFoundError: neither a directory in PhoBERT's format nor reachable on the hub.
    """
    path = Path(source)
    if not path.is_dir():
        if source.startswith((".", "/")) or source.count("/") != 1:
            raise FileNotFoundError(f"encoder '{source}' is neither a directory nor a hub id like vinai/phobert-base")
        if source == _AGPL:
            log.warning(
                "%s is AGPL-3.0: a model made from it, and a service that runs it, come under that licence", source
            )
        from huggingface_hub import snapshot_download

        files = ["config.json", VOCABULARY_FILE, CODES_FILE, "*.safetensors", "pytorch_model.bin"]
        path = Path(snapshot_download(source, allow_patterns=files))
    for name in ("config.json", VOCABULARY_FILE, CODES_FILE):
        if not (path / name).is_file():
            raise FileNotFoundError(f"encoder {path} has no {name}: it is not in PhoBERT's format")
    return path


def load_encoder(directory: Path, dropout: float) -> RobertaModel:
    """Weights in fp32; `dropout` of hidden states while fine-tuning.

    None of attention: it would cost the fused kernel, and drawing so many random numbers takes a third of a step on a CPU.
    """
    encoder: RobertaModel = RobertaModel.from_pretrained(
        directory,
        add_pooling_layer=False,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=0.0,
        dtype=torch.float32,
    )
    return encoder


class PetitionModel(torch.nn.Module):
    """One forward pass, one row of logits a head.

    Args:
        sizes: classes of every head, in the order of the outputs.
    """

    def __init__(self, encoder: RobertaModel, sizes: Mapping[str, int], dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = torch.nn.Dropout(dropout)
        width = encoder.config.hidden_size
        self.heads = torch.nn.ModuleDict({head: torch.nn.Linear(width, size) for head, size in sizes.items()})
        for name, parameter in self.heads.named_parameters():
            if name.endswith("weight"):
                torch.nn.init.normal_(parameter, std=0.02)
            else:
                torch.nn.init.zeros_(parameter)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(windows, length) twice -> logits (windows, classes) for every head, then the embedding (windows, hidden)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        embedding = mean_pool(hidden, attention_mask)
        dropped = self.dropout(embedding)
        return (*(head(dropped) for head in self.heads.values()), embedding)


def parameter_groups(
    model: PetitionModel, learning_rate: float, layer_decay: float, head_rate: float, decay: float
) -> list[dict[str, object]]:
    """AdamW groups: the heads at `head_rate`, the encoder's top layer at `learning_rate`, every layer below at
    `layer_decay` times the rate of the one above (Howard and Ruder 2018, ULMFiT), no weight decay on biases and norms.
    """
    layers = model.encoder.config.num_hidden_layers
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if name.startswith("heads."):
            rate = head_rate
        else:
            parts = name.split(".")
            depth = int(parts[parts.index("layer") + 1]) + 1 if "layer" in parts else 0
            rate = learning_rate * layer_decay ** (layers - depth)
        groups.setdefault((rate, decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [{"params": p, "lr": rate, "initial_lr": rate, "weight_decay": wd} for (rate, wd), p in groups.items()]
