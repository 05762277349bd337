"""Quantiles that hold for the next frame, not only for those they were taken from."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincinv, stdtrit

from mspr_ros.geometry import Array

_GRID = 200  # points that stand for the distribution of a block's level


def upper_quantile(values: Array, block: npt.NDArray[np.int64], level: float) -> float:
    """Give a value that a frame of a new block exceeds with a probability of about 1 - level.

    The frames of one block are alike: what a new one brings is the level of its block, of which K
    have been seen, and a frame's own part. The former is predicted by Student's t with K - 1
    degrees of freedom about the mean of the blocks' means, so that few blocks, or blocks that
    differ by more than the chance of so few frames, give a wider bound; the latter is as it was
    seen, all blocks counting alike.

    Args:
        values: (N,), such that blocks differ by a shift: logarithms of distances, say.
        block: (N,) the block that each value belongs to.
        level: In (0, 1).

    Returns:
        The quantile; of a single block the largest value, as nothing tells how blocks differ.
    """
    _, member, sizes = np.unique(block, return_inverse=True, return_counts=True)
    member, count = member.reshape(-1), len(sizes)
    if count < 2:
        return float(values.max())
    mean = np.bincount(member, values) / sizes
    own = values - mean[member]
    # What chance there is in the mean of so few frames, were they independent.
    chance = np.mean(np.bincount(member, own**2) / (np.maximum(sizes - 1, 1) * sizes))
    variance = mean.var(ddof=1)
    spread = math.sqrt(max(variance - chance, 0.0) + variance / count)
    shares = (np.arange(_GRID) + 0.5) / _GRID
    shift = mean.mean() + spread * stdtrit(count - 1, shares)
    drawn = (shift[:, None] + own).ravel()
    weight = np.tile(1.0 / (_GRID * count * sizes[member]), _GRID)
    order = np.argsort(drawn)
    place = int(np.searchsorted(np.cumsum(weight[order]), level))
    return float(drawn[order[min(place, len(drawn) - 1)]])


def lower_quantile(values: Array, block: npt.NDArray[np.int64], rate: float) -> float:
    """Give a value that a frame of a new block falls below with a probability of about `rate`.

    See `upper_quantile`.
    """
    return -upper_quantile(-values, block, 1.0 - rate)


def chi_square_quantile(level: float, dof: int) -> float:
    """Give the squared distance that a share `level` of chi-square's draws does not exceed."""
    return float(2.0 * gammaincinv(dof / 2.0, level))
