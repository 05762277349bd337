"""`map -> odom`, planar bases and `initialpose`: the mathematics alone, then over real DDS."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter
from ros_support import COVARIANCE, Harness, harness, image_message, wait_until
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation
from test_ros_localizer import Robot, change_state
from tf2_msgs.msg import TFMessage
from tiny import make_tiny_bundle

from mspr_ros.geometry import (
    covariance_at_offset,
    interpolate_poses,
    invert_transform,
    quat_xyzw_from_rotation,
    transform_from_pose,
)
from mspr_ros.localizer import Localizer
from mspr_ros.ros.conversions import (
    message_from_transform,
    ns_from_stamp,
    stamp_from_ns,
    transform_from_message,
    transform_from_pose_message,
)
from mspr_ros.ros.correction import (
    FLOOR_VARIANCE,
    IncreasingStamps,
    LostWatch,
    TiltError,
    map_to_odom,
    planar_covariance,
    planar_map_to_odom,
    planar_transform,
    yaw_rad,
)
from mspr_ros.ros.tf_lookup import TfUnavailable
from mspr_ros.ros.tf_worker import TfJob, TfWorker

MS, S = 1_000_000, 1_000_000_000
# A camera 1.2 m up, looking ahead and a little down, off the middle of the robot.
T_BASE_CAM = transform_from_pose((0.3, 0.1, 1.2), (-0.53, 0.53, -0.47, 0.47))


def pose_of(x: float, y: float, yaw: float, z: float = 0.0, roll: float = 0.0) -> Any:
    """Give a (4, 4) transform of a base."""
    turn = Rotation.from_euler("ZYX", [yaw, 0.0, roll])
    return transform_from_pose((x, y, z), turn.as_quat())


# The mathematics ---------------------------------------------------------------------------------


def random_pose(rng: np.random.Generator) -> Any:
    return transform_from_pose(rng.normal(size=3) * 5.0, rng.normal(size=4))


def test_the_correction_puts_the_camera_where_it_was_seen() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        T_map_cam, T_odom_cam = random_pose(rng), random_pose(rng)
        T_map_odom = map_to_odom(T_map_cam, T_odom_cam)
        np.testing.assert_allclose(T_map_odom @ T_odom_cam, T_map_cam, atol=1e-9)


def test_a_planar_correction_keeps_the_base_level_even_where_odometry_does_not() -> None:
    T_map_base = pose_of(3.0, -2.0, 2.5, z=0.4, roll=0.02)
    T_odom_base = pose_of(1.0, 1.0, -0.7, z=0.1, roll=0.05)  # on a ramp
    shown = planar_map_to_odom(T_map_base, T_odom_base) @ T_odom_base
    np.testing.assert_allclose(shown, pose_of(3.0, -2.0, 2.5), atol=1e-12)


def test_a_base_on_its_side_is_refused_with_the_remedy() -> None:
    with pytest.raises(TiltError, match=r"tilted by 60 deg.*base_frame"):
        planar_transform(pose_of(0.0, 0.0, 1.0, roll=math.radians(60.0)))
    with pytest.raises(TiltError):
        planar_transform(np.full((4, 4), np.nan))


def test_the_planar_covariance_is_that_of_the_flattened_pose() -> None:
    rng = np.random.default_rng(1)
    root = rng.normal(size=(6, 6))
    covariance = root @ root.T
    T_map_base = transform_from_pose((1.0, 2.0, 3.0), (0.1, -0.15, 0.4, 0.9))
    jacobian = np.zeros((3, 6))
    for axis in range(6):  # numeric derivative as the oracle
        step = np.zeros(6)
        step[axis] = 1e-6
        moved = T_map_base.copy()
        moved[:3, :3] = Rotation.from_rotvec(step[3:]).as_matrix() @ T_map_base[:3, :3]
        moved[:3, 3] += step[:3]
        before, after = planar_transform(T_map_base), planar_transform(moved)
        jacobian[:2, axis] = (after - before)[:2, 3] / 1e-6
        jacobian[2, axis] = (yaw_rad(after) - yaw_rad(before)) / 1e-6
    flat = planar_covariance(covariance, T_map_base)
    kept = np.ix_((0, 1, 5), (0, 1, 5))
    expected = jacobian @ covariance @ jacobian.T + FLOOR_VARIANCE * np.eye(3)
    np.testing.assert_allclose(flat[kept], expected, rtol=1e-4)
    assert (np.linalg.eigvalsh(flat) > 0.0).all()
    rest = flat.copy()
    rest[kept] = 0.0
    np.testing.assert_array_equal(rest, FLOOR_VARIANCE * np.diag([0, 0, 1, 1, 1, 0]))


def test_stamps_increase_strictly_whatever_the_clock_does() -> None:
    stamps = IncreasingStamps()
    assert stamps.next_ns(0, 5) is None  # a simulated clock before its first message
    assert stamps.next_ns(100, 50) == 150
    assert stamps.next_ns(100, 50) is None  # it stands still
    assert stamps.next_ns(100, 50, is_news=True) == 151  # news do not wait for it
    assert stamps.next_ns(120, 10) is None  # the tolerance became smaller
    assert stamps.next_ns(142, 10) == 152
    assert stamps.next_ns(90, 50) is None  # adjusted backwards a little
    assert not stamps.restarted(5 * S)
    assert not stamps.restarted(5 * S - 10)
    assert stamps.next_ns(5 * S, 0) == 5 * S
    assert stamps.restarted(1 * S)  # a bag starts again
    assert stamps.next_ns(1 * S, 0) == 1 * S
    assert not stamps.restarted(1 * S + 1)


def test_a_robot_is_lost_after_so_many_disagreements_in_a_row() -> None:
    seen = pose_of(1.0, 1.0, 3.1)
    near, far = pose_of(1.5, 1.0, -3.1), pose_of(5.0, 1.0, 3.1)
    turned = pose_of(1.0, 1.0, 2.0)
    watch = LostWatch(num_poses=3, distance_m=1.0, angle_rad=0.5)
    told = [watch.is_lost(seen, tf) for tf in (far, None, near, far, turned, None, far, far)]
    assert told == [False, False, False, False, False, True, False, False]


# The thread that waits ---------------------------------------------------------------------------


def test_a_job_is_tried_until_tf_knows_and_given_up_when_its_time_is_over() -> None:
    tries, given_up, errors = [], [], []
    done = threading.Event()

    def third_time(is_last: bool) -> None:
        tries.append(is_last)
        if len(tries) < 3:
            raise TfUnavailable("late", "not yet")
        done.set()

    def never(is_last: bool) -> None:
        raise TfUnavailable("late", "never")

    def broken(is_last: bool) -> None:
        raise RuntimeError("a mistake")

    ticks: list[int] = []
    worker = TfWorker(lambda: ticks.append(1), lambda: 0.02, errors.append)
    worker.submit(TfJob(broken, given_up.append, 5.0))
    worker.submit(TfJob(never, given_up.append, 0.1))
    worker.submit(TfJob(third_time, given_up.append, 20.0))
    assert done.wait(10.0)
    assert tries == [False, False, False]
    wait_until(lambda: given_up and len(ticks) > 5)
    assert [(error.kind, str(error)) for error in given_up] == [("late", "never")]
    assert [str(error) for error in errors] == ["a mistake"]
    assert worker.stop(5.0)
    num_ticks = len(ticks)
    worker.submit(TfJob(third_time, given_up.append, 5.0))  # stopped: nobody minds
    assert len(ticks) == num_ticks


# Over DDS ----------------------------------------------------------------------------------------


@pytest.fixture
def ros() -> Iterator[Harness]:
    with harness() as started:
        yield started


class Wheels:
    """Odometry of a known drift below a known truth, on /tf, and the static camera."""

    def __init__(self, ros: Harness, with_odometry: bool = True) -> None:
        self.ros = ros
        ros.send_static_tf(("base_link", "camera_optical"), T=T_BASE_CAM)
        self.tf = ros.publisher(TFMessage, "/tf", 100)
        self.num_sent = 0
        if with_odometry:
            self.send(self.now_ns() - S)

    def now_ns(self) -> int:
        return int(self.ros.tester.get_clock().now().nanoseconds)

    def T_map_odom(self, stamp_ns: int) -> Any:
        """Give the drift at a time."""
        t = (stamp_ns % (1000 * S)) / S
        return transform_from_pose((0.05 * t, 2.0, 0.1), (0.01, -0.02, math.sin(0.1 * t), 1.0))

    def T_map_base(self, stamp_ns: int) -> Any:
        """Give the truth at a time, a little tilted as real poses are."""
        t = (stamp_ns % (1000 * S)) / S
        return pose_of(0.5 * t, math.sin(t), 0.3 * t, z=0.05, roll=0.02)

    def T_odom_base(self, stamp_ns: int) -> Any:
        return invert_transform(self.T_map_odom(stamp_ns)) @ self.T_map_base(stamp_ns)

    def send(self, stamp_ns: int) -> None:
        self.link("odom", "base_link", self.T_odom_base(stamp_ns), stamp_ns)
        self.num_sent += 1

    def link(self, parent: str, child: str, T: Any, stamp_ns: int) -> None:
        message = message_from_transform(T, parent, child, stamp_from_ns(stamp_ns))
        self.tf.publish(TFMessage(transforms=[message]))


# Poses are put where a test wants them, without a drive there.
FREE = {"bounds_margin_m": 1e6, "jump_distance_m": 0.0, "jump_angle_deg": 0.0}


class WheeledRobot(Robot):
    """A localizer on a robot with odometry."""

    def __init__(self, ros: Harness, with_odometry: bool = True, **parameters: Any) -> None:
        super().__init__(ros, **{"tf_timeout_s": 0.5, **FREE, **parameters})
        wait_until(lambda: self.node.state_label == "active")
        self.wheels = Wheels(ros, with_odometry)
        watch = self.node._pipeline._policy._watch
        wait_until(lambda: watch.ancestors("camera_optical"))
        if with_odometry:
            wait_until(lambda: "odom" in watch.ancestors("camera_optical"))
        self.start_camera()

    def links(self, child: str) -> list[Any]:
        return [
            t for m in list(self.transforms) for t in m.transforms if t.child_frame_id == child
        ]

    def corrections(self) -> list[Any]:
        return [transform_from_message(t.transform) for t in self.links("odom")]

    def see(self, stamp_ns: int, with_odometry: bool = True) -> PoseStamped:
        """Show the truth of a time to the camera, with odometry of the same time."""
        if with_odometry:
            self.wheels.send(stamp_ns)
        self.fake.answer["T_map_cam"] = self.wheels.T_map_base(stamp_ns) @ T_BASE_CAM
        return self.send(stamp_ns)

    def wait_for_correction(self, stamp_ns: int) -> None:
        """Wait until TF has the drift of a time."""
        T_map_odom = self.wheels.T_map_odom(stamp_ns)
        wait_until(
            lambda: (
                self.corrections() and np.allclose(self.corrections()[-1], T_map_odom, atol=1e-6)
            ),
            "the correction",
        )

    def assert_stamps_increase(self) -> None:
        stamps_ns = [ns_from_stamp(t.header.stamp) for t in self.links("odom")]
        assert len(stamps_ns) > 1
        assert (np.diff(stamps_ns) > 0).all()


def test_auto_corrects_odometry_and_tells_it_again_ahead_of_time(ros: Harness) -> None:
    robot = WheeledRobot(ros, transform_tolerance_s=0.3, tf_rate_hz=50, tf_timeout_s=5.0)
    wheels = robot.wheels
    for _ in range(3):
        stamp_ns = wheels.now_ns()
        pose = robot.see(stamp_ns)
        robot.wait_for_correction(stamp_ns)
        shown = robot.corrections()[-1] @ wheels.T_odom_base(stamp_ns)
        np.testing.assert_allclose(shown, wheels.T_map_base(stamp_ns), atol=1e-6)
        assert ns_from_stamp(pose.header.stamp) == stamp_ns  # the pose keeps the image's stamp
        np.testing.assert_allclose(
            transform_from_pose_message(pose.pose), robot.fake.answer["T_map_cam"], atol=1e-9
        )
    count = len(robot.links("odom"))
    wait_until(lambda: len(robot.links("odom")) > count + 10)  # without any image
    robot.assert_stamps_increase()
    newest = robot.links("odom")[-1]
    assert newest.header.frame_id == "map"
    ahead_ns = ns_from_stamp(newest.header.stamp) - stamp_ns
    assert ahead_ns >= 300 * MS
    assert len(robot.links("base_link")) == wheels.num_sent  # odometry's own is left alone
    assert not robot.links("camera_optical")
    robot.told("publish_tf", "auto: map_to_odom")
    robot.told("tf_child", "odom")
    robot.told("tf_correction", "3")
    robot.told("map_to_odom", "map -> odom: x ")
    robot.told("level", "0")


def test_the_tiny_network_between_two_updates_of_odometry(ros: Harness, tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path / "bundle")
    robot = WheeledRobot(
        ros,
        factory=Localizer.load,
        bundle=str(tmp_path / "bundle"),
        publish_tf="map_to_odom",
        tf_timeout_s=5.0,
    )
    stamp_ns = robot.wheels.now_ns()
    around_ns = [stamp_ns - 30 * MS, stamp_ns + 20 * MS]
    robot.wheels.send(around_ns[0])
    pose = robot.send(stamp_ns)
    robot.wheels.send(around_ns[1])  # comes after the image, as odometry does
    T = np.stack([robot.wheels.T_odom_base(ns) for ns in around_ns])
    position, quat_xyzw, _ = interpolate_poses(
        around_ns, T[:, :3, 3], quat_xyzw_from_rotation(T[:, :3, :3]), [stamp_ns], S
    )
    T_odom_base = transform_from_pose(position[0], quat_xyzw[0])
    wait_until(robot.corrections)
    T_map_base = transform_from_pose_message(pose.pose) @ invert_transform(T_BASE_CAM)
    np.testing.assert_allclose(robot.corrections()[-1] @ T_odom_base, T_map_base, atol=1e-6)


def test_a_planar_base_is_level_in_tf(ros: Harness) -> None:
    robot = WheeledRobot(ros, planar=True)
    stamp_ns = robot.wheels.now_ns()
    robot.see(stamp_ns)
    wait_until(robot.corrections)
    shown = robot.corrections()[-1] @ robot.wheels.T_odom_base(stamp_ns)
    T_map_base = robot.wheels.T_map_base(stamp_ns)
    x, y = T_map_base[:2, 3]
    np.testing.assert_allclose(shown, pose_of(x, y, yaw_rad(T_map_base)), atol=1e-6)


def test_a_planar_base_without_odometry_has_a_planar_pose_and_covariance(ros: Harness) -> None:
    robot = WheeledRobot(ros, with_odometry=False, planar=True)
    with_covariance = ros.collect(PoseWithCovarianceStamped, "localizer/pose_with_covariance")
    wait_until(lambda: robot.node._outputs._covariance.get_subscription_count() > 0)
    stamp_ns = robot.wheels.now_ns()
    pose = robot.see(stamp_ns, with_odometry=False)
    T_map_base = robot.wheels.T_map_base(stamp_ns)
    flat = planar_transform(T_map_base)
    np.testing.assert_allclose(transform_from_pose_message(pose.pose), flat, atol=1e-9)
    wait_until(lambda: with_covariance and robot.links("base_link"))
    (link,) = robot.links("base_link")
    np.testing.assert_allclose(transform_from_message(link.transform), flat, atol=1e-9)
    offset_map = (T_map_base - robot.fake.answer["T_map_cam"])[:3, 3]
    expected = planar_covariance(covariance_at_offset(COVARIANCE, offset_map), T_map_base)
    told = np.reshape(with_covariance[0].pose.covariance, (6, 6))
    np.testing.assert_allclose(told, expected, atol=1e-12)


@pytest.mark.parametrize(("age_ms", "kind"), [(-300, "late"), (3000, "too_old")])
def test_odometry_that_is_not_there_at_the_stamp_is_counted_and_holds_up_no_pose(
    ros: Harness, age_ms: int, kind: str
) -> None:
    robot = WheeledRobot(ros)
    now_ns = robot.wheels.now_ns()
    robot.wheels.send(now_ns)
    robot.see(now_ns - age_ms * MS, with_odometry=False)
    robot.told(f"tf_{kind}", "1")
    robot.told("last_tf_problem", "no correction: no transform from camera_optical to odom")
    robot.told("level", "1")
    assert robot.corrections() == []
    stamp_ns = robot.wheels.now_ns() + S
    robot.see(stamp_ns)
    robot.wait_for_correction(stamp_ns)


def test_without_odometry_map_to_odom_says_that_it_is_missing(ros: Harness) -> None:
    robot = WheeledRobot(ros, with_odometry=False, publish_tf="map_to_odom", tf_timeout_s=0.1)
    robot.see(robot.wheels.now_ns(), with_odometry=False)
    robot.told("tf_missing", "1")
    robot.told("message", "nobody publishes it")
    assert robot.corrections() == []


def test_a_rejected_frame_leaves_the_last_correction_as_it_is(ros: Harness) -> None:
    robot = WheeledRobot(ros, min_confidence=0.5)
    first_ns = robot.wheels.now_ns()
    robot.see(first_ns)
    robot.wait_for_correction(first_ns)
    second_ns = robot.wheels.now_ns()
    robot.wheels.send(second_ns)
    robot.fake.answer.update(confidence=0.1, T_map_cam=np.eye(4))
    num_scenes = len(robot.scenes)
    robot.images.publish(image_message(second_ns))
    wait_until(lambda: len(robot.scenes) > num_scenes)
    count = len(robot.links("odom"))
    wait_until(lambda: len(robot.links("odom")) > count + 5)
    np.testing.assert_allclose(
        robot.corrections(), [robot.wheels.T_map_odom(first_ns)] * len(robot.corrections())
    )
    robot.assert_stamps_increase()
    robot.told("tf_correction", "1")


@pytest.mark.parametrize("parent", ["map", "elsewhere"])
def test_a_second_parent_of_odom_stops_tf_and_is_named(ros: Harness, parent: str) -> None:
    robot = WheeledRobot(ros)
    robot.see(robot.wheels.now_ns())
    wait_until(robot.corrections)
    robot.wheels.link(parent, "odom", np.eye(4), robot.wheels.now_ns())  # AMCL
    watch = robot.node._pipeline._policy._watch
    wait_until(lambda: watch.parents("odom") == [parent])
    wait_until(lambda: robot.node._pipeline.tf_outputs._map_to_odom.last is None)
    num_told = robot.node._pipeline.tf_outputs._map_to_odom.num_published
    robot.see(robot.wheels.now_ns())  # the pose still comes
    robot.told("message", f"odom already has the parent {parent} in TF")
    assert robot.node._pipeline.tf_outputs._map_to_odom.num_published == num_told
    robot.told("publishes_tf", "False")


def test_stamps_of_another_clock_correct_nothing_and_are_named(ros: Harness) -> None:
    robot = WheeledRobot(ros)
    robot.see(1 * S)
    robot.told("publish_tf", "the images' stamps are of another clock")
    robot.told("level", "1")
    assert robot.corrections() == []
    stamp_ns = robot.wheels.now_ns() + 20 * MS  # a camera's clock that is a little ahead
    robot.see(stamp_ns)
    robot.wait_for_correction(stamp_ns)


def test_a_deactivated_node_tells_no_correction_and_begins_anew(ros: Harness) -> None:
    robot = WheeledRobot(ros, tf_rate_hz=100)
    robot.see(robot.wheels.now_ns())
    wait_until(lambda: len(robot.links("odom")) > 3)
    assert change_state(ros, Transition.TRANSITION_DEACTIVATE)
    kept = robot.node._pipeline.tf_outputs
    assert kept._worker is None and kept._map_to_odom.last is None
    assert change_state(ros, Transition.TRANSITION_ACTIVATE)
    assert kept._worker is not None and kept._map_to_odom.last is None
    stamp_ns = robot.wheels.now_ns()
    robot.see(stamp_ns)
    robot.wait_for_correction(stamp_ns)
    robot.assert_stamps_increase()


def test_a_simulated_clock_may_stand_still_and_start_again(ros: Harness) -> None:
    clock = ros.tester.create_publisher(Clock, "/clock", 10)
    robot = WheeledRobot(ros, with_odometry=False, publish_tf="map_to_odom", use_sim_time=True)
    wait_until(lambda: clock.get_subscription_count() > 0)

    def set_clock(now_ns: int) -> None:
        clock.publish(Clock(clock=stamp_from_ns(now_ns)))
        wait_until(lambda: robot.node.get_clock().now().nanoseconds == now_ns)

    set_clock(1000 * S)
    robot.see(1000 * S)
    robot.wait_for_correction(1000 * S)
    set_clock(1001 * S)
    robot.see(1001 * S)
    robot.wait_for_correction(1001 * S)
    robot.told("tf_correction", "2")  # many ticks later
    stamps_ns = [ns_from_stamp(t.header.stamp) for t in robot.links("odom")]
    # The nanosecond after, where the first correction was told once more under the new time.
    assert stamps_ns[-1] - (1001 * S + 200 * MS) in (0, 1)
    robot.assert_stamps_increase()
    count = len(robot.links("odom"))
    set_clock(500 * S)
    map_to_odom = robot.node._pipeline.tf_outputs._map_to_odom
    wait_until(lambda: map_to_odom.last is None)
    robot.see(500 * S)
    robot.wait_for_correction(500 * S)
    assert ns_from_stamp(robot.links("odom")[count].header.stamp) == 500 * S + 200 * MS


# initialpose -------------------------------------------------------------------------------------


class AskedRobot(WheeledRobot):
    """A robot whose `initialpose` is listened to."""

    def __init__(self, ros: Harness, mode: str, **parameters: Any) -> None:
        super().__init__(ros, publish_initialpose=mode, **parameters)
        self.initial = ros.collect(PoseWithCovarianceStamped, "initialpose")
        publisher = self.node._outputs._initialpose
        wait_until(lambda: publisher.get_subscription_count() > 0)

    def num_told(self) -> int:
        return int(self.node._pipeline.tf_outputs._initial_pose.num_published)


def test_once_tells_the_planar_base_pose_with_its_covariance(ros: Harness) -> None:
    robot = AskedRobot(ros, "once", publish_tf="none")
    stamp_ns = robot.wheels.now_ns()
    robot.see(stamp_ns)
    wait_until(lambda: robot.initial)
    (message,) = robot.initial
    assert message.header.frame_id == "map"
    assert ns_from_stamp(message.header.stamp) == stamp_ns
    T_map_base = robot.wheels.T_map_base(stamp_ns)
    np.testing.assert_allclose(
        transform_from_pose_message(message.pose.pose), planar_transform(T_map_base), atol=1e-9
    )
    offset_map = (T_map_base - robot.fake.answer["T_map_cam"])[:3, 3]
    at_base = covariance_at_offset(COVARIANCE, offset_map)
    told = np.reshape(message.pose.covariance, (6, 6))
    np.testing.assert_allclose(told, planar_covariance(at_base, T_map_base), atol=1e-12)
    assert abs(told[0, 0] - COVARIANCE[0, 0]) > 1e-4  # the lever arm
    robot.see(robot.wheels.now_ns())
    robot.told("answered", "2")
    assert robot.num_told() == 1
    robot.told("initialpose_published", "1")


def test_on_request_tells_it_with_the_answer_of_localize(ros: Harness) -> None:
    robot = AskedRobot(ros, "never")
    stamp_ns = robot.wheels.now_ns()
    robot.see(stamp_ns)
    assert "initialpose" not in robot.ask(image_message(stamp_ns)).message
    (result,) = robot.node.set_parameters([Parameter("publish_initialpose", value="on_request")])
    assert result.successful
    robot.see(stamp_ns)
    robot.told("answered", "3")
    assert robot.num_told() == 0
    answer = robot.ask(image_message(stamp_ns))
    assert answer.success and answer.message.endswith("; initialpose published")
    wait_until(lambda: robot.initial)
    assert ns_from_stamp(robot.initial[0].header.stamp) == stamp_ns


def test_on_request_without_a_base_says_why_not(ros: Harness) -> None:
    robot = Robot(ros, publish_initialpose="on_request", tf_timeout_s=0.1)
    robot.start_camera()
    robot.send(5)
    answer = robot.ask(image_message(5))
    assert answer.success
    assert "initialpose not published: no transform from base_link" in answer.message
    robot.told("last_tf_problem", "no initialpose: ")


def test_when_lost_tells_it_after_several_poses_that_tf_contradicts(ros: Harness) -> None:
    robot = AskedRobot(ros, "when_lost", publish_tf="none", lost_poses=3, tf_timeout_s=5.0)
    wheels = robot.wheels
    watched = robot.node._pipeline.tf_outputs._initial_pose._lost

    def see_with_amcl(off_m: float) -> int:
        stamp_ns = wheels.now_ns()
        T_map_base = wheels.T_map_base(stamp_ns)
        T_map_base[0, 3] += off_m
        T_map_odom = T_map_base @ invert_transform(wheels.T_odom_base(stamp_ns))
        wheels.link("map", "odom", T_map_odom, stamp_ns)
        robot.see(stamp_ns)
        return stamp_ns

    for off_m, disagreeing in ((3.0, 1), (3.0, 2), (0.5, 0), (3.0, 1), (3.0, 2)):
        see_with_amcl(off_m)
        wait_until(lambda n=disagreeing: watched.num_disagreeing == n)
    assert robot.num_told() == 0
    stamp_ns = see_with_amcl(3.0)
    wait_until(lambda: robot.initial)
    assert ns_from_stamp(robot.initial[0].header.stamp) == stamp_ns
    see_with_amcl(3.0)  # AMCL gets time to take it in
    robot.told("answered", "7")
    assert watched.num_disagreeing == 0 and robot.num_told() == 1


def test_when_lost_tells_it_too_where_nobody_says_where_the_robot_is(ros: Harness) -> None:
    robot = AskedRobot(ros, "when_lost", publish_tf="none", lost_poses=2, tf_timeout_s=0.1)
    for _ in range(2):
        assert robot.num_told() == 0
        robot.see(robot.wheels.now_ns())
    wait_until(lambda: robot.initial)


def test_everything_works_under_a_namespace(ros: Harness) -> None:
    robot = Robot(ros, autostart=False)
    robot.node.leave()
    arguments = ros.parameters(
        {
            "bundle": "b",
            "tf_settle_s": 0.2,
            "publish_initialpose": "once",
            "map_frame": "hall",
            **FREE,
        }
    )
    robot.node = type(robot.node)(lambda *a, **o: robot.fake, namespace="robot1", **arguments)
    ros.add(robot.node)
    wait_until(lambda: robot.node.state_label == "active")
    wheels = Wheels(ros)
    initial = ros.collect(PoseWithCovarianceStamped, "/robot1/initialpose")
    robot.poses = ros.collect(PoseStamped, "/robot1/localizer/pose")
    for publisher in (robot.node._outputs._initialpose, robot.node._outputs._pose):
        wait_until(lambda publisher=publisher: publisher.get_subscription_count() > 0)
    robot.images = ros.publisher(type(image_message(1)), "/robot1/image")
    stamp_ns = wheels.now_ns()
    wheels.send(stamp_ns)
    robot.fake.answer["T_map_cam"] = wheels.T_map_base(stamp_ns) @ T_BASE_CAM
    robot.send(stamp_ns)
    wait_until(lambda: initial)
    assert initial[0].header.frame_id == "hall"

    def links() -> list[Any]:
        found = [t for m in list(robot.transforms) for t in m.transforms]
        return [t for t in found if t.child_frame_id == "odom"]

    wait_until(links)
    assert links()[0].header.frame_id == "hall"
    T_map_odom = transform_from_message(links()[0].transform)
    np.testing.assert_allclose(T_map_odom, wheels.T_map_odom(stamp_ns), atol=1e-6)
