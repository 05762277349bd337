"""The paper's recipe: its configurations hold its values, and both stages run on stand-in data."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TINY_NETWORK, make_tiny_bundle, make_tiny_dataset

from mspr_ros.bundle import load_bundle
from mspr_ros.cli.main import main
from mspr_ros.data.label_csv import CONVENTION_OF_SCENE
from mspr_ros.errors import BundleError, ConfigError
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.training.configuration import TrainConfig, load_train_config
from mspr_ros.training.initial_weights import PER_SCENE, load_initial_weights
from mspr_ros.training.lesson import prepare_lesson
from mspr_ros.training.samples import EpochBatches, balance_groups
from mspr_ros.training.schedule import freeze_parts
from mspr_ros.training.trainer import Trainer

FOLDER = Path(__file__).resolve().parents[1] / "config" / "train" / "paper"
CPU = torch.device("cpu")
SEVEN = ("chess", "fire", "heads", "office", "pumpkin", "redkitchen", "stairs")
CAMBRIDGE = ("KingsCollege", "OldHospital", "ShopFacade", "StMarysChurch")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors on many threads take longer, much longer where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def shrunken(name: str, dataset: Path, **changes: Any) -> TrainConfig:
    """Give a committed recipe on other data, with a network and pictures that take seconds."""
    config = load_train_config(FOLDER / f"{name}.yaml")
    shape = dict.fromkeys(("hidden_dim", "feedforward_dim", "head_dim"), 32)
    shape |= dict.fromkeys(("num_encoder_layers", "num_decoder_layers"), 1)
    return dataclasses.replace(
        config,
        datasets=(str(dataset),),
        scenes=(),
        network=dataclasses.replace(
            config.network, backbone="tf_efficientnet_lite0", num_heads=2, **shape
        ),
        preprocess=dataclasses.replace(
            config.preprocess, width=64, height=64, resize_shorter_px=73
        ),
        pretrained_backbone=False,
        epochs=1,
        batch_size=4,
        num_workers=1,
        **changes,
    )


def make_trainer(config: TrainConfig, run: Path) -> Trainer:
    run.mkdir()
    return Trainer(config, run, CPU)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny", frames_per_scene=9)


@pytest.fixture(scope="module")
def other_order(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a dataset whose scenes have other numbers, and one more."""
    folder = tmp_path_factory.mktemp("data") / "other"
    return make_tiny_dataset(folder, scenes=("attic", "office", "kitchen"), frames_per_scene=9)


@pytest.fixture(scope="module")
def stage1(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the first stage for a few steps and give its bundle."""
    run = tmp_path_factory.mktemp("runs") / "stage1"
    make_trainer(shrunken("7scenes_stage1", dataset), run).run()
    return run / "bundle"


@pytest.mark.parametrize(
    ("name", "clusters", "scales", "epochs", "scenes", "augmented"),
    [
        ("7scenes_stage1", (0, 0), (0.0, -3.0), (60, 10), (), True),
        ("7scenes_stage2", (1, 2), (0.0, -3.0), (60, 10), (), True),
        ("7scenes_stage2_frozen", (4, 4), (0.0, -3.0), (30, 10), (), True),
        ("cambridge_stage1", (0, 0), (-3.0, -6.5), (600, 200), CAMBRIDGE, True),
        ("cambridge_stage2", (4, 4), (-3.0, -6.5), (600, 200), CAMBRIDGE, True),
        ("eleven_scenes_stage1", (0, 0), (-3.0, -6.5), (600, 200), SEVEN + CAMBRIDGE, False),
        ("eleven_scenes_stage2", (4, 4), (-3.0, -6.5), (600, 200), SEVEN + CAMBRIDGE, False),
    ],
)
def test_a_configuration_holds_the_papers_values(
    name: str,
    clusters: tuple[int, int],
    scales: tuple[float, float],
    epochs: tuple[int, int],
    scenes: tuple[str, ...],
    augmented: bool,
) -> None:
    assert main(["train", str(FOLDER / f"{name}.yaml"), "--check"]) == 0
    config = load_train_config(FOLDER / f"{name}.yaml")
    network, optimizer = config.network, config.optimizer
    assert (network.num_position_clusters, network.num_orientation_clusters) == clusters
    assert (config.loss.s_x, config.loss.s_q) == scales
    assert (config.epochs, optimizer.step_epochs) == epochs
    assert config.scenes == scenes
    jitter = (0.5, 0.5, 0.5, 0.2) if augmented else (0.0,) * 4
    augmentation = config.augmentation
    assert augmentation.random_crop == augmented
    assert jitter == tuple(
        getattr(augmentation, key) for key in ("brightness", "contrast", "saturation", "hue")
    )
    assert (optimizer.name, optimizer.schedule, optimizer.step_factor) == ("adam", "step", 0.1)
    rates = (optimizer.learning_rate, optimizer.weight_decay, optimizer.eps, config.batch_size)
    assert rates == (1e-4, 1e-4, 1e-10, 8)
    assert (network.backbone, network.num_heads, network.dropout) == ("tf_efficientnet_b0", 4, 0.1)
    assert (network.num_encoder_layers, network.num_decoder_layers) == (6, 6)
    assert (network.hidden_dim, network.feedforward_dim) == (256, 256)
    pipeline = config.preprocess
    assert (pipeline.resize_shorter_px, pipeline.width, pipeline.height) == (256, 224, 224)
    if "stage2" in name:
        first = name.split("_stage2")[0] + "_stage1"
        assert config.initial_weights == f"runs/{first}/bundle"
        assert (FOLDER / f"{first}.yaml").is_file()


def test_every_configuration_of_the_paper_is_compared() -> None:
    marks = test_a_configuration_holds_the_papers_values.pytestmark  # type: ignore[attr-defined]
    assert {row[0] for row in marks[0].args[1]} == {path.stem for path in FOLDER.glob("*.yaml")}
    assert set(SEVEN + CAMBRIDGE) <= set(CONVENTION_OF_SCENE)


def test_the_page_names_every_configuration_and_no_other() -> None:
    page = (FOLDER.parents[2] / "docs" / "reproduce.md").read_text(encoding="utf-8")
    named = set(re.findall(r"config/train/paper/(\w+)\.yaml", page))
    assert named == {path.stem for path in FOLDER.glob("*.yaml")}
    for first, second in re.findall(r"-o runs/(\w+_stage1)\n.* -o runs/(\w+_stage2)\n", page):
        wanted = load_train_config(FOLDER / f"{second}.yaml").initial_weights
        assert wanted == f"runs/{first}/bundle"


def test_the_second_stage_starts_where_the_first_ended(
    stage1: Path, other_order: Path, tmp_path: Path
) -> None:
    config = shrunken("7scenes_stage2", other_order)
    config = dataclasses.replace(config, initial_weights=str(stage1))
    trainer = make_trainer(config, tmp_path / "stage2")
    before = load_bundle(stage1).network.state_dict()
    after = trainer.network.state_dict()
    transfer = trainer.weight_transfer
    assert transfer is not None
    assert transfer.scenes_taken == ("office", "kitchen")
    assert transfer.scenes_new == ("attic",)
    assert set(transfer.new) == {
        "position_centroids",  # of the same shape as the first stage's zero, and yet not taken
        "orientation_centroids",
        *(f"position_cluster_classifier.{part}" for part in ("weight", "bias")),
        *(f"orientation_cluster_classifier.{part}" for part in ("weight", "bias")),
    }
    for name in transfer.taken:
        if not name.endswith(PER_SCENE):
            assert torch.equal(after[name], before[name]), name
    for task in ("position", "orientation"):
        name = f"{task}_transformer.scene_queries.weight"
        kitchen, office = before[name]
        assert torch.equal(after[name][1], office)
        assert torch.equal(after[name][2], kitchen)
    trained = trainer.lesson.position_centroids
    np.testing.assert_allclose(after["position_centroids"], trained, rtol=1e-6)
    assert "scenes that are new: attic" in transfer.describe()
    trainer.run()
    assert load_bundle(tmp_path / "stage2" / "bundle").metadata.scene_names[0] == "attic"
    assert not torch.equal(
        trainer.network.state_dict()["position_head.0.weight"], before["position_head.0.weight"]
    )


def test_frozen_parts_stay_and_the_heads_learn(
    stage1: Path, dataset: Path, tmp_path: Path
) -> None:
    config = shrunken("7scenes_stage2_frozen", dataset)
    config = dataclasses.replace(config, initial_weights=str(stage1))
    trainer = make_trainer(config, tmp_path / "frozen")
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    trainer.run()
    learning = set()
    for name, tensor in trainer.network.state_dict().items():
        part = name.split(".")[0]
        if part in config.frozen_parts:  # their running statistics as well
            assert torch.equal(tensor, before[name]), name
        elif not torch.equal(tensor, before[name]):
            learning.add(part)
    assert learning == {
        f"{task}_{part}"
        for task in ("position", "orientation")
        for part in ("head", "cluster_classifier")
    }


def test_a_resumed_run_does_not_read_the_initial_weights(
    stage1: Path, dataset: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    stage1_copy = make_copy(stage1, moved)
    config = shrunken("7scenes_stage2", dataset)
    config = dataclasses.replace(config, initial_weights=str(stage1_copy))
    trainer = make_trainer(config, tmp_path / "run")
    trainer._save("last.ckpt")
    for path in stage1_copy.iterdir():
        path.unlink()
    resumed = Trainer(config, tmp_path / "run", CPU, resume=True)
    expected = trainer.network.state_dict()
    for name, tensor in resumed.network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert resumed.weight_transfer is None
    with pytest.raises(BundleError):
        make_trainer(config, tmp_path / "afresh")


def make_copy(folder: Path, target: Path) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_centroids_come_with_the_classifiers_that_learned_them(tmp_path: Path) -> None:
    source = make_tiny_bundle(tmp_path / "bundle", scenes=("kitchen", "office"), seed=1)
    network = PoseRegressor(config=TINY_NETWORK, num_scenes=2)
    own = network.position_centroids.clone()
    transfer = load_initial_weights(network, ("office", "attic"), source)
    theirs = load_bundle(source).network.position_centroids
    assert torch.equal(network.position_centroids[0], theirs[1])
    assert torch.equal(network.position_centroids[1], own[1])
    assert not transfer.new
    assert transfer.scenes_left_over == ("kitchen",)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    source = make_tiny_bundle(tmp_path / "bundle")
    other = dataclasses.replace(TINY_NETWORK, backbone="resnet18", hidden_dim=16, head_dim=16)
    network = PoseRegressor(config=other, num_scenes=2)  # some biases and all centroids fit
    with pytest.raises(ConfigError, match="no weights of initial_weights"):
        load_initial_weights(network, ("kitchen", "office"), source)


def test_the_list_of_tensors_with_a_row_a_scene_is_complete() -> None:
    config = dataclasses.replace(TINY_NETWORK, normalize_positions=True)
    few, many = (PoseRegressor(config=config, num_scenes=n).state_dict() for n in (2, 3))
    differing = {name for name in few if few[name].shape != many[name].shape}
    assert differing == {name for name in few if name.endswith(PER_SCENE)}


def test_unknown_parts_and_freezing_everything_are_refused(dataset: Path) -> None:
    network = PoseRegressor(config=TINY_NETWORK, num_scenes=2)
    config = shrunken("7scenes_stage1", dataset, frozen_parts=("backbone", "heads"))
    with pytest.raises(ConfigError, match=r"names heads, but .* backbone, .*position_head"):
        freeze_parts(network, config)
    everything = tuple(name for name, _ in network.named_children())
    with pytest.raises(ConfigError, match="nothing to train"):
        freeze_parts(network, dataclasses.replace(config, frozen_parts=everything))


def test_one_scene_of_several_can_be_trained(dataset: Path) -> None:
    config = dataclasses.replace(shrunken("7scenes_stage2", dataset), scenes=("office",))
    lesson = prepare_lesson(config)
    assert [info.name for info in lesson.scenes] == ["office"]
    assert {item.frame.scene for item in lesson.train} == {"office"}
    with pytest.raises(ConfigError, match=r"names attic, but .* kitchen, office"):
        prepare_lesson(dataclasses.replace(config, scenes=("attic", "office")))


def test_balanced_clusters_come_equally_often(dataset: Path) -> None:
    config = shrunken("cambridge_stage2", dataset, balance="clusters")
    config = dataclasses.replace(
        config, network=dataclasses.replace(config.network, num_position_clusters=2)
    )
    lesson = prepare_lesson(config)
    # A cluster in the middle of each scene, another far away that takes the first frames only.
    centroids = np.zeros((2, 2, 3))
    for scene in (0, 1):
        positions = np.array([x.frame.position for x in lesson.train if x.scene == scene])
        centroids[scene] = positions[0], positions[1:].mean(axis=0)
    groups = balance_groups(lesson.train, config, centroids)
    assert len(set(groups)) == 4
    for draws in EpochBatches(groups, config, epoch=1):
        assert sorted(groups[[index for *_, index in draws]]) == [0, 1, 2, 3]
    plain = dataclasses.replace(config, balance="none")
    assert balance_groups(lesson.train, plain, centroids).max() == 1
    with pytest.raises(ValueError, match="num_position_clusters above 0"):
        shrunken("cambridge_stage1", dataset, balance="clusters")
