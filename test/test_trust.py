"""A calibrated bundle from end to end: written, read back, asked, by files and by the command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import (
    TINY_CAMERA,
    TINY_NETWORK,
    TINY_VIRTUAL_CAMERA,
    make_tiny_bundle,
    make_tiny_dataset,
)

from mspr_ros.bundle import Bundle, BundleMetadata, SceneInfo, load_bundle, save_bundle
from mspr_ros.calibration.fit import CalibrationOptions
from mspr_ros.cli.main import main
from mspr_ros.data.dataset import Dataset, write_dataset
from mspr_ros.data.images import read_image
from mspr_ros.errors import BundleError, ConfigError
from mspr_ros.evaluation.answers import ask_localizer
from mspr_ros.localizer import Localizer
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.preprocess import PreprocessConfig, Preprocessor
from mspr_ros.training.calibrating import blocks_of, calibrate_on, prototypes_of
from mspr_ros.training.lesson import hash_of
from mspr_ros.training.samples import labeled_frames

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("data")
    return make_tiny_dataset(parent / "tiny", scenes=("kitchen",), frames_per_scene=100)


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return Dataset.load(folder).select(split="train")


@pytest.fixture(scope="module")
def calibrated(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calibrate a network with random weights and a head; every second frame is held out."""
    torch.manual_seed(0)
    config = dataclasses.replace(TINY_NETWORK, uncertainty="laplace")
    network = PoseRegressor(config=config, num_scenes=1).eval()
    preprocess = PreprocessConfig(
        width=96, height=64, resize_shorter_px=0, virtual_camera=TINY_VIRTUAL_CAMERA
    )
    frames = labeled_frames([dataset], ("kitchen",))
    preprocessor = Preprocessor(preprocess)
    prototypes = prototypes_of(network, frames[::2], preprocessor, CPU, 100)
    trust = calibrate_on(
        network, frames[1::2], preprocessor, CPU, ("kitchen",), prototypes,
        CalibrationOptions(source="every second frame"),
    )  # fmt: skip
    assert trust is not None
    metadata = BundleMetadata(
        network=config,
        preprocess=preprocess,
        scenes=(SceneInfo("kitchen"),),
        calibration=trust.calibration,
    )
    folder = tmp_path_factory.mktemp("bundle") / "b"
    save_bundle(folder, network, metadata, prototypes=prototypes)
    return folder


def again(folder: Path, bundle: Bundle, **options: object) -> Bundle:
    metadata = dataclasses.replace(bundle.metadata)
    save_bundle(folder, bundle.network, metadata, prototypes=bundle.prototypes, **options)
    return load_bundle(folder)


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (96, 128, 3)).astype(np.uint8)


def test_calibration_and_prototypes_are_read_as_written(calibrated: Path, tmp_path: Path) -> None:
    one = load_bundle(calibrated)
    two = again(tmp_path / "two", one)
    assert one.metadata.calibration is not None and one.prototypes is not None
    assert two.metadata.calibration == one.metadata.calibration
    for field in dataclasses.fields(one.prototypes):
        np.testing.assert_array_equal(
            getattr(one.prototypes, field.name), getattr(two.prototypes, field.name)
        )
    assert one.content_hash == two.content_hash
    assert one.metadata.calibration.num_frames == 40
    assert one.metadata.calibration.date.startswith("20")
    size = (calibrated / "prototypes.safetensors").stat().st_size
    shared = one.prototypes.basis.nbytes / 2 + one.prototypes.mean.nbytes / 2
    assert size - shared < 20 * 1024


def test_half_precision_keeps_calibration_and_prototypes(calibrated: Path, tmp_path: Path) -> None:
    one = load_bundle(calibrated)
    half = again(tmp_path / "half", one, half_precision=True)
    np.testing.assert_array_equal(half.prototypes.descriptor, one.prototypes.descriptor)
    picture = noise()
    full = Localizer(one, CPU).localize(picture, TINY_CAMERA)
    rough = Localizer(half, CPU).localize(picture, TINY_CAMERA)
    np.testing.assert_allclose(rough.covariance, full.covariance, rtol=0.2, atol=1e-3)


def test_what_a_calibration_needs_must_be_there(calibrated: Path, tmp_path: Path) -> None:
    bundle = load_bundle(calibrated)
    save_bundle(tmp_path / "b", bundle.network, bundle.metadata)
    with pytest.raises(BundleError, match=r"prototypes\.safetensors is missing"):
        load_bundle(tmp_path / "b")
    again(tmp_path / "c", bundle)
    (tmp_path / "c" / "prototypes.safetensors").write_bytes(b"rubbish")
    with pytest.raises(BundleError, match="damaged"):
        load_bundle(tmp_path / "c")
    path = tmp_path / "b" / "bundle.json"
    for change, match in (
        ({"colour": 1}, "unknown key"),
        ({"position_weights": [1.0]}, "position_weights has 1 numbers"),
        ({"scene_temperature": 0.0}, "temperatures must be positive"),
        ({"features": ["mood"]}, "unknown feature 'mood'"),
    ):
        values = json.loads((calibrated / "bundle.json").read_text())
        values["calibration"].update(change)
        path.write_text(json.dumps(values))
        with pytest.raises(BundleError, match=match):
            load_bundle(tmp_path / "b")


def test_good_frames_pass_and_noise_is_unknown(calibrated: Path, dataset: Dataset) -> None:
    localizer = Localizer.load(calibrated, device="cpu")
    frames = [dataset.frames[place] for place in range(1, 80, 2)]
    pictures = [read_image(frame.image) for frame in frames]
    answers = localizer.localize_batch(pictures, [TINY_CAMERA] * len(pictures))
    assert all(answer.calibrated for answer in answers)
    assert sum(answer.accepted for answer in answers) >= 0.9 * len(answers)
    for picture in (noise(), np.zeros_like(noise()), np.full_like(noise(), 255)):
        estimate = localizer.localize(picture, TINY_CAMERA)
        assert not estimate.accepted and estimate.scene == "unknown"
        assert "resembles no taught place" in estimate.rejection
        assert estimate.known_score < min(answer.known_score for answer in answers)
        assert estimate.confidence < 0.5
        assert np.linalg.eigvalsh(estimate.covariance).min() > 0.0


def test_a_batch_says_what_single_pictures_do(calibrated: Path, dataset: Dataset) -> None:
    localizer = Localizer.load(calibrated, device="cpu")
    pictures = [read_image(dataset.frames[3].image), noise(1)]
    together = localizer.localize_batch(pictures, [TINY_CAMERA, None])
    for picture, camera, one in zip(pictures, [TINY_CAMERA, None], together, strict=True):
        alone = localizer.localize(picture, camera)
        np.testing.assert_allclose(alone.covariance, one.covariance, rtol=1e-3)
        assert alone.known_score == pytest.approx(one.known_score, abs=1e-3)
        assert alone.confidence == pytest.approx(one.confidence, abs=1e-3)
        assert len(alone.hypotheses) == len(one.hypotheses)


def test_hypotheses_list_clusters_and_scenes_the_answer_first(tmp_path: Path) -> None:
    localizer = Localizer.load(make_tiny_bundle(tmp_path / "b"), device="cpu")
    estimate = localizer.localize(noise(), TINY_CAMERA)
    first, *others = estimate.hypotheses
    np.testing.assert_array_equal(first.T_map_cam, estimate.T_map_cam)
    assert first.scene == estimate.scene
    assert others and len(others) <= 4
    assert {one.scene for one in estimate.hypotheses} == {"kitchen", "office"}
    assert [one.probability for one in others] == sorted(
        (one.probability for one in others), reverse=True
    )
    assert sum(one.probability for one in estimate.hypotheses) <= 1.0 + 1e-9
    readings = {(one.scene, one.position_cluster, one.orientation_cluster) for one in others}
    assert len(readings) == len(others)
    forced = Localizer.load(tmp_path / "b", device="cpu", scene="office").localize(noise())
    assert {one.scene for one in forced.hypotheses} == {"office"}


def test_the_callers_confidence_counts_instead_of_the_bundles(calibrated: Path) -> None:
    bundle = load_bundle(calibrated)
    calibration = dataclasses.replace(
        bundle.metadata.calibration, min_known_score=None, min_confidence=0.999
    )
    metadata = dataclasses.replace(bundle.metadata, calibration=calibration)
    strict = Bundle(bundle.network, metadata, "0", bundle.prototypes)
    estimate = Localizer(strict, CPU).localize(noise(), TINY_CAMERA)
    assert not estimate.accepted and "below 1.00" in estimate.rejection
    assert Localizer(strict, CPU, min_confidence=1e-9).localize(noise(), TINY_CAMERA).accepted


def test_turned_views_widen_the_covariance(calibrated: Path) -> None:
    bundle = load_bundle(calibrated)
    plain = Localizer(bundle, CPU).localize(noise(), TINY_CAMERA)
    turned = Localizer(bundle, CPU, tta=2).localize(noise(), TINY_CAMERA)
    assert np.abs(turned.T_map_cam - plain.T_map_cam).max() > 1e-6
    blind = Localizer(bundle, CPU, tta=2).localize(noise())  # no camera: nothing to turn
    np.testing.assert_allclose(
        blind.T_map_cam, Localizer(bundle, CPU).localize(noise()).T_map_cam, atol=1e-4
    )
    with pytest.raises(ConfigError, match="tta"):
        Localizer(bundle, CPU, tta=99)


def test_the_evaluation_hears_the_known_score(calibrated: Path, dataset: Dataset) -> None:
    localizer = Localizer.load(calibrated, device="cpu")
    few = dataset.subset([1, 3])
    for answer, frame in zip(
        ask_localizer(localizer, few, show_progress=False), few.frames, strict=True
    ):
        estimate = localizer.localize(read_image(frame.image), TINY_CAMERA)
        assert answer.known_score == pytest.approx(estimate.known_score, abs=1e-3)


def test_blocks_are_runs_without_gaps_or_pieces(dataset: Dataset) -> None:
    frames = labeled_frames([dataset], ("kitchen",))
    assert len(np.unique(blocks_of(frames))) == 10
    apart = [item for place, item in enumerate(frames) if place % 8 < 2]
    assert len(np.unique(blocks_of(apart))) == 10


def test_frames_of_a_rig_share_their_blocks(dataset: Dataset) -> None:
    one = dataset.frames[:40]
    late = [
        dataclasses.replace(frame, camera="right", stamp_ns=frame.stamp_ns + 3_000_000)
        for frame in one
    ]
    cameras = {**dataset.cameras, "right": TINY_CAMERA}
    rig = dataclasses.replace(dataset, frames=(*one, *late), cameras=cameras)
    blocks = blocks_of(labeled_frames([rig], ("kitchen",)))
    assert np.bincount(blocks).tolist() == [8] * 10


def test_the_command_calibrates_a_bundle(
    calibrated: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = load_bundle(calibrated)
    bare = dataclasses.replace(bundle.metadata, calibration=None)
    save_bundle(tmp_path / "bare", bundle.network, bare)
    call = ["calibrate", str(tmp_path / "bare"), str(folder), "--train", str(folder)]
    call += ["-o", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*call, "--split", "test"]) == 0
    assert "calibrated on 20 frames" in capsys.readouterr().out
    found = load_bundle(tmp_path / "out")
    assert found.metadata.calibration is not None and found.prototypes is not None
    assert found.metadata.calibration.source == "tiny"
    assert main([*call, "--split", "test"]) == 1
    assert "not overwritten" in capsys.readouterr().err
    call[call.index("-o") + 1] = str(tmp_path / "other")
    assert main([*call, "--split", "all"]) == 1
    assert "80 of 100 frames to calibrate on are training data" in capsys.readouterr().err
    assert main([*call, "--split", "test", "--false-reject-rate", "0.9"]) == 1
    assert "false_reject_rate" in capsys.readouterr().err


@pytest.mark.parametrize("known_by", ["path", "content", "link"])
def test_frames_that_a_bundle_was_trained_on_are_refused(
    calibrated: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    known_by: str,
) -> None:  # fmt: skip
    bundle, dataset = load_bundle(calibrated), Dataset.load(folder)
    training = {"datasets": [str(folder if known_by != "content" else tmp_path / "gone")]}
    metadata = dataclasses.replace(bundle.metadata, calibration=None, training=training)
    given = folder
    if known_by == "content":
        metadata = dataclasses.replace(metadata, data_hash=hash_of([dataset]))
    if known_by == "link":  # the same recording, imported once more
        given = tmp_path / "again"
        write_dataset(
            given,
            name="again",
            frames=dataset.frames,
            cameras=dataset.cameras,
            scenes=("kitchen",),
        )
    save_bundle(tmp_path / "bare", bundle.network, metadata, prototypes=bundle.prototypes)
    call = ["calibrate", str(tmp_path / "bare"), str(given), "-o", str(tmp_path / "out")]
    call += ["--device", "cpu"]
    assert main(call) == 1
    shown = capsys.readouterr()
    assert "80 of 100 frames to calibrate on are training data" in shown.err
    assert "--split test" in shown.err
    assert ("gone, which the bundle was trained on, is not at hand" in shown.out) == (
        known_by == "content"
    )
    assert main([*call, "--split", "test"]) == 0
    assert "calibrated on 20 frames" in capsys.readouterr().out
