"""The calibration as it stands in a bundle's JSON: plain numbers, read strictly."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

# What tells errors apart, higher being less sure. Logarithms are natural.
FEATURES = (
    "position_sigma",  # log of the head's position deviation, metres
    "orientation_sigma",  # log of the head's orientation deviation, radians
    "distance",  # log of the distance to the nearest prototype
    "strangeness",  # log of what the prototypes' projection cannot express of the image
    "novelty",  # log of what the embedding has outside of the taught frames' span
    "position_gap",  # log of the distance to the nearest prototypes' positions, metres
    "orientation_gap",  # log of the angle to the nearest prototypes' orientations, radians
    "scene_entropy",  # of the calibrated scene probabilities, nats
    "cluster_entropy",  # of both tasks' calibrated cluster probabilities, nats
)


@dataclass(frozen=True)
class SceneCalibration:
    """What was learned of one scene, or pooled over all where it has too few frames.

    Args:
        name: Of the scene.
        num_frames, num_blocks: It was calibrated on; blocks lie apart in time.
        pooled: Whether the numbers are those of all scenes together, for want of frames.
        covariance: 36 numbers, 6x6 row-major: the base covariance, which the features scale.
            With an uncertainty head its diagonal is 1 and the head's stands for it.
        feature_mean: Of each feature.
        position_scale, orientation_scale: Factors of the deviations, so that regions of the
            level aimed at cover as often as they say.
        known_mean, known_deviation: Of the logs of distance, strangeness and novelty of frames
            of this place: what `known_score` is measured by.
    """

    name: str
    num_frames: int
    num_blocks: int
    pooled: bool
    covariance: tuple[float, ...]
    feature_mean: tuple[float, ...]
    position_scale: float
    orientation_scale: float
    known_mean: tuple[float, float, float]
    known_deviation: tuple[float, float, float]

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self) -> None:
        if len(self.covariance) != 36:
            raise ValueError(f"covariance takes 36 numbers, got {len(self.covariance)}")
        positive = (self.position_scale, self.orientation_scale, *self.known_deviation)
        if not all(math.isfinite(value) and value > 0.0 for value in positive):
            raise ValueError(f"scales of '{self.name}' must be positive numbers, got {positive}")


@dataclass(frozen=True)
class Coverage:
    """How often regions covered the truth in cross-validation, by part and nominal level."""

    level: float
    position: float
    orientation: float
    both: float

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012


@dataclass(frozen=True)
class Calibration:
    """What held-out frames say of a network's answers.

    Args:
        date: When it was made, ISO.
        source: What frames it was made on.
        num_frames, num_blocks: Of them.
        scenes: In the order of the bundle's.
        features: Names of the features used, in the order of all weights.
        feature_scale: (F,) their deviations within a scene.
        uses_head: Whether the uncertainty head's covariances are the base.
        position_weights, orientation_weights: (F,) of the log deviation by standardised feature.
        scene_temperature, position_cluster_temperature, orientation_cluster_temperature: Divide
            the logits.
        right_within: Metres and degrees within which an answer counts as right.
        confidence: Intercept and weights of the log odds of being right, by the terms of
            `confidence_terms`.
        level: Of the regions whose coverage the scales were set for.
        coverage: Reached in cross-validation, by level.
        false_reject_rate: Share of answers in the right place that the thresholds may refuse.
        min_known_score, min_confidence: The thresholds; None refuses nothing.
        rejected: Share of the calibration frames that they refuse.
    """

    date: str
    source: str
    num_frames: int
    num_blocks: int
    scenes: tuple[SceneCalibration, ...]
    features: tuple[str, ...]
    feature_scale: tuple[float, ...]
    uses_head: bool
    position_weights: tuple[float, ...]
    orientation_weights: tuple[float, ...]
    scene_temperature: float
    position_cluster_temperature: float
    orientation_cluster_temperature: float
    right_within: tuple[float, float]
    confidence: tuple[float, ...]
    level: float
    false_reject_rate: float
    coverage: tuple[Coverage, ...] = ()
    min_known_score: float | None = None
    min_confidence: float | None = None
    rejected: float = field(default=0.0)

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self) -> None:
        problems = [f"unknown feature '{name}'" for name in self.features if name not in FEATURES]
        counts = {
            "feature_scale": len(self.feature_scale),
            "position_weights": len(self.position_weights),
            "orientation_weights": len(self.orientation_weights),
            **{f"feature_mean of {info.name}": len(info.feature_mean) for info in self.scenes},
        }
        problems += [
            f"{name} has {count} numbers for {len(self.features)} features"
            for name, count in counts.items()
            if count != len(self.features)
        ]
        temperatures = (
            self.scene_temperature,
            self.position_cluster_temperature,
            self.orientation_cluster_temperature,
        )
        if min(temperatures) <= 0.0:
            problems.append(f"temperatures must be positive, got {temperatures}")
        if problems:
            raise ValueError("; ".join(problems))
