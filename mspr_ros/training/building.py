"""Build what a run trains, from its configuration and its lesson."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.training.configuration import TrainConfig
from mspr_ros.training.initial_weights import WeightTransfer, load_initial_weights
from mspr_ros.training.lesson import Lesson
from mspr_ros.training.schedule import freeze_backbone, freeze_parts


def build_network(
    config: TrainConfig, lesson: Lesson, device: torch.device, *, resume: bool
) -> tuple[PoseRegressor, WeightTransfer | None]:
    """Build the network with the lesson's clusters, and freeze what is not trained.

    Args:
        config: Says its shape and where its weights begin.
        lesson: Says its scenes and clusters.
        device: Where to put it.
        resume: Whether a checkpoint brings its weights, so that none are looked for.

    Returns:
        The network, and what `initial_weights` gave it.
    """
    network = PoseRegressor(
        config=config.network,
        num_scenes=len(lesson.scenes),
        pretrained_backbone=config.pretrained_backbone and not resume,
    )
    network.position_centroids.copy_(torch.tensor(lesson.position_centroids))
    network.orientation_centroids.copy_(torch.tensor(lesson.orientation_centroids))
    if config.network.normalize_positions:
        network.position_units.copy_(torch.tensor(lesson.position_units))
    transfer = None
    if config.initial_weights and not resume:
        names = [info.name for info in lesson.scenes]
        transfer = load_initial_weights(network, names, Path(config.initial_weights))
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    freeze_backbone(network, config)
    freeze_parts(network, config)
    return network, transfer


def build_average(config: TrainConfig, network: PoseRegressor) -> AveragedModel | None:
    """Build the moving average of the network's weights, where the configuration asks for one."""
    if config.ema_decay == 0.0:
        return None
    average = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)
