"""An evaluation a person can read: report.md with pictures, report.json beside it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from training.score_table import percent, summary_table

HEAD_NAMES = {"category": "Category", "urgency": "Urgency", "petition_type": "Petition type"}


def write_report(
    reports: dict[str, dict[str, Any]], labels: Mapping[str, Sequence[str]], title: str, output: Path
) -> None:
    """report.json, report.md and its PNG files in `output`."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "report.json").write_text(json.dumps(reports, ensure_ascii=False, indent=1), encoding="utf-8")
    lines = [
        f"# {title}",
        "",
        "Rates with count and 95 % interval. Sets are reported apart.",
        "",
        summary_table(reports),
    ]
    for name, report in reports.items():
        slug = name.lower().replace(" ", "_").replace(",", "")
        lines += ["", f"## {name} ({report['count']} petitions)", ""]
        if report["registers"]:
            lines += ["| register | top-1 |", "|---|---|"]
            lines += [f"| {register} | {percent(value)} |" for register, value in report["registers"].items()]
        drawn = f"{slug}_curve.png"
        _draw_curve(report, name, output / drawn)
        lines += ["", "### When a person looks", "", f"![curve]({drawn})"]
        if found := report.get("prediction_sets"):
            lines += [
                "",
                f"Prediction sets, stated coverage {found['stated']}: seen {percent(found['coverage'])}, on average"
                f" {found['mean_size']:.2f} categories.",
                "",
                "| categories in the set | petitions |",
                "|---|---|",
                *(f"| {size} | {count} |" for size, count in found["sizes"].items()),
                "",
                "| category | its petitions covered |",
                "|---|---|",
                *(f"| {label} | {percent(rate)} |" for label, rate in found["classes"].items() if rate["count"]),
            ]
        for head, head_name in HEAD_NAMES.items():
            lines += ["", f"### {head_name}", "", "| class | precision | recall | F1 | n |", "|---|---|---|---|---|"]
            for label, scores in report[head]["classes"].items():
                if scores["count"]:
                    lines.append(
                        f"| {label} | {scores['precision']:.2f} | {scores['recall']:.2f} | {scores['f1']:.2f} | {scores['count']} |"
                    )
            confusion, reliability = f"{slug}_{head}_confusion.png", f"{slug}_{head}_reliability.png"
            _draw_confusion(report[head]["confusion"], labels[head], f"{name}: {head_name}", output / confusion)
            _draw_reliability(report[head]["reliability"], f"{name}: {head_name}", output / reliability)
            lines += ["", f"![confusion]({confusion})", f"![reliability]({reliability})"]
    (output / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _draw_confusion(matrix: list[list[int]], labels: Sequence[str], title: str, path: Path) -> None:
    size = max(3.5, 0.45 * len(labels) + 1.5)
    figure, axes = plt.subplots(figsize=(size + 1, size))
    shares = [[cell / max(sum(row), 1) for cell in row] for row in matrix]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_xlabel("answered")
    axes.set_ylabel("labelled")
    axes.set_title(title, fontsize=9)
    for i, row in enumerate(matrix):
        for j, cell in enumerate(row):
            if cell:
                axes.text(
                    j,
                    i,
                    str(cell),
                    ha="center",
                    va="center",
                    fontsize=6,
                    color="white" if shares[i][j] > 0.5 else "black",
                )
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_curve(report: dict[str, Any], title: str, path: Path) -> None:
    points, stated, auto = report["curve"]["points"], report["curve"]["stated"], report["zones"]["auto"]
    figure, axes = plt.subplots(figsize=(5, 4))
    axes.plot([p["share"] for p in points], [p["precision"] for p in points], marker=".", linewidth=1)
    if stated is not None:
        axes.axhline(stated, linestyle="--", color="grey", linewidth=1, label=f"stated {stated}")
    if auto["top1"]["value"] is not None:
        low, high = auto["top1"]["interval"]
        share, precision = auto["share"]["value"], auto["top1"]["value"]
        axes.errorbar(
            [share],
            [precision],
            # The interval is rounded: its end may lie a hair inside the rate.
            yerr=[[max(precision - low, 0)], [max(high - precision, 0)]],
            fmt="o",
            color="tab:red",
            capsize=3,
            label=f"working point: {share:.0%} routed, {precision:.3f} right",
        )
    axes.set_xlim(0, 1)
    axes.set_xlabel("share routed automatically")
    axes.set_ylabel("share right among them")
    axes.set_title(title, fontsize=9)
    axes.legend(fontsize=7, loc="lower left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_reliability(points: list[dict[str, float]], title: str, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(4, 4))
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey", linewidth=1)
    axes.plot([p["confidence"] for p in points], [p["accuracy"] for p in points], marker="o")
    for p in points:
        axes.annotate(
            str(int(p["count"])),
            (p["confidence"], p["accuracy"]),
            fontsize=7,
            xytext=(4, -8),
            textcoords="offset points",
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("stated probability")
    axes.set_ylabel("share right")
    axes.set_title(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
