"""`mspr replay`: play a bag over DDS into the running localizer, judged by the bag's truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument("bag", type=Path, help="folder of the bag, mcap or sqlite3")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the result")
    parser.add_argument(
        "--max-rate-hz",
        type=float,
        default=0.0,
        help="at most so many images a second; default: as fast as they are answered",
    )
    parser.add_argument(
        "--as-recorded",
        action="store_true",
        help="keep the bag's own timing instead of waiting for each answer",
    )
    parser.add_argument("--image-topic", default="", help="if the bag has several")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--force", action="store_true", help="replace an earlier result")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Replay the bag, print the table and write the result."""
    from mspr_ros.bags import Bag
    from mspr_ros.errors import ConfigError
    from mspr_ros.ros.bag_player_node import published_names
    from mspr_ros.ros.live_report import prepare_output
    from mspr_ros.ros.live_run import LiveNode
    from mspr_ros.ros.live_session import run_session

    if args.max_rate_hz < 0:
        raise ConfigError("--max-rate-hz must not be negative")
    with Bag(args.bag) as bag:
        names = published_names(bag.topics, args.image_topic)
        counts = {names[topic.name]: topic.count for topic in bag.topics if topic.name in names}
    transport = "raw" if "image" in counts else "compressed"
    image = "image" if transport == "raw" else "image/compressed"
    waited_for = [name for name in counts if name.startswith("ground_truth/")]
    waited_for += [image, "replay/sent"]
    if "camera_info" in counts:
        waited_for += ["camera_info"] * 2  # of the localizer and of this command
    prepare_output(args.output, args.force)
    source = LiveNode(
        "mspr_ros.ros.bag_player_node",
        {
            "bag": str(args.bag.resolve()),
            "image_topic": args.image_topic,
            "pace": "bag" if args.as_recorded else "answered",
            "max_rate_hz": float(args.max_rate_hz),
            "wait_for": ",".join(waited_for),
            "start_delay_s": 2.0,
        },
        args.output / "camera.log",
    )
    print(f"{counts[image]} images of {args.bag}, bundle {args.bundle}")
    return run_session(
        output=args.output,
        bundle=args.bundle.resolve(),
        device=args.device,
        source=source,
        total=counts[image],
        title=f"Replay of {args.bag.name}",
        localizer_parameters={"image_transport": transport},
    )
