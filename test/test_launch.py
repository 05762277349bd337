"""The launch files: described arguments everywhere, and the real `ros2 launch` where it is.

The wheels of `make setup` have no `launch`; on a ROS 2 machine everything here runs.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parent.parent / "launch"
FILES = sorted(LAUNCH.glob("*.launch.py"))
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
# What the interface promises for localize.launch.py.
LOCALIZE_ARGUMENTS = {
    *("bundle", "image", "camera_info", "namespace", "device", "publish_tf", "params_file"),
    *("use_sim_time", "log_level", "autostart", "map_frame", "base_frame", "odom_frame", "rviz"),
    *("camera", "respawn", "dds_profile"),
}


def importable(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


needs_launch = pytest.mark.skipif(
    not importable("launch_ros"),
    reason="launch and launch_ros are not installed (they come with ROS 2, not with the wheels)",
)


def arguments_of(path):
    """Read the table ARGUMENTS of a launch file without running it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "ARGUMENTS":
            return {
                key.value: [ast.unparse(part) for part in value.elts]
                for key, value in zip(node.value.keys, node.value.values, strict=True)
            }
    raise AssertionError(f"{path.name} has no table ARGUMENTS")


def test_the_three_launch_files_are_there():
    assert [path.name for path in FILES] == [
        "demo.launch.py",
        "localize.launch.py",
        "replay.launch.py",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_argument_is_described(path):
    for name, (_, description) in arguments_of(path).items():
        assert len(ast.literal_eval(description).split()) >= 2, f"{path.name}: {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_arguments_are_never_run_as_code(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert not used & {"eval", "exec", "PythonExpression", "Command"}
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert "generate_launch_description" in functions


def test_localize_has_the_promised_arguments():
    assert set(arguments_of(LAUNCH / "localize.launch.py")) >= LOCALIZE_ARGUMENTS


def test_every_parameter_the_launch_files_set_is_declared_by_the_node():
    pytest.importorskip("rclpy", reason="the nodes' parameter tables import it")
    from mspr_ros.ros.parameters import LOCALIZER_PARAMETERS

    declared = {spec.name for spec in LOCALIZER_PARAMETERS} | {"use_sim_time"}
    tree = ast.parse((LAUNCH / "localize.launch.py").read_text(encoding="utf-8"))
    tables = {
        node.targets[0].id: {
            leaf.value for leaf in ast.walk(node.value) if isinstance(leaf, ast.Constant)
        }
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id.endswith("_PARAMETERS")
    }
    assert set(tables) == {"TEXT_PARAMETERS", "FLAG_PARAMETERS"}
    assert set.union(*tables.values()) | {"bundle"} <= declared


def test_every_launch_file_lets_images_come_reliably():
    """Best effort loses most raw images between processes; see also the real launch below."""
    demo = arguments_of(LAUNCH / "demo.launch.py")
    assert ast.literal_eval(demo["reliability"][0]) == "reliable"
    for name in ("localize.launch.py", "replay.launch.py"):
        assert ast.literal_eval(arguments_of(LAUNCH / name)["reliability"][0]) == ""


@pytest.mark.parametrize("name", ["demo.launch.py", "replay.launch.py"])
def test_where_we_send_the_images_the_profile_for_them_is_the_default(name):
    assert ast.literal_eval(arguments_of(LAUNCH / name)["dds_profile"][0]) == "auto"


# ---- with the real launch ----


def actions_of(name, **values):
    """Run a launch file's description with argument values; give all actions, flattened."""
    from launch import LaunchContext
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    context = LaunchContext()
    context.launch_configurations.update(values)
    source = PythonLaunchDescriptionSource(str(LAUNCH / name))
    pending = list(source.get_launch_description(context).entities)
    flat = []
    while pending:
        entity = pending.pop(0)
        flat.append(entity)
        if type(entity).__name__ not in {"Node", "ExecuteProcess"}:
            pending = [*(entity.visit(context) or []), *pending]
    return context, flat


def node_of(context, actions, executable):
    """Find a node's action; give its remappings and its parameters as one mapping."""
    from launch.utilities import perform_substitutions
    from launch_ros.actions import Node
    from launch_ros.utilities import evaluate_parameters

    def text(value):
        return value if isinstance(value, str) else perform_substitutions(context, list(value))

    for action in actions:
        if isinstance(action, Node) and text(action.node_executable) == executable:
            parameters = {}
            for part in evaluate_parameters(context, action._Node__parameters):
                parameters.update(part if isinstance(part, dict) else {"file": str(part)})
            remappings = {text(a): text(b) for a, b in action._Node__remappings}
            return parameters, remappings
    raise AssertionError(f"no action starts {executable}")


@needs_launch
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_description_is_accepted_and_its_arguments_told(path):
    from launch.launch_description_sources import (
        get_launch_description_from_python_launch_file,
    )

    description = get_launch_description_from_python_launch_file(str(path))
    told = {argument.name: argument for argument in description.get_launch_arguments()}
    assert set(told) >= set(arguments_of(path))
    assert all(argument.description for argument in told.values())
    assert set(told) >= LOCALIZE_ARGUMENTS, "what localize.launch.py takes may be given to all"


@needs_launch
def test_what_is_not_given_is_left_to_the_node():
    context, actions = actions_of("localize.launch.py")
    parameters, remappings = node_of(context, actions, "localizer")
    parameters.pop("file", None)
    assert parameters == {"autostart": True}  # a parameter file may say use_sim_time
    assert remappings == {
        "image": "image",
        "image/compressed": "image/compressed",
        "camera_info": "camera_info",
    }


@needs_launch
def test_what_is_given_reaches_the_node_with_its_type(tmp_path):
    context, actions = actions_of(
        "localize.launch.py",
        bundle=str(tmp_path),
        image="/camera/image_raw",
        map_frame="1",
        publish_tf="none",
        use_sim_time="true",
        autostart="False",
    )
    parameters, remappings = node_of(context, actions, "localizer")
    assert parameters["bundle"] == str(tmp_path)
    assert parameters["map_frame"] == "1", "a text, not a number"
    assert parameters["publish_tf"] == "none"
    assert parameters["use_sim_time"] is True
    assert parameters["autostart"] is False
    assert remappings["image"] == "/camera/image_raw"
    assert remappings["image/compressed"] == "/camera/image_raw/compressed"


@needs_launch
def test_a_camera_stands_for_its_topics_and_respawn_reaches_the_process():
    from launch_ros.actions import Node

    context, actions = actions_of("localize.launch.py", camera="/front/", respawn="true")
    _, remappings = node_of(context, actions, "localizer")
    assert remappings == {
        "image": "/front/image_raw",
        "image/compressed": "/front/image_raw/compressed",
        "camera_info": "/front/camera_info",
    }
    (node,) = (a for a in actions if isinstance(a, Node) and "rviz2" not in str(a.node_package))
    assert node._ExecuteLocal__respawn is True
    context, actions = actions_of(
        "localize.launch.py", camera="front", image="/i", camera_info="c"
    )
    _, remappings = node_of(context, actions, "localizer")
    assert (remappings["image"], remappings["camera_info"]) == ("/i", "c")


@needs_launch
@pytest.mark.parametrize(
    "wrong", [{"params_file": "/does/not/exist.yaml"}, {"autostart": "perhaps"}, {"respawn": "2"}]
)
def test_a_wrong_argument_is_refused(wrong):
    with pytest.raises((FileNotFoundError, ValueError), match=next(iter(wrong))):
        actions_of("localize.launch.py", **wrong)


@needs_launch
def test_replay_plays_the_bag_and_follows_its_clock(tmp_path):
    context, actions = actions_of("replay.launch.py", bag=str(tmp_path), rate="2.0")
    player, _ = node_of(context, actions, "bag_player")
    assert player["bag"] == str(tmp_path)
    assert player["rate"] == 2.0
    assert player["publish_clock"] is True
    localizer, _ = node_of(context, actions, "localizer")
    assert localizer["use_sim_time"] is True
    assert player["reliability"] == localizer["reliability"] == "reliable"


@needs_launch
def test_replay_decodes_compressed_images_unless_they_are_wanted_so(tmp_path):
    context, actions = actions_of("replay.launch.py", bag=str(tmp_path))
    assert node_of(context, actions, "bag_player")[0]["decode"] is True
    assert "image_transport" not in node_of(context, actions, "localizer")[0]
    context, actions = actions_of(
        "replay.launch.py", bag=str(tmp_path), image_transport="compressed"
    )
    assert node_of(context, actions, "bag_player")[0]["decode"] is False
    assert node_of(context, actions, "localizer")[0]["image_transport"] == "compressed"


@needs_launch
def test_replay_leaves_the_reliability_to_the_user(tmp_path):
    given = {"bag": str(tmp_path), "reliability": "best_effort"}
    context, actions = actions_of("replay.launch.py", **given)
    for name in ("bag_player", "localizer"):
        assert node_of(context, actions, name)[0]["reliability"] == "best_effort"
    # What is recorded as best effort is played so: a reliable listener would hear nothing.
    context, actions = actions_of(
        "replay.launch.py", bag=str(tmp_path), player="ros2bag", image_topic="/image"
    )
    assert "reliability" not in node_of(context, actions, "localizer")[0]


@needs_launch
def test_replay_with_ros2_bag_needs_to_know_the_images(tmp_path):
    with pytest.raises(ValueError, match="image_topic"):
        actions_of("replay.launch.py", bag=str(tmp_path), player="ros2bag")


@needs_launch
def test_ros2_bag_plays_under_the_names_the_localizer_listens_to(tmp_path):
    from launch.actions import ExecuteProcess
    from launch.utilities import perform_substitutions

    context, actions = actions_of(
        "replay.launch.py",
        bag=str(tmp_path),
        player="ros2bag",
        image_topic="/front/image_raw/compressed",
        camera_info_topic="/front/camera_info",
        namespace="r1",
    )
    (player,) = (action for action in actions if type(action) is ExecuteProcess)
    command = [perform_substitutions(context, word) for word in player.cmd]
    assert command[:4] == ["ros2", "bag", "play", str(tmp_path)]
    assert "--clock" in command
    assert "/front/image_raw/compressed:=/r1/image/compressed" in command
    assert "/front/camera_info:=/r1/camera_info" in command
    assert node_of(context, actions, "localizer")[0]["image_transport"] == "compressed"


@needs_launch
@pytest.mark.parametrize("name", ["demo.launch.py", "replay.launch.py"])
def test_the_profile_is_set_before_any_process_starts(name, tmp_path, monkeypatch):
    from launch_ros.actions import Node

    for variable in PROFILE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    _, actions = actions_of(name, bag=str(tmp_path))
    kinds = [type(action) for action in actions]
    (profile,) = (n for n, kind in enumerate(kinds) if kind.__name__ == "SetEnvironmentVariable")
    assert profile < kinds.index(Node)
    monkeypatch.setenv(PROFILE_VARIABLES[0], "/the/users/own.xml")
    _, actions = actions_of(name, bag=str(tmp_path))
    assert not [a for a in actions if type(a).__name__ == "SetEnvironmentVariable"]


@needs_launch
def test_rviz_follows_the_camera_and_the_namespace():
    context, actions = actions_of(
        "localize.launch.py", rviz="true", camera="/front", namespace="r1"
    )
    parameters, remappings = node_of(context, actions, "rviz2")
    assert parameters == {"use_sim_time": False}
    assert remappings["/image"] == "/front/image_raw"
    assert remappings["/localizer/markers"] == "localizer/markers"  # below the namespace
    config = (LAUNCH.parent / "config" / "mspr.rviz").read_text(encoding="utf-8")
    topics = re.findall(r"Value: (/\S+)", config)
    assert set(topics) == set(remappings)


@needs_launch
def test_demo_starts_camera_and_localizer():
    context, actions = actions_of("demo.launch.py", seed="3", namespace="r1")
    camera, _ = node_of(context, actions, "camera_sim")
    assert camera["seed"] == 3
    assert camera["world"] == "demo"
    assert camera["scenes"] == "office,lounge,kitchen"  # what the demo bundle knows
    assert camera["image_transport"] == "raw"
    localizer, _ = node_of(context, actions, "localizer")
    assert camera["reliability"] == localizer["reliability"] == "reliable"


INSTALLED = """
from ament_index_python.packages import get_package_prefix
from pathlib import Path
print(Path(get_package_prefix("mspr_ros"), "lib", "mspr_ros", "localizer").exists())
"""


@needs_launch
@pytest.mark.slow
def test_ros2_launch_starts_the_node_and_stops_it_in_order(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", INSTALLED], capture_output=True, text=True, check=False
    )
    if found.stdout.strip() != "True":
        pytest.skip("mspr_ros is not installed in an ament prefix (colcon build, then source it)")
    output = tmp_path / "output.txt"
    command = ["ros2", "launch", "mspr_ros", "localize.launch.py", f"bundle:={tmp_path}"]
    with output.open("w") as stream:
        launched = subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "ROS_LOG_DIR": str(tmp_path / "log")},
        )
    try:
        deadline = time.monotonic() + 200.0
        # The folder holds no bundle: the node says so, and lives on.
        while "cannot configure" not in output.read_text():
            assert launched.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.2)
        launched.send_signal(signal.SIGINT)
        launched.wait(timeout=60.0)
    finally:
        if launched.poll() is None:
            os.killpg(launched.pid, signal.SIGKILL)
    text = output.read_text()
    assert "process has finished cleanly" in text, text
