"""Several cameras on a robot: joined by their stamps, combined at the base, a dead one let go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_support import (
    CAMERA,
    COVARIANCE,
    FakeLocalizer,
    Harness,
    diagnostic_values,
    harness,
    header,
    info_message,
    wait_until,
)
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from mspr_ros.errors import ConfigError
from mspr_ros.geometry import (
    covariance_at_offset,
    pose_difference,
    quat_xyzw_from_rotation,
    shifted,
    transform_from_pose,
)
from mspr_ros.ros.cameras import camera_names
from mspr_ros.ros.combining import BodyPose, combine
from mspr_ros.ros.conversions import (
    message_from_image,
    ns_from_stamp,
    transform_from_pose_message,
)
from mspr_ros.ros.frame_sets import FrameSets, frames_of, num_frames
from mspr_ros.ros.frames import Frame
from mspr_ros.ros.localizer_node import LocalizerNode
from mspr_ros.ros.rig import extrinsics
from mspr_ros.ros.stream_watch import StreamWatch
from mspr_ros.ros.worker import NewestFrameWorker

T_BASE_FRONT = transform_from_pose((0.3, 0.0, 0.5), (-0.5, 0.5, -0.5, 0.5))
T_BASE_REAR = transform_from_pose((-0.2, 0.1, 0.4), (0.5, 0.5, -0.5, -0.5))
T_MAP_BASE = transform_from_pose((4.0, -2.0, 0.1), (0.0, 0.0, 0.6, 0.8))
MS = 1_000_000


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


# Combining ---------------------------------------------------------------------------------------


def body(name: str, T: Any, covariance: Any = COVARIANCE, confidence: float = 0.8) -> BodyPose:
    return BodyPose(name, T, covariance, confidence)


def random_covariance(rng: np.random.Generator) -> np.ndarray:
    root = rng.normal(size=(6, 6)) * 0.02
    return root @ root.T + 1e-4 * np.eye(6)


def test_one_camera_is_left_as_it_is_and_two_equal_ones_halve_the_covariance() -> None:
    alone = combine([body("a", T_MAP_BASE)])
    np.testing.assert_array_equal(alone.T_map_body, T_MAP_BASE)
    both = combine([body("a", T_MAP_BASE), body("b", T_MAP_BASE)])
    np.testing.assert_allclose(both.T_map_body, T_MAP_BASE, atol=1e-12)
    np.testing.assert_allclose(both.covariance, COVARIANCE / 2, atol=1e-12)
    assert both.used == ("a", "b") and both.outliers == ()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_combined_pose_has_the_least_mahalanobis_distance(seed: int) -> None:
    """An oracle: no small step away from it fits the cameras better."""
    rng = np.random.default_rng(seed)
    poses = []
    for name in "abc":
        covariance = random_covariance(rng)
        step = np.linalg.cholesky(covariance) @ rng.normal(size=6) * 0.3
        poses.append(body(name, shifted(T_MAP_BASE, step), covariance))
    combined = combine(poses)
    assert combined.outliers == ()

    def cost(T: np.ndarray) -> float:
        apart = [pose_difference(pose.T_map_body, T) for pose in poses]
        pairs = zip(apart, poses, strict=True)
        return float(sum(r @ np.linalg.solve(p.covariance, r) for r, p in pairs))

    best = cost(combined.T_map_body)
    for axis in range(6):
        for size in (-1e-2, 1e-2):
            assert cost(shifted(combined.T_map_body, size * np.eye(6)[axis])) > best
    reordered = combine(poses[::-1])
    np.testing.assert_allclose(reordered.T_map_body, combined.T_map_body, atol=1e-6)


def test_the_covariance_is_what_many_draws_scatter_by() -> None:
    rng = np.random.default_rng(0)
    covariances = [random_covariance(rng) for _ in range(2)]
    roots = [np.linalg.cholesky(covariance) for covariance in covariances]
    errors, told = [], []
    for _ in range(400):
        poses = [
            body(name, shifted(T_MAP_BASE, root @ rng.normal(size=6)), covariance)
            for name, root, covariance in zip("ab", roots, covariances, strict=True)
        ]
        combined = combine(poses)
        if not combined.outliers:
            errors.append(pose_difference(combined.T_map_body, T_MAP_BASE))
            told.append(combined.covariance)
    assert len(errors) > 380  # one in a thousand is taken for an outlier
    nees = [e @ np.linalg.solve(c, e) for e, c in zip(errors, told, strict=True)]
    assert 4.3 < np.mean(nees) < 6.3  # 6 where nothing is inflated


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "a", "b"), ("b", "c", "a")])
def test_the_camera_that_contradicts_two_others_is_left_out(order: tuple[str, ...]) -> None:
    wrong = shifted(T_MAP_BASE, np.array([1.5, 0.0, 0.0, 0.0, 0.0, 0.0]))
    poses = {
        "a": body("a", T_MAP_BASE),
        "b": body("b", shifted(T_MAP_BASE, np.full(6, 0.01))),
        "c": body("c", wrong, confidence=0.99),
    }
    combined = combine([poses[name] for name in order])
    assert combined.outliers == ("c",) and set(combined.used) == {"a", "b"}
    assert np.abs(pose_difference(combined.T_map_body, T_MAP_BASE)).max() < 0.02


def test_of_two_that_contradict_each_other_the_more_confident_counts() -> None:
    far = shifted(T_MAP_BASE, np.array([0.0, 3.0, 0.0, 0.0, 0.0, 0.0]))
    combined = combine([body("a", T_MAP_BASE, confidence=0.2), body("b", far, confidence=0.7)])
    assert combined.used == ("b",) and combined.outliers == ("a",)
    np.testing.assert_array_equal(combined.T_map_body, far)


def test_the_lever_arm_decides_how_much_a_camera_says_about_the_base() -> None:
    """A heading that is off by one sigma moves the base of a far camera more."""
    turn = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.05])
    poses = []
    for name, arm, sign in (("near", 0.1, 1.0), ("far", 2.0, -1.0)):
        covariance = np.diag([1e-4, 1e-4, 1e-4, 1e-6, 1e-6, 0.05**2])
        T_map_cam = shifted(np.eye(4), sign * turn)
        T_map_base = T_map_cam @ transform_from_pose((arm, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
        at_base = covariance_at_offset(covariance, T_map_base[:3, 3])
        offset = np.eye(4)
        offset[0, 3] = 2.0 - arm
        poses.append(body(name, offset @ T_map_base, at_base))
    combined = combine(poses)
    y = {pose.camera: pose.T_map_body[1, 3] for pose in poses}
    assert combined.used == ("near", "far")
    assert abs(combined.T_map_body[1, 3] - y["near"]) < abs(y["far"] - y["near"]) / 10


# Sets of frames ----------------------------------------------------------------------------------


def frame(camera: str, stamp_ms: int, received_s: float = 100.0) -> Frame:
    message = Image()
    message.header = header(stamp_ms * MS)
    return Frame(message, received_s=received_s, camera=camera)


def chosen(sets: FrameSets, *frames: Frame) -> dict[str, int]:
    waiting = frames[0]
    for newer in frames[1:]:
        waiting = sets.merged(waiting, newer)
    found = sets.chosen(waiting)
    return {f.camera: ns_from_stamp(f.message.header.stamp) // MS for f in frames_of(found)}


def make_sets(dead: tuple[str, ...] = ()) -> FrameSets:
    names = ("front", "rear")
    return FrameSets(names, lambda: 0.02, lambda: 0.1, lambda name: name not in dead, Clock())


def test_frames_near_in_time_are_a_set_and_lagging_ones_find_their_own() -> None:
    sets = make_sets()
    assert chosen(sets, frame("front", 100), frame("rear", 110)) == {"front": 100, "rear": 110}
    assert chosen(sets, frame("front", 100), frame("rear", 121)) == {"rear": 121}
    # rear lags behind by more than a period
    lagging = [frame("front", ms) for ms in (100, 133, 166)] + [frame("rear", 105)]
    assert chosen(sets, *lagging) == {"front": 100, "rear": 105}
    # the newest complete set wins
    both = [frame(name, ms) for ms in (100, 133) for name in ("front", "rear")]
    assert chosen(sets, *both) == {"front": 133, "rear": 133}


def test_a_set_waits_for_the_living_only_and_not_for_long() -> None:
    sets, alone = make_sets(), frame("front", 100)
    assert not sets.is_complete(alone)
    assert sets.is_complete(sets.merged(alone, frame("rear", 90)))
    assert make_sets(dead=("rear",)).is_complete(alone)
    assert sets.is_complete(replace(alone, received_s=99.8))


def test_what_waits_does_not_grow() -> None:
    sets, waiting = make_sets(), frame("front", 0)
    for number in range(1, 50):
        waiting = sets.merged(waiting, frame("front", 33 * number))
    assert num_frames(waiting) <= 5


def test_the_workers_counts_add_up_with_sets() -> None:
    sets, taken = make_sets(), []
    worker: NewestFrameWorker[Frame] = NewestFrameWorker(
        taken.append,
        on_error=lambda error: None,
        is_ready=sets.is_complete,
        merge=sets.merged,
        split=sets.split,
        size=num_frames,
    )
    for number in range(20):
        for name in ("front", "rear"):
            worker.submit(frame(name, 33 * number))
    wait_until(lambda: taken and taken[-1].message.header.stamp.nanosec == 627 * MS)
    assert worker.stop(5.0)
    counts = worker.counts
    assert counts.received == 40 == counts.processed + counts.dropped
    assert counts.processed == sum(num_frames(each) for each in taken)


# Parameters --------------------------------------------------------------------------------------


def test_extrinsics_and_names_are_read_or_refused_with_the_reason() -> None:
    numbers = [0.3, 0.0, 0.5, -0.5, 0.5, -0.5, 0.5]
    np.testing.assert_allclose(extrinsics(numbers, ("",))[""], T_BASE_FRONT, atol=1e-12)
    assert extrinsics([], ("front",)) == {}
    for bad in (numbers[:6], [*numbers[:6], float("nan")]):
        with pytest.raises(ConfigError, match=r"base_to_camera.*7 finite numbers"):
            extrinsics(bad, ("",))
    with pytest.raises(ConfigError, match="base_to_camera"):
        extrinsics([1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0], ("",))
    assert camera_names(["front", "rear_2"]) == ("front", "rear_2")
    for names in (["a", "a"], ["/front"], ["2nd"], [""]):
        with pytest.raises(ConfigError, match="'cameras' must be different names"):
            camera_names(names)


# The stream --------------------------------------------------------------------------------------


def watched(stamps_ms: Any) -> StreamWatch:
    watch = StreamWatch(Clock())
    for stamp_ms in stamps_ms:
        watch.note(1_000 * MS + round(stamp_ms * MS))
    return watch


@pytest.mark.parametrize("lost", [0.0, 0.1, 0.5, 0.9])
def test_losses_are_seen_in_the_stamps(lost: float) -> None:
    rng = np.random.default_rng(1)
    sent = np.arange(3000) * 33.3 + rng.normal(0.0, 1.0, 3000)  # a millisecond of jitter
    watch = watched(sent[rng.random(3000) >= lost])
    assert watch.lost_share() == pytest.approx(lost, abs=0.08)
    text = watch.loss("/image")
    assert ("fastdds_images.xml" in text and "/image" in text) is (lost > 0.0)


def test_irregular_paused_or_restarted_cameras_lose_nothing() -> None:
    rng = np.random.default_rng(2)
    assert watched(np.cumsum(rng.uniform(10.0, 90.0, 300))).lost_share() == 0.0
    steady = np.arange(100) * 33.3
    assert watched([*steady, *(steady + 60_000.0)]).lost_share() == 0.0
    assert watched([*(steady + 60_000.0), *steady]).lost_share() == 0.0
    assert watched([0.0] * 100).lost_share() == 0.0
    assert watched(steady[::2][:20]).lost_share() == 0.0


# The node ----------------------------------------------------------------------------------------


class RigLocalizer(FakeLocalizer):
    """Answer by the picture's grey: where the camera of that grey is."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[int, dict[str, Any]] = {}
        self.batches: list[int] = []

    def localize(self, image: Any, camera: Any = None) -> Any:
        estimate = super().localize(image, camera)
        return replace(estimate, **self.answers.get(int(image[0, 0, 0]), {}))

    def localize_batch(self, images: Any, cameras: Any = None) -> list[Any]:
        self.batches.append(len(images))
        return [self.localize(*pair) for pair in zip(images, cameras, strict=True)]


FRONT, REAR = 50, 200  # the pictures' greys
STATIC = [
    float(value)
    for T in (T_BASE_FRONT, T_BASE_REAR)
    for value in (*T[:3, 3], *quat_xyzw_from_rotation(T[:3, :3]))
]


@pytest.fixture
def ros() -> Iterator[Harness]:
    with harness() as started:
        yield started


def picture(grey: int, stamp_ns: int, frame_id: str) -> Image:
    message = message_from_image(np.full((CAMERA.height, CAMERA.width, 3), grey, np.uint8))
    message.header = header(stamp_ns, frame_id)
    return message


class TwoCameras:
    """A localizer with a front and a rear camera."""

    def __init__(self, ros: Harness, **parameters: Any) -> None:
        self.fake = RigLocalizer()
        self.fake.answers = {
            FRONT: {"T_map_cam": T_MAP_BASE @ T_BASE_FRONT},
            REAR: {"T_map_cam": T_MAP_BASE @ T_BASE_REAR},
        }
        values = {
            "bundle": "some_bundle",
            "tf_settle_s": 0.2,
            "cameras": ["front", "rear"],
            "camera_wait_s": 1.0,
            **parameters,
        }
        self.node = LocalizerNode(lambda *args, **options: self.fake, **ros.parameters(values))
        self.poses = ros.collect(PoseStamped, "localizer/pose")
        self.covariances = ros.collect(PoseWithCovarianceStamped, "localizer/pose_with_covariance")
        self.transforms = ros.collect(TFMessage, "/tf")
        self.diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
        ros.add(self.node)
        wait_until(lambda: self.node.state_label == "active", "the node to be active")
        self.images = {n: ros.publisher(Image, f"{n}/image") for n in ("front", "rear")}
        for name in self.images:
            ros.publisher(CameraInfo, f"{name}/camera_info").publish(
                info_message(frame_id=f"{name}_optical")
            )
        outputs = self.node._outputs
        for publisher in (outputs._pose, outputs._covariance):
            wait_until(lambda publisher=publisher: publisher.get_subscription_count() > 0)
        wait_until(lambda: outputs._broadcaster.pub_tf.get_subscription_count() > 1)

    def send(self, stamp_ns: int, *names: str, **greys: int) -> None:
        for name in names or ("front", "rear"):
            grey = greys.get(name, FRONT if name == "front" else REAR)
            self.images[name].publish(picture(grey, stamp_ns, f"{name}_optical"))

    def answer(self, stamp_ns: int, *names: str, **greys: int) -> np.ndarray:
        before = len(self.poses)
        self.send(stamp_ns, *names, **greys)
        wait_until(lambda: len(self.poses) > before, "the pose")
        assert ns_from_stamp(self.poses[-1].header.stamp) == stamp_ns
        return transform_from_pose_message(self.poses[-1].pose)

    def values(self) -> dict[str, str]:
        return diagnostic_values(self.diagnostics)


def test_two_cameras_are_asked_together_and_give_the_bases_pose(ros: Harness) -> None:
    robot = TwoCameras(ros, base_to_camera=STATIC)
    np.testing.assert_allclose(robot.answer(5_000), T_MAP_BASE, atol=1e-6)
    assert robot.fake.batches == [2]
    assert [camera for _, camera in robot.fake.asked[-2:]] == [CAMERA, CAMERA]
    wait_until(lambda: robot.transforms, "the transform")
    sent = robot.transforms[-1].transforms[0]
    assert (sent.header.frame_id, sent.child_frame_id) == ("map", "base_link")
    wait_until(lambda: robot.covariances, "the covariance")
    told = np.reshape(robot.covariances[-1].pose.covariance, (6, 6))
    information = sum(
        np.linalg.inv(covariance_at_offset(COVARIANCE, T_MAP_BASE[:3, 3] - T[:3, 3]))
        for T in (T_MAP_BASE @ T_BASE_FRONT, T_MAP_BASE @ T_BASE_REAR)
    )
    np.testing.assert_allclose(told, np.linalg.inv(information), atol=1e-9)


def test_the_extrinsics_may_come_from_tf_and_odometry_is_corrected(ros: Harness) -> None:
    robot = TwoCameras(ros)
    ros.send_static_tf(("base_link", "front_optical"), T=T_BASE_FRONT)
    wait_until(lambda: robot.node._pipeline._policy._watch.ancestors("front_optical"))
    ros._static.publish(_link("base_link", "rear_optical", T_BASE_REAR))
    T_odom_base = transform_from_pose((7.0, 0.0, 0.0), (0.0, 0.0, 1.0, 1.0))
    ros._static.publish(_link("odom", "base_link", T_odom_base))
    wait_until(
        lambda: robot.node._pipeline._policy._watch.ancestors("rear_optical")[-1:] == ["odom"]
    )
    now_ns = ros.tester.get_clock().now().nanoseconds
    np.testing.assert_allclose(robot.answer(now_ns), T_MAP_BASE, atol=1e-6)
    wait_until(
        lambda: any(t.child_frame_id == "odom" for m in robot.transforms for t in m.transforms)
    )


def _link(parent: str, child: str, T: Any) -> TFMessage:
    from mspr_ros.ros.conversions import message_from_transform, stamp_from_ns

    return TFMessage(transforms=[message_from_transform(T, parent, child, stamp_from_ns(0))])


def test_a_dead_camera_is_told_and_holds_nobody_up(ros: Harness) -> None:
    robot = TwoCameras(ros, base_to_camera=STATIC, camera_wait_s=0.05)
    robot.answer(5_000)
    for number in range(6, 10):  # the rear camera is dead from now on
        np.testing.assert_allclose(robot.answer(1_000 * number, "front"), T_MAP_BASE, atol=1e-6)
    rear = robot.node._cameras.topics["rear"].watch
    wait_until(lambda: rear.silence_s() > 1.0)
    assert not robot.node._cameras.is_live("rear")
    robot.answer(20_000, "front")

    def is_told() -> bool:
        robot.send(30_000, "front")
        message = robot.values().get("message", "")
        return "camera rear is silent" in message and "/rear/image" in message

    wait_until(is_told, "the dead camera in the diagnostics")
    assert "camera front is silent" not in robot.values()["message"]
    assert robot.values()["level"] == "1" and robot.values()["camera_rear_received"] == "1"


def test_a_camera_that_is_wrong_broken_or_unsure_is_left_out(ros: Harness) -> None:
    robot = TwoCameras(ros, base_to_camera=STATIC)
    unsure, far, elsewhere = 90, 100, 110
    wrong = transform_from_pose((9.0, 9.0, 9.0), (0.0, 0.0, 0.0, 1.0))
    robot.fake.answers[unsure] = {"accepted": False, "T_map_cam": wrong, "rejection": "unsure"}
    robot.fake.answers[far] = {"T_map_cam": wrong, "confidence": 0.3}
    robot.fake.answers[elsewhere] = {"T_map_cam": wrong, "confidence": 0.3, "scene": "office"}
    for number, grey in enumerate((unsure, far, elsewhere), start=1):
        T = robot.answer(number * 1_000_000_000, rear=grey)
        np.testing.assert_allclose(T, T_MAP_BASE, atol=1e-6)
    assert robot.fake.batches == [2, 2, 2]
    broken = picture(REAR, 5_000_000_000, "rear_optical")
    broken.step = 1
    robot.images["rear"].publish(broken)
    T = robot.answer(5_000_000_000, "front")
    np.testing.assert_allclose(T, T_MAP_BASE, atol=1e-6)
    wait_until(lambda: robot.values().get("malformed_image") == "1", "the broken image's count")
    assert robot.values()["camera_rear_outlier"] == "1"
    assert robot.values()["camera_rear_other_scene"] == "1"


def test_one_camera_without_tf_has_its_extrinsic_as_a_parameter(ros: Harness) -> None:
    fake = RigLocalizer()
    values = {"bundle": "b", "tf_settle_s": 0.2, "base_to_camera": STATIC[:7], "planar": True}
    node = LocalizerNode(lambda *args, **options: fake, **ros.parameters(values))
    poses = ros.collect(PoseStamped, "localizer/pose")
    transforms = ros.collect(TFMessage, "/tf")
    ros.add(node)
    wait_until(lambda: node.state_label == "active")
    images = ros.publisher(Image, "image")
    ros.publisher(CameraInfo, "camera_info").publish(info_message())
    wait_until(lambda: node._outputs._pose.get_subscription_count() > 0)
    wait_until(lambda: node._outputs._broadcaster.pub_tf.get_subscription_count() > 1)
    T_base_map = T_MAP_BASE.copy()
    T_base_map[2, 3] = 0.0  # planar
    fake.answers[FRONT] = {"T_map_cam": T_MAP_BASE @ T_BASE_FRONT}
    images.publish(picture(FRONT, 5_000, "camera_optical"))
    wait_until(lambda: poses and transforms)
    T = transform_from_pose_message(poses[-1].pose)
    np.testing.assert_allclose(T, T_base_map, atol=1e-6)
    assert transforms[-1].transforms[0].child_frame_id == "base_link"


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"cameras": ["a", "a"]}, "'cameras' must be different names"),
        ({"cameras": ["a", "b"], "publish_tf": "map_to_camera"}, "does not go with several"),
        ({"cameras": ["a", "b"], "base_to_camera": [1.0, 2.0]}, "14 finite numbers"),
    ],
)
def test_what_does_not_go_together_fails_configure(
    ros: Harness, parameters: dict[str, Any], says: str
) -> None:
    values = {"bundle": "some_bundle", **parameters}
    node = LocalizerNode(lambda *args, **options: FakeLocalizer(), **ros.parameters(values))
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    ros.add(node)
    wait_until(lambda: says in diagnostic_values(diagnostics).get("message", ""))
    assert node.state_label == "unconfigured"


# Transport ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["image", "camera_info"])
def test_a_publisher_that_offers_less_is_named_with_the_remedy(ros: Harness, topic: str) -> None:
    fake = FakeLocalizer()
    values = {"bundle": "some_bundle", "reliability": "reliable"}
    node = LocalizerNode(lambda *args, **options: fake, **ros.parameters(values))
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    ros.add(node)
    wait_until(lambda: node.state_label == "active")
    warned: list[str] = []
    node._cameras._warn = lambda kind, text: warned.append(text)
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    kind = Image if topic == "image" else CameraInfo
    ros.tester.create_publisher(kind, topic, qos)
    says = f"from /tester: it offers /{topic} best effort, reliable is asked for; set reliability"
    wait_until(lambda: any(says in text for text in warned), "the log")
    wait_until(lambda: says in diagnostic_values(diagnostics).get("message", ""))


def test_qos_overrides_and_depth_reach_the_subscription(ros: Harness) -> None:
    values = {
        "bundle": "some_bundle",
        "qos_depth": 3,
        "qos_overrides./image.subscription.reliability": "reliable",
    }
    node = LocalizerNode(lambda *args, **options: FakeLocalizer(), **ros.parameters(values))
    ros.add(node)
    wait_until(lambda: node.state_label == "active")
    found = {}
    for topic in ("/image", "/camera_info"):
        wait_until(lambda topic=topic: ros.tester.get_subscriptions_info_by_topic(topic))
        found[topic] = ros.tester.get_subscriptions_info_by_topic(topic)[0].qos_profile.reliability
    assert found["/image"] == ReliabilityPolicy.RELIABLE
    assert found["/camera_info"] == ReliabilityPolicy.BEST_EFFORT
    depths = [subscription.qos_profile.depth for subscription in node._cameras._subscriptions]
    assert depths == [3, 3]
    assert node.trigger_deactivate() and node.trigger_cleanup()
    assert node.trigger_configure()  # the overrides are declared already


def test_lost_images_are_told_with_the_remedy(ros: Harness) -> None:
    fake = FakeLocalizer()
    node = LocalizerNode(lambda *args, **options: fake, **ros.parameters({"bundle": "b"}))
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    ros.add(node)
    wait_until(lambda: node.state_label == "active")
    images = ros.publisher(Image, "image", QoSProfile(depth=200))
    watch = node._cameras.topics[""].watch
    for number in range(75):
        if number % 3:  # every third is lost
            before = watch.num_received
            images.publish(picture(FRONT, 1_000_000_000 + number * 33 * MS, "camera_optical"))
            wait_until(lambda before=before: watch.num_received > before)

    def is_told() -> bool:
        values = diagnostic_values(diagnostics)
        return "are lost on the way" in values.get("message", "")

    wait_until(is_told, "the loss in the diagnostics")
    assert float(diagnostic_values(diagnostics)["camera_lost_percent"]) > 20.0
