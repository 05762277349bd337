"""`mspr demo`: the simulator's camera and the localizer over DDS, judged by the true poses."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("-o", "--output", type=Path, default=Path("demo_output"))
    parser.add_argument("--bundle", type=Path, help="default: the demo bundle")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the drive")
    parser.add_argument("--world", default="demo", help="fixes the places")
    parser.add_argument("--scenes", default="", help="comma-separated; default: the bundle's")
    parser.add_argument(
        "--seed", type=int, default=2026, help="fixes drive, light and noise (not a trained one)"
    )
    parser.add_argument("--rate-hz", type=float, default=10.0, help="images a second")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--force", action="store_true", help="replace an earlier result")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the demo, print the table and write the result."""
    from mspr_ros.bundle import load_metadata
    from mspr_ros.errors import ConfigError
    from mspr_ros.ros.live_report import prepare_output
    from mspr_ros.ros.live_run import LiveNode
    from mspr_ros.ros.live_session import run_session
    from mspr_ros.ros.resources import shared_path

    if args.seconds <= 0 or args.rate_hz <= 0:
        raise ConfigError("--seconds and --rate-hz must be positive")
    bundle = (args.bundle or shared_path("models/demo")).resolve()
    scenes = args.scenes or ",".join(load_metadata(bundle).scene_names)
    prepare_output(args.output, args.force)
    frames = max(1, round(args.seconds * args.rate_hz))
    source = LiveNode(
        "mspr_ros.ros.camera_sim_node",
        {
            "world": args.world,
            "seed": args.seed,
            "scenes": scenes,
            "rate_hz": args.rate_hz,
            "frames": frames,
            "reliability": "reliable",
            # The localizer has to see that TF has settled before the first image.
            "start_delay_s": 2.0,
            # camera_info is heard by the localizer and by this command.
            "wait_for": "image,camera_info,camera_info,ground_truth/pose,ground_truth/scene",
        },
        args.output / "camera.log",
    )
    print(f"{frames} images of {scenes} at {args.rate_hz:g} Hz, bundle {bundle}")
    return run_session(
        output=args.output,
        bundle=bundle,
        device=args.device,
        source=source,
        total=frames,
        title=f"Simulator, a drive not trained on (world {args.world}, seed {args.seed})",
    )
