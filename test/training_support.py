"""A training run small enough for seconds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tiny import TINY_NETWORK, TINY_VIRTUAL_CAMERA

from mspr_ros.data.augmentation import AugmentationConfig
from mspr_ros.preprocess import PreprocessConfig
from mspr_ros.training.configuration import OptimizerConfig, TrainConfig, ValidationConfig


def make_config(dataset: Path, **changes: Any) -> TrainConfig:
    """Describe a run on a tiny dataset: two epochs of a few steps, everything turned on."""
    config = TrainConfig(
        datasets=(str(dataset),),
        network=dataclasses.replace(TINY_NETWORK, dropout=0.1),
        preprocess=PreprocessConfig(
            width=96, height=64, resize_shorter_px=0, virtual_camera=TINY_VIRTUAL_CAMERA
        ),
        augmentation=AugmentationConfig(yaw_deg=10.0, roll_deg=5.0, brightness=0.2),
        optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, schedule="cosine"),
        validation=ValidationConfig(fraction=0.15, blocks_per_sequence=1, guard_frames=1),
        epochs=2,
        batch_size=8,
        balance="scenes",
        pretrained_backbone=False,
        ema_decay=0.5,
    )
    return dataclasses.replace(config, **changes)
