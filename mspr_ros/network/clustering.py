"""Coarse classes: k-means over the training positions and orientations of one scene."""

from __future__ import annotations

import numpy as np
from scipy.cluster.vq import kmeans2

from mspr_ros.geometry import Array, ArrayLike, normalize_quat_xyzw

_NUM_STARTS = 10
_NUM_ITERATIONS = 100


def cluster_positions(positions: ArrayLike, num_clusters: int, seed: int = 0) -> Array:
    """Find centroids of positions.

    Args:
        positions: (N, 3) metres, N at least `num_clusters`.
        num_clusters: K.
        seed: Of the starts; the best of ten is taken.

    Returns:
        (K, 3) centroids.

    Raises:
        ValueError: If there are fewer distinct positions than clusters.
    """
    return _kmeans(np.asarray(positions, dtype=np.float64), num_clusters, seed, "positions")


def cluster_orientations(quats_xyzw: ArrayLike, num_clusters: int, seed: int = 0) -> Array:
    """Find centroids of orientations, whichever sign each quaternion comes with.

    The signs are fixed first: towards the scene's mean orientation, so that q and -q, which are
    the same orientation, fall into the same cluster.

    Args:
        quats_xyzw: (N, 4).
        num_clusters: K.
        seed: Of the starts; the best of ten is taken.

    Returns:
        (K, 4) unit quaternions, w >= 0.

    Raises:
        ValueError: If there are fewer distinct orientations than clusters.
    """
    quats = normalize_quat_xyzw(quats_xyzw)
    _, eigenvectors = np.linalg.eigh(quats.T @ quats)
    mean = eigenvectors[:, -1]  # the mean orientation, independent of every sign
    aligned = np.where((quats @ mean)[:, None] < 0.0, -quats, quats)
    return normalize_quat_xyzw(_kmeans(aligned, num_clusters, seed, "orientations"))


def assign_position_clusters(positions: ArrayLike, centroids: ArrayLike) -> np.ndarray:
    """Give the id of the nearest centroid: (..., 3) positions, (K, 3) centroids -> (...)."""
    difference = np.asarray(positions)[..., None, :] - np.asarray(centroids)
    return np.asarray(np.argmin(np.linalg.norm(difference, axis=-1), axis=-1))


def assign_orientation_clusters(quats_xyzw: ArrayLike, centroids_xyzw: ArrayLike) -> np.ndarray:
    """Give the id of the centroid at the smallest angle: (..., 4), (K, 4) -> (...)."""
    if len(np.asarray(centroids_xyzw)) == 1:  # the only one, which is zero without clusters
        return np.zeros(np.shape(quats_xyzw)[:-1], dtype=np.int64)
    cosines = np.abs(np.asarray(quats_xyzw) @ normalize_quat_xyzw(centroids_xyzw).T)
    return np.asarray(np.argmax(cosines, axis=-1))


def _kmeans(points: Array, num_clusters: int, seed: int, what: str) -> Array:
    num_distinct = len(np.unique(points, axis=0))
    if num_distinct < num_clusters:
        raise ValueError(
            f"{num_clusters} clusters asked for, but there are only {num_distinct} distinct {what}"
        )
    if num_clusters == 1:
        return np.asarray(points.mean(axis=0, keepdims=True))
    best, best_distortion = points[:num_clusters], np.inf
    for start in range(_NUM_STARTS):
        centroids, labels = kmeans2(
            points, num_clusters, iter=_NUM_ITERATIONS, minit="++", seed=seed + start
        )
        distortion = float(np.sum((points - centroids[labels]) ** 2))
        if len(np.unique(labels)) == num_clusters and distortion < best_distortion:
            best, best_distortion = centroids, distortion
    if not np.isfinite(best_distortion):
        raise ValueError(f"k-means found no {num_clusters} clusters in the {what}; ask for fewer")
    return np.asarray(best, dtype=np.float64)
