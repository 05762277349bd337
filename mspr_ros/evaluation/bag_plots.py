"""Small drawings of a bag's verdict: narrow enough to be read on a phone, one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import matplotlib.ticker
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from mspr_ros.evaluation.plots import (
    ESTIMATED_COLOR,
    FAILURE_COLOR,
    SCENE_COLORS,
    STYLE,
    TRUE_COLOR,
    ShareCurve,
    draw_shares,
    top_view_axes,
    union_of_legends,
)
from mspr_ros.geometry import Array
from mspr_ros.naming import as_label

WIDTH_IN = 4.8
Flags = npt.NDArray[np.bool_]
_MARK: dict[str, Any] = {"linestyle": "none", "markersize": 3}


class ErrorTrack(NamedTuple):
    """The errors of one bundle on one bag.

    Args:
        label: The bundle's name, or the scene's.
        seconds: (N,) since the bag's first image.
        position_m: (N,); not finite where there is no answer.
        orientation_deg: (N,) likewise.
        accepted: (N,).
    """

    label: str
    seconds: Array
    position_m: Array
    orientation_deg: Array
    accepted: Flags


def errors_in_time_figure(tracks: Sequence[ErrorTrack]) -> Figure:
    """Draw the errors of one bag over its time, a colour a bundle, failures at the top."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 4.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        for index, track in enumerate(tracks):
            color = SCENE_COLORS[index % len(SCENE_COLORS)]
            for axes, errors in ((upper, track.position_m), (lower, track.orientation_deg)):
                _draw_errors(axes, track, errors, color)
        for axes in (upper, lower):
            axes.set_ylim(bottom=0)  # only now: a limit set ends the axes' growing
        upper.set_ylabel("position error (m)")
        lower.set(ylabel="orientation error (deg)", xlabel="seconds since the first image")
        _legend_below(figure)
    return figure


def _draw_errors(axes: Any, track: ErrorTrack, errors: Array, color: str) -> None:
    taken = track.accepted & np.isfinite(errors)
    refused = ~track.accepted & np.isfinite(errors)
    axes.plot(
        track.seconds[taken], errors[taken], "o", color=color, markeredgewidth=0,
        label=as_label(track.label), **_MARK,
    )  # fmt: skip
    if refused.any():
        axes.plot(
            track.seconds[refused], errors[refused], "o", color=color, markerfacecolor="none",
            markeredgewidth=0.7, label=as_label(f"{track.label}, rejected"), **_MARK,
        )  # fmt: skip
    failed = ~np.isfinite(errors)
    if failed.any():
        axes.plot(
            track.seconds[failed], np.full(int(failed.sum()), 0.97), "x", color=FAILURE_COLOR,
            markersize=5, transform=axes.get_xaxis_transform(), label="no answer",
        )  # fmt: skip


def error_shares_figure(curves: Sequence[tuple[str, Array]], unit: str) -> Figure:
    """Draw which share of images errs at most so much; failures keep a curve below 1.

    Args:
        curves: Label and errors (N,).
        unit: Of the errors.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 3.4), layout="constrained")
        axes = figure.add_subplot()
        drawn = []
        for index, (label, errors) in enumerate(curves):
            color = SCENE_COLORS[index % len(SCENE_COLORS)]
            drawn.append(ShareCurve(label, errors, {"color": color, "linewidth": 1.8}))
        draw_shares(axes, drawn)
        axes.set(xlabel=f"error ({unit})", ylabel="share of images")
        _legend_below(figure)
    return figure


def deviations_figure(points: Sequence[tuple[str, Array, Array]], unit: str) -> Figure | None:
    """Draw the errors against what the covariance states; None without a covariance.

    Args:
        points: Label, stated deviations (N,) and errors (N,).
        unit: Of both.
    """
    known = [one for one in points if _both(*one[1:]).any()]
    if not known:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for index, (label, stated, error) in enumerate(known):
            color = SCENE_COLORS[index % len(SCENE_COLORS)]
            shown = _both(stated, error)
            axes.plot(
                stated[shown], np.maximum(error[shown], 1e-4), "o", color=color, alpha=0.5,
                markeredgewidth=0, label=as_label(label), **_MARK,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log")
        _draw_diagonals(axes)
        axes.set(xlabel=f"stated standard deviation ({unit})", ylabel=f"error ({unit})")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        _legend_below(figure)
    return figure


def _both(stated: Array, error: Array) -> Flags:
    return np.asarray(np.isfinite(stated) & np.isfinite(error) & (stated > 0.0))


def _draw_diagonals(axes: Any) -> None:
    """Draw where errors are as large as stated, and three times that; a decade wide at least."""
    low, high = axes.get_xlim()
    middle = np.sqrt(low * high)
    ends = np.array([min(low, middle / 4.0), max(high, middle * 4.0)])
    axes.plot(ends, ends, "-", color=TRUE_COLOR, linewidth=1.0, label="as stated")
    axes.plot(ends, 3.0 * ends, "--", color=TRUE_COLOR, linewidth=0.8, label="three times that")
    axes.set_xlim(ends)


def path_figure(segments: Sequence[tuple[str, Array]]) -> Figure:
    """Draw answers from above where there is no truth to compare them with.

    Args:
        segments: Label and positions (N, 3) in one map, metres.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 4.2), layout="constrained")
        axes = figure.add_subplot()
        view = list(top_view_axes(np.concatenate([positions for _, positions in segments])))
        for index, (label, positions) in enumerate(segments):
            color = SCENE_COLORS[index % len(SCENE_COLORS)] if index else ESTIMATED_COLOR
            axes.plot(
                *positions[:, view].T, "o-", color=color, markersize=2.5, linewidth=0.5,
                markeredgewidth=0, label=as_label(label),
            )  # fmt: skip
        names = "xyz"
        axes.set(xlabel=f"{names[view[0]]} (m)", ylabel=f"{names[view[1]]} (m)")
        axes.set_aspect("equal", adjustable="datalim")
        _legend_below(figure)
    return figure


def _legend_below(figure: Figure) -> None:
    handles, labels = union_of_legends(figure)
    if handles:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(2, len(labels)), markerscale=1.8
        )
