"""Put the localizer's pipeline together from its node's parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import tf2_ros
from rclpy.node import Node

from mspr_ros.errors import ConfigError
from mspr_ros.fusion.state import FusionSettings
from mspr_ros.ros.camera_infos import CameraInfos
from mspr_ros.ros.cameras import CameraSubscriptions
from mspr_ros.ros.correction import LostWatch
from mspr_ros.ros.diagnostics import FrameStatistics
from mspr_ros.ros.frame_sets import FrameSets
from mspr_ros.ros.frames import LocalizerLike, PipelineSettings
from mspr_ros.ros.gates import Gates, GateSettings
from mspr_ros.ros.initial_pose import InitialPose
from mspr_ros.ros.loading import one_line
from mspr_ros.ros.map_to_odom import MapToOdom
from mspr_ros.ros.outputs import PoseOutputs
from mspr_ros.ros.parameter_specs import NodeParameters
from mspr_ros.ros.pipeline import Pipeline
from mspr_ros.ros.rig import CameraRig, extrinsics
from mspr_ros.ros.tf_lookup import TfLookup
from mspr_ros.ros.tf_outputs import TfOutputs
from mspr_ros.ros.tf_policy import ParentWatch, TfPolicy


def build_pipeline(
    *,
    node: Node,
    localizer: LocalizerLike,
    parameters: NodeParameters,
    cameras: CameraSubscriptions,
    infos: Mapping[str, CameraInfos],
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
            min_confidence=lambda: parameters["min_confidence"],
            planar=lambda: parameters["planar"],
            tf_timeout_s=lambda: parameters["tf_timeout_s"],
        ),
        rig=_build_rig(parameters, cameras, infos, lookup, statistics),
        gates=Gates(lambda: _gate_settings(parameters)),
        policy=TfPolicy(
            mode=lambda: parameters["publish_tf"],
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


def _build_rig(
    parameters: NodeParameters,
    cameras: CameraSubscriptions,
    infos: Mapping[str, CameraInfos],
    lookup: TfLookup,
    statistics: FrameStatistics,
) -> CameraRig:
    names = tuple(cameras.topics)
    T_base_cam = extrinsics(parameters["base_to_camera"], names)
    is_of_base = bool(T_base_cam) or len(names) > 1
    if is_of_base and parameters["publish_tf"] == "map_to_camera":
        raise ConfigError(
            "publish_tf: map_to_camera does not go with several cameras or base_to_camera: the "
            "pose is that of base_frame"
        )
    return CameraRig(
        sets=FrameSets(
            names,
            near_s=lambda: parameters["camera_sync_s"],
            wait_s=lambda: parameters["camera_wait_s"],
            is_live=cameras.is_live,
        ),
        infos=infos,
        base_frame=parameters["base_frame"].lstrip("/") if is_of_base else "",
        T_base_cam=T_base_cam,
        rotation_deg=parameters["image_rotation_deg"],
        lookup=lookup,
        tf_timeout_s=lambda: parameters["tf_timeout_s"],
        statistics=statistics,
    )


def _gate_settings(parameters: NodeParameters) -> GateSettings:
    return GateSettings(
        min_scene_probability=parameters["min_scene_probability"],
        bounds_margin_m=parameters["bounds_margin_m"],
        jump_distance_m=parameters["jump_distance_m"],
        jump_angle_rad=math.radians(parameters["jump_angle_deg"]),
        scene_switch_frames=parameters["scene_switch_frames"],
    )


def _fusion_settings(parameters: NodeParameters) -> FusionSettings | None:
    if parameters["fusion"] == "none":
        return None
    return FusionSettings(
        drift_per_m=parameters["odometry_drift_per_m"],
        yaw_drift_per_m=math.radians(parameters["odometry_yaw_drift_deg_per_m"]),
        covariance_scale=parameters["fusion_covariance_scale"],
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
            fusion=lambda: _fusion_settings(parameters),
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
