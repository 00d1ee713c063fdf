"""What an explanation costs and whether it is true: time and positions by length, then faithfulness on dev petitions.

Faithfulness (DeYoung et al. 2020, ERASER, "comprehensiveness"): how far the probability of the category falls when the
three words that are shown first are left out of the text and the rest is classified anew, beside as many random words.
"""

import json
import random
import statistics
import time
from collections.abc import Iterable, Sequence

import numpy as np

from nlp_service.encoder import Runtime
from nlp_service.explain import Explanation, explain
from nlp_service.occlusion import Place
from nlp_service.pipeline import PetitionClassifier, Read
from nlp_service.text import WORD, check
from tests.benchmarks.bench import MODEL, ROOT, SIXTY, cpu

Text = str


def of_length(syllables: int, texts: Sequence[Text]) -> Text:
    """Petitions put one after the other up to `syllables`."""
    words = [word for text in texts for word in text.split()]
    return " ".join(words[:syllables])


def left_out(text: Text, places: Iterable[Place]) -> Text:
    """`text` without what stands at `places`."""
    for start, end in sorted(places, reverse=True):
        text = text[:start] + text[end:]
    return text


def speed(texts: Sequence[Text]) -> None:
    """Print a Markdown table; on a machine with other work the CPU time, of all threads together, tells more."""
    lengths = {f"{n} syllables": of_length(n, texts) for n in (12, 30, 60, 150, 300, 600, 900, 8_000)}
    print("| runtime | petition | windows | positions | of these to read it once | p50 ms | CPU ms |")
    print("|---|---|---|---|---|---|---|")
    for runtime in (Runtime.ONNXRUNTIME, Runtime.AUTO):
        classifier = PetitionClassifier.load(MODEL, runtime)
        explain(classifier, SIXTY)
        for name, text in {"the one of `make bench`": SIXTY, **lengths}.items():
            windows = classifier.tokenise(text)
            times, work = [], []
            for _ in range(15 if len(windows) < 10 else 3):
                started, busy = time.perf_counter(), time.process_time()
                explanation = explain(classifier, text)
                times.append((time.perf_counter() - started) * 1000)
                work.append((time.process_time() - busy) * 1000)
            once = sum(map(len, windows))
            print(
                f"| {classifier.encoder.name} | {name} | {len(windows)} | {explanation.positions} | {once} | "
                f"{statistics.median(times):.0f} | {statistics.median(work):.0f} |"
            )


def faithfulness(texts: Sequence[Text]) -> None:
    """Print means over `texts`."""
    classifier = PetitionClassifier.load(MODEL)
    spec = classifier.bundle.manifest.heads["category"]
    randoms = random.Random(0)

    def probability(text: Text, label: str) -> float:
        (read,) = classifier.read_many([text])
        assert isinstance(read, Read)
        scaled = read.logits["category"] / spec.temperature
        exponent = np.exp(scaled - scaled.max())
        return float((exponent / exponent.sum())[spec.labels.index(label)])

    falls: dict[str, list[float]] = {"three words shown first": [], "as many random words": []}
    turned: list[bool] = []
    for text in texts:
        shown = check(text)
        explanation: Explanation = explain(classifier, text)
        label = explanation.category.label.id
        places = [place for span in explanation.category.spans[:3] if span.weight > 0 for place in span.places]
        words = [match.span() for match in WORD.finditer(shown)]
        count = min(len(words), sum(len(shown[start:end].split()) for start, end in places))
        before = probability(shown, label)
        for name, gone in (("three words shown first", places), ("as many random words", randoms.sample(words, count))):
            rest = left_out(shown, gone)
            if any(map(str.isalnum, rest)):
                falls[name].append(before - probability(rest, label))
        if explanation.turning and explanation.turning.places:
            level = classifier.classify(left_out(shown, explanation.turning.places)).decision.urgency.id
            turned.append(level == explanation.turning.urgency.id)
    print(f"\n{len(texts)} dev petitions, fall of the category's probability:")
    for name, values in falls.items():
        print(f"- without the {name}: {np.mean(values):.3f} on average, {np.median(values):.3f} in the median")
    print(f"- what changes the urgency was found for {len(turned)}; classified anew it does for {sum(turned)}")


def main() -> None:
    """Print both."""
    rows = [json.loads(line) for line in (ROOT / "datasets/petitions/dev.jsonl").open(encoding="utf-8")]
    texts = [row["text"] for row in rows if any(map(str.isalnum, row["text"]))]
    random.Random(1).shuffle(texts)
    print(f"{cpu()}\n")
    speed(texts)
    faithfulness(texts[:120])


if __name__ == "__main__":
    main()
