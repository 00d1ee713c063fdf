import numpy as np
import pytest
import torch

from tests.training.conftest import sentences
from tests.training.e5s1 import TinyE5
from training import precision
from training.teacher import load_teacher


def test_bf16_reads_almost_what_fp32_reads(e5s1: TinyE5, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, lines = load_teacher(str(e5s1.path)), sentences(20)
    exact = teacher.embed(lines).astype(np.float32)
    monkeypatch.setattr(precision, "has_bf16", lambda: True)
    rough = teacher.embed(lines).astype(np.float32)
    assert not np.array_equal(exact, rough)
    assert ((exact * rough).sum(axis=1) > 0.999).all()


def test_weights_and_losses_stay_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda: True)
    layer = torch.nn.Linear(4, 3)
    with precision.autocast():
        inside = layer(torch.ones(2, 4))
    assert (inside.dtype, layer.weight.dtype) == (torch.bfloat16, torch.float32)
    inside.float().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32
