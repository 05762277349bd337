"""Write dataset folders: complete or not at all, and never over an existing one."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from mspr_ros.camera import CameraModel
from mspr_ros.config import dump_yaml
from mspr_ros.data.cameras import camera_to_mapping
from mspr_ros.data.frame import SPLITS, Frame
from mspr_ros.data.reader import COLUMNS, FRAMES_FILE, HEADER_FILE, read_folder
from mspr_ros.errors import DatasetError

Placing = Literal["link", "copy", "reference"]


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary sibling to write into; it takes the folder's name if nothing is raised.

    Raises:
        DatasetError: If the folder exists or cannot be made.
    """
    folder = Path(os.path.abspath(folder))
    if os.path.lexists(folder):
        raise DatasetError(f"{folder} exists and is not overwritten; remove it or name another")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise DatasetError(f"cannot write {folder}: {error.strerror}") from None
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())  # mkdtemp keeps its folder private
        temporary.rename(folder)
    except DatasetError as error:
        raise DatasetError(f"{folder} is not written:", error.problems or [str(error)]) from None
    except OSError as error:
        raise DatasetError(f"cannot write {folder}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_dataset(
    folder: Path,
    *,
    name: str,
    frames: Iterable[Frame],
    cameras: Mapping[str, CameraModel],
    scenes: Sequence[str],
    images: Placing = "link",
    synthetic_stamps: bool = False,
    poses_only: bool = False,
) -> None:
    """Write a dataset folder in one step, from frames whose images lie elsewhere.

    Args:
        folder: Must not exist yet.
        name: Name of the dataset.
        frames: In any order; it is kept.
        cameras: By the names that the frames use.
        scenes: The scenes' fixed order.
        images: `link` (symbolic, absolute target) or `copy` them into the folder, or `reference`
            them where they are, by absolute path.
        synthetic_stamps: Whether the stamps were made up at a constant rate.
        poses_only: Whether the images are named but not at hand; they are only referenced then.

    Raises:
        DatasetError: If the folder exists or a frame breaks a rule; nothing is left behind.
    """
    with new_folder(folder) as temporary:
        placed = [
            _place(frame, index, temporary, "reference" if poses_only else images)
            for index, frame in enumerate(frames)
        ]
        write_tables(
            temporary,
            name=name,
            frames=placed,
            cameras=cameras,
            scenes=scenes,
            synthetic_stamps=synthetic_stamps,
            poses_only=poses_only,
        )


def write_tables(
    folder: Path,
    *,
    name: str,
    frames: Sequence[Frame],
    cameras: Mapping[str, CameraModel],
    scenes: Sequence[str],
    synthetic_stamps: bool = False,
    poses_only: bool = False,
) -> None:
    """Write `dataset.yaml` and `frames.csv`, and check them by reading them back.

    Images inside the folder are named relative to it, others by absolute path.

    Raises:
        DatasetError: With every problem that a reader would meet.
    """
    used = {frame.split for frame in frames}
    header = {
        "name": name,
        "scenes": list(scenes),
        "splits": [split for split in SPLITS if split in used],
        "cameras": {key: camera_to_mapping(camera) for key, camera in cameras.items()},
        "synthetic_stamps": synthetic_stamps,
        "poses_only": poses_only,
    }
    (folder / HEADER_FILE).write_text(dump_yaml(header), encoding="utf-8")
    root = os.path.abspath(folder)
    with open(folder / FRAMES_FILE, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for frame in frames:
            image = os.path.normpath(os.path.join(root, frame.image))
            if image.startswith(root + os.sep):
                image = os.path.relpath(image, root)
            names = (frame.scene, frame.split, frame.sequence, int(frame.stamp_ns), frame.camera)
            numbers = map(float, (*frame.position, *frame.quat_xyzw))
            rows.writerow([*names, image, *numbers])
    read_folder(folder)


def _place(frame: Frame, index: int, folder: Path, images: Placing) -> Frame:
    """Put a frame's image where the dataset will name it."""
    source = Path(os.path.abspath(frame.image))
    if images == "reference" or not source.is_file():  # a missing file is told by the check
        return replace(frame, image=source)
    parts = [file_name(part) for part in (frame.scene, frame.sequence, frame.camera) if part]
    target = folder.joinpath("images", *parts, source.name)
    if os.path.lexists(target):
        target = target.with_name(f"{source.stem}-{index}{source.suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    if images == "copy":
        shutil.copyfile(source, target)
    else:
        target.symlink_to(source)
    return replace(frame, image=target)


def file_name(name: str) -> str:
    """Make a file's or a folder's name of any text."""
    return re.sub(r"[^\w.-]", "_", name).lstrip(".") or "_"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
