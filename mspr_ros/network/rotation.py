"""Rotations as a network regresses them, differentiable. Quaternions are xyzw."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def matrix_from_6d(columns: Tensor) -> Tensor:
    """Make rotation matrices of two columns each by Gram-Schmidt (arXiv 1812.07035).

    Shape: (..., 6), first column then second -> (..., 3, 3).
    """
    first = functional.normalize(columns[..., :3], dim=-1)
    second = columns[..., 3:]
    second = second - (first * second).sum(dim=-1, keepdim=True) * first
    second = functional.normalize(second, dim=-1)
    return torch.stack((first, second, torch.linalg.cross(first, second)), dim=-1)


def columns_from_quat_xyzw(quat_xyzw: Tensor) -> Tensor:
    """Give the first two columns of the rotation matrices, as `matrix_from_6d` takes them.

    Shape: (..., 4), of unit norm, or zero, which gives zeros -> (..., 6).
    """
    x, y, z, w = quat_xyzw.unbind(dim=-1)
    entries = (
        x * x - y * y - z * z + w * w,
        2 * (x * y + z * w),
        2 * (x * z - y * w),
        2 * (x * y - z * w),
        y * y - x * x - z * z + w * w,
        2 * (y * z + x * w),
    )
    return torch.stack(entries, dim=-1)


def quat_xyzw_from_matrix(matrix: Tensor) -> Tensor:
    """Give the unit quaternions of rotation matrices. Shape: (..., 3, 3) -> (..., 4).

    Each row of 4 q q^T can be read off the matrix; the one with the largest diagonal entry is
    never near zero, so that neither the answer nor its gradient blows up.
    """
    m = matrix
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    xy, xz, yz = (
        m[..., 1, 0] + m[..., 0, 1],
        m[..., 0, 2] + m[..., 2, 0],
        m[..., 2, 1] + m[..., 1, 2],
    )
    wx, wy, wz = (
        m[..., 2, 1] - m[..., 1, 2],
        m[..., 0, 2] - m[..., 2, 0],
        m[..., 1, 0] - m[..., 0, 1],
    )
    rows = (
        (1 + m00 - m11 - m22, xy, xz, wx),
        (xy, 1 - m00 + m11 - m22, yz, wy),
        (xz, yz, 1 - m00 - m11 + m22, wz),
        (wx, wy, wz, 1 + m00 + m11 + m22),
    )
    outer = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)  # (..., 4, 4)
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)  # (...)
    index = best[..., None, None].expand(*best.shape, 1, 4)
    return functional.normalize(outer.gather(-2, index).squeeze(-2), dim=-1)


def rotation_vector_between(pred_xyzw: Tensor, gt_xyzw: Tensor) -> Tensor:
    """Give the vectors r with R_pred = exp(r) R_gt, about the fixed axes; no gradient at zero.

    Shape: (..., 4), (..., 4), unit, either sign -> (..., 3), radians, at most pi long.
    """
    p, g = pred_xyzw[..., :3], gt_xyzw[..., :3]
    p_w, g_w = pred_xyzw[..., 3:], gt_xyzw[..., 3:]
    vector = p * g_w - g * p_w - torch.linalg.cross(p, g)  # of pred times conjugate gt
    w = (pred_xyzw * gt_xyzw).sum(dim=-1, keepdim=True)
    vector = torch.where(w < 0.0, -vector, vector)
    sine = vector.norm(dim=-1, keepdim=True)
    factor = 2.0 * torch.atan2(sine, w.abs()) / sine.clamp_min(1e-12)
    return torch.where(sine > 1e-12, factor, torch.full_like(factor, 2.0)) * vector


def angle_between_rad(quat_xyzw: Tensor, other_xyzw: Tensor) -> Tensor:
    """Give the angle between orientations, whichever sign, with a gradient of bounded size.

    Shape: (..., 4), (..., 4), unit -> (...), radians in [0, pi].
    """
    sign = torch.where((quat_xyzw * other_xyzw).sum(dim=-1, keepdim=True) < 0.0, -1.0, 1.0)
    difference = (quat_xyzw - sign * other_xyzw).norm(dim=-1)
    total = (quat_xyzw + sign * other_xyzw).norm(dim=-1)
    return 4.0 * torch.atan2(difference, total)
