"""What mspr_ros relies on in tf2_ros: holds for the real package and for the stand-in in bare/."""

from __future__ import annotations

import math
import threading
import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: the system's or the wheels of `make setup`")

import rclpy
import tf2_ros
import yaml
from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import TransformStamped
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.time import Time
from rosgraph_msgs.msg import Clock as ClockMsg
from scipy.spatial.transform import Rotation, Slerp

LATEST = Time()


def transform(parent, child, stamp_s, position=(0.0, 0.0, 0.0), rotation=None):
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp = Time(nanoseconds=round(stamp_s * 1e9)).to_msg()
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = map(float, position)
    quat_xyzw = (rotation or Rotation.identity()).as_quat()
    q.x, q.y, q.z, q.w = map(float, quat_xyzw)
    return message


def position_of(message):
    t = message.transform.translation
    return (t.x, t.y, t.z)


def rotation_of(message):
    q = message.transform.rotation
    return Rotation.from_quat([q.x, q.y, q.z, q.w])


def at(seconds):
    return Time(nanoseconds=round(seconds * 1e9))


@pytest.fixture
def buffer():
    return tf2_ros.Buffer()


# ---- lookups ----


def test_a_chain_is_composed_from_source_to_target(buffer):
    quarter = Rotation.from_euler("z", 90, degrees=True)
    buffer.set_transform(transform("map", "base", 1.0, (10, 0, 0), quarter), "test")
    buffer.set_transform_static(transform("base", "camera", 0.0, (1, 0, 0)), "test")

    T_map_camera = buffer.lookup_transform("map", "camera", at(1.0))

    assert T_map_camera.header.frame_id == "map"
    assert T_map_camera.child_frame_id == "camera"
    assert T_map_camera.header.stamp == TimeMsg(sec=1)
    assert position_of(T_map_camera) == pytest.approx((10, 1, 0))
    back = buffer.lookup_transform("camera", "map", at(1.0))
    assert position_of(back) == pytest.approx((-1, 10, 0))


def test_two_branches_meet_at_their_common_ancestor(buffer):
    buffer.set_transform_static(transform("base", "left", 0.0, (0, 1, 0)), "test")
    buffer.set_transform_static(transform("base", "right", 0.0, (0, -1, 0)), "test")
    assert position_of(buffer.lookup_transform("left", "right", LATEST)) == pytest.approx(
        (0, -2, 0)
    )


ANGLES = st.floats(-math.pi, math.pi)
LENGTHS = st.floats(-100.0, 100.0)
POSES = st.tuples(LENGTHS, LENGTHS, LENGTHS, ANGLES, ANGLES, ANGLES)


@settings(max_examples=60, deadline=None)
@given(first=POSES, second=POSES, ratio=st.floats(0.0, 1.0))
def test_between_two_stamps_positions_are_straight_and_rotations_slerp(first, second, ratio):
    buffer = tf2_ros.Buffer()
    rotations = [Rotation.from_euler("xyz", pose[3:]) for pose in (first, second)]
    buffer.set_transform(transform("map", "base", 1.0, first[:3], rotations[0]), "test")
    buffer.set_transform(transform("map", "base", 2.0, second[:3], rotations[1]), "test")

    found = buffer.lookup_transform("map", "base", at(1.0 + ratio))

    # The stamp is rounded to nanoseconds: the ratio that was really asked for
    stamp = found.header.stamp
    exact = stamp.sec - 1 + stamp.nanosec * 1e-9
    expected = [a + exact * (b - a) for a, b in zip(first[:3], second[:3], strict=True)]
    assert position_of(found) == pytest.approx(expected, abs=1e-6)
    if (
        rotations[0].inv() * rotations[1]
    ).magnitude() < math.pi - 1e-3:  # else both ways are short
        slerped = Slerp([0.0, 1.0], Rotation.concatenate(rotations))(exact)
        assert (slerped.inv() * rotation_of(found)).magnitude() < 1e-6


def test_a_quaternion_and_its_negative_are_one_rotation(buffer):
    first, second = (Rotation.from_euler("z", angle, degrees=True) for angle in (10, 20))
    buffer.set_transform(transform("map", "base", 1.0, rotation=first), "test")
    negated = transform("map", "base", 2.0, rotation=second)
    q = negated.transform.rotation
    q.x, q.y, q.z, q.w = -q.x, -q.y, -q.z, -q.w
    buffer.set_transform(negated, "test")
    found = rotation_of(buffer.lookup_transform("map", "base", at(1.5)))
    assert math.degrees(found.magnitude()) == pytest.approx(15.0)


def test_time_zero_is_the_latest_time_common_to_all_links(buffer):
    for stamp_s in (1.0, 2.0, 3.0):
        buffer.set_transform(transform("map", "odom", stamp_s, (stamp_s, 0, 0)), "test")
    for stamp_s in (1.0, 2.0):
        buffer.set_transform(transform("odom", "base", stamp_s), "test")
    buffer.set_transform_static(transform("base", "camera", 0.0), "test")

    found = buffer.lookup_transform("map", "camera", LATEST)

    assert found.header.stamp == TimeMsg(sec=2)
    assert position_of(found) == pytest.approx((2, 0, 0))


def test_static_transforms_hold_at_all_times_and_carry_no_stamp_of_their_own(buffer):
    buffer.set_transform_static(transform("base", "camera", 5.0, (1, 2, 3)), "test")
    for when in (LATEST, at(0.5), at(1e6)):
        assert position_of(buffer.lookup_transform("base", "camera", when)) == (1, 2, 3)
    assert buffer.lookup_transform("base", "camera", LATEST).header.stamp == TimeMsg()


def test_a_frame_in_itself_is_the_identity(buffer):
    buffer.set_transform(transform("map", "base", 1.0, (1, 2, 3)), "test")
    found = buffer.lookup_transform("base", "base", at(7.0))
    assert position_of(found) == (0, 0, 0)
    assert rotation_of(found).magnitude() == 0


def test_a_time_may_be_a_message(buffer):
    buffer.set_transform(transform("map", "base", 1.0, (1, 2, 3)), "test")
    assert position_of(buffer.lookup_transform("map", "base", TimeMsg(sec=1))) == (1, 2, 3)


def test_a_frame_may_change_its_parent(buffer):
    buffer.set_transform(transform("room1", "base", 1.0, (1, 0, 0)), "test")
    buffer.set_transform(transform("room2", "base", 2.0, (2, 0, 0)), "test")
    assert position_of(buffer.lookup_transform("room1", "base", at(1.0))) == (1, 0, 0)
    assert position_of(buffer.lookup_transform("room2", "base", at(2.0))) == (2, 0, 0)


# ---- what cannot be answered ----


@pytest.mark.parametrize(
    ("target", "source", "when", "error"),
    [
        ("nowhere", "base", LATEST, tf2_ros.LookupException),
        ("map", "nowhere", at(1.5), tf2_ros.LookupException),
        ("map", "island", LATEST, tf2_ros.ConnectivityException),
        ("map", "island", at(1.5), tf2_ros.ConnectivityException),
        ("map", "base", at(0.5), tf2_ros.ExtrapolationException),
        ("map", "base", at(2.5), tf2_ros.ExtrapolationException),
        ("", "base", LATEST, tf2_ros.InvalidArgumentException),
        ("/map", "base", LATEST, tf2_ros.InvalidArgumentException),
    ],
)
def test_what_cannot_be_answered_raises_its_own_error(buffer, target, source, when, error):
    for stamp_s in (1.0, 2.0):
        buffer.set_transform(transform("map", "base", stamp_s), "test")
    buffer.set_transform_static(transform("sea", "island", 0.0), "test")

    with pytest.raises(error) as raised:
        buffer.lookup_transform(target, source, when)

    assert isinstance(raised.value, tf2_ros.TransformException)
    assert str(raised.value)


def test_can_transform_says_whether_and_why_not(buffer):
    buffer.set_transform(transform("map", "base", 1.0), "test")
    assert buffer.can_transform("map", "base", at(1.0)) is True
    assert buffer.can_transform("map", "base", at(9.0)) is False
    possible, reason = buffer.can_transform("map", "gone", LATEST, return_debug_tuple=True)
    assert not possible
    assert "gone" in reason


@pytest.mark.parametrize(
    "broken", ["nan", "denormalized", "zero", "self", "no child", "no parent"]
)
def test_a_broken_transform_is_left_out(buffer, broken):
    message = transform("map", "base", 1.0)
    if broken == "nan":
        message.transform.translation.x = math.nan
    elif broken == "denormalized":
        message.transform.rotation.w = 1.1
    elif broken == "zero":
        message.transform.rotation.w = 0.0
    elif broken == "self":
        message.child_frame_id = "map"
    elif broken == "no child":
        message.child_frame_id = ""
    else:
        message.header.frame_id = ""
    buffer.set_transform(message, "test")
    assert not buffer.can_transform("map", "base", LATEST)


def test_what_is_older_than_the_cache_is_forgotten():
    buffer = tf2_ros.Buffer(cache_time=Duration(seconds=10))
    for stamp_s in (1.0, 5.0, 9.0, 13.0):
        buffer.set_transform(transform("map", "base", stamp_s), "test")
    buffer.set_transform(transform("map", "base", 14.0), "test")
    assert not buffer.can_transform("map", "base", at(2.0))
    assert buffer.can_transform("map", "base", at(6.0))
    buffer.set_transform(transform("map", "base", 3.0), "test")  # comes far too late
    assert not buffer.can_transform("map", "base", at(3.5))


def test_clear_forgets_what_has_a_stamp(buffer):
    buffer.set_transform(transform("map", "base", 1.0), "test")
    buffer.set_transform_static(transform("base", "camera", 0.0), "test")
    buffer.clear()
    assert not buffer.can_transform("map", "base", LATEST)
    assert buffer.can_transform("base", "camera", LATEST)


def test_all_frames_as_yaml_is_yaml(buffer):
    assert not yaml.safe_load(buffer.all_frames_as_yaml())
    buffer.set_transform(transform("map", "base", 1.0), "somebody")
    frames = yaml.safe_load(buffer.all_frames_as_yaml())
    assert frames["base"]["parent"] == "map"
    assert frames["base"]["broadcaster"] == "somebody"


# ---- waiting ----


def test_a_lookup_waits_for_its_transform(buffer):
    late = threading.Timer(
        0.2, buffer.set_transform, [transform("map", "base", 1.0, (4, 0, 0)), "test"]
    )
    late.start()
    found = buffer.lookup_transform("map", "base", at(1.0), timeout=Duration(seconds=20))
    late.join()
    assert position_of(found) == (4, 0, 0)


def test_a_lookup_waits_no_longer_than_it_may(buffer):
    begin = time.monotonic()
    with pytest.raises(tf2_ros.TransformException):
        buffer.lookup_transform("map", "base", at(1.0), timeout=Duration(seconds=0.2))
    assert 0.15 < time.monotonic() - begin < 5.0


def test_a_future_is_done_when_the_transform_is_there(buffer):
    waiting = buffer.wait_for_transform_async("map", "base", at(1.0))
    assert not waiting.done()
    buffer.set_transform(transform("map", "base", 1.0), "test")
    assert waiting.done()
    assert buffer.wait_for_transform_async("map", "base", at(1.0)).done()


def test_many_threads_write_and_read(buffer):
    errors = []

    def write(frame):
        for step in range(300):
            buffer.set_transform(transform("map", frame, 1.0 + step * 0.01), "test")

    def read():
        for _ in range(300):
            try:
                buffer.lookup_transform("a", "b", LATEST)
            except tf2_ros.TransformException:
                pass
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=write, args=(frame,)) for frame in "ab"]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert buffer.can_transform("a", "b", at(3.99))


# ---- over the wire ----


@pytest.fixture
def node():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("contract_tf2", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    node.spin_for = lambda seconds: executor.spin_once(timeout_sec=seconds)
    yield node
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


def spin_until(node, condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        node.spin_for(0.05)


def test_broadcasters_reach_a_listener_that_comes_late(node):
    dynamic = tf2_ros.TransformBroadcaster(node)
    static = tf2_ros.StaticTransformBroadcaster(node)
    static.sendTransform(transform("base", "camera", 0.0, (1, 0, 0)))
    static.sendTransform(transform("base", "lidar", 0.0, (2, 0, 0)))  # the first must stay known
    buffer = tf2_ros.Buffer(node=node)
    listener = tf2_ros.TransformListener(buffer, node)

    spin_until(node, lambda: buffer.can_transform("camera", "lidar", LATEST))
    spin_until(node, lambda: node.count_subscribers("/tf") > 0)

    def heard():
        dynamic.sendTransform(
            [transform("map", "odom", 1.0, (5, 0, 0)), transform("odom", "base", 1.0)]
        )
        return buffer.can_transform("map", "camera", LATEST)

    spin_until(node, heard)
    found = buffer.lookup_transform("map", "camera", at(1.0))
    assert position_of(found) == pytest.approx((6, 0, 0))
    listener.unregister()


def test_a_clock_that_jumps_back_empties_the_buffer(node):
    node.set_parameters([Parameter("use_sim_time", value=True)])
    clock = node.create_publisher(ClockMsg, "/clock", 10)
    buffer = tf2_ros.Buffer(node=node)

    def clock_shows(seconds):
        clock.publish(ClockMsg(clock=Time(nanoseconds=int(seconds * 1e9)).to_msg()))
        return node.get_clock().now().nanoseconds == int(seconds * 1e9)

    spin_until(node, lambda: clock_shows(100.0))
    buffer.set_transform(transform("map", "base", 100.0), "test")
    buffer.set_transform_static(transform("base", "camera", 0.0), "test")
    spin_until(node, lambda: clock_shows(100.5))
    assert buffer.can_transform("map", "base", LATEST), "a clock that goes forward clears nothing"

    spin_until(node, lambda: clock_shows(50.0))

    assert not buffer.can_transform("map", "base", LATEST)
    assert buffer.can_transform("base", "camera", LATEST)
