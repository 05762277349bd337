"""What must hold of the network whatever its weights are."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny import TINY_NETWORK, make_tiny_network

from mspr_ros.network.backbone import Backbone, imagenet_weights, import_timm
from mspr_ros.network.configuration import NetworkConfig
from mspr_ros.network.heads import select_rows
from mspr_ros.network.losses import LossConfig, PoseCriterion
from mspr_ros.network.regressor import PoseRegressor, RegressorOutput, Selection

IMAGE_SIZE = (64, 96)


def make_images(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, *IMAGE_SIZE, generator=generator)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@torch.inference_mode()
def test_a_batch_answers_as_its_images_one_by_one() -> None:
    network, images = make_tiny_network(num_scenes=3), make_images(5)
    together = network(images)
    apart = [network(image[None]) for image in images]
    for name in ("scene_logits", "position", "orientation", "position_cluster_logits"):
        stacked = torch.cat([getattr(output, name) for output in apart])
        torch.testing.assert_close(getattr(together, name), stacked, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_an_empty_batch_is_answered() -> None:
    output = make_tiny_network()(make_images(0))
    assert output.position.shape == (0, 3)
    assert output.scene_logits.shape == (0, 2)


@torch.inference_mode()
def test_permuting_scenes_permutes_logits_and_keeps_poses() -> None:
    network, images = make_tiny_network(num_scenes=4), make_images(3)
    before = network(images)
    order = torch.tensor([2, 0, 3, 1])
    for transformer in (network.position_transformer, network.orientation_transformer):
        transformer.scene_queries.weight.copy_(transformer.scene_queries.weight[order].clone())
    network.position_centroids.copy_(network.position_centroids[order].clone())
    network.orientation_centroids.copy_(network.orientation_centroids[order].clone())
    after = network(images)
    torch.testing.assert_close(after.scene_logits, before.scene_logits[:, order])
    torch.testing.assert_close(order[after.selection.scene], before.selection.scene)
    torch.testing.assert_close(after.position, before.position)


@torch.inference_mode()
def test_the_answer_is_built_on_the_predicted_scene_and_clusters() -> None:
    network, images = make_tiny_network(num_scenes=3), make_images(8)
    output = network(images)
    scene = output.scene_logits.argmax(dim=1)
    cluster = output.position_cluster_logits.argmax(dim=1)
    centroid = network.position_centroids[scene, cluster]
    torch.testing.assert_close(output.position, centroid + output.position_residual)
    torch.testing.assert_close(output.selection.scene, scene)
    torch.testing.assert_close(output.orientation.norm(dim=-1), torch.ones(8))


@torch.inference_mode()
def test_a_forced_scene_uses_that_scenes_output_and_likeliest_clusters() -> None:
    network, images = make_tiny_network(num_scenes=3), make_images(4)
    scene = torch.tensor([2, 0, 1, 2])
    output = network(images, scene=scene)
    torch.testing.assert_close(output.selection.scene, scene)
    likeliest = output.position_cluster_logits.argmax(dim=1)
    torch.testing.assert_close(output.selection.position_cluster, likeliest)
    torch.testing.assert_close(output.scene_logits, network(images).scene_logits)


@torch.inference_mode()
def test_the_teacher_chooses_centroids_but_changes_no_logit_or_residual_of_its_scene() -> None:
    network, images = make_tiny_network(num_scenes=2), make_images(2)
    free = network(images)
    other = Selection(
        free.selection.scene,
        1 - free.selection.position_cluster,
        1 - free.selection.orientation_cluster,
    )
    taught = network(images, teacher=other)
    torch.testing.assert_close(taught.scene_logits, free.scene_logits)
    torch.testing.assert_close(taught.position_residual, free.position_residual)
    assert not torch.allclose(taught.position, free.position)


def test_every_parameter_gets_a_gradient_from_a_batch_of_every_scene() -> None:
    # In float64 a gradient that is zero by construction is not hidden by rounding; with running
    # statistics, batch norms do not swallow the biases before them.
    network = make_tiny_network(num_scenes=3).double().eval()
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):  # zero at the start, where it would hide gradients of weights
            torch.nn.init.normal_(parameter, std=0.1)
    criterion = PoseCriterion(LossConfig()).double()
    gt = Selection(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 0]), torch.tensor([1, 0, 1]))
    orientation = torch.nn.functional.normalize(torch.randn(3, 4).double(), dim=-1)
    output = network(make_images(3).double(), teacher=gt)
    criterion(output, torch.randn(3, 3).double(), orientation, gt)["total"].backward()
    modules = {"network": network, "criterion": criterion}
    without = {
        f"{owner}.{name}"
        for owner, module in modules.items()
        for name, parameter in module.named_parameters()
        if parameter.grad is None or not bool(parameter.grad.abs().max() > 1e-12)
    }
    # A softmax does not feel a constant added to all keys or to all scenes. And the decoder
    # starts from zeros, as in the paper: whatever its first self-attention attends to is the same.
    attentions = ("encoder.0.attention", "decoder.0.self_attention", "decoder.0.cross_attention")
    idle = ("norm_self_attention.weight", "self_attention.query.weight",
            "self_attention.query.bias", "self_attention.key.weight")  # fmt: skip
    expected = {"network.scene_classifier.bias"}
    for task in ("position", "orientation"):
        prefix = f"network.{task}_transformer"
        expected |= {f"{prefix}.{attention}.key.bias" for attention in attentions}
        expected |= {f"{prefix}.decoder.0.{name}" for name in idle}
    assert without == expected


@pytest.mark.slow
def test_eight_images_can_be_overfitted() -> None:
    torch.manual_seed(0)
    network = PoseRegressor(config=dataclasses.replace(TINY_NETWORK, dropout=0.0), num_scenes=2)
    network.position_centroids.normal_()
    images, criterion = make_images(8), PoseCriterion(LossConfig())
    position = torch.randn(8, 3)
    orientation = torch.nn.functional.normalize(torch.randn(8, 4), dim=-1)
    gt = Selection(torch.arange(8) % 2, torch.arange(8) // 2 % 2, torch.arange(8) // 4)
    optimizer = torch.optim.Adam([*network.parameters(), *criterion.parameters()], lr=2e-3)
    for module in network.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # a plain average, so that evaluation sees the same statistics
    for _ in range(80):
        optimizer.zero_grad()
        loss = criterion(network(images, teacher=gt), position, orientation, gt)["total"]
        loss.backward()
        optimizer.step()
    output = network(images)  # still with batch statistics, but without the teacher
    assert output.selection.scene.tolist() == gt.scene.tolist()
    assert output.selection.position_cluster.tolist() == gt.position_cluster.tolist()
    assert float((output.position - position).norm(dim=-1).mean()) < 0.1
    cosine = (output.orientation * orientation).sum(dim=-1).abs()
    assert float(cosine.min()) > 0.98


def test_the_papers_network_has_its_published_size() -> None:
    network = PoseRegressor(config=NetworkConfig(), num_scenes=7)
    whole_backbone = import_timm().create_model("tf_efficientnet_b0")
    num_dropped = count(whole_backbone) - count(network.backbone)
    # The published 18.5 M count the blocks and the classifier of the backbone that are not used.
    assert count(network) + num_dropped == pytest.approx(18.5e6, rel=0.01)
    position_map, orientation_map = network.backbone(torch.zeros(1, 3, 224, 224))
    assert position_map.shape == (1, 112, 14, 14)
    assert orientation_map.shape == (1, 40, 28, 28)


def test_unused_blocks_are_dropped_without_changing_the_maps() -> None:
    whole = import_timm().create_model("tf_efficientnet_lite0", features_only=True).eval()
    cut = Backbone(name="tf_efficientnet_lite0", strides=(16, 8)).eval()
    cut.body.load_state_dict({key: whole.state_dict()[key] for key in cut.body.state_dict()})
    images = make_images(2)
    with torch.inference_mode():
        expected = whole(images)
        position_map, orientation_map = cut(images)
    torch.testing.assert_close(position_map, expected[3])
    torch.testing.assert_close(orientation_map, expected[2])
    assert len(list(cut.body.blocks)) < len(list(whole.blocks))


def test_imagenet_weights_come_from_the_installed_package() -> None:
    backbone = Backbone(name="tf_efficientnet_lite0", strides=(16, 8), pretrained=True)
    stem = backbone.body.state_dict()["conv_stem.weight"]
    fresh = Backbone(name="tf_efficientnet_lite0", strides=(16, 8)).body
    assert torch.equal(imagenet_weights("tf_efficientnet_lite0", fresh)["conv_stem.weight"], stem)
    assert not torch.allclose(fresh.state_dict()["conv_stem.weight"], stem)


def test_config_refuses_all_bad_values_at_once() -> None:
    with pytest.raises(ValueError, match=r"hidden_dim.*multiple") as error:
        NetworkConfig(hidden_dim=250, dropout=1.5, position_stride=5)
    assert "dropout" in str(error.value)
    assert "position_stride" in str(error.value)


def test_select_rows_is_indexing() -> None:
    table, index = torch.randn(4, 5, 3), torch.tensor([0, 4, 2, 2])
    assert torch.equal(select_rows(table, index), table[torch.arange(4), index])


def test_the_loss_takes_q_and_minus_q_for_the_same() -> None:
    network, images = make_tiny_network(), make_images(4)
    gt = Selection(*(torch.zeros(4, dtype=torch.long) for _ in range(3)))
    orientation = torch.nn.functional.normalize(torch.randn(4, 4), dim=-1)
    criterion, output = PoseCriterion(LossConfig()), network(images, teacher=gt)
    one = criterion(output, torch.zeros(4, 3), orientation, gt)
    other = criterion(output, torch.zeros(4, 3), -orientation, gt)
    torch.testing.assert_close(one["orientation"], other["orientation"])


def test_the_loss_is_the_papers_formula() -> None:
    gt = Selection(torch.tensor([1, 0]), torch.tensor([0, 1]), torch.tensor([1, 1]))
    logits = torch.tensor([[0.3, 1.2], [0.1, -0.4]])
    q = torch.nn.functional.normalize(torch.tensor([[0.1, 0.2, 0.3, 0.9], [0, 0, 0, 1.0]]), dim=1)
    x = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    zero, one = torch.zeros(()), torch.ones(2, 1)
    output = RegressorOutput(logits, logits, logits, x, q, one, x, q, x, x, gt, zero)
    losses = PoseCriterion(LossConfig(s_x=0.5, s_q=-1.0))(output, torch.zeros(2, 3), q, gt)
    nll = -logits.log_softmax(dim=1)
    expected = (
        1.5 * torch.exp(torch.tensor(-0.5)) + 0.5 + 0.0 - 1.0
        + (nll[0, 1] + nll[1, 0]) / 2 + (nll[0, 0] + nll[1, 1]) / 2 + (nll[0, 1] + nll[1, 1]) / 2
    )  # fmt: skip
    torch.testing.assert_close(losses["total"], expected)
