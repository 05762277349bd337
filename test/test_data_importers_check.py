"""The check of a convention: true poses pass, turned-round ones are named, and a PNG is drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mspr_ros.camera import CameraModel
from mspr_ros.cli.main import main
from mspr_ros.data.check import check_dataset
from mspr_ros.data.check_images import rotation_misfit, rotations_read
from mspr_ros.data.check_poses import measure_poses
from mspr_ros.data.dataset import Dataset, write_dataset
from mspr_ros.data.images import read_image
from mspr_ros.data.recording import AXES, make_frame
from mspr_ros.evaluation.camera_plot import SceneView, cameras_figure, frustum_lines, view_axes
from mspr_ros.geometry import invert_transform, quat_xyzw_from_rotation

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
CAMERA = CameraModel(160, 120, 120.0, 120.0, 79.5, 59.5)


def looking(yaw: np.ndarray, pitch: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Give poses of an upright optical camera in a map with z up, looking along yaw."""
    forward = np.stack([np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)], axis=1)
    right = np.stack([np.sin(yaw), -np.cos(yaw), np.zeros_like(yaw)], axis=1)
    down = np.tile([0.0, 0.0, -1.0], (len(yaw), 1))
    T_map_cam = np.tile(np.eye(4), (len(yaw), 1, 1))
    T_map_cam[:, :3, :3] = np.stack([right, down, forward], axis=2)
    T_map_cam[:, :3, :3] @= Rotation.from_euler("x", pitch[:, None]).as_matrix()
    T_map_cam[:, :3, 3] = positions
    return T_map_cam


def drive(loops: float = 1.5, centre: tuple[float, float] = (6.0, 2.0)) -> np.ndarray:
    """Drive a wavy loop, looking ahead, beside the map's origin or around it."""
    angle = np.linspace(0.0, loops * 2 * np.pi, 200)
    radius = 2.0 + 0.4 * np.sin(3 * angle)
    xy = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1) + centre
    ahead = np.gradient(xy, axis=0)
    yaw = np.arctan2(ahead[:, 1], ahead[:, 0])
    return looking(yaw, 0.05 * np.sin(5 * angle), np.column_stack([xy, np.ones(len(xy))]))


def spin(frames: int = 100) -> np.ndarray:
    """Turn to and fro on the spot, away from the origin, with nods: a hand-held look about."""
    phase = np.linspace(0.0, 4 * np.pi, frames)
    yaw, pitch = 1.2 * np.sin(phase), 0.4 * np.sin(2.3 * phase)
    wobble = 0.02 * np.stack([np.cos(3 * phase), np.sin(4 * phase), np.sin(5 * phase)], axis=1)
    return looking(yaw, pitch, np.array([1.0, 3.0, 1.5]) + wobble)


def orbit() -> np.ndarray:
    """Walk around an object at the origin, looking at it: positions and turns go together."""
    angle = np.linspace(0.0, 2 * np.pi, 90)
    xyz = np.stack([2 * np.cos(angle), 2 * np.sin(angle), 0.6 + 0 * angle], axis=1)
    return looking(angle + np.pi, 0.29 + 0 * angle, xyz)


def dataset_of(T_map_cam: np.ndarray, images: list[Path] | None = None) -> Dataset:
    frames = tuple(
        replace(
            make_frame("hall", "", "walk", 10**9 + i * 10**8, image, pose[:3, 3], quat),
            camera="camera",
        )
        for i, (image, pose, quat) in enumerate(
            zip(
                images or [Path("none.png")] * len(T_map_cam),
                T_map_cam,
                quat_xyzw_from_rotation(T_map_cam[:, :3, :3]),
                strict=True,
            )
        )
    )
    return Dataset("d", Path(), frames, {"camera": CAMERA}, ("hall",), poses_only=images is None)


def warnings(T_map_cam: np.ndarray, images: list[Path] | None = None) -> str:
    (check,) = check_dataset(dataset_of(T_map_cam, images))
    assert ("looks wrong" in check.verdict) == bool(check.warnings)
    return "; ".join(check.warnings)


@pytest.mark.parametrize("path", [drive(), drive(centre=(0.0, 0.0)), spin(), orbit()])
def test_true_poses_raise_no_warning(path: np.ndarray) -> None:
    assert warnings(path) == ""
    # Nor do they where y points down in the map, as in 7-Scenes, or in no direction at all.
    for turn in (Rotation.from_euler("x", 90, degrees=True), Rotation.random(random_state=1)):
        T_other_map = np.eye(4)
        T_other_map[:3, :3] = turn.as_matrix()
        assert warnings(T_other_map @ path) == ""


def test_few_or_still_frames_raise_no_warning() -> None:
    assert warnings(drive()[:5]) == ""
    still = np.tile(drive()[:1], (50, 1, 1))
    assert warnings(still) == ""


@pytest.mark.parametrize("path", [drive(), spin()])
def test_inverted_poses_are_named(path: np.ndarray) -> None:
    assert "look inverted: they fit as cam_from_map" in warnings(invert_transform(path))
    half = path.copy()
    half[:, :3, 3] = invert_transform(path)[:, :3, 3]  # the rotation right, the position not
    assert "look like translations of cam_from_map" in warnings(half)


def test_other_axes_of_a_drive_are_named() -> None:
    half = drive()
    half[:, :3, :3] = np.swapaxes(half[:, :3, :3], 1, 2)
    assert "the rotations look inverted, the positions do not" in warnings(half)
    assert "axes look like OpenGL's" in warnings(drive() @ OPENGL)
    body = drive()
    body[:, :3, :3] = body[:, :3, :3] @ AXES["ros"].T
    assert "axes look like ROS's" in warnings(body)


def test_the_measures_of_a_drive() -> None:
    poses = measure_poses([drive()])
    assert poses.kept_axis_tilt_deg < 10.0 and poses.inverse_tilt_deg > 80.0 and poses.stands
    assert poses.motion_cam[2] > 0.9 and poses.up_map[2] > 0.9 and poses.path_ratio > 2.0


def rendered(folder: Path, T_map_cam: np.ndarray) -> list[Path]:
    """Photograph a far, spotted sky: only the rotations matter."""
    random = np.random.default_rng(0)
    sky = cv2.resize(random.integers(0, 255, (90, 180, 3), np.uint8), (1440, 720))
    rows, columns = np.mgrid[0 : CAMERA.height, 0 : CAMERA.width]
    pixels = np.column_stack([columns.ravel(), rows.ravel()]).astype(float)
    rays = np.column_stack([(pixels - [CAMERA.cx, CAMERA.cy]) / CAMERA.fx, np.ones(len(pixels))])
    paths = []
    for number, pose in enumerate(T_map_cam):
        x, y, z = (rays @ pose[:3, :3].T).T
        u = (np.arctan2(y, x) / (2 * np.pi) + 0.5) * 1440
        v = (0.5 - np.arctan2(z, np.hypot(x, y)) / np.pi) * 720
        shape = (CAMERA.height, CAMERA.width)
        maps = [values.reshape(shape).astype(np.float32) for values in (u, v)]
        paths.append(folder / f"{number:03}.png")
        image = cv2.remap(sky, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        assert cv2.imwrite(str(paths[-1]), image)
    return paths


def test_images_decide(tmp_path: Path) -> None:
    T_map_cam = looking(*turns(), positions=np.zeros((12, 3)))
    images = rendered(tmp_path, T_map_cam)
    (check,) = check_dataset(dataset_of(T_map_cam, images))
    assert check.images.confirm and check.warnings == () and "confirmed by" in check.verdict
    for given, text in (
        (T_map_cam @ OPENGL, "the camera axes look like OpenGL's"),
        (invert_transform(T_map_cam), "cam_from_map"),
        (invert_transform(T_map_cam @ OPENGL), "OpenGL's"),
    ):
        assert text in warnings(given, images) and "pairs of images fit" in warnings(given, images)
    # A camera mounted upside down looks like OpenGL's axes to the poses; the images know better.
    upside_down = T_map_cam @ np.diag([-1.0, -1.0, 1.0, 1.0])
    assert "OpenGL" in warnings(np.repeat(upside_down, 2, axis=0))
    folder = tmp_path / "down"
    folder.mkdir()
    assert warnings(upside_down, rendered(folder, upside_down)) == ""


def turns() -> tuple[np.ndarray, np.ndarray]:
    """Give yaw and pitch of twelve frames, some eight degrees apart in changing directions."""
    phase = np.linspace(0.0, 2 * np.pi, 12)
    return 0.3 * np.sin(phase), 0.25 * np.cos(2 * phase)


def test_rays_of_an_orbit_decide_by_their_epipolar_planes() -> None:
    """Around an object, image and turn cancel: here only the planes tell the readings apart."""
    random = np.random.default_rng(3)
    points = random.uniform(-0.8, 0.8, (80, 3))
    path = orbit()[[0, 4]]
    readings = rotations_read(path[:, :3, :3])
    seen = []
    for T_cam_map in invert_transform(path):
        rays = points @ T_cam_map[:3, :3].T + T_cam_map[:3, 3]
        seen.append(rays / np.linalg.norm(rays, axis=1, keepdims=True))
    misfits = {
        name: rotation_misfit(R[1].T @ R[0], seen[0], seen[1]) for name, R in readings.items()
    }
    assert min(misfits, key=lambda name: misfits[name]) == "as given"
    assert sorted(misfits.values())[1] - misfits["as given"] > 2.0


def written(folder: Path, T_map_cam: np.ndarray, pictures: Path) -> Path:
    images = rendered(pictures, T_map_cam[:1]) * len(T_map_cam)
    copies = [pictures / f"copy{i}.png" for i in range(len(T_map_cam))]
    for source, copy in zip(images, copies, strict=True):
        copy.write_bytes(source.read_bytes())
    dataset = dataset_of(T_map_cam, copies)
    write_dataset(
        folder, name="d", frames=dataset.frames, cameras=dataset.cameras, scenes=dataset.scenes
    )
    return folder


def test_the_command_draws_and_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = written(tmp_path / "wrong", invert_transform(drive()[::5]), tmp_path)
    picture = tmp_path / "cameras.png"
    arguments = ["import", "check", str(wrong), "-o", str(picture)]
    assert main([*arguments, "--json", str(tmp_path / "r.json")]) == 0
    told = capsys.readouterr()
    assert "WARNING: hall: the poses look inverted" in told.err and "looks wrong" in told.out
    (scene,) = json.loads((tmp_path / "r.json").read_text())["scenes"]
    assert scene["frames"] == 40 and len(scene["warnings"]) == 1
    image = read_image(picture)
    assert min(image.shape[:2]) > 400 and (image != 255).mean() > 0.01
    assert main(arguments) == 1 and "exists and is not overwritten" in capsys.readouterr().err
    assert main(["import", "check", str(wrong), "-o", str(tmp_path / "folder")]) == 1


def test_import_with_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path / "first", drive()[::10], tmp_path)
    rows = (tmp_path / "first" / "frames.csv").read_text()
    (tmp_path / "first" / "frames.csv").write_text(rows.replace("hall,,", "hall,train,"))
    source = str(tmp_path / "first" / "frames.csv")
    arguments = ["import", "csv", source, "-o", str(tmp_path / "d"), "--check"]
    assert main([*arguments, "--convention", "map_from_cam"]) == 0
    assert (tmp_path / "d" / "check.png").is_file() and "WARNING" not in capsys.readouterr().err
    assert len(Dataset.load(tmp_path / "d")) == 20  # the picture does not disturb the dataset
    arguments[4] = str(tmp_path / "e")
    assert main([*arguments, "--convention", "cam_from_map"]) == 0
    assert "WARNING: hall: the poses look inverted" in capsys.readouterr().err


def test_the_drawing() -> None:
    above, beside, up = view_axes(drive())
    assert (above, beside[1], up) == ((0, 1), 2, 1)
    y_down = np.eye(4)
    y_down[:3, :3] = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    above, beside, up = view_axes(y_down @ drive())
    assert (above, beside[1], up) == ((0, 2), 1, -1)
    lines = frustum_lines(drive()[0], 0.5)
    assert lines.shape == (10, 2, 3)
    forward = drive()[0, :3, 2]
    # Everything but the camera's centre lies half a metre ahead, and the roof above it.
    ahead = (lines.reshape(-1, 3) - drive()[0, :3, 3]) @ forward
    np.testing.assert_allclose(np.unique(ahead.round(9)), [0.0, 0.5], atol=1e-9)
    assert lines[8, 1, 2] > lines[:8, :, 2].max()
    with pytest.raises(ValueError, match="no cameras"):
        cameras_figure([SceneView("hall", drive()[:0], [])])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the photographs of ../shared/data are not here")
def test_real_poses_inverted_and_not() -> None:
    """Poses alone, from the published file: the hand turns the camera, and inverted it shows."""
    rows = np.loadtxt(SHARED / "tum_fr1_rpy" / "groundtruth.txt")[::10]
    T_map_cam = np.tile(np.eye(4), (len(rows), 1, 1))
    T_map_cam[:, :3, :3] = Rotation.from_quat(rows[:, 4:]).as_matrix()
    T_map_cam[:, :3, 3] = rows[:, 1:4]
    assert warnings(T_map_cam) == ""
    assert "look inverted" in warnings(invert_transform(T_map_cam))
