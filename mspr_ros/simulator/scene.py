"""A scene: its faces, what stands in the way, and where a robot can drive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mspr_ros.geometry import Array
from mspr_ros.simulator.shapes import Face, Solid

CELL_M = 0.05
# What a robot of this radius can pass; the camera then never comes nearer to anything than
# CLEARANCE_M, which the tests check against the solids themselves.
PASSAGE_M = 0.42
CLEARANCE_M = 0.25


@dataclass(frozen=True)
class DriveStyle:
    """Describe how one drives through a scene.

    Args:
        speed: Metres per second.
        look_around: Standard deviation of the heading about the direction of travel, radians.
        eccentric: Whether goals are drawn along the whole length in turn (a street).
    """

    speed: float = 0.6
    look_around: float = 0.7
    eccentric: bool = False


@dataclass(frozen=True, eq=False)
class Scene:
    """Describe a place in the map.

    Args:
        name: As in datasets.
        faces: Everything that is drawn.
        solids: Everything that stands in the way.
        outline: (4, 2) rectangle one may drive in, counterclockwise from its low corner, metres.
        style: How one drives here.
    """

    name: str
    faces: tuple[Face, ...]
    solids: tuple[Solid, ...]
    outline: Array
    style: DriveStyle


@dataclass(frozen=True, eq=False)
class FreeSpace:
    """Hold how far each cell of the floor is from whatever stands there.

    Args:
        origin: (2,) map position of the centre of cell (0, 0).
        distance: (rows, columns) metres to the nearest solid or border; row = y, column = x.
    """

    origin: Array
    distance: Array

    def to_map(self, cells: npt.NDArray[np.int64]) -> Array:
        """Give the (n, 2) map positions of (n, 2) cells (row, column)."""
        return np.asarray(self.origin + CELL_M * cells[:, ::-1])


def free_space(outline: Array, solids: Sequence[Solid]) -> FreeSpace:
    """Measure the free floor on a grid of CELL_M."""
    low, high = outline[0], outline[2]
    columns, rows = np.floor((high - low) / CELL_M).astype(int)
    free = np.ones((rows, columns), dtype=np.uint8)
    origin = low + 0.5 * CELL_M
    for solid in solids:
        cells = np.round((solid.footprint - origin) / CELL_M).astype(np.int32)
        cv2.fillConvexPoly(free, cells, 0)
    # A border of occupied cells makes the outline an obstacle, too.
    padded = np.pad(free, 1)
    distance = ndimage.distance_transform_edt(padded)[1:-1, 1:-1] * CELL_M - 0.5 * CELL_M
    return FreeSpace(np.asarray(origin), np.asarray(distance, dtype=np.float64))


def largest_region(space: FreeSpace) -> npt.NDArray[np.bool_]:
    """Give the largest connected part of the floor where a robot passes."""
    labels, number = ndimage.label(space.distance > PASSAGE_M, structure=np.ones((3, 3)))
    if number == 0:
        return np.zeros(space.distance.shape, dtype=bool)
    return np.asarray(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))


def free_share(outline: Array, solids: Sequence[Solid]) -> float:
    """Tell which part of the passable floor hangs together; 0 if too little is passable."""
    space = free_space(outline, solids)
    passable = np.count_nonzero(space.distance > PASSAGE_M)
    if passable < 0.2 * space.distance.size:
        return 0.0
    return float(np.count_nonzero(largest_region(space)) / passable)
