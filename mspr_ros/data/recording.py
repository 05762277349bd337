"""What importers share: their one interface, and reading text files by line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path

import numpy as np

from mspr_ros.camera import CameraModel
from mspr_ros.data.frame import MAX_STAMP_NS, Frame, unit_quat
from mspr_ros.data.instants import rows_by_camera
from mspr_ros.errors import DatasetError
from mspr_ros.geometry import (
    Array,
    ArrayLike,
    as_float_tuple,
    invert_transform,
    quat_xyzw_from_rotation,
)

# Published matrices hold seven digits; fusion drifts further from a rotation than rounding does.
RIGID_TOLERANCE = 5e-3
# Made-up stamps start at one second: zero means "the latest" or "not set" all over ROS.
FIRST_SYNTHETIC_NS = 1_000_000_000
# Numbers in file names above this are times or serial numbers, not frames to count by.
MAX_FRAME_NUMBER = 10_000_000

# What a pose in a file may mean: the transform from camera to map, its inverse, or a mixture, the
# camera's centre in the map with the rotation of the inverse (NVM, Cambridge Landmarks).
MAP_FROM_CAM, CAM_FROM_MAP, CENTRE_AND_CAM_FROM_MAP = "map_from_cam", "cam_from_map", "cambridge"
# What may be given as a convention of transforms: its name, or the family of files that has it.
TRANSFORM_CONVENTIONS = {
    MAP_FROM_CAM: MAP_FROM_CAM,
    CAM_FROM_MAP: CAM_FROM_MAP,
    "7scenes": MAP_FROM_CAM,
    "cambridge": CENTRE_AND_CAM_FROM_MAP,
}
# How the axes of a camera are named in a file: the columns are the optical axes (x right, y down,
# z forward) in the file's own, so that R_map_optical = R_map_file @ AXES[name].
AXES: dict[str, Array] = {
    "optical": np.eye(3),
    "opengl": np.diag([1.0, -1.0, -1.0]),  # x right, y up, z back
    "ros": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),  # forward, left, up
}


@dataclass(frozen=True)
class ImportOptions:
    """What a reader may need to know beside the files.

    Args:
        scene: Name of the scene; empty takes it from the source.
        split: Split of frames for which the source names none.
        rate_hz: Rate of made-up stamps, where the source has none.
        max_gap_s: Poses further apart in time than this are not interpolated between.
        convention: Quaternion convention of a label file; empty derives it from the scene.
        image_root: Folder that the images of a label file are named from.
        poses_only: Whether to do without the image files.
        quaternion: Order of unnamed quaternion columns, `xyzw` or `wxyz`.
        axes: A key of `AXES`; empty for what the format itself says.
        columns: Header names of a CSV by what they hold, for other names than the usual ones.
        trajectory: File of the poses where images and poses lie apart.
        max_difference_s: An image with no poses around it takes the nearest pose up to here.
        scale: Metres in one unit of the source's positions.
    """

    scene: str = ""
    split: str = ""
    rate_hz: float = 30.0
    max_gap_s: float = 0.05
    convention: str = ""
    image_root: Path | None = None
    poses_only: bool = False
    quaternion: str = ""
    axes: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    trajectory: Path | None = None
    max_difference_s: float = 0.01
    scale: float = 1.0


@dataclass(frozen=True)
class Recording:
    """What a reader found.

    Args:
        frames: Frames; they name a camera only where the source has cameras of its own.
        scenes: The scenes in their fixed order.
        problems: Every frame that is refused, with its file and line.
        left_out: Frames left out although nothing is wrong with them, by reason.
        synthetic_stamps: Whether the stamps were made up.
        cameras: The source's own cameras, by the names that frames use.
    """

    frames: tuple[Frame, ...]
    scenes: tuple[str, ...]
    problems: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    synthetic_stamps: bool = False
    cameras: Mapping[str, CameraModel] = field(default_factory=dict)


def joined(recordings: Sequence[Recording]) -> Recording:
    """Join recordings of one source, keeping their order."""
    left_out: dict[str, int] = {}
    for recording in recordings:
        for reason, count in recording.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + count
    return Recording(
        frames=tuple(frame for recording in recordings for frame in recording.frames),
        scenes=tuple(dict.fromkeys(name for recording in recordings for name in recording.scenes)),
        problems=tuple(text for recording in recordings for text in recording.problems),
        left_out=left_out,
        synthetic_stamps=any(recording.synthetic_stamps for recording in recordings),
        cameras={
            name: camera for recording in recordings for name, camera in recording.cameras.items()
        },
    )


def optical_pose(transform: ArrayLike, convention: str, axes: str) -> tuple[Array, Array]:
    """Normalise poses as a file has them to `T_map_cam` with optical axes.

    Args:
        transform: (..., 4, 4) rigid, what the file says.
        convention: A key of `TRANSFORM_CONVENTIONS`.
        axes: A key of `AXES`.

    Returns:
        Camera centres in the map (..., 3) and rotations of `T_map_cam`, x y z w (..., 4).
    """
    T_map_file = np.array(transform, dtype=np.float64)
    if TRANSFORM_CONVENTIONS[convention] == CAM_FROM_MAP:
        T_map_file = invert_transform(T_map_file)
    elif TRANSFORM_CONVENTIONS[convention] == CENTRE_AND_CAM_FROM_MAP:
        T_map_file[..., :3, :3] = np.swapaxes(T_map_file[..., :3, :3], -1, -2).copy()
    rotation = nearest_rotation(T_map_file[..., :3, :3]) @ AXES[axes]
    return T_map_file[..., :3, 3], quat_xyzw_from_rotation(rotation)


def make_frame(
    scene: str,
    split: str,
    sequence: str,
    stamp_ns: int,
    image: Path,
    position: ArrayLike,
    quat_xyzw: ArrayLike,
    camera: str = "",
) -> Frame:
    """Build a frame from arrays (3,) and (4,)."""
    x, y, z = as_float_tuple(position)
    quat = unit_quat(as_float_tuple(quat_xyzw))
    return Frame(scene, split, sequence, stamp_ns, camera, image.absolute(), (x, y, z), quat)


def read_lines(path: Path, *, keep_blank: bool = False) -> Iterator[tuple[int, str]]:
    """Give (line number, text) of each line that is neither blank nor a `#` comment.

    Args:
        path: The file.
        keep_blank: Give blank lines too, where they mean something.

    Raises:
        DatasetError: If the file cannot be read as text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path} is not a text file (UTF-8)") from None
    for line, content in enumerate(text.splitlines(), start=1):
        stripped = content.strip()
        if (stripped or keep_blank) and not stripped.startswith("#"):
            yield line, stripped


def stamp_ns_from_text(text: str) -> int:
    """Read decimal seconds as nanoseconds, exactly: no float in between.

    Raises:
        ValueError: If it is no number, negative, beyond 2^63 ns, or finer than a nanosecond.
    """
    try:
        stamp = Decimal(text) * 1_000_000_000
        whole = int(stamp)
    except (InvalidOperation, ValueError, OverflowError):
        raise ValueError(f"'{text}' is not a time in seconds") from None
    if whole != stamp or not 0 <= whole <= MAX_STAMP_NS:
        raise ValueError(f"time '{text}' s is not a whole number of nanoseconds in [0, 2^63)")
    return whole


def synthetic_stamp_ns(number: int, rate_hz: float) -> int:
    """Give the made-up stamp of a frame by its number, so that gaps in the numbers stay gaps."""
    return FIRST_SYNTHETIC_NS + round(number * 1_000_000_000 / Fraction(rate_hz))


def trailing_number(name: str) -> tuple[str, int | None]:
    """Split a file's stem at its last number: `image1_000056` gives (`image1_`, 56).

    A stem that is one number with a point is a time in seconds, and none to count by.
    """
    if re.fullmatch(r"\d+\.\d+", name, flags=re.ASCII):
        return name, None
    match = re.fullmatch(r"(.*?)(\d+)\D*", name, flags=re.ASCII)
    return (match.group(1), int(match.group(2))) if match else (name, None)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Give the key that sorts `frame2` before `frame10`."""
    parts = re.split(r"(\d+)", name, flags=re.ASCII)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts if part]


def frame_numbers(images: Sequence[Path]) -> list[int]:
    """Number the images of one sequence in time.

    Where the names are one text and a number, the number counts, so that images which are missing
    leave a gap in time; else the place in the order of the names does.
    """
    parts = [trailing_number(image.stem) for image in images]
    counted = [number for _, number in parts if number is not None]
    if (
        len(set(counted)) == len(images)
        and len({text for text, _ in parts}) == 1
        and len({image.parent for image in images}) == 1
        and max(counted) <= MAX_FRAME_NUMBER
    ):
        return counted
    order = sorted(range(len(images)), key=lambda index: natural_key(str(images[index])))
    place_of = {index: place for place, index in enumerate(order)}
    return [place_of[index] for index in range(len(images))]


def with_synthetic_stamps(frames: Sequence[Frame], rate_hz: float) -> tuple[Frame, ...]:
    """Sort frames by scene, sequence and image name, and make up their stamps at a rate.

    The cameras of one rig took their images side by side, so each is numbered on its own.
    """
    groups: dict[tuple[str, str], list[Frame]] = {}
    for frame in frames:
        groups.setdefault((frame.scene, frame.sequence), []).append(frame)
    result: list[Frame] = []
    for group in groups.values():
        for rows in rows_by_camera([frame.camera for frame in group]):
            one = [group[row] for row in rows]
            one.sort(key=lambda frame: natural_key(str(frame.image)))
            numbers = frame_numbers([frame.image for frame in one])
            result += [
                replace(frame, stamp_ns=synthetic_stamp_ns(number, rate_hz))
                for frame, number in zip(one, numbers, strict=True)
            ]
    return tuple(result)


def rigid_problem(transform: Array) -> str:
    """Say why a (4, 4) matrix is no rigid transform; empty when it is one."""
    if not np.all(np.isfinite(transform)):
        return "the matrix holds a value that is not a finite number"
    if not np.allclose(transform[3], [0.0, 0.0, 0.0, 1.0], rtol=0.0, atol=1e-6):
        return "the matrix' last row is not 0 0 0 1"
    rotation = transform[:3, :3]
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if error > RIGID_TOLERANCE or np.linalg.det(rotation) < 0.0:
        return f"the matrix is not rigid: R R^T is off the identity by {error:.3g}"
    return ""


def nearest_rotation(matrix: Array) -> Array:
    """Give the rotations closest to (..., 3, 3) matrices that are almost ones."""
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ right)


def read_split_lists(folder: Path, problems: list[str]) -> dict[str, str] | None:
    """Read `split_<split>.txt`, one image name a line, where a folder has any.

    Returns:
        The split of each image named, or none if there is no such file.
    """
    split_of: dict[str, str] = {}
    place_of: dict[str, str] = {}
    paths = [(split, folder / f"split_{split}.txt") for split in ("train", "val", "test")]
    paths = [(split, path) for split, path in paths if path.is_file()]
    for split, path in paths:
        for line, name in read_lines(path):
            place = f"{path}:{line}"
            if name in split_of:
                problems.append(f"{place}: {name} is already listed at {place_of[name]}")
            split_of.setdefault(name, split)
            place_of.setdefault(name, place)
            if not (folder / name).is_file():
                problems.append(f"{place}: {name} does not exist")
    return split_of if paths else None
