"""Draw `conventions.png`: python docs/images/draw_conventions.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mspr_ros.data.recording import AXES
from mspr_ros.evaluation.camera_plot import frustum_lines

COLORS = ("#d55e00", "#009e73", "#0072b2")  # x, y, z
NAMES = {
    "optical": "optical: x right, y down, z forward\n(ROS images, OpenCV, COLMAP, this package)",
    "opengl": "opengl: x right, y up, z back\n(NeRF, instant-ngp, nerfstudio, Blender)",
    "ros": "ros: x forward, y left, z up\n(a robot's base_link, camera_link)",
}
# From the right, above and behind the camera: the page's right and up in a map with z up.
PAGE = np.array([[0.42, -0.9, 0.0], [0.45, 0.21, 0.87]])
# An optical camera that looks along the map's x.
R_map_optical = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def on_page(points: Any) -> Any:
    """Project (..., 3) map points to the page (..., 2)."""
    return np.asarray(points) @ PAGE.T


def arrow(axes: Any, start: Any, end: Any, name: str, color: str) -> None:
    """Draw a named arrow between two points of the map."""
    first, last = on_page(start), on_page(end)
    style = {"arrowstyle": "-|>", "color": color, "linewidth": 2.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", last, first, arrowprops=style)
    beyond = last + 0.13 * (last - first) / max(np.linalg.norm(last - first), 1e-9)
    axes.plot(*np.stack([first, beyond]).T, alpha=0.0)  # an annotation does not widen the view
    axes.text(*beyond, name, color=color, ha="center", va="center", fontsize=12)


def camera(axes: Any, centre: Any) -> None:
    """Draw a camera that looks along the map's x, its upper edge with a roof."""
    T_map_cam = np.eye(4)
    T_map_cam[:3, :3], T_map_cam[:3, 3] = R_map_optical, centre
    for edge in frustum_lines(T_map_cam, 1.0):
        axes.plot(*on_page(edge).T, color="#8c8c8c", linewidth=1.3)


def triad(axes: Any, centre: Any, R_map_axes: Any, length: float, suffix: str = "") -> None:
    """Draw three named axes."""
    for name, direction, color in zip("xyz", np.asarray(R_map_axes).T, COLORS, strict=True):
        arrow(axes, centre, centre + length * direction, f"{name}{suffix}", color)


def main() -> None:
    """Write the picture beside this script."""
    figure = Figure(figsize=(13.0, 8.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.0, 1.1))
    for axes, (kind, text) in zip(above.subplots(1, 3), NAMES.items(), strict=True):
        camera(axes, np.zeros(3))
        # AXES gives the optical axes in the file's own; the file's in the map are wanted.
        triad(axes, np.zeros(3), R_map_optical @ AXES[kind].T, 0.8)
        axes.set_title(text, fontsize=11)
        axes.set(xlim=(-1.2, 1.3), ylim=(-0.95, 1.2))
    axes = below.subplots()
    origin, centre = np.zeros(3), np.array([3.0, -1.2, 1.0])
    triad(axes, origin, np.eye(3), 0.8)
    axes.text(*(on_page(origin) - 0.15), "map", ha="right", fontsize=12)
    camera(axes, centre)
    triad(axes, centre, R_map_optical, 0.8)
    arrow(axes, origin, centre, "", "#3b3b3b")
    axes.text(
        *on_page(0.5 * centre - [0.0, 0.2, 0.1]), "t = camera centre in the map", fontsize=12
    )
    axes.set_title(
        "map_from_cam: p_map = R p_cam + t, what this package stores.     "
        "cam_from_map is its inverse: p_cam = R' p_map - R' t",
        fontsize=12,
    )
    for panel in (*above.axes, axes):
        panel.set_aspect("equal")
        panel.margins(0.05)
        panel.axis("off")
    figure.savefig(Path(__file__).with_name("conventions.png"), dpi=80)


if __name__ == "__main__":
    main()
