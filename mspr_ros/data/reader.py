"""Read and check `dataset.yaml` and `frames.csv`; every problem is found before any is told."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mspr_ros.camera import CameraModel
from mspr_ros.config import load_yaml
from mspr_ros.data.cameras import camera_from_mapping
from mspr_ros.data.frame import MAX_STAMP_NS, SPLITS, Frame, name_problem, pose_problem, unit_quat
from mspr_ros.errors import ConfigError, DatasetError, ImageError

HEADER_FILE = "dataset.yaml"
FRAMES_FILE = "frames.csv"
COLUMNS = (
    "scene",
    "split",
    "sequence",
    "stamp_ns",
    "camera",
    "image",
    *("tx", "ty", "tz"),
    *("qx", "qy", "qz", "qw"),
)
HEADER_KEYS = ("name", "scenes", "splits", "cameras", "synthetic_stamps", "poses_only")


@dataclass(frozen=True)
class Header:
    """What `dataset.yaml` says.

    Args:
        name: Name of the dataset.
        scenes: Names of the scenes in their fixed order.
        splits: The splits that frames are in.
        cameras: Camera models by name.
        synthetic_stamps: Whether the stamps were made up at a constant rate.
        poses_only: Whether the images are named but not at hand.
    """

    name: str
    scenes: tuple[str, ...]
    splits: tuple[str, ...] = ()
    cameras: dict[str, CameraModel] = field(default_factory=dict)
    synthetic_stamps: bool = False
    poses_only: bool = False


def read_folder(folder: Path) -> tuple[Header, tuple[Frame, ...], str]:
    """Read a dataset folder.

    Returns:
        The header, the frames in the order of the file, and the SHA-256 of both files.

    Raises:
        DatasetError: With every problem in both files.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a dataset folder: there is no such folder")
    problems: list[str] = []
    header = _read_header(folder / HEADER_FILE, problems)
    frames: list[Frame] = []
    data = b""
    try:
        data = (folder / FRAMES_FILE).read_bytes()
        frames = _read_frames(folder, data.decode("utf-8-sig"), header, problems)
    except OSError as error:
        problems.append(f"{FRAMES_FILE}: cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        problems.append(f"{FRAMES_FILE}:{line}: the text is not UTF-8")
    if problems or header is None:
        raise DatasetError(f"{folder} has {len(problems)} problem(s):", problems)
    digest = hashlib.sha256((folder / HEADER_FILE).read_bytes() + b"\0" + data)
    return header, tuple(frames), digest.hexdigest()


def _read_header(path: Path, problems: list[str]) -> Header | None:
    """Read `dataset.yaml`; give none, with the reasons in `problems`, where it is refused."""
    try:
        values = load_yaml(path)
    except ConfigError as error:
        problems.append(f"{path.name}: {error}")
        return None
    found: list[str] = [f"unknown key '{key}'" for key in values if key not in HEADER_KEYS]
    found += [f"missing key '{key}'" for key in ("name", "scenes") if key not in values]
    name = values.get("name", "-")
    if not isinstance(name, str) or not name:
        found.append("name: expected a text")
    scenes = _texts(values, "scenes", found)
    splits = _texts(values, "splits", found)
    found += [problem for scene in scenes if (problem := name_problem(scene, ""))]
    found += [f"splits: '{split}' is none of {SPLITS}" for split in splits if split not in SPLITS]
    flags = {key: values.get(key, False) for key in ("synthetic_stamps", "poses_only")}
    found += [f"{key}: expected true or false" for key in flags if type(flags[key]) is not bool]
    cameras = _read_cameras(values.get("cameras"), found)
    problems += [f"{path.name}: {problem}" for problem in found]
    return None if found else Header(name, scenes, splits, cameras, **flags)


def _texts(values: dict[str, Any], key: str, found: list[str]) -> tuple[str, ...]:
    given = values.get(key, [])
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        found.append(f"{key}: expected a list of texts, got {given!r}")
        return ()
    if len(set(given)) != len(given):
        found.append(f"{key}: a name is listed twice")
    return tuple(given)


def _read_cameras(given: Any, found: list[str]) -> dict[str, CameraModel]:
    cameras: dict[str, CameraModel] = {}
    if given is not None and not isinstance(given, dict):
        found.append("cameras: expected a mapping from name to camera")
        return cameras
    for name, values in (given or {}).items():
        try:
            cameras[str(name)] = camera_from_mapping(values)
        except ImageError as error:
            found.append(f"cameras.{name}: {error}")
    return cameras


def _read_frames(
    folder: Path, text: str, header: Header | None, problems: list[str]
) -> list[Frame]:
    """Read the rows of `frames.csv`, adding `frames.csv:LINE: ...` for every broken one."""
    rows = _rows(text, problems)
    line, columns = next(rows, (1, []))
    found = [f"unknown column '{name}'" for name in columns if name not in COLUMNS]
    found += [f"missing column '{name}'" for name in COLUMNS if name not in columns]
    found += [f"column '{name}' comes twice" for name in COLUMNS if columns.count(name) > 1]
    if found:
        problems += [f"{FRAMES_FILE}:{line}: {problem}" for problem in found]
        return []
    frames: list[Frame] = []
    check = _RowCheck(folder, header)
    for line, row in rows:
        if len(row) != len(columns):
            found = [f"expected {len(columns)} values, got {len(row)}"]
        else:
            frame, found = check.frame(dict(zip(columns, row, strict=True)), line)
            frames += [frame] if frame else []
        problems += [f"{FRAMES_FILE}:{line}: {problem}" for problem in found]
    return frames


def _rows(text: str, problems: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Give (line number, values) of every row that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        problems.append(f"{FRAMES_FILE}:{reader.line_num}: {error}")


class _RowCheck:
    """Turn rows into frames, remembering the rows before for what may come only once."""

    def __init__(self, folder: Path, header: Header | None) -> None:
        self._folder = os.path.abspath(folder)
        self._header = header
        self._line_of: dict[tuple[object, ...], int] = {}

    def frame(self, row: dict[str, str], line: int) -> tuple[Frame | None, list[str]]:
        """Give the frame of a row and what is wrong with it; one of the two is empty."""
        found: list[str] = []
        numbers = [_float(row, key, found) for key in COLUMNS[6:]]
        position, quat = numbers[:3], numbers[3:]
        if not found:
            found += [problem] if (problem := pose_problem(position, quat)) else []
        stamp_ns = _stamp_ns(row["stamp_ns"], found)
        found += [problem] if (problem := name_problem(row["scene"], row["split"])) else []
        found += self._unlisted(row)
        image = os.path.normpath(os.path.join(self._folder, row["image"]))
        if not row["image"]:
            found.append("the image's name is empty")
        elif not (self._header and self._header.poses_only) and not os.path.isfile(image):
            found.append(f"image file {row['image']} does not exist")
        found += self._seen(("image", row["scene"], image), "the same image", line)
        if stamp_ns >= 0:
            owner = (row["scene"], row["sequence"], row["camera"])
            text = "the same stamp of this sequence and camera"
            found += self._seen(("stamp", *owner, stamp_ns), text, line)
        if found:
            return None, found
        frame = Frame(
            scene=row["scene"],
            split=row["split"],
            sequence=row["sequence"],
            stamp_ns=stamp_ns,
            camera=row["camera"],
            image=Path(image),
            position=(position[0], position[1], position[2]),
            quat_xyzw=unit_quat(quat),
        )
        return frame, []

    def _unlisted(self, row: dict[str, str]) -> list[str]:
        if self._header is None:
            return []
        listed = {
            "scene": self._header.scenes,
            "split": ("", *self._header.splits),
            "camera": ("", *self._header.cameras),
        }
        return [
            f"{key} '{row[key]}' is not listed in {HEADER_FILE}"
            for key, names in listed.items()
            if row[key] not in names
        ]

    def _seen(self, key: tuple[object, ...], what: str, line: int) -> list[str]:
        first = self._line_of.setdefault(key, line)
        return [] if first == line else [f"{what} is already in line {first}"]


def _float(row: dict[str, str], key: str, found: list[str]) -> float:
    try:
        return float(row[key])
    except ValueError:
        found.append(f"{key} '{row[key]}' is not a number")
        return float("nan")


def _stamp_ns(text: str, found: list[str]) -> int:
    """Read a stamp; -1 where it is refused."""
    if text.isascii() and text.isdigit() and int(text) <= MAX_STAMP_NS:
        return int(text)
    found.append(f"stamp_ns '{text}' is not a whole number of nanoseconds from 0 to 2^63 - 1")
    return -1
