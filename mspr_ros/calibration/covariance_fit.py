"""Fit how errors grow with what the network and the prototypes say of an answer.

The model of one part of the pose (position or orientation): the residual r of an answer has the
covariance s^2 (exp(2 w z) C + S), with C the base (the uncertainty head's, or the scene's), z the
standardised features, S the scatter of the clusters. w maximises a Student t likelihood, which
single gross errors do not rule, under a ridge; no weight may be negative, for none of the
features is a reason to be surer. s is not fitted: it is the conformal quantile of fit.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from mspr_ros.calibration.features import (
    FALLBACK_COVARIANCE,
    scaled,
    standardized,
    well_conditioned,
)
from mspr_ros.geometry import Array

Rows = npt.NDArray[np.int64]
# Degrees of freedom of the t distribution.
_TAIL = 4.0
# A scene is judged by its own frames from here on, else by all scenes' together.
MIN_SCENE_FRAMES = 60
MIN_SCENE_BLOCKS = 3
# A tail is told by more: these set the scale of a scene alone.
MIN_SCALE_BLOCKS = 20
# Twice the dimension: fewer say nothing of a 6x6 matrix.
LEAST_FRAMES = 12
# A millimetre and 0.02 degrees: no covariance is smaller.
FLOOR = np.diag([1e-6] * 3 + [1e-7] * 3)
# How far a scene's covariance is drawn towards one without correlations.
_SHRINK = 0.1
RIDGES = (1.0, 10.0, 100.0, 1e6)
# Weights are fitted to at most so many rows: they are few, and time at the end of training short.
_MAX_ROWS = 2000


@dataclass(frozen=True)
class Sample:
    """Answers in the right scene: what the model is fitted to.

    Args:
        scene: (N,) ids.
        block: (N,) ids of the blocks of time.
        residual: (N, 6).
        features: (N, F) not standardised.
        scatter: (N, 6, 6).
        head: (N, 6, 6) covariances of the uncertainty head; None without one.
    """

    scene: npt.NDArray[np.int64]
    block: npt.NDArray[np.int64]
    residual: Array
    features: Array
    scatter: Array
    head: Array | None

    def scene_rows(
        self, rows: Rows, scene: int, min_blocks: int = MIN_SCENE_BLOCKS
    ) -> tuple[Rows, bool]:
        """Give those of the rows that speak for a scene, and whether they are all scenes'."""
        own = rows[self.scene[rows] == scene]
        few = len(own) < MIN_SCENE_FRAMES or len(np.unique(self.block[own])) < min_blocks
        return (rows, True) if few else (own, False)


@dataclass(frozen=True)
class CovarianceFit:
    """A model fitted to some rows of a sample, before its scale is set.

    Args:
        base: (S, 6, 6); the identity where the head's covariances are the base.
        feature_mean: (S, F).
        feature_scale: (F,).
        position_weights, orientation_weights: (F,).
    """

    base: Array
    feature_mean: Array
    feature_scale: Array
    position_weights: Array
    orientation_weights: Array


def fit_covariance(
    sample: Sample, rows: Rows, num_scenes: int, ridge: float, names: tuple[str, ...]
) -> CovarianceFit:
    """Fit base, standardisation and weights to some rows.

    Args:
        sample: All of them.
        rows: Those to fit to.
        num_scenes: S.
        ridge: Strength with which weights are held at zero.
        names: Of the features.
    """
    mean = np.zeros((num_scenes, sample.features.shape[1]))
    base = np.tile(np.eye(6), (num_scenes, 1, 1))
    for scene in range(num_scenes):
        members, _ = sample.scene_rows(rows, scene)
        mean[scene] = sample.features[members].mean(axis=0)
        if sample.head is None:
            base[scene] = robust_covariance(sample.residual[members])
    centred = sample.features[rows] - mean[sample.scene[rows]]
    scale = np.maximum(centred.std(axis=0), 1e-3)
    fit = CovarianceFit(base, mean, scale, np.zeros(len(scale)), np.zeros(len(scale)))
    z = standardize(fit, sample, rows)
    covariance = base_of(fit, sample, rows)
    # With a head, its own deviation may count for less than it says, down to nothing.
    floors = [np.zeros(len(scale)), np.zeros(len(scale))]
    if sample.head is not None:
        floors[0][names.index("position_sigma")] = -scale[names.index("position_sigma")]
        floors[1][names.index("orientation_sigma")] = -scale[names.index("orientation_sigma")]
    some = slice(None, None, max(1, math.ceil(len(rows) / _MAX_ROWS)))
    weights = [
        _weights(
            z[some], covariance[some, part, part], sample.scatter[rows][some, part, part],
            sample.residual[rows][some, part], ridge, floor,
        )
        for part, floor in zip((slice(0, 3), slice(3, 6)), floors, strict=True)
    ]  # fmt: skip
    return CovarianceFit(base, mean, scale, *weights)


def standardize(fit: CovarianceFit, sample: Sample, rows: Rows) -> Array:
    """Give the (n, F) standardised features of some rows."""
    return standardized(
        sample.features[rows], fit.feature_mean[sample.scene[rows]], fit.feature_scale
    )


def base_of(fit: CovarianceFit, sample: Sample, rows: Rows) -> Array:
    """Give the (n, 6, 6) base covariances of some rows."""
    return fit.base[sample.scene[rows]] if sample.head is None else sample.head[rows]


def predict(fit: CovarianceFit, sample: Sample, rows: Rows) -> Array:
    """Give the (n, 6, 6) covariances of some rows, before the scale."""
    z = standardize(fit, sample, rows)
    grown = scaled(
        base_of(fit, sample, rows),
        np.exp(z @ fit.position_weights),
        np.exp(z @ fit.orientation_weights),
    )
    return well_conditioned(grown + sample.scatter[rows])


def robust_covariance(residual: Array) -> Array:
    """Give the (6, 6) scatter of (N, 6) residuals about zero, by a t distribution.

    About zero, not about their mean: a bias is an error as well.
    """
    if len(residual) == 0:
        return FALLBACK_COVARIANCE.copy()
    covariance = residual.T @ residual / len(residual) + FLOOR
    if len(residual) < LEAST_FRAMES:
        return np.diag(np.diag(covariance))
    for _ in range(10):
        squares = np.einsum("ni,ij,nj->n", residual, np.linalg.inv(covariance), residual)
        weight = (_TAIL + 6.0) / (_TAIL + squares)
        covariance = (residual * weight[:, None]).T @ residual / len(residual) + FLOOR
    alone = np.diag(np.diag(covariance))
    return np.asarray((1.0 - _SHRINK) * covariance + _SHRINK * alone)


def t_loss(covariance: Array, residual: Array) -> float:
    """Give the mean negative log likelihood of residuals (N, d) under (N, d, d), at best scale.

    The scale is set afterwards in any case, so that only the relative sizes are judged.
    """
    squares = np.einsum("ni,nij,nj->n", residual, np.linalg.inv(covariance), residual)
    dim = residual.shape[1]
    _, log_determinant = np.linalg.slogdet(covariance)
    log_scale = 0.5 * np.log(np.maximum(np.median(squares), 1e-12))
    ratio = squares * np.exp(-2.0 * log_scale)
    losses = dim * log_scale + 0.5 * log_determinant + _tail_loss(ratio, dim)
    return float(losses.mean())


def _tail_loss(squares: Array, dim: int) -> Array:
    return np.asarray(0.5 * (_TAIL + dim) * np.log1p(squares / _TAIL))


def _weights(
    z: Array, base: Array, spread: Array, residual: Array, ridge: float, floor: Array
) -> Array:
    """Maximise the likelihood over a common log scale and the features' weights (F,)."""
    dim = residual.shape[1]
    if z.shape[1] == 0 or len(z) < 2:
        return np.zeros(z.shape[1])
    # Axes in which base and scatter are both diagonal: the base 1, the scatter `extra`.
    root = np.linalg.cholesky(well_conditioned(base))
    inverse = np.linalg.inv(root)
    extra, axes = np.linalg.eigh(inverse @ spread @ np.swapaxes(inverse, 1, 2))
    extra = np.maximum(extra, 0.0)  # (N, dim)
    along = np.einsum("nji,njk,nk->ni", axes, inverse, residual) ** 2

    def loss(theta: Array) -> tuple[float, Array]:
        log_scale = np.clip(theta[0] + z @ theta[1:], -9.0, 9.0)
        grown = np.exp(2.0 * log_scale)[:, None]
        variance = grown + extra
        squares = (along / variance).sum(axis=1)
        value = (0.5 * np.log(variance).sum(axis=1) + _tail_loss(squares, dim)).sum()
        slope = (grown / variance).sum(axis=1)
        pull = (along * grown / variance**2).sum(axis=1)
        slope = slope - (_TAIL + dim) / (_TAIL + squares) * pull
        gradient = np.concatenate([[slope.sum()], z.T @ slope])
        gradient[1:] += 2.0 * ridge * theta[1:]
        return float(value + ridge * (theta[1:] ** 2).sum()), gradient

    limits = [(-6.0, 6.0), *((low, 3.0) for low in floor)]
    start = np.concatenate([[0.0], np.maximum(floor, 0.0)])
    result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits)
    return np.asarray(result.x[1:])
