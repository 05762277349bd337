"""From what a network says to numbers that tell good answers from bad ones.

Letters: N frames, F features. Covariances are of x y z, then of the rotation vector about the
map's fixed axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from mspr_ros.calibration.model import FEATURES
from mspr_ros.calibration.prototypes import Comparison
from mspr_ros.calibration.signals import Signals, probabilities
from mspr_ros.geometry import Array

# Standardised features further out say no more than this.
_REACH = 4.0
# Keep logarithms off zero: of distances in metres, radians and probabilities.
_TINY_GAP_M, _TINY_GAP_RAD = 0.01, math.radians(0.5)
# A scene without prototypes is infinitely far from them.
_FAR = 1e6
# Where neither head nor validation frame ever told: a metre and a quarter turn.
FALLBACK_COVARIANCE = np.diag([1.0, 1.0, 1.0, 2.5, 2.5, 2.5])


@dataclass(frozen=True)
class Temperatures:
    """What logits are divided by: of scenes, of position and of orientation clusters."""

    scene: float = 1.0
    position_cluster: float = 1.0
    orientation_cluster: float = 1.0


@dataclass(frozen=True)
class Votes:
    """Probabilities, made of logits.

    Args:
        scene: (N, S).
        position_cluster: (N, Kp), in the scene answered for.
        orientation_cluster: (N, Ko), likewise.
    """

    scene: Array
    position_cluster: Array
    orientation_cluster: Array

    @classmethod
    def of(cls, signals: Signals, temperatures: Temperatures) -> Votes:
        """Count the votes of answers."""
        return cls(
            probabilities(signals.scene_logits, temperatures.scene),
            probabilities(signals.position_cluster_logits, temperatures.position_cluster),
            probabilities(signals.orientation_cluster_logits, temperatures.orientation_cluster),
        )


def share(table: Array, chosen: npt.NDArray[np.int64]) -> Array:
    """Give the (N,) probabilities in a table (N, K) of those chosen, (N,) ids."""
    return np.asarray(table[np.arange(len(chosen)), chosen])


def feature_names(signals: Signals, *, has_prototypes: bool) -> tuple[str, ...]:
    """Name the features that there are, in the order of `FEATURES`."""
    there = {
        "position_sigma": signals.position_factor is not None,
        "orientation_sigma": signals.orientation_factor is not None,
        "distance": has_prototypes,
        "strangeness": has_prototypes,
        "novelty": has_prototypes,
        "position_gap": has_prototypes,
        "orientation_gap": has_prototypes,
        "scene_entropy": signals.scene_logits.shape[1] > 1,
        "cluster_entropy": _num_clusters(signals) > 2,
    }
    return tuple(name for name in FEATURES if there[name])


def feature_matrix(
    signals: Signals,
    comparison: Comparison | None,
    names: tuple[str, ...],
    votes: Votes,
) -> Array:
    """Give the features, (N, F), before they are standardised."""
    columns = [_feature(name, signals, comparison, votes) for name in names]
    return np.stack(columns, axis=1) if columns else np.zeros((len(signals), 0))


def _feature(name: str, signals: Signals, comparison: Comparison | None, votes: Votes) -> Array:
    if name == "scene_entropy":
        return _entropy(votes.scene)
    if name == "cluster_entropy":
        return _entropy(votes.position_cluster) + _entropy(votes.orientation_cluster)
    if name.endswith("sigma"):
        of_position = name == "position_sigma"
        factor = signals.position_factor if of_position else signals.orientation_factor
        assert factor is not None, "the bundle's calibration needs its uncertainty head"
        diagonal = np.diagonal(factor, axis1=1, axis2=2)
        return np.asarray(np.log(diagonal).mean(axis=1))
    assert comparison is not None, "the bundle's calibration needs its prototypes"
    return log_of(name, comparison)


def log_of(name: str, comparison: Comparison) -> Array:
    """Give the (N,) logarithms of what a comparison with prototypes says, by its name."""
    values, tiny = {
        "distance": (comparison.distance, 1e-3),
        "strangeness": (comparison.strangeness, 1e-6),
        "novelty": (comparison.novelty, 1e-6),
        "position_gap": (comparison.position_gap, _TINY_GAP_M),
        "orientation_gap": (comparison.orientation_gap, _TINY_GAP_RAD),
    }[name]
    return np.asarray(np.log(np.minimum(values, _FAR) + tiny))


def standardized(features: Array, mean: Array, scale: Array) -> Array:
    """Give (N, F) features less their scene's mean (N, F), over their deviation (F,).

    Far ones are cut off, and what is not finite counts as far: no exponent runs away.
    """
    with np.errstate(invalid="ignore"):
        z = (features - mean) / scale
    return np.asarray(np.clip(np.where(np.isfinite(z), z, _REACH), -_REACH, _REACH))


def head_covariance(signals: Signals) -> Array:
    """Give the (N, 6, 6) covariances of the uncertainty head."""
    assert signals.position_factor is not None and signals.orientation_factor is not None
    covariance = np.zeros((len(signals), 6, 6))
    for rows, factor in (
        (slice(0, 3), signals.position_factor),
        (slice(3, 6), signals.orientation_factor),
    ):
        covariance[:, rows, rows] = factor @ np.swapaxes(factor, 1, 2)
    return covariance


def scatter(signals: Signals, votes: Votes) -> Array:
    """Give the (N, 6, 6) second moments of all clusters' answers about the one that is given.

    Weighted by the clusters' probabilities: a split vote spreads the answer over both.
    """
    spread = np.zeros((len(signals), 6, 6))
    if _num_clusters(signals) == 2:
        return spread  # one answer a task: nothing to scatter
    shift = signals.position_candidates - signals.position[:, None]  # (N, Kp, 3)
    turn = turns(signals.orientation_candidates, signals.quat_xyzw[:, None])  # (N, Ko, 3)
    for rows, weight, apart in (
        (slice(0, 3), votes.position_cluster, shift),
        (slice(3, 6), votes.orientation_cluster, turn),
    ):
        spread[:, rows, rows] = np.swapaxes(apart * weight[:, :, None], 1, 2) @ apart
    return np.where(np.isfinite(spread), spread, 0.0)


def scaled(covariance: Array, position: Array, orientation: Array) -> Array:
    """Multiply deviations: (N, 6, 6) by factors (N,) of position and (N,) of orientation."""
    factors = np.repeat(np.stack([position, orientation], axis=1), 3, axis=1)  # (N, 6)
    return np.asarray(covariance * factors[:, :, None] * factors[:, None, :])


def well_conditioned(covariance: Array) -> Array:
    """Keep (N, d, d) covariances from being flat: two clusters scatter along a line."""
    trace = np.trace(covariance, axis1=1, axis2=2)
    return np.asarray(
        covariance + (1e-8 * trace + 1e-12)[:, None, None] * np.eye(covariance.shape[1])
    )


def turns(quat_xyzw: Array, from_xyzw: Array) -> Array:
    """Give rotation vectors r about the map's axes with R = exp(r) R_from; zero if not finite.

    Shape: (..., 4), broadcast against (..., 4) -> (..., 3).
    """
    to, origin = np.broadcast_arrays(quat_xyzw, from_xyzw)
    usable = np.isfinite(to).all(axis=-1) & np.isfinite(origin).all(axis=-1)
    vectors = np.zeros((*to.shape[:-1], 3))
    if usable.any():
        turned = Rotation.from_quat(to[usable]) * Rotation.from_quat(origin[usable]).inv()
        vectors[usable] = turned.as_rotvec()
    return vectors


def confidence_terms(
    covariance: Array, known_score: Array, probability: Array, right_within: tuple[float, float]
) -> Array:
    """Give the (N, 4) terms that speak against an answer.

    They are the log deviations of position and orientation over what counts as right, how
    unfamiliar the image looks, and the log odds against the scene.
    """
    metres, degrees = right_within
    position = np.sqrt(np.trace(covariance[:, :3, :3], axis1=1, axis2=2) / 3.0)
    orientation = np.sqrt(np.trace(covariance[:, 3:, 3:], axis1=1, axis2=2) / 3.0)
    chance = np.clip(np.nan_to_num(probability), 1e-6, 1.0 - 1e-6)
    return np.stack(
        [
            np.log(np.maximum(position, 1e-9) / metres),
            np.log(np.maximum(orientation, 1e-9) / math.radians(degrees)),
            np.clip(-known_score, -_REACH, 2.0 * _REACH),
            np.log((1.0 - chance) / chance),
        ],
        axis=1,
    )


def sigmoid(log_odds: Array) -> Array:
    """Give probabilities of log odds."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * log_odds)))


def _entropy(table: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(table > 0.0, table * np.log(table), 0.0)
    return np.asarray(-terms.sum(axis=-1))


def _num_clusters(signals: Signals) -> int:
    tasks = (signals.position_cluster_logits, signals.orientation_cluster_logits)
    return sum(int(logits.shape[1]) for logits in tasks)
