"""Spoil the poses of training frames as real recordings do, and write them as a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from mspr_ros.data.dataset import Dataset, Frame, write_dataset
from mspr_ros.data.frame import unit_quat
from mspr_ros.geometry import Array, as_float_tuple

# (N, 3) positions, rotations, (N,) seconds, generator -> positions and rotations.
Spoiler = Callable[[Array, Rotation, Array, np.random.Generator], tuple[Array, Rotation]]


def gaussian(sigma_m: float, sigma_deg: float) -> Spoiler:
    """Move and turn every pose by chance, each for itself, as a poor tracker does."""

    def spoil(
        positions: Array, rotations: Rotation, seconds: Array, rng: np.random.Generator
    ) -> tuple[Array, Rotation]:
        shift = rng.normal(scale=sigma_m / np.sqrt(3.0), size=positions.shape)
        turn = rng.normal(scale=np.deg2rad(sigma_deg) / np.sqrt(3.0), size=positions.shape)
        return positions + shift, Rotation.from_rotvec(turn) * rotations

    return spoil


def outliers(share: float) -> Spoiler:
    """Give a share of the frames the pose of another frame of the sequence, as a lost tracker."""

    def spoil(
        positions: Array, rotations: Rotation, seconds: Array, rng: np.random.Generator
    ) -> tuple[Array, Rotation]:
        rows = np.arange(len(positions))
        wrong = rng.choice(rows, size=round(share * len(rows)), replace=False)
        rows[wrong] = rng.integers(0, len(rows), size=len(wrong))
        return positions[rows], rotations[rows]

    return spoil


def drift(end_m: float, end_deg: float) -> Spoiler:
    """Let poses run away from the start of each sequence to its end, as odometry does."""

    def spoil(
        positions: Array, rotations: Rotation, seconds: Array, rng: np.random.Generator
    ) -> tuple[Array, Rotation]:
        weight = (seconds - seconds.min()) / max(np.ptp(seconds), 1e-9)
        angle = rng.uniform(0.0, 2.0 * np.pi)
        way = end_m * np.array([np.cos(angle), np.sin(angle), 0.0])
        turn = np.deg2rad(end_deg) * rng.choice([-1.0, 1.0]) * np.array([0.0, 0.0, 1.0])
        return positions + weight[:, None] * way, Rotation.from_rotvec(
            weight[:, None] * turn
        ) * rotations

    return spoil


def time_offset(seconds_late: float) -> Spoiler:
    """Give each frame the pose of a moment later, as clocks that disagree do."""

    def spoil(
        positions: Array, rotations: Rotation, seconds: Array, rng: np.random.Generator
    ) -> tuple[Array, Rotation]:
        if len(seconds) < 2:
            return positions, rotations
        order = np.argsort(seconds, kind="stable")
        ordered = seconds[order] + 1e-9 * np.arange(len(order))  # Slerp wants them apart
        asked = np.clip(seconds + seconds_late, ordered[0], ordered[-1])
        moved = [np.interp(asked, ordered, positions[order, axis]) for axis in range(3)]
        return np.column_stack(moved), Slerp(ordered, rotations[order])(asked)

    return spoil


def spoiled_dataset(source: Path, folder: Path, spoil: Spoiler, seed: int) -> Path:
    """Write a dataset's training frames with spoiled poses, unless that is done already.

    Args:
        source: The dataset; its images stay where they are.
        folder: To write.
        spoil: Called for every sequence of every scene.
        seed: Of its chance.
    """
    if folder.exists():
        return folder
    dataset = Dataset.load(source).select(split="train")
    members: dict[tuple[str, str], list[int]] = {}
    for row, frame in enumerate(dataset.frames):
        members.setdefault((frame.scene, frame.sequence), []).append(row)
    frames: list[Frame] = list(dataset.frames)
    rng = np.random.default_rng(seed)
    for rows in members.values():
        _spoil_sequence(frames, rows, spoil, rng)
    write_dataset(
        folder,
        name=f"{dataset.name}-{folder.name}",
        frames=frames,
        cameras=dataset.cameras,
        scenes=dataset.scenes,
        images="reference",
        synthetic_stamps=dataset.synthetic_stamps,
    )
    return folder


def _spoil_sequence(
    frames: list[Frame], rows: Sequence[int], spoil: Spoiler, rng: np.random.Generator
) -> None:
    old = [frames[row] for row in rows]
    stamps = np.array([frame.stamp_ns for frame in old], dtype=np.int64)
    positions, rotations = spoil(
        np.array([frame.position for frame in old], dtype=np.float64),
        Rotation.from_quat(np.array([frame.quat_xyzw for frame in old])),
        1e-9 * (stamps - stamps.min()).astype(np.float64),
        rng,
    )
    quats = rotations.as_quat()
    for row, position, quat in zip(rows, positions, quats, strict=True):
        x, y, z = as_float_tuple(position)
        frames[row] = replace(frames[row], position=(x, y, z), quat_xyzw=unit_quat(quat.tolist()))
