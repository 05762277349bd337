"""How many pictures every cell of a study may see, so that all of them fit into a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from mspr_ros.config import to_mapping
from mspr_ros.errors import MsprError
from mspr_ros.studies.study import Cell
from mspr_ros.training.configuration import TrainConfig

RATE_SECONDS = 2.0  # of training, for every shape of network
# Against a training step, asking about a picture costs so much; a cell begins and ends in so long.
ASKING = 0.5
CELL_SECONDS = 4.0
# Steps that a network is worth training for.
FEWEST_STEPS = 4


@dataclass(frozen=True)
class Sizes:
    """Pictures for each trained cell of share 1, and the seconds that this comes to.

    Args:
        images: Pictures.
        seconds: By cell's name.
        rates: Pictures a second by shape, as measured.
    """

    images: int
    seconds: dict[str, float]
    rates: dict[str, float]

    def images_of(self, cell: Cell) -> int:
        """Give a cell's pictures; none where nothing is trained."""
        if cell.config is None:
            return 0
        return max(cell.config.batch_size, round(cell.share * self.images))


def shape_key(config: TrainConfig) -> str:
    """Name what decides how fast a network trains: all of it but seed, data and losses."""
    values = to_mapping(config)
    kept = ("network", "preprocess", "batch_size", "frozen_backbone_stages", "frozen_parts")
    text = json.dumps({key: values[key] for key in kept}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def choose_sizes(
    cells: Sequence[Cell],
    budget_minutes: float,
    device: torch.device,
    *,
    rate_seconds: float = RATE_SECONDS,
) -> Sizes:
    """Measure each shape's training rate, and share the budget out equally in pictures.

    Args:
        cells: Of the study.
        budget_minutes: For all of them together.
        device: Where they train.
        rate_seconds: How long each shape is measured.

    Raises:
        MsprError: If the time is too short for a few steps of each.
    """
    from mspr_ros.training.teaching import measure_rate

    trained = [(cell, cell.config) for cell in cells if cell.config is not None]
    rates: dict[str, float] = {}
    for _, config in trained:
        key = shape_key(config)
        if key not in rates:
            # A bundle that another cell has yet to make cannot be read, nor does it matter here.
            rates[key], _ = measure_rate(
                replace(config, initial_weights="", image_cache=""), device, rate_seconds
            )
    fixed = sum(_fixed_seconds(cell, rates) for cell in cells)
    per_image = sum(cell.share / rates[shape_key(config)] for cell, config in trained)
    images = round((60.0 * budget_minutes - fixed) / per_image) if trained else 0
    fewest = FEWEST_STEPS * max((config.batch_size for _, config in trained), default=0)
    if images < fewest:
        needed = (fixed + fewest * per_image) / 60.0
        raise MsprError(
            f"{budget_minutes:g} minutes are too few for {len(trained)} networks; give at least "
            f"--budget {needed:.1f}, fewer --seeds, or --quick"
        )
    sizes = Sizes(images, {}, rates)
    for cell in cells:
        config_seconds = 0.0
        if cell.config is not None:
            config_seconds = sizes.images_of(cell) / rates[shape_key(cell.config)]
        sizes.seconds[cell.name] = round(config_seconds + _fixed_seconds(cell, rates), 1)
    return sizes


def _fixed_seconds(cell: Cell, rates: dict[str, float]) -> float:
    """Give what a cell costs besides its training."""
    rate = rates[shape_key(cell.config)] if cell.config else min(rates.values(), default=20.0)
    return CELL_SECONDS * (cell.config is not None) + ASKING * cell.measured_frames / rate
