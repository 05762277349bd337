"""Extend a bundle's calibration and prototypes by scenes that are added to it.

What holds for all scenes (weights, temperatures, thresholds, the prototypes' projection) stays as
it is, so that the old scenes' answers are judged as before. Of the new scenes come a base
covariance and scales from their own run's calibration, and the means that depend on the
projection, taken anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from mspr_ros.bundle import Bundle
from mspr_ros.calibration.assessment import compare, raw_known, temperatures_of
from mspr_ros.calibration.features import Votes, feature_matrix
from mspr_ros.calibration.model import Calibration, SceneCalibration
from mspr_ros.calibration.prototypes import PER_SCENE, Prototypes
from mspr_ros.network.grown import GrownRegressor
from mspr_ros.preprocess import Preprocessor
from mspr_ros.training.calibrating import Trust
from mspr_ros.training.samples import LabeledFrame, evenly_per_scene
from mspr_ros.training.validation import ask_network

_BATCH_SIZE = 16
# Deviations of the known score's parts are at least this.
_LEAST_DEVIATION = 1e-3


def extend_trust(
    before: Bundle,
    learned: Bundle,
    network: GrownRegressor,
    train: Sequence[LabeledFrame],
    held_back: Sequence[LabeledFrame],
    device: torch.device,
) -> Trust | None:
    """Give calibration and prototypes for the old scenes and the new ones.

    Args:
        before: The old bundle.
        learned: What was learned of the new scenes, with its own calibration.
        network: Both.
        train: Frames of the new scenes, numbered from 0.
        held_back: Likewise, not trained on.
        device: Of the network.

    Returns:
        None where the old bundle has no calibration to extend, or the new scenes have none.
    """
    old, new = before.metadata.calibration, learned.metadata.calibration
    if old is None or new is None or old.uses_head != new.uses_head or not held_back:
        return None
    preprocessor = Preprocessor(before.metadata.preprocess)
    first = sum(network.groups[:-1])
    prototypes = before.prototypes
    if prototypes is not None:
        prototypes = _extended(prototypes, network, train, first, preprocessor, device)
    scenes = _new_scenes(old, new, network, prototypes, held_back, preprocessor, device)
    return Trust(dataclasses.replace(old, scenes=(*old.scenes, *scenes)), prototypes)


def _extended(
    prototypes: Prototypes,
    network: GrownRegressor,
    train: Sequence[LabeledFrame],
    first: int,
    preprocessor: Preprocessor,
    device: torch.device,
) -> Prototypes:
    """Add frames of the new scenes, evenly over their recordings."""
    chosen = evenly_per_scene(train, PER_SCENE)
    signals = ask_network(network, chosen, preprocessor, device, _BATCH_SIZE)
    assert signals.descriptor is not None
    # Rounded as a bundle stores them.
    descriptor = prototypes.project(signals.descriptor).astype(np.float16).astype(np.float64)
    scene_ids = np.array([first + item.scene for item in chosen])
    positions = np.array([item.frame.position for item in chosen], dtype=np.float32)
    quats = np.array([item.frame.quat_xyzw for item in chosen], dtype=np.float32)
    return dataclasses.replace(
        prototypes,
        descriptor=np.concatenate([prototypes.descriptor, descriptor]),
        scene=np.concatenate([prototypes.scene, scene_ids]),
        position=np.concatenate([prototypes.position, positions.astype(np.float64)]),
        quat_xyzw=np.concatenate([prototypes.quat_xyzw, quats.astype(np.float64)]),
    )


def _new_scenes(
    old: Calibration,
    new: Calibration,
    network: GrownRegressor,
    prototypes: Prototypes | None,
    held_back: Sequence[LabeledFrame],
    preprocessor: Preprocessor,
    device: torch.device,
) -> list[SceneCalibration]:
    """Give what the old calibration's weights need to know of the new scenes."""
    signals = ask_network(network, held_back, preprocessor, device, _BATCH_SIZE)
    comparison = compare(prototypes, signals)
    votes = Votes.of(signals, temperatures_of(old))
    features = feature_matrix(signals, comparison, old.features, votes)
    known = None if comparison is None else raw_known(comparison)
    first = sum(network.groups[:-1])
    found = []
    for number, info in enumerate(new.scenes):
        rows = signals.scene == first + number
        if not rows.any():  # none of its held-back frames is recognised: all that there are
            rows = np.ones(len(signals), dtype=bool)
        mean, deviation = np.zeros(3), np.ones(3)
        if known is not None:
            mean = known[rows].mean(axis=0)
            deviation = np.maximum(known[rows].std(axis=0), _LEAST_DEVIATION)
        found.append(
            dataclasses.replace(
                info,
                feature_mean=tuple(float(value) for value in features[rows].mean(axis=0)),
                known_mean=(float(mean[0]), float(mean[1]), float(mean[2])),
                known_deviation=(float(deviation[0]), float(deviation[1]), float(deviation[2])),
            )
        )
    return found
