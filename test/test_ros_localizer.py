"""The localizer node over real DDS, with a localizer that answers at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Path as PathMessage
from rcl_interfaces.msg import Log, Parameter, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy._rclpy_pybind11 import RCLError
from rclpy.lifecycle import LifecycleNodeMixin
from ros_support import (
    CAMERA,
    COVARIANCE,
    T_MAP_CAM,
    TIMEOUT_S,
    FakeLocalizer,
    Harness,
    diagnostic_values,
    harness,
    image_message,
    info_message,
    wait_until,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from tiny import make_tiny_bundle
from visualization_msgs.msg import Marker, MarkerArray

from mspr_ros.errors import BundleError, ConfigError
from mspr_ros.geometry import covariance_at_offset, transform_from_pose
from mspr_ros.ros import localizer_node
from mspr_ros.ros.conversions import (
    compressed_from_image,
    ns_from_stamp,
    transform_from_message,
    transform_from_pose_message,
)
from mspr_ros.ros.frames import OneShot
from mspr_ros.ros.localizer_node import LocalizerNode
from mspr_ros.ros.outputs import stamped_scenes
from mspr_ros.ros.rotation import T_rotated_cam, rotated_camera

SETTLE = {"tf_settle_s": 0.2}


@pytest.fixture
def ros() -> Iterator[Harness]:
    with harness() as started:
        yield started


class Robot:
    """A localizer node, a camera for it, and everything it publishes."""

    def __init__(self, ros: Harness, factory: Any = None, **parameters: Any) -> None:
        self.ros = ros
        self.fake = FakeLocalizer()
        values = {"bundle": "some_bundle", **SETTLE, **parameters}
        self.node = LocalizerNode(
            factory or (lambda *args, **options: self.fake), **ros.parameters(values)
        )
        self.poses = ros.collect(PoseStamped, "localizer/pose")
        self.scenes = ros.collect(String, "localizer/scene")
        self.transforms = ros.collect(TFMessage, "/tf")
        self.diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
        ros.add(self.node)

    def start_camera(self, with_info: bool = True, topic: str = "image") -> None:
        wait_until(lambda: self.node.state_label == "active", "the node to be active")
        self.images = self.ros.publisher(Image, topic)
        if with_info:
            self.infos = self.ros.publisher(CameraInfo, "camera_info")
            self.infos.publish(info_message())
        # Whoever publishes here is heard here.
        for publisher in (self.node._outputs._pose, self.node._outputs._scene):
            wait_until(lambda publisher=publisher: publisher.get_subscription_count() > 0)
        tf = self.node._outputs._broadcaster.pub_tf
        wait_until(lambda: tf.get_subscription_count() > 1)  # the node hears itself too

    def send(self, stamp_ns: int, **image: Any) -> PoseStamped:
        """Send an image and wait for its pose."""
        before = len(self.poses)
        self.images.publish(image_message(stamp_ns, **image))
        wait_until(lambda: len(self.poses) > before, "the pose")
        return self.poses[-1]

    def ask(self, message: Image) -> Any:
        """Call ~/localize, then send the image it waits for."""
        client = self.ros.tester.create_client(Trigger, "localizer/localize")
        assert client.wait_for_service(timeout_sec=TIMEOUT_S)
        future = client.call_async(Trigger.Request())
        wait_until(lambda: self.node._asked.is_asked, "the request")
        self.images.publish(message)
        wait_until(future.done, "the answer of ~/localize")
        self.ros.tester.destroy_client(client)
        return future.result()

    def told(self, key: str, value: str) -> None:
        """Wait until the diagnostics say so."""
        wait_until(lambda: value in diagnostic_values(self.diagnostics).get(key, ""), f"{key}")


def change_state(ros: Harness, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return bool(ros.call(ChangeState, "localizer/change_state", request).success)


def state(ros: Harness) -> str:
    return str(ros.call(GetState, "localizer/get_state").current_state.label)


def test_an_image_gives_pose_covariance_scene_path_markers_and_tf(ros: Harness) -> None:
    robot = Robot(ros)
    with_covariance = ros.collect(PoseWithCovarianceStamped, "localizer/pose_with_covariance")
    paths = ros.collect(PathMessage, "localizer/path")
    markers = ros.collect(MarkerArray, "localizer/markers")
    robot.start_camera()
    outputs = robot.node._outputs
    for publisher in (outputs._covariance, outputs._path, outputs._markers):
        wait_until(lambda publisher=publisher: publisher.get_subscription_count() > 0)
    stamp_ns = 1_700_000_000_123_456_789
    pose = robot.send(stamp_ns)
    assert pose.header.frame_id == "map"
    assert ns_from_stamp(pose.header.stamp) == stamp_ns
    np.testing.assert_allclose(transform_from_pose_message(pose.pose), T_MAP_CAM, atol=1e-12)
    wait_until(lambda: with_covariance and paths and markers and robot.transforms)
    assert with_covariance[0].header == pose.header
    assert with_covariance[0].pose.pose == pose.pose
    np.testing.assert_allclose(np.reshape(with_covariance[0].pose.covariance, (6, 6)), COVARIANCE)
    wait_until(lambda: robot.scenes)
    assert robot.scenes[0].data == "kitchen"
    assert paths[0].poses == [pose]
    assert {marker.ns for marker in markers[0].markers} == {"camera", "scene"}
    (transform,) = robot.transforms[0].transforms
    assert transform.header == pose.header
    assert transform.child_frame_id == "camera_optical"
    np.testing.assert_allclose(transform_from_message(transform.transform), T_MAP_CAM, atol=1e-12)
    image, camera = robot.fake.asked[-1]
    assert camera == CAMERA and image.shape == (CAMERA.height, CAMERA.width, 3)
    robot.told("answered", "1")
    values = diagnostic_values(robot.diagnostics)
    assert values["calibration"] == "uncalibrated"
    assert values["pose_frame"] == "camera_optical"
    assert values["bundle_hash"] == robot.fake.content_hash
    assert float(values["latency_network_p50_ms"]) == pytest.approx(2.0)
    assert float(values["latency_postprocess_p50_ms"]) == pytest.approx(0.5)
    assert "latency_wait_p99_ms" in values and "latency_publish_p95_ms" in values


def test_a_burst_is_answered_with_the_newest_and_the_counts_add_up(ros: Harness) -> None:
    robot = Robot(ros, reliability="reliable")
    robot.start_camera()
    robot.send(1)
    num_asked = len(robot.fake.asked)
    robot.fake.gate.clear()
    robot.images.publish(image_message(2))
    wait_until(lambda: len(robot.fake.asked) > num_asked)  # in work: it cannot be dropped any more
    for stamp_ns in range(3, 8):  # no more than the subscription's depth at once
        robot.images.publish(image_message(stamp_ns))
        wait_until(lambda n=stamp_ns: robot.node._worker.counts.received == n)
    robot.fake.gate.set()
    wait_until(lambda: len(robot.poses) == 3)
    assert [ns_from_stamp(pose.header.stamp) for pose in robot.poses] == [1, 2, 7]
    robot.told("received", "7")
    robot.told("dropped", "4")
    robot.told("processed", "3")


def test_bad_images_are_counted_and_told_and_the_next_good_one_is_answered(ros: Harness) -> None:
    robot = Robot(ros)
    robot.start_camera()
    good = image_message(1)
    bad = [
        {"encoding": "nonsense"},
        {"encoding": "32FC1"},
        {"height": good.height + 1},
        {"step": 1},
        {"data": []},
        {"width": 0, "height": 0},
        {"width": good.width // 2, "step": good.step},  # not what camera_info says
    ]
    for count, changes in enumerate(bad, start=1):
        message = image_message(count)
        for name, value in changes.items():
            setattr(message, name, value)
        robot.images.publish(message)
        wait_until(lambda n=count: robot.node._statistics.num_malformed == n, str(changes))
    assert robot.poses == []
    robot.send(100)
    robot.told("malformed", str(len(bad)))
    robot.told("message", "camera_info is 64x48 but the image 32x48")
    assert diagnostic_values(robot.diagnostics)["level"] == "1"


def test_a_bad_camera_info_is_counted_and_told(ros: Harness) -> None:
    robot = Robot(ros)
    robot.start_camera()
    info = info_message()
    info.distortion_model, info.d = "magic", [0.1, 0.2]
    robot.infos.publish(info)
    robot.told("last_malformed", "magic")
    assert robot.node.state_label == "active"


def test_without_camera_info_images_are_used_after_a_grace_period(ros: Harness) -> None:
    robot = Robot(ros)
    robot.start_camera(with_info=False)
    robot.send(1)
    assert robot.fake.asked[-1][1] is None


def test_compressed_images_are_answered(ros: Harness) -> None:
    robot = Robot(ros, image_transport="compressed")
    wait_until(lambda: robot.node.state_label == "active")
    images = ros.publisher(CompressedImage, "image/compressed")
    ros.publisher(CameraInfo, "camera_info").publish(info_message())
    message = compressed_from_image(np.full((48, 64, 3), 90, np.uint8))
    message.header = image_message(5).header
    images.publish(message)
    wait_until(lambda: robot.poses)
    message.data = message.data[:50]
    images.publish(message)
    wait_until(lambda: robot.node._statistics.num_malformed == 1)


def test_a_rejected_frame_gives_no_pose_no_tf_and_an_unknown_scene(ros: Harness) -> None:
    robot = Robot(ros, min_confidence=0.9)
    robot.start_camera()
    robot.images.publish(image_message(1))
    wait_until(lambda: robot.scenes)
    assert robot.scenes[0].data == "unknown"
    robot.told("last_rejection", "confidence is too low")
    robot.told("rejected", "1")
    value = ParameterValue(type=3, double_value=0.1)
    request = SetParameters.Request(parameters=[Parameter(name="min_confidence", value=value)])
    assert ros.call(SetParameters, "localizer/set_parameters", request).results[0].successful
    robot.send(2)
    assert len(robot.poses) == 1
    wait_until(lambda: robot.transforms)
    assert [ns_from_stamp(m.transforms[0].header.stamp) for m in robot.transforms] == [2]


def test_base_frame_pose_and_covariance_carry_the_lever_arm(ros: Harness) -> None:
    T_base_cam = transform_from_pose((0.3, 0.1, 1.2), (-0.5, 0.5, -0.5, 0.5))
    robot = Robot(ros)
    with_covariance = ros.collect(PoseWithCovarianceStamped, "localizer/pose_with_covariance")
    wait_until(lambda: robot.node.state_label == "active")
    ros.send_static_tf(("base_link", "camera_optical"), T=T_base_cam)
    wait_until(lambda: robot.node._pipeline._policy._watch.ancestors("camera_optical"))
    robot.start_camera()
    wait_until(lambda: robot.node._outputs._covariance.get_subscription_count() > 0)
    pose = robot.send(9)
    T_map_base = T_MAP_CAM @ np.linalg.inv(T_base_cam)
    np.testing.assert_allclose(transform_from_pose_message(pose.pose), T_map_base, atol=1e-9)
    wait_until(lambda: with_covariance and robot.transforms)
    expected = covariance_at_offset(COVARIANCE, T_map_base[:3, 3] - T_MAP_CAM[:3, 3])
    np.testing.assert_allclose(
        np.reshape(with_covariance[0].pose.covariance, (6, 6)), expected, atol=1e-12
    )
    assert not np.allclose(expected, COVARIANCE)
    assert robot.transforms[0].transforms[0].child_frame_id == "base_link"
    robot.told("pose_frame", "base_link")


@pytest.mark.parametrize(
    ("mode", "links", "says"),
    [
        ("none", [], "publish_tf is none"),
        ("map_to_camera", [("mount", "camera_optical")], "second"),
    ],
)
def test_where_nothing_may_go_to_tf_poses_still_come(
    ros: Harness, mode: str, links: list[tuple[str, str]], says: str
) -> None:
    robot = Robot(ros, publish_tf=mode)
    wait_until(lambda: robot.node.state_label == "active")
    if links:
        ros.send_static_tf(*links)
        wait_until(lambda: robot.node._pipeline._policy._watch.ancestors("camera_optical"))
    robot.start_camera()
    pose = robot.send(1)
    np.testing.assert_allclose(transform_from_pose_message(pose.pose), T_MAP_CAM, atol=1e-9)
    robot.told("publish_tf", says)
    assert robot.transforms == []


def test_a_second_parent_that_appears_later_stops_tf(ros: Harness) -> None:
    robot = Robot(ros, publish_tf="map_to_camera")
    robot.start_camera()
    robot.send(1)
    wait_until(lambda: len(robot.transforms) == 1)
    ros.send_static_tf(("mount", "camera_optical"))
    wait_until(lambda: robot.node._pipeline._policy._watch.parents("camera_optical"))
    robot.send(2)
    robot.told("message", "already has the parent mount")
    assert len(robot.transforms) == 1


def test_map_to_base_without_a_transform_is_a_rejection_that_says_so(ros: Harness) -> None:
    robot = Robot(ros, publish_tf="map_to_base")
    robot.start_camera()
    robot.images.publish(image_message(1))
    wait_until(lambda: robot.scenes)
    assert robot.scenes[0].data == "unknown"
    robot.told("last_rejection", "no transform from base_link to camera_optical")


def test_images_without_frame_or_stamp_are_answered_but_not_on_tf(ros: Harness) -> None:
    robot = Robot(ros, publish_tf="map_to_camera")
    robot.start_camera()
    robot.send(0)
    robot.told("publish_tf", "no stamp")
    robot.infos.publish(info_message(frame_id=""))
    robot.send(5, frame_id="")
    robot.told("publish_tf", "no frame_id")
    assert robot.transforms == []


def test_map_frame_renames_the_default_one_only(ros: Harness) -> None:
    robot = Robot(ros, map_frame="world")
    robot.start_camera()
    assert robot.send(1).header.frame_id == "world"
    robot.fake.answer["map_frame"] = "street_map"
    assert robot.send(2).header.frame_id == "street_map"


def test_a_turned_camera_gives_its_own_pose(ros: Harness) -> None:
    robot = Robot(ros, image_rotation_deg=90)
    robot.start_camera()
    pose = robot.send(1)
    image, camera = robot.fake.asked[-1]
    assert image.shape == (CAMERA.width, CAMERA.height, 3)
    assert camera == rotated_camera(CAMERA, 90)
    np.testing.assert_allclose(
        transform_from_pose_message(pose.pose), T_MAP_CAM @ T_rotated_cam(90), atol=1e-9
    )


def test_a_rectified_topic_takes_p_without_distortion(ros: Harness) -> None:
    robot = Robot(ros)
    robot.node.leave()
    arguments = ros.parameters({"bundle": "b", **SETTLE})
    arguments["cli_args"] = ["--ros-args", "-r", "image:=/camera/image_rect"]
    robot.node = LocalizerNode(lambda *a, **o: robot.fake, **arguments)
    ros.add(robot.node)
    wait_until(lambda: robot.node.state_label == "active")
    robot.images = ros.publisher(Image, "/camera/image_rect")
    info = info_message()
    info.d, info.p[0] = [0.1, 0.2, 0.0, 0.0, 0.0], 44.0
    ros.publisher(CameraInfo, "camera_info").publish(info)
    robot.send(1)
    camera = robot.fake.asked[-1][1]
    assert camera.fx == 44.0 and not camera.is_distorted


def test_every_transition_and_every_double_one(ros: Harness) -> None:
    robot = Robot(ros, autostart=False)
    steps = [
        (Transition.TRANSITION_ACTIVATE, False, "unconfigured"),
        (Transition.TRANSITION_CLEANUP, False, "unconfigured"),
        (Transition.TRANSITION_CONFIGURE, True, "inactive"),
        (Transition.TRANSITION_CONFIGURE, False, "inactive"),
        (Transition.TRANSITION_DEACTIVATE, False, "inactive"),
        (Transition.TRANSITION_ACTIVATE, True, "active"),
        (Transition.TRANSITION_ACTIVATE, False, "active"),
        (Transition.TRANSITION_CONFIGURE, False, "active"),
        (Transition.TRANSITION_DEACTIVATE, True, "inactive"),
        (Transition.TRANSITION_CLEANUP, True, "unconfigured"),
        (Transition.TRANSITION_CONFIGURE, True, "inactive"),
        (Transition.TRANSITION_ACTIVATE, True, "active"),
    ]
    for transition, succeeds, after in steps:
        assert change_state(ros, transition) is succeeds, (transition, after)
        assert state(ros) == after
    robot.start_camera()
    robot.send(1)
    assert change_state(ros, Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert state(ros) == "finalized"
    assert robot.node._worker is robot.node._pipeline is robot.node._outputs is None
    assert not change_state(ros, Transition.TRANSITION_CONFIGURE)
    topics = dict(robot.node.get_publisher_names_and_types_by_node("localizer", "/"))
    assert "/localizer/pose" not in topics and "/tf" not in topics


def test_an_inactive_node_is_silent(ros: Harness) -> None:
    robot = Robot(ros)
    robot.start_camera()
    robot.send(1)
    assert change_state(ros, Transition.TRANSITION_DEACTIVATE)
    robot.images.publish(image_message(2))
    assert not ros.call(Trigger, "localizer/localize").success
    assert change_state(ros, Transition.TRANSITION_ACTIVATE)
    robot.send(3)
    assert [ns_from_stamp(pose.header.stamp) for pose in robot.poses] == [1, 3]


@pytest.mark.parametrize("damage", ["missing", "damaged weights", "damaged json"])
def test_a_missing_or_damaged_bundle_fails_configure_with_one_line(
    ros: Harness, tmp_path: Path, damage: str
) -> None:
    from mspr_ros.localizer import Localizer

    bundle = tmp_path / "bundle"
    if damage != "missing":
        make_tiny_bundle(bundle)
        name = "weights.safetensors" if damage == "damaged weights" else "bundle.json"
        (bundle / name).write_bytes((bundle / name).read_bytes()[:1000])
    robot = Robot(ros, factory=Localizer.load, bundle=str(bundle))
    robot.told("message", "cannot configure: ")
    values = diagnostic_values(robot.diagnostics)
    assert values["level"] == "2" and values["state"] == "unconfigured"
    assert str(bundle) in values["message"] and "\n" not in values["message"]
    assert state(ros) == "unconfigured"
    make_tiny_bundle(tmp_path / "good")
    value = ParameterValue(type=4, string_value=str(tmp_path / "good"))
    request = SetParameters.Request(parameters=[Parameter(name="bundle", value=value)])
    assert ros.call(SetParameters, "localizer/set_parameters", request).results[0].successful
    assert change_state(ros, Transition.TRANSITION_CONFIGURE)
    assert change_state(ros, Transition.TRANSITION_ACTIVATE)
    robot.start_camera()
    assert robot.send(1).header.frame_id == "map"
    assert robot.scenes[-1].data in ("kitchen", "office")


def test_reload_swaps_the_bundle_and_a_bad_one_leaves_the_old(ros: Harness) -> None:
    robot = Robot(ros)
    robot.start_camera()
    robot.send(1)
    other = FakeLocalizer(scene="office")
    other.content_hash = "second"
    robot.node._loader.factory = lambda *args, **options: other
    answer = ros.call(Trigger, "localizer/reload")
    assert answer.success and "second" in answer.message
    assert len(robot.node._outputs._trail.path().poses) == 1
    robot.send(2)
    # The way so far was in another bundle's map, and in another scene.
    assert len(robot.node._outputs._trail.path().poses) == 1

    def broken(*args: Any, **options: Any) -> Any:
        raise BundleError("weights are damaged")

    robot.node._loader.factory = broken
    answer = ros.call(Trigger, "localizer/reload")
    assert not answer.success and "weights are damaged" in answer.message
    robot.send(3)
    wait_until(lambda: len(robot.scenes) == 3)
    assert [scene.data for scene in robot.scenes] == ["kitchen", "office", "office"]
    robot.told("message", "the old bundle goes on")


def test_another_bundle_takes_back_what_followed_from_the_old_ones_map(ros: Harness) -> None:
    robot = Robot(ros)
    robot.start_camera()
    robot.send(1)
    began: list[str] = []
    restart = robot.node._pipeline.tf_outputs.restart
    robot.node._pipeline.tf_outputs.restart = lambda: began.append("anew") or restart()
    assert ros.call(Trigger, "localizer/reload").success  # the same bundle
    robot.send(2)
    assert not began
    # In another building the new bundle knows nothing of what it sees.
    other = FakeLocalizer(accepted=False, rejection="another place", scene="unknown")
    other.content_hash = "second"
    robot.node._loader.factory = lambda *args, **options: other
    assert ros.call(Trigger, "localizer/reload").success
    robot.images.publish(image_message(3))
    wait_until(lambda: robot.scenes and robot.scenes[-1].data == "unknown")
    assert began == ["anew"]


def test_an_image_that_is_done_after_deactivation_is_not_told(
    ros: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localizer_node, "STOP_TIMEOUT_S", 0.1)
    robot = Robot(ros, publish_tf="map_to_camera")
    robot.start_camera()
    robot.send(1)
    robot.fake.gate.clear()
    robot.images.publish(image_message(2))
    wait_until(lambda: len(robot.fake.asked) == 3, "the network to be asked")
    late = robot.node._worker
    assert change_state(ros, Transition.TRANSITION_DEACTIVATE)
    told = len(robot.transforms)
    robot.fake.gate.set()
    wait_until(lambda: late.counts.processed == 2, "the late image")
    assert change_state(ros, Transition.TRANSITION_ACTIVATE)
    robot.send(3)
    stamps = [ns_from_stamp(m.transforms[0].header.stamp) for m in robot.transforms[told:]]
    assert 2 not in stamps
    assert len(robot.poses) == 2


def test_rclpy_before_kilted_raises_where_a_transition_is_not_possible(
    ros: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = Robot(ros)
    robot.start_camera()

    def raise_it(self: Any, transition: int) -> Any:
        raise RCLError("Failed to trigger lifecycle state machine transition")

    monkeypatch.setattr(LifecycleNodeMixin, "_LifecycleNodeMixin__change_state", raise_it)
    assert not change_state(ros, Transition.TRANSITION_CONFIGURE)
    monkeypatch.undo()
    robot.send(1)  # the executor lives on


def test_localize_answers_the_next_image_at_once(ros: Harness) -> None:
    robot = Robot(ros, max_rate_hz=0.01)
    robot.start_camera()
    robot.send(1)
    robot.images.publish(image_message(2))  # waits for the next hundred seconds
    wait_until(lambda: robot.node._worker.counts.received == 2)
    answer = robot.ask(image_message(3))
    assert answer.success
    assert "camera_optical in map: x 1.000 y 2.000 z 3.000" in answer.message
    wait_until(lambda: len(robot.poses) == 2)
    assert [ns_from_stamp(pose.header.stamp) for pose in robot.poses] == [1, 3]


def test_localize_says_when_the_camera_is_dead(
    ros: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localizer_node, "LOCALIZE_TIMEOUT_S", 0.3)
    robot = Robot(ros)
    robot.start_camera()
    robot.send(1)  # long ago: the robot may be elsewhere now
    answer = ros.call(Trigger, "localizer/localize")
    assert not answer.success and answer.message == "no image came on /image within 0.3 s"
    assert len(robot.poses) == 1


def test_localize_on_an_answered_image_gives_its_pose_anew_but_tf_only_once(
    ros: Harness,
) -> None:
    robot = Robot(ros)
    robot.start_camera()
    robot.send(1)
    assert robot.ask(image_message(1)).success
    robot.send(2)
    wait_until(lambda: len(robot.poses) == 3 and len(robot.transforms) >= 2)
    assert [ns_from_stamp(pose.header.stamp) for pose in robot.poses] == [1, 1, 2]
    # TF keeps its order: a second one of stamp 1 would have come before that of stamp 2.
    assert [ns_from_stamp(m.transforms[0].header.stamp) for m in robot.transforms] == [1, 2]


def test_a_scene_set_at_run_time_waits_for_reload_and_says_so(ros: Harness) -> None:
    asked = []

    def factory(*args: Any, **options: Any) -> FakeLocalizer:
        asked.append(options["scene"])
        return FakeLocalizer()

    robot = Robot(ros, factory)
    logs = ros.collect(Log, "/rosout", latched=True)
    wait_until(lambda: robot.node.state_label == "active")
    value = ParameterValue(type=4, string_value="office")
    request = SetParameters.Request(parameters=[Parameter(name="scene", value=value)])
    (result,) = ros.call(SetParameters, "localizer/set_parameters", request).results
    assert result.successful and asked == [""]
    wait_until(lambda: any("scene: takes effect at" in log.msg for log in logs))
    described = DescribeParameters.Request(names=["scene"])
    (scene,) = ros.call(DescribeParameters, "localizer/describe_parameters", described).descriptors
    assert "Read at configure and by ~/reload" in scene.description
    assert ros.call(Trigger, "localizer/reload").success
    assert asked == ["", "office"]


def test_every_image_without_a_pose_takes_the_markers_away_under_its_stamp(ros: Harness) -> None:
    robot = Robot(ros, min_confidence=0.5)
    markers = ros.collect(MarkerArray, "localizer/markers")
    robot.start_camera()
    wait_until(lambda: robot.node._outputs._markers.get_subscription_count() > 0)
    robot.send(1)
    robot.fake.answer["confidence"] = 0.4
    robot.images.publish(image_message(2))
    wait_until(lambda: len(markers) == 2)
    malformed = image_message(3)
    malformed.encoding = "nonsense"
    robot.images.publish(malformed)
    wait_until(lambda: len(markers) == 3)
    robot.fake.answer["nonsense"] = 1  # PoseEstimate refuses it
    robot.images.publish(image_message(4))
    wait_until(lambda: len(markers) == 4)
    told = {stamp: scene for array in markers for stamp, scene in stamped_scenes(array).items()}
    assert told == {1: "kitchen", 2: "unknown", 3: "unknown", 4: "unknown"}
    for array in markers[1:]:
        assert {(marker.ns, marker.action) for marker in array.markers} == {
            ("camera", Marker.DELETE),
            ("scene", Marker.DELETE),
        }
    wait_until(lambda: len(robot.scenes) == 4)
    assert len(robot.poses) == 1


def test_an_error_in_the_network_is_counted_and_the_node_lives_on(ros: Harness) -> None:
    robot = Robot(ros)
    robot.start_camera()
    robot.fake.answer["nonsense"] = 1  # PoseEstimate refuses it
    robot.images.publish(image_message(1))
    wait_until(lambda: robot.node._worker.counts.failed == 1)
    robot.fake.answer.clear()
    robot.send(2)


def test_parameters_are_refused_with_the_reason(ros: Harness) -> None:
    with pytest.raises(ConfigError, match=r"max_rate_hz.*within.*unknown parameter 'bundel'"):
        LocalizerNode(**ros.parameters({"max_rate_hz": -1.0, "bundel": "x"}))
    Robot(ros, autostart=False)
    values = {
        "max_rate_hz": ParameterValue(type=2, integer_value=5),  # an integer for a float
        "min_confidence": ParameterValue(type=3, double_value=1.5),
        "device": ParameterValue(type=4, string_value="cpu"),
        "nonsense": ParameterValue(type=4, string_value="x"),
    }
    parameters = [Parameter(name=name, value=value) for name, value in values.items()]
    request = SetParameters.Request(parameters=parameters)
    results = ros.call(SetParameters, "localizer/set_parameters", request).results
    assert [result.successful for result in results] == [True, False, False, False]
    assert "1.5" in results[1].reason
    assert "read-only" in results[2].reason
    assert results[3].reason
    described = DescribeParameters.Request(names=["min_confidence", "device"])
    rate, device = ros.call(
        DescribeParameters, "localizer/describe_parameters", described
    ).descriptors
    assert rate.floating_point_range[0].to_value == 1.0
    assert device.read_only and device.description


def test_two_who_ask_at_once_both_get_an_answer() -> None:
    asked, answers = OneShot(), []
    askers = [
        threading.Thread(
            target=lambda: answers.append(asked.ask(TIMEOUT_S, lambda: True, "/image"))
        )
        for _ in range(2)
    ]
    for asker in askers:
        asker.start()
    for number in range(2):
        wait_until(lambda: asked.is_asked, "somebody who asks")
        reply = asked.take()
        assert reply is not None
        reply.put((True, f"image {number}"))
    for asker in askers:
        asker.join(TIMEOUT_S)
    assert sorted(answers) == [(True, "image 0"), (True, "image 1")]


def test_the_network_takes_no_more_threads_than_it_may(ros: Harness) -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        torch.set_num_threads(2)
        Robot(ros, num_threads=1).start_camera()
        # Threads that torch knows already keep what they have; the worker is a new one.
        with ThreadPoolExecutor() as pool:
            assert pool.submit(torch.get_num_threads).result() == 1
        assert cv2.getNumThreads() == 1
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def test_a_node_taken_down_while_somebody_waits_for_an_image_comes_up_again(ros: Harness) -> None:
    robot = Robot(ros)
    robot.start_camera()
    client = ros.tester.create_client(Trigger, "localizer/localize")
    assert client.wait_for_service(timeout_sec=TIMEOUT_S)
    client.call_async(Trigger.Request())
    wait_until(lambda: robot.node._asked.is_asked, "the request")
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        assert change_state(ros, transition)
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert change_state(ros, transition)
    robot.start_camera()

    def is_answered() -> bool:
        robot.images.publish(image_message(7))
        time.sleep(0.1)
        return bool(robot.poses)

    wait_until(is_answered, "a pose")
    assert robot.ask(image_message(8)).success
