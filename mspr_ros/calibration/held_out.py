"""Folds of whole blocks, and what is learned and judged on frames that a fit has not seen."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from mspr_ros.calibration.covariance_fit import (
    MIN_SCALE_BLOCKS,
    RIDGES,
    Rows,
    Sample,
    fit_covariance,
    predict,
    t_loss,
)
from mspr_ros.calibration.features import scaled
from mspr_ros.calibration.model import Coverage
from mspr_ros.calibration.quantiles import chi_square_quantile, upper_quantile
from mspr_ros.geometry import Array

_MAX_FOLDS = 10
_LEVELS = (0.5, 0.9, 0.95, 0.99)
_PARTS = (slice(0, 3), slice(3, 6))


def block_folds(block: npt.NDArray[np.int64]) -> list[Rows]:
    """Divide frames into at most ten folds of whole blocks, about equally large.

    A single block gives a single fold: there is nothing to hold out then.
    """
    numbers, sizes = np.unique(block, return_counts=True)
    count = min(_MAX_FOLDS, len(numbers))
    filled = np.zeros(count)
    fold_of = {}
    for place in np.argsort(-sizes, kind="stable"):
        fold = int(np.argmin(filled))
        fold_of[int(numbers[place])] = fold
        filled[fold] += sizes[place]
    folds = np.array([fold_of[int(number)] for number in block])
    return [np.flatnonzero(folds == fold) for fold in range(count)]


def _others(fold: Rows, count: int) -> Rows:
    rows = np.setdiff1d(np.arange(count), fold)
    return rows if len(rows) else fold


def held_out_covariances(
    sample: Sample, folds: list[Rows], num_scenes: int, ridge: float, names: tuple[str, ...]
) -> Array:
    """Give the (N, 6, 6) covariances of fits that have not seen the frame's block."""
    covariance = np.empty((len(sample.scene), 6, 6))
    for fold in folds:
        rows = _others(fold, len(sample.scene))
        covariance[fold] = predict(
            fit_covariance(sample, rows, num_scenes, ridge, names), sample, fold
        )
    return covariance


def best_ridge(
    sample: Sample, folds: list[Rows], num_scenes: int, names: tuple[str, ...]
) -> float:
    """Give the ridge whose fits foretell best what they have not seen."""
    if not names or len(folds) < 2:
        return RIDGES[-1]
    losses = []
    for ridge in RIDGES:
        covariance = held_out_covariances(sample, folds, num_scenes, ridge, names)
        losses.append(
            sum(t_loss(covariance[:, part, part], sample.residual[:, part]) for part in _PARTS)
        )
    return RIDGES[int(np.argmin(losses))]


def _squares(covariance: Array, residual: Array, part: slice) -> Array:
    inverse = np.linalg.inv(covariance[:, part, part])
    return np.asarray(np.einsum("ni,nij,nj->n", residual[:, part], inverse, residual[:, part]))


def region_scales(
    sample: Sample, covariance: Array, rows: Rows, num_scenes: int, level: float
) -> Array:
    """Give (S, 2) factors that make the regions of held-out covariances cover as they say."""
    scales = np.empty((num_scenes, 2))
    squares = [_squares(covariance, sample.residual, part) for part in _PARTS]
    limit = chi_square_quantile(level, 3)
    for scene in range(num_scenes):
        members, _ = sample.scene_rows(rows, scene, MIN_SCALE_BLOCKS)
        for place in range(2):
            logarithms = np.log(np.maximum(squares[place][members], 1e-9))
            quantile = math.exp(upper_quantile(logarithms, sample.block[members], level))
            scales[scene, place] = math.sqrt(quantile / limit)
    return scales


def held_out_coverage(
    sample: Sample, covariance: Array, folds: list[Rows], num_scenes: int, level: float
) -> tuple[Coverage, ...]:
    """Count how often regions cover, with scales set on the other folds."""
    finished = np.empty_like(covariance)
    for fold in folds:
        rows = _others(fold, len(sample.scene))
        scales = region_scales(sample, covariance, rows, num_scenes, level)[sample.scene[fold]]
        finished[fold] = scaled(covariance[fold], scales[:, 0], scales[:, 1])
    parts = {"position": slice(0, 3), "orientation": slice(3, 6), "both": slice(0, 6)}
    squares = {name: _squares(finished, sample.residual, part) for name, part in parts.items()}
    result = []
    for nominal in _LEVELS:
        shares = {
            name: float(
                np.mean(squares[name] <= chi_square_quantile(nominal, part.stop - part.start))
            )
            for name, part in parts.items()
        }
        result.append(Coverage(nominal, shares["position"], shares["orientation"], shares["both"]))
    return tuple(result)
