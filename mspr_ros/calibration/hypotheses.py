"""Several ways to read an image: other clusters of the scene, and other scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mspr_ros.calibration.features import Temperatures, scene_probability
from mspr_ros.calibration.signals import Signals, probabilities
from mspr_ros.geometry import Array, transform_from_pose

LEAST_PROBABILITY = 0.02  # a reading less likely is not listed
_MOST = 5


@dataclass(frozen=True)
class PoseHypothesis:
    """One way to read the image.

    Args:
        T_map_cam: (4, 4) pose of the camera's optical frame in the scene's map.
        scene: Its scene.
        probability: Product of the scene's and the clusters' probabilities.
        position_cluster, orientation_cluster: Ids of the clusters it was built on.
    """

    T_map_cam: Array
    scene: str
    probability: float
    position_cluster: int
    orientation_cluster: int


def hypotheses_of(
    readings: Sequence[Signals],
    row: int,
    temperatures: Temperatures,
    scene_names: Sequence[str],
    *,
    scene_forced: bool = False,
) -> tuple[PoseHypothesis, ...]:
    """List the readings of one frame: the answer first, then the others by probability.

    Args:
        readings: The answers for the chosen scene, then those for other scenes.
        row: The frame.
        temperatures: Of the logits.
        scene_names: By id.
        scene_forced: Whether the scene is given, not recognised.
    """
    found = []
    for place, signals in enumerate(readings):
        one = signals.rows(np.array([row]))
        chance = 1.0 if scene_forced else float(scene_probability(one, temperatures.scene)[0])
        name = scene_names[int(one.scene[0])]
        clusters = (int(one.position_cluster[0]), int(one.orientation_cluster[0]))
        position = probabilities(one.position_cluster_logits, temperatures.position_cluster)[0]
        orientation = probabilities(
            one.orientation_cluster_logits, temperatures.orientation_cluster
        )[0]
        joint = chance * position[:, None] * orientation[None, :]  # (Kp, Ko)
        if place == 0 or joint[clusters] >= LEAST_PROBABILITY:
            T_map_cam = _transform(one.position[0], one.quat_xyzw[0])
            found.append(PoseHypothesis(T_map_cam, name, float(joint[clusters]), *clusters))
        for kp, ko in np.argwhere(joint >= LEAST_PROBABILITY):
            if (kp, ko) != clusters:
                T_map_cam = _transform(
                    one.position_candidates[0, kp], one.orientation_candidates[0, ko]
                )
                found.append(
                    PoseHypothesis(T_map_cam, name, float(joint[kp, ko]), int(kp), int(ko))
                )
    others = sorted(found[1:], key=lambda one: -one.probability)
    return (found[0], *others[: _MOST - 1])


def _transform(position: Array, quat_xyzw: Array) -> Array:
    if not (np.isfinite(position).all() and np.isfinite(quat_xyzw).all()):
        return np.full((4, 4), np.nan)
    return transform_from_pose(position, quat_xyzw)
