"""The node in operation: out of memory, hot reload, namespaces, a lifecycle manager, numbers."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.parameter import Parameter
from ros_support import (
    TIMEOUT_S,
    FakeLocalizer,
    Harness,
    diagnostic_values,
    harness,
    image_message,
    info_message,
    wait_until,
)
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from test_ros_localizer import Robot, change_state, state

from mspr_ros.device import is_out_of_gpu_memory, is_out_of_memory
from mspr_ros.errors import BundleError
from mspr_ros.localizer import PoseEstimate
from mspr_ros.ros.loading import release_gpu_memory
from mspr_ros.ros.localizer_node import LocalizerNode
from mspr_ros.ros.running import EventHandler


@pytest.fixture
def ros() -> Iterator[Harness]:
    with harness() as started:
        yield started


# GPU out of memory ------------------------------------------------------------------------------

NO_ROOM = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


class Gpu:
    """Makes localizers; those not on the CPU are out of memory from `full` on."""

    def __init__(self) -> None:
        self.full = False
        self.made: list[str] = []
        self.bundles: list[str] = []
        self.precisions: list[str] = []
        self.cpu_error: Exception | None = None

    def load(self, bundle: str, *, device: str, precision: str, **options: Any) -> FakeLocalizer:
        gpu = self

        class OnDevice(FakeLocalizer):
            def localize(self, image: Any, camera: Any = None) -> Any:
                if gpu.full and self.device != "cpu":
                    raise NO_ROOM
                return super().localize(image, camera)

        if device == "cpu" and self.cpu_error is not None:
            raise self.cpu_error
        localizer = OnDevice()
        localizer.device = "cpu" if device == "cpu" else "cuda"
        self.made.append(localizer.device)
        self.bundles.append(bundle)
        self.precisions.append(precision)
        return localizer


def test_a_gpu_that_runs_out_of_memory_makes_way_for_the_cpu(ros: Harness) -> None:
    gpu = Gpu()
    robot = Robot(ros, gpu.load)
    robot.start_camera()
    robot.send(1)
    robot.told("device", "cuda")
    gpu.full = True
    robot.images.publish(image_message(2))
    wait_until(lambda: gpu.made == ["cuda", "cpu"])
    wait_until(lambda: str(robot.node._pipeline.localizer.device) == "cpu")
    robot.send(3)
    robot.told("device", "cpu")
    robot.told("message", "the GPU is out of memory: the CPU answers instead")
    values = diagnostic_values(robot.diagnostics)
    assert values["level"] == "1" and values["failed"] == "1"
    assert "~/reload" in values["message"]
    # Still no room: the CPU again. Then there is: back to the GPU, and no more warning.
    assert ros.call(Trigger, "localizer/reload").success
    assert gpu.made == ["cuda", "cpu", "cuda", "cpu"]
    gpu.full = False
    assert ros.call(Trigger, "localizer/reload").success
    robot.send(4)
    robot.told("device", "cuda")
    wait_until(lambda: "memory" not in diagnostic_values(robot.diagnostics)["message"])


def test_the_cpu_takes_over_with_the_bundle_in_use_not_one_set_meanwhile(ros: Harness) -> None:
    gpu = Gpu()
    robot = Robot(ros, gpu.load)
    robot.start_camera()
    (result,) = robot.node.set_parameters([Parameter("bundle", value="for_later")])
    assert result.successful
    gpu.full = True
    robot.images.publish(image_message(1))
    wait_until(lambda: len(gpu.bundles) == 2)
    assert gpu.bundles == ["some_bundle", "some_bundle"]


def test_the_cpu_is_not_asked_for_a_precision_of_the_gpu(ros: Harness) -> None:
    gpu = Gpu()
    robot = Robot(ros, gpu.load, precision="bf16")
    robot.start_camera()
    gpu.full = True
    robot.images.publish(image_message(1))
    wait_until(lambda: gpu.made == ["cuda", "cpu"])
    assert gpu.precisions == ["bf16", "auto"]


def test_what_a_failed_computation_held_is_let_go() -> None:
    class Network:
        pass

    def fail(network: Network) -> None:
        raise NO_ROOM

    network = Network()
    held = weakref.ref(network)
    with pytest.raises(torch.cuda.OutOfMemoryError) as error:
        fail(network)
    del network
    assert held() is not None
    release_gpu_memory(error.value)
    assert held() is None


def test_where_the_cpu_cannot_take_over_either_it_is_told(ros: Harness) -> None:
    gpu = Gpu()
    robot = Robot(ros, gpu.load)
    robot.start_camera()
    gpu.cpu_error = BundleError("the folder is gone")
    gpu.full = True
    robot.images.publish(image_message(1))
    robot.told("message", "the CPU cannot take over: the folder is gone")
    assert robot.node.state_label == "active"


def test_a_gpu_out_of_memory_during_a_reload_does_not_undo_the_reload(ros: Harness) -> None:
    old, new = FakeLocalizer(), FakeLocalizer(scene="office")
    old.device = "cuda"
    robot = Robot(ros, lambda *args, **options: old)
    robot.start_camera()
    robot.send(1)
    robot.node._loader.factory = lambda *args, **options: new
    assert ros.call(Trigger, "localizer/reload").success
    # The old one's answer fails only now.
    assert robot.node._answering is old
    assert robot.node._go_on_on_cpu(NO_ROOM)
    assert robot.node._pipeline.localizer is new and not robot.node._loader.fallback


def test_a_cpu_without_room_either_leaves_the_node_alive(ros: Harness) -> None:
    gpu = FakeLocalizer()
    gpu.device = "cuda"
    robot = Robot(ros, lambda *args, **options: gpu)
    robot.start_camera()
    robot.send(1)

    def no_room(*args: Any, **options: Any) -> Any:
        raise MemoryError("no room on the CPU either")

    robot.node._loader.factory = no_room
    localize, gpu.localize = gpu.localize, lambda *_: (_ for _ in ()).throw(NO_ROOM)
    robot.images.publish(image_message(2))
    robot.told("message", "the CPU cannot take over")
    gpu.localize = localize  # somebody gave memory back
    assert robot.send(3).header.stamp.nanosec == 3


def test_what_counts_as_out_of_memory() -> None:
    assert is_out_of_gpu_memory(NO_ROOM)
    for text in (
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        "CUDA error: out of memory",  # another process has it all
    ):
        assert is_out_of_gpu_memory(RuntimeError(text)), text
    assert not is_out_of_gpu_memory(RuntimeError("shapes differ"))
    assert not is_out_of_gpu_memory(ValueError("CUDA out of memory"))
    assert not is_out_of_gpu_memory(MemoryError("of the CPU"))
    assert is_out_of_memory(MemoryError("of the CPU"))


# ~/reload under a stream ------------------------------------------------------------------------


class Counting(FakeLocalizer):
    """Remembers how many threads torch would have computed each answer with."""

    def __init__(self, **answer: Any) -> None:
        super().__init__(**answer)
        self.num_threads: list[int] = []

    def localize(self, *args: Any) -> PoseEstimate:
        self.num_threads.append(torch.get_num_threads())
        return super().localize(*args)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_images_are_answered_while_a_bundle_loads(ros: Harness, threads: None) -> None:
    first, other = Counting(), Counting(scene="office")
    robot = Robot(ros, lambda *args, **options: first, num_threads=2)
    robot.start_camera()
    robot.send(1)
    may_load = threading.Event()
    asked = threading.Event()

    def slow(*args: Any, **options: Any) -> FakeLocalizer:
        asked.set()
        assert may_load.wait(TIMEOUT_S)
        return other

    robot.node._loader.factory = slow
    client = ros.tester.create_client(Trigger, "localizer/reload")
    assert client.wait_for_service(timeout_sec=TIMEOUT_S)
    future = client.call_async(Trigger.Request())
    assert asked.wait(TIMEOUT_S)
    for stamp_ns in range(2, 12):
        robot.send(stamp_ns)  # no gap at all: the old one answers each
    assert not future.done()
    may_load.set()
    wait_until(future.done)
    assert future.result().success
    robot.send(12)
    wait_until(lambda: robot.scenes[-1].data == "office")
    assert [pose.header.stamp.nanosec for pose in robot.poses] == list(range(1, 13))
    # A core is left to the loader. The first answer of each is the loader's own trial.
    assert first.num_threads[1:] == [2] + 10 * [1]
    assert other.num_threads[1:] == [2]


# Namespaces, remapping, lifecycle ---------------------------------------------------------------


def test_everything_moves_with_namespace_name_and_remapping(ros: Harness) -> None:
    fake = FakeLocalizer()
    arguments = ros.parameters({"bundle": "b", "tf_settle_s": 0.2})
    arguments["cli_args"] = ["--ros-args", "-r", "__ns:=/robot7", "-r", "__node:=where"]
    for rule in ("image:=/cam/image_raw", "~/pose:=/pose7", "/tf:=tf", "/tf_static:=tf_static"):
        arguments["cli_args"] += ["-r", rule]
    node = LocalizerNode(lambda *a, **o: fake, **arguments)
    ros.add(node)
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    poses = ros.collect(PoseStamped, "/pose7")
    wait_until(lambda: node.state_label == "active")
    # A rule for `image` does not cover `camera_info`, which stays in the namespace.
    ros.publisher(CameraInfo, "/robot7/camera_info").publish(info_message())
    images = ros.publisher(Image, "/cam/image_raw")
    wait_until(lambda: node._outputs._pose.get_subscription_count() > 0)
    images.publish(image_message(1))
    wait_until(lambda: poses)
    published = dict(node.get_publisher_names_and_types_by_node("where", "/robot7"))
    for topic in ("pose_with_covariance", "scene", "path", "markers"):
        assert f"/robot7/where/{topic}" in published
    assert "/robot7/initialpose" in published
    assert "/robot7/tf" in published and "/tf" not in published
    assert ros.call(Trigger, "/robot7/where/reload").success
    assert ros.call(GetState, "/robot7/where/get_state").current_state.label == "active"
    wait_until(lambda: diagnostics)
    assert diagnostics[-1].status[0].name == "robot7/where: localization"


def test_a_manual_deactivate_stays_whatever_autostart_says(ros: Harness) -> None:
    robot = Robot(ros)  # autostart
    robot.start_camera()
    robot.send(1)
    assert change_state(ros, Transition.TRANSITION_DEACTIVATE)
    before = len(robot.diagnostics)
    wait_until(lambda: len(robot.diagnostics) >= before + 3)  # three seconds of everything else
    assert state(ros) == "inactive"
    assert diagnostic_values(robot.diagnostics)["state"] == "inactive"


def test_a_lifecycle_manager_like_nav2s_drives_it(ros: Harness) -> None:
    """As nav2_lifecycle_manager does without bonds: change_state, then get_state must agree."""
    robot = Robot(ros, autostart=False)

    def manage(transition: int, expected: int) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        assert ros.call(ChangeState, "localizer/change_state", request).success
        assert ros.call(GetState, "localizer/get_state").current_state.id == expected

    assert ros.call(GetState, "localizer/get_state").current_state.id == 1
    for _ in range(2):  # STARTUP, PAUSE, RESUME, RESET
        manage(Transition.TRANSITION_CONFIGURE, 2)
        manage(Transition.TRANSITION_ACTIVATE, 3)
        manage(Transition.TRANSITION_DEACTIVATE, 2)
        manage(Transition.TRANSITION_ACTIVATE, 3)
        robot.start_camera()
        robot.send(len(robot.poses) + 1)
        manage(Transition.TRANSITION_DEACTIVATE, 2)
        manage(Transition.TRANSITION_CLEANUP, 1)
    manage(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN, 4)  # SHUTDOWN


def test_what_goes_to_tf_is_changed_at_run_time(ros: Harness) -> None:
    robot = Robot(ros, publish_tf="none")
    robot.start_camera()
    robot.send(1)
    robot.told("publish_tf", "publish_tf is none")
    for mode, refused in (("sideways", "must be one of"), ("map_to_camera", "")):
        (result,) = robot.node.set_parameters([Parameter("publish_tf", value=mode)])
        assert result.successful is not bool(refused) and refused in result.reason
    robot.send(2)
    wait_until(lambda: robot.transforms)
    assert robot.transforms[0].transforms[0].header.stamp.nanosec == 2
    robot.node.set_parameters([Parameter("publish_tf", value="none")])
    robot.send(3)
    robot.told("publish_tf", "publish_tf is none")
    assert len(robot.transforms) == 1


# What diagnostics tell --------------------------------------------------------------------------


def test_diagnostics_tell_everything_one_looks_for(ros: Harness) -> None:
    robot = Robot(ros, min_confidence=0.5)
    robot.start_camera()
    now_ns = int(robot.node.get_clock().now().nanoseconds)
    robot.send(now_ns)
    robot.fake.answer["confidence"] = 0.4
    robot.images.publish(image_message(now_ns + 1))
    robot.told("rejected", "1")
    values = diagnostic_values(robot.diagnostics)
    for stage in ("wait", "decode", "preprocess", "network", "publish", "total"):
        for percent in (50, 95, 99):
            assert float(values[f"latency_{stage}_p{percent}_ms"]) >= 0.0
    for percent in (50, 95, 99):
        assert 0.0 <= float(values[f"age_at_arrival_p{percent}_ms"]) < 60_000.0
    assert float(values["image_rate_hz"]) > 0.0
    assert {key: values[key] for key in ("received", "answered", "rejected", "dropped")} == {
        **{"received": "2", "answered": "1", "rejected": "1", "dropped": "0"}
    }
    gates = {key: n for key, n in values.items() if key.startswith("rejected_")}
    assert sum(int(n) for n in gates.values()) == 1
    assert values["scene"] == "unknown"
    for key, value in {
        **{"device": "cpu", "backend": "fake", "precision": "fp32", "state": "active"},
        **{"bundle_hash": robot.fake.content_hash, "calibration": "uncalibrated"},
    }.items():
        assert values[key] == value
    robot.fake.answer.clear()
    robot.send(now_ns + 2)
    robot.told("scene", "kitchen")


def test_an_age_of_another_clock_is_none(ros: Harness) -> None:
    robot = Robot(ros)
    robot.start_camera()
    robot.send(1)  # 1970
    robot.told("answered", "1")
    assert "age_at_arrival_p50_ms" not in diagnostic_values(robot.diagnostics)


def test_executors_hear_of_no_qos_event_of_the_localizer(ros: Harness) -> None:
    node = LocalizerNode(lambda *a, **o: FakeLocalizer(), **ros.parameters({"bundle": "b"}))
    try:
        assert any(publisher.event_handlers for publisher in node.publishers)
        assert not [one for one in node.waitables if isinstance(one, EventHandler)]
    finally:
        node.destroy_node()
