import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nlp_service.decision import pool_windows
from nlp_service.taxonomy import Taxonomy
from tests.training.conftest import Run, make_petitions
from training import fit as fit_module
from training.data import Petition, digest, read_petitions
from training.fit import Example, FitConfig, _targets, class_weights, fit, forecast, load_run, pooled_logits


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code under test catches it."""


def _weights(run: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load_file(run / "model.safetensors")
    return weights


def test_one_toml_is_one_result(tmp_path: Path, run: Run, fit_values: dict[str, Any]) -> None:
    file = tmp_path / "run.toml"
    file.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in fit_values.items()), encoding="utf-8")
    torch.manual_seed(99)  # what went on before must not matter
    again = fit(FitConfig(**tomllib.loads(file.read_text(encoding="utf-8"))), tmp_path / "run")
    assert again["history"] == run.summary["history"]
    for name, value in _weights(run.directory).items():
        assert torch.equal(_weights(tmp_path / "run")[name], value), name


def test_network_learns_the_stories(run: Run) -> None:
    first, *_, last = run.summary["history"]
    assert len(run.summary["history"]) == run.config.epochs
    assert last["loss"] < first["loss"]
    assert last["category_accuracy"] > 0.6
    assert last["urgency_accuracy"] > 0.6
    assert last["petition_type_accuracy"] > 0.6


def test_the_time_of_a_run_is_told_once_and_what_larger_ones_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fit_values: dict[str, Any]
) -> None:
    monkeypatch.setattr(fit_module, "FORECAST_AFTER", 5)
    with caplog.at_level("INFO", logger="training.fit"):
        fit(FitConfig(**{**fit_values, "epochs": 2}), tmp_path)
    told = [record.message for record in caplog.records if "50,000 petitions" in record.message]
    assert len(told) == 1 and "2 epochs of 96 petitions" in told[0]
    assert forecast(0.05, 6, 7_585) == (
        "about 50 ms a petition and epoch; 6 epochs of 7,585 petitions 38 min, 5,000 petitions 25 min, 50,000 petitions 250 min"
    )


def test_run_says_what_it_was_made_from(run: Run, petitions_dir: Path, taxonomy: Taxonomy) -> None:
    summary = json.loads((run.directory / "run.json").read_text(encoding="utf-8"))
    assert summary["labels"] == {head: [label.id for label in labels] for head, labels in taxonomy.heads.items()}
    for name in ("train", "dev"):
        petitions = read_petitions(petitions_dir / f"{name}.jsonl", taxonomy)
        assert summary["data"][name].items() >= {"count": len(petitions), "sha256": digest(petitions)}.items()
    assert summary["segmenter"].startswith("underthesea ")
    assert summary["environment"]["torch"] == torch.__version__
    assert summary["encoder"]["name"] == run.config.encoder
    model, loaded = load_run(run.directory)
    assert loaded == summary
    assert not model.training


@pytest.mark.parametrize("call", [14, 20], ids=["after an epoch", "within the next"])
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, call: int
) -> None:
    calls = 0
    original = fit_module.pooled_logits

    def dies(*args: Any) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        # 96 petitions in batches of 8, then 42 of the dev set in batches of 32: 14 calls an epoch.
        if calls == call + 1:
            raise Killed
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(fit_module, "pooled_logits", dies)
        with pytest.raises(Killed):
            fit(run.config, tmp_path)
    assert not (tmp_path / "run.json").exists()
    torch.manual_seed(5)
    summary = fit(run.config, tmp_path)
    assert summary["history"] == run.summary["history"]
    for name, value in _weights(run.directory).items():
        assert torch.equal(_weights(tmp_path)[name], value), name


def test_a_kill_costs_no_more_than_what_was_done_since_the_last_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setattr(fit_module, "SAVED_EVERY", 0.0)
    seeds: list[int] = []
    original, dying = torch.manual_seed, True

    def seeded(seed: int) -> torch.Generator:
        if seed >= run.config.seed * 1_000_000:
            seeds.append(seed - run.config.seed * 1_000_000)
            if dying and seeds[-1] == 17:
                raise Killed
        return original(seed)

    monkeypatch.setattr(torch, "manual_seed", seeded)
    with pytest.raises(Killed):
        fit(run.config, tmp_path)
    dying = False
    before = len(seeds)
    summary = fit(run.config, tmp_path)
    assert seeds[before:] == list(range(17, 12 * run.config.epochs))  # 96 petitions in batches of 8
    assert summary["history"] == run.summary["history"]
    for name, value in _weights(run.directory).items():
        assert torch.equal(_weights(tmp_path)[name], value), name


def test_a_finished_run_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    shutil.copytree(run.directory, tmp_path / "run")
    monkeypatch.setattr(fit_module, "batches", lambda *args: pytest.fail("trains again"))
    assert fit(run.config, tmp_path / "run")["history"] == run.summary["history"]


def test_a_run_of_another_config_is_refused(run: Run, fit_values: dict[str, Any]) -> None:
    before = {path: path.read_bytes() for path in run.directory.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="another config"):
        fit(FitConfig(**{**fit_values, "seed": 14}), run.directory)
    assert before == {path: path.read_bytes() for path in run.directory.rglob("*") if path.is_file()}


def test_a_run_of_other_petitions_is_refused(tmp_path: Path, run: Run, fit_values: dict[str, Any]) -> None:
    """Resuming on changed data would mix two data sets in one model."""
    shutil.copytree(run.directory, tmp_path / "run")
    data = tmp_path / "petitions"
    shutil.copytree(fit_values["data"], data)
    config = FitConfig(**{**fit_values, "data": str(data)})
    settled = json.loads((tmp_path / "run" / "config.json").read_text()) | {"data": str(data)}
    (tmp_path / "run" / "config.json").write_text(json.dumps(settled))
    assert fit(config, tmp_path / "run")["history"] == run.summary["history"]
    lines = (data / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (data / "train.jsonl").write_text("".join(lines[1:]), encoding="utf-8")
    with pytest.raises(ValueError, match="other petitions"):
        fit(config, tmp_path / "run")


def _petition(category: str, *secondary: str) -> Petition:
    return Petition("p", "Đường hỏng", category, "normal", "feedback", secondary=secondary)


def test_secondary_categories_share_their_weight() -> None:
    labels = {"category": ["a", "b", "c", "d"], "urgency": ["normal", "low"], "petition_type": ["other", "feedback"]}
    examples = [Example([[0, 2]], _petition(*names)) for names in (("a",), ("a", "b"), ("c", "a", "d"))]
    targets = _targets(examples, labels, secondary_weight=0.2)
    expected = [[1, 0, 0, 0], [0.8, 0.2, 0, 0], [0.1, 0, 0.8, 0.1]]
    torch.testing.assert_close(targets["category"], torch.tensor(expected))
    assert targets["urgency"].tolist() == [[1, 0]] * 3
    assert targets["petition_type"].tolist() == [[0, 1]] * 3
    assert _targets(examples, labels, 0.0)["category"].tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]


def test_rarer_classes_weigh_more() -> None:
    petitions = [_petition("a")] * 6 + [_petition("b")] * 3 + [_petition("c")] * 3
    ids = ["a", "b", "c"]
    torch.testing.assert_close(class_weights(petitions, "category", ids, 1.0), torch.tensor([4 / 6, 4 / 3, 4 / 3]))
    torch.testing.assert_close(
        class_weights(petitions, "category", ids, 0.5), torch.tensor([4 / 6, 4 / 3, 4 / 3]).sqrt()
    )
    assert class_weights(petitions, "category", ids, 0.0).tolist() == [1, 1, 1]
    # Neither a class with one petition nor one with none takes over the loss.
    extreme = class_weights([_petition("a")] * 500 + [_petition("b")], "category", ids, 1.0)
    assert extreme.tolist() == pytest.approx([1 / 3 * 501 / 500, 3, 3])


def test_class_weights_and_secondary_targets_reach_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit_values: dict[str, Any]
) -> None:
    seen: dict[str, list[float]] = {"secondary": [], "weights": []}
    targets, weights = fit_module._targets, fit_module.class_weights

    def spy_targets(examples: Any, labels: Any, secondary_weight: float) -> Any:
        seen["secondary"].append(secondary_weight)
        return targets(examples, labels, secondary_weight)

    def spy_weights(petitions: Any, head: str, ids: Any, power: float) -> Any:
        seen["weights"].append(power)
        return weights(petitions, head, ids, power)

    monkeypatch.setattr(fit_module, "_targets", spy_targets)
    monkeypatch.setattr(fit_module, "class_weights", spy_weights)
    fit(FitConfig(**{**fit_values, "epochs": 1, "batch_size": 48, "secondary_weight": 0.4, "balance": 0.7}), tmp_path)
    assert set(seen["secondary"]) == {0.4}
    assert seen["weights"] == [0.7, 0.7, 0.7]


@torch.inference_mode()
def test_windows_are_pooled_as_serving_pools_them(run: Run) -> None:
    model, _ = load_run(run.directory)
    petition = make_petitions(1)[0]
    examples = [
        Example([[0, 9, 30, 31, 2], [0, 31, 44, 2], [0, 44, 45, 46, 2]], petition),
        Example([[0, 12, 2]], petition),
        Example([[0, 25, 26, 2], [0, 26, 2]], petition),
    ]
    pooled = pooled_logits(model, examples, ["category", "urgency", "petition_type"])
    for index, head in enumerate(pooled):
        for row, example in enumerate(examples):
            alone = [
                model(torch.tensor([w]), torch.ones(1, len(w), dtype=torch.long))[index][0] for w in example.windows
            ]
            expected = pool_windows(np.stack([logits.numpy() for logits in alone]))
            np.testing.assert_allclose(pooled[head][row].numpy(), expected, atol=1e-5)
