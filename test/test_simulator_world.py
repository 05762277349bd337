"""Worlds, drives, odometry and the datasets written from them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mspr_ros.cli.main import main
from mspr_ros.data.dataset import Dataset
from mspr_ros.errors import MsprError
from mspr_ros.geometry import invert_transform
from mspr_ros.simulator import photographs
from mspr_ros.simulator.drive import Drive, base_from_camera
from mspr_ros.simulator.odometry import OdometryDrift
from mspr_ros.simulator.recording import pinhole, shares
from mspr_ros.simulator.renderer import Renderer
from mspr_ros.simulator.world import World

SCENES = ("office", "lounge", "kitchen", "street")
# Faces, mean corner in metres and mean colour of each scene of the demo world. The shipped demo
# bundle knows these very places: when this changes, it has to be trained anew.
DEMO = {
    "office": (420, (3.5994, 1.6413, 0.6313), (105.80, 93.69, 74.42)),
    "lounge": (236, (11.8246, 2.6909, 0.6503), (114.92, 104.04, 73.31)),
    "kitchen": (322, (21.8294, 2.4549, 0.6779), (151.33, 139.90, 107.13)),
    "street": (1100, (40.2744, -20.0981, 3.5906), (124.35, 115.89, 91.77)),
}


@pytest.mark.parametrize("scene", SCENES)
def test_the_demo_world_is_the_one_its_bundle_was_trained_in(scene):
    number, corner, colour = DEMO[scene]
    faces = World.build("demo").scene(scene).faces
    assert len(faces) == number
    corners = np.concatenate([face.corners for face in faces])
    np.testing.assert_allclose(corners.mean(axis=0), corner, atol=1e-4)
    means = [face.levels[0].reshape(-1, 3).mean(axis=0) for face in faces]
    np.testing.assert_allclose(np.mean(means, axis=0), colour, atol=0.5)


def test_a_name_fixes_the_places_whatever_was_built_before():
    alone = World("demo").scene("lounge")
    world = World("demo")
    world.scene("kitchen")
    again = world.scene("lounge")
    for one, other in zip(alone.faces, again.faces, strict=True):
        np.testing.assert_array_equal(one.corners, other.corners)
        np.testing.assert_array_equal(one.levels[0], other.levels[0])


def test_another_name_gives_other_places_of_the_same_scenes():
    demo, other = World.build("demo"), World.build("elsewhere")
    assert demo.scenes == other.scenes == SCENES
    assert len(demo.scene("office").solids) > 20 and len(other.scene("office").solids) > 20
    assert not np.allclose(demo.scene("office").outline, other.scene("office").outline)


def test_an_unknown_scene_is_refused_by_name():
    with pytest.raises(MsprError, match="no scene 'cellar', only office"):
        World.build("demo").scene("cellar")
    with pytest.raises(MsprError, match="cellar"):
        Drive(World.build("demo"), ["cellar"], seed=1)


def test_the_street_is_100_m_long():
    outline = World.build("demo").scene("street").outline
    np.testing.assert_allclose(outline[2] - outline[0], (100.0, 8.0))


def test_a_missing_or_changed_photograph_is_told_with_its_remedy(monkeypatch):
    table = photographs.PHOTOGRAPHS
    monkeypatch.setitem(table, "gone", ("skimage", "data/nowhere.png", "00"))
    monkeypatch.setitem(table, "changed", (*table["cat"][:2], "0000"))
    monkeypatch.setitem(table, "uninstalled", ("no_such_package_here", "a.png", "00"))
    with pytest.raises(MsprError, match="is missing: `pip install scikit-image`"):
        photographs.photograph("gone")
    with pytest.raises(MsprError, match="is not the photograph"):
        photographs.photograph("changed")
    with pytest.raises(MsprError, match="pip install no_such_package_here"):
        photographs.photograph("uninstalled")


def inside(footprint, points):
    """Tell for (n, 2) points whether they lie in a convex counterclockwise polygon."""
    step = np.roll(footprint, -1, axis=0) - footprint
    offset = points[:, None] - footprint
    return np.all(step[:, 0] * offset[..., 1] - step[:, 1] * offset[..., 0] > 0.0, axis=1)


def apart(footprint, points):
    """Give how far (n, 2) points are from the outline of a polygon."""
    step = np.roll(footprint, -1, axis=0) - footprint
    offset = points[:, None] - footprint
    along = np.clip(np.sum(offset * step, axis=2) / np.sum(step**2, axis=1), 0.0, 1.0)
    return np.linalg.norm(offset - along[..., None] * step, axis=2).min(axis=1)


@pytest.mark.parametrize("name", ["demo", "elsewhere"])
@pytest.mark.parametrize("scene", ["office", "lounge", "kitchen"])
def test_a_drive_keeps_clear_of_furniture_and_walls(name, scene):
    check_clearance(World.build(name), scene)


def test_a_drive_keeps_clear_of_parked_cars():
    check_clearance(World.build("demo"), "street")


def check_clearance(world, scene):
    place = world.scene(scene)
    for seed in range(3):
        drive = Drive(world, [scene], seed=seed, rate_hz=5.0, frames_per_scene=500)
        points = np.array([frame.T_map_cam[:2, 3] for frame in drive])
        assert np.all(points > place.outline[0] + 0.15)
        assert np.all(points < place.outline[2] - 0.15)
        for solid in place.solids:
            assert not inside(solid.footprint, points).any()
            assert apart(solid.footprint, points).min() > 0.15


@pytest.mark.parametrize("scene", ["lounge", "street"])
def test_a_drive_is_smooth(scene):
    rate_hz = 200.0
    drive = Drive(World.build("demo"), [scene], seed=4, rate_hz=rate_hz, frames_per_scene=8000)
    T_map_base = np.array([frame.T_map_base for frame in drive])
    yaw = np.unwrap(np.arctan2(T_map_base[:, 1, 0], T_map_base[:, 0, 0]))
    state = np.column_stack([T_map_base[:, :2, 3], yaw])
    speed = np.linalg.norm(np.diff(state[:, :2], axis=0), axis=1) * rate_hz
    acceleration = np.diff(state, 2, axis=0) * rate_hz**2
    jump = np.abs(np.diff(acceleration, axis=0))
    assert speed.max() < {"lounge": 0.65, "street": 1.5}[scene]
    assert np.abs(np.diff(yaw)).max() * rate_hz < 2.5
    assert np.linalg.norm(acceleration[:, :2], axis=1).max() < 6.0
    # Continuous second derivatives: no jump of acceleration from one sample to the next.
    assert jump[:, :2].max() < 0.5 and jump[:, 2].max() < 0.5


def test_a_drive_sees_its_scene_from_many_places_and_directions():
    drive = list(Drive(World.build("demo"), ["office"], seed=2, rate_hz=2.0, frames_per_scene=600))
    points = np.array([frame.T_map_base[:2, 3] for frame in drive])
    yaw = np.array([np.arctan2(f.T_map_base[1, 0], f.T_map_base[0, 0]) for f in drive])
    cells = {tuple(cell) for cell in np.floor(points / 0.5).astype(int)}
    assert len(cells) > 40
    assert np.histogram(yaw, bins=8, range=(-np.pi, np.pi))[0].min() > 20


def test_the_camera_sits_on_the_base_and_the_base_on_the_floor():
    drive = Drive(World.build("demo"), ["kitchen"], seed=1, frames_per_scene=20)
    for frame in drive:
        np.testing.assert_allclose(frame.T_map_base @ base_from_camera(), frame.T_map_cam)
        np.testing.assert_allclose(frame.T_map_base[2], (0.0, 0.0, 1.0, 0.0), atol=1e-12)
        np.testing.assert_allclose(
            frame.T_map_cam[:3, :3] @ frame.T_map_cam[:3, :3].T, np.eye(3), atol=1e-12
        )
        # Optical axes: z looks forward and level but for the pitch, y points down.
        assert abs(frame.T_map_cam[2, 2]) < 0.1 and frame.T_map_cam[2, 1] < -0.9


def test_a_handheld_camera_sways_and_stays_rigid():
    drive = list(
        Drive(World.build("demo"), ["lounge"], seed=1, frames_per_scene=100, handheld=True)
    )
    height = np.array([frame.T_map_cam[2, 3] for frame in drive])
    assert height.std() > 0.02 and height.min() > 0.7 and height.max() < 1.3
    for frame in drive[::10]:
        rotation = frame.T_map_cam[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)


def test_the_seed_changes_the_drive_and_its_light_only():
    world = World.build("demo")

    def frames(seed, scenes=("lounge",)):
        return list(Drive(world, scenes, seed=seed, frames_per_scene=5))

    one, again, other = frames(1), frames(1), frames(2)
    np.testing.assert_array_equal(one[3].T_map_cam, again[3].T_map_cam)
    assert one[0].light == again[0].light != other[0].light
    assert not np.allclose(one[0].T_map_cam, other[0].T_map_cam)
    after_office = frames(1, ("office", "lounge"))[5:]
    np.testing.assert_array_equal(one[3].T_map_cam, after_office[3].T_map_cam)
    assert [frame.stamp_ns for frame in after_office] == [
        500_000_000 + i * 100_000_000 for i in range(5)
    ]


def test_odometry_without_drift_is_the_true_motion():
    odometry = OdometryDrift(1, drift_per_m=0.0, drift_per_rad=0.0)
    frames = list(Drive(World.build("demo"), ["office"], seed=3, frames_per_scene=100))
    T_odom_base = [odometry.update(frame.scene, frame.T_map_base) for frame in frames]
    np.testing.assert_allclose(T_odom_base[0], np.eye(4))
    motion = invert_transform(frames[0].T_map_base) @ frames[-1].T_map_base
    np.testing.assert_allclose(T_odom_base[-1], motion, atol=1e-9)


def test_odometry_drifts_in_proportion_to_the_way():
    def errors(metres):
        """Measure the error after driving straight on, over many robots."""
        result = []
        for seed in range(150):
            odometry = OdometryDrift(seed, drift_per_m=0.02, drift_per_rad=0.0)
            T_map_base = np.eye(4)
            for x in np.linspace(0.0, metres, 11):
                T_map_base[0, 3] = x
                T_odom_base = odometry.update("a", T_map_base)
            result.append(T_odom_base[0, 3] - metres)
        return float(np.std(result))

    assert errors(1.0) == pytest.approx(0.02, rel=0.25)
    assert errors(10.0) == pytest.approx(0.2, rel=0.25)


def test_odometry_stays_where_it_was_when_the_robot_is_carried_elsewhere():
    odometry = OdometryDrift(1)
    far = np.eye(4)
    far[:2, 3] = (50.0, 20.0)
    odometry.update("a", np.eye(4))
    before = odometry.update("a", np.eye(4))
    np.testing.assert_array_equal(odometry.update("b", far), before)


def test_a_dataset_from_the_command_line_can_be_read_and_drawn_again(tmp_path, capsys):
    folder = tmp_path / "data"
    words = ["simulate", "-o", str(folder), "--frames", "7", "--drives", "2", "--seed", "5"]
    words += ["--scenes", "lounge,kitchen", "--width", "160", "--height", "120", "--png"]
    words += ["--split", "test", "--rate-hz", "2"]
    assert main(words) == 0
    dataset = Dataset.load(folder)
    assert len(dataset) == 7
    assert [frame.scene for frame in dataset.frames].count("lounge") == 4
    assert len({(frame.scene, frame.sequence) for frame in dataset.frames}) == 4
    assert {frame.split for frame in dataset.frames} == {"test"}
    # The stored pose draws the stored picture, but for its light and noise.
    camera = dataset.camera_of(dataset.frames[0])
    assert camera == pinhole(160, 120, 70.0)
    renderer = Renderer(World.build("demo"), camera)
    for index in (0, 6):
        frame = dataset.frames[index]
        stored = cv2.imread(str(frame.image))[:, :, ::-1].astype(float)
        drawn = renderer.render(frame.scene, dataset.T_map_cam[index]).astype(float)
        for channel in range(3):
            pair = np.stack([stored[..., channel].ravel(), drawn[..., channel].ravel()])
            assert np.corrcoef(pair)[0, 1] > 0.93
    capsys.readouterr()
    assert main(words) == 1
    assert "exists" in capsys.readouterr().err


def test_bad_arguments_of_the_command_are_told_in_one_line(tmp_path, capsys):
    start = ["simulate", "-o", str(tmp_path / "x")]
    for words, text in (
        (["--scenes", "cellar", "--frames", "4"], "cellar"),
        (["--frames", "2"], "too few"),
        (["--fov-deg", "200"], "field of view"),
        (["--frames", "8", "--rate-hz", "0"], "--rate-hz must be positive"),
        (["--frames", "8", "--rate-hz", "nan"], "--rate-hz must be positive"),
        (["--frames", "4", "--scenes", "office,office"], "name every scene once"),
    ):
        assert main(start + words) == 1
        error = capsys.readouterr().err
        assert text in error
        assert not (tmp_path / "x").exists()


def test_frames_are_shared_equally():
    assert shares(10, 4) == [3, 3, 2, 2]
    assert sum(shares(1001, 7)) == 1001
