"""Where to train and in what: bf16 where the hardware multiplies it (on such CPUs twice as fast), fp32 elsewhere (emulated it is 15
times slower)."""

from functools import cache
from pathlib import Path

import torch

CPU = torch.device("cpu")


@cache
def has_bf16() -> bool:
    """Whether this CPU has bf16 instructions (AVX512-BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def device() -> torch.device:
    """Where to train: the GPU, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(place: torch.device = CPU) -> torch.autocast:
    """Matrix products inside run in bf16 if the hardware has it; weights, sums and losses stay in fp32."""
    capable = torch.cuda.is_bf16_supported() if place.type == "cuda" else has_bf16()
    return torch.autocast(place.type, dtype=torch.bfloat16, enabled=capable)
