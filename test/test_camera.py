"""Cameras: the warp against a projection in float64, written a second time here."""

from __future__ import annotations

import dataclasses
import re

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mspr_ros.camera import (
    CameraModel,
    VirtualCamera,
    fitting_virtual_camera,
    pixel_rays,
    warp_to_virtual,
)
from mspr_ros.data.cameras import (
    camera_from_mapping,
    camera_to_mapping,
    parse_intrinsics,
    read_camera_info,
)
from mspr_ros.errors import ConfigError, ImageError
from mspr_ros.lens import fold_radius, lens

PLAIN = CameraModel(320, 240, 260.0, 255.0, 158.3, 121.7)
CAMERAS = {
    "none": PLAIN,
    "plumb_bob": dataclasses.replace(
        PLAIN,
        distortion_model="plumb_bob",
        distortion=(0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
    ),
    "plumb_bob 4": dataclasses.replace(
        PLAIN, distortion_model="plumb_bob", distortion=(-0.28, 0.07, 0.001, -0.002)
    ),
    "rational": dataclasses.replace(
        PLAIN,
        distortion_model="rational_polynomial",
        distortion=(0.3, -0.1, 0.001, 0.002, 0.05, 0.4, -0.08, 0.02),
    ),
    "equidistant": dataclasses.replace(
        PLAIN, distortion_model="equidistant", distortion=(0.05, -0.02, 0.01, -0.003)
    ),
    "equidistant zeros": dataclasses.replace(
        PLAIN, distortion_model="equidistant", distortion=(0.0, 0.0, 0.0, 0.0)
    ),
}
VIRTUAL = VirtualCamera(200.0, 205.0, 79.0, 64.2, 160, 128)
PERIODS_PX = (47.0, 61.0, 39.0)


def project(camera: CameraModel, points_cam: np.ndarray) -> np.ndarray:
    """Give the pixels (..., 2) of points (..., 3) by the textbook formulas."""
    x, y = points_cam[..., 0] / points_cam[..., 2], points_cam[..., 1] / points_cam[..., 2]
    r2 = x * x + y * y
    if camera.distortion_model == "equidistant":
        k = camera.distortion
        theta = np.arctan(np.sqrt(r2))
        bent = theta * (1 + sum(k[i] * theta ** (2 * i + 2) for i in range(4)))
        scale = bent / np.maximum(np.sqrt(r2), 1e-12)
        x, y = x * scale, y * scale
    elif camera.distortion:
        k1, k2, p1, p2, k3, k4, k5, k6 = (*camera.distortion, *[0.0] * 8)[:8]
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        x, y = (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        )
    return np.stack([camera.fx * x + camera.cx, camera.fy * y + camera.cy], axis=-1)


def pattern(pixels: np.ndarray) -> np.ndarray:
    """Give a smooth colour (..., 3) at any pixel (..., 2)."""
    u, v = pixels[..., 0], pixels[..., 1]
    waves = [u / PERIODS_PX[0], v / PERIODS_PX[1], (u - v) / PERIODS_PX[2]]
    return 127.5 + 110.0 * np.sin(2 * np.pi * np.stack(waves, axis=-1))


def grid(width: int, height: int) -> np.ndarray:
    u, v = np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))
    return np.stack([u, v], axis=-1)


def picture(camera: CameraModel) -> np.ndarray:
    return np.round(pattern(grid(camera.width, camera.height))).astype(np.uint8)


def source_pixels(
    camera: CameraModel, virtual: VirtualCamera, R_cam_virtual: np.ndarray
) -> np.ndarray:
    """Give where each virtual pixel looks in the real image, (height, width, 2)."""
    pixels = grid(virtual.width, virtual.height)
    rays = np.stack(
        [
            (pixels[..., 0] - virtual.cx) / virtual.fx,
            (pixels[..., 1] - virtual.cy) / virtual.fy,
            np.ones(pixels.shape[:2]),
        ],
        axis=-1,
    )
    return project(camera, rays @ R_cam_virtual.T)


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("turn_deg", [(0, 0, 0), (4, -6, 11)])
def test_warp_agrees_with_a_projection(name: str, turn_deg: tuple[float, float, float]) -> None:
    camera = CAMERAS[name]
    R_cam_virtual = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    given = None if turn_deg == (0, 0, 0) else R_cam_virtual
    warped = warp_to_virtual(picture(camera), camera, VIRTUAL, given)
    assert warped.shape == (128, 160, 3) and warped.dtype == np.uint8
    source = source_pixels(camera, VIRTUAL, R_cam_virtual)
    seen = np.all((source > 1) & (source < [camera.width - 2, camera.height - 2]), axis=-1)
    assert seen.mean() > 0.8
    difference = np.abs(warped.astype(float) - pattern(source))[seen]
    # The pattern changes by up to 17 grey levels a pixel: this is a quarter of a pixel at most.
    assert difference.max() < 4.0 and difference.mean() < 1.0


@pytest.mark.parametrize("factor", [2, 3])
def test_warp_to_a_smaller_camera_averages_and_keeps_its_place(factor: int) -> None:
    camera = CAMERAS["plumb_bob"]
    small = VirtualCamera(250.0 / factor, 250.0 / factor, 40.0, 30.0, 80, 60)
    warped = warp_to_virtual(picture(camera), camera, small)
    source = source_pixels(camera, small, np.eye(3))
    seen = np.all((source > 4) & (source < [camera.width - 6, camera.height - 6]), axis=-1)
    difference = warped.astype(float) - pattern(source)
    # Averaging flattens the waves a little; a shift by the (factor - 1) / 2 pixels that are easily
    # forgotten would give a mean of 5 for factor 2, and 10 for factor 3.
    assert np.abs(difference[seen]).mean() < 2.5
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    spread = warp_to_virtual(noise, PLAIN, small)[20:40, 20:60].std()
    assert spread < 80.0 / factor  # 73 without averaging


def test_shrunk_follows_the_centres_of_pixels() -> None:
    camera = CAMERAS["plumb_bob"]
    for factor in (2, 4):
        small = camera.shrunk(factor)
        assert (small.width, small.height) == (320 // factor, 240 // factor)
        # The block of pixels 0..factor-1 has its centre at (factor - 1) / 2.
        points = np.random.default_rng(0).uniform([-0.4, -0.3, 1], [0.4, 0.3, 1], (50, 3))
        pixels, pixels_small = project(camera, points), project(small, points)
        np.testing.assert_allclose(pixels_small * factor + (factor - 1) / 2, pixels, atol=1e-9)
        ramp = np.repeat(np.arange(64, dtype=np.float32)[None], 8, axis=0)
        averaged = cv2.resize(ramp, (64 // factor, 8 // factor), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(
            averaged[0], np.arange(64 // factor) * factor + (factor - 1) / 2, atol=1e-4
        )
    assert camera.shrunk(1) == camera


def test_a_turned_virtual_camera_sees_the_point_where_its_pose_says() -> None:
    rng = np.random.default_rng(4)
    camera = CAMERAS["plumb_bob 4"]
    for _ in range(8):
        R_map_cam = Rotation.from_quat(rng.normal(size=4)).as_matrix()
        centre_map = rng.normal(size=3)
        R_cam_virtual = Rotation.from_rotvec(rng.uniform(-0.12, 0.12, 3)).as_matrix()
        R_map_virtual = R_map_cam @ R_cam_virtual
        point_map = centre_map + R_map_cam @ rng.uniform([-0.4, -0.3, 2.0], [0.4, 0.3, 3.0])
        at = project(camera, R_map_cam.T @ (point_map - centre_map))
        distance = np.linalg.norm(grid(camera.width, camera.height) - at, axis=-1)
        blob = (240 * np.exp(-(distance**2) / (2 * 3.0**2))).astype(np.uint8)
        warped = warp_to_virtual(np.dstack([blob] * 3), camera, VIRTUAL, R_cam_virtual)[..., 0]
        pixels = grid(VIRTUAL.width, VIRTUAL.height)
        found = (pixels * warped[..., None]).sum(axis=(0, 1)) / warped.sum()
        point_virtual = VIRTUAL.K @ R_map_virtual.T @ (point_map - centre_map)
        np.testing.assert_allclose(found, point_virtual[:2] / point_virtual[2], atol=0.2)


def test_what_lies_outside_the_image_is_filled() -> None:
    white = np.full((240, 320, 3), 255, np.uint8)
    wide = VirtualCamera(100.0, 100.0, 79.5, 59.5, 160, 120)
    warped = warp_to_virtual(white, PLAIN, wide, fill=(10, 20, 30))
    assert tuple(warped[0, 0]) == (10, 20, 30) and tuple(warped[60, 80]) == (255, 255, 255)


def test_the_same_camera_changes_nothing() -> None:
    virtual = VirtualCamera(PLAIN.fx, PLAIN.fy, PLAIN.cx, PLAIN.cy, 320, 240)
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    np.testing.assert_array_equal(warp_to_virtual(image, PLAIN, virtual), image)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ImageError, match="image is 300x240 but its camera is 320x240"):
        warp_to_virtual(np.zeros((240, 300, 3), np.uint8), PLAIN, VIRTUAL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fx": float("nan")}, "finite"),
        ({"distortion_model": "plumb_bob", "distortion": (0.0, 0.0, 0.0, np.inf)}, "finite"),
        ({"fy": 0.0}, "positive"),
        ({"width": 0}, "positive"),
        ({"distortion_model": "brown"}, "unknown distortion model 'brown'"),
        ({"distortion_model": "plumb_bob", "distortion": (0.1, 0.2)}, "coefficients, got 2"),
        ({"distortion": (0.1,)}, "coefficients, got 1"),
    ],
)
def test_impossible_cameras_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        dataclasses.replace(PLAIN, **change)


@pytest.mark.parametrize("name", CAMERAS)
def test_cameras_as_text(name: str) -> None:
    values = camera_to_mapping(CAMERAS[name])
    assert camera_from_mapping(values) == CAMERAS[name]
    flat = [number for row in values["K"] for number in row]
    assert camera_from_mapping(values | {"K": flat}) == CAMERAS[name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"K": [1, 2, 3]}, "K must have 9 numbers"),
        ({"K": [[100, 3, 0], [0, 100, 0], [0, 0, 1]]}, "K must be"),
        ({"K": "wide"}, "must be a list of numbers"),
        ({"width": 10.5}, "whole numbers"),
        ({"fov": 90}, "unknown keys"),
        ({"distortion": [True] * 4, "model": "plumb_bob"}, "must be a list of numbers"),
    ],
)
def test_cameras_in_text_that_are_none(change: dict[str, object], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        camera_from_mapping(camera_to_mapping(PLAIN) | change)


def test_intrinsics_on_the_command_line() -> None:
    assert parse_intrinsics("260, 255,158.3,121.7").camera(320, 240) == PLAIN
    bent = parse_intrinsics("260,255,158.3,121.7,.2624,-.9531,-.0054,.0026,1.1633")
    assert bent.camera(320, 240) == CAMERAS["plumb_bob"]
    for text in ("", "1,2,3", "1,2,3,4,5", "1,2,3,x"):
        with pytest.raises(ImageError, match="expected fx,fy,cx,cy"):
            parse_intrinsics(text)


def test_calibration_files_of_ros(tmp_path) -> None:
    text = """\
image_width: 320
image_height: 240
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [260, 0, 158.3, 0, 255, 121.7, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.2624, -0.9531, -0.0054, 0.0026, 1.1633]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [260, 0, 158.3, 0, 0, 255, 121.7, 0, 0, 0, 1, 0]}
"""
    path = tmp_path / "front.yaml"
    path.write_text(text)
    assert read_camera_info(path) == CAMERAS["plumb_bob"]
    path.write_text(text.replace("plumb_bob", "''"))
    assert read_camera_info(path) == CAMERAS["plumb_bob"]
    fisheye = text.replace("plumb_bob", "fisheye")
    for given in ("[0.0, 0, 0, 0]", "[]"):
        path.write_text(re.sub(r"\[0\.2624.*\]", given, fisheye))
        assert read_camera_info(path) == CAMERAS["equidistant zeros"]
    path.write_text(text.replace("camera_matrix", "matrix"))
    with pytest.raises(ImageError, match=r"front\.yaml is no camera_info file"):
        read_camera_info(path)
    path.write_text(text.replace("plumb_bob", "brown"))
    with pytest.raises(ImageError, match=r"front\.yaml: unknown distortion model 'brown'"):
        read_camera_info(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_camera_info(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("plumb_bob", [0, 0, 0, 0, 0]), ("none", ())),
        (("", [0.1, 0, 0, 0]), ("plumb_bob", (0.1, 0.0, 0.0, 0.0))),
        (("", []), ("none", ())),
        (("fisheye", [0.1, 0, 0, 0]), ("equidistant", (0.1, 0.0, 0.0, 0.0))),
        (("equidistant", []), ("equidistant", (0.0, 0.0, 0.0, 0.0))),
        (("brown", [0.1]), ("brown", (0.1,))),
    ],
)
def test_lenses_as_others_name_them(given, expected) -> None:
    assert lens(*given) == expected


def test_coefficients_may_be_any_sequence() -> None:
    bent = CAMERAS["plumb_bob 4"]
    for given in (list(bent.distortion), np.array(bent.distortion)):
        camera = dataclasses.replace(PLAIN, distortion_model="plumb_bob", distortion=given)
        assert camera == bent and hash(camera) == hash(bent)


@pytest.mark.parametrize("name", CAMERAS)
def test_rays_of_pixels_undo_the_lens(name: str) -> None:
    camera = CAMERAS[name]
    points = np.random.default_rng(0).uniform([-0.4, -0.3, 1], [0.4, 0.3, 1], (50, 3))
    expected = points / np.linalg.norm(points, axis=1, keepdims=True)
    np.testing.assert_allclose(pixel_rays(camera, project(camera, points)), expected, atol=1e-6)


def test_where_a_lens_folds() -> None:
    # d/dr of r + k1 r^3 vanishes there.
    assert fold_radius("plumb_bob", (-0.3, 0.0, 0.0, 0.0)) == pytest.approx(0.9**-0.5, abs=1e-3)
    # r / (1 + r^2) has its top at 1; with a pole at 2 nothing turns back before.
    for k4, expected in ((1.0, 1.0), (-0.25, 2.0)):
        found = fold_radius("rational_polynomial", (0.0, 0.0, 0.0, 0.0, 0.0, k4, 0.0, 0.0))
        assert found == pytest.approx(expected, abs=1e-3)
    # d/dt of t + k1 t^3 vanishes at this angle.
    fisheye = fold_radius("equidistant", (-0.3, 0.0, 0.0, 0.0))
    assert np.arctan(fisheye) == pytest.approx(0.9**-0.5, abs=1e-3)
    for model, first in (("plumb_bob", 0.1), ("plumb_bob", 0.0), ("equidistant", 0.0)):
        assert fold_radius(model, (first, 0.0, 0.0, 0.0)) == np.inf
    assert fold_radius("none", ()) == np.inf


@pytest.mark.parametrize("yaw_deg", [0.0, 25.0])
@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", (-0.3, 0.0, 0.0, 0.0)),
        ("rational_polynomial", (-0.3, *[0.0] * 7)),
    ],
)
def test_past_a_fold_stands_the_fill(model: str, coefficients: tuple, yaw_deg: float) -> None:
    camera = CameraModel(320, 240, 200.0, 200.0, 159.5, 119.5, model, coefficients)
    wide = VirtualCamera(50.0, 50.0, 79.5, 59.5, 160, 120)
    R_cam_virtual = Rotation.from_euler("y", yaw_deg, degrees=True).as_matrix()
    white = np.full((240, 320, 3), 255, np.uint8)
    given = R_cam_virtual if yaw_deg else None
    seen = warp_to_virtual(white, camera, wide, given, fill=(10, 20, 30))[..., 0] > 10
    pixels = np.dstack([grid(160, 120), np.ones((120, 160))])
    rays = pixels @ np.linalg.inv(wide.K).T @ R_cam_virtual.T
    radius = np.hypot(rays[..., 0], rays[..., 1]) / rays[..., 2]
    source = source_pixels(camera, wide, R_cam_virtual)
    ghosts = np.all((source >= 0) & (source <= [319, 239]), axis=-1) & (radius > 1.06)
    assert ghosts.sum() > 500  # there they would be
    assert not seen[ghosts].any() and seen[radius < 0.6].all()


def test_without_a_fold_in_view_the_maps_are_opencvs() -> None:
    folding = dataclasses.replace(
        PLAIN, distortion_model="plumb_bob", distortion=(-0.3, 0.0, 0.0, 0.0)
    )
    for camera in (folding, *CAMERAS.values()):
        if camera.distortion_model == "equidistant":
            continue
        args = (camera.K, np.array(camera.distortion), None, VIRTUAL.K, (160, 128))
        maps = cv2.initUndistortRectifyMap(*args, cv2.CV_16SC2)
        expected = cv2.remap(picture(camera), *maps, cv2.INTER_LINEAR)
        np.testing.assert_array_equal(warp_to_virtual(picture(camera), camera, VIRTUAL), expected)


def half_view_deg(camera: CameraModel) -> float:
    virtual = fitting_virtual_camera([camera], 160, 320)  # so high that the width decides
    return float(np.degrees(np.arctan(80.0 / virtual.fx)))


def test_the_fitted_virtual_camera_of_a_distorted_lens() -> None:
    assert fitting_virtual_camera([PLAIN], 320, 240).fx == min(260.0, 255.0)
    assert fitting_virtual_camera([PLAIN, CAMERAS["equidistant"]], 320, 240).fx < 255.0
    # The radius of an ideal fisheye is an angle: 160 pixels are 160 / 200 of a radian.
    fisheye = CameraModel(
        320, 240, 200.0, 200.0, 159.5, 119.5, "equidistant", (0.0, 0.0, 0.0, 0.0)
    )
    assert half_view_deg(fisheye) == pytest.approx(np.degrees(0.8), abs=1e-3)
    # What lies on the virtual camera's border is on the lens's border, cx beside the middle.
    barrel = CameraModel(320, 240, 200.0, 200.0, 150.0, 119.5, "plumb_bob", (-0.25, 0.06, 0, 0))
    middle = pixel_rays(barrel, [[-0.5, 119.5], [319.5, 119.5]])
    width = np.diff(middle[:, 0] / middle[:, 2])[0]
    assert fitting_virtual_camera([barrel], 320, 240).fx == pytest.approx(320 / width, rel=1e-4)
    # 160 pixels would be 92 degrees; twice the focal length is past where the polynomial is at 60.
    for wide in (
        dataclasses.replace(fisheye, fx=100.0, fy=100.0),
        dataclasses.replace(barrel, fx=80.0, fy=80.0, cx=159.5),
    ):
        assert half_view_deg(wide) == pytest.approx(60.0, abs=1e-6)
    fold = dataclasses.replace(barrel, fx=130.0, fy=130.0, cx=159.5, distortion=(-0.3, 0, 0, 0))
    assert half_view_deg(fold) == pytest.approx(np.degrees(np.arctan(0.9**-0.5)), abs=0.05)


def test_pictures_too_long_for_a_warp_are_refused() -> None:
    camera = CameraModel(33000, 4, 90.0, 90.0, 16500.0, 2.0)
    with pytest.raises(ImageError, match="image is 33000x4: no side may be longer than 32766"):
        warp_to_virtual(np.zeros((4, 33000, 3), np.uint8), camera, VIRTUAL)
    # Averaged before the warp it is short enough.
    longer = dataclasses.replace(camera, fx=450.0, fy=450.0)
    assert warp_to_virtual(np.zeros((4, 33000, 3), np.uint8), longer, VIRTUAL).shape[0] == 128
