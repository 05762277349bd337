"""Start the simulator's camera and the localizer on it, with the bundle that knows its rooms.

    ros2 launch mspr_ros demo.launch.py rviz:=true

The arguments of localize.launch.py may be given too, but for those that name another camera.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

HERE = Path(__file__).parent

ARGUMENTS = {
    "namespace": ("", "Namespace of both nodes."),
    "world": ("demo", "Fixes the places; the demo bundle knows the demo's."),
    "scenes": (
        "office,lounge,kitchen",
        "Places to visit in turn; the demo bundle knows these. Empty: all of the world.",
    ),
    "seed": ("7", "Fixes drive, light and noise."),
    "frames": ("0", "End after so many images; 0: go on."),
    "rate_hz": ("10.0", "Images a second."),
    # Best effort would lose most large images between processes.
    "reliability": ("reliable", "QoS of the images, on both sides: reliable or best_effort."),
    "image_transport": ("raw", "raw or compressed, on both sides."),
    "dds_profile": ("auto", "Profile of Fast DDS for all processes; see localize.launch.py."),
    "publish_odometry": ("false", "Odometry that drifts, and its frame above the robot's."),
}


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: camera and localizer; it ends when the camera does."""
    camera = Node(
        package="mspr_ros",
        executable="camera_sim",
        name="camera_sim",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            {
                "world": typed("world", str),
                "scenes": typed("scenes", str),
                "seed": typed("seed", int),
                "frames": typed("frames", int),
                "rate_hz": typed("rate_hz", float),
                "publish_odometry": typed("publish_odometry", bool),
                "reliability": typed("reliability", str),
                "image_transport": typed("image_transport", str),
                "wait_for": "image,image/compressed",  # whichever it is: nothing goes to nobody
            }
        ],
        output="screen",
        emulate_tty=True,
        on_exit=Shutdown(reason="the camera has ended"),
    )
    localizer = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HERE / "localize.launch.py"))
    )
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            localizer,  # first: it sets the profile, which the camera needs too
            camera,
        ]
    )


def typed(argument: str, kind: type) -> ParameterValue:
    """Give an argument's value as a parameter of a certain type."""
    return ParameterValue(LaunchConfiguration(argument), value_type=kind)
