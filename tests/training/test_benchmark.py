import json
from pathlib import Path

from tests.training.conftest import make_petitions
from training.benchmark import BenchmarkConfig, read_rows, run_benchmark


def test_scores_of_a_public_set(tmp_path: Path, encoder_dir: Path) -> None:
    for name, count, start in (("train", 60, 0), ("dev", 6, 60), ("test", 24, 66)):
        rows = [
            {"text": petition.text, "labels": {"urgent": petition.urgency == "emergency", "level": petition.urgency}}
            for petition in make_petitions(count, start)
        ]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    assert read_rows(tmp_path / "test.jsonl", "labels.urgent")[0][1] == "False"
    config = BenchmarkConfig(tmp_path, "labels.level", epochs=5, batch_size=8, learning_rate=4e-3)
    report = run_benchmark(str(encoder_dir), config, seed=1, processes=1)
    assert report.keys() >= {"seed", "accuracy", "macro_f1", "weighted_f1", "f1"}
    assert report["test"] == 24
    assert report["f1"].keys() == {"emergency", "urgent", "normal", "low"}
    assert report["accuracy"] > 0.6
    assert run_benchmark(str(encoder_dir), config, seed=1, processes=1) == report
