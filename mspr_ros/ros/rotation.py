"""See through a camera that is mounted on its side: turn picture, intrinsics and pose together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mspr_ros.camera import CameraModel
from mspr_ros.errors import ImageError
from mspr_ros.geometry import Array


def rotated_image(image: npt.NDArray[np.uint8], rotation_deg: int) -> npt.NDArray[np.uint8]:
    """Turn a (height, width, 3) picture clockwise by 0, 90, 180 or 270 degrees."""
    if rotation_deg == 0:
        return image
    return np.ascontiguousarray(np.rot90(image, -rotation_deg // 90))


def rotated_camera(camera: CameraModel, rotation_deg: int) -> CameraModel:
    """Give the camera that would have taken the picture turned clockwise.

    Raises:
        ImageError: If the camera has a tilted sensor (coefficients tau), which is not turned.
    """
    for _ in range(rotation_deg // 90):
        camera = replace(
            camera,
            width=camera.height,
            height=camera.width,
            fx=camera.fy,
            fy=camera.fx,
            cx=camera.height - 1 - camera.cy,
            cy=camera.cx,
            distortion=_turned_distortion(camera),
        )
    return camera


def _turned_distortion(camera: CameraModel) -> tuple[float, ...]:
    """Turn the parts of a distortion that have a direction clockwise by a quarter.

    The tangential part moves a point by 2 (t.x) x + |x|^2 t with t = (p2, p1), the thin prism by
    (s1, s3) |x|^2 + (s2, s4) |x|^4: t and both s are vectors in the image, and (x, y) turns to
    (-y, x).
    """
    d = list(camera.distortion)
    if camera.distortion_model in ("none", "equidistant") or len(d) < 4:
        return camera.distortion
    d[2], d[3] = d[3], -d[2]
    if len(d) >= 12:
        d[8], d[10] = -d[10], d[8]
        d[9], d[11] = -d[11], d[9]
    if any(d[12:]):
        raise ImageError("image_rotation_deg does not work with a tilted sensor model")
    return tuple(d)


def T_rotated_cam(rotation_deg: int) -> Array:
    """Give the (4, 4) transform from the camera's optical frame to that of the turned picture.

    `T_map_cam = T_map_rotated @ T_rotated_cam`.
    """
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    transform = np.eye(4)
    transform[:3, :3] = np.linalg.matrix_power(quarter, rotation_deg // 90)
    return transform
