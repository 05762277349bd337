"""Read a folder of images and, apart from it, a trajectory in TUM's form.

FOLDER/1305031229.528748.png   images named by their time, in seconds with a point, or as whole
                               seconds, milliseconds, microseconds or nanoseconds since 1970;
FOLDER/rgb.txt                 or any names, with lines `seconds name`
TRAJECTORY                     lines `seconds tx ty tz qx qy qz qw`
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mspr_ros.data.frame import Frame
from mspr_ros.data.recording import (
    MAP_FROM_CAM,
    ImportOptions,
    Recording,
    make_frame,
    natural_key,
    optical_pose,
    stamp_ns_from_text,
)
from mspr_ros.data.tum import Trajectory, read_image_list, read_trajectory
from mspr_ros.errors import DatasetError
from mspr_ros.geometry import Array, transform_from_pose

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
TRAJECTORY_NAMES = ("groundtruth.txt", "trajectory.txt", "poses.txt", "traj.txt")
# Whole numbers by how many digits a time of our days has in each unit, since 1970.
_NS_OF_DIGITS = {10: 1_000_000_000, 13: 1_000_000, 16: 1_000, 19: 1}


def read_image_folder(source: Path, options: ImportOptions) -> Recording:
    """Read the images of one folder, with poses from a trajectory.

    An image between two poses at most `options.max_gap_s` apart gets the pose between them; else
    the nearest pose, if it is at most `options.max_difference_s` away; else it is left out.

    Raises:
        DatasetError: If there are no images or no trajectory, or a file cannot be read at all.
    """
    if not source.is_dir():
        raise DatasetError(f"{source} is not a folder of images")
    problems: list[str] = []
    trajectory = _in_map(read_trajectory(_trajectory_path(source, options), problems), options)
    images = _timed_images(source, problems)
    scene = options.scene or source.absolute().name
    stamps_ns = np.array([stamp_ns for stamp_ns, _ in images], dtype=np.int64)
    positions, quats, valid = _poses(trajectory, stamps_ns, options)
    frames: list[Frame] = []
    for i in np.flatnonzero(valid):
        stamp_ns, image = images[int(i)]
        where = (positions[i], quats[i])
        frames.append(make_frame(scene, options.split or "train", scene, stamp_ns, image, *where))
    reason = (
        f"{scene}: no two poses within {options.max_gap_s:g} s around the image, and none nearer "
        f"than {options.max_difference_s:g} s"
    )
    missing = len(images) - len(frames)
    return Recording(
        tuple(frames), (scene,), tuple(problems), {reason: missing} if missing else {}
    )


def _trajectory_path(source: Path, options: ImportOptions) -> Path:
    if options.trajectory is not None:
        return options.trajectory
    for folder in (source, source.absolute().parent):
        for name in TRAJECTORY_NAMES:
            if (folder / name).is_file():
                return folder / name
    raise DatasetError(
        f"no trajectory beside the images of {source} ({', '.join(TRAJECTORY_NAMES)}); name it "
        "with --trajectory FILE"
    )


def _in_map(trajectory: Trajectory, options: ImportOptions) -> Trajectory:
    """Turn a trajectory into `T_map_cam`: between inverses a camera would not move straight."""
    T_file = transform_from_pose(trajectory.positions, trajectory.quats_xyzw)
    where = optical_pose(T_file, options.convention or MAP_FROM_CAM, options.axes or "optical")
    return Trajectory(trajectory.stamps_ns, *where)


def _timed_images(folder: Path, problems: list[str]) -> list[tuple[int, Path]]:
    """Give (stamp, image) of a folder, in order of time."""
    index = folder / "rgb.txt"
    if index.is_file():
        listed = read_image_list(index, folder, problems)
        return sorted((stamp_ns, folder / name) for stamp_ns, name in listed)
    paths = [path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS]
    if not paths:
        raise DatasetError(f"{folder} holds no images ({', '.join(EXTENSIONS)}) and no rgb.txt")
    images: dict[int, Path] = {}
    for path in sorted(paths, key=lambda path: natural_key(path.name)):
        try:
            stamp_ns = stamp_ns_from_name(path.stem)
        except ValueError as error:
            problems.append(
                f"{path}: {error}; an rgb.txt with lines 'seconds name' tells the time"
            )
            continue
        if stamp_ns in images:
            problems.append(f"{path}: {images[stamp_ns].name} has the same time")
        images.setdefault(stamp_ns, path)
    return sorted(images.items())


def stamp_ns_from_name(stem: str) -> int:
    """Read a time from the name of an image, exactly.

    Raises:
        ValueError: If the name is no time.
    """
    if "." in stem:
        return stamp_ns_from_text(stem)
    if not (stem.isascii() and stem.isdigit()) or len(stem) not in _NS_OF_DIGITS:
        raise ValueError(
            f"'{stem}' is not a time: expected seconds with a point, or 10, 13, 16 or 19 digits "
            "(s, ms, us, ns since 1970)"
        )
    return int(stem) * _NS_OF_DIGITS[len(stem)]


def _poses(
    trajectory: Trajectory, stamps_ns: npt.NDArray[np.int64], options: ImportOptions
) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """Interpolate, and fall back to the nearest pose where that is near enough in time."""
    positions, quats, valid = trajectory.at(stamps_ns, options.max_gap_s)
    known = trajectory.stamps_ns
    if len(known) == 0:
        return positions, quats, valid
    after = np.minimum(np.searchsorted(known, stamps_ns), len(known) - 1)
    before = np.maximum(after - 1, 0)
    nearer_before = np.abs(known[before] - stamps_ns) < np.abs(known[after] - stamps_ns)
    nearest = np.where(nearer_before, before, after)
    near = np.abs(known[nearest] - stamps_ns) <= round(options.max_difference_s * 1e9)
    taken = near & ~valid
    positions[taken] = trajectory.positions[nearest[taken]]
    quats[taken] = trajectory.quats_xyzw[nearest[taken]]
    return positions, quats, valid | taken
