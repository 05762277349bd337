"""A bag judges a bundle: every image counted, one page without network, a bag to be replayed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from bag_support import CAMERA, OPTICAL, Drive, T_map_cam_at, ns, write_bag
from tiny import make_tiny_bundle

from mspr_ros.bags import Bag
from mspr_ros.bags.types import STRING, TYPES
from mspr_ros.cli.main import main
from mspr_ros.data.tum import read_trajectory

TIMES = [0.1 * index for index in range(12)]
SECTIONS = (
    *("short", "accuracy", "trajectory", "time", "shares", "uncertainty", "images", "scenes"),
    *("motion", "speed", "input"),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", scenes=("hall",))


def run(bundle: Path, bag: Path, output: Path, *options: str) -> int:
    few = ("--images", "1", "--batch-size", "5")
    return main(["evaluate-bag", str(bundle), str(bag), *options, *few, "-o", str(output)])


def metrics_of(report: Path) -> dict:
    return json.loads((report / "metrics.json").read_text())["bundles"][0]


def sections_of(report: Path) -> list[str]:
    return re.findall(r'<section id="(\w+)"', (report / "report.html").read_text())


def assert_refused(bundle, bag, tmp_path, capsys, expected: str, *options: str) -> None:
    assert run(bundle, bag, tmp_path / "report", *options) == 1
    error = capsys.readouterr().err
    assert re.search(expected, error), error
    assert error.count("\n") == 1 and "Traceback" not in error
    assert not list(tmp_path.glob("*report*")), "nothing is left behind"


@pytest.fixture(scope="module")
def judged(bundle, tmp_path_factory) -> tuple[Path, Path]:
    """A bag with truth by TF, one image broken and one without a pose; and its report."""
    folder = tmp_path_factory.mktemp("judged")
    poses = [time for time in TIMES if time != TIMES[-1]]
    events = Drive(TIMES, pose_seconds=poses, compressed=True).events("tf")
    images = [event[3] for event in events if event[1].endswith("compressed")]
    images[4].data = images[4].data[:60].copy()
    bag = write_bag(folder / "drive", events)
    assert run(bundle, bag, folder / "report", "--truth", f"tf:map->{OPTICAL}") == 0
    return bag, folder / "report"


def test_every_image_is_counted(judged) -> None:
    (count,) = metrics_of(judged[1])["bags"]
    assert (count["images"], count["judged"], count["without_truth"]) == (12, 11, 1)
    assert count["answered"] == 11
    assert [number for why, number in count["problems"].items() if "decoded" in why] == [1]
    (group,) = metrics_of(judged[1])["groups"]
    assert (group["network"]["num_frames"], group["network"]["num_failures"]) == (11, 1)
    assert group["network"]["position_error_m"]["max"] is None, "a failure is infinite"
    confusion = metrics_of(judged[1])["scene_confusion"]
    assert confusion["counts"] == [[10, 1]]


def test_the_page_is_whole_and_needs_no_network(judged) -> None:
    html = (judged[1] / "report.html").read_text()
    assert not re.search(r"https?:|url\(|<script|<link|@import", html)
    assert not re.search(r'(?:src|href)="(?!data:image/|#)', html)
    assert sections_of(judged[1]) == list(SECTIONS)
    assert html.count("data:image/png") == 6  # above, time, two each of shares and uncertainty
    assert html.count("data:image/jpeg") == 2 * 3  # best and worst, with both attentions
    assert 'name="viewport"' in html


def test_poses_are_those_of_the_localizer(judged, bundle) -> None:
    """Batched differs by at most 1e-4 from one by one, and batches of one by nothing."""
    from mspr_ros.bags.scanning import BagOptions, scan_bag
    from mspr_ros.evaluation.bag_images import BagInput, images_of
    from mspr_ros.evaluation.bag_run import ask_bag
    from mspr_ros.localizer import Localizer

    localizer = Localizer.load(bundle, device="cpu")
    options = BagOptions(pose=f"tf:map->{OPTICAL}", every_image=True)
    bag = BagInput("drive", scan_bag(judged[0], options), options)
    batched, single = (ask_bag(localizer, bag, batch_size=size) for size in (5, 1))
    pictures = images_of(bag, list(range(12)))
    assert sorted(pictures) == [row for row in range(12) if row != 4]
    for row, picture in pictures.items():
        direct = localizer.localize(*picture)
        np.testing.assert_array_equal(single.pred_T_map_cam()[row][:3, 3], direct.T_map_cam[:3, 3])
        assert np.abs(batched.pred_T_map_cam()[row] - direct.T_map_cam).max() <= 1e-4
    assert np.isnan(single.pred_T_map_cam()[4]).all()


def test_trajectories_are_written_for_other_tools(judged) -> None:
    folder, problems = judged[1] / "trajectories", []
    truth = read_trajectory(folder / "drive_hall_truth.tum", problems)
    estimate = read_trajectory(folder / "drive_hall_estimate.tum", problems)
    assert not problems
    # The broken image has a truth but no answer; the last has an answer but no truth.
    assert truth.stamps_ns.tolist() == [ns(time) for time in TIMES[:-1]]
    assert estimate.stamps_ns.tolist() == [ns(t) for i, t in enumerate(TIMES) if i != 4]
    expected = np.array([T_map_cam_at(time)[:3, 3] for time in TIMES[:-1]])
    np.testing.assert_allclose(truth.positions, expected, atol=1e-6)


def test_the_result_can_be_replayed_beside_the_images(judged) -> None:
    with Bag(judged[1] / "result.mcap") as bag:
        kinds = {topic.name: (topic.type_name, topic.count) for topic in bag.topics}
        messages = {topic: list(bag.messages([topic])) for topic in kinds}
    assert kinds == {
        "/ground_truth/pose": ("geometry_msgs/msg/PoseStamped", 11),
        "/localizer/pose": ("geometry_msgs/msg/PoseStamped", 11),
        "/localizer/pose_with_covariance": ("geometry_msgs/msg/PoseWithCovarianceStamped", 11),
        "/localizer/scene": ("std_msgs/msg/String", 12),
        "/localizer/markers": ("visualization_msgs/msg/MarkerArray", 12),
        "/tf": ("tf2_msgs/msg/TFMessage", 11),
    }
    stamps = [message.recorded_ns for message in messages["/localizer/pose"]]
    assert stamps == [ns(time) for i, time in enumerate(TIMES) if i != 4]
    first = messages["/localizer/pose"][0].deserialize()
    assert (first.header.frame_id, first.header.stamp.nanosec) == ("map", ns(TIMES[0]) % 10**9)
    (transform,) = messages["/tf"][0].deserialize().transforms
    # The camera itself has a parent in the bag's own TF.
    assert transform.child_frame_id == f"{OPTICAL}_estimated"
    assert transform.transform.translation.x == first.pose.position.x
    drawn = messages["/localizer/markers"][0].deserialize().markers
    assert [(marker.ns, marker.type, len(marker.points)) for marker in drawn] == [
        ("camera", 5, 16),
        ("scene", 9, 0),
    ]
    gone = messages["/localizer/markers"][4].deserialize().markers
    assert [marker.action for marker in gone] == [2, 2]
    assert messages["/localizer/scene"][4].deserialize().data == "unknown"


def test_the_trajectory_errors_are_those_of_the_written_files(judged) -> None:
    (one,) = metrics_of(judged[1])["trajectories"]
    folder, problems = judged[1] / "trajectories", []
    truth = read_trajectory(folder / "drive_hall_truth.tum", problems)
    estimate = read_trajectory(folder / "drive_hall_estimate.tum", problems)
    shared = np.intersect1d(truth.stamps_ns, estimate.stamps_ns)
    pairs = [track.positions[np.isin(track.stamps_ns, shared)] for track in (truth, estimate)]
    errors = np.linalg.norm(pairs[0] - pairs[1], axis=1)
    assert (one["num_used"], one["num_images"]) == (10, 11)
    assert one["ate"]["position_m"]["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), abs=1e-6)
    assert one["ate_aligned"]["position_m"]["rmse"] <= one["ate"]["position_m"]["rmse"]
    assert one["rpe_1s"]["count"] > 0


def test_without_truth_odometry_judges_the_motion(bundle, tmp_path, capsys) -> None:
    bag = write_bag(tmp_path / "drive", Drive(TIMES).events("tf"))
    assert run(bundle, bag, tmp_path / "report") == 0
    metrics = metrics_of(tmp_path / "report")
    assert metrics["groups"] == [] and metrics["bags"][0]["judged"] == 0
    (odometry,) = metrics["odometry"]
    assert odometry["source"] == f"tf:odom->{OPTICAL}" and odometry["num_used"] == 12
    assert metrics["jumps"][0]["against"] == "odometry"
    wanted = [s for s in SECTIONS if s in ("short", "trajectory", "images", "motion", "speed",
                                           "input")]  # fmt: skip
    assert sections_of(tmp_path / "report") == wanted
    assert "There is no truth" in (tmp_path / "report" / "report.html").read_text()


def test_without_truth_and_odometry_the_steps_are_told(bundle, tmp_path) -> None:
    bag = write_bag(tmp_path / "drive", Drive(TIMES).events("path")[:-1])
    assert run(bundle, bag, tmp_path / "report", "--truth", "none") == 0
    metrics = metrics_of(tmp_path / "report")
    assert metrics["odometry"] == [] and metrics["jumps"][0]["against"] == "standing still"
    assert metrics["jumps"][0]["steps"] == 11


def test_two_bundles_stand_in_one_report(tmp_path, bundle) -> None:
    other = make_tiny_bundle(tmp_path / "other", scenes=("hall",), seed=1)
    bag = write_bag(tmp_path / "drive", Drive(TIMES).events("pose"))
    options = ("--truth", "/pose", "--compare", str(other))
    assert run(bundle, bag, tmp_path / "report", *options) == 0
    both = json.loads((tmp_path / "report" / "metrics.json").read_text())["bundles"]
    assert [one["name"] for one in both] == ["tiny", "other"]
    medians = [one["groups"][0]["network"]["position_error_m"]["median"] for one in both]
    assert medians[0] != medians[1]
    with Bag(tmp_path / "report" / "result.mcap") as result:
        names = {topic.name for topic in result.topics}
    assert {"/localizer/pose", "/localizer_2/pose"} <= names
    assert len(list((tmp_path / "report" / "trajectories").glob("*.tum"))) == 3


def test_a_bundle_that_was_not_taught_the_scene_leaves_the_others_judged(tmp_path, bundle):
    stranger = make_tiny_bundle(tmp_path / "stranger", scenes=("attic", "cellar"))
    told = with_scenes(Drive(TIMES).events("pose"), lambda stamp: "hall")
    bag = write_bag(tmp_path / "drive", told)
    report = tmp_path / "report"
    assert run(stranger, bag, report, "--truth", "/pose", "--compare", str(bundle)) == 0
    both = json.loads((report / "metrics.json").read_text())["bundles"]
    assert [one["bags"][0]["judged"] for one in both] == [0, 12]
    assert [one["bags"][0]["without_truth"] for one in both] == [0, 0]
    html = (report / "report.html").read_text()
    assert "There is no truth" not in html and "no true pose near them" not in html
    assert "stranger was not taught the scene of the true poses" in html
    assert "<td>0, 12</td>" in html
    jumps = html[html.index("A jump is a step") :]
    assert "standing still" in jumps and "the truth" in jumps
    assert "drive: a dot an image" in html, "errors of the other bundle over time"
    assert (report / "frames.csv").read_text().count("\n") == 13
    assert (report / "trajectories" / "drive_hall_truth.tum").exists()
    alone = tmp_path / "alone"
    assert run(stranger, bag, alone, "--truth", "/pose") == 0
    assert "There is no truth in a scene that was taught" in (alone / "report.html").read_text()


def with_scenes(events, name_of):
    """Tell the scene before each image, as `mspr make-bag` does."""
    for event in events:
        if event[1].endswith("image_raw"):
            told = TYPES.types[STRING](data=name_of(event[0]))
            yield event[0], "/ground_truth/scene", STRING, told
        yield event


def test_the_scene_is_heard_named_or_asked_for(tmp_path, capsys) -> None:
    two = make_tiny_bundle(tmp_path / "two", scenes=("hall", "yard"))
    events = Drive(TIMES).events("pose")
    bag = write_bag(tmp_path / "drive", events)
    refused = (two, bag, tmp_path, capsys)
    assert_refused(*refused, r"2 scenes \(hall, yard\): say with --scene", "--truth", "/pose")
    assert_refused(*refused, "does not know scene 'x'", "--truth", "/pose", "--scene", "x")
    assert run(two, bag, tmp_path / "a", "--truth", "/pose", "--scene", "yard") == 0
    assert [group["name"] for group in metrics_of(tmp_path / "a")["groups"]] == ["yard"]
    half = ns(0.55)
    told = with_scenes(events, lambda stamp: "hall" if stamp < half else "yard")
    bag = write_bag(tmp_path / "told", told)
    assert run(two, bag, tmp_path / "b", "--truth", "/pose") == 0
    frames = {g["name"]: g["network"]["num_frames"] for g in metrics_of(tmp_path / "b")["groups"]}
    assert frames == {"hall": 6, "yard": 6, "all scenes": 12}


def test_a_bag_cut_off_in_the_middle_is_judged_by_its_first_part(bundle, tmp_path, capsys) -> None:
    rng = np.random.default_rng(0)

    def noise(seconds: float) -> np.ndarray:
        return rng.integers(0, 255, (CAMERA.height, CAMERA.width, 3), dtype=np.uint8)

    events = Drive(TIMES, pictures=noise).events("pose")
    bag = write_bag(tmp_path / "drive", events, files=2)
    file = bag / "drive_1.mcap"
    file.write_bytes(file.read_bytes()[: round(0.6 * file.stat().st_size)])
    (bag / "metadata.yaml").unlink()
    assert run(bundle, bag, tmp_path / "report", "--truth", "/pose") == 0
    (count,) = metrics_of(tmp_path / "report")["bags"]
    assert 3 <= count["judged"] == count["images"] < 12
    assert "the bag is broken" in capsys.readouterr().out
    assert "the bag is broken" in (tmp_path / "report" / "report.html").read_text()


def test_time_running_backwards_is_counted(bundle, tmp_path) -> None:
    again = Drive(TIMES[:5]).events("pose")
    bag = write_bag(tmp_path / "drive", [*Drive(TIMES).events("pose"), *again])
    assert run(bundle, bag, tmp_path / "report", "--truth", "/pose") == 0
    (count,) = metrics_of(tmp_path / "report")["bags"]
    # The recorder's time stands still with the stamps: equal ones may be read in any order.
    assert count["images"] == 12
    assert count["unusable_images"] == {"time ran backwards or stood still": 5}


def test_what_cannot_be_judged_is_refused_in_one_line(bundle, tmp_path, capsys) -> None:
    far = [time + 60.0 for time in TIMES]
    bag = write_bag(tmp_path / "drive", Drive(TIMES, pose_seconds=far).events("pose"))
    refused = (bundle, bag, tmp_path, capsys)
    expected = "none of its 12 images can be used: 12: no poses around the image within 0.1 s"
    assert_refused(*refused, expected, "--truth", "/pose")
    assert_refused(*refused, "no topic /odom", "--truth", "/odom")
    assert_refused(*refused, "--scene is about the poses of --truth", "--scene", "hall")
    alone = ("--odometry-extrinsic", "0,0,0,0,0,0,1")
    assert_refused(*refused, "--odometry-extrinsic is about --odometry", *alone)
    wrong = ("--truth", "/pose", "--image-topic", "/pose")
    assert_refused(*refused, "/pose is geometry_msgs/msg/PoseStamped", *wrong)
    assert_refused(*refused, "no /tf and no /tf_static", "--truth", f"tf:map->{OPTICAL}")
    assert_refused(*refused, "no topic /wheels", "--odometry", "/wheels")
    (tmp_path / "noise.mcap").write_bytes(bytes(500))
    assert_refused(bundle, tmp_path / "noise.mcap", tmp_path, capsys, "nothing in it can be saved")
    assert_refused(bundle, tmp_path / "none", tmp_path, capsys, "does not exist")


def test_a_report_is_replaced_only_when_asked_and_nothing_else_ever(bundle, tmp_path, capsys):
    bag = write_bag(tmp_path / "drive", Drive(TIMES[:3]).events("pose"))
    report = tmp_path / "report"
    assert run(bundle, bag, report, "--truth", "/pose") == 0
    assert run(bundle, bag, report, "--truth", "/pose") == 1
    assert "not overwritten" in capsys.readouterr().err
    assert run(bundle, bag, report, "--truth", "none", "--overwrite") == 0
    assert metrics_of(report)["groups"] == []
    assert run(bundle, bag, bag, "--overwrite") == 1
    assert "it is no report" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drive", "report"]


def test_an_odometry_topic_of_the_base_is_taken_to_the_camera(bundle, tmp_path) -> None:
    """Its extrinsic is found on /tf_static."""
    drive = Drive(TIMES)
    events = [e for e in drive.events("tf") if e[1] != "/tf"] + [
        e for e in drive.events("odometry") if e[1] == "/odom"
    ]
    bag = write_bag(tmp_path / "drive", sorted(events, key=lambda event: event[0]))
    assert run(bundle, bag, tmp_path / "report") == 0
    (odometry,) = metrics_of(tmp_path / "report")["odometry"]
    assert odometry["source"] == "/odom" and odometry["num_used"] == 12
    assert odometry["next_image"]["count"] == 11
