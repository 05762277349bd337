"""Sum up how honest a method's uncertainties are over a group of judged frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mspr_ros.evaluation.bootstrap import (
    Indices,
    Interval,
    block_bootstrap,
    interval_to_dict,
    share_intervals,
)
from mspr_ros.evaluation.judging import FrameResult
from mspr_ros.evaluation.metrics import json_safe
from mspr_ros.evaluation.ranking import (
    RejectionGain,
    RiskCoverage,
    Sparsification,
    rejection_gain,
    risk_coverage,
    sparsification,
)
from mspr_ros.evaluation.uncertain_frames import (
    RIGHT_WITHIN,
    UncertainFrames,
    uncertain_frames,
)
from mspr_ros.evaluation.uncertainty import (
    LEVELS,
    PARTS,
    CalibrationError,
    NeesStatistics,
    covered,
    degrees_of_freedom,
    expected_calibration_error,
    nees_statistics,
)
from mspr_ros.geometry import Array

# Of the frames, to be rejected by confidence.
REJECTED_SHARE = 0.1
# Statistics that sort anew for every resample get fewer of them.
MAX_RANKING_RESAMPLES = 400


@dataclass(frozen=True)
class Coverage:
    """How often the truth lies in the regions of one part and level.

    Args:
        part: `position`, `orientation` or `both`.
        level: Nominal.
        all_frames: Share of all frames; without an answer, in the wrong scene or without a
            covariance the truth is in no region.
        accepted_frames: Share of the frames whose answer was accepted.
    """

    part: str
    level: float
    all_frames: Interval
    accepted_frames: Interval


@dataclass(frozen=True)
class RankingSummary:
    """How well one measure of uncertainty ranks one kind of error.

    Args:
        error: `position` (metres) or `orientation` (degrees).
        by: `covariance` (root of the trace of its block) or `confidence` (lower is worse).
        curve: Over the frames with an answer.
        ratio: Its AUSE over a random order's, with its interval.
        gain: Of rejecting a tenth of all frames, those without an answer first.
        gain_share: Of the oracle's gain, with its interval.
    """

    error: str
    by: str
    curve: Sparsification
    ratio: Interval
    gain: RejectionGain
    gain_share: Interval

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        plain: dict[str, Any] = json_safe(
            {
                "error": self.error,
                "by": self.by,
                "num_frames": len(self.curve.remaining),
                "ause": self.curve.ause,
                "random_ause": self.curve.random_ause,
                "p95_before": self.gain.before,
                "p95_after": self.gain.after,
                "p95_oracle": self.gain.oracle,
            }
        )
        plain["ause_ratio"] = interval_to_dict(self.ratio)
        plain["rejection_gain"] = interval_to_dict(self.gain_share)
        return plain


@dataclass(frozen=True)
class UncertaintySummary:
    """All measures of one group of frames; a part is empty or None where nothing was stated.

    Args:
        frames: What they are made of.
        right_within: Metres and degrees within which an answer counts as right.
        coverage: By part and level.
        nees: By part.
        rankings: By error and measure of uncertainty.
        scene_calibration: Of the scene's probability; right is the right scene.
        confidence_calibration: Of the confidence.
        risk: Of answers that are not right, by confidence.
    """

    frames: UncertainFrames
    right_within: tuple[float, float]
    coverage: tuple[Coverage, ...]
    nees: dict[str, NeesStatistics]
    rankings: tuple[RankingSummary, ...]
    scene_calibration: CalibrationError | None
    confidence_calibration: CalibrationError | None
    risk: RiskCoverage | None

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON; docs/uncertainty.md says what each means."""
        frames = self.frames
        calibrations = (self.scene_calibration, self.confidence_calibration)
        scene, confidence = (None if one is None else asdict(one) for one in calibrations)
        risk = self.risk
        plain: dict[str, Any] = json_safe(
            {
                "right_within": {"position_m": self.right_within[0], "deg": self.right_within[1]},
                "num_right": int(frames.right.sum()),
                "num_accepted": int(frames.accepted.sum()),
                "num_accepted_right": int((frames.accepted & frames.right).sum()),
                "num_without_covariance": int((frames.answered & ~frames.has_covariance).sum()),
                "nees": {part: asdict(statistics) for part, statistics in self.nees.items()},
                "ece_scene": scene,
                "ece_confidence": confidence,
                "risk_coverage": None
                if risk is None
                else {
                    "area": risk.area,
                    "oracle_area": risk.oracle_area,
                    "random_area": risk.random_area,
                },
            }
        )
        plain["coverage"] = [
            {
                "part": one.part,
                "level": one.level,
                "all_frames": interval_to_dict(one.all_frames),
                "accepted_frames": interval_to_dict(one.accepted_frames),
            }
            for one in self.coverage
        ]
        plain["ranking"] = [ranking.to_dict() for ranking in self.rankings]
        return plain


def summarize_uncertainty(
    results: Sequence[FrameResult],
    blocks: Sequence[Indices],
    *,
    right_within: tuple[float, float] = RIGHT_WITHIN,
    num_resamples: int = 2000,
    seed: int = 0,
) -> UncertaintySummary | None:
    """Measure all that a method's answers state; None where they state nothing.

    Args:
        results: Of the method, at least one.
        blocks: Of their indices, for the intervals.
        right_within: Metres and degrees.
        num_resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """
    frames = uncertain_frames(results, right_within)
    has_covariance = bool(frames.has_covariance.any())
    has_confidence = bool(np.isfinite(frames.confidence).any())
    has_probability = bool(np.isfinite(frames.scene_probability).any())
    if not (has_covariance or has_confidence or has_probability):
        return None
    measures: dict[str, dict[str, Array]] = {}
    if has_covariance:
        measures["covariance"] = frames.deviation
    if has_confidence:
        measures["confidence"] = dict.fromkeys(frames.errors, -frames.confidence)
    rankings = [
        _rank(error, by, frames, stated[error], blocks, num_resamples, seed)
        for by, stated in measures.items()
        for error in frames.errors
    ]
    calibration = expected_calibration_error
    return UncertaintySummary(
        frames,
        right_within,
        _coverages(frames, blocks, num_resamples, seed) if has_covariance else (),
        {
            part: nees_statistics(nees, degrees_of_freedom(part))
            for part, nees in frames.nees.items()
            if has_covariance
        },
        tuple(rankings),
        calibration(frames.scene_probability, frames.scene_right) if has_probability else None,
        calibration(frames.confidence, frames.right) if has_confidence else None,
        risk_coverage(~frames.right, frames.confidence) if has_confidence else None,
    )


def _coverages(
    frames: UncertainFrames, blocks: Sequence[Indices], num_resamples: int, seed: int
) -> tuple[Coverage, ...]:
    names = [(part, level) for part in PARTS for level in LEVELS]
    inside = np.hstack([covered(frames.nees[part], degrees_of_freedom(part)) for part in PARTS])
    both = [
        share_intervals(inside, blocks, among=rows, num_resamples=num_resamples, seed=seed)
        for rows in (np.ones(len(inside), dtype=bool), frames.accepted)
    ]
    return tuple(Coverage(*name, *pair) for name, *pair in zip(names, *both, strict=True))


def _rank(
    error: str,
    by: str,
    frames: UncertainFrames,
    uncertainty: Array,
    blocks: Sequence[Indices],
    num_resamples: int,
    seed: int,
) -> RankingSummary:
    errors, answered = frames.errors[error], frames.answered

    def ratio(rows: Indices) -> float:
        rows = rows[answered[rows]]
        return sparsification(errors[rows], uncertainty[rows]).ratio

    def gain(rows: Indices) -> RejectionGain:
        return rejection_gain(errors[rows], uncertainty[rows], rejected=REJECTED_SHARE)

    def interval(statistic: Callable[[Indices], float]) -> Interval:
        resamples = min(num_resamples, MAX_RANKING_RESAMPLES)
        found = block_bootstrap(
            statistic, blocks, num_resamples=resamples, seed=seed, omit_nan=True
        )
        if math.isnan(found.value):
            return Interval(math.nan, math.nan, math.nan, found.level, found.num_blocks)
        return found

    return RankingSummary(
        error,
        by,
        sparsification(errors[answered], uncertainty[answered]),
        interval(ratio),
        gain(np.arange(len(errors))),
        interval(lambda rows: gain(rows).share),
    )
