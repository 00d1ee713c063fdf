"""Gates: what a candidate must fulfil to follow the current model, and the verdict that promotion reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict

from nlp_service.models import GATES_FILE, Gates
from training.files import replace_text
from training.provenance import now


@dataclass(frozen=True)
class GateLimits:
    """The TOML file has the same names. All are judged on the test petitions, none on `--real` ones, which are too few.

    Attributes:
        macro_f1_upper: the upper end of the 95 % interval of the difference in macro-F1 must not lie below it: at 0 a fall is
            refused when it is significant.
        category_fall: how far the F1 of a category may fall, the interval unregarded.
        category_cases: test petitions that a category must have to be judged.
        emergency_recall: share of the emergencies that must be called, by model or lexicon.
        ece: largest expected calibration error of the category.
        latency_ratio: largest time of a petition over the current model's.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    macro_f1_upper: float = 0.0
    category_fall: float = 0.05
    category_cases: int = 30
    emergency_recall: float = 0.95
    ece: float = 0.05
    latency_ratio: float = 1.1


def failures(test: dict[str, Any], latency: dict[str, float], limits: GateLimits) -> list[str]:
    """A sentence for each limit that is not kept, with value and limit; empty if all are.

    Args:
        test: the report of the test petitions, see `training.compare`.
    """
    scores, found = test["scores"], []
    macro = scores["macro_f1"]
    if macro["interval"] is not None and macro["interval"][1] < limits.macro_f1_upper:
        found.append(
            f"category macro-F1 fell from {macro['current']:.3f} to {macro['candidate']:.3f}, which is no chance: "
            f"{_change(macro)}, limit: an interval that reaches {limits.macro_f1_upper:+.3f}"
        )
    for label, row in test["categories"].items():
        if row["count"] >= limits.category_cases and -row["difference"] > limits.category_fall + 1e-9:
            found.append(
                f"category '{label}': F1 fell from {row['current']:.3f} to {row['candidate']:.3f} on {row['count']} "
                f"petitions, {_change(row)}, limit -{limits.category_fall:.3f}"
            )
    recall, cases = scores["emergency_recall"]["candidate"], test["emergencies"]
    if recall is None:
        found.append("no emergency is among the test petitions, so none can be missed: name a data set that has some")
    elif recall < limits.emergency_recall:
        found.append(
            f"emergency recall is {recall:.3f} ({cases['called']}/{cases['count']}), limit {limits.emergency_recall:.3f}"
        )
    ece = scores["ece"]["candidate"]
    if ece is not None and ece > limits.ece:
        found.append(f"category calibration error (ECE) is {ece:.3f}, limit {limits.ece:.3f}")
    if latency["ratio"] > limits.latency_ratio:
        found.append(
            f"a petition takes {latency['candidate_ms']:.1f} ms and took {latency['current_ms']:.1f} ms, "
            f"{latency['ratio']:.2f} times as long, limit {limits.latency_ratio:.2f}"
        )
    return found


def write_verdict(directory: Path, candidate: str, against: str, failed: list[str], data_sha256: str) -> Gates:
    """gates.json in the candidate's directory, replaced whole; `petitions models promote` reads it."""
    verdict = Gates(
        format=1,
        candidate=candidate,
        against=against,
        passed=not failed,
        failures=tuple(failed),
        data_sha256=data_sha256,
        at=now(),
    )
    replace_text(directory / GATES_FILE, verdict.model_dump_json(indent=1) + "\n")
    return verdict


def _change(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return f"{row['difference']:+.3f} (95 % interval {low:+.3f} to {high:+.3f})"
