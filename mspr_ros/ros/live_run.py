"""Run a camera node and the localizer as two processes over DDS, and listen to both.

`mspr demo` and `mspr replay` are this with the simulator's camera and with a bag.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

import mspr_ros
from mspr_ros.errors import MsprError
from mspr_ros.ros.live_collector import Collector
from mspr_ros.ros.resources import shared_path

START_TIMEOUT_S = 180.0  # a busy machine needs a while to import torch
SILENCE_TIMEOUT_S = 90.0  # a source that sends nothing for so long hangs
SETTLE_TIMEOUT_S = 20.0  # for the answers to the last images
STOP_TIMEOUT_S = 5.0
LOG_LINES = 8
SENT_LINE = re.compile(r"\bsent (\d+) images")  # the last words of a source
# Domains whose ports are free on all systems.
DOMAIN_IDS = (1, 101)
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
ENVIRONMENT_OF_DDS = (
    "ROS_AUTOMATIC_DISCOVERY_RANGE",
    "ROS_LOCALHOST_ONLY",
    *PROFILE_VARIABLES,
)


@dataclass(frozen=True)
class LiveNode:
    """A node to run as a process.

    Args:
        module: Python module with a main.
        parameters: ROS parameters.
        log: File for what it prints.
    """

    module: str
    parameters: Mapping[str, Any]
    log: Path

    def command(self) -> list[str]:
        """Give the command line."""
        command = [sys.executable, "-m", self.module, "--ros-args"]
        for name, value in self.parameters.items():
            command += ["-p", f"{name}:={_yaml(value)}"]
        return command

    def last_lines(self) -> str:
        """Give the end of its log, for an error message."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "".join(f"\n  | {line}" for line in lines[-LOG_LINES:])

    def num_sent(self) -> int | None:
        """Give how many images a source says in its log that it sent; None if it does not."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        told = SENT_LINE.findall(text)
        return int(told[-1]) if told else None


def run_live(
    localizer: LiveNode, source: LiveNode, progress: Callable[[Collector], None]
) -> Collector:
    """Start the localizer, then the source, and listen until the source's last image is answered.

    Args:
        localizer: The localizer; autostart.
        source: Ends by itself when everything is sent.
        progress: Called some times a second.

    Returns:
        What was heard.

    Raises:
        MsprError: If a process fails, or no pose came; with the end of its log.
    """
    environment = with_image_profile(live_environment())
    with (
        own_node("live_run", environment) as (listener, spin),
        running(localizer, environment) as node,
    ):
        collector = Collector(listener)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while collector.record.diagnostics.get("state") != "active":
            spin()
            _check_localizer(collector, localizer, node)
            if time.monotonic() > deadline_s:
                raise MsprError(
                    f"the localizer was not active after {START_TIMEOUT_S:g} s"
                    + localizer.last_lines()
                )
        with running(source, environment) as camera:
            collector.last_heard_s = time.monotonic()
            while camera.poll() is None:
                spin()
                progress(collector)
                _check_localizer(collector, localizer, node)
                if time.monotonic() - collector.last_heard_s > SILENCE_TIMEOUT_S:
                    raise MsprError(
                        f"nothing came for {SILENCE_TIMEOUT_S:g} s" + source.last_lines()
                    )
            if camera.returncode != 0:
                raise MsprError(f"the camera ended with an error{source.last_lines()}")
        _wait_for_last_answers(collector, spin)
        progress(collector)
    if not collector.record.poses:
        reasons = "; ".join(collector.record.problems) or "no problem was reported"
        raise MsprError(f"no pose came ({reasons}){localizer.last_lines()}")
    return collector


def live_environment() -> dict[str, str]:
    """Give the environment of all processes of a run: one domain of their own, on this machine."""
    environment = dict(os.environ)
    environment.setdefault("ROS_DOMAIN_ID", str(random.randint(*DOMAIN_IDS)))
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if environment.get("ROS_DISTRO") == "humble":
        environment.setdefault("ROS_LOCALHOST_ONLY", "1")
    # The ROS wheels start Python anew once to set its library path and leave a mark; a child that
    # inherits the mark without the path could not import rclpy.
    if not environment.get("LD_LIBRARY_PATH"):
        environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    package_root = str(Path(mspr_ros.__file__).resolve().parents[1])
    paths = [package_root, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def with_image_profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Add the profile that is shipped for images through Fast DDS, unless the user has one."""
    if any(environment.get(name) for name in PROFILE_VARIABLES):
        return dict(environment)
    return {
        **environment,
        profile_variable(environment): str(shared_path("config/fastdds_images.xml")),
    }


def profile_variable(environment: Mapping[str, str]) -> str:
    """Name the variable by which the Fast DDS of this ROS distribution finds a profile."""
    return PROFILE_VARIABLES[environment.get("ROS_DISTRO") in ("humble", "jazzy")]


@contextmanager
def own_node(
    name: str, environment: Mapping[str, str]
) -> Iterator[tuple[Node, Callable[[], None]]]:
    """Make a node in this process, in a context of its own, and what spins it for a moment."""
    for variable in ENVIRONMENT_OF_DDS:
        if variable in environment:
            os.environ[variable] = environment[variable]
    context = Context()
    rclpy.init(context=context, args=[], domain_id=int(environment["ROS_DOMAIN_ID"]))
    try:
        node = Node(name, context=context, start_parameter_services=False)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        yield node, lambda: executor.spin_once(timeout_sec=0.05)
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
    finally:
        context.try_shutdown()


@contextmanager
def running(node: LiveNode, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node; end it with SIGINT, as a user would."""
    with node.log.open("wb") as log:
        process = subprocess.Popen(
            node.command(), env=dict(environment), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _check_localizer(
    collector: Collector, localizer: LiveNode, process: subprocess.Popen[bytes]
) -> None:
    if process.poll() is not None:
        raise MsprError(
            f"the localizer ended with status {process.returncode}{localizer.last_lines()}"
        )
    diagnostics = collector.record.diagnostics
    if diagnostics.get("state") == "unconfigured" and diagnostics["level"] == "error":
        raise MsprError(f"the localizer: {diagnostics['message']}")


def _wait_for_last_answers(collector: Collector, spin: Callable[[], None]) -> None:
    """Listen until a status says that every image received has been worked on."""
    deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
    seen = collector.num_diagnostics
    while time.monotonic() < deadline_s:
        spin()
        values = collector.record.diagnostics
        done = sum(int(values.get(key, 0)) for key in ("processed", "dropped", "failed"))
        # Two statuses on: the first may have been under way when the source ended.
        if collector.num_diagnostics >= seen + 2 and done == int(values.get("received", -1)):
            return


def _yaml(value: Any) -> str:
    """Write a parameter's value for the command line; text is quoted, so that it stays text."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower() if isinstance(value, bool) else str(value)
