"""The one image pipeline."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mspr_ros.camera import CameraModel, VirtualCamera
from mspr_ros.config import dump_yaml, from_mapping, load_yaml, set_key, to_mapping
from mspr_ros.errors import ConfigError, ImageError
from mspr_ros.preprocess import PreprocessConfig, Preprocessor, resize_and_cut

VIRTUAL = VirtualCamera(fx=80.0, fy=80.0, cx=47.5, cy=31.5, width=96, height=64)
WARPING = PreprocessConfig(width=96, height=64, resize_shorter_px=0, virtual_camera=VIRTUAL)


def smooth_picture(width: int, height: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 6)
    return np.asarray(cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX), dtype=np.uint8)


def test_paper_pipeline_is_resize_256_and_centre_224() -> None:
    picture = smooth_picture(640, 480)
    cut = Preprocessor(PreprocessConfig()).geometric(picture)
    resized = cv2.resize(picture, (341, 256), interpolation=cv2.INTER_AREA)
    assert cut.shape == (224, 224, 3)
    np.testing.assert_array_equal(cut, resized[16:240, 58:282])


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (224, 224), (100, 300), (1920, 1080)])
def test_pictures_of_any_size_become_the_inputs_size(size: tuple[int, int]) -> None:
    assert resize_and_cut(smooth_picture(*size), 224, 160, 0).shape == (160, 224, 3)


def test_two_cameras_see_the_same_through_the_virtual_camera() -> None:
    # One scene at infinity, as two lenses of different focal length and distortion take it.
    ideal = CameraModel(640, 480, 500.0, 500.0, 319.5, 239.5)
    picture = smooth_picture(640, 480)
    bent = CameraModel(800, 600, 420.0, 430.0, 390.0, 310.0, "plumb_bob", (-0.2, 0.05, 0, 0, 0))
    columns, rows = np.meshgrid(np.arange(800.0), np.arange(600.0))
    points = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
    rays = cv2.undistortPoints(points, bent.K, np.array(bent.distortion)).reshape(600, 800, 2)
    taken = cv2.remap(
        picture,
        (rays[..., 0] * 500 + 319.5).astype(np.float32),
        (rays[..., 1] * 500 + 239.5).astype(np.float32),
        cv2.INTER_LINEAR,
    )
    preprocessor = Preprocessor(WARPING)
    one = preprocessor.geometric(picture, ideal).astype(float)
    other = preprocessor.geometric(np.asarray(taken, np.uint8), bent).astype(float)
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(one[inner] - other[inner]).mean() < 1.5
    assert np.abs(one[inner] - one[inner].mean()).mean() > 5.0  # there was something to see


def test_past_the_edge_stands_the_colour_that_normalises_to_zero() -> None:
    narrow = CameraModel(64, 48, 200.0, 200.0, 31.5, 23.5)
    tensor = Preprocessor(WARPING).tensor([np.full((48, 64, 3), 255, np.uint8)], [narrow])
    assert float(tensor[0, :, 0, 0].abs().max()) < 0.02


def test_normalize_is_mean_and_std_per_channel() -> None:
    preprocessor = Preprocessor(PreprocessConfig())
    picture = torch.from_numpy(smooth_picture(224, 224))[None]
    expected = (picture.double() / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    actual = preprocessor.normalize(picture).double()
    torch.testing.assert_close(actual, expected.permute(0, 3, 1, 2), rtol=0, atol=2e-6)


def test_a_batch_gives_the_tensors_of_its_pictures() -> None:
    preprocessor = Preprocessor(WARPING)
    camera = CameraModel(640, 480, 500.0, 500.0, 319.5, 239.5)
    pictures = [smooth_picture(640, 480), smooth_picture(320, 240)]
    together = preprocessor.tensor(pictures, [camera, None])
    apart = [
        preprocessor.tensor([picture], [used])
        for picture, used in zip(pictures, (camera, None), strict=True)
    ]
    assert torch.equal(together, torch.cat(apart))


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
    ],
)
def test_what_is_no_rgb_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ImageError, match="expected"):
        Preprocessor(WARPING).geometric(picture)


def test_a_picture_of_another_size_than_its_camera_is_refused() -> None:
    camera = CameraModel(320, 240, 250.0, 250.0, 159.5, 119.5)
    with pytest.raises(ImageError, match="640x480 but its camera is 320x240"):
        Preprocessor(WARPING).geometric(smooth_picture(640, 480), camera)


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (52, 1)])
def test_strips_are_refused(size: tuple[int, int]) -> None:
    strip = np.zeros((size[1], size[0], 3), np.uint8)
    with pytest.raises(ImageError, match="no side may be longer than 50 times the other"):
        Preprocessor(PreprocessConfig()).geometric(strip)
    longest = np.zeros((2, 100, 3), np.uint8)
    assert Preprocessor(PreprocessConfig()).geometric(longest).shape == (224, 224, 3)


def test_what_opencv_refuses_is_an_error_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        cv2.resize(np.zeros((0, 0, 3), np.uint8), (4, 4))

    monkeypatch.setattr("mspr_ros.preprocess.resize_and_cut", refuse)
    with pytest.raises(ImageError, match="OpenCV cannot warp or resize a picture of 64x48 pixels"):
        Preprocessor(WARPING).geometric(smooth_picture(64, 48))


def test_config_survives_being_written_and_read() -> None:
    assert from_mapping(PreprocessConfig, to_mapping(WARPING), "test") == WARPING


def test_all_problems_of_a_config_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        from_mapping(PreprocessConfig, {"widht": 3, "mean": "grey", "height": "tall"}, "test.yaml")
    for word in ("test.yaml", "widht", "mean", "height"):
        assert word in str(error.value)


def test_numbers_of_yaml_1_2_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: 1e-4\nb: [2.5e3, -.5E2, 1E+3, 1.5]\nc: [1e, e4, 0x1e4, 1e4m, '1e4']\n")
    values = load_yaml(path)
    assert values["a"] == 1e-4 and values["b"] == [2500.0, -50.0, 1000.0, 1.5]
    assert values["c"] == ["1e", "e4", 0x1E4, "1e4m", "1e4"]
    set_key(values, "part.rate=3e-5")
    assert values["part"] == {"rate": 3e-5}
    path.write_text(dump_yaml(values))  # the text 1e4 stays one
    assert load_yaml(path) == values


def test_numbers_that_are_not_finite_are_refused() -> None:
    nan, inf = float("nan"), float("inf")
    changed = {"mean": [0.5, nan, 0.5], "std": [1.0, 1.0, inf]}
    with pytest.raises(ConfigError) as error:
        from_mapping(PreprocessConfig, changed, "test.yaml")
    assert "mean.1: expected a finite number (got nan)" in str(error.value)
    assert "std.2: expected a finite number (got inf)" in str(error.value)
