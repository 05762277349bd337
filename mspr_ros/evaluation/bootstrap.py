"""Intervals for statistics of correlated frames: resample blocks of time, not frames.

Neighbouring frames of a recording show almost the same picture, so their errors are alike and a
bootstrap over single frames would promise far too much. Blocks longer than the correlation time
are nearly independent. With few blocks (under about ten) an interval is still too narrow: read
the number of blocks beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mspr_ros.data.instants import median_step_ns
from mspr_ros.evaluation.metrics import json_safe, median_error
from mspr_ros.geometry import Array, ArrayLike

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A statistic's value on all frames, and where resampled values of it fall.

    Args:
        value: On the frames themselves.
        low, high: Percentile interval at `level`; inf where failures reach into it.
        level: Nominal coverage, such as 0.95.
        num_blocks: How many blocks were resampled; nan bounds mean that one is not enough.
    """

    value: float
    low: float
    high: float
    level: float
    num_blocks: int


def interval_to_dict(interval: Interval) -> dict[str, Any]:
    """Give an interval as plain values for JSON; infinite or unknown bounds become None."""
    plain: dict[str, Any] = json_safe(
        {"value": interval.value, "low": interval.low, "high": interval.high}
    )
    return {**plain, "level": interval.level, "num_blocks": interval.num_blocks}


def contiguous_blocks(
    stamps_ns: npt.ArrayLike,
    sequences: Sequence[Hashable],
    *,
    max_gap_ns: int | None = None,
    max_block_frames: int = 10,
    cameras: Sequence[Hashable] | None = None,
) -> list[Indices]:
    """Group frames into runs without a gap in time, and cut long runs into even pieces.

    Args:
        stamps_ns: (N,) integers, in any order.
        sequences: N names; frames of different sequences never share a block. Give (scene,
            sequence) pairs where a sequence's name repeats from scene to scene.
        max_gap_ns: A longer pause between neighbours starts a new block; by default five times
            the median step of the sequence's cameras.
        max_block_frames: Pieces hold at most this many frames. Choose it longer than the
            errors' correlation, yet so that about ten blocks or more remain.
        cameras: N names, where several took a sequence side by side; by default one did.

    Returns:
        Index arrays that cover every frame once, each in order of time.

    Raises:
        ValueError: If the lengths differ or a limit is not positive.
    """
    stamps = np.asarray(stamps_ns, dtype=np.int64)
    if stamps.shape != (len(sequences),):
        raise ValueError(f"{len(sequences)} sequence names for stamps of shape {stamps.shape}")
    if max_block_frames < 1 or (max_gap_ns is not None and max_gap_ns < 1):
        raise ValueError("max_block_frames and max_gap_ns must be positive")
    blocks: list[Indices] = []
    for run in contiguous_runs(stamps, sequences, max_gap_ns, cameras):
        blocks.extend(np.array_split(run, math.ceil(len(run) / max_block_frames)))
    return blocks


def contiguous_runs(
    stamps_ns: npt.ArrayLike,
    sequences: Sequence[Hashable],
    max_gap_ns: int | None = None,
    cameras: Sequence[Hashable] | None = None,
) -> list[Indices]:
    """Group frames into runs without a gap in time, uncut; see `contiguous_blocks`."""
    stamps = np.asarray(stamps_ns, dtype=np.int64)
    members: dict[Hashable, list[int]] = {}
    for index, sequence in enumerate(sequences):
        members.setdefault(sequence, []).append(index)
    runs: list[Indices] = []
    for indices in members.values():
        ordered = np.asarray(indices, dtype=np.int64)
        ordered = ordered[np.argsort(stamps[ordered], kind="stable")]
        steps = np.diff(stamps[ordered])
        limit = max_gap_ns
        if limit is None:
            names = [""] * len(ordered) if cameras is None else [cameras[row] for row in ordered]
            limit = 5 * median_step_ns(stamps[ordered], names)
        runs.extend(np.split(ordered, np.nonzero(steps > limit)[0] + 1))
    return runs


def block_bootstrap(
    statistic: Callable[[Indices], float],
    blocks: Sequence[Indices],
    *,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
    omit_nan: bool = False,
) -> Interval:
    """Give the percentile interval of any statistic under resampling of whole blocks.

    Args:
        statistic: From the indices of a resample's frames (with repetitions) to a number.
        blocks: As `contiguous_blocks` gives them.
        level: Nominal coverage.
        num_resamples: Random draws, each of as many blocks as there are.
        seed: The same seed gives the same interval.
        omit_nan: Leave resamples out on which the statistic is not defined; by default they
            are failures and count as inf.

    Raises:
        ValueError: If there are no blocks or `level` is not between 0 and 1.
    """
    if not blocks:
        raise ValueError("there are no blocks to resample")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    value = float(statistic(np.sort(np.concatenate(list(blocks)))))
    if len(blocks) == 1:
        return Interval(value, math.nan, math.nan, level, 1)
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, len(blocks), size=(num_resamples, len(blocks)))
    resampled = np.array(
        [statistic(np.concatenate([blocks[chosen] for chosen in draw])) for draw in draws]
    )
    if omit_nan and not np.isnan(resampled).all():
        resampled = resampled[~np.isnan(resampled)]
    # Resamples that fail altogether count as inf: they belong to the upper end.
    resampled = np.sort(np.where(np.isnan(resampled), np.inf, resampled))
    tail = (1.0 - level) / 2.0
    low = float(resampled[math.floor(tail * (len(resampled) - 1))])
    high = float(resampled[math.ceil((1.0 - tail) * (len(resampled) - 1))])
    return Interval(value, low, high, level, len(blocks))


def share_intervals(
    flags: npt.NDArray[np.bool_],
    blocks: Sequence[Indices],
    *,
    among: npt.NDArray[np.bool_] | None = None,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """Give the intervals of many shares at once, as `block_bootstrap` gives each.

    Args:
        flags: (N, K) of all frames, a share for each column.
        blocks: As `contiguous_blocks` gives them.
        among: (N,) the frames that the shares are of; by default all. A share of no frames is
            nan; resamples without such a frame are left out.
        level: Nominal coverage.
        num_resamples: Random draws, each of as many blocks as there are.
        seed: The same seed gives the same intervals.
    """
    if not blocks:
        raise ValueError("there are no blocks to resample")
    counted = np.ones(len(flags), dtype=bool) if among is None else among
    hits = np.array([(flags[block] & counted[block, None]).sum(axis=0) for block in blocks])
    sizes = np.array([counted[block].sum() for block in blocks])
    if sizes.sum() == 0:
        return [Interval(math.nan, math.nan, math.nan, level, len(blocks))] * flags.shape[1]
    values = hits.sum(axis=0) / sizes.sum()
    if len(blocks) == 1:
        return [Interval(float(value), math.nan, math.nan, level, 1) for value in values]
    draws = np.random.default_rng(seed).integers(0, len(blocks), size=(num_resamples, len(blocks)))
    totals = sizes[draws].sum(axis=1)
    counts = np.zeros((num_resamples, flags.shape[1]))
    for place in range(len(blocks)):  # one drawn block at a time: (R, K) instead of (R, B, K)
        counts += hits[draws[:, place]]
    shares = np.sort(counts[totals > 0] / totals[totals > 0, None], axis=0)
    tail = (1.0 - level) / 2.0
    low = shares[math.floor(tail * (len(shares) - 1))]
    high = shares[math.ceil((1.0 - tail) * (len(shares) - 1))]
    return [
        Interval(float(value), float(low[column]), float(high[column]), level, len(blocks))
        for column, value in enumerate(values)
    ]


def median_interval(
    errors: ArrayLike,
    blocks: Sequence[Indices],
    *,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Give the block-bootstrap interval of the median of (N,) errors, where NaN counts as inf."""
    values = _nan_as_inf(errors)
    return block_bootstrap(
        lambda indices: median_error(values[indices]),
        blocks,
        level=level,
        num_resamples=num_resamples,
        seed=seed,
    )


def median_ratio_interval(
    errors: ArrayLike,
    reference_errors: ArrayLike,
    blocks: Sequence[Indices],
    *,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Give the interval of median(errors) / median(reference_errors) on the same frames.

    Both medians are taken on the same resampled blocks: what makes a block hard for both methods
    cancels. Below 1 the first method is better.

    Raises:
        ValueError: If the two do not hold one error for each frame.
    """
    values, reference = _nan_as_inf(errors), _nan_as_inf(reference_errors)
    if values.shape != reference.shape:
        raise ValueError(f"paired errors differ in shape: {values.shape} and {reference.shape}")

    def ratio(indices: Indices) -> float:
        return _divide(median_error(values[indices]), median_error(reference[indices]))

    return block_bootstrap(ratio, blocks, level=level, num_resamples=num_resamples, seed=seed)


def _divide(numerator: float, denominator: float) -> float:
    """Divide non-negative medians; two that both fail, or both vanish, cannot be compared."""
    if math.isinf(numerator) and math.isinf(denominator):
        return math.nan
    if denominator == 0.0:
        return math.inf if numerator > 0.0 else math.nan
    return numerator / denominator


def _nan_as_inf(errors: ArrayLike) -> Array:
    values = np.asarray(errors, dtype=np.float64)
    return np.where(np.isnan(values), np.inf, values)
