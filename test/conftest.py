"""Settings for all tests: say which ROS was met, and keep DDS on this machine."""

from __future__ import annotations

import importlib
import os
import pathlib

# Before rclpy is imported: robots and other test runs nearby shall neither disturb these tests nor
# be disturbed by them. The second name is what Humble knows; newer releases warn about it.
os.environ.setdefault("ROS_DOMAIN_ID", str(20 + os.getpid() % 80))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
if os.environ.get("ROS_DISTRO") == "humble":
    os.environ.setdefault("ROS_LOCALHOST_ONLY", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# Networks here are tiny: threads wait for each other longer than they work.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _describe(module: str) -> str:
    """Say which implementation of a module is installed: real, stand-in or none."""
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        return f"{module}: absent ({error})"
    kind = "stand-in" if getattr(found, "IS_STAND_IN", False) else "real"
    return f"{module}: {kind} ({pathlib.Path(str(found.__file__)).parent})"


def pytest_report_header() -> list[str]:
    """State what the contract tests and the node tests run against."""
    return [_describe(module) for module in ("rclpy", "tf2_ros", "cv_bridge", "launch_ros")]
