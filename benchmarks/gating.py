"""Fuse poses with drifting odometry as robot_localization does: what is a covariance worth?

    python benchmarks/gating.py [models/demo] -o FOLDER [--data datasets/trust] [--period-s 2]

On the test drives of benchmarks/trust_data.py a planar Kalman filter predicts with wheel odometry
that drifts (mspr_ros/simulator/odometry.py) and corrects with each pose whose innovation lies
within the rejection threshold, a Mahalanobis distance as in robot_localization. Filter, threshold,
frames and odometry are the same with each of these as the poses' covariance:

- `calibrated`: what the bundle says of the very image;
- `constant, measured`: the mean squared error of these poses, one for all images: a data sheet's;
- `constant, best in hindsight`: of a grid of constants the one that makes the smallest error on
  these very drives, chosen with the truth in hand: no user can have a better one;
- `calibrated, best in hindsight`: the calibrated covariance, its deviations times the best of a
  grid of factors.

Each is run at several thresholds, on all answered frames and on those alone that the bundle
accepts. A filter that starts at a wrong pose with a small covariance refuses the right ones after
it: a tight threshold makes any of them worse. Errors are of the fused pose after every image.
Writes FOLDER/gating.json and gating.png, which shows the threshold of
config/robot_localization.yaml, all answers.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gating_filter import Drives, Fused, error_figures, fuse, odometry_alone
from gating_plot import gating_figure
from trust_data import make_taught, thinned
from trust_measure import ask, drives_of

from mspr_ros.evaluation.judging import FrameResult
from mspr_ros.evaluation.plots import save_figure
from mspr_ros.geometry import (
    Array,
    covariance_at_offset,
    invert_transform,
    transform_from_pose,
)
from mspr_ros.localizer import Localizer
from mspr_ros.simulator.drive import Drive
from mspr_ros.simulator.odometry import OdometryDrift

PLANAR = (0, 1, 5)
# Standard deviations that are tried in hindsight: metres, degrees; and factors of deviations.
GRID_M = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2)
GRID_DEG = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
GRID_FACTOR = (0.5, 0.7, 1.0, 1.4, 2.0)
# Mahalanobis distances; None gates nothing. The first is that of config/robot_localization.yaml.
THRESHOLDS: tuple[float | None, ...] = (4.0, 3.0, 5.0, None)


@dataclass(frozen=True)
class Case:
    """A way to state the poses' covariance: (D, N, 3, 3), and what it is in words."""

    name: str
    covariances: Array
    note: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("models/demo"))
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--data", type=Path, default=Path("datasets/trust"))
    parser.add_argument("--world", default="demo")
    parser.add_argument("--period-s", type=int, default=1, help="seconds between poses (1)")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    localizer = Localizer.load(args.bundle)
    dataset = make_taught(args.data, args.world, localizer.metadata.scene_names)
    drives = make_drives(ask(localizer, [thinned(dataset, args.period_s)]))
    measured: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "bundle_hash": localizer.content_hash,
        "calibrated": localizer.metadata.calibration is not None,
        "num_drives": len(drives.names),
        "num_frames": drives.usable.size,
        "odometry_alone": error_figures(odometry_alone(drives), drives),
    }
    measured["runs"], fused = run_all(drives)
    (args.output / "gating.json").write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
    save_figure(gating_figure(drives, fused, measured), args.output / "gating.png")
    print_table(measured)


def make_drives(results: Sequence[FrameResult]) -> Drives:
    """Turn answers to drives of equal length into poses of the base, with drifting odometry."""
    T_cam_base = invert_transform(Drive.T_base_cam)
    names, columns = [], []
    for seed, ((_, scene, sequence), rows) in enumerate(drives_of(results).items()):
        drift = OdometryDrift(seed)
        names.append(f"{scene} {sequence.rpartition('-')[2]}")
        frames = []
        for result in (results[row] for row in rows):
            truth = transform_from_pose(result.gt_position, result.gt_quat_xyzw) @ T_cam_base
            odometry = planar(drift.update(result.gt_scene, truth))
            frames.append((planar(truth), odometry, *base_pose(result, T_cam_base)))
        columns.append([np.array(column) for column in zip(*frames, strict=True)])
    stacked = [np.stack(column) for column in zip(*columns, strict=True)]
    return Drives(tuple(names), *stacked)


def base_pose(result: FrameResult, T_cam_base: Array) -> tuple[Array, Array, bool, bool]:
    """Give a base's planar pose, its covariance (3, 3), if it is usable, and accepted."""
    answer = result.answer
    if result.failed or not np.isfinite(answer.covariance).all():
        return np.zeros(3), np.eye(3), False, False
    T_map_cam = transform_from_pose(answer.position, answer.quat_xyzw)
    T_map_base = T_map_cam @ T_cam_base
    moved = covariance_at_offset(answer.covariance, T_map_base[:3, 3] - T_map_cam[:3, 3])
    return planar(T_map_base), moved[np.ix_(PLANAR, PLANAR)], True, answer.accepted


def planar(T: Array) -> Array:
    """Give x, y and yaw of a transform."""
    return np.array([T[0, 3], T[1, 3], np.arctan2(T[1, 0], T[0, 0])])


def run_all(drives: Drives) -> tuple[list[dict[str, Any]], dict[str, Fused]]:
    """Compare at every threshold, on all answers and on accepted ones; the drives of the first."""
    runs, shown = [], None
    for threshold in THRESHOLDS:
        for frames, chosen in (("all", drives), ("accepted", drives.accepted_only())):
            figures, fused = compare(chosen, np.inf if threshold is None else threshold)
            shown = shown or fused
            runs.append({"rejection_threshold": threshold, "frames": frames, "cases": figures})
    assert shown is not None
    return runs, shown


def compare(drives: Drives, threshold: float) -> tuple[list[dict[str, Any]], dict[str, Fused]]:
    """Fuse all drives with every kind of covariance; figures, and the fused drives by kind."""
    constants = [constant(drives, metres, degrees) for metres in GRID_M for degrees in GRID_DEG]
    factors = [
        Case("", factor**2 * drives.covariance, f"deviations x {factor:g}")
        for factor in GRID_FACTOR
    ]
    cases = [
        Case("calibrated", drives.covariance, "as the bundle says"),
        measured_constant(drives),
        best_of("constant, best in hindsight", constants, drives, threshold),
        best_of("calibrated, best in hindsight", factors, drives, threshold),
    ]
    fused = {case.name: fuse(drives, case.covariances, threshold) for case in cases}
    figures = [
        {"name": case.name, "note": case.note, **error_figures(fused[case.name], drives)}
        for case in cases
    ]
    return figures, fused


def constant(drives: Drives, metres: float, degrees: float) -> Case:
    """State one covariance for all images, by its standard deviations."""
    covariance = np.diag([metres**2, metres**2, np.deg2rad(degrees) ** 2])
    told = np.broadcast_to(covariance, drives.covariance.shape)
    return Case("", told, f"{metres:.2f} m, {degrees:.1f} deg")


def measured_constant(drives: Drives) -> Case:
    """State the mean squared error of these very poses, as a data sheet would."""
    errors = drives.errors()[drives.usable]
    metres = float(np.sqrt((errors[:, :2] ** 2).mean()))
    degrees = float(np.rad2deg(np.sqrt((errors[:, 2] ** 2).mean())))
    case = constant(drives, metres, degrees)
    return Case("constant, measured", case.covariances, case.note)


def best_of(name: str, cases: Sequence[Case], drives: Drives, threshold: float) -> Case:
    """Choose, knowing the truth, the case of the smallest mean squared position error."""
    fused = fuse(drives, np.stack([case.covariances for case in cases]), threshold)
    costs = [
        error_figures(fused.one(index), drives)["position_rms_m"] for index in range(len(cases))
    ]
    best = cases[int(np.argmin(costs))]
    return Case(name, best.covariances, best.note)


def print_table(measured: dict[str, Any]) -> None:
    """Print the figures as a table in markdown."""
    keys = ("position_rms_m", "position_p95_m", "yaw_rms_deg", "share_rejected", "coverage_95")
    print("| threshold | frames | covariance | " + " | ".join(keys) + " |")
    print("|---" * (3 + len(keys)) + "|")
    for run in measured["runs"]:
        for one in run["cases"]:
            figures = " | ".join(f"{one[key]:.3f}" for key in keys)
            name = f"{run['rejection_threshold']} | {run['frames']} | {one['name']}"
            print(f"| {name} ({one['note']}) | {figures} |")
    alone = measured["odometry_alone"]
    print(f"odometry alone: {alone['position_rms_m']:.3f} m, {alone['yaw_rms_deg']:.2f} deg")


if __name__ == "__main__":
    main()
