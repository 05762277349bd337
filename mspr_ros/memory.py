"""Tell a lack of memory from any other error."""

from __future__ import annotations

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
