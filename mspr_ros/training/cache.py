"""Decoded training pictures on disk: decoded and reduced once, read as they are ever after.

A cache is a folder named after what it holds. Its files are read piece by piece instead of being
mapped: a mapped page counts as this process's memory, and a large data set would fill it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from mspr_ros.camera import CameraModel
from mspr_ros.config import to_mapping
from mspr_ros.data.images import read_image
from mspr_ros.errors import ConfigError, MsprError
from mspr_ros.preprocess import ImageU8
from mspr_ros.training.configuration import TrainConfig
from mspr_ros.training.disk import readable
from mspr_ros.training.distributed import Processes
from mspr_ros.training.lesson import Lesson
from mspr_ros.training.reduction import Reduction
from mspr_ros.training.samples import LabeledFrame, naming_file

_FORMAT = 1
_MANIFEST = "cache.json"
_INDEX = "index.npy"


class ImageCache:
    """Read pictures from a finished cache; safe to use from several threads.

    Args:
        folder: Of the cache.
        frames: What it was written for, in the same order.
        config: Likewise.
    """

    def __init__(self, folder: Path, frames: Sequence[LabeledFrame], config: TrainConfig) -> None:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        self._reduction = Reduction(config)
        self._shapes = [(entry["height"], entry["width"], 3) for entry in manifest["files"]]
        self._files = [open(folder / entry["name"], "rb") for entry in manifest["files"]]  # noqa: SIM115
        self._index = np.load(folder / _INDEX, allow_pickle=False)  # (N, 2) file and row
        self._place = {_name(item): place for place, item in enumerate(frames)}

    def read(self, item: LabeledFrame) -> tuple[ImageU8, LabeledFrame]:
        """Give a frame's picture, and the frame with the camera of that picture.

        Raises:
            MsprError: If the file ends before the picture does.
        """
        number, row = (int(value) for value in self._index[self._place[_name(item)]])
        file = self._files[number]
        image = np.empty(self._shapes[number], dtype=np.uint8)
        if os.preadv(file.fileno(), [image.data], row * image.nbytes) < image.nbytes:
            raise MsprError(
                f"the image cache {file.name} was cut short while it was in use; go on with "
                "--resume, which writes it anew"
            )
        return image, item._replace(camera=self._reduction.camera(item.camera))


def open_cache(
    parent: Path,
    frames: Sequence[LabeledFrame],
    config: TrainConfig,
    data_hash: str,
    *,
    reserve_bytes: int = 0,
    say: Callable[[str], None] = print,
) -> ImageCache:
    """Open the cache of these frames, and write it first where there is none.

    Args:
        parent: Folder of all caches; it is made.
        frames: All that will be asked for.
        config: Says how small pictures may be.
        data_hash: Of the datasets.
        reserve_bytes: Room on the disk that others need.
        say: Takes the announcement of what is about to be written.

    Raises:
        ConfigError: If the folder cannot be written or has not the room.
        ImageError: If a picture cannot be read.
    """
    key = cache_key(frames, config, data_hash)
    folder = parent / key
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _only_one(parent / f"{key}.lock"):
            if not _is_whole(folder):
                shutil.rmtree(folder, ignore_errors=True)
                _announce(folder, frames, config, reserve_bytes, say)
                _write(folder, frames, config)
    except OSError as error:
        raise MsprError(f"cannot write the image cache {folder}: {error.strerror}") from None
    return ImageCache(folder, frames, config)


def open_cache_together(
    lesson: Lesson, config: TrainConfig, processes: Processes, *, reserve_bytes: int
) -> ImageCache:
    """Open the cache of a lesson: the first process writes what is missing, the others wait."""
    frames = [*lesson.train, *lesson.validation]
    if not processes.is_first:
        processes.wait()
    parent = Path(config.image_cache)
    cache = open_cache(parent, frames, config, lesson.data_hash, reserve_bytes=reserve_bytes)
    if processes.is_first:
        processes.wait()
    return cache


def cache_key(frames: Sequence[LabeledFrame], config: TrainConfig, data_hash: str) -> str:
    """Name what a cache holds: datasets, picture files as they are now, and their reduction."""
    pipeline = to_mapping(config.preprocess)
    asked = {name: pipeline[name] for name in ("width", "height", "resize_shorter_px")}
    asked |= {"virtual_camera": pipeline["virtual_camera"], "focal": config.augmentation.focal}
    digest = hashlib.sha256(json.dumps([_FORMAT, data_hash, asked]).encode())
    for item in frames:
        try:
            state = os.stat(item.frame.image)
        except OSError as error:
            raise ConfigError(f"cannot read {item.frame.image}: {error.strerror}") from None
        digest.update(f"{item.frame.image}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _name(item: LabeledFrame) -> tuple[Path, CameraModel | None]:
    return item.frame.image, item.camera


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Let one process write at a time; the system forgets the lock of a process that dies."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_whole(folder: Path) -> bool:
    """Tell whether a cache is there with all its bytes."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return all(
            (folder / entry["name"]).stat().st_size
            == entry["count"] * entry["height"] * entry["width"] * 3
            for entry in manifest["files"]
        )
    except (OSError, ValueError, KeyError):
        return False


def _announce(
    folder: Path,
    frames: Sequence[LabeledFrame],
    config: TrainConfig,
    reserve_bytes: int,
    say: Callable[[str], None],
) -> None:
    """Tell the size of the cache before it is written, from one picture of every sequence."""
    reduction = Reduction(config)
    counts: dict[tuple[Any, ...], int] = {}
    first: dict[tuple[Any, ...], LabeledFrame] = {}
    for item in frames:
        sequence = (item.scene, item.frame.sequence, item.camera)
        counts[sequence] = counts.get(sequence, 0) + 1
        first.setdefault(sequence, item)
    size = sum(
        counts[sequence] * _reduced(item, reduction).nbytes for sequence, item in first.items()
    )
    free = shutil.disk_usage(folder.parent).free
    if size + reserve_bytes > free:
        raise ConfigError(
            f"the image cache takes {readable(size)} (and the run {readable(reserve_bytes)}), but "
            f"{folder.parent} has {readable(free)} free; leave image_cache empty or name a "
            "folder on another disk"
        )
    say(
        f"image cache {folder}: writing {len(frames)} pictures, {readable(size)} "
        f"({readable(free)} are free)"
    )


def _write(folder: Path, frames: Sequence[LabeledFrame], config: TrainConfig) -> None:
    """Write a cache beside its place, and move it there when it is complete."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that died
    partial.mkdir()
    try:
        files: dict[tuple[int, int], tuple[int, BinaryIO, int]] = {}
        index = np.zeros((len(frames), 2), dtype=np.int64)
        with ExitStack() as stack:
            for place, image in enumerate(_pictures(frames, config)):
                shape = (image.shape[0], image.shape[1])
                if shape not in files:
                    path = partial / _file_name(shape)
                    files[shape] = (len(files), stack.enter_context(open(path, "wb")), 0)
                number, file, count = files[shape]
                file.write(np.ascontiguousarray(image).data)
                index[place] = number, count
                files[shape] = (number, file, count + 1)
        np.save(partial / _INDEX, index)
        entries = [
            {"name": _file_name(shape), "height": shape[0], "width": shape[1], "count": count}
            for shape, (_, _, count) in files.items()
        ]
        text = json.dumps({"format": _FORMAT, "files": entries}, indent=2)
        (partial / _MANIFEST).write_text(text + "\n", encoding="utf-8")
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _file_name(shape: tuple[int, int]) -> str:
    return f"{shape[1]}x{shape[0]}.rgb"


def _reduced(item: LabeledFrame, reduction: Reduction) -> ImageU8:
    image = read_image(item.frame.image)
    with naming_file(item):
        return reduction.picture(image, item.camera)


def _pictures(frames: Sequence[LabeledFrame], config: TrainConfig) -> Iterator[ImageU8]:
    """Read and reduce pictures in order, a few ahead of the one that is written."""
    reduction = Reduction(config)
    waiting: deque[Future[ImageU8]] = deque()
    with (
        ThreadPoolExecutor(max_workers=config.num_workers) as pool,
        tqdm(total=len(frames), unit="picture") as bar,
    ):
        for item in frames:
            waiting.append(pool.submit(_reduced, item, reduction))
            if len(waiting) > 4 * config.num_workers:
                yield waiting.popleft().result()
                bar.update()
        while waiting:
            yield waiting.popleft().result()
            bar.update()
