"""Show what the filter of `map -> odom` makes of a real network's poses.

    python benchmarks/fusion.py [--bundle models/demo] [--refresh] [--plot FILE] [--json FILE]

Drives through the simulator's rooms are shown to the network (fusion_drives.py keeps its answers
in a folder; --refresh asks anew). Odometry goes wrong by 2 % of the way and 1 degree a metre, in
each of the four combinations of sign, and by white noise besides. The filter is tuned on other
drives than those reported (--tuning reports those). Each error is taken at an image's stamp with
what the filter knew once that image was answered; frames before it began count with the raw pose.
In a blackout no image is answered for ten seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from fusion_drives import Answered, answered_drives

from mspr_ros.fusion.filter import RESTARTED, Event, FusionFilter
from mspr_ros.geometry import Array, covariance_at_offset, invert_transform, pose_difference
from mspr_ros.simulator.drive import Drive
from mspr_ros.simulator.odometry import OdometryDrift

SCENES = ["office", "lounge", "kitchen"]
TUNED_ON, REPORTED = [11, 12], [101, 102]
FRAMES, RATE_HZ = 300, 5.0
DRIFT, YAW_DRIFT_DEG = 0.02, 1.0
SIGNS = ((1, 1), (-1, 1), (1, -1), (-1, -1))
BLACKOUT_FROM_S, BLACKOUT_S, CONVERGED_S = 25.0, 10.0, 2.0
# Odometry alone from the last believed pose, as the worst that a blackout may cost.
MARGIN = 1.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    parser.add_argument("--cache", type=Path, default=Path("runs/fusion"), metavar="FOLDER")
    parser.add_argument("--refresh", action="store_true", help="ask the network anew")
    parser.add_argument("--tuning", action="store_true", help="the drives it was tuned on")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    drives = answered_drives(
        args.bundle,
        args.cache,
        scenes=SCENES,
        seeds=TUNED_ON if args.tuning else REPORTED,
        frames=FRAMES,
        rate_hz=RATE_HZ,
        refresh=args.refresh,
    )
    runs = [
        (drive, signs, fuse(drive, drifting(drive, signs))) for drive in drives for signs in SIGNS
    ]
    dark = [blackout(drive, drifting(drive, signs), lit) for drive, signs, lit in runs]
    report = {
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "date": str(date.today()),
        "bundle": str(args.bundle),
        "seeds": TUNED_ON if args.tuning else REPORTED,
        "drives": len(runs),
        "frames": int(sum(len(drive.stamps_ns) for drive, _, _ in runs)),
        **summary([run for _, _, run in runs]),
        "by_scene": {
            scene: summary([run for drive, _, run in runs if drive.scene == scene])
            for scene in SCENES
        },
        "blackout": blackout_summary(dark),
    }
    print(json.dumps(report, indent=2))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if args.plot:
        plot(runs, args.plot)


def drifting(drive: Answered, signs: tuple[int, int]) -> Array:
    """Give odometry's (N, 4, 4) `T_odom_base`, wrong by the whole drift in the signs given."""
    drift = OdometryDrift(
        drive.seed,
        drift_per_m=DRIFT,
        systematic=(signs[0] * DRIFT, signs[1] * math.radians(YAW_DRIFT_DEG), 0.0),
    )
    return np.array([drift.update(drive.scene, T) for T in drive.T_map_base])


def fuse(
    drive: Answered, T_odom_base: Array, dark: tuple[float, float] | None = None
) -> dict[str, Any]:
    """Run the filter over a drive; gives (N,) errors of the raw and the fused poses of the base.

    Args:
        drive: The network's answers.
        T_odom_base: (N, 4, 4); the rest of the drive is left out.
        dark: Seconds of the drive between which no image is answered.
    """
    T_cam_base = invert_transform(Drive.T_base_cam)
    count = len(T_odom_base)  # of frames
    seconds = (drive.stamps_ns[:count] - drive.stamps_ns[0]) / 1e9
    fused, filter_ = [], FusionFilter()
    verdicts, nees, T_map_odom = [], [], None
    for index, T_odom in enumerate(T_odom_base):
        raw = drive.T_map_cam[index] @ T_cam_base
        offset = raw[:3, 3] - drive.T_map_cam[index][:3, 3]
        covariance = covariance_at_offset(drive.covariance[index], offset)
        seen = bool(drive.accepted[index])  # the wrong scene's too: the filter must see through it
        if dark is not None and dark[0] <= seconds[index] < dark[1]:
            seen = False
        stamp_ns = int(drive.stamps_ns[index])
        pose = (raw, covariance) if seen else (None, None)
        verdicts.append(filter_.take(Event(stamp_ns, T_odom, *pose)))
        belief = filter_.belief
        if belief is not None and (seen or T_map_odom is None):
            T_map_odom = belief.T_map_odom  # the node tells the last one until the next pose
        fused.append(raw if T_map_odom is None else T_map_odom @ T_odom)
        if belief is not None:
            error = pose_difference(drive.T_map_base[index], belief.T_map_body)
            nees.append(error @ np.linalg.solve(belief.covariance[:6, :6], error) / 6.0)
    raws = drive.T_map_cam[:count] @ T_cam_base
    judged = np.asarray(drive.right_scene[:count], dtype=bool)
    return {
        "seconds": seconds,
        "judged": judged,
        "raw": errors(raws, drive.T_map_base[:count]),
        "fused": errors(np.array(fused), drive.T_map_base[:count]),
        "fused_poses": np.array(fused),
        "restarts": verdicts.count(RESTARTED),
        "nees": float(np.mean(nees)),
    }


def errors(poses: Array, truth: Array) -> Array:
    """Give (N, 2): metres and degrees."""
    differences = np.array([pose_difference(*pair) for pair in zip(poses, truth, strict=True)])
    return np.column_stack(
        [
            np.linalg.norm(differences[:, :3], axis=1),
            np.degrees(np.linalg.norm(differences[:, 3:], axis=1)),
        ]
    )


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare raw and fused errors over all frames in which the scene was recognised."""
    raw = np.concatenate([run["raw"][run["judged"]] for run in runs])
    fused = np.concatenate([run["fused"][run["judged"]] for run in runs])
    out: dict[str, Any] = {
        "restarts": sum(run["restarts"] for run in runs),
        "mean_nees_per_dof": round(float(np.mean([run["nees"] for run in runs])), 2),
    }
    for column, name in enumerate(("position_error_m", "orientation_error_deg")):
        for what, percent in (("median", 50), ("p95", 95)):
            before = float(np.percentile(raw[:, column], percent))
            after = float(np.percentile(fused[:, column], percent))
            out[f"{name}_{what}"] = {
                "raw": round(before, 3),
                "fused": round(after, 3),
                "ratio": round(after / before, 3),
            }
    return out


def blackout(drive: Answered, T_odom_base: Array, lit: dict[str, Any]) -> dict[str, float]:
    """Answer nothing for a while: how far the error grows, and what is left of it soon after.

    Args:
        drive: The network's answers.
        T_odom_base: (N, 4, 4).
        lit: What `fuse` gave of the drive without the blackout.
    """
    start_s, end_s = BLACKOUT_FROM_S, BLACKOUT_FROM_S + BLACKOUT_S
    until = int(RATE_HZ * (end_s + CONVERGED_S)) + 2
    run = fuse(drive, T_odom_base[:until], (start_s, end_s))
    seconds = run["seconds"]
    last = int(np.flatnonzero(seconds < start_s)[-1])
    first = int(np.flatnonzero(seconds >= end_s)[0])
    soon = int(np.flatnonzero(seconds >= end_s + CONVERGED_S)[0])
    steps = np.diff(drive.T_map_base[last:first, :2, 3], axis=0)
    way_m = float(np.linalg.norm(steps, axis=1).sum())
    # What odometry alone may add: of length, and of heading over half the way on average.
    allowed_m = way_m * (DRIFT + 0.5 * math.radians(YAW_DRIFT_DEG) * way_m)
    heading_m = math.radians(float(run["fused"][last, 1])) * way_m
    return {
        "way_m": way_m,
        "before_m": float(run["fused"][last, 0]),
        "drift_m": allowed_m,
        "heading_m": heading_m,
        "end_m": float(run["fused"][first - 1, 0]),
        "converged_m": float(run["fused"][soon, 0]),
        "never_dark_m": float(lit["fused"][soon, 0]),
    }


def blackout_summary(dark: list[dict[str, float]]) -> dict[str, Any]:
    """Count the blackouts whose error stayed within odometry's drift and was gone in time."""
    within = [d["end_m"] <= MARGIN * (d["before_m"] + d["heading_m"] + d["drift_m"]) for d in dark]
    out: dict[str, Any] = {"runs": len(dark), "within_drift": sum(within)}
    for key in dark[0]:
        values = [d[key] for d in dark]
        out[key] = {
            "median": round(float(np.median(values)), 3),
            "p95": round(float(np.percentile(values, 95)), 3),
        }
    return out


def plot(runs: list[Any], path: Path) -> None:
    """Draw one drive of each scene from above, and the error of all over time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = {drive.scene: (drive, run) for drive, signs, run in runs if signs == SIGNS[0]}
    figure, axes = plt.subplots(2, len(shown), figsize=(4.2 * len(shown), 7.0))
    for column, (scene, (drive, run)) in enumerate(shown.items()):
        above, below = axes[0][column], axes[1][column]
        raw = drive.T_map_cam @ invert_transform(Drive.T_base_cam)
        above.plot(*raw[:, :2, 3].T, ".", color="0.7", markersize=3, label="network")
        above.plot(*drive.T_map_base[:, :2, 3].T, "k-", linewidth=1, label="truth")
        above.plot(*run["fused_poses"][:, :2, 3].T, "-", color="C3", linewidth=1, label="filter")
        above.set_aspect("equal")
        above.set_title(scene)
        below.plot(run["seconds"], run["raw"][:, 0], ".", color="0.7", markersize=3)
        below.plot(run["seconds"], run["fused"][:, 0], color="C3")
        below.set(xlabel="s", ylabel="position error (m)", ylim=(0.0, 1.5))
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
