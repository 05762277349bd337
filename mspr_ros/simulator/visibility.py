"""Which face each pixel sees: exact coverage and a z-buffer over inverse depth.

A pixel belongs to a polygon when its centre lies inside. Inverse depth on a plane is affine in
the image, so that every face's depth is one outer sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mspr_ros.camera import CameraModel
from mspr_ros.geometry import Array, invert_transform
from mspr_ros.simulator.shapes import Face

NEAR_M = 0.03
# A hair wider than the polygon, so that faces which share an edge leave no pixel between them.
EDGE_PX = 1e-4
SMALL_PX = 2500

Index = npt.NDArray[np.int16]
InverseDepth = npt.NDArray[np.float32]


class FaceArrays:
    """The faces of a scene as arrays, for culling and projecting all of them at once."""

    def __init__(self, faces: Sequence[Face]) -> None:
        self.faces = tuple(faces)
        self.origins = np.array([face.origin for face in self.faces])
        self.rights = np.array([face.right for face in self.faces])
        self.downs = np.array([face.down for face in self.faces])
        self.normals = np.array([face.normal for face in self.faces])
        self.glows = np.array([face.glows for face in self.faces])
        self.texels_per_m = np.array([face.texels_per_m for face in self.faces])
        corners = [face.corners for face in self.faces]
        self.corners = np.concatenate(corners)
        self.starts = np.cumsum([0] + [len(points) for points in corners])
        # The corner after each corner, round its own polygon.
        self.following = np.arange(len(self.corners)) + 1
        self.following[self.starts[1:] - 1] = self.starts[:-1]


@dataclass(frozen=True, eq=False)
class Window:
    """The pixels a face may own: a window of the image, and which of it (none: all)."""

    rows: slice
    columns: slice
    mask: npt.NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class View:
    """What a camera sees.

    Args:
        index: (height, width) which face, -1 for none.
        inverse_depth: (height, width) 1/z in 1/m, 0 for nothing.
        windows: Where the faces are that may be seen, by their index.
    """

    index: Index
    inverse_depth: InverseDepth
    windows: dict[int, Window]


def look(faces: FaceArrays, T_map_cam: Array, pinhole: CameraModel) -> View:
    """Find out what each pixel of an undistorted camera sees."""
    index = np.full((pinhole.height, pinhole.width), -1, dtype=np.int16)
    inverse_depth = np.zeros((pinhole.height, pinhole.width), dtype=np.float32)
    T_cam_map = invert_transform(T_map_cam)
    corners = faces.corners @ T_cam_map[:3, :3].T + T_cam_map[:3, 3]
    normals = faces.normals @ T_cam_map[:3, :3].T
    first = corners[faces.starts[:-1]]
    planes = _inverse_depth_planes(normals, first, pinhole)
    depths = np.maximum(corners[:, 2:], NEAR_M)
    projected = corners[:, :2] / depths * (pinhole.fx, pinhole.fy) + (pinhole.cx, pinhole.cy)
    nearest = np.minimum.reduceat(corners[:, 2], faces.starts[:-1])
    seen = np.flatnonzero(_may_be_seen(faces, corners, T_map_cam[:3, 3], pinhole))
    windows: dict[int, Window] = {}
    # From near to far, so that what is hidden never gets a pixel.
    boxes = _boxes(projected, faces.starts, pinhole)
    borders = _borders(projected, faces.following)
    for number in seen[np.argsort(nearest[seen], kind="stable")].tolist():
        part = slice(faces.starts[number], faces.starts[number + 1])
        if nearest[number] < NEAR_M:
            window = _cover(_project(_clip_near(corners[part]), pinhole), pinhole)
        else:
            top, bottom, left, right = boxes[number].tolist()
            if top > bottom or left > right:
                continue
            if (bottom - top) * (right - left) < SMALL_PX:
                window = _cover_small(borders[part], top, bottom, left, right)
            else:
                window = _cover(projected[part], pinhole)
        if window is not None and _claim(index, inverse_depth, number, window, planes[number]):
            windows[number] = window
    return View(index, inverse_depth, windows)


def _inverse_depth_planes(normals: Array, points: Array, pinhole: CameraModel) -> Array:
    """Give rows (a, b, c) with 1/z = a u + b v + c for planes through `points`."""
    offsets = np.einsum("fi,fi->f", normals, points)[:, None]
    # A plane through the camera's centre is culled; it must not divide by zero before that.
    planes = normals / np.where(np.abs(offsets) < 1e-9, 1.0, offsets)
    planes[:, 0] /= pinhole.fx
    planes[:, 1] /= pinhole.fy
    planes[:, 2] -= planes[:, 0] * pinhole.cx + planes[:, 1] * pinhole.cy
    return np.asarray(planes)


def _may_be_seen(
    faces: FaceArrays, corners_cam: Array, centre: Array, pinhole: CameraModel
) -> npt.NDArray[np.bool_]:
    """Cull faces seen from behind and faces outside one side of the view, all at once."""
    facing = np.einsum("fi,fi->f", faces.normals, centre - faces.origins) > 1e-6
    x, y, z = corners_cam.T
    left, right = (np.array([-0.5, pinhole.width - 0.5]) - pinhole.cx) / pinhole.fx
    top, bottom = (np.array([-0.5, pinhole.height - 0.5]) - pinhole.cy) / pinhole.fy
    # Each row is positive on the inner side of one plane of the view.
    sides = np.stack([z - NEAR_M, x - left * z, right * z - x, y - top * z, bottom * z - y])
    inside = np.maximum.reduceat(sides, faces.starts[:-1], axis=1) > 0.0
    return np.asarray(facing & inside.all(axis=0))


def _clip_near(points: Array) -> Array:
    """Cut a polygon (n, 3) in camera coordinates at the near plane."""
    kept = []
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        if start[2] >= NEAR_M:
            kept.append(start)
        if (start[2] >= NEAR_M) != (end[2] >= NEAR_M):
            weight = (NEAR_M - start[2]) / (end[2] - start[2])
            kept.append(start + weight * (end - start))
    return np.array(kept)


def _project(points: Array, pinhole: CameraModel) -> Array:
    scale = np.array([pinhole.fx, pinhole.fy])
    return np.asarray(scale * points[:, :2] / points[:, 2:] + (pinhole.cx, pinhole.cy))


def _boxes(
    projected: Array, starts: npt.NDArray[np.int64], pinhole: CameraModel
) -> npt.NDArray[np.int64]:
    """Give each polygon's first and last row and column in the image, (F, 4); empty: first > last.

    Meaningless for polygons that reach behind the near plane.
    """
    low = np.minimum.reduceat(projected, starts[:-1])
    high = np.maximum.reduceat(projected, starts[:-1])
    size = (pinhole.width - 1, pinhole.height - 1)
    low = np.clip(np.ceil(low - EDGE_PX), 0, np.add(size, 1))
    high = np.clip(np.floor(high + EDGE_PX), -1, size)
    boxes = np.column_stack([low[:, 1], high[:, 1], low[:, 0], high[:, 0]])
    return np.asarray(boxes, dtype=np.int64)


def _borders(projected: Array, following: npt.NDArray[np.int64]) -> Array:
    """Give for each edge (a, b, c): a u + b v + c is how many pixels inside of it u, v lies."""
    step = projected[following] - projected
    length = np.maximum(np.linalg.norm(step, axis=1), 1e-12)
    a, b = -step[:, 1] / length, step[:, 0] / length
    return np.column_stack([a, b, -a * projected[:, 0] - b * projected[:, 1]])


def _cover_small(borders: Array, top: int, bottom: int, left: int, right: int) -> Window | None:
    """Test every pixel of a small window against every edge: fewer steps than row by row."""
    a, b, c = borders.T[:, :, None]
    inside = (b * np.arange(top, bottom + 1) + c)[:, :, None] + (a * np.arange(left, right + 1))[
        :, None, :
    ]
    mask = (inside > -EDGE_PX).all(axis=0)
    return Window(slice(top, bottom + 1), slice(left, right + 1), mask)


def _cover(polygon: Array, pinhole: CameraModel) -> Window | None:
    """Find the pixels whose centres lie in a convex polygon, clockwise on the screen."""
    x, y = polygon.T
    first = max(0, int(np.ceil(y.min() - EDGE_PX)))
    last = min(pinhole.height - 1, int(np.floor(y.max() + EDGE_PX)))
    if first > last:
        return None
    rise = np.concatenate((y[1:], y[:1])) - y
    run = np.concatenate((x[1:], x[:1])) - x
    slanted = np.abs(rise) > 1e-9
    slope = run / np.where(slanted, rise, 1.0)
    # Where each edge's line crosses each row: the right border runs down the screen.
    rows = np.arange(first, last + 1, dtype=np.float64)
    crossing = slope[:, None] * (rows - y[:, None]) + x[:, None]
    falls, rises = slanted & (rise > 0.0), slanted & (rise < 0.0)
    if not (falls.any() and rises.any()):
        return None
    ends = np.minimum(crossing[falls].min(axis=0) + EDGE_PX, pinhole.width - 1)
    begins = np.maximum(crossing[rises].max(axis=0) - EDGE_PX, 0.0)
    to_column = np.floor(ends).astype(np.int32)
    from_column = np.ceil(begins).astype(np.int32)
    low, high = int(from_column.min()), int(to_column.max())
    if low > high:
        return None
    window = slice(first, last + 1), slice(low, high + 1)
    if int(from_column.max()) == low and int(to_column.min()) == high:
        return Window(*window, None)
    columns = np.arange(low, high + 1, dtype=np.int32)
    mask = (columns >= from_column[:, None]) & (columns <= to_column[:, None])
    return Window(*window, mask)


def _claim(
    index: Index, inverse_depth: InverseDepth, number: int, window: Window, plane: Array
) -> bool:
    """Take the pixels of a face that lie in front of all before; tell whether there are any."""
    rows, columns = window.rows, window.columns
    # The constant goes with the rows in float64: large numbers cancel before float32 sees them.
    down = plane[1] * np.arange(rows.start, rows.stop) + (plane[0] * columns.start + plane[2])
    across = plane[0] * np.arange(columns.stop - columns.start)
    depth = np.add.outer(down.astype(np.float32), across.astype(np.float32))
    old = inverse_depth[rows, columns]
    wins = depth > old
    if window.mask is not None:
        wins &= window.mask
    mask = wins.view(np.uint8)
    if cv2.countNonZero(mask) == 0:
        return False
    cv2.copyTo(depth, mask, old)
    np.copyto(index[rows, columns], np.int16(number), where=wins)
    return True
