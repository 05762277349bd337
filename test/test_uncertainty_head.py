"""The head that learns covariances: what it learns, and that the pose does not feel it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny import TINY_NETWORK

from mspr_ros.errors import ConfigError
from mspr_ros.evaluation.uncertainty import rotation_residual
from mspr_ros.network.configuration import NetworkConfig
from mspr_ros.network.losses import LossConfig, PoseCriterion, likelihood_of
from mspr_ros.network.regressor import PoseRegressor, Selection
from mspr_ros.network.rotation import rotation_vector_between
from mspr_ros.network.uncertainty import (
    POSITION_RANGE,
    cholesky_factor,
    negative_log_likelihood,
)
from mspr_ros.training.schedule import clip_gradients

TRUE_FACTOR = torch.tensor([[0.5, 0.0, 0.0], [0.3, 0.2, 0.0], [-0.1, 0.2, 0.2]])


def draws(likelihood: str, count: int = 8_000) -> torch.Tensor:
    """Draw (count, 3) residuals of covariance TRUE_FACTOR TRUE_FACTOR'."""
    generator = torch.Generator().manual_seed(1)
    white = torch.randn(count, 3, generator=generator)
    if likelihood == "laplace":  # density exp(-2 |x|) in three dimensions: a radius of Gamma(3, 2)
        radius = np.random.default_rng(1).gamma(3.0, 0.5, count)
        white = torch.nn.functional.normalize(white, dim=1) * torch.tensor(radius)[:, None].float()
    return white @ TRUE_FACTOR.T


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace"])
def test_the_best_likelihood_is_at_the_true_covariance(likelihood: str) -> None:
    residual = draws(likelihood)
    numbers = torch.zeros(6, requires_grad=True)
    optimizer = torch.optim.LBFGS([numbers], max_iter=30, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        factor = cholesky_factor(numbers, POSITION_RANGE).expand(len(residual), 3, 3)
        loss = negative_log_likelihood(factor, residual, likelihood).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    factor = cholesky_factor(numbers.detach(), POSITION_RANGE)
    expected = TRUE_FACTOR @ TRUE_FACTOR.T
    deviation = expected.diagonal().sqrt()
    learned = factor @ factor.T
    assert ((learned - expected) / (deviation[:, None] * deviation)).abs().max() < 0.08


def test_factors_are_positive_definite_whatever_the_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(500, 6, generator=generator) * 10.0 ** torch.randint(
        -2, 12, (500, 1), generator=generator
    )
    numbers[0], numbers[1] = 3e38, -3e38
    factor = cholesky_factor(numbers, POSITION_RANGE)
    assert bool(torch.isfinite(factor).all())
    diagonal = factor.diagonal(dim1=-2, dim2=-1)
    assert float(diagonal.min()) >= 0.99 * POSITION_RANGE[0]
    assert float(diagonal.max()) <= 1.01 * POSITION_RANGE[1]
    covariance = (factor @ factor.mT).double()
    scale = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    correlation = covariance / (scale[:, :, None] * scale[:, None])
    assert float(torch.linalg.eigvalsh(correlation).min()) > 1e-5
    for likelihood in ("gaussian", "laplace"):
        loss = negative_log_likelihood(factor, torch.full((500, 3), 1e4), likelihood)
        assert bool(torch.isfinite(loss).all())


def test_the_rotation_residual_is_the_evaluations() -> None:
    generator = torch.Generator().manual_seed(2)
    gt = torch.nn.functional.normalize(
        torch.randn(40, 4, generator=generator, dtype=torch.float64), dim=1
    )
    noise = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    pred = torch.nn.functional.normalize(gt + 0.3 * noise, dim=1)
    pred[::2] *= -1.0
    pred[5] = gt[5]
    np.testing.assert_allclose(
        rotation_vector_between(pred, gt).numpy(), rotation_residual(gt, pred), atol=1e-9
    )


def build(uncertainty: str) -> PoseRegressor:
    torch.manual_seed(0)
    config = dataclasses.replace(TINY_NETWORK, uncertainty=uncertainty)
    return PoseRegressor(config=config, num_scenes=2).eval()


def gradients(network: PoseRegressor) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(2, 3, 64, 96, generator=generator)
    quats = torch.nn.functional.normalize(torch.randn(2, 4, generator=generator), dim=1)
    gt = Selection(*(torch.tensor([0, 1]) for _ in range(3)))
    criterion = PoseCriterion(LossConfig(), likelihood_of(network.config))
    losses = criterion(network(images, teacher=gt), torch.ones(2, 3), quats, gt)
    losses["total"].backward()
    clip_gradients(network, 0.1)
    found = {
        name: parameter.grad.clone()
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    return found, losses


def test_the_pose_learns_bit_by_bit_as_without_the_head() -> None:
    plain, losses = gradients(build("none"))
    assert "uncertainty" not in losses
    with_head, losses = gradients(build("laplace"))
    assert "uncertainty" in losses
    head = {name for name in with_head if name.startswith("uncertainty_head.")}
    assert head and max(float(with_head[name].abs().max()) for name in head) > 0.0
    assert with_head.keys() - head == plain.keys()
    for name, gradient in plain.items():
        assert torch.equal(gradient, with_head[name]), name


def test_the_answer_is_the_same_with_and_without_the_head() -> None:
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        plain, with_head = build("none")(images), build("gaussian")(images)
    assert torch.equal(plain.position, with_head.position)
    assert torch.equal(plain.orientation, with_head.orientation)
    assert plain.position_factor is None
    assert with_head.position_factor.shape == with_head.orientation_factor.shape == (2, 3, 3)


def test_a_covariance_is_given_in_metres() -> None:
    config = dataclasses.replace(TINY_NETWORK, uncertainty="gaussian", normalize_positions=True)
    network = PoseRegressor(config=config, num_scenes=1).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        one = network(images).position_factor
        network.position_units[:] = 10.0
        torch.testing.assert_close(network(images).position_factor, 10.0 * one)


def test_other_likelihoods_and_weights_are_refused() -> None:
    from mspr_ros.config import from_mapping

    with pytest.raises(ConfigError, match="uncertainty"):
        from_mapping(NetworkConfig, {"uncertainty": "cauchy"}, "test")
    with pytest.raises(ValueError, match="uncertainty_weight"):
        LossConfig(uncertainty_weight=0.0)
