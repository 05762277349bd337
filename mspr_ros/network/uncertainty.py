"""How far off an answer may be: a head for two covariances, and the likelihoods it learns by.

The head reads detached embeddings and is judged by detached residuals. It says how sure the
network is and cannot change what it says: the pose learns as it would without the head.

Covariances are given by factors L with C = L L': 3x3, of the position in the map's axes and of
the rotation vector about the map's fixed axes that takes the true orientation to the estimate.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Likelihood = Literal["gaussian", "laplace"]

# Standard deviations that can be said, in the position's unit and in radians: smallest, largest.
POSITION_RANGE = (1e-3, 1e3)
ORIENTATION_RANGE = (1e-3, 1e1)
# Largest entry beside the diagonal, in units of its row's deviation: bounds the condition.
_MOST_OBLIQUE = 3.0


class UncertaintyHead(nn.Module):
    """Give the factors of two covariances.

    Shape: embeddings (B, D) each, unit (B, 1) in metres -> position (B, 3, 3), lower triangular
    times its rows' deviations, and orientation (B, 3, 3), likewise.
    """

    def __init__(self, *, hidden_dim: int, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(2 * hidden_dim),
            nn.Linear(2 * hidden_dim, width),
            nn.GELU(),
            nn.Linear(width, 12),
        )

    def forward(
        self, position_embedding: Tensor, orientation_embedding: Tensor, unit: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Give the two factors; no gradient reaches the embeddings."""
        both = torch.cat((position_embedding, orientation_embedding), dim=-1).detach()
        numbers = self.layers(both)
        position = cholesky_factor(numbers[..., :6], POSITION_RANGE)
        return unit.unsqueeze(-1) * position, cholesky_factor(numbers[..., 6:], ORIENTATION_RANGE)


def cholesky_factor(numbers: Tensor, limits: tuple[float, float]) -> Tensor:
    """Make the Cholesky factor of a covariance, positive definite whatever the numbers are.

    Args:
        numbers: (..., 6): three for the logarithms of the rows' scales, three below the diagonal.
        limits: Smallest and largest scale, approached but never passed.

    Returns:
        (..., 3, 3), lower triangular with a positive diagonal.
    """
    low, high = math.log(limits[0]), math.log(limits[1])
    middle, reach = (low + high) / 2.0, (high - low) / 2.0
    # Centred where errors usually are: tenths of a unit, or of a radian.
    start = math.log(0.2) - middle
    scale = torch.exp(middle + reach * torch.tanh((numbers[..., :3] + start) / reach))
    below = _MOST_OBLIQUE * torch.tanh(numbers[..., 3:] / _MOST_OBLIQUE)
    zero, one = torch.zeros_like(scale[..., 0]), torch.ones_like(scale[..., 0])
    rows = (
        (one, zero, zero),
        (below[..., 0], one, zero),
        (below[..., 1], below[..., 2], one),
    )
    unit = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    return scale.unsqueeze(-1) * unit


def negative_log_likelihood(factor: Tensor, residual: Tensor, likelihood: Likelihood) -> Tensor:
    """Judge covariances by the residuals that came, without the constant.

    Both have the covariance L L' whose factor is given: `gaussian`, and `laplace`, proportional
    to exp(-2 |L^-1 r|), in three dimensions, which a few gross errors do not inflate as much.

    Args:
        factor: (B, 3, 3) lower triangular.
        residual: (B, 3); no gradient reaches it.
        likelihood: Which.

    Returns:
        (B,).
    """
    scale = factor.diagonal(dim1=-2, dim2=-1)
    white = torch.linalg.solve_triangular(
        factor, residual.detach().unsqueeze(-1), upper=False
    ).squeeze(-1)
    squared: Tensor = white.square().sum(dim=-1)
    log_determinant: Tensor = scale.log().sum(dim=-1)
    if likelihood == "gaussian":
        return log_determinant + 0.5 * squared
    return log_determinant + 2.0 * (squared + 1e-12).sqrt()
