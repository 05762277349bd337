"""Publish numbered images at a camera's pace, for `mspr doctor` to count in another process.

    python -m mspr_ros.ros.transport_sender TOPIC RELIABILITY COUNT RATE_HZ WIDTH HEIGHT

Prints `sent N` at the end; the images carry their number in the stamp, from 1 on.
"""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image

from mspr_ros.ros.conversions import message_from_image, stamp_from_ns
from mspr_ros.ros.source import Pace, flush, image_qos

DISCOVERY_TIMEOUT_S = 15.0
SETTLE_S = 0.5  # discovery is not complete at once on both sides


def main() -> None:
    """Wait for the listener, send, and say how many."""
    topic, reliability, *numbers = sys.argv[1:]
    count, rate_hz, width, height = (int(number) for number in numbers)
    rclpy.init(args=[])
    node = Node(f"mspr_doctor_sender_{reliability}")
    publisher = node.create_publisher(Image, topic, image_qos(reliability))
    deadline_s = time.monotonic() + DISCOVERY_TIMEOUT_S
    while publisher.get_subscription_count() == 0 and time.monotonic() < deadline_s:
        time.sleep(0.02)
    time.sleep(SETTLE_S)
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    message = message_from_image(noise)
    pace = Pace(threading.Event())
    for number in range(1, count + 1):
        pace.wait(1.0 / rate_hz)
        message.header.stamp = stamp_from_ns(number)
        publisher.publish(message)
    flush([publisher])
    time.sleep(SETTLE_S)  # the last best-effort one is on its way
    print(f"sent {count}", flush=True)
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
