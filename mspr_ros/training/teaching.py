"""What `mspr teach` decides by itself: clusters, the budget of pictures, the camera.

The number of clusters follows from the training poses (cluster_choice.py).
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from mspr_ros.bundle import BundleMetadata
from mspr_ros.data.augmentation import AugmentationConfig
from mspr_ros.data.dataset import Dataset
from mspr_ros.training.cluster_choice import choose_clusters
from mspr_ros.training.configuration import TrainConfig
from mspr_ros.training.samples import EpochBatches, load_batches
from mspr_ros.training.trainer import Trainer

# Steps before the clock runs, and how often a run validates.
_WARM_UP_STEPS = 3
_VALIDATIONS = 6


def with_own_network(
    config: TrainConfig, datasets: Sequence[Dataset]
) -> tuple[TrainConfig, list[str]]:
    """Fit a configuration to what is taught: clusters, and a camera where all frames have one.

    Args:
        config: To start from.
        datasets: What is taught.

    Returns:
        The configuration and remarks for the user.
    """
    positions, orientations = choose_clusters(datasets)
    network = dataclasses.replace(
        config.network, num_position_clusters=positions, num_orientation_clusters=orientations
    )
    config = dataclasses.replace(config, network=network, clusters="as_given")
    blind = [d.name for d in datasets if any(not frame.camera for frame in d.frames)]
    if not blind or not (config.fit_virtual_camera or config.preprocess.virtual_camera):
        return config, []
    preprocess = dataclasses.replace(config.preprocess, virtual_camera=None)
    config = dataclasses.replace(
        config,
        augmentation=without_turns(config.augmentation),
        fit_virtual_camera=False,
        preprocess=preprocess,
    )
    return config, [
        f"no intrinsics for {', '.join(blind)}: images are resized, not warped to one camera"
    ]


def without_turns(augmentation: AugmentationConfig) -> AugmentationConfig:
    """Leave out what turns or zooms the virtual camera, where there is none."""
    return dataclasses.replace(augmentation, yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0, focal=0.0)


def with_network_of(config: TrainConfig, bundle: Path, metadata: BundleMetadata) -> TrainConfig:
    """Take network, image pipeline and first weights from a bundle that is taught further."""
    return dataclasses.replace(
        config,
        network=metadata.network,
        clusters="as_given",
        preprocess=metadata.preprocess,
        fit_virtual_camera=False,
        augmentation=config.augmentation
        if metadata.preprocess.virtual_camera is not None
        else without_turns(config.augmentation),
        initial_weights=str(bundle),
        pretrained_backbone=False,
    )


def with_budget(config: TrainConfig, minutes: float, images_per_second: float) -> TrainConfig:
    """Choose the number of pictures for a time, and validate a few times in it."""
    total = max(config.batch_size, round(60.0 * minutes * images_per_second))
    return dataclasses.replace(config, total_images=total)


def with_few_validations(config: TrainConfig, num_frames: int) -> TrainConfig:
    """Validate a few times in a run, however many epochs its number of pictures comes to.

    Args:
        config: To change.
        num_frames: Frames to train on.
    """
    epochs = config.total_images / max(1, num_frames) if config.total_images else config.epochs
    every = max(1, round(epochs / _VALIDATIONS))
    validation = dataclasses.replace(config.validation, every_epochs=every)
    return dataclasses.replace(config, validation=validation)


def measure_rate(config: TrainConfig, device: torch.device, seconds: float) -> tuple[float, int]:
    """Train a throw-away network for a while to learn how fast it goes here.

    Args:
        config: What will be trained; its image cache is written before the clock starts.
        device: Where.
        seconds: How long, after a few steps to warm up.

    Returns:
        Pictures a second, and the number of frames to train on.
    """
    steps, started = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Path(folder), device)
        num_frames = len(trainer.lesson.train)
        trainer.open_image_cache()
        for epoch in range(10_000):
            batches = EpochBatches(trainer.group_of_frame, trainer.config, epoch, 0)
            for batch in load_batches(trainer.samples, batches, config.num_workers):
                trainer._step(batch, batches.draws(0))
                steps += 1
                if steps == _WARM_UP_STEPS:
                    started = time.perf_counter()
                elapsed = time.perf_counter() - started
                if steps > _WARM_UP_STEPS and elapsed >= seconds:
                    return (steps - _WARM_UP_STEPS) * config.batch_size / elapsed, num_frames
    raise AssertionError("the clock stands still")
