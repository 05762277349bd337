"""Read the layout of 7-Scenes: a pose file beside every image.

SCENE/seq-01/frame-000000.color.png   (or .jpg)
SCENE/seq-01/frame-000000.pose.txt    4x4, map_from_cam, optical axes, metres
SCENE/TrainSplit.txt, TestSplit.txt   lines `sequence1`; or, by image:
SCENE/split_train.txt, split_test.txt lines `seq-01/frame-000000.color.png`
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mspr_ros.data.frame import Frame
from mspr_ros.data.recording import (
    ImportOptions,
    Recording,
    joined,
    make_frame,
    nearest_rotation,
    read_lines,
    read_split_lists,
    rigid_problem,
    synthetic_stamp_ns,
)
from mspr_ros.errors import DatasetError
from mspr_ros.geometry import Array, quat_xyzw_from_rotation

_FRAME = re.compile(r"frame-(\d+)\.(?:color\.(?:png|jpg|jpeg)|pose\.txt)", flags=re.ASCII)
_SEQUENCE = re.compile(r"seq-(\d+)", flags=re.ASCII)


def read_seven_scenes(source: Path, options: ImportOptions) -> Recording:
    """Read a scene's folder, or a folder of such folders (scenes in order of their names).

    Raises:
        DatasetError: If there is no scene, or several but one name for them.
    """
    folders = [source] if _sequences(source) else []
    if not folders and source.is_dir():
        folders = sorted(path for path in source.iterdir() if _sequences(path))
    if not folders:
        raise DatasetError(f"{source} holds no seq-01, seq-02, ... and no folder that does")
    if options.scene and len(folders) > 1:
        raise DatasetError(
            f"{source} holds {len(folders)} scenes, which cannot all be named '{options.scene}'; "
            "import them one by one or leave the name out"
        )
    scenes = [
        _read_scene(folder, options.scene or folder.absolute().name, options) for folder in folders
    ]
    return joined(scenes)


def _sequences(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _SEQUENCE.fullmatch(path.name))


def _read_scene(folder: Path, scene: str, options: ImportOptions) -> Recording:
    problems: list[str] = []
    choose = _split_chooser(folder, options, problems)
    frames: list[Frame] = []
    left_out: dict[str, int] = {}
    for sequence in _sequences(folder):
        for number, image, pose in _pairs(sequence, problems):
            split, reason = choose(image)
            if reason:
                text = f"{scene}: {reason}"
                left_out[text] = left_out.get(text, 0) + 1
                continue
            T_map_cam = _read_pose(pose, problems)
            if T_map_cam is None:
                continue
            stamp_ns = synthetic_stamp_ns(number, options.rate_hz)
            quat = quat_xyzw_from_rotation(nearest_rotation(T_map_cam[:3, :3]))
            where = (T_map_cam[:3, 3], quat)
            frames.append(make_frame(scene, split, sequence.name, stamp_ns, image, *where))
    return Recording(tuple(frames), (scene,), tuple(problems), left_out, synthetic_stamps=True)


def _split_chooser(
    folder: Path, options: ImportOptions, problems: list[str]
) -> Callable[[Path], tuple[str, str]]:
    """Give the function from an image to its split, or to the reason why it is left out.

    Lists of images are finer than lists of sequences, so they win where a scene has both.
    """
    by_image = read_split_lists(folder, problems)
    by_sequence = None if by_image is not None else _sequence_splits(folder, problems)

    def choose(image: Path) -> tuple[str, str]:
        if by_image is not None:
            name = image.relative_to(folder).as_posix()
            return (by_image[name], "") if name in by_image else ("", "frames in no split list")
        if by_sequence is not None:
            name = image.parent.name
            return by_sequence.get(name, ""), (
                "" if name in by_sequence else f"sequence {name} in no split file"
            )
        return options.split, ""

    return choose


def _sequence_splits(folder: Path, problems: list[str]) -> dict[str, str] | None:
    """Read `TrainSplit.txt` and `TestSplit.txt`: the split of each sequence's folder."""
    split_of: dict[str, str] = {}
    found = False
    for split, path in (
        ("train", folder / "TrainSplit.txt"),
        ("test", folder / "TestSplit.txt"),
    ):
        if not path.is_file():
            continue
        found = True
        for line, text in read_lines(path):
            match = re.fullmatch(r"sequence(\d+)", text, flags=re.ASCII)
            name = f"seq-{int(match.group(1)):02}" if match else ""
            if not match:
                problems.append(f"{path}:{line}: expected 'sequence1' or the like, got '{text}'")
            elif name in split_of:
                problems.append(f"{path}:{line}: {text} is listed before")
            elif not (folder / name).is_dir():
                problems.append(f"{path}:{line}: {text} is listed but {name} does not exist")
            else:
                split_of[name] = split
    return split_of if found else None


def _pairs(sequence: Path, problems: list[str]) -> list[tuple[int, Path, Path]]:
    """Give (number, image, pose file) of every frame that has both."""
    images: dict[int, Path] = {}
    poses: dict[int, Path] = {}
    for path in sorted(sequence.iterdir()):
        if not (match := _FRAME.fullmatch(path.name)):
            continue  # depth images and the like
        number = int(match.group(1))
        files = poses if path.suffix == ".txt" else images
        if number in files:
            problems.append(f"{path}: the frame already has {files[number].name}")
        files.setdefault(number, path)
    problems += [f"{images[n]}: has no pose file" for n in sorted(images.keys() - poses.keys())]
    problems += [f"{poses[n]}: has no image" for n in sorted(poses.keys() - images.keys())]
    return [(n, images[n], poses[n]) for n in sorted(images.keys() & poses.keys())]


def _read_pose(path: Path, problems: list[str]) -> Array | None:
    """Read a 4x4 matrix, telling which line is broken; none if one is."""
    rows: list[list[float]] = []
    for line, text in read_lines(path):
        try:
            rows.append([float(word) for word in text.split()])
        except ValueError:
            problems.append(f"{path}:{line}: '{text}' is not a row of numbers")
            return None
        if len(rows[-1]) != 4:
            problems.append(f"{path}:{line}: expected 4 numbers, got {len(rows[-1])}")
            return None
    if len(rows) != 4:
        problems.append(f"{path}:1: expected 4 rows, got {len(rows)}")
        return None
    matrix = np.array(rows)
    if problem := rigid_problem(matrix):
        problems.append(f"{path}:1: {problem}")
        return None
    return matrix
