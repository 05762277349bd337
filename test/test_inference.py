"""The network prepared for inference must answer as the network itself does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_network_options import OPTIONS, make_images, make_network
from test_reference import REFERENCE, needs_reference
from torch import nn

from mspr_ros.network.inference import fold_batch_norms, prepare_for_inference
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.network.threads import one_thread

SIZE = (64, 96)


def stir_batch_norms(network: nn.Module) -> None:
    """Give the batch norms statistics and weights that show where one is folded wrongly."""
    generator = torch.Generator().manual_seed(5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.8, 1.25, generator=generator)
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(0.0, 0.1, generator=generator)


def assert_same(found: Any, expected: Any, name: str = "output") -> None:
    """Compare every tensor of two named tuples, whatever fields they have."""
    if isinstance(expected, tuple):
        assert found._fields == expected._fields
        for field in expected._fields:
            assert_same(getattr(found, field), getattr(expected, field), field)
    elif expected is not None:
        torch.testing.assert_close(
            found, expected, atol=1e-4, rtol=1e-4, msg=lambda text: f"{name}: {text}"
        )


@pytest.mark.parametrize("options", [{}, *OPTIONS], ids=str)
@torch.inference_mode()
def test_every_option_answers_the_same(options: dict[str, Any]) -> None:
    with torch.inference_mode(mode=False):
        network = make_network(num_scenes=3, num_decoder_layers=2, **options)
    stir_batch_norms(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    prepared = prepare_for_inference(network, *SIZE)
    images, scene = make_images(3), torch.tensor([2, 0, 1])
    assert_same(prepared(images), network(images))
    assert_same(prepared(images, scene=scene), network(images, scene=scene))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in prepared.backbone.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), f"{name} of the network itself has changed"
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("num_scenes", [1, 7, 64])
@torch.inference_mode()
def test_any_number_of_scenes_answers_the_same(num_scenes: int) -> None:
    with torch.inference_mode(mode=False):
        network = make_network(num_scenes=num_scenes, num_decoder_layers=2)
    prepared = prepare_for_inference(network, *SIZE)
    assert_same(prepared(make_images(2)), network(make_images(2)))


def test_another_size_is_refused() -> None:
    prepared = prepare_for_inference(make_network(), *SIZE)
    with pytest.raises(ValueError, match="prepared for another size"):
        prepared(torch.zeros(1, 3, 96, 96))


def test_a_norm_is_folded_only_where_it_reads_the_convolution() -> None:
    """Listed one after the other, but with something between, or the norm first: left alone."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 1)
            self.norm = nn.BatchNorm2d(4)
            self.second = nn.Conv2d(4, 4, 1)
            self.late_norm = nn.BatchNorm2d(4)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.late_norm(self.second(self.norm(self.first(images))).relu())

    body = Odd().eval()
    stir_batch_norms(body)
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = body(images)
        assert fold_batch_norms(body) == 1
        torch.testing.assert_close(body(images), expected)
    assert isinstance(body.late_norm, nn.BatchNorm2d)


@needs_reference
@torch.inference_mode()
def test_the_papers_recorded_outputs_at_full_size(tmp_path: Any) -> None:
    from mspr_ros.bundle import load_bundle
    from mspr_ros.cli.main import main

    files = [str(REFERENCE / f"c2f_small.{kind}") for kind in ("safetensors", "json")]
    options = ["--centroids", str(REFERENCE / "c2f_small_io.npz"), "-o", str(tmp_path / "b")]
    assert main(["import-reference", *files, *options, "--scenes", "a,b,c"]) == 0
    with torch.inference_mode(mode=False):
        network: PoseRegressor = load_bundle(tmp_path / "b").network
    with np.load(REFERENCE / "c2f_small_io.npz") as archive:
        images = torch.from_numpy(archive["image"][:2])
        scenes, poses = archive["predicted_scene"][:2], archive["pose"][:2]
    output = prepare_for_inference(network, 224, 224)(images)
    assert output.selection.scene.tolist() == scenes.tolist()
    np.testing.assert_allclose(output.position.numpy(), poses[:, :3], rtol=1e-4, atol=1e-4)
    quats = np.roll(poses[:, 3:] / np.linalg.norm(poses[:, 3:], axis=1, keepdims=True), -1, axis=1)
    np.testing.assert_allclose(output.orientation.numpy(), quats, rtol=1e-4, atol=1e-4)


def test_one_thread_gives_the_others_back_whatever_happens():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="broken"), one_thread():
        assert torch.get_num_threads() == 1
        raise ValueError("broken")
    assert torch.get_num_threads() == before
