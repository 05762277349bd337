"""A CSV with a declared convention, images apart from their trajectory, and test blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mspr_ros.cli import import_
from mspr_ros.cli.main import main
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.image_folder import stamp_ns_from_name
from mspr_ros.data.importers import import_dataset
from mspr_ros.data.recording import AXES, ImportOptions
from mspr_ros.errors import DatasetError

# The directions right, down and forward (rows) in each kind of camera axes.
RIGHT_DOWN_FORWARD = {
    "optical": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "opengl": [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
    "ros": [[0, -1, 0], [0, 0, -1], [1, 0, 0]],
}


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((12, 16, 3), 90, np.uint8))


def pose(seed: int) -> np.ndarray:
    T_map_cam = np.eye(4)
    random = np.random.default_rng(seed)
    T_map_cam[:3, :3] = Rotation.from_quat(random.normal(size=4)).as_matrix()
    T_map_cam[:3, 3] = random.normal(size=3)
    return T_map_cam


def as_written(T_map_cam: np.ndarray, convention: str, axes: str) -> tuple[Any, Rotation]:
    """Say a pose in another way: the position and the rotation that a file would hold."""
    # p_map = R_optical p_optical = R_file p_file, and p_file = change p_optical.
    change = np.array(RIGHT_DOWN_FORWARD[axes], dtype=float).T
    rotation = T_map_cam[:3, :3] @ np.linalg.inv(change)
    position = T_map_cam[:3, 3]
    if convention == "cam_from_map":
        position = -rotation.T @ position
    if convention != "map_from_cam":
        rotation = rotation.T
    return position, Rotation.from_matrix(rotation)


def write_csv(folder: Path, convention: str, axes: str, count: int = 3) -> Path:
    rows = ["image,stamp_s,tx,ty,tz,qx,qy,qz,qw,exposure"]
    for i in range(count):
        position, rotation = as_written(pose(i), convention, axes)
        numbers = ",".join(map(repr, map(float, [*position, *rotation.as_quat()])))
        rows.append(f"frame{i}.png,{1700000000 + i}.25,{numbers},17")
        write_image(folder / f"frame{i}.png")
    path = folder / "walk.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("convention", ["map_from_cam", "cam_from_map", "cambridge"])
def test_every_declared_convention(tmp_path: Path, convention: str, axes: str) -> None:
    source = write_csv(tmp_path, convention, axes)
    options = ImportOptions(convention=convention, axes=axes)
    summary = import_dataset("csv", source, tmp_path / "d", options=options)
    assert summary.frames == {("walk", "train"): 3} and not summary.synthetic_stamps
    dataset = Dataset.load(tmp_path / "d")
    assert dataset.frames[1].stamp_ns == 1_700_000_001_250_000_000
    for i, T_map_cam in enumerate(dataset.T_map_cam):
        np.testing.assert_allclose(T_map_cam, pose(i), atol=1e-12)


@pytest.mark.parametrize("order", ["xyzw", "wxyz"])
def test_columns_by_other_names(tmp_path: Path, order: str) -> None:
    quat = {letter: value for letter, value in zip("xyzw", (0.1, 0.5, -0.7, 0.5), strict=True)}
    numbers = ",".join(str(quat[letter]) for letter in order)
    write_image(tmp_path / "pictures" / "a.png")
    source = tmp_path / "poses.csv"
    source.write_text(f"# x,y,z,q1,q2,q3,q4,file,part,room\n1,2,3,{numbers},a.png,test,attic\n")
    arguments = f"import csv {source} -o {tmp_path}/d --convention map_from_cam".split()
    arguments += ["--image-root", str(tmp_path / "pictures")]
    columns = ["--columns", "tx=x,ty=y,tz=z,image=file,split=part,scene=room"]
    assert main([*arguments, *columns]) == 1  # the order is not declared
    assert main([*arguments, *columns, "--quaternion", order]) == 0
    (frame,) = Dataset.load(tmp_path / "d").frames
    assert (frame.scene, frame.split, frame.position) == ("attic", "test", (1.0, 2.0, 3.0))
    np.testing.assert_allclose(frame.quat_xyzw, (0.1, 0.5, -0.7, 0.5), atol=1e-12)
    assert frame.stamp_ns > 0 and Dataset.load(tmp_path / "d").synthetic_stamps


def refused(format_name: str, source: Path, **options: Any) -> str:
    output = source.parent / "refused"
    with pytest.raises(DatasetError) as caught:
        import_dataset(format_name, source, output, options=ImportOptions(**options))
    assert not output.exists()
    return str(caught.value)


def test_headers_that_will_not_do(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("image,tx,ty,qx,qy,qz,qw,qw\n")
    text = refused("csv", source, convention="map_from_cam", columns={"tz": "up"})
    for part in ("the column 'qw' comes 2 times", "no column 'up', declared to hold tz"):
        assert part in text
    assert "declare it with --convention" in refused("csv", source)
    source.write_text("image,tx,ty,tz,qx,qy,qz,qw\n")
    assert "name themselves" in refused(
        "csv", source, convention="map_from_cam", quaternion="wxyz"
    )
    source.write_text("tx,ty,tz\n")
    text = refused("csv", source, convention="map_from_cam")
    assert "no column 'image' (--columns image=NAME" in text and "no column 'qw'" in text


def test_every_bad_row_is_told(tmp_path: Path) -> None:
    source = write_csv(tmp_path, "map_from_cam", "optical", count=1)
    good = "0,0,0,0,0,0,1"
    with open(source, "a") as file:
        file.write(f"frame0.png,5,{good},1\n")
        file.write(f"none.png,5,{good},1\n")
        file.write("frame0.png,5,0,0,0\n")
        file.write("frame0.png,5,0,0,x,0,0,0,1,1\n")
        file.write("frame0.png,5,0,0,0,0,0,0,2,1\n")
        file.write(f"frame0.png,late,{good},1\n")
        file.write(f",5,{good},1\n")
    with pytest.raises(DatasetError) as caught:
        options = ImportOptions(convention="map_from_cam")
        import_dataset("csv", source, tmp_path / "d", options=options)
    expected = [
        ":3: the same image is already at",
        ":4: image ",
        ":5: expected 10 values, got 5",
        ":6: could not convert string to float: 'x'",
        ":7: the quaternion's norm is 2",
        ":8: 'late' is not a time in seconds",
        ":9: the image's name is empty",
    ]
    assert len(caught.value.problems) == len(expected)
    for text in expected:
        assert any(f"{source}{text}" in problem for problem in caught.value.problems), text
    assert not (tmp_path / "d").exists()


def write_trajectory(path: Path, stamps: list[str]) -> None:
    """Write a camera that walks a metre a second along x and turns half a radian a second."""
    rows = []
    for stamp in stamps:
        seconds = float(stamp) - 1_700_000_000
        quat = Rotation.from_rotvec([0, 0, 0.5 * seconds]).as_quat()
        rows.append(f"{stamp} {seconds!r} 0 1 " + " ".join(map(repr, map(float, quat))))
    path.write_text("# time tx ty tz qx qy qz qw\n" + "\n".join(rows) + "\n")


STAMPS = [f"1700000000.{tenth}" for tenth in (0, 1, 2, 3, 7, 8)]


def test_images_named_by_their_times(tmp_path: Path) -> None:
    folder = tmp_path / "hall"
    names = [
        "1700000000000000000",  # meets a pose
        "1700000000150000000",  # between two
        "1700000000304000000",  # after one by 4 ms, before a gap
        "1700000000500000000",  # in the gap
        "1700000000809000000",  # after the last by 9 ms
        "1700000000820000000",  # after the last by 20 ms
    ]
    for name in names:
        write_image(folder / f"{name}.png")
    write_trajectory(tmp_path / "slam.txt", STAMPS)
    arguments = f"import images {folder} -o {tmp_path}/d --max-gap 0.15".split()
    assert main(arguments) == 1  # where the trajectory is, nobody said
    assert main([*arguments, "--trajectory", str(tmp_path / "slam.txt")]) == 0
    dataset = Dataset.load(tmp_path / "d")
    assert [frame.image.name for frame in dataset.frames] == [
        f"{names[i]}.png" for i in (0, 1, 2, 4)
    ]
    np.testing.assert_allclose(dataset.positions[:, 0], [0, 0.15, 0.3, 0.8], atol=1e-6)
    angle = Rotation.from_quat(dataset.quats_xyzw[1]).as_rotvec()
    np.testing.assert_allclose(angle, [0, 0, 0.075], atol=1e-6)
    assert dataset.frames[2].stamp_ns == int(names[2])  # the image's own time
    options = ImportOptions(trajectory=tmp_path / "slam.txt", max_gap_s=0.5, max_difference_s=0.03)
    summary = import_dataset("images", folder, tmp_path / "e", options=options)
    assert summary.frames == {("hall", "train"): 6}


def test_images_with_an_index_and_another_convention(tmp_path: Path) -> None:
    folder = tmp_path / "hall"
    T_map_cam = pose(3)
    position, rotation = as_written(T_map_cam, "cam_from_map", "opengl")
    write_image(folder / "first.png")
    (folder / "rgb.txt").write_text("12.5 first.png\n")
    numbers = " ".join(map(repr, map(float, [*position, *rotation.as_quat()])))
    (folder / "trajectory.txt").write_text(f"12.5 {numbers}\n")
    arguments = f"import images {folder} -o {tmp_path}/d --convention cam_from_map".split()
    assert main([*arguments, "--axes", "opengl"]) == 0
    np.testing.assert_allclose(Dataset.load(tmp_path / "d").T_map_cam[0], T_map_cam, atol=1e-12)


@pytest.mark.parametrize("convention", ["cam_from_map", "cambridge", "7scenes"])
def test_images_between_two_poses_in_any_convention(tmp_path: Path, convention: str) -> None:
    folder = tmp_path / "hall"
    rows = []
    for i, stamp in enumerate(("12.0", "12.1")):  # it turns on the spot, far from the origin
        T_map_cam = np.eye(4)
        T_map_cam[:3, :3] = Rotation.from_rotvec([0, 0, 0.2 * i]).as_matrix()
        T_map_cam[:3, 3] = (60.0, 40.0, 1.0)
        family = {"7scenes": "map_from_cam"}.get(convention, convention)
        position, rotation = as_written(T_map_cam, family, "optical")
        numbers = " ".join(map(repr, map(float, [*position, *rotation.as_quat()])))
        rows.append(f"{stamp} {numbers}\n")
    write_image(folder / "between.png")
    (folder / "rgb.txt").write_text("12.05 between.png\n")
    (folder / "trajectory.txt").write_text("".join(rows))
    options = ImportOptions(convention=convention, max_gap_s=0.2)
    import_dataset("images", folder, tmp_path / "d", options=options)
    (frame,) = Dataset.load(tmp_path / "d").frames
    np.testing.assert_allclose(frame.position, (60.0, 40.0, 1.0), atol=1e-9)
    turn = Rotation.from_quat(frame.quat_xyzw).as_rotvec()
    np.testing.assert_allclose(turn, [0, 0, 0.1], atol=1e-9)


def test_image_folder_faults(tmp_path: Path) -> None:
    folder = tmp_path / "hall"
    folder.mkdir()
    write_trajectory(folder / "trajectory.txt", STAMPS)
    assert "holds no images" in refused("images", folder)
    for name in ("picture", "1700000000", "1700000000000", "17000000000"):
        write_image(folder / f"{name}.png")
    with open(folder / "trajectory.txt", "a") as file:
        file.write("1700000000.5 0 0 0 0 0 0 1\n1700000009 0 0 0 0 0 1\n")
    text = refused("images", folder)
    for part in (
        "trajectory.txt:8: time 1700000000.5 does not come after",
        "trajectory.txt:9: expected 8 numbers, got 7",
        "picture.png: 'picture' is not a time",
        "17000000000.png: '17000000000' is not a time",
        "1700000000000.png: 1700000000.png has the same time",
    ):
        assert part in text
    assert "5 problem(s)" in text
    assert "is not a folder of images" in refused("images", folder / "picture.png")


def test_times_in_names() -> None:
    assert stamp_ns_from_name("1305031229.528748") == 1_305_031_229_528_748_000
    for name in ("1700000000", "1700000000000", "1700000000000000", "1700000000000000000"):
        assert stamp_ns_from_name(name) == 1_700_000_000_000_000_000


def test_guarded_test_blocks(tmp_path: Path) -> None:
    folder = tmp_path / "hall"
    for i in range(100):
        write_image(folder / f"{i:03}.png")
    lines = "".join(f"{10 + i / 10} {i:03}.png\n" for i in range(100))
    (folder / "rgb.txt").write_text(lines)
    rows = "".join(f"{10 + i / 10} {i} 0 0 0 0 0 1\n" for i in range(100))
    (folder / "trajectory.txt").write_text(rows)
    arguments = f"import images {folder} --test-fraction 0.2 --test-blocks 1".split()
    assert main([*arguments, "-o", str(tmp_path / "d")]) == 0
    dataset = Dataset.load(tmp_path / "d")
    train, test = dataset.select("train"), dataset.select("test")
    assert (len(train), len(test)) == (60, 20)
    apart = np.abs(train.positions[:, None, 0] - test.positions[None, :, 0])
    assert apart.min() == 11.0  # ten frames between the two are in neither
    assert main([*arguments, "--split", "test", "-o", str(tmp_path / "e")]) == 1
    few = ImportOptions(scene="few")
    (folder / "rgb.txt").write_text("".join(lines.splitlines(keepends=True)[:15]))
    with pytest.raises(DatasetError, match="long enough for a test block"):
        import_dataset("images", folder, tmp_path / "f", options=few, test_fraction=0.2)


def test_options_of_other_formats_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = ["--quaternion", "wxyz", "--columns", "tx=x", "--trajectory", "t.txt"]
    assert main(["import", "tum", str(tmp_path), "-o", str(tmp_path / "d"), *strange]) == 1
    told = capsys.readouterr().err
    for option in ("--quaternion is for the format csv", "--columns is", "--trajectory is"):
        assert option in told
    assert tuple(AXES) == import_.AXES
    assert set(import_.FORMATS_OF_OPTION["axes"]) <= set(import_.FORMATS)
    with pytest.raises(SystemExit):
        main(["import", "csv", "a", "-o", "b", "--columns", "tx"])
    with pytest.raises(SystemExit):
        main(["import", "csv", "a", "-o", "b", "--test-fraction", "1.0"])
