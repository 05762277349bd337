"""What a pose looks like in RViz and Foxglove: plain numbers, for markers live or recorded."""

from __future__ import annotations

import numpy as np

Point = tuple[float, float, float]

# Namespaces of the two markers of a pose.
CAMERA_MARKER, SCENE_MARKER = "camera", "scene"
LINE_WIDTH_M = 0.01
TEXT_HEIGHT_M = 0.15
TEXT_ABOVE_M = 0.3
LIFETIME_S = 2
# Of the pyramid's base, in the camera's optical frame, in order around it.
_CORNERS: tuple[Point, ...] = tuple(
    (x, y, 0.3) for x, y in ((-0.2, -0.15), (0.2, -0.15), (0.2, 0.15), (-0.2, 0.15))
)


def camera_lines() -> list[Point]:
    """Give the pyramid of a camera in its optical frame: two points a line, metres."""
    apex: Point = (0.0, 0.0, 0.0)
    points: list[Point] = []
    for index, corner in enumerate(_CORNERS):
        points += [apex, corner, corner, _CORNERS[(index + 1) % 4]]
    return points


def confidence_color(confidence: float) -> tuple[float, float, float, float]:
    """Give red, green, blue, alpha: red where a pose is doubtful, green where it is sure."""
    shade = float(np.clip(confidence, 0.0, 1.0))
    return 1.0 - shade, 0.4 + 0.5 * shade, 0.2, 1.0


def scene_text(scene: str, confidence: float) -> str:
    """Write what stands beside a camera; its first line is the scene alone."""
    return f"{scene}\n{confidence:.2f}"
