"""Make one pose of what several cameras say about one body. No ROS here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mspr_ros.geometry import Array, pose_difference, shifted

# Two cameras that see the same truth differ by more than this (squared Mahalanobis distance, six
# degrees of freedom) once in a thousand times.
OUTLIER_CHI2 = 22.46
ITERATIONS = 5  # of a mean whose first guess is within a camera's error


@dataclass(frozen=True, eq=False)
class BodyPose:
    """What one camera says about the body.

    Args:
        camera: Its name.
        T_map_body: (4, 4).
        covariance: (6, 6) at the body's origin: x y z, rotation about the map's fixed axes.
        confidence: 0 to 1; decides between cameras that contradict each other one to one.
    """

    camera: str
    T_map_body: Array
    covariance: Array
    confidence: float


@dataclass(frozen=True)
class CombinedPose:
    """One pose of several.

    Args:
        T_map_body: (4, 4).
        covariance: (6, 6), as in `BodyPose`.
        used: The cameras it was made of.
        outliers: Those that contradict them.
    """

    T_map_body: Array
    covariance: Array
    used: tuple[str, ...]
    outliers: tuple[str, ...]


def combine(poses: Sequence[BodyPose]) -> CombinedPose:
    """Weight the poses by their covariances, without those that contradict the others.

    The largest group whose members all agree with one of them counts; between groups of one size,
    the more confident.

    Args:
        poses: At least one, in one map.
    """
    used = _largest_group(poses)
    outliers = tuple(pose.camera for pose in poses if pose not in used)
    names = tuple(pose.camera for pose in used)
    if len(used) == 1:
        return CombinedPose(used[0].T_map_body, used[0].covariance, names, outliers)
    information = [np.asarray(np.linalg.inv(pose.covariance), np.float64) for pose in used]
    total = np.linalg.inv(np.sum(information, axis=0))
    mean = used[0].T_map_body
    for _ in range(ITERATIONS):
        residuals = [pose_difference(pose.T_map_body, mean) for pose in used]
        weighted = [part @ r for part, r in zip(information, residuals, strict=True)]
        mean = shifted(mean, total @ np.sum(weighted, axis=0))
    return CombinedPose(mean, total * _spread(used, information, mean), names, outliers)


def _spread(used: Sequence[BodyPose], information: Sequence[Array], mean: Array) -> float:
    """Give by how much more the poses differ than their covariances say; at least 1.

    The cameras share one network and one map: where they disagree, all may be off.
    """
    residuals = [pose_difference(pose.T_map_body, mean) for pose in used]
    chi2 = sum(float(r @ part @ r) for part, r in zip(information, residuals, strict=True))
    return max(1.0, chi2 / (6.0 * (len(used) - 1)))


def _largest_group(poses: Sequence[BodyPose]) -> list[BodyPose]:
    groups = [[other for other in poses if _agree(centre, other)] for centre in poses]
    return max(groups, key=lambda group: (len(group), sum(pose.confidence for pose in group)))


def _agree(a: BodyPose, b: BodyPose) -> bool:
    if a is b:
        return True
    apart = pose_difference(a.T_map_body, b.T_map_body)
    chi2 = float(apart @ np.linalg.solve(a.covariance + b.covariance, apart))
    return chi2 <= OUTLIER_CHI2
