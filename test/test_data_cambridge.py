"""Cambridge Landmarks from its own files: the same poses as from the label files."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mspr_ros.cli.main import main
from mspr_ros.data.cambridge import read_cambridge
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.label_csv import COLUMNS
from mspr_ros.data.recording import ImportOptions
from mspr_ros.errors import DatasetError

TITLE = "Visual Landmark Dataset V1\nImageFile, Camera Position [X Y Z W P Q R]\n\n"
SCENES = ("KingsCollege", "ShopFacade")


def make_source(root: Path) -> Path:
    """Write two scenes as published, and label files of the same poses beside them."""
    rng = np.random.default_rng(0)
    for scene in SCENES:
        rows = []
        for split, sequences in (("train", ("seq1", "seq4")), ("test", ("seq2",))):
            text = TITLE
            for sequence in sequences:
                (root / scene / sequence).mkdir(parents=True)
                for number in (1, 2, 3):
                    name = f"{sequence}/frame{number:05d}.png"
                    cv2.imwrite(str(root / scene / name), np.zeros((4, 6, 3), np.uint8))
                    position = rng.normal(size=3) * 20
                    x, y, z, w = Rotation.random(rng=rng).as_quat()
                    values = [f"{value:.9f}" for value in (*position, w, x, y, z)]
                    text += f"{name} {' '.join(values)}\n"
                    rows.append([scene, split, sequence, f"{scene}/{name}", *values])
            (root / scene / f"dataset_{split}.txt").write_text(text)
        with open(root / f"{scene}.csv", "w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
    return root


def test_it_agrees_with_the_label_files(tmp_path: Path) -> None:
    source = make_source(tmp_path / "download")
    ours, labels = tmp_path / "ours", tmp_path / "labels"
    assert main(["import", "cambridge", str(source), "-o", str(ours)]) == 0
    assert main(["import", "labels", str(source), "-o", str(labels)]) == 0
    read, known = Dataset.load(ours), Dataset.load(labels)
    assert read.scenes == known.scenes == SCENES
    assert len(read) == 18
    for one, other in zip(read.frames, known.frames, strict=True):
        assert (one.scene, one.split, one.sequence) == (other.scene, other.split, other.sequence)
        assert (one.stamp_ns, one.image.name) == (other.stamp_ns, other.image.name)
        np.testing.assert_allclose(one.position, other.position)
        np.testing.assert_allclose(one.quat_xyzw, other.quat_xyzw)


def test_one_scene_can_be_imported_alone(tmp_path: Path) -> None:
    source = make_source(tmp_path / "download")
    recording = read_cambridge(source / "ShopFacade", ImportOptions())
    assert recording.scenes == ("ShopFacade",)
    assert [frame.split for frame in recording.frames] == ["train"] * 6 + ["test"] * 3


def test_every_broken_line_is_told(tmp_path: Path) -> None:
    scene = make_source(tmp_path / "download") / "ShopFacade"
    (scene / "dataset_test.txt").write_text(
        TITLE
        + "seq2/frame00009.png 0 0 0 1 0 0 0\n"
        + "seq2/frame00001.png 0 0 0 2 0 0 0\n"
        + "seq2/frame00002.png 0 0 0 1 0 0\n"
        + "seq2/frame00003.png 0 0 zero 1 0 0 0\n"
        + "seq1/frame00001.png 0 0 0 1 0 0 0\n"
    )
    problems = read_cambridge(scene, ImportOptions()).problems
    assert len(problems) == 5
    for number, (problem, words) in enumerate(
        zip(
            problems,
            ("does not exist", "norm is 2", "got 6 numbers", "zero", "already at"),
            strict=True,
        ),
        start=4,
    ):
        assert f"dataset_test.txt:{number}" in problem
        assert words in problem


def test_a_folder_that_is_no_scene_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no dataset_train\.txt"):
        read_cambridge(tmp_path, ImportOptions())
    source = make_source(tmp_path / "download")
    with pytest.raises(DatasetError, match="cannot all be named 'place'"):
        read_cambridge(source, ImportOptions(scene="place"))
