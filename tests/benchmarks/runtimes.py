"""Which runtime serves best here: latency, throughput, size and agreement of each on the shipped model (docs/runtimes.md)."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nlp_service.bundle import resolve
from nlp_service.encoder import FLOAT_FILE, INT8_FILE, Encoder, OnnxEncoder, OpenVinoEncoder
from nlp_service.pipeline import PetitionClassifier
from tests.benchmarks.bench import MODEL, SIXTY, cpu, sample


def candidates(directory: Path, threads: int) -> dict[str, Callable[[], Encoder]]:
    """Every pairing of runtime and file."""
    return {
        "ONNX Runtime, fp16 weights": lambda: OnnxEncoder(directory / FLOAT_FILE, threads),
        "ONNX Runtime, int8": lambda: OnnxEncoder(directory / INT8_FILE, threads),
        "OpenVINO, fp16 weights": lambda: OpenVinoEncoder(directory / FLOAT_FILE, threads),
        "OpenVINO on the int8 file": lambda: OpenVinoEncoder(directory / INT8_FILE, threads),
    }


def main() -> None:
    """Print a Markdown table."""
    directory = resolve(MODEL)
    classifier = PetitionClassifier.load(MODEL)
    one = classifier.tokenise(SIXTY)
    windows = [window for text in sample(200) for window in classifier.tokenise(text)]
    print(
        f"{cpu()}, 2 threads, {len(windows)} windows of {np.mean([len(w) for w in windows]):.0f} positions on average\n"
    )
    print("| runtime | one petition, p50 ms | windows/s | file MB | same category as fp32 | largest logit gap |")
    print("|---|---|---|---|---|---|")
    reference = None
    for name, open_it in candidates(directory, 2).items():
        encoder = open_it()
        encoder.run(windows[:16])
        times = []
        for _ in range(40):
            started = time.perf_counter()
            encoder.run(one)
            times.append((time.perf_counter() - started) * 1000)
        started = time.perf_counter()
        logits = encoder.run(windows)["category"]
        rate = len(windows) / (time.perf_counter() - started)
        reference = logits if reference is None else reference
        same = (logits.argmax(1) == reference.argmax(1)).mean()
        size = (directory / (INT8_FILE if "int8" in name else FLOAT_FILE)).stat().st_size / 1e6
        print(
            f"| {name} | {statistics.median(times):.1f} | {rate:.0f} | {size:.0f} | {same:.3f} | {np.abs(logits - reference).max():.2f} |"
        )


if __name__ == "__main__":
    main()
