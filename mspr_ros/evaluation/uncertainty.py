"""Measure whether stated uncertainties are honest, in NumPy and SciPy only.

A covariance promises how often the truth lies in its regions, a probability how often its answer
is right. A frame without a finite answer keeps neither promise: it is counted, never dropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation
from scipy.special import gammaincinv

from mspr_ros.evaluation.metrics import has_direction, median_error
from mspr_ros.geometry import Array, ArrayLike

# Nominal coverage of the regions that are reported.
LEVELS = (0.50, 0.90, 0.95, 0.99)
# Part of a pose -> its rows of residual and covariance.
PARTS = {"position": slice(0, 3), "orientation": slice(3, 6), "both": slice(0, 6)}
# Relative to unit variances: what rounding leaves of a variance that is zero.
SINGULAR = 1e-12


def degrees_of_freedom(part: str) -> int:
    """Give the dimension of `position` (3), `orientation` (3) or `both` (6)."""
    return PARTS[part].stop - PARTS[part].start


def chi_square_quantile(level: ArrayLike, dof: int) -> Array:
    """Give the squared distance that a share `level` of chi-square's draws does not exceed."""
    return np.asarray(2.0 * gammaincinv(dof / 2.0, level), dtype=np.float64)


def rotation_residual(gt_quat_xyzw: ArrayLike, pred_quat_xyzw: ArrayLike) -> Array:
    """Give the (N, 3) rotation vectors r about the map's axes with R_pred = exp(r) R_gt.

    Radians; of length `orientation_error_deg`. NaN where a quaternion has no direction.
    """
    gt = np.asarray(gt_quat_xyzw, dtype=np.float64).reshape(-1, 4)
    pred = np.asarray(pred_quat_xyzw, dtype=np.float64).reshape(-1, 4)
    residual = np.full((len(gt), 3), np.nan)
    usable = has_direction(gt) & has_direction(pred)
    if usable.any():
        turned = Rotation.from_quat(pred[usable]) * Rotation.from_quat(gt[usable]).inv()
        residual[usable] = turned.as_rotvec()
    return residual


def pose_residuals(
    gt_position: Array, gt_quat_xyzw: Array, pred_position: Array, pred_quat_xyzw: Array
) -> Array:
    """Give the (N, 6) residuals that a pose's covariance speaks of, estimate against truth.

    Args:
        gt_position: (N, 3) metres, in the map.
        gt_quat_xyzw: (N, 4) map_from_cam.
        pred_position: (N, 3).
        pred_quat_xyzw: (N, 4).

    Returns:
        x y z in metres, then the rotation vector about the map's fixed X Y Z in radians; NaN
        where a part of the estimate is not finite.
    """
    turned = rotation_residual(gt_quat_xyzw, pred_quat_xyzw)
    residuals = np.hstack([np.asarray(pred_position) - np.asarray(gt_position), turned])
    broken = ~np.isfinite(residuals).all(axis=1, keepdims=True)
    return np.where(broken, np.nan, residuals)


def squared_mahalanobis(residuals: ArrayLike, covariances: ArrayLike) -> Array:
    """Give r' C^-1 r: the normalised estimation error squared (NEES) of every frame.

    Args:
        residuals: (N, D).
        covariances: (N, D, D).

    Returns:
        (N,). A singular covariance promises no error at all along some direction: inf where
        there is one, else the other directions count. NaN where the residual is not finite or
        the matrix is no covariance: not finite, not symmetric or with a negative variance.
    """
    residual = np.asarray(residuals, dtype=np.float64)
    covariance = np.asarray(covariances, dtype=np.float64)
    squares = np.full(len(residual), np.nan)
    rows = np.isfinite(residual).all(axis=1) & np.isfinite(covariance).all(axis=(1, 2))
    rows &= (np.diagonal(covariance, axis1=1, axis2=2) >= 0.0).all(axis=1)
    if not rows.any():
        return squares
    # Metres and radians on one scale: correlations instead of covariances.
    variance = np.diagonal(covariance[rows], axis1=1, axis2=2)
    scale = np.where(variance > 0.0, np.sqrt(variance), 1.0)
    correlation = covariance[rows] / (scale[:, :, None] * scale[:, None, :])
    symmetric = np.isclose(correlation, np.swapaxes(correlation, 1, 2), atol=1e-6).all(axis=(1, 2))
    values, vectors = np.linalg.eigh(correlation)
    along = np.einsum("nij,ni->nj", vectors, residual[rows] / scale)
    null = values <= SINGULAR
    terms = np.where(null, 0.0, along**2 / np.where(null, 1.0, values))
    broken = (null & (np.abs(along) > 1e-6)).any(axis=1)
    proper = symmetric & (values > -1e-9).all(axis=1)
    squares[rows] = np.where(proper, np.where(broken, np.inf, terms.sum(axis=1)), np.nan)
    return squares


def nees_by_part(residuals: Array, covariances: Array) -> dict[str, Array]:
    """Give the (N,) squared Mahalanobis distances of every part, from (N, 6) and (N, 6, 6)."""
    return {
        part: squared_mahalanobis(residuals[:, rows], covariances[:, rows, rows])
        for part, rows in PARTS.items()
    }


def covered(nees: Array, dof: int, levels: ArrayLike = LEVELS) -> npt.NDArray[np.bool_]:
    """Say of (N,) frames whether the truth lies in their region of each level.

    Returns:
        (N, L); False where the distance is not known.
    """
    limits = chi_square_quantile(levels, dof)
    known = np.where(np.isnan(nees), np.inf, nees)
    return np.asarray(known[:, None] <= limits[None, :])


@dataclass(frozen=True)
class NeesStatistics:
    """How large residuals are against their covariances; over 1 they are larger than promised.

    Args:
        num_frames: All frames.
        num_finite: Those with a finite distance, which the means are over.
        mean: Of the finite distances; expected to be the dimension.
        mean_per_dof: Divided by the dimension: expected to be 1.
        median: Over all frames, those without a distance as infinite.
        median_per_expected: Divided by the median of chi-square: expected to be 1.
    """

    num_frames: int
    num_finite: int
    mean: float
    mean_per_dof: float
    median: float
    median_per_expected: float


def nees_statistics(nees: Array, dof: int) -> NeesStatistics:
    """Describe (N,) squared Mahalanobis distances, N > 0; NaN counts as infinite."""
    values = np.where(np.isnan(nees), np.inf, nees)
    finite = values[np.isfinite(values)]
    mean = float(finite.mean()) if len(finite) else math.nan
    middle = median_error(values)
    return NeesStatistics(
        num_frames=len(values),
        num_finite=len(finite),
        mean=mean,
        mean_per_dof=mean / dof,
        median=middle,
        median_per_expected=middle / float(chi_square_quantile(0.5, dof)),
    )


@dataclass(frozen=True)
class CalibrationBin:
    """Frames of about one probability, and how many of them were right."""

    num_frames: int
    mean_probability: float
    share_right: float


@dataclass(frozen=True)
class CalibrationError:
    """The expected calibration error: mean |share right - probability| over bins of equal mass.

    Args:
        value: 0 where every bin is right as often as it says. Of N frames some 0.4 (B / N)^0.5
            remain by chance alone.
        bins: From the least to the most certain.
    """

    value: float
    bins: tuple[CalibrationBin, ...]


def expected_calibration_error(
    probability: ArrayLike,
    right: npt.ArrayLike,
    *,
    num_bins: int = 10,
    min_frames_per_bin: int = 20,
) -> CalibrationError:
    """Compare stated probabilities with how often the answers are right.

    Args:
        probability: (N,) of the answer given, N > 0; NaN counts as 0: no answer, nothing
            promised.
        right: (N,) bool.
        num_bins: Bins of about equally many frames; frames of the same probability share one.
        min_frames_per_bin: With fewer frames there are fewer bins, at least one.

    Raises:
        ValueError: If there are no frames or the lengths differ.
    """
    stated = np.asarray(probability, dtype=np.float64)
    hits = np.asarray(right, dtype=bool)
    if stated.ndim != 1 or not len(stated) or stated.shape != hits.shape:
        raise ValueError(f"expected (N,) probabilities and flags: {stated.shape}, {hits.shape}")
    order = np.argsort(np.where(np.isnan(stated), 0.0, stated), kind="stable")
    ordered, hits = np.where(np.isnan(stated), 0.0, stated)[order], hits[order]
    count = max(1, min(num_bins, len(ordered) // min_frames_per_bin))
    places = np.linspace(0, len(ordered), count + 1).round().astype(int)[1:-1]
    # A border within equal probabilities moves behind them.
    borders = np.unique(np.searchsorted(ordered, ordered[places - 1], side="right"))
    pieces = zip(np.split(ordered, borders), np.split(hits, borders), strict=True)
    bins = tuple(
        CalibrationBin(len(some), float(some.mean()), float(good.mean()))
        for some, good in pieces
        if len(some)
    )
    gaps = [one.num_frames * abs(one.share_right - one.mean_probability) for one in bins]
    return CalibrationError(float(sum(gaps) / len(ordered)), bins)
