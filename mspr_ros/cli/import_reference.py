"""`mspr import-reference`: the paper's own weights as a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("weights", type=Path, help="state dict: .safetensors, or .pth of tensors")
    parser.add_argument("config", type=Path, help="configuration of the authors' code (JSON)")
    centroids = parser.add_mutually_exclusive_group(required=True)
    centroids.add_argument(
        "--centroids",
        type=Path,
        metavar="NPZ",
        help="position_centroids (S,Kp,3) and orientation_centroids_wxyz (S,Ko,4)",
    )
    centroids.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help="label file (or folder) of the training poses, from which centroids are computed",
    )
    parser.add_argument(
        "--scenes",
        help="scene names in the order of the weights' scene ids, separated by commas (default: "
        "those of the labels in alphabetical order, as the authors number them)",
    )
    parser.add_argument(
        "--convention",
        default="",
        choices=("map_from_cam", "cam_from_map"),
        help="what the weights' quaternions mean (default: known for the scenes of 7-Scenes and "
        "Cambridge, else map_from_cam)",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write the bundle."""
    from mspr_ros.training.reference import import_reference

    scenes = tuple(name.strip() for name in args.scenes.split(",")) if args.scenes else ()
    metadata = import_reference(
        args.weights,
        args.config,
        args.output,
        centroids=args.centroids,
        labels=args.labels,
        scenes=scenes,
        convention=args.convention,
    )
    print(f"wrote {args.output}: scenes {', '.join(metadata.scene_names)}")
    network = metadata.network
    if args.labels and max(network.num_position_clusters, network.num_orientation_clusters) > 1:
        print(
            "note: centroids computed anew may come in another order than in the authors' run; "
            "where poses are far off, save that run's centroids and give them with --centroids"
        )
    return {"bundle": str(args.output), "scenes": list(metadata.scene_names)}
