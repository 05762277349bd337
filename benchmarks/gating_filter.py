"""A planar Kalman filter with a Mahalanobis gate, as robot_localization has it, in NumPy.

State: x, y (metres) and yaw (radians) of the base in the map. Odometry moves it; a pose whose
innovation is further than the rejection threshold from it, in units of what both covariances
allow, is not used. All drives run at once, D of them with N images each; dimensions before these
are different covariances to try.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mspr_ros.geometry import Array

Flags = npt.NDArray[np.bool_]
# What the filter believes of odometry: about that of mspr_ros/simulator/odometry.py.
DRIFT_PER_M, DRIFT_PER_RAD = 0.02, 0.02
FLOOR_VARIANCE = 1e-8
CHI_SQUARE_95_3 = 7.814728


@dataclass(frozen=True)
class Drives:
    """D drives of N images: truth, odometry and poses, each (D, N, 3) of x, y, yaw of the base.

    Args:
        names: Of the drives.
        truth: Where the base was.
        odometry: Drifting, from any start.
        pose: As localized; finite also where there is none.
        covariance: (D, N, 3, 3) of the poses, as the bundle says.
        usable: (D, N) whether there is a pose at all.
        accepted: (D, N) whether the bundle stands by it.
    """

    names: tuple[str, ...]
    truth: Array
    odometry: Array
    pose: Array
    covariance: Array
    usable: Flags
    accepted: Flags

    def accepted_only(self) -> Drives:
        """Use those poses only that the bundle accepts."""
        return replace(self, usable=self.usable & self.accepted)

    def errors(self) -> Array:
        """Give the (D, N, 3) errors of the poses, yaw wrapped."""
        return difference(self.pose, self.truth)


@dataclass(frozen=True)
class Fused:
    """What the filter made of the drives.

    Args:
        state: (..., D, N, 3) after every image; NaN before the first pose.
        covariance: (..., D, N, 3, 3) that the filter states of it.
        rejected: (..., D, N) usable poses that lay beyond the threshold.
    """

    state: Array
    covariance: Array
    rejected: Flags

    def one(self, index: int) -> Fused:
        """Give that of one of several covariances tried."""
        return Fused(self.state[index], self.covariance[index], self.rejected[index])


def fuse(drives: Drives, covariances: Array, threshold: float) -> Fused:
    """Run the filter over drives, each from its first usable pose on.

    Args:
        drives: D of N images.
        covariances: (..., D, N, 3, 3) of the poses, as the filter is told.
        threshold: Mahalanobis distance beyond which a pose is not used.
    """
    shape = covariances.shape[:-2]
    state = np.full((*shape[:-1], 3), np.nan)
    spread = np.broadcast_to(np.eye(3), (*shape[:-1], 3, 3)).copy()
    states, spreads = np.full((*shape, 3), np.nan), np.full((*shape, 3, 3), np.nan)
    rejected = np.zeros(shape, dtype=bool)
    for row in range(shape[-1]):
        if row > 0:
            before, after = drives.odometry[:, row - 1], drives.odometry[:, row]
            state, spread = _predict(state, spread, before, after)
        pose, told = drives.pose[:, row], covariances[..., row, :, :]
        started = np.isfinite(state[..., 0])
        first = drives.usable[:, row] & ~started
        drawn, shrunk, far = _correct(state, spread, pose, told, threshold)
        rejected[..., row] = drives.usable[:, row] & started & far
        used = drives.usable[:, row] & started & ~far
        state = np.where(used[..., None], drawn, np.where(first[..., None], pose, state))
        spread = np.where(
            used[..., None, None], shrunk, np.where(first[..., None, None], told, spread)
        )
        states[..., row, :], spreads[..., row, :, :] = state, spread
    return Fused(states, spreads, rejected)


def odometry_alone(drives: Drives) -> Fused:
    """Say where odometry has the base, told exactly where it starts and nothing after that."""
    usable = np.zeros_like(drives.usable)
    usable[:, 0] = True
    told = replace(drives, pose=drives.truth, usable=usable)
    return fuse(told, np.zeros((*usable.shape, 3, 3)), np.inf)


def _predict(state: Array, spread: Array, before: Array, after: Array) -> tuple[Array, Array]:
    """Move by what odometry moved, and grow by what it may have missed."""
    turn = wrap(after[..., 2] - before[..., 2])
    ahead = _turned(after[..., :2] - before[..., :2], -before[..., 2])  # in the base's axes
    moved = _turned(ahead, state[..., 2])
    jacobian = np.broadcast_to(np.eye(3), spread.shape).copy()
    jacobian[..., 0, 2], jacobian[..., 1, 2] = -moved[..., 1], moved[..., 0]
    way = np.linalg.norm(ahead, axis=-1)
    along = (DRIFT_PER_M * way) ** 2 + FLOOR_VARIANCE
    about = (DRIFT_PER_M * way) ** 2 + (DRIFT_PER_RAD * turn) ** 2 + FLOOR_VARIANCE
    noise = np.stack([along, along, about], axis=-1)[..., None] * np.eye(3)
    grown = jacobian @ spread @ np.swapaxes(jacobian, -1, -2) + noise
    yaw = wrap(state[..., 2] + turn)
    return np.concatenate([state[..., :2] + moved, yaw[..., None]], axis=-1), grown


def _correct(
    state: Array, spread: Array, pose: Array, covariance: Array, threshold: float
) -> tuple[Array, Array, Flags]:
    """Draw states to poses; give them, their covariances and which poses lie too far off."""
    innovation = difference(pose, state)
    total = spread + covariance + FLOOR_VARIANCE * np.eye(3)
    inverse = np.linalg.inv(total)
    squares = np.einsum("...i,...ij,...j->...", innovation, inverse, innovation)
    gain = spread @ inverse
    drawn = state + np.einsum("...ij,...j->...i", gain, innovation)
    drawn[..., 2] = wrap(drawn[..., 2])
    rest = np.eye(3) - gain
    # Joseph's form stays symmetric and positive.
    shrunk = rest @ spread @ np.swapaxes(rest, -1, -2)
    shrunk = shrunk + gain @ covariance @ np.swapaxes(gain, -1, -2)
    return drawn, shrunk, squares > threshold**2


def error_figures(fused: Fused, drives: Drives) -> dict[str, Any]:
    """Sum up errors of fused drives, for one covariance.

    An image before the filter's first pose is left out of the errors, and counted.

    Returns:
        `position_rms_m`, `position_median_m`, `position_p95_m`, `yaw_rms_deg`, `yaw_p95_deg`;
        `share_lost` (further off than half a metre), `share_rejected` (of usable poses), and
        `coverage_95`: how often the truth is in the filter's own 95 % region.
    """
    errors = difference(fused.state, drives.truth).reshape(-1, 3)
    known = np.isfinite(errors).all(axis=1)
    errors = errors[known]
    spreads = fused.covariance.reshape(-1, 3, 3)[known] + FLOOR_VARIANCE * np.eye(3)
    off = np.hypot(errors[:, 0], errors[:, 1])
    yaw = np.rad2deg(np.abs(errors[:, 2]))
    squares = np.einsum("ni,nij,nj->n", errors, np.linalg.inv(spreads), errors)
    return {
        "num_frames": len(errors),
        "num_without_pose_yet": int((~known).sum()),
        "position_rms_m": float(np.sqrt((off**2).mean())),
        "position_median_m": float(np.median(off)),
        "position_p95_m": float(np.quantile(off, 0.95)),
        "yaw_rms_deg": float(np.sqrt((yaw**2).mean())),
        "yaw_p95_deg": float(np.quantile(yaw, 0.95)),
        "share_lost": float((off > 0.5).mean()),
        "share_rejected": float(fused.rejected.sum() / max(drives.usable.sum(), 1)),
        "coverage_95": float((squares <= CHI_SQUARE_95_3).mean()),
    }


def difference(first: Array, second: Array) -> Array:
    """Subtract planar poses (..., 3), yaw wrapped."""
    gap = np.asarray(first) - np.asarray(second)
    return np.concatenate([gap[..., :2], wrap(gap[..., 2:])], axis=-1)


def wrap(angle: Any) -> Any:
    """Bring angles to [-pi, pi)."""
    return (angle + np.pi) % (2.0 * np.pi) - np.pi


def _turned(vectors: Array, yaw: Array) -> Array:
    c, s = np.cos(yaw), np.sin(yaw)
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([c * x - s * y, s * x + c * y], axis=-1)
