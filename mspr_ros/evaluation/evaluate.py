"""Sum judged frames up by scene and over all, with intervals and beside a baseline."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from mspr_ros.evaluation.bootstrap import (
    Indices,
    Interval,
    contiguous_blocks,
    interval_to_dict,
    median_interval,
    median_ratio_interval,
)
from mspr_ros.evaluation.judging import FrameResult, errors_of
from mspr_ros.evaluation.metrics import PoseSummary, summarize
from mspr_ros.evaluation.uncertain_frames import RIGHT_WITHIN
from mspr_ros.evaluation.uncertainty_summary import UncertaintySummary, summarize_uncertainty

ALL_SCENES = "all scenes"


@dataclass(frozen=True)
class MethodSummary:
    """One method on one set of frames, with block-bootstrap intervals of its medians."""

    poses: PoseSummary
    num_not_accepted: int
    position_median_m: Interval
    orientation_median_deg: Interval


@dataclass(frozen=True)
class GroupSummary:
    """One scene, or all of them: the network, and beside it the baseline on the same frames.

    Args:
        name: The scene, or `all scenes`.
        num_blocks: Independent pieces of recording that the intervals rest on.
        network: The method measured.
        baseline: None where there was no training split at hand.
        position_ratio: Median of the network over median of the baseline, paired.
        orientation_ratio: Likewise.
        uncertainty: How honest the network's is; None where it states none.
    """

    name: str
    num_blocks: int
    network: MethodSummary
    baseline: MethodSummary | None = None
    position_ratio: Interval | None = None
    orientation_ratio: Interval | None = None
    uncertainty: UncertaintySummary | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON; infinite ones become None."""
        plain: dict[str, Any] = {
            "name": self.name,
            "num_blocks": self.num_blocks,
            "network": _method_to_dict(self.network),
        }
        if self.baseline and self.position_ratio and self.orientation_ratio:
            plain["baseline"] = _method_to_dict(self.baseline)
            plain["position_ratio"] = interval_to_dict(self.position_ratio)
            plain["orientation_ratio"] = interval_to_dict(self.orientation_ratio)
        if self.uncertainty is not None:
            plain["uncertainty"] = self.uncertainty.to_dict()
        return plain


def _method_to_dict(method: MethodSummary) -> dict[str, Any]:
    return {
        **method.poses.to_dict(),
        "num_not_accepted": method.num_not_accepted,
        "position_median_interval_m": interval_to_dict(method.position_median_m),
        "orientation_median_interval_deg": interval_to_dict(method.orientation_median_deg),
    }


def summarize_groups(
    results: Sequence[FrameResult],
    baseline: Sequence[FrameResult] | None = None,
    *,
    max_block_frames: int = 10,
    num_resamples: int = 2000,
    seed: int = 0,
    right_within: tuple[float, float] | None = RIGHT_WITHIN,
) -> list[GroupSummary]:
    """Sum results up for every scene, in order of appearance, and over all.

    Args:
        results: Of the network.
        baseline: Of the baseline on the very same frames, in the same order.
        max_block_frames: See `contiguous_blocks`.
        num_resamples: Of the bootstrap.
        seed: Of the bootstrap.
        right_within: Metres and degrees within which an answer is right, for the measures of
            uncertainty; None leaves these out.

    Raises:
        ValueError: If there are no results, or the two are not of the same frames.
    """
    if not results:
        raise ValueError("there are no results to sum up")
    if baseline is not None and [r.image for r in results] != [r.image for r in baseline]:
        raise ValueError("the baseline was run on other frames")
    settings = {"num_resamples": num_resamples, "seed": seed}
    groups: dict[str, list[int]] = {
        name: [] for name in dict.fromkeys(result.gt_scene for result in results)
    }
    for row, result in enumerate(results):
        groups[result.gt_scene].append(row)
    if len(groups) > 1:
        groups[all_scenes_beside(groups)] = list(range(len(results)))
    return [
        _summarize_group(
            name,
            [results[row] for row in rows],
            None if baseline is None else [baseline[row] for row in rows],
            max_block_frames,
            settings,
            right_within,
        )
        for name, rows in groups.items()
    ]


def all_scenes_beside(scenes: Container[str]) -> str:
    """Name the sum over scenes as none of them is named."""
    name = ALL_SCENES
    while name in scenes:
        name = f"{name} together"
    return name


def _summarize_group(
    name: str,
    results: Sequence[FrameResult],
    baseline: Sequence[FrameResult] | None,
    max_block_frames: int,
    settings: dict[str, int],
    right_within: tuple[float, float] | None,
) -> GroupSummary:
    blocks = contiguous_blocks(
        [result.stamp_ns for result in results],
        [(result.dataset, result.gt_scene, result.sequence) for result in results],
        max_block_frames=max_block_frames,
        cameras=[result.camera for result in results],
    )
    network = _summarize_method(results, blocks, settings)
    uncertainty = None
    if right_within is not None:
        uncertainty = summarize_uncertainty(results, blocks, right_within=right_within, **settings)
    if baseline is None:
        return GroupSummary(name, len(blocks), network, uncertainty=uncertainty)
    position, orientation = errors_of(results)
    reference_position, reference_orientation = errors_of(baseline)
    return GroupSummary(
        name,
        len(blocks),
        network,
        _summarize_method(baseline, blocks, settings),
        median_ratio_interval(position, reference_position, blocks, **settings),
        median_ratio_interval(orientation, reference_orientation, blocks, **settings),
        uncertainty,
    )


def _summarize_method(
    results: Sequence[FrameResult], blocks: Sequence[Indices], settings: dict[str, int]
) -> MethodSummary:
    position, orientation = errors_of(results)
    # `summarize` counts a cluster only where the scene is right.
    poses = summarize(
        position,
        orientation,
        scene_correct=[result.scene_correct for result in results],
        position_cluster_correct=_clusters_right(
            [(r.failed, r.gt_position_cluster, r.answer.position_cluster) for r in results]
        ),
        orientation_cluster_correct=_clusters_right(
            [(r.failed, r.gt_orientation_cluster, r.answer.orientation_cluster) for r in results]
        ),
    )
    return MethodSummary(
        poses,
        sum(not result.answer.accepted for result in results),
        median_interval(position, blocks, **settings),
        median_interval(orientation, blocks, **settings),
    )


def _clusters_right(clusters: Sequence[tuple[bool, int, int]]) -> list[bool] | None:
    """Say of (failed, true, answered) which are right; None where a method has no clusters."""
    if any(gt < 0 or (pred < 0 and not failed) for failed, gt, pred in clusters):
        return None
    return [gt == pred for _, gt, pred in clusters]
