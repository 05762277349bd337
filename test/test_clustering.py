"""k-means over poses, against scikit-learn and against known groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mspr_ros.geometry import rotation_angle_rad
from mspr_ros.network.clustering import (
    assign_orientation_clusters,
    assign_position_clusters,
    cluster_orientations,
    cluster_positions,
)


def test_positions_cluster_as_well_as_scikit_learns() -> None:
    sklearn_cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is the oracle")
    positions = np.random.default_rng(0).normal(size=(400, 3)) * [3.0, 2.0, 0.3]
    ours = cluster_positions(positions, 5)
    labels = assign_position_clusters(positions, ours)
    inertia = np.sum((positions - ours[labels]) ** 2)
    theirs = sklearn_cluster.KMeans(5, n_init=10, random_state=0).fit(positions)
    assert inertia < 1.02 * theirs.inertia_


def test_orientations_cluster_whatever_their_signs() -> None:
    rng = np.random.default_rng(1)
    # Groups around half turns, where w is near 0 and its sign says nothing.
    centers = Rotation.from_euler("zyx", [[175, 0, 0], [-175, 5, 0], [60, 0, 0]], degrees=True)
    groups = np.repeat(np.arange(3), 50)
    wobble = Rotation.from_rotvec(rng.normal(scale=0.02, size=(150, 3)))
    quats = (centers[groups] * wobble).as_quat()
    signs = rng.choice([-1.0, 1.0], size=(150, 1))
    centroids = cluster_orientations(quats * signs, 2)
    # 175 and -175 degrees are ten degrees apart: one cluster, and 60 degrees the other.
    ids = assign_orientation_clusters(quats * signs, centroids)
    assert len(set(ids[groups != 2])) == 1
    assert len(set(ids[groups == 2])) == 1
    assert ids[0] != ids[-1]
    assert np.degrees(rotation_angle_rad(quats, centroids[ids])).max() < 15.0
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1.0)
    same = assign_orientation_clusters(quats, cluster_orientations(quats, 2))
    assert len({(a, b) for a, b in zip(ids, same, strict=True)}) == 2


def test_one_cluster_is_the_mean() -> None:
    positions = np.random.default_rng(2).normal(size=(20, 3))
    np.testing.assert_allclose(cluster_positions(positions, 1)[0], positions.mean(axis=0))


def test_the_same_seed_gives_the_same_centroids() -> None:
    positions = np.random.default_rng(3).normal(size=(100, 3))
    first, second = (
        cluster_positions(positions, 4, seed=7),
        cluster_positions(positions, 4, seed=7),
    )
    assert np.array_equal(first, second)


def test_more_clusters_than_points_are_refused() -> None:
    with pytest.raises(ValueError, match="only 1 distinct positions"):
        cluster_positions(np.ones((5, 3)), 2)
