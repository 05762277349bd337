"""Lens distortion: the models of sensor_msgs/CameraInfo, and where each of them ends."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np

from mspr_ros.geometry import Array, ArrayLike

# Numbers of coefficients that each ROS distortion model may carry.
DISTORTION_SIZES: dict[str, tuple[int, ...]] = {
    "none": (0,),
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
}
# What drivers and calibration files also call them.
_OTHER_NAMES = {"": "plumb_bob", "fisheye": "equidistant"}
# Where a lens is looked at for its fold, as tangents: each hundredth of a degree off its axis.
_TANGENTS = np.tan(np.deg2rad(np.linspace(0.0, 89.0, 8901)))


def lens(model: str, coefficients: Iterable[float]) -> tuple[str, tuple[float, ...]]:
    """Give `distortion_model` and `distortion` of a CameraModel for a lens as others name it.

    Zeros bend nothing and give `none`, except for an equidistant lens: there zeros, and none
    given, mean that the radius is the focal length times the angle.

    Args:
        model: As a CameraInfo or a calibration file has it; empty for plumb_bob.
        coefficients: As there; empty where all are zero.
    """
    name, given = _OTHER_NAMES.get(model, model), tuple(float(value) for value in coefficients)
    if name == "equidistant":
        return name, given or (0.0, 0.0, 0.0, 0.0)
    return (name, given) if any(given) else ("none", ())


def bent_radius(model: str, coefficients: tuple[float, ...], radius: ArrayLike) -> Array:
    """Bend radii as a lens does, its tangential terms passed over.

    Args:
        model: A key of `DISTORTION_SIZES`.
        coefficients: As many as the model takes.
        radius: Of any shape: distances from the optical axis in the plane z = 1, not negative.

    Returns:
        Of the same shape, the distance from the principal point in focal lengths.
    """
    r = np.asarray(radius, dtype=np.float64)
    if model == "equidistant":
        k1, k2, k3, k4 = coefficients
        theta = np.arctan(r)
        t2 = theta * theta
        return np.asarray(theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4)))))
    k1, k2, _, _, k3, k4, k5, k6 = (*coefficients, *[0.0] * 8)[:8]
    r2 = r * r
    with np.errstate(divide="ignore"):  # a pole of the rational polynomial
        factor = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        return np.asarray(r * factor)


@functools.lru_cache(maxsize=64)
def fold_radius(model: str, coefficients: tuple[float, ...]) -> float:
    """Give the distance from the optical axis, in the plane z = 1, at which a lens folds over.

    Up to there a ray further out meets a pixel further out. Beyond, a polynomial of odd sign
    turns back, and rays that no camera sees would meet pixels of the picture a second time.

    Returns:
        inf for a lens that does not fold within 89 degrees.
    """
    bent = bent_radius(model, coefficients, _TANGENTS)
    with np.errstate(invalid="ignore"):
        turns = np.flatnonzero(~(np.diff(bent) > 0.0))
    return float(_TANGENTS[turns[0]]) if len(turns) else float("inf")
