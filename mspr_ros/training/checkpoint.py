"""The state of a training run on disk: written whole or not at all, read without pickled code."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mspr_ros.config import to_mapping
from mspr_ros.device import is_out_of_memory
from mspr_ros.errors import CheckpointError
from mspr_ros.training.configuration import TrainConfig

# Settings that change how a run gets to its result, not the result.
_MAY_CHANGE = (
    "num_workers",
    "checkpoint_minutes",
    "datasets",
    "image_cache",
    "calibration",
    "checks",
    "clusters",  # what was chosen stands in the network's section, which may not change
)


@dataclass
class Progress:
    """How far a run has come.

    Args:
        epoch: The epoch under way, from 0.
        step: Steps done in it.
        loss_sums: Of its steps so far, by part of the loss.
        best_score: The lowest validation score so far.
        best_epoch: Where it was reached; -1 for not yet.
        history: One entry an epoch: losses and validation metrics.
    """

    epoch: int = 0
    step: int = 0
    loss_sums: dict[str, float] = field(default_factory=dict)
    best_score: float = float("inf")
    best_epoch: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class TrainingState:
    """All that a run has learned: what a checkpoint holds and an optimizer step changes.

    Random numbers are not among it: those of a step follow from its number.

    Args:
        network: Being trained.
        criterion: Its loss, with learned scales.
        optimizer: Of both.
        average: Of the network's weights, where there is one.
    """

    network: nn.Module
    criterion: nn.Module
    optimizer: torch.optim.Optimizer
    average: nn.Module | None

    def gather(self) -> dict[str, Any]:
        """Give everything as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "criterion": self.criterion.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `gather` gave."""
        self.network.load_state_dict(state["network"], strict=True)
        self.criterion.load_state_dict(state["criterion"], strict=True)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"], strict=True)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; the old one stays until the new one is complete and on the disk.

    Raises:
        CheckpointError: If there is no room for it, or the folder cannot be written; the old
            one is still there.
    """
    partial = path.with_suffix(".partial")
    try:
        with open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch's writer hides the system's error in its own
        if is_out_of_memory(error):
            raise
        cause = error if isinstance(error, OSError) else error.__context__
        reason = getattr(cause, "strerror", None) or "the disk may be full"
        with contextlib.suppress(OSError):
            partial.unlink()
        kept = "the one before is kept; " if path.exists() else ""
        raise CheckpointError(
            f"cannot write {path}: {reason}; {kept}free space or make the folder writable, and "
            "go on with --resume"
        ) from None


def check_same_run(
    path: Path, state: dict[str, Any], config: dict[str, Any], data_hash: str
) -> None:
    """Refuse a checkpoint of another run.

    A key that the checkpoint's configuration lacks, for it is older than the key, had its
    default.

    Args:
        path: Where it came from, for the message.
        state: The checkpoint.
        config: The configuration to go on with, as plain values.
        data_hash: Of the data to go on with.

    Raises:
        CheckpointError: If configuration or data differ in what changes the result.
    """
    before = _filled(state["config"], to_mapping(TrainConfig(datasets=("any",))))
    changed = [key for key in config if key not in _MAY_CHANGE and config[key] != before[key]]
    if changed:
        raise CheckpointError(
            f"{path} was made with another configuration ({', '.join(changed)} differ); "
            "resume with the same one or start a new run"
        )
    if state["data_hash"] != data_hash:
        raise CheckpointError(f"{path} was made from other data; start a new run")


def _filled(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Add to nested mappings what they lack of the defaults."""
    filled = {**defaults, **values}
    for key, default in defaults.items():
        if isinstance(default, dict) and isinstance(filled[key], dict):
            filled[key] = _filled(filled[key], default)
    return filled


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's tensors and plain values.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"there is nothing to resume: {path} does not exist") from None
    except Exception as error:  # zip, pickle and file errors all mean a damaged file
        raise CheckpointError(f"{path} is damaged: {str(error).splitlines()[0]}") from None
    return dict(state)
