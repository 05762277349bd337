"""Draw a scene through a pinhole camera on the CPU: exact geometry, filtered textures.

Per face and frame: the polygon's exact pixel coverage (a pixel is covered when its centre is), a
z-buffer over inverse depth, which for a plane is affine in the image, then one homography for the
pixels that won. A lens with distortion is drawn as a wider pinhole and bent afterwards.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mspr_ros.camera import CameraModel
from mspr_ros.geometry import Array, invert_transform
from mspr_ros.simulator.light import Light
from mspr_ros.simulator.shapes import Face, Image
from mspr_ros.simulator.world import Scene, World

NEAR_M = 0.03
# A hair wider than the polygon, so that faces which share an edge leave no pixel between them.
EDGE_PX = 1e-4


@dataclass(frozen=True, eq=False)
class _Coverage:
    """The pixels of one face: a window of the image, and a mask of it (none: all of it)."""

    rows: slice
    columns: slice
    mask: npt.NDArray[np.bool_] | None


class _Faces:
    """The faces of a scene as arrays, for culling all of them at once."""

    def __init__(self, scene: Scene) -> None:
        self.faces: tuple[Face, ...] = scene.faces
        self.origins = np.array([face.origin for face in self.faces])
        self.normals = np.array([face.normal for face in self.faces])
        self.glows = np.array([face.glows for face in self.faces])
        corners = [face.corners for face in self.faces]
        self.corners = np.concatenate(corners)
        self.starts = np.cumsum([0] + [len(points) for points in corners])


class Renderer:
    """Draw the scenes of a world through one camera.

    Args:
        world: The places.
        camera: Any CameraModel; pixel (0, 0) is the centre of the top left pixel.
        smooth_edges: Whether outlines are softened over one pixel, as a lens does.
    """

    def __init__(self, world: World, camera: CameraModel, *, smooth_edges: bool = True) -> None:
        self.world = world
        self.camera = camera
        self.smooth_edges = smooth_edges
        self._pinhole, self._bend = _pinhole_for(camera)
        self._noise: npt.NDArray[np.float32] | None = None
        self._faces = functools.lru_cache(maxsize=None)(lambda scene: _Faces(world.scene(scene)))

    def render(
        self,
        scene: str,
        T_map_cam: Array,
        light: Light | None = None,
        rng: np.random.Generator | None = None,
    ) -> Image:
        """Draw one image.

        Args:
            scene: One of `world.scenes`.
            T_map_cam: (4, 4) optical frame of the camera in the map.
            light: Light and flaws of the camera; none for even daylight without flaws.
            rng: Source of the sensor's noise; none for no noise.

        Returns:
            (height, width, 3) uint8 RGB.
        """
        light = light or Light()
        faces = self._faces(scene)
        index, inverse_depth, windows = self._visibility(faces, T_map_cam)
        picture = self._paint(faces, T_map_cam, index, inverse_depth, windows)
        if self.smooth_edges:
            _soften_outlines(picture, index)
        gains = light.face_gains(faces.normals, faces.glows).astype(np.float32)
        # The last row answers index -1: pixels that show nothing.
        shade = np.append(gains, np.float32(1.0))[index]
        lit = picture.astype(np.float32)
        if self._bend is not None:
            lit *= shade[:, :, None]
            lit = np.asarray(cv2.remap(lit, *self._bend, cv2.INTER_LINEAR))
            lit *= _camera_gains(self.camera, light)
        else:
            lit *= shade[:, :, None] * _camera_gains(self.camera, light)
        if rng is not None and light.noise > 0.0:
            lit += self._sensor_noise(rng) * np.float32(light.noise)
        # Adds one half and cuts off, which rounds; convertScaleAbs would mirror negatives.
        np.clip(lit + np.float32(0.5), 0.0, 255.0, out=lit)
        return lit.astype(np.uint8)

    def visible_faces(
        self, scene: str, T_map_cam: Array
    ) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float32]]:
        """Give what each pixel of the undistorted pinhole sees.

        Returns:
            Index into `world.scene(scene).faces` (-1: nothing) and inverse depth 1/z in 1/m
            (0: nothing), both (height, width).
        """
        index, inverse_depth, _ = self._visibility(self._faces(scene), T_map_cam)
        return index, inverse_depth

    def _visibility(
        self, faces: _Faces, T_map_cam: Array
    ) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float32], dict[int, _Coverage]]:
        pinhole = self._pinhole
        index = np.full((pinhole.height, pinhole.width), -1, dtype=np.int16)
        inverse_depth = np.zeros((pinhole.height, pinhole.width), dtype=np.float32)
        T_cam_map = invert_transform(T_map_cam)
        corners = faces.corners @ T_cam_map[:3, :3].T + T_cam_map[:3, 3]
        normals_cam = faces.normals @ T_cam_map[:3, :3].T
        windows: dict[int, _Coverage] = {}
        for number in np.flatnonzero(_may_be_seen(faces, corners, T_map_cam[:3, 3], pinhole)):
            points = corners[faces.starts[number] : faces.starts[number + 1]]
            plane = _inverse_depth_plane(normals_cam[number], points[0], pinhole)
            polygon = _project(_clip_near(points), pinhole)
            coverage = _cover(polygon, pinhole)
            if coverage is not None and _claim(index, inverse_depth, int(number), coverage, plane):
                windows[int(number)] = coverage
        return index, inverse_depth, windows

    def _paint(
        self,
        faces: _Faces,
        T_map_cam: Array,
        index: npt.NDArray[np.int16],
        inverse_depth: npt.NDArray[np.float32],
        windows: dict[int, _Coverage],
    ) -> Image:
        picture = np.zeros((*index.shape, 3), dtype=np.uint8)
        T_cam_map = invert_transform(T_map_cam)
        focal = float(np.sqrt(self._pinhole.fx * self._pinhole.fy))
        for number, coverage in windows.items():
            face = faces.faces[number]
            mask = (index[coverage.rows, coverage.columns] == np.int16(number)).view(np.uint8)
            column, row, width, height = cv2.boundingRect(mask)
            if width == 0:
                continue
            mask = mask[row : row + height, column : column + width]
            top, left = coverage.rows.start + row, coverage.columns.start + column
            window = (slice(top, top + height), slice(left, left + width))
            distance = abs(float(face.normal @ (T_map_cam[:3, 3] - face.origin)))
            finest = focal * np.sqrt(distance) / face.texels_per_m
            _paint_face(
                picture[window],
                mask,
                inverse_depth[window],
                face,
                _metres_from_pixels(face, T_cam_map, self._pinhole.K, left, top),
                finest,
            )
        return picture

    def _sensor_noise(self, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """Cut a random window from a fixed field of noise: drawing it anew would cost more."""
        height, width = self.camera.height, self.camera.width
        if self._noise is None:
            field = np.random.default_rng(0).standard_normal(
                (height + 64, width + 64, 3), dtype=np.float32
            )
            self._noise = field
        top, left = rng.integers(0, 65, size=2)
        window = self._noise[top : top + height, left : left + width]
        return window[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]


def _may_be_seen(
    faces: _Faces, corners_cam: Array, centre: Array, pinhole: CameraModel
) -> npt.NDArray[np.bool_]:
    """Cull faces seen from behind and faces outside one side of the view, all at once."""
    facing = np.einsum("fi,fi->f", faces.normals, centre - faces.origins) > 1e-6
    x, y, z = corners_cam.T
    left, right = (-0.5 - pinhole.cx) / pinhole.fx, (pinhole.width - 0.5 - pinhole.cx) / pinhole.fx
    top, bottom = (
        (-0.5 - pinhole.cy) / pinhole.fy,
        (pinhole.height - 0.5 - pinhole.cy) / pinhole.fy,
    )
    # Each row is positive on the inner side of one plane of the view.
    sides = np.stack([z - NEAR_M, x - left * z, right * z - x, y - top * z, bottom * z - y])
    inside = np.maximum.reduceat(sides, faces.starts[:-1], axis=1) > 0.0
    return np.asarray(facing & inside.all(axis=0))


def _clip_near(points: Array) -> Array:
    """Cut a polygon (n, 3) in camera coordinates at the near plane."""
    if points[:, 2].min() >= NEAR_M:
        return points
    kept = []
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        if start[2] >= NEAR_M:
            kept.append(start)
        if (start[2] >= NEAR_M) != (end[2] >= NEAR_M):
            weight = (NEAR_M - start[2]) / (end[2] - start[2])
            kept.append(start + weight * (end - start))
    return np.array(kept)


def _project(points: Array, pinhole: CameraModel) -> Array:
    u = pinhole.fx * points[:, 0] / points[:, 2] + pinhole.cx
    v = pinhole.fy * points[:, 1] / points[:, 2] + pinhole.cy
    return np.column_stack([u, v])


def _inverse_depth_plane(normal: Array, point: Array, pinhole: CameraModel) -> Array:
    """Give (a, b, c) with 1/z = a u + b v + c for the plane through `point`."""
    a, b, c = normal / (normal @ point)
    a, b = a / pinhole.fx, b / pinhole.fy
    return np.array([a, b, c - a * pinhole.cx - b * pinhole.cy])


def _cover(polygon: Array, pinhole: CameraModel) -> _Coverage | None:
    """Find the pixels whose centres lie in a convex polygon, clockwise on the screen."""
    x, y = polygon[:, 0], polygon[:, 1]
    first = max(0, int(np.ceil(y.min() - EDGE_PX)))
    last = min(pinhole.height - 1, int(np.floor(y.max() + EDGE_PX)))
    if first > last:
        return None
    rows = np.arange(first, last + 1, dtype=np.float64)
    left = np.zeros(len(rows))
    right = np.full(len(rows), pinhole.width - 1.0)
    for start in range(len(polygon)):
        end = (start + 1) % len(polygon)
        rise = y[end] - y[start]
        if abs(rise) < 1e-9:
            continue
        crossing = x[start] + (rows - y[start]) * ((x[end] - x[start]) / rise)
        if rise > 0.0:  # the right border runs down the screen
            np.minimum(right, crossing + EDGE_PX, out=right)
        else:
            np.maximum(left, crossing - EDGE_PX, out=left)
    from_column = np.ceil(left).astype(np.int32)
    to_column = np.floor(right).astype(np.int32)
    low, high = int(from_column.min()), int(to_column.max())
    if low > high:
        return None
    window = slice(first, last + 1), slice(low, high + 1)
    if int(from_column.max()) == low and int(to_column.min()) == high:
        return _Coverage(*window, None)
    columns = np.arange(low, high + 1, dtype=np.int32)
    mask = (columns >= from_column[:, None]) & (columns <= to_column[:, None])
    return _Coverage(*window, mask)


def _claim(
    index: npt.NDArray[np.int16],
    inverse_depth: npt.NDArray[np.float32],
    number: int,
    coverage: _Coverage,
    plane: Array,
) -> bool:
    """Take the pixels of a face that lie in front of all before; tell whether there are any."""
    rows, columns = coverage.rows, coverage.columns
    # The constant goes with the rows in float64: large numbers cancel before float32 sees them.
    down = plane[1] * np.arange(rows.start, rows.stop) + plane[0] * columns.start + plane[2]
    across = plane[0] * np.arange(columns.stop - columns.start)
    depth = np.add.outer(down.astype(np.float32), across.astype(np.float32))
    old = inverse_depth[rows, columns]
    wins = depth > old
    if coverage.mask is not None:
        wins &= coverage.mask
    mask = wins.view(np.uint8)
    if cv2.countNonZero(mask) == 0:
        return False
    cv2.copyTo(depth, mask, old)
    np.copyto(index[rows, columns], np.int16(number), where=wins)
    return True


def _metres_from_pixels(face: Face, T_cam_map: Array, K: Array, left: int, top: int) -> Array:
    """Give the (3, 3) homography from pixels of a window to metres on the face."""
    origin = T_cam_map[:3, :3] @ face.origin + T_cam_map[:3, 3]
    axes = T_cam_map[:3, :3] @ np.column_stack([face.right, face.down])
    pixels_from_metres = K @ np.column_stack([axes, origin])
    shift = np.array([[1.0, 0.0, left], [0.0, 1.0, top], [0.0, 0.0, 1.0]])
    return np.asarray(np.linalg.inv(pixels_from_metres) @ shift)


def _paint_face(
    target: Image,
    mask: Image,
    inverse_depth: npt.NDArray[np.float32],
    face: Face,
    metres_from_pixels: Array,
    finest: float,
) -> None:
    """Fill a face's pixels from the levels of its picture that suit their distance.

    A pixel at depth z on a plane at distance h spans about z/f across and z/f * z/h along the
    slope: level = log2 of their geometric mean in texels, that is of z^1.5 / `finest`.
    """
    nearest, farthest = _depth_range(inverse_depth, mask)
    coarsest = len(face.levels) - 1
    first = int(np.clip(np.round(np.log2(nearest**1.5 / finest)), 0, coarsest))
    last = int(np.clip(np.round(np.log2(farthest**1.5 / finest)), first, coarsest))
    height, width = mask.shape
    for level in range(first, last + 1):
        part, window = mask, (0, 0, width, height)
        if level > first:
            # Everything beyond the depth where this level begins; finer ones were painted below.
            begins = (2.0 ** (level - 0.5) * finest) ** (2.0 / 3.0)
            part = mask & (inverse_depth <= np.float32(1.0 / begins)).view(np.uint8)
            window = cv2.boundingRect(part)
        left, top, columns, rows = window
        if columns == 0:
            break
        picture = face.levels[level]
        scale_x = picture.shape[1] / face.size[0]
        scale_y = picture.shape[0] / face.size[1]
        # Texel i has its centre at (i + 1/2) / scale metres.
        texels_from_metres = np.array(
            [[scale_x, 0.0, -0.5], [0.0, scale_y, -0.5], [0.0, 0.0, 1.0]]
        )
        shift = np.array([[1.0, 0.0, left], [0.0, 1.0, top], [0.0, 0.0, 1.0]])
        warped = cv2.warpPerspective(
            picture,
            texels_from_metres @ metres_from_pixels @ shift,
            (columns, rows),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        box = (slice(top, top + rows), slice(left, left + columns))
        cv2.copyTo(warped, part[box], target[box])


def _depth_range(inverse_depth: npt.NDArray[np.float32], mask: Image) -> tuple[float, float]:
    lowest, highest, _, _ = cv2.minMaxLoc(inverse_depth, mask)
    return 1.0 / highest, 1.0 / lowest


def _soften_outlines(picture: Image, index: npt.NDArray[np.int16]) -> None:
    """Average 3x3 pixels where two faces meet: a crude stand-in for antialiasing."""
    edges = np.zeros(index.shape, dtype=np.uint8)
    across = (index[:, 1:] != index[:, :-1]).view(np.uint8)
    down = (index[1:] != index[:-1]).view(np.uint8)
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    cv2.copyTo(cv2.GaussianBlur(picture, (3, 3), 0.7), edges, picture)


@functools.lru_cache(maxsize=8)
def _camera_gains(camera: CameraModel, light: Light) -> npt.NDArray[np.float32]:
    """Give the (height, width, 3) factors of colour and of the lens's loss of light."""
    columns = (np.arange(camera.width) - camera.cx) / camera.fx
    rows = (np.arange(camera.height) - camera.cy) / camera.fy
    squared = columns**2 + rows[:, None] ** 2
    loss = 1.0 - light.vignetting * squared / squared.max()
    return (loss[:, :, None] * light.colour_gains()).astype(np.float32)


def _pinhole_for(
    camera: CameraModel,
) -> tuple[CameraModel, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None]:
    """Give the pinhole to draw through, and the map that bends its image into the lens's."""
    if not camera.is_distorted:
        return camera, None
    u, v = np.meshgrid(
        np.arange(camera.width, dtype=np.float64), np.arange(camera.height, dtype=np.float64)
    )
    pixels = np.stack([u, v], axis=-1).reshape(-1, 1, 2)
    coefficients = np.array(camera.distortion)
    if camera.distortion_model == "equidistant":
        rays = cv2.fisheye.undistortPoints(pixels, camera.K, coefficients)
    else:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-10)
        rays = cv2.undistortPointsIter(
            pixels, camera.K, coefficients, np.eye(3), np.eye(3), criteria
        )
    x, y = np.asarray(rays).reshape(camera.height, camera.width, 2).transpose(2, 0, 1)
    left, top = x.min() * camera.fx - 1.0, y.min() * camera.fy - 1.0
    pinhole = CameraModel(
        width=int(np.ceil(x.max() * camera.fx - left)) + 2,
        height=int(np.ceil(y.max() * camera.fy - top)) + 2,
        fx=camera.fx,
        fy=camera.fy,
        cx=-left,
        cy=-top,
    )
    maps = (
        (x * camera.fx + pinhole.cx).astype(np.float32),
        (y * camera.fy + pinhole.cy).astype(np.float32),
    )
    return pinhole, maps
