"""What a network says of a batch, and what is true of it: NumPy arrays, raw material of all trust.

Letters: N frames, S scenes, Kp and Ko clusters, F numbers of a descriptor, E of an
embedding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mspr_ros.geometry import Array
from mspr_ros.network.regressor import RegressorOutput


@dataclass(frozen=True)
class Signals:
    """Answers to frames and what came with them.

    Args:
        scene: (N,) ids of the scenes answered for.
        scene_logits: (N, S).
        position_cluster, orientation_cluster: (N,) ids.
        position_cluster_logits: (N, Kp) of the scene's clusters.
        orientation_cluster_logits: (N, Ko).
        position: (N, 3) metres, in the scene's map.
        quat_xyzw: (N, 4) map_from_cam, unit norm.
        position_candidates: (N, Kp, 3) the position of every cluster.
        orientation_candidates: (N, Ko, 4) the orientation of every cluster.
        position_factor, orientation_factor: (N, 3, 3) Cholesky factors of the uncertainty head's
            covariances; None without one.
        embedding: (N, E) what the decoders make of it for the scene, of both tasks; None where
            nobody asked.
        descriptor: (N, F) how the image looks to the backbone; None where nobody asked.
    """

    scene: npt.NDArray[np.int64]
    scene_logits: Array
    position_cluster: npt.NDArray[np.int64]
    orientation_cluster: npt.NDArray[np.int64]
    position_cluster_logits: Array
    orientation_cluster_logits: Array
    position: Array
    quat_xyzw: Array
    position_candidates: Array
    orientation_candidates: Array
    position_factor: Array | None = None
    orientation_factor: Array | None = None
    embedding: Array | None = None
    descriptor: Array | None = None

    def __len__(self) -> int:
        return len(self.scene)

    @classmethod
    def from_output(
        cls, output: RegressorOutput, descriptor: torch.Tensor | None = None
    ) -> Signals:
        """Copy a batch's output to the CPU, which waits for a GPU."""
        assert output.position_candidates is not None
        assert output.orientation_candidates is not None
        selection = output.selection
        return cls(
            scene=selection.scene.cpu().numpy(),
            scene_logits=_array(output.scene_logits),
            position_cluster=selection.position_cluster.cpu().numpy(),
            orientation_cluster=selection.orientation_cluster.cpu().numpy(),
            position_cluster_logits=_array(output.position_cluster_logits),
            orientation_cluster_logits=_array(output.orientation_cluster_logits),
            position=_array(output.position),
            quat_xyzw=_array(output.orientation),
            position_candidates=_array(output.position_candidates),
            orientation_candidates=_array(output.orientation_candidates),
            position_factor=_optional(output.position_factor),
            orientation_factor=_optional(output.orientation_factor),
            embedding=np.concatenate(
                [_array(output.position_embedding), _array(output.orientation_embedding)], axis=1
            ),
            descriptor=_optional(descriptor),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Signals]) -> Signals:
        """Put batches behind each other; at least one."""
        columns: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            values = [getattr(part, field.name) for part in parts]
            columns[field.name] = None if values[0] is None else np.concatenate(values)
        return cls(**columns)

    def rows(self, index: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Signals:
        """Give some of the frames."""
        columns: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            columns[field.name] = None if values is None else values[index]
        return Signals(**columns)

    @property
    def is_finite(self) -> npt.NDArray[np.bool_]:
        """Tell of every frame whether its pose is made of numbers, (N,)."""
        finite = np.isfinite(self.position).all(axis=1) & np.isfinite(self.quat_xyzw).all(axis=1)
        return np.asarray(finite)


@dataclass(frozen=True)
class Truth:
    """What is true of the frames.

    Args:
        scene: (N,) ids.
        position: (N, 3) metres.
        quat_xyzw: (N, 4) map_from_cam.
        block: (N,) ids of blocks of time.
        position_cluster, orientation_cluster: (N,) ids.
    """

    scene: npt.NDArray[np.int64]
    position: Array
    quat_xyzw: Array
    block: npt.NDArray[np.int64]
    position_cluster: npt.NDArray[np.int64]
    orientation_cluster: npt.NDArray[np.int64]


def probabilities(logits: Array, temperature: float = 1.0) -> Array:
    """Give softmax(logits / temperature) along the last axis; not finite in, not finite out."""
    with np.errstate(invalid="ignore"):
        shifted = (logits - logits.max(axis=-1, keepdims=True)) / temperature
        exponents = np.exp(shifted)
        return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))


def _array(tensor: torch.Tensor) -> Array:
    return np.asarray(tensor.detach().double().cpu().numpy())


def _optional(tensor: torch.Tensor | None) -> Array | None:
    return None if tensor is None else _array(tensor)
