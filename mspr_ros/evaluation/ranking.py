"""Measure whether uncertainty puts the bad frames last, and strangers below friends.

NumPy only. Ties are never broken by the order of the frames: frames of equal
uncertainty take part with the mean over all orders they could stand in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mspr_ros.geometry import Array, ArrayLike


def remaining_means(values: ArrayLike, uncertainty: ArrayLike) -> Array:
    """Give the means of the k most certain frames' values, k = 1 to N.

    Args:
        values: (N,) finite.
        uncertainty: (N,); NaN counts as the most uncertain.

    Returns:
        (N,); entry k - 1 is exactly the expected mean where ties are broken by chance.
    """
    numbers = np.asarray(values, dtype=np.float64)
    uncertain = np.asarray(uncertainty, dtype=np.float64)
    _, group = np.unique(np.where(np.isnan(uncertain), np.inf, uncertain), return_inverse=True)
    sums, counts = np.bincount(group, weights=numbers), np.bincount(group)
    ordered = np.repeat(sums / np.maximum(counts, 1), counts)
    means: Array = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    return means


@dataclass(frozen=True)
class Sparsification:
    """Mean errors of the frames that remain after rejecting the most uncertain ones.

    Args:
        remaining: (N,) share of the frames that remain, rising to 1.
        by_uncertainty, by_error: (N,) mean error then; `by_error` is the oracle's order.
        mean_error: Of all frames: what a random order keeps at any rejection.
    """

    remaining: Array
    by_uncertainty: Array
    by_error: Array
    mean_error: float

    @property
    def ause(self) -> float:
        """The area between the curve and the oracle's, in the error's unit; 0 is perfect."""
        return float(np.mean(self.by_uncertainty - self.by_error)) if len(self.by_error) else 0.0

    @property
    def random_ause(self) -> float:
        """The area that a random order leaves."""
        return float(np.mean(self.mean_error - self.by_error)) if len(self.by_error) else 0.0

    @property
    def ratio(self) -> float:
        """`ause` over `random_ause`; NaN where all errors are equal, so no order is better."""
        random = self.random_ause
        return self.ause / random if random > 1e-12 * max(self.mean_error, 1e-300) else math.nan


def sparsification(errors: ArrayLike, uncertainty: ArrayLike) -> Sparsification:
    """Follow the mean error while the most uncertain frames are rejected one by one.

    Args:
        errors: (N,) finite, not negative. A frame without a finite answer is rejected whatever
            its uncertainty: leave it out here and count it beside.
        uncertainty: (N,); NaN counts as the most uncertain.

    Raises:
        ValueError: If an error is not finite or the lengths differ.
    """
    values, uncertain = np.asarray(errors, np.float64), np.asarray(uncertainty, np.float64)
    if values.ndim != 1 or values.shape != uncertain.shape or not np.isfinite(values).all():
        raise ValueError("expected (N,) finite errors and as many uncertainties")
    return Sparsification(
        np.arange(1, len(values) + 1) / max(len(values), 1),
        remaining_means(values, uncertain),
        remaining_means(values, values),
        float(values.mean()) if len(values) else math.nan,
    )


@dataclass(frozen=True)
class RiskCoverage:
    """The share of wrong answers among those kept, against the share of frames kept.

    Args:
        coverage: (N,) share of all frames that are kept, the most confident first.
        risk: (N,) share of wrong answers among them.
        oracle_risk: (N,) where all right answers come first.
    """

    coverage: Array
    risk: Array
    oracle_risk: Array

    @property
    def area(self) -> float:
        """The area under the curve (AURC): the mean risk over all coverages; 0 is perfect."""
        return float(np.mean(self.risk))

    @property
    def oracle_area(self) -> float:
        """The least area that any order of these answers could have."""
        return float(np.mean(self.oracle_risk))

    @property
    def random_area(self) -> float:
        """The share of wrong answers: what a random order has at any coverage."""
        return float(self.risk[-1])


def risk_coverage(wrong: npt.ArrayLike, confidence: ArrayLike) -> RiskCoverage:
    """Follow the share of wrong answers while less and less confident ones are kept as well.

    Args:
        wrong: (N,) bool, N > 0; True for a frame without an answer.
        confidence: (N,); NaN counts as the least.
    """
    flags = np.asarray(wrong, dtype=bool).astype(np.float64)
    coverage = np.arange(1, len(flags) + 1) / len(flags)
    doubt = -np.asarray(confidence, dtype=np.float64)
    return RiskCoverage(coverage, remaining_means(flags, doubt), remaining_means(flags, flags))


@dataclass(frozen=True)
class RejectionGain:
    """What rejecting the most uncertain frames does to a high quantile of the error.

    Args:
        before: The quantile over all frames; inf where failures reach into it.
        after: Over those that remain.
        oracle: Over those that remain where the worst are rejected instead.
    """

    before: float
    after: float
    oracle: float

    @property
    def share(self) -> float:
        """(before - after) / (before - oracle); NaN where there was nothing to gain."""
        if self.before == self.oracle:
            return math.nan
        if math.isinf(self.before):
            return 0.0 if math.isinf(self.after) else 1.0
        return (self.before - self.after) / (self.before - self.oracle)


def rejection_gain(
    errors: ArrayLike, uncertainty: ArrayLike, *, rejected: float = 0.1, quantile: float = 0.95
) -> RejectionGain:
    """Reject a share of the frames by uncertainty, and by error as the oracle would.

    Args:
        errors: (N,) not negative, N > 0; not finite for a failure, which is rejected first.
        uncertainty: (N,); NaN counts as the most uncertain. Frames that tie at the border
            remain in part, all with the same weight.
        rejected: Share of all frames, 0 to below 1.
        quantile: Of the error: the least one that this share of the frames does not exceed.
    """
    values = np.asarray(errors, dtype=np.float64)
    values = np.where(np.isfinite(values), values, np.inf)
    doubt = np.where(np.isfinite(values), np.asarray(uncertainty, dtype=np.float64), np.inf)
    # Failures behind all that have an answer, however uncertain.
    _, rank = np.unique(np.where(np.isnan(doubt), np.inf, doubt), return_inverse=True)
    rank = np.where(np.isfinite(values), rank, rank.max() + 1)
    kept = (1.0 - rejected) * len(values)
    return RejectionGain(
        _weighted_quantile(values, np.ones(len(values)), quantile),
        _weighted_quantile(values, _kept_weights(rank, kept), quantile),
        _weighted_quantile(values, _kept_weights(values, kept), quantile),
    )


def _kept_weights(doubt: npt.NDArray[np.generic], kept: float) -> Array:
    """Keep `kept` frames of least doubt: 1 below the border, equal parts for those on it."""
    _, group, counts = np.unique(doubt, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts
    weights: Array = np.clip((kept - before) / counts, 0.0, 1.0)[group]
    return weights


def _weighted_quantile(values: Array, weights: Array, quantile: float) -> float:
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    place = np.searchsorted(cumulative, quantile * cumulative[-1] - 1e-9)
    return float(values[order][min(int(place), len(values) - 1)])


def auroc(known_scores: ArrayLike, unknown_scores: ArrayLike) -> float:
    """Give the chance that a known frame scores higher than an unknown one, ties for a half.

    Args:
        known_scores: (N,) of taught places, higher meaning more familiar; NaN, of a frame
            without an answer, scores lower than any number.
        unknown_scores: (M,) of places that were not taught.

    Returns:
        1 where all known frames score higher, 0.5 by chance; NaN where a set is empty.
    """
    known, unknown = _scores(known_scores), _scores(unknown_scores)
    if not len(known) or not len(unknown):
        return math.nan
    ordered = np.sort(unknown)
    below = np.searchsorted(ordered, known, side="left")
    not_above = np.searchsorted(ordered, known, side="right")
    return float(np.mean(0.5 * (below + not_above)) / len(unknown))


def threshold_at_true_positives(known_scores: ArrayLike, share: float = 0.95) -> float:
    """Give the highest score that at least this share of known frames reach.

    Returns:
        NaN where too many known frames have no score, or there are none.
    """
    known = np.sort(_scores(known_scores))[::-1]
    if not len(known):
        return math.nan
    needed = math.ceil(share * len(known) - 1e-9)
    threshold = float(known[max(needed, 1) - 1])
    return threshold if threshold > -math.inf else math.nan


def false_positive_rate(
    known_scores: ArrayLike, unknown_scores: ArrayLike, share: float = 0.95
) -> float:
    """Give the share of unknown frames that pass where `share` of the known ones must pass.

    Returns:
        NaN where no threshold lets so many known frames pass, or a set is empty.
    """
    threshold = threshold_at_true_positives(known_scores, share)
    unknown = _scores(unknown_scores)
    if math.isnan(threshold) or not len(unknown):
        return math.nan
    return float(np.mean(unknown >= threshold))


def _scores(values: ArrayLike) -> Array:
    scores = np.asarray(values, dtype=np.float64)
    return np.where(np.isnan(scores), -np.inf, scores)
