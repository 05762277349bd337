"""Cut validation blocks out of recordings, by time and with a guard on both sides.

Neighbouring frames look alike and were taken from almost the same place: validating on frames
drawn at random would measure memory. A block of frames with nothing of it left in training, and
nothing right beside it, is the least that says something.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from mspr_ros.data.dataset import Dataset
from mspr_ros.data.instants import instants_of
from mspr_ros.errors import DatasetError


class Part(IntEnum):
    """Say where a frame belongs; a guard frame belongs to neither training nor validation."""

    TRAIN = 0
    VALIDATION = 1
    GUARD = 2


def guarded_blocks(
    stamps_ns: npt.ArrayLike,
    *,
    num_blocks: int,
    fraction: float,
    guard_frames: int = 10,
    guard_s: float = 0.0,
    cameras: Sequence[Hashable] | None = None,
) -> npt.NDArray[np.int8]:
    """Choose validation blocks, evenly spread over one sequence.

    Blocks and guards are counted in the instants that are there, in order: a recording with gaps
    (around its test blocks, say) loses no more frames than one without, and images that several
    cameras took at one instant stay together. A sequence too short to keep half of its frames for
    training gets fewer blocks, down to none.

    Args:
        stamps_ns: (N,) stamps of one sequence, in any order.
        num_blocks: Validation blocks to cut out.
        fraction: Share of the frames to validate on, in [0, 1).
        guard_frames: Instants on each side of a block that belong to neither part.
        guard_s: Seconds on each side of a block, likewise; the larger guard holds.
        cameras: N names, where several took the sequence with stamps of their own.

    Returns:
        (N,) values of `Part`, in the order of the stamps given.

    Raises:
        ValueError: If an argument is out of range.
    """
    if num_blocks < 0 or not 0.0 <= fraction < 1.0 or guard_frames < 0 or not guard_s >= 0.0:
        raise ValueError(
            "expected num_blocks >= 0, 0 <= fraction < 1, guards >= 0, got "
            f"{num_blocks}, {fraction}, {guard_frames}, {guard_s}"
        )
    stamps = np.asarray(stamps_ns, dtype=np.int64)
    cameras = [""] * len(stamps) if cameras is None else cameras
    instants, instant_of = instants_of(stamps, cameras)
    spread = int(np.max(stamps - instants[instant_of], initial=0))
    parts = np.full(len(instants), Part.TRAIN, dtype=np.int8)
    for blocks in range(num_blocks, 0, -1):
        chosen = _evenly_spread(len(instants), blocks, fraction)
        near = _within(np.arange(len(instants)), chosen, guard_frames)
        near |= _within(instants, chosen, int(guard_s * 1e9) + spread)
        if chosen.any() and 2 * np.count_nonzero(near) <= len(instants):
            parts[near] = Part.GUARD
            parts[chosen] = Part.VALIDATION
            break
    return parts[instant_of]


def _evenly_spread(count: int, blocks: int, fraction: float) -> npt.NDArray[np.bool_]:
    """Mark `blocks` runs of equal length, each in the middle of its share of the sequence."""
    chosen = np.zeros(count, dtype=bool)
    length = round(count * fraction / blocks)
    for block in range(blocks):
        start = round((block + 0.5) * count / blocks - length / 2)
        chosen[max(start, 0) : start + length] = True
    return chosen


def _within(
    places: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_], reach: int
) -> npt.NDArray[np.bool_]:
    """Mark the sorted places that are at most `reach` from a chosen one."""
    targets = places[chosen]
    if len(targets) == 0:
        return np.zeros(len(places), dtype=bool)
    after = np.searchsorted(targets, places)
    to_next = np.abs(targets[np.minimum(after, len(targets) - 1)] - places)
    to_last = np.abs(places - targets[np.maximum(after - 1, 0)])
    near: npt.NDArray[np.bool_] = np.minimum(to_next, to_last) <= reach
    return near


def split_guarded(
    dataset: Dataset,
    *,
    num_blocks: int,
    fraction: float,
    guard_frames: int = 10,
    guard_s: float = 0.0,
) -> tuple[Dataset, Dataset]:
    """Split a dataset into training and validation, within each sequence of each scene.

    Args:
        dataset: Usually `dataset.select(split="train")`.
        num_blocks: Validation blocks to cut out of each sequence.
        fraction: Share of each sequence to validate on.
        guard_frames: As for `guarded_blocks`.
        guard_s: As for `guarded_blocks`.

    Returns:
        Training and validation; guard frames are in neither.

    Raises:
        DatasetError: If validation was asked for but no sequence is long enough for a block.
    """
    sequences: dict[tuple[str, str], list[int]] = {}
    for index, frame in enumerate(dataset.frames):
        sequences.setdefault((frame.scene, frame.sequence), []).append(index)
    stamps = dataset.stamps_ns
    parts = np.full(len(dataset), Part.TRAIN, dtype=np.int8)
    for indices in sequences.values():
        parts[indices] = guarded_blocks(
            stamps[indices],
            num_blocks=num_blocks,
            fraction=fraction,
            guard_frames=guard_frames,
            guard_s=guard_s,
            cameras=[dataset.frames[index].camera for index in indices],
        )
    if num_blocks > 0 and fraction > 0.0 and not np.any(parts == Part.VALIDATION):
        raise DatasetError(
            f"no sequence of {dataset.name} is long enough for a validation block between guards "
            f"of {guard_frames} frames; ask for a smaller guard or another fraction"
        )
    train = dataset.subset(np.flatnonzero(parts == Part.TRAIN))
    return train, dataset.subset(np.flatnonzero(parts == Part.VALIDATION))
