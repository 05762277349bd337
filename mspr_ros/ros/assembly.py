"""Put the localizer's pipeline together from its node's parameters."""

from __future__ import annotations

import math
from collections.abc import Callable

import tf2_ros
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from mspr_ros.ros.camera_infos import CameraInfos
from mspr_ros.ros.correction import LostWatch
from mspr_ros.ros.diagnostics import FrameStatistics
from mspr_ros.ros.frames import LocalizerLike, PipelineSettings
from mspr_ros.ros.initial_pose import InitialPose
from mspr_ros.ros.loading import one_line
from mspr_ros.ros.map_to_odom import MapToOdom
from mspr_ros.ros.outputs import PoseOutputs
from mspr_ros.ros.parameter_specs import NodeParameters
from mspr_ros.ros.pipeline import Pipeline
from mspr_ros.ros.tf_lookup import TfLookup
from mspr_ros.ros.tf_outputs import TfOutputs
from mspr_ros.ros.tf_policy import ParentWatch, TfPolicy


def camera_qos(reliability: str) -> QoSProfile:
    """Give the QoS of the camera's topics.

    Sensor data: the newest counts, a lost one is not worth waiting for. Reliable only where the
    user asks for it, since it hears no best-effort publisher.
    """
    reliable = reliability == "reliable"
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=5,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
    )


def build_pipeline(
    *,
    node: Node,
    localizer: LocalizerLike,
    parameters: NodeParameters,
    cameras: CameraInfos,
    watch: ParentWatch,
    buffer: tf2_ros.Buffer,
    outputs: PoseOutputs,
    statistics: FrameStatistics,
    warn: Callable[[str, str], None],
) -> Pipeline:
    """Create what answers images; see `Pipeline` for the arguments."""
    lookup = TfLookup(buffer)
    return Pipeline(
        node=node,
        localizer=localizer,
        settings=PipelineSettings(
            map_frame=parameters["map_frame"].lstrip("/"),
            image_rotation_deg=parameters["image_rotation_deg"],
            min_confidence=lambda: parameters["min_confidence"],
            planar=lambda: parameters["planar"],
            tf_timeout_s=lambda: parameters["tf_timeout_s"],
        ),
        cameras=cameras,
        policy=TfPolicy(
            mode=parameters["publish_tf"],
            base_frame=parameters["base_frame"],
            odom_frame=parameters["odom_frame"],
            settle_s=parameters["tf_settle_s"],
            watch=watch,
        ),
        lookup=lookup,
        outputs=outputs,
        tf_outputs=_build_tf_outputs(node, parameters, watch, lookup, outputs, statistics, warn),
        statistics=statistics,
        warn=warn,
    )


def _build_tf_outputs(
    node: Node,
    parameters: NodeParameters,
    watch: ParentWatch,
    lookup: TfLookup,
    outputs: PoseOutputs,
    statistics: FrameStatistics,
    warn: Callable[[str, str], None],
) -> TfOutputs:
    base_frame = parameters["base_frame"].lstrip("/")

    def failed(error: Exception) -> None:
        if node.context.ok():  # else shutting down: the publishers are gone
            warn("tf_failed", f"the transform or initial pose is not published: {one_line(error)}")

    return TfOutputs(
        map_to_odom=MapToOdom(
            node=node,
            base_frame=base_frame,
            lookup=lookup,
            watch=watch,
            send=outputs.send_transform,
            planar=lambda: parameters["planar"],
            tolerance_s=lambda: parameters["transform_tolerance_s"],
        ),
        initial_pose=InitialPose(
            mode=lambda: parameters["publish_initialpose"],
            base_frame=base_frame,
            lookup=lookup,
            publish=outputs.publish_initialpose,
            lost=LostWatch(
                num_poses=parameters["lost_poses"],
                distance_m=parameters["lost_distance_m"],
                angle_rad=math.radians(parameters["lost_angle_deg"]),
            ),
        ),
        rate_hz=lambda: parameters["tf_rate_hz"],
        timeout_s=lambda: parameters["tf_timeout_s"],
        statistics=statistics,
        on_error=failed,
    )
