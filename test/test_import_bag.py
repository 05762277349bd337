"""Bags become datasets: every storage, every source of poses, every kind of image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_support import (
    BASE,
    CAMERA,
    IMAGES,
    MAP,
    OPTICAL,
    T_BASE_CAM,
    Drive,
    T_map_cam_at,
    ns,
    write_bag,
    write_ros1_bag,
)
from rosbags.rosbag1 import Writer as Ros1Writer

from mspr_ros.bags import IMAGE, POSE_TOPIC, TF_MESSAGE, TYPES, write_dataset_bag
from mspr_ros.bags import messages as build
from mspr_ros.bags.images import ENCODINGS, rgb_from_message
from mspr_ros.bags.types import CAMERA_INFO
from mspr_ros.camera import CameraModel
from mspr_ros.cli.main import main
from mspr_ros.data.camera_info import camera_from_info, is_rectified_topic
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.images import read_image
from mspr_ros.errors import ImageError

TIMES = [0.1 * index for index in range(12)]
POSE_TIMES = [0.02 * index - 0.1 for index in range(70)]
NUMBERS = "0.2,0.03,0.4,-0.5,0.5,-0.5,0.5"
SOURCES = {
    "tf": ["--pose", f"tf:{MAP}->{OPTICAL}"],
    "odometry": ["--pose", "/odom", "--extrinsic", NUMBERS],
    "pose": ["--pose", "/pose"],
    "pose_with_covariance": ["--pose", "/pose"],
    "transform": ["--pose", "/pose"],
    "path": ["--pose", "/pose"],
}


def plain(seconds: float) -> np.ndarray:
    """A picture that can be told by its colour."""
    pixels = np.full((CAMERA.height, CAMERA.width, 3), 40, dtype=np.uint8)
    pixels[: round(30 * seconds) + 1, :, 0] = 200
    return pixels


def drive(**changes) -> Drive:
    return replace(Drive(TIMES, pose_seconds=POSE_TIMES, pictures=plain), **changes)


def run(bag: Path, output: Path, *options: str) -> int:
    return main(["import", "bag", str(bag), *options, "-o", str(output)])


def assert_poses_are_true(dataset: Dataset, times=TIMES, late_s: float = 0.0) -> None:
    assert [frame.stamp_ns for frame in dataset.frames] == [ns(time + late_s) for time in times]
    truth = np.array([T_map_cam_at(time) for time in times])
    np.testing.assert_allclose(dataset.T_map_cam[:, :3, 3], truth[:, :3, 3], atol=1e-3)
    np.testing.assert_allclose(dataset.T_map_cam[:, :3, :3], truth[:, :3, :3], atol=8e-4)


@pytest.mark.parametrize(
    ("storage", "compression", "files"),
    [
        ("mcap", "none", 1),
        ("mcap", "chunk", 1),
        ("mcap", "file", 1),
        ("mcap", "message", 2),
        ("sqlite3", "none", 3),
        ("sqlite3", "file", 2),
        ("sqlite3", "message", 1),
    ],
)
def test_every_storage_gives_the_same_dataset(tmp_path, storage, compression, files) -> None:
    bag = write_bag(tmp_path / "bag", drive().events("tf"), storage, compression, files)
    assert run(bag, tmp_path / "data", *SOURCES["tf"], "--scene", "hall") == 0
    dataset = Dataset.load(tmp_path / "data")
    assert_poses_are_true(dataset)
    assert {(frame.scene, frame.sequence) for frame in dataset.frames} == {("hall", "bag")}
    assert dataset.cameras == {"camera": CAMERA}
    for frame, seconds in zip(dataset.frames, TIMES, strict=True):
        np.testing.assert_array_equal(read_image(frame.image), plain(seconds))


@pytest.mark.parametrize("truth", SOURCES)
def test_every_source_of_poses_gives_the_truth(tmp_path, truth) -> None:
    bag = write_bag(tmp_path / "bag", drive().events(truth))
    assert run(bag, tmp_path / "data", *SOURCES[truth]) == 0
    assert_poses_are_true(Dataset.load(tmp_path / "data"))


@pytest.mark.parametrize("truth", ["tf", "odometry", "pose", "path"])
@pytest.mark.parametrize("compression", [None, Ros1Writer.CompressionFormat.LZ4])
def test_bags_of_ros_1(tmp_path, truth, compression) -> None:
    bag = write_ros1_bag(tmp_path / "drive.bag", drive().events(truth), compression)
    assert run(bag, tmp_path / "data", *SOURCES[truth]) == 0
    dataset = Dataset.load(tmp_path / "data")
    assert_poses_are_true(dataset)
    assert dataset.cameras == {"camera": CAMERA}
    assert dataset.frames[0].sequence == "drive"


def test_an_extrinsic_may_come_from_tf(tmp_path) -> None:
    events = drive().events("odometry")
    events += [event for event in drive(seconds=[]).events("tf") if event[1] == "/tf_static"]
    bag = write_bag(tmp_path / "bag", sorted(events, key=lambda event: event[0]))
    extrinsic = ["--pose", "/odom", "--extrinsic", f"tf:{BASE}->{OPTICAL}"]
    assert run(bag, tmp_path / "data", *extrinsic) == 0
    assert_poses_are_true(Dataset.load(tmp_path / "data"))


def test_poses_of_another_body_are_not_taken_for_the_cameras(tmp_path, capsys) -> None:
    bag = write_bag(tmp_path / "bag", drive().events("odometry"))
    assert run(bag, tmp_path / "data", "--pose", "/odom") == 1
    assert "--extrinsic 'tf:base_link->camera_optical'" in capsys.readouterr().err
    wrong = ["--pose", "/odom", "--extrinsic", "tf:chassis->camera_optical"]
    assert run(bag, tmp_path / "data", *wrong) == 1
    assert "/tf" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_compressed_images_stay_as_they_are(tmp_path) -> None:
    bag = write_bag(tmp_path / "bag", drive(compressed=True).events("pose"))
    assert run(bag, tmp_path / "data", *SOURCES["pose"]) == 0
    dataset = Dataset.load(tmp_path / "data")
    encoded = cv2.imencode(".jpg", plain(TIMES[3])[..., ::-1])[1].tobytes()
    assert dataset.frames[3].image.read_bytes() == encoded
    assert dataset.cameras == {"camera": CAMERA}


def test_raw_images_as_jpeg_if_asked_for(tmp_path) -> None:
    bag = write_bag(tmp_path / "bag", drive().events("pose"))
    assert run(bag, tmp_path / "data", *SOURCES["pose"], "--jpeg-quality", "90") == 0
    dataset = Dataset.load(tmp_path / "data")
    assert {frame.image.suffix for frame in dataset.frames} == {".jpg"}
    assert np.abs(read_image(dataset.frames[3].image).astype(int) - plain(TIMES[3])).mean() < 3


def test_no_pose_across_a_gap(tmp_path, capsys) -> None:
    holed = [time for time in POSE_TIMES if not 0.35 < time < 0.65]
    bag = write_bag(tmp_path / "bag", drive(pose_seconds=holed).events("tf"))
    assert run(bag, tmp_path / "data", *SOURCES["tf"]) == 0
    kept = [time for time in TIMES if not 0.35 < time < 0.65]
    assert_poses_are_true(Dataset.load(tmp_path / "data"), kept)
    assert "left out: 3 (no poses around the image within 0.1 s)" in capsys.readouterr().out
    assert run(bag, tmp_path / "wide", *SOURCES["tf"], "--max-gap", "0.5") == 0
    assert len(Dataset.load(tmp_path / "wide")) == len(TIMES)


def test_an_offset_moves_the_poses_and_not_the_stamps(tmp_path) -> None:
    bag = write_bag(tmp_path / "bag", drive(late_s=0.04).events("tf"))
    assert run(bag, tmp_path / "data", *SOURCES["tf"], "--offset", "-0.04") == 0
    assert_poses_are_true(Dataset.load(tmp_path / "data"), late_s=0.04)


def test_repeated_transforms_count_as_static_where_others_move(tmp_path) -> None:
    """Nodes of ROS 1 send static transforms over and over on /tf, here only twice a second."""
    events = [event for event in drive().events("tf") if event[1] != "/tf_static"]
    quat = (-0.5, 0.5, -0.5, 0.5)
    for seconds in (0.0, 0.5, 1.0):
        header = build.header_message(ns(seconds), BASE)
        stamped = build.transform_message(header, OPTICAL, T_BASE_CAM[:3, 3], quat)
        events.append((ns(seconds), "/tf", TF_MESSAGE, build.tf_message([stamped])))
    bag = write_bag(tmp_path / "bag", sorted(events, key=lambda event: event[0]))
    assert run(bag, tmp_path / "data", *SOURCES["tf"]) == 0
    assert_poses_are_true(Dataset.load(tmp_path / "data"))


def test_splits_by_bag(tmp_path) -> None:
    names = ("monday", "tuesday", "wednesday")
    bags = [write_bag(tmp_path / name, drive().events("pose")) for name in names]
    options = ["--val-bag", str(bags[1]), "--test-bag", str(bags[2]), "--scene", "yard"]
    assert run(bags[0], tmp_path / "data", *SOURCES["pose"], *options) == 0
    dataset = Dataset.load(tmp_path / "data")
    splits = {frame.sequence: frame.split for frame in dataset.frames}
    assert splits == {"monday": "train", "tuesday": "val", "wednesday": "test"}
    for split in ("train", "val", "test"):
        assert_poses_are_true(dataset.select(split=split))


def test_splits_by_guarded_blocks(tmp_path) -> None:
    times = [0.02 * index for index in range(80)]
    bag = write_bag(tmp_path / "bag", drive(seconds=times, pose_seconds=times).events("pose"))
    report = tmp_path / "report.json"
    cut = ["--test-fraction", "0.2", "--test-blocks", "1", "--json", str(report)]
    assert run(bag, tmp_path / "data", *SOURCES["pose"], *cut) == 0
    dataset = Dataset.load(tmp_path / "data")
    counts = {split: len(dataset.select(split=split)) for split in ("train", "test")}
    assert counts == {"train": 44, "test": 16}
    images = list((tmp_path / "data" / "images").rglob("*.png"))
    assert len(images) == 60, "the images of guards are not written"
    told = json.loads(report.read_text())
    assert told["left_out"] == [{"reason": "guards around test blocks", "count": 20}]
    assert told["bags"][0]["frames"] == 60


def test_options_of_bags_are_refused_elsewhere(tmp_path, capsys) -> None:
    command = ["import", "tum", str(tmp_path), "-o", str(tmp_path / "data"), "--max-frames", "3"]
    assert main(command) == 1
    assert "--max-frames is for the format bag, not for tum" in capsys.readouterr().err


def test_a_bag_made_of_a_dataset_becomes_that_dataset(tmp_path) -> None:
    bag = write_bag(tmp_path / "bag", drive().events("pose"))
    assert run(bag, tmp_path / "first", *SOURCES["pose"], "--scene", "hall") == 0
    first = Dataset.load(tmp_path / "first")
    write_dataset_bag(first, tmp_path / "again", "sqlite3")
    truth = ["--pose", POSE_TOPIC, "--scene", "hall"]
    assert run(tmp_path / "again", tmp_path / "second", *truth) == 0
    second = Dataset.load(tmp_path / "second")
    assert second.stamps_ns.tolist() == first.stamps_ns.tolist()
    np.testing.assert_allclose(second.T_map_cam, first.T_map_cam, atol=1e-12)
    assert second.cameras == first.cameras


def raw_message(encoding: str, values: np.ndarray, width: int, height: int, pad: int, big=False):
    rows = values.reshape(values.shape[0], -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, pad)))
    return TYPES.types[IMAGE](
        header=build.header_message(ns(0.0), OPTICAL),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(big),
        step=padded.shape[1],
        data=padded.reshape(-1),
    )


@pytest.mark.parametrize("pad", [0, 6])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_shows_the_colour(encoding, pad) -> None:
    """A picture of one colour, encoded by hand, comes back as that colour."""
    red, green, blue = 200, 120, 40
    grey = round(0.299 * red + 0.587 * green + 0.114 * blue)
    width, height, kind = 16, 12, ENCODINGS[encoding]
    pixels = np.full((height, width, 3), (red, green, blue), dtype=np.uint8)
    expected, tolerance = pixels, 0
    if encoding.startswith("bayer"):
        names = np.array(list(encoding[6:10])).reshape(2, 2)
        colours = np.vectorize({"r": red, "g": green, "b": blue}.get)(names)
        values = np.tile(colours, (height // 2, width // 2)).astype(np.uint8)
    elif encoding in ("mono8", "mono16", "8UC1"):
        values, expected = np.full((height, width), grey, np.uint8), np.full_like(pixels, grey)
    elif kind.to_rgb is not None and ("uv" in encoding or "nv" in encoding or "uy" in encoding):
        y = round(16 + 0.257 * red + 0.504 * green + 0.098 * blue)
        u = round(128 - 0.148 * red - 0.291 * green + 0.439 * blue)
        v = round(128 + 0.439 * red - 0.368 * green - 0.071 * blue)
        tolerance = 3
        if encoding.startswith("nv"):
            pair = (u, v) if encoding == "nv12" else (v, u)
            chroma = np.tile(np.array(pair, np.uint8), (height // 2, width // 2))
            values = np.vstack([np.full((height, width), y, np.uint8), chroma])
        else:
            order = (y, u, y, v) if encoding in ("yuv422_yuy2", "yuyv") else (u, y, v, y)
            values = np.tile(np.array(order, np.uint8), (height, width // 2))
    else:
        order = [2, 1, 0] if "bgr" in encoding or encoding.startswith("8UC") else [0, 1, 2]
        values = pixels[..., order]
        if kind.channels == 4:
            values = np.dstack([values, np.full((height, width), 255, np.uint8)])
    if kind.bits == 16:
        values = values.astype(np.uint16) * 257
    found = rgb_from_message(
        raw_message(encoding, np.ascontiguousarray(values), width, height, pad)
    )
    assert found.shape == (height, width, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= tolerance
    if kind.bits == 16:
        swapped = np.ascontiguousarray(values.astype(">u2"))
        found = rgb_from_message(raw_message(encoding, swapped, width, height, pad, big=True))
        assert np.abs(found.astype(int) - expected).max() <= tolerance


def test_images_that_cannot_be_shown_are_refused() -> None:
    depth = raw_message("32FC1", np.zeros((4, 4), np.float32), 4, 4, 0)
    with pytest.raises(ImageError, match="'32FC1' is not a colour or grey image"):
        rgb_from_message(depth)
    short = raw_message("rgb8", np.zeros((4, 4, 3), np.uint8), 4, 5, 0)
    with pytest.raises(ImageError, match="needs a step"):
        rgb_from_message(short)


def test_cameras_of_camera_info() -> None:
    lens = CameraModel(
        640, 480, 500.0, 510.0, 320.0, 240.0, "plumb_bob", (0.1, 0.2, 0.0, 0.0, 0.3)
    )
    info = build.camera_info_message(build.header_message(ns(0.0), OPTICAL), lens)
    assert camera_from_info(info, rectified=False) == lens
    info.p[:] = [450.0, 0.0, 310.0, 0.0, 0.0, 460.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    rectified = CameraModel(640, 480, 450.0, 460.0, 310.0, 230.0)
    assert camera_from_info(info, rectified=True) == rectified
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 40, 400, 300
    info.binning_x = info.binning_y = 2
    cut = camera_from_info(info, rectified=False)
    assert cut is not None
    assert (cut.width, cut.height, cut.fx, cut.fy) == (200, 150, 250.0, 255.0)
    # The centre of the pixel at (220, 200) of the region is at half of (220.5, 200.5), less half.
    assert (cut.cx, cut.cy) == (109.75, 99.75)
    info.k[:] = 0.0
    assert camera_from_info(info, rectified=False) is None


def test_rectified_topics_have_no_distortion(tmp_path) -> None:
    lens = replace(CAMERA, distortion_model="plumb_bob", distortion=(0.1, 0.0, 0.0, 0.0, 0.0))
    for topic, expected in (("/camera/image_rect", CAMERA), (IMAGES, lens)):
        events = drive(camera=lens, image_topic=topic).events("pose")
        assert any(kind == CAMERA_INFO for _, _, kind, _ in events)
        bag = write_bag(tmp_path / f"bag{topic[-4:]}", events)
        assert run(bag, tmp_path / f"data{topic[-4:]}", *SOURCES["pose"]) == 0
        assert Dataset.load(tmp_path / f"data{topic[-4:]}").cameras == {"camera": expected}
    assert is_rectified_topic("/left/image_rect_color/compressed")
    assert not is_rectified_topic("/direct/image_raw")


def test_a_bag_without_camera_info_takes_the_users_or_none(tmp_path, capsys) -> None:
    bag = write_bag(tmp_path / "bag", drive(camera=None).events("pose"))
    assert run(bag, tmp_path / "none", *SOURCES["pose"]) == 0
    assert "no usable camera_info" in capsys.readouterr().out
    assert not Dataset.load(tmp_path / "none").cameras
    given = ["--intrinsics", "60,60,31.5,23.5"]
    assert run(bag, tmp_path / "given", *SOURCES["pose"], *given) == 0
    assert Dataset.load(tmp_path / "given").cameras == {"camera": CAMERA}
