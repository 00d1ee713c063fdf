"""What each choice of the fine-tuning is worth: the shipped config with one of them taken away, on part of the petitions.

    nice python -m tests.benchmarks.choices --petitions 1200 --epochs 3 --run runs/choices

The network alone (no linear model, no lexicon, no calibration), our own test petitions as they are, without diacritics, and with
typing slips. Differences to the shipped config are paired, with 95 % bootstrap intervals over groups of petitions; another seed
shows what chance does. Finished runs in `--run` are not trained again.
"""

import argparse
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import f1_score

from nlp_service.reading import load_reader
from nlp_service.segment import UndertheseaSegmenter
from nlp_service.taxonomy import load_taxonomy
from nlp_service.text import strip_diacritics
from training.augment import slip
from training.data import Petition, read_petitions, write_petitions
from training.fit import FitConfig, _example, fit, load_run, pooled_logits
from training.toml_config import read_config

ROOT = Path(__file__).resolve().parents[2]
PETITIONS = ROOT / "datasets" / "petitions"
CHOICES: dict[str, dict[str, Any]] = {
    "shipped": {},
    "another seed": {"seed": 14},
    "no label smoothing": {"label_smoothing": 0.0},
    "classes weigh alike": {"balance": 0.0},
    "no copies without or with wrong marks": {"undiacritised": 0.0, "misread": 0.0},
    "no typing slips, no lower case": {"slips": 0.0, "lower": 0.0},
    "headings always there": {"headless": 0.0},
    "no secondary categories": {"secondary_weight": 0.0},
}
VARIANTS: dict[str, Callable[[str, random.Random], str]] = {
    "as written": lambda text, _: text,
    "without diacritics": lambda text, _: strip_diacritics(text),
    "typing slips": slip,
}
Ints = npt.NDArray[np.int64]


@torch.inference_mode()
def guesses(run: Path, texts: Sequence[str]) -> Ints:
    """The category of every text, by number."""
    model, summary = load_run(run)
    config = FitConfig(**summary["config"])
    reader = load_reader(
        run, UndertheseaSegmenter(), config.window, config.window_overlap, config.diacritics is not None
    )
    empty = Petition("", "", "", "", "")
    examples = [_example(empty, text, reader, config) for text in texts]
    order = sorted(range(len(examples)), key=lambda i: examples[i].length)
    found = np.zeros(len(texts), np.int64)
    for start in range(0, len(order), 32):
        batch = order[start : start + 32]
        logits = pooled_logits(model, [examples[i] for i in batch], list(summary["labels"]))
        found[batch] = logits["category"].argmax(1).numpy()
    return found


def interval(differences: npt.NDArray[np.float64], groups: Sequence[str]) -> tuple[float, float]:
    """95 % of the mean of `differences`, groups drawn anew."""
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    place = np.array([names[group] for group in groups])
    sums, counts = np.bincount(place, differences), np.bincount(place)
    drawn = np.random.default_rng(13).integers(0, len(names), (2_000, len(names)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--petitions", type=int, default=1_200)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--run", type=Path, default=Path("runs/choices"))
    given = parser.parse_args()
    run_root = given.run.absolute()
    os.chdir(ROOT)
    taxonomy = load_taxonomy(ROOT / "datasets" / "taxonomy.yaml")
    data = run_root / "data"
    data.mkdir(parents=True, exist_ok=True)
    for side, count in (("train", given.petitions), ("dev", 32)):
        rows = read_petitions(PETITIONS / f"{side}.jsonl", taxonomy)
        write_petitions(data / f"{side}.jsonl", random.Random(13).sample(rows, count))
    test = read_petitions(PETITIONS / "test.jsonl", taxonomy)
    labels = [category.id for category in taxonomy.categories]
    truth = np.array([labels.index(petition.category) for petition in test])
    groups = [petition.group for petition in test]
    draw = random.Random(13)
    texts = {name: [change(petition.text, draw) for petition in test] for name, change in VARIANTS.items()}
    base = replace(
        read_config(ROOT / "training" / "configs" / "petition.toml", FitConfig),
        data=str(data), epochs=given.epochs, linear=False,
    )  # fmt: skip
    shipped: dict[str, Ints] = {}
    for name, changes in CHOICES.items():
        directory = run_root / name.replace(" ", "_").replace(",", "")
        if not (directory / "run.json").exists():
            fit(replace(base, **changes), directory)
        told = []
        for variant, rows in texts.items():
            found = guesses(directory, rows)
            right = (found == truth).astype(float)
            line = f"{variant} {right.mean():.3f} (macro-F1 {f1_score(truth, found, average='macro'):.3f}"
            if name == "shipped":
                shipped[variant] = found
            else:
                change = right - (shipped[variant] == truth)
                low, high = interval(change, groups)
                line += f"; {change.mean():+.3f}, {low:+.3f} to {high:+.3f}"
            told.append(f"{line})")
        print(f"{name}: {'; '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
