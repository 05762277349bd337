"""The nodes that stand in for a camera: bag player and simulator, over real DDS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bag_support import Drive as RecordedDrive
from bag_support import write_ros1_bag
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from ros_support import Harness, harness, wait_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, TimeReference
from std_msgs.msg import String
from test_bags import CAMERAS, make_dataset
from tf2_msgs.msg import TFMessage

from mspr_ros.bags import IMAGE, BagTopic, increasing_stamps, write_dataset_bag
from mspr_ros.data.camera_info import camera_from_info
from mspr_ros.data.images import read_image
from mspr_ros.errors import DatasetError, MsprError
from mspr_ros.ros import source
from mspr_ros.ros.bag_player_node import BagPlayer, published_names
from mspr_ros.ros.camera_sim_node import CameraSim
from mspr_ros.ros.conversions import (
    image_from_message,
    ns_from_stamp,
    stamp_from_ns,
    transform_from_message,
    transform_from_pose_message,
)
from mspr_ros.ros.odometry import DRIFT_PER_M, DRIFT_PER_RAD, OdometryMessages
from mspr_ros.ros.source import missing_listeners
from mspr_ros.simulator.drive import Drive
from mspr_ros.simulator.odometry import OdometryDrift
from mspr_ros.simulator.recording import pinhole
from mspr_ros.simulator.renderer import Renderer
from mspr_ros.simulator.world import World


@pytest.fixture
def ros() -> Iterator[Harness]:
    with harness() as started:
        yield started


def stamps_of(messages: list[Any]) -> list[int]:
    return [ns_from_stamp(message.header.stamp) for message in messages]


def play(ros: Harness, bag: Path, **parameters: Any) -> BagPlayer:
    wait_for = parameters.pop("wait_for", "image,ground_truth/pose,ground_truth/scene,camera_info")
    values = {"bag": str(bag), "wait_for": wait_for, "start_delay_s": 0.0, **parameters}
    player = BagPlayer(**ros.parameters(values))
    ros.add(player)
    return player


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_is_played_with_its_own_stamps_and_names(
    ros: Harness, tmp_path: Path, storage: str
) -> None:
    dataset = make_dataset(tmp_path / "data")
    write_dataset_bag(dataset, tmp_path / "bag", storage)
    poses = ros.collect(PoseStamped, "ground_truth/pose")
    scenes = ros.collect(String, "ground_truth/scene")
    infos = ros.collect(CameraInfo, "camera_info")
    player = play(ros, tmp_path / "bag", rate=50.0)
    assert not player.thread.is_done and poses == []  # nobody takes the images yet
    images = ros.collect(Image, "image")
    wait_until(lambda: player.thread.is_done and len(images) == 6)
    stamps, _ = increasing_stamps(dataset.frames)
    assert stamps_of(images) == stamps_of(infos) == stamps_of(poses) == stamps
    assert [scene.data for scene in scenes] == [frame.scene for frame in dataset.frames]
    for frame, info in zip(dataset.frames, infos, strict=True):
        assert camera_from_info(info, rectified=False) == CAMERAS[frame.camera]
        assert info.header.frame_id == f"{frame.camera}_optical"
    np.testing.assert_allclose(
        [transform_from_pose_message(pose.pose) for pose in poses], dataset.T_map_cam, atol=1e-12
    )


def test_answered_pace_sends_the_next_image_after_the_answer(ros: Harness, tmp_path: Path) -> None:
    write_dataset_bag(make_dataset(tmp_path / "data"), tmp_path / "bag", image_format="compressed")
    images = ros.collect(CompressedImage, "image/compressed")
    sent = ros.collect(TimeReference, "replay/sent")
    answers = ros.tester.create_publisher(String, "localizer/scene", 10)
    player = play(ros, tmp_path / "bag", pace="answered", wait_for="image/compressed,replay/sent")
    wait_until(lambda: answers.get_subscription_count() > 0)
    for count in range(1, 7):
        wait_until(lambda n=count: len(images) == n)
        assert not player.thread.is_done
        answers.publish(String(data="kitchen"))
    wait_until(lambda: player.thread.is_done and len(sent) == 6)
    assert stamps_of(sent) == stamps_of(images)
    assert abs(ns_from_stamp(sent[0].time_ref) / 1e9 - time.time()) < 60


def test_restamped_play_happens_now_and_keeps_its_intervals(ros: Harness, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    write_dataset_bag(dataset, tmp_path / "bag")
    images = ros.collect(Image, "image")
    clocks = ros.collect(Clock, "/clock")
    player = play(
        ros,
        tmp_path / "bag",
        rate=50.0,
        restamp=True,
        publish_clock=True,
        start_offset_s=0.03,
        wait_for="image",
    )
    wait_until(lambda: player.thread.is_done and len(images) == 5 and clocks)
    original, _ = increasing_stamps(dataset.frames)
    shifted = stamps_of(images)
    assert np.diff(shifted).tolist() == np.diff(original[1:]).tolist()
    assert abs(shifted[0] / 1e9 - time.time()) < 60


def test_compressed_images_are_decoded_for_who_listens_to_raw_ones(
    ros: Harness, tmp_path: Path
) -> None:
    dataset = make_dataset(tmp_path / "data")
    write_dataset_bag(dataset, tmp_path / "bag", image_format="compressed")
    images = ros.collect(Image, "image")
    player = play(ros, tmp_path / "bag", rate=50.0, decode=True, wait_for="image")
    wait_until(lambda: player.thread.is_done and len(images) == 6)
    assert stamps_of(images) == increasing_stamps(dataset.frames)[0]
    for message, frame in zip(images, dataset.frames, strict=True):
        assert message.header.frame_id == f"{frame.camera}_optical"
        truth = read_image(frame.image).astype(np.int16)
        assert np.abs(image_from_message(message) - truth).mean() < 8.0  # JPEG


def test_a_recordings_times_are_kept_whatever_a_message_costs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [100.0]
    stopping = SimpleNamespace(
        is_set=lambda: False, wait=lambda pause_s: now_s.__setitem__(0, now_s[0] + pause_s)
    )
    monkeypatch.setattr(source.time, "monotonic", lambda: now_s[0])
    schedule, sent_s = source.Schedule(stopping, rate=2.0), []
    recorded_s = [gap + 0.1 * image for image in range(20) for gap in (0.0, 0.001, 0.001)]
    for stamp_s in recorded_s:
        schedule.wait(int(1e9 * (7.0 + stamp_s)))
        sent_s.append(now_s[0] - 100.0)
        now_s[0] += 0.008  # what sending takes: more than most gaps
    late_s = np.array(sent_s) - np.array(recorded_s) / 2.0
    assert late_s.min() > -1e-6 and late_s.max() < 0.02
    now_s[0] += 5.0  # stopped by a debugger
    schedule.wait(int(9.1e9))
    late_s = now_s[0]
    schedule.wait(int(9.2e9))
    assert now_s[0] - late_s == pytest.approx(0.05)  # no rush afterwards


def test_a_bag_of_ros_1_is_refused_at_once(ros: Harness, tmp_path: Path) -> None:
    write_ros1_bag(tmp_path / "drive.bag", RecordedDrive(seconds=(1.0, 1.1)).events("tf"))
    with pytest.raises(DatasetError, match="ROS 1"):
        BagPlayer(**ros.parameters({"bag": str(tmp_path / "drive.bag")}))


def test_max_rate_holds_images_back(ros: Harness, tmp_path: Path) -> None:
    write_dataset_bag(make_dataset(tmp_path / "data"), tmp_path / "bag")
    images = ros.collect(Image, "image")
    start_s = time.monotonic()
    player = play(ros, tmp_path / "bag", rate=100.0, max_rate_hz=10.0, wait_for="image")
    wait_until(lambda: player.thread.is_done and len(images) == 6)
    assert time.monotonic() - start_s >= 0.5


def test_a_bag_that_is_none_or_not_clear_is_refused(ros: Harness, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        BagPlayer(**ros.parameters({"bag": str(tmp_path / "nowhere")}))
    topics = [BagTopic("/a/image", IMAGE, 1), BagTopic("/b/image", IMAGE, 1)]
    with pytest.raises(DatasetError, match="choose one"):
        published_names(topics)


def test_names_follow_the_image_topic() -> None:
    info = "sensor_msgs/msg/CameraInfo"
    topics = [
        BagTopic("/left/camera_info", info, 1),
        BagTopic("/left/image_raw", IMAGE, 1),
        BagTopic("/right/camera_info", info, 1),
        BagTopic("/right/image_raw", IMAGE, 1),
        BagTopic("/sim/ground_truth/pose", "geometry_msgs/msg/PoseStamped", 1),
        BagTopic("/tf", "tf2_msgs/msg/TFMessage", 1),
        BagTopic("/rosout", "rcl_interfaces/msg/Log", 1),
    ]
    assert published_names(topics, "/right/image_raw") == {
        "/right/image_raw": "image",
        "/right/camera_info": "camera_info",
        "/sim/ground_truth/pose": "ground_truth/pose",
        "/tf": "/tf",
    }


# The simulator -----------------------------------------------------------------------------------

SMALL = {"width": 64, "height": 48, "rate_hz": 50.0, "start_delay_s": 0.0, "scenes": "office"}


def test_the_simulator_publishes_what_it_sees_and_the_truth(ros: Harness) -> None:
    images = ros.collect(Image, "image")
    infos = ros.collect(CameraInfo, "camera_info")
    poses = ros.collect(PoseStamped, "ground_truth/pose")
    scenes = ros.collect(String, "ground_truth/scene")
    sim = CameraSim(
        **ros.parameters(
            {
                **SMALL,
                "frames": 4,
                "light": "even",
                "wait_for": "image,camera_info,ground_truth/pose,ground_truth/scene",
            }
        )
    )
    ros.add(sim)
    wait_until(lambda: sim.thread.is_done and len(images) == 4, timeout_s=60)
    assert sim.thread.failure == ""
    assert stamps_of(images) == stamps_of(infos) == stamps_of(poses)
    assert np.all(np.diff(stamps_of(images)) > 0)
    assert [scene.data for scene in scenes] == ["office"] * 4
    camera = camera_from_info(infos[0], rectified=False)
    assert camera == pinhole(64, 48, 70.0)
    world = World.build("demo")
    renderer = Renderer(world, camera)
    for image, pose in zip(images, poses, strict=True):
        assert image.header.frame_id == "camera_optical"
        T_map_cam = transform_from_pose_message(pose.pose)
        expected = renderer.render("office", T_map_cam)
        assert np.abs(image_from_message(image).astype(int) - expected).mean() < 1.0


def test_the_simulator_publishes_tf_and_odometry_that_drifts(ros: Harness) -> None:
    images = ros.collect(CompressedImage, "image/compressed")
    odometry = ros.collect(Odometry, "odom")
    transforms = ros.collect(TFMessage, "/tf")
    from rclpy.qos import DurabilityPolicy, QoSProfile

    static: list[Any] = []
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    ros.tester.create_subscription(TFMessage, "/tf_static", static.append, latched)
    sim = CameraSim(
        **ros.parameters(
            {
                **SMALL,
                "frames": 4,
                "image_transport": "compressed",
                "publish_odometry": True,
                "wait_for": "image/compressed",
                "start_delay_s": 0.3,
            }
        )
    )
    ros.add(sim)
    wait_until(lambda: sim.thread.is_done and len(images) == 4 and static, timeout_s=60)
    assert image_from_message(images[0]).shape == (48, 64, 3)
    wait_until(lambda: len(odometry) == 4 and len(transforms) == 4)
    (mount,) = static[0].transforms
    assert (mount.header.frame_id, mount.child_frame_id) == ("base_link", "camera_optical")
    np.testing.assert_allclose(
        transform_from_message(mount.transform), Drive.T_base_cam, atol=1e-9
    )
    assert stamps_of(odometry) == stamps_of(images)
    for message in odometry:
        assert min(np.diag(np.reshape(message.pose.covariance, (6, 6)))) > 0.0
        assert min(np.diag(np.reshape(message.twist.covariance, (6, 6)))) > 0.0
    assert odometry[-1].twist.twist.linear.x != 0.0
    (moved,) = transforms[-1].transforms
    assert (moved.header.frame_id, moved.child_frame_id) == ("odom", "base_link")
    np.testing.assert_allclose(
        transform_from_message(moved.transform),
        transform_from_pose_message(odometry[-1].pose.pose),
        atol=1e-12,
    )


def test_odometry_tells_velocity_and_how_far_it_may_be_off() -> None:
    """The covariance is that of many robots that drift as the model says."""
    interval_s, num_robots = 0.1, 300
    motions = []
    for index in range(150):
        T = np.eye(4)
        turn = 0.02 * np.sin(index / 20.0)
        T[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        T[0, 3] = 0.05
        motions.append(T)
    truth = [np.eye(4)]
    for motion in motions:
        truth.append(truth[-1] @ motion)
    messages = OdometryMessages("odom", "base_link", interval_s)
    told = [messages.message(T, stamp_from_ns(1)) for T in truth]
    for message in told:
        for part in (message.pose, message.twist):
            covariance = np.reshape(part.covariance, (6, 6))
            assert np.linalg.eigvalsh(covariance).min() > 0.0
    twist = told[-1].twist.twist
    turn = np.arctan2(motions[-1][1, 0], motions[-1][0, 0])
    assert (twist.linear.x, twist.linear.y) == (pytest.approx(0.5), pytest.approx(0.0))
    assert twist.angular.z == pytest.approx(turn / interval_s)
    ends = []
    for seed in range(num_robots):
        drift = OdometryDrift(seed, drift_per_m=DRIFT_PER_M, drift_per_rad=DRIFT_PER_RAD)
        for T in truth:
            end = drift.update("office", T)
        error = end @ np.linalg.inv(truth[-1])
        yaw = np.arctan2(error[1, 0], error[0, 0])
        ends.append([*(end[:2, 3] - truth[-1][:2, 3]), yaw])
    spread = np.std(ends, axis=0)
    expected = np.sqrt(np.diag(np.reshape(told[-1].pose.covariance, (6, 6)))[[0, 1, 5]])
    np.testing.assert_allclose(spread, expected, rtol=0.25)
    assert np.corrcoef(np.transpose(ends))[1, 2] * told[-1].pose.covariance[6 + 5] > 0.0


def test_a_topic_named_twice_waits_for_two_listeners(ros: Harness) -> None:
    image = ros.tester.create_publisher(Image, "image", 10)
    info = ros.tester.create_publisher(CameraInfo, "camera_info", 10)
    publishers, names = [image, info], ["/image", "/camera_info", "/camera_info", "/elsewhere"]
    assert missing_listeners(publishers, names) == ["/image", "/camera_info"]
    ros.collect(Image, "image")
    ros.collect(CameraInfo, "camera_info")
    wait_until(lambda: missing_listeners(publishers, names) == ["/camera_info"])
    assert info.get_subscription_count() == 1
    ros.collect(CameraInfo, "camera_info")
    wait_until(lambda: not missing_listeners(publishers, names))


def test_an_unknown_scene_or_parameter_is_refused(ros: Harness) -> None:
    with pytest.raises(MsprError, match="foo"):
        CameraSim(**ros.parameters({"scenes": "foo"}))
    with pytest.raises(MsprError, match="did you mean 'frames'"):
        CameraSim(**ros.parameters({"frmes": 3}))
