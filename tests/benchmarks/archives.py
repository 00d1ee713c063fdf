"""`python -m tests.benchmarks.archives`: memory and time of `petitions label` on files of growing length.

    --rows 1000 100000 1000000 5000000   lengths of the CSV files
    --xlsx 200000                        rows of the workbook, in and out
    --model                              with the shipped model instead of one that answers at once

Without `--model` the figures are those of everything but the model: reading, places, repeats, state, writing. Texts are the
words of sentences of the repository's petitions in random order, so that every row is another one.
"""

import argparse
import csv
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlp_service.decision import Decision, Scored
from nlp_service.errors import PetitionError
from nlp_service.pipeline import Classification
from tests.benchmarks.bench import MODEL, ROOT, PeakMemory, cpu, sample

COLUMNS = ("STT", "Ngày nhận", "Người gửi", "Địa chỉ", "Nội dung", "Ghi chú")

RUN = """
import sys
from functools import partial
from pathlib import Path
from nlp_service.label import label_file
from tests.benchmarks.archives import at_once
fake = sys.argv[3] == "fake"
report = label_file(Path(sys.argv[1]), Path(sys.argv[2]), model=Path("models/current"), rules=Path("datasets"),
                    classify=at_once if fake else None)
print(report.rows, report.errors, report.repeats, report.seconds)
"""


def at_once(texts: Sequence[object]) -> list[Classification | PetitionError]:
    """The same answer to every petition."""
    label = Scored("other", "Khác", 0.9)
    decision = Decision(label, (label, label), Scored("normal", "Thường", 0.9), label, "auto", ())
    nothing = np.zeros(2, np.float32)
    return [Classification(decision, 1, "fake", "1", nothing, wording=str(text)) for text in texts]


def rows(count: int) -> Iterator[tuple[Any, ...]]:
    """Rows with petitions of the usual length."""
    texts = sample(2_000)
    sentences = [part for text in texts for part in re.split(r"(?<=[.!?])\s+", text) if len(part) > 30]
    lengths = [len(text) for text in texts]
    draw = random.Random(7)
    places = ["xã Hoằng Phong, huyện Hoằng Hóa", "phường Hạc Thành", "xã Thọ Xuân", "xã Nga Sơn", ""]
    for number in range(1, count + 1):
        text, wanted = "", draw.choice(lengths)
        while len(text) < wanted:
            words = draw.choice(sentences).split()
            draw.shuffle(words)
            text += " ".join(words) + " "
        yield number, f"{number % 28 + 1:02d}/03/2019", f"Người thứ {number}", draw.choice(places), text.strip(), ""


def write_csv(path: Path, count: int) -> None:
    """One CSV file."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(rows(count))


def write_xlsx(path: Path, count: int) -> None:
    """One workbook, with shared strings as Excel writes them."""
    import xlsxwriter

    with xlsxwriter.Workbook(str(path), {"constant_memory": False}) as workbook:
        sheet = workbook.add_worksheet()
        sheet.write_row(0, 0, COLUMNS)
        for number, row in enumerate(rows(count), 1):
            sheet.write_row(number, 0, row)


def measure(source: Path, output: Path, fake: bool) -> dict[str, Any]:
    """One run in a process of its own: seconds, and peak MB of all its processes."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(source), str(output), "fake" if fake else "model"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    memory = PeakMemory(process.pid)
    told, _ = process.communicate()
    peak = memory.stop()
    if process.returncode:
        raise SystemExit(f"labelling {source} failed")
    count, errors, repeats, _ = told.split()
    return {
        "rows": int(count),
        "errors": int(errors),
        "repeats": int(repeats),
        "seconds": round(time.monotonic() - started, 1),
        "peak_mb": round(peak),
        "input_mb": round(source.stat().st_size / 1e6, 1),
        "output_mb": round(output.stat().st_size / 1e6, 1),
    }


def main() -> None:
    """Print a line of JSON a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--xlsx", type=int, nargs="*", default=[])
    parser.add_argument("--model", action="store_true")
    arguments = parser.parse_args()
    print(f"machine: {cpu()}; {'model ' + MODEL.read_text().strip() if arguments.model else 'no model'}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for ending, write, counts in ((".csv", write_csv, arguments.rows), (".xlsx", write_xlsx, arguments.xlsx)):
            for count in counts:
                source, output = Path(folder) / f"in{ending}", Path(folder) / f"out{ending}"
                write(source, count)
                print(json.dumps({"file": ending, **measure(source, output, not arguments.model)}), flush=True)


if __name__ == "__main__":
    main()
