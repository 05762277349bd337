"""Ask about the same picture from slightly turned virtual cameras, and put the answers together.

The virtual camera turns about its centre: the position stays, and the orientation turned back
must be the same from every view. How far the answers differ is how far they can be off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from mspr_ros.calibration.features import turns
from mspr_ros.calibration.signals import Signals
from mspr_ros.geometry import Array, quat_xyzw_from_rotation, rotation_from_quat_xyzw

MAX_VIEWS = 16
_REACH_DEG = 6.0


def view_rotations(count: int) -> list[Array]:
    """Give the (3, 3) orientations of `count` turned cameras in the picture's camera.

    Evenly round the axis of sight, each looking a few degrees past it.
    """
    directions = 2.0 * np.pi * np.arange(count) / max(count, 1)
    return [
        np.asarray(
            Rotation.from_rotvec(
                np.radians(_REACH_DEG) * np.array([np.sin(angle), np.cos(angle), 0.0])
            ).as_matrix()
        )
        for angle in directions
    ]


def combine_views(
    plain: Signals, turned: Sequence[Signals], R_cam_virtual: Sequence[Array]
) -> tuple[Signals, Array]:
    """Average the answers of a picture's views.

    Args:
        plain: To the picture as it is.
        turned: Of each turned view, for the same scenes.
        R_cam_virtual: (3, 3) or (N, 3, 3) of each turned view.

    Returns:
        The plain answer with the mean pose, and the (N, 6, 6) covariances of the views about it.
    """
    quats = [plain.quat_xyzw]
    for signals, rotation in zip(turned, R_cam_virtual, strict=True):
        # R_map_cam = R_map_virtual R_virtual_cam
        R_map_virtual = rotation_from_quat_xyzw(_safe(signals.quat_xyzw))
        quats.append(quat_xyzw_from_rotation(R_map_virtual @ np.swapaxes(rotation, -1, -2)))
    positions = np.stack([plain.position, *(signals.position for signals in turned)])
    position = positions.mean(axis=0)
    away = np.stack([turns(quat, plain.quat_xyzw) for quat in quats])  # (V, N, 3)
    mean_turn = away.mean(axis=0)
    usable = np.isfinite(plain.quat_xyzw).all(axis=1)
    quat_xyzw = plain.quat_xyzw.copy()
    if usable.any():
        turned_on = Rotation.from_rotvec(mean_turn[usable])
        quat_xyzw[usable] = (turned_on * Rotation.from_quat(quat_xyzw[usable])).as_quat()
    off = np.concatenate([positions - position, away - mean_turn], axis=2)  # (V, N, 6)
    spread = np.einsum("vni,vnj->nij", off, off) / max(1, len(off) - 1)
    combined = dataclasses.replace(plain, position=position, quat_xyzw=quat_xyzw)
    return combined, np.where(np.isfinite(spread), spread, 0.0)


def _safe(quat_xyzw: Array) -> Array:
    """Stand in for quaternions without direction, whose plain answer is refused anyway."""
    broken = ~np.isfinite(quat_xyzw).all(axis=1, keepdims=True)
    return np.where(broken, np.array([0.0, 0.0, 0.0, 1.0]), quat_xyzw)
