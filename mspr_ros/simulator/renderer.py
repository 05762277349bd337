"""Draw a scene through a camera on the CPU: exact geometry, filtered textures.

Every face that owns pixels is painted by homographies from the levels of its picture that suit
its distance. A lens with distortion is drawn as a wider pinhole and bent afterwards.
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
import numpy.typing as npt

from mspr_ros.camera import CameraModel, undistorted
from mspr_ros.geometry import Array, invert_transform
from mspr_ros.simulator.light import Light
from mspr_ros.simulator.shapes import Face, Image
from mspr_ros.simulator.visibility import FaceArrays, Index, InverseDepth, View, look
from mspr_ros.simulator.world import World


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
        self.pinhole, self._bend = _pinhole_for(camera)
        self._noise: npt.NDArray[np.float32] | None = None
        self._scenes: dict[str, FaceArrays] = {}

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
        view = look(faces, T_map_cam, self.pinhole)
        picture = self._paint(faces, T_map_cam, view)
        if self.smooth_edges:
            _soften_outlines(picture, view.index)
        gains = light.face_gains(faces.normals, faces.glows).astype(np.float32)
        # The last entry answers index -1: pixels that show nothing.
        shade = np.append(gains, np.float32(1.0))[view.index]
        lit = picture * shade[:, :, None]
        if self._bend is not None:
            lit = np.asarray(cv2.remap(lit, *self._bend, cv2.INTER_LINEAR))
        lit *= _camera_gains(self.camera, light)
        if rng is not None and light.noise > 0.0:
            lit += self._sensor_noise(rng) * np.float32(light.noise)
        lit += np.float32(0.5)  # the cast cuts off; this makes it round
        np.clip(lit, 0.0, 255.0, out=lit)
        return lit.astype(np.uint8)

    def view(self, scene: str, T_map_cam: Array) -> View:
        """Give what each pixel of `pinhole`, the camera without its distortion, sees."""
        return look(self._faces(scene), T_map_cam, self.pinhole)

    def _faces(self, scene: str) -> FaceArrays:
        if scene not in self._scenes:
            self._scenes[scene] = FaceArrays(self.world.scene(scene).faces)
        return self._scenes[scene]

    def _paint(self, faces: FaceArrays, T_map_cam: Array, view: View) -> Image:
        picture = np.zeros((*view.index.shape, 3), dtype=np.uint8)
        numbers = np.fromiter(view.windows, dtype=np.int64)
        homographies = _metres_from_pixels(faces, numbers, T_map_cam, self.pinhole.K)
        offsets = np.einsum(
            "fi,fi->f", faces.normals[numbers], T_map_cam[:3, 3] - faces.origins[numbers]
        )
        focal = math.sqrt(self.pinhole.fx * self.pinhole.fy)
        finest = focal * np.sqrt(np.abs(offsets)) / faces.texels_per_m[numbers]
        for order, (number, window) in enumerate(view.windows.items()):
            mask = (view.index[window.rows, window.columns] == np.int16(number)).view(np.uint8)
            box = cv2.boundingRect(mask)
            if box[2] == 0:
                continue  # it was hidden by a nearer one after all
            left, top, width, height = box
            mask = mask[top : top + height, left : left + width]
            left, top = left + window.columns.start, top + window.rows.start
            part = (slice(top, top + height), slice(left, left + width))
            _paint_face(
                picture[part],
                mask,
                view.inverse_depth[part],
                faces.faces[number],
                _shifted(homographies[order], left, top),
                float(finest[order]),
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


def _metres_from_pixels(
    faces: FaceArrays, numbers: npt.NDArray[np.int64], T_map_cam: Array, K: Array
) -> Array:
    """Give the (n, 3, 3) homographies from pixels to metres on the faces."""
    T_cam_map = invert_transform(T_map_cam)
    rotation = K @ T_cam_map[:3, :3]
    columns = np.stack(
        [
            faces.rights[numbers] @ rotation.T,
            faces.downs[numbers] @ rotation.T,
            faces.origins[numbers] @ rotation.T + K @ T_cam_map[:3, 3],
        ],
        axis=-1,
    )
    return np.asarray(np.linalg.inv(columns))


def _shifted(homography: Array, left: int, top: int) -> Array:
    """Give the homography for pixels counted from another corner."""
    shifted = homography.copy()
    shifted[:, 2] += left * homography[:, 0] + top * homography[:, 1]
    return shifted


def _paint_face(
    target: Image,
    mask: Image,
    inverse_depth: InverseDepth,
    face: Face,
    metres_from_pixels: Array,
    finest: float,
) -> None:
    """Fill a face's pixels from the levels of its picture that suit their distance.

    A pixel at depth z on a plane at distance h spans about z/f across and z/f * z/h along the
    slope: level = log2 of their geometric mean in texels, that is of z^1.5 / `finest`.
    """
    lowest, highest, _, _ = cv2.minMaxLoc(inverse_depth, mask)
    coarsest = len(face.levels) - 1
    first = min(max(round(-1.5 * math.log2(highest) - math.log2(finest)), 0), coarsest)
    last = min(max(round(-1.5 * math.log2(lowest) - math.log2(finest)), first), coarsest)
    height, width = mask.shape
    for level in range(first, last + 1):
        part, (left, top, columns, rows) = mask, (0, 0, width, height)
        if level > first:
            # Everything beyond the depth where this level begins; finer ones were painted below.
            begins = (2.0 ** (level - 0.5) * finest) ** (2.0 / 3.0)
            part = mask & (inverse_depth <= np.float32(1.0 / begins)).view(np.uint8)
            left, top, columns, rows = cv2.boundingRect(part)
        if columns == 0:
            break
        warped = cv2.warpPerspective(
            face.levels[level],
            _texels_from_pixels(face, level, _shifted(metres_from_pixels, left, top)),
            (columns, rows),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        box = (slice(top, top + rows), slice(left, left + columns))
        cv2.copyTo(warped, part[box], target[box])


def _texels_from_pixels(face: Face, level: int, metres_from_pixels: Array) -> Array:
    """Scale metres to texels; texel i has its centre at (i + 1/2) / scale metres."""
    rows, columns = face.levels[level].shape[:2]
    texels = metres_from_pixels.copy()
    texels[0] = columns / face.size[0] * texels[0] - 0.5 * texels[2]
    texels[1] = rows / face.size[1] * texels[1] - 0.5 * texels[2]
    return texels


def _soften_outlines(picture: Image, index: Index) -> None:
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
    return np.asarray(loss[:, :, None] * light.colour_gains(), dtype=np.float32)


def _pinhole_for(
    camera: CameraModel,
) -> tuple[CameraModel, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None]:
    """Give the pinhole to draw through, and the map that bends its image into the lens's."""
    if not camera.is_distorted:
        return camera, None
    u, v = np.meshgrid(
        np.arange(camera.width, dtype=np.float64), np.arange(camera.height, dtype=np.float64)
    )
    plane = undistorted(camera, np.stack([u, v], axis=-1))
    x, y = plane.reshape(camera.height, camera.width, 2).transpose(2, 0, 1)
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
