"""Find the odometry of a bag by itself: an Odometry topic, or a chain of TF from `odom`."""

from __future__ import annotations

from pathlib import Path

from mspr_ros.bags.reading import Bag
from mspr_ros.bags.types import ODOMETRY, OLD_TF_MESSAGE, TF_MESSAGE
from mspr_ros.errors import DatasetError

ODOM_FRAME = "odom"


def find_odometry(path: Path, image_frame: str) -> tuple[str, str]:
    """Guess where the camera's motion in odometry can be read.

    Args:
        path: The bag.
        image_frame: The optical frame of its images.

    Returns:
        A source and an extrinsic, as `BagOptions` takes them; both empty where there is nothing
        to try. Whether TF holds the frames shows when it is read.
    """
    image_frame = image_frame.lstrip("/")
    with Bag(path, tolerant=True) as bag:
        topics = [topic for topic in bag.topics if topic.count]
        has_tf = any(topic.type_name in (TF_MESSAGE, OLD_TF_MESSAGE) for topic in topics)
        odometry = [topic.name for topic in topics if topic.type_name == ODOMETRY]
        if len(odometry) == 1:
            child = _child_frame(bag, odometry[0])
            if child in ("", image_frame):
                return odometry[0], ""
            if has_tf:
                return odometry[0], f"tf:{child}->{image_frame}"
    if has_tf and image_frame:
        return f"tf:{ODOM_FRAME}->{image_frame}", ""
    return "", ""


def _child_frame(bag: Bag, topic: str) -> str:
    for message in bag.messages([topic]):
        try:
            return str(message.deserialize().child_frame_id).lstrip("/")
        except DatasetError:
            continue
    return ""
