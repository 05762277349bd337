"""Quantiles that hold for the next frame, not only for those they were taken from."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincinv, stdtrit

from mspr_ros.geometry import Array


def upper_quantile(values: Array, block: npt.NDArray[np.int64], level: float) -> float:
    """Give a value that a frame of a new block exceeds with a probability of at most 1 - level.

    Blocks are exchangeable, the frames of one are not: every block has the weight 1 / (K + 1),
    the one to come the rest. This is the hierarchical conformal quantile (Lee, Barber, Willett,
    arXiv 2306.06342). Where K blocks are too few for the level, it is the largest value.

    Args:
        values: (N,).
        block: (N,) the block that each value belongs to.
        level: In (0, 1).
    """
    _, member, sizes = np.unique(block, return_inverse=True, return_counts=True)
    order = np.argsort(values)
    share = np.cumsum(1.0 / ((len(sizes) + 1) * sizes[member.reshape(-1)[order]]))
    place = int(np.searchsorted(share, level - 1e-9))
    return float(values[order[min(place, len(values) - 1)]])


def lower_bound(values: Array, block: npt.NDArray[np.int64], rate: float) -> float:
    """Give a value that a frame of a new block falls below with a probability of about `rate`.

    The hierarchical conformal quantile, where there are blocks enough for such a rate. Else no
    value seen falls below, and what fewer than that cannot tell is bridged by Student's bound
    for the least value of one block more: the fewer and the more unlike the blocks, the lower.
    """
    numbers = np.unique(block)
    if rate * (len(numbers) + 1) >= 1.0:
        return -upper_quantile(-values, block, 1.0 - rate)
    least = np.array([values[block == number].min() for number in numbers])
    if len(least) < 2:
        return float(least.min())
    margin = stdtrit(len(least) - 1, 1.0 - rate) * math.sqrt(1.0 + 1.0 / len(least))
    return float(min(least.min(), least.mean() - margin * least.std(ddof=1)))


def chi_square_quantile(level: float, dof: int) -> float:
    """Give the squared distance that a share `level` of chi-square's draws does not exceed."""
    return float(2.0 * gammaincinv(dof / 2.0, level))
