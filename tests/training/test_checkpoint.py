import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from training import checkpoint


def _new() -> tuple[torch.nn.Module, torch.optim.AdamW]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.LayerNorm(8), torch.nn.Linear(8, 2))
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return model, torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.98), fused=True)


def _steps(model: torch.nn.Module, optimiser: torch.optim.AdamW, numbers: range) -> None:
    for number in numbers:
        inputs = torch.randn(3, 4, generator=torch.Generator().manual_seed(number))
        optimiser.zero_grad()
        model(inputs).square().mean().backward()
        optimiser.step()


def test_training_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    model, optimiser = _new()
    _steps(model, optimiser, range(5))
    checkpoint.save(tmp_path / "checkpoint", model, optimiser, {"step": 5, "history": [{"loss": 0.5}]})
    _steps(model, optimiser, range(5, 10))

    resumed, its_optimiser = _new()
    state = checkpoint.load(tmp_path / "checkpoint", resumed, its_optimiser)
    assert state == {"step": 5, "history": [{"loss": 0.5}]}
    _steps(resumed, its_optimiser, range(5, 10))

    for name, value in model.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    # All of AdamW's moments and step counts, parameter by parameter.
    ours, theirs = its_optimiser.state_dict(), optimiser.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys() == set(range(6))
    for index, values in theirs["state"].items():
        assert values.keys() == {"step", "exp_avg", "exp_avg_sq"}
        for name, value in values.items():
            assert torch.equal(ours["state"][index][name], value), (index, name)


def test_nothing_there_is_a_fresh_start(tmp_path: Path) -> None:
    model, optimiser = _new()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert checkpoint.load(tmp_path / "checkpoint", model, optimiser) == {}
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_new_checkpoint_replaces_the_old_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    model, optimiser = _new()
    for step in (1, 2, 3):
        _steps(model, optimiser, range(step, step + 1))
        checkpoint.save(tmp_path / "checkpoint", model, optimiser, {"step": step})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert checkpoint.load(tmp_path / "checkpoint", *_new()) == {"step": 3}


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code under test catches it."""


def _killed_at(call: int | None, patch: pytest.MonkeyPatch) -> None:
    """The process dies just before it changes the disk for the `call`-th time."""
    calls = 0

    def wrap(function: object) -> object:
        def wrapped(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls == call:
                raise Killed
            return function(*args, **kwargs)  # type: ignore[operator]

        return wrapped

    patch.setattr(Path, "rename", wrap(Path.rename))
    patch.setattr(Path, "mkdir", wrap(Path.mkdir))
    patch.setattr(Path, "write_text", wrap(Path.write_text))
    patch.setattr(shutil, "rmtree", wrap(shutil.rmtree))
    patch.setattr(checkpoint, "save_file", wrap(checkpoint.save_file))


@pytest.mark.parametrize("first", range(1, 10))
def test_killed_anywhere_a_whole_checkpoint_is_left(tmp_path: Path, first: int) -> None:
    """Also when the run that went on after the first kill is killed in its own first save."""
    model, optimiser = _new()
    _steps(model, optimiser, range(1))
    for second in (None, *range(1, 10)):
        place = tmp_path / str(second) / "checkpoint"
        checkpoint.save(place, model, optimiser, {"step": 1})
        for call in (first, second):
            with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
                _killed_at(call, patch)
                checkpoint.save(place, model, optimiser, {"step": 2})
        found, its_optimiser = _new()
        assert checkpoint.load(place, found, its_optimiser) in ({"step": 1}, {"step": 2}), second
        assert all(torch.equal(value, found.state_dict()[name]) for name, value in model.state_dict().items())
        checkpoint.save(place, model, optimiser, {"step": 3})
        assert checkpoint.load(place, *_new()) == {"step": 3}


def test_state_on_disk_is_plain_json(tmp_path: Path) -> None:
    model, optimiser = _new()
    checkpoint.save(tmp_path / "checkpoint", model, optimiser, {"step": 0, "history": []})
    files = sorted(path.name for path in (tmp_path / "checkpoint").iterdir())
    assert files == ["model.safetensors", "optimiser.safetensors", "state.json"]
    assert json.loads((tmp_path / "checkpoint" / "state.json").read_text()) == {"step": 0, "history": []}
    assert checkpoint.load(tmp_path / "checkpoint", *_new()) == {"step": 0, "history": []}
