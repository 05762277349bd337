"""What a run is taught: frames to train and to validate on, scenes and their clusters."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mspr_ros.bundle import SceneInfo
from mspr_ros.camera import fitting_virtual_camera
from mspr_ros.config import to_mapping
from mspr_ros.data.dataset import Dataset
from mspr_ros.errors import ConfigError, DatasetError
from mspr_ros.geometry import Array, as_float_tuple
from mspr_ros.network.clustering import (
    assign_position_clusters,
    cluster_orientations,
    cluster_positions,
)
from mspr_ros.training.configuration import TrainConfig
from mspr_ros.training.samples import LabeledFrame, labeled_frames
from mspr_ros.training.taught_frames import choose_frames


@dataclass(frozen=True)
class Lesson:
    """Frames, scenes and clusters of a run.

    Args:
        scenes: In the order of the network's ids.
        train: Frames to train on.
        validation: Frames held back, apart in time from those trained on.
        position_centroids: (S, Kp, 3) metres; one, zero, where there are no clusters.
        orientation_centroids: (S, Ko, 4) xyzw; one, zero, where there are no clusters.
        position_units: (S,) metres, root mean square distance of positions from their centroids.
        cameras: The cameras of the frames, as plain values for the bundle.
        data_hash: Of the datasets.
        validation_source: What the validation frames are, for people.
        notes: What of the datasets is not used and why, for people.
    """

    scenes: tuple[SceneInfo, ...]
    train: list[LabeledFrame]
    validation: list[LabeledFrame]
    position_centroids: Array
    orientation_centroids: Array
    position_units: Array
    cameras: dict[str, Any]
    data_hash: str
    validation_source: str
    notes: tuple[str, ...]


def prepare_lesson(config: TrainConfig, datasets: Sequence[Dataset] | None = None) -> Lesson:
    """Choose the frames to train and to validate on, and find the clusters.

    Args:
        config: Of the run.
        datasets: As `load_datasets` gives them; by default they are read here.

    Raises:
        DatasetError: If a dataset is refused, or two hold the same scene.
        ConfigError: If the data cannot be split or clustered as asked.
    """
    datasets = load_datasets(config) if datasets is None else datasets
    names = _scene_names(datasets)
    empty = [one.name for one in datasets if not one.select(split=config.train_split).frames]
    if empty:
        raise DatasetError(f"no frames of split '{config.train_split}' in: {', '.join(empty)}")
    taught = [choose_frames(dataset, config) for dataset in datasets]
    train = labeled_frames([one.train for one in taught], names)
    validation = labeled_frames([one.validation for one in taught], names)
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
    return Lesson(
        scenes=tuple(_scene_info(i, name, train, config) for i, name in enumerate(names)),
        train=train,
        validation=validation,
        position_centroids=positions,
        orientation_centroids=orientations,
        position_units=_position_units(train, positions),
        cameras={
            f"{dataset.name}/{name}": to_mapping(camera)
            for dataset in datasets
            for name, camera in dataset.cameras.items()
        },
        data_hash=hash_of(datasets),
        validation_source=_source(validation, config),
        notes=tuple(note for one in taught for note in one.notes),
    )


def hash_of(datasets: Sequence[Dataset]) -> str:
    """Name the content of several datasets, in their order."""
    hashes = "".join(dataset.content_hash() for dataset in datasets)
    return hashlib.sha256(hashes.encode()).hexdigest()


def load_datasets(config: TrainConfig) -> list[Dataset]:
    """Read a run's datasets, with the scenes that it is taught.

    Raises:
        DatasetError: If one is refused.
        ConfigError: If the configuration names scenes that none holds.
    """
    return _only_scenes([Dataset.load(Path(folder)) for folder in config.datasets], config.scenes)


def with_virtual_camera(
    config: TrainConfig, datasets: Sequence[Dataset] | None = None
) -> TrainConfig:
    """Fit the virtual camera to those of the training frames, where the configuration asks for it.

    Args:
        config: Of the run.
        datasets: As `load_datasets` gives them; by default they are read here.

    Raises:
        DatasetError: If a dataset is refused.
        ConfigError: If the training frames have no cameras.
    """
    if not config.fit_virtual_camera:
        return config
    cameras = [
        dataset.cameras[name]
        for dataset in (load_datasets(config) if datasets is None else datasets)
        for name in {frame.camera for frame in dataset.select(split=config.train_split).frames}
        if name
    ]
    if not cameras:
        raise ConfigError(
            "fit_virtual_camera needs cameras, but the training frames have none; import them "
            "with --intrinsics"
        )
    size = config.preprocess
    camera = fitting_virtual_camera(cameras, size.width, size.height)
    preprocess = dataclasses.replace(size, virtual_camera=camera)
    return dataclasses.replace(config, preprocess=preprocess, fit_virtual_camera=False)


def _only_scenes(datasets: list[Dataset], scenes: Sequence[str]) -> list[Dataset]:
    """Keep the scenes asked for, in the datasets' order; all of them where none is named."""
    if not scenes:
        return datasets
    known = [name for dataset in datasets for name in dataset.scenes]
    unknown = [name for name in scenes if name not in known]
    if unknown:
        raise ConfigError(
            f"scenes names {', '.join(unknown)}, but the datasets hold: {', '.join(known)}"
        )
    chosen = []
    for dataset in datasets:
        kept = tuple(name for name in dataset.scenes if name in scenes)
        frames = tuple(frame for frame in dataset.frames if frame.scene in kept)
        if kept:
            chosen.append(dataclasses.replace(dataset, scenes=kept, frames=frames))
    return chosen


def _scene_names(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    names = [scene for dataset in datasets for scene in dataset.scenes]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DatasetError(f"several datasets hold the same scene: {', '.join(repeated)}")
    return tuple(names)


def _source(validation: Sequence[LabeledFrame], config: TrainConfig) -> str:
    """Say what validation frames are."""
    blocks = "validation blocks of the training split"
    if config.train_split == "val":
        return blocks
    splits = {item.frame.split for item in validation}
    parts = ["split val"] * ("val" in splits) + [blocks] * bool(splits - {"val"})
    return " and ".join(parts) or "no frames"


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
    num_positions = config.network.num_position_clusters
    num_orientations = config.network.num_orientation_clusters
    for scene, name in enumerate(names):
        members = [item.frame for item in frames if item.scene == scene]
        try:
            positions.append(
                cluster_positions(
                    [frame.position for frame in members], num_positions, config.seed
                )
                if num_positions
                else np.zeros((1, 3))
            )
            orientations.append(
                cluster_orientations(
                    [frame.quat_xyzw for frame in members], num_orientations, config.seed
                )
                if num_orientations
                else np.zeros((1, 4))
            )
        except ValueError as error:
            raise ConfigError(f"scene '{name}': {error}") from None
    return np.stack(positions), np.stack(orientations)


def _position_units(frames: Sequence[LabeledFrame], centroids: Array) -> Array:
    """Give the spread of every scene about its centroids, (S,); a millimetre at least."""
    units = []
    for scene, rows in enumerate(centroids):
        positions = np.array([item.frame.position for item in frames if item.scene == scene])
        nearest = rows[assign_position_clusters(positions, rows)]
        units.append(np.sqrt(np.mean(np.sum((positions - nearest) ** 2, axis=1))))
    return np.asarray(np.maximum(units, 1e-3))


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
