"""Calibrate a network's answers on frames that it was not trained on.

Everything is judged in blocks of time: neighbouring frames err alike, and a fit that has seen the
one knows the other. Quantiles are taken of distances that a fit without the frame's own block
gave, and the coverage that is reported is that of scales set without it as well.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit

from mspr_ros.calibration.assessment import (
    calibrated_covariance,
    compare,
    confidence_of,
    known_score,
    raw_known,
)
from mspr_ros.calibration.covariance_fit import (
    MIN_SCALE_BLOCKS,
    RIDGES,
    CovarianceFit,
    Rows,
    Sample,
    fit_covariance,
    predict,
    t_loss,
)
from mspr_ros.calibration.features import (
    Temperatures,
    Votes,
    confidence_terms,
    feature_matrix,
    feature_names,
    head_covariance,
    scaled,
    scatter,
    share,
    turns,
)
from mspr_ros.calibration.model import Calibration, Coverage, SceneCalibration
from mspr_ros.calibration.prototypes import Comparison, Prototypes
from mspr_ros.calibration.quantiles import chi_square_quantile, lower_quantile, upper_quantile
from mspr_ros.calibration.signals import Signals, probabilities
from mspr_ros.geometry import Array, rotation_angle_rad

MIN_FRAMES = 20
_MAX_FOLDS = 10
_LEVELS = (0.5, 0.9, 0.95, 0.99)
_PARTS = (slice(0, 3), slice(3, 6))
# Log odds of being right, prior: deviations in proportion, the rest gently.
_CONFIDENCE_PRIOR = (1.0, 1.0, 0.5, 0.5)


@dataclass(frozen=True)
class Truth:
    """What is true of the frames.

    Args:
        scene: (N,) ids.
        position: (N, 3) metres.
        quat_xyzw: (N, 4) map_from_cam.
        block: (N,) ids of blocks of time.
        position_cluster, orientation_cluster: (N,) ids.
    """

    scene: npt.NDArray[np.int64]
    position: Array
    quat_xyzw: Array
    block: npt.NDArray[np.int64]
    position_cluster: npt.NDArray[np.int64]
    orientation_cluster: npt.NDArray[np.int64]


@dataclass(frozen=True)
class CalibrationOptions:
    """What a calibration aims at.

    Args:
        right_within: Metres and degrees within which an answer counts as right.
        false_reject_rate: Share of answers in the right place that the thresholds may refuse.
        level: Of the regions whose coverage the covariance is scaled for.
        source: What frames it is made on, for the record.
    """

    right_within: tuple[float, float] = (0.25, 5.0)
    false_reject_rate: float = 0.02
    level: float = 0.95
    source: str = ""


def calibrate(
    signals: Signals,
    truth: Truth,
    scene_names: tuple[str, ...],
    prototypes: Prototypes | None,
    options: CalibrationOptions = CalibrationOptions(),
) -> Calibration | None:
    """Fit a calibration; None where fewer than 20 answers are in the right scene."""
    temperatures = _temperatures(signals, truth)
    comparison = compare(prototypes, signals)
    good = np.flatnonzero((signals.scene == truth.scene) & signals.is_finite)
    if len(good) < MIN_FRAMES:
        return None
    names = feature_names(signals, has_prototypes=prototypes is not None)
    votes = Votes.of(signals, temperatures)
    sample = _sample(signals, truth, comparison, names, votes, good)
    folds = block_folds(sample.block)
    ridge = _best_ridge(sample, folds, len(scene_names), names)
    held_out = _held_out(sample, folds, len(scene_names), ridge, names)
    fit = fit_covariance(sample, np.arange(len(good)), len(scene_names), ridge, names)
    scales = _scales(sample, held_out, np.arange(len(good)), len(scene_names), options.level)
    known = _known_statistics(sample, comparison, good, len(scene_names))
    scenes = tuple(
        _scene(number, name, sample, fit, scales, known) for number, name in enumerate(scene_names)
    )
    unfinished = Calibration(
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        source=options.source,
        num_frames=len(signals),
        num_blocks=len(np.unique(truth.block)),
        scenes=scenes,
        features=names,
        feature_scale=_floats(fit.feature_scale),
        uses_head=sample.head is not None,
        position_weights=_floats(fit.position_weights),
        orientation_weights=_floats(fit.orientation_weights),
        scene_temperature=temperatures.scene,
        position_cluster_temperature=temperatures.position_cluster,
        orientation_cluster_temperature=temperatures.orientation_cluster,
        right_within=options.right_within,
        confidence=(0.0, *_CONFIDENCE_PRIOR),
        level=options.level,
        false_reject_rate=options.false_reject_rate,
        coverage=_coverage(sample, held_out, folds, len(scene_names), options.level),
    )
    return _with_thresholds(
        unfinished, signals, truth, votes, comparison, good, sample, held_out, scales
    )


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


def _sample(
    signals: Signals,
    truth: Truth,
    comparison: Comparison | None,
    names: tuple[str, ...],
    votes: Votes,
    good: Rows,
) -> Sample:
    residual = np.hstack(
        [signals.position - truth.position, turns(signals.quat_xyzw, truth.quat_xyzw)]
    )
    has_head = signals.position_factor is not None
    return Sample(
        scene=signals.scene[good],
        block=truth.block[good],
        residual=residual[good],
        features=feature_matrix(signals, comparison, names, votes)[good],
        scatter=scatter(signals, votes)[good],
        head=head_covariance(signals)[good] if has_head else None,
    )


def _others(fold: Rows, count: int) -> Rows:
    rows = np.setdiff1d(np.arange(count), fold)
    return rows if len(rows) else fold


def _held_out(
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


def _best_ridge(
    sample: Sample, folds: list[Rows], num_scenes: int, names: tuple[str, ...]
) -> float:
    if not names or len(folds) < 2:
        return RIDGES[-1]
    losses = []
    for ridge in RIDGES:
        covariance = _held_out(sample, folds, num_scenes, ridge, names)
        losses.append(
            sum(t_loss(covariance[:, part, part], sample.residual[:, part]) for part in _PARTS)
        )
    return RIDGES[int(np.argmin(losses))]


def _squares(covariance: Array, residual: Array, part: slice) -> Array:
    inverse = np.linalg.inv(covariance[:, part, part])
    return np.asarray(np.einsum("ni,nij,nj->n", residual[:, part], inverse, residual[:, part]))


def _scales(sample: Sample, covariance: Array, rows: Rows, num_scenes: int, level: float) -> Array:
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


def _coverage(
    sample: Sample, covariance: Array, folds: list[Rows], num_scenes: int, level: float
) -> tuple[Coverage, ...]:
    """Count how often regions cover, with scales set on the other folds."""
    finished = np.empty_like(covariance)
    for fold in folds:
        rows = _others(fold, len(sample.scene))
        scales = _scales(sample, covariance, rows, num_scenes, level)[sample.scene[fold]]
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


def _known_statistics(
    sample: Sample, comparison: Comparison | None, good: Rows, num_scenes: int
) -> Array:
    """Give (S, 2, 3), means and deviations of `raw_known` of answers in the right scene."""
    statistics = np.tile([[0.0] * 3, [1.0] * 3], (num_scenes, 1, 1))
    if comparison is None:
        return statistics
    raw = raw_known(comparison)[good]
    for scene in range(num_scenes):
        members, _ = sample.scene_rows(np.arange(len(good)), scene)
        statistics[scene, 0] = raw[members].mean(axis=0)
        statistics[scene, 1] = np.maximum(raw[members].std(axis=0), 1e-3)
    return statistics


def _scene(
    number: int, name: str, sample: Sample, fit: CovarianceFit, scales: Array, known: Array
) -> SceneCalibration:
    own = np.flatnonzero(sample.scene == number)
    _, pooled = sample.scene_rows(np.arange(len(sample.scene)), number)
    return SceneCalibration(
        name=name,
        num_frames=len(own),
        num_blocks=len(np.unique(sample.block[own])),
        pooled=pooled,
        covariance=_floats(fit.base[number].ravel()),
        feature_mean=_floats(fit.feature_mean[number]),
        position_scale=float(scales[number, 0]),
        orientation_scale=float(scales[number, 1]),
        known_mean=_three(known[number, 0]),
        known_deviation=_three(known[number, 1]),
    )


def _with_thresholds(
    unfinished: Calibration,
    signals: Signals,
    truth: Truth,
    votes: Votes,
    comparison: Comparison | None,
    good: Rows,
    sample: Sample,
    held_out: Array,
    scales: Array,
) -> Calibration:
    """Learn confidence and thresholds, of held-out covariances."""
    covariance = calibrated_covariance(unfinished, signals, votes, comparison)
    covariance[good] = scaled(held_out, *scales[sample.scene].T)
    known = known_score(unfinished, signals, comparison)
    probability = share(votes.scene, signals.scene)
    terms = confidence_terms(covariance, known, probability, unfinished.right_within)
    right = right_answers(signals, truth, unfinished.right_within)
    finite = np.flatnonzero(signals.is_finite)
    coefficients = _fit_confidence(terms[finite], right[finite])
    confidence = confidence_of(coefficients, terms)
    log_odds = logit(np.clip(confidence, 1e-12, 1.0 - 1e-12))
    rate = unfinished.false_reject_rate / 2.0  # half of what may be refused for each threshold
    judged = np.flatnonzero(right) if right.sum() >= MIN_FRAMES else good
    min_known = (
        None if comparison is None else lower_quantile(known[good], truth.block[good], rate)
    )
    min_confidence = float(expit(lower_quantile(log_odds[judged], truth.block[judged], rate)))
    refused = confidence[good] < min_confidence
    if min_known is not None:
        refused |= known[good] < min_known
    return dataclasses.replace(
        unfinished,
        confidence=coefficients,
        min_known_score=min_known,
        min_confidence=min_confidence,
        rejected=float(refused.mean()),
    )


def right_answers(
    signals: Signals, truth: Truth, right_within: tuple[float, float]
) -> npt.NDArray[np.bool_]:
    """Tell which answers are in the right scene and within the limits, (N,)."""
    metres, degrees = right_within
    with np.errstate(invalid="ignore"):
        near = np.linalg.norm(signals.position - truth.position, axis=1) <= metres
        turned = rotation_angle_rad(signals.quat_xyzw, truth.quat_xyzw) <= math.radians(degrees)
    return np.asarray(near & turned & (signals.scene == truth.scene))


def _fit_confidence(terms: Array, right: npt.NDArray[np.bool_]) -> tuple[float, ...]:
    """Fit log odds by a logistic regression whose weights keep their sign and their order."""
    terms = np.nan_to_num(terms)
    prior = np.array(_CONFIDENCE_PRIOR)

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
    return _floats(result.x)


def _temperatures(signals: Signals, truth: Truth) -> Temperatures:
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
        table = probabilities(logits, math.exp(log_temperature))
        chosen = np.take_along_axis(table, truth[:, None], axis=1)
        return float(-np.log(np.maximum(chosen, 1e-300)).sum() + log_temperature**2)

    result = minimize_scalar(loss, bounds=(math.log(0.25), math.log(20.0)), method="bounded")
    return float(math.exp(result.x))


def _three(values: Array) -> tuple[float, float, float]:
    first, second, third = _floats(values)
    return first, second, third


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
