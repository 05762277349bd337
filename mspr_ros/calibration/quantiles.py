"""Quantiles that hold for the next frame, not only for those they were taken from."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaincinv

from mspr_ros.geometry import Array


def upper_quantile(values: Array, level: float) -> float:
    """Give a value that the next one does not exceed with a probability of at least `level`.

    The ceil((N + 1) level)-th smallest of N exchangeable values, which is the conformal quantile;
    where N is too small for that, the largest.
    """
    ordered = np.sort(values)
    place = math.ceil((len(ordered) + 1) * level)
    return float(ordered[min(place, len(ordered)) - 1])


def lower_quantile(values: Array, rate: float) -> float:
    """Give a value that the next one falls below with a probability of at most `rate`.

    Where there are too few values for that, the smallest.
    """
    ordered = np.sort(values)
    place = math.floor((len(ordered) + 1) * rate)
    return float(ordered[max(place, 1) - 1])


def chi_square_quantile(level: float, dof: int) -> float:
    """Give the squared distance that a share `level` of chi-square's draws does not exceed."""
    return float(2.0 * gammaincinv(dof / 2.0, level))
