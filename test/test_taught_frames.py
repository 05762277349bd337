"""Which frames a run trains on and which it validates on: absurd poses, split `val`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import make_tiny_dataset
from training_support import make_config

from mspr_ros.cli.main import main
from mspr_ros.config import to_mapping
from mspr_ros.data.dataset import Dataset, write_dataset
from mspr_ros.data.frame import Frame
from mspr_ros.errors import DatasetError
from mspr_ros.training.configuration import TrainConfig, ValidationConfig
from mspr_ros.training.lesson import prepare_lesson
from mspr_ros.training.taught_frames import plausible

NOWHERE = (4e9, -3e9, 0.0)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


def changed(source: Path, folder: Path, change: Callable[[int, Frame], Frame]) -> Path:
    """Write a dataset again, with every frame changed by its number."""
    old = Dataset.load(source)
    frames = [change(number, frame) for number, frame in enumerate(old.frames)]
    write_dataset(folder, name="tiny", frames=frames, cameras=old.cameras, scenes=old.scenes)
    return folder


def moved(
    numbers: set[int], position: tuple[float, float, float]
) -> Callable[[int, Frame], Frame]:
    """Give the change that puts these frames elsewhere."""
    return lambda number, frame: (
        dataclasses.replace(frame, position=position) if number in numbers else frame
    )


def as_val(scenes: tuple[str, ...]) -> Callable[[int, Frame], Frame]:
    """Give the change that makes the test frames of these scenes a drive to validate on."""
    return lambda _, frame: (
        dataclasses.replace(frame, split="val", sequence="tuesday")
        if frame.scene in scenes and frame.split == "test"
        else frame
    )


def test_an_absurd_pose_is_neither_clustered_nor_learned_and_told(
    plain: Path, tmp_path: Path
) -> None:
    folder = changed(plain, tmp_path / "data", moved({3}, NOWHERE))
    lesson, clean = prepare_lesson(make_config(folder)), prepare_lesson(make_config(plain))
    assert np.abs(lesson.position_centroids).max() < 10.0 > lesson.position_units.max()
    assert max(np.abs(lesson.scenes[0].position_min + lesson.scenes[0].position_max)) < 10.0
    assert not any(item.frame.position == NOWHERE for item in (*lesson.train, *lesson.validation))
    (note,) = lesson.notes
    assert "scene 'kitchen': 1 of 20 frames are left out" in note and "kitchen_003.png" in note
    assert clean.notes == ()


def test_a_command_names_the_frames_left_out(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = changed(plain, tmp_path / "data", moved({3}, NOWHERE))
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(to_mapping(make_config(folder, epochs=1))))
    assert main(["train", str(path), "-o", str(tmp_path / "run"), "--device", "cpu"]) == 0
    assert "scene 'kitchen': 1 of 20 frames are left out" in capsys.readouterr().out


def test_a_robot_that_mostly_waits_still_drives() -> None:
    parked = np.random.default_rng(0).normal(0.0, 0.001, (80, 3))
    drive = np.linspace(0.0, 30.0, 20)[:, None] * [1.0, 0.0, 0.0]
    assert plausible(np.concatenate([parked, drive])).all()
    assert plausible(np.zeros((5, 3))).all()
    assert plausible(np.concatenate([parked, [NOWHERE]])).sum() == 80


def test_positions_that_single_precision_rounds_are_refused(plain: Path, tmp_path: Path) -> None:
    def far(_: int, frame: Frame) -> Frame:
        x, y, z = frame.position
        return dataclasses.replace(frame, position=(x + 5e5, y, z))

    folder = changed(plain, tmp_path / "data", far)
    with pytest.raises(DatasetError, match=r"kitchen_000.*subtract an offset .* static transform"):
        prepare_lesson(make_config(folder))


def test_split_val_validates_and_nothing_is_cut_out_of_its_scene(
    plain: Path, tmp_path: Path
) -> None:
    both = changed(plain, tmp_path / "both", as_val(("kitchen", "office")))
    lesson = prepare_lesson(make_config(both))
    assert {item.frame.split for item in lesson.train} == {"train"}
    assert {item.frame.split for item in lesson.validation} == {"val"}
    assert len(lesson.train) == 40 and len(lesson.validation) == 8
    assert lesson.validation_source == "split val"

    one = changed(plain, tmp_path / "one", as_val(("kitchen",)))
    lesson, blocks = prepare_lesson(make_config(one)), prepare_lesson(make_config(plain))
    assert [x.frame.split for x in lesson.validation if x.scene == 0] == ["val"] * 4
    assert len([x for x in lesson.train if x.scene == 0]) == 20
    for part, expected in ((lesson.train, blocks.train), (lesson.validation, blocks.validation)):
        stamps = [[x.frame.stamp_ns for x in each if x.scene == 1] for each in (part, expected)]
        assert stamps[0] == stamps[1] and stamps[0]
    assert lesson.validation_source == "split val and validation blocks of the training split"
    assert blocks.validation_source == "validation blocks of the training split"


@pytest.mark.parametrize(
    ("changes", "num_train", "notes"),
    [
        ({"validation": ValidationConfig(fraction=0.0)}, 40, 1),
        ({"train_split": "val", "validation": ValidationConfig(fraction=0.0)}, 8, 0),
    ],
)
def test_split_val_does_not_validate_where_nothing_does(
    plain: Path, tmp_path: Path, changes: dict[str, object], num_train: int, notes: int
) -> None:
    folder = changed(plain, tmp_path / "data", as_val(("kitchen", "office")))
    config: TrainConfig = make_config(folder, **changes)
    lesson = prepare_lesson(config)
    assert len(lesson.train) == num_train and lesson.validation == []
    assert len(lesson.notes) == notes
    assert all("8 frames of split val of tiny are not used" in note for note in lesson.notes)
