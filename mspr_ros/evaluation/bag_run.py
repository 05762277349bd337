"""Ask a localizer about every image of a bag, streamed, and judge the answers by the bag's truth.

The images go through the very same `Localizer` as in the node, several at a time: the next ones
are read and decoded while the network works on these. Only answers are kept, never images.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mspr_ros.bags import Bag
from mspr_ros.data.dataset import Dataset, Frame
from mspr_ros.data.recording import make_frame
from mspr_ros.errors import DatasetError
from mspr_ros.evaluation.answers import Answer, ask_batch, load_batches
from mspr_ros.evaluation.bag_images import BagInput, ImageLoader, SceneTeller
from mspr_ros.evaluation.judging import Centroids, FrameResult, judge
from mspr_ros.geometry import Array, quat_xyzw_from_rotation, transform_from_pose
from mspr_ros.localizer import Localizer


@dataclass(frozen=True)
class BagTrack:
    """What one bundle says of one bag.

    Args:
        bag: The bag.
        gt_scenes: The true scene of each of the scan's images; empty where it is not known.
        answers: One for each of the scan's images.
        judged: Judged answers by image; those with a true pose in a scene the bundle knows.
        notes: What is odd.
        seconds: How long it took.
        decode_ms: How long each image took to decode.
    """

    bag: BagInput
    gt_scenes: tuple[str, ...]
    answers: tuple[Answer, ...]
    judged: dict[int, FrameResult]
    notes: tuple[str, ...]
    seconds: float
    decode_ms: Array

    def pred_T_map_cam(self) -> Array:
        """Give the estimates as (N, 4, 4); NaN where there is none."""
        positions = np.array([answer.position for answer in self.answers]).reshape(-1, 3)
        quats = np.array([answer.quat_xyzw for answer in self.answers]).reshape(-1, 4)
        known = np.isfinite(positions).all(axis=1)
        transforms = np.full((len(positions), 4, 4), np.nan)
        transforms[known] = transform_from_pose(positions[known], quats[known])
        return transforms


@dataclass(frozen=True)
class BundleRun:
    """What one bundle says of all bags.

    Args:
        name: What it is called in the report; no other bundle of the report is called so.
        path: Its folder.
        localizer: Its network.
        centroids: Its clusters.
        tracks: By bag.
        batch_size: Images that went through the network together.
    """

    name: str
    path: Path
    localizer: Localizer
    centroids: Centroids
    tracks: tuple[BagTrack, ...]
    batch_size: int

    @property
    def results(self) -> list[FrameResult]:
        """The judged images of all bags."""
        return [result for track in self.tracks for result in track.judged.values()]


def run_bundle(
    name: str,
    path: Path,
    localizer: Localizer,
    bags: tuple[BagInput, ...],
    *,
    batch_size: int = 16,
    num_threads: int = 2,
) -> BundleRun:
    """Localize and judge all bags with one bundle."""
    centroids = Centroids.of_network(localizer.network, localizer.metadata.scene_names)
    tracks = tuple(
        ask_bag(localizer, bag, centroids, batch_size=batch_size, num_threads=num_threads)
        for bag in bags
    )
    return BundleRun(name, path, localizer, centroids, tracks, batch_size)


def ask_bag(
    localizer: Localizer,
    bag: BagInput,
    centroids: Centroids | None = None,
    *,
    batch_size: int = 16,
    num_threads: int = 2,
) -> BagTrack:
    """Localize every image of a bag and judge those whose true pose is known.

    Args:
        localizer: The network to ask.
        bag: The bag.
        centroids: The network's clusters.
        batch_size: Images to a pass of the network.
        num_threads: Threads that decode images meanwhile.

    Raises:
        ConfigError: If it cannot be known which scene the true poses are of.
    """
    scenes = SceneTeller(bag, localizer.metadata.scene_names)
    answers: list[Answer] = []
    gt_scenes: list[str] = []
    decode_ms: list[float] = []
    loader = ImageLoader(bag)
    start_s = time.perf_counter()
    with (
        Bag(bag.scan.path, tolerant=True) as source,
        tqdm(total=len(bag.scan.ordinals), desc=f"localizing {bag.name}", unit="image",
             disable=None) as progress,
    ):  # fmt: skip
        told = scenes.images(source)
        for batch, loaded in load_batches(told, loader.load, batch_size, num_threads):
            pictures = [one.picture for one in loaded]
            answers += ask_batch(localizer, pictures, [one.camera for one in loaded])
            gt_scenes += [scene for scene, _ in batch]
            decode_ms += [one.milliseconds for one in loaded]
            progress.update(len(batch))
    seconds = time.perf_counter() - start_s
    judged, notes = _judge(bag, gt_scenes, answers, localizer, centroids)
    if len(answers) < len(bag.scan.ordinals):
        raise DatasetError(f"{bag.scan.path} changed while it was read")
    return BagTrack(
        bag, tuple(gt_scenes), tuple(answers), judged, tuple(notes), seconds, np.array(decode_ms)
    )


def _judge(
    bag: BagInput,
    gt_scenes: list[str],
    answers: list[Answer],
    localizer: Localizer,
    centroids: Centroids | None,
) -> tuple[dict[int, FrameResult], list[str]]:
    """Judge the answers whose truth is known; say what is not judged."""
    scan, known = bag.scan, localizer.metadata.scene_names
    has_pose = np.isfinite(scan.T_map_cam[: len(answers)]).all(axis=(1, 2))
    notes = []
    strange = sorted({scene for scene in gt_scenes if scene and scene not in known})
    if strange:
        notes.append(f"not judged, the bundle was not taught them: scenes {', '.join(strange)}")
    rows = [row for row in np.nonzero(has_pose)[0].tolist() if gt_scenes[row] in known]
    frames = tuple(_frame(bag, row, gt_scenes[row]) for row in rows)
    dataset = Dataset(bag.name, scan.path, frames, scenes=known)
    results = judge(dataset, [answers[row] for row in rows], centroids)
    return dict(zip(rows, results, strict=True)), notes


def _frame(bag: BagInput, row: int, scene: str) -> Frame:
    T_map_cam, stamp_ns = bag.scan.T_map_cam[row], int(bag.scan.stamps_ns[row])
    where = (T_map_cam[:3, 3], quat_xyzw_from_rotation(T_map_cam[:3, :3]))
    # Not a file: it tells a person which image is meant.
    image = bag.scan.path / bag.scan.image_topic.strip("/") / str(stamp_ns)
    return replace(make_frame(scene, "", bag.name, stamp_ns, image, *where), image=image)
