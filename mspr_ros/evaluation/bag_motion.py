"""How a bundle's answers move through a bag: drift against the truth, odometry, and jumps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mspr_ros.evaluation.bag_run import BagTrack
from mspr_ros.evaluation.metrics import json_safe
from mspr_ros.evaluation.trajectory import (
    Pairs,
    Spread,
    absolute_trajectory_error,
    frame_pairs,
    relative_motion_error,
    relative_pose_error,
    time_pairs,
)
from mspr_ros.geometry import Array

# RPE over a time is drift in that time; neighbours further apart than a second are none.
RPE_DELTA_S = 1.0
MAX_STEP_S = 1.0
# A step this far from the motion that odometry or truth tells (or else from standing still).
JUMP_M, JUMP_DEG = 0.5, 30.0

Rows = npt.NDArray[np.int64]


class Stretch(NamedTuple):
    """The usable answers of one camera in one scene's map, in order of time.

    Args:
        scene: Recognised in all of them.
        camera: The optical frame.
        rows: Which of the scan's images.
        num_images: How many the bag has of this camera in this scene, where that is known; else
            as many as there are rows.
    """

    scene: str
    camera: str
    rows: Rows
    num_images: int


def judged_stretches(track: BagTrack) -> Iterator[Stretch]:
    """Give the accepted answers in the right scene, by scene and camera."""
    cameras = track.bag.scan.frame_ids
    groups: dict[tuple[str, str], list[int]] = {}
    for row in track.judged:
        groups.setdefault((track.gt_scenes[row], cameras[row]), []).append(row)
    for (scene, camera), rows in groups.items():
        usable = [
            row
            for row in rows
            if track.judged[row].scene_correct and track.judged[row].answer.accepted
        ]
        yield Stretch(scene, camera, np.array(usable, dtype=np.int64), len(rows))


def answered_stretches(track: BagTrack) -> Iterator[Stretch]:
    """Give the accepted answers by recognised scene and camera, right or not."""
    cameras = track.bag.scan.frame_ids
    groups: dict[tuple[str, str], list[int]] = {}
    for row, answer in enumerate(track.answers):
        if answer.accepted and np.isfinite(answer.position).all():
            groups.setdefault((answer.scene, cameras[row]), []).append(row)
    for (scene, camera), rows in groups.items():
        yield Stretch(scene, camera, np.array(rows, dtype=np.int64), len(rows))


def trajectory_errors(track: BagTrack) -> list[dict[str, Any]]:
    """Measure ATE (as it is, and aligned) and RPE of every scene and camera of a bag."""
    scan, pred = track.bag.scan, track.pred_T_map_cam()
    found = []
    for stretch in judged_stretches(track):
        rows = stretch.rows
        entry: dict[str, Any] = {
            "bag": track.bag.name,
            "scene": stretch.scene,
            "camera": stretch.camera,
            "num_images": stretch.num_images,
            "num_used": len(rows),
        }
        if len(rows):
            gt, own = scan.T_map_cam[rows], pred[rows]
            entry["ate"] = absolute_trajectory_error(gt, own).to_dict()
            entry["ate_aligned"] = absolute_trajectory_error(gt, own, align=True).to_dict()
            stamps = scan.stamps_ns[rows]
            entry["rpe_next_image"] = _rpe(gt, own, frame_pairs(stamps, MAX_STEP_S))
            entry["rpe_1s"] = _rpe(gt, own, time_pairs(stamps, RPE_DELTA_S))
        found.append(entry)
    return found


def odometry_consistency(track: BagTrack) -> list[dict[str, Any]]:
    """Compare the motion between answers with odometry's, by recognised scene and camera.

    Odometry drifts slowly: over a second it stands in for the truth.
    """
    odometry, scan, pred = track.bag.odometry, track.bag.scan, track.pred_T_map_cam()
    if odometry is None:
        return []
    known = np.asarray(np.isfinite(odometry).all(axis=(1, 2)))
    found = []
    for stretch in answered_stretches(track):
        rows = stretch.rows[known[stretch.rows]]
        stamps = scan.stamps_ns[rows]
        found.append(
            {
                "bag": track.bag.name,
                "source": track.bag.odometry_source,
                "scene": stretch.scene,
                "camera": stretch.camera,
                "num_used": len(rows),
                "next_image": _rpe(odometry[rows], pred[rows], frame_pairs(stamps, MAX_STEP_S)),
                "1s": _rpe(odometry[rows], pred[rows], time_pairs(stamps, RPE_DELTA_S)),
            }
        )
    return found


def jump_statistics(track: BagTrack) -> dict[str, Any]:
    """Describe the steps from one accepted answer to the next, and count jumps among them.

    Returns:
        `steps`, `step_m`, `step_deg`, `speed_m_s` (None without steps), `jumps`, what they are
        measured against (`against`), and `scene_changes`.
    """
    scan, pred = track.bag.scan, track.pred_T_map_cam()
    reference, against = _reference(track)
    steps: list[tuple[Array, Array, Array]] = []
    jumps = 0
    for stretch in answered_stretches(track):
        rows = stretch.rows
        # The next image of this camera in this scene; what lies between was not accepted.
        pairs = rows[frame_pairs(scan.stamps_ns[rows], MAX_STEP_S)]
        if not len(pairs):
            continue
        still = np.broadcast_to(np.eye(4), pred.shape)
        metres, degrees = relative_motion_error(still, pred, pairs)
        seconds = np.diff(scan.stamps_ns[pairs], axis=1)[:, 0] / 1e9
        steps.append((metres, degrees, metres / seconds))
        own_metres, own_degrees = relative_motion_error(reference, pred, pairs)
        unknown = ~np.isfinite(own_metres)
        own_metres[unknown], own_degrees[unknown] = metres[unknown], degrees[unknown]
        jumps += int(np.count_nonzero((own_metres > JUMP_M) | (own_degrees > JUMP_DEG)))
    told: dict[str, Any] = {"bag": track.bag.name, "against": against, "jumps": jumps}
    told["jump_means"] = {"position_m": JUMP_M, "orientation_deg": JUMP_DEG}
    told["scene_changes"] = _scene_changes(track)
    told["steps"] = sum(len(metres) for metres, _, _ in steps)
    for column, key in enumerate(("step_m", "step_deg", "speed_m_s")):
        values = [step[column] for step in steps]
        told[key] = asdict(Spread.of(np.concatenate(values))) if values else None
    plain: dict[str, Any] = json_safe(told)
    return plain


def _reference(track: BagTrack) -> tuple[Array, str]:
    """Give the motion to expect (N, 4, 4), NaN where it is not known, and its name."""
    if track.judged:
        return track.bag.scan.T_map_cam, "the truth"
    if track.bag.odometry is not None:
        return track.bag.odometry, "odometry"
    return np.full((len(track.answers), 4, 4), np.nan), "standing still"


def _scene_changes(track: BagTrack) -> int:
    """Count how often an accepted answer names another scene than the one before it."""
    named = [answer.scene for answer in track.answers if answer.accepted and answer.scene]
    return sum(first != second for first, second in pairwise(named))


def _rpe(gt: Array, pred: Array, pairs: Pairs) -> dict[str, Any] | None:
    error = relative_pose_error(gt, pred, pairs)
    return None if error is None else error.to_dict()
