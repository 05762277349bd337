"""What training minimises: the paper's loss (section 3.4), each part by its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mspr_ros.network.configuration import NetworkConfig
from mspr_ros.network.regressor import RegressorOutput, Selection
from mspr_ros.network.rotation import angle_between_rad, rotation_vector_between
from mspr_ros.network.uncertainty import Likelihood, negative_log_likelihood


@dataclass(frozen=True)
class LossConfig:
    """What the loss is made of; the defaults are the paper's for 7-Scenes.

    Args:
        s_x, s_q: Initial scales of the position and the orientation loss; both are learned.
        orientation: `chord` is the distance of the quaternions, as in the paper, `geodesic` the
            angle between the orientations in radians.
        label_smoothing: Share of the classifications' truth that goes to all classes alike.
        query_key_weight: Of the distance between mean queries and mean keys in the encoders
            (arXiv 2411.01443 takes 0.1); 0 leaves it out.
        uncertainty_weight: Of the uncertainty head's likelihood, where the network has one. No
            other weight feels it.
        robust_position: Position errors d count as c log(1 + d / c) with this c, so that labels
            far off pull less and less; metres, or the scenes' own units where positions are
            normalised. 0 counts them as they are, as the paper does.
        robust_orientation: The same for orientation errors, in the units of `orientation`.
    """

    s_x: float = 0.0
    s_q: float = -3.0
    orientation: Literal["chord", "geodesic"] = "chord"
    label_smoothing: float = 0.0
    query_key_weight: float = 0.0
    uncertainty_weight: float = 1.0
    robust_position: float = 0.0
    robust_orientation: float = 0.0

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self) -> None:
        problems = []
        if not 0.0 <= self.label_smoothing < 1.0:
            problems.append(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")
        if self.query_key_weight < 0.0:
            problems.append(f"query_key_weight must not be negative, got {self.query_key_weight}")
        if self.uncertainty_weight <= 0.0:
            problems.append(f"uncertainty_weight must be positive, got {self.uncertainty_weight}")
        for name in ("robust_position", "robust_orientation"):
            if getattr(self, name) < 0.0:
                problems.append(f"{name} must not be negative, got {getattr(self, name)}")
        if problems:
            raise ValueError("; ".join(problems))


def robust(distance: Tensor, scale: float) -> Tensor:
    """Let distances beyond `scale` count ever less, those far below it as they are; 0: all."""
    return scale * torch.log1p(distance / scale) if scale > 0.0 else distance


def likelihood_of(network: NetworkConfig) -> Likelihood:
    """Give the likelihood that a network's uncertainty head learns by; any without a head."""
    return "gaussian" if network.uncertainty == "none" else network.uncertainty


class PoseCriterion(nn.Module):
    """Weigh position and orientation errors by learned scales and add the classifications.

    L = Lx exp(-sx) + sx + Lq exp(-sq) + sq + NLL(scene) + NLL(position cluster)
    + NLL(orientation cluster), with Lx = mean |x - x'| and Lq = mean |q - q'|, q' of unit norm.

    Deviation from the paper: q and -q are one orientation, so Lq takes the nearer of the two. The
    published code compares with one sign only and punishes right answers.

    Args:
        config: What it is made of.
        likelihood: Of the errors under the covariances of the network's uncertainty head, where
            it has one.
    """

    def __init__(self, config: LossConfig, likelihood: Likelihood = "gaussian") -> None:
        super().__init__()
        self.likelihood: Likelihood = likelihood
        self.config = config
        self.s_x = nn.Parameter(torch.tensor(float(config.s_x)))
        self.s_q = nn.Parameter(torch.tensor(float(config.s_q)))

    def forward(
        self, output: RegressorOutput, gt_position: Tensor, gt_orientation: Tensor, gt: Selection
    ) -> dict[str, Tensor]:
        """Give each part of the loss and their sum.

        Args:
            output: Of the network, with the truth as its teacher.
            gt_position: (B, 3) metres.
            gt_orientation: (B, 4) unit quaternions xyzw.
            gt: True scene and clusters.

        Returns:
            Scalars `position` (metres, or the scenes' own units where positions are normalised),
            `orientation` (quaternion distance or radians), `scene`, `position_cluster`,
            `orientation_cluster` (nats), `query_key_distance`, with an uncertainty head
            `uncertainty` (nats) and the weighted sum `total`.
        """
        distance = (gt_position - output.position) / output.position_unit
        losses = {
            "position": robust(distance.norm(dim=-1), self.config.robust_position).mean(),
            "orientation": self._orientation(output.orientation, gt_orientation),
            "scene": self._classification(output.scene_logits, gt.scene),
            "position_cluster": self._classification(
                output.position_cluster_logits, gt.position_cluster
            ),
            "orientation_cluster": self._classification(
                output.orientation_cluster_logits, gt.orientation_cluster
            ),
            "query_key_distance": output.query_key_distance,
        }
        losses["total"] = (
            losses["position"] * torch.exp(-self.s_x)
            + self.s_x
            + losses["orientation"] * torch.exp(-self.s_q)
            + self.s_q
            + losses["scene"]
            + losses["position_cluster"]
            + losses["orientation_cluster"]
            + self.config.query_key_weight * losses["query_key_distance"]
        )
        if output.position_factor is not None and output.orientation_factor is not None:
            losses["uncertainty"] = self._uncertainty(output, gt_position, gt_orientation)
            losses["total"] = (
                losses["total"] + self.config.uncertainty_weight * losses["uncertainty"]
            )
        return losses

    def _uncertainty(
        self, output: RegressorOutput, gt_position: Tensor, gt_orientation: Tensor
    ) -> Tensor:
        """Judge the covariances by residuals that no gradient reaches."""
        assert output.position_factor is not None and output.orientation_factor is not None
        # In units, as the position's loss: a street's metres weigh as a desk's centimetres.
        unit = output.position_unit.detach()
        shift = (output.position - gt_position).detach() / unit
        turn = rotation_vector_between(output.orientation.detach(), gt_orientation)
        factor = output.position_factor / unit.unsqueeze(-1)
        position = negative_log_likelihood(factor, shift, self.likelihood)
        orientation = negative_log_likelihood(output.orientation_factor, turn, self.likelihood)
        return (position + orientation).mean()

    def _orientation(self, pred: Tensor, gt: Tensor) -> Tensor:
        """Give the mean distance of unit quaternions (B, 4), whichever sign they come with."""
        if self.config.orientation == "geodesic":
            distance = angle_between_rad(pred, gt)
        else:
            away = torch.sum(pred.detach() * gt, dim=-1, keepdim=True) < 0
            distance = (torch.where(away, -gt, gt) - pred).norm(dim=-1)
        return robust(distance, self.config.robust_orientation).mean()

    def _classification(self, logits: Tensor, gt: Tensor) -> Tensor:
        return functional.cross_entropy(logits, gt, label_smoothing=self.config.label_smoothing)
