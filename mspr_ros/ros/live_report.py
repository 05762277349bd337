"""Compare the poses of a live run with the truth: a table, metrics.json and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mspr_ros.bundle import UNKNOWN_SCENE
from mspr_ros.evaluation.metrics import (
    json_safe,
    orientation_error_deg,
    position_error_m,
    summarize,
)
from mspr_ros.geometry import Array, quat_xyzw_from_rotation
from mspr_ros.ros.live_collector import Collector, LiveRecord

METRICS_FILE = "metrics.json"
TRAJECTORY_FILE = "trajectory.png"
ALL = "all"


@dataclass(frozen=True)
class MatchedPoses:
    """The answered frames with a known truth, in order of their stamps.

    Args:
        stamps_ns: (N,).
        gt_T_map_cam: (N, 4, 4).
        pred_T_map_cam: (N, 4, 4).
        gt_scenes: N names; empty names where no scene was told.
        pred_scenes: N names, or None where poses and scenes could not be matched.
        paths: By true scene, all true positions and the answers, each (M, 3); NaN where a frame
            was not answered.
    """

    stamps_ns: list[int]
    gt_T_map_cam: Array
    pred_T_map_cam: Array
    gt_scenes: list[str]
    pred_scenes: list[str] | None
    paths: dict[str, tuple[Array, Array]]


def match(collector: Collector) -> MatchedPoses:
    """Match answers and truth by stamp; the poses become those of the camera."""
    record = collector.record
    T_frame_cam = collector.T_frame_cam(record.diagnostics.get("pose_frame", ""))
    gt_scene_of = _by_order(record.gt_poses, record.gt_scenes) or {}
    accepted = [scene for scene in record.scenes if scene != UNKNOWN_SCENE]
    pred_scene_of = _by_order(record.poses, accepted)
    stamps = sorted(record.poses.keys() & record.gt_poses.keys())
    pred = [record.poses[stamp] for stamp in stamps]
    pred_T_map_cam = np.array(
        [T if T_frame_cam is None else T @ T_frame_cam for T in pred]
    ).reshape(-1, 4, 4)
    answers = dict(zip(stamps, pred_T_map_cam[:, :3, 3], strict=True))
    rows: dict[str, list[tuple[Array, Array]]] = {}
    for stamp, T in sorted(record.gt_poses.items()):
        row = (T[:3, 3], answers.get(stamp, np.full(3, np.nan)))
        rows.setdefault(gt_scene_of.get(stamp) or ALL, []).append(row)
    return MatchedPoses(
        stamps_ns=stamps,
        gt_T_map_cam=np.array([record.gt_poses[stamp] for stamp in stamps]).reshape(-1, 4, 4),
        pred_T_map_cam=pred_T_map_cam,
        gt_scenes=[gt_scene_of.get(stamp, "") for stamp in stamps],
        pred_scenes=[pred_scene_of[stamp] for stamp in stamps] if pred_scene_of else None,
        paths={
            name: (np.array([gt for gt, _ in pairs]), np.array([pred for _, pred in pairs]))
            for name, pairs in rows.items()
        },
    )


def _by_order(poses: Mapping[int, Array], scenes: list[str]) -> dict[int, str] | None:
    """Give each pose its scene: a String has no stamp, but each topic keeps its order."""
    if len(poses) != len(scenes):
        return None
    return dict(zip(poses, scenes, strict=True))


def metrics_of(collector: Collector, matched: MatchedPoses) -> dict[str, Any]:
    """Give all figures of a run, ready for JSON."""
    record = collector.record
    sent = len(record.sent_ns) or len(record.gt_poses)
    diagnostics = record.diagnostics
    metrics: dict[str, Any] = {
        "frames": {
            "sent": sent,
            "received": int(diagnostics.get("received", 0)),
            "answered": len(record.poses),
            "rejected": int(diagnostics.get("rejected", 0)),
            "dropped": int(diagnostics.get("dropped", 0)),
            "malformed": int(diagnostics.get("malformed", 0)),
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
    """Give the errors of one true scene, or of all answered frames."""
    rows = np.array([name in (ALL, scene) for scene in matched.gt_scenes])
    gt, pred = matched.gt_T_map_cam[rows], matched.pred_T_map_cam[rows]
    position = position_error_m(gt[:, :3, 3], pred[:, :3, 3])
    orientation = orientation_error_deg(
        quat_xyzw_from_rotation(gt[:, :3, :3]), quat_xyzw_from_rotation(pred[:, :3, :3])
    )
    scene_correct = None
    if matched.pred_scenes is not None and all(matched.gt_scenes):
        scene_correct = (np.array(matched.gt_scenes) == np.array(matched.pred_scenes))[rows]
    summary = summarize(position, orientation, scene_correct=scene_correct)
    return {
        "frames": int(rows.sum()),
        "position_error_m": {
            "median": summary.position_error_m.median,
            "p90": summary.position_error_m.p90,
        },
        "orientation_error_deg": {
            "median": summary.orientation_error_deg.median,
            "p90": summary.orientation_error_deg.p90,
        },
        "scene_accuracy": summary.scene_accuracy,
    }


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
        f"{'scene':<16}{'frames':>7}{'position [m]':>18}{'orientation [deg]':>20}{'scene':>9}"
    )
    lines.append(f"{'':<23}{'median':>10}{'p90':>8}{'median':>12}{'p90':>8}{'right':>9}")
    for name, row in metrics["scenes"].items():
        position, orientation = row["position_error_m"], row["orientation_error_deg"]
        accuracy = row["scene_accuracy"]
        lines.append(
            f"{name:<16}{row['frames']:>7}"
            f"{_number(position['median'], 10, 3)}{_number(position['p90'], 8, 3)}"
            f"{_number(orientation['median'], 12, 2)}{_number(orientation['p90'], 8, 2)}"
            + ("        -" if accuracy is None else f"{100 * accuracy:>8.1f}%")
        )
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

    panels = [TrajectoryPanel(name, gt, pred) for name, (gt, pred) in matched.paths.items()]
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
