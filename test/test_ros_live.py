"""The report of a live run: who was answered, who was not, and how right the answers are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ros_support import Harness, harness, header, wait_until
from visualization_msgs.msg import MarkerArray

from mspr_ros.geometry import transform_from_pose
from mspr_ros.ros.live_collector import Collector, LiveRecord
from mspr_ros.ros.live_match import MatchedPoses, match, true_scenes
from mspr_ros.ros.live_report import format_report, metrics_of
from mspr_ros.ros.live_run import LiveNode
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
