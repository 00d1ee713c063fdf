"""A run that is killed for good, by the signal that no program can catch, and goes on."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.training.conftest import ROOT, Run
from training.fit import fit

# As the session's run: one thread, full precision.
PROGRAM = """
import json, logging, sys
from pathlib import Path
import torch
from training import precision
from training.fit import FitConfig, fit
torch.set_num_threads(1)
precision.has_bf16 = lambda: False
fit(FitConfig(**json.loads(sys.argv[1])), Path(sys.argv[2]))
"""


def test_sigkill_in_the_middle_changes_nothing(tmp_path: Path, run: Run) -> None:
    arguments = [sys.executable, "-c", PROGRAM, json.dumps(asdict(run.config)), str(tmp_path)]
    process = subprocess.Popen(arguments, cwd=ROOT)
    state = tmp_path / "checkpoint" / "state.json"
    deadline = time.monotonic() + 300
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "run.json").exists(), "it was killed before its end"
    kept = next(place for place in (state, tmp_path / "checkpoint.old" / "state.json") if place.exists())
    done = len(json.loads(kept.read_text())["history"])
    assert 0 < done < run.config.epochs
    summary = fit(run.config, tmp_path)
    assert summary["history"] == run.summary["history"]
    found, expected = load_file(tmp_path / "model.safetensors"), load_file(run.directory / "model.safetensors")
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
