"""Say of answers how far off they may be, how likely they are right, and whether to use them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mspr_ros.calibration.features import (
    FALLBACK_COVARIANCE,
    Temperatures,
    Votes,
    confidence_terms,
    feature_matrix,
    head_covariance,
    log_of,
    scaled,
    scatter,
    share,
    sigmoid,
    standardized,
    well_conditioned,
)
from mspr_ros.calibration.model import Calibration
from mspr_ros.calibration.prototypes import Comparison, Prototypes
from mspr_ros.calibration.signals import Signals
from mspr_ros.geometry import Array


@dataclass(frozen=True)
class Assessment:
    """What is thought of N answers.

    Args:
        votes: What the logits say.
        scene_probability: (N,).
        covariance: (N, 6, 6).
        known_score: (N,) how familiar the image looks: about 0 for the usual one, -1 for one
            that is a standard deviation less familiar; NaN without prototypes.
        confidence: (N,).
    """

    votes: Votes
    scene_probability: Array
    covariance: Array
    known_score: Array
    confidence: Array


class Assessor:
    """Assess answers by a bundle's calibration, or without one as well as can be.

    Args:
        calibration: None where there is none.
        prototypes: None where there are none.
        scene_covariances: (S, 6, 6) of the scenes' errors on validation frames; NaN where they
            are not known.
        scene_forced: Whether the scene is given, not recognised.
    """

    def __init__(
        self,
        calibration: Calibration | None,
        prototypes: Prototypes | None,
        scene_covariances: Array,
        *,
        scene_forced: bool = False,
    ) -> None:
        self.calibration = calibration
        self.prototypes = prototypes
        self.scene_forced = scene_forced
        known = np.asarray(np.isfinite(scene_covariances).all(axis=(1, 2)))
        self._scene_covariances = np.where(
            known[:, None, None], scene_covariances, FALLBACK_COVARIANCE
        )
        self._temperatures = Temperatures()
        if calibration is not None:
            self._temperatures = temperatures_of(calibration)

    @property
    def temperatures(self) -> Temperatures:
        """What logits are divided by."""
        return self._temperatures

    def assess(self, signals: Signals, spread: Array | None = None) -> Assessment:
        """Assess answers; they need a descriptor where there are prototypes.

        Args:
            signals: The answers.
            spread: (N, 6, 6) covariances that are added, of turned views.
        """
        added = np.zeros((len(signals), 6, 6)) if spread is None else spread
        votes = Votes.of(signals, self._temperatures)
        probability = share(votes.scene, signals.scene)
        if self.scene_forced:
            probability = np.ones_like(probability)
        if self.calibration is None:
            return self._uncalibrated(signals, votes, probability, added)
        comparison = compare(self.prototypes, signals)
        covariance = calibrated_covariance(self.calibration, signals, votes, comparison) + added
        known = known_score(self.calibration, signals, comparison)
        terms = confidence_terms(covariance, known, probability, self.calibration.right_within)
        confidence = confidence_of(self.calibration.confidence, terms)
        return Assessment(votes, probability, covariance, known, confidence)

    def _uncalibrated(
        self, signals: Signals, votes: Votes, probability: Array, added: Array
    ) -> Assessment:
        covariance = (
            self._scene_covariances[signals.scene]
            if signals.position_factor is None
            else head_covariance(signals)
        )
        clusters = share(votes.position_cluster, signals.position_cluster) * share(
            votes.orientation_cluster, signals.orientation_cluster
        )
        return Assessment(
            votes,
            probability,
            covariance + added,
            known_score=np.full(len(signals), np.nan),
            confidence=probability * clusters,
        )

    def rejection(self, assessment: Assessment, row: int, min_confidence: float = 0.0) -> str:
        """Say why an answer is not to be used; empty where it may.

        Args:
            assessment: Of a batch.
            row: Which of them.
            min_confidence: What the caller asks for; 0 leaves it to the calibration.
        """
        known = float(assessment.known_score[row])
        confidence = float(assessment.confidence[row])
        min_known = self.calibration.min_known_score if self.calibration else None
        if min_known is not None and not known >= min_known:
            return (
                f"the image resembles no taught place: known score {known:.2f} is below "
                f"{min_known:.2f}"
            )
        limit = min_confidence
        if limit == 0.0 and self.calibration and self.calibration.min_confidence is not None:
            limit = self.calibration.min_confidence
        if not confidence >= limit:
            return f"confidence {confidence:.2f} is below {limit:.2f}"
        return ""


def temperatures_of(calibration: Calibration) -> Temperatures:
    """Give a calibration's temperatures."""
    return Temperatures(
        calibration.scene_temperature,
        calibration.position_cluster_temperature,
        calibration.orientation_cluster_temperature,
    )


def compare(prototypes: Prototypes | None, signals: Signals) -> Comparison | None:
    """Compare answers with the prototypes, where there are any."""
    if prototypes is None:
        return None
    assert signals.descriptor is not None and signals.embedding is not None
    return prototypes.compare(
        signals.descriptor, signals.embedding, signals.scene, signals.position, signals.quat_xyzw
    )


def calibrated_covariance(
    calibration: Calibration, signals: Signals, votes: Votes, comparison: Comparison | None
) -> Array:
    """Give the (N, 6, 6) covariances: s^2 (exp(2 w z) base + scatter of the clusters)."""
    infos = [calibration.scenes[number] for number in signals.scene]
    mean = np.array([info.feature_mean for info in infos]).reshape(len(signals), -1)
    features = feature_matrix(signals, comparison, calibration.features, votes)
    z = standardized(features, mean, np.array(calibration.feature_scale))
    base = (
        head_covariance(signals)
        if calibration.uses_head
        else np.array([info.covariance for info in infos]).reshape(-1, 6, 6)
    )
    exponents = (
        z @ np.array(calibration.position_weights),
        z @ np.array(calibration.orientation_weights),
    )
    spread = scaled(base, *(np.exp(exponent) for exponent in exponents))
    spread = well_conditioned(spread + scatter(signals, votes))
    return scaled(
        spread,
        np.array([info.position_scale for info in infos]),
        np.array([info.orientation_scale for info in infos]),
    )


def raw_known(comparison: Comparison) -> Array:
    """Give what tells unknown places, (N, 3): logs of distance, strangeness and novelty."""
    names = ("distance", "strangeness", "novelty")
    return np.stack([log_of(name, comparison) for name in names], axis=1)


def known_score(
    calibration: Calibration, signals: Signals, comparison: Comparison | None
) -> Array:
    """Give the (N,) familiarity of the images; NaN without prototypes.

    The lesser of two: of the looks (distance and strangeness), and of what the decoders make of
    them. Other rooms look alike, spoiled pictures may not seem novel.
    """
    if comparison is None:
        return np.full(len(signals), np.nan)
    infos = [calibration.scenes[number] for number in signals.scene]
    mean = np.array([info.known_mean for info in infos])
    deviation = np.array([info.known_deviation for info in infos])
    familiar = (mean - raw_known(comparison)) / deviation
    return np.asarray(np.minimum(familiar[:, :2].mean(axis=1), familiar[:, 2]))


def confidence_of(coefficients: tuple[float, ...], terms: Array) -> Array:
    """Give probabilities of being right, (N,), of the terms of `confidence_terms`."""
    intercept, *weights = coefficients
    known = np.nan_to_num(terms)  # no prototypes, no word on familiarity
    return sigmoid(intercept - known @ np.array(weights))
