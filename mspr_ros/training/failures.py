"""Say in one line what stopped a run, and keep what is needed to look into it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch
from safetensors import SafetensorError

from mspr_ros.device import is_out_of_memory
from mspr_ros.errors import MsprError
from mspr_ros.training.configuration import TrainConfig


class OutOfMemory(MsprError):
    """Tell that the memory did not suffice, and which settings to lower."""


class BadNumbers(MsprError):
    """Tell that the loss or a gradient is not finite, and where its batch is saved."""


@contextmanager
def told_in_one_line(config: TrainConfig, run: Path, device: torch.device) -> Iterator[None]:
    """Turn a lack of memory, and files that cannot be used, into errors with a remedy.

    Raises:
        OutOfMemory: With the settings to lower and their values.
        MsprError: If a file cannot be read or written.
    """
    try:
        yield
    except (MemoryError, RuntimeError, cv2.error) as error:
        if not is_out_of_memory(error):
            raise
        size = config.preprocess
        raise OutOfMemory(
            f"out of memory on {device}: lower batch_size (now {config.batch_size}), "
            f"preprocess.width and height (now {size.width}x{size.height}) or num_workers (now "
            f"{config.num_workers}), and start again"
        ) from None
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        path = getattr(error, "filename", None) or run
        raise MsprError(
            f"cannot read or write {path}: {reason}; free space or allow access, and go on with "
            "--resume"
        ) from None


def keep_bad_batch(
    run: Path, what: str, batch: object, circumstances: Mapping[str, Any], *, rank: int = 0
) -> BadNumbers:
    """Save the batch that broke a run and give the error that names it.

    The file is RUN/nan_batch.pt (of further processes nan_batch_RANK.pt), readable by
    `torch.load(path, weights_only=True)`.

    Args:
        run: The run folder.
        what: What is wrong.
        batch: As the loader gave it, a nested named tuple of tensors.
        circumstances: Plain values by name, among them `step`, `epoch` and `losses`.
        rank: Of this process.
    """
    path = run / (f"nan_batch_{rank}.pt" if rank else "nan_batch.pt")
    partial = path.with_name(path.name + ".partial")
    torch.save({"batch": _plain(batch), **_plain(dict(circumstances))}, partial)
    os.replace(partial, path)
    return BadNumbers(
        f"{what} in step {circumstances['step']} (epoch {circumstances['epoch']}; the loss is "
        f"{circumstances['losses']['total']}); the batch is saved in {path}; start a new run with "
        "a lower optimizer.learning_rate or with optimizer.gradient_clip_norm"
    )


def _plain(value: Any) -> Any:
    """Turn named tuples into dicts: the only classes that the safe reader knows."""
    if hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.cpu() if isinstance(value, torch.Tensor) else value
