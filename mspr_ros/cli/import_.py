"""`mspr import FORMAT SRC -o DATASET`: turn a recording into a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.errors import DatasetError, MsprError

if TYPE_CHECKING:
    from mspr_ros.camera import CameraModel
    from mspr_ros.data.cameras import Intrinsics
    from mspr_ros.data.importers import ImportSummary

# Named here and not read from the table of readers, so that `--help` loads nothing heavy; a test
# compares the two.
FORMATS = ("7scenes", "tum", "labels")
CONVENTIONS = ("map_from_cam", "cam_from_map", "7scenes", "cambridge")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `mspr import`."""
    parser.add_argument("format", choices=FORMATS, help="layout of the source")
    parser.add_argument("source", type=Path, help="folder or file to read")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DATASET", help="folder to make"
    )
    parser.add_argument("--name", default="", help="name of the dataset (default: its folder's)")
    parser.add_argument("--scene", default="", help="name of the scene (default: the source's)")
    parser.add_argument(
        "--split",
        default="",
        choices=("train", "val", "test"),
        help="split of frames for which the source names none",
    )
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument(
        "--intrinsics",
        metavar="fx,fy,cx,cy[,k1,k2,p1,p2[,k3]]",
        help="the camera of all images, in pixels; the size is read from the images",
    )
    camera.add_argument(
        "--camera-info", type=Path, metavar="FILE", help="a ROS camera calibration (YAML)"
    )
    parser.add_argument(
        "--place",
        choices=("link", "copy", "reference"),
        default="link",
        help="link images (default), copy them, or leave them where they are",
    )
    parser.add_argument(
        "--skip-broken",
        action="store_true",
        help="leave out frames that have a problem instead of refusing the source",
    )
    _add_format_arguments(parser)


def _add_format_arguments(parser: argparse.ArgumentParser) -> None:
    times = parser.add_argument_group("time")
    times.add_argument(
        "--rate-hz",
        type=_positive,
        default=30.0,
        help="rate of made-up stamps, for sources without (7scenes, labels; default 30)",
    )
    times.add_argument(
        "--max-gap",
        type=_positive,
        default=0.05,
        metavar="SECONDS",
        help="poses further apart are not interpolated between (tum; default 0.05)",
    )
    labels = parser.add_argument_group("labels")
    labels.add_argument(
        "--convention",
        choices=CONVENTIONS,
        default="",
        help="what q means (default: known for the scenes of 7-Scenes and Cambridge)",
    )
    labels.add_argument(
        "--image-root", type=Path, metavar="DIR", help="where img_path starts (default: the CSV)"
    )
    labels.add_argument("--poses-only", action="store_true", help="do without the image files")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Import, print the summary, and give it."""
    from mspr_ros.data.importers import import_dataset
    from mspr_ros.data.recording import ImportOptions

    only_labels = (args.convention, args.image_root, args.poses_only)
    if args.format != "labels" and any(only_labels):
        raise MsprError("--convention, --image-root and --poses-only are for the format 'labels'")
    summary = import_dataset(
        args.format,
        args.source,
        args.output,
        options=ImportOptions(
            scene=args.scene,
            split=args.split,
            rate_hz=args.rate_hz,
            max_gap_s=args.max_gap,
            convention=args.convention,
            image_root=args.image_root,
            poses_only=args.poses_only,
        ),
        name=args.name,
        intrinsics=_intrinsics(args),
        placing=args.place,
        skip_broken=args.skip_broken,
    )
    _print(summary, args.output)
    return {
        "dataset": str(args.output),
        "name": summary.name,
        "frames": [
            {"scene": scene, "split": split, "count": count}
            for (scene, split), count in summary.frames.items()
        ],
        "left_out": [
            {"reason": reason, "count": count} for reason, count in summary.left_out.items()
        ],
        "synthetic_stamps": summary.synthetic_stamps,
        "problems": list(summary.problems),
    }


def _intrinsics(args: argparse.Namespace) -> CameraModel | Intrinsics | None:
    from mspr_ros.data.cameras import parse_intrinsics, read_camera_info

    if args.poses_only and (args.intrinsics or args.camera_info):
        raise MsprError("--poses-only goes without images, so it takes no camera")
    if args.intrinsics:
        return parse_intrinsics(args.intrinsics)
    return read_camera_info(args.camera_info) if args.camera_info else None


def _print(summary: ImportSummary, output: Path) -> None:
    width = max(5, *(len(scene) for scene, _ in summary.frames))
    print(f"{'scene':<{width}}  split  frames")
    for (scene, split), count in summary.frames.items():
        print(f"{scene:<{width}}  {split or '-':<5}  {count:>6}")
    for reason, count in summary.left_out.items():
        print(f"left out: {count} ({reason})")
    if summary.problems:
        print(DatasetError("skipped:", summary.problems))
    if summary.synthetic_stamps:
        print("the source has no times: stamps were made up and the dataset says so")
    if not summary.cameras:
        print("no intrinsics: images will be resized and cropped, not undistorted")
    print(f"wrote {output}")


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return value
