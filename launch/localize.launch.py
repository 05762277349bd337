"""Start the localizer on a camera.

    ros2 launch mspr_ros localize.launch.py bundle:=/maps/office camera:=/camera

`camera` stands for image:=/camera/image_raw camera_info:=/camera/camera_info.

An argument that is left empty stays out of the node's parameters: what the parameter file or the
node itself says then counts.
"""

from __future__ import annotations

import os
from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

# The same in the source tree and below share/mspr_ros/.
SHARE = Path(__file__).parent.parent

ARGUMENTS = {
    "bundle": ("", "Folder of the trained bundle. Empty: the demo one, simulator rooms only."),
    "camera": ("", "Namespace of the camera's driver, for image_raw and camera_info in it."),
    "image": ("", "Topic of the camera's images. Empty: <camera>/image_raw, or image."),
    "camera_info": (
        "",
        "Topic of the camera's intrinsics; it need not be there. Empty: <camera>/camera_info, or "
        "camera_info.",
    ),
    "image_transport": ("", "raw, or compressed to listen to <image>/compressed."),
    "reliability": ("", "QoS of the camera's topics: best_effort or reliable."),
    "dds_profile": (
        "",
        "images: Fast DDS with shared memory that large images fit (config/fastdds_images.xml), "
        "which every process needs, the camera's driver too; or another profile's path; auto: "
        "images, unless the environment names a profile. Empty: as the environment says.",
    ),
    "namespace": ("", "Namespace of the node, for instance the robot's name."),
    "device": ("", "Where the network runs: auto, cpu, cuda or cuda:N."),
    "publish_tf": ("", "auto, none, map_to_camera, map_to_base or map_to_odom."),
    "map_frame": ("", "Name for the bundle's default map frame."),
    "odom_frame": ("", "Frame of the odometry."),
    "base_frame": ("", "Frame of the robot."),
    "params_file": (
        str(SHARE / "config" / "localizer.yaml"),
        "Parameter file; the other arguments override it.",
    ),
    "use_sim_time": ("", "true: take the time from /clock (simulation, bags)."),
    "autostart": ("true", "Configure and activate at once; false: wait for lifecycle commands."),
    "respawn": ("false", "Start the node again when its process has died."),
    "log_level": ("info", "debug, info, warn, error or fatal."),
    "rviz": ("false", "Start RViz with the localizer's displays."),
}
TEXT_PARAMETERS = (
    *("image_transport", "reliability", "device", "publish_tf"),
    *("map_frame", "odom_frame", "base_frame"),
)
FLAG_PARAMETERS = ("use_sim_time", "autostart")
RESPAWN_DELAY_S = 2.0
# The second one in Humble and Jazzy.
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: the arguments, the localizer, and RViz if wanted."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start_nodes)])


def start_nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Build the actions of localizer and RViz from the arguments' values.

    Args:
        context: Knows the values.
    """
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    parameters: dict[str, object] = {
        # Typed as text: a frame called "1" shall not become a number.
        name: ParameterValue(values[name], value_type=str)
        for name in TEXT_PARAMETERS
        if values[name]
    }
    parameters |= {name: is_true(name, values[name]) for name in FLAG_PARAMETERS if values[name]}
    if values["bundle"]:
        folder = Path(values["bundle"]).expanduser().absolute()
        parameters["bundle"] = ParameterValue(str(folder), value_type=str)
    camera = values["camera"].rstrip("/") + "/" if values["camera"] else ""
    image = values["image"] or (f"{camera}image_raw" if camera else "image")
    # A logger is called as its node, with dots.
    logger = ".".join([*values["namespace"].strip("/").split("/"), "localizer"]).lstrip(".")
    node = Node(
        package="mspr_ros",
        executable="localizer",
        name="localizer",
        namespace=values["namespace"],
        parameters=[*parameter_files(values["params_file"]), parameters],
        remappings=[
            ("image", image),
            ("image/compressed", image + "/compressed"),
            ("camera_info", values["camera_info"] or f"{camera}camera_info"),
        ],
        arguments=["--ros-args", "--log-level", f"{logger}:={values['log_level']}"],
        output="screen",
        respawn=is_true("respawn", values["respawn"]),
        respawn_delay=RESPAWN_DELAY_S,
        emulate_tty=True,  # else what is printed comes in lumps
    )
    started = [node, rviz(values, image)] if is_true("rviz", values["rviz"]) else [node]
    return [*dds_environment(values["dds_profile"]), *started]


def rviz(values: dict[str, str], image: str) -> Node:
    """Start RViz on this camera and this namespace; its file names topics without either."""
    topics = ("pose", "pose_with_covariance", "path", "markers", "map_markers")
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=values["namespace"],
        arguments=["-d", str(SHARE / "config" / "mspr.rviz")],
        parameters=[{"use_sim_time": is_true("use_sim_time", values["use_sim_time"] or "false")}],
        remappings=[
            ("/image", image),
            ("/ground_truth/pose", "ground_truth/pose"),
            *((f"/localizer/{topic}", f"localizer/{topic}") for topic in topics),
        ],
    )


def dds_environment(profile: str) -> list[SetEnvironmentVariable]:
    """Set the Fast DDS profile for what this launch starts from here on.

    Args:
        profile: `images` for the shipped one, `auto` for that where the environment names none, a
            path, or empty for none.

    Raises:
        FileNotFoundError: The path does not exist.
    """
    is_set = any(os.environ.get(name) for name in PROFILE_VARIABLES)
    if not profile or (profile == "auto" and is_set):
        return []
    shipped = SHARE / "config" / "fastdds_images.xml"
    file = shipped if profile in ("images", "auto") else Path(profile).expanduser().absolute()
    if not file.is_file():
        raise FileNotFoundError(f"dds_profile:={profile} does not exist (here: {os.getcwd()})")
    name = PROFILE_VARIABLES[os.environ.get("ROS_DISTRO") in ("humble", "jazzy")]
    return [SetEnvironmentVariable(name, str(file))]


def parameter_files(path: str) -> list[str]:
    """Give the parameter file to read, if any; the shipped one may be absent.

    Args:
        path: The argument's value.

    Raises:
        FileNotFoundError: A file that was asked for does not exist.
    """
    if not path:
        return []
    file = Path(path).expanduser()
    if not file.is_file():
        if path == ARGUMENTS["params_file"][0]:
            return []
        raise FileNotFoundError(f"params_file:={path} does not exist (here: {os.getcwd()})")
    return [str(file)]


def is_true(name: str, text: str) -> bool:
    """Read a flag.

    Args:
        name: The argument, for the message.
        text: Its value.

    Raises:
        ValueError: It is neither true nor false.
    """
    known = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in known:
        raise ValueError(f"{name}:={text} must be true or false")
    return known[text.lower()]
