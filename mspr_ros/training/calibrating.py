"""Calibrate a network: prototypes of training frames, the rest of frames held back.

At the end of `mspr train` on its validation frames; by `mspr calibrate` on any recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mspr_ros.calibration.fit import CalibrationOptions, calibrate
from mspr_ros.calibration.model import Calibration
from mspr_ros.calibration.prototypes import Prototypes, choose_prototypes
from mspr_ros.calibration.signals import Truth
from mspr_ros.evaluation.bootstrap import contiguous_blocks, contiguous_runs
from mspr_ros.network.clustering import assign_orientation_clusters, assign_position_clusters
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.preprocess import Preprocessor
from mspr_ros.training.configuration import CalibrationConfig, TrainConfig
from mspr_ros.training.samples import ImageSource, LabeledFrame, evenly_per_scene
from mspr_ros.training.validation import ask_network

# Fewer blocks than this are cut into pieces, so that something can be held out.
_WANTED_BLOCKS = 10


@dataclass(frozen=True)
class Trust:
    """What a bundle knows of its own answers."""

    calibration: Calibration
    prototypes: Prototypes | None


def calibrate_after_training(
    network: PoseRegressor,
    train: Sequence[LabeledFrame],
    validation: Sequence[LabeledFrame],
    preprocessor: Preprocessor,
    device: torch.device,
    config: TrainConfig,
    scene_names: tuple[str, ...],
    source: str,
    images: ImageSource | None = None,
) -> Trust | None:
    """Calibrate on validation frames; None where that is switched off or they are too few.

    Args:
        network: What answers.
        train: Frames it was trained on.
        validation: Frames it was not trained on.
        preprocessor: Of the network.
        device: Of the network.
        config: Of the run.
        scene_names: In the order of the network's ids.
        source: What the validation frames are, for people.
        images: Where pictures come from; by default from their files.
    """
    if not (config.calibration.enabled and validation):
        return None
    limits, threads = config.calibration, config.num_workers
    prototypes = prototypes_of(
        network, train, preprocessor, device, limits.frames_per_scene, images, num_workers=threads
    )
    return calibrate_on(
        network, validation, preprocessor, device, scene_names, prototypes,
        options_of(limits, source), images, num_workers=threads,
    )  # fmt: skip


def options_of(config: CalibrationConfig, source: str) -> CalibrationOptions:
    """Give what a calibration aims at."""
    return CalibrationOptions(
        right_within=config.right_within,
        false_reject_rate=config.false_reject_rate,
        source=source,
    )


def prototypes_of(
    network: PoseRegressor,
    train: Sequence[LabeledFrame],
    preprocessor: Preprocessor,
    device: torch.device,
    frames_per_scene: int,
    images: ImageSource | None = None,
    batch_size: int = 16,
    num_workers: int = 2,
) -> Prototypes:
    """Choose prototypes from training frames, of which at most so many a scene are looked at."""
    chosen = evenly_per_scene(train, frames_per_scene)
    signals = ask_network(network, chosen, preprocessor, device, batch_size, images, num_workers)
    assert signals.descriptor is not None and signals.embedding is not None
    return choose_prototypes(
        signals.descriptor,
        signals.embedding,
        np.array([item.scene for item in chosen]),
        np.array([item.frame.position for item in chosen]),
        np.array([item.frame.quat_xyzw for item in chosen]),
    )


def calibrate_on(
    network: PoseRegressor,
    frames: Sequence[LabeledFrame],
    preprocessor: Preprocessor,
    device: torch.device,
    scene_names: tuple[str, ...],
    prototypes: Prototypes | None,
    options: CalibrationOptions,
    images: ImageSource | None = None,
    batch_size: int = 16,
    num_workers: int = 2,
) -> Trust | None:
    """Calibrate on frames that the network was not trained on; None where they are too few."""
    signals = ask_network(network, frames, preprocessor, device, batch_size, images, num_workers)
    truth = truth_of(network, frames)
    calibration = calibrate(signals, truth, scene_names, prototypes, options)
    return None if calibration is None else Trust(calibration, prototypes)


def truth_of(network: PoseRegressor, frames: Sequence[LabeledFrame]) -> Truth:
    """Give what is true of frames: poses, clusters and the blocks of time they lie in."""
    scene = np.array([item.scene for item in frames], dtype=np.int64)
    position = np.array([item.frame.position for item in frames])
    quat_xyzw = np.array([item.frame.quat_xyzw for item in frames])
    positions = network.position_centroids.double().cpu().numpy()
    orientations = network.orientation_centroids.double().cpu().numpy()
    rows = range(len(frames))
    return Truth(
        scene=scene,
        position=position,
        quat_xyzw=quat_xyzw,
        block=blocks_of(frames),
        position_cluster=np.array(
            [int(assign_position_clusters(position[row], positions[scene[row]])) for row in rows]
        ),
        orientation_cluster=np.array(
            [
                int(assign_orientation_clusters(quat_xyzw[row], orientations[scene[row]]))
                for row in rows
            ]
        ),
    )


def blocks_of(frames: Sequence[LabeledFrame]) -> npt.NDArray[np.int64]:
    """Number the blocks of time that frames lie in, (N,).

    Runs without a gap are blocks; where those are few, they are cut into pieces.
    """
    stamps = [item.frame.stamp_ns for item in frames]
    sequences = [(item.scene, item.frame.sequence) for item in frames]
    cameras = [item.frame.camera for item in frames]
    blocks = contiguous_runs(stamps, sequences, cameras=cameras)
    if len(blocks) < _WANTED_BLOCKS:
        longest = max(1, len(frames) // _WANTED_BLOCKS)
        blocks = contiguous_blocks(stamps, sequences, max_block_frames=longest, cameras=cameras)
    numbers = np.empty(len(frames), dtype=np.int64)
    for number, rows in enumerate(blocks):
        numbers[rows] = number
    return numbers
