"""Read the label files published with the paper's code, in both of their conventions.

`scene,split,seq,img_path,t1,t2,t3,q1,q2,q3,q4`: t is the camera centre in the map (metres), q is
wxyz. In the files of 7-Scenes q is map_from_cam, in those of Cambridge Landmarks it is
cam_from_map (as NVM, their source, has it): `test_data_label_csv.py` shows it on the files.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mspr_ros.data.frame import Frame, name_problem, pose_problem, unit_quat
from mspr_ros.data.recording import (
    CAM_FROM_MAP,
    MAP_FROM_CAM,
    ImportOptions,
    Recording,
    frame_numbers,
    make_frame,
    synthetic_stamp_ns,
    trailing_number,
)
from mspr_ros.errors import DatasetError

COLUMNS = ("scene", "split", "seq", "img_path", "t1", "t2", "t3", "q1", "q2", "q3", "q4")
# Each convention of the quaternions, by its name or the family of files that has it.
CONVENTIONS = {
    MAP_FROM_CAM: MAP_FROM_CAM,
    CAM_FROM_MAP: CAM_FROM_MAP,
    "7scenes": MAP_FROM_CAM,
    "cambridge": CAM_FROM_MAP,
}
CONVENTION_OF_SCENE = {
    **dict.fromkeys(
        ("chess", "fire", "heads", "office", "pumpkin", "redkitchen", "stairs"), MAP_FROM_CAM
    ),
    **dict.fromkeys(
        ("GreatCourt", "KingsCollege", "OldHospital", "ShopFacade", "StMarysChurch", "Street"),
        CAM_FROM_MAP,
    ),
}

# Texts before the numbers in the names of a folder's images, as a share of the images: up to
# here each text is a sequence.
MAX_TEXTS_PER_IMAGE = 0.75


def read_labels(source: Path, options: ImportOptions) -> Recording:
    """Read a label file, or all label files of a folder and its folders.

    Images are looked for under `options.image_root`, by default beside the label file.

    Raises:
        DatasetError: If there is no label file or one cannot be read at all.
    """
    paths = [source] if source.is_file() else sorted(source.rglob("*.csv"))
    if not paths:
        raise DatasetError(f"{source} is no label file and no folder with *.csv files")
    reader = _Reader(options)
    for path in paths:
        for line, row in _rows(path, reader.problems):
            reader.add(path, line, row)
    if options.scene and len(reader.label_scenes) > 1:
        raise DatasetError(
            f"{source} holds the scenes {', '.join(reader.label_scenes)}, which cannot all be "
            f"named '{options.scene}'; import them one by one or leave the name out"
        )
    frames = numbered_sequences(reader.frames, options)
    scenes = tuple(dict.fromkeys(frame.scene for frame in frames))
    return Recording(frames, scenes, tuple(reader.problems), synthetic_stamps=True)


def _rows(path: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Give (line number, values by column) of every row of the right length."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            if sorted(header) != sorted(COLUMNS):
                raise DatasetError(
                    f"{path}:1: expected the columns {','.join(COLUMNS)}, got {','.join(header)}"
                )
            for row in rows:
                if len(row) == len(header):
                    yield rows.line_num, dict(zip(header, row, strict=True))
                elif row:
                    problems.append(
                        f"{path}:{rows.line_num}: expected {len(header)} values, got {len(row)}"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"cannot read {path}: {error}") from None


class _Reader:
    """Turn rows into frames, remembering the rows before for what may come only once."""

    def __init__(self, options: ImportOptions) -> None:
        self.frames: list[Frame] = []
        self.problems: list[str] = []
        self.label_scenes: dict[str, None] = {}
        self._options = options
        self._place_of: dict[tuple[str, str], str] = {}

    def add(self, path: Path, line: int, row: dict[str, str]) -> None:
        """Add the frame of one row, or what is wrong with it."""
        place = f"{path}:{line}"
        self.label_scenes.setdefault(row["scene"])
        scene = self._options.scene or row["scene"]
        split = row["split"] or self._options.split
        image = ((self._options.image_root or path.parent) / row["img_path"]).absolute()
        try:
            position = [float(row[key]) for key in COLUMNS[4:7]]
            quat_wxyz = [float(row[key]) for key in COLUMNS[7:]]
        except ValueError as error:
            self.problems.append(f"{place}: {error}")
            return
        first = self._place_of.setdefault((scene, row["img_path"]), place)
        found = [
            name_problem(scene, split),
            pose_problem(position, quat_wxyz),
            "" if first == place else f"the same image is already at {first}",
            "" if row["img_path"] else "the image's name is empty",
        ]
        convention = _convention(row["scene"], self._options.convention)
        if not convention:
            found.append(
                f"the convention of scene '{row['scene']}' is not known, choose it with "
                f"--convention {MAP_FROM_CAM} or {CAM_FROM_MAP}"
            )
        if not self._options.poses_only and not image.is_file():
            found.append(
                f"image {image} does not exist (--image-root names the folder, --poses-only "
                "does without)"
            )
        if any(found):
            self.problems.append(f"{place}: " + "; ".join(text for text in found if text))
            return
        quat = quat_map_cam_xyzw(quat_wxyz, convention)
        self.frames.append(make_frame(scene, split, row["seq"], 0, image, position, quat))


def _convention(scene: str, given: str) -> str:
    return CONVENTIONS[given] if given else CONVENTION_OF_SCENE.get(scene, "")


def quat_map_cam_xyzw(
    quat_wxyz: list[float], convention: str
) -> tuple[float, float, float, float]:
    """Give a label's orientation as x, y, z, w of `R_map_cam`, unit norm, w >= 0."""
    w, x, y, z = quat_wxyz
    if convention == CAM_FROM_MAP:  # the inverse of a unit quaternion is its conjugate
        x, y, z = -x, -y, -z
    return unit_quat((x, y, z, w))


def numbered_sequences(frames: Sequence[Frame], options: ImportOptions) -> tuple[Frame, ...]:
    """Give every frame its made-up stamp, from the number in its image's name.

    Street's folder `img` holds image1_000056 and image2_000056: numbers count within the text
    before them, so where a folder has a few such texts, each is a sequence of its own.
    """
    texts = [trailing_number(frame.image.stem)[0] for frame in frames]
    named = list(frames)
    for rows in _rows_by_sequence(frames):
        # A text for almost every image is part of a time or a serial number.
        if 1 < len({texts[row] for row in rows}) <= MAX_TEXTS_PER_IMAGE * len(rows):
            for row in rows:
                sequence = f"{frames[row].sequence}/{texts[row].rstrip('_-. ')}"
                named[row] = replace(frames[row], sequence=sequence)
    for rows in _rows_by_sequence(named):
        for row, number in zip(
            rows, frame_numbers([named[row].image for row in rows]), strict=True
        ):
            stamp_ns = synthetic_stamp_ns(number, options.rate_hz)
            named[row] = replace(named[row], stamp_ns=stamp_ns)
    return tuple(named)


def _rows_by_sequence(frames: Sequence[Frame]) -> list[list[int]]:
    rows: dict[tuple[str, str], list[int]] = {}
    for row, frame in enumerate(frames):
        rows.setdefault((frame.scene, frame.sequence), []).append(row)
    return list(rows.values())
