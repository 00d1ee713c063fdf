"""A comparison of two models that a person can read: report.md, with report.json beside it."""

import json
from pathlib import Path
from typing import Any

SCORES = {
    "macro_f1": "Category macro-F1",
    "top1": "Category top-1",
    "ece": "Category ECE",
    "emergency_recall": "Emergency recall",
    "emergency_precision": "Emergency precision",
}
SETS = {"test": "Test petitions", "real": "Real petitions, not judged by the gates"}

_HEADER = ["candidate", "current", "difference", "95 % interval"]


def write_comparison(report: dict[str, Any], output: Path) -> None:
    """report.json and report.md in `output`, from what `training.compare.compare_models` returns."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (output / "report.md").write_text("\n".join(_lines(report)) + "\n", encoding="utf-8")


def _lines(report: dict[str, Any]) -> list[str]:
    latency = report["latency"]
    lines = [
        f"# {report['candidate']} beside {report['against']}",
        "",
        _summary(report),
        "",
        "Both models were read as the service reads them. Differences are candidate minus current; intervals are a paired",
        "bootstrap over groups (stories). An interval that holds 0 is compatible with chance.",
        "",
        *([f"- **{failure}**" for failure in report["failures"]] or ["All gates are passed."]),
        "",
        f"Latency: {latency['candidate_ms']:.1f} ms, current {latency['current_ms']:.1f} ms, ratio {latency['ratio']:.3f} (CPU time"
        f" of one petition on one thread, {latency['petitions']} petitions by turns).",
    ]
    for name, found in report["sets"].items():
        called = found["emergencies"]
        lines += [
            "",
            f"## {SETS[name]} ({found['count']} in {found['groups']} groups)",
            "",
            *_table("score", []),
            *(_row(title, [], found["scores"][score]) for score, title in SCORES.items()),
            "",
            f"Emergencies: {called['called']} of {called['count']} called, {called['called_before']} by the current model.",
            "",
            *_table("category, F1", ["n"]),
            *(_row(label, [row["count"]], row) for label, row in found["categories"].items()),
        ]
        for label, alone in found["new"].items():
            numbers = ", ".join(f"{part} {_number(alone[part])}" for part in ("precision", "recall", "f1"))
            lines += ["", f"Only the candidate knows `{label}`: {numbers} on {alone['count']} petitions."]
        lines += [
            "",
            *_table("slice, top-1", ["n"]),
            *(_row(title, [part["count"]], part["top1"]) for title, part in found["slices"].items()),
            "",
            *_table("slice, macro-F1", ["n"]),
            *(_row(title, [part["count"]], part["macro_f1"]) for title, part in found["slices"].items()),
        ]
    return lines


def _summary(report: dict[str, Any]) -> str:
    top = report["sets"]["test"]["scores"]["top1"]
    told = (
        f"đúng lĩnh vực ngay lần đầu {_number(top['candidate'])}, bản đang dùng {_number(top['current'])} "
        f"trên {report['sets']['test']['count']} đơn kiểm tra"
    )
    if report["passed"]:
        return f"**Đạt**: `{report['candidate']}` có thể thay `{report['against']}` ({told})."
    return f"**Không đạt** {len(report['failures'])} điều kiện: chưa thay `{report['against']}` ({told})."


def _table(first: str, more: list[str]) -> list[str]:
    columns = [first, *more, *_HEADER]
    return ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]


def _row(title: str, more: list[int], row: dict[str, Any]) -> str:
    interval = row["interval"]
    cells = [
        title,
        *map(str, more),
        _number(row["candidate"]),
        _number(row["current"]),
        _number(row["difference"], "+.3f"),
        "–" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)
