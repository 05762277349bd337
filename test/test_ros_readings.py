"""Other readings of an image as faint markers, and what diagnostics tell of the answer."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: the system's or the wheels of `make setup`")

from builtin_interfaces.msg import Time
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from mspr_ros.calibration.hypotheses import PoseHypothesis
from mspr_ros.geometry import transform_from_pose
from mspr_ros.localizer import PoseEstimate
from mspr_ros.ros.outputs import Answer, PoseOutputs
from mspr_ros.ros.readings import (
    HYPOTHESIS_MARKER,
    calibration_text,
    estimate_values,
    hypotheses_marker,
    no_hypotheses,
)

MAPS = {"office": "map", "lounge": "map", "street": "street_map"}
QUARTER = math.sqrt(0.5)


def reading(x: float, probability: float, scene: str = "office") -> PoseHypothesis:
    pose = transform_from_pose([x, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0])
    return PoseHypothesis(pose, scene, probability, 0, 0)


def test_other_readings_are_drawn_where_they_are_and_fainter_the_less_likely() -> None:
    readings = [reading(0.0, 0.6), reading(2.0, 0.3), reading(5.0, 0.02, "lounge")]
    drawn = hypotheses_marker(Header(frame_id="map"), readings, readings[0].T_map_cam, MAPS)
    assert drawn.action == Marker.ADD and drawn.ns == HYPOTHESIS_MARKER
    assert len(drawn.points) == len(drawn.colors) == 2 * 16  # two cameras, not the pose itself
    apexes = [(drawn.points[place].x, drawn.points[place].z) for place in (0, 16)]
    assert apexes == [(2.0, 1.0), (5.0, 1.0)]
    assert drawn.colors[0].a == pytest.approx(0.3)
    assert 0.0 < drawn.colors[16].a < drawn.colors[0].a
    assert drawn.lifetime.sec > 0


def test_a_reading_in_another_map_is_not_drawn() -> None:
    readings = [reading(0.0, 0.6), reading(2.0, 0.3, "street")]
    drawn = hypotheses_marker(Header(frame_id="map"), readings, readings[0].T_map_cam, MAPS)
    assert drawn.action == Marker.DELETE and not drawn.points


def test_a_camera_mounted_on_its_side_turns_all_readings() -> None:
    readings = [reading(0.0, 0.6), reading(2.0, 0.3)]
    T_cam_mounted = transform_from_pose([0.0, 0.0, 0.0], [0.0, 0.0, QUARTER, QUARTER])
    mounted = readings[0].T_map_cam @ T_cam_mounted
    turned = hypotheses_marker(Header(), readings, mounted, MAPS)
    plain = hypotheses_marker(Header(), readings, readings[0].T_map_cam, MAPS)
    # A quarter turn about the optical axis exchanges the pyramid's width and height.
    width = np.ptp([point.y for point in turned.points])
    assert width == pytest.approx(np.ptp([point.x for point in plain.points]))
    assert turned.points[0].x == pytest.approx(2.0)


@pytest.mark.parametrize("readings", [[], [reading(0.0, 1.0)], [reading(float("nan"), 1.0)]])
def test_without_other_readings_the_drawing_goes(readings) -> None:
    drawn = hypotheses_marker(Header(), readings, np.eye(4), MAPS)
    assert drawn.action == Marker.DELETE and drawn.ns == no_hypotheses(Header()).ns
    assert no_hypotheses(Header()).action == Marker.DELETE


def test_diagnostics_tell_how_sure_the_last_answer_was() -> None:
    estimate = PoseEstimate(
        T_map_cam=np.eye(4),
        scene="unknown",
        scene_probability=0.7,
        covariance=np.eye(6),
        confidence=0.25,
        accepted=False,
        rejection="",
        hypotheses=(reading(0.0, 0.6), reading(2.0, 0.3, "lounge")),
        timings={},
        map_frame="map",
        calibrated=True,
        known_score=-4.2,
    )
    values = estimate_values(estimate)
    assert values["confidence"] == "0.25" and values["known_score"] == "-4.20"
    assert values["hypotheses"] == "office 0.60, lounge 0.30"
    assert estimate_values(None) == {}


def test_diagnostics_tell_whether_a_bundle_is_calibrated() -> None:
    assert calibration_text(None) == "uncalibrated"


def test_a_drawing_of_other_readings_is_taken_away_once_they_are_gone() -> None:
    several = (reading(0.0, 0.6), reading(2.0, 0.3))
    outputs: Any = SimpleNamespace(_shows_hypotheses=False)

    def drawn(readings: tuple[PoseHypothesis, ...]) -> dict[str, int]:
        answer = Answer(
            stamp=Time(sec=1),
            map_frame="map",
            frame="camera",
            T_map_frame=np.eye(4),
            T_map_cam=several[0].T_map_cam,
            covariance=np.eye(6),
            scene="office",
            confidence=0.6,
            publish_tf=False,
            hypotheses=readings,
            map_frames=MAPS,
        )
        found = PoseOutputs._drawing(outputs, Header(frame_id="map"), answer)
        return {marker.ns: marker.action for marker in found.markers}

    assert HYPOTHESIS_MARKER not in drawn(several[:1])
    assert drawn(several)[HYPOTHESIS_MARKER] == Marker.ADD
    assert drawn(several[:1])[HYPOTHESIS_MARKER] == Marker.DELETE
    assert HYPOTHESIS_MARKER not in drawn(several[:1])
