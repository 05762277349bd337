"""The arguments of `mspr import`: those of all formats, and those that only some know."""

from __future__ import annotations

import argparse
from pathlib import Path

from mspr_ros.cli import import_bag

# Named here and not read from the table of readers, so that `--help` loads nothing heavy; a test
# compares the two.
FORMATS = ("7scenes", "tum", "labels", "colmap", "transforms", "csv", "images", "cambridge")
CHECK = "check"
BAG = "bag"
CONVENTIONS = ("map_from_cam", "cam_from_map", "7scenes", "cambridge")
AXES = ("optical", "opengl", "ros")
CHECK_FILE = "check.png"
# Options that only some formats know, and what they are by default.
FORMATS_OF_OPTION: dict[str, tuple[str, ...]] = {
    "convention": ("labels", "csv", "images"),
    "image_root": ("labels", "colmap", "transforms", "csv"),
    "poses_only": ("labels", "colmap", "transforms", "csv"),
    "axes": ("transforms", "csv", "images"),
    "quaternion": ("csv",),
    "columns": ("csv",),
    "trajectory": ("images",),
    "max_difference": ("images",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `mspr import`."""
    parser.add_argument(
        "format",
        choices=(*FORMATS, BAG, CHECK),
        help="layout of the source; check: look at a dataset",
    )
    parser.add_argument(
        "source", type=Path, nargs="+", help="folder or file to read; several for bag"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DATASET",
        help="folder to make (check: the picture to write)",
    )
    parser.add_argument("--name", default="", help="name of the dataset (default: its folder's)")
    parser.add_argument("--scene", default="", help="name of the scene (default: the source's)")
    parser.add_argument(
        "--check",
        action="store_true",
        help=f"look at the result: draw the cameras to DATASET/{CHECK_FILE}, and warn where poses "
        "look inverted or the axes of another kind",
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
    _add_split_arguments(parser)
    _add_format_arguments(parser)
    import_bag.add_arguments(parser)


def _add_split_arguments(parser: argparse.ArgumentParser) -> None:
    splits = parser.add_argument_group("splits")
    splits.add_argument(
        "--split",
        default="",
        choices=("train", "val", "test"),
        help="split of frames for which the source names none",
    )
    splits.add_argument(
        "--test-fraction",
        type=_fraction,
        default=0.0,
        metavar="F",
        help="cut this share of each sequence out as test blocks, between guards in neither split",
    )
    splits.add_argument(
        "--test-blocks", type=int, default=2, metavar="N", help="blocks a sequence (default 2)"
    )


def _add_format_arguments(parser: argparse.ArgumentParser) -> None:
    times = parser.add_argument_group("time")
    times.add_argument(
        "--rate-hz", type=_positive, default=30.0, help="rate of made-up stamps (default 30)"
    )
    times.add_argument(
        "--max-gap",
        type=_positive,
        metavar="SECONDS",
        help="poses further apart are not interpolated between (tum, images: 0.05; bag: 0.1)",
    )
    times.add_argument(
        "--max-difference",
        type=_positive,
        metavar="SECONDS",
        help="an image without poses around it takes the nearest one up to here (images; 0.01)",
    )
    poses = parser.add_argument_group("poses")
    poses.add_argument(
        "--convention",
        choices=CONVENTIONS,
        default="",
        help="what a pose means (labels: only its quaternion; csv: to be declared; images)",
    )
    poses.add_argument(
        "--axes",
        choices=AXES,
        default="",
        help="axes of the camera: optical (x right, y down, z forward; csv, images), opengl (x "
        "right, y up, z back; transforms), ros (x forward, y left, z up)",
    )
    poses.add_argument(
        "--quaternion", choices=("xyzw", "wxyz"), default="", help="order of q1,q2,q3,q4 (csv)"
    )
    poses.add_argument(
        "--columns",
        type=_columns,
        default={},
        metavar="image=NAME,tx=NAME,...",
        help="names of the columns, where they are others than usual (csv)",
    )
    poses.add_argument(
        "--scale",
        type=_positive,
        default=1.0,
        metavar="METRES",
        help="metres in one unit of the source (COLMAP and NeRF know no metres; default 1)",
    )
    files = parser.add_argument_group("files")
    files.add_argument("--trajectory", type=Path, metavar="FILE", help="the poses (images)")
    files.add_argument(
        "--image-root",
        type=Path,
        metavar="DIR",
        help="where the images' names start (labels, colmap, transforms, csv)",
    )
    files.add_argument("--poses-only", action="store_true", help="do without the image files")


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return value


def _fraction(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < 1.0:
        raise argparse.ArgumentTypeError(f"expected a share in [0, 1), got {text}")
    return value


def _columns(text: str) -> dict[str, str]:
    """Read `image=file,tx=x`; which names there are is the reader's to say."""
    pairs = [word.partition("=") for word in text.split(",")]
    if not all(role and equal and name for role, equal, name in pairs):
        raise argparse.ArgumentTypeError(f"expected image=NAME,tx=NAME,..., got '{text}'")
    return {role.strip(): name.strip() for role, _, name in pairs}
