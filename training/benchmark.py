"""Fine-tune an encoder on a public text classification set, to compare it with PhoBERT's published figures."""

import json
import logging
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch.nn import functional

from nlp_service.diacritics import DIACRITICS_FILE, Diacritics
from nlp_service.reading import Reader
from nlp_service.segment import UndertheseaSegmenter
from nlp_service.text import normalise
from nlp_service.tokens import PhobertTokens, windows
from training.batches import batches, linear
from training.corpus import segment_all
from training.model import PetitionModel, load_encoder, parameter_groups, resolve_encoder
from training.pooling import pad
from training.precision import autocast

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BenchmarkConfig:
    """One set: a directory with train.jsonl, dev.jsonl and test.jsonl; `label` names the field ("labels.sentiment")."""

    data: Path
    label: str
    epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 2e-4
    layer_decay: float = 1.0
    dropout: float = 0.1
    max_positions: int = 160


def read_rows(path: Path, field: str) -> list[tuple[str, str]]:
    """(text, label) a line; `field` may lead through one object."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        value = row = json.loads(line)
        for part in field.split("."):
            value = value[part]
        rows.append((normalise(row["text"]), str(value)))
    return rows


def run_benchmark(encoder: str, config: BenchmarkConfig, seed: int, processes: int = 2) -> dict[str, Any]:
    """Test scores of the last epoch: accuracy, macro-F1, weighted F1, and F1 of each class."""
    torch.manual_seed(seed)
    generator = random.Random(seed)
    directory = resolve_encoder(encoder)
    tokens = PhobertTokens.load(directory)
    restorer = directory / DIACRITICS_FILE
    reader = Reader(UndertheseaSegmenter(), tokens, Diacritics.load(restorer) if restorer.exists() else None)
    parts = {name: read_rows(config.data / f"{name}.jsonl", config.label) for name in ("train", "test")}
    labels = sorted({label for _, label in parts["train"]})
    ids = {
        name: [
            windows(tokens.encode(text), config.max_positions, 0)[0]
            for text in segment_all([reader.wording(text) for text, _ in rows], processes)
        ]
        for name, rows in parts.items()
    }
    truth = {name: [labels.index(label) for _, label in rows] for name, rows in parts.items()}
    model = PetitionModel(load_encoder(directory, config.dropout), {"label": len(labels)}, config.dropout)
    optimiser = torch.optim.AdamW(
        parameter_groups(model, config.learning_rate, config.layer_decay, config.learning_rate * 5, 0.01), fused=True
    )
    steps = math.ceil(len(ids["train"]) / config.batch_size) * config.epochs
    step, started = 0, time.monotonic()
    for epoch in range(config.epochs):
        model.train()
        lengths = [len(row) for row in ids["train"]]
        for batch in batches(lengths, config.batch_size, generator, pool=30):
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * linear(step / steps, 0.1)
            matrix, mask = pad([ids["train"][i] for i in batch])
            with autocast():
                logits = model(matrix, mask)[0].float()
            loss = functional.cross_entropy(logits, torch.tensor([truth["train"][i] for i in batch]))
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1
        log.info("seed %d epoch %d of %d, %.0f s", seed, epoch + 1, config.epochs, time.monotonic() - started)
    guess = _predict(model, ids["test"])
    per_class = f1_score(truth["test"], guess, average=None, labels=range(len(labels)))
    return {
        "seed": seed,
        "test": len(guess),
        "accuracy": round(float(accuracy_score(truth["test"], guess)), 4),
        "macro_f1": round(float(f1_score(truth["test"], guess, average="macro")), 4),
        "weighted_f1": round(float(f1_score(truth["test"], guess, average="weighted")), 4),
        "f1": {label: round(float(value), 4) for label, value in zip(labels, per_class, strict=True)},
    }


@torch.inference_mode()
def _predict(model: PetitionModel, rows: list[list[int]]) -> list[int]:
    model.eval()
    guess = np.zeros(len(rows), dtype=int)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), 64):
        batch = order[start : start + 64]
        guess[batch] = model(*pad([rows[i] for i in batch]))[0].argmax(1).numpy()
    result: list[int] = guess.tolist()
    return result
