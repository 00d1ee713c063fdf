"""A category that the model has never seen, learnt by the quick path from 30 petitions.

    python -m tests.benchmarks.new_category --run runs/new_category

`datasets/samples/tourism` has 30 petitions to learn from and 70 held-out ones of `tourism_services`. What our own petitions say of
tourism under other labels is left out of every side, so that 30 is the number; with `--relabel` it is given the new label
instead, as an engineer would. Printed: the new category on the held-out petitions and our test set together, what the other
categories lost or won, and the minutes.
"""

import argparse
import json
import math
import shutil
import time
from dataclasses import asdict
from pathlib import Path

import yaml

from nlp_service.encoder import Runtime
from nlp_service.live import wilson
from nlp_service.pipeline import PetitionClassifier
from nlp_service.taxonomy import load_taxonomy
from training.compare import Case, compare_on
from training.data import read_petitions
from training.quick import QuickConfig, quick

ROOT = Path(__file__).resolve().parents[2]
CURRENT = ROOT / "models" / "current"
NEW = ROOT / "datasets" / "samples" / "tourism"


def data_with_new(directory: Path, label: str, relabel: bool) -> None:
    """Our petitions and the new ones, side by side."""
    about = set(json.loads((NEW / "about_tourism.json").read_bytes()))
    directory.mkdir(parents=True, exist_ok=True)
    for side in ("train", "dev", "test"):
        lines = (ROOT / "datasets" / "petitions" / f"{side}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        rows = [
            {**row, "category": label} if row["id"] in about else row
            for row in rows
            if relabel or row["id"] not in about
        ]
        new = (NEW / f"{side}.jsonl").read_text(encoding="utf-8").splitlines()
        kept = [json.dumps(row, ensure_ascii=False) for row in rows] + new
        (directory / f"{side}.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")


def taxonomy_with_new(file: Path) -> str:
    """Written to `file`; the id of the new category."""
    raw = yaml.safe_load((ROOT / "datasets" / "taxonomy.yaml").read_text(encoding="utf-8"))
    new = yaml.safe_load((NEW / "category.yaml").read_text(encoding="utf-8"))
    raw["issue_categories"].insert(-1, new)
    raw["version"] += "+tourism"
    file.write_text(yaml.safe_dump(raw, allow_unicode=True, sort_keys=False), encoding="utf-8")
    identity: str = new["id"]
    return identity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/new_category"))
    parser.add_argument("--relabel", action="store_true")
    parser.add_argument("--strength", type=float, default=math.inf, help="100: known labels are learnt anew as well")
    given = parser.parse_args()
    given.run.mkdir(parents=True, exist_ok=True)
    taxonomy_file, data = given.run / "taxonomy.yaml", given.run / ("relabelled" if given.relabel else "data")
    label = taxonomy_with_new(taxonomy_file)
    data_with_new(data, label, given.relabel)
    taxonomy = load_taxonomy(taxonomy_file)
    output = given.run / "model"
    shutil.rmtree(output, ignore_errors=True)
    config = QuickConfig(data=str(data), taxonomy=str(taxonomy_file), strength=given.strength)
    started = time.monotonic()
    quick(config, CURRENT, given.run, output, "new-category")
    print(f"quick path: {(time.monotonic() - started) / 60:.1f} min, {asdict(config)}")
    cases = [Case(petition) for petition in read_petitions(data / "test.jsonl", taxonomy)]
    candidate, current = (PetitionClassifier.load(model, Runtime.ONNXRUNTIME) for model in (output, CURRENT))
    report = compare_on(candidate, current, cases)
    new = report["new"][label]
    low, high = wilson(round(new["recall"] * new["count"]), new["count"])
    print(
        f"{label}: F1 {new['f1']}, precision {new['precision']}, recall {new['recall']} ({low:.2f} to {high:.2f}), "
        f"{new['count']} of {len(cases)} petitions"
    )
    macro = report["scores"]["macro_f1"]
    print(f"macro-F1 of the others: {macro['current']} -> {macro['candidate']}, interval {macro['interval']}")
    for name, row in sorted(report["categories"].items(), key=lambda item: item[1]["difference"]):
        low, high = row["interval"]
        print(
            f"  {name:32} {row['count']:4} {row['current']:.3f} -> {row['candidate']:.3f} {row['difference']:+.3f}"
            f" (95 % interval {low:+.3f} to {high:+.3f})"
        )


if __name__ == "__main__":
    main()
