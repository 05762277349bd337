"""Read a plain CSV of poses whose convention the user declares.

The header names the columns, in any order: `image`, `tx,ty,tz`, `qx,qy,qz,qw` (or `q1,q2,q3,q4`
with a declared order) and, where there are any, `stamp_s` or `stamp_ns`, `scene`, `split`,
`sequence`. Other columns are not read; other names are declared (`image=file,tx=x`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from mspr_ros.data.frame import MAX_STAMP_NS, Frame, name_problem, pose_problem
from mspr_ros.data.recording import (
    TRANSFORM_CONVENTIONS,
    ImportOptions,
    Recording,
    make_frame,
    optical_pose,
    stamp_ns_from_text,
    with_synthetic_stamps,
)
from mspr_ros.errors import DatasetError
from mspr_ros.geometry import transform_from_pose

POSITION = ("tx", "ty", "tz")
NAMED_QUATERNION = ("qx", "qy", "qz", "qw")
NUMBERED_QUATERNION = ("q1", "q2", "q3", "q4")
OPTIONAL = ("stamp_s", "stamp_ns", "scene", "split", "sequence")
ROLES = ("image", *POSITION, *NAMED_QUATERNION, *NUMBERED_QUATERNION, *OPTIONAL)


def read_pose_csv(source: Path, options: ImportOptions) -> Recording:
    """Read one CSV file.

    Args:
        source: The file; images are named from `options.image_root`, by default its folder.
        options: `convention` must be given: with `map_from_cam` a row is the transform from
            camera to map, with `cam_from_map` its inverse, translation and all, with `cambridge`
            the camera's centre and the inverse's rotation.

    Raises:
        DatasetError: If the convention is not declared, or the file cannot be read at all.
    """
    if not options.convention:
        raise DatasetError(
            f"a CSV does not say what its poses mean: declare it with --convention "
            f"{' or '.join(TRANSFORM_CONVENTIONS)}"
        )
    if not source.is_file():
        raise DatasetError(f"{source} is not a CSV file")
    reader = _Reader(source, options)
    for line, row in reader.rows():
        reader.add(f"{source}:{line}", row)
    frames = tuple(reader.frames)
    if not reader.has_stamps:
        frames = with_synthetic_stamps(frames, options.rate_hz)
    scenes = tuple(dict.fromkeys(frame.scene for frame in frames))
    return Recording(
        frames, scenes, tuple(reader.problems), synthetic_stamps=not reader.has_stamps
    )


class _Reader:
    """Turn rows into frames, remembering the rows before for what may come only once."""

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self.frames: list[Frame] = []
        self.problems: list[str] = []
        self.has_stamps = False
        self._path, self._options = path, options
        self._root = options.image_root or path.absolute().parent
        self._place_of: dict[tuple[str, str], str] = {}
        self._quaternion: tuple[str, ...] = NAMED_QUATERNION

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Give (line number, values by what they hold) of every row of the right length."""
        try:
            with open(self._path, encoding="utf-8-sig", newline="") as file:
                rows = csv.reader(file, strict=True, skipinitialspace=True)
                header = [name.strip().lstrip("# ") for name in next(rows, [])]
                index_of = self._columns(header)
                for row in rows:
                    if len(row) == len(header):
                        yield (
                            rows.line_num,
                            {role: row[at].strip() for role, at in index_of.items()},
                        )
                    elif row:
                        self.problems.append(
                            f"{self._path}:{rows.line_num}: expected {len(header)} values, "
                            f"got {len(row)}"
                        )
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"cannot read {self._path}: {error}") from None

    def _columns(self, header: list[str]) -> dict[str, int]:
        """Find the columns, and the order of the quaternion's.

        Raises:
            DatasetError: With everything that the header lacks.
        """
        problems: list[str] = []
        index_of: dict[str, int] = {}
        for role in ROLES:
            name = self._options.columns.get(role, role)
            if header.count(name) > 1:
                problems.append(f"the column '{name}' comes {header.count(name)} times")
            elif name in header:
                index_of[role] = header.index(name)
            elif role in self._options.columns:
                problems.append(f"there is no column '{name}', declared to hold {role}")
        if all(role in index_of for role in NUMBERED_QUATERNION):
            order = self._options.quaternion
            if order not in ("xyzw", "wxyz"):
                problems.append("q1,q2,q3,q4 need a declared order: --quaternion xyzw or wxyz")
            letters = [NUMBERED_QUATERNION[order.find(letter)] for letter in "xyzw"]
            self._quaternion = tuple(letters)
        elif self._options.quaternion:
            problems.append("--quaternion is for columns q1,q2,q3,q4; qx,qy,qz,qw name themselves")
        required = ("image", *POSITION, *self._quaternion)
        problems += [
            f"there is no column '{self._options.columns.get(role, role)}' (--columns "
            f"{role}=NAME declares another)"
            for role in required
            if role not in index_of and role not in self._options.columns
        ]
        if problems:
            found = ",".join(header)
            raise DatasetError(f"{self._path}:1: the header '{found}' does not do:", problems)
        self.has_stamps = "stamp_s" in index_of or "stamp_ns" in index_of
        return index_of

    def add(self, place: str, row: Mapping[str, str]) -> None:
        """Add the frame of one row, or everything that is wrong with it."""
        options = self._options
        scene = options.scene or row.get("scene") or self._path.stem
        split = row.get("split") or options.split or "train"
        found = [name_problem(scene, split)]
        numbers: list[float] = []
        stamp_ns = 0
        try:
            numbers = [float(row[role]) for role in (*POSITION, *self._quaternion)]
            found.append(pose_problem(numbers[:3], numbers[3:]))
        except ValueError as error:
            found.append(str(error))
        try:
            stamp_ns = _stamp_ns(row)
        except ValueError as error:
            found.append(str(error))
        first = self._place_of.setdefault((scene, row["image"]), place)
        image = self._root / row["image"]
        if not row["image"]:
            found.append("the image's name is empty")
        elif first != place:
            found.append(f"the same image is already at {first}")
        elif not options.poses_only and not image.is_file():
            found.append(f"image {image} does not exist (--image-root names the folder)")
        if any(found):
            self.problems.append(f"{place}: " + "; ".join(text for text in found if text))
            return
        T_file = transform_from_pose(numbers[:3], numbers[3:])
        position, quat = optical_pose(T_file, options.convention, options.axes or "optical")
        sequence = row.get("sequence") or scene
        frame = make_frame(scene, split, sequence, 0, image, position, quat)
        self.frames.append(replace(frame, stamp_ns=stamp_ns))


def _stamp_ns(row: Mapping[str, str]) -> int:
    """Read a row's time, zero where the file has none."""
    if "stamp_ns" not in row:
        return stamp_ns_from_text(row["stamp_s"]) if "stamp_s" in row else 0
    text = row["stamp_ns"]
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_STAMP_NS):
        raise ValueError(f"stamp_ns '{text}' is not a whole number in [0, 2^63)")
    return int(text)
