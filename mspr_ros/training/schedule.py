"""How fast and which weights move."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from mspr_ros.errors import ConfigError
from mspr_ros.network.backbone import Backbone
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.training.checkpoint import Progress
from mspr_ros.training.configuration import OptimizerConfig, TrainConfig, ValidationConfig


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
        parameters,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        eps=config.eps,
        fused=True,
    )


def freeze_backbone(network: PoseRegressor, config: TrainConfig) -> None:
    """Stop training the first stages of the backbone, as the configuration asks.

    Raises:
        ConfigError: If the backbone is not a stack of `blocks` with a stem.
    """
    for module in _frozen_stages(network, config):
        module.requires_grad_(False)


def _frozen_stages(network: PoseRegressor, config: TrainConfig) -> list[nn.Module]:
    """Give the backbone's stem and first stages that are not trained; nothing where all are."""
    if config.frozen_backbone_stages < 0:
        return []
    body = network.backbone.body
    stem = [getattr(body, name, None) for name in ("conv_stem", "bn1")]
    blocks = getattr(body, "blocks", None)
    if None in stem or not isinstance(blocks, nn.Sequential):
        raise ConfigError(f"stages of backbone '{network.config.backbone}' cannot be frozen")
    modules = [*stem, *blocks.children()][: len(stem) + config.frozen_backbone_stages]
    return [module for module in modules if isinstance(module, nn.Module)]


def freeze_parts(network: PoseRegressor, config: TrainConfig) -> None:
    """Stop training whole modules of the network, as `frozen_parts` asks.

    A module within another is named with a dot, as in `position_transformer.encoder`.

    Raises:
        ConfigError: If the network has no such module, or nothing is left to train.
    """
    parts = {name: part for name, part in network.named_modules() if list(part.parameters())}
    unknown = [name for name in config.frozen_parts if name not in parts]
    if unknown:
        outer = [name for name in parts if name and "." not in name]
        raise ConfigError(
            f"frozen_parts names {', '.join(unknown)}, but the network's parts are: "
            f"{', '.join(outer)}, and what is in them"
        )
    for name in config.frozen_parts:
        parts[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError("frozen_parts leaves nothing to train; take a part out of it")


def set_training_mode(network: PoseRegressor, config: TrainConfig) -> None:
    """Switch to training mode, all but the frozen parts, stages and batch norms.

    Frozen modules answer as at run time: no dropout, and batch norms with the statistics they
    have.
    """
    network.train()
    for module in _frozen_stages(network, config):
        module.eval()
    for name in config.frozen_parts:
        network.get_submodule(name).eval()
    if config.freeze_batch_norm:
        _freeze_batch_norm(network.backbone)


def _freeze_batch_norm(backbone: Backbone) -> None:
    for module in backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def seed_step(seed: int, step: int, rank: int) -> None:
    """Fix what dropout draws in a step of a process, so that a resumed run draws the same."""
    state = np.random.SeedSequence((seed, step, rank)).generate_state(2, np.uint32)
    torch.manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)


def clip_gradients(network: PoseRegressor, limit: float) -> float:
    """Scale a network's gradients down to a common norm of at most `limit`; 0 leaves them.

    The uncertainty head has a norm of its own: what it learns must not slow the rest.

    Returns:
        The norm they had; not finite where any of them is not.
    """
    head = network.uncertainty_head
    apart = set() if head is None else set(head.parameters())
    groups = [[one for one in network.parameters() if one not in apart], list(apart)]
    norms = [torch.nn.utils.clip_grad_norm_(group, limit or math.inf) for group in groups if group]
    return math.hypot(*(float(norm) for norm in norms))


def stops_early(config: ValidationConfig, progress: Progress) -> bool:
    """Tell whether validation has found nothing better for `early_stop_epochs`.

    What counts is the last epoch that was validated, minus the best one: an epoch without
    validation says nothing. It follows from the saved progress alone, so that a resumed run stops
    where an uninterrupted one does.
    """
    if config.early_stop_epochs == 0:
        return False
    validated = [entry["epoch"] for entry in progress.history if "score" in entry]
    return bool(validated) and (
        validated[-1] - max(progress.best_epoch, 0) >= config.early_stop_epochs
    )
