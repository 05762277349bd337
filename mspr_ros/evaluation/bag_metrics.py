"""All numbers of a bag's verdict on a bundle, JSON-ready."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mspr_ros.evaluation.bag_motion import (
    jump_statistics,
    odometry_consistency,
    trajectory_errors,
)
from mspr_ros.evaluation.bag_run import BagTrack, BundleRun
from mspr_ros.evaluation.confusion import cluster_confusions
from mspr_ros.evaluation.evaluate import GroupSummary, summarize_groups
from mspr_ros.evaluation.judging import FrameResult, errors_of
from mspr_ros.evaluation.metrics import error_statistics, json_safe
from mspr_ros.evaluation.uncertain_frames import RIGHT_WITHIN
from mspr_ros.geometry import Array

NO_ANSWER = "no answer"
STAGES = ("decode_ms", "preprocess_ms", "network_ms", "postprocess_ms")


@dataclass(frozen=True)
class BundleVerdict:
    """One bundle's run and its numbers.

    Args:
        run: The answers.
        groups: The sums by scene; none where nothing could be judged.
        metrics: All numbers, JSON-ready.
    """

    run: BundleRun
    groups: tuple[GroupSummary, ...]
    metrics: dict[str, Any]


def judge_run(
    run: BundleRun,
    *,
    max_block_frames: int = 10,
    seed: int = 0,
    right_within: tuple[float, float] = RIGHT_WITHIN,
) -> BundleVerdict:
    """Sum a bundle's answers up.

    Args:
        run: The answers.
        max_block_frames: Longest block of the bootstrap.
        seed: Of the bootstrap.
        right_within: Metres and degrees within which an answer is right.
    """
    results = run.results
    groups: list[GroupSummary] = []
    if results:
        groups = summarize_groups(
            results, max_block_frames=max_block_frames, seed=seed, right_within=right_within
        )
    confusions = cluster_confusions(results, run.centroids)
    metrics = {
        "name": run.name,
        "bundle": str(run.path),
        "bundle_hash": run.localizer.content_hash,
        "scenes": list(run.localizer.metadata.scene_names),
        "min_confidence": run.localizer.min_confidence,
        "bags": [bag_counts(track) for track in run.tracks],
        "groups": [group.to_dict() for group in groups],
        "accepted": _errors(results, lambda result: result.answer.accepted),
        "rejected": _errors(results, lambda result: not result.answer.accepted),
        "scene_confusion": scene_confusion(results, run.localizer.metadata.scene_names),
        "cluster_confusion": [confusion.to_dict() for confusion in confusions],
        "trajectories": [one for track in run.tracks for one in trajectory_errors(track)],
        "odometry": [one for track in run.tracks for one in odometry_consistency(track)],
        "jumps": [jump_statistics(track) for track in run.tracks],
        "latency": latency(run),
    }
    return BundleVerdict(run, tuple(groups), json_safe(metrics))


def bag_counts(track: BagTrack) -> dict[str, Any]:
    """Count a bag's images by what became of them; nothing is dropped unsaid."""
    scan, answers = track.bag.scan, track.answers
    has_pose = np.asarray(np.isfinite(scan.T_map_cam).all(axis=(1, 2)))
    answered = [bool(np.isfinite(answer.position).all()) for answer in answers]
    problems = Counter(_kind_of(answer.problem) for answer in answers if answer.problem)
    offset = scan.offset
    return {
        "bag": track.bag.name,
        "path": str(scan.path),
        "image_topic": scan.image_topic,
        "truth": track.bag.options.pose if track.bag.has_truth else None,
        "odometry": track.bag.odometry_source or None,
        "images": len(answers),
        "unusable_images": dict(scan.left_out),
        "answered": sum(answered),
        "accepted": sum(
            answer.accepted and ok for answer, ok in zip(answers, answered, strict=True)
        ),
        "problems": dict(problems.most_common()),
        "judged": len(track.judged),
        "without_truth": sum(
            not (pose and scene) for pose, scene in zip(has_pose, track.gt_scenes, strict=True)
        ),
        "offset_s": offset.seconds if offset else None,
        "offset_sigma_s": offset.sigma_s if offset else None,
        "notes": [*scan.notes, *track.notes],
    }


def _kind_of(problem: str) -> str:
    """Take the numbers out of a reason, so that a low confidence is one reason, not hundreds."""
    return re.sub(r"\d+\.\d+", "…", problem)


def scene_confusion(results: Sequence[FrameResult], scene_names: Sequence[str]) -> dict[str, Any]:
    """Count true scenes (rows) against recognised ones (columns, the last: no answer)."""
    columns = [*scene_names, NO_ANSWER]
    rows = [name for name in scene_names if any(r.gt_scene == name for r in results)]
    counts = [[0] * len(columns) for _ in rows]
    for result in results:
        told = NO_ANSWER if result.failed else result.answer.scene
        counts[rows.index(result.gt_scene)][columns.index(told)] += 1
    return {"true": rows, "recognised": columns, "counts": counts}


def latency(run: BundleRun) -> dict[str, Any]:
    """Describe the time an image took by stage, in milliseconds, and the images a second."""
    answers = [answer for track in run.tracks for answer in track.answers]
    values: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for answer in answers:
        for stage, milliseconds in answer.timings.items():
            values.setdefault(stage, []).append(milliseconds)
    values["decode_ms"] = [ms for track in run.tracks for ms in track.decode_ms.tolist()]
    timed = [answer.timings for answer in answers if answer.timings]
    values["localize_ms"] = [sum(timings.values()) for timings in timed]
    seconds = sum(track.seconds for track in run.tracks)
    return {
        "device": str(run.localizer.device),
        "batch_size": run.batch_size,
        "seconds": seconds,
        "images_per_second": len(answers) / seconds if seconds > 0 else None,
        **{stage: _statistics(np.array(times)) for stage, times in values.items()},
    }


def _errors(
    results: Sequence[FrameResult], wanted: Callable[[FrameResult], bool]
) -> dict[str, Any]:
    """Describe the errors of some of the judged frames, failures as infinite."""
    chosen = [result for result in results if wanted(result)]
    position, orientation = errors_of(chosen)
    return {
        "num_frames": len(chosen),
        "num_wrong_scene": sum(not result.scene_correct for result in chosen),
        "position_error_m": _statistics(position),
        "orientation_error_deg": _statistics(orientation),
    }


def _statistics(values: Array) -> dict[str, float] | None:
    return asdict(error_statistics(values)) if len(values) else None
