"""`mspr doctor` names what is wrong with a machine, a bundle or a camera, and the remedy."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_support import Harness, harness, header, image_message, info_message, wait_until
from sensor_msgs.msg import CameraInfo, Image
from tiny import make_tiny_bundle

from mspr_ros.cli.doctor_checks import Check, check_answer, check_bundle, check_cuda
from mspr_ros.cli.main import main
from mspr_ros.ros import doctor_live
from mspr_ros.ros.doctor_camera import CameraProbe, check_camera, check_camera_info
from mspr_ros.ros.tf_policy import ParentWatch


@pytest.fixture
def ros() -> Iterator[Harness]:
    with harness() as started:
        yield started


def test_without_ros_it_says_what_it_cannot_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    for name in [name for name in sys.modules if name.startswith("mspr_ros.ros.doctor_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("mspr_ros.ros.doctor_live", raising=False)
    monkeypatch.setitem(sys.modules, "rclpy", None)  # `import rclpy` fails
    report = tmp_path / "report.json"
    command = ["doctor", str(bundle), "--device", "cpu", "--json", str(report)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "source /opt/ros/DISTRO/setup.bash" in printed
    checks = {check["name"]: check for check in json.loads(report.read_text())["checks"]}
    assert [name for name, check in checks.items() if check["level"] == "unchecked"] == [
        *("ros", "transport", "camera", "camera_info", "tf")
    ]
    assert checks["python"]["level"] == checks["torch"]["level"] == checks["answer"]["level"]
    assert "a grey picture" in checks["answer"]["text"]
    assert checks["bundle"]["values"]["scenes"] == ["kitchen", "office"]


def test_a_failed_check_gives_status_1_and_the_report_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    command = ["doctor", str(tmp_path), "--no-ros", "--device", "cpu", "--json", str(report)]
    assert main(command) == 1
    captured = capsys.readouterr()
    assert captured.err == "mspr doctor: failed: bundle\n"
    assert "RUN/bundle" in captured.out  # the remedy
    result = json.loads(report.read_text())
    assert result["counts"]["failed"] == 1
    levels = {check["name"]: check["level"] for check in result["checks"]}
    assert (levels["bundle"], levels["answer"]) == ("failed", "unchecked")


def test_a_network_that_breaks_fails_the_answer(tmp_path: Path) -> None:
    check, localizer = check_bundle(make_tiny_bundle(tmp_path / "bundle"), "cpu")
    assert check.level == "warning" and "uncalibrated" in check.text
    assert check_answer(localizer).level == "ok"
    localizer.network.position_centroids.fill_(float("nan"))
    broken = check_answer(localizer)
    assert broken.level == "failed" and "train or copy anew" in broken.remedy
    localizer.preprocessor = None
    assert "AttributeError" in check_answer(localizer).text


def test_a_gpu_that_is_wanted_but_not_there_fails_and_otherwise_warns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert check_cuda("cpu").level == "ok"
    assert check_cuda("auto").level == "warning"
    assert check_cuda("cuda").level == "failed"
    assert check_cuda("cuda").remedy


class Camera:
    """A camera that publishes on until it is stopped."""

    def __init__(self, ros: Harness, reliability: ReliabilityPolicy) -> None:
        qos = QoSProfile(depth=5, reliability=reliability)
        self.node = Node("driver", context=ros.context, namespace="/front")
        self.images = self.node.create_publisher(Image, "image_raw", qos)
        self.infos = self.node.create_publisher(CameraInfo, "camera_info", qos)
        self.image: Any = image_message(1)
        self.info: Any = info_message()
        self.node.create_timer(0.03, self._send)
        ros.add(self.node)

    def _send(self) -> None:
        if self.image is not None:
            if self.image.header.stamp.nanosec != 0:
                self.image.header.stamp = self.node.get_clock().now().to_msg()
            self.images.publish(self.image)
        if self.info is not None:
            self.infos.publish(self.info)


def examine(ros: Harness, **options: str) -> tuple[CameraProbe, Check, Check]:
    values = {"image_topic": "", "info_topic": "", "reliability": "best_effort", **options}
    probe = CameraProbe(ros.tester, **values)
    probe.find(time.sleep, 10.0)

    def spin(seconds: float) -> None:  # until it has heard enough, not by the clock
        wait_until(lambda: probe.num_images >= 3)

    probe.listen(spin, 1.0)
    camera_check, _ = check_camera(probe)
    return probe, camera_check, check_camera_info(probe)[0]


def test_a_good_camera_is_found_and_told(ros: Harness) -> None:
    camera = Camera(ros, ReliabilityPolicy.BEST_EFFORT)
    wait_until(lambda: ros.tester.get_publishers_info_by_topic("/front/camera_info"))
    probe, image, info = examine(ros)
    assert image.level == "ok", image
    assert "/front/image_raw from /front/driver, best_effort; 64x48 rgb8" in image.text
    assert probe.frame_id == "camera_optical"
    wait_until(lambda: probe.info_topic == "/front/camera_info")
    assert info.level in ("ok", "warning")
    refused = examine(ros, reliability="reliable")[1]
    assert refused.level == "failed" and "leave `reliability: best_effort`" in refused.remedy
    assert camera.node.get_name() == "driver"


@pytest.mark.parametrize(
    ("change", "which", "level", "says"),
    [
        ({"encoding": "32FC1"}, "image", "failed", "32FC1"),
        ({"header": header(1, "")}, "image", "warning", "frame_id"),
        ({"header": header(0)}, "image", "warning", "no stamp"),
        ({"header": header(1, "other")}, "info", "failed", "frame 'camera_optical'"),
        ({"width": 128}, "info", "failed", "the images are 64x48"),
        ({"k": [0.0] * 9}, "info", "warning", "not calibrated"),
        ({"distortion_model": "magic", "d": [1.0, 2.0]}, "info", "failed", "magic"),
        ({"k": [50.0, 0.0, 90.0, 0.0, 50.0, 23.5, 0.0, 0.0, 1.0]}, "info", "failed", "outside"),
        (None, "info", "warning", "only resized"),
    ],
)
def test_what_is_wrong_with_a_camera_is_named(
    change: dict[str, Any] | None, which: str, level: str, says: str
) -> None:
    """On the messages themselves: how they come over DDS is tested above."""
    image, info = image_message(1), info_message()
    stamp_ns = time.time_ns()
    image.header = header(stamp_ns)
    for name, value in (change or {}).items():
        is_of_image = which == "image" or name == "header"
        setattr(image if is_of_image else info, name, value)
    probe = CameraProbe(None, "/cam/image_raw", "/cam/camera_info", "best_effort")  # type: ignore[arg-type]
    probe.image_type = "sensor_msgs/msg/Image"
    probe.images, probe.num_images, probe.ages_s = [image], 5, [0.01]
    probe.infos = [] if change is None else [info]
    check = check_camera(probe)[0] if which == "image" else check_camera_info(probe)[0]
    assert check.level == level, check
    assert says in f"{check.text} {check.remedy}"
    assert check.remedy


def test_a_camera_that_is_not_there_is_told_as_the_user_asked_for_it() -> None:
    probe = CameraProbe(None, "", "", "best_effort")  # type: ignore[arg-type]
    assert check_camera(probe)[0].level == "unchecked"
    probe.candidates = ["/a/image", "/b/image"]
    assert "/a/image, /b/image" in check_camera(probe)[0].text
    probe = CameraProbe(None, "/cam", "", "best_effort")  # type: ignore[arg-type]
    assert check_camera(probe)[0].level == "failed"
    assert check_camera_info(probe)[0].level == "unchecked"


def test_tf_tells_the_chain_and_what_auto_makes_of_it() -> None:
    def tf(*links: tuple[str, str], camera: str = "cam") -> Check:
        watch = ParentWatch()
        for parent, child in links:
            watch.note(parent, child)
        return doctor_live.check_tf(watch, camera, "base_link", "odom")

    assert tf(camera="").level == "unchecked"
    alone = tf()
    assert alone.level == "warning" and "robot_state_publisher" in alone.remedy
    robot = tf(("odom", "base_link"), ("base_link", "cam"))
    assert robot.level == "ok"
    assert robot.text.startswith("cam <- base_link <- odom; auto: map_to_odom")
    with_amcl = tf(("map", "odom"), ("odom", "base_link"), ("base_link", "cam"))
    assert with_amcl.level == "warning" and "already has the parent map" in with_amcl.text
    torn = tf(("odom", "base_link"), ("base_link", "cam"), ("mount", "cam"))
    assert torn.level == "failed" and "base_link and mount" in torn.text


@pytest.mark.slow
def test_transport_counts_images_of_another_process(
    ros: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_live, "SENT", 5)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(ros.context.get_domain_id()))
    for name in doctor_live.PROFILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    check = doctor_live.check_transport(ros.tester, time.sleep)
    assert check.values is not None and check.values["reliable"] == 5
    assert check.level in ("ok", "warning"), check  # best effort is this machine's affair
    if check.level == "warning":
        assert "reliability: reliable" in check.remedy
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert doctor_live.check_transport(ros.tester, time.sleep).level == "failed"
    assert os.environ["ROS_DOMAIN_ID"]
