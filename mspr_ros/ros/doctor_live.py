"""What `mspr doctor` looks at with ROS: middleware, transport, camera, intrinsics, TF."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import rclpy
import tf2_ros
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import Image

from mspr_ros.cli.doctor_checks import FAILED, OK, UNCHECKED, WARNING, Check
from mspr_ros.ros.doctor_camera import CameraProbe, check_camera, check_camera_info
from mspr_ros.ros.live_run import PROFILE_VARIABLES, live_environment, profile_variable
from mspr_ros.ros.resources import shared_path
from mspr_ros.ros.source import image_qos
from mspr_ros.ros.tf_policy import ParentWatch, TfPolicy, WatchedBuffer

SENT, RATE_HZ, WIDTH, HEIGHT = 45, 30, 640, 480
SENDER_TIMEOUT_S = 60.0
LEAST_BEST_EFFORT = 0.98  # of the images between two processes

Spin = Callable[[float], None]


def live_checks(args: argparse.Namespace) -> Iterator[tuple[Check, Any, Any]]:
    """Give each check with the camera's last image (RGB) and its intrinsics, where known.

    Args:
        args: Of the command `mspr doctor`.
    """
    context = rclpy.Context()
    rclpy.init(context=context, args=[])
    node = Node("mspr_doctor", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin(seconds: float) -> None:
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left_s)

    try:
        yield _check_middleware(), None, None
        watch = ParentWatch()
        listener = tf2_ros.TransformListener(WatchedBuffer(watch), node)
        yield check_transport(node, spin), None, None
        probe = CameraProbe(node, args.image, args.camera_info, args.reliability)
        probe.find(spin, args.seconds)
        probe.listen(spin, args.seconds)
        camera_check, image = check_camera(probe)
        yield camera_check, image, None
        info_check, camera = check_camera_info(probe)
        yield info_check, image, camera
        yield check_tf(watch, probe.frame_id, args.base_frame, args.odom_frame), image, camera
        listener.unregister()
    finally:
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        context.try_shutdown()


def _check_middleware() -> Check:
    distro = os.environ.get("ROS_DISTRO", "")
    rmw = get_rmw_implementation_identifier()
    stand_ins = [module for module in ("tf2_ros", "cv_bridge") if _is_stand_in(module)]
    text = f"{distro or 'no ROS_DISTRO (wheels?)'}, {rmw}, domain {_domain()}"
    if stand_ins:
        text += f", stand-ins for {' and '.join(stand_ins)}"
    values = {"distro": distro, "rmw": rmw, "domain": _domain()}
    try:
        importlib.import_module("cv_bridge")
    except Exception as error:  # compiled against another NumPy it raises anything
        remedy = 'pip install "numpy<2" "opencv-python-headless<4.12" (see README, the NumPy trap)'
        return Check("ros", FAILED, f"{text}; cv_bridge: {error}".splitlines()[0], remedy, values)
    return Check("ros", OK, text, values=values)


def _is_stand_in(module: str) -> bool:
    try:
        return bool(getattr(__import__(module), "IS_STAND_IN", False))
    except ImportError:
        return False


def _domain() -> str:
    return os.environ.get("ROS_DOMAIN_ID", "0")


def check_transport(node: Node, spin: Spin) -> Check:
    """Send images from another process, as a camera does, and count those that come.

    Args:
        node: Listens.
        spin: Spins it for some seconds.
    """
    arrived: dict[str, int] = {}
    for reliability in ("best_effort", "reliable"):
        try:
            arrived[reliability] = _count_arrivals(node, spin, reliability)
        except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
            remedy = "no second process could talk to this one: ROS_DOMAIN_ID, firewall, RMW?"
            return Check("transport", FAILED, f"{reliability}: {error}", remedy)
    text = f"{WIDTH}x{HEIGHT} at {RATE_HZ} Hz between two processes: " + ", ".join(
        f"{name} {count} of {SENT}" for name, count in arrived.items()
    )
    profile = next((os.environ[name] for name in PROFILE_VARIABLES if os.environ.get(name)), "")
    values = {"sent": SENT, **arrived, "profile": profile}
    if arrived["reliable"] < SENT:
        remedy = "even reliable images are lost: is the CPU or the network overloaded?"
        return Check("transport", FAILED, text, remedy, values)
    if arrived["best_effort"] < LEAST_BEST_EFFORT * SENT:
        return Check("transport", WARNING, text, _loss_remedy(profile), values)
    return Check("transport", OK, text, values=values)


def _loss_remedy(profile: str) -> str:
    remedy = "`reliability: reliable` on node and camera"
    if "fastrtps" in get_rmw_implementation_identifier() and not profile:
        path = shared_path("config/fastdds_images.xml")
        remedy += f", or for every process export {profile_variable(os.environ)}={path}"
    return remedy


def _count_arrivals(node: Node, spin: Spin, reliability: str) -> int:
    topic = f"/mspr_doctor_{os.getpid()}/{reliability}"
    numbers: set[int] = set()
    subscription = node.create_subscription(
        Image,
        topic,
        lambda message: numbers.add(int(message.header.stamp.nanosec)),
        image_qos(reliability),
    )
    command = [sys.executable, "-m", "mspr_ros.ros.transport_sender", topic, reliability]
    command += [str(number) for number in (SENT, RATE_HZ, WIDTH, HEIGHT)]
    # The environment of this process, profiles and all; only ROS_DOMAIN_ID must not be made up.
    environment = {**live_environment(), "ROS_DOMAIN_ID": _domain()}
    if "ROS_AUTOMATIC_DISCOVERY_RANGE" not in os.environ:
        environment.pop("ROS_AUTOMATIC_DISCOVERY_RANGE", None)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as sender:
        try:
            deadline_s = time.monotonic() + SENDER_TIMEOUT_S
            while sender.poll() is None and time.monotonic() < deadline_s:
                spin(0.05)
            output, errors = sender.communicate(timeout=1.0)
        finally:
            sender.kill()
    spin(0.3)
    node.destroy_subscription(subscription)
    if f"sent {SENT}" not in output:
        raise RuntimeError((errors.strip().splitlines() or ["the sender said nothing"])[-1])
    return len(numbers)


def check_tf(watch: ParentWatch, camera_frame: str, base_frame: str, odom_frame: str) -> Check:
    """Look at the frames above the camera, and say what `publish_tf: auto` makes of them.

    Args:
        watch: Has listened to /tf and /tf_static.
        camera_frame: Of the images; empty if none came.
        base_frame: As the node's parameter.
        odom_frame: As the node's parameter.
    """
    if not camera_frame:
        return Check("tf", UNCHECKED, "no image has told its frame_id")
    chain = [camera_frame.lstrip("/"), *watch.ancestors(camera_frame)]
    text = " <- ".join(chain)
    for frame in chain:
        if len(watch.parents(frame)) > 1:
            parents = " and ".join(watch.parents(frame))
            return Check(
                "tf",
                FAILED,
                f"{frame} has several parents: {parents}",
                "two nodes publish it: stop one (`ros2 topic info -v /tf` names them)",
            )
    decision = TfPolicy("auto", base_frame, odom_frame, 0.0, watch).decide(camera_frame)
    assert decision is not None, "it was not told to wait for TF to settle"
    text += f"; {decision.reason}"
    if decision.is_problem:
        return Check("tf", WARNING, text, "see the reason; poses come all the same")
    if len(chain) == 1:
        remedy = f"on a robot: publish {base_frame} -> {chain[0]} (robot_state_publisher)"
        return Check("tf", WARNING, text, remedy)
    return Check("tf", OK, text)
