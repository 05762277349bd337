"""Varied training pictures keep a true label, and light varies for a batch as for one picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tiny import TINY_CAMERA, TINY_VIRTUAL_CAMERA, picture_of_directions

from mspr_ros.camera import CameraModel
from mspr_ros.data.augmentation import AugmentationConfig, random_view
from mspr_ros.data.light import draw_light, vary_light
from mspr_ros.preprocess import PreprocessConfig, Preprocessor

LIGHT = ("brightness", "contrast", "saturation", "hue", "exposure", "blur_px", "noise")


def make_pictures(count: int = 2) -> torch.Tensor:
    noise = np.random.default_rng(0).integers(0, 256, (count, 24, 32, 3)).astype(np.uint8)
    return torch.from_numpy(noise)


def draw(count: int, **strengths: float) -> torch.Tensor:
    rng = np.random.default_rng(3)
    config = AugmentationConfig(**strengths)
    return torch.from_numpy(np.stack([draw_light(config, rng) for _ in range(count)]))


def test_a_random_crop_turns_the_virtual_camera_and_sees_what_it_says() -> None:
    camera = CameraModel(256, 192, 100.0, 100.0, 127.5, 95.5)
    preprocessor = Preprocessor(
        PreprocessConfig(
            width=96, height=64, resize_shorter_px=0, virtual_camera=TINY_VIRTUAL_CAMERA
        )
    )
    R_map_cam = Rotation.from_euler("xyz", [0.3, -0.5, 0.2]).as_matrix()
    picture = picture_of_directions(camera, R_map_cam)
    rng, config = np.random.default_rng(0), AugmentationConfig(random_crop=True)
    directions = []
    for _ in range(20):
        view = random_view(config, camera, TINY_VIRTUAL_CAMERA, rng)
        seen = preprocessor.geometric(picture, camera, view.R_cam_virtual)
        expected = picture_of_directions(TINY_VIRTUAL_CAMERA, R_map_cam @ view.R_cam_virtual)
        difference = np.abs(seen.astype(float) - expected)
        assert np.median(difference) < 2.0
        axis = view.R_cam_virtual[:, 2]
        directions.append(axis[:2] / axis[2])
    # All over the free part of the picture, and its border is where the cut touches the edge.
    free = np.array([1.28 - 0.8, 0.96 - 64 / 120])
    assert np.all(np.abs(directions) <= free + 1e-9)
    assert np.all(np.ptp(directions, axis=0) > free)


def test_a_cut_as_wide_as_the_picture_does_not_turn() -> None:
    config, rng = AugmentationConfig(random_crop=True), np.random.default_rng(0)
    narrow = CameraModel(128, 96, 300.0, 300.0, 63.5, 47.5)
    view = random_view(config, narrow, TINY_VIRTUAL_CAMERA, rng)
    np.testing.assert_allclose(view.R_cam_virtual, np.eye(3), atol=1e-12)


def test_a_focal_factor_is_a_zoom() -> None:
    config, rng = AugmentationConfig(focal=0.1), np.random.default_rng(0)
    factors = [
        random_view(config, TINY_CAMERA, TINY_VIRTUAL_CAMERA, rng).focal_factor for _ in range(50)
    ]
    assert 0.9 <= min(factors) < 0.95
    assert 1.05 < max(factors) <= 1.1
    preprocessor = Preprocessor(
        PreprocessConfig(
            width=96, height=64, resize_shorter_px=0, virtual_camera=TINY_VIRTUAL_CAMERA
        )
    )
    picture = np.zeros((96, 128, 3), np.uint8)
    cv2.circle(picture, (64, 48), 20, (255, 255, 255), -1)
    sizes = [
        int((preprocessor.geometric(picture, TINY_CAMERA, None, factor) > 127).sum())
        for factor in (1.0, 1.2)
    ]
    assert sizes[1] / sizes[0] == pytest.approx(1.44, rel=0.05)


@pytest.mark.parametrize("name", LIGHT)
def test_every_kind_of_light_changes_pictures_within_bounds(name: str) -> None:
    pictures = make_pictures()
    light = draw(2, **{name: 0.4})
    if name == "blur_px":
        light[:, 5] = 0.4  # only every second picture is blurred
    varied = vary_light(pictures, light)
    assert varied.dtype == torch.float32
    assert float(varied.min()) >= 0.0
    assert float(varied.max()) <= 255.0
    for row in range(2):
        assert not torch.allclose(varied[row], pictures[row].float(), atol=0.5)


def test_no_strength_leaves_pictures_alone() -> None:
    pictures = make_pictures()
    assert vary_light(pictures, draw(2)) is pictures
    almost = draw(2)
    almost[0, 0] = 0.5  # the first picture is darkened, the second must stay as it is
    varied = vary_light(pictures, almost)
    torch.testing.assert_close(varied[1], pictures[1].float(), atol=1e-3, rtol=0)
    torch.testing.assert_close(varied[0], 0.5 * pictures[0].float(), atol=1e-3, rtol=1e-5)


def test_a_batch_is_varied_as_each_picture_alone() -> None:
    pictures = make_pictures(4)
    strengths = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.3)
    light = draw(4, **strengths, exposure=0.3, blur_px=1.5, occlusion=0.5)
    together = vary_light(pictures, light)
    alone = torch.cat([vary_light(pictures[i : i + 1], light[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-2, rtol=1e-4)


def test_colors_keep_grey_grey_and_blur_agrees_with_opencv() -> None:
    grey = torch.full((1, 24, 32, 3), 100, dtype=torch.uint8)
    varied = vary_light(grey, draw(1, saturation=0.8, hue=0.5))
    torch.testing.assert_close(varied, grey.float(), atol=1e-2, rtol=0)
    picture, light = make_pictures(1), draw(1)
    light[:, 5] = 1.3
    expected = cv2.GaussianBlur(
        picture[0].numpy().astype(np.float32), (9, 9), 1.3, borderType=cv2.BORDER_REPLICATE
    )
    np.testing.assert_allclose(vary_light(picture, light)[0], expected, atol=0.01)


def test_occlusion_hides_a_rectangle() -> None:
    pictures = make_pictures(8)
    varied = vary_light(pictures, draw(8, occlusion=1.0))
    hidden = (varied == 127.5).all(dim=-1).float().mean(dim=(1, 2))
    assert float(hidden.min()) > 0.0
    assert float(hidden.max()) <= 0.3
