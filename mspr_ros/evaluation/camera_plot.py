"""Draw where cameras stood and looked: from above and from the side, as a check of a dataset."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from mspr_ros.evaluation.plots import SCENE_COLORS, STYLE, TRUE_COLOR, top_view_axes
from mspr_ros.geometry import Array
from mspr_ros.naming import as_label

MAX_ARROWS = 70
CHARACTERS_A_LINE = 110
ALARM_COLOR = "#b03000"
NUM_FRUSTUMS = 5
# Length of an optical axis and of a frustum, as parts of the scene's extent.
ARROW, FRUSTUM = 0.05, 0.11
MAX_IN_LEGEND = len(SCENE_COLORS)
# Half of a frustum's width and height at depth one: about 60 by 45 degrees.
HALF_WIDTH, HALF_HEIGHT = 0.58, 0.42
AXIS_NAMES = "xyz"


class SceneView(NamedTuple):
    """One scene to draw.

    Args:
        scene: Its name.
        T_map_cam: (N, 4, 4) poses.
        sequences: (N,) names; each gets a colour.
        note: What to write under the name.
        alarming: Whether the note is a warning.
    """

    scene: str
    T_map_cam: Array
    sequences: Sequence[str]
    note: str = ""
    alarming: bool = False


def cameras_figure(views: Sequence[SceneView], title: str | None = None) -> Figure:
    """Draw every scene in a row: from above at the left, from the side at the right.

    Raises:
        ValueError: If there is no scene, or one without poses.
    """
    if not views or any(len(view.T_map_cam) == 0 for view in views):
        raise ValueError("there are no cameras to draw")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.5, 6.0 * len(views)), layout="constrained")
        parts = figure.subfigures(len(views), 1, squeeze=False)[:, 0]
        for part, view in zip(parts, views, strict=True):
            above, beside, up_sign = view_axes(view.T_map_cam)
            left, right = part.subplots(1, 2)
            _draw(left, view, above)
            _draw(right, view, beside)
            left.set_title("from above")
            right.set_title("from the side, the cameras' up is up")
            if up_sign < 0:
                right.invert_yaxis()
            # x over y and y over z are seen from the third axis' tip, x over z from y's tail.
            if up_sign != (-1 if above == (0, 2) else 1):
                left.invert_yaxis()  # else it would be a view from below, mirrored
            note = "\n".join(textwrap.wrap(view.note, CHARACTERS_A_LINE))
            part.suptitle(
                as_label(f"{view.scene}: {len(view.T_map_cam)} cameras\n{note}"),
                color=ALARM_COLOR if view.alarming else TRUE_COLOR,
                fontsize=11,
            )
            _legend(right, view)
        if title:
            figure.suptitle(as_label(title))
    return figure


def view_axes(T_map_cam: Array) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Choose the map's axes for the two views.

    The vertical is the map axis that the cameras' upward directions agree on; where they agree on
    none, the axis of least spread.

    Returns:
        Axes of the view from above, axes of the view from the side, and the sign of up along the
        vertical axis.
    """
    positions = T_map_cam[:, :3, 3]
    up = -T_map_cam[:, :3, 1].mean(axis=0)
    vertical = int(np.argmax(np.abs(up)))
    if abs(up[vertical]) < 0.5:
        above = top_view_axes(positions)
        vertical = 3 - sum(above)
    else:
        first, second = (axis for axis in range(3) if axis != vertical)
        above = (first, second)
    spread = np.ptp(positions[:, list(above)], axis=0)
    widest = above[int(np.argmax(spread))]
    return above, (widest, vertical), 1 if up[vertical] >= 0.0 else -1


def _draw(axes: Any, view: SceneView, plane: tuple[int, int]) -> None:
    """Draw one view: the paths, arrows along the optical axes, and a few frustums."""
    names = list(dict.fromkeys(view.sequences))
    color_of = {name: SCENE_COLORS[i % len(SCENE_COLORS)] for i, name in enumerate(names)}
    columns = list(plane)
    positions = view.T_map_cam[:, :3, 3]
    extent = max(float(np.ptp(positions, axis=0).max()), 0.1)
    sequences = np.array(view.sequences)
    for name in names:
        where = positions[sequences == name][:, columns]
        axes.plot(
            *where.T, ".", color=color_of[name], markersize=3, label=as_label(name), zorder=2
        )
    count = len(positions)
    chosen = np.unique(np.linspace(0, count - 1, min(MAX_ARROWS, count)).astype(int))
    forward = view.T_map_cam[chosen][:, :3, 2]
    axes.quiver(
        *positions[chosen][:, columns].T,
        *(ARROW * extent * forward[:, columns]).T,
        angles="xy",
        scale_units="xy",
        scale=1.0,
        width=0.0035,
        color=[color_of[name] for name in sequences[chosen]],
        zorder=3,
    )
    lines = np.concatenate(
        [
            frustum_lines(view.T_map_cam[i], FRUSTUM * extent)
            for i in np.unique(np.linspace(0, count - 1, min(NUM_FRUSTUMS, count)).astype(int))
        ]
    )
    axes.add_collection(
        LineCollection(list(lines[:, :, columns]), colors=TRUE_COLOR, linewidths=1.0, zorder=4)
    )
    axes.set(xlabel=f"{AXIS_NAMES[plane[0]]} (m)", ylabel=f"{AXIS_NAMES[plane[1]]} (m)")
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.12)


def frustum_lines(T_map_cam: Array, depth: float) -> Array:
    """Give the edges (10, 2, 3) of a camera's field of view in the map.

    Four edges from the centre, four of the image, and two that make a roof over its upper edge.
    """
    x, y = HALF_WIDTH, HALF_HEIGHT
    corners = depth * np.array([[-x, -y, 1], [x, -y, 1], [x, y, 1], [-x, y, 1]])
    roof = depth * np.array([0.0, -1.6 * y, 1.0])
    ends = [(np.zeros(3), corner) for corner in corners]
    ends += [(corners[i], corners[(i + 1) % 4]) for i in range(4)]
    ends += [(corners[0], roof), (roof, corners[1])]
    edges_cam = np.array(ends)
    return np.asarray(edges_cam @ T_map_cam[:3, :3].T + T_map_cam[:3, 3])


def _legend(axes: Any, view: SceneView) -> None:
    """Name the sequences beside the plot, where they are few enough to be told apart."""
    handles, labels = axes.get_legend_handles_labels()
    hidden = len(labels) - MAX_IN_LEGEND
    if len(labels) > 1:
        legend = axes.legend(
            handles[:MAX_IN_LEGEND],
            labels[:MAX_IN_LEGEND],
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            title=f"sequence (and {hidden} more)" if hidden > 0 else "sequence",
            markerscale=3,
        )
        legend.set_in_layout(True)
