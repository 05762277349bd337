"""Write a dataset from the simulator: a textured world with exact poses.

python -m mspr_ros simulate -o DATASET --frames 1000 --world demo --seed 1
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from mspr_ros.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `mspr simulate`."""
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DATASET", help="new dataset folder"
    )
    parser.add_argument("--frames", type=int, default=1000, help="images in all (%(default)s)")
    parser.add_argument("--world", default="demo", help="name that fixes the places (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="fixes drives, light and noise (%(default)s)"
    )
    parser.add_argument(
        "--scenes",
        help="scenes, separated by commas (office,lounge,kitchen,street); further ones: office-2, "
        "corridor, corridor-twin (looks the same), hall-west and hall-east (overlap)",
    )
    parser.add_argument(
        "--drives", type=int, default=1, help="drives through each scene, each in its own light"
    )
    parser.add_argument("--width", type=int, default=640, help="pixels (%(default)s)")
    parser.add_argument("--height", type=int, default=480, help="pixels (%(default)s)")
    parser.add_argument(
        "--fov-deg", type=float, default=70.0, help="horizontal field of view (%(default)s)"
    )
    parser.add_argument(
        "--rate-hz", type=float, default=10.0, help="images a second (%(default)s)"
    )
    parser.add_argument(
        "--split", choices=("train", "val", "test"), default="train", help="(%(default)s)"
    )
    parser.add_argument("--handheld", action="store_true", help="a carried camera, not a robot's")
    parser.add_argument("--png", action="store_true", help="PNG instead of JPEG of quality 95")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Render the drives; gives what was written."""
    import time

    import cv2
    from tqdm import tqdm

    from mspr_ros.simulator.recording import pinhole, record
    from mspr_ros.simulator.world import World

    _check(args)
    cv2.setNumThreads(1)  # the pictures of single faces are too small to be shared out
    world = World.build(args.world)
    scenes = world.scenes if args.scenes is None else tuple(args.scenes.split(","))
    started = time.perf_counter()
    with tqdm(total=args.frames, unit="frame", desc="simulate") as bar:
        record(
            args.output,
            world=world,
            camera=pinhole(args.width, args.height, args.fov_deg),
            frames=args.frames,
            seed=args.seed,
            scenes=scenes,
            drives=args.drives,
            rate_hz=args.rate_hz,
            split=args.split,
            handheld=args.handheld,
            png=args.png,
            progress=bar.update,
        )
    seconds = time.perf_counter() - started
    print(f"{args.frames} frames of {', '.join(scenes)} in {args.output}")
    return {
        "dataset": str(args.output),
        "world": args.world,
        "seed": args.seed,
        "scenes": list(scenes),
        "frames": args.frames,
        "seconds": round(seconds, 3),
    }


def _check(args: argparse.Namespace) -> None:
    """Refuse before the rendering what a dataset cannot hold."""
    if not 0.0 < args.rate_hz < math.inf:
        raise ConfigError(f"--rate-hz must be positive, got {args.rate_hz:g}")
    names = args.scenes.split(",") if args.scenes else []
    if len(set(names)) < len(names):
        raise ConfigError(f"--scenes {args.scenes}: name every scene once")
