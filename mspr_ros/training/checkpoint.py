"""The state of a training run on disk: written whole or not at all, read without pickled code."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mspr_ros.errors import CheckpointError


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


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; the old one stays until the new one is complete."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


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
