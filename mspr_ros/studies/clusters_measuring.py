"""What clusters cost and save in a place: quantisation, residual and whole errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mspr_ros.bundle import load_bundle
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.label_csv import read_labels
from mspr_ros.data.recording import ImportOptions
from mspr_ros.evaluation.metrics import json_safe, orientation_error_deg, position_error_m
from mspr_ros.network.clustering import assign_orientation_clusters, assign_position_clusters
from mspr_ros.studies.measuring import measure_bundle
from mspr_ros.training.cluster_choice import clusters_by_scene

if TYPE_CHECKING:
    from mspr_ros.studies.clusters import Place


def measure(bundle: Path, place: Place, device: str) -> dict[str, Any]:
    """Measure a network of one place.

    Returns:
        `frames` and, with the true clusters given, `told`, as `measure_bundle` gives them, by
        the place's name; `quantised`: median distances (m, deg) of the test poses from their
        nearest centroids.
    """
    told = measure_bundle(bundle, [place.exam], device=device, oracle="both")
    frames = measure_bundle(bundle, [place.exam], device=device)
    loaded = load_bundle(bundle)
    scene = loaded.metadata.scene_names.index(place.scene)
    positions = loaded.network.position_centroids[scene].double().numpy()
    orientations = loaded.network.orientation_centroids[scene].double().numpy()
    test = place.exam.load()
    nearest = positions[assign_position_clusters(test.positions, positions)]
    turned = orientations[assign_orientation_clusters(test.quats_xyzw, orientations)]
    return {
        "frames": {place.name: frames["frames"][place.scene]},
        "told": {place.name: told["frames"][place.scene]},
        "quantised": [
            float(np.median(position_error_m(test.positions, nearest))),
            float(np.median(orientation_error_deg(test.quats_xyzw, turned))),
        ],
    }


def weigh_places(places: Sequence[Place]) -> dict[str, Any]:
    """Give what the rule sees in the training poses of places, by name."""
    found = {}
    for place in places:
        dataset = Dataset.load(place.folder).select(scene=place.scene)
        found[place.name] = _plain(clusters_by_scene([dataset])[place.scene])
    return found


def weigh_labels(sources: Sequence[Path]) -> dict[str, Any]:
    """Give what the rule sees in the training poses of label files, by scene."""
    found = {}
    for source in sources:
        recording = read_labels(source, ImportOptions(poses_only=True))
        frames = tuple(frame for frame in recording.frames if frame.split == "train")
        if frames:
            dataset = Dataset(
                source.name, source, frames, scenes=recording.scenes, splits=("train",)
            )
            of_file = {scene: _plain(one) for scene, one in clusters_by_scene([dataset]).items()}
            found.update(of_file)
    return found


def _plain(one: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json_safe(asdict(one))
    return plain
