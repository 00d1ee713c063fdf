"""Fine-tune an encoder on labelled petitions: one TOML is one run, one run is one directory."""

import json
import logging
import math
import platform
import random
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers
from pydantic import ConfigDict
from safetensors.torch import load_file, save_file
from sklearn.metrics import f1_score
from torch.nn import functional

from nlp_service.diacritics import DIACRITICS_FILE
from nlp_service.emergency import LEXICON_FILE, load_lexicon
from nlp_service.linear import LINEAR_FILE
from nlp_service.reading import Reader, load_reader
from nlp_service.segment import UndertheseaSegmenter
from nlp_service.taxonomy import load_taxonomy
from nlp_service.text import normalise
from nlp_service.tokens import CODES_FILE, VOCABULARY_FILE
from training import checkpoint, provenance, sinks
from training.augment import Copies, vary
from training.batches import batches, linear
from training.data import Petition, digest
from training.linear import fit_linear
from training.model import PetitionModel, load_encoder, parameter_groups, resolve_encoder
from training.pooling import pad
from training.precision import autocast, device
from training.sets import read_sets
from training.targets import class_probabilities

log = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"

SAVED_EVERY = 600.0
"""Seconds of training that a kill may cost; the end of an epoch is saved too."""

FORECAST_AFTER = 50
"""Steps of a run's first epoch from which its time is told."""


@dataclass(frozen=True)
class FitConfig:
    """One run; the TOML file has the same names. Probabilities of the changed copies are a copy and an epoch.

    Attributes:
        data: directory with train.jsonl, dev.jsonl and test.jsonl, or several: see `training.sets`.
        diacritics: file of the restorer of marks that the model will be served with.
        lexicon: file of the emergency lexicon that goes with the model.
        linear: also train the linear model that stands beside the network.
        report_to: where the figures of every epoch also go: see `training.sinks`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    encoder: str
    data: str | list[str]
    taxonomy: str
    seed: int = 13
    epochs: int = 8
    batch_size: int = 16
    learning_rate: float = 2e-4
    head_rate: float = 1e-3
    layer_decay: float = 0.9
    weight_decay: float = 0.01
    warmup: float = 0.1
    dropout: float = 0.1
    label_smoothing: float = 0.05
    balance: float = 0.3
    urgency_weight: float = 0.6
    type_weight: float = 0.5
    secondary_weight: float = 0.15
    diacritics: str | None = None
    lexicon: str | None = None
    linear: bool = True
    undiacritised: float = 0.05
    misread: float = 0.15
    lower: float = 0.1
    slips: float = 0.1
    headless: float = 0.5
    window: int = 256
    window_overlap: int = 64
    max_windows: int = 4
    report_to: list[sinks.Name] = field(default_factory=list)


@dataclass(frozen=True)
class Example:
    """A petition as the network reads it: windows of ids."""

    windows: list[list[int]]
    petition: Petition

    @property
    def length(self) -> int:
        """Positions of the longest window."""
        return max(len(window) for window in self.windows)


def fit(config: FitConfig, run: Path) -> dict[str, Any]:
    """Train and leave weights, vocabulary, config, environment and history in `run`; goes on from its checkpoint."""
    run.mkdir(parents=True, exist_ok=True)
    taxonomy = load_taxonomy(Path(config.taxonomy))
    sides = read_sets(config.data, taxonomy)
    parts = {name: sides[name] for name in ("train", "dev")}
    asked = asdict(config) | {"petitions": {name: digest(rows) for name, rows in parts.items()}}
    settled = run / "config.json"
    if settled.exists() and json.loads(settled.read_text()) != asked:
        raise ValueError(f"{run} holds a run of another config or other petitions; give this one its own directory")
    settled.write_text(json.dumps(asked, indent=1))
    # Noted before training: files may change meanwhile.
    noted = {
        "started": provenance.started(run),
        "code": provenance.code().model_dump(),
        "data": provenance.petitions_used(config.data, sides),
    }
    directory = resolve_encoder(config.encoder)
    for name in (VOCABULARY_FILE, CODES_FILE):
        shutil.copyfile(directory / name, run / name)
    if config.diacritics:
        shutil.copyfile(config.diacritics, run / DIACRITICS_FILE)
    if config.lexicon:
        load_lexicon(Path(config.lexicon))
        shutil.copyfile(config.lexicon, run / LEXICON_FILE)
    shutil.copyfile(config.taxonomy, run / "taxonomy.yaml")
    segmenter = UndertheseaSegmenter()
    reader = load_reader(run, segmenter, config.window, config.window_overlap, config.diacritics is not None)
    labels = {head: [label.id for label in known] for head, known in taxonomy.heads.items()}
    torch.manual_seed(config.seed)
    model = PetitionModel(
        load_encoder(directory, config.dropout), {head: len(ids) for head, ids in labels.items()}, config.dropout
    )
    dev = [_example(p, p.text, reader, config) for p in parts["dev"]]
    with sinks.opened(config.report_to, run, asdict(config)) as report:
        history = _train(config, model, parts["train"], dev, labels, reader, run, report)
    if config.linear:
        fit_linear(
            [reader.wording(normalise(p.text)) for p in parts["train"]],
            parts["train"],
            labels,
            run / LINEAR_FILE,
            config.seed,
        )
    save_file({name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}, run / WEIGHTS)
    (run / "encoder_config.json").write_text(model.encoder.config.to_json_string(), encoding="utf-8")
    summary = {
        "config": asdict(config),
        "labels": labels,
        "encoder": _encoder_identity(config.encoder, directory),
        "segmenter": segmenter.version,
        **noted,
        "ended": provenance.now(),
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "history": history,
    }
    (run / "run.json").write_text(json.dumps(summary, ensure_ascii=False, indent=1), encoding="utf-8")
    return summary


def load_run(run: Path) -> tuple[PetitionModel, dict[str, Any]]:
    """The trained model and its summary, from a finished run directory."""
    summary: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    config = transformers.RobertaConfig.from_json_file(run / "encoder_config.json")
    encoder = transformers.RobertaModel(config, add_pooling_layer=False)
    model = PetitionModel(encoder, {head: len(ids) for head, ids in summary["labels"].items()})
    model.load_state_dict(load_file(run / WEIGHTS))
    return model.eval(), summary


def _encoder_identity(source: str, directory: Path) -> dict[str, Any]:
    card = directory / "encoder.json"
    return json.loads(card.read_text(encoding="utf-8")) if card.exists() else {"name": source}


def _example(petition: Petition, text: str, reader: Reader, config: FitConfig) -> Example:
    return Example(reader.windows(reader.wording(normalise(text)))[: config.max_windows], petition)


def _targets(
    examples: Sequence[Example], labels: dict[str, list[str]], secondary_weight: float
) -> dict[str, torch.Tensor]:
    """Class probabilities, (examples, classes), as `training.targets` gives them."""
    petitions = [example.petition for example in examples]
    return {
        head: torch.from_numpy(class_probabilities(petitions, head, ids, secondary_weight)).float()
        for head, ids in labels.items()
    }


def class_weights(petitions: Sequence[Petition], head: str, ids: list[str], power: float) -> torch.Tensor:
    """Rarer classes weigh more: (mean count / count) ** power, so 0 is no weighting and 1 is full balance."""
    counts = Counter(petition.label(head) for petition in petitions)
    mean = len(petitions) / len(ids)
    return torch.tensor([(mean / max(counts[label], 1)) ** power for label in ids]).clamp(0.3, 3.0)


def pooled_logits(model: PetitionModel, examples: Sequence[Example], heads: Sequence[str]) -> dict[str, torch.Tensor]:
    """Logits a petition: the mean over its windows, as serving pools them."""
    place = next(model.parameters()).device
    matrix, mask = pad([window for example in examples for window in example.windows])
    owner = torch.tensor([row for row, example in enumerate(examples) for _ in example.windows], device=place)
    outputs = model(matrix.to(place), mask.to(place))
    pooled = {}
    for head, logits in zip(heads, outputs, strict=False):
        total = logits.new_zeros(len(examples), logits.shape[1]).index_add(0, owner, logits)
        pooled[head] = total / torch.bincount(owner, minlength=len(examples)).unsqueeze(1)
    return pooled


def _train(
    config: FitConfig,
    model: PetitionModel,
    petitions: list[Petition],
    dev: list[Example],
    labels: dict[str, list[str]],
    reader: Reader,
    run: Path,
    report: sinks.Log,
) -> list[dict[str, float]]:
    place = device()
    model.to(place)
    groups = parameter_groups(model, config.learning_rate, config.layer_decay, config.head_rate, config.weight_decay)
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    weights = {head: class_weights(petitions, head, ids, config.balance).to(place) for head, ids in labels.items()}
    scale = {"category": 1.0, "urgency": config.urgency_weight, "petition_type": config.type_weight}
    state = checkpoint.load(run / "checkpoint", model, optimiser)
    history: list[dict[str, float]] = state.get("history", [])
    copies = Copies(config.undiacritised, config.misread, config.lower, config.slips, config.headless)
    steps_of_epoch = math.ceil(len(petitions) / config.batch_size)
    steps = steps_of_epoch * config.epochs
    step, total, seen = int(state.get("step", 0)), float(state.get("total", 0)), int(state.get("seen", 0))
    begun = len(history)
    for epoch in range(begun, config.epochs):
        # Everything random follows from the seed and the number of the epoch or step: a resumed run is the uninterrupted one.
        generator = random.Random(config.seed * 1000 + epoch)
        started = saved = time.monotonic()
        examples = [
            _example(
                p,
                vary(p.text, generator, copies, reader.diacritics),
                reader,
                config,
            )
            for p in petitions
        ]
        model.train()
        made = time.monotonic()
        order = batches([example.length for example in examples], config.batch_size, generator)
        for number, chosen in enumerate(order[step - epoch * steps_of_epoch :], start=1):
            torch.manual_seed(config.seed * 1_000_000 + step)
            batch = [examples[i] for i in chosen]
            rate = linear(step / steps, config.warmup)
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * rate
            with autocast(place):
                logits = {head: row.float() for head, row in pooled_logits(model, batch, list(labels)).items()}
            targets = _targets(batch, labels, config.secondary_weight)
            loss = torch.zeros((), device=place)
            for head in labels:
                loss = loss + scale[head] * functional.cross_entropy(
                    logits[head], targets[head].to(place), weights[head], label_smoothing=config.label_smoothing
                )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1
            if epoch == begun and number == FORECAST_AFTER:
                prepared = (made - started) / len(petitions)
                trained = (time.monotonic() - made) / (FORECAST_AFTER * config.batch_size)
                log.info(forecast(prepared + trained, config.epochs, len(petitions)))
            total += float(loss.detach()) * len(batch)
            seen += len(batch)
            if time.monotonic() - saved >= SAVED_EVERY:
                part = {"step": step, "history": history, "total": total, "seen": seen}
                checkpoint.save(run / "checkpoint", model, optimiser, part)
                saved = time.monotonic()
        scores = _dev_scores(model, dev, labels)
        history.append({"epoch": epoch + 1, "loss": total / seen, **scores})
        total, seen = 0.0, 0
        report(history[-1], step)
        log.info("epoch %d of %d, %.0f s: %s", epoch + 1, config.epochs, time.monotonic() - started, history[-1])
        checkpoint.save(run / "checkpoint", model, optimiser, {"step": step, "history": history})
    return history


def forecast(seconds: float, epochs: int, petitions: int) -> str:
    """How long training takes here, from the seconds that a petition takes in an epoch."""
    times = {count: seconds * epochs * count / 60 for count in (petitions, 5_000, 50_000)}
    told = ", ".join(f"{count:,} petitions {minutes:,.0f} min" for count, minutes in times.items())
    return f"about {1000 * seconds:.0f} ms a petition and epoch; {epochs} epochs of {told}"


@torch.inference_mode()
def _dev_scores(model: PetitionModel, dev: list[Example], labels: dict[str, list[str]]) -> dict[str, float]:
    model.eval()
    guesses: dict[str, list[int]] = {head: [] for head in labels}
    order = sorted(range(len(dev)), key=lambda i: dev[i].length)
    for start in range(0, len(dev), 32):
        batch = [dev[i] for i in order[start : start + 32]]
        for head, logits in pooled_logits(model, batch, list(labels)).items():
            guesses[head] += logits.argmax(1).tolist()
    scores = {}
    for head, ids in labels.items():
        truth = [ids.index(dev[i].petition.label(head)) for i in order]
        scores[f"{head}_accuracy"] = round(sum(a == b for a, b in zip(truth, guesses[head], strict=True)) / len(dev), 4)
        scores[f"{head}_macro_f1"] = round(float(f1_score(truth, guesses[head], average="macro")), 4)
    return scores
