"""Where a run's figures go beside its own directory: TensorBoard, MLflow. Named as transformers' `report_to`; none is needed.

Both take their own settings: TensorBoard none, MLflow its environment (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME …).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from nlp_service.errors import ErrorKind, PetitionError

Name = Literal["tensorboard", "mlflow"]
Log = Callable[[Mapping[str, float], int], None]
"""Figures by name, and the step that they belong to."""

MLFLOW_RUN = "mlflow_run"
"""File in the run directory: which of MLflow's runs a resumed one goes on with."""


@contextmanager
def opened(names: Sequence[Name], run: Path, config: Mapping[str, Any]) -> Iterator[Log]:
    """One function that logs to all of them. Raises PetitionError MISSING_EXTRA naming the library that is not there."""
    with ExitStack() as stack:
        logs = [stack.enter_context(_SINKS[name](run, config)) for name in names]

        def log(figures: Mapping[str, float], step: int) -> None:
            for each in logs:
                each(figures, step)

        yield log


@contextmanager
def _tensorboard(run: Path, config: Mapping[str, Any]) -> Iterator[Log]:
    _library("tensorboard")
    writer = import_module("torch.utils.tensorboard").SummaryWriter(run / "tensorboard")
    writer.add_text("config", str(dict(config)))

    def log(figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    try:
        yield log
    finally:
        writer.close()


@contextmanager
def _mlflow(run: Path, config: Mapping[str, Any]) -> Iterator[Log]:
    mlflow = _library("mlflow")
    noted = run / MLFLOW_RUN
    known = noted.read_text(encoding="ascii") if noted.exists() else None
    with mlflow.start_run(run_id=known, run_name=None if known else run.name) as active:
        if known is None:
            mlflow.log_params(dict(config))
            noted.write_text(active.info.run_id, encoding="ascii")
        yield lambda figures, step: mlflow.log_metrics(dict(figures), step=step)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        message = f"report_to names {name}, which is not installed; pip install {name}, or take it out of the TOML"
        raise PetitionError(ErrorKind.MISSING_EXTRA, message, module=name) from error


_SINKS = {"tensorboard": _tensorboard, "mlflow": _mlflow}
