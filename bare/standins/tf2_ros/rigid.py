"""Rigid transforms in plain floats: a lookup composes a handful of them, arrays would cost more.

A `Rigid` holds the translation in metres and the rotation as a unit quaternion in xyzw order.
`T_a_b` takes coordinates in b to coordinates in a.
"""

from __future__ import annotations

import math
from typing import NamedTuple

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


class Rigid(NamedTuple):
    """A rigid transform: translation in metres, unit quaternion in xyzw order."""

    translation: Vector
    quat_xyzw: Quaternion


IDENTITY = Rigid((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def compose(T_a_b: Rigid, T_b_c: Rigid) -> Rigid:
    """Chain two transforms: T_a_c = T_a_b @ T_b_c."""
    x, y, z = rotate(T_a_b.quat_xyzw, T_b_c.translation)
    tx, ty, tz = T_a_b.translation
    return Rigid((tx + x, ty + y, tz + z), multiply(T_a_b.quat_xyzw, T_b_c.quat_xyzw))


def invert(T_a_b: Rigid) -> Rigid:
    """Turn T_a_b round: T_b_a."""
    x, y, z, w = T_a_b.quat_xyzw
    conjugate = (-x, -y, -z, w)
    tx, ty, tz = rotate(conjugate, T_a_b.translation)
    return Rigid((-tx, -ty, -tz), conjugate)


def multiply(p_xyzw: Quaternion, q_xyzw: Quaternion) -> Quaternion:
    """Multiply two quaternions (Hamilton): the rotation q, then p."""
    px, py, pz, pw = p_xyzw
    qx, qy, qz, qw = q_xyzw
    return (
        pw * qx + px * qw + py * qz - pz * qy,
        pw * qy - px * qz + py * qw + pz * qx,
        pw * qz + px * qy - py * qx + pz * qw,
        pw * qw - px * qx - py * qy - pz * qz,
    )


def rotate(quat_xyzw: Quaternion, vector: Vector) -> Vector:
    """Rotate a vector by a unit quaternion."""
    x, y, z, w = quat_xyzw
    vx, vy, vz = vector
    # v + 2 w (u x v) + 2 u x (u x v), with u the vector part
    cx, cy, cz = 2 * (y * vz - z * vy), 2 * (z * vx - x * vz), 2 * (x * vy - y * vx)
    return (
        vx + w * cx + y * cz - z * cy,
        vy + w * cy + z * cx - x * cz,
        vz + w * cz + x * cy - y * cx,
    )


def normalized(quat_xyzw: Quaternion) -> Quaternion:
    """Scale a quaternion to unit length."""
    x, y, z, w = quat_xyzw
    norm = math.sqrt(x * x + y * y + z * z + w * w)
    return (x / norm, y / norm, z / norm, w / norm)


def interpolate(earlier: Rigid, later: Rigid, ratio: float) -> Rigid:
    """Go `ratio` (0 to 1) of the way: straight for the position, slerp for the rotation."""
    ax, ay, az = earlier.translation
    bx, by, bz = later.translation
    translation = (ax + ratio * (bx - ax), ay + ratio * (by - ay), az + ratio * (bz - az))
    return Rigid(translation, slerp(earlier.quat_xyzw, later.quat_xyzw, ratio))


def slerp(p_xyzw: Quaternion, q_xyzw: Quaternion, ratio: float) -> Quaternion:
    """Rotate from p towards q at constant speed, the shorter way round."""
    px, py, pz, pw = p_xyzw
    qx, qy, qz, qw = q_xyzw
    cosine = px * qx + py * qy + pz * qz + pw * qw
    # q and -q are the same rotation: the one on p's side is the shorter way.
    sign = -1.0 if cosine < 0.0 else 1.0
    angle = math.acos(min(1.0, abs(cosine)))
    if angle < 1e-6:  # sin(angle) vanishes, and straight interpolation is exact to rounding
        weight_p, weight_q = 1.0 - ratio, sign * ratio
    else:
        weight_p = math.sin((1.0 - ratio) * angle) / math.sin(angle)
        weight_q = sign * math.sin(ratio * angle) / math.sin(angle)
    return normalized(
        (
            weight_p * px + weight_q * qx,
            weight_p * py + weight_q * qy,
            weight_p * pz + weight_q * qz,
            weight_p * pw + weight_q * qw,
        )
    )
