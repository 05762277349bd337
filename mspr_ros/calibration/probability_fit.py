"""Probabilities that mean what they say: temperatures of logits, and the odds of being right."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar

from mspr_ros.calibration.features import Temperatures, share
from mspr_ros.calibration.signals import Signals, Truth, probabilities
from mspr_ros.geometry import Array, as_float_tuple, rotation_angle_rad

# Log odds of being right, prior: deviations in proportion, the rest gently.
CONFIDENCE_PRIOR = (1.0, 1.0, 0.5, 0.5)


def right_answers(
    signals: Signals, truth: Truth, right_within: tuple[float, float]
) -> npt.NDArray[np.bool_]:
    """Tell which answers are in the right scene and within the limits, (N,)."""
    metres, degrees = right_within
    with np.errstate(invalid="ignore"):
        near = np.linalg.norm(signals.position - truth.position, axis=1) <= metres
        turned = rotation_angle_rad(signals.quat_xyzw, truth.quat_xyzw) <= math.radians(degrees)
    return np.asarray(near & turned & (signals.scene == truth.scene))


def fit_confidence(terms: Array, right: npt.NDArray[np.bool_]) -> tuple[float, ...]:
    """Fit log odds by a logistic regression whose weights keep their sign and their order."""
    terms = np.nan_to_num(terms)
    prior = np.array(CONFIDENCE_PRIOR)

    def loss(theta: Array) -> tuple[float, Array]:
        odds = theta[0] - terms @ theta[1:]
        signed = np.where(right, odds, -odds)
        slope = np.where(right, -1.0, 1.0) / (1.0 + np.exp(np.clip(signed, -50.0, 50.0)))
        gradient = np.concatenate([[slope.sum()], -terms.T @ slope])
        off = theta[1:] - prior
        gradient[1:] += 4.0 * off
        gradient[0] += 0.02 * theta[0]
        value = np.logaddexp(0.0, -signed).sum() + 2.0 * (off**2).sum() + 0.01 * theta[0] ** 2
        return float(value), gradient

    limits = [(-20.0, 20.0)] + [(0.05, 8.0)] * len(prior)
    result = minimize(
        loss, np.concatenate([[0.0], prior]), jac=True, method="L-BFGS-B", bounds=limits
    )
    return as_float_tuple(result.x)


def fit_temperatures(signals: Signals, truth: Truth) -> Temperatures:
    """Give the temperatures at which each kind of logits means what it says."""
    own = signals.scene == truth.scene
    return Temperatures(
        _temperature(signals.scene_logits, truth.scene),
        _temperature(signals.position_cluster_logits[own], truth.position_cluster[own]),
        _temperature(signals.orientation_cluster_logits[own], truth.orientation_cluster[own]),
    )


def _temperature(logits: Array, truth: npt.NDArray[np.int64]) -> float:
    """Give what logits are to be divided by; drawn towards 1, where few frames speak."""
    finite = np.isfinite(logits).all(axis=1)
    logits, truth = logits[finite], truth[finite]
    if len(logits) == 0 or logits.shape[1] < 2:
        return 1.0

    def loss(log_temperature: float) -> float:
        chosen = share(probabilities(logits, math.exp(log_temperature)), truth)
        return float(-np.log(np.maximum(chosen, 1e-300)).sum() + log_temperature**2)

    result = minimize_scalar(loss, bounds=(math.log(0.25), math.log(20.0)), method="bounded")
    return float(math.exp(result.x))
