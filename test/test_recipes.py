"""The recipes' parameter files are accepted by the real node, and name topics that exist."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ros_support import FakeLocalizer, harness

from mspr_ros.ros.localizer_node import LocalizerNode
from mspr_ros.ros.parameters import LOCALIZER_PARAMETERS

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "config" / "recipes").glob("*.yaml"))


def test_there_is_a_recipe_for_each_and_the_document_names_it() -> None:
    names = {path.name for path in RECIPES}
    assert names == {
        *("nav2_amcl.yaml", "nav2_only.yaml", "robot_localization_localizer.yaml"),
        *("usb_cam.yaml", "v4l2_camera.yaml", "realsense.yaml"),
    }
    text = (ROOT / "docs" / "recipes.md").read_text()
    for name in names:
        assert f"`{name}`" in text


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_node_starts_with_each(path: Path) -> None:
    sections = yaml.safe_load(path.read_text())
    wanted = sections["/**/localizer"]["ros__parameters"]
    with harness() as ros:
        arguments = ros.parameters({"autostart": False, "bundle": "b"})
        arguments["cli_args"] = ["--ros-args", "--params-file", str(path)]
        node = LocalizerNode(lambda *a, **o: FakeLocalizer(), **arguments)
        ros.add(node)
        for name, value in wanted.items():
            assert node.get_parameter(name).value == value, name
        node.trigger_configure()
        assert node.state_label == "inactive"
        if path.stem == "nav2_amcl":
            published = dict(node.get_publisher_names_and_types_by_node("localizer", "/"))
            assert published["/initialpose"] == ["geometry_msgs/msg/PoseWithCovarianceStamped"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_parameter_of_the_localizer_is_declared(path: Path) -> None:
    declared = {spec.name for spec in LOCALIZER_PARAMETERS}
    wanted = yaml.safe_load(path.read_text())["/**/localizer"]["ros__parameters"]
    assert set(wanted) <= declared


def test_managed_recipes_want_no_bond_and_leave_the_lifecycle_to_the_manager() -> None:
    for path in RECIPES:
        sections = yaml.safe_load(path.read_text())
        assert ("nav2" in path.name) is any("lifecycle" in name for name in sections)
        managers = [s["ros__parameters"] for name, s in sections.items() if "lifecycle" in name]
        for manager in managers:
            assert manager["bond_timeout"] == 0.0
            assert manager["node_names"] == ["localizer"]
            assert sections["/**/localizer"]["ros__parameters"]["autostart"] is False
