"""Rotations, rigid transforms and their covariances, in NumPy and SciPy only.

Quaternions are `quat_xyzw`: x, y, z, w, of unit norm with w >= 0. `T_map_cam` takes camera
coordinates to map coordinates: `p_map = T_map_cam @ p_cam`. Metres, radians; float64.
All functions broadcast over leading dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

Array = npt.NDArray[np.float64]
ArrayLike = npt.ArrayLike


def normalize_quat_xyzw(quat_xyzw: ArrayLike) -> Array:
    """Scale quaternions to unit norm and give the representative with w >= 0.

    Args:
        quat_xyzw: Shape (..., 4), any norm but zero.

    Raises:
        ValueError: If a norm is zero or not finite.
    """
    quat = np.asarray(quat_xyzw, dtype=np.float64)
    norm = np.linalg.norm(quat, axis=-1, keepdims=True)
    if not np.all(np.isfinite(norm)) or np.any(norm < 1e-12):
        raise ValueError("a quaternion has no direction: its norm is zero or not finite")
    unit: Array = quat / norm
    return np.where(unit[..., 3:] < 0.0, -unit, unit)


def quat_xyzw_from_wxyz(quat_wxyz: ArrayLike) -> Array:
    """Reorder (..., 4) quaternions from w, x, y, z to x, y, z, w."""
    return np.roll(np.asarray(quat_wxyz, dtype=np.float64), -1, axis=-1)


def rotation_from_quat_xyzw(quat_xyzw: ArrayLike) -> Array:
    """Give the (..., 3, 3) rotation matrices of (..., 4) quaternions of any norm but zero."""
    quat = normalize_quat_xyzw(quat_xyzw)
    if quat.size == 0:  # older SciPy refuses none
        return np.zeros((*quat.shape[:-1], 3, 3))
    matrices = Rotation.from_quat(quat.reshape(-1, 4)).as_matrix()
    return np.asarray(matrices, dtype=np.float64).reshape(*quat.shape[:-1], 3, 3)


def quat_xyzw_from_rotation(rotation: ArrayLike) -> Array:
    """Give the (..., 4) unit quaternions, w >= 0, of (..., 3, 3) rotation matrices."""
    matrix = np.asarray(rotation, dtype=np.float64)
    if matrix.size == 0:  # older SciPy refuses none
        return np.zeros((*matrix.shape[:-2], 4))
    quat = Rotation.from_matrix(matrix.reshape(-1, 3, 3)).as_quat()
    return normalize_quat_xyzw(np.asarray(quat).reshape(*matrix.shape[:-2], 4))


def transform_from_pose(position: ArrayLike, quat_xyzw: ArrayLike) -> Array:
    """Build (..., 4, 4) transforms from (..., 3) positions and (..., 4) quaternions.

    With the position of the camera in the map and its orientation map_from_cam the result is
    `T_map_cam`.
    """
    position = np.asarray(position, dtype=np.float64)
    rotation = rotation_from_quat_xyzw(quat_xyzw)
    transform = np.zeros((*rotation.shape[:-2], 4, 4))
    transform[..., :3, :3] = rotation
    transform[..., :3, 3] = position
    transform[..., 3, 3] = 1.0
    return transform


def invert_transform(transform: ArrayLike) -> Array:
    """Invert (..., 4, 4) rigid transforms: `T_cam_map` from `T_map_cam`."""
    transform = np.asarray(transform, dtype=np.float64)
    rotation_transposed = np.swapaxes(transform[..., :3, :3], -1, -2)
    inverse = np.zeros_like(transform)
    inverse[..., :3, :3] = rotation_transposed
    inverse[..., :3, 3] = -np.einsum(
        "...ij,...j->...i", rotation_transposed, transform[..., :3, 3]
    )
    inverse[..., 3, 3] = 1.0
    return inverse


def rotation_angle_rad(quat_a_xyzw: ArrayLike, quat_b_xyzw: ArrayLike) -> Array:
    """Measure the angle in [0, pi] between two orientations, of any norm and either sign.

    Exact down to zero (Kahan's 2 atan2(|a - b|, |a + b|) for the angle between vectors), where
    2 acos(|q.q|) loses all digits. NaN in, NaN out.
    """
    a = np.asarray(quat_a_xyzw, dtype=np.float64)
    b = np.asarray(quat_b_xyzw, dtype=np.float64)
    norm_a, norm_b = (np.linalg.norm(quat, axis=-1, keepdims=True) for quat in (a, b))
    a, b = a * norm_b, b * norm_a
    apart, opposite = np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)
    angle: Array = 4.0 * np.arctan2(np.minimum(apart, opposite), np.maximum(apart, opposite))
    return angle


def interpolate_poses(
    stamps_ns: ArrayLike,
    positions: ArrayLike,
    quats_xyzw: ArrayLike,
    query_ns: ArrayLike,
    max_gap_ns: int,
) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """Interpolate a trajectory at given stamps: positions linearly, orientations by slerp.

    Args:
        stamps_ns: (N,) strictly increasing integers.
        positions: (N, 3) metres.
        quats_xyzw: (N, 4).
        query_ns: (M,) integers.
        max_gap_ns: A query between two stamps further apart than this is not answered; a query
            that meets a stamp always is.

    Returns:
        Positions (M, 3), quaternions (M, 4) and a mask (M,) of the queries answered; the rows
        that are not hold NaN. Nothing is extrapolated.

    Raises:
        ValueError: If the stamps are not strictly increasing.
    """
    stamps = np.asarray(stamps_ns, dtype=np.int64)
    query = np.asarray(query_ns, dtype=np.int64)
    positions = np.asarray(positions, dtype=np.float64)
    quats = normalize_quat_xyzw(quats_xyzw) if len(stamps) else np.zeros((0, 4))
    out_positions = np.full((len(query), 3), np.nan)
    out_quats = np.full((len(query), 4), np.nan)
    if len(stamps) == 0:
        return out_positions, out_quats, np.zeros(len(query), dtype=bool)
    if np.any(np.diff(stamps) <= 0):
        raise ValueError("stamps of a trajectory must be strictly increasing")
    after = np.searchsorted(stamps, query, side="left")
    inside = after < len(stamps)
    exact = inside & (stamps[np.minimum(after, len(stamps) - 1)] == query)
    before = np.maximum(after - 1, 0)
    before[exact] = after[exact]
    after = np.minimum(after, len(stamps) - 1)
    gap = stamps[after] - stamps[before]
    valid = exact | (inside & (query >= stamps[0]) & (gap <= max_gap_ns))
    weight = np.where(gap > 0, (query - stamps[before]) / np.maximum(gap, 1), 0.0)[valid]
    first, second = before[valid], after[valid]
    out_positions[valid] = positions[first] + weight[:, None] * (
        positions[second] - positions[first]
    )
    out_quats[valid] = slerp_quat_xyzw(quats[first], quats[second], weight)
    return out_positions, out_quats, valid


def slerp_quat_xyzw(quat_a_xyzw: ArrayLike, quat_b_xyzw: ArrayLike, weight: ArrayLike) -> Array:
    """Turn (N, 4) orientations a towards b by the fraction `weight` (N,), the short way."""
    a, b = np.asarray(quat_a_xyzw).reshape(-1, 4), np.asarray(quat_b_xyzw).reshape(-1, 4)
    if len(a) == 0:
        return np.zeros((0, 4))
    start = Rotation.from_quat(a)
    step = (start.inv() * Rotation.from_quat(b)).as_rotvec()
    turned = start * Rotation.from_rotvec(step * np.asarray(weight, dtype=np.float64)[:, None])
    return normalize_quat_xyzw(turned.as_quat())


def covariance_at_offset(covariance: ArrayLike, offset_map: ArrayLike) -> Array:
    """Move a pose covariance to another point of the same rigid body.

    Args:
        covariance: (6, 6), x y z then rotation about the map's fixed X Y Z, at the first point.
        offset_map: (3,) vector from the first point to the second, in map axes, metres.

    Returns:
        J S J^T with J = [[I, -[r]x], [0, I]]: position picks up the lever arm, the rotation
        block stays, because its axes are the map's.
    """
    jacobian = np.eye(6)
    jacobian[:3, 3:] = -skew(offset_map)
    return np.asarray(jacobian @ np.asarray(covariance, dtype=np.float64) @ jacobian.T)


def carry_pose(T_map_a: Array, covariance: ArrayLike, T_a_b: Array) -> tuple[Array, Array]:
    """Give the pose (4, 4) of another frame b on the same rigid body, and its (6, 6) covariance.

    Args:
        T_map_a: (4, 4).
        covariance: (6, 6), x y z then rotation about the map's axes, at the origin of a.
        T_a_b: (4, 4).
    """
    T_map_b = np.asarray(T_map_a @ T_a_b)
    return T_map_b, covariance_at_offset(covariance, T_map_b[:3, 3] - T_map_a[:3, 3])


def pose_difference(T_map_a: Array, T_map_b: Array) -> Array:
    """Give (6,) what takes b to a: metres along, then a rotation vector about, the map's axes."""
    turn = Rotation.from_matrix(T_map_a[:3, :3] @ T_map_b[:3, :3].T).as_rotvec()
    return np.concatenate([T_map_a[:3, 3] - T_map_b[:3, 3], turn])


def shifted(T_map_body: Array, step: Array) -> Array:
    """Move a (4, 4) pose by (6,) as `pose_difference` gives it."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(step[3:6]).as_matrix() @ T_map_body[:3, :3]
    T[:3, 3] = T_map_body[:3, 3] + step[:3]
    return T


def skew(vector: ArrayLike) -> Array:
    """Give the (3, 3) matrix [v]x with [v]x w = v x w."""
    x, y, z = np.asarray(vector, dtype=np.float64)
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def as_float_tuple(values: Any) -> tuple[float, ...]:
    """Flatten numbers of any shape to a tuple of Python floats (hashable, JSON-ready)."""
    return tuple(float(value) for value in np.asarray(values, dtype=np.float64).ravel())
