"""Judge answers against the truth, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mspr_ros.data.dataset import Dataset
from mspr_ros.evaluation.answers import Answer
from mspr_ros.evaluation.metrics import (
    failures_as_infinite,
    orientation_error_deg,
    position_error_m,
)
from mspr_ros.geometry import Array
from mspr_ros.network.clustering import assign_orientation_clusters, assign_position_clusters
from mspr_ros.network.regressor import PoseRegressor


@dataclass(frozen=True)
class Centroids:
    """The cluster centres of a bundle, to tell which cluster a true pose belongs to.

    Args:
        scene_names: In the order of the network's ids.
        positions: (S, Kp, 3) metres, in each scene's map; Kp is 0 where there are no clusters.
        orientations_xyzw: (S, Ko, 4); Ko likewise.
    """

    scene_names: tuple[str, ...]
    positions: Array
    orientations_xyzw: Array

    @classmethod
    def of_network(cls, network: PoseRegressor, scene_names: Sequence[str]) -> Centroids:
        """Take a network's; those that stand in for no clusters at all are left out."""
        config = network.config
        positions = network.position_centroids[:, : config.num_position_clusters]
        orientations = network.orientation_centroids[:, : config.num_orientation_clusters]
        return cls(
            tuple(scene_names),
            np.asarray(positions.detach().cpu().numpy(), dtype=np.float64),
            np.asarray(orientations.detach().cpu().numpy(), dtype=np.float64),
        )

    def clusters_of(self, scene: str, position: Array, quat_xyzw: Array) -> tuple[int, int]:
        """Give the nearest position and orientation cluster of a pose, as in training.

        Returns:
            Ids within the scene; -1 where there are no clusters.
        """
        scene_id = self.scene_names.index(scene)
        positions, orientations = self.positions[scene_id], self.orientations_xyzw[scene_id]
        position_id = orientation_id = -1
        if len(positions):
            position_id = int(assign_position_clusters(position[None], positions)[0])
        if len(orientations):
            orientation_id = int(assign_orientation_clusters(quat_xyzw[None], orientations)[0])
        return position_id, orientation_id


@dataclass(frozen=True)
class FrameResult:
    """One frame's truth, answer and errors.

    Args:
        dataset, sequence, stamp_ns, image: Which frame.
        gt_scene, gt_position, gt_quat_xyzw: The truth.
        answer: What the method said.
        position_error_m, orientation_error_deg: inf where there is no answer. Where the scene
            is wrong they compare coordinates of two maps, as published evaluations do; recall
            counts such a frame as missed.
        gt_position_cluster, gt_orientation_cluster: -1 where clusters are not judged.
        camera: The camera that took it; empty where the dataset names none.
    """

    dataset: str
    sequence: str
    stamp_ns: int
    image: str
    gt_scene: str
    gt_position: tuple[float, ...]
    gt_quat_xyzw: tuple[float, ...]
    answer: Answer
    position_error_m: float
    orientation_error_deg: float
    gt_position_cluster: int = -1
    gt_orientation_cluster: int = -1
    camera: str = ""

    @property
    def failed(self) -> bool:
        """Whether there is no finite answer."""
        return not np.isfinite(self.position_error_m)

    @property
    def scene_correct(self) -> bool:
        """Whether the scene was recognised."""
        return not self.failed and self.answer.scene == self.gt_scene


def judge(
    dataset: Dataset, answers: Sequence[Answer], centroids: Centroids | None = None
) -> list[FrameResult]:
    """Compare answers with a dataset's true poses.

    Args:
        dataset: The truth.
        answers: One for each of its frames, in their order.
        centroids: The clusters of the method, where it has any.

    Raises:
        ValueError: If there are not as many answers as frames.
    """
    if len(answers) != len(dataset):
        raise ValueError(f"{len(answers)} answers for {len(dataset)} frames")
    position, orientation = failures_as_infinite(
        position_error_m(dataset.positions, _stack([a.position for a in answers], 3)),
        orientation_error_deg(dataset.quats_xyzw, _stack([a.quat_xyzw for a in answers], 4)),
    )
    results = []
    for row, (frame, answer) in enumerate(zip(dataset.frames, answers, strict=True)):
        clusters = (-1, -1)
        if centroids is not None and frame.scene in centroids.scene_names:
            clusters = centroids.clusters_of(
                frame.scene, np.array(frame.position), np.array(frame.quat_xyzw)
            )
        results.append(
            FrameResult(
                dataset=dataset.name,
                sequence=frame.sequence,
                stamp_ns=frame.stamp_ns,
                image=str(frame.image),
                gt_scene=frame.scene,
                gt_position=frame.position,
                gt_quat_xyzw=frame.quat_xyzw,
                answer=answer,
                position_error_m=float(position[row]),
                orientation_error_deg=float(orientation[row]),
                gt_position_cluster=clusters[0],
                gt_orientation_cluster=clusters[1],
                camera=frame.camera,
            )
        )
    return results


def errors_of(results: Sequence[FrameResult]) -> tuple[Array, Array]:
    """Give (N,) position errors in metres and orientation errors in degrees."""
    return (
        np.array([result.position_error_m for result in results], dtype=np.float64),
        np.array([result.orientation_error_deg for result in results], dtype=np.float64),
    )


def _stack(rows: Sequence[Array], width: int) -> Array:
    return np.array(rows, dtype=np.float64).reshape(-1, width)
