"""Several ways to read an image: other clusters of the scene, and other scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mspr_ros.calibration.features import Votes
from mspr_ros.calibration.signals import Signals
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
    votes: Sequence[Votes],
    row: int,
    scene_names: Sequence[str],
    *,
    scene_forced: bool = False,
) -> tuple[PoseHypothesis, ...]:
    """List the readings of one frame: the answer first, then the others by probability.

    Args:
        readings: The answers for the chosen scene, then those for other scenes.
        votes: What their logits say.
        row: The frame.
        scene_names: By id.
        scene_forced: Whether the scene is given, not recognised.
    """
    found = []
    for place, (signals, vote) in enumerate(zip(readings, votes, strict=True)):
        number = int(signals.scene[row])
        chance = 1.0 if scene_forced else float(vote.scene[row, number])
        position, orientation = vote.position_cluster[row], vote.orientation_cluster[row]
        joint = chance * np.outer(position, orientation)  # (Kp, Ko)
        chosen = (int(signals.position_cluster[row]), int(signals.orientation_cluster[row]))
        listed = [(int(kp), int(ko)) for kp, ko in np.argwhere(joint >= LEAST_PROBABILITY)]
        if place == 0 and chosen not in listed:
            listed.append(chosen)
        for kp, ko in sorted(listed, key=lambda pair: pair != chosen):
            pose = (
                (signals.position[row], signals.quat_xyzw[row])
                if (kp, ko) == chosen
                else (
                    signals.position_candidates[row, kp],
                    signals.orientation_candidates[row, ko],
                )
            )
            found.append(
                PoseHypothesis(
                    _transform(*pose), scene_names[number], float(joint[kp, ko]), kp, ko
                )
            )
    others = sorted(found[1:], key=lambda one: -one.probability)
    return (found[0], *others[: _MOST - 1])


def _transform(position: Array, quat_xyzw: Array) -> Array:
    if not (np.isfinite(position).all() and np.isfinite(quat_xyzw).all()):
        return np.full((4, 4), np.nan)
    return transform_from_pose(position, quat_xyzw)
