"""How fast and which weights move."""

from __future__ import annotations

import math

import torch
from torch import nn

from mspr_ros.errors import ConfigError
from mspr_ros.network.backbone import Backbone
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.training.configuration import OptimizerConfig, TrainConfig


def learning_rate_at(
    config: OptimizerConfig, step: int, steps_per_epoch: int, num_steps: int
) -> float:
    """Give the learning rate of a step, counted from 0 over the whole run."""
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate *= 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / num_steps)))
    else:
        rate *= config.step_factor ** (step // steps_per_epoch // config.step_epochs)
    if config.warmup_steps > 0:
        rate *= min(1.0, (step + 1) / config.warmup_steps)
    return rate


def make_optimizer(config: OptimizerConfig, modules: list[nn.Module]) -> torch.optim.Optimizer:
    """Build the optimizer over all parameters of the modules that are trained."""
    parameters = [
        parameter
        for module in modules
        for parameter in module.parameters()
        if parameter.requires_grad
    ]
    optimizer = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return optimizer(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, eps=config.eps
    )


def freeze_backbone(network: PoseRegressor, config: TrainConfig) -> None:
    """Stop training the first stages of the backbone, as the configuration asks.

    Raises:
        ConfigError: If the backbone is not a stack of `blocks` with a stem.
    """
    if config.frozen_backbone_stages < 0:
        return
    body = network.backbone.body
    stem = [getattr(body, name, None) for name in ("conv_stem", "bn1")]
    blocks = getattr(body, "blocks", None)
    if None in stem or not isinstance(blocks, nn.Sequential):
        raise ConfigError(f"stages of backbone '{network.config.backbone}' cannot be frozen")
    for module in [*stem, *blocks.children()][: len(stem) + config.frozen_backbone_stages]:
        assert isinstance(module, nn.Module)
        module.requires_grad_(False)


def set_training_mode(network: PoseRegressor, config: TrainConfig) -> None:
    """Switch to training mode; batch norms that are frozen keep using their statistics."""
    network.train()
    if config.freeze_batch_norm:
        _freeze_batch_norm(network.backbone)


def _freeze_batch_norm(backbone: Backbone) -> None:
    for module in backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
