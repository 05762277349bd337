"""The report of a live run: who was answered, who was not, and how right the answers are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_support import Drive, ns, write_bag
from geometry_msgs.msg import PoseStamped
from ros_support import Harness, harness, header, wait_until
from tiny import make_tiny_bundle
from visualization_msgs.msg import MarkerArray

from mspr_ros.bags.scanning import BagOptions, scan_bag
from mspr_ros.evaluation.bag_images import BagInput
from mspr_ros.evaluation.bag_run import ask_bag
from mspr_ros.geometry import transform_from_pose
from mspr_ros.localizer import Localizer
from mspr_ros.ros.bag_player_node import PARAMETERS as PLAYER_PARAMETERS
from mspr_ros.ros.bag_player_node import BagPlayer
from mspr_ros.ros.conversions import ns_from_stamp
from mspr_ros.ros.live_collector import Collector, LiveRecord
from mspr_ros.ros.live_match import MatchedPoses, match, true_scenes
from mspr_ros.ros.live_report import format_report, metrics_of
from mspr_ros.ros.live_run import LiveNode
from mspr_ros.ros.localizer_node import LocalizerNode
from mspr_ros.ros.outputs import no_markers


@pytest.fixture
def ros() -> Iterator[Harness]:
    with harness() as started:
        yield started


class Heard:
    """A collector that heard a record and knows no mount."""

    def __init__(self, record: LiveRecord) -> None:
        self.record = record

    def T_frame_cam(self, frame: str) -> None:
        return None


def recording(num_frames: int = 10) -> LiveRecord:
    """A run whose every frame is answered 0.1 m off and in the right one of two scenes."""
    record = LiveRecord()
    for index in range(num_frames):
        stamp_ns = 1_000 * (index + 1)
        scene = "kitchen" if index < num_frames // 2 else "office"
        record.gt_poses[stamp_ns] = transform_from_pose((index, 0.0, 0.0), (0, 0, 0, 1))
        record.gt_heard_ns[stamp_ns] = stamp_ns + 5
        record.gt_scenes.append((stamp_ns + 6, scene))
        record.poses[stamp_ns] = transform_from_pose((index, 0.1, 0.0), (0, 0, 0, 1))
        record.heard_ns[stamp_ns] = stamp_ns + 7
        record.scenes[stamp_ns] = scene
    record.diagnostics.update(received=str(num_frames), level="ok", message="active")
    return record


def judged(record: LiveRecord, num_sent: int | None = None) -> tuple[dict[str, Any], MatchedPoses]:
    matched = match(Heard(record))  # type: ignore[arg-type]
    return metrics_of(record, matched, num_sent), matched


def test_a_full_run_has_no_failures() -> None:
    metrics, _ = judged(recording())
    row = metrics["scenes"]["all"]
    assert (row["frames"], row["unanswered"], row["failures"]) == (10, 0, 0)
    assert row["position_error_m"]["p90"] == pytest.approx(0.1)
    assert row["scene_accuracy"] == 1.0
    assert "no pose:" not in format_report(metrics)


def test_a_rejected_frame_is_a_wrong_scene_and_an_infinite_error() -> None:
    record = recording()
    for stamp_ns in (1_000, 2_000):
        del record.poses[stamp_ns]
        record.scenes[stamp_ns] = "unknown"
    record.diagnostics["rejected"] = "2"
    metrics, matched = judged(record)
    kitchen, office, everything = (metrics["scenes"][n] for n in ("kitchen", "office", "all"))
    assert (kitchen["frames"], kitchen["unanswered"], kitchen["failures"]) == (5, 2, 2)
    assert kitchen["scene_accuracy"] == pytest.approx(0.6)
    assert kitchen["position_error_m"]["median"] == pytest.approx(0.1)
    assert kitchen["position_error_m"]["p90"] is None  # infinite
    assert kitchen["orientation_error_deg"]["p90"] is None
    assert everything["scene_accuracy"] == pytest.approx(0.8)
    assert office["failures"] == 0 and office["scene_accuracy"] == 1.0
    assert metrics["frames"]["rejected"] == 2 and metrics["frames"]["unanswered"] == 2
    table = format_report(metrics)
    assert "inf" in table and "no pose:" in table and "2 unanswered" in table
    gt, pred = matched.paths("all")["kitchen"]
    assert np.isfinite(gt).all() and np.isnan(pred[:2]).all() and np.isfinite(pred[2:]).all()


def test_a_dropped_frame_is_counted_but_is_no_error_of_the_network() -> None:
    record = recording()
    del record.poses[3_000], record.scenes[3_000]
    record.diagnostics["dropped"] = "1"
    metrics, _ = judged(record)
    kitchen = metrics["scenes"]["kitchen"]
    assert (kitchen["unanswered"], kitchen["judged"], kitchen["failures"]) == (1, 4, 0)
    assert kitchen["scene_accuracy"] == 1.0
    assert kitchen["position_error_m"]["p90"] == pytest.approx(0.1)


def test_a_scene_of_which_no_frame_was_worked_on_is_not_left_out() -> None:
    record = recording()
    for stamp_ns in list(record.poses)[5:]:
        del record.poses[stamp_ns], record.scenes[stamp_ns]
    metrics, _ = judged(record)
    office = metrics["scenes"]["office"]
    assert (office["frames"], office["unanswered"]) == (5, 5)
    assert office["position_error_m"]["median"] is None and office["scene_accuracy"] is None
    assert "office" in format_report(metrics)


def test_one_lost_message_does_not_take_the_scene_accuracy_away() -> None:
    record = recording()
    del record.scenes[4_000]  # a marker of ours: a pose without a scene is no right scene
    metrics, _ = judged(record)
    assert metrics["scenes"]["all"]["scene_accuracy"] == pytest.approx(0.9)
    record = recording()
    del record.gt_scenes[2]  # of the truth, which has no stamps
    assert true_scenes(record, sorted(record.gt_poses)) == ["kitchen"] * 5 + ["office"] * 5
    metrics, _ = judged(record)
    assert metrics["scenes"]["all"]["scene_accuracy"] == 1.0


def test_without_told_scenes_poses_are_still_compared() -> None:
    record = recording()
    record.gt_scenes.clear()
    metrics, matched = judged(record)
    assert list(metrics["scenes"]) == ["all"]
    assert metrics["scenes"]["all"]["scene_accuracy"] is None
    assert metrics["scenes"]["all"]["position_error_m"]["median"] == pytest.approx(0.1)
    assert list(matched.paths("all")) == ["all"]


def test_an_answer_in_another_scenes_map_is_not_drawn_into_this_one() -> None:
    record = recording()
    record.scenes[1_000] = "office"
    _, pred = judged(record)[1].paths("all")["kitchen"]
    assert np.isnan(pred[0]).all() and np.isfinite(pred[1:]).all()


def test_the_source_itself_says_how_many_images_it_sent(tmp_path: Path) -> None:
    source = LiveNode("some.module", {}, tmp_path / "camera.log")
    assert source.num_sent() is None
    source.log.write_text("[INFO] [1.2] [camera_sim]: waiting\n")
    assert source.num_sent() is None
    with source.log.open("a") as log:
        log.write("[INFO] [3.4] [bag_player]: sent 12 images, 1 not answered\n")
    assert source.num_sent() == 12
    metrics, _ = judged(recording(), num_sent=12)
    assert metrics["frames"]["sent"] == 12 and metrics["frames"]["unanswered"] == 2


def test_the_collector_reads_scenes_by_stamp(ros: Harness) -> None:
    collector = Collector(ros.tester)
    publisher = ros.publisher(MarkerArray, "localizer/markers")
    publisher.publish(no_markers(header(7_000_000_123)))
    wait_until(lambda: collector.record.scenes)
    assert collector.record.scenes == {7_000_000_123: "unknown"}


def test_live_and_offline_poses_of_a_bag_are_the_same(ros: Harness, tmp_path: Path) -> None:
    """The node, fed by the player image by image, and `mspr evaluate-bag` with batches of one."""
    bundle = make_tiny_bundle(tmp_path / "tiny", scenes=("hall",))
    times = [0.1 * index for index in range(6)]
    bag = write_bag(tmp_path / "drive", Drive(times).events("pose"))
    options = BagOptions(pose="/pose", every_image=True)
    judged = BagInput("drive", scan_bag(bag, options), options)
    localizer = Localizer.load(bundle, device="cpu")
    single, batched = (ask_bag(localizer, judged, batch_size=size) for size in (1, 4))
    answered: list[PoseStamped] = ros.collect(PoseStamped, "localizer/pose")
    parameters = {
        "bundle": str(bundle),
        "device": "cpu",
        "autostart": True,
        "publish_tf": "none",
        "reliability": "reliable",
    }
    node = LocalizerNode(**ros.parameters(parameters))
    ros.add(node)
    wait_until(lambda: node.state_label == "active", "the node to be active", 120.0)
    wait_until(lambda: node._outputs._pose.get_subscription_count() > 0)
    play = {
        "bag": str(bag),
        "pace": "answered",
        "wait_for": "image,camera_info",
        "start_delay_s": 1.0,
    }
    player = BagPlayer(**ros.parameters(play))
    ros.add(player)
    wait_until(lambda: player.thread.is_done and len(answered) == 6, "six poses", 120.0)
    assert [ns_from_stamp(pose.header.stamp) for pose in answered] == [ns(time) for time in times]
    for row, pose in enumerate(answered):
        p, q = pose.pose.position, pose.pose.orientation
        live = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
        one, several = (
            np.array([*track.answers[row].position, *track.answers[row].quat_xyzw])
            for track in (single, batched)
        )
        np.testing.assert_array_equal(live, one)
        assert np.abs(live - several).max() <= 1e-4
    spread = np.ptp([answer.position for answer in single.answers], axis=0)
    assert spread.max() > 1e-3, "the images differ, so that equal poses say something"


def test_replay_sets_parameters_that_the_player_has() -> None:
    """launch is not everywhere; its file can be read everywhere."""
    source = Path(__file__).resolve().parent.parent / "launch" / "replay.launch.py"
    functions = {
        node.name: node
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    (table,) = [node for node in ast.walk(functions["our_player"]) if isinstance(node, ast.Dict)]
    given = {key.value for key in table.keys if isinstance(key, ast.Constant)}
    assert {"bag", "rate", "loop", "start_offset_s", "publish_clock"} <= given
    assert given <= {spec.name for spec in PLAYER_PARAMETERS}
    words = {
        node.value
        for node in ast.walk(functions["ros2_bag_play"])
        if isinstance(node, ast.Constant)
    }
    assert {"--rate", "--loop", "--start-offset", "--clock"} <= words
