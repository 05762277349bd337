"""`mspr make-bag`: write a dataset's frames into a ROS 2 bag."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("dataset", type=Path, help="folder of the dataset")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the new bag")
    parser.add_argument("--split", help="only the frames of this split")
    parser.add_argument("--scene", help="only the frames of this scene")
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap")
    parser.add_argument(
        "--image-format",
        choices=("raw", "compressed"),
        default="raw",
        help="raw: rgb8 images; compressed: JPEG and PNG files as they are",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write the bag and say what is in it."""
    from mspr_ros.bags import write_dataset_bag
    from mspr_ros.data.dataset import Dataset

    dataset = Dataset.load(args.dataset).select(split=args.split, scene=args.scene)
    summary = write_dataset_bag(dataset, args.output, args.storage, args.image_format)
    for scene, count in summary.frames.items():
        print(f"{scene}: {count} frames")
    for name, shift_ns in summary.stamp_shifts_ns.items():
        if shift_ns:
            print(f"stamps of {name} are shifted by {shift_ns} ns")
    print(f"wrote {args.output} ({args.storage}, {args.image_format} images)")
    return {
        "bag": str(args.output),
        "storage": args.storage,
        "image_format": args.image_format,
        "frames": summary.frames,
        "stamp_shifts_ns": summary.stamp_shifts_ns,
    }
