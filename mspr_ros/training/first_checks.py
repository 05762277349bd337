"""Look at a young network for signs that training it longer will not help, and say the remedy.

What readers of the paper met: poor scene classification (another scene's output is taken),
uniform attention (nothing is looked at), a fine step that does not improve on the coarse one,
residuals larger than the clusters they start from, accuracy that falls as scenes are added.
A few frames tell; nothing here changes or stops a training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from mspr_ros.bundle import load_metadata
from mspr_ros.calibration.signals import Signals
from mspr_ros.evaluation.metrics import orientation_error_deg, position_error_m
from mspr_ros.geometry import Array, rotation_angle_rad
from mspr_ros.network.attention_maps import record_attention, relative_entropy
from mspr_ros.network.clustering import assign_orientation_clusters, assign_position_clusters
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.preprocess import Preprocessor
from mspr_ros.training.configuration import TrainConfig
from mspr_ros.training.first_findings import (
    TASKS,
    Before,
    Finding,
    against_before,
    attention,
    fine_over_coarse,
    residual,
    scene_accuracy,
    wrong_clusters,
)
from mspr_ros.training.lesson import Lesson
from mspr_ros.training.samples import ImageSource, LabeledFrame, evenly_per_scene
from mspr_ros.training.validation import ask_network, network_inputs

_ATTENTION_FRAMES = 8
_UNITS = (("position", "m"), ("orientation", "deg"))


def check_network(
    network: PoseRegressor,
    frames: Sequence[LabeledFrame],
    train: Sequence[LabeledFrame],
    scene_names: Sequence[str],
    preprocessor: Preprocessor,
    device: torch.device,
    *,
    images: ImageSource | None = None,
    before: Before | None = None,
    batch_size: int = 8,
    num_workers: int = 2,
) -> list[Finding]:
    """Make all checks that can be made.

    Args:
        network: Put into evaluation mode; otherwise it stays as it is.
        frames: To ask about, best such as it was not trained on; a few dozen are enough.
        train: Its training frames; only their poses are used.
        scene_names: In the order of the network's ids.
        preprocessor: Of the network.
        device: Of the network.
        images: Where pictures come from; by default from their files.
        before: What it started from, where that is known.
        batch_size: Pictures to a pass.
        num_workers: Threads that read pictures.
    """
    signals = ask_network(network, frames, preprocessor, device, batch_size, images, num_workers)
    truth = _Truth(network, frames, train)
    right = signals.scene == truth.scene
    findings = []
    if len(scene_names) > 1:
        findings.append(scene_accuracy(right, len(scene_names)))
    entropies = attention_entropy(
        network, evenly(frames, _ATTENTION_FRAMES), preprocessor, device, images
    )
    findings += [attention(name, entropy) for name, entropy in entropies.items()]
    if right.any():
        for task in TASKS:
            findings += _coarse_to_fine(task, network, signals, truth, right)
    errors = _errors(truth, signals.position, signals.quat_xyzw)
    if before is not None:
        findings += against_before(before, errors, truth.scene, scene_names)
    return findings


def check_after_epoch(
    network: PoseRegressor,
    config: TrainConfig,
    lesson: Lesson,
    epoch: int,
    preprocessor: Preprocessor,
    device: torch.device,
    images: ImageSource | None = None,
) -> list[Finding]:
    """Make the checks of a training where they are due; nothing where they are not.

    Args:
        network: As it stands.
        config: Of the run, with its number of epochs.
        lesson: What it is taught.
        epoch: How many are done.
        preprocessor: Of the network.
        device: Of the network.
        images: Where pictures come from.
    """
    due = {math.ceil(share * config.epochs) for share in config.checks.at}
    if not config.checks.enabled or epoch not in due:
        return []
    frames = evenly(lesson.validation or lesson.train, config.checks.frames)
    names = [info.name for info in lesson.scenes]
    before = read_before(config.initial_weights, lesson.data_hash)
    return check_network(
        network, frames, lesson.train, names, preprocessor, device, images=images, before=before,
        batch_size=config.batch_size, num_workers=config.num_workers,
    )  # fmt: skip


def read_before(bundle: str, data_hash: str) -> Before | None:
    """Give what the bundle that a run started from says of its own validation, if it does."""
    if not bundle:
        return None
    metadata = load_metadata(Path(bundle))
    medians = {
        name: tuple(summary[f"{task}_error_{unit}"]["median"] for task, unit in _UNITS)
        for name, summary in metadata.validation.get("scenes", {}).items()
    }
    shape = metadata.network
    return Before(
        medians={name: pair for name, pair in medians.items() if None not in pair},
        num_scenes=len(metadata.scenes),
        direct=metadata.data_hash == data_hash
        and max(shape.num_position_clusters, shape.num_orientation_clusters) == 0,
    )


def evenly(frames: Sequence[LabeledFrame], count: int) -> list[LabeledFrame]:
    """Choose so many frames, spread evenly over all, every scene alike."""
    num_scenes = len({item.scene for item in frames})
    share = max(1, -(-count // max(1, num_scenes)))
    return evenly_per_scene(frames, share)


def attention_entropy(
    network: PoseRegressor,
    frames: Sequence[LabeledFrame],
    preprocessor: Preprocessor,
    device: torch.device,
    images: ImageSource | None = None,
) -> dict[str, float]:
    """Give the relative entropy of each decoder's attention with the true scenes' queries.

    Mean over frames and heads, of the decoder layer that is most selective; 1 is uniform.
    """
    (tensor,) = network_inputs(frames, preprocessor, len(frames), images)
    rows = torch.arange(len(frames))
    scene = torch.tensor([item.scene for item in frames])
    network.eval()
    found = {}
    with torch.inference_mode(), record_attention(network) as calls:
        network(tensor.to(device))
        for name in TASKS:
            decoder = getattr(network, f"{name}_transformer").decoder
            layers = [
                # (B, H, S, N) -> (B, H, N) of each frame's own scene
                relative_entropy(calls[layer.cross_attention][0].weights.cpu()[rows, :, scene])
                for layer in decoder
            ]
            found[name] = min(float(layer.mean()) for layer in layers)
    return found


class _Truth:
    """Poses and clusters of frames, and what the training poses say."""

    def __init__(
        self,
        network: PoseRegressor,
        frames: Sequence[LabeledFrame],
        train: Sequence[LabeledFrame],
    ) -> None:
        self.scene = np.array([item.scene for item in frames])
        self.position = np.array([item.frame.position for item in frames])
        self.quat_xyzw = np.array([item.frame.quat_xyzw for item in frames])
        config = network.config
        self.positions = network.position_centroids.double().cpu().numpy()  # (S, Kp, 3)
        self.orientations = network.orientation_centroids.double().cpu().numpy()  # (S, Ko, 4)
        self.spread = {task: np.ones(len(self.positions)) for task in TASKS}
        for scene in np.unique(self.scene):
            own = [item.frame for item in train if item.scene == scene]
            if not own:
                continue
            positions = np.array([frame.position for frame in own])
            quats = np.array([frame.quat_xyzw for frame in own])
            # Without clusters the centroid is zero, not a place: the mean stands for it.
            if config.num_position_clusters == 0:
                self.positions[scene] = positions.mean(axis=0)
            if config.num_orientation_clusters == 0:
                self.orientations[scene] = np.linalg.eigh(quats.T @ quats)[1][:, -1]
            self.spread["position"][scene] = _rms(self._coarse_error_m(scene, positions))
            self.spread["orientation"][scene] = _rms(self._coarse_error_deg(scene, quats))

    def _coarse_error_m(self, scene: int, positions: Array) -> Array:
        rows = self.positions[scene]
        return position_error_m(positions, rows[assign_position_clusters(positions, rows)])

    def _coarse_error_deg(self, scene: int, quats_xyzw: Array) -> Array:
        rows = self.orientations[scene]
        nearest = rows[assign_orientation_clusters(quats_xyzw, rows)]
        return orientation_error_deg(quats_xyzw, nearest)


def _rms(values: Array) -> float:
    return max(float(np.sqrt(np.mean(np.square(values)))), 1e-3)


def _errors(truth: _Truth, positions: Array, quats_xyzw: Array) -> dict[str, Array]:
    return {
        "position": position_error_m(truth.position, positions),
        "orientation": orientation_error_deg(truth.quat_xyzw, quats_xyzw),
    }


def _coarse_to_fine(
    task: str, network: PoseRegressor, signals: Signals, truth: _Truth, right: Array
) -> list[Finding]:
    """Compare the answer with its centroid, with the true cluster's answer, and its residual."""
    rows = np.flatnonzero(right)
    chosen = (signals.position_cluster if task == "position" else signals.orientation_cluster)[
        rows
    ]
    centroids = truth.positions if task == "position" else truth.orientations
    coarse = centroids[truth.scene[rows], chosen]
    answer = (signals.position if task == "position" else signals.quat_xyzw)[rows]
    findings = []
    if network.config.residual:
        findings.append(
            fine_over_coarse(task, *(_error(task, truth, rows, x) for x in (answer, coarse)))
        )
        length = (
            position_error_m(coarse, answer)
            if task == "position"
            else np.degrees(rotation_angle_rad(coarse, answer))
        )
        findings.append(residual(task, length / truth.spread[task][truth.scene[rows]]))
    candidates = (
        signals.position_candidates if task == "position" else signals.orientation_candidates
    )[rows]
    if candidates.shape[1] > 1:
        own = truth.position if task == "position" else truth.quat_xyzw
        assign = assign_position_clusters if task == "position" else assign_orientation_clusters
        true = [int(assign(own[row], centroids[truth.scene[row]])) for row in rows]
        told = _error(task, truth, rows, candidates[np.arange(len(rows)), true])
        share = float(np.mean(chosen == np.array(true)))
        findings.append(wrong_clusters(task, _error(task, truth, rows, answer), told, share))
    return findings


def _error(task: str, truth: _Truth, rows: npt.NDArray[np.intp], answer: Array) -> Array:
    if task == "position":
        return position_error_m(truth.position[rows], answer)
    return orientation_error_deg(truth.quat_xyzw[rows], answer)
