"""Where the poses of a bag's images come from: a chain of transforms, or a topic with poses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mspr_ros.bags.frame_tree import Edge, FrameTree, PoseSamples
from mspr_ros.bags.reading import BagMessage, BagTopic, find_topic
from mspr_ros.bags.types import (
    ODOMETRY,
    OLD_TF_MESSAGE,
    PATH,
    POSE_STAMPED,
    POSE_WITH_COVARIANCE_STAMPED,
    TF_MESSAGE,
    TF_STATIC_TOPIC,
    TF_TOPIC,
    TRANSFORM_STAMPED,
)
from mspr_ros.errors import DatasetError, MsprError
from mspr_ros.geometry import Array, transform_from_pose

CHAIN = "tf:"
POSE_TYPES = (ODOMETRY, POSE_STAMPED, POSE_WITH_COVARIANCE_STAMPED, TRANSFORM_STAMPED, PATH)


def parse_chain(text: str) -> Edge:
    """Read `tf:map->camera_optical`: where from, where to.

    Raises:
        MsprError: If it says something else.
    """
    start, arrow, end = text.removeprefix(CHAIN).partition("->")
    start, end = start.strip().lstrip("/"), end.strip().lstrip("/")
    if not (text.startswith(CHAIN) and arrow and start and end):
        raise MsprError(
            f"expected 'tf:FRAME->FRAME' (in quotes: the shell reads > otherwise), got '{text}'"
        )
    return start, end


def parse_extrinsic(text: str) -> Edge | Array | None:
    """Read an extrinsic: `tf:base_link->camera_optical`, or `x,y,z,qx,qy,qz,qw`.

    Returns:
        The chain, or `T_body_camera` (4, 4), or None for an empty text.

    Raises:
        MsprError: If it is neither.
    """
    if not text:
        return None
    if text.startswith(CHAIN):
        return parse_chain(text)
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 7:
        raise MsprError(f"expected 'tf:FRAME->FRAME' or x,y,z,qx,qy,qz,qw, got '{text}'")
    # Typed by hand, so that some rounding is expected.
    if not all(map(math.isfinite, numbers)) or abs(math.hypot(*numbers[3:]) - 1.0) > 0.01:
        raise MsprError(f"the quaternion of the extrinsic '{text}' is not of unit norm")
    return transform_from_pose(numbers[:3], numbers[3:])


class PoseSource:
    """Collect the poses of a bag from its source, and give those of the camera at any time.

    Args:
        source: `tf:FRAME->FRAME` or the name of a topic.
        extrinsic: What `parse_extrinsic` reads: from the body whose poses the source gives to
            the camera; empty where the source gives the camera's own.
        topics: The topics of the bag.

    Raises:
        MsprError: If source or extrinsic cannot be read, or the bag has no such topic.
    """

    def __init__(self, source: str, extrinsic: str, topics: Sequence[BagTopic]) -> None:
        self._chain = parse_chain(source) if source.startswith(CHAIN) else None
        self._topic = "" if self._chain else find_topic(topics, POSE_TYPES, source)
        self._type = next((t.type_name for t in topics if t.name == self._topic), "")
        self._extrinsic = parse_extrinsic(extrinsic)
        chains = [c for c in (self._chain, self._extrinsic) if isinstance(c, tuple)]
        if chains and not any(t.type_name in (TF_MESSAGE, OLD_TF_MESSAGE) for t in topics):
            raise DatasetError("the bag has no /tf and no /tf_static")
        self._tree = FrameTree(chains)
        self._samples = PoseSamples()
        self._last_path: BagMessage | None = None
        self._child = self._chain[1] if self._chain else ""
        tf_topics = [TF_TOPIC, TF_STATIC_TOPIC] if chains else []
        self.topics = frozenset([*tf_topics, *([self._topic] if self._topic else [])])
        self.broken = 0

    def take(self, message: BagMessage) -> None:
        """Take in a message of one of the topics; what cannot be read is counted."""
        if message.type_name == PATH:
            self._last_path = message  # each path holds those before
            return
        try:
            content = message.deserialize()
        except DatasetError:
            self.broken += 1
            return
        if message.type_name in (TF_MESSAGE, OLD_TF_MESSAGE):
            for stamped in content.transforms:
                edge = (_frame(stamped.header.frame_id), _frame(stamped.child_frame_id))
                static = message.topic == TF_STATIC_TOPIC
                self._tree.add(
                    edge, stamp_ns_of(stamped.header), *_numbers(stamped.transform), static
                )
            return
        self._child = _frame(getattr(content, "child_frame_id", "")) or self._child
        self._samples.add(stamp_ns_of(content.header), *_numbers(_pose_of(content)))

    def finish(self) -> None:
        """Read what could only be read at the end.

        Raises:
            DatasetError: If there is no pose.
        """
        if self._last_path is not None:
            for stamped in self._last_path.deserialize().poses:
                self._samples.add(stamp_ns_of(stamped.header), *_numbers(stamped.pose))
            if len(self._samples) > 1 and len(self._samples.trajectory().stamps_ns) == 1:
                raise DatasetError(f"the poses of {self._topic} all bear the same time")
        if self._topic and not len(self._samples):
            raise DatasetError(
                f"{self._topic} holds no usable pose ({self._samples.broken + self.broken} broken)"
            )

    def check_frames(self, image_frame: str) -> str:
        """Compare the frames that the bag names with those the poses are taken for.

        Args:
            image_frame: `frame_id` of the images.

        Returns:
            A remark, or nothing.

        Raises:
            DatasetError: If the poses are of another frame than the images or the extrinsic say.
        """
        child, image_frame = self._child, _frame(image_frame)
        if isinstance(self._extrinsic, tuple):
            start, child = self._extrinsic
            if self._child and start != self._child:
                raise DatasetError(
                    f"the source gives poses of {self._child}, but the extrinsic starts at {start}"
                )
        elif self._extrinsic is None and self._topic and child and child != image_frame:
            raise DatasetError(
                f"{self._topic} gives poses of {child}, but the images are of {image_frame}: give "
                f"--extrinsic 'tf:{child}->{image_frame}' or numbers (0,0,0,0,0,0,1 for none)"
            )
        elif self._extrinsic is not None:
            return ""
        if not child:
            return f"poses of {self._topic} are taken for those of the camera's optical frame"
        if child != image_frame:
            return (
                f"the images name their frame '{image_frame}', the poses are of {child}; it must "
                "be the optical frame (x right, y down, z forward)"
            )
        return ""

    @property
    def backwards(self) -> int:
        """How many poses were left out because time ran backwards."""
        return self._samples.backwards + self._tree.backwards

    @property
    def unusable(self) -> int:
        """How many messages or poses were broken."""
        return self._samples.broken + self.broken

    def at(
        self, stamps_ns: npt.NDArray[np.int64], max_gap_s: float
    ) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Give the camera's poses at times (N,): `T_map_cam` (N, 4, 4) and which are known."""
        if self._chain:
            T_map_body, valid = self._tree.at(*self._chain, stamps_ns, max_gap_s)
        else:
            positions, quats, valid = self._samples.trajectory().at(stamps_ns, max_gap_s)
            T_map_body = np.tile(np.eye(4), (len(stamps_ns), 1, 1))
            T_map_body[valid] = transform_from_pose(positions[valid], quats[valid])
        if isinstance(self._extrinsic, tuple):
            T_body_cam, known = self._tree.at(*self._extrinsic, stamps_ns, max_gap_s)
            return T_map_body @ T_body_cam, valid & known
        if self._extrinsic is not None:
            return T_map_body @ self._extrinsic, valid
        return T_map_body, valid


def stamp_ns_of(header: Any) -> int:
    """Give a header's stamp in nanoseconds."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def _frame(name: str) -> str:
    return str(name).lstrip("/")  # as tf of ROS 1 wrote them


def _pose_of(content: Any) -> Any:
    """Find the Pose or Transform in a message."""
    if hasattr(content, "transform"):
        return content.transform
    pose = content.pose
    return pose.pose if hasattr(pose, "pose") else pose


def _numbers(pose: Any) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
    """Read a Pose or a Transform: position, and quaternion x y z w."""
    place = pose.translation if hasattr(pose, "translation") else pose.position
    turn = pose.rotation if hasattr(pose, "rotation") else pose.orientation
    return (place.x, place.y, place.z), (turn.x, turn.y, turn.z, turn.w)
