"""Every early warning of a training fires where it should, and only there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TINY_NETWORK, make_tiny_dataset
from training_support import make_config

from mspr_ros.bundle import BundleMetadata, SceneInfo, save_bundle
from mspr_ros.calibration.signals import Signals
from mspr_ros.data.frame import Frame
from mspr_ros.errors import ConfigError
from mspr_ros.network.clustering import assign_orientation_clusters, assign_position_clusters
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.preprocess import PreprocessConfig, Preprocessor
from mspr_ros.training import first_checks
from mspr_ros.training import trainer as trainer_module
from mspr_ros.training.configuration import ChecksConfig, load_train_config
from mspr_ros.training.first_checks import (
    attention_entropy,
    check_after_epoch,
    check_network,
    evenly,
    read_before,
)
from mspr_ros.training.first_findings import Before, Finding
from mspr_ros.training.samples import LabeledFrame
from mspr_ros.training.trainer import Trainer

CPU = torch.device("cpu")
SCENES = ("kitchen", "office")
PREPROCESSOR = Preprocessor(PreprocessConfig(width=96, height=64, resize_shorter_px=0))


class Noise:
    """Pictures of nothing."""

    def read(self, item: LabeledFrame) -> tuple[np.ndarray, LabeledFrame]:
        rng = np.random.default_rng(item.frame.stamp_ns)
        return rng.integers(0, 256, (64, 96, 3), dtype=np.uint8), item


def frames_of(scene: int, count: int = 20) -> list[LabeledFrame]:
    """Lie in two heaps, 10 m and 90 degrees apart."""
    rng = np.random.default_rng(scene)
    found = []
    for number in range(count):
        far = number % 2
        half = 0.5 * np.radians(90.0 * far + rng.normal(0.0, 5.0))
        place = tuple(rng.normal([10.0 * far, 0.0, 0.0], 0.5))
        quat = (0.0, float(np.sin(half)), 0.0, float(np.cos(half)))
        stamp = 1000 * scene + number
        frame = Frame(SCENES[scene], "train", "walk", stamp, "", Path("none.png"), place, quat)
        found.append(LabeledFrame(frame, None, scene))
    return found


FRAMES = [*frames_of(0), *frames_of(1)]


def network_of(**changes: object) -> PoseRegressor:
    torch.manual_seed(0)
    network = PoseRegressor(config=dataclasses.replace(TINY_NETWORK, **changes), num_scenes=2)
    if network.config.num_position_clusters:
        centres = torch.tensor([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0]])
        network.position_centroids.copy_(centres.expand(2, 2, 3))
        turned = torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 0.5**0.5, 0.0, 0.5**0.5]])
        network.orientation_centroids.copy_(turned.expand(2, 2, 4))
    return network.eval()


def good_signals(network: PoseRegressor) -> dict[str, np.ndarray]:
    """Answer a tenth of each frame's way from its true cluster's centre short of the truth."""
    scene = np.array([item.scene for item in FRAMES])
    positions = np.array([item.frame.position for item in FRAMES])
    quats = np.array([item.frame.quat_xyzw for item in FRAMES])
    centres = network.position_centroids[0].double().numpy()
    turned = network.orientation_centroids[0].double().numpy()
    place, turn = (
        assign_position_clusters(positions, centres),
        assign_orientation_clusters(quats, turned),
    )
    answers = positions + 0.1 * (centres[place] - positions)
    turns = quats + 0.1 * (turned[turn] - quats)
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    return {
        "scene": scene,
        "position_cluster": place,
        "orientation_cluster": turn,
        "position": answers,
        "quat_xyzw": turns,
        "position_candidates": np.stack([answers, answers], axis=1),
        "orientation_candidates": np.stack([turns, turns], axis=1),
    }


def warned(
    monkeypatch: pytest.MonkeyPatch,
    answers: dict[str, np.ndarray],
    network: PoseRegressor,
    before: Before | None = None,
) -> dict[str, bool]:
    """Give each check's verdict on given answers."""
    zeros = np.zeros((len(FRAMES), 2))
    signals = Signals(
        scene_logits=zeros,
        position_cluster_logits=zeros,
        orientation_cluster_logits=zeros,
        **answers,  # type: ignore[arg-type]
    )
    monkeypatch.setattr(first_checks, "ask_network", lambda *_: signals)
    findings = check_network(
        network, FRAMES, FRAMES, SCENES, PREPROCESSOR, CPU, images=Noise(), before=before
    )
    for finding in findings:
        words = finding.in_words()
        assert words.startswith("warning: " if finding.warns else "ok: ")
        assert (finding.remedy in words) == finding.warns
        assert {"check", "value", "limit", "warns", "remedy"} <= finding.to_dict().keys()
    return {finding.check: finding.warns for finding in findings}


def test_a_good_network_warns_of_nothing_but_its_fresh_attention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = network_of()
    verdicts = warned(monkeypatch, good_signals(network), network)
    assert verdicts == {
        "scene accuracy": False,
        "attention, position": True,
        "attention, orientation": True,
        "coarse to fine, position": False,
        "residual, position": False,
        "clusters, position": False,
        "coarse to fine, orientation": False,
        "residual, orientation": False,
        "clusters, orientation": False,
    }


def test_attention_that_chooses_is_not_uniform() -> None:
    network = network_of()
    frames = [FRAMES[0], FRAMES[-1]]
    fresh = attention_entropy(network, frames, PREPROCESSOR, CPU, Noise())
    with torch.no_grad():
        for name in ("position", "orientation"):
            for layer in getattr(network, f"{name}_transformer").decoder:
                layer.cross_attention.query.weight *= 100.0
                layer.cross_attention.query.bias += 10.0
    sharp = attention_entropy(network, frames, PREPROCESSOR, CPU, Noise())
    for name in ("position", "orientation"):
        assert fresh[name] > 0.95 > sharp[name] >= 0.0


def test_wrong_scenes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of()
    answers = good_signals(network)
    answers["scene"] = np.where(np.arange(len(FRAMES)) % 4 == 0, 1, answers["scene"])
    assert warned(monkeypatch, answers, network)["scene accuracy"]
    answers["scene"] = 1 - np.array([item.scene for item in FRAMES])  # none is right
    verdicts = warned(monkeypatch, answers, network)
    assert verdicts["scene accuracy"] and "residual, position" not in verdicts


@pytest.mark.parametrize("task", ["position", "orientation"])
def test_an_idle_fine_step_is_told(monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    network = network_of()
    answers = good_signals(network)
    if task == "position":
        answers["position"] = (
            network.position_centroids[0].double().numpy()[answers["position_cluster"]]
        )
    else:
        answers["quat_xyzw"] = (
            network.orientation_centroids[0].double().numpy()[answers["orientation_cluster"]]
        )
    verdicts = warned(monkeypatch, answers, network)
    assert verdicts[f"coarse to fine, {task}"]
    other = "orientation" if task == "position" else "position"
    assert not verdicts[f"coarse to fine, {other}"]


def test_wrong_clusters_and_large_residuals_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cluster is the wrong one: the true one's answer is right, the chosen one's is not."""
    network = network_of()
    answers = good_signals(network)
    right = answers["position"]
    rows = np.arange(len(FRAMES))
    for kind, name in (("position", "position"), ("orientation", "quat_xyzw")):
        true = answers[f"{kind}_cluster"]
        answers[f"{kind}_cluster"] = 1 - true
        answers[name] = answers[name][::-1].copy()  # of frames in the other heap
        candidates = answers[f"{kind}_candidates"]
        candidates[rows, 1 - true] = answers[name]
    verdicts = warned(monkeypatch, answers, network)
    assert verdicts["clusters, position"] and verdicts["clusters, orientation"]
    assert not verdicts["residual, position"]  # the answers lie near the chosen centroids
    answers["position"] = right  # now they lie a heap's distance away
    verdicts = warned(monkeypatch, answers, network)
    assert verdicts["residual, position"] and not verdicts["residual, orientation"]


def test_answers_that_are_no_numbers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of()
    answers = good_signals(network)
    answers["position"] = np.full_like(answers["position"], np.nan)
    assert warned(monkeypatch, answers, network)["coarse to fine, position"]


def test_a_network_without_clusters_is_compared_with_the_mean_pose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clustered = network_of()
    answers = good_signals(clustered)
    for kind in ("position", "orientation"):
        answers[f"{kind}_cluster"] = np.zeros(len(FRAMES), dtype=np.int64)
        answers[f"{kind}_candidates"] = answers[f"{kind}_candidates"][:, :1]
    direct = network_of(num_position_clusters=0, num_orientation_clusters=0)
    verdicts = warned(monkeypatch, answers, direct)
    assert not verdicts["coarse to fine, position"]
    assert not verdicts["coarse to fine, orientation"]
    assert not verdicts["residual, position"] and "clusters, position" not in verdicts
    mean = np.mean([item.frame.position for item in FRAMES], axis=0)
    answers["position"] = np.tile(mean, (len(FRAMES), 1))
    assert warned(monkeypatch, answers, direct)["coarse to fine, position"]


def test_it_is_compared_with_what_it_started_from(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of()
    answers = good_signals(network)
    much_better = {"kitchen": (0.001, 0.01)}
    worse = {"kitchen": (5.0, 50.0), "hall": (0.1, 1.0)}
    names = ("coarse to fine against direct", "number of scenes")
    verdicts = warned(monkeypatch, answers, network, Before(much_better, 1, direct=True))
    assert all(verdicts[name] for name in names)
    verdicts = warned(monkeypatch, answers, network, Before(worse, 1, direct=True))
    assert not any(verdicts[name] for name in names)
    verdicts = warned(monkeypatch, answers, network, Before(much_better, 2, direct=False))
    assert not set(names) & verdicts.keys()
    verdicts = warned(monkeypatch, answers, network, Before({"hall": (1.0, 1.0)}, 1, direct=True))
    assert not set(names) & verdicts.keys()


def test_what_a_bundle_says_of_itself(tmp_path: Path) -> None:
    summary = {"position_error_m": {"median": 0.5}, "orientation_error_deg": {"median": 4.0}}
    failed = {"position_error_m": {"median": None}, "orientation_error_deg": {"median": 4.0}}
    network = network_of(num_position_clusters=0, num_orientation_clusters=0)
    metadata = BundleMetadata(
        network=network.config,
        preprocess=PREPROCESSOR.config,
        scenes=tuple(SceneInfo(name) for name in SCENES),
        validation={"scenes": {"kitchen": summary, "office": failed}},
        data_hash="these",
    )
    save_bundle(tmp_path / "bundle", network, metadata)
    before = read_before(str(tmp_path / "bundle"), "these")
    assert before == Before({"kitchen": (0.5, 4.0)}, 2, direct=True)
    others = read_before(str(tmp_path / "bundle"), "others")
    assert others is not None and not others.direct
    assert read_before("", "these") is None


def test_frames_are_spread_over_the_scenes() -> None:
    chosen = evenly(FRAMES, 6)
    assert [item.scene for item in chosen] == [0, 0, 0, 1, 1, 1]
    assert chosen[0] is FRAMES[0] and chosen[2] is FRAMES[19] and chosen[-1] is FRAMES[-1]
    assert len(evenly(FRAMES, 1000)) == len(FRAMES)


def test_a_training_warns_early_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_tiny_dataset(tmp_path / "data")
    (tmp_path / "run").mkdir()
    config = make_config(dataset, checks=ChecksConfig(at=(0.5,), frames=8))
    Trainer(config, tmp_path / "run", CPU).run()
    shown = "".join(capsys.readouterr())
    history = json.loads((tmp_path / "run/history.json").read_text())
    assert "first_checks" in history[0] and "first_checks" not in history[1]
    warnings = [found for found in history[0]["first_checks"] if found["warns"]]
    # Three steps are too few for a network to be good at everything.
    assert warnings
    for found in warnings:
        assert f"warning: {found['text']}. {found['remedy']}" in shown
    assert (tmp_path / "run/bundle/bundle.json").exists()


def test_checks_are_due_only_where_asked_for(tmp_path: Path) -> None:
    dataset = make_tiny_dataset(tmp_path / "data", frames_per_scene=10)
    config = make_config(dataset, epochs=20, checks=ChecksConfig(frames=2))
    trainer = Trainer(config, tmp_path, CPU)

    def found(**changes: object) -> list[int]:
        asked = dataclasses.replace(config, **changes)
        return [
            epoch
            for epoch in range(1, 21)
            if check_after_epoch(
                trainer.network, asked, trainer.lesson, epoch, trainer.samples.preprocessor, CPU
            )
        ]

    assert found() == [2, 6]
    assert found(checks=ChecksConfig(at=(1.0,), frames=2)) == [20]
    assert found(checks=ChecksConfig(enabled=False)) == []


def test_a_check_that_fails_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> list[Finding]:
        raise RuntimeError("no luck")

    monkeypatch.setattr(trainer_module, "check_after_epoch", fail)
    dataset = make_tiny_dataset(tmp_path / "data", frames_per_scene=10)
    (tmp_path / "run").mkdir()
    Trainer(make_config(dataset, epochs=1), tmp_path / "run", CPU).run()
    assert "the first checks could not be made: no luck" in "".join(capsys.readouterr())
    assert (tmp_path / "run/bundle/bundle.json").exists()


def test_a_configuration_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("datasets: [a]\nchecks: {enabled: false}\n")
    assert not load_train_config(path).checks.enabled
    for bad in ("{at: [0.0]}", "{frames: 0}", "{frmes: 3}"):
        path.write_text(f"datasets: [a]\nchecks: {bad}\n")
        with pytest.raises(ConfigError):
            load_train_config(path)
