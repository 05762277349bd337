"""Make the frames that benchmarks/trust.py judges a simulator bundle by; none of them is taught.

    python benchmarks/trust_data.py [-o datasets/trust] [--world demo]

`taught`: 24 drives through the taught rooms (8 through each, every one in its own light).
`places_*`: the same kinds of rooms in seven other worlds, of the same furniture, materials and
photographs: 21 places that look alike, each in a light of its own. What is complete is not made
again. The seed and the worlds are of this measurement alone: nothing may be taught, calibrated or
chosen with them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
from tqdm import tqdm

from mspr_ros.camera import CameraModel
from mspr_ros.data.dataset import Dataset
from mspr_ros.errors import MsprError
from mspr_ros.simulator.recording import pinhole, record, shares
from mspr_ros.simulator.world import World

SEED = 4001
NUM_DRIVES = 8
NUM_FRAMES = 2112  # 88 to a drive
RATE_HZ = 1.0
STRANGE_WORLDS = tuple(f"elsewhere{number}" for number in range(1, 8))
CAMERA = pinhole(640, 480, 70.0)  # that of `mspr simulate`, hence of models/demo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("datasets/trust"))
    parser.add_argument("--world", default="demo", help="the world that was taught")
    parser.add_argument("--scenes", default="office,lounge,kitchen", help="those taught")
    args = parser.parse_args()
    scenes = tuple(args.scenes.split(","))
    try:
        make_taught(args.output, args.world, scenes)
        make_places(args.output, scenes)
    except MsprError as error:
        raise SystemExit(str(error)) from None


def make_taught(folder: Path, world: str, scenes: Sequence[str]) -> Dataset:
    """Give drives through the taught rooms that nobody has seen; made where they are missing."""
    return _recorded(folder / "taught", world, scenes, NUM_FRAMES, NUM_DRIVES, CAMERA)


def make_places(folder: Path, scenes: Sequence[str]) -> list[Dataset]:
    """Give drives through rooms of other worlds, a dataset to a world."""
    numbers = shares(NUM_FRAMES, len(STRANGE_WORLDS))
    return [
        _recorded(folder / f"places_{world}", world, scenes, frames, 1, CAMERA)
        for world, frames in zip(STRANGE_WORLDS, numbers, strict=True)
    ]


def thinned(dataset: Dataset, every: int) -> Dataset:
    """Keep the first frame of each drive and every so many after it."""
    count: Counter[tuple[str, str]] = Counter()
    rows = []
    for row, frame in enumerate(dataset.frames):
        drive = (frame.scene, frame.sequence)
        if count[drive] % every == 0:
            rows.append(row)
        count[drive] += 1
    return dataset.subset(rows)


def _recorded(
    folder: Path, world: str, scenes: Sequence[str], frames: int, drives: int, camera: CameraModel
) -> Dataset:
    """Load a dataset; it exists only when it is complete, else it is rendered now.

    Raises:
        MsprError: If it is there, but of another world or other scenes.
    """
    if not folder.exists():
        cv2.setNumThreads(1)
        with tqdm(total=frames, unit="frame", desc=folder.name) as bar:
            record(
                folder,
                world=World.build(world),
                camera=camera,
                frames=frames,
                seed=SEED,
                scenes=scenes,
                drives=drives,
                rate_hz=RATE_HZ,
                split="test",
                progress=bar.update,
            )
    dataset = Dataset.load(folder)
    made_of, wanted = (dataset.name, dataset.scenes), (f"simulator-{world}", tuple(scenes))
    if made_of != wanted:
        raise MsprError(
            f"{folder} is of {made_of[0]} ({', '.join(made_of[1])}), not of {wanted[0]} "
            f"({', '.join(wanted[1])}): remove it, or name another folder with -o"
        )
    return dataset


if __name__ == "__main__":
    main()
