"""CameraInfo with a region, binning or another lens: the virtual camera sees the same world."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from mspr_ros.camera import CameraModel, VirtualCamera, warp_to_virtual
from mspr_ros.data.camera_info import camera_from_info

WIDTH, HEIGHT = 320, 240
K = (200.0, 0.0, 150.0, 0.0, 205.0, 110.0, 0.0, 0.0, 1.0)
VIRTUAL = VirtualCamera(fx=45.0, fy=45.0, cx=27.0, cy=21.0, width=56, height=44)
LENSES = {
    "plumb_bob": (-0.3, 0.1, 0.001, -0.002, 0.0),
    "rational_polynomial": (0.3, 0.05, 0.001, -0.002, 0.01, 0.8, 0.1, 0.02),
    "equidistant": (0.1, -0.02, 0.01, -0.004),
}


def info(model: str = "plumb_bob", **changes: Any) -> SimpleNamespace:
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    fields: dict[str, Any] = {
        "width": WIDTH,
        "height": HEIGHT,
        "k": K,
        "d": LENSES[model],
        "p": (180.0, 0.0, 155.0, 0.0, 0.0, 180.0, 115.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        "distortion_model": model,
        "binning_x": 0,
        "binning_y": 0,
        "roi": roi,
    }
    return SimpleNamespace(**{**fields, **changes})


def region(x: int, y: int, width: int, height: int) -> SimpleNamespace:
    return SimpleNamespace(x_offset=x, y_offset=y, width=width, height=height)


def colours(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What stands in the direction (x, y, 1): a smooth picture of the world."""
    waves = np.stack([np.sin(5 * x + 1), np.cos(4 * y), np.sin(3 * x - 4 * y)], axis=-1)
    return (127.5 + 110 * waves).round().astype(np.uint8)


def photograph(model: str) -> np.ndarray:
    """Take the world's picture with a lens, by OpenCV's own undistortion of each pixel."""
    pixels = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1)
    flat = pixels.reshape(-1, 1, 2).astype(np.float64)
    matrix, lens = np.array(K).reshape(3, 3), np.array(LENSES[model])
    undistort = cv2.fisheye.undistortPoints if model == "equidistant" else cv2.undistortPoints
    rays = undistort(flat, matrix, lens).reshape(HEIGHT, WIDTH, 2)
    return colours(rays[..., 0], rays[..., 1])


def expected() -> np.ndarray:
    u, v = np.meshgrid(np.arange(VIRTUAL.width), np.arange(VIRTUAL.height))
    return colours((u - VIRTUAL.cx) / VIRTUAL.fx, (v - VIRTUAL.cy) / VIRTUAL.fy)


def difference(picture: np.ndarray, message: SimpleNamespace, *, rectified: bool = False) -> float:
    """Give the mean difference, away from what the camera does not see."""
    camera = camera_from_info(message, rectified)
    assert camera is not None
    seen = warp_to_virtual(np.ascontiguousarray(picture), camera, VIRTUAL)
    inner = (slice(8, 36), slice(9, 46))
    return float(np.abs(seen[inner].astype(float) - expected()[inner]).mean())


@pytest.mark.parametrize("model", LENSES)
def test_every_lens_shows_the_same_world_whole_cut_and_binned(model: str) -> None:
    picture = photograph(model)
    straight = difference(picture, info(model))
    assert straight < 1.0
    # Without the lens the same picture is bent: the test can tell.
    bent = difference(picture, info(model, d=(0.0,) * 5, distortion_model="plumb_bob"))
    assert bent > 3.0 * straight and bent > 1.6
    cut = picture[20:220, 30:290]
    roi = region(30, 20, 260, 200)
    assert difference(cut, info(model, roi=roi)) < 1.5
    binned = cv2.resize(picture, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
    assert difference(binned, info(model, binning_x=2, binning_y=2)) < 1.5
    both = cv2.resize(cut, (130, 100), interpolation=cv2.INTER_AREA)
    assert difference(both, info(model, roi=roi, binning_x=2, binning_y=2)) < 1.5
    uneven = cv2.resize(cut, (130, 200), interpolation=cv2.INTER_AREA)
    assert difference(uneven, info(model, roi=roi, binning_x=2, binning_y=1)) < 1.5


def test_a_forgotten_region_would_show() -> None:
    cut = photograph("plumb_bob")[20:220, 30:290]
    assert difference(cut, info(width=260, height=200)) > 10.0


def test_a_rectified_picture_is_not_rectified_twice() -> None:
    message = info()
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rectified = colours((u - message.p[2]) / message.p[0], (v - message.p[6]) / message.p[5])
    assert difference(rectified, message, rectified=True) < 1.5
    assert difference(rectified, message) > 5.0


@pytest.mark.parametrize("name", ["equidistant", "fisheye"])
@pytest.mark.parametrize("d", [(0.0,) * 4, ()])
def test_zeros_of_an_equidistant_lens_are_no_pinhole(name: str, d: tuple[float, ...]) -> None:
    message = info("equidistant", d=d, distortion_model=name)
    expected = CameraModel(
        WIDTH, HEIGHT, 200.0, 205.0, 150.0, 110.0, "equidistant", (0.0, 0.0, 0.0, 0.0)
    )
    assert camera_from_info(message, rectified=False) == expected
    assert expected.is_distorted
    flat = camera_from_info(message, rectified=True)
    assert flat is not None and not flat.is_distorted
