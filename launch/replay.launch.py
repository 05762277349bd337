"""Play a recorded bag into the localizer.

    ros2 launch mspr_ros replay.launch.py bag:=/data/office bundle:=/maps/office

The bag's camera is found by itself if there is only one. The arguments of localize.launch.py may
be given too, but for those that name another camera.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetLaunchConfiguration,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

HERE = Path(__file__).parent
PLAYERS = ("bag_player", "ros2bag")

ARGUMENTS = {
    "bag": (None, "Folder of the bag (or its .mcap or .db3 file)."),
    "rate": ("1.0", "Speed: 1 is as recorded."),
    "image_topic": ("", "The images in the bag. Empty: the only ones."),
    "camera_info_topic": (
        "",
        "The intrinsics in the bag. Empty: those beside the images; with ros2bag none.",
    ),
    "loop": ("false", "Start anew at the end."),
    "start_offset": ("0.0", "Seconds at the bag's start to leave out."),
    "player": (
        "bag_player",
        "bag_player (waits for the localizer before it starts) or ros2bag (`ros2 bag play`, needs "
        "image_topic).",
    ),
    "reliability": (
        "",
        "QoS of the images. Empty: reliable with bag_player; with ros2bag, which publishes as "
        "recorded, what the parameter file says.",
    ),
    "image_transport": (
        "",
        "compressed: as a bag of compressed images has them. Empty: bag_player decodes them; with "
        "ros2bag as image_topic says.",
    ),
    "dds_profile": ("auto", "Profile of Fast DDS for all processes; see localize.launch.py."),
    "namespace": ("", "Namespace of both nodes."),
    "use_sim_time": ("true", "Take the time from /clock, which the player publishes."),
}


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: player and localizer; it ends when the bag does."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    localizer = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HERE / "localize.launch.py"))
    )
    # The localizer before the player: it sets the profile, which the player needs too.
    transport = OpaqueFunction(function=choose_transport)
    player = OpaqueFunction(function=start_player)
    return LaunchDescription([*arguments, transport, localizer, player])


def choose_transport(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Choose how the localizer hears the player's images where nobody said so.

    Args:
        context: Knows the arguments' values.
    """
    ours = LaunchConfiguration("player").perform(context) == "bag_player"
    is_compressed = LaunchConfiguration("image_topic").perform(context).endswith("/compressed")
    wanted = {
        # Best effort loses images where a process lacks the profile.
        "reliability": "reliable" if ours else "",
        "image_transport": "compressed" if is_compressed and not ours else "",
    }
    return [
        SetLaunchConfiguration(name, value)
        for name, value in wanted.items()
        if value and not LaunchConfiguration(name).perform(context)
    ]


def start_player(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Build the player's action from the arguments' values.

    Args:
        context: Knows the values.

    Raises:
        ValueError: There is no such player, or it lacks an argument.
    """
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    bag = str(Path(values["bag"]).expanduser().absolute())
    if values["player"] == "bag_player":
        return [our_player(bag, values)]
    if values["player"] == "ros2bag":
        return [ros2_bag_play(bag, values)]
    raise ValueError(f"player:={values['player']} must be one of {', '.join(PLAYERS)}")


def our_player(bag: str, values: dict[str, str]) -> Node:
    """Play with this package's own node."""
    return Node(
        package="mspr_ros",
        executable="bag_player",
        name="bag_player",
        namespace=values["namespace"],
        parameters=[
            {
                "bag": ParameterValue(bag, value_type=str),
                "rate": float(values["rate"]),
                "start_offset_s": float(values["start_offset"]),
                "image_topic": ParameterValue(values["image_topic"], value_type=str),
                "camera_info_topic": ParameterValue(values["camera_info_topic"], value_type=str),
                "reliability": values["reliability"],
                "decode": values["image_transport"] != "compressed",
                "loop": values["loop"].lower() == "true",
                "wait_for": "image,image/compressed",  # whichever it is: nothing goes to nobody
                "publish_clock": values["use_sim_time"].lower() == "true",
            }
        ],
        output="screen",
        emulate_tty=True,
        on_exit=Shutdown(reason="the bag has ended"),
    )


def ros2_bag_play(bag: str, values: dict[str, str]) -> ExecuteProcess:
    """Play with `ros2 bag play`, its camera under the names the localizer listens to.

    Raises:
        ValueError: The image topic is not named.
    """
    if not values["image_topic"]:
        raise ValueError("player:=ros2bag needs image_topic:=, the topic's name in the bag")
    prefix = f"/{values['namespace'].strip('/')}/".replace("//", "/")
    compressed = values["image_topic"].endswith("/compressed")
    renamed = [
        f"{values['image_topic']}:={prefix}image{'/compressed' if compressed else ''}",
    ]
    if values["camera_info_topic"]:
        renamed.append(f"{values['camera_info_topic']}:={prefix}camera_info")
    command = ["ros2", "bag", "play", bag, "--rate", values["rate"], "--remap", *renamed]
    if values["use_sim_time"].lower() == "true":
        command.append("--clock")
    if values["loop"].lower() == "true":
        command.append("--loop")
    if float(values["start_offset"]) > 0.0:
        command += ["--start-offset", values["start_offset"]]
    return ExecuteProcess(
        cmd=command, output="screen", on_exit=Shutdown(reason="the bag has ended")
    )
