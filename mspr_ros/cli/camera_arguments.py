"""Which camera took the pictures of a command: its calibration file or its numbers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mspr_ros.bundle import BundleMetadata
    from mspr_ros.camera import CameraModel
    from mspr_ros.preprocess import ImageU8


def add_camera_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --camera-info and --intrinsics, at most one of which is given."""
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument(
        "--camera-info", type=Path, metavar="FILE", help="the camera's calibration, as ROS has it"
    )
    camera.add_argument(
        "--intrinsics",
        metavar="fx,fy,cx,cy[,k1,k2,p1,p2[,k3]]",
        help="the camera's parameters in pixels",
    )


def camera_finder(args: argparse.Namespace) -> Callable[[ImageU8], CameraModel | None]:
    """Give a function from a picture to the camera that took it, as far as that is known."""
    from mspr_ros.data.cameras import parse_intrinsics, read_camera_info

    if args.camera_info:
        camera = read_camera_info(args.camera_info)
        return lambda image: camera
    if args.intrinsics:
        intrinsics = parse_intrinsics(args.intrinsics)
        return lambda image: intrinsics.camera(image.shape[1], image.shape[0])
    return lambda image: None


def tell_missing_intrinsics(
    metadata: BundleMetadata, num_blind: int, num_images: int, remedy: str
) -> None:
    """Warn of pictures without intrinsics where the bundle makes use of them."""
    if num_blind and metadata.preprocess.virtual_camera is not None:
        print(
            f"WARNING: no intrinsics for {num_blind} of {num_images} images: they are only "
            f"resized and cut, which costs accuracy; {remedy}",
            file=sys.stderr,
        )
