"""What the network and its loss can do beyond the paper: every option against an oracle."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tiny import TINY_NETWORK
from torch.nn import functional

from mspr_ros.network.configuration import NetworkConfig
from mspr_ros.network.losses import LossConfig, PoseCriterion, robust
from mspr_ros.network.position_encoding import SinePositionEncoding
from mspr_ros.network.regressor import PoseRegressor, Selection
from mspr_ros.network.rotation import (
    angle_between_rad,
    columns_from_quat_xyzw,
    matrix_from_6d,
    quat_xyzw_from_matrix,
)
from mspr_ros.network.transformer import Attention
from mspr_ros.training.distributed import GradedNetwork

OPTIONS: list[dict[str, Any]] = [
    {"num_position_clusters": 0, "num_orientation_clusters": 0},
    {"num_position_clusters": 0, "num_orientation_clusters": 0, "rotation": "6d"},
    {"shared_encoder": True, "orientation_stride": 16},
    {"residual": False},
    {"cluster_residuals": True, "mixture_clusters": 2},
    {"cluster_residuals": True, "mixture_clusters": 2, "rotation": "6d"},
    {"normalize_positions": True},
    {"position_encoding": "sine"},
    {"attention_dropout": "keys", "dropout": 0.3},
]


def make_network(*, num_scenes: int = 2, **options: Any) -> PoseRegressor:
    torch.manual_seed(0)
    config = dataclasses.replace(TINY_NETWORK, **options)
    network = PoseRegressor(config=config, num_scenes=num_scenes)
    if config.num_position_clusters:
        network.position_centroids.normal_()
        network.orientation_centroids.copy_(
            functional.normalize(torch.randn_like(network.orientation_centroids), dim=-1)
        )
    return network.eval()


def make_images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_learns_and_answers(options: dict[str, Any]) -> None:
    network = make_network(num_scenes=3, **options).train()
    gt = Selection(torch.tensor([0, 1, 2, 1]), *(torch.zeros(4, dtype=torch.long),) * 2)
    quats = functional.normalize(torch.randn(4, 4), dim=1)
    criterion = PoseCriterion(LossConfig(query_key_weight=0.1, label_smoothing=0.1))
    losses = criterion(network(make_images(4), teacher=gt), torch.randn(4, 3), quats, gt)
    losses["total"].backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert float(losses["query_key_distance"].detach()) > 0.0
    network.eval()
    with torch.inference_mode():
        output, single = network(make_images(4)), network(make_images(4)[1:2])
    assert output.position.shape == (4, 3)
    torch.testing.assert_close(output.orientation.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(single.position[0], output.position[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(single.orientation[0], output.orientation[1], atol=1e-5, rtol=1e-4)


def test_without_clusters_the_head_gives_the_pose_itself() -> None:
    network = make_network(num_position_clusters=0, num_orientation_clusters=0)
    output = network(make_images(3))
    torch.testing.assert_close(output.position, output.position_residual)
    expected = functional.normalize(output.orientation_residual, dim=1)
    torch.testing.assert_close(output.orientation, expected)
    assert not any("cluster_classifier" in name for name, _ in network.named_parameters())


def test_without_residuals_the_centroid_is_the_answer() -> None:
    network = make_network(residual=False)
    output = network(make_images(3))
    ids = output.selection
    expected = network.position_centroids[ids.scene, ids.position_cluster]
    torch.testing.assert_close(output.position, expected)


def test_every_cluster_has_its_own_residual() -> None:
    network = make_network(cluster_residuals=True)
    scene = torch.zeros(1, dtype=torch.long)
    answers = []
    for cluster in (0, 1):
        ids = Selection(scene, torch.tensor([cluster]), torch.tensor([cluster]))
        answers.append(network(make_images(1), teacher=ids))
    assert not torch.allclose(answers[0].position_residual, answers[1].position_residual)
    for cluster, answer in enumerate(answers):
        centroid = network.position_centroids[0, cluster]
        torch.testing.assert_close(answer.position[0], centroid + answer.position_residual[0])


def test_a_mixture_weighs_the_clusters_by_their_probabilities() -> None:
    network = make_network(cluster_residuals=True, mixture_clusters=2)
    free = network(make_images(1))
    scene = free.selection.scene
    positions, rotations = [], []
    for cluster in (0, 1):
        ids = Selection(scene, torch.tensor([cluster]), torch.tensor([cluster]))
        taught = network(make_images(1), teacher=ids)
        positions.append(taught.position[0].detach().numpy())
        rotations.append(taught.orientation[0].detach().numpy())
    weights = free.position_cluster_logits[0].softmax(dim=0).detach().numpy()
    np.testing.assert_allclose(free.position[0].detach(), weights @ np.stack(positions), atol=1e-6)
    # Two quaternions: the mean on their arc, whichever signs they came with.
    weights = free.orientation_cluster_logits[0].softmax(dim=0).detach().numpy()
    best = rotations[int(weights.argmax())]
    mean = sum(w * (q if q @ best > 0 else -q) for w, q in zip(weights, rotations, strict=True))
    assert abs(free.orientation[0].detach().numpy() @ (mean / np.linalg.norm(mean))) > 1 - 1e-6


def test_normalised_positions_are_residuals_in_the_scenes_own_unit() -> None:
    network = make_network(normalize_positions=True)
    network.position_units.copy_(torch.tensor([10.0, 0.1]))
    ids = Selection(torch.tensor([0, 1]), *(torch.zeros(2, dtype=torch.long),) * 2)
    output = network(make_images(2), teacher=ids)
    moved = output.position - network.position_centroids[ids.scene, 0]
    torch.testing.assert_close(moved, output.position_residual * torch.tensor([[10.0], [0.1]]))
    # One unit of error weighs alike in both scenes.
    gt = output.position + torch.tensor([[10.0, 0, 0], [0.1, 0, 0]])
    quats = functional.normalize(torch.ones(2, 4), dim=1)
    losses = PoseCriterion(LossConfig())(output, gt, quats, ids)
    assert float(losses["position"].detach()) == pytest.approx(1.0, rel=1e-4)


def test_a_shared_encoder_saves_the_other() -> None:
    names = make_network(shared_encoder=True).state_dict()
    assert any(name.startswith("position_transformer.encoder") for name in names)
    assert not any(name.startswith("orientation_transformer.encoder") for name in names)
    assert any(name.startswith("orientation_transformer.decoder") for name in names)


def test_rotations_of_six_numbers_agree_with_scipy() -> None:
    rotations = Rotation.random(200, random_state=0)
    half_turns = Rotation.from_rotvec(np.pi * np.eye(3))  # where w is zero
    quats = np.vstack([rotations.as_quat(), half_turns.as_quat()])
    columns = columns_from_quat_xyzw(torch.tensor(quats))
    matrix = matrix_from_6d(3.0 * columns)  # lengths do not matter
    np.testing.assert_allclose(matrix, Rotation.from_quat(quats).as_matrix(), atol=1e-12)
    back = quat_xyzw_from_matrix(matrix).numpy()
    np.testing.assert_allclose(np.abs(np.sum(back * quats, axis=1)), 1.0, atol=1e-12)


def test_the_gradient_through_six_numbers_is_right() -> None:
    columns = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: quat_xyzw_from_matrix(matrix_from_6d(c)), columns)


def test_angles_agree_with_scipy_and_have_a_bounded_gradient() -> None:
    first, second = Rotation.random(100, random_state=1), Rotation.random(100, random_state=2)
    quats = torch.tensor(first.as_quat(), requires_grad=True)
    angles = angle_between_rad(quats, torch.tensor(-second.as_quat()))
    np.testing.assert_allclose(angles.detach(), (first.inv() * second).magnitude(), atol=1e-12)
    same = angle_between_rad(quats, quats.detach())
    np.testing.assert_allclose(same.detach(), 0.0, atol=1e-12)
    same.sum().backward()
    assert quats.grad is not None
    assert bool(torch.isfinite(quats.grad).all())


def test_sine_encodings_tell_all_cells_apart_and_agree_between_strides() -> None:
    encode = SinePositionEncoding(hidden_dim=64)
    cells = encode(14, 14)
    assert cells.shape == (196, 64)
    distances = torch.cdist(cells, cells) + 10.0 * torch.eye(196)
    assert float(distances.min()) > 0.1
    coarse, fine = encode(1, 7), encode(1, 21)  # every third fine cell has a coarse one's centre
    torch.testing.assert_close(coarse[:, :32], fine[1::3, :32])


def test_dropped_keys_keep_the_expectation() -> None:
    torch.manual_seed(0)
    attention = Attention(hidden_dim=16, num_heads=2, dropout=0.3, drop_keys=True)
    queries, keys = torch.randn(1, 3, 16), torch.randn(1, 20, 16)
    with torch.no_grad():
        draws = torch.stack([attention(queries, keys, keys) for _ in range(4000)])
        expected = attention.eval()(queries, keys, keys)
    error = (draws.mean(dim=0) - expected).abs()
    assert float(draws.std(dim=0).mean()) > 0.01
    assert float((error / (draws.std(dim=0) / 4000**0.5)).max()) < 5.0


def test_bad_combinations_are_refused() -> None:
    with pytest.raises(ValueError, match="there must be clusters"):
        NetworkConfig(residual=False, num_position_clusters=0)
    with pytest.raises(ValueError, match="needs cluster_residuals"):
        NetworkConfig(mixture_clusters=2)
    with pytest.raises(ValueError, match="label_smoothing"):
        LossConfig(label_smoothing=1.0)


@pytest.mark.parametrize("num_queries", [1, 3])
def test_few_queries_attend_as_many_do(num_queries: int) -> None:
    torch.manual_seed(0)
    attention = Attention(hidden_dim=16, num_heads=2, dropout=0.0).double().eval()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    keys, values = torch.randn(2, 2, 40, 16).double().unbind()
    many = torch.randn(2, 12, 16).double()
    few = many[:, :num_queries]
    assert num_queries * 2 < 16 <= 12 * 2  # on either side of where the order of products changes
    torch.testing.assert_close(
        attention(few, keys, values), attention(many, keys, values)[:, :num_queries]
    )


def test_reduced_precision_keeps_loss_and_gradient_close_and_heads_exact() -> None:
    network = make_network(dropout=0.0)
    criterion = PoseCriterion(LossConfig())
    gt = Selection(torch.tensor([0, 1]), *(torch.zeros(2, dtype=torch.long),) * 2)
    targets = (torch.randn(2, 3), functional.normalize(torch.randn(2, 4), dim=1), gt)
    losses, gradients = [], []
    for half in (False, True):
        network.zero_grad()
        loss = GradedNetwork(network, criterion, half=half)(make_images(2), *targets)["total"]
        loss.backward()
        assert loss.dtype == torch.float32
        losses.append(float(loss.detach()))
        gradients.append(network.position_projection.weight.grad.flatten().clone())
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    assert float(functional.cosine_similarity(*gradients, dim=0)) > 0.98


def test_a_robust_loss_leaves_small_errors_and_holds_back_large_ones() -> None:
    distance = torch.tensor([1e-4, 0.1, 10.0], requires_grad=True)
    robust(distance, 0.1).sum().backward()
    torch.testing.assert_close(robust(distance, 0.1)[0], distance[0], rtol=1e-3, atol=0.0)
    torch.testing.assert_close(distance.grad, torch.tensor([1.0, 0.5, 0.01]), rtol=1e-2, atol=0.0)
    assert robust(distance, 0.0) is distance
    with pytest.raises(ValueError, match="robust_position must not be negative, got -1"):
        LossConfig(robust_position=-1.0)
    # Both parts of the loss feel it.
    network, quats = make_network(dropout=0.0), functional.normalize(torch.randn(2, 4), dim=1)
    gt = Selection(*(torch.zeros(2, dtype=torch.long),) * 3)
    output, target = network(make_images(2), teacher=gt), torch.full((2, 3), 10.0)
    plain = PoseCriterion(LossConfig())(output, target, quats, gt)
    held = PoseCriterion(LossConfig(robust_position=0.1, robust_orientation=0.1))(
        output, target, quats, gt
    )
    assert float(held["position"].detach()) < 0.1 * float(plain["position"].detach())
    assert float(held["orientation"].detach()) < float(plain["orientation"].detach())
