"""Ask a localizer, or any other method, for the pose of every frame of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mspr_ros.camera import CameraModel
from mspr_ros.data.dataset import Dataset, Frame
from mspr_ros.data.images import read_image
from mspr_ros.errors import ImageError
from mspr_ros.geometry import Array, quat_xyzw_from_rotation
from mspr_ros.localizer import Localizer, PoseEstimate

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
ImageU8 = npt.NDArray[np.uint8]
NO_POSITION = np.full(3, np.nan)
NO_QUAT = np.full(4, np.nan)
NO_COVARIANCE = np.full((6, 6), np.nan)


@dataclass(frozen=True)
class Answer:
    """What a method says of one frame.

    Args:
        scene: The scene it recognised; empty where there is no answer.
        position: (3,) camera centre in that scene's map; NaN where there is no answer.
        quat_xyzw: (4,) map_from_cam; NaN where there is no answer.
        scene_probability: Of that scene; NaN where the method has none.
        confidence: 0 to 1; NaN where the method has none.
        accepted: Whether the method stands by its answer.
        problem: Why there is no answer, or why it is not accepted; empty where all is well.
        position_cluster: Its id within the scene; -1 where the method has no clusters.
        orientation_cluster: Likewise.
        covariance: (6, 6) of x y z and rotation about the map's X Y Z, metres and radians; NaN
            where the method has none.
        known_score: How familiar the picture is, to tell taught places from others: higher is
            more familiar; NaN where the method does not say.
        timings: Milliseconds by stage, where the method tells; a batch's frames share alike.
    """

    scene: str
    position: Array
    quat_xyzw: Array
    scene_probability: float = float("nan")
    confidence: float = float("nan")
    accepted: bool = True
    problem: str = ""
    position_cluster: int = -1
    orientation_cluster: int = -1
    covariance: Array = field(default_factory=lambda: NO_COVARIANCE)
    known_score: float = float("nan")
    timings: dict[str, float] = field(default_factory=dict)


def no_answer(problem: str) -> Answer:
    """Stand in for an answer that could not be given; it counts as a failure."""
    return Answer("", NO_POSITION, NO_QUAT, accepted=False, problem=problem)


def ask_localizer(
    localizer: Localizer,
    dataset: Dataset,
    *,
    batch_size: int = 16,
    num_threads: int = 2,
    show_progress: bool = True,
) -> list[Answer]:
    """Localize every frame of a dataset, one answer each, in the dataset's order.

    A picture that cannot be read or used gives an answer without a pose, with the reason.

    Args:
        localizer: The network to ask.
        dataset: Its frames.
        batch_size: Pictures to a pass of the network.
        num_threads: Threads that read and decode pictures meanwhile.
        show_progress: Draw a progress bar on a terminal.
    """
    answers: list[Answer] = []
    with tqdm(
        total=len(dataset),
        desc=f"localizing {dataset.name}",
        unit="frame",
        disable=None if show_progress else True,
    ) as bar:
        for frames, images in read_batches(dataset, batch_size, num_threads):
            cameras = [dataset.camera_of(frame) for frame in frames]
            answers.extend(ask_batch(localizer, images, cameras))
            bar.update(len(frames))
    return answers


def ask_batch(
    localizer: Localizer,
    images: Sequence[ImageU8 | ImageError],
    cameras: Sequence[CameraModel | None],
) -> list[Answer]:
    """Localize pictures in one pass of the network, one answer each.

    Args:
        localizer: The network to ask.
        images: The pictures, or why one cannot be had: that answer is without a pose.
        cameras: Of each picture, where it is known.
    """
    answers = [no_answer(str(image)) for image in images]
    readable = [row for row, image in enumerate(images) if not isinstance(image, ImageError)]
    pictures = [image for image in images if not isinstance(image, ImageError)]
    chosen = [cameras[row] for row in readable]
    try:
        estimates: list[PoseEstimate | None] = list(localizer.localize_batch(pictures, chosen))
    except ImageError:  # one picture spoils the batch: find out which
        estimates = [None] * len(pictures)
    for place, row in enumerate(readable):
        estimate = estimates[place]
        try:
            if estimate is None:
                estimate = localizer.localize(pictures[place], chosen[place])
            answers[row] = _answer_from_estimate(estimate)
        except ImageError as error:
            answers[row] = no_answer(str(error))
    return answers


def _answer_from_estimate(estimate: PoseEstimate) -> Answer:
    """Take the most likely reading, also where it was not accepted: its scene is still named."""
    best = estimate.hypotheses[0]
    transform = estimate.T_map_cam
    finite = bool(np.isfinite(transform).all())
    return Answer(
        scene=best.scene,
        position=transform[:3, 3].copy() if finite else NO_POSITION,
        quat_xyzw=quat_xyzw_from_rotation(transform[:3, :3]) if finite else NO_QUAT,
        scene_probability=estimate.scene_probability,
        confidence=estimate.confidence,
        accepted=estimate.accepted,
        problem=estimate.rejection,
        position_cluster=best.position_cluster,
        orientation_cluster=best.orientation_cluster,
        covariance=np.asarray(estimate.covariance, dtype=np.float64) if finite else NO_COVARIANCE,
        known_score=_known_score(estimate) if finite else float("nan"),
        timings=dict(estimate.timings),
    )


def _known_score(estimate: PoseEstimate) -> float:
    """Take the confidence where a bundle has no score of its own for unknown places."""
    return estimate.known_score if np.isfinite(estimate.known_score) else estimate.confidence


def read_batches(
    dataset: Dataset, batch_size: int, num_threads: int = 2
) -> Iterator[tuple[tuple[Frame, ...], list[ImageU8 | ImageError]]]:
    """Read a dataset's pictures batch by batch, the next batch while this one is worked on.

    Yields:
        Frames and their (H, W, 3) RGB uint8 pictures, or the error where one cannot be read.
    """
    return load_batches(dataset.frames, _read_or_error, batch_size, num_threads)


def load_batches(
    items: Iterable[Item],
    load: Callable[[Item], Loaded],
    batch_size: int,
    num_threads: int = 2,
) -> Iterator[tuple[tuple[Item, ...], list[Loaded]]]:
    """Load items in threads batch by batch, the next batch while this one is worked on.

    Nothing but these two batches is held, however many items there are.

    Args:
        items: What to load, taken one after the other from this thread.
        load: Called in a thread; what it raises is raised here.
        batch_size: Items to a batch; the last may be smaller.
        num_threads: Threads that load.
    """
    source = iter(items)
    with ThreadPoolExecutor(max(1, num_threads)) as pool:

        def submit() -> tuple[tuple[Item, ...], list[Future[Loaded]]]:
            batch = tuple(islice(source, batch_size))
            return batch, [pool.submit(load, item) for item in batch]

        batch, loading = submit()
        while batch:
            following = submit()
            yield batch, [future.result() for future in loading]
            batch, loading = following


def _read_or_error(frame: Frame) -> ImageU8 | ImageError:
    try:
        return read_image(frame.image)
    except ImageError as error:
        return error
