"""The dataset folder: what is written is read back, and every kind of broken row is told."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from mspr_ros.camera import CameraModel
from mspr_ros.data.dataset import Dataset, Frame, new_folder, write_dataset, write_tables
from mspr_ros.data.images import image_size, read_image
from mspr_ros.errors import DatasetError, ImageError
from mspr_ros.geometry import normalize_quat_xyzw

CAMERAS = {
    "front": CameraModel(
        32, 24, 30.0, 31.0, 15.5, 11.5, "plumb_bob", (0.1, -0.2, 1e-3, 2e-3, 0.3)
    ),
    "rear": CameraModel(32, 24, 20.0, 20.0, 15.5, 11.5),
}
SCENES = ("zebra", "attic")  # not the order of sorting


def make_frames(folder: Path, count: int = 6) -> list[Frame]:
    rng = np.random.default_rng(3)
    frames = []
    for i in range(count):
        path = folder / f"source/{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))
        quat = normalize_quat_xyzw(rng.normal(size=4))
        frames.append(
            Frame(
                scene=SCENES[1 if i < 2 else 0],
                split="test" if i % 3 == 2 else "train",
                sequence="s1",
                stamp_ns=1_305_031_229_528_748_001 + i,
                camera="front" if i % 2 else "",
                image=path,
                position=tuple(rng.normal(size=3)),
                quat_xyzw=tuple(quat),
            )
        )
    return frames


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "out" / "rooms"
    write_dataset(
        target, name="rooms", frames=make_frames(tmp_path), cameras=CAMERAS, scenes=SCENES
    )
    return target


@pytest.mark.parametrize("images", ["link", "copy", "reference"])
def test_what_is_written_is_read_back(tmp_path: Path, images: str) -> None:
    frames = make_frames(tmp_path)
    target = tmp_path / "rooms"
    write_dataset(
        target,
        name="rooms",
        frames=frames,
        cameras=CAMERAS,
        scenes=SCENES,
        images=images,
        synthetic_stamps=True,
    )
    dataset = Dataset.load(target)
    assert (dataset.name, dataset.scenes, dataset.splits) == ("rooms", SCENES, ("train", "test"))
    assert dataset.cameras == CAMERAS and dataset.synthetic_stamps
    for read, written in zip(dataset.frames, frames, strict=True):
        np.testing.assert_allclose(read.quat_xyzw, written.quat_xyzw, atol=1e-15)
        same = dataclasses.replace(written, image=read.image, quat_xyzw=read.quat_xyzw)
        assert read == same  # positions and stamps to the last digit
        np.testing.assert_array_equal(read_image(read.image), read_image(written.image))
        inside = target in read.image.parents
        assert inside == (images != "reference")
        assert read.image.is_symlink() == (images == "link")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rooms", "source"]
    assert target.stat().st_mode & 0o555 == 0o555  # others may read it, unlike a temporary folder


def test_arrays_and_selections(folder: Path) -> None:
    dataset = Dataset.load(folder)
    assert dataset.positions.shape == (6, 3) and dataset.quats_xyzw.shape == (6, 4)
    np.testing.assert_allclose(dataset.T_map_cam[:, :3, 3], dataset.positions)
    assert dataset.stamps_ns.dtype == np.int64
    assert dataset.stamps_ns[1] == 1_305_031_229_528_748_002
    np.testing.assert_array_equal(dataset.scene_indices(), [1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(dataset.scene_indices(("a", "attic", "zebra"))[:3], [1, 1, 2])
    attic = dataset.select(split="train", scene="attic")
    # A selection keeps the scenes, so that an index means the same in every split.
    assert len(attic) == 2 and attic.scenes == SCENES
    np.testing.assert_array_equal(attic.scene_indices(), [1, 1])
    assert dataset.select(split="").frames == ()
    assert dataset.select(split="").positions.shape == (0, 3)
    assert dataset.camera_of(dataset.frames[0]) is None
    assert dataset.camera_of(dataset.frames[1]) == CAMERAS["front"]
    assert dataset.subset([3, 1]).frames == (dataset.frames[3], dataset.frames[1])
    with pytest.raises(DatasetError, match="no split 'val', only: train, test"):
        dataset.select(split="val")
    with pytest.raises(DatasetError, match="not among"):
        dataset.scene_indices(["attic"])


def test_hash_follows_the_content(folder: Path) -> None:
    before = Dataset.load(folder).content_hash()
    assert before == Dataset.load(folder).content_hash() and len(before) == 64
    text = (folder / "frames.csv").read_text()
    (folder / "frames.csv").write_text(text.replace(",s1,", ",s2,", 1))
    assert Dataset.load(folder).content_hash() != before
    assert hashlib.sha256(b"").hexdigest() != before


def edit(folder: Path, line: int, column: str, value: str) -> None:
    """Set one value of frames.csv; lines count from 1 and the first holds the columns."""
    rows = [row.split(",") for row in (folder / "frames.csv").read_text().splitlines()]
    rows[line - 1][rows[0].index(column)] = value
    (folder / "frames.csv").write_text("".join(",".join(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("tx", "nan", "not a finite number"),
        ("ty", "inf", "not a finite number"),
        ("tz", "1,5", "expected 13 values, got 14"),
        ("tz", "abc", "tz 'abc' is not a number"),
        ("qw", "", "qw '' is not a number"),
        ("qx", "1.9", "the quaternion's norm is"),
        ("stamp_ns", "1.5", "is not a whole number of nanoseconds"),
        ("stamp_ns", "-1", "is not a whole number of nanoseconds"),
        ("stamp_ns", "9223372036854775808", "is not a whole number of nanoseconds"),
        ("scene", "cellar", "scene 'cellar' is not listed"),
        ("scene", "unknown", "scene name 'unknown' is reserved"),
        ("scene", "", "scene name '' is empty"),
        ("split", "trian", "split 'trian' is none of"),
        ("split", "val", "split 'val' is not listed"),
        ("camera", "side", "camera 'side' is not listed"),
        ("image", "images/none.png", "image file images/none.png does not exist"),
        ("image", "images", "image file images does not exist"),
        ("image", "", "the image's name is empty"),
    ],
)
def test_each_kind_of_broken_row(folder: Path, column: str, value: str, message: str) -> None:
    edit(folder, 4, column, value)
    with pytest.raises(DatasetError) as caught:
        Dataset.load(folder)
    told = [problem for problem in caught.value.problems if message in problem]
    assert told and all(problem.startswith("frames.csv:4: ") for problem in told)
    assert message in str(caught.value)


def test_duplicates_name_the_first_line(folder: Path) -> None:
    rows = (folder / "frames.csv").read_text().splitlines()
    columns = rows[0].split(",")
    first, second = rows[3].split(","), rows[5].split(",")  # lines 4 and 6: same scene, camera
    edit(folder, 6, "image", first[columns.index("image")])
    edit(folder, 6, "stamp_ns", first[columns.index("stamp_ns")])
    edit(folder, 6, "camera", first[columns.index("camera")])
    assert first[:1] == second[:1]
    with pytest.raises(DatasetError) as caught:
        Dataset.load(folder)
    assert caught.value.problems == (
        "frames.csv:6: the same image is already in line 4",
        "frames.csv:6: the same stamp of this sequence and camera is already in line 4",
    )


def test_all_problems_come_at_once(folder: Path) -> None:
    edit(folder, 2, "tx", "nan")
    edit(folder, 3, "image", "gone.png")
    edit(folder, 3, "stamp_ns", "soon")
    edit(folder, 7, "camera", "side")
    header = yaml.safe_load((folder / "dataset.yaml").read_text())
    (folder / "dataset.yaml").write_text(yaml.safe_dump(header | {"colour": "red"}))
    with pytest.raises(DatasetError) as caught:
        Dataset.load(folder)
    lines = [problem.split(": ")[0] for problem in caught.value.problems]
    # Without a header nothing can be said about listed names, so line 7 waits for the next run.
    assert lines == ["dataset.yaml", "frames.csv:2", "frames.csv:3", "frames.csv:3"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("qw", "qq", "unknown column 'qq'"),
        ("qw", "qq", "missing column 'qw'"),
        ("tz,qx", "tz,note,qx", "unknown column 'note'"),
        ("ty,tz", "tz,tz", "column 'tz' comes twice"),
    ],
)
def test_columns(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "frames.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DatasetError, match=f"frames.csv:1: {message}"):
        Dataset.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"scenes": "attic"}, "scenes: expected a list of texts"),
        ({"scenes": ["zebra", "attic", "zebra"]}, "a name is listed twice"),
        ({"scenes": ["zebra", "attic", "unknown"]}, "'unknown' is reserved"),
        ({"splits": ["train", "exam"]}, "'exam' is none of"),
        ({"synthetic_stamps": "no"}, "expected true or false"),
        ({"cameras": {"front": {"width": 3}}}, "cameras.front: unknown keys"),
        ({"cameras": ["front"]}, "cameras: expected a mapping"),
    ],
)
def test_header(folder: Path, change: dict[str, object], message: str) -> None:
    path = folder / "dataset.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with pytest.raises(DatasetError, match=r"dataset\.yaml: ") as caught:
        Dataset.load(folder)
    assert any(message in problem for problem in caught.value.problems)


def test_files_that_are_no_text(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        Dataset.load(tmp_path / "nowhere")
    data = (folder / "frames.csv").read_bytes().splitlines(keepends=True)
    data[2] = b"\xff\xfe" + data[2]
    (folder / "frames.csv").write_bytes(b"".join(data))
    with pytest.raises(DatasetError, match=r"frames\.csv:3: the text is not UTF-8"):
        Dataset.load(folder)
    (folder / "frames.csv").unlink()
    with pytest.raises(DatasetError, match=r"frames\.csv: cannot be read"):
        Dataset.load(folder)


def test_quaternions_are_made_unit_with_positive_w(folder: Path) -> None:
    for column, value in {"qx": "-0.0003", "qy": "0", "qz": "0", "qw": "-1.0005"}.items():
        edit(folder, 2, column, value)
    quat = Dataset.load(folder).frames[0].quat_xyzw
    assert np.linalg.norm(quat) == pytest.approx(1.0, abs=1e-15)
    assert quat[3] > 0 and quat[0] == pytest.approx(0.0003 / 1.0005, rel=1e-6)


def test_nothing_is_overwritten_or_half_written(tmp_path: Path) -> None:
    frames = make_frames(tmp_path)
    target = tmp_path / "rooms"
    broken = [*frames[:3], dataclasses.replace(frames[4], image=tmp_path / "gone.png")]
    with pytest.raises(DatasetError, match=r"rooms is not written") as caught:
        write_dataset(target, name="rooms", frames=broken, cameras=CAMERAS, scenes=SCENES)
    assert "frames.csv:5" in caught.value.problems[0]
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    target.mkdir()
    with pytest.raises(DatasetError, match="exists and is not overwritten"):
        write_dataset(target, name="rooms", frames=frames, cameras=CAMERAS, scenes=SCENES)
    assert list(target.iterdir()) == []


def test_images_written_in_place(tmp_path: Path) -> None:
    frames = make_frames(tmp_path, 2)
    with new_folder(tmp_path / "made") as temporary:
        (temporary / "images").mkdir()
        made = []
        for frame in frames:
            path = temporary / "images" / frame.image.name
            path.write_bytes(frame.image.read_bytes())
            made.append(dataclasses.replace(frame, image=path))
        write_tables(temporary, name="made", frames=made, cameras=CAMERAS, scenes=SCENES)
    assert (
        "attic,train,s1,1305031229528748001,,images/000.png,"
        in (tmp_path / "made/frames.csv").read_text()
    )
    assert len(Dataset.load(tmp_path / "made")) == 2


def test_same_file_names_do_not_collide(tmp_path: Path) -> None:
    frames = make_frames(tmp_path, 3)[:2]
    other = tmp_path / "more" / frames[0].image.name
    other.parent.mkdir()
    other.write_bytes(frames[1].image.read_bytes())
    frames[1] = dataclasses.replace(frames[1], image=other, camera=frames[0].camera)
    write_dataset(tmp_path / "d", name="d", frames=frames, cameras=CAMERAS, scenes=SCENES)
    first, second = Dataset.load(tmp_path / "d").frames
    assert first.image != second.image
    np.testing.assert_array_equal(read_image(second.image), read_image(other))


def test_images_are_rgb_and_errors_are_told(tmp_path: Path) -> None:
    red = np.zeros((5, 7, 3), np.uint8)
    red[..., 2] = 200  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "red.png"), red)
    cv2.imwrite(str(tmp_path / "grey.png"), red[..., 2])
    image = read_image(tmp_path / "red.png")
    assert image.dtype == np.uint8 and image.shape == (5, 7, 3)
    assert tuple(image[0, 0]) == (200, 0, 0)
    assert read_image(tmp_path / "grey.png").shape == (5, 7, 3)
    assert image_size(tmp_path / "red.png") == (7, 5)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("bad.png", "empty.png", "none.png"):
        with pytest.raises(ImageError, match=name):
            read_image(tmp_path / name)


def test_names_that_look_like_numbers_stay_texts(folder: Path, tmp_path: Path) -> None:
    frame = Dataset.load(folder).frames[0]
    first = dataclasses.replace(frame, scene="1e3", camera="2.5e1")
    cameras = {"2.5e1": CAMERAS["rear"]}
    write_dataset(tmp_path / "n", name="4e2", frames=[first], cameras=cameras, scenes=("1e3",))
    again = Dataset.load(tmp_path / "n")
    assert (again.name, again.scenes, list(again.cameras)) == ("4e2", ("1e3",), ["2.5e1"])
