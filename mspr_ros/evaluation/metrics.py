"""Measure how far estimated poses are from true ones, in NumPy and SciPy only.

A missing or non-finite answer is a failure: it stands in every statistic as an infinite error and
is counted, never dropped. A median stays finite while fewer than half of the frames fail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mspr_ros.geometry import Array, ArrayLike, rotation_angle_rad

# (metres, degrees): a frame is recalled when both of its errors are at most these.
RECALL_THRESHOLDS: tuple[tuple[float, float], ...] = ((0.05, 5.0), (0.25, 2.0), (0.50, 5.0))


def position_error_m(gt_position: ArrayLike, pred_position: ArrayLike) -> Array:
    """Give the distances between (..., 3) positions in metres; NaN where one is not finite."""
    difference = np.asarray(gt_position, np.float64) - np.asarray(pred_position, np.float64)
    finite = np.isfinite(difference).all(axis=-1, keepdims=True)
    distance: Array = np.linalg.norm(np.where(finite, difference, np.nan), axis=-1)
    return distance


def orientation_error_deg(gt_quat_xyzw: ArrayLike, pred_quat_xyzw: ArrayLike) -> Array:
    """Give the angles between (..., 4) orientations in degrees, 0 to 180.

    2 atan2(|vec|, |w|) of the relative quaternion in float64: exact down to zero, the same for q
    and -q and for any norm. NaN where a quaternion is not finite or has no direction.
    """
    gt = np.asarray(gt_quat_xyzw, dtype=np.float64)
    pred = np.asarray(pred_quat_xyzw, dtype=np.float64)
    usable = has_direction(gt) & has_direction(pred)
    with np.errstate(invalid="ignore"):
        angle_deg = np.degrees(rotation_angle_rad(gt, pred))
    return np.where(usable, angle_deg, np.nan)


def has_direction(quat: Array) -> npt.NDArray[np.bool_]:
    """Say of (..., 4) quaternions which are finite and of a length above zero: (...)."""
    with np.errstate(invalid="ignore"):
        norm = np.linalg.norm(quat, axis=-1)
    return np.asarray(np.isfinite(norm) & (norm > 1e-12))


@dataclass(frozen=True)
class ErrorStatistics:
    """Describe one kind of error over all frames; a value is inf where failures reach into it."""

    median: float
    mean: float
    p90: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True)
class Recall:
    """The share of all frames with both errors within the thresholds and the scene right."""

    position_m: float
    orientation_deg: float
    share: float


@dataclass(frozen=True)
class PoseSummary:
    """Summarise the answers to a set of frames.

    Args:
        num_frames: All frames asked, answered or not.
        num_failures: Frames without a finite answer.
        position_error_m, orientation_error_deg: Over all frames, failures as infinite errors.
        recalls: One for each pair of thresholds.
        scene_accuracy: Share of frames with the right scene; None where scenes were not judged.
        position_cluster_accuracy, orientation_cluster_accuracy: Share of *all* frames whose
            scene and cluster are both right; None where clusters were not judged.
        position_cluster_accuracy_in_scene, orientation_cluster_accuracy_in_scene: Share among
            the frames whose scene is right; None also where there is no such frame.
    """

    num_frames: int
    num_failures: int
    position_error_m: ErrorStatistics
    orientation_error_deg: ErrorStatistics
    recalls: tuple[Recall, ...]
    scene_accuracy: float | None = None
    position_cluster_accuracy: float | None = None
    orientation_cluster_accuracy: float | None = None
    position_cluster_accuracy_in_scene: float | None = None
    orientation_cluster_accuracy_in_scene: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON, which has no infinity: such values become None."""
        plain: dict[str, Any] = json_safe(asdict(self))
        return plain


def json_safe(value: Any) -> Any:
    """Replace non-finite numbers by None and NumPy scalars by Python's, through any nesting."""
    if isinstance(value, dict):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def summarize(
    position_error_m: ArrayLike,
    orientation_error_deg: ArrayLike,
    *,
    scene_correct: npt.ArrayLike | None = None,
    position_cluster_correct: npt.ArrayLike | None = None,
    orientation_cluster_correct: npt.ArrayLike | None = None,
    thresholds: Sequence[tuple[float, float]] = RECALL_THRESHOLDS,
) -> PoseSummary:
    """Summarise per-frame errors; where either error of a frame is not finite, it failed.

    Args:
        position_error_m: (N,) one for every frame asked; NaN or inf where there is no answer.
        orientation_error_deg: (N,) likewise.
        scene_correct: (N,) bool, False where there is no answer.
        position_cluster_correct: (N,) bool, whether the cluster is that of the truth, in the
            true scene; a wrong scene makes it False.
        orientation_cluster_correct: (N,) bool, likewise.
        thresholds: Pairs of metres and degrees for the recalls.

    Raises:
        ValueError: If there are no frames or the lengths differ.
    """
    position, orientation = failures_as_infinite(position_error_m, orientation_error_deg)
    if len(position) == 0:
        raise ValueError("there are no frames to summarise")
    scene = _flags(scene_correct, len(position), "scene_correct")
    right_scene = np.ones(len(position), dtype=bool) if scene is None else scene
    position_cluster = _cluster_accuracy(position_cluster_correct, right_scene)
    orientation_cluster = _cluster_accuracy(orientation_cluster_correct, right_scene)
    return PoseSummary(
        num_frames=len(position),
        num_failures=int(np.sum(~np.isfinite(position))),
        position_error_m=error_statistics(position),
        orientation_error_deg=error_statistics(orientation),
        recalls=tuple(
            Recall(
                metres,
                degrees,
                float(np.mean((position <= metres) & (orientation <= degrees) & right_scene)),
            )
            for metres, degrees in thresholds
        ),
        scene_accuracy=None if scene is None else float(np.mean(scene)),
        position_cluster_accuracy=position_cluster[0],
        orientation_cluster_accuracy=orientation_cluster[0],
        position_cluster_accuracy_in_scene=position_cluster[1],
        orientation_cluster_accuracy_in_scene=orientation_cluster[1],
    )


def failures_as_infinite(
    position_error_m: ArrayLike, orientation_error_deg: ArrayLike
) -> tuple[Array, Array]:
    """Set both errors of a frame to inf where either is not finite.

    Raises:
        ValueError: If the two are not (N,) of one length.
    """
    position = np.asarray(position_error_m, dtype=np.float64)
    orientation = np.asarray(orientation_error_deg, dtype=np.float64)
    if position.ndim != 1 or position.shape != orientation.shape:
        raise ValueError(
            "expected one position and one orientation error for each frame, "
            f"got shapes {position.shape} and {orientation.shape}"
        )
    answered = np.isfinite(position) & np.isfinite(orientation)
    return np.where(answered, position, np.inf), np.where(answered, orientation, np.inf)


def error_statistics(errors: ArrayLike) -> ErrorStatistics:
    """Describe (N,) non-negative errors, N > 0; NaN counts as inf."""
    values = np.sort(np.nan_to_num(np.asarray(errors, np.float64), nan=np.inf, posinf=np.inf))
    return ErrorStatistics(
        median=_quantile_of_sorted(values, 0.50),
        mean=float(np.mean(values)),
        p90=_quantile_of_sorted(values, 0.90),
        p95=_quantile_of_sorted(values, 0.95),
        p99=_quantile_of_sorted(values, 0.99),
        max=float(values[-1]),
    )


def median_error(errors: ArrayLike) -> float:
    """Give the median of (N,) errors that may hold inf, which NumPy's turns into NaN."""
    return _quantile_of_sorted(np.sort(np.asarray(errors, dtype=np.float64)), 0.5)


def _quantile_of_sorted(values: Array, quantile: float) -> float:
    """Interpolate linearly as NumPy does, but let inf be inf instead of inf - inf = NaN."""
    place = quantile * (len(values) - 1)
    below = int(place)
    weight = place - below
    if weight < 1e-9:
        return float(values[below])
    if not np.isfinite(values[below + 1]):
        return math.inf
    return float(values[below] + weight * (values[below + 1] - values[below]))


def _flags(
    values: npt.ArrayLike | None, num_frames: int, name: str
) -> npt.NDArray[np.bool_] | None:
    if values is None:
        return None
    flags = np.asarray(values, dtype=bool)
    if flags.shape != (num_frames,):
        raise ValueError(f"{name} has shape {flags.shape}, expected ({num_frames},)")
    return flags


def _cluster_accuracy(
    correct: npt.ArrayLike | None, right_scene: npt.NDArray[np.bool_]
) -> tuple[float | None, float | None]:
    """Give the accuracy over all frames and over those whose scene is right."""
    flags = _flags(correct, len(right_scene), "cluster_correct")
    if flags is None:
        return None, None
    flags = flags & right_scene
    in_scene = float(np.mean(flags[right_scene])) if right_scene.any() else None
    return float(np.mean(flags)), in_scene
