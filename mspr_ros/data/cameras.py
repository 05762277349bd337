"""Cameras in text: dataset.yaml, the command line's `--intrinsics`, ROS camera_info files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mspr_ros.camera import CameraModel
from mspr_ros.config import load_yaml
from mspr_ros.errors import ImageError
from mspr_ros.lens import lens

_KEYS = ("width", "height", "model", "K", "distortion")


def camera_to_mapping(camera: CameraModel) -> dict[str, Any]:
    """Give a camera as plain values for YAML; K row by row."""
    return {
        "width": camera.width,
        "height": camera.height,
        "model": camera.distortion_model,
        "K": [[float(value) for value in row] for row in camera.K],
        "distortion": [float(value) for value in camera.distortion],
    }


def camera_from_mapping(values: Any) -> CameraModel:
    """Read what `camera_to_mapping` gave; K may also be a flat list of 9 numbers.

    Raises:
        ImageError: If a key is unknown or missing, or a value does not fit.
    """
    if not isinstance(values, dict):
        raise ImageError(f"expected a mapping with {', '.join(_KEYS)}, got {values!r}")
    unknown = [str(key) for key in values if key not in _KEYS]
    missing = [key for key in ("width", "height", "K") if key not in values]
    if unknown or missing:
        raise ImageError(f"unknown keys {unknown}, missing keys {missing}")
    size = (values["width"], values["height"])
    if not all(type(side) is int for side in size):
        raise ImageError(f"width and height must be whole numbers, got {size}")
    return _pinhole(
        size,
        _numbers(values["K"], "K"),
        str(values.get("model", "none")),
        _numbers(values.get("distortion", []), "distortion"),
    )


def read_camera_info(path: Path) -> CameraModel:
    """Read a camera calibration file as ROS's camera_info_manager writes it.

    Raises:
        ConfigError: If the file is missing or not YAML.
        ImageError: If it holds no camera.
    """
    values = load_yaml(path)
    try:
        size = (int(values["image_width"]), int(values["image_height"]))
        matrix = _numbers(values["camera_matrix"]["data"], "camera_matrix.data")
        model = str(values.get("distortion_model") or values.get("camera_model") or "")
        given = values.get("distortion_coefficients") or {"data": []}
        coefficients = _numbers(given["data"], "distortion_coefficients.data")
    except (KeyError, TypeError, ValueError) as error:
        raise ImageError(
            f"{path} is no camera_info file: expected image_width, image_height, camera_matrix, "
            f"distortion_model, distortion_coefficients ({error!r})"
        ) from None
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    try:
        return _pinhole(size, matrix, *lens(model, coefficients))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole parameters and plumb_bob coefficients, without the image size.

    Args:
        fx, fy, cx, cy: In pixels.
        distortion: None, k1 k2 p1 p2, or k1 k2 p1 p2 k3.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    def camera(self, width: int, height: int) -> CameraModel:
        """Give the camera of images of this size."""
        model = "plumb_bob" if self.distortion else "none"
        return CameraModel(
            width, height, self.fx, self.fy, self.cx, self.cy, model, self.distortion
        )


def parse_intrinsics(text: str) -> Intrinsics:
    """Read `fx,fy,cx,cy[,k1,k2,p1,p2[,k3]]`.

    Raises:
        ImageError: If there are not 4, 8 or 9 numbers.
    """
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (4, 8, 9):
        raise ImageError(f"expected fx,fy,cx,cy[,k1,k2,p1,p2[,k3]], got '{text}'")
    fx, fy, cx, cy, *distortion = numbers
    return Intrinsics(fx, fy, cx, cy, tuple(distortion))


def _pinhole(
    size: tuple[int, int], matrix: Sequence[float], model: str, distortion: Sequence[float]
) -> CameraModel:
    if len(matrix) != 9:
        raise ImageError(f"K must have 9 numbers, got {len(matrix)}")
    fx, skew, cx, zero_a, fy, cy, *last = matrix
    if (skew, zero_a, *last) != (0.0, 0.0, 0.0, 0.0, 1.0):
        raise ImageError(f"K must be [fx 0 cx; 0 fy cy; 0 0 1], got {list(matrix)}")
    return CameraModel(*size, fx, fy, cx, cy, model, tuple(distortion))


def _numbers(values: Any, what: str) -> list[float]:
    """Flatten a list of numbers or of rows of numbers."""
    flat: list[float] = []
    for item in values if isinstance(values, list) else [None]:
        if isinstance(item, list):
            flat += _numbers(item, what)
        elif isinstance(item, int | float) and not isinstance(item, bool):
            flat.append(float(item))
        else:
            raise ImageError(f"{what} must be a list of numbers, got {values!r}")
    return flat
