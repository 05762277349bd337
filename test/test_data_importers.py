"""Importers: each layout is read as it was meant, and each kind of fault is told in its place."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mspr_ros.cli import import_
from mspr_ros.cli.main import main
from mspr_ros.data import label_csv
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.images import read_image
from mspr_ros.data.importers import READERS, import_dataset
from mspr_ros.data.recording import (
    ImportOptions,
    make_frame,
    stamp_ns_from_text,
    synthetic_stamp_ns,
    trailing_number,
    with_synthetic_stamps,
)
from mspr_ros.errors import DatasetError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
LABEL_HEADER = "scene,split,seq,img_path,t1,t2,t3,q1,q2,q3,q4\n"


def write_image(path: Path, value: int = 90, size: tuple[int, int] = (16, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))


def pose(seed: int) -> np.ndarray:
    T_map_cam = np.eye(4)
    T_map_cam[:3, :3] = Rotation.from_quat(np.random.default_rng(seed).normal(size=4)).as_matrix()
    T_map_cam[:3, 3] = np.random.default_rng(seed + 1000).normal(size=3)
    return T_map_cam


def make_seven_scenes(folder: Path, sequences: dict[str, tuple[int, ...]]) -> Path:
    for name, numbers in sequences.items():
        for number in numbers:
            stem = folder / name / f"frame-{number:06}"
            write_image(stem.with_name(stem.name + ".color.png"), number)
            (stem.parent / (stem.name + ".depth.png")).write_bytes(b"not read")
            np.savetxt(stem.parent / (stem.name + ".pose.txt"), pose(number))
    return folder


def make_tum(folder: Path) -> Path:
    """Write a camera on a circle: poses at 100 Hz with a hole, images at 30 Hz."""
    rows = ["# ground truth", "# timestamp tx ty tz qx qy qz qw"]
    for i in range(200):
        if 100 <= i < 130:
            continue
        angle = 0.01 * i
        quat = Rotation.from_rotvec([0, 0, angle]).as_quat()
        numbers = [np.cos(angle), np.sin(angle), 1.0, *quat]
        rows.append(
            f"1305031{225 + i // 100}.{i % 100:02} "
            + " ".join(str(float(number)) for number in numbers)
        )
    (folder / "rgb").mkdir(parents=True)
    (folder / "groundtruth.txt").write_text("\n".join(rows))
    names = ["# color images", "# timestamp filename"]
    for i in range(60):
        stamp = f"1305031{225 + i // 30}.{i % 30 * 33333 + 5:06}"
        write_image(folder / f"rgb/{stamp}.png", i)
        names.append(f"{stamp} rgb/{stamp}.png")
    (folder / "rgb.txt").write_text("\n".join(names) + "\n")
    return folder


def problems_of(format_name: str, source: Path, **options: object) -> list[str]:
    output = source.parent / "refused"
    with pytest.raises(DatasetError) as caught:
        import_dataset(format_name, source, output, options=ImportOptions(**options))
    assert not output.exists() and not list(source.parent.glob(".refused*"))
    return list(caught.value.problems) or [str(caught.value)]


def test_seven_scenes_with_sequence_splits(tmp_path: Path) -> None:
    source = make_seven_scenes(
        tmp_path / "chess", {"seq-01": (0, 1, 5), "seq-02": (0, 2), "seq-10": (0,)}
    )
    (source / "TrainSplit.txt").write_text("sequence1\n")
    (source / "TestSplit.txt").write_text("sequence2\n")
    summary = import_dataset(
        "7scenes", source, tmp_path / "d", options=ImportOptions(rate_hz=10.0)
    )
    assert summary.frames == {("chess", "train"): 3, ("chess", "test"): 2}
    assert summary.left_out == {"chess: sequence seq-10 in no split file": 1}
    dataset = Dataset.load(tmp_path / "d")
    assert dataset.synthetic_stamps and dataset.scenes == ("chess",) and not dataset.cameras
    train = dataset.select("train")
    # A gap in the numbers stays a gap in time, and no stamp is zero.
    np.testing.assert_array_equal(train.stamps_ns, [10**9, 11 * 10**8, 15 * 10**8])
    for number, T_map_cam in zip((0, 1, 5), train.T_map_cam, strict=True):
        np.testing.assert_allclose(T_map_cam, pose(number), atol=1e-12)
    assert read_image(train.frames[2].image)[0, 0, 0] == 5


def test_seven_scenes_with_image_lists_and_intrinsics(tmp_path: Path) -> None:
    source = make_seven_scenes(tmp_path / "attic", {"seq-01": tuple(range(6))})
    lines = [f"seq-01/frame-{i:06}.color.png" for i in range(6)]
    (source / "split_train.txt").write_text("\n".join(lines[:3]))
    (source / "split_test.txt").write_text("\n".join(lines[4:]))
    status = main(
        f"import 7scenes {source} -o {tmp_path}/d --scene top --json {tmp_path}/r.json "
        "--intrinsics 14,15,7.5,5.5,.1,.2,.3,.4".split()
    )
    assert status == 0
    dataset = Dataset.load(tmp_path / "d")
    assert (dataset.scenes, dataset.splits) == (("top",), ("train", "test"))
    camera = dataset.camera_of(dataset.frames[0])
    assert camera is not None and (camera.width, camera.height) == (16, 12)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (14, 15, 7.5, 5.5)
    assert (camera.distortion_model, camera.distortion) == ("plumb_bob", (0.1, 0.2, 0.3, 0.4))
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["left_out"] == [{"reason": "top: frames in no split list", "count": 1}]
    assert [entry["count"] for entry in result["frames"]] == [3, 2]


def test_a_folder_of_scenes(tmp_path: Path) -> None:
    for name in ("stairs", "fire"):
        make_seven_scenes(tmp_path / "7s" / name, {"seq-01": (0, 1)})
    (tmp_path / "7s" / "notes").mkdir()
    options = ImportOptions(split="train")
    summary = import_dataset("7scenes", tmp_path / "7s", tmp_path / "d", options=options)
    assert summary.frames == {("fire", "train"): 2, ("stairs", "train"): 2}
    assert "cannot all be named" in problems_of("7scenes", tmp_path / "7s", scene="one")[0]
    assert "holds no seq-01" in problems_of("7scenes", tmp_path / "7s" / "notes")[0]


def test_seven_scenes_faults(tmp_path: Path) -> None:
    source = make_seven_scenes(tmp_path / "chess", {"seq-01": tuple(range(10))})
    folder = source / "seq-01"
    text = (folder / "frame-000001.pose.txt").read_text().splitlines()
    rows = {
        1: [*text[:2], "1 2 3", text[3]],
        2: [*text[:1], "1 2 nan 4", *text[2:]],
        3: [*text[:3], "0 0 0 2"],
        4: [text[1], text[0], *text[2:]],  # a reflection
        5: ["1.1 0 0 0", "0 1.1 0 0", "0 0 1.1 0", "0 0 0 1"],
        6: text[:3],
        7: [*text[:3], "0 0 zero 1"],
    }
    for number, lines in rows.items():
        (folder / f"frame-{number:06}.pose.txt").write_text("\n".join(lines))
    (folder / "frame-000008.pose.txt").unlink()
    (folder / "frame-000009.color.png").unlink()
    write_image(folder / "frame-000000.color.jpg")
    problems = problems_of("7scenes", source)
    expected = {
        "frame-000000.color.png: the frame already has frame-000000.color.jpg",
        "frame-000001.pose.txt:3: expected 4 numbers, got 3",
        "frame-000002.pose.txt:1: the matrix holds a value that is not a finite number",
        "frame-000003.pose.txt:1: the matrix' last row is not 0 0 0 1",
        "frame-000004.pose.txt:1: the matrix is not rigid",
        "frame-000005.pose.txt:1: the matrix is not rigid",
        "frame-000006.pose.txt:1: expected 4 rows, got 3",
        "frame-000007.pose.txt:4: '0 0 zero 1' is not a row of numbers",
        "frame-000008.color.png: has no pose file",
        "frame-000009.pose.txt: has no image",
    }
    assert len(problems) == len(expected)
    for text in expected:
        assert sum(text in problem for problem in problems) == 1, text
    summary = import_dataset(
        "7scenes", source, tmp_path / "d", options=ImportOptions(), skip_broken=True
    )
    assert summary.frames == {("chess", ""): 1} and len(summary.problems) == 10
    assert list(summary.left_out.values()) == [10]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("TrainSplit.txt", "sequence1\nsequence3\n", "TrainSplit.txt:2: sequence3 is listed but"),
        ("TrainSplit.txt", "sequence1\nsequence1\n", "TrainSplit.txt:2: sequence1 is listed bef"),
        ("TestSplit.txt", "seq-01\n", "TestSplit.txt:1: expected 'sequence1' or the like"),
        ("split_test.txt", "seq-01/no.png\n", "split_test.txt:1: seq-01/no.png does not exist"),
    ],
)
def test_split_file_faults(tmp_path: Path, name: str, text: str, message: str) -> None:
    source = make_seven_scenes(tmp_path / "chess", {"seq-01": (0, 1)})
    (source / name).write_text(text)
    assert any(message in problem for problem in problems_of("7scenes", source))


def test_an_image_in_two_splits_is_refused(tmp_path: Path) -> None:
    source = make_seven_scenes(tmp_path / "chess", {"seq-01": (0, 1)})
    for split in ("train", "test"):
        (source / f"split_{split}.txt").write_text("# one\nseq-01/frame-000000.color.png\n")
    (problem,) = problems_of("7scenes", source)
    assert "split_test.txt:2: " in problem and "split_train.txt:2" in problem


def test_images_are_checked(tmp_path: Path) -> None:
    source = make_seven_scenes(tmp_path / "chess", {"seq-01": (0, 1, 2)})
    (source / "seq-01/frame-000001.color.png").write_bytes(b"")
    (problem,) = problems_of("7scenes", source)
    assert "frame-000001.color.png is not an image" in problem
    write_image(source / "seq-01/frame-000001.color.png", size=(20, 12))
    import_dataset("7scenes", source, tmp_path / "mixed", options=ImportOptions())
    info = tmp_path / "camera.yaml"
    info.write_text(
        "image_width: 16\nimage_height: 12\ncamera_name: front\ncamera_matrix: {rows: 3, cols: 3,"
        " data: [14, 0, 7, 0, 15, 6, 0, 0, 1]}\ndistortion_model: plumb_bob\n"
        "distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}\n"
    )
    arguments = ["import", "7scenes", str(source), "--camera-info", str(info)]
    assert main([*arguments, "-o", str(tmp_path / "d")]) == 1
    assert main([*arguments, "-o", str(tmp_path / "d"), "--skip-broken"]) == 0
    dataset = Dataset.load(tmp_path / "d")
    assert len(dataset) == 2 and dataset.cameras["camera"].distortion == (0.1, 0, 0, 0, 0)


def test_tum_poses_are_interpolated(tmp_path: Path) -> None:
    source = make_tum(tmp_path / "desk")
    summary = import_dataset("tum", source, tmp_path / "d", options=ImportOptions(split="test"))
    dataset = Dataset.load(tmp_path / "d")
    assert not dataset.synthetic_stamps
    assert dataset.frames[1].stamp_ns == 1_305_031_225_033_338_000
    seconds = (dataset.stamps_ns - 1_305_031_225_000_000_000) / 1e9
    # No pose in [1.00, 1.30): images between 0.99 s and 1.30 s, and after 1.99 s, have none.
    assert np.all((seconds <= 0.99) | (seconds >= 1.30)) and seconds.max() <= 1.99
    assert summary.left_out == {"desk: no poses around the image within 0.05 s": 60 - len(dataset)}
    taken = [i // 30 + (i % 30) * 0.033333 + 5e-6 for i in range(60)]
    assert len(dataset) == sum(t <= 0.99 or t >= 1.3 for t in taken)
    oracle = np.stack([np.cos(seconds), np.sin(seconds), np.ones_like(seconds)], axis=1)
    np.testing.assert_allclose(dataset.positions, oracle, atol=0.01**2 / 8 + 1e-9)
    rotations = Rotation.from_rotvec(seconds[:, None] * [[0, 0, 1.0]])
    np.testing.assert_allclose(dataset.T_map_cam[:, :3, :3], rotations.as_matrix(), atol=1e-9)
    wide = import_dataset("tum", source, tmp_path / "w", options=ImportOptions(max_gap_s=0.5))
    assert sum(wide.frames.values()) > len(dataset)


def test_tum_recordings_of_one_place(tmp_path: Path) -> None:
    for name in ("one", "two"):
        source = make_tum(tmp_path / "lab" / name)
        (source / "split_train.txt").write_text("rgb/1305031225.000005.png\n")
    own = import_dataset("tum", tmp_path / "lab", tmp_path / "own", options=ImportOptions())
    assert own.frames == {("one", "train"): 1, ("two", "train"): 1}
    options = ImportOptions(scene="lab")
    shared = import_dataset("tum", tmp_path / "lab", tmp_path / "shared", options=options)
    assert shared.frames == {("lab", "train"): 2}
    assert {frame.sequence for frame in Dataset.load(tmp_path / "shared").frames} == {"one", "two"}
    assert shared.left_out == {"lab: frames in no split list": 118}


def test_tum_faults(tmp_path: Path) -> None:
    source = make_tum(tmp_path / "desk")
    images = (source / "rgb.txt").read_text().splitlines()
    images[4] = images[3]
    images[6] = "soon rgb/a.png"
    images[8] = "1305031225.9999 rgb/none.png"
    images[9] = "1305031225.99990000001 rgb/x.png"
    images[10] = "1305031225.9"
    (source / "rgb.txt").write_text("\n".join(images))
    poses = (source / "groundtruth.txt").read_text().splitlines()
    poses[5] = poses[4]
    poses[7] = poses[7].rsplit(" ", 1)[0]
    poses[9] = poses[9].rsplit(" ", 1)[0] + " nan"
    poses[11] = poses[11].rsplit(" ", 1)[0] + " 3.0"
    (source / "groundtruth.txt").write_text("\n".join(poses))
    problems = problems_of("tum", source)
    expected = [
        "rgb.txt:5: the same time or image is already in line 4",
        "rgb.txt:7: 'soon' is not a time in seconds",
        "rgb.txt:9: image rgb/none.png does not exist",
        "rgb.txt:10: time '1305031225.99990000001' s is not a whole number of nanoseconds",
        "rgb.txt:11: expected 'seconds image'",
        "groundtruth.txt:6: time 1305031225.02 does not come after the line before",
        "groundtruth.txt:8: expected 8 numbers, got 7",
        "groundtruth.txt:10: the pose holds a value that is not a finite number",
        "groundtruth.txt:12: the quaternion's norm is",
    ]
    assert len(problems) == len(expected)
    for problem, text in zip(problems, expected, strict=True):
        assert text in problem
    (source / "groundtruth.txt").unlink()
    assert "cannot read" in problems_of("tum", source)[0]


def label_rows(folder: Path, q_is_map_from_cam: bool, scene: str) -> str:
    rows = []
    for i in range(3):
        T_map_cam = pose(i)
        rotation = T_map_cam[:3, :3] if q_is_map_from_cam else T_map_cam[:3, :3].T
        x, y, z, w = Rotation.from_matrix(rotation).as_quat()
        numbers = [*T_map_cam[:3, 3], w, x, y, z]
        name = f"{scene}/seq1/frame{i:05}.png"
        write_image(folder / name)
        rows.append(f"{scene},train,seq1,{name}," + ",".join(map(repr, map(float, numbers))))
    return LABEL_HEADER + "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("scene", "convention", "q_is_map_from_cam"),
    [
        ("chess", "", True),
        ("ShopFacade", "", False),
        ("hall", "7scenes", True),
        ("hall", "map_from_cam", True),
        ("hall", "cambridge", False),
        ("hall", "cam_from_map", False),
    ],
)
def test_labels_in_both_conventions(
    tmp_path: Path, scene: str, convention: str, q_is_map_from_cam: bool
) -> None:
    source = tmp_path / "labels.csv"
    source.write_text(label_rows(tmp_path, q_is_map_from_cam, scene))
    options = ImportOptions(convention=convention, rate_hz=2.0)
    import_dataset("labels", source, tmp_path / "d", options=options)
    dataset = Dataset.load(tmp_path / "d")
    for i, T_map_cam in enumerate(dataset.T_map_cam):
        np.testing.assert_allclose(T_map_cam, pose(i), atol=1e-12)
    np.testing.assert_array_equal(dataset.stamps_ns, [10**9, 15 * 10**8, 20 * 10**8])
    assert dataset.synthetic_stamps and dataset.splits == ("train",)


def test_labels_without_images(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    source = tmp_path / "labels" / "chess_train.csv"
    source.write_text(label_rows(tmp_path / "images", True, "chess"))
    problems = problems_of("labels", source)
    assert len(problems) == 3 and "labels/chess_train.csv:2: image " in problems[0]
    assert "--image-root" in problems[0] and "--poses-only" in problems[0]
    arguments = ["import", "labels", str(tmp_path / "labels")]
    root = ["--image-root", str(tmp_path / "images")]
    assert main([*arguments, *root, "-o", str(tmp_path / "with")]) == 0
    assert read_image(Dataset.load(tmp_path / "with").frames[0].image).shape == (12, 16, 3)
    assert main([*arguments, "--poses-only", "-o", str(tmp_path / "poses")]) == 0
    dataset = Dataset.load(tmp_path / "poses")
    assert dataset.poses_only and len(dataset) == 3 and not dataset.frames[0].image.exists()


def test_label_faults(tmp_path: Path) -> None:
    source = tmp_path / "labels.csv"
    good = "1,2,3,1,0,0,0"
    rows = [
        f"chess,train,s,a1.png,{good}",
        f"chess,train,s,a1.png,{good}",
        "chess,train,s,a2.png,1,2,3,1,0.1,0,0",
        "chess,train,s,a3.png,1,2,nan,1,0,0,0",
        "chess,train,s,a4.png,1,2,x,1,0,0,0",
        "chess,train,s,a5.png,1,2,3,1,0,0",
        f"hall,train,s,a6.png,{good}",
        f"unknown,train,s,a7.png,{good}",
        f"chess,exam,s,a8.png,{good}",
    ]
    source.write_text(LABEL_HEADER + "\n".join(rows))
    problems = problems_of("labels", source, poses_only=True)
    expected = [
        ":3: the same image is already at",
        ":4: the quaternion's norm is 1.00499",
        ":5: the pose holds a value that is not a finite number",
        ":6: could not convert string to float: 'x'",
        ":7: expected 11 values, got 10",
        ":8: the convention of scene 'hall' is not known",
        ":9: scene name 'unknown' is reserved",
        ":10: split 'exam' is none of",
    ]
    assert len(problems) == len(expected)
    for problem, text in zip(problems, expected, strict=True):
        assert str(source) + text in problem
    (problem,) = problems_of("labels", source, poses_only=True, scene="one")
    assert "holds the scenes chess, hall, unknown" in problem
    source.write_text("scene,split\n")
    assert ":1: expected the columns" in problems_of("labels", source)[0]


def test_numbers_in_several_names_are_several_sequences(tmp_path: Path) -> None:
    source = tmp_path / "labels.csv"
    names = ("img/image1_000007.png", "img/image2_000007.png", "img/image1_000008.png")
    rows = [f"Street,test,img,Street/{name},1,2,3,1,0,0,0" for name in names]
    rows.append("Street,train,east,Street/east/image_east_0007.png,1,2,3,1,0,0,0")
    source.write_text(LABEL_HEADER + "\n".join(rows))
    options = ImportOptions(poses_only=True, rate_hz=1.0)
    import_dataset("labels", source, tmp_path / "d", options=options)
    found = [
        (frame.sequence, frame.stamp_ns // 10**9) for frame in Dataset.load(tmp_path / "d").frames
    ]
    assert found == [("img/image1", 8), ("img/image2", 8), ("img/image1", 9), ("east", 8)]


@pytest.mark.parametrize(
    "names",
    [
        [f"{1305031229 + i // 3}.{100000 + i}" for i in range(9)],
        [f"{1305031229000000000 + 33000000 * i}" for i in range(9)],
        [f"IMG_20230101_12{i:02}-00" for i in range(9)],
        list("abcdefghi"),
    ],
    ids=["seconds", "nanoseconds", "a text for each", "no number"],
)
def test_times_in_names_of_labels_are_only_an_order(tmp_path: Path, names: list[str]) -> None:
    source = tmp_path / "labels.csv"
    order = np.random.default_rng(0).permutation(9)
    rows = [f"chess,train,s,{names[i]}.png,{i},2,3,1,0,0,0" for i in order]
    source.write_text(LABEL_HEADER + "\n".join(rows))
    options = ImportOptions(poses_only=True, rate_hz=1.0)
    import_dataset("labels", source, tmp_path / "d", options=options)
    frames = Dataset.load(tmp_path / "d").frames
    assert {frame.sequence for frame in frames} == {"s"}
    assert [frame.stamp_ns // 10**9 - 1 for frame in frames] == order.tolist()


@pytest.mark.parametrize("stem", ["frame-{:04}.png", "{}.528748.png", "1305031229{:09}.png"])
def test_stamps_of_images_with_cameras_of_their_own(stem: str) -> None:
    def stamps(cameras: list[str]) -> list[int]:
        frames = [
            make_frame("s", "", "q", 0, Path(stem.format(i)), (i, 0, 0), (0, 0, 0, 1), camera)
            for i, camera in enumerate(cameras)
        ]
        found = with_synthetic_stamps(frames, 1.0)
        stamp_of = {frame.position[0]: frame.stamp_ns // 10**9 - 1 for frame in found}
        return [stamp_of[i] for i in range(len(cameras))]

    assert stamps([""] * 6) == list(range(6))
    assert stamps([f"camera{i}" for i in range(6)]) == list(range(6))
    # Of a rig each camera counts on its own; numbers in the names count all the same.
    rig = [0, 1, 2, 3, 4, 5] if "frame" in stem else [0, 0, 1, 1, 2, 2]
    assert stamps(["left", "right"] * 3) == rig


def test_command_line_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_seven_scenes(tmp_path / "chess", {"seq-01": (0, 1)})
    arguments = ["import", "7scenes", str(source), "-o", str(tmp_path / "d")]
    for extra, message in (
        (["--intrinsics", "1,2,3"], "expected fx,fy,cx,cy"),
        (["--poses-only"], "--poses-only is for the format labels or"),
        (["--camera-info", str(tmp_path / "none.yaml")], "cannot read"),
    ):
        assert main([*arguments, *extra]) == 1
        assert message in capsys.readouterr().err
    assert main(arguments) == 0 and main(arguments) == 1
    assert "exists and is not overwritten" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["import", "bundler", str(source), "-o", str(tmp_path / "e")])
    assert caught.value.code == 2


def test_command_line_names_what_the_tables_hold() -> None:
    assert tuple(READERS) == import_.FORMATS
    assert tuple(label_csv.CONVENTIONS) == import_.CONVENTIONS


def test_decimal_times_are_exact() -> None:
    assert stamp_ns_from_text("1305031229.528748") == 1_305_031_229_528_748_000
    assert stamp_ns_from_text("1305031229.123456789") == 1_305_031_229_123_456_789
    assert stamp_ns_from_text("1.3e9") == 1_300_000_000_000_000_000
    for text in ("", "nan", "inf", "-1", "1.0000000001", "1e12", "1,5"):
        with pytest.raises(ValueError, match="time"):
            stamp_ns_from_text(text)
    assert len({synthetic_stamp_ns(i, 29.97) for i in range(5000)}) == 5000
    assert trailing_number("frame-000012.color") == ("frame-", 12)
    assert trailing_number("image1_000056") == ("image1_", 56)
    assert trailing_number("picture") == ("picture", None)
    assert trailing_number("1305031229.528748") == ("1305031229.528748", None)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the photographs of ../shared/data are not here")
@pytest.mark.parametrize(
    ("format_name", "folder", "train", "test"),
    [("7scenes", "redkitchen", 730, 100), ("tum", "tum_fr1_rpy", 437, 80)],
)
def test_real_recordings(
    tmp_path: Path, format_name: str, folder: str, train: int, test: int
) -> None:
    summary = import_dataset(format_name, SHARED / folder, tmp_path / "d", options=ImportOptions())
    assert summary.frames == {(folder, "train"): train, (folder, "test"): test}
    dataset = Dataset.load(tmp_path / "d")
    # At least ten frames are missing on either side of a test block: 1/30 s apart, 0.3 s at least.
    train_ns, test_ns = dataset.select("train").stamps_ns, dataset.select("test").stamps_ns
    assert np.abs(train_ns[:, None] - test_ns[None]).min() > 300_000_000
    step = np.linalg.norm(np.diff(dataset.select("test").positions, axis=0), axis=1)
    assert np.median(step) < 0.03  # metres in 1/30 s, by hand
