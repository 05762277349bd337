"""Divide the frames of simulated rooms by the half of the room that they show.

    python benchmarks/trust_halves.py datasets/demo -o datasets/demo_half [--world demo]
    mspr train config/train/demo.yaml --dataset datasets/demo_half -o runs/demo_half

writes the frames that show the half of low x of each room and nothing of the other half's walls,
and teaches them to a bundle; it is calibrated on drives that were divided likewise. With it
benchmarks/trust.py --half-bundle measures how well it knows what it was not shown. Furniture in
the middle of a room can be seen from both sides.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mspr_ros.camera import CameraModel
from mspr_ros.data.dataset import Dataset, write_dataset
from mspr_ros.geometry import Array
from mspr_ros.simulator.world import World

NUM_RAYS = 9  # across the picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DATASET")
    parser.add_argument("--world", default="demo")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    seen, unseen = seen_and_unseen(Dataset.load(args.dataset), args.world)
    write_dataset(
        args.output,
        name=f"{seen.name}-half",
        frames=seen.frames,
        cameras=seen.cameras,
        scenes=seen.scenes,
        images="reference",
        synthetic_stamps=seen.synthetic_stamps,
    )
    print(f"{len(seen)} frames of the half of low x in {args.output}; {len(unseen)} of the other")


def seen_and_unseen(dataset: Dataset, world: str) -> tuple[Dataset, Dataset]:
    """Give the frames that show only the low half of their room, and only the high half."""
    places = World.build(world)
    sides = np.zeros(len(dataset), dtype=np.int64)
    T_map_cam = dataset.T_map_cam
    for row, frame in enumerate(dataset.frames):
        camera = dataset.camera_of(frame)
        assert camera is not None, "the simulator writes its camera"
        sides[row] = half_shown(T_map_cam[row], camera, places.scene(frame.scene).outline)
    return dataset.subset(np.flatnonzero(sides < 0)), dataset.subset(np.flatnonzero(sides > 0))


def half_shown(T_map_cam: Array, camera: CameraModel, outline: Array) -> int:
    """Say which half of a rectangular room a picture shows.

    Args:
        T_map_cam: (4, 4).
        camera: That took it.
        outline: (4, 2) corners of the room, along the map's axes.

    Returns:
        -1 where every wall seen across the middle row lies in the half of low x, 1 for high x, 0
        where both are seen.
    """
    columns = np.linspace(0.0, camera.width - 1.0, NUM_RAYS)
    rays = np.column_stack(
        [(columns - camera.cx) / camera.fx, np.zeros(NUM_RAYS), np.ones(NUM_RAYS)]
    )
    directions = (rays @ T_map_cam[:3, :3].T)[:, :2]
    x = _wall_hit(T_map_cam[:2, 3], directions, outline.min(axis=0), outline.max(axis=0))[:, 0]
    middle = outline[:, 0].mean()
    if np.all(x < middle):
        return -1
    return 1 if np.all(x > middle) else 0


def _wall_hit(start: npt.NDArray[np.float64], directions: Array, low: Array, high: Array) -> Array:
    """Follow rays (n, 2) from a point inside to the border of a box."""
    ahead = np.where(directions > 0.0, high, low)
    with np.errstate(divide="ignore", invalid="ignore"):
        ways = np.where(directions != 0.0, (ahead - start) / directions, np.inf)
    return np.asarray(start + ways.min(axis=1)[:, None] * directions)


if __name__ == "__main__":
    main()
