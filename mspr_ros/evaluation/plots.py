"""Draw what an evaluation found: trajectories from above and sheets of pictures.

Every function gives a matplotlib Figure without touching pyplot's global state, so that it also
works in a node or a thread without a display; `save_figure` writes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from mspr_ros.geometry import Array
from mspr_ros.naming import as_label

# Okabe and Ito's colours: told apart with colour-blind eyes too.
TRUE_COLOR = "#3b3b3b"
ESTIMATED_COLOR = "#0072b2"
BASELINE_COLOR = "#8c8c8c"
FAILURE_COLOR = "#d55e00"
SCENE_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
ERROR_COLORMAP = "plasma_r"
PANEL_ASPECT = 0.85  # height over width of a trajectory panel
# Typed loosely: newer stubs list every key that exists, older ones do not.
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


class TrajectoryPanel(NamedTuple):
    """One scene's part of a top view.

    Args:
        scene: Its name.
        gt_positions: (N, 3) true positions in the scene's map, metres; a row of NaN breaks the
            line, where the recording has a gap.
        pred_positions: (N, 3) estimates for the same frames; NaN where there is no answer or
            one in another scene's map.
    """

    scene: str
    gt_positions: Array
    pred_positions: Array


class ShareCurve(NamedTuple):
    """A curve of `draw_shares`.

    Args:
        name: For the legend.
        errors: (N,); not finite where there is no answer.
        line: Colour, width and style, as matplotlib takes them.
    """

    name: str
    errors: Array
    line: dict[str, Any]


class CaptionedImage(NamedTuple):
    """An RGB uint8 picture (H, W, 3) and the lines to write under it."""

    image: npt.NDArray[np.uint8]
    caption: str


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG (or what the file's name says), creating its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, dpi=130)


def draw_shares(axes: Any, curves: Sequence[ShareCurve]) -> None:
    """Draw which share of frames errs at most so much; failures keep a curve below 1."""
    for curve in curves:
        finite = np.sort(curve.errors[np.isfinite(curve.errors)])
        share = np.arange(1, len(finite) + 1) / max(len(curve.errors), 1)
        # A logarithmic axis has no zero; a tenth of a millimetre is none for a camera.
        shown = np.maximum(finite, 1e-4)
        axes.step(shown, share, where="post", label=as_label(curve.name), **curve.line)
        if len(finite):  # without a value there is nothing to scale
            axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.axhline(0.5, color="#bbbbbb", linewidth=0.8)
    axes.xaxis.set_major_formatter("{x:g}")


def top_view_axes(positions: Array) -> tuple[int, int]:
    """Choose the two axes of largest spread, in ascending order.

    People and robots move less up and down than about: this is the view from above whether the
    map's z points up (ROS), or its y down (7-Scenes).
    """
    spread = np.nanmax(positions, axis=0) - np.nanmin(positions, axis=0)
    first, second = sorted(np.argsort(spread, kind="stable")[-2:])
    return int(first), int(second)


def trajectory_figure(
    panels: Sequence[TrajectoryPanel | tuple[str, Array, Array]], title: str | None = None
) -> Figure:
    """Draw every scene from above: the true path, and the estimates coloured by their error.

    Raises:
        ValueError: If there are no panels, or one holds no finite true position.
    """
    if not panels:
        raise ValueError("there are no trajectories to draw")
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.8 * columns, 5.0 * rows), layout="constrained")
        for place, panel in enumerate(panels):
            axes = figure.add_subplot(rows, columns, place + 1)
            _draw_trajectory(axes, TrajectoryPanel(*panel))
        handles, labels = union_of_legends(figure)
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        if title:
            figure.suptitle(title)
    return figure


def _draw_trajectory(axes: Any, panel: TrajectoryPanel) -> None:
    gt = np.asarray(panel.gt_positions, dtype=np.float64)
    pred = np.asarray(panel.pred_positions, dtype=np.float64)
    known = np.isfinite(gt).all(axis=1)
    if not known.any():
        raise ValueError(f"scene '{panel.scene}' has no finite true position to draw")
    view = list(top_view_axes(gt[known]))
    answered = np.asarray(known & np.isfinite(pred).all(axis=1), dtype=bool)
    axes.plot(*gt[:, view].T, color=TRUE_COLOR, linewidth=1.6, label="true", zorder=2)
    axes.plot(*gt[known][:, view].T, ".", color=TRUE_COLOR, markersize=2.5, zorder=2)
    near = _limit_axes(axes, gt[:, view], pred[:, view], answered)
    if answered.any():
        error = np.linalg.norm(pred[answered] - gt[answered], axis=1)
        ends = np.stack([gt[near][:, view], pred[near][:, view]], axis=1)
        axes.add_collection(LineCollection(list(ends), colors="#bbbbbb", linewidths=0.5, zorder=1))
        points = axes.scatter(
            *pred[answered][:, view].T,
            c=error,
            cmap=ERROR_COLORMAP,
            vmin=0.0,
            vmax=max(float(np.quantile(error, 0.95)), 1e-6),
            s=14,
            linewidths=0,
            zorder=3,
            label="estimated",
        )
        axes.figure.colorbar(points, ax=axes, label="position error (m)", shrink=0.8, extend="max")
    missing = known & ~answered
    if missing.any():
        axes.plot(
            *gt[missing][:, view].T,
            "x",
            color=FAILURE_COLOR,
            markersize=6,
            label="no answer in this scene",
        )
    names = "xyz"
    axes.set(xlabel=f"{names[view[0]]} (m)", ylabel=f"{names[view[1]]} (m)")
    axes.set_aspect("equal")
    outside = int(answered.sum() - near.sum())
    notes = [f"{int(known.sum())} frames"]
    notes += [f"{int(missing.sum())} without answer in this scene"] if missing.any() else []
    notes += [f"{outside} outside the view"] if outside else []
    axes.set_title(f"{as_label(panel.scene)}\n{', '.join(notes)}")


def _limit_axes(
    axes: Any, gt: Array, pred: Array, answered: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Fit the view to the path and to estimates not too far off; say which are in the view."""
    low, high = np.nanmin(gt, axis=0), np.nanmax(gt, axis=0)
    # The path's own extent on either side: a single wild estimate must not shrink the rest.
    reach = max(float((high - low).max()), 0.05)
    near = answered & ((pred >= low - reach) & (pred <= high + reach)).all(axis=1)
    if near.any():
        low = np.minimum(low, pred[near].min(axis=0))
        high = np.maximum(high, pred[near].max(axis=0))
    # One shape for every panel: the shorter side is widened, not the picture squeezed.
    middle, half = (low + high) / 2.0, 0.55 * (high - low)
    half_width = max(float(half[0]), float(half[1]) / PANEL_ASPECT, 0.02)
    view = np.array([half_width, PANEL_ASPECT * half_width])
    axes.set_xlim(middle[0] - view[0], middle[0] + view[0])
    axes.set_ylim(middle[1] - view[1], middle[1] + view[1])
    visible: npt.NDArray[np.bool_] = answered & (np.abs(pred - middle) <= view).all(axis=1)
    return visible


def contact_sheet_figure(
    images: Sequence[CaptionedImage], title: str | None = None, columns: int = 4
) -> Figure:
    """Lay captioned pictures out in rows."""
    if not images:
        raise ValueError("there are no pictures to draw")
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.2 * columns, 2.85 * rows + 0.3), layout="constrained")
        for place, (image, caption) in enumerate(images):
            axes = figure.add_subplot(rows, columns, place + 1)
            axes.imshow(image)
            axes.set_title(as_label(caption), fontsize=8)
            axes.set_axis_off()
        if title:
            figure.suptitle(title)
    return figure


def union_of_legends(figure: Figure) -> tuple[list[Any], list[str]]:
    """Give each label of the figure's axes once, with the first artist that carries it."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)
