"""Which of the published label files hold map_from_cam: the poses themselves tell.

Read the right way round, cameras look at the place they were walked around, and the down axis of
their images stays down. The files are not part of the project; without them this is skipped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mspr_ros.data.dataset import Dataset
from mspr_ros.data.importers import import_dataset
from mspr_ros.data.recording import ImportOptions
from mspr_ros.geometry import quat_xyzw_from_rotation, rotation_angle_rad

SHARED = Path(__file__).resolve().parents[2] / "shared"
LABELS = SHARED / "labels"
pytestmark = pytest.mark.skipif(
    not LABELS.is_dir(), reason="the label files of ../shared/labels are not here"
)


def load(tmp_path: Path, family: str, scene: str, convention: str = "") -> Dataset:
    source = LABELS / family / f"{scene}_train.csv"
    options = ImportOptions(poses_only=True, convention=convention)
    folder = tmp_path / f"{scene}{convention}"
    # Street and StMarysChurch hold some quaternions that are not unit, as published.
    import_dataset("labels", source, folder, options=options, skip_broken=True)
    return Dataset.load(folder)


def focus(T_map_cam: np.ndarray) -> tuple[float, float]:
    """Find the point nearest to all optical axes.

    Returns:
        The median distance of the axes from it in metres, and the share of cameras before which
        it lies.
    """
    position, axis = T_map_cam[:, :3, 3], T_map_cam[:, :3, 2]
    across = np.eye(3) - axis[:, :, None] * axis[:, None, :]
    point = np.linalg.solve(across.sum(axis=0), np.einsum("nij,nj->i", across, position))
    distance = np.linalg.norm(np.einsum("nij,nj->ni", across, point - position), axis=1)
    depth = np.einsum("ni,ni->n", point - position, axis)
    return float(np.median(distance)), float(np.mean(depth > 0))


def steadiness_of_down(T_map_cam: np.ndarray) -> float:
    """Measure how alike the images' down axes are: 1 when all are the same."""
    return float(np.linalg.norm(T_map_cam[:, :3, 1].mean(axis=0)))


def both_ways(tmp_path: Path, family: str, scene: str) -> tuple[np.ndarray, np.ndarray]:
    """Give `T_map_cam` as the importer reads a file by default, and read with the other rule."""
    right = load(tmp_path, family, scene).T_map_cam
    other = "cam_from_map" if family == "7scenes" else "map_from_cam"
    wrong = load(tmp_path, family, scene, other).T_map_cam
    np.testing.assert_array_equal(wrong[:, :3, 3], right[:, :3, 3])  # t is the centre either way
    np.testing.assert_allclose(wrong[:, :3, :3], right[:, :3, :3].transpose(0, 2, 1), atol=1e-12)
    return right, wrong


@pytest.mark.parametrize("scene", ["chess", "fire", "pumpkin", "stairs"])
def test_seven_scenes_cameras_look_at_their_focus(tmp_path: Path, scene: str) -> None:
    right, wrong = both_ways(tmp_path, "7scenes", scene)
    assert focus(right)[1] > 0.75
    assert focus(wrong)[1] < 0.3


@pytest.mark.parametrize("scene", ["GreatCourt", "KingsCollege", "ShopFacade", "Street"])
def test_cambridge_images_have_one_down(tmp_path: Path, scene: str) -> None:
    right, wrong = both_ways(tmp_path, "cambridge", scene)
    assert steadiness_of_down(right) > 0.97
    assert steadiness_of_down(wrong) < 0.75


@pytest.mark.parametrize("scene", ["KingsCollege", "ShopFacade", "StMarysChurch"])
def test_cambridge_axes_meet_at_the_building(tmp_path: Path, scene: str) -> None:
    right, wrong = both_ways(tmp_path, "cambridge", scene)
    assert focus(right)[0] < 0.5 * focus(wrong)[0]
    assert focus(right)[1] > 0.95


@pytest.mark.skipif(
    not (SHARED / "data" / "redkitchen").is_dir(),
    reason="the photographs of ../shared/data are not here",
)
def test_labels_are_the_poses_of_the_recording(tmp_path: Path) -> None:
    labels = load(tmp_path, "7scenes", "redkitchen")
    import_dataset(
        "7scenes", SHARED / "data" / "redkitchen", tmp_path / "rec", options=ImportOptions()
    )
    label_of = {
        (frame.sequence, frame.image.name.split(".")[0]): i
        for i, frame in enumerate(labels.frames)
    }
    recorded = Dataset.load(tmp_path / "rec")
    index = [label_of[f.sequence, f.image.name.split(".")[0]] for f in recorded.frames]
    np.testing.assert_allclose(labels.positions[index], recorded.positions, atol=1e-4)
    angles = rotation_angle_rad(labels.quats_xyzw[index], recorded.quats_xyzw)
    assert np.rad2deg(angles).max() < 0.1
    turned = quat_xyzw_from_rotation(labels.T_map_cam[index][:, :3, :3].transpose(0, 2, 1))
    assert np.rad2deg(rotation_angle_rad(turned, recorded.quats_xyzw)).max() > 10.0
    np.testing.assert_array_equal(labels.stamps_ns[index], recorded.stamps_ns)
