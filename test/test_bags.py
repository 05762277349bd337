"""Bags: what is written in either storage is read back, and time only goes forward."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mspr_ros.bags import (
    CAMERA_INFO,
    IMAGE,
    SHIFT_KEY,
    Bag,
    BagTopic,
    find_topic,
    increasing_stamps,
    write_dataset_bag,
)
from mspr_ros.camera import CameraModel
from mspr_ros.cli.main import main
from mspr_ros.data.dataset import Dataset, Frame, write_dataset
from mspr_ros.errors import DatasetError, ImageError

CAMERAS = {
    "kinect": CameraModel(64, 48, 50.0, 51.0, 31.5, 23.5),
    "phone": CameraModel(32, 24, 30.0, 30.0, 15.5, 11.5, "plumb_bob", (0.1, 0.2, 0.0, 0.0, 0.3)),
}


def make_dataset(folder: Path, suffix: str = ".png") -> Dataset:
    """Two scenes with a camera each, whose stamps overlap."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    frames = []
    for scene, camera in (("kitchen", "kinect"), ("office", "phone")):
        for index in range(3):
            model = CAMERAS[camera]
            path = folder / f"{scene}{index}{suffix}"
            pixels = rng.integers(0, 255, (model.height, model.width, 3), dtype=np.uint8)
            cv2.imwrite(str(path), pixels)
            frames.append(
                Frame(
                    scene=scene,
                    split="test",
                    sequence="one",
                    stamp_ns=1_000_000_000 + 40_000_000 * index,
                    camera=camera,
                    image=path,
                    position=(index * 1.0, 2.0, 3.0),
                    quat_xyzw=(0.0, 0.0, 0.6, 0.8),
                )
            )
    return Dataset(
        name="two rooms",
        root=folder,
        frames=tuple(frames),
        cameras=CAMERAS,
        scenes=("kitchen", "office"),
        splits=("test",),
    )


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("image_format", ["raw", "compressed"])
def test_what_is_written_is_read_back(tmp_path: Path, storage: str, image_format: str) -> None:
    dataset = make_dataset(tmp_path / "data")
    summary = write_dataset_bag(dataset, tmp_path / "bag", storage, image_format)
    assert summary.frames == {"kitchen": 3, "office": 3}
    with Bag(tmp_path / "bag") as bag:
        assert {topic.count for topic in bag.topics} == {6}
        assert bag.custom_data[SHIFT_KEY + "kitchen/one"] == "0"
        shift_ns = int(bag.custom_data[SHIFT_KEY + "office/one"])
        topic = "/image" if image_format == "raw" else "/image/compressed"
        images = [message.deserialize() for message in bag.messages([topic])]
        infos = [message.deserialize() for message in bag.messages(["/camera_info"])]
        poses = [message.deserialize() for message in bag.messages(["/ground_truth/pose"])]
        scenes = [message.deserialize().data for message in bag.messages(["/ground_truth/scene"])]
        order = [message.topic for message in bag.messages()]
    assert scenes == ["kitchen"] * 3 + ["office"] * 3
    assert order.index("/camera_info") < order.index(topic)
    shifts = [0] * 3 + [shift_ns] * 3
    for frame, shift, image, info, pose in zip(
        dataset.frames, shifts, images, infos, poses, strict=True
    ):
        camera = CAMERAS[frame.camera]
        stamps = {m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in (image, info, pose)}
        assert stamps == {frame.stamp_ns + shift}
        assert image.header.frame_id == info.header.frame_id == f"{frame.camera}_optical"
        assert (info.width, info.height) == (camera.width, camera.height)
        np.testing.assert_array_equal(info.k.reshape(3, 3), camera.K)
        np.testing.assert_array_equal(info.d, camera.distortion or np.zeros(5))
        position = pose.pose.position
        assert (position.x, position.y, position.z) == frame.position
        expected = cv2.imread(str(frame.image))
        if image_format == "raw":
            pixels = image.data.reshape(image.height, image.width, 3)[..., ::-1]
        else:
            pixels = cv2.imdecode(image.data, cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(pixels, expected)


def test_stamps_increase_over_all_scenes_and_the_first_is_not_shifted(tmp_path: Path) -> None:
    frames = make_dataset(tmp_path / "data").frames
    stamps, shifts = increasing_stamps(frames)
    assert stamps[:3] == [frame.stamp_ns for frame in frames[:3]]
    assert all(later > earlier for earlier, later in itertools.pairwise(stamps))
    assert stamps[3] == frames[3].stamp_ns + shifts["office/one"]


def test_stamps_that_go_back_within_a_sequence_are_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    frames = (dataset.frames[1], dataset.frames[0])
    with pytest.raises(DatasetError, match=r"do not increase at kitchen0.png"):
        write_dataset_bag(replace(dataset, frames=frames), tmp_path / "bag")
    assert not list(tmp_path.glob("bag*"))


def test_an_unreadable_image_leaves_nothing_behind(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    dataset.frames[4].image.write_bytes(b"no image")
    with pytest.raises(ImageError, match="office1"):
        write_dataset_bag(dataset, tmp_path / "bag")
    assert not list(tmp_path.glob("bag*"))


def test_an_existing_bag_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    with pytest.raises(DatasetError, match="exists"):
        write_dataset_bag(make_dataset(tmp_path / "data"), tmp_path / "bag")


@pytest.mark.parametrize("content", [None, "", "rosbag2_bagfile_information: 7\n"])
def test_a_folder_that_is_no_bag_is_refused_in_one_line(
    tmp_path: Path, content: str | None
) -> None:
    folder = tmp_path / "bag"
    folder.mkdir()
    if content is not None:
        (folder / "metadata.yaml").write_text(content)
    with pytest.raises(DatasetError) as error, Bag(folder):
        pass
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_image_topic_is_found_or_must_be_chosen() -> None:
    topics = [BagTopic("/a", IMAGE, 3), BagTopic("/b", CAMERA_INFO, 3), BagTopic("/c", IMAGE, 0)]
    assert find_topic(topics, [IMAGE]) == "/a"
    both = [*topics, BagTopic("/d", IMAGE, 1)]
    with pytest.raises(DatasetError, match="/a, /d"):
        find_topic(both, [IMAGE])
    assert find_topic(both, [IMAGE], "/d") == "/d"
    with pytest.raises(DatasetError, match="no topic /b"):
        find_topic(both, [IMAGE], "/b")


def test_make_bag_writes_the_split_asked_for(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "images")
    frames = (*dataset.frames[:3], *(replace(f, split="train") for f in dataset.frames[3:]))
    write_dataset(
        tmp_path / "data",
        name="two",
        frames=frames,
        cameras=CAMERAS,
        scenes=dataset.scenes,
    )
    bag = tmp_path / "bag"
    command = ["make-bag", str(tmp_path / "data"), "--split", "test", "-o", str(bag)]
    assert main([*command, "--storage", "sqlite3"]) == 0
    with Bag(bag) as read:
        scenes = [message.deserialize().data for message in read.messages(["/ground_truth/scene"])]
    assert scenes == ["kitchen"] * 3
    assert main(command) == 1  # it exists now
