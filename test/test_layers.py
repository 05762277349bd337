"""Which part may import which: the arrows of the design, held by reading every import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mspr_ros"

# A part imports its own level and those below.
LEVELS = (
    {"errors", "naming"},
    {"geometry", "config", "lens", "camera", "drawing", "device"},
    {"fusion"},
    {"network", "preprocess"},
    {"data", "bundle", "calibration"},
    {"backends"},
    {"localizer", "training", "evaluation", "simulator", "bags"},
    {"bench"},
    {"studies"},
    {"ros", "cli"},
    {"__main__"},
)
LEVEL_OF = {part: level for level, parts in enumerate(LEVELS) for part in parts}

# Only ros/ knows of ROS.
ROS_MODULES = {
    *("ament_index_python", "builtin_interfaces", "cv_bridge", "diagnostic_msgs"),
    *("geometry_msgs", "launch", "launch_ros", "lifecycle_msgs", "nav_msgs", "rcl_interfaces"),
    *("rclpy", "rosgraph_msgs", "sensor_msgs", "std_msgs", "std_srvs", "tf2_msgs", "tf2_ros"),
    "visualization_msgs",
}


def modules():
    """Give (dotted name below mspr_ros, path) of every module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def imports_of(path):
    """List the absolute names a module imports, also those inside of functions."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which layer is meant"
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def part_of(dotted):
    return dotted.split(".")[0]


def test_every_part_has_a_level():
    parts = {part_of(name) for name, _ in modules() if name}
    assert parts <= set(LEVEL_OF), "give new parts a level here, and in the design"


def test_imports_go_down_only():
    wrong = []
    for name, path in modules():
        if not name:
            continue
        for imported in imports_of(path):
            if not imported.startswith("mspr_ros."):
                continue
            other = part_of(imported.removeprefix("mspr_ros."))
            if LEVEL_OF.get(other, -1) > LEVEL_OF[part_of(name)]:
                wrong.append(f"{name} imports {imported}")
    assert not wrong


def test_only_ros_imports_ros():
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules()
        if part_of(name) != "ros"
        for imported in imports_of(path)
        if part_of(imported) in ROS_MODULES
    ]
    assert not wrong


def test_geometry_and_metrics_know_numpy_and_scipy_only():
    allowed = {"numpy", "scipy", "mspr_ros", *sys.stdlib_module_names}
    for name in (
        "geometry.py",
        "evaluation/metrics.py",
        "evaluation/ranking.py",
        "evaluation/uncertainty.py",
    ):
        imported = imports_of(PACKAGE / name)
        assert {part_of(each) for each in imported} <= allowed
        own = {each.removeprefix("mspr_ros.") for each in imported if each.startswith("mspr_ros.")}
        # Metrics, which are held to the same, may be built upon.
        own = {each for each in own if not each.startswith("evaluation.metrics")}
        assert {part_of(each) for each in own} <= LEVELS[0] | {"geometry"}


def test_the_network_reads_no_files():
    for name, path in modules():
        if part_of(name) == "network":
            imported = {part_of(each) for each in imports_of(path)}
            assert not imported & {"yaml", "json", "csv", "cv2", "os", "safetensors"}, name


WITHOUT_ROS = """
import importlib, sys

class NoRos:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ROS_MODULES:
            raise ImportError(f"{name} was imported")

sys.meta_path.insert(0, NoRos())
for name in NAMES:
    importlib.import_module(name)
print("imported", len(NAMES))
"""


def test_all_but_ros_is_imported_without_ros():
    names = [
        f"mspr_ros.{name}".rstrip(".")
        for name, _ in modules()
        if part_of(name) not in {"ros", "__main__"}
    ]
    program = f"ROS_MODULES = {ROS_MODULES!r}\nNAMES = {names!r}\n{WITHOUT_ROS}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"imported {len(names)}" in done.stdout
