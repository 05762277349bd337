"""Where to compute, and whether there is room."""

from __future__ import annotations

import warnings

import torch

from mspr_ros.errors import ConfigError

_GPU_TEXTS = (
    "out of memory",  # torch's allocator, the CUDA driver
    "ALLOC_FAILED",  # cuBLAS, cuDNN
    "ALLOCATION_FAILED",
)
_CPU_TEXTS = (
    "can't allocate memory",  # torch's allocator
    "not enough memory",
    "Insufficient memory",  # OpenCV
)


def choose_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device that exists.

    A GPU that this torch was not built for is there but cannot compute: `auto` takes the CPU then,
    with a warning.

    Raises:
        ConfigError: If it does not exist.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() and _gpu_computes() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device '{name}', expected auto, cpu or cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"unknown device '{name}', expected auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device '{name}' asked for, but torch sees {torch.cuda.device_count()} CUDA devices; "
            "use auto or cpu"
        )
    return device


def _gpu_computes() -> bool:
    try:
        torch.ones(1, device="cuda").add_(1.0).item()
    except RuntimeError as error:
        if is_out_of_gpu_memory(error):
            return True  # it would, and whoever uses it has to tell
        reason = str(error).partition("\n")[0]
        warnings.warn(
            f"torch cannot compute on the GPU, so the CPU is used: {reason}", stacklevel=3
        )
        return False
    return True


def is_out_of_gpu_memory(error: BaseException) -> bool:
    """Tell a GPU without room, by torch's own error or that of a library it calls."""
    return isinstance(error, RuntimeError) and _has_any(error, _GPU_TEXTS)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell a lack of memory on the CPU or a GPU."""
    return (
        isinstance(error, MemoryError)
        or is_out_of_gpu_memory(error)
        or _has_any(error, _CPU_TEXTS)
    )


def _has_any(error: BaseException, texts: tuple[str, ...]) -> bool:
    return any(text in str(error) for text in texts)
