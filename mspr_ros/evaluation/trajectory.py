"""Measure a whole trajectory against the true one: ATE and RPE, in NumPy and SciPy only.

Both take poses that belong together, row by row, as (N, 4, 4) transforms from camera to map. ATE
asks how far the estimates are from the truth, as they are or after the best rigid alignment; RPE
asks how wrong the motion between two of them is, which no alignment changes (Sturm et al., A
Benchmark for the Evaluation of RGB-D SLAM Systems, IROS 2012).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mspr_ros.evaluation.metrics import json_safe, orientation_error_deg
from mspr_ros.geometry import Array, invert_transform, quat_xyzw_from_rotation

Pairs = npt.NDArray[np.int64]  # (M, 2) indices: from, to


@dataclass(frozen=True)
class Spread:
    """Describe one kind of error over poses or pairs of poses; all values are finite."""

    rmse: float
    mean: float
    median: float
    p90: float
    max: float

    @classmethod
    def of(cls, errors: Array) -> Spread:
        """Describe (N,) finite errors, N > 0."""
        return cls(
            rmse=float(np.sqrt(np.mean(np.square(errors)))),
            mean=float(np.mean(errors)),
            median=float(np.median(errors)),
            p90=float(np.quantile(errors, 0.9)),
            max=float(np.max(errors)),
        )


@dataclass(frozen=True)
class TrajectoryError:
    """An error in metres and in degrees, over `count` poses or pairs of poses."""

    count: int
    position_m: Spread
    orientation_deg: Spread

    @classmethod
    def of(cls, metres: Array, degrees: Array) -> TrajectoryError:
        """Describe (N,) finite errors of each kind, N > 0."""
        return cls(len(metres), Spread.of(metres), Spread.of(degrees))

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        plain: dict[str, Any] = json_safe(asdict(self))
        return plain


def align_rigidly(source: Array, target: Array) -> Array:
    """Find the rigid motion that brings points closest to others, by least squares (Umeyama).

    Args:
        source: (N, 3), N > 0.
        target: (N, 3).

    Returns:
        `T_target_source` (4, 4), without scale: the network knows metres. Where the points leave
        the rotation open (all on one line), it is one of the best.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    covariance = (target - target_mean).T @ (source - source_mean)
    left, _, right = np.linalg.svd(covariance)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    transform = np.eye(4)
    transform[:3, :3] = left @ sign @ right
    transform[:3, 3] = target_mean - transform[:3, :3] @ source_mean
    return transform


def absolute_trajectory_error(
    gt_T_map_cam: Array, pred_T_map_cam: Array, *, align: bool = False
) -> TrajectoryError:
    """Compare poses one by one (ATE).

    Args:
        gt_T_map_cam: (N, 4, 4), N > 0.
        pred_T_map_cam: (N, 4, 4), finite.
        align: Move the estimates rigidly onto the truth first, by their positions. That hides
            a map that lies wrong: never the headline of a localizer.
    """
    if align:
        motion = align_rigidly(pred_T_map_cam[:, :3, 3], gt_T_map_cam[:, :3, 3])
        pred_T_map_cam = motion @ pred_T_map_cam
    return TrajectoryError.of(*_errors(invert_transform(gt_T_map_cam) @ pred_T_map_cam))


def relative_pose_error(
    gt_T_map_cam: Array, pred_T_map_cam: Array, pairs: Pairs
) -> TrajectoryError | None:
    """Compare the motion between pairs of poses (RPE); None where there are no pairs.

    The poses of either side need no common frame: odometry can stand in for the truth.

    Args:
        gt_T_map_cam: (N, 4, 4).
        pred_T_map_cam: (N, 4, 4), finite.
        pairs: (M, 2) indices, see `frame_pairs` and `time_pairs`.
    """
    if not len(pairs):
        return None
    return TrajectoryError.of(*relative_motion_error(gt_T_map_cam, pred_T_map_cam, pairs))


def relative_motion_error(
    gt_T_map_cam: Array, pred_T_map_cam: Array, pairs: Pairs
) -> tuple[Array, Array]:
    """Give the errors of the motion between pairs: metres (M,) and degrees (M,).

    NaN where one of the poses is not known; see `relative_pose_error`.
    """
    first, second = pairs.T
    gt_motion = invert_transform(gt_T_map_cam[first]) @ gt_T_map_cam[second]
    pred_motion = invert_transform(pred_T_map_cam[first]) @ pred_T_map_cam[second]
    return _errors(invert_transform(gt_motion) @ pred_motion)


def frame_pairs(stamps_ns: npt.NDArray[np.int64], max_gap_s: float) -> Pairs:
    """Pair each pose with the next one, unless they lie further apart in time than the gap."""
    first = np.arange(max(len(stamps_ns) - 1, 0), dtype=np.int64)
    near = np.diff(stamps_ns) <= round(1e9 * max_gap_s)
    return np.stack([first[near], first[near] + 1], axis=1)


def time_pairs(
    stamps_ns: npt.NDArray[np.int64], delta_s: float, tolerance_s: float | None = None
) -> Pairs:
    """Pair each pose with the one nearest to `delta_s` later.

    Args:
        stamps_ns: (N,) strictly increasing.
        delta_s: The time between the two, above zero.
        tolerance_s: Pairs that miss it by more are left out; by default a tenth of it.
    """
    if len(stamps_ns) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    wanted = stamps_ns + round(1e9 * delta_s)
    after = np.clip(np.searchsorted(stamps_ns, wanted), 1, len(stamps_ns) - 1)
    later_is_nearer = stamps_ns[after] - wanted <= wanted - stamps_ns[after - 1]
    second = np.where(later_is_nearer, after, after - 1)
    first = np.arange(len(stamps_ns), dtype=np.int64)
    limit_ns = 1e9 * (0.1 * delta_s if tolerance_s is None else tolerance_s)
    found = (np.abs(stamps_ns[second] - wanted) <= limit_ns) & (second > first)
    return np.stack([first[found], second[found]], axis=1)


def _errors(T_gt_pred: Array) -> tuple[Array, Array]:
    known = np.isfinite(T_gt_pred).all(axis=(1, 2))
    metres, degrees = np.full((2, len(T_gt_pred)), np.nan)
    metres[known] = np.linalg.norm(T_gt_pred[known, :3, 3], axis=1)
    quats = quat_xyzw_from_rotation(T_gt_pred[known, :3, :3])
    degrees[known] = orientation_error_deg(np.array([0.0, 0.0, 0.0, 1.0]), quats)
    return metres, degrees
