"""What the first checks of a training warn of, and what helps: limits, words and remedies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mspr_ros.evaluation.metrics import median_error
from mspr_ros.geometry import Array

TASKS = ("position", "orientation")
# Healthy runs of this project stood at 0.95 and more after their first epoch.
SCENE_ACCURACY = 0.9
# Fresh networks: 0.97 to 0.99 of uniform in every layer. Trained ones: 0.3 to 0.85.
ENTROPY = 0.95
# The fine answer's median error over that of its centroid alone.
FINE_OVER_COARSE = 0.9
# The answer's median error over that with the true clusters given.
WRONG_CLUSTERS = 1.5
# Median residual over the spread (root mean square) of training poses about their centroids.
RESIDUAL = 2.0
# Median errors over those of the bundle it started from.
DIRECT, FEWER_SCENES = 1.0, 1.5


@dataclass(frozen=True)
class Finding:
    """What one check saw.

    Args:
        check: Its name.
        value: What was measured.
        limit: Beyond it, the check warns.
        warns: Whether it does.
        text: What was seen, for people.
        remedy: What to do about it, for people.
    """

    check: str
    value: float
    limit: float
    warns: bool
    text: str
    remedy: str

    def in_words(self) -> str:
        """Give a line for people."""
        return f"warning: {self.text}. {self.remedy}" if self.warns else f"ok: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Before:
    """What is known of the bundle a training started from.

    Args:
        medians: (metres, degrees) on validation frames, by scene.
        num_scenes: How many scenes it knows.
        direct: Whether it has no clusters and was validated on the same data.
    """

    medians: Mapping[str, tuple[float, float]]
    num_scenes: int
    direct: bool


def scene_accuracy(right: Array, num_scenes: int) -> Finding:
    """Judge the share of frames whose scene was recognised, (N,) booleans."""
    accuracy = float(np.mean(right))
    return Finding(
        "scene accuracy",
        accuracy,
        SCENE_ACCURACY,
        accuracy < SCENE_ACCURACY,
        f"the scene is recognised in {accuracy:.0%} of the frames ({num_scenes} scenes)",
        "Wherever it is not, another scene's pose is given: set balance: scenes, train longer, "
        "and see whether scenes look alike or are labelled as one another",
    )


def attention(task: str, entropy: float) -> Finding:
    """Judge a decoder's relative entropy; 1 is uniform."""
    return Finding(
        f"attention, {task}",
        entropy,
        ENTROPY,
        entropy > ENTROPY,
        f"the {task} decoder's attention has {entropy:.1%} of the entropy of uniform attention",
        "Nothing is focused on: raise optimizer.learning_rate or warm up, start from "
        "initial_weights, or try network.position_encoding: sine with loss.query_key_weight: 0.1",
    )


def _median(errors: Array) -> float:
    return median_error(np.where(np.isnan(errors), np.inf, errors))


def _ratio(errors: Array, reference: Array) -> float:
    """Divide medians; an answer that is no number counts as infinitely wrong."""
    above, below = _median(errors), _median(reference)
    if math.isinf(above) or below == 0.0:
        return math.inf if above > 0.0 else math.nan
    return above / below


def fine_over_coarse(task: str, errors: Array, coarse_errors: Array) -> Finding:
    """Judge errors (N,) of the answers beside those of their clusters' centres."""
    ratio = _ratio(errors, coarse_errors)
    return Finding(
        f"coarse to fine, {task}",
        ratio,
        FINE_OVER_COARSE,
        ratio > FINE_OVER_COARSE,
        f"the fine {task} has {ratio:.2f} times the median error of its cluster's centre alone",
        "The residual adds nothing so far: train on, raise optimizer.learning_rate, or lower "
        "loss.s_x and loss.s_q; mspr import check shows poses that do not fit the pictures",
    )


def residual(task: str, lengths: Array) -> Finding:
    """Judge residuals (N,), each over the spread of training poses about their centroids."""
    length = float(np.median(lengths))
    return Finding(
        f"residual, {task}",
        length,
        RESIDUAL,
        length > RESIDUAL,
        f"the median {task} residual is {length:.2f} times the spread of its cluster",
        "Clusters are too few or taken wrongly: set clusters: auto, or "
        "network.normalize_positions: true for scenes of different size",
    )


def wrong_clusters(task: str, errors: Array, told: Array, share: float) -> Finding:
    """Judge errors (N,) beside those with the true clusters, which `share` of the frames had."""
    ratio = _ratio(errors, told)
    return Finding(
        f"clusters, {task}",
        ratio,
        WRONG_CLUSTERS,
        ratio > WRONG_CLUSTERS,
        f"{task} clusters are right in {share:.0%} of the frames; the median error is "
        f"{ratio:.2f} times that with the true ones",
        "Wrong clusters cost more than fine ones gain: set clusters: auto or fewer by hand, or "
        "network.cluster_residuals: true with network.mixture_clusters above 1",
    )


def against_before(
    before: Before, errors: Mapping[str, Array], scene: Array, scene_names: Sequence[str]
) -> list[Finding]:
    """Compare with the bundle that the training started from, on the scenes that both know."""
    logs = []
    for number in np.unique(scene):
        old = before.medians.get(scene_names[number])
        if old is None or min(old) <= 0.0:
            continue
        new = [_median(errors[task][scene == number]) for task in TASKS]
        logs.append([math.log(max(a, 1e-9) / b) for a, b in zip(new, old, strict=True)])
    if not logs:
        return []
    position, orientation = (math.exp(value) for value in np.mean(logs, axis=0))
    ratio = math.sqrt(position * orientation)
    numbers = f"{position:.2f} times the position and {orientation:.2f} times the orientation"
    findings = []
    if before.direct:
        findings.append(
            Finding(
                "coarse to fine against direct",
                ratio,
                DIRECT,
                ratio > DIRECT,
                f"coarse-to-fine stands at {numbers} error of the direct regression before it",
                "Train on while it falls; else take fewer clusters or keep the direct network",
            )
        )
    if len(scene_names) > before.num_scenes:
        findings.append(
            Finding(
                "number of scenes",
                ratio,
                FEWER_SCENES,
                ratio > FEWER_SCENES,
                f"with {len(scene_names)} scenes instead of {before.num_scenes} the old ones "
                f"stand at {numbers} error",
                "Train longer (total_images grows with the scenes), set balance: scenes, or keep "
                "the new scenes apart: mspr teach adds them without touching the old ones",
            )
        )
    return findings
