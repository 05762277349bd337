"""Collect what judged frames state of their uncertainty, and what is true of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mspr_ros.evaluation.judging import FrameResult, errors_of
from mspr_ros.evaluation.uncertainty import PARTS, nees_by_part, pose_residuals
from mspr_ros.geometry import Array

Flags = npt.NDArray[np.bool_]
# An answer is right in the right scene and within these metres and degrees.
RIGHT_WITHIN = (0.25, 5.0)


@dataclass(frozen=True)
class UncertainFrames:
    """What N frames state of their uncertainty, and what is true of them.

    Args:
        answered: Whether there is a finite pose.
        accepted: Whether the method stands by it.
        scene_right: Whether the scene is right too.
        right: Whether the errors are also small enough.
        nees: (N,) by part; NaN where there is no finite pose of the right scene, or no usable
            covariance: no region holds the truth then.
        has_covariance: Whether one is stated, where there is an answer.
        errors: (N,) by `position` (metres) and `orientation` (degrees), to rank frames by; inf
            where there is no answer. A pose in the wrong scene's map counts as bad as the worst.
        deviation: (N,) likewise, root of the trace of the covariance's block.
        confidence: (N,); NaN where none is stated or there is no answer.
        scene_probability: (N,) likewise.
    """

    answered: Flags
    accepted: Flags
    scene_right: Flags
    right: Flags
    nees: dict[str, Array]
    has_covariance: Flags
    errors: dict[str, Array]
    deviation: dict[str, Array]
    confidence: Array
    scene_probability: Array


def uncertain_frames(
    results: Sequence[FrameResult], right_within: tuple[float, float] = RIGHT_WITHIN
) -> UncertainFrames:
    """Collect what measures of uncertainty need; thresholds in metres and degrees."""
    answers = [result.answer for result in results]
    answered = ~np.array([result.failed for result in results])
    scene_right = np.array([result.scene_correct for result in results])
    covariances = np.array([answer.covariance for answer in answers], dtype=np.float64)
    residuals = pose_residuals(
        np.array([result.gt_position for result in results]),
        np.array([result.gt_quat_xyzw for result in results]),
        np.array([answer.position for answer in answers]),
        np.array([answer.quat_xyzw for answer in answers]),
    )
    residuals[~scene_right] = np.nan
    position, orientation = errors_of(results)
    right = scene_right & (position <= right_within[0]) & (orientation <= right_within[1])
    diagonals = np.diagonal(covariances, axis1=1, axis2=2)
    with np.errstate(invalid="ignore"):
        deviation = {
            part: np.sqrt(diagonals[:, PARTS[part]].sum(axis=1))
            for part in ("position", "orientation")
        }
    return UncertainFrames(
        answered,
        answered & np.array([answer.accepted for answer in answers]),
        scene_right,
        right,
        nees_by_part(residuals, covariances),
        answered & np.isfinite(covariances).all(axis=(1, 2)),
        {
            "position": _wrong_scenes_as_worst(position, scene_right),
            "orientation": _wrong_scenes_as_worst(orientation, scene_right),
        },
        deviation,
        np.where(answered, [answer.confidence for answer in answers], np.nan),
        np.where(answered, [answer.scene_probability for answer in answers], np.nan),
    )


def _wrong_scenes_as_worst(errors: Array, scene_right: Flags) -> Array:
    """Raise the errors in a wrong scene to the group's largest: they compare two maps."""
    finite = np.isfinite(errors)
    if not finite.any():
        return errors
    return np.where(finite & ~scene_right, errors[finite].max(), errors)
