"""transforms.json: OpenGL's axes, cameras of the file and of frames, names without extension."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mspr_ros.cli.main import main
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.importers import import_dataset
from mspr_ros.data.recording import ImportOptions
from mspr_ros.errors import DatasetError


def write_image(path: Path, size: tuple[int, int] = (32, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), 90, np.uint8))


def matrix(seed: int) -> list[list[float]]:
    values = np.eye(4)
    random = np.random.default_rng(seed)
    values[:3, :3] = Rotation.from_quat(random.normal(size=4)).as_matrix()
    values[:3, 3] = random.normal(size=3)
    return [[float(value) for value in row] for row in values]


def write_source(folder: Path, top: dict[str, Any], frames: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "transforms.json").write_text(json.dumps({**top, "frames": frames}))
    return folder


def imported(source: Path, **options: Any) -> Dataset:
    import_dataset("transforms", source, source / "d", options=ImportOptions(**options))
    return Dataset.load(source / "d")


def opengl_pixel(
    entry: list[list[float]], point_map: np.ndarray, focal: tuple[float, float], centre: Any
) -> np.ndarray:
    """Project as a NeRF casts rays: a camera that looks along -z, with y up, pixels from 0.5."""
    values = np.array(entry)
    x, y, z = values[:3, :3].T @ (point_map - values[:3, 3])
    assert z < 0.0
    return np.array([centre[0] + focal[0] * x / -z, centre[1] - focal[1] * y / -z])


def test_points_project_to_the_same_pixels(tmp_path: Path) -> None:
    frames = [{"file_path": f"images/{i:04}.jpg", "transform_matrix": matrix(i)} for i in range(3)]
    for frame in frames:
        write_image(tmp_path / str(frame["file_path"]))
    top = {"fl_x": 30.0, "fl_y": 31.0, "cx": 16.5, "cy": 12.25, "w": 32, "h": 24}
    dataset = imported(write_source(tmp_path, top, frames))
    assert dataset.splits == ("train",) and dataset.synthetic_stamps
    for index, (frame, T_map_cam) in enumerate(zip(frames, dataset.T_map_cam, strict=True)):
        camera = dataset.camera_of(dataset.frames[index])
        assert camera is not None and camera.distortion_model == "none"
        point_map = (T_map_cam @ [0.2, -0.3, 1.7, 1.0])[:3]
        pixel = camera.K @ [0.2 / 1.7, -0.3 / 1.7, 1.0]
        expected = opengl_pixel(frame["transform_matrix"], point_map, (30.0, 31.0), (16.5, 12.25))
        np.testing.assert_allclose(pixel[:2] + 0.5, expected, atol=1e-9)


def test_blender_layout_with_splits_and_a_field_of_view(tmp_path: Path) -> None:
    for split in ("train", "test"):
        entry = {"file_path": f"./{split}/r_0", "transform_matrix": matrix(1)}
        write_image(tmp_path / split / "r_0.png")
        content = {"camera_angle_x": 0.7, "frames": [entry]}
        (tmp_path / f"transforms_{split}.json").write_text(json.dumps(content))
    dataset = imported(tmp_path)
    assert [(f.split, f.sequence, f.image.name) for f in dataset.frames] == [
        ("train", "train", "r_0.png"),
        ("test", "test", "r_0.png"),
    ]
    (camera,) = dataset.cameras.values()
    # Half of the field of view is half of the image's width, and the middle is between pixels.
    assert math.atan(16.0 / camera.fx) == pytest.approx(0.35)
    assert (camera.fy, camera.cx, camera.cy) == (camera.fx, 15.5, 11.5)


def test_cameras_of_frames_and_lenses(tmp_path: Path) -> None:
    lenses = [
        ({}, ("plumb_bob", (0.1, 0.2, 0.0, 0.0))),
        ({"k3": 0.5, "p1": 0.01}, ("plumb_bob", (0.1, 0.2, 0.01, 0.0, 0.5))),
        ({"is_fisheye": True, "k4": 0.3}, ("equidistant", (0.1, 0.2, 0.0, 0.3))),
        ({"camera_model": "OPENCV_FISHEYE"}, ("equidistant", (0.1, 0.2, 0.0, 0.0))),
        ({"fl_x": 20, "k1": 0, "k2": 0}, ("none", ())),
        ({"is_fisheye": True, "k1": 0, "k2": 0}, ("equidistant", (0.0, 0.0, 0.0, 0.0))),
        ({"w": 16, "h": 12, "k1": 0, "k2": 0}, ("none", ())),
    ]
    frames = []
    for number, (own, _) in enumerate(lenses):
        write_image(tmp_path / f"a_{number}.png", (16, 12) if "w" in own else (32, 24))
        frames.append({"file_path": f"a_{number}.png", "transform_matrix": matrix(number), **own})
    top = {"fl_x": 30, "w": 32, "h": 24, "k1": 0.1, "k2": 0.2}
    dataset = imported(write_source(tmp_path, top, frames))
    for frame, (_, (model, coefficients)) in zip(dataset.frames, lenses, strict=True):
        camera = dataset.camera_of(frame)
        assert camera is not None
        assert (camera.distortion_model, camera.distortion) == (model, coefficients)
    cameras = [dataset.cameras[frame.camera] for frame in dataset.frames]
    assert cameras[4].fx == 20 and cameras[4].fy == 20 and cameras[6].width == 16


def test_nerfstudio_splits_and_optical_axes(tmp_path: Path) -> None:
    frames = [{"file_path": f"i/{i}.png", "transform_matrix": matrix(i)[:3]} for i in range(3)]
    for frame in frames:
        write_image(tmp_path / str(frame["file_path"]))
    top = {"train_filenames": ["i/0.png", "i/2.png"], "test_filenames": ["./i/1.png"]}
    dataset = imported(write_source(tmp_path, top, frames), axes="optical", scale=3.0)
    assert [frame.split for frame in dataset.frames] == ["train", "test", "train"]
    assert not dataset.cameras
    for number, T_map_cam in enumerate(dataset.T_map_cam):
        expected = np.array(matrix(number))
        expected[:3, 3] *= 3.0
        np.testing.assert_allclose(T_map_cam, expected, atol=1e-12)


def test_every_bad_frame_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(9):
        write_image(tmp_path / f"{number}.png")
    sheared = matrix(0)
    sheared[0][0] += 0.2
    good = matrix(0)
    frames: list[Any] = [
        {"file_path": "0.png", "transform_matrix": good},
        {"file_path": "none.png", "transform_matrix": good},
        {"file_path": "1.png", "transform_matrix": sheared},
        {"file_path": "2.png", "transform_matrix": good[:2]},
        {"file_path": "3.png"},
        {"transform_matrix": good},
        {"file_path": "0", "transform_matrix": good},
        {"file_path": "4.png", "transform_matrix": good, "camera_model": "EQUIRECTANGULAR"},
        {"file_path": "5.png", "transform_matrix": good, "k4": 1.0},
        {"file_path": "6.png", "transform_matrix": good, "fl_x": "thirty"},
        {"file_path": "7.png", "transform_matrix": good, "fl_x": -3},
        {"file_path": "8.png", "transform_matrix": good, "w": 31.5},
        "frame",
    ]
    source = write_source(tmp_path, {"fl_x": 30, "w": 32, "h": 24}, frames)
    with pytest.raises(DatasetError) as caught:
        imported(source)
    assert not (tmp_path / "d").exists()
    expected = [
        "frames[1]: image ",
        "frames[2]: the matrix is not rigid",
        "frames[3]: transform_matrix must be 4 rows of 4 numbers",
        "frames[4]: transform_matrix must be 4 rows of 4 numbers",
        "frames[5]: expected an object with file_path",
        "frames[6]: the same image is already at frames[0]",
        "frames[7]: camera_model EQUIRECTANGULAR is not supported",
        "frames[8]: k4 = 1.0 of a perspective lens",
        "frames[9]: fl_x must be a number, got 'thirty'",
        "frames[10]: camera size and focal lengths must be positive",
        "frames[11]: w must be a whole number, got 31.5",
        "frames[12]: expected an object with file_path",
    ]
    assert len(caught.value.problems) == len(expected)
    for problem, text in zip(caught.value.problems, expected, strict=True):
        assert text in problem
    assert main(["import", "transforms", str(tmp_path), "-o", str(tmp_path / "d")]) == 1
    for text, message in (
        ("{", "is not JSON"),
        ("[]", "no object with a list 'frames'"),
        (None, "holds no transforms.json"),
    ):
        path = tmp_path / "transforms.json"
        path.write_text(text) if text else path.unlink()
        assert main(["import", "transforms", str(tmp_path), "-o", str(tmp_path / "d")]) == 1
        assert message in capsys.readouterr().err
