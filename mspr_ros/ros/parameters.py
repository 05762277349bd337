"""The parameters of the node `localizer`, declared here and nowhere else."""

from __future__ import annotations

from mspr_ros.ros.parameter_specs import ParameterSpec

LOCALIZER_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "bundle",
        "",
        "Folder of the bundle (weights.safetensors, bundle.json). Read at configure and by "
        "~/reload. Empty: the demo bundle, which knows only the simulator's rooms.",
        at_reload=True,
    ),
    ParameterSpec("device", "auto", "auto, cpu, cuda or cuda:N.", read_only=True),
    ParameterSpec(
        "backend",
        "torch",
        "What runs the network; onnxruntime and openvino need a folder that mspr export wrote. "
        "auto: the fastest of those, measured at the first start.",
        read_only=True,
        choices=("torch", "onnxruntime", "openvino", "auto"),
    ),
    ParameterSpec(
        "precision",
        "auto",
        "Numbers the network computes with; auto: fp32 in torch, and what an export holds.",
        read_only=True,
    ),
    ParameterSpec(
        "num_threads",
        0,
        "Processor threads that the network may use; 0: all. One leaves the rest of a small "
        "computer to others.",
        read_only=True,
        minimum=0,
        maximum=256,
    ),
    ParameterSpec(
        "map_frame",
        "map",
        "Name for the bundle's default map frame; scenes with a map frame of their own keep it.",
        read_only=True,
    ),
    ParameterSpec(
        "odom_frame", "odom", "Frame of the odometry, looked for above the camera.", read_only=True
    ),
    ParameterSpec(
        "base_frame", "base_link", "Frame of the robot, looked for above the camera.", True
    ),
    ParameterSpec(
        "publish_tf",
        "auto",
        "none, map_to_camera, map_to_base, map_to_odom, or auto: the highest of odometry, base "
        "and camera that TF knows above the camera.",
        choices=("auto", "none", "map_to_camera", "map_to_base", "map_to_odom"),
    ),
    ParameterSpec(
        "tf_settle_s",
        1.0,
        "What goes to TF is decided when TF has brought no new frame for this long.",
        read_only=True,
        minimum=0.0,
        maximum=60.0,
    ),
    ParameterSpec(
        "tf_rate_hz",
        20.0,
        "map_to_odom: how often the last correction is published again, at ROS time.",
        minimum=1.0,
        maximum=200.0,
    ),
    ParameterSpec(
        "transform_tolerance_s",
        0.2,
        "map_to_odom: how far ahead of ROS time the correction is stamped, so that TF can be "
        "asked for now; longer than an interval of tf_rate_hz.",
        minimum=0.0,
        maximum=5.0,
    ),
    ParameterSpec(
        "tf_timeout_s",
        0.2,
        "How long a pose waits for TF to reach its image's stamp. Only map_to_base holds the pose "
        "back meanwhile; map_to_odom and initialpose wait apart.",
        minimum=0.0,
        maximum=5.0,
    ),
    ParameterSpec(
        "planar",
        False,
        "A robot on a level floor: map_to_base and map_to_odom keep x, y and yaw of base_frame, "
        "and set its height, roll and pitch to zero.",
    ),
    ParameterSpec(
        "publish_initialpose",
        "never",
        "The planar pose of base_frame on `initialpose`, for AMCL: never; once after activation; "
        "on_request with each answer of ~/localize; when_lost: after lost_poses accepted poses in "
        "a row that are not where TF has base_frame, or that TF has nowhere.",
        choices=("never", "once", "on_request", "when_lost"),
    ),
    ParameterSpec(
        "lost_poses",
        5,
        "when_lost: so many accepted poses in a row disagree with TF.",
        read_only=True,
        minimum=1,
        maximum=1000,
    ),
    ParameterSpec(
        "lost_distance_m",
        1.0,
        "when_lost: further apart than this, in the plane, is a disagreement.",
        read_only=True,
        minimum=0.01,
        maximum=1000.0,
    ),
    ParameterSpec(
        "lost_angle_deg",
        30.0,
        "when_lost: a heading that differs by more than this is a disagreement.",
        read_only=True,
        minimum=1.0,
        maximum=180.0,
    ),
    ParameterSpec(
        "image_transport",
        "raw",
        "raw listens to `image`, compressed to `image/compressed`.",
        read_only=True,
        choices=("raw", "compressed"),
    ),
    ParameterSpec(
        "reliability",
        "best_effort",
        "QoS of the camera's topics; best_effort hears every publisher, reliable loses no "
        "large images on the way from a reliable one. For one topic: qos_overrides.<topic>."
        "subscription.{reliability,depth,history}.",
        read_only=True,
        choices=("best_effort", "reliable"),
    ),
    ParameterSpec(
        "qos_depth",
        5,
        "How many messages of each of the camera's topics wait to be taken.",
        read_only=True,
        minimum=1,
        maximum=1000,
    ),
    ParameterSpec(
        "cameras",
        [],
        "Names of several cameras, such as [front, rear]: each has the topics <name>/image and "
        "<name>/camera_info, and the pose is that of base_frame. Empty: one camera on `image`.",
        read_only=True,
    ),
    ParameterSpec(
        "base_to_camera",
        [],
        "For cameras that TF does not know: x, y, z, qx, qy, qz, qw of the optical frame in "
        "base_frame, for each of `cameras` in turn; the pose is then that of base_frame. Empty: "
        "TF knows.",
        read_only=True,
    ),
    ParameterSpec(
        "camera_sync_s",
        0.02,
        "cameras: images whose stamps differ by no more than this are of one moment.",
        minimum=0.0,
        maximum=1.0,
    ),
    ParameterSpec(
        "camera_wait_s",
        0.1,
        "cameras: how long an image waits for those of the other cameras; not for one that has "
        "been silent for a second.",
        minimum=0.0,
        maximum=1.0,
    ),
    ParameterSpec("autostart", True, "Configure and activate without being told.", True),
    ParameterSpec(
        "scene",
        "",
        "Localize in this scene only; empty: recognise it. Read at configure and by ~/reload.",
        at_reload=True,
    ),
    ParameterSpec(
        "max_rate_hz",
        0.0,
        "Localize at most this often; 0: as often as the network can.",
        minimum=0.0,
        maximum=1000.0,
    ),
    ParameterSpec(
        "min_confidence",
        0.0,
        "Answers of less confidence are rejected; 0: as the bundle's calibration says. Any other "
        "value replaces that, a lower one too.",
        minimum=0.0,
        maximum=1.0,
    ),
    ParameterSpec(
        "min_scene_probability",
        0.5,
        "Answers whose scene is less probable are rejected.",
        minimum=0.0,
        maximum=1.0,
    ),
    ParameterSpec(
        "bounds_margin_m",
        2.0,
        "Positions further than this outside of those the scene was taught with are rejected.",
        minimum=0.0,
        maximum=1e6,
    ),
    ParameterSpec(
        "jump_distance_m",
        2.0,
        "With odometry in TF: a pose further than this from where odometry leads from the last "
        "one is held until the next agrees with it; 0: never.",
        minimum=0.0,
        maximum=1e6,
    ),
    ParameterSpec(
        "jump_angle_deg",
        60.0,
        "The same for its orientation; 0: never.",
        minimum=0.0,
        maximum=180.0,
    ),
    ParameterSpec(
        "scene_switch_frames",
        2,
        "So many images in a row must show another scene before it is believed.",
        minimum=1,
        maximum=1000,
    ),
    ParameterSpec(
        "fusion",
        "none",
        "filter: map -> odom comes from a filter over poses and odometry, where publish_tf is "
        "map_to_odom; none: from the last pose alone.",
        choices=("none", "filter"),
    ),
    ParameterSpec(
        "odometry_drift_per_m",
        0.02,
        "fusion: how far odometry's length is off, metres per metre.",
        minimum=1e-4,
        maximum=1.0,
    ),
    ParameterSpec(
        "odometry_yaw_drift_deg_per_m",
        1.0,
        "fusion: how far odometry's heading is off after a metre.",
        minimum=0.01,
        maximum=90.0,
    ),
    ParameterSpec(
        "fusion_covariance_scale",
        1.0,
        "fusion: factor on the poses' covariances to begin with; the filter learns it.",
        minimum=0.1,
        maximum=100.0,
    ),
    ParameterSpec(
        "image_rotation_deg",
        0,
        "Turn the picture clockwise by this before the network sees it, for a camera that is "
        "mounted on its side; the pose stays that of the camera's own optical frame.",
        read_only=True,
        choices=(0, 90, 180, 270),
    ),
)
