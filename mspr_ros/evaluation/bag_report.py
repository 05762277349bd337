"""Write a bag's verdict down: one HTML page, JSON, trajectories, and a bag to be replayed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mspr_ros.bags import Bag
from mspr_ros.bags.result_writer import ResultPose, write_result
from mspr_ros.bags.types import OLD_TF_MESSAGE, TF_MESSAGE
from mspr_ros.evaluation.bag_metrics import BundleVerdict
from mspr_ros.evaluation.bag_page import bag_page
from mspr_ros.evaluation.bag_run import BagTrack, BundleRun
from mspr_ros.evaluation.tables import write_frames
from mspr_ros.geometry import Array, quat_xyzw_from_rotation


def write_bag_report(
    folder: Path, verdicts: Sequence[BundleVerdict], *, num_images: int = 4
) -> dict[str, Any]:
    """Write all files of a report into a folder, which exists.

    Args:
        folder: `report.html`, `metrics.json`, `frames.csv` (of the first bundle that could be
            judged), `trajectories/*.tum` and `result.mcap` go there.
        verdicts: One for each bundle, the headline's first.
        num_images: Best and worst images to show of each bundle.

    Returns:
        The numbers of `metrics.json`.
    """
    metrics = {"bundles": [verdict.metrics for verdict in verdicts]}
    text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    (folder / "metrics.json").write_text(text, encoding="utf-8")
    runs = [verdict.run for verdict in verdicts]
    first = runs[_first_judged(runs)]
    if first.results:
        write_frames(folder / "frames.csv", first.results, None)
    _write_trajectories(folder / "trajectories", runs)
    poses = list(_result_poses(runs))
    write_result(folder / "result.mcap", poses)
    page = bag_page(verdicts, num_images=num_images)
    (folder / "report.html").write_text(page, encoding="utf-8")
    return metrics


def _first_judged(runs: Sequence[BundleRun]) -> int:
    """Give the number of the first run that was taught a scene of the truth; 0 where none was."""
    return next((number for number, run in enumerate(runs) if run.results), 0)


def _write_trajectories(folder: Path, runs: Sequence[BundleRun]) -> None:
    """Write truth and accepted answers in TUM's format, a file for each map."""
    folder.mkdir()
    for number, run in enumerate(runs):
        for track in run.tracks:
            if number == _first_judged(runs):
                for scene, rows in _rows_by(track.gt_scenes, track.judged):
                    name = _file_name(track.bag.name, scene, "truth")
                    scan = track.bag.scan
                    write_tum(folder / name, scan.stamps_ns[rows], scan.T_map_cam[rows])
            usable = [
                row
                for row, answer in enumerate(track.answers)
                if answer.accepted and np.isfinite(answer.position).all()
            ]
            pred = track.pred_T_map_cam()
            for scene, rows in _rows_by([answer.scene for answer in track.answers], usable):
                parts = [track.bag.name, scene, *([run.name] if len(runs) > 1 else [])]
                name = _file_name(*parts, "estimate")
                write_tum(folder / name, track.bag.scan.stamps_ns[rows], pred[rows])


def write_tum(path: Path, stamps_ns: Iterable[int], T_map_cam: Array) -> None:
    """Write poses (N, 4, 4) as lines `seconds tx ty tz qx qy qz qw`."""
    quats = quat_xyzw_from_rotation(T_map_cam[:, :3, :3])
    lines = ["# seconds tx ty tz qx qy qz qw"]
    for stamp_ns, transform, quat in zip(stamps_ns, T_map_cam, quats, strict=True):
        # Not as a float, which has too few digits for nanoseconds.
        seconds = f"{int(stamp_ns) // 10**9}.{int(stamp_ns) % 10**9:09d}"
        numbers = " ".join(f"{value:.9f}" for value in (*transform[:3, 3], *quat))
        lines.append(f"{seconds} {numbers}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _rows_by(scenes: Sequence[str], rows: Iterable[int]) -> list[tuple[str, list[int]]]:
    groups: dict[str, list[int]] = {}
    for row in rows:
        groups.setdefault(scenes[row], []).append(row)
    return list(groups.items())


def _file_name(*parts: str) -> str:
    return "_".join(re.sub(r"[^\w.-]", "_", part) for part in parts if part) + ".tum"


def _result_poses(runs: Sequence[BundleRun]) -> Iterable[ResultPose]:
    """Give every answer to be replayed; the first bundle's topics are called as the node's."""
    for number, run in enumerate(runs):
        suffix = f"_{number + 1}" if number else ""
        frames = {info.name: info.map_frame for info in run.localizer.metadata.scenes}
        for track in run.tracks:
            # A frame has one parent: the bag's own TF, where it has any, keeps the camera.
            ending = "_estimated" if _has_tf(track) else ""
            pred = track.pred_T_map_cam()
            for row, answer in enumerate(track.answers):
                good = answer.accepted and bool(np.isfinite(pred[row]).all())
                camera = track.bag.scan.frame_ids[row].lstrip("/") or "camera"
                judged = row in track.judged and number == _first_judged(runs)
                yield ResultPose(
                    stamp_ns=int(track.bag.scan.stamps_ns[row]),
                    prefix=f"localizer{suffix}",
                    map_frame=frames.get(answer.scene, "map"),
                    camera_frame=f"{camera}{ending}{suffix}",
                    T_map_cam=pred[row] if good else None,
                    covariance=answer.covariance,
                    scene=answer.scene,
                    confidence=answer.confidence,
                    gt_T_map_cam=track.bag.scan.T_map_cam[row] if judged else None,
                )


def _has_tf(track: BagTrack) -> bool:
    with Bag(track.bag.scan.path, tolerant=True) as bag:
        kinds = {topic.type_name for topic in bag.topics if topic.count}
    return bool(kinds & {TF_MESSAGE, OLD_TF_MESSAGE})
