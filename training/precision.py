"""bf16 where the CPU multiplies it in hardware (twice as fast there), fp32 elsewhere (bf16 would be emulated: 15 times slower)."""

from functools import cache
from pathlib import Path

import torch


@cache
def has_bf16() -> bool:
    """Whether this CPU has bf16 instructions (AVX512-BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def autocast() -> torch.autocast:
    """Matrix products inside run in bf16 if the CPU has it; weights, sums and losses stay in fp32."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_bf16())
