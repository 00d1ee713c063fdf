"""Model and optimiser state on disk as safetensors and JSON: no pickle, replaced in one step, so a kill loses nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file


def save(directory: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Write everything beside the old checkpoint, then put it in its place."""
    scratch = directory.with_name(directory.name + ".tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    save_file(
        {k: v.detach().contiguous().clone() for k, v in model.state_dict().items()}, scratch / "model.safetensors"
    )
    moments = {
        f"{index}.{name}": value.detach().clone().contiguous()
        for index, values in optimiser.state_dict()["state"].items()
        for name, value in values.items()
    }
    save_file(moments, scratch / "optimiser.safetensors")
    (scratch / "state.json").write_text(json.dumps(state), encoding="utf-8")
    old = directory.with_name(directory.name + ".old")
    if directory.exists():  # if not, a kill between the two renames left only the old one: it stays until the end
        shutil.rmtree(old, ignore_errors=True)
        directory.rename(old)
    scratch.rename(directory)
    shutil.rmtree(old, ignore_errors=True)


def load(directory: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Fill model and optimiser from the newest whole checkpoint; {} when there is none."""
    old = directory.with_name(directory.name + ".old")
    place = directory if directory.exists() else old
    if not place.exists():
        return {}
    model.load_state_dict(load_file(place / "model.safetensors"))
    layout = optimiser.state_dict()
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in load_file(place / "optimiser.safetensors").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": layout["param_groups"]})
    loaded: dict[str, Any] = json.loads((place / "state.json").read_text(encoding="utf-8"))
    return loaded
