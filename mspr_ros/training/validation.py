"""Measure a network on held-back frames, and what its errors say about its covariance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mspr_ros.calibration.covariance_fit import FLOOR, LEAST_FRAMES
from mspr_ros.calibration.signals import Signals
from mspr_ros.evaluation.answers import load_batches
from mspr_ros.evaluation.metrics import (
    PoseSummary,
    orientation_error_deg,
    position_error_m,
    summarize,
)
from mspr_ros.evaluation.uncertainty import rotation_residual
from mspr_ros.geometry import Array, as_float_tuple
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.preprocess import ImageU8, Preprocessor
from mspr_ros.training.samples import ImageFiles, ImageSource, LabeledFrame, naming_file


@dataclass(frozen=True)
class ValidationResult:
    """Answers to the validation frames.

    Args:
        scene: (N,) true scene numbers.
        pred_scene: (N,).
        position_residual: (N, 3) estimated minus true position in the map, metres.
        rotation_residual: (N, 3) rotation vector about the map's axes that takes the true
            orientation to the estimated one, radians.
        position_error_m: (N,).
        orientation_error_deg: (N,).
    """

    scene: Array
    pred_scene: Array
    position_residual: Array
    rotation_residual: Array
    position_error_m: Array
    orientation_error_deg: Array

    def summary(self, scene: int | None = None) -> PoseSummary:
        """Summarise all frames, or those of one scene."""
        rows = slice(None) if scene is None else self.scene == scene
        return summarize(
            self.position_error_m[rows],
            self.orientation_error_deg[rows],
            scene_correct=(self.scene == self.pred_scene)[rows],
        )

    @property
    def score(self) -> float:
        """Rank networks, lower is better: mean over scenes of log(median m) + log(median deg).

        A geometric mean: no unit and no scene outweighs another.
        """
        scores = []
        for scene in np.unique(self.scene):
            summary = self.summary(int(scene))
            product = summary.position_error_m.median * summary.orientation_error_deg.median
            scores.append(float(np.log(max(product, 1e-12))))
        return float(np.mean(scores))

    def residual_covariance(self, scene: int) -> tuple[float, ...] | None:
        """Give the 36 numbers of the residuals' second moments in one scene.

        About zero, not about their mean: a bias is an error as well. Frames whose scene was
        missed do not count, since their covariance would be another scene's.
        """
        rows = (self.scene == scene) & (self.pred_scene == scene)
        residuals = np.hstack([self.position_residual, self.rotation_residual])[rows]
        residuals = residuals[np.isfinite(residuals).all(axis=1)]
        if len(residuals) < LEAST_FRAMES:
            return None
        return as_float_tuple(residuals.T @ residuals / len(residuals) + FLOOR)


def validate(
    network: PoseRegressor,
    frames: Sequence[LabeledFrame],
    preprocessor: Preprocessor,
    device: torch.device,
    batch_size: int,
    images: ImageSource | None = None,
    num_workers: int = 2,
) -> ValidationResult:
    """Answer frames as at run time: no label reaches the network.

    Args:
        network: It is put into evaluation mode.
        frames: To answer.
        preprocessor: Of the network.
        device: Of the network.
        batch_size: Frames at a time; it does not change the answers.
        images: Where pictures come from; by default from their files.
        num_workers: Threads that read them.
    """
    signals = ask_network(network, frames, preprocessor, device, batch_size, images, num_workers)
    gt_position = np.array([item.frame.position for item in frames])
    gt_quat = np.array([item.frame.quat_xyzw for item in frames])
    return ValidationResult(
        scene=np.array([item.scene for item in frames]),
        pred_scene=signals.scene.astype(np.float64),
        position_residual=signals.position - gt_position,
        rotation_residual=rotation_residual(gt_quat, signals.quat_xyzw),
        position_error_m=position_error_m(gt_position, signals.position),
        orientation_error_deg=orientation_error_deg(gt_quat, signals.quat_xyzw),
    )


def ask_network(
    network: PoseRegressor,
    frames: Sequence[LabeledFrame],
    preprocessor: Preprocessor,
    device: torch.device,
    batch_size: int,
    images: ImageSource | None = None,
    num_workers: int = 2,
) -> Signals:
    """Give all that a network says of frames, as `validate` asks it; at least one frame."""
    network.eval()
    parts = []
    for tensor in network_inputs(frames, preprocessor, batch_size, images, num_workers):
        with torch.inference_mode():
            seen = network.look(tensor.to(device))
            output = network.answer(seen.position_out, seen.orientation_out)
            parts.append(Signals.from_output(output, seen.descriptor))
    return Signals.concatenate(parts)


def network_inputs(
    frames: Sequence[LabeledFrame],
    preprocessor: Preprocessor,
    batch_size: int,
    images: ImageSource | None = None,
    num_workers: int = 2,
) -> Iterator[torch.Tensor]:
    """Read pictures as at run time, the next batch while this one is worked on.

    Args:
        frames: Whose pictures.
        preprocessor: Of the network.
        batch_size: Pictures at a time.
        images: Where pictures come from; by default from their files.
        num_workers: Threads that read them.

    Yields:
        The network's input (B, 3, height, width) float32, in the order of the frames.

    Raises:
        ImageError: If a picture cannot be used, with the name of its file.
    """
    source = images or ImageFiles()

    def read(item: LabeledFrame) -> ImageU8:
        image, own = source.read(item)
        with naming_file(item):
            return preprocessor.geometric(image, own.camera)

    for _, pictures in load_batches(frames, read, batch_size, num_workers):
        yield preprocessor.normalize(torch.from_numpy(np.stack(pictures)))
