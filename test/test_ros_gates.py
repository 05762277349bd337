"""Which answers the node does not believe: gates, stamps, and the filter of `map -> odom`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rclpy.parameter import Parameter
from ros_support import Harness, diagnostic_values, harness, image_message, wait_until
from test_ros_localizer import Robot
from test_ros_map_to_odom import T_BASE_CAM, WheeledRobot, pose_of

from mspr_ros.bundle import SceneInfo
from mspr_ros.geometry import transform_from_pose
from mspr_ros.ros.gates import Candidate, Gates, GateSettings, Rejected
from mspr_ros.ros.stamps import StampWatch, stamp_problem

S, MS = 1_000_000_000, 1_000_000
SETTINGS = GateSettings(
    min_scene_probability=0.5,
    bounds_margin_m=1.0,
    jump_distance_m=2.0,
    jump_angle_rad=1.0,
    scene_switch_frames=2,
)
SCENES = [
    SceneInfo("kitchen", position_min=(0.0, 0.0, 1.0), position_max=(6.0, 5.0, 1.0)),
    SceneInfo("office", map_frame="map_2"),
]


def answer(
    x: float = 1.0, stamp: int = 1, odom: float | None = None, yaw: float = 0.0, **estimate: Any
) -> Candidate:
    """Give a pose at x in the kitchen, odometry at `odom` (none: TF knows none)."""
    values: dict[str, Any] = dict(
        accepted=True, rejection="", scene="kitchen", scene_probability=0.9, map_frame="map"
    )
    values.update(estimate)
    T = pose_of(x, 2.0, yaw, z=1.0)
    T_odom = None if odom is None else pose_of(odom, 0.0, 0.0)
    return Candidate(SimpleNamespace(**values), T, T, stamp, T_odom)  # type: ignore[arg-type]


class Judge:
    """Gates whose verdict is a word."""

    def __init__(self, **settings: Any) -> None:
        self.settings = replace(SETTINGS, **settings)
        self.gates = Gates(lambda: self.settings)
        self.reason = ""

    def __call__(self, candidate: Candidate) -> str:
        try:
            self.gates.check(candidate, SCENES)
        except Rejected as rejected:
            self.reason = str(rejected)
            return rejected.kind
        return "passed"


def test_each_gate_names_itself_and_why() -> None:
    judge = Judge()
    assert judge(answer()) == "passed"
    assert judge(answer(accepted=False, rejection="confidence 0.1 is below 0.3")) == "confidence"
    assert judge.reason == "confidence 0.1 is below 0.3"
    lost = replace(answer(accepted=False, rejection="no"), T_map_frame=np.full((4, 4), np.nan))
    assert judge(lost) == "not_finite"
    assert judge(answer(scene_probability=0.4)) == "scene_probability"
    assert "0.40, below 0.50" in judge.reason
    assert judge(answer(x=6.9)) == "passed"
    assert judge(answer(x=7.2)) == "bounds"
    assert judge.reason == "x 7.20 m is 1.20 m outside of what was taught of kitchen"
    assert judge(answer(x=-1.5)) == "bounds"


def test_settings_may_change_at_any_time() -> None:
    judge = Judge()
    assert judge(answer(x=8.0)) == "bounds"
    judge.settings = replace(judge.settings, bounds_margin_m=3.0)
    assert judge(answer(x=8.0)) == "passed"


def test_a_jump_that_odometry_knows_nothing_of_is_held_until_a_second_agrees() -> None:
    judge = Judge()
    assert judge(answer(x=1.0, stamp=1, odom=10.0)) == "passed"
    assert judge(answer(x=4.5, stamp=2, odom=13.4)) == "passed"  # driven there
    assert judge(answer(x=1.0, stamp=3, odom=13.5)) == "jump"
    assert "3.60 m from where odometry leads" in judge.reason
    assert judge(answer(x=1.0, stamp=3, odom=13.5)) == "jump"  # the same image asked again
    assert judge(answer(x=4.6, stamp=4, odom=13.5)) == "passed"  # it was one outlier
    assert judge(answer(x=1.0, stamp=5, odom=13.5)) == "jump"
    assert judge(answer(x=1.3, stamp=6, odom=13.7)) == "passed"  # carried off: two agree
    assert judge(answer(x=1.4, stamp=7, odom=13.8)) == "passed"


def test_a_sudden_turn_is_a_jump_too_and_zero_turns_the_gate_off() -> None:
    judge = Judge()
    assert judge(answer(stamp=1, odom=0.0)) == "passed"
    assert judge(answer(stamp=2, odom=0.0, yaw=2.0)) == "jump"
    assert "115 deg off" in judge.reason
    judge.settings = replace(judge.settings, jump_angle_rad=0.0, jump_distance_m=0.0)
    assert judge(answer(stamp=3, odom=0.0, yaw=2.0)) == "passed"
    assert judge(answer(stamp=4, x=6.0, odom=0.0)) == "passed"


def test_without_odometry_nothing_is_called_a_jump() -> None:
    judge = Judge()
    assert judge(answer(x=1.0)) == "passed"
    assert judge(answer(x=6.0, stamp=2)) == "passed"
    assert judge(answer(x=1.0, stamp=3, odom=0.0)) == "passed"


def test_where_scenes_meet_neither_scene_nor_frame_flickers() -> None:
    judge = Judge()
    office = dict(scene="office", map_frame="map_2")
    verdicts = [
        judge(answer(stamp=n, **(office if n % 2 else {})))  # type: ignore[arg-type]
        for n in range(2, 10)
    ]
    assert verdicts == ["passed", "scene_switch"] * 4
    assert "scene office after kitchen: held until 2 images" in judge.reason
    assert judge(answer(stamp=11, **office)) == "passed"  # the second in a row, after 9
    assert judge(answer(stamp=12)) == "scene_switch"
    judge.settings = replace(judge.settings, scene_switch_frames=1)
    assert judge(answer(stamp=13)) == "passed"


def test_a_reset_forgets_the_last_pose_and_the_held_one() -> None:
    judge = Judge()
    assert judge(answer(x=1.0, odom=0.0)) == "passed"
    assert judge(answer(x=5.0, stamp=2, odom=0.0)) == "jump"
    judge.gates.reset()
    assert judge(answer(x=5.0, stamp=3, odom=0.0)) == "passed"


def test_stamps_that_go_back_or_are_of_another_clock_are_noticed() -> None:
    watch, now = StampWatch(), 5000 * S
    assert not watch.restarted(now, now) and watch.problem == ""
    assert not watch.restarted(now - 500 * MS, now)  # another camera's, a little late
    assert watch.restarted(now - 10 * S, now)
    assert not watch.restarted(now - 9 * S, now)
    assert not watch.restarted(0, now) and "no stamp" in watch.problem
    watch.reset()
    assert not watch.restarted(1 * S, now)
    assert "4999 s behind ROS time" in watch.problem and "use_sim_time" in watch.problem
    assert "100 s ahead of" in stamp_problem(now + 100 * S, now)


# Over DDS ----------------------------------------------------------------------------------------


@pytest.fixture
def ros() -> Iterator[Harness]:
    with harness() as started:
        yield started


def test_a_rejected_frame_publishes_no_pose_and_is_counted_by_gate(ros: Harness) -> None:
    robot = Robot(ros, publish_tf="map_to_camera")
    robot.start_camera()
    robot.fake.metadata.scenes = SCENES
    now_ns = int(ros.tester.get_clock().now().nanoseconds)
    robot.send(now_ns)
    wait_until(lambda: len(robot.transforms) == 1 and len(robot.scenes) == 1)
    robot.fake.answer["scene_probability"] = 0.3
    robot.images.publish(image_message(now_ns + 1))
    robot.told("rejected_scene_probability", "1")
    robot.fake.answer.update(
        scene_probability=0.9, T_map_cam=transform_from_pose((20, 0, 1), (0, 0, 0, 1))
    )
    robot.images.publish(image_message(now_ns + 2))
    robot.told("rejected_bounds", "1")
    wait_until(lambda: len(robot.scenes) == 3)
    assert [scene.data for scene in robot.scenes] == ["kitchen", "unknown", "unknown"]
    assert len(robot.poses) == 1 and len(robot.transforms) == 1
    # A gate may be opened at run time, and a value out of range is refused with the reason.
    done = robot.node.set_parameters([Parameter("bounds_margin_m", value=100)])
    assert done[0].successful
    assert not robot.node.set_parameters([Parameter("bounds_margin_m", value=-1.0)])[0].successful
    robot.send(now_ns + 3)
    assert len(robot.poses) == 2


def test_images_of_another_time_begin_anew_and_are_named(ros: Harness) -> None:
    robot = Robot(ros, publish_tf="map_to_camera")
    robot.start_camera()
    robot.send(500 * S)
    robot.told("stamps", "behind ROS time, of another clock")
    robot.told("level", "1")
    robot.fake.answer.update(scene="office")
    robot.images.publish(image_message(501 * S))
    robot.told("rejected_scene_switch", "1")
    robot.send(100 * S)  # the recording starts again: nothing is known of another scene
    assert len(robot.poses) == 2


def fusion_counts(robot: Robot) -> list[int]:
    """Read from diagnostics how many poses were held, started, were believed, restarted."""
    values = diagnostic_values(robot.diagnostics)
    names = ("held", "started", "believed", "restarted")
    return [int(values.get(f"fusion_{name}", "0")) for name in names]


def test_the_filter_smooths_map_to_odom_and_may_be_switched_at_run_time(ros: Harness) -> None:
    robot = WheeledRobot(
        ros, fusion="filter", jump_distance_m=0.0, jump_angle_deg=0.0, tf_timeout_s=5.0
    )
    wheels, rng = robot.wheels, np.random.default_rng(0)
    T_map_odom = pose_of(2.0, 1.0, 0.4)  # odometry without drift, poses with noise
    wheels.T_map_odom = lambda stamp_ns: T_map_odom  # type: ignore[method-assign]
    robot.fake.answer["covariance"] = np.diag([0.1, 0.1, 0.1, 0.02, 0.02, 0.02]) ** 2
    start_ns = wheels.now_ns()
    seen = []

    def off_m(T_map_odom_told: Any, stamp_ns: int) -> float:
        """Say how far TF has the base from the truth; odometry's origin is far away."""
        shown = T_map_odom_told @ wheels.T_odom_base(stamp_ns)
        return float(np.linalg.norm((shown - wheels.T_map_base(stamp_ns))[:2, 3]))

    for index in range(14):
        stamp_ns = start_ns + index * 20 * MS
        wheels.send(stamp_ns)
        noise = pose_of(*rng.normal(size=3) * (0.1, 0.1, 0.02))
        noise[:3, 3] += (
            wheels.T_map_base(stamp_ns)[:3, 3] - noise[:3, :3] @ wheels.T_map_base(stamp_ns)[:3, 3]
        )
        robot.fake.answer["T_map_cam"] = noise @ wheels.T_map_base(stamp_ns) @ T_BASE_CAM
        robot.send(stamp_ns)
        seen.append(noise @ T_map_odom)
    wait_until(lambda: sum(fusion_counts(robot)) == 14, "all poses to reach the filter")
    _, started, believed, _ = fusion_counts(robot)
    assert started == 1 and believed >= 9
    last = robot.corrections()[-1]
    assert off_m(last, stamp_ns) < 0.25
    assert not any(np.allclose(last, each, atol=1e-4) for each in seen)
    held = fusion_counts(robot)[0]
    wild = robot.fake.answer["T_map_cam"].copy()
    wild[:3, 3] += 5.0
    robot.fake.answer["T_map_cam"] = wild
    stamp_ns += 20 * MS
    wheels.send(stamp_ns)
    robot.send(stamp_ns)
    wait_until(lambda: sum(fusion_counts(robot)) == 15, "the wild pose to reach the filter")
    assert fusion_counts(robot)[0] == held + 1
    assert off_m(robot.corrections()[-1], stamp_ns) < 0.25
    assert robot.node.set_parameters([Parameter("fusion", value="none")])[0].successful
    stamp_ns += 20 * MS
    robot.see(stamp_ns)
    robot.wait_for_correction(stamp_ns)  # the pose alone
