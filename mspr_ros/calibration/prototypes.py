"""Some training frames of every scene, kept in the bundle as a few numbers and their poses.

An image that resembles none of them shows no taught place; one that resembles a few whose poses
are far from the answer has probably been answered wrongly. Both hold for errors that the network
itself is sure of.

Letters: P prototypes, N frames, F numbers of a descriptor, D of a projected one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mspr_ros.geometry import Array, rotation_angle_rad

PER_SCENE = 128
DIMENSIONS = 48
# Neighbours whose poses an answer is compared with.
_NEIGHBOURS = 5
# Share of the mean variance below which a direction is noise, not to be blown up.
_NOISE = 0.05


@dataclass(frozen=True)
class Prototypes:
    """Frames to compare an image with.

    Args:
        mean: (F,) of the descriptors.
        basis: (F, D) whitens what is left of a descriptor without the mean.
        descriptor: (P, D) whitened.
        scene: (P,) ids.
        position: (P, 3) metres, in the scene's map.
        quat_xyzw: (P, 4) map_from_cam.
    """

    mean: Array
    basis: Array
    descriptor: Array
    scene: npt.NDArray[np.int64]
    position: Array
    quat_xyzw: Array

    def project(self, descriptor: Array) -> Array:
        """Whiten descriptors: (N, F) -> (N, D)."""
        return np.asarray((descriptor - self.mean) @ self.basis)

    def strangeness(self, descriptor: Array) -> Array:
        """Give how much of descriptors (N, F) the projection cannot express, (N,)."""
        centred = descriptor - self.mean
        # The basis' columns are orthogonal, scaled by the whitening.
        directions = self.basis / np.linalg.norm(self.basis, axis=0)
        rest = (centred**2).sum(axis=1) - ((centred @ directions) ** 2).sum(axis=1)
        return np.asarray(np.sqrt(np.maximum(rest, 0.0)))

    def compare(
        self, descriptor: Array, scene: npt.NDArray[np.int64], position: Array, quat_xyzw: Array
    ) -> Comparison:
        """Compare images and their answers with the prototypes of the scenes answered for.

        Args:
            descriptor: (N, F) of the images, not projected.
            scene: (N,) ids.
            position: (N, 3) metres.
            quat_xyzw: (N, 4).
        """
        count = len(scene)
        columns = np.full((4, count), np.inf)
        projected = self.project(descriptor)
        columns[1] = self.strangeness(descriptor)
        for number in np.unique(scene):
            rows, own = np.flatnonzero(scene == number), self.scene == number
            if not own.any():
                continue
            squared = _squared_distances(projected[rows], self.descriptor[own])  # (n, p)
            nearest = np.argsort(squared, axis=1)[:, :_NEIGHBOURS]  # (n, k)
            closest = np.take_along_axis(squared, nearest, axis=1)
            columns[0, rows] = np.sqrt(closest[:, 0])
            # Near ones weigh more, on the scale of the nearest.
            width = closest[:, :1] + 1e-9
            weight = np.exp(-(closest - closest[:, :1]) / (0.5 * width))
            weight /= weight.sum(axis=1, keepdims=True)
            gap = np.linalg.norm(self.position[own][nearest] - position[rows, None], axis=2)
            turn = rotation_angle_rad(self.quat_xyzw[own][nearest], quat_xyzw[rows, None])
            columns[2, rows] = (weight * gap).sum(axis=1)
            columns[3, rows] = (weight * turn).sum(axis=1)
        return Comparison(*columns)


@dataclass(frozen=True)
class Comparison:
    """How images and answers compare with the prototypes; inf where a scene has none.

    Args:
        distance: (N,) to the nearest prototype of the scene, in whitened units.
        strangeness: (N,) what the projection leaves out, in the descriptor's own units.
        position_gap: (N,) metres from the answer to the nearest ones' positions, weighted.
        orientation_gap: (N,) radians, likewise.
    """

    distance: Array
    strangeness: Array
    position_gap: Array
    orientation_gap: Array


def choose_prototypes(
    descriptor: Array,
    scene: npt.NDArray[np.int64],
    position: Array,
    quat_xyzw: Array,
    *,
    per_scene: int = PER_SCENE,
    dimensions: int = DIMENSIONS,
) -> Prototypes:
    """Learn the projection from training frames and keep those that lie far from each other.

    Args:
        descriptor: (N, F).
        scene: (N,) ids.
        position: (N, 3) metres.
        quat_xyzw: (N, 4).
        per_scene: Most prototypes of a scene.
        dimensions: Most numbers of one.
    """
    mean = descriptor.mean(axis=0)
    centred = descriptor - mean
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    kept = min(dimensions, len(singular))
    variance = singular[:kept] ** 2 / max(1, len(descriptor))
    noise = _NOISE * float(variance.mean()) + 1e-12
    basis = _as_stored(directions[:kept].T / np.sqrt(variance + noise))
    mean = _as_stored(mean)
    projected = (descriptor - mean) @ basis
    chosen = np.concatenate(
        [
            members[_spread(projected[members], per_scene)]
            for number in np.unique(scene)
            for members in [np.flatnonzero(scene == number)]
        ]
    )
    return Prototypes(
        mean=mean,
        basis=basis,
        descriptor=np.asarray(projected[chosen].astype(np.float16), dtype=np.float64),
        scene=scene[chosen],
        position=_as_stored(position[chosen]),
        quat_xyzw=_as_stored(quat_xyzw[chosen]),
    )


def _squared_distances(points: Array, others: Array) -> Array:
    squares = (points**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None]
    return np.asarray(np.maximum(squares - 2.0 * points @ others.T, 0.0))


def _as_stored(values: Array) -> Array:
    """Round to single precision, so that a bundle read back answers with the same numbers."""
    return np.asarray(values.astype(np.float32), dtype=np.float64)


def _spread(points: Array, count: int) -> npt.NDArray[np.int64]:
    """Choose points, each the farthest from those before it; the first is nearest the mean."""
    first = int(np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1)))
    chosen = [first]
    distance = ((points - points[first]) ** 2).sum(axis=1)
    while len(chosen) < min(count, len(points)):
        farthest = int(np.argmax(distance))
        chosen.append(farthest)
        distance = np.minimum(distance, ((points - points[farthest]) ** 2).sum(axis=1))
    return np.array(chosen, dtype=np.int64)
