"""Tell a full disk or an unwritable folder before a run starts, not when it ends."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from mspr_ros.errors import ConfigError
from mspr_ros.training.configuration import TrainConfig

# TensorBoard, history and configuration, generously.
_SMALL_FILES_BYTES = 20_000_000


def run_sizes(network: nn.Module, config: TrainConfig) -> dict[str, int]:
    """Estimate what a run writes, in bytes by kind.

    Three checkpoints at a time: the last, the best, and the one being written beside the one that
    it replaces. Two bundles likewise.
    """
    weights = _num_bytes(network.state_dict().values())
    moments = 2 * _num_bytes(item for item in network.parameters() if item.requires_grad)
    average = weights if config.ema_decay > 0.0 else 0
    bundle = weights // 2 if config.half_precision_bundle else weights
    return {
        "checkpoints": 3 * (weights + moments + average),
        "bundle": 2 * bundle,
        "logs": _SMALL_FILES_BYTES,
    }


def check_disk(folder: Path, sizes: dict[str, int]) -> None:
    """Refuse a folder that cannot be written or has no room.

    Args:
        folder: It exists. What it holds already is written again, not beside.
        sizes: Bytes by kind.

    Raises:
        ConfigError: With what is needed and what is there.
    """
    probe = folder / f".writable-{uuid.uuid4().hex}"
    try:
        probe.touch()
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}") from None
    held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    needed = sum(sizes.values()) - held
    if needed > free:
        parts = ", ".join(f"{name} {readable(size)}" for name, size in sizes.items())
        raise ConfigError(
            f"{folder} has {readable(free)} free, but {readable(needed)} are needed ({parts}); "
            "free space or name another folder"
        )


def readable(num_bytes: int) -> str:
    """Write a size for people, in decimal units as disks are sold."""
    size = float(max(num_bytes, 0))
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000.0:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000.0
    return f"{size:.2f} TB"


def _num_bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
