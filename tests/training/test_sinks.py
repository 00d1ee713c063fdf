"""TensorBoard by its real library; MLflow, which is too heavy for the tests, by its own calls on a stand-in."""

import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nlp_service.errors import ErrorKind, PetitionError
from training import sinks
from training.fit import FitConfig, fit


def test_every_epoch_is_in_tensorboard(tmp_path: Path, fit_values: dict[str, Any]) -> None:
    history = fit(FitConfig(**{**fit_values, "epochs": 2, "report_to": ["tensorboard"]}), tmp_path)["history"]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([row["loss"] for row in history])
    assert [event.step for event in events.Scalars("category_macro_f1")] == [12, 24]


class Mlflow:
    def __init__(self) -> None:
        self.metrics: list[tuple[str, dict[str, float], int]] = []
        self.params: list[dict[str, Any]] = []
        self.active = ""

    @contextmanager
    def start_run(self, run_id: str | None, run_name: str | None) -> Any:
        assert (run_id is None) != (run_name is None)
        self.active = run_id or f"id of {run_name}"
        yield SimpleNamespace(info=SimpleNamespace(run_id=self.active))

    def log_params(self, params: dict[str, Any]) -> None:
        self.params.append(params)

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics.append((self.active, metrics, step))


def test_a_resumed_run_is_one_run_of_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    for step in (12, 24):
        with sinks.opened(["mlflow"], tmp_path, {"seed": 13}) as log:
            log({"loss": 1 / step}, step)
    name = f"id of {tmp_path.name}"
    assert mlflow.metrics == [(name, {"loss": 1 / 12}, 12), (name, {"loss": 1 / 24}, 24)]
    assert mlflow.params == [{"seed": 13}]


def test_a_library_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(PetitionError, match="pip install mlflow") as caught, sinks.opened(["mlflow"], tmp_path, {}):
        pass
    assert caught.value.kind is ErrorKind.MISSING_EXTRA
