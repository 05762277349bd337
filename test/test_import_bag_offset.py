"""The clocks' offset, the selection of frames, and bags made of real recordings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_support import (
    OPTICAL,
    T_BASE_CAM,
    Drive,
    T_map_cam_at,
    ns,
    quat_of,
    write_bag,
)
from scipy.spatial.transform import Rotation

from mspr_ros.bags import BagWriter
from mspr_ros.bags import messages as build
from mspr_ros.bags.frame_tree import FrameTree, PoseSamples
from mspr_ros.bags.importing import import_bags
from mspr_ros.bags.scanning import BagOptions
from mspr_ros.bags.types import CAMERA_INFO, COMPRESSED_IMAGE, ODOMETRY, TF_MESSAGE
from mspr_ros.camera import CameraModel
from mspr_ros.cli.main import main
from mspr_ros.data.clock_offset import estimate_offset
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.importers import READERS
from mspr_ros.data.recording import ImportOptions
from mspr_ros.data.selection import Selection, select, sharpness
from mspr_ros.data.tum import read_trajectory
from mspr_ros.errors import DatasetError
from mspr_ros.geometry import (
    invert_transform,
    quat_xyzw_from_rotation,
    rotation_angle_rad,
    transform_from_pose,
)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SECONDS = [index / 15 for index in range(75)]
POSE_SECONDS = [index / 50 for index in range(-40, 290)]


def poses_at(stamps_ns):
    seconds = (np.asarray(stamps_ns) - ns(0.0)) * 1e-9
    return np.array([T_map_cam_at(t) for t in seconds]), np.ones(len(seconds), dtype=bool)


def turned(seconds, late_s: float, noise_rad: float = 0.0):
    """Pairs of stamps, and the rotation between them as an ideal camera would see it."""
    stamps = np.array([ns(t + late_s) for t in seconds])
    truth = np.array([T_map_cam_at(t)[:3, :3] for t in seconds])
    rotvecs = Rotation.from_matrix(np.swapaxes(truth[:-1], 1, 2) @ truth[1:]).as_rotvec()
    noise = np.random.default_rng(0).normal(0.0, noise_rad, rotvecs.shape)
    return np.stack([stamps[:-1], stamps[1:]], axis=1), rotvecs + noise


@pytest.mark.parametrize("late_s", [-0.2, 0.0, 0.013, 0.04])
def test_a_known_offset_is_found(late_s) -> None:
    found = estimate_offset(*turned(SECONDS, late_s), poses_at)
    assert found.seconds == pytest.approx(-late_s, abs=5e-4)
    assert found.correlation > 0.999


def test_the_uncertainty_covers_the_error_and_grows_with_noise() -> None:
    sigmas = []
    for noise_rad in (0.002, 0.01):
        found = estimate_offset(*turned(SECONDS, 0.04, noise_rad), poses_at)
        assert abs(found.seconds + 0.04) < 4 * found.sigma_s
        sigmas.append(found.sigma_s)
    assert 0.0 < sigmas[0] < sigmas[1] < 0.02


def test_some_wild_pairs_do_not_move_the_offset() -> None:
    pairs, rotvecs = turned(SECONDS, 0.04)
    rotvecs[::9] = (1.0, -2.0, 0.5)
    assert estimate_offset(pairs, rotvecs, poses_at).seconds == pytest.approx(-0.04, abs=5e-3)


def test_no_offset_is_told_where_nothing_agrees() -> None:
    pairs, rotvecs = turned(SECONDS, 0.0)
    with pytest.raises(DatasetError, match="agrees with the pose source's at no offset"):
        estimate_offset(pairs, np.random.default_rng(0).normal(size=rotvecs.shape), poses_at)
    with pytest.raises(DatasetError, match="10 pairs"):
        estimate_offset(pairs[:10], rotvecs[:10], poses_at)


def test_an_injected_offset_is_found_from_images(tmp_path) -> None:
    drive = Drive(SECONDS, pose_seconds=POSE_SECONDS)
    found = []
    for late_s in (0.0, 0.04):
        bag = write_bag(tmp_path / f"bag{late_s}", replace(drive, late_s=late_s).events("tf"))
        options = BagOptions(pose=f"tf:map->{OPTICAL}", estimate_offset=True)
        _, (report,) = import_bags({bag: "train"}, tmp_path / f"data{late_s}", options)
        assert report.offset is not None
        found.append(report.offset.seconds)
        positions = Dataset.load(tmp_path / f"data{late_s}").positions
        truth = np.array([T_map_cam_at(t)[:3, 3] for t in SECONDS])
        assert np.linalg.norm(positions - truth, axis=1).max() < 3e-3
    assert found[0] - found[1] == pytest.approx(0.04, abs=5e-3)
    assert found[0] == pytest.approx(0.0, abs=5e-3)


def test_an_offset_takes_intrinsics(tmp_path, capsys) -> None:
    bag = write_bag(tmp_path / "bag", Drive(SECONDS[:40], camera=None).events("pose"))
    command = ["import", "bag", str(bag), "--pose", "/pose", "--estimate-offset"]
    assert main([*command, "-o", str(tmp_path / "data")]) == 1
    assert "--intrinsics" in capsys.readouterr().err


def selected(selection: Selection, positions, quats=None, sharpnesses=None):
    left_out: dict[str, int] = {}
    positions = np.asarray(positions, dtype=float)
    quats = np.tile((0.0, 0.0, 0.0, 1.0), (len(positions), 1)) if quats is None else quats
    chosen = select(selection, positions, quats, sharpnesses, left_out)
    assert sum(left_out.values()) == len(positions) - len(chosen)
    return chosen.tolist(), left_out


def test_selection_by_motion_keeps_what_moved_or_turned() -> None:
    line = [(0.1 * index, 0.0, 0.0) for index in range(10)]
    chosen, left_out = selected(Selection(min_translation_m=0.29), line)
    assert chosen == [0, 3, 6, 9]
    assert left_out == {"hardly moved since the frame before": 6}
    turns = Rotation.from_rotvec(np.outer(np.arange(10) * 10.0, (0, 0, 1)), degrees=True).as_quat()
    on_the_spot = np.zeros((10, 3))
    both = Selection(min_translation_m=0.29, min_rotation_deg=25.0)
    assert selected(both, on_the_spot, turns)[0] == [0, 3, 6, 9]
    assert selected(Selection(min_translation_m=0.29), on_the_spot, turns)[0] == [0]
    assert selected(Selection(), on_the_spot)[0] == list(range(10))


def test_selection_by_blur_compares_with_the_neighbours() -> None:
    values = np.array([100.0] * 10 + [10.0] * 10)  # a wall: less texture, not less sharp
    values[4], values[15] = 30.0, 3.0
    chosen, left_out = selected(Selection(min_sharpness=0.5), np.zeros((20, 3)), None, values)
    assert set(range(20)) - set(chosen) >= {4, 15}
    assert 4 not in chosen and 15 not in chosen and left_out["blurred"] <= 5
    pixels = np.random.default_rng(0).integers(0, 255, (96, 128), dtype=np.uint8)
    assert sharpness(cv2.GaussianBlur(pixels, (7, 7), 2.0)) < 0.1 * sharpness(pixels)


def test_selection_by_a_maximum_is_even() -> None:
    chosen, left_out = selected(Selection(max_frames=4), np.zeros((10, 3)))
    assert chosen == [0, 3, 6, 9]
    assert left_out == {"more than --max-frames": 6}


def test_selection_on_the_command_line(tmp_path, capsys) -> None:
    bag = write_bag(tmp_path / "bag", Drive(SECONDS[:30]).events("pose"))
    command = ["import", "bag", str(bag), "--pose", "/pose", "-o", str(tmp_path / "data")]
    limits = ["--min-translation", "0.1", "--min-sharpness", "0.01", "--max-frames", "4"]
    assert main([*command, *limits]) == 0
    told = capsys.readouterr().out
    assert "(hardly moved since the frame before)" in told and "(more than --max-frames)" in told
    frames = Dataset.load(tmp_path / "data").frames
    assert len(frames) == 4
    assert len(list((tmp_path / "data" / "images").rglob("*.png"))) == 4
    assert [frame.stamp_ns for frame in frames] == sorted(frame.stamp_ns for frame in frames)


def test_poses_are_sorted_and_of_two_at_one_time_the_last_holds() -> None:
    samples = PoseSamples()
    for stamp, x in ((5, 1.0), (3, 2.0), (5, 3.0), (4, 4.0)):
        samples.add(stamp, (x, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    track = samples.trajectory()
    assert track.stamps_ns.tolist() == [3, 4, 5]
    assert track.positions[:, 0].tolist() == [2.0, 4.0, 3.0]


def test_a_chain_goes_up_and_down_the_tree_and_keeps_nothing_else() -> None:
    tree = FrameTree([("camera", "arm")])
    still = (0.0, 0.0, 0.0, 1.0)
    tree.add(("odom", "base"), 0, (9.0, 9.0, 9.0), still, static=False)
    tree.add(("base", "camera"), 0, (1.0, 0.0, 0.0), (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)), True)
    tree.add(("base", "arm"), 0, (0.0, 0.0, 0.0), still, static=False)
    tree.add(("base", "arm"), 100, (0.0, 2.0, 0.0), still, static=False)
    for stamp in range(1000):
        tree.add(("odom", "base"), stamp, (9.0, 9.0, 9.0), still, static=False)
    assert ("odom", "base") not in tree._moving
    found, known = tree.at("camera", "arm", np.array([50, 101]), 1.0)
    assert known.tolist() == [True, False]
    # The arm is at (0, 1) in the base's frame; the camera at (1, 0), turned by 90 degrees.
    np.testing.assert_allclose(found[0, :3, 3], (1.0, 1.0, 0.0), atol=1e-12)


def test_a_shorter_way_that_appears_once_at_the_end_is_not_taken() -> None:
    tree = FrameTree([("map", "base")])
    still = (0.0, 0.0, 0.0, 1.0)
    for stamp in range(20):
        tree.add(("map", "odom"), stamp, (1.0, 0.0, 0.0), still, static=False)
        tree.add(("odom", "base"), stamp, (0.0, 0.1 * stamp, 0.0), still, static=False)
    tree.add(("map", "base"), 19, (7.0, 7.0, 7.0), still, static=False)
    found, known = tree.at("map", "base", np.array([5]), 1.0)
    assert known.all()
    np.testing.assert_allclose(found[0, :3, 3], (1.0, 0.5, 0.0), atol=1e-12)


def images(dataset: Dataset, late_ns: int):
    for frame in dataset.frames:
        stamp_ns = frame.stamp_ns + late_ns
        header = build.header_message(stamp_ns, OPTICAL)
        info = build.camera_info_message(header, dataset.camera_of(frame))
        yield stamp_ns, "/cam/camera_info", CAMERA_INFO, info
        image = build.compressed_message(header, frame.image.read_bytes(), "jpeg")
        yield stamp_ns, "/cam/image_raw/compressed", COMPRESSED_IMAGE, image


def transform(stamp_ns: int, parent: str, child: str, T: np.ndarray):
    header = build.header_message(stamp_ns, parent)
    return build.tf_message([build.transform_message(header, child, T[:3, 3], quat_of(T))])


def tf_chain(dataset: Dataset):
    """map -> odom drifts, odom -> base has the rest, base -> camera is static."""
    start_ns = dataset.frames[0].stamp_ns
    static = transform(start_ns, "base", OPTICAL, T_BASE_CAM)
    yield start_ns, "/tf_static", TF_MESSAGE, static
    for frame, T_map_cam in zip(dataset.frames, dataset.T_map_cam, strict=True):
        seconds = (frame.stamp_ns - start_ns) * 1e-9
        drift = Rotation.from_euler("z", 0.3 + 0.01 * seconds).as_quat()
        T_map_odom = transform_from_pose((1.0, -0.02 * seconds, 0.1), drift)
        T_odom_base = invert_transform(T_map_odom) @ T_map_cam @ invert_transform(T_BASE_CAM)
        for parent, child, T in (("map", "odom", T_map_odom), ("odom", "base", T_odom_base)):
            yield frame.stamp_ns, "/tf", TF_MESSAGE, transform(frame.stamp_ns, parent, child, T)


def odometry(recording: Path, first_ns: int, last_ns: int):
    track = read_trajectory(recording / "groundtruth.txt", [])
    bodies = transform_from_pose(track.positions, track.quats_xyzw) @ invert_transform(T_BASE_CAM)
    for stamp_ns, T in zip(track.stamps_ns.tolist(), bodies, strict=True):
        if first_ns - 10**9 < stamp_ns < last_ns + 10**9:
            header = build.header_message(stamp_ns, "world")
            quat = quat_xyzw_from_rotation(T[:3, :3])
            message = build.odometry_message(header, "base", T[:3, 3], quat)
            yield stamp_ns, "/odom", ODOMETRY, message


def first_frames(scene: str) -> Dataset:
    """The first 100 frames of a recording, as the direct import reads them."""
    kind, camera = {
        "redkitchen": ("7scenes", CameraModel(640, 480, 525.0, 525.0, 320.0, 240.0)),
        "tum_fr1_rpy": (
            "tum",
            CameraModel(
                *(640, 480, 517.3, 516.5, 318.6, 255.3, "plumb_bob"),
                distortion=(0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
            ),
        ),
    }[scene]
    frames = READERS[kind](DATA / scene, ImportOptions(scene=scene)).frames[:100]
    frames = tuple(replace(frame, camera="camera") for frame in frames)
    return Dataset(scene, DATA, frames, {"camera": camera}, (scene,))


@pytest.mark.skipif(not DATA.is_dir(), reason="the real recordings (../shared/data) are not here")
@pytest.mark.parametrize("scene", ["redkitchen", "tum_fr1_rpy"])
def test_real_recordings_come_back_from_bags(tmp_path, scene) -> None:
    direct = first_frames(scene)
    stamps = direct.stamps_ns
    if scene == "redkitchen":
        truth = list(tf_chain(direct))
        options = BagOptions(pose=f"tf:map->{OPTICAL}")
        storage, compression, files = "mcap", "file", 1
    else:
        truth = list(odometry(DATA / scene, int(stamps[0]), int(stamps[-1])))
        extrinsic = "0.2,0.03,0.4,-0.5,0.5,-0.5,0.5"
        options = BagOptions(pose="/odom", extrinsic=extrinsic, max_gap_s=0.05)
        storage, compression, files = "sqlite3", "none", 3
    found = []
    for late_ns in (0, 40_000_000):
        bag = tmp_path / f"bag{late_ns}"
        events = sorted([*images(direct, late_ns), *truth], key=lambda event: event[0])
        with BagWriter(bag, storage, compression) as writer:
            for number, (stamp_ns, topic, kind, message) in enumerate(events):
                if number and number % -(-len(events) // files) == 0:
                    writer.next_file()
                writer.put(topic, kind, stamp_ns, message)
        output = tmp_path / f"data{late_ns}"
        estimating = replace(options, estimate_offset=True)
        _, (report,) = import_bags({bag: "train"}, output, estimating)
        assert report.offset is not None
        found.append(report.offset.seconds)
    import_bags({tmp_path / "bag0": "train"}, tmp_path / "plain", options)
    bagged = Dataset.load(tmp_path / "plain")
    assert bagged.stamps_ns.tolist() == stamps.tolist()
    assert bagged.cameras["camera"] == direct.cameras["camera"]
    away_m = np.linalg.norm(bagged.positions - direct.positions, axis=1)
    away_deg = np.degrees(rotation_angle_rad(bagged.quats_xyzw, direct.quats_xyzw))
    assert away_m.max() < 1e-3 and away_deg.max() < 0.05
    assert found[0] - found[1] == pytest.approx(0.04, abs=5e-3)
