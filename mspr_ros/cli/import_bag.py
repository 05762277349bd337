"""`mspr import bag BAG... --pose SOURCE -o DATASET`: turn recorded drives into a dataset."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.errors import MsprError

if TYPE_CHECKING:
    from mspr_ros.bags.importing import BagReport
    from mspr_ros.camera import CameraModel
    from mspr_ros.data.cameras import Intrinsics
    from mspr_ros.data.importers import ImportSummary

# Options of bags alone, with what they are where they are not given.
OPTIONS: dict[str, Any] = {
    **{"pose": "", "image_topic": "", "camera_info_topic": "", "extrinsic": ""},
    **{"offset": 0.0, "estimate_offset": False, "test_bag": [], "val_bag": []},
    **{"min_translation": 0.0, "min_rotation_deg": 0.0, "min_sharpness": 0.0},
    **{"max_frames": 0, "jpeg_quality": 0},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that only bags have."""
    bags = parser.add_argument_group("bags (ROS 2 and ROS 1)")
    bags.add_argument(
        "--pose",
        default="",
        metavar="SOURCE",
        help="'tf:map->camera_optical', or a topic: Odometry, PoseStamped, "
        "PoseWithCovarianceStamped, TransformStamped, Path",
    )
    bags.add_argument(
        "--image-topic", default="", metavar="T", help="raw or compressed (default: the only one)"
    )
    bags.add_argument(
        "--camera-info-topic", default="", metavar="T", help="(default: the one beside the images)"
    )
    bags.add_argument(
        "--extrinsic",
        default="",
        metavar="E",
        help="from the body whose poses these are to the camera's optical frame: "
        "'tf:base_link->camera_optical' or x,y,z,qx,qy,qz,qw (default: none)",
    )
    bags.add_argument(
        "--jpeg-quality",
        type=int,
        default=0,
        choices=range(101),
        metavar="Q",
        help="write raw images as JPEG (default: PNG; compressed ones stay as they are)",
    )
    bags.add_argument(
        "--test-bag", type=Path, action="append", default=[], metavar="BAG", help="a test drive"
    )
    bags.add_argument(
        "--val-bag", type=Path, action="append", default=[], metavar="BAG",
        help="a drive that training validates on",
    )  # fmt: skip
    _add_clock_arguments(parser)
    add_selection_arguments(parser)


def _add_clock_arguments(parser: argparse.ArgumentParser) -> None:
    clocks = parser.add_argument_group("clocks (bag)").add_mutually_exclusive_group()
    clocks.add_argument(
        "--offset",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="add this to an image's stamp to get the time of the pose source",
    )
    clocks.add_argument(
        "--estimate-offset",
        action="store_true",
        help="find the offset from the rotation seen in the images",
    )


def add_selection_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which frames of a bag to keep."""
    frames = parser.add_argument_group("selection of frames (bag)")
    frames.add_argument(
        "--min-translation",
        type=_not_negative,
        default=0.0,
        metavar="METRES",
        help="leave out frames nearer than this to the last one ...",
    )
    frames.add_argument(
        "--min-rotation-deg",
        type=_not_negative,
        default=0.0,
        metavar="DEG",
        help="... unless they are turned by this much",
    )
    frames.add_argument(
        "--min-sharpness",
        type=_not_negative,
        default=0.0,
        metavar="SHARE",
        help="leave out frames blurred to below this share of their neighbours' sharpness (0.5)",
    )
    frames.add_argument(
        "--max-frames",
        type=int,
        default=0,
        metavar="N",
        help="at most so many of a bag, evenly spread",
    )


@dataclass(frozen=True)
class BagResult:
    """What was imported, in all and bag by bag."""

    summary: ImportSummary
    reports: list[BagReport]

    def as_json(self) -> dict[str, Any]:
        """Give the bags' part as plain values."""
        return {
            "bags": [
                {
                    "bag": report.bag,
                    "sequence": report.sequence,
                    "frames": report.frames,
                    "offset_s": report.offset.seconds if report.offset else None,
                    "offset_sigma_s": report.offset.sigma_s if report.offset else None,
                    "notes": list(report.notes),
                }
                for report in self.reports
            ]
        }


def strange_options(args: argparse.Namespace) -> list[str]:
    """Name the options that were given although the format is another."""
    return [
        f"--{option.replace('_', '-')} is for the format bag, not for {args.format}"
        for option, default in OPTIONS.items()
        if getattr(args, option) != default
    ]


def run(args: argparse.Namespace, intrinsics: Intrinsics | CameraModel | None) -> BagResult:
    """Import bags and say what is odd about them."""
    from mspr_ros.bags.importing import import_bags
    from mspr_ros.bags.scanning import BagOptions
    from mspr_ros.data.selection import Selection

    if not args.pose:
        raise MsprError("bag: say where the poses come from: --pose 'tf:map->FRAME' or a topic")
    if args.scale != 1.0 or args.place != "link":
        raise MsprError("bag: poses are metres and images are written: no --scale and no --place")
    if args.max_frames < 0:
        raise MsprError(f"--max-frames must not be negative, got {args.max_frames}")
    options = BagOptions(
        pose=args.pose,
        image_topic=args.image_topic,
        camera_info_topic=args.camera_info_topic,
        extrinsic=args.extrinsic,
        max_gap_s=args.max_gap or BagOptions.max_gap_s,
        offset_s=args.offset,
        estimate_offset=args.estimate_offset,
        selection=Selection(
            min_translation_m=args.min_translation,
            min_rotation_deg=args.min_rotation_deg,
            min_sharpness=args.min_sharpness,
            max_frames=args.max_frames,
        ),
        intrinsics=intrinsics,
    )
    try:
        summary, reports = import_bags(
            _splits(args),
            args.output,
            options,
            scene=args.scene,
            name=args.name,
            test_fraction=args.test_fraction,
            test_blocks=args.test_blocks,
            jpeg_quality=args.jpeg_quality,
        )
    except KeyboardInterrupt:
        print("the images so far are kept: the same command goes on from there", file=sys.stderr)
        raise
    print_reports(reports)
    return BagResult(summary, reports)


def print_reports(reports: Sequence[BagReport]) -> None:
    """Say what came of each bag."""
    for report in reports:
        print(f"{report.bag}: {report.frames} frames, sequence {report.sequence}")
        if report.offset:
            offset = report.offset
            print(
                f"  pose time = image stamp {1e3 * offset.seconds:+.1f} ms, standard deviation "
                f"{1e3 * offset.sigma_s:.1f} ms (correlation {offset.correlation:.2f}, "
                f"{offset.pairs} pairs of images)"
            )
        for note in report.notes:
            print(f"  {note}")


def _splits(args: argparse.Namespace) -> dict[Path, str]:
    """Give each bag's split: its own where it is named so, else --split or train."""
    named = [(args.source, args.split or "train"), (args.val_bag, "val"), (args.test_bag, "test")]
    of_bag = {path.resolve(): (path, split) for paths, split in named for path in paths}
    return dict(of_bag.values())


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text}")
    return value
