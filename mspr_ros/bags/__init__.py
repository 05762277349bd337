"""Read ROS 2 and ROS 1 bags and write ROS 2 bags without ROS, through the rosbags library."""

from __future__ import annotations

from mspr_ros.bags.bag_writer import COMPRESSIONS, METADATA_VERSION, STORAGES, BagWriter
from mspr_ros.bags.reading import Bag, BagMessage, BagTopic, find_topic
from mspr_ros.bags.types import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    POSE_STAMPED,
    STRING,
    TF_MESSAGE,
    TYPES,
)
from mspr_ros.bags.writing import (
    CAMERA_INFO_TOPIC,
    IMAGE_FORMATS,
    IMAGE_TOPIC,
    POSE_TOPIC,
    SCENE_GAP_NS,
    SCENE_TOPIC,
    SHIFT_KEY,
    UNNAMED_CAMERA,
    BagSummary,
    increasing_stamps,
    optical_frame,
    write_dataset_bag,
)

__all__ = [
    "CAMERA_INFO",
    "CAMERA_INFO_TOPIC",
    "COMPRESSIONS",
    "COMPRESSED_IMAGE",
    "IMAGE",
    "IMAGE_FORMATS",
    "IMAGE_TOPIC",
    "METADATA_VERSION",
    "POSE_STAMPED",
    "POSE_TOPIC",
    "SCENE_GAP_NS",
    "SCENE_TOPIC",
    "SHIFT_KEY",
    "STORAGES",
    "STRING",
    "TF_MESSAGE",
    "TYPES",
    "UNNAMED_CAMERA",
    "Bag",
    "BagMessage",
    "BagSummary",
    "BagTopic",
    "BagWriter",
    "find_topic",
    "increasing_stamps",
    "optical_frame",
    "write_dataset_bag",
]
