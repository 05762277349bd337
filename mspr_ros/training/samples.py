"""Training pictures and their labels, drawn so that any step can be drawn again.

Which frames a batch holds and how each is varied follows from (seed, epoch, place in the epoch)
alone. A run resumed in the middle of an epoch therefore sees the very batches it would have seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import default_collate

from mspr_ros.camera import CameraModel
from mspr_ros.data.augmentation import random_view
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.frame import Frame
from mspr_ros.data.images import read_image
from mspr_ros.data.light import draw_light
from mspr_ros.errors import DatasetError, ImageError
from mspr_ros.geometry import Array, quat_xyzw_from_rotation, rotation_from_quat_xyzw
from mspr_ros.network.clustering import assign_orientation_clusters, assign_position_clusters
from mspr_ros.network.regressor import Selection
from mspr_ros.preprocess import ImageU8, Preprocessor, resize_and_cut
from mspr_ros.training.configuration import TrainConfig

# An epoch and a place in it (which seed the frame's variation), and the frame's index.
Draw = tuple[int, int, int]

_BATCHES_AHEAD = 3

# Last numbers of seeds, so that no two kinds of chance share a stream. NumPy takes a missing
# number for a zero: (seed, epoch) is (seed, epoch, 0).
_ORDER, _VARIATION, _SHARE = 1, 2, 3


class Batch(NamedTuple):
    """Pictures and labels of a training step."""

    images_u8: torch.Tensor  # (B, H, W, 3)
    position: torch.Tensor  # (B, 3) metres
    orientation: torch.Tensor  # (B, 4) quaternion xyzw map_from_cam
    selection: Selection  # true scene and clusters, (B,) each
    light: torch.Tensor  # (B, L) how light and lens are varied, see `vary_light`


class LabeledFrame(NamedTuple):
    """One frame with its camera and the number of its scene."""

    frame: Frame
    camera: CameraModel | None
    scene: int


class ImageSource(Protocol):
    """Where pictures come from."""

    def read(self, item: LabeledFrame) -> tuple[ImageU8, LabeledFrame]:
        """Give a frame's picture, and the frame with the camera of that picture."""
        ...


class ImageFiles:
    """Decode pictures from their files, each time."""

    def read(self, item: LabeledFrame) -> tuple[ImageU8, LabeledFrame]:
        """Give a frame's picture, and the frame as it is."""
        return read_image(item.frame.image), item


@contextmanager
def naming_file(item: LabeledFrame) -> Iterator[None]:
    """Put the file's name before what is wrong with its picture.

    Raises:
        ImageError: With the name of the file.
    """
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{item.frame.image}: {error}") from None


def labeled_frames(datasets: Sequence[Dataset], scenes: Sequence[str]) -> list[LabeledFrame]:
    """Gather the frames of several datasets under one numbering of scenes.

    Raises:
        DatasetError: If the images of a dataset are not at hand.
    """
    blind = [dataset.name for dataset in datasets if dataset.poses_only]
    if blind:
        raise DatasetError(
            f"{', '.join(blind)}: poses only, the images are not at hand; import the dataset with "
            "its images to train on it"
        )
    return [
        LabeledFrame(frame, dataset.camera_of(frame), int(scene))
        for dataset in datasets
        for frame, scene in zip(dataset.frames, dataset.scene_indices(scenes), strict=True)
    ]


class TrainingSamples:
    """Read, vary and label frames.

    Args:
        frames: The frames to train on.
        config: Says how they are varied.
        position_centroids: (S, Kp, 3).
        orientation_centroids: (S, Ko, 4) xyzw.
    """

    images: ImageSource

    def __init__(
        self,
        frames: Sequence[LabeledFrame],
        config: TrainConfig,
        position_centroids: Array,
        orientation_centroids: Array,
    ) -> None:
        self.frames = frames
        self.config = config
        self.preprocessor = Preprocessor(config.preprocess)
        self.position_centroids = position_centroids
        self.orientation_centroids = orientation_centroids
        self.images = ImageFiles()

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, draw: Draw) -> Batch:
        """Give one drawn frame, varied as its draw says; a batch without its first axis."""
        epoch, place, index = draw
        rng = np.random.default_rng((self.config.seed, epoch, place, _VARIATION))
        item = self.frames[index]
        image, own = self.images.read(item)
        with naming_file(item):
            image, quat_xyzw = self._vary(image, own, rng)
        position = np.array(item.frame.position)
        selection = Selection(
            torch.tensor(item.scene),
            torch.tensor(assign_position_clusters(position, self.position_centroids[item.scene])),
            torch.tensor(
                assign_orientation_clusters(quat_xyzw, self.orientation_centroids[item.scene])
            ),
        )
        return Batch(
            torch.from_numpy(image),
            torch.tensor(position, dtype=torch.float32),
            torch.tensor(quat_xyzw, dtype=torch.float32),
            selection,
            torch.from_numpy(draw_light(self.config.augmentation, rng)),
        )

    def _vary(
        self, image: ImageU8, item: LabeledFrame, rng: np.random.Generator
    ) -> tuple[ImageU8, Array]:
        """Give the network's picture, still uint8, and the orientation it was seen with."""
        pipeline, augmentation = self.config.preprocess, self.config.augmentation
        quat_xyzw = np.array(item.frame.quat_xyzw)
        virtual = pipeline.virtual_camera
        if virtual and item.camera and (augmentation.moves_camera or augmentation.random_crop):
            view = random_view(augmentation, item.camera, virtual, rng)
            picture = self.preprocessor.geometric(
                image, item.camera, view.R_cam_virtual, view.focal_factor
            )
            # The virtual camera is the camera of this picture: R_map_cam' = R_map_cam R_cam_cam'.
            R_map_cam = rotation_from_quat_xyzw(quat_xyzw)
            return picture, quat_xyzw_from_rotation(R_map_cam @ view.R_cam_virtual)
        if augmentation.random_crop:
            size = (pipeline.width, pipeline.height, pipeline.resize_shorter_px)
            offset = (rng.uniform(), rng.uniform())
            return resize_and_cut(image, *size, offset=offset), quat_xyzw
        return self.preprocessor.geometric(image, item.camera), quat_xyzw


def balance_groups(
    frames: Sequence[LabeledFrame], config: TrainConfig, position_centroids: Array
) -> np.ndarray:
    """Give the group of every frame, (N,); `balance` draws all groups equally often.

    A group is a scene, or with `balance: clusters` a position cluster of a scene.
    """
    scenes = np.array([item.scene for item in frames], dtype=np.int64)
    if config.balance != "clusters":
        return scenes
    clusters = [
        int(assign_position_clusters(item.frame.position, position_centroids[item.scene]))
        for item in frames
    ]
    return np.asarray(scenes * position_centroids.shape[1] + clusters)


class EpochBatches:
    """Yield the draws of one epoch's batches, from a given step on.

    Args:
        group_of_frame: (N,) what is balanced, see `balance_groups`.
        config: Batch size, balance and seed.
        epoch: Which epoch.
        first_step: Batches before this one are left out.
        share: This process's number and how many share every batch between them.
    """

    def __init__(
        self,
        group_of_frame: np.ndarray,
        config: TrainConfig,
        epoch: int,
        first_step: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.order = _epoch_order(group_of_frame, config, epoch)
        self.seed = config.seed
        self.epoch = epoch
        self.first_step = first_step
        self.batch_size = config.batch_size
        self.share = share

    def __len__(self) -> int:
        return steps_per_epoch(len(self.order), self.batch_size) - self.first_step

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in range(self.first_step, self.first_step + len(self)):
            yield self.draws(step)

    def draws(self, step: int) -> list[Draw]:
        """Give this process's share of a step's draws; the step is counted from the epoch's."""
        rank, count = self.share
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        if count > 1:  # balanced groups come in turn: each process would see its own for ever
            rng = np.random.default_rng((self.seed, self.epoch, step, _SHARE))
            places = rng.permutation(places)
        size = self.batch_size // count
        own = places[rank * size : (rank + 1) * size]
        return [(self.epoch, int(place), int(self.order[place])) for place in own]


def with_epochs(config: TrainConfig, num_frames: int) -> TrainConfig:
    """Turn a total of images into epochs, where the configuration gives one."""
    if config.total_images == 0:
        return config
    an_epoch = steps_per_epoch(num_frames, config.batch_size) * config.batch_size
    epochs = max(1, round(config.total_images / an_epoch))
    return replace(config, epochs=epochs, total_images=0)


def steps_per_epoch(num_frames: int, batch_size: int) -> int:
    """Count the full batches of an epoch; a data set smaller than a batch still makes one."""
    return max(1, num_frames // batch_size)


def _epoch_order(group_of_frame: np.ndarray, config: TrainConfig, epoch: int) -> np.ndarray:
    """Shuffle the frames of an epoch; balanced, every group comes equally often.

    Frames repeat only where a group has too few, or all of them make less than a batch.
    """
    rng = np.random.default_rng((config.seed, epoch, _ORDER))
    num_frames = len(group_of_frame)
    wanted = max(num_frames, config.batch_size)
    if config.balance == "none":
        return np.concatenate(
            [rng.permutation(num_frames) for _ in range(-(-wanted // num_frames))]
        )[:wanted]
    present = np.unique(group_of_frame)
    share = -(-wanted // len(present))
    columns = []
    for group in present:
        members = np.flatnonzero(group_of_frame == group)
        rounds = [rng.permutation(members) for _ in range(-(-share // len(members)))]
        columns.append(np.concatenate(rounds)[:share])
    # Interleaved, so that every batch holds all groups in equal numbers.
    return np.stack(columns, axis=1).ravel()[:wanted]


def load_batches(
    samples: TrainingSamples, batches: EpochBatches, num_workers: int
) -> Iterator[Batch]:
    """Read an epoch's batches in order, some ahead of the one that is being trained on.

    Threads, not processes: OpenCV lets go of the interpreter while it decodes and warps, and its
    own threads do not survive the fork that worker processes would need.
    """
    with ThreadPoolExecutor(max_workers=num_workers) as pool:
        waiting: deque[list[Future[Batch]]] = deque()
        for draws in batches:
            waiting.append([pool.submit(samples.read, draw) for draw in draws])
            if len(waiting) > _BATCHES_AHEAD:
                yield _collect(waiting.popleft())
        while waiting:
            yield _collect(waiting.popleft())


def _collect(futures: list[Future[Batch]]) -> Batch:
    batch: Batch = default_collate([future.result() for future in futures])
    return batch


def evenly_per_scene(frames: Sequence[LabeledFrame], count: int) -> list[LabeledFrame]:
    """Choose at most so many frames of each scene, spread evenly in their order."""
    chosen: list[LabeledFrame] = []
    for scene in sorted({item.scene for item in frames}):
        own = [item for item in frames if item.scene == scene]
        places = np.linspace(0, len(own) - 1, min(count, len(own))).round()
        chosen += [own[int(place)] for place in places]
    return chosen
