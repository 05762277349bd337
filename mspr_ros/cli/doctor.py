"""`mspr doctor`: look at everything the node depends on, and say what to do about it."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mspr_ros.cli.doctor_checks import Check

ROS_CHECKS = ("ros", "transport", "camera", "camera_info", "tf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("bundle", type=Path, nargs="?", help="default: the demo bundle")
    parser.add_argument("--image", default="", help="the camera's topic; default: the only one")
    parser.add_argument(
        "--camera-info", default="", help="its intrinsics; default: beside the images"
    )
    parser.add_argument(
        "--reliability",
        choices=("best_effort", "reliable"),
        default="best_effort",
        help="what the node's parameter says",
    )
    parser.add_argument("--base-frame", default="base_link", help="as the node's parameter")
    parser.add_argument("--odom-frame", default="odom", help="as the node's parameter")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to listen")
    parser.add_argument("--no-ros", action="store_true", help="leave out what needs ROS")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print a line for each check; fail if one does."""
    from mspr_ros.cli.doctor_checks import FAILED, OK, check_answer, check_python, check_torch
    from mspr_ros.cli.main import write_json
    from mspr_ros.errors import ConfigError, MsprError

    if not args.seconds > 0:
        raise ConfigError(f"--seconds must be positive, got {args.seconds}")
    checks = [_told(check_python()), _told(check_torch())]
    localizer = None
    if checks[-1].level == OK:
        for check, found in _check_network(args):
            checks.append(_told(check))
            localizer = found
    image_and_camera = None, None
    for check, *seen in _check_ros(args):
        checks.append(_told(check))
        image_and_camera = seen
    checks.append(_told(check_answer(localizer, *image_and_camera)))
    counts = {level: sum(check.level == level for check in checks) for level in _SIGNS}
    print(", ".join(f"{count} {level}" for level, count in counts.items() if count))
    result = {"counts": counts, "checks": [asdict(check) for check in checks]}
    if counts[FAILED]:
        if args.json is not None:  # the report is wanted then most of all
            write_json(args.json, result)
        names = ", ".join(check.name for check in checks if check.level == FAILED)
        raise MsprError(f"failed: {names}")
    return result


def _check_network(args: argparse.Namespace) -> Any:
    from mspr_ros.cli.doctor_checks import FAILED, Check, check_bundle, check_cuda
    from mspr_ros.errors import MsprError
    from mspr_ros.ros.resources import shared_path

    cuda = check_cuda(args.device)
    yield cuda, None
    device = args.device if cuda.level != FAILED else "cpu"
    try:
        bundle = args.bundle or shared_path("models/demo")
    except MsprError as error:
        yield Check("bundle", FAILED, str(error), "give a bundle: mspr doctor BUNDLE"), None
        return
    yield check_bundle(bundle, device)


def _check_ros(args: argparse.Namespace) -> Any:
    from mspr_ros.cli.doctor_checks import FAILED, UNCHECKED, Check

    if args.no_ros:
        reason, remedy, level = "--no-ros", "", UNCHECKED
    else:
        try:
            from mspr_ros.ros.doctor_live import live_checks
        except ImportError as error:
            module = (error.name or "").split(".")[0]
            reason = f"{error}".splitlines()[0]
            remedy = "source /opt/ros/DISTRO/setup.bash (or run `make setup` for the wheels)"
            level = UNCHECKED
            if module not in ("rclpy", "ament_index_python", ""):
                remedy = f"{module} is missing: rosdep install --from-paths src --ignore-src -y"
                level = FAILED
        else:
            yield from live_checks(args)
            return
    yield Check(ROS_CHECKS[0], level, f"not there: {reason}", remedy), None, None
    for name in ROS_CHECKS[1:]:
        yield Check(name, UNCHECKED, "needs ROS 2"), None, None


_SIGNS = {
    "ok": "ok       ",
    "warning": "warning  ",
    "failed": "FAILED   ",
    "unchecked": "unchecked",
}


def _told(check: Check) -> Check:
    print(f"{_SIGNS[check.level]}  {check.name:<12} {check.text}", flush=True)
    if check.remedy:
        print(f"{'':<11}{'':<13} -> {check.remedy}", flush=True)
    return check
