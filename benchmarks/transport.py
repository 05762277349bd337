"""Count the images that arrive between two processes: best effort or reliable, raw or JPEG, with
the middleware's own settings or config/fastdds_images.xml.

python benchmarks/transport.py -o docs/measured/transport.json [--frames 240] [--rate-hz 30]

Each cell is a publisher and a subscriber, with the QoS of the nodes here, in processes of their
own. Counting starts after discovery. An image's age is the time from just before `publish` to the
subscriber's callback; the subscriber does nothing else, so that no network hides the transport.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

PROFILE = Path(__file__).resolve().parent.parent / "config" / "fastdds_images.xml"
# Read by Fast DDS in Humble and Jazzy, and in Kilted and later, which warns of the older one.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
TOPIC = "/transport_benchmark/image"
SETTLE_S = 1.0  # discovery is not complete on both sides at once
SILENCE_S = 2.0  # after the last image: what is to come has come
TIMEOUT_S = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="where the results go, as JSON")
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--rate-hz", type=float, default=30.0)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--role", choices=("publish", "subscribe"), help=argparse.SUPPRESS)
    parser.add_argument("--kind", default="raw", help=argparse.SUPPRESS)
    parser.add_argument("--reliability", default="best_effort", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        {"publish": publish, "subscribe": subscribe}[args.role](args)
        return
    if args.output and args.output.exists():
        raise SystemExit(f"{args.output} exists: remove it, or name another file")
    results = []
    for kind, reliability, profile in itertools.product(
        ("raw", "jpeg"), ("best_effort", "reliable"), ("default", "images")
    ):
        results.append(measure(args, kind, reliability, profile))
        print(row(results[-1]), flush=True)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(report(args, results), indent=1) + "\n")


def measure(args: argparse.Namespace, kind: str, reliability: str, profile: str) -> dict[str, Any]:
    """Run one cell.

    Args:
        args: How many images, how large, how often.
        kind: `raw` or `jpeg`.
        reliability: Of both sides.
        profile: `default` for the middleware's own, `images` for ours.
    """
    from mspr_ros.ros.live_run import live_environment

    environment = live_environment()
    environment["ROS_DOMAIN_ID"] = str(random.randint(1, 100))
    for name in PROFILE_VARIABLES:
        environment.pop(name, None)
    if profile == "images":
        is_old = environment.get("ROS_DISTRO") in ("humble", "jazzy")
        environment[PROFILE_VARIABLES[0 if is_old else 1]] = str(PROFILE)
    command = [sys.executable, __file__, "--kind", kind, "--reliability", reliability]
    for name in ("frames", "rate_hz", "width", "height"):
        command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    children = [
        subprocess.Popen([*command, "--role", role], env=environment, stdout=subprocess.PIPE)
        for role in ("subscribe", "publish")
    ]
    try:
        told = [json.loads(child.communicate(timeout=TIMEOUT_S)[0]) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    arrived, sent = told[0]["arrived"], told[1]["sent"]
    return {
        "kind": kind,
        "reliability": reliability,
        "profile": profile,
        **told[1],
        **told[0],
        "arrived_percent": round(100.0 * arrived / sent, 1),
    }


def publish(args: argparse.Namespace) -> None:
    """Send the images; their number is the stamp's seconds, from 1 on."""
    import rclpy
    from rclpy.node import Node

    from mspr_ros.ros.source import Pace, flush, image_qos

    rclpy.init(args=[])
    node = Node("transport_benchmark_publisher")
    kind, message = image_message(args.kind, args.width, args.height)
    publisher = node.create_publisher(kind, TOPIC, image_qos(args.reliability))
    deadline_s = time.monotonic() + TIMEOUT_S / 2
    while publisher.get_subscription_count() == 0:
        if time.monotonic() > deadline_s:
            raise SystemExit("no subscriber was discovered")
        time.sleep(0.02)
    time.sleep(SETTLE_S)
    pace = Pace(threading.Event())
    start_s = time.monotonic()
    for number in range(1, args.frames + 1):
        pace.wait(1.0 / args.rate_hz)
        message.header.stamp.sec = number
        message.header.frame_id = str(time.monotonic_ns())  # one clock for all of the machine
        publisher.publish(message)
    seconds = time.monotonic() - start_s
    flush([publisher])
    time.sleep(SETTLE_S)
    sent = {"sent": args.frames, "bytes": len(message.data)}
    print(json.dumps({**sent, "sent_hz": round((args.frames - 1) / seconds, 1)}), flush=True)
    os._exit(0)


def subscribe(args: argparse.Namespace) -> None:
    """Count what arrives, until the last image or a silence."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node

    from mspr_ros.ros.cameras import camera_qos

    rclpy.init(args=[])
    node = Node("transport_benchmark_subscriber")
    ages_ms: dict[int, float] = {}
    last_s = float("inf")

    def take(message: Any) -> None:
        nonlocal last_s
        last_s = time.monotonic()
        age_ns = time.monotonic_ns() - int(message.header.frame_id)
        ages_ms[message.header.stamp.sec] = age_ns / 1e6

    node.create_subscription(
        image_message(args.kind, 8, 8)[0], TOPIC, take, camera_qos(args.reliability, depth=5)
    )
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    start_s = time.monotonic()
    longest_s = TIMEOUT_S / 2 + args.frames / args.rate_hz
    while args.frames not in ages_ms and time.monotonic() - start_s < longest_s:
        executor.spin_once(timeout_sec=0.1)
        # Nearly everything may be lost: the silence must not be shorter than sending takes.
        if time.monotonic() - last_s > SILENCE_S + args.frames / args.rate_hz:
            break
    values = list(ages_ms.values()) or [float("nan")]
    p50, p95 = np.percentile(values, (50, 95))
    ages = {"age_p50_ms": round(float(p50), 1), "age_p95_ms": round(float(p95), 1)}
    print(json.dumps({"arrived": len(ages_ms), **(ages if ages_ms else {})}), flush=True)
    os._exit(0)


def image_message(kind: str, width: int, height: int) -> tuple[type, Any]:
    """Give the type and a message: a picture with some grain, as a camera's."""
    import cv2
    from sensor_msgs.msg import CompressedImage, Image

    from mspr_ros.ros.conversions import compressed_from_image, message_from_image

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(smooth + rng.normal(0.0, 4.0, smooth.shape), 0, 255).astype(np.uint8)
    if kind == "jpeg":
        return CompressedImage, compressed_from_image(picture, quality=90)
    return Image, message_from_image(picture)


def report(args: argparse.Namespace, results: list[dict[str, Any]]) -> dict[str, Any]:
    from importlib.metadata import version

    from rclpy.utilities import get_rmw_implementation_identifier

    return {
        "what": "images that arrive between two processes on one machine",
        "width": args.width,
        "height": args.height,
        "rate_hz": args.rate_hz,
        "rmw": get_rmw_implementation_identifier(),
        "rclpy": version("ros-kilted-rclpy") if not os.environ.get("ROS_DISTRO") else "",
        "ros_distro": os.environ.get("ROS_DISTRO", "kilted (wheels)"),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_average": [round(value, 1) for value in os.getloadavg()],
        "date": time.strftime("%Y-%m-%d"),
        "results": results,
    }


def row(result: dict[str, Any]) -> str:
    return (
        f"| {result['kind']:4} {result['bytes']:7} B | {result['reliability']:11} "
        f"| {result['profile']:7} | {result['arrived']:4} of {result['sent']:4} "
        f"| {result['arrived_percent']:5.1f} % | {result.get('age_p50_ms', float('nan')):7.1f} "
        f"| {result.get('age_p95_ms', float('nan')):7.1f} |"
    )


if __name__ == "__main__":
    main()
