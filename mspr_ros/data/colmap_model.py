"""Read the cameras and images of a COLMAP model, as text or binary.

cameras.txt   CAMERA_ID MODEL WIDTH HEIGHT PARAMS...
images.txt    IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of 2D points (may be blank)

Poses are cam_from_map with optical axes. COLMAP puts (0.5, 0.5) at the centre of the first pixel,
OpenCV and this package put (0, 0) there: principal points lose half a pixel here, and only here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mspr_ros.camera import CameraModel
from mspr_ros.data.frame import pose_problem
from mspr_ros.data.recording import read_lines
from mspr_ros.errors import DatasetError, ImageError

# By COLMAP's number: name, how many focal lengths lead the parameters, which of our models fits,
# and how many coefficients follow. A lens with fewer coefficients is one whose others are zero.
_MODELS: dict[int, tuple[str, int, str, int]] = {
    0: ("SIMPLE_PINHOLE", 1, "none", 0),
    1: ("PINHOLE", 2, "none", 0),
    2: ("SIMPLE_RADIAL", 1, "plumb_bob", 1),
    3: ("RADIAL", 1, "plumb_bob", 2),
    4: ("OPENCV", 2, "plumb_bob", 4),
    5: ("OPENCV_FISHEYE", 2, "equidistant", 4),
    6: ("FULL_OPENCV", 2, "rational_polynomial", 8),
    8: ("SIMPLE_RADIAL_FISHEYE", 1, "equidistant", 1),
    9: ("RADIAL_FISHEYE", 1, "equidistant", 2),
}
_UNSUPPORTED = {7: "FOV", 10: "THIN_PRISM_FISHEYE", 11: "RAD_TAN_THIN_PRISM_FISHEYE"}
_PARAMETERS_OF_UNSUPPORTED = {7: 5, 10: 12, 11: 16}
_NUMBER_OF = {entry[0]: number for number, entry in _MODELS.items()} | {
    name: number for number, name in _UNSUPPORTED.items()
}
_COEFFICIENTS = {"none": 0, "plumb_bob": 4, "equidistant": 4, "rational_polynomial": 8}
PIXEL_CENTRE_PX = 0.5


class ColmapImage(NamedTuple):
    """One registered image: its pose cam_from_map, x y z and w x y z."""

    place: str
    name: str
    camera_id: int
    translation: tuple[float, ...]
    quat_wxyz: tuple[float, ...]


@dataclass
class ColmapModel:
    """What a model's files hold.

    Args:
        cameras: By COLMAP's id.
        images: In the order of the file.
        refused_cameras: Ids of cameras among the problems.
        problems: Every row that is refused, with its file and place.
    """

    cameras: dict[int, CameraModel] = field(default_factory=dict)
    images: list[ColmapImage] = field(default_factory=list)
    refused_cameras: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def add_camera(
        self, place: str, camera_id: int, model: str, size: Sequence[int], numbers: Sequence[float]
    ) -> None:
        """Add a camera, or what is wrong with it."""
        try:
            if camera_id in self.cameras or camera_id in self.refused_cameras:
                raise ImageError(f"camera {camera_id} comes twice")
            self.cameras[camera_id] = colmap_camera(model, size[0], size[1], numbers)
        except ImageError as error:
            self.refused_cameras.add(camera_id)
            self.problems.append(f"{place}: {error}")

    def add_image(self, image: ColmapImage) -> None:
        """Add an image, or what is wrong with it."""
        if problem := pose_problem(image.translation, image.quat_wxyz):
            self.problems.append(f"{image.place}: {problem}")
        elif not image.name:
            self.problems.append(f"{image.place}: the image's name is empty")
        elif image.camera_id not in self.cameras.keys() | self.refused_cameras:
            self.problems.append(f"{image.place}: there is no camera {image.camera_id}")
        else:
            self.images.append(image)


def colmap_camera(model: str, width: int, height: int, numbers: Sequence[float]) -> CameraModel:
    """Turn COLMAP's parameters of a camera into ours.

    Raises:
        ImageError: If the model is not supported, or the parameters do not fit it.
    """
    number = _NUMBER_OF.get(model, -1)
    if number not in _MODELS:
        known = ", ".join(entry[0] for entry in _MODELS.values())
        raise ImageError(
            f"camera model {model} is not supported, only {known}; undistort the images with "
            "`colmap image_undistorter` and import its result"
        )
    _, num_focal, ours, num_coefficients = _MODELS[number]
    expected = num_focal + 2 + num_coefficients
    if len(numbers) != expected:
        raise ImageError(f"camera model {model} has {expected} parameters, got {len(numbers)}")
    fx, fy = numbers[0], numbers[num_focal - 1]
    cx, cy = (value - PIXEL_CENTRE_PX for value in numbers[num_focal : num_focal + 2])
    given = tuple(numbers[num_focal + 2 :])
    # SIMPLE_RADIAL and the like: the leading coefficients of the full polynomial.
    distortion = given + (0.0,) * (_COEFFICIENTS[ours] - len(given))
    return CameraModel(width, height, fx, fy, cx, cy, ours, distortion)


def model_files(folder: Path) -> tuple[Path, Path] | None:
    """Find (cameras, images) of the model in a folder, binary before text as COLMAP does."""
    for suffix in (".bin", ".txt"):
        paths = (folder / f"cameras{suffix}", folder / f"images{suffix}")
        if all(path.is_file() for path in paths):
            return paths
    return None


def read_model(cameras: Path, images: Path) -> ColmapModel:
    """Read a model from its two files.

    Raises:
        DatasetError: If a file cannot be read at all.
    """
    model = ColmapModel()
    if cameras.suffix == ".bin":
        _read_binary(cameras, _binary_camera, model)
        _read_binary(images, _binary_image, model)
    else:
        _text_cameras(cameras, model)
        _text_images(images, model)
    return model


def _text_cameras(path: Path, model: ColmapModel) -> None:
    for line, text in read_lines(path):
        place, words = f"{path}:{line}", text.split()
        try:
            camera_id, name, width, height = int(words[0]), words[1], int(words[2]), int(words[3])
            numbers = [float(word) for word in words[4:]]
        except (ValueError, IndexError):
            model.problems.append(
                f"{place}: expected 'CAMERA_ID MODEL WIDTH HEIGHT PARAMS...', got '{text}'"
            )
        else:
            model.add_camera(place, camera_id, name, (width, height), numbers)


def _text_images(path: Path, model: ColmapModel) -> None:
    """Read pairs of lines; a blank second line is an image without points, and counts."""
    lines = [(line, text) for line, text in read_lines(path, keep_blank=True)]
    while lines and not lines[0][1]:
        lines.pop(0)
    for (line, text), (next_line, points) in zip(
        lines[::2], [*lines[1::2], (0, "")], strict=False
    ):
        if len(points.split()) % 3:
            model.problems.append(
                f"{path}:{next_line}: expected the 2D points of the image above (x y id ..., or a "
                "blank line)"
            )
            return  # which line is which is not known any more
        if not text:
            model.problems.append(f"{path}:{line}: expected an image, got a blank line")
            return
        words = text.split(maxsplit=9)
        try:
            int(words[0])
            numbers = tuple(float(word) for word in words[1:8])
            camera_id, name = int(words[8]), words[9]
        except (ValueError, IndexError):
            model.problems.append(
                f"{path}:{line}: expected 'IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME', "
                f"got '{text}'"
            )
        else:
            place = f"{path}:{line}"
            model.add_image(ColmapImage(place, name, camera_id, numbers[4:], numbers[:4]))


class _Bytes:
    """Read little-endian values one after another, telling where a file ends too early."""

    def __init__(self, path: Path) -> None:
        try:
            self.data = path.read_bytes()
        except OSError as error:
            raise DatasetError(f"cannot read {path}: {error.strerror}") from None
        self.path, self.offset = path, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        """Give the next values in the layout of `struct`."""
        size = struct.calcsize("<" + layout)
        self.skip(size)
        return struct.unpack_from("<" + layout, self.data, self.offset - size)

    def text(self) -> str:
        """Give the text up to the next zero byte."""
        end = self.data.find(b"\0", self.offset)
        if end < 0:
            raise self._too_short()
        raw, self.offset = self.data[self.offset : end], end + 1
        return raw.decode("utf-8", errors="replace")

    def skip(self, size: int) -> None:
        """Go on by a number of bytes."""
        if self.offset + size > len(self.data):
            raise self._too_short()
        self.offset += size

    def _too_short(self) -> DatasetError:
        return DatasetError(
            f"{self.path} ends at byte {len(self.data)} in the middle of what was announced: it "
            "is cut off or no COLMAP file"
        )


def _read_binary(
    path: Path, read_row: Callable[[_Bytes, str, ColmapModel], None], model: ColmapModel
) -> None:
    file = _Bytes(path)
    (count,) = file.take("Q")
    for row in range(1, count + 1):
        read_row(file, f"{path}: entry {row}", model)
    if file.offset != len(file.data):
        left = len(file.data) - file.offset
        raise DatasetError(f"{path} has {left} bytes more than its {count} entries take")


def _binary_camera(file: _Bytes, place: str, model: ColmapModel) -> None:
    camera_id, number, width, height = file.take("iiQQ")
    if number in _MODELS:
        name, num_focal, _, num_coefficients = _MODELS[number]
        size = num_focal + 2 + num_coefficients
    elif number in _UNSUPPORTED:
        name, size = _UNSUPPORTED[number], _PARAMETERS_OF_UNSUPPORTED[number]
    else:  # its length is not known, so nothing after it can be read
        raise DatasetError(f"{place}: camera model number {number} is not known")
    model.add_camera(place, camera_id, name, (width, height), file.take(f"{size}d"))


def _binary_image(file: _Bytes, place: str, model: ColmapModel) -> None:
    _, *numbers, camera_id = file.take("I7dI")
    name = file.text()
    (num_points,) = file.take("Q")
    file.skip(24 * num_points)  # x, y, and the id of the 3D point
    quat_wxyz, translation = tuple(numbers[:4]), tuple(numbers[4:])
    model.add_image(ColmapImage(place, name, camera_id, translation, quat_wxyz))
