"""Choose the numbers of clusters from training poses alone: `clusters: auto`, and `mspr teach`.

Clusters take from the residual what they quantise, and add a classification that can be wrong.
So as few as will do. What will do: blocks of time are held back from the training poses (never
test poses); the residual to be expected is how far a held-back pose lies from the nearest pose
left, a matter of how densely a place was driven; and K is the fewest clusters with which
held-back poses lie about their centroids (root mean square) no wider than `RATIO` times that.
See docs/studies.md, where the rule is compared with fixed numbers and with the paper's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mspr_ros.data.dataset import Dataset
from mspr_ros.data.splits import Part, guarded_blocks
from mspr_ros.geometry import Array, rotation_angle_rad
from mspr_ros.network.clustering import (
    assign_orientation_clusters,
    assign_position_clusters,
    cluster_orientations,
    cluster_positions,
)
from mspr_ros.training.configuration import TrainConfig
from mspr_ros.training.lesson import load_datasets
from mspr_ros.training.taught_frames import plausible

RATIO = 12.0
MOST_CLUSTERS = 8
FRAMES_PER_CLUSTER = 50
# Nothing finer is expected of a residual, however densely a place was driven: about what networks
# reach on validation frames of the two real scenes.
LEAST_M, LEAST_DEG = 0.02, 2.0
# What is held back to choose by, of each sequence.
_BLOCKS, _FRACTION, _GUARD_FRAMES = 5, 0.2, 5
_MOST_KEPT, _MOST_HELD_BACK = 3000, 400


@dataclass(frozen=True)
class SceneClusters:
    """What the poses of one scene say.

    Args:
        frames: How many there are.
        outliers: How many of them were left out, for lying absurdly far away.
        expected_m, expected_deg: Residual to be expected, medians over held-back poses; NaN
            where none could be held back.
        position_spread_m: Of held-back poses about the centroids of the others, for 1, 2, ...
            clusters.
        orientation_spread_deg: The same for orientations.
        positions, orientations: The numbers chosen.
    """

    frames: int
    outliers: int
    expected_m: float
    expected_deg: float
    position_spread_m: tuple[float, ...]
    orientation_spread_deg: tuple[float, ...]
    positions: int
    orientations: int


def choose_clusters(datasets: Sequence[Dataset], split: str = "train") -> tuple[int, int]:
    """Choose the numbers of position and orientation clusters.

    The scene that needs most decides, as far as every other can be cut into as many: all scenes
    of a network have the same number.

    Args:
        datasets: What is taught.
        split: Of the frames that count.
    """
    found = clusters_by_scene(datasets, split).values()
    if not found:
        return 1, 1
    limits = [_most_clusters(frames) for frames in _by_scene(datasets, split).values()]
    return (
        min(max(scene.positions for scene in found), *(most for most, _ in limits)),
        min(max(scene.orientations for scene in found), *(most for _, most in limits)),
    )


def clusters_by_scene(datasets: Sequence[Dataset], split: str = "train") -> dict[str, Any]:
    """Give what the poses of every scene say, as `SceneClusters` by name."""
    return {
        scene: weigh_clusters(
            frames.positions,
            frames.quats_xyzw,
            frames.stamps_ns,
            [frame.sequence for frame in frames.frames],
        )
        for scene, frames in _by_scene(datasets, split).items()
    }


def _by_scene(datasets: Sequence[Dataset], split: str) -> dict[str, Dataset]:
    return {
        scene: frames
        for dataset in datasets
        for scene in dataset.scenes
        if len(frames := dataset.select(split=split, scene=scene))
    }


def _most_clusters(frames: Dataset) -> tuple[int, int]:
    """Give how many clusters of position and of orientation a scene can be cut into.

    Half of its distinct poses: at least half of a sequence stays for training when validation
    blocks and their guards are cut out.
    """
    true = plausible(frames.positions)
    distinct = (len(np.unique(x[true], axis=0)) for x in (frames.positions, frames.quats_xyzw))
    positions, orientations = (max(1, count // 2) for count in distinct)
    return positions, orientations


def weigh_clusters(
    positions: Array,
    quats_xyzw: Array,
    stamps_ns: npt.NDArray[np.int64],
    sequences: Sequence[str],
    most: int = MOST_CLUSTERS,
) -> SceneClusters:
    """Choose the numbers of clusters for one scene's training poses.

    Args:
        positions: (N, 3) metres.
        quats_xyzw: (N, 4).
        stamps_ns: (N,), in each sequence's own time.
        sequences: N names.
        most: Clusters, at most; fewer where each would have less than `FRAMES_PER_CLUSTER`.
    """
    true = plausible(positions)
    kept, held_back = _held_back(stamps_ns, sequences)
    train = _some(np.flatnonzero(kept & true), _MOST_KEPT)
    test = _some(np.flatnonzero(held_back & true), _MOST_HELD_BACK)
    outliers = int(np.count_nonzero(~true))
    most = min(most, len(positions) // FRAMES_PER_CLUSTER)
    if most < 2 or not len(test):
        return SceneClusters(len(positions), outliers, np.nan, np.nan, (), (), 1, 1)
    by_position = _spreads(position_spread_m, positions[train], positions[test], most)
    by_orientation = _spreads(orientation_spread_deg, quats_xyzw[train], quats_xyzw[test], most)
    expected_m, expected_deg = _expected_residual(
        (positions[train], quats_xyzw[train]),
        (positions[test], quats_xyzw[test]),
        (by_position[0], by_orientation[0]),
    )
    return SceneClusters(
        frames=len(positions),
        outliers=outliers,
        expected_m=expected_m,
        expected_deg=expected_deg,
        position_spread_m=by_position,
        orientation_spread_deg=by_orientation,
        positions=_fewest(by_position, RATIO * max(expected_m, LEAST_M)),
        orientations=_fewest(by_orientation, RATIO * max(expected_deg, LEAST_DEG)),
    )


def with_chosen_clusters(
    config: TrainConfig, datasets: Sequence[Dataset] | None = None
) -> TrainConfig:
    """Fill in the numbers of clusters where a configuration leaves them to the poses.

    Args:
        config: Of the run.
        datasets: As `load_datasets` gives them; by default they are read here.

    Raises:
        DatasetError: If a dataset is refused.
        ConfigError: If it names scenes that are not there.
    """
    if config.clusters != "auto":
        return config
    datasets = load_datasets(config) if datasets is None else datasets
    positions, orientations = choose_clusters(datasets, config.train_split)
    network = dataclasses.replace(
        config.network, num_position_clusters=positions, num_orientation_clusters=orientations
    )
    return dataclasses.replace(config, network=network, clusters="as_given")


def position_spread_m(positions: Array, others: Array, num_clusters: int) -> float:
    """Give the root mean square distance of `others` (M, 3) from the centroids of (N, 3)."""
    centroids = cluster_positions(positions, num_clusters)
    nearest = centroids[assign_position_clusters(others, centroids)]
    return float(np.sqrt(np.mean(np.sum((others - nearest) ** 2, axis=1))))


def orientation_spread_deg(quats_xyzw: Array, others: Array, num_clusters: int) -> float:
    """Give the root mean square angle of `others` (M, 4) from the centroids of (N, 4)."""
    centroids = cluster_orientations(quats_xyzw, num_clusters)
    nearest = centroids[assign_orientation_clusters(others, centroids)]
    return float(np.degrees(np.sqrt(np.mean(rotation_angle_rad(others, nearest) ** 2))))


def _held_back(
    stamps_ns: npt.NDArray[np.int64], sequences: Sequence[str]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Mark the poses to cluster and those to judge by, in guarded blocks of every sequence."""
    names = np.array(sequences)
    parts = np.empty(len(names), dtype=np.int8)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        parts[rows] = guarded_blocks(
            stamps_ns[rows],
            num_blocks=_BLOCKS,
            fraction=_FRACTION,
            guard_frames=_GUARD_FRAMES,
        )
    return parts == Part.TRAIN, parts == Part.VALIDATION


def _some(rows: npt.NDArray[np.intp], most: int) -> npt.NDArray[np.intp]:
    return rows[:: max(1, -(-len(rows) // most))]


def _spreads(
    spread: Callable[[Array, Array, int], float], poses: Array, others: Array, most: int
) -> tuple[float, ...]:
    """Give the spread for 1, 2, ... clusters, as far as there are so many distinct poses."""
    found = []
    for count in range(1, most + 1):
        try:
            found.append(spread(poses, others, count))
        except ValueError:  # fewer distinct poses than clusters: a camera that stood still
            break
    return tuple(found)


def _expected_residual(
    train: tuple[Array, Array], test: tuple[Array, Array], units: tuple[float, float]
) -> tuple[float, float]:
    """Give the median distance (m, deg) from held-back poses to their nearest pose.

    Nearest in both at once, each in units of its spread: a pose at the same place that looks
    elsewhere shows another picture.
    """
    metres = np.linalg.norm(test[0][:, None] - train[0], axis=-1)
    degrees = np.degrees(2.0 * np.arccos(np.clip(np.abs(test[1] @ train[1].T), 0.0, 1.0)))
    joint = sum(
        (one / max(unit, 1e-6)) ** 2 for one, unit in zip((metres, degrees), units, strict=True)
    )
    nearest = (np.arange(len(metres)), np.argmin(joint, axis=1))
    return float(np.median(metres[nearest])), float(np.median(degrees[nearest]))


def _fewest(spreads: Sequence[float], limit: float) -> int:
    return next(
        (count for count, spread in enumerate(spreads, start=1) if spread <= limit), len(spreads)
    )
