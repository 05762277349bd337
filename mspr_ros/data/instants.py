"""Which frames of a sequence the cameras of one rig took together, and how long they wait."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

# Frames of several cameras belong together within this share of a camera's step.
_SHARE_OF_STEP = 0.75


def rows_by_camera(cameras: Sequence[Hashable]) -> list[list[int]]:
    """Group the frames of one sequence by camera.

    Where most frames have a camera of their own (intrinsics found image by image), they were
    taken one after the other by a single one, and are one group.
    """
    rows: dict[Hashable, list[int]] = {}
    for row, camera in enumerate(cameras):
        rows.setdefault(camera, []).append(row)
    return list(rows.values()) if 2 * len(rows) <= len(cameras) else [list(range(len(cameras)))]


def median_step_ns(stamps_ns: npt.NDArray[np.int64], cameras: Sequence[Hashable]) -> int:
    """Give the median time from a camera's frame to its next one, 0 where none has a next.

    Args:
        stamps_ns: (N,) stamps of one sequence, in any order.
        cameras: N names.
    """
    steps = [np.diff(np.unique(stamps_ns[rows])) for rows in rows_by_camera(cameras)]
    together = np.concatenate(steps)
    return int(np.median(together)) if len(together) else 0


def instants_of(
    stamps_ns: npt.NDArray[np.int64], cameras: Sequence[Hashable]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the instants at which the cameras took their frames.

    Frames of one camera are of one instant if their stamps are equal; those of several, if they
    are nearer to each other than to the camera's next one.

    Args:
        stamps_ns: (N,) stamps of one sequence, in any order.
        cameras: N names.

    Returns:
        The first stamp of each instant (M,), in order, and the frames' instants (N,) among them.
    """
    stamps, place_of = np.unique(stamps_ns, return_inverse=True)
    window = 0.0
    if len(rows_by_camera(cameras)) > 1:
        window = _SHARE_OF_STEP * median_step_ns(stamps_ns, cameras)
    firsts: list[int] = []
    instant_of = np.zeros(len(stamps), dtype=np.int64)
    for place, stamp in enumerate(stamps.tolist()):
        if not firsts or stamp - firsts[-1] > window:
            firsts.append(stamp)
        instant_of[place] = len(firsts) - 1
    return np.array(firsts, dtype=np.int64), instant_of[place_of.reshape(-1)]
