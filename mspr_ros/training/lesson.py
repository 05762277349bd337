"""What a run is taught: frames to train and to validate on, scenes and their clusters."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mspr_ros.bundle import SceneInfo
from mspr_ros.config import to_mapping
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.splits import split_guarded
from mspr_ros.errors import ConfigError, DatasetError
from mspr_ros.geometry import Array, as_float_tuple
from mspr_ros.network.clustering import cluster_orientations, cluster_positions
from mspr_ros.training.configuration import TrainConfig, ValidationConfig
from mspr_ros.training.samples import LabeledFrame, labeled_frames


@dataclass(frozen=True)
class Lesson:
    """Frames, scenes and clusters of a run.

    Args:
        scenes: In the order of the network's ids.
        train: Frames to train on.
        validation: Frames held back, apart in time from those trained on.
        position_centroids: (S, Kp, 3) metres.
        orientation_centroids: (S, Ko, 4) xyzw.
        cameras: The cameras of the frames, as plain values for the bundle.
        data_hash: Of the datasets.
    """

    scenes: tuple[SceneInfo, ...]
    train: list[LabeledFrame]
    validation: list[LabeledFrame]
    position_centroids: Array
    orientation_centroids: Array
    cameras: dict[str, Any]
    data_hash: str


def prepare_lesson(config: TrainConfig) -> Lesson:
    """Read the datasets, hold validation blocks back and find the clusters.

    Raises:
        DatasetError: If a dataset is refused, or two hold the same scene.
        ConfigError: If the data cannot be split or clustered as asked.
    """
    datasets = [Dataset.load(Path(folder)) for folder in config.datasets]
    training = [dataset.select(split=config.train_split) for dataset in datasets]
    names = _scene_names(datasets)
    empty = [dataset.name for dataset in training if not dataset.frames]
    if empty:
        raise DatasetError(f"no frames of split '{config.train_split}' in: {', '.join(empty)}")
    train, validation = [], []
    for dataset in training:
        kept, held_back = _split(dataset, config.validation)
        train += labeled_frames([kept], names)
        validation += labeled_frames([held_back], names)
    _check_cameras((*train, *validation), config)
    unknown = sorted(config.map_frames.keys() - set(names))
    if unknown:
        raise ConfigError(f"map_frames names scenes that no dataset holds: {', '.join(unknown)}")
    missing = set(range(len(names))) - {item.scene for item in train}
    if missing:
        raise DatasetError(
            f"no training frames of: {', '.join(names[i] for i in sorted(missing))}"
        )
    positions, orientations = _cluster(train, names, config)
    hashes = "".join(dataset.content_hash() for dataset in datasets)
    return Lesson(
        scenes=tuple(_scene_info(i, name, train, config) for i, name in enumerate(names)),
        train=train,
        validation=validation,
        position_centroids=positions,
        orientation_centroids=orientations,
        cameras={
            f"{dataset.name}/{name}": to_mapping(camera)
            for dataset in datasets
            for name, camera in dataset.cameras.items()
        },
        data_hash=hashlib.sha256(hashes.encode()).hexdigest(),
    )


def _scene_names(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    names = [scene for dataset in datasets for scene in dataset.scenes]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DatasetError(f"several datasets hold the same scene: {', '.join(repeated)}")
    return tuple(names)


def _split(dataset: Dataset, config: ValidationConfig) -> tuple[Dataset, Dataset]:
    if config.fraction == 0.0:
        return dataset, dataset.subset([])
    return split_guarded(
        dataset,
        num_blocks=config.blocks_per_sequence,
        fraction=config.fraction,
        guard_frames=config.guard_frames,
    )


def _check_cameras(frames: Sequence[LabeledFrame], config: TrainConfig) -> None:
    """Refuse frames that could not be seen as the node will see its images."""
    blind = next((item.frame for item in frames if item.camera is None), None)
    if config.preprocess.virtual_camera is not None and blind is not None:
        raise ConfigError(
            f"preprocess has a virtual camera, but {blind.image} has no intrinsics; import it "
            "with --intrinsics, or leave virtual_camera out"
        )


def _cluster(
    frames: Sequence[LabeledFrame], names: Sequence[str], config: TrainConfig
) -> tuple[Array, Array]:
    positions, orientations = [], []
    for scene, name in enumerate(names):
        members = [item.frame for item in frames if item.scene == scene]
        try:
            positions.append(
                cluster_positions(
                    [frame.position for frame in members],
                    config.network.num_position_clusters,
                    config.seed,
                )
            )
            orientations.append(
                cluster_orientations(
                    [frame.quat_xyzw for frame in members],
                    config.network.num_orientation_clusters,
                    config.seed,
                )
            )
        except ValueError as error:
            raise ConfigError(f"scene '{name}': {error}") from None
    return np.stack(positions), np.stack(orientations)


def _scene_info(
    scene: int, name: str, frames: Sequence[LabeledFrame], config: TrainConfig
) -> SceneInfo:
    positions = np.array([item.frame.position for item in frames if item.scene == scene])
    low, high = as_float_tuple(positions.min(axis=0)), as_float_tuple(positions.max(axis=0))
    return SceneInfo(
        name=name,
        map_frame=config.map_frames.get(name, "map"),
        position_min=(low[0], low[1], low[2]),
        position_max=(high[0], high[1], high[2]),
    )
