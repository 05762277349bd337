"""Cameras: the real one that took an image, and the virtual one that a bundle sees through."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from mspr_ros.errors import ImageError
from mspr_ros.geometry import Array
from mspr_ros.lens import DISTORTION_SIZES, bent_radius, fold_radius

# OpenCV's warp counts a picture's pixels in 16 bits.
MAX_WARPED_SIDE_PX = 32_766
# A fitted virtual camera looks no further than this to each side of a distorted lens: beyond, a
# pinhole's picture is mostly a stretched border.
MAX_HALF_VIEW_DEG = 60.0


@dataclass(frozen=True)
class CameraModel:
    """Describe the camera that took an image: size, pinhole parameters and lens distortion.

    Pixel (u, v) = (0, 0) is the *centre* of the top left pixel, as in OpenCV and ROS.

    Args:
        width: Image width in pixels.
        height: Image height in pixels.
        fx, fy, cx, cy: Focal lengths and principal point in pixels.
        distortion_model: One of `none`, `plumb_bob`, `rational_polynomial`, `equidistant`, the
            names of sensor_msgs/CameraInfo.
        distortion: Coefficients in the order of sensor_msgs/CameraInfo and OpenCV; any sequence
            of numbers, kept as a tuple of floats.

    Raises:
        ImageError: If a value is not finite, a size or focal length is not positive, or the
            coefficients do not fit the model.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = "none"
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "distortion", tuple(float(value) for value in self.distortion))
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not np.all(np.isfinite(numbers)):
            raise ImageError(f"camera parameters must be finite numbers, got {numbers}")
        if min(self.width, self.height) <= 0 or min(self.fx, self.fy) <= 0:
            raise ImageError(
                "camera size and focal lengths must be positive, got "
                f"{self.width}x{self.height}, fx={self.fx}, fy={self.fy}"
            )
        if self.distortion_model not in DISTORTION_SIZES:
            known = ", ".join(DISTORTION_SIZES)
            raise ImageError(
                f"unknown distortion model '{self.distortion_model}', expected one of {known}"
            )
        sizes = DISTORTION_SIZES[self.distortion_model]
        if len(self.distortion) not in sizes:
            raise ImageError(
                f"distortion model '{self.distortion_model}' takes {sizes} coefficients, "
                f"got {len(self.distortion)}"
            )

    @property
    def K(self) -> Array:
        """The (3, 3) intrinsic matrix."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def is_distorted(self) -> bool:
        """Whether the lens bends straight lines at all; an equidistant one always does."""
        return self.distortion_model == "equidistant" or any(self.distortion)

    def shrunk(self, factor: int) -> CameraModel:
        """Give the camera of the same image averaged over blocks of factor x factor pixels."""
        return replace(
            self,
            width=self.width // factor,
            height=self.height // factor,
            fx=self.fx / factor,
            fy=self.fy / factor,
            cx=(self.cx + 0.5) / factor - 0.5,
            cy=(self.cy + 0.5) / factor - 0.5,
        )


@dataclass(frozen=True)
class VirtualCamera:
    """The one ideal pinhole camera of a bundle: every image is warped to it.

    Args:
        fx, fy, cx, cy: In pixels; pixel (0, 0) is the centre of the top left pixel.
        width, height: Size in pixels; the network's input size.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy)
        if not np.all(np.isfinite(numbers)) or min(numbers[:2]) <= 0:
            raise ValueError(f"focal lengths must be positive, all numbers finite, got {self}")
        if min(self.width, self.height) <= 0:
            raise ValueError(f"the size must be positive, got {self}")

    @property
    def K(self) -> Array:
        """The (3, 3) intrinsic matrix."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


def fitting_virtual_camera(
    cameras: Sequence[CameraModel], width: int, height: int
) -> VirtualCamera:
    """Give the virtual camera of a size that sees as far as the widest of the cameras does.

    How far a camera sees is measured along the row and the column of its principal point. Of a
    distorted lens no more than `MAX_HALF_VIEW_DEG` to each side counts.

    Args:
        cameras: At least one.
        width: Of the virtual camera, pixels.
        height: Of the virtual camera, pixels.
    """
    extents = [_extent(camera) for camera in cameras]
    right, down = (max(values) for values in zip(*extents, strict=True))
    focal_px = min(width / right, height / down)
    return VirtualCamera(
        fx=focal_px, fy=focal_px, cx=(width - 1) / 2, cy=(height - 1) / 2,
        width=width, height=height,
    )  # fmt: skip


def _extent(camera: CameraModel) -> tuple[float, float]:
    """Give the width and the height of what a camera sees in the plane z = 1."""
    if not camera.is_distorted:
        return camera.width / camera.fx, camera.height / camera.fy
    lens = (camera.distortion_model, camera.distortion)
    furthest = min(math.tan(math.radians(MAX_HALF_VIEW_DEG)), fold_radius(*lens))
    radii = np.linspace(0.0, furthest, 1000)
    corners = np.array([[-0.5, -0.5], [camera.width - 0.5, camera.height - 0.5]])
    bent = (corners - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    # Past the last radius np.interp stays there.
    straight = np.sign(bent) * np.interp(np.abs(bent), bent_radius(*lens, radii), radii)
    right, down = straight[1] - straight[0]
    return float(right), float(down)


def undistorted(camera: CameraModel, pixels: npt.ArrayLike) -> Array:
    """Give where the rays of pixels (N, 2) meet the plane z = 1: x and y, (N, 2)."""
    points = np.asarray(pixels, dtype=np.float64).reshape(-1, 1, 2)
    coefficients = np.array(camera.distortion)
    if camera.distortion_model == "equidistant":
        plane = cv2.fisheye.undistortPoints(points, camera.K, coefficients)
    else:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-10)
        lens = coefficients if camera.distortion else None
        plane = cv2.undistortPointsIter(points, camera.K, lens, np.eye(3), np.eye(3), criteria)
    return np.asarray(plane, dtype=np.float64).reshape(-1, 2)


def pixel_rays(camera: CameraModel, pixels: npt.ArrayLike) -> Array:
    """Give the unit rays (N, 3) of pixels (N, 2) in the camera's optical frame."""
    plane = undistorted(camera, pixels)
    rays = np.concatenate([plane, np.ones((len(plane), 1))], axis=1)
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True), dtype=np.float64)


def warp_to_virtual(
    image: npt.NDArray[np.uint8],
    camera: CameraModel,
    virtual: VirtualCamera,
    R_cam_virtual: Array | None = None,
    fill: tuple[int, int, int] = (0, 0, 0),
) -> npt.NDArray[np.uint8]:
    """Undistort an image and see it through the virtual camera, in one step.

    Both cameras share their centre, so the map needs no depth and the position does not change.

    Args:
        image: (height, width, 3) uint8 as `camera` took it.
        camera: The camera that took it.
        virtual: The camera to see it through.
        R_cam_virtual: (3, 3) orientation of the virtual camera in the real camera's optical
            frame; none for the same orientation.
        fill: Colour where the virtual camera looks past the image, or past the lens's fold.

    Returns:
        (virtual.height, virtual.width, 3) uint8.

    Raises:
        ImageError: If the image is not of the camera's size, too long for a warp, or the virtual
            camera is turned so far that it looks behind the real one.
    """
    if image.shape[:2] != (camera.height, camera.width):
        raise ImageError(
            f"image is {image.shape[1]}x{image.shape[0]} but its camera is "
            f"{camera.width}x{camera.height}; is camera_info of another resolution?"
        )
    # Sampling at less than half the resolution would alias: average whole blocks first.
    factor = block_factor(camera, virtual)
    if max(camera.width, camera.height) // factor > MAX_WARPED_SIDE_PX:
        raise ImageError(
            f"image is {camera.width}x{camera.height}: no side may be longer than "
            f"{MAX_WARPED_SIDE_PX} pixels; make it and its camera smaller"
        )
    image, camera = average_blocks(image, factor), camera.shrunk(factor)
    if R_cam_virtual is None:
        columns, rows = _cached_maps(camera, virtual)
    else:
        if _looks_behind(virtual, R_cam_virtual):  # OpenCV would mirror what lies there
            raise ImageError("the virtual camera is turned to look behind the real one")
        columns, rows = _undistort_maps(camera, virtual, R_cam_virtual)
    warped = cv2.remap(
        image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )
    return np.asarray(warped, dtype=np.uint8)


def block_factor(camera: CameraModel, virtual: VirtualCamera, focal_factor: float = 1.0) -> int:
    """Give the side, in pixels, of the blocks that are averaged before a warp.

    Args:
        camera: The real camera.
        virtual: The camera to see through, its focal length multiplied by `focal_factor`.
        focal_factor: 1, or more to keep more of the picture.
    """
    ratio = min(camera.fx / virtual.fx, camera.fy / virtual.fy) / focal_factor
    return max(1, min(int(ratio + 1e-6), camera.width, camera.height))


def average_blocks(image: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """Average whole blocks of factor x factor pixels; what fills none is left out.

    The camera of the result is `CameraModel.shrunk`.
    """
    if factor == 1:
        return image
    columns, rows = image.shape[1] // factor, image.shape[0] // factor
    whole = image[: rows * factor, : columns * factor]
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


# OpenCV's fixed-point maps: whole pixels, and the fractions between them.
_Maps = tuple[npt.NDArray[np.int16], npt.NDArray[np.uint16]]


@functools.lru_cache(maxsize=16)
def _cached_maps(camera: CameraModel, virtual: VirtualCamera) -> _Maps:
    return _undistort_maps(camera, virtual, np.eye(3))


def _rays_cam(
    virtual: VirtualCamera, R_cam_virtual: Array, columns: npt.ArrayLike, rows: npt.ArrayLike
) -> tuple[Array, Array, Array]:
    """Give x, y and z in the real camera's frame of the rays of virtual pixels.

    Args:
        virtual: The virtual camera.
        R_cam_virtual: (3, 3).
        columns: Of the pixels; broadcast against `rows`.
        rows: Of the pixels.
    """
    right, down, corner = (np.asarray(R_cam_virtual) @ np.linalg.inv(virtual.K)).T
    u, v = np.asarray(columns, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    x, y, z = (right[axis] * u + down[axis] * v + corner[axis] for axis in range(3))
    return x, y, z


def _corner_rays(virtual: VirtualCamera, R_cam_virtual: Array) -> tuple[Array, Array, Array]:
    right, bottom = virtual.width - 1, virtual.height - 1
    return _rays_cam(virtual, R_cam_virtual, [0, right, 0, right], [0, 0, bottom, bottom])


def _looks_behind(virtual: VirtualCamera, R_cam_virtual: Array) -> bool:
    """Tell whether a ray of the virtual camera points away from the real one's front.

    Depth is linear over the virtual image, so that its corners tell.
    """
    _, _, depth = _corner_rays(virtual, R_cam_virtual)
    return bool(np.min(depth) <= 0.0)


def _undistort_maps(camera: CameraModel, virtual: VirtualCamera, R_cam_virtual: Array) -> _Maps:
    """Give the maps from virtual pixels to the pixels of the real image."""
    fisheye = camera.distortion_model == "equidistant"
    init_maps = cv2.fisheye.initUndistortRectifyMap if fisheye else cv2.initUndistortRectifyMap
    pixels, fractions = init_maps(
        camera.K,
        np.array(camera.distortion),
        R_cam_virtual.T,
        virtual.K,
        (virtual.width, virtual.height),
        cv2.CV_16SC2,
    )
    fold = fold_radius(camera.distortion_model, camera.distortion)
    x, y, z = _corner_rays(virtual, R_cam_virtual)
    # No ray of the picture is further out than those of its corners.
    if np.any(np.hypot(x, y) > fold * z):
        columns, rows = np.arange(virtual.width), np.arange(virtual.height)[:, None]
        x, y, z = _rays_cam(virtual, R_cam_virtual, columns, rows)
        beyond = np.hypot(x, y) > fold * z
        pixels[beyond], fractions[beyond] = -1, 0  # a pixel outside of every image
    return pixels, fractions
