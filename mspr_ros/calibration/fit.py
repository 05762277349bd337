"""Calibrate a network's answers on frames that it was not trained on.

Everything is judged in blocks of time: neighbouring frames err alike, and a fit that has seen the
one knows the other. Quantiles are taken of distances that a fit without the frame's own block
gave, and the coverage that is reported is that of scales set without it as well.
"""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from mspr_ros.calibration.assessment import (
    calibrated_covariance,
    compare,
    confidence_of,
    known_score,
    raw_known,
)
from mspr_ros.calibration.covariance_fit import CovarianceFit, Rows, Sample, fit_covariance
from mspr_ros.calibration.features import (
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
from mspr_ros.calibration.held_out import (
    best_ridge,
    block_folds,
    held_out_covariances,
    held_out_coverage,
    region_scales,
)
from mspr_ros.calibration.model import Calibration, SceneCalibration
from mspr_ros.calibration.probability_fit import (
    CONFIDENCE_PRIOR,
    fit_confidence,
    fit_temperatures,
    right_answers,
)
from mspr_ros.calibration.prototypes import Comparison, Prototypes
from mspr_ros.calibration.quantiles import lower_quantile
from mspr_ros.calibration.signals import Signals, Truth
from mspr_ros.geometry import Array, as_float_tuple

MIN_FRAMES = 20


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
    temperatures = fit_temperatures(signals, truth)
    comparison = compare(prototypes, signals)
    good = np.flatnonzero((signals.scene == truth.scene) & signals.is_finite)
    if len(good) < MIN_FRAMES:
        return None
    names = feature_names(signals, has_prototypes=prototypes is not None)
    votes = Votes.of(signals, temperatures)
    sample = _sample(signals, truth, comparison, names, votes, good)
    folds = block_folds(sample.block)
    ridge = best_ridge(sample, folds, len(scene_names), names)
    held_out = held_out_covariances(sample, folds, len(scene_names), ridge, names)
    fit = fit_covariance(sample, np.arange(len(good)), len(scene_names), ridge, names)
    scales = region_scales(sample, held_out, np.arange(len(good)), len(scene_names), options.level)
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
        feature_scale=as_float_tuple(fit.feature_scale),
        uses_head=sample.head is not None,
        position_weights=as_float_tuple(fit.position_weights),
        orientation_weights=as_float_tuple(fit.orientation_weights),
        scene_temperature=temperatures.scene,
        position_cluster_temperature=temperatures.position_cluster,
        orientation_cluster_temperature=temperatures.orientation_cluster,
        right_within=options.right_within,
        confidence=(0.0, *CONFIDENCE_PRIOR),
        level=options.level,
        false_reject_rate=options.false_reject_rate,
        coverage=held_out_coverage(sample, held_out, folds, len(scene_names), options.level),
    )
    return _with_thresholds(
        unfinished, signals, truth, votes, comparison, good, sample, held_out, scales
    )


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
        covariance=as_float_tuple(fit.base[number]),
        feature_mean=as_float_tuple(fit.feature_mean[number]),
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
    coefficients = fit_confidence(terms[finite], right[finite])
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


def _three(values: Array) -> tuple[float, float, float]:
    first, second, third = as_float_tuple(values)
    return first, second, third
