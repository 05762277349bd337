"""Broken bags: a clear error in one line, or the good part with a count; never half a dataset."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from bag_support import (
    CAMERA,
    IMAGES,
    OPTICAL,
    Drive,
    T_map_cam_at,
    ns,
    write_bag,
    write_ros1_bag,
)
from rosbags.rosbag1 import Writer as Ros1Writer

from mspr_ros.bags import Bag
from mspr_ros.cli.main import main
from mspr_ros.data.dataset import Dataset
from mspr_ros.errors import DatasetError

TIMES = [0.1 * index for index in range(30)]
RNG = np.random.default_rng(0)


def noise(seconds: float) -> np.ndarray:
    """A picture that does not compress, so that a cut takes frames off."""
    return RNG.integers(0, 255, (CAMERA.height, CAMERA.width, 3), dtype=np.uint8)


def events(truth: str = "pose", times=TIMES, **changes):
    return Drive(times, pictures=noise, **changes).events(truth)


def run(bag: Path, output: Path, *options: str) -> int:
    options = options or ("--pose", "/pose")
    return main(["import", "bag", str(bag), *options, "-o", str(output)])


def assert_refused_in_one_line(bag: Path, tmp_path: Path, capsys, expected: str, *options) -> None:
    assert run(bag, tmp_path / "data", *options) == 1
    error = capsys.readouterr().err
    assert re.search(expected, error), error
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    assert not list(tmp_path.glob("*data*")), "nothing is left behind"


def assert_good_part(folder: Path, at_least: int, below: int) -> None:
    dataset = Dataset.load(folder)
    assert at_least <= len(dataset) < below
    by_stamp = {ns(seconds): T_map_cam_at(seconds) for seconds in TIMES}
    truth = np.array([by_stamp[frame.stamp_ns] for frame in dataset.frames])
    np.testing.assert_allclose(dataset.T_map_cam, truth, atol=1e-3)


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", ["none", "file", "message", "chunk"])
def test_a_bag_cut_off_in_the_middle_gives_its_first_part(
    tmp_path, storage, compression, capsys
) -> None:
    if (storage, compression) == ("sqlite3", "chunk"):
        pytest.skip("sqlite3 has no chunks")
    bag = write_bag(tmp_path / "bag", events(), storage, compression, files=2)
    (last,) = bag.glob("bag_1.*")
    cut(last, 0.6)
    assert run(bag, tmp_path / "data") == 0
    # A chunk that is cut is lost whole; the first of two files is whole.
    assert_good_part(tmp_path / "data", 14, 29)
    assert re.search(
        r"the bag is broken \(.+\); \d+ messages could be read", capsys.readouterr().out
    )


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", ["none", "message", "file"])
def test_a_bag_without_metadata_is_read_from_its_files(tmp_path, storage, compression) -> None:
    bag = write_bag(tmp_path / "bag", events(), storage, compression, files=3)
    (bag / "metadata.yaml").unlink()
    assert run(bag, tmp_path / "data") == 0
    assert_good_part(tmp_path / "data", 30, 31)


def test_a_file_missing_leaves_the_others(tmp_path, capsys) -> None:
    bag = write_bag(tmp_path / "bag", events(), "sqlite3", files=3)
    (bag / "bag_1.db3").unlink()
    assert run(bag, tmp_path / "data") == 0
    assert_good_part(tmp_path / "data", 18, 21)
    assert "missing" in capsys.readouterr().out


def test_single_files_are_bags_too(tmp_path) -> None:
    bag = write_bag(tmp_path / "bag", events())
    assert run(bag / "bag.mcap", tmp_path / "data") == 0
    assert_good_part(tmp_path / "data", 30, 31)
    assert Dataset.load(tmp_path / "data").frames[0].sequence == "bag"


@pytest.mark.parametrize("compression", [None, *Ros1Writer.CompressionFormat])
def test_a_ros_1_bag_without_index(tmp_path, compression) -> None:
    """As a recorder leaves it that was killed: no index, and the last record cut."""
    bag = write_ros1_bag(tmp_path / "drive.bag", events(), compression)
    cut(bag, 0.8)
    data = bag.read_bytes()
    place = data.index(b"index_pos=") + len(b"index_pos=")
    bag.write_bytes(data[:place] + bytes(8) + data[place + 8 :])
    with pytest.raises(DatasetError, match="not indexed"), Bag(bag):
        pass
    assert run(bag, tmp_path / "data") == 0
    assert_good_part(tmp_path / "data", 15, 31)


def test_damage_within_a_whole_bag_ends_the_good_part(tmp_path, capsys) -> None:
    from mspr_ros.bags import BagWriter

    with BagWriter(tmp_path / "bag", "mcap", "none") as writer:
        for stamp_ns, topic, kind, message in events():
            writer.put(topic, kind, stamp_ns, message)
    file = tmp_path / "bag" / "bag.mcap"
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    file.write_bytes(bytes(data))
    code = run(tmp_path / "bag", tmp_path / "data")
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    if code == 0:
        assert_good_part(tmp_path / "data", 1, 31)
    else:
        assert told.err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"no bag at all", bytes(5000)])
@pytest.mark.parametrize("name", ["x.mcap", "x.db3", "x.bag", "folder"])
def test_what_is_no_bag_is_refused(tmp_path, capsys, content, name) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        (path / "metadata.yaml").write_bytes(content)
    else:
        path.write_bytes(content)
    assert_refused_in_one_line(path, tmp_path, capsys, "is not a readable bag and nothing in it")
    assert_refused_in_one_line(tmp_path / "none", tmp_path, capsys, "does not exist")


def test_topics_that_are_not_there_or_of_another_type(tmp_path, capsys) -> None:
    bag = write_bag(tmp_path / "bag", events())
    refused = (bag, tmp_path, capsys)
    assert_refused_in_one_line(*refused, r"no topic /other.*it has: /pose", "--pose", "/other")
    assert_refused_in_one_line(
        *refused, r"/camera/image_raw is sensor_msgs/msg/Image", "--pose", IMAGES
    )
    wrong = ("--pose", "/pose", "--image-topic", "/pose")
    assert_refused_in_one_line(*refused, r"/pose is geometry_msgs/msg/PoseStamped", *wrong)
    assert_refused_in_one_line(*refused, "no /tf and no /tf_static", "--pose", "tf:map->camera")
    assert_refused_in_one_line(*refused, "in quotes", "--pose", "tf:map-")
    info = ("--pose", "/pose", "--camera-info-topic", "/info")
    assert_refused_in_one_line(*refused, "only: /camera/camera_info", *info)
    extrinsic = ("--pose", "/pose", "--extrinsic", "0,0,0,1,1,0,0")
    assert_refused_in_one_line(*refused, "unit norm", *extrinsic)


def test_frames_that_do_not_meet_are_listed(tmp_path, capsys) -> None:
    bag = write_bag(tmp_path / "bag", events("tf"))
    known = "base_link, camera_optical, map, odom"
    expected = f"do not connect world to {OPTICAL}; known frames: {known}"
    assert_refused_in_one_line(bag, tmp_path, capsys, expected, "--pose", f"tf:world->{OPTICAL}")


def test_no_pose_near_any_image(tmp_path, capsys) -> None:
    bag = write_bag(tmp_path / "bag", events(pose_seconds=[time + 60.0 for time in TIMES]))
    expected = "none of its 30 images can be used: 30: no poses around the image within 0.1 s"
    assert_refused_in_one_line(bag, tmp_path, capsys, expected)


def test_no_pose_at_all(tmp_path, capsys) -> None:
    with_poses = events()
    bag = write_bag(tmp_path / "bag", [event for event in with_poses if event[1] != "/pose"])
    assert_refused_in_one_line(bag, tmp_path, capsys, "no topic /pose")


def test_time_running_backwards_keeps_the_first_part(tmp_path, capsys) -> None:
    """A simulation that began anew while its clock was recorded: the second part is left out."""
    later = events(times=TIMES[:10])
    end_ns = ns(TIMES[-1])
    with_records = [(event[0], *event) for event in events()]
    with_records += [(end_ns + 1 + i, *event) for i, event in enumerate(later)]
    bag = write_bag(tmp_path / "bag", [(record[0], *record[2:]) for record in with_records])
    assert run(bag, tmp_path / "data") == 0
    assert_good_part(tmp_path / "data", 30, 31)
    told = capsys.readouterr().out
    assert "left out: 10 (time ran backwards or stood still)" in told
    assert "10 poses left out: time ran backwards" in told


def test_broken_images_and_poses_are_counted(tmp_path, capsys) -> None:
    changed = events(compressed=True)
    images = [event[3] for event in changed if event[1].endswith("compressed")]
    images[4].data = images[4].data[:100].copy()
    images[7].data = np.zeros(50, np.uint8)
    poses = [event[3] for event in changed if event[1] == "/pose"]
    poses[20].pose.orientation.w = float("nan")
    bag = write_bag(tmp_path / "bag", changed)
    assert run(bag, tmp_path / "data") == 0
    told = capsys.readouterr().out
    assert "1 poses left out: broken" in told
    # Image 20 lies between poses 0.2 s apart.
    assert "left out: 1 (no poses around the image within 0.1 s)" in told
    assert told.count("is not an image that can be decoded") == 2
    assert len(Dataset.load(tmp_path / "data")) == 27


def test_camera_info_of_another_size_is_told(tmp_path, capsys) -> None:
    changed = events()
    for _, topic, _, message in changed:
        if topic == "/camera/camera_info":
            message.width, message.height = 640, 480
    bag = write_bag(tmp_path / "bag", changed)
    expected = "no frame to import: 30: the image is 64x48 but its camera 640x480"
    assert_refused_in_one_line(bag, tmp_path, capsys, expected)


@pytest.fixture
def interrupted(tmp_path, capsys, monkeypatch):
    """A bag whose import was stopped at the fifth image; gives the bag and a list of encodings."""
    bag = write_bag(tmp_path / "bag", events())
    written = []

    def interrupt(suffix, pixels, options):
        written.append(suffix)
        if len(written) == 5:
            raise KeyboardInterrupt
        return encode(suffix, pixels, options)

    encode = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", interrupt)
    assert run(bag, tmp_path / "data") == 130
    assert len(written) == 5
    assert not (tmp_path / "data").exists()
    written.clear()
    written += ["in other tests"] * 5
    return bag, written


def frames_of(folder):
    return (folder / "frames.csv").read_text()


def test_an_interrupted_import_goes_on_where_it_stopped(tmp_path, interrupted) -> None:
    bag, written = interrupted
    half_line = tmp_path / ".data.partial" / "images.jsonl"
    with open(half_line, "a") as file:
        file.write('[0, 4, {"pa')
    next((tmp_path / ".data.partial").rglob("*.png")).write_bytes(b"cut off")
    assert run(bag, tmp_path / "data") == 0
    total = len(list((tmp_path / "data").rglob("*.png")))
    assert len(written) - 5 == total - 3  # four were there, one of them damaged
    assert run(bag, tmp_path / "whole") == 0
    assert frames_of(tmp_path / "data") == frames_of(tmp_path / "whole")
    for image in (tmp_path / "whole").rglob("*.png"):
        other = tmp_path / "data" / image.relative_to(tmp_path / "whole")
        assert other.read_bytes() == image.read_bytes()
    kept = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert kept == ["dataset.yaml", "frames.csv", "images"]
    assert not list(tmp_path.glob(".*"))


def test_another_import_does_not_go_on_with_an_unfinished_one(tmp_path, interrupted) -> None:
    bag, written = interrupted
    assert run(bag, tmp_path / "data", "--pose", "/pose", "--max-frames", "3") == 0
    assert len(written) - 5 == 3
    assert len(list((tmp_path / "data").rglob("*.png"))) == 3


def test_nothing_is_overwritten(tmp_path, capsys) -> None:
    bag = write_bag(tmp_path / "bag", events())
    (tmp_path / "data").mkdir()
    assert run(bag, tmp_path / "data") == 1
    assert "exists and is not overwritten" in capsys.readouterr().err


def test_metadata_of_a_split_bag_is_what_ros_expects(tmp_path) -> None:
    bag = write_bag(tmp_path / "bag", events(), "sqlite3", files=3)
    info = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert info["relative_file_paths"] == ["bag_0.db3", "bag_1.db3", "bag_2.db3"]
    assert info["message_count"] == 90 == sum(file["message_count"] for file in info["files"])
    counts = {
        topic["topic_metadata"]["name"]: topic["message_count"]
        for topic in info["topics_with_message_count"]
    }
    assert counts == {"/camera/camera_info": 30, IMAGES: 30, "/pose": 30}
