"""Compare the poses of a live run with the truth: a table, metrics.json and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mspr_ros.evaluation.metrics import (
    json_safe,
    orientation_error_deg,
    position_error_m,
    summarize,
)
from mspr_ros.geometry import quat_xyzw_from_rotation
from mspr_ros.ros.live_collector import LiveRecord
from mspr_ros.ros.live_match import MatchedPoses

METRICS_FILE = "metrics.json"
TRAJECTORY_FILE = "trajectory.png"
ALL = "all"


def metrics_of(
    record: LiveRecord, matched: MatchedPoses, num_sent: int | None = None
) -> dict[str, Any]:
    """Give all figures of a run, ready for JSON.

    Args:
        record: What was heard.
        matched: See there.
        num_sent: The source's own count; what was heard of it where it told none.
    """
    sent = len(record.sent_ns) or len(record.gt_poses) if num_sent is None else num_sent
    diagnostics = record.diagnostics
    counted = ("received", "rejected", "dropped", "malformed", "failed")
    counts = {key: int(diagnostics.get(key, 0)) for key in counted}
    metrics: dict[str, Any] = {
        "frames": {
            "sent": sent,
            "received": counts.pop("received"),
            "answered": len(record.poses),
            "unanswered": max(0, sent - len(record.poses)),
            **counts,
        },
        "latency_ms": _latency(record),
        "tf": _tf(record),
        "pose_frame": diagnostics.get("pose_frame", ""),
        "scenes": {name: _errors(matched, name) for name in _groups(matched)},
        "diagnostics": dict(diagnostics),
        "problems": list(record.problems),
    }
    plain: dict[str, Any] = json_safe(metrics)
    return plain


def _groups(matched: MatchedPoses) -> list[str]:
    if not matched.stamps_ns:
        return []
    return [*dict.fromkeys(scene for scene in matched.gt_scenes if scene), ALL]


def _errors(matched: MatchedPoses, name: str) -> dict[str, Any]:
    """Give the errors of one true scene, or of all.

    A frame that was worked on and got no pose is a failure: an infinite error, a wrong scene. One
    that the localizer never worked on (newest frame wins, or lost on its way) is only counted.
    """
    in_group = np.array([name in (ALL, scene) for scene in matched.gt_scenes])
    judged = in_group & matched.is_processed
    counts = {
        "frames": int(in_group.sum()),
        "unanswered": int((in_group & ~matched.is_answered).sum()),
        "judged": int(judged.sum()),
        "failures": int((judged & ~matched.is_answered).sum()),
    }
    nothing = {"median": None, "p90": None}
    if not judged.any():
        return {
            **counts,
            "position_error_m": nothing,
            "orientation_error_deg": nothing,
            "scene_accuracy": None,
        }
    position, orientation = _errors_of(matched, judged)
    scene_correct = None
    if all(matched.gt_scenes):
        gt, pred = np.array(matched.gt_scenes), np.array(matched.pred_scenes)
        scene_correct = (gt == pred)[judged]
    summary = summarize(position, orientation, scene_correct=scene_correct)
    errors = {
        "position_error_m": summary.position_error_m,
        "orientation_error_deg": summary.orientation_error_deg,
    }
    return {
        **counts,
        **{key: {"median": value.median, "p90": value.p90} for key, value in errors.items()},
        "scene_accuracy": summary.scene_accuracy,
    }


def _errors_of(matched: MatchedPoses, rows: Any) -> tuple[Any, Any]:
    """Give errors in metres and degrees; NaN where there is no pose."""
    gt, pred = matched.gt_T_map_cam[rows], matched.pred_T_map_cam[rows]
    answered = matched.is_answered[rows]
    orientation = np.full(len(gt), np.nan)
    orientation[answered] = orientation_error_deg(
        quat_xyzw_from_rotation(gt[answered, :3, :3]),
        quat_xyzw_from_rotation(pred[answered, :3, :3]),
    )
    return position_error_m(gt[:, :3, 3], pred[:, :3, 3]), orientation


def _latency(record: LiveRecord) -> dict[str, Any]:
    """Give the time from an image to its pose, as heard here.

    From the image's stamp where the camera is live, from its publication where it is recorded.
    """
    start_ns = record.sent_ns or {stamp: stamp for stamp in record.poses}
    latencies = [
        (record.heard_ns[stamp] - start_ns[stamp]) / 1e6
        for stamp in record.poses
        if stamp in start_ns
    ]
    if not latencies:
        return {"p50": None, "p99": None}
    p50, p99 = np.percentile(latencies, (50, 99))
    return {
        "from": "publication" if record.sent_ns else "stamp",
        "p50": float(p50),
        "p99": float(p99),
    }


def _tf(record: LiveRecord) -> dict[str, Any]:
    """Count the transforms that came with a pose, and how far they are from it."""
    pairs = [
        (child, T, record.poses[stamp])
        for stamp, (_, child, T) in record.transforms.items()
        if stamp in record.poses
    ]
    worst = max((float(np.abs(T - pose).max()) for _, T, pose in pairs), default=None)
    children = sorted({child for child, _, _ in pairs})
    return {
        "children": children,
        "transforms": len(pairs),
        "largest_difference_to_pose": worst,
    }


def format_report(metrics: Mapping[str, Any]) -> str:
    """Write the table that is shown on the terminal."""
    frames = metrics["frames"]
    counts = ", ".join(f"{frames[key]} {key}" for key in frames)
    latency = metrics["latency_ms"]
    lines = [f"frames    {counts}"]
    if latency["p50"] is not None:
        lines.append(
            f"latency   p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms "
            f"(image {latency['from']} to pose)"
        )
    tf = metrics["tf"]
    tf_text = f"{tf['transforms']} transforms, map to {' and '.join(tf['children'])}"
    if not tf["transforms"]:
        tf_text = "nothing published"
    lines.append(f"TF        {tf_text}; ~/pose is of {metrics['pose_frame']}")
    lines.append("")
    if not metrics["scenes"]:
        return "\n".join([*lines, "no ground truth: nothing to compare with"])
    lines.append(
        f"{'scene':<16}{'frames':>7}{'no pose':>9}{'failed':>8}"
        f"{'position [m]':>18}{'orientation [deg]':>20}{'scene':>9}"
    )
    lines.append(f"{'':<40}{'median':>10}{'p90':>8}{'median':>12}{'p90':>8}{'right':>9}")
    for name, row in metrics["scenes"].items():
        position, orientation = row["position_error_m"], row["orientation_error_deg"]
        accuracy = row["scene_accuracy"]
        lines.append(
            f"{name:<16}{row['frames']:>7}{row['unanswered']:>9}{row['failures']:>8}"
            f"{_number(position['median'], 10, 3)}{_number(position['p90'], 8, 3)}"
            f"{_number(orientation['median'], 12, 2)}{_number(orientation['p90'], 8, 2)}"
            + ("        -" if accuracy is None else f"{100 * accuracy:>8.1f}%")
        )
    if any(row["unanswered"] for row in metrics["scenes"].values()):
        lines += [
            "",
            "no pose: the rest of what was sent; failed: of these, worked on and rejected or bad,",
            "an infinite error and a wrong scene in the figures",
        ]
    return "\n".join(lines)


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'inf':>{width}}" if value is None else f"{value:>{width}.{digits}f}"


def write_live_report(
    folder: Path, metrics: Mapping[str, Any], matched: MatchedPoses, title: str
) -> list[Path]:
    """Write metrics.json and, where there is a truth, trajectory.png.

    Returns:
        The files written.
    """
    path = folder / METRICS_FILE
    path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    if not matched.stamps_ns:
        return [path]
    from mspr_ros.evaluation.plots import TrajectoryPanel, save_figure, trajectory_figure

    panels = [TrajectoryPanel(name, gt, pred) for name, (gt, pred) in matched.paths(ALL).items()]
    picture = folder / TRAJECTORY_FILE
    save_figure(trajectory_figure(panels, title), picture)
    return [path, picture]


def prepare_output(folder: Path, force: bool) -> None:
    """Make the output folder; never write over an earlier result silently.

    Raises:
        MsprError: If it holds a result already and `force` was not given.
    """
    from mspr_ros.errors import MsprError

    if folder.exists() and not folder.is_dir():
        raise MsprError(f"{folder} is a file; name a folder")
    old = [folder / name for name in (METRICS_FILE, TRAJECTORY_FILE)]
    if any(path.exists() for path in old) and not force:
        raise MsprError(f"{folder} holds a result already; name another folder or give --force")
    folder.mkdir(parents=True, exist_ok=True)
    for path in old:
        path.unlink(missing_ok=True)
