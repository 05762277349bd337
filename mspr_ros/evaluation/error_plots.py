"""Draw the errors that an evaluation found: their distribution, and their course in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mspr_ros.evaluation.metrics import median_error
from mspr_ros.evaluation.plots import (
    BASELINE_COLOR,
    ESTIMATED_COLOR,
    FAILURE_COLOR,
    SCENE_COLORS,
    STYLE,
    ShareCurve,
    draw_shares,
    union_of_legends,
)
from mspr_ros.geometry import Array
from mspr_ros.naming import as_label


class ErrorSeries(NamedTuple):
    """The errors of one method in one scene, frames in order of time.

    Args:
        scene: The scene's name.
        position_error_m: (N,); not finite where there is no answer.
        orientation_error_deg: (N,); likewise.
        baseline_position_error_m: (N,) of the baseline on the same frames, where it was run.
        baseline_orientation_error_deg: (N,) likewise.
        run_starts: Indices of the frames before which the recording has a gap.
    """

    scene: str
    position_error_m: Array
    orientation_error_deg: Array
    baseline_position_error_m: Array | None = None
    baseline_orientation_error_deg: Array | None = None
    run_starts: tuple[int, ...] = ()


def error_cdf_figure(series: Sequence[ErrorSeries], title: str | None = None) -> Figure:
    """Draw which share of frames errs at most so much; failures keep a curve below 1."""
    if not series:
        raise ValueError("there are no errors to draw")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        position: list[ShareCurve] = []
        orientation: list[ShareCurve] = []
        for index, one in enumerate(series):
            color = SCENE_COLORS[index % len(SCENE_COLORS)]
            position += _curves(
                one.scene, color, one.position_error_m, one.baseline_position_error_m
            )
            orientation += _curves(
                one.scene, color, one.orientation_error_deg, one.baseline_orientation_error_deg
            )
        draw_shares(left, position)
        draw_shares(right, orientation)
        left.set(xlabel="position error (m)", ylabel="share of frames")
        right.set(xlabel="orientation error (deg)")
        handles, labels = union_of_legends(figure)
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
        if title:
            figure.suptitle(title)
    return figure


def _curves(scene: str, color: str, errors: Array, baseline: Array | None) -> list[ShareCurve]:
    """Give a scene's curve, and beside it the baseline's where that was run."""
    curves = [ShareCurve(scene, errors, {"color": color, "linewidth": 2.0})]
    if baseline is not None:
        line = {"color": color, "linewidth": 1.2, "linestyle": "--"}
        curves.append(ShareCurve(f"{scene}, nearest neighbour", baseline, line))
    return curves


def error_over_time_figure(series: Sequence[ErrorSeries], title: str | None = None) -> Figure:
    """Draw each scene's errors frame by frame, with gaps in the recording and failures marked."""
    if not series:
        raise ValueError("there are no errors to draw")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 2.0 + 3.2 * len(series)), layout="constrained")
        grid = figure.subplots(2 * len(series), 1, squeeze=False)[:, 0]
        for index, one in enumerate(series):
            upper, lower = grid[2 * index], grid[2 * index + 1]
            upper.sharex(lower)
            upper.tick_params(labelbottom=False)
            upper.set_title(as_label(one.scene))
            _draw_in_time(
                upper, one.position_error_m, one.baseline_position_error_m, one.run_starts
            )
            _draw_in_time(
                lower,
                one.orientation_error_deg,
                one.baseline_orientation_error_deg,
                one.run_starts,
            )
            upper.set_ylabel("position (m)")
            lower.set_ylabel("orientation (deg)")
            lower.set_xlabel("frame in order of time; vertical lines: gaps in the recording")
        handles, labels = union_of_legends(figure)
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        if title:
            figure.suptitle(title)
    return figure


def _draw_in_time(
    axes: Any, errors: Array, baseline: Array | None, run_starts: Sequence[int]
) -> None:
    runs = np.split(np.arange(len(errors)), [start for start in run_starts if start > 0])
    for run in runs:
        if baseline is not None:
            axes.plot(
                run, baseline[run], color=BASELINE_COLOR, linewidth=1.0, label="nearest neighbour"
            )
        axes.plot(
            run, errors[run], ".-", color=ESTIMATED_COLOR, linewidth=1.2, markersize=4,
            label="estimated",
        )  # fmt: skip
        if run[0] > 0:
            axes.axvline(run[0] - 0.5, color="#9a9a9a", linewidth=0.8)
    median = median_error(np.where(np.isfinite(errors), errors, np.inf))
    if np.isfinite(median):
        axes.axhline(median, color=ESTIMATED_COLOR, linewidth=0.8, linestyle=":", label="median")
    failed = np.nonzero(~np.isfinite(errors))[0]
    if len(failed):
        axes.plot(
            failed, np.full(len(failed), 0.97), "x", color=FAILURE_COLOR, markersize=6,
            transform=axes.get_xaxis_transform(), label="no answer",
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_xlim(-1, len(errors))
