"""The machine: what it is, and the work by which its speed is told."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mspr_ros.backends.processor import num_usable_cores, processor_flags, processor_name

MATRIX_SIZE = 1024
MATRIX_FLOP = 2 * MATRIX_SIZE**3
COPY_BYTES = 128 * 2**20  # beyond every cache; a copy reads and writes it
_TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16")


def describe_machine(device: torch.device, num_threads: int) -> dict[str, Any]:
    """Tell what the measurement ran on."""
    flags = processor_flags()
    return {
        "processor": processor_name(),
        "instructions": [flag for flag in _TELLING_FLAGS if flag in flags],
        "cores": num_usable_cores(),
        "threads": num_threads,
        "load_at_start": os.getloadavg()[0],
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def matrix_product(dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    """Give a function of `MATRIX_FLOP` operations."""
    first, second = (
        torch.randn(MATRIX_SIZE, MATRIX_SIZE, device=device).to(dtype) for _ in range(2)
    )
    out = torch.empty_like(first)
    return lambda: torch.mm(first, second, out=out)


def memory_copy(device: torch.device) -> Callable[[], object]:
    """Give a function that moves 2 x `COPY_BYTES` through memory."""
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def count_flop(function: Callable[[], object]) -> int:
    """Count the floating-point operations of a function's products and convolutions."""
    # The counter does not know the CPU's fused attention: let it see the products inside.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops())
