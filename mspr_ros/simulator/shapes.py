"""Textured flat faces and the upright prisms that furniture and houses are made of.

Map frame: metres, z up (REP-103). A face carries its texture as a picture: seen from its front,
`right` points to the right of the picture and `down` to its lower edge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from mspr_ros.geometry import Array

Image = npt.NDArray[np.uint8]
# Paints a surface of a width and a height in metres: (h, w, 3) uint8 RGB.
Painter = Callable[[float, float], Image]

SMALLEST_LEVEL = 4


@dataclass(frozen=True, eq=False)
class Face:
    """Describe a convex polygon in space with a picture on its front.

    Args:
        origin: (3,) where the picture's upper left corner lies in the map, metres.
        right, down: (3,) orthogonal unit vectors along the picture's rows and columns.
        polygon: (n, 2) corners in metres along `right` and `down`, clockwise seen from the front.
        size: Width and height of the picture in metres.
        levels: The picture, then each half as large as the one before.
        glows: Whether lamps leave it as it is (the sky, a screen).
    """

    origin: Array
    right: Array
    down: Array
    polygon: Array
    size: tuple[float, float]
    levels: tuple[Image, ...]
    glows: bool = False

    @property
    def normal(self) -> Array:
        """The (3,) unit vector that points out of the front."""
        return np.cross(self.down, self.right)

    @property
    def corners(self) -> Array:
        """The (n, 3) corners in the map."""
        return np.asarray(
            self.origin + self.polygon[:, :1] * self.right + self.polygon[:, 1:] * self.down
        )

    @property
    def texels_per_m(self) -> float:
        """The finest resolution of the picture."""
        height, width = self.levels[0].shape[:2]
        return float(np.sqrt(width * height / (self.size[0] * self.size[1])))


@dataclass(frozen=True, eq=False)
class Solid:
    """Describe an upright prism that nothing may drive through.

    Args:
        footprint: (n, 2) convex, counterclockwise from above, map metres.
        bottom, top: Heights, metres.
    """

    footprint: Array
    bottom: float
    top: float


def picture_levels(picture: Image) -> tuple[Image, ...]:
    """Halve a picture by area averaging until it is tiny: the levels against aliasing."""
    levels = [np.ascontiguousarray(picture)]
    while min(levels[-1].shape[:2]) >= 2 * SMALLEST_LEVEL:
        height, width = levels[-1].shape[:2]
        half = ((width + 1) // 2, (height + 1) // 2)
        levels.append(np.asarray(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA)))
    return tuple(levels)


@dataclass
class Place:
    """Put things given in a local frame onto the map's floor: x, y, yaw of the local frame."""

    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0

    def to_map(self, points: npt.ArrayLike) -> Array:
        """Take (n, 2) local points to the map."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        rotation = np.array([[c, -s], [s, c]])
        return np.asarray(
            np.asarray(points, dtype=np.float64) @ rotation.T + np.array([self.x, self.y])
        )

    def then(self, x: float, y: float, yaw: float = 0.0) -> Place:
        """Give the place that lies at x, y, yaw of this one."""
        moved = self.to_map([[x, y]])[0]
        return Place(float(moved[0]), float(moved[1]), self.yaw + yaw)


@dataclass
class Shapes:
    """Collect the faces and solids of a scene."""

    faces: list[Face] = field(default_factory=list)
    solids: list[Solid] = field(default_factory=list)

    def add_wall(
        self,
        left: npt.ArrayLike,
        right: npt.ArrayLike,
        bottom: float,
        top: float,
        paint: Painter,
        glows: bool = False,
    ) -> None:
        """Add an upright rectangle between two floor points, left and right for who sees it."""
        start, end = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
        width, height = float(np.linalg.norm(end - start)), top - bottom
        direction = (end - start) / width
        self.faces.append(
            Face(
                origin=np.array([start[0], start[1], top]),
                right=np.array([direction[0], direction[1], 0.0]),
                down=np.array([0.0, 0.0, -1.0]),
                polygon=np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]]),
                size=(width, height),
                levels=picture_levels(paint(width, height)),
                glows=glows,
            )
        )

    def add_level(
        self,
        footprint: npt.ArrayLike,
        z: float,
        paint: Painter,
        *,
        place: Place | None = None,
        faces_up: bool = True,
        glows: bool = False,
    ) -> None:
        """Add a horizontal polygon: a floor, a table's top, or seen from below a ceiling.

        Args:
            footprint: (n, 2) convex, counterclockwise from above, in the frame of `place`. The
                picture's right is that frame's x; seen from above its upper edge lies at large y.
            z: Height in metres.
            paint: Paints the footprint's bounding rectangle.
            place: The frame; none for the map's.
            faces_up: False for a surface seen from below.
            glows: Whether lamps leave it as it is.
        """
        place = place or Place()
        points = np.asarray(footprint, dtype=np.float64)
        low, high = points.min(axis=0), points.max(axis=0)
        size = (float(high[0] - low[0]), float(high[1] - low[1]))
        c, s = np.cos(place.yaw), np.sin(place.yaw)
        right, far = np.array([c, s, 0.0]), np.array([-s, c, 0.0])
        if faces_up:
            corner, down = (low[0], high[1]), -far
            polygon = np.column_stack([points[:, 0] - low[0], high[1] - points[:, 1]])[::-1]
        else:
            corner, down = (low[0], low[1]), far
            polygon = points - low
        origin = place.to_map([corner])[0]
        self.faces.append(
            Face(
                origin=np.array([origin[0], origin[1], z]),
                right=right,
                down=down,
                polygon=np.ascontiguousarray(polygon),
                size=size,
                levels=picture_levels(paint(*size)),
                glows=glows,
            )
        )

    def add_prism(
        self,
        place: Place,
        footprint: npt.ArrayLike,
        bottom: float,
        top: float,
        sides: Painter | Sequence[Painter | None],
        cap: Painter | None = None,
        *,
        glows: bool = False,
    ) -> None:
        """Add an upright prism with a picture on every side.

        Args:
            place: The frame of the footprint.
            footprint: (n, 2) convex, counterclockwise from above.
            bottom: Height of the underside in metres.
            top: Height of the upper side in metres.
            sides: One painter, or one for each edge of the footprint (none: left open, for sides
                that touch a wall).
            cap: Paints top and underside; none to paint them as the sides.
            glows: Whether lamps leave the sides as they are.
        """
        local = np.asarray(footprint, dtype=np.float64)
        points = place.to_map(local)
        painters = [sides] * len(points) if callable(sides) else list(sides)
        for index, paint in enumerate(painters):
            if paint is not None:
                following = points[(index + 1) % len(points)]
                self.add_wall(points[index], following, bottom, top, paint, glows)
        cap = cap or next(paint for paint in painters if paint is not None)
        self.add_level(local, top, cap, place=place)
        if bottom > 0.02:
            self.add_level(local, bottom, cap, place=place, faces_up=False)
        self.solids.append(Solid(points, bottom, top))

    def add_box(
        self,
        place: Place,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        sides: Painter,
        *,
        front: Painter | None = None,
        cap: Painter | None = None,
        glows: bool = False,
    ) -> None:
        """Add a box; its front is the side at large y of the local frame."""
        self.add_prism(
            place,
            rectangle(x, y),
            *z,
            [sides, sides, front or sides, sides],
            cap or sides,
            glows=glows,
        )


def rectangle(x: tuple[float, float], y: tuple[float, float]) -> Array:
    """Give the (4, 2) corners of a rectangle, counterclockwise from its low corner."""
    return np.array([[x[0], y[0]], [x[1], y[0]], [x[1], y[1]], [x[0], y[1]]])


def ngon(radius: float, corners: int = 8) -> Array:
    """Give the (corners, 2) points of a regular polygon about the origin, counterclockwise."""
    angle = (np.arange(corners) + 0.5) * 2.0 * np.pi / corners
    return np.asarray(radius * np.column_stack([np.cos(angle), np.sin(angle)]))
