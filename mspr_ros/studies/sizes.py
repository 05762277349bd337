"""How many pictures every cell of a study may see, so that all of them fit into a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from mspr_ros.config import to_mapping
from mspr_ros.data.dataset import Dataset
from mspr_ros.errors import MsprError
from mspr_ros.studies.study import Cell
from mspr_ros.training import teaching
from mspr_ros.training.configuration import TrainConfig
from mspr_ros.training.samples import steps_per_epoch, with_epochs

RATE_SECONDS = 2.0  # of training, for every shape of network
# Against a training step, asking about a picture costs so much; a cell begins and ends in so long.
ASKING = 0.5
CELL_SECONDS = 4.0
# Whole epochs of small data may need so much more than the budget before that is an error.
OVER_BUDGET = 1.25


@dataclass(frozen=True)
class Sizes:
    """What each cell costs, as chosen when a study began.

    Args:
        images: Pictures for a cell of share 1, before they are made whole epochs.
        images_of: Pictures by cell's name, in whole epochs; 0 where nothing is trained.
        seconds: By cell's name.
        rates: Pictures a second by shape, as measured.
    """

    images: int
    images_of: dict[str, int]
    seconds: dict[str, float]
    rates: dict[str, float]


def for_length(config: TrainConfig, images: int) -> TrainConfig:
    """Fit a configuration to so many pictures: warm-up and averaging that a short run can bear.

    Warm-up takes a tenth of the steps at most, and the average reaches over a twentieth of them:
    made for thousands of steps, it would else consist of the untrained network.
    """
    steps = max(1, images // config.batch_size)
    optimizer = replace(
        config.optimizer, warmup_steps=min(config.optimizer.warmup_steps, steps // 10)
    )
    decay = min(config.ema_decay, max(0.0, 1.0 - 20.0 / steps))
    return replace(config, total_images=images, optimizer=optimizer, ema_decay=decay)


def shape_key(config: TrainConfig) -> str:
    """Name what decides how fast a network trains: all of it but seed, data and losses.

    Of the data the number of scenes counts, where the configuration names them.
    """
    values = to_mapping(config)
    names = ("network", "preprocess", "batch_size", "frozen_backbone_stages", "frozen_parts")
    kept = {name: values[name] for name in names}
    if config.scenes:
        kept["num_scenes"] = len(config.scenes)
    text = json.dumps(kept, sort_keys=True)
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
        MsprError: If the time is too short for whole epochs of all of them.
    """
    trained = [(cell, cell.config) for cell in cells if cell.config is not None]
    rates: dict[str, float] = {}
    _measure_rates(cells, rates, device, rate_seconds)
    fixed = sum(_fixed_seconds(cell, rates) for cell in cells)
    per_image = sum(cell.share / rates[shape_key(config)] for cell, config in trained)
    time_left = 60.0 * budget_minutes - fixed
    images = max(1, round(time_left / per_image)) if trained else 0
    sizes = Sizes(images, {}, {}, rates)
    add_sizes(cells, sizes, device, rate_seconds=rate_seconds)
    needed = sum(sizes.seconds.values()) / 60.0
    if needed > OVER_BUDGET * budget_minutes:
        raise MsprError(
            f"{budget_minutes:g} minutes are too few: an epoch of each of {len(trained)} networks "
            f"takes about {needed:.1f}; give --budget {needed:.1f}, fewer --seeds or --frames, or "
            "--quick"
        )
    return sizes


def add_sizes(
    cells: Sequence[Cell],
    sizes: Sizes,
    device: torch.device,
    *,
    rate_seconds: float = RATE_SECONDS,
) -> None:
    """Size cells that have no size yet: of a study that begins, or of one that is given more.

    Args:
        cells: Of the study; those with a size keep it.
        sizes: Added to.
        device: Where they train.
        rate_seconds: How long each shape without a rate is measured.
    """
    new = [cell for cell in cells if cell.name not in sizes.images_of]
    _measure_rates(new, sizes.rates, device, rate_seconds)
    for cell in new:
        images, seconds = 0, _fixed_seconds(cell, sizes.rates)
        if cell.config is not None:
            images = _whole_epochs(cell.config, round(cell.share * sizes.images))
            seconds += images / sizes.rates[shape_key(cell.config)]
        sizes.images_of[cell.name], sizes.seconds[cell.name] = images, round(seconds, 1)


def _measure_rates(
    cells: Sequence[Cell], rates: dict[str, float], device: torch.device, seconds: float
) -> None:
    """Measure the shapes that are not in `rates` yet."""
    for config in (cell.config for cell in cells if cell.config is not None):
        key = shape_key(config)
        if key not in rates:
            # A bundle that another cell has yet to make cannot be read, nor does it matter here.
            plain = replace(config, initial_weights="", image_cache="")
            rates[key], _ = teaching.measure_rate(plain, device, seconds)


def _whole_epochs(config: TrainConfig, images: int) -> int:
    """Give the pictures that a run of about so many comes to."""
    frames = _training_frames(config)
    epochs = with_epochs(replace(config, total_images=max(1, images)), frames).epochs
    return epochs * steps_per_epoch(frames, config.batch_size) * config.batch_size


def _training_frames(config: TrainConfig) -> int:
    """Count the frames that a configuration trains on, but for guards between its blocks."""
    count = 0
    for folder in config.datasets:
        for frame in Dataset.load(folder).select(split=config.train_split).frames:
            count += not config.scenes or frame.scene in config.scenes
    return round((1.0 - config.validation.fraction) * count)


def _fixed_seconds(cell: Cell, rates: dict[str, float]) -> float:
    """Give what a cell costs besides its training."""
    rate = rates[shape_key(cell.config)] if cell.config else min(rates.values(), default=20.0)
    return CELL_SECONDS * (cell.config is not None) + ASKING * cell.measured_frames / rate
