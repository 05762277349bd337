"""The one way in, on a network with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import make_tiny_bundle

from mspr_ros import localizer as localizer_module
from mspr_ros.backends.torch_backend import TorchBackend
from mspr_ros.bundle import Bundle
from mspr_ros.camera import CameraModel
from mspr_ros.device import choose_device
from mspr_ros.errors import ConfigError, ImageError
from mspr_ros.geometry import invert_transform
from mspr_ros.localizer import Localizer

CAMERA = CameraModel(128, 96, 100.0, 100.0, 63.5, 47.5)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")


def picture(seed: int = 0, height: int = 96, width: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_an_estimate_is_complete(bundle: Path) -> None:
    estimate = Localizer.load(bundle, device="cpu").localize(picture(), CAMERA)
    np.testing.assert_allclose(
        invert_transform(estimate.T_map_cam) @ estimate.T_map_cam, np.eye(4), atol=1e-9
    )
    assert estimate.scene in ("kitchen", "office")
    assert 0.0 < estimate.confidence <= estimate.scene_probability <= 1.0
    assert estimate.accepted
    assert estimate.rejection == ""
    assert np.linalg.eigvalsh(estimate.covariance).min() > 0
    assert set(estimate.timings) == {"preprocess_ms", "network_ms", "postprocess_ms"}
    assert estimate.hypotheses[0].scene == estimate.scene


def test_the_pose_is_the_networks_own(bundle: Path) -> None:
    localizer = Localizer.load(bundle, device="cpu")
    estimate = localizer.localize(picture(), CAMERA)
    with torch.inference_mode():
        output = localizer.network(localizer.preprocessor.tensor([picture()], [CAMERA]))
    np.testing.assert_allclose(estimate.T_map_cam[:3, 3], output.position[0], atol=1e-6)


def test_a_batch_answers_as_single_pictures_do(bundle: Path) -> None:
    localizer = Localizer.load(bundle, device="cpu")
    pictures, cameras = [picture(1), picture(2, 60, 80)], [CAMERA, None]
    together = localizer.localize_batch(pictures, cameras)
    for estimate, image, camera in zip(together, pictures, cameras, strict=True):
        alone = localizer.localize(image, camera)
        np.testing.assert_allclose(estimate.T_map_cam, alone.T_map_cam, atol=1e-4)
        assert estimate.scene == alone.scene
    assert localizer.localize_batch([]) == []


def test_a_low_confidence_is_rejected_with_a_reason(bundle: Path) -> None:
    estimate = Localizer.load(bundle, device="cpu", min_confidence=0.999).localize(picture())
    assert not estimate.accepted
    assert estimate.scene == "unknown"
    assert "below 1.00" in estimate.rejection
    assert estimate.hypotheses[0].scene != "unknown"


def test_an_answer_that_is_not_finite_is_rejected(bundle: Path) -> None:
    localizer = Localizer.load(bundle, device="cpu")
    localizer.network.position_head[2].bias.data[0] = torch.nan
    estimate = localizer.localize(picture())
    assert not estimate.accepted
    assert estimate.confidence == 0.0
    assert "not finite" in estimate.rejection


@pytest.mark.parametrize("scene", ["kitchen", "office"])
def test_a_scene_can_be_forced(bundle: Path, scene: str) -> None:
    localizer = Localizer.load(bundle, device="cpu", scene=scene)
    estimates = [localizer.localize(picture(seed)) for seed in range(3)]
    assert {estimate.scene for estimate in estimates} == {scene}
    assert {estimate.scene_probability for estimate in estimates} == {1.0}


def test_what_cannot_be_had_is_refused(bundle: Path) -> None:
    for wrong in (
        {"scene": "garden"},
        {"device": "abacus"},
        {"device": "meta"},
        {"backend": "wishes"},
        {"precision": "fp3"},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong.values()))):
            Localizer.load(bundle, **wrong)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="0 CUDA devices"):
            Localizer.load(bundle, device="cuda")


def test_exported_networks_are_asked_on_the_cpu(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def choose(folder: Path, loaded: Bundle, device: torch.device, *rest: str) -> TorchBackend:
        asked.append(device)
        size = loaded.metadata.preprocess
        return TorchBackend(loaded.network, size.height, size.width, device)

    monkeypatch.setattr(localizer_module, "choose_backend", choose)
    monkeypatch.setattr("mspr_ros.device._gpu_computes", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    localizer = Localizer.load(bundle, backend="onnxruntime")
    assert asked == [torch.device("cpu")] and localizer.device.type == "cpu"
    with pytest.raises(ConfigError, match="openvino runs on the CPU"):
        Localizer.load(bundle, device="cuda", backend="openvino")


def test_a_gpu_that_cannot_compute_is_taken_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise RuntimeError(text)

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.ones", fail)
    text = "CUDA error: no kernel image is available\nCUDA kernel errors might be ..."
    with pytest.warns(UserWarning, match="no kernel image is available$"):
        assert choose_device("auto").type == "cpu"
    text = "CUDA error: out of memory"  # a GPU that computes, once there is room
    assert choose_device("auto").type == "cuda"


def test_bad_pictures_raise_and_harm_nothing(bundle: Path) -> None:
    localizer = Localizer.load(bundle, device="cpu")
    before = localizer.localize(picture()).T_map_cam
    with pytest.raises(ImageError):
        localizer.localize(np.zeros((0, 3, 3), np.uint8))
    with pytest.raises(ImageError, match="1 images but 2 cameras"):
        localizer.localize_batch([picture()], [None, None])
    np.testing.assert_array_equal(localizer.localize(picture()).T_map_cam, before)
