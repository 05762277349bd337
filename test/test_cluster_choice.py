"""The number of clusters that training poses ask for, and `clusters: auto` in the trainer."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny import make_tiny_dataset
from training_support import make_config

from mspr_ros.cli.main import main as mspr
from mspr_ros.config import to_mapping
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.frame import Frame
from mspr_ros.data.label_csv import read_labels
from mspr_ros.data.recording import ImportOptions
from mspr_ros.training.cluster_choice import (
    FRAMES_PER_CLUSTER,
    MOST_CLUSTERS,
    RATIO,
    SceneClusters,
    choose_clusters,
    weigh_clusters,
    with_chosen_clusters,
)
from mspr_ros.training.trainer import Trainer

LABELS = Path(__file__).parents[2] / "shared/labels"


def walk(
    size_m: float, turn_deg: float, rounds: float = 8.0, count: int = 3000
) -> tuple[np.ndarray, np.ndarray]:
    """Wind through a square, looking to and fro: smooth, and never the same way twice."""
    time = rounds * np.linspace(0.0, 1.0, count)
    place = 0.5 * size_m * np.stack([np.sin(40.0 * time), np.cos(23.0 * time), 0 * time], axis=1)
    half = 0.5 * np.radians(turn_deg) * np.sin(61.0 * time)
    return place, np.stack([0 * time, np.sin(half), 0 * time, np.cos(half)], axis=1)


def weigh(place: np.ndarray, quats: np.ndarray) -> SceneClusters:
    stamps = np.arange(len(place), dtype=np.int64) * 100_000_000
    return weigh_clusters(place, quats, stamps, ["walk"] * len(place))


def dataset_of(
    place: np.ndarray, quats: np.ndarray, scene: str = "hall", split: str = "train"
) -> Dataset:
    frames = tuple(
        Frame(scene, split, "walk", 100_000_000 * n, "", Path(f"{n}.png"), tuple(p), tuple(q))
        for n, (p, q) in enumerate(zip(place, quats, strict=True))
    )
    return Dataset(scene, Path(), frames, {}, (scene,), (split,))


def test_the_rule_holds_and_is_met_by_no_fewer() -> None:
    found = weigh(*walk(20.0, 100.0))
    for number, spreads, limit in (
        (found.positions, found.position_spread_m, RATIO * found.expected_m),
        (found.orientations, found.orientation_spread_deg, RATIO * found.expected_deg),
    ):
        assert 1 < number <= MOST_CLUSTERS
        assert spreads[number - 1] <= limit < spreads[number - 2]
    # Two sines of amplitude 10 m: the spread of one cluster is known.
    assert found.position_spread_m[0] == pytest.approx(10.0, rel=0.1)


def test_a_place_driven_more_densely_can_use_more_clusters() -> None:
    """More frames of the same drive say nothing new of a place; more rounds through it do."""
    once, thrice_as_often = weigh(*walk(20.0, 100.0, 1.0, 1000)), weigh(*walk(20.0, 100.0, 1.0))
    densely = weigh(*walk(20.0, 100.0))
    assert once.positions == thrice_as_often.positions < densely.positions
    assert once.expected_m > 1.5 * densely.expected_m


def test_size_alone_decides_nothing() -> None:
    """A place enlarged, and driven alike, is the same place in another unit."""
    small, large = weigh(*walk(8.0, 100.0)), weigh(*walk(80.0, 100.0))
    assert 1 < small.positions == large.positions and small.orientations == large.orientations
    assert large.expected_m == pytest.approx(10.0 * small.expected_m)


def test_a_camera_that_looks_around_needs_more_orientations() -> None:
    assert weigh(*walk(20.0, 15.0)).orientations == 1 < weigh(*walk(20.0, 100.0)).orientations


def test_one_absurd_pose_changes_nothing() -> None:
    """GreatCourt's labels have a camera at a distance of a thousand million metres."""
    place, quats = walk(20.0, 100.0)
    clean = weigh(place, quats)
    place[500] = 1e9
    found = weigh(place, quats)
    assert found.outliers == 1 and clean.outliers == 0
    assert (found.positions, found.orientations) == (clean.positions, clean.orientations)


def test_few_frames_and_still_cameras_have_one_cluster() -> None:
    place, quats = walk(40.0, 100.0)
    few = weigh(*walk(40.0, 100.0, 4.0, 2 * FRAMES_PER_CLUSTER - 1))
    assert (few.positions, few.orientations) == (1, 1)
    still = weigh(np.zeros_like(place), quats)
    assert still.positions == 1 and still.orientations > 1


def test_the_scene_that_needs_most_decides_and_tests_do_not_count() -> None:
    wide, narrow = walk(20.0, 100.0), walk(40.0, 10.0, 1.0, 150)
    hall, desk = dataset_of(*wide), dataset_of(*narrow, scene="desk")
    alone, little = choose_clusters([hall]), choose_clusters([desk])
    assert min(alone) > max(little)
    assert choose_clusters([desk, hall]) == alone
    test = tuple(
        dataclasses.replace(frame, scene="desk", split="test", sequence="other")
        for frame in hall.frames
    )
    both = dataclasses.replace(desk, frames=(*desk.frames, *test), splits=("train", "test"))
    assert choose_clusters([both]) == little


def test_no_scene_is_cut_into_more_clusters_than_it_has_poses_for() -> None:
    place, quats = walk(20.0, 100.0)
    hall = dataset_of(place, quats)
    assert choose_clusters([hall]) == (2, 2)
    tripod = dataset_of(np.ones_like(place), quats, scene="tripod")
    positions, orientations = choose_clusters([hall, tripod])
    assert positions == 1 < orientations
    rail = dataset_of(place, np.tile(quats[:1], (len(quats), 1)), scene="rail")
    positions, orientations = choose_clusters([hall, rail])
    assert orientations == 1 < positions
    # Half of its poses at least are left when validation blocks are cut out.
    for count, expected in ((3, 1), (4, 2)):
        shed = dataset_of(place[:count], quats[:count], scene="shed")
        assert choose_clusters([hall, shed]) == (expected, expected)


def test_auto_is_filled_in_by_the_trainer_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_tiny_dataset(tmp_path / "data", frames_per_scene=40)
    monkeypatch.setattr("mspr_ros.training.cluster_choice.FRAMES_PER_CLUSTER", 8)
    config = make_config(dataset, clusters="auto", epochs=1)
    chosen = with_chosen_clusters(config)
    assert chosen.clusters == "as_given"
    numbers = (chosen.network.num_position_clusters, chosen.network.num_orientation_clusters)
    assert numbers != (2, 2)  # those of the configuration
    assert with_chosen_clusters(chosen) is chosen
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(to_mapping(config)))
    run = tmp_path / "run"
    assert mspr(["train", str(path), "-o", str(run), "--device", "cpu"]) == 0
    said = f"clusters chosen from the poses: {numbers[0]} of position, {numbers[1]} of orientation"
    assert said in capsys.readouterr().out
    resolved = yaml.safe_load((run / "config.yaml").read_text())
    assert resolved["clusters"] == "as_given"
    assert resolved["network"]["num_position_clusters"] == numbers[0]
    bundle = json.loads((run / "bundle/bundle.json").read_text())
    assert bundle["network"]["num_orientation_clusters"] == numbers[1]
    # The same configuration, still with auto in it, resumes the run.
    Trainer(config, run, torch.device("cpu"), resume=True)


@pytest.mark.skipif(not LABELS.is_dir(), reason="the published pose labels are not at hand")
@pytest.mark.parametrize("name", ["7scenes/heads", "cambridge/ShopFacade"])
def test_small_places_of_the_paper_have_one_cluster(name: str) -> None:
    source = LABELS / f"{name}_train.csv"
    if not source.is_file():
        pytest.skip(f"{name} is not at hand")
    recording = read_labels(source, ImportOptions())
    data = Dataset("labels", Path(), tuple(recording.frames), {}, recording.scenes, ("train",))
    assert choose_clusters([data]) == (1, 1)
