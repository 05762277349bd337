"""Some training frames of every scene, kept in the bundle as a few numbers and their poses.

An image that resembles none of them shows no taught place; one that resembles a few whose poses
are far from the answer has probably been answered wrongly. Both hold for errors that the network
itself is sure of.

Beside them stands the span of what the decoders make of taught frames (their embeddings): what an
image has outside of it tells rooms that only look alike better than the looks themselves do.

Letters: P prototypes, N frames, F numbers of a descriptor, D of a projected one, E of an
embedding, K directions of the span.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mspr_ros.geometry import Array, rotation_angle_rad

PER_SCENE = 128
DIMENSIONS = 48
SPAN = 96
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
        embedding_mean: (E,) of the taught frames' embeddings.
        span: (E, K) orthonormal directions that hold most of the rest.
    """

    mean: Array
    basis: Array
    descriptor: Array
    scene: npt.NDArray[np.int64]
    position: Array
    quat_xyzw: Array
    embedding_mean: Array
    span: Array

    def project(self, descriptor: Array) -> Array:
        """Whiten descriptors: (N, F) -> (N, D)."""
        return np.asarray((descriptor - self.mean) @ self.basis)

    def strangeness(self, descriptor: Array) -> Array:
        """Give how much of descriptors (N, F) the projection cannot express, (N,)."""
        return _outside(descriptor - self.mean, self._directions)

    @cached_property
    def _directions(self) -> Array:
        # The basis' columns are orthogonal, scaled by the whitening.
        return np.asarray(self.basis / np.linalg.norm(self.basis, axis=0))

    @cached_property
    def _by_scene(self) -> dict[int, tuple[Array, Array, Array]]:
        """Descriptors, positions and quaternions of each scene's prototypes."""
        return {
            int(number): (self.descriptor[own], self.position[own], self.quat_xyzw[own])
            for number in np.unique(self.scene)
            for own in [self.scene == number]
        }

    def compare(
        self,
        descriptor: Array,
        embedding: Array,
        scene: npt.NDArray[np.int64],
        position: Array,
        quat_xyzw: Array,
    ) -> Comparison:
        """Compare images and their answers with the prototypes of the scenes answered for.

        Args:
            descriptor: (N, F) of the images, not projected.
            embedding: (N, E) of the scenes answered for.
            scene: (N,) ids.
            position: (N, 3) metres.
            quat_xyzw: (N, 4).
        """
        count = len(scene)
        distance, gap_m, gap_rad = np.full((3, count), np.inf)
        projected = self.project(descriptor)
        for number in np.unique(scene).tolist():
            if number not in self._by_scene:
                continue
            rows, (known, positions, quats) = (
                np.flatnonzero(scene == number),
                self._by_scene[number],
            )
            squared = _squared_distances(projected[rows], known)  # (n, p)
            nearest = np.argsort(squared, axis=1)[:, :_NEIGHBOURS]  # (n, k)
            closest = np.take_along_axis(squared, nearest, axis=1)
            distance[rows] = np.sqrt(closest[:, 0])
            # Near ones weigh more, on the scale of the nearest.
            width = closest[:, :1] + 1e-9
            weight = np.exp(-(closest - closest[:, :1]) / (0.5 * width))
            weight /= weight.sum(axis=1, keepdims=True)
            gap = np.linalg.norm(positions[nearest] - position[rows, None], axis=2)
            turn = rotation_angle_rad(quats[nearest], quat_xyzw[rows, None])
            gap_m[rows] = (weight * gap).sum(axis=1)
            gap_rad[rows] = (weight * turn).sum(axis=1)
        strangeness = self.strangeness(descriptor)
        novelty = _outside(embedding - self.embedding_mean, self.span)
        return Comparison(distance, strangeness, gap_m, gap_rad, novelty)


@dataclass(frozen=True)
class Comparison:
    """How images and answers compare with the prototypes; inf where a scene has none.

    Args:
        distance: (N,) to the nearest prototype of the scene, in whitened units.
        strangeness: (N,) what the projection leaves out, in the descriptor's own units.
        position_gap: (N,) metres from the answer to the nearest ones' positions, weighted.
        orientation_gap: (N,) radians, likewise.
        novelty: (N,) what of the embedding lies outside of the taught frames' span.
    """

    distance: Array
    strangeness: Array
    position_gap: Array
    orientation_gap: Array
    novelty: Array


def choose_prototypes(
    descriptor: Array,
    embedding: Array,
    scene: npt.NDArray[np.int64],
    position: Array,
    quat_xyzw: Array,
    *,
    per_scene: int = PER_SCENE,
    dimensions: int = DIMENSIONS,
) -> Prototypes:
    """Learn projection and span from training frames; keep those that lie far from each other.

    Args:
        descriptor: (N, F).
        embedding: (N, E).
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
        embedding_mean=_as_stored(embedding.mean(axis=0)),
        span=_as_stored(_span(embedding)),
    )


def _span(embedding: Array) -> Array:
    """Give the (E, K) main directions of embeddings (N, E) about their mean.

    At most half as many as frames or numbers, or nothing would be left outside.
    """
    _, _, directions = np.linalg.svd(embedding - embedding.mean(axis=0), full_matrices=False)
    return np.asarray(directions[: min(SPAN, min(embedding.shape) // 2)].T)


def _outside(vectors: Array, directions: Array) -> Array:
    """Give the (N,) lengths of what vectors (N, F) have outside of orthonormal directions."""
    return np.asarray(np.linalg.norm(vectors - vectors @ directions @ directions.T, axis=1))


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
