"""How to make one answer of a long letter's windows: top-1 on dev and test letters for several poolings (docs/experiments.md).

Few petitions are longer than one window of 256, so smaller windows are measured too: they cut many letters into several.
"""

import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nlp_service.pipeline import PetitionClassifier
from nlp_service.text import check
from nlp_service.tokens import windows
from tests.benchmarks.bench import MODEL, ROOT

Floats = npt.NDArray[np.float32]


def _softmax(logits: Floats) -> Floats:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    result: Floats = e / e.sum(-1, keepdims=True)
    return result


POOLINGS: dict[str, Callable[[Floats], Floats]] = {
    "mean of logits": lambda rows: rows.mean(0),
    "mean of probabilities": lambda rows: _softmax(rows).mean(0),
    "largest logit": lambda rows: rows.max(0),
    "surest window": lambda rows: rows[_softmax(rows).max(1).argmax()],
    "first window": lambda rows: rows[0],
    "last window": lambda rows: rows[-1],
    "mean, last window twice": lambda rows: np.concatenate([rows, rows[-1:]]).mean(0),
}


def main() -> None:
    """Print a Markdown table."""
    classifier = PetitionClassifier.load(MODEL)
    manifest = classifier.bundle.manifest
    rows = [
        json.loads(line)
        for name in ("dev", "test")
        for line in (ROOT / f"datasets/petitions/{name}.jsonl").open(encoding="utf-8")
    ]
    heads = {"category": manifest.heads["category"].labels, "urgency": manifest.heads["urgency"].labels}
    print("| window, overlap | petitions in several windows | pooling | category top-1 | urgency top-1 |")
    print("|---|---|---|---|---|")
    for size, overlap in ((256, 64), (128, 32), (64, 16)):
        cut = []
        for row in rows:
            ids = classifier.reader.tokens.encode(
                classifier.reader.segmenter.segment(classifier.reader.wording(check(row["text"])))
            )
            pieces = windows(ids, size, overlap)
            if len(pieces) > 1:
                cut.append((row, classifier.encoder.run(pieces)))
        for name, pool in POOLINGS.items():
            right = {
                head: np.mean([labels[pool(outputs[head]).argmax()] == row[head] for row, outputs in cut])
                for head, labels in heads.items()
            }
            print(f"| {size}, {overlap} | {len(cut)} | {name} | {right['category']:.3f} | {right['urgency']:.3f} |")


if __name__ == "__main__":
    main()
