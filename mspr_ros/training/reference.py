"""Make a bundle of the paper's own weights: files in, bundle out.

The authors' weights lack the centroids (their code recomputes them from the label file it loads)
and the names of the scenes. Both must be given.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from mspr_ros.bundle import BundleMetadata, SceneInfo, save_bundle
from mspr_ros.data.label_csv import CONVENTION_OF_SCENE, read_labels
from mspr_ros.data.recording import CAM_FROM_MAP, MAP_FROM_CAM, ImportOptions
from mspr_ros.errors import CheckpointError, ConfigError, DatasetError
from mspr_ros.geometry import Array, quat_xyzw_from_wxyz
from mspr_ros.network.clustering import cluster_orientations, cluster_positions
from mspr_ros.network.configuration import NetworkConfig
from mspr_ros.network.reference import (
    invert_orientations,
    network_config_from_reference,
    network_from_reference,
)
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.preprocess import PreprocessConfig


def import_reference(
    weights: Path,
    config: Path,
    output: Path,
    *,
    centroids: Path | None = None,
    labels: Path | None = None,
    scenes: tuple[str, ...] = (),
    convention: str = "",
) -> BundleMetadata:
    """Write a bundle that answers as the paper's own code does with these centroids.

    The authors' code clusters the training poses anew at every start. Centroids from labels are
    found the same way but may come in another order than in the authors' run, which then pairs
    them with the wrong outputs of the cluster classifiers: with more than one cluster, centroids
    saved from that run are the sure way.

    Args:
        weights: `.safetensors`, or a `.pth` state dict, of which only tensors are read.
        config: The authors' JSON, or a file that holds it under `config`.
        output: The bundle folder; must not exist.
        centroids: NPZ with `position_centroids` and `orientation_centroids_wxyz`.
        labels: Label CSV of the training poses to compute centroids from.
        scenes: Names in the order of the weights' scene ids.
        convention: What the weights' quaternions mean, `map_from_cam` or `cam_from_map`; empty
            takes what is known of the scenes' labels, else `map_from_cam`.

    Raises:
        ConfigError: If the output exists, or names and centroids do not fit the network.
        CheckpointError: If weights or configuration cannot be read or do not fit.
    """
    if output.exists():
        raise ConfigError(f"{output} exists and is not overwritten; name another folder")
    network_config, num_scenes = network_config_from_reference(_read_config(config))
    network = network_from_reference(_read_state(weights), network_config, num_scenes)
    if labels is not None:
        scenes, positions, quats_xyzw = _centroids_from_labels(
            labels, scenes, network_config, convention
        )
    elif centroids is not None:
        positions, quats_xyzw = _read_centroids(centroids)
        scenes = scenes or tuple(f"scene_{index}" for index in range(num_scenes))
    else:
        raise ConfigError("centroids are not part of the weights: give centroids or labels")
    if len(scenes) != num_scenes:
        raise ConfigError(f"the weights know {num_scenes} scenes, but {len(scenes)} are named")
    inverted = _convention(scenes, convention) == CAM_FROM_MAP
    if inverted:
        invert_orientations(network)
        if centroids is not None:  # those from labels are map_from_cam already
            quats_xyzw = quats_xyzw * np.array([-1.0, -1.0, -1.0, 1.0])
    _set_centroids(network, positions, quats_xyzw)
    try:
        metadata = BundleMetadata(
            network=network_config,
            preprocess=PreprocessConfig(),  # 256, centre 224, ImageNet's mean: the authors' own
            scenes=tuple(SceneInfo(name) for name in scenes),
            training={"imported_from": weights.name, "centroids_from_labels": labels is not None},
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    output.parent.mkdir(parents=True, exist_ok=True)
    save_bundle(output, network, metadata)
    return metadata


def _convention(scenes: tuple[str, ...], given: str) -> str:
    """Give what the weights' quaternions mean; all scenes share one head, hence one meaning."""
    if given:
        return given
    known = {CONVENTION_OF_SCENE.get(scene, MAP_FROM_CAM) for scene in scenes}
    if len(known) > 1:
        raise ConfigError(
            "the scenes' labels mix map_from_cam and cam_from_map, so that one network learned "
            "both; such weights cannot give poses of one meaning. Name a convention to import "
            "them all the same"
        )
    return known.pop()


def _set_centroids(network: PoseRegressor, positions: Array, quats_xyzw: Array) -> None:
    for name, values in (("position_centroids", positions), ("orientation_centroids", quats_xyzw)):
        buffer = getattr(network, name)
        if values.shape != tuple(buffer.shape):
            raise ConfigError(f"{name} must be {tuple(buffer.shape)}, got {values.shape}")
        buffer.copy_(torch.tensor(values))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from None
    if isinstance(values, dict) and isinstance(values.get("config"), dict):
        values = values["config"]
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object")
    return values


def _read_state(path: Path) -> dict[str, Tensor]:
    """Read tensors; a pickle that holds anything else is refused."""
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except Exception as error:  # file, zip, pickle and safetensors errors: not readable weights
        detail = (str(error).splitlines() or ["unknown error"])[0]
        raise CheckpointError(f"{path} cannot be read as plain tensors: {detail}") from None
    if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
        raise CheckpointError(f"{path} is not a state dict of tensors")
    return state


def _read_centroids(path: Path) -> tuple[Array, Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            positions = np.asarray(archive["position_centroids"], dtype=np.float64)
            quats_wxyz = np.asarray(archive["orientation_centroids_wxyz"], dtype=np.float64)
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(f"{path} holds no centroids: {error}") from None
    # Not normalised: the authors add residuals to the centroids as k-means left them.
    return positions, quat_xyzw_from_wxyz(quats_wxyz)


def _centroids_from_labels(
    labels: Path, scenes: tuple[str, ...], config: NetworkConfig, convention: str
) -> tuple[tuple[str, ...], Array, Array]:
    """Cluster the poses of a label file; rows that are no poses are left out."""
    recording = read_labels(labels, ImportOptions(poses_only=True, convention=convention))
    scenes = scenes or tuple(sorted(recording.scenes))
    positions, orientations = [], []
    for scene in scenes:
        frames = [
            frame
            for frame in recording.frames
            if frame.scene == scene and frame.split in ("", "train")
        ]
        if not frames:
            raise DatasetError(
                f"{labels} has no training poses of scene '{scene}'", recording.problems
            )
        positions.append(
            cluster_positions([frame.position for frame in frames], config.num_position_clusters)
        )
        orientations.append(
            cluster_orientations(
                [frame.quat_xyzw for frame in frames], config.num_orientation_clusters
            )
        )
    return scenes, np.stack(positions), np.stack(orientations)
