"""The node's parts without DDS: worker, TF policy, parameters, conversions, rotation, cameras."""

from __future__ import annotations

import array
import threading
from typing import Any

import cv2
import numpy as np
import pytest
from ros_support import CAMERA, diagnostic_values, header, info_message, wait_until
from sensor_msgs.msg import CompressedImage, Image

from mspr_ros.camera import CameraModel, VirtualCamera, warp_to_virtual
from mspr_ros.data.camera_info import camera_from_info, is_rectified_topic
from mspr_ros.errors import ImageError
from mspr_ros.geometry import transform_from_pose
from mspr_ros.ros.camera_infos import CameraInfos
from mspr_ros.ros.conversions import (
    compressed_from_image,
    image_from_message,
    info_from_camera,
    message_from_image,
    message_from_transform,
    ns_from_stamp,
    stamp_from_ns,
    transform_from_message,
)
from mspr_ros.ros.diagnostics import FrameStatistics
from mspr_ros.ros.parameter_specs import problems_with
from mspr_ros.ros.parameters import LOCALIZER_PARAMETERS
from mspr_ros.ros.report import node_report
from mspr_ros.ros.rotation import T_rotated_cam, rotated_camera, rotated_image
from mspr_ros.ros.tf_policy import ParentWatch, TfPolicy
from mspr_ros.ros.worker import NewestFrameWorker

SPECS = {spec.name: spec for spec in LOCALIZER_PARAMETERS}


def rgb(height: int = 4, width: int = 5) -> Any:
    return np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)


def encoded(pixels: Any, encoding: str, pad: int = 0) -> Image:
    """Build an Image of an encoding whose rows are followed by `pad` bytes."""
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    height, width, channels = pixels.shape
    rows = np.full((height, width * channels + pad), 77, np.uint8)
    rows[:, : width * channels] = pixels.reshape(height, -1)
    return Image(
        height=height,
        width=width,
        encoding=encoding,
        step=width * channels + pad,
        data=array.array("B", rows.tobytes()),
    )


# Worker ------------------------------------------------------------------------------------------


def test_worker_takes_the_newest_and_the_counts_add_up() -> None:
    gate, seen = threading.Event(), []

    def process(item: int) -> None:
        seen.append(item)
        gate.wait(10)

    worker: NewestFrameWorker[int] = NewestFrameWorker(process, on_error=lambda error: None)
    worker.submit(0)
    wait_until(lambda: seen == [0])
    for item in range(1, 6):
        worker.submit(item)
    gate.set()
    wait_until(lambda: worker.counts.processed == 2)
    assert seen == [0, 5]
    assert worker.stop(5)
    counts = worker.counts
    assert (counts.received, counts.processed, counts.dropped, counts.failed) == (6, 2, 4, 0)


def test_worker_lives_on_after_an_error_and_drops_what_waits_when_stopped() -> None:
    errors: list[Exception] = []

    def process(item: int) -> None:
        if item == 0:
            raise ValueError("bad")

    worker: NewestFrameWorker[int] = NewestFrameWorker(
        process, on_error=errors.append, is_ready=lambda item: item < 2
    )
    worker.submit(0)
    wait_until(lambda: errors)
    worker.submit(1)
    wait_until(lambda: worker.counts.processed == 1)
    worker.submit(2)  # never ready
    assert worker.stop(5)
    assert (worker.counts.failed, worker.counts.dropped) == (1, 1)


def test_worker_survives_a_report_that_fails() -> None:
    reported: list[Exception] = []

    def report(error: Exception) -> None:
        reported.append(error)
        raise MemoryError("no room for a report")

    def process(item: int) -> None:
        if item == 0:
            raise ValueError("bad")

    worker: NewestFrameWorker[int] = NewestFrameWorker(process, on_error=report)
    worker.submit(0)
    wait_until(lambda: worker.counts.failed == 1)
    worker.submit(1)
    wait_until(lambda: worker.counts.processed == 1)
    assert worker.stop(5) and len(reported) == 1


def test_worker_keeps_the_interval_unless_it_is_urgent() -> None:
    seen: list[int] = []
    worker: NewestFrameWorker[int] = NewestFrameWorker(
        seen.append, on_error=lambda error: None, interval_s=lambda: 1000.0
    )
    worker.submit(0)
    wait_until(lambda: seen == [0])
    worker.submit(1)
    assert not worker._thread.join(0.1) and seen == [0]
    worker.submit(2, urgent=True)
    wait_until(lambda: seen == [0, 2])
    assert worker.stop(5)


# TF policy ---------------------------------------------------------------------------------------


class ManualClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def policy(mode: str = "auto") -> tuple[TfPolicy, ParentWatch, ManualClock]:
    clock = ManualClock()
    watch = ParentWatch(clock)
    return TfPolicy(mode, "base_link", "odom", 1.0, watch), watch, clock


def test_auto_waits_until_tf_has_settled() -> None:
    decide, watch, clock = policy()
    assert decide.decide("cam") is None
    clock.now = 0.9
    watch.note("base_link", "cam")
    clock.now = 1.8
    assert decide.decide("cam") is None
    clock.now = 1.95
    decision = decide.decide("cam")
    assert decision is not None
    assert (decision.frame, decision.publish) == ("base_link", True)


@pytest.mark.parametrize(
    ("links", "frame", "publish", "says"),
    [
        ([], "cam", True, "map_to_camera"),
        ([("base_link", "link"), ("link", "cam")], "base_link", True, "map_to_base"),
        ([("odom", "base_link"), ("base_link", "cam")], "cam", True, "map_to_odom"),
        (
            [("x", "odom"), ("odom", "base_link"), ("base_link", "cam")],
            "cam",
            False,
            "odom already",
        ),
        ([("mount", "cam")], "cam", False, "parent mount"),
        ([("footprint", "base_link"), ("base_link", "cam")], "base_link", False, "footprint"),
        ([("a", "cam"), ("cam", "a")], "cam", False, "parent a"),
    ],
)
def test_auto_takes_the_highest_frame_and_never_a_second_parent(
    links: list[tuple[str, str]], frame: str, publish: bool, says: str
) -> None:
    decide, watch, clock = policy()
    for parent, child in links:
        watch.note(parent, child)
    clock.now = 10.0
    decision = decide.decide("cam")
    assert decision is not None
    assert (decision.frame, decision.publish) == (frame, publish)
    assert says in decision.reason
    assert decision.is_problem is not publish


@pytest.mark.parametrize("mode", ["map_to_camera", "map_to_base"])
def test_a_fixed_mode_waits_once_for_tf_since_a_parent_may_still_be_told(mode: str) -> None:
    decide, watch, clock = policy(mode)
    clock.now = 0.9
    assert decide.decide("cam") is None
    clock.now = 1.1
    decision = decide.decide("cam")
    assert decision is not None and decision.publish
    watch.note("somebody", "else")
    assert decide.decide("cam") == decision  # only the first decision waits
    decide, watch, clock = policy(mode)
    watch.note("odom", "base_link")
    watch.note("base_link", "cam")
    clock.now = 1.1
    decision = decide.decide("cam")
    assert decision is not None and not decision.publish


def test_tf_that_never_rests_is_waited_for_only_so_long() -> None:
    decide, watch, clock = policy()
    watch.note("odom", "base_link")
    watch.note("base_link", "cam", is_static=True)
    answers = []
    for number in range(20):  # a tracker that names a frame for each person
        clock.now = 0.5 * number
        watch.note("map", f"person_{number}")
        answers.append(decide.decide("cam"))
    assert answers[:10] == 10 * [None]
    assert answers[10] is not None and answers[10].odom_frame == "odom"
    assert None not in answers[10:]
    for number in range(3000):
        clock.now += 0.5
        watch.note("map", f"later_{number}")
    assert len(watch._parents) < 1100
    assert watch.parents("cam") == ["base_link"]


def test_mode_none_does_not_wait() -> None:
    decide, _, _ = policy("none")
    assert decide.decide("cam") is not None


def test_frames_given_with_a_slash_are_the_same_frames() -> None:
    clock = ManualClock()
    watch = ParentWatch(clock)
    decide = TfPolicy("auto", "/base_link", "/odom", 1.0, watch)
    watch.note("base_link", "cam")
    clock.now = 2.0
    decision = decide.decide("/cam")
    assert decision is not None and decision.publish and decision.frame == "base_link"
    watch.note_own("/map", "/base_link")
    watch.note("map", "base_link")  # the echo, as TF brings it
    assert watch.parents("/base_link") == []
    assert decide.decide("/cam") == decision
    watch.note("odom", "base_link")
    clock.now = 4.0
    decision = decide.decide("/cam")
    assert decision is not None and "map_to_odom" in decision.reason


def test_a_second_parent_that_has_gone_silent_stops_nothing_any_more() -> None:
    decide, watch, clock = policy("map_to_odom")
    watch.note("odom", "base_link")
    watch.note("base_link", "cam", is_static=True)
    watch.note("map", "odom")  # AMCL's
    clock.now = 2.0
    decision = decide.decide("cam")
    assert decision is not None and not decision.publish
    clock.now = 11.0  # AMCL has ended
    decision = decide.decide("cam")
    assert decision is not None and decision.publish and decision.odom_frame == "odom"
    assert watch.ancestors("cam") == ["base_link", "odom", "map"]  # a silent driver may come back
    assert watch.parents("cam") == ["base_link"]  # told once and for all
    watch.note("map", "odom")
    decision = decide.decide("cam")
    assert decision is not None and not decision.publish


def test_a_simulation_that_stands_still_forgets_nobody() -> None:
    clock, ros_clock = ManualClock(), ManualClock()
    watch = ParentWatch(clock, ros_clock)
    watch.note("map", "odom")
    clock.now = 1000.0
    assert watch.parents("odom") == ["map"]
    ros_clock.now = 11.0
    assert watch.parents("odom") == []


@pytest.mark.parametrize("mode", ["map_to_camera", "map_to_base"])
def test_a_second_parent_stops_the_others_too_but_the_own_echo_does_not(mode: str) -> None:
    decide, watch, clock = policy(mode)
    clock.now = 2.0
    first = decide.decide("cam")
    assert first is not None and first.publish
    watch.note_own("map", first.frame)
    watch.note("map", first.frame)
    again = decide.decide("cam")
    assert again is not None and again.publish
    watch.note("elsewhere", first.frame)
    stopped = decide.decide("cam")
    assert stopped is not None and not stopped.publish and "elsewhere" in stopped.reason


def test_a_link_of_the_same_names_with_a_stamp_never_given_is_somebody_elses() -> None:
    decide, watch, clock = policy("map_to_odom")
    clock.now = 2.0
    first = decide.decide("cam")
    assert first is not None and first.publish
    assert (first.frame, first.child) == ("cam", "odom")
    watch.note_own("map", "odom", 5)
    watch.note("map", "odom", 5)
    again = decide.decide("cam")
    assert again is not None and again.publish
    watch.note("map", "odom", 6)  # AMCL
    stopped = decide.decide("cam")
    assert stopped is not None and not stopped.publish
    assert "odom already has the parent map" in stopped.reason and "AMCL" in stopped.reason


def test_auto_follows_odometry_that_comes_late() -> None:
    decide, watch, clock = policy()
    watch.note("base_link", "cam")
    clock.now = 5.0
    decision = decide.decide("cam")
    assert decision is not None and decision.publish
    watch.note("odom", "base_link")
    decision = decide.decide("cam")  # at once: a second parent
    assert decision is not None and not decision.publish
    clock.now = 7.0
    decision = decide.decide("cam")
    assert decision is not None and "map_to_odom" in decision.reason


# Parameters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("max_rate_hz", -1.0, "within"),
        ("max_rate_hz", float("nan"), "within"),
        ("max_rate_hz", "fast", "must be float"),
        ("image_rotation_deg", 45, "one of 0, 90, 180, 270"),
        ("image_rotation_deg", 90.0, "must be int"),
        ("publish_tf", "map_to_moon", "one of auto, none"),
        ("publish_initialpose", "always", "one of never, once"),
        ("tf_rate_hz", 0.0, "within 1 and 200"),
        ("autostart", "yes", "must be bool"),
        ("autostart", 1, "must be bool"),
        ("min_confidence", True, "must be float"),
        ("bundel", "x", "did you mean 'bundle'"),
    ],
)
def test_bad_values_are_refused_with_the_reason(name: str, value: Any, says: str) -> None:
    (problem,) = problems_with({name: value}, SPECS)
    assert name in problem
    assert says in problem


def test_good_values_pass_and_all_problems_are_told_at_once() -> None:
    assert not problems_with({"max_rate_hz": 5, "use_sim_time": True, "scene": "a"}, SPECS)
    assert len(problems_with({"max_rate_hz": -1, "nonsense": 1}, SPECS)) == 2


def test_every_parameter_is_described_and_its_default_is_allowed() -> None:
    for spec in LOCALIZER_PARAMETERS:
        assert spec.problem_with(spec.default) == ""
        assert len(spec.description) > 10
        assert spec.descriptor().description == spec.description


# Images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pad", [0, 7])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_common_encodings_give_rgb_whatever_the_step(encoding: str, pad: int) -> None:
    pixels = rgb()
    alpha = np.full((*pixels.shape[:2], 1), 9, np.uint8)
    stored = {
        "rgb8": pixels,
        "bgr8": pixels[..., ::-1],
        "rgba8": np.concatenate([pixels, alpha], axis=2),
        "bgra8": np.concatenate([pixels[..., ::-1], alpha], axis=2),
        "mono8": pixels[..., :1],
    }[encoding]
    expected = np.repeat(pixels[..., :1], 3, axis=2) if encoding == "mono8" else pixels
    np.testing.assert_array_equal(image_from_message(encoded(stored, encoding, pad)), expected)


def test_rgb8_is_not_copied_and_the_last_rows_padding_may_be_missing() -> None:
    message = encoded(rgb(), "rgb8", pad=7)
    message.data = message.data[:-7]
    pixels = image_from_message(message)
    message.data[0] = 200 if message.data[0] != 200 else 100
    assert pixels[0, 0, 0] == message.data[0]


def test_other_encodings_go_through_cv_bridge() -> None:
    np.testing.assert_array_equal(
        image_from_message(encoded(np.full((4, 6), 100, np.uint8), "bayer_rggb8")),
        np.full((4, 6, 3), 100),
    )


def bad_image(**changes: Any) -> Image:
    message = encoded(rgb(), "rgb8")
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (Image(), "empty"),
        (bad_image(width=0), "empty"),
        (bad_image(data=array.array("B")), "empty"),
        (bad_image(width=6), "step"),
        (bad_image(height=5), "bytes"),
        (bad_image(step=3), "step"),
        (bad_image(encoding="nonsense"), "nonsense"),
        (bad_image(encoding="32FC1"), "32FC1"),
        (bad_image(encoding=""), "encoding"),
    ],
)
def test_bad_images_are_refused_with_the_reason(message: Image, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        image_from_message(message)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_compressed_images_are_decoded(suffix: str) -> None:
    smooth = cv2.resize(rgb(), (64, 48), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(suffix, smooth[..., ::-1])[1].tobytes()
    message = CompressedImage(format=suffix[1:], data=array.array("B", data))
    difference = np.abs(image_from_message(message).astype(int) - smooth)
    assert difference.mean() < (3 if suffix == ".jpg" else 1e-9)
    assert image_from_message(compressed_from_image(smooth)).shape == smooth.shape


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        (b"", "jpeg", "empty"),
        (b"junk", "png", "4 bytes"),
        (b"x", "32FC1; compressedDepth", "depth"),
    ],
)
def test_bad_compressed_images_are_refused(data: bytes, kind: str, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        image_from_message(CompressedImage(format=kind, data=array.array("B", data)))


def test_images_and_stamps_and_transforms_survive_the_way_there_and_back() -> None:
    np.testing.assert_array_equal(image_from_message(message_from_image(rgb())), rgb())
    assert ns_from_stamp(stamp_from_ns(1_700_000_000_123_456_789)) == 1_700_000_000_123_456_789
    T = transform_from_pose((1, 2, 3), (0.1, 0.2, -0.3, 0.9))
    message = message_from_transform(T, "a", "b", stamp_from_ns(5))
    np.testing.assert_allclose(transform_from_message(message.transform), T, atol=1e-12)


# Cameras -----------------------------------------------------------------------------------------

LENS = CameraModel(
    64, 48, 50.0, 52.0, 30.0, 20.0, "rational_polynomial",
    (0.1, -0.05, 0.002, -0.003, 0.01, 0.02, 0.01, 0.001, 0.004, -0.002, 0.003, 0.001),
)  # fmt: skip


@pytest.mark.parametrize("camera", [CAMERA, LENS])
def test_camera_info_gives_the_camera_back(camera: CameraModel) -> None:
    assert camera_from_info(info_from_camera(camera), rectified=False) == camera


def test_rectified_takes_p_binning_and_region_shrink_and_zero_is_uncalibrated() -> None:
    info = info_from_camera(LENS)
    info.p[0] = 40.0
    camera = camera_from_info(info, rectified=True)
    assert camera is not None and camera.fx == 40.0 and not camera.is_distorted
    info.binning_x = info.binning_y = 2
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 10, 4, 40, 30
    camera = camera_from_info(info, rectified=False)
    assert camera is not None
    assert (camera.width, camera.height, camera.fx) == (20, 15, 25.0)
    assert (camera.cx, camera.cy) == ((30.0 - 10 + 0.5) / 2 - 0.5, (20.0 - 4 + 0.5) / 2 - 0.5)
    info.k[0] = info.k[4] = 0.0
    assert camera_from_info(info, rectified=False) is None


@pytest.mark.parametrize(
    ("topic", "is_rectified"),
    [
        ("/camera/image_rect", True),
        ("/camera/image_rect_color", True),
        ("/camera/image_rect/compressed", True),
        ("/camera/rect", True),
        ("/camera/image_rectified", True),
        ("/rect/image_raw", False),
        ("/direct_cam/image_raw", False),
        ("/corrected/image", False),
        ("/camera/image_corrected", False),
        ("/camera/direct_image", False),
        ("/image", False),
    ],
)
def test_the_last_part_of_a_topic_tells_whether_it_is_rectified(
    topic: str, is_rectified: bool
) -> None:
    assert is_rectified_topic(topic) is is_rectified


def test_camera_infos_wait_for_a_grace_period_and_report_sizes() -> None:
    clock, warnings = ManualClock(), []
    infos = CameraInfos(False, lambda: True, 1.0, warnings.append, clock)
    assert not infos.is_ready("cam")
    clock.now = 1.5
    assert infos.is_ready("cam")
    assert infos.camera_for("cam", 64, 48) is None
    assert infos.camera_for("cam", 64, 48) is None
    assert len(warnings) == 1
    infos.take(info_message(frame_id="cam"))
    assert infos.camera_for("cam", 64, 48) == CAMERA
    with pytest.raises(ImageError, match="64x48 but the image 32x24"):
        infos.camera_for("cam", 32, 24)
    assert not infos.is_ready("other")
    bad = info_message(frame_id="cam")
    bad.distortion_model, bad.d = "magic", [0.1]
    with pytest.raises(ImageError, match="magic"):
        infos.take(bad)
    assert infos.camera_for("cam", 64, 48) is None


def test_a_bundle_that_uses_no_intrinsics_is_not_held_up_by_wrong_ones() -> None:
    wanted = [False]
    infos = CameraInfos(False, lambda: wanted[0], 1.0, lambda text: None, ManualClock())
    infos.take(info_message(frame_id="cam"))
    assert infos.is_ready("other")
    assert infos.camera_for("cam", 32, 24) is None
    wanted[0] = True  # another bundle, after a reload
    assert not infos.is_ready("other")
    with pytest.raises(ImageError, match="64x48 but the image 32x24"):
        infos.camera_for("cam", 32, 24)


def test_camera_infos_of_any_number_of_names_take_bounded_memory() -> None:
    infos = CameraInfos(False, lambda: True, 1.0, lambda text: None, ManualClock())
    for number in range(500):
        infos.take(info_message(frame_id=f"cam{number}"))
        infos.is_ready(f"other{number}")
        infos.camera_for(f"other{number}", 64, 48)
    assert infos.camera_for("cam499", 64, 48) == CAMERA
    tables = (infos._cameras, infos._first_asked_s, infos._warned)
    assert [len(table) for table in tables] == [64, 64, 64]


# Rotation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_a_turned_picture_and_its_turned_camera_see_the_same_rays(rotation_deg: int) -> None:
    """Undistorting the turned picture equals turning the undistorted one."""
    smooth = cv2.resize(rgb(6, 8), (64, 48), interpolation=cv2.INTER_CUBIC)
    virtual = VirtualCamera(30.0, 30.0, 15.5, 15.5, 32, 32)
    expected = rotated_image(warp_to_virtual(smooth, LENS, virtual), rotation_deg)
    turned = warp_to_virtual(
        rotated_image(smooth, rotation_deg), rotated_camera(LENS, rotation_deg), virtual
    )
    assert np.abs(turned.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_a_point_keeps_its_pixel_when_camera_and_frame_are_turned(rotation_deg: int) -> None:
    camera, point = CAMERA, np.array([0.19, -0.11, 1.0, 1.0])
    u, v, w = camera.K @ point[:3]
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    image[round(v / w), round(u / w)] = 255
    turned = rotated_camera(camera, rotation_deg)
    u, v, w = turned.K @ (T_rotated_cam(rotation_deg) @ point)[:3]
    assert rotated_image(image, rotation_deg)[round(v / w), round(u / w), 0] == 255


# Statistics --------------------------------------------------------------------------------------


def test_statistics_tell_rates_percentiles_and_reasons() -> None:
    clock = ManualClock()
    statistics = FrameStatistics(clock)
    for number in range(100):
        clock.now = number / 10
        statistics.received()
        statistics.answer({"network": float(number)})
    statistics.rejection("estimate", "confidence too low")
    statistics.malformed("image", "empty image")
    values = statistics.values()
    assert values["answered"] == "100"
    assert float(values["image_rate_hz"]) == pytest.approx(10, abs=0.5)
    assert float(values["latency_network_p50_ms"]) == pytest.approx(49.5)
    assert (values["rejected_estimate"], values["last_rejection"]) == ("1", "confidence too low")
    assert (values["malformed_image"], values["last_malformed"]) == ("1", "empty image")


def test_a_bad_message_is_warned_of_for_a_while_and_counted_for_ever() -> None:
    clock = ManualClock()
    statistics = FrameStatistics(clock)

    def report() -> dict[str, str]:
        message = node_report(
            name="localizer",
            state="active",
            failure="",
            fallback="",
            pipeline=None,
            worker=None,
            statistics=statistics,
            cameras=None,
        )
        return diagnostic_values([message])

    assert report()["level"] == "0"
    statistics.malformed("image", "empty image")
    clock.now = 9.0
    assert report()["level"] == "1" and "empty image" in report()["message"]
    clock.now = 11.0
    values = report()
    assert (values["level"], values["message"]) == ("0", "active")
    assert (values["malformed"], values["last_malformed"]) == ("1", "empty image")


def test_header_helper_writes_the_stamp() -> None:
    assert ns_from_stamp(header(7_000_000_001).stamp) == 7_000_000_001
