"""Read `transforms.json` of NeRF, instant-ngp and nerfstudio.

{"camera_angle_x": 0.69,                                  either the field of view in radians,
 "fl_x": 500, "fl_y": 500, "cx": 320, "cy": 240,          or pixels (also in each frame),
 "w": 640, "h": 480, "k1": 0, "k2": 0, "p1": 0, "p2": 0,
 "frames": [{"file_path": "images/0001.jpg", "transform_matrix": [[4x4]]}]}

The matrices are map_from_cam with OpenGL's camera axes (x right, y up, z back). Principal points
come from COLMAP, where (0.5, 0.5) is the centre of the first pixel; here it is (0, 0).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mspr_ros.camera import CameraModel
from mspr_ros.data.frame import SPLITS, Frame
from mspr_ros.data.images import image_size
from mspr_ros.data.recording import (
    MAP_FROM_CAM,
    ImportOptions,
    Recording,
    joined,
    make_frame,
    optical_pose,
    rigid_problem,
    with_synthetic_stamps,
)
from mspr_ros.errors import DatasetError, ImageError
from mspr_ros.geometry import Array
from mspr_ros.lens import lens

EXTENSIONS = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")
FISHEYE = ("OPENCV_FISHEYE",)
PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
PIXEL_CENTRE_PX = 0.5


def read_transforms_json(source: Path, options: ImportOptions) -> Recording:
    """Read a file, or a folder with `transforms.json` or `transforms_<split>.json`.

    Splits come from the files' names or from nerfstudio's `train_filenames` and the like; else
    every frame is for training. Stamps are made up from the images' names.

    Raises:
        DatasetError: If there is no such file, or one cannot be read at all.
    """
    paths = {source: ""} if source.is_file() else {source / "transforms.json": ""}
    if not all(path.is_file() for path in paths):
        paths = {source / f"transforms_{split}.json": split for split in SPLITS}
        paths = {path: split for path, split in paths.items() if path.is_file()}
    if not paths:
        raise DatasetError(f"{source} holds no transforms.json and no transforms_train.json")
    cameras: dict[CameraModel, str] = {}
    recordings = [_File(path, split, options, cameras).read() for path, split in paths.items()]
    return joined(recordings)


class _File:
    """Read one file, collecting what is wrong with it."""

    def __init__(
        self, path: Path, split: str, options: ImportOptions, cameras: dict[CameraModel, str]
    ) -> None:
        self.problems: list[str] = []
        self._path, self._split, self._options = path, split, options
        self._root = options.image_root or path.absolute().parent
        self._scene = options.scene or path.absolute().parent.name
        self._cameras = cameras
        self._sizes: dict[str, tuple[int, int]] = {}
        self._place_of: dict[Path, str] = {}

    def read(self) -> Recording:
        """Give every frame that is in order."""
        content = self._content()
        splits = _listed_splits(content)
        frames: list[Frame] = []
        for number, entry in enumerate(content["frames"]):
            place = f"{self._path}: frames[{number}]"
            try:
                frames.append(self._frame(place, entry, content, splits))
            except (ValueError, ImageError) as error:
                self.problems.append(f"{place}: {error}")
        return Recording(
            with_synthetic_stamps(frames, self._options.rate_hz),
            (self._scene,),
            tuple(self.problems),
            synthetic_stamps=True,
            cameras={name: camera for camera, name in self._cameras.items()},
        )

    def _content(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise DatasetError(f"cannot read {self._path}: {error.strerror}") from None
        except ValueError as error:
            raise DatasetError(f"{self._path} is not JSON: {error}") from None
        if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
            raise DatasetError(f"{self._path} holds no object with a list 'frames'")
        return content

    def _frame(
        self, place: str, entry: Any, content: Mapping[str, Any], splits: Mapping[str, str]
    ) -> Frame:
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
            raise ValueError("expected an object with file_path and transform_matrix")
        name = PurePosixPath(entry["file_path"].replace("\\", "/"))
        image = self._find(name)
        first = self._place_of.setdefault(image, place)
        if first != place:
            raise ValueError(f"the same image is already at {first.rpartition(' ')[2]}")
        axes = self._options.axes or "opengl"
        position, quat = optical_pose(_matrix(entry), MAP_FROM_CAM, axes)
        split = self._split or splits.get(name.as_posix(), "") or self._options.split or "train"
        sequence = name.parent.as_posix()
        return make_frame(
            self._scene,
            split,
            self._scene if sequence in (".", "") else sequence,
            0,
            image,
            position,
            quat,
            camera=self._camera({**content, **entry}, image),
        )

    def _find(self, name: PurePosixPath) -> Path:
        """Give the image of a name that may lack its extension."""
        path = self._root / name
        if path.is_file() or self._options.poses_only:
            return path
        for extension in EXTENSIONS:
            if (found := path.with_name(path.name + extension)).is_file():
                return found
        raise ValueError(f"image {path} does not exist (nor with {', '.join(EXTENSIONS[:3])})")

    def _camera(self, values: Mapping[str, Any], image: Path) -> str:
        """Give the name of the frame's camera; empty where the file tells no focal length."""
        if self._options.poses_only or not {"fl_x", "camera_angle_x"} & values.keys():
            return ""
        if {"w", "h"} <= values.keys():
            size = (_whole(values, "w"), _whole(values, "h"))
        else:
            key = repr([values.get(name) for name in ("fl_x", "camera_angle_x", "cx", "cy")])
            size = self._sizes.get(key) or image_size(image)
            self._sizes.setdefault(key, size)
        return self._cameras.setdefault(_camera(values, *size), f"camera{len(self._cameras) + 1}")


def _camera(values: Mapping[str, Any], width: int, height: int) -> CameraModel:
    """Build the camera of a frame from its own values and those of the file.

    Raises:
        ValueError: If a value is no number, or the lens is of another kind.
    """
    model = str(values.get("camera_model", "OPENCV_FISHEYE" if values.get("is_fisheye") else ""))
    if model not in (*PERSPECTIVE, *FISHEYE, ""):
        known = ", ".join((*PERSPECTIVE, *FISHEYE))
        raise ValueError(f"camera_model {model} is not supported, only {known}")
    if "fl_x" in values:
        fx = _number(values, "fl_x")
    else:
        fx = 0.5 * width / math.tan(0.5 * _number(values, "camera_angle_x"))
    fy = fx
    if "fl_y" in values:
        fy = _number(values, "fl_y")
    elif "fl_x" not in values and "camera_angle_y" in values:
        fy = 0.5 * height / math.tan(0.5 * _number(values, "camera_angle_y"))
    cx = _number(values, "cx", width / 2.0) - PIXEL_CENTRE_PX
    cy = _number(values, "cy", height / 2.0) - PIXEL_CENTRE_PX
    k1, k2, k3, k4, p1, p2 = (
        _number(values, key, 0.0) for key in ("k1", "k2", "k3", "k4", "p1", "p2")
    )
    if model in FISHEYE:
        bent = lens("equidistant", (k1, k2, k3, k4))
    elif k4:
        raise ValueError(f"k4 = {k4} of a perspective lens is not supported, expected 0")
    else:
        bent = lens("plumb_bob", (k1, k2, p1, p2, k3) if k3 else (k1, k2, p1, p2))
    return CameraModel(width, height, fx, fy, cx, cy, *bent)


def _matrix(entry: Mapping[str, Any]) -> Array:
    """Give the frame's (4, 4) matrix; a last row that is left out is 0 0 0 1."""
    try:
        matrix = np.array(entry.get("transform_matrix"), dtype=np.float64)
    except (ValueError, TypeError):
        matrix = np.zeros(0)
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])
    if matrix.shape != (4, 4):
        raise ValueError("transform_matrix must be 4 rows of 4 numbers")
    if problem := rigid_problem(matrix):
        raise ValueError(problem)
    return matrix


def _listed_splits(content: Mapping[str, Any]) -> dict[str, str]:
    """Give the splits of nerfstudio's `train_filenames`, `val_filenames`, `test_filenames`."""
    return {
        PurePosixPath(name).as_posix(): split
        for split in SPLITS
        for name in content.get(f"{split}_filenames") or ()
        if isinstance(name, str)
    }


def _number(values: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key} must be a number, got {value!r}")
    return float(value)


def _whole(values: Mapping[str, Any], key: str) -> int:
    value = _number(values, key)
    if value != int(value):
        raise ValueError(f"{key} must be a whole number, got {value}")
    return int(value)
