"""COLMAP models, written here by hand: text and binary give the same, and points project alike."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from mspr_ros.camera import CameraModel
from mspr_ros.cli.main import main
from mspr_ros.data.colmap_model import colmap_camera
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.importers import import_dataset
from mspr_ros.data.recording import ImportOptions
from mspr_ros.errors import DatasetError, ImageError

WIDTH, HEIGHT = 32, 24
# name: (number, parameters)
CAMERAS = {
    "SIMPLE_PINHOLE": (0, (30.0, 16.5, 12.25)),
    "PINHOLE": (1, (30.0, 31.0, 16.5, 12.25)),
    "SIMPLE_RADIAL": (2, (30.0, 16.5, 12.25, 0.05)),
    "RADIAL": (3, (30.0, 16.5, 12.25, 0.05, -0.02)),
    "OPENCV": (4, (30.0, 31.0, 16.5, 12.25, 0.05, -0.02, 0.003, -0.004)),
    "OPENCV_FISHEYE": (5, (30.0, 31.0, 16.5, 12.25, 0.05, -0.02, 0.003, -0.001)),
    "FULL_OPENCV": (
        6,
        (30.0, 31.0, 16.5, 12.25, 0.05, -0.02, 0.003, -0.004, 0.01, 0.02, -0.03, 0.004),
    ),
}
# (name, camera id, qw qx qy qz, tx ty tz), all cam_from_map, quaternions of unit norm.
IMAGES = [
    ("left/frame_10.png", 1, (0.5, 0.5, -0.5, 0.5), (0.1, -0.2, 0.3)),
    ("left/frame_2.png", 1, (0.8, 0.0, 0.6, 0.0), (1.0, 2.0, -0.5)),
    ("right/frame_2.png", 7, (0.36, 0.48, 0.8, 0.0), (-1.0, 0.4, 2.5)),
]


def colmap_pixel(model: str, numbers: tuple[float, ...], point_cam: np.ndarray) -> np.ndarray:
    """Project a point as COLMAP's documentation has it, pixel centres at 0.5: the oracle."""
    focal = 2 if model in ("PINHOLE", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV") else 1
    fx, fy, cx, cy = numbers[0], numbers[focal - 1], numbers[focal], numbers[focal + 1]
    rest = (*numbers[focal + 2 :], *[0.0] * 8)
    u, v = point_cam[0] / point_cam[2], point_cam[1] / point_cam[2]
    r2 = u * u + v * v
    if model == "OPENCV_FISHEYE":
        r = math.sqrt(r2)
        theta = math.atan(r)
        k1, k2, k3, k4 = rest[:4]
        bent = theta * (1 + k1 * theta**2 + k2 * theta**4 + k3 * theta**6 + k4 * theta**8)
        u, v = u * bent / r, v * bent / r
    elif model in ("SIMPLE_RADIAL", "RADIAL"):
        factor = 1 + rest[0] * r2 + rest[1] * r2**2
        u, v = u * factor, v * factor
    elif model in ("OPENCV", "FULL_OPENCV"):
        k1, k2, p1, p2, k3, k4, k5, k6 = rest[:8]
        top = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        factor = top / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
        u, v = (
            u * factor + 2 * p1 * u * v + p2 * (r2 + 2 * u * u),
            v * factor + 2 * p2 * u * v + p1 * (r2 + 2 * v * v),
        )
    return np.array([fx * u + cx, fy * v + cy])


def rotated(quat_wxyz: tuple[float, ...], vector: np.ndarray) -> np.ndarray:
    """Turn a vector by a unit quaternion, by the formula of Rodrigues and not by the package."""
    w, axis = quat_wxyz[0], np.array(quat_wxyz[1:])
    return vector + 2 * np.cross(axis, np.cross(axis, vector) + w * vector)


def opencv_pixel(camera: CameraModel, point_cam: np.ndarray) -> np.ndarray:
    points, zero = point_cam.reshape(1, 1, 3), np.zeros(3)
    coefficients = np.array(camera.distortion)
    if camera.distortion_model == "equidistant":
        pixel, _ = cv2.fisheye.projectPoints(points, zero, zero, camera.K, coefficients)
    else:
        pixel, _ = cv2.projectPoints(points, zero, zero, camera.K, coefficients)
    return pixel.reshape(2)


@pytest.mark.parametrize("model", CAMERAS)
def test_every_camera_projects_as_colmap_does(model: str) -> None:
    numbers = CAMERAS[model][1]
    camera = colmap_camera(model, WIDTH, HEIGHT, numbers)
    for point in ([0.3, -0.2, 1.0], [-0.4, 0.3, 0.9], [0.01, 0.02, 2.0]):
        expected = colmap_pixel(model, numbers, np.array(point)) - 0.5
        np.testing.assert_allclose(opencv_pixel(camera, np.array(point)), expected, atol=1e-9)


def test_cameras_that_are_refused() -> None:
    with pytest.raises(ImageError, match="FOV is not supported, only SIMPLE_PINHOLE, PINHOLE"):
        colmap_camera("FOV", 4, 3, (1, 1, 1, 1, 1))
    with pytest.raises(ImageError, match="PINHOLE has 4 parameters, got 3"):
        colmap_camera("PINHOLE", 4, 3, (1, 1, 1))


def write_images(root: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    for name, *_ in IMAGES:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), 90, np.uint8))


def write_text(folder: Path, models: dict[int, str]) -> None:
    folder.mkdir(parents=True)
    lines = ["# Camera list", "# Number of cameras: 2"]
    for camera_id, name in models.items():
        numbers = " ".join(map(repr, CAMERAS[name][1]))
        lines.append(f"{camera_id} {name} {WIDTH} {HEIGHT} {numbers}")
    (folder / "cameras.txt").write_text("\n".join(lines) + "\n")
    lines = ["# Image list with two lines of data per image:", "#   IMAGE_ID, QW, QX, ..."]
    for number, (name, camera_id, quat, translation) in enumerate(IMAGES):
        values = " ".join(map(repr, (*quat, *translation)))
        points = "" if number == 0 else "10.5 3.5 -1 4.25 8.0 17"  # the first has no points
        lines += [f"{number + 1} {values} {camera_id} {name}", points]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")


def write_binary(folder: Path, models: dict[int, str]) -> None:
    folder.mkdir(parents=True)
    data = struct.pack("<Q", len(models))
    for camera_id, name in models.items():
        number, numbers = CAMERAS[name]
        data += struct.pack(f"<iiQQ{len(numbers)}d", camera_id, number, WIDTH, HEIGHT, *numbers)
    (folder / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(IMAGES))
    for number, (name, camera_id, quat, translation) in enumerate(IMAGES):
        data += struct.pack("<I7dI", number + 1, *quat, *translation, camera_id)
        data += name.encode() + b"\0" + struct.pack("<Q", number)
        data += struct.pack("<ddQ", 10.5, 3.5, 2**64 - 1) * number
    (folder / "images.bin").write_bytes(data)


MODELS = {1: "OPENCV", 7: "OPENCV_FISHEYE"}


@pytest.mark.parametrize("write", [write_text, write_binary])
def test_points_project_to_the_same_pixels(tmp_path: Path, write: object) -> None:
    project = tmp_path / "yard"
    write(project / "sparse" / "0", MODELS)  # type: ignore[operator]
    write_images(project / "images")
    summary = import_dataset("colmap", project, tmp_path / "d", options=ImportOptions())
    assert summary.frames == {("yard", "train"): 3} and summary.synthetic_stamps
    dataset = Dataset.load(tmp_path / "d")
    assert set(dataset.cameras) == {"camera1", "camera7"}
    by_name = {f"{f.sequence}/{f.image.name}": i for i, f in enumerate(dataset.frames)}
    for name, camera_id, quat, translation in IMAGES:
        frame = dataset.frames[by_name[name]]
        camera = dataset.camera_of(frame)
        assert camera is not None and frame.camera == f"camera{camera_id}"
        T_map_cam = dataset.T_map_cam[by_name[name]]
        for point_cam in ([0.2, -0.1, 1.5], [-0.3, 0.25, 2.0]):
            point_map = (T_map_cam @ [*point_cam, 1.0])[:3]
            seen = rotated(quat, point_map) + translation  # COLMAP: p_cam = R p_map + t
            model = MODELS[camera_id]
            expected = colmap_pixel(model, CAMERAS[model][1], seen) - 0.5
            np.testing.assert_allclose(
                opencv_pixel(camera, np.array(point_cam)), expected, atol=1e-9
            )
    # Eight numbers lie between frame_2 and frame_10, and so do eight steps of time.
    left = [frame for frame in dataset.frames if frame.sequence == "left"]
    assert [frame.image.name for frame in left] == ["frame_2.png", "frame_10.png"]
    assert left[1].stamp_ns - left[0].stamp_ns == pytest.approx(8e9 / 30, abs=1)


def test_scale_scene_split_and_own_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "model", MODELS)
    write_images(tmp_path / "pictures")
    arguments = ["import", "colmap", str(tmp_path / "model"), "-o", str(tmp_path / "d")]
    assert main([*arguments, "--scene", "hall"]) == 1  # the images are elsewhere
    arguments += ["--image-root", str(tmp_path / "pictures"), "--scene", "hall"]
    assert main([*arguments, "--intrinsics", "1,1,1,1"]) == 1  # the model has cameras
    assert main([*arguments, "--scale", "2.5", "--split", "test"]) == 0
    dataset = Dataset.load(tmp_path / "d")
    assert dataset.scenes == ("hall",) and dataset.splits == ("test",)
    for name, _, quat, translation in IMAGES:
        (frame,) = [f for f in dataset.frames if f"{f.sequence}/{f.image.name}" == name]
        w, x, y, z = quat
        centre = -rotated((w, -x, -y, -z), np.array(translation))
        np.testing.assert_allclose(frame.position, 2.5 * centre, atol=1e-12)


def problems_of(source: Path) -> list[str]:
    output = source.parent / "refused"
    with pytest.raises(DatasetError) as caught:
        import_dataset("colmap", source, output, options=ImportOptions())
    assert not output.exists()
    return list(caught.value.problems) or [str(caught.value)]


def test_every_bad_row_is_told(tmp_path: Path) -> None:
    model = tmp_path / "cave"
    write_text(model, MODELS)
    write_images(model / "images")
    with open(model / "cameras.txt", "a") as file:
        file.write("8 FOV 32 24 1 1 1 1 1\n9 PINHOLE 32 24 1 1 1\n7 PINHOLE 32 24 1 1 1 1\nx y\n")
    good = "1 1 0 0 0 0 0 0"
    with open(model / "images.txt", "a") as file:
        file.write(f"{good} 1 left/none.png\n\n1 1 0.5 0 0 0 0 0 1 a.png\n\n")
        file.write(f"{good} 5 a.png\n\n{good} 1 left/frame_2.png\n\n1 1 0 0 0 0 0 one 1 a.png\n\n")
        file.write(f"1 1 0 0 0 0 0 nan 1 b.png\n\n{good} 8 of_a_refused_camera.png\n")
    problems = problems_of(model)
    expected = [
        "cameras.txt:5: camera model FOV is not supported",
        "cameras.txt:6: camera model PINHOLE has 4 parameters, got 3",
        "cameras.txt:7: camera 7 comes twice",
        "cameras.txt:8: expected 'CAMERA_ID MODEL",
        "images.txt:11: the quaternion's norm is 1.11803",
        "images.txt:13: there is no camera 5",
        "images.txt:17: expected 'IMAGE_ID QW",
        "images.txt:19: the pose holds a value that is not a finite number",
        "none.png does not exist (--image-root",
        "images.txt:15: image left/frame_2.png is already at",
    ]
    for text in expected:
        assert sum(text in problem for problem in problems) == 1, text
    assert len(problems) == len(expected)
    summary = import_dataset(
        "colmap", model, tmp_path / "d", options=ImportOptions(), skip_broken=True
    )
    # Camera 7 came twice: which one took its image is not known.
    assert summary.frames == {("cave", "train"): 2}
    assert summary.left_out["cave: images of a camera that is refused"] == 2


def test_a_lost_line_of_points_is_told(tmp_path: Path) -> None:
    write_text(tmp_path / "model", MODELS)
    path = tmp_path / "model" / "images.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], *lines[4:]]))  # without the first image's blank line
    (problem,) = [text for text in problems_of(tmp_path / "model") if "2D points" in text]
    assert "images.txt:4: " in problem


def test_binary_files_that_are_broken(tmp_path: Path) -> None:
    write_binary(tmp_path / "model", MODELS)
    path = tmp_path / "model" / "images.bin"
    whole = path.read_bytes()
    for length in (4, 30, len(whole) - 10):
        path.write_bytes(whole[:length])
        (problem,) = problems_of(tmp_path / "model")
        assert f"images.bin ends at byte {length} in the middle" in problem
    path.write_bytes(whole + b"12345")
    assert "5 bytes more than its 3 entries" in problems_of(tmp_path / "model")[0]
    cameras = tmp_path / "model" / "cameras.bin"
    cameras.write_bytes(struct.pack("<QiiQQ", 1, 1, 99, 4, 3))
    assert "entry 1: camera model number 99 is not known" in problems_of(tmp_path / "model")[0]
    cameras.write_bytes(struct.pack("<QiiQQ5d", 1, 1, 7, 4, 3, 1, 1, 1, 1, 1))
    path.write_bytes(struct.pack("<Q", 0))
    assert "camera model FOV is not supported" in problems_of(tmp_path / "model")[0]


def test_what_is_no_model_or_several(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no COLMAP model" in problems_of(tmp_path / "empty")[0]
    for name in ("0", "1"):
        write_text(tmp_path / "many" / "sparse" / name, MODELS)
    (problem,) = problems_of(tmp_path / "many")
    assert "holds 2 models, each with a map frame of its own (0, 1 in " in problem


def test_images_of_another_size_are_told(tmp_path: Path) -> None:
    write_text(tmp_path / "model", MODELS)
    write_images(tmp_path / "model" / "images", size=(16, 12))
    problems = problems_of(tmp_path / "model")
    assert len(problems) == 3
    assert all("is 16x12 but the camera is 32x24" in problem for problem in problems)
