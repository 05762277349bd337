"""The files in config/ fit the node they are for."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from ros_support import FakeLocalizer, harness, wait_until

from mspr_ros.errors import MsprError
from mspr_ros.ros.localizer_node import LocalizerNode
from mspr_ros.ros.parameters import LOCALIZER_PARAMETERS
from mspr_ros.ros.resources import shared_path

CONFIG = Path(__file__).resolve().parents[1] / "config"
# What each RViz display subscribes to.
DISPLAY_TYPES = {
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
    "rviz_default_plugins/Pose": "geometry_msgs/msg/PoseStamped",
    "rviz_default_plugins/PoseWithCovariance": "geometry_msgs/msg/PoseWithCovarianceStamped",
    "rviz_default_plugins/Path": "nav_msgs/msg/Path",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
}


def test_the_parameter_file_names_every_parameter_with_its_default() -> None:
    text = (CONFIG / "localizer.yaml").read_text()
    (values,) = yaml.safe_load(text).values()
    defaults = {spec.name: spec.default for spec in LOCALIZER_PARAMETERS}
    # ROS takes an empty list in a file for a parameter without a type: those stand as comments.
    empty = [name for name, default in defaults.items() if default == []]
    assert all(f"# {name}: [" in text for name in empty)
    assert values["ros__parameters"] == {n: v for n, v in defaults.items() if n not in empty}


def test_the_parameter_file_is_taken_by_the_node() -> None:
    with harness() as ros:
        arguments = ros.parameters({"autostart": False})
        arguments["cli_args"] = ["--ros-args", "--params-file", str(CONFIG / "localizer.yaml")]
        node = LocalizerNode(**arguments)
        ros.add(node)
        assert node.get_parameter("image_rotation_deg").value == 0


def test_rviz_shows_what_the_node_publishes_and_hears() -> None:
    config = yaml.safe_load((CONFIG / "mspr.rviz").read_text())["Visualization Manager"]
    shown = {
        display["Topic"]["Value"]: DISPLAY_TYPES[display["Class"]]
        for display in config["Displays"]
        if "Topic" in display
    }
    assert config["Global Options"]["Fixed Frame"] == "map"
    assert any(display["Class"] == "rviz_default_plugins/TF" for display in config["Displays"])
    with harness() as ros:
        values = {"bundle": "some_bundle"}
        node = LocalizerNode(lambda *args, **options: FakeLocalizer(), **ros.parameters(values))
        ros.add(node)
        diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
        wait_until(lambda: node.state_label == "active" and diagnostics)
        published = dict(node.get_publisher_names_and_types_by_node("localizer", "/"))
        heard = dict(node.get_subscriber_names_and_types_by_node("localizer", "/"))
        # A late RViz is told the taught volume, too; and no display asks for more than is offered.
        for display in config["Displays"]:
            topic = display.get("Topic", {}).get("Value", "")
            if topic.startswith("/localizer/"):
                for offered in node.get_publishers_info_by_topic(topic):
                    wanted = display["Topic"]["Durability Policy"].replace(" ", "_").upper()
                    is_latched = offered.qos_profile.durability.name == "TRANSIENT_LOCAL"
                    assert wanted == ("TRANSIENT_LOCAL" if is_latched else "VOLATILE"), topic
    known = {**published, **heard, "/ground_truth/pose": ["geometry_msgs/msg/PoseStamped"]}
    for topic, kind in shown.items():
        assert known[topic] == [kind], topic
    ours = {topic for topic in published if topic.startswith("/localizer/")}
    text_only = {"/localizer/scene", "/localizer/transition_event"}
    assert ours - text_only <= shown.keys()


def test_the_example_filter_hears_the_localizer() -> None:
    filters = yaml.safe_load((CONFIG / "robot_localization.yaml").read_text())
    values = filters["/**/ekf_map"]["ros__parameters"]
    assert values["pose0"] == "localizer/pose_with_covariance"
    assert len(values["pose0_config"]) == len(values["odom0_config"]) == 15


def test_the_dds_profile_has_room_for_images() -> None:
    root = ElementTree.parse(CONFIG / "fastdds_images.xml").getroot()
    space = "{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}"
    sizes = {
        name: int(root.find(f".//{space}{name}").text)  # type: ignore[union-attr, arg-type]
        for name in ("segment_size", "maxMessageSize")
    }
    raw_image = 640 * 480 * 3
    assert sizes["maxMessageSize"] > 4 * raw_image
    assert sizes["segment_size"] >= 8 * sizes["maxMessageSize"]


def test_what_is_not_installed_is_told_with_the_places_looked_at() -> None:
    assert shared_path("config/localizer.yaml") == CONFIG / "localizer.yaml"
    with pytest.raises(MsprError, match="config/nothing is not installed"):
        shared_path("config/nothing")
