"""Draw one drive and the errors of all, by kind of covariance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from gating_filter import Drives, Fused, difference
from matplotlib.figure import Figure

from mspr_ros.evaluation.plots import BASELINE_COLOR, SCENE_COLORS, STYLE, TRUE_COLOR

LOOK = {
    "calibrated": SCENE_COLORS[0],
    "constant, measured": SCENE_COLORS[3],
    "constant, best in hindsight": SCENE_COLORS[5],
}


def gating_figure(
    drives: Drives, fused: Mapping[str, Fused], measured: Mapping[str, Any]
) -> Figure:
    """Draw the drive whose poses err as much as in the middle of all, and the spread of errors.

    Args:
        drives: All of them.
        fused: Of the first run, by kind of covariance.
        measured: As in the JSON.
    """
    off = np.linalg.norm(drives.errors()[..., :2], axis=-1)
    chosen = int(np.argsort(np.median(off, axis=1))[len(off) // 2])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13.0, 5.0), layout="constrained")
        above, errors = figure.subplots(1, 2)
        _draw_drive(above, drives, fused, chosen)
        _draw_errors(errors, drives, fused, measured)
    return figure


def _draw_drive(axes: Any, drives: Drives, fused: Mapping[str, Fused], chosen: int) -> None:
    truth = drives.truth[chosen]
    axes.plot(*truth[:, :2].T, color=TRUE_COLOR, linewidth=2.0, label="truth")
    seen = drives.pose[chosen][drives.usable[chosen]]
    axes.plot(*seen[:, :2].T, ".", color=BASELINE_COLOR, label="poses of single images")
    for name, color in LOOK.items():
        if name != "constant, measured":
            axes.plot(*fused[name].state[chosen, :, :2].T, color=color, linewidth=1.5, label=name)
    centre = truth[:, :2].mean(axis=0)
    axes.set_xlim(centre[0] - 4.5, centre[0] + 4.5)
    axes.set_ylim(centre[1] - 4.0, centre[1] + 4.0)
    axes.set_aspect("equal")
    axes.set(
        title=f"{drives.names[chosen]}: the middle one of all", xlabel="x (m)", ylabel="y (m)"
    )
    axes.legend(loc="lower left", fontsize=8)


def _draw_errors(
    axes: Any, drives: Drives, fused: Mapping[str, Fused], measured: Mapping[str, Any]
) -> None:
    """Draw the share of images beyond every error: the tail is what hurts a robot."""
    run = measured["runs"][0]
    notes = {one["name"]: one for one in run["cases"]}
    for name, color in LOOK.items():
        gaps = difference(fused[name].state, drives.truth).reshape(-1, 3)
        off = np.sort(np.hypot(gaps[:, 0], gaps[:, 1])[np.isfinite(gaps).all(axis=1)])
        beyond = 1.0 - np.arange(len(off)) / len(off)
        label = f"{name} ({notes[name]['note']}): rms {notes[name]['position_rms_m']:.2f} m"
        axes.plot(off, beyond, color=color, label=label)
    axes.set_yscale("log")
    axes.set(
        title=f"fused position, {measured['num_drives']} drives, "
        f"gate at {run['rejection_threshold']}",
        xlabel="error (m)",
        ylabel="share of the images with a larger one",
        xlim=(0.0, 2.5),
        ylim=(1e-3, 1.0),
    )
    axes.legend(loc="upper right", fontsize=8)
