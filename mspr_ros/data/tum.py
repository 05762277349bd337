"""Read the layout of TUM RGB-D: images and poses apart, matched by time.

RECORDING/rgb.txt           lines `seconds rgb/seconds.png`
RECORDING/groundtruth.txt   lines `seconds tx ty tz qx qy qz qw`, map_from_cam, metres
RECORDING/split_train.txt, split_test.txt   optional, lines `rgb/seconds.png`
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mspr_ros.data.frame import Frame, pose_problem
from mspr_ros.data.recording import (
    ImportOptions,
    Recording,
    joined,
    make_frame,
    read_lines,
    read_split_lists,
    stamp_ns_from_text,
)
from mspr_ros.errors import DatasetError
from mspr_ros.geometry import Array, interpolate_poses


@dataclass(frozen=True)
class Trajectory:
    """Poses by time: stamps (N,), positions (N, 3), quaternions (N, 4)."""

    stamps_ns: npt.NDArray[np.int64]
    positions: Array
    quats_xyzw: Array

    def at(
        self, stamps_ns: npt.ArrayLike, max_gap_s: float
    ) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
        """Interpolate at stamps (M,): positions, quaternions, and which could be answered."""
        query_ns = np.asarray(stamps_ns, dtype=np.int64)
        poses = (self.stamps_ns, self.positions, self.quats_xyzw)
        return interpolate_poses(*poses, query_ns, round(max_gap_s * 1e9))


def read_tum(source: Path, options: ImportOptions) -> Recording:
    """Read one recording, or a folder of recordings.

    Each recording is a scene of its own, named after its folder; with `options.scene` all are
    sequences of that one scene, which asks that their poses share one map frame.

    Raises:
        DatasetError: If there is no recording or a file cannot be read at all.
    """
    folders = [source] if (source / "rgb.txt").is_file() else []
    if not folders and source.is_dir():
        folders = sorted(path for path in source.iterdir() if (path / "rgb.txt").is_file())
    if not folders:
        raise DatasetError(f"{source} holds no rgb.txt and no folder that does")
    return joined([_read_recording(folder, options) for folder in folders])


def _read_recording(folder: Path, options: ImportOptions) -> Recording:
    problems: list[str] = []
    sequence = folder.absolute().name
    scene = options.scene or sequence
    split_of = read_split_lists(folder, problems)
    images = read_image_list(folder / "rgb.txt", folder, problems)
    trajectory = read_trajectory(folder / "groundtruth.txt", problems)
    positions, quats, valid = trajectory.at([stamp for stamp, _ in images], options.max_gap_s)
    frames: list[Frame] = []
    left_out: dict[str, int] = {}
    for i, (stamp_ns, name) in enumerate(images):
        reason = ""
        if split_of is not None and name not in split_of:
            reason = f"{scene}: frames in no split list"
        elif not valid[i]:
            reason = f"{scene}: no poses around the image within {options.max_gap_s:g} s"
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        split = options.split if split_of is None else split_of[name]
        where = (positions[i], quats[i])
        frames.append(make_frame(scene, split, sequence, stamp_ns, folder / name, *where))
    return Recording(tuple(frames), (scene,), tuple(problems), left_out)


def read_image_list(path: Path, folder: Path, problems: list[str]) -> list[tuple[int, str]]:
    """Read `rgb.txt`: (stamp, image name in `folder`) of each line that is in order."""
    images: list[tuple[int, str]] = []
    line_of: dict[object, int] = {}
    for line, text in read_lines(path):
        words = text.split(maxsplit=1)
        try:
            if len(words) != 2:
                raise ValueError(f"expected 'seconds image', got '{text}'")
            stamp_ns, name = stamp_ns_from_text(words[0]), words[1]
            for what in (stamp_ns, name):
                if (first := line_of.setdefault(what, line)) != line:
                    raise ValueError(f"the same time or image is already in line {first}")
            if not (folder / name).is_file():
                raise ValueError(f"image {name} does not exist")
        except ValueError as error:
            problems.append(f"{path}:{line}: {error}")
        else:
            images.append((stamp_ns, name))
    return images


def read_trajectory(path: Path, problems: list[str]) -> Trajectory:
    """Read lines `seconds tx ty tz qx qy qz qw`: the poses of each line that is in order."""
    stamps: list[int] = []
    poses: list[list[float]] = []
    for line, text in read_lines(path):
        words = text.split()
        try:
            if len(words) != 8:
                raise ValueError(f"expected 8 numbers, got {len(words)}")
            stamp_ns = stamp_ns_from_text(words[0])
            numbers = [float(word) for word in words[1:]]
            if problem := pose_problem(numbers[:3], numbers[3:]):
                raise ValueError(problem)
            if stamps and stamp_ns <= stamps[-1]:
                raise ValueError(f"time {words[0]} does not come after the line before")
        except ValueError as error:
            problems.append(f"{path}:{line}: {error}")
        else:
            stamps.append(stamp_ns)
            poses.append(numbers)
    table = np.array(poses, dtype=np.float64).reshape(-1, 7)
    return Trajectory(np.array(stamps, dtype=np.int64), table[:, :3], table[:, 3:])
