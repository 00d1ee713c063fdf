"""An evaluation a person can read: report.md with pictures, report.json beside it, and the model card's table."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HEAD_NAMES = {"category": "Category", "urgency": "Urgency", "petition_type": "Petition type"}


def percent(rate: dict[str, Any]) -> str:
    """`0.71 (53/75, 0.60 to 0.80)`, or a dash without cases."""
    if rate.get("value") is None:
        return "–"
    low, high = rate["interval"]
    count = f"{rate['hits']}/{rate['count']}" if "hits" in rate else f"n={rate['count']}"
    return f"{rate['value']:.3f} ({count}; {low:.2f} to {high:.2f})"


WORST_OF = 20
"""Petitions that a category must have in a set before its coverage is worth calling the worst."""

HINDSIGHT = (0.95, 0.97, 0.98, 0.99)


def share_at(report: dict[str, Any], precision: float) -> str:
    """The largest share on the curve that would have been routed with `precision`, or a dash."""
    shares = [point["share"] for point in report["curve"]["points"] if point["precision"] >= precision]
    return f"{max(shares):.3f}" if shares else "–"


def worst_coverage(sets: dict[str, Any]) -> str:
    """The category whose petitions the sets cover least, among those with WORST_OF petitions."""
    rates = {label: rate for label, rate in sets["classes"].items() if rate["count"] >= WORST_OF}
    if not rates:
        return "–"
    worst = min(rates, key=lambda label: rates[label]["value"])
    return f"{percent(rates[worst])} {worst}"


def summary_table(reports: dict[str, dict[str, Any]]) -> str:
    """Markdown: a row a score, a column a set; TF-IDF's figure below the model's."""

    def sets(show: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], str]:
        return lambda report: show(report["prediction_sets"]) if "prediction_sets" in report else "–"

    rows: list[tuple[str, Any]] = [
        ("Category top-1", lambda r: percent(r["category"]["top1"])),
        ("· TF-IDF + linear SVM", lambda r: percent(r["baseline"]["category"]["top1"]) if "baseline" in r else "–"),
        ("Category top-3", lambda r: percent(r["category"]["top3"])),
        ("· TF-IDF + linear SVM", lambda r: percent(r["baseline"]["category"]["top3"]) if "baseline" in r else "–"),
        ("Category macro-F1", lambda r: percent(r["category"]["macro_f1"])),
        ("· TF-IDF + linear SVM", lambda r: percent(r["baseline"]["category"]["macro_f1"]) if "baseline" in r else "–"),
        ("Category ECE", lambda r: f"{r['category']['ece']:.3f}"),
        ("Emergency recall", lambda r: percent(r["emergency"]["recall"])),
        ("· model alone", lambda r: percent(r["emergency"]["recall_model"])),
        ("· lexicon alone", lambda r: percent(r["emergency"]["recall_lexicon"])),
        ("Emergency precision", lambda r: percent(r["emergency"]["precision"])),
        ("· model alone", lambda r: percent(r["emergency"]["precision_model"])),
        ("· lexicon alone", lambda r: percent(r["emergency"]["precision_lexicon"])),
        ("Urgency macro-F1", lambda r: percent(r["urgency"]["macro_f1"])),
        ("Type macro-F1", lambda r: percent(r["petition_type"]["macro_f1"])),
        ("Type macro-F1, phản ánh = kiến nghị", lambda r: percent(r["petition_type"]["macro_f1_legal_types"])),
        ("Routed automatically", lambda r: percent(r["zones"]["auto"]["share"])),
        ("· right among them", lambda r: percent(r["zones"]["auto"]["top1"])),
        ("· stated", lambda r: "–" if r["curve"]["stated"] is None else f"{r['curve']['stated']:g}"),
        *(
            (f"· could be routed with {precision} right (curve, afterwards)", partial(share_at, precision=precision))
            for precision in HINDSIGHT
        ),
        ("Prediction sets: right category in them", sets(lambda s: percent(s["coverage"]))),
        ("· stated", sets(lambda s: f"{s['stated']:g}")),
        ("· mean number of categories", sets(lambda s: f"{s['mean_size']:.2f}")),
        ("· one category alone", sets(lambda s: percent(s["singletons"]))),
        (f"· worst category of {WORST_OF} petitions or more", sets(worst_coverage)),
        ("To a person first", lambda r: percent(r["zones"]["human"]["share"])),
        ("Top-1 without diacritics", lambda r: percent(r["variants"]["without_diacritics"])),
        ("Top-1 with typing slips", lambda r: percent(r["variants"]["typing_slips"])),
        ("Top-1 in capitals", lambda r: percent(r["variants"]["capitals"])),
        ("Top-1 decomposed Unicode", lambda r: percent(r["variants"]["decomposed_unicode"])),
    ]
    lines = ["| | " + " | ".join(reports) + " |", "|---|" + "---|" * len(reports)]
    lines += [f"| {name} | " + " | ".join(get(r) for r in reports.values()) + " |" for name, get in rows]
    return "\n".join(lines)


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
