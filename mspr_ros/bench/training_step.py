"""Whole training steps (forward, loss, backward, optimizer) on random pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from mspr_ros.bench.stages import PAPER_SCENES, Stage
from mspr_ros.network.losses import PoseCriterion
from mspr_ros.network.regressor import PoseRegressor, Selection
from mspr_ros.training.configuration import TrainConfig, load_train_config
from mspr_ros.training.distributed import GradedNetwork
from mspr_ros.training.schedule import make_optimizer, set_training_mode


def training_stages(path: Path, device: torch.device) -> dict[str, Stage]:
    """Give one training step of a configuration, dropping weights or whole keys."""
    config = load_train_config(path)
    kinds: tuple[Literal["weights", "keys"], ...] = ("weights", "keys")
    return {
        f"training step, {dropped} dropped": Stage(
            make_step(config, dropped, device), config.batch_size
        )
        for dropped in kinds
    }


def make_step(
    config: TrainConfig,
    dropped: Literal["weights", "keys"],
    device: torch.device,
    *,
    half: bool = False,
) -> Callable[[], None]:
    """Give a function that takes one training step.

    Args:
        config: Of the training.
        dropped: What dropout inside attention drops: `weights` or `keys`.
        device: Where to train.
        half: In bf16.
    """
    torch.manual_seed(0)
    shape = dataclasses.replace(config.network, attention_dropout=dropped)
    network = PoseRegressor(config=shape, num_scenes=PAPER_SCENES)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    criterion = PoseCriterion(config.loss).to(device)
    graded = GradedNetwork(network, criterion, half=half)
    optimizer = make_optimizer(config.optimizer, [graded])
    set_training_mode(network, config)
    count = config.batch_size
    images = torch.randn(count, 3, config.preprocess.height, config.preprocess.width)
    images = images.to(device, memory_format=torch.channels_last)
    scene = torch.arange(count, device=device) % PAPER_SCENES
    gt = Selection(scene, torch.zeros_like(scene), torch.zeros_like(scene))
    position = torch.randn(count, 3, device=device)
    orientation = torch.nn.functional.normalize(torch.randn(count, 4, device=device), dim=1)

    def step() -> None:
        loss = graded(images, position, orientation, gt)["total"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step
