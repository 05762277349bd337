"""The way so far, coloured by confidence, and the volume where the camera was taught."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import Point, PoseStamped
from nav_msgs.msg import Path
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from mspr_ros.drawing import confidence_color

PATH_LENGTH = 2000
TRAIL_MARKER, TAUGHT_MARKER = "trail", "taught"  # namespaces
TRAIL_WIDTH_M, TAUGHT_WIDTH_M = 0.03, 0.01
TAUGHT_COLOR = (0.3, 0.5, 0.9, 0.8)

Bounds = tuple[Sequence[float], Sequence[float]]  # the lowest and the highest corner, metres


class Trail:
    """Remember the poses of one scene; another begins anew.

    Each scene has coordinates of its own: a line from one to the next would be a lie.
    """

    def __init__(self) -> None:
        self._scene, self._header = "", Header()
        self._poses: deque[PoseStamped] = deque(maxlen=PATH_LENGTH)
        self._colors: deque[ColorRGBA] = deque(maxlen=PATH_LENGTH)

    def extend(self, scene: str, pose: PoseStamped, confidence: float) -> None:
        """Add a pose."""
        if scene != self._scene or pose.header.frame_id != self._header.frame_id:
            self._poses.clear()
            self._colors.clear()
        self._scene, self._header = scene, pose.header
        red, green, blue, alpha = confidence_color(confidence)
        self._poses.append(pose)
        self._colors.append(ColorRGBA(r=red, g=green, b=blue, a=alpha))

    def path(self) -> Path:
        """Give the way as a Path."""
        return Path(header=self._header, poses=list(self._poses))

    def markers(self, bounds: Bounds | None) -> MarkerArray:
        """Draw the way as a line of many colours, and the scene's taught volume.

        Args:
            bounds: Of the positions taught in the scene; None takes its drawing away.
        """
        line = Marker(header=self._header, ns=TRAIL_MARKER, type=Marker.LINE_STRIP)
        line.action = Marker.ADD if len(self._poses) > 1 else Marker.DELETE  # one is no line
        line.pose.orientation.w, line.scale.x = 1.0, TRAIL_WIDTH_M
        line.points = [pose.pose.position for pose in self._poses]
        line.colors = list(self._colors)
        # Several cameras and bases share a map: the volume is that of the cameras' positions.
        volume = Marker(header=self._header, ns=TAUGHT_MARKER, type=Marker.LINE_LIST)
        volume.action = Marker.DELETE if bounds is None else Marker.ADD
        volume.pose.orientation.w, volume.scale.x = 1.0, TAUGHT_WIDTH_M
        red, green, blue, alpha = TAUGHT_COLOR
        volume.color = ColorRGBA(r=red, g=green, b=blue, a=alpha)
        volume.points = [] if bounds is None else box_edges(*bounds)
        return MarkerArray(markers=[line, volume])


def box_edges(low: Sequence[float], high: Sequence[float]) -> list[Point]:
    """Give the twelve edges of an upright box, two points each."""
    corners = (low, high)
    edges = []
    for axis in range(3):
        for first in (0, 1):
            for second in (0, 1):
                ends = []
                for end in (0, 1):
                    # Along `axis` from one side to the other, the other two stay.
                    choice = [first, second]
                    choice.insert(axis, end)
                    x, y, z = (float(corners[side][i]) for i, side in enumerate(choice))
                    ends.append(Point(x=x, y=y, z=z))
                edges += ends
    return edges


def taught_bounds(metadata: Any) -> dict[str, Bounds]:
    """Read from a bundle's metadata where its cameras were, by scene; none where it is unknown."""
    return {
        scene.name: (scene.position_min, scene.position_max)
        for scene in metadata.scenes
        if scene.position_min is not None and scene.position_max is not None
    }
