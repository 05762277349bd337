"""What training minimises: the paper's loss (section 3.4), each part by its name."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mspr_ros.network.regressor import RegressorOutput, Selection


class PoseCriterion(nn.Module):
    """Weigh position and orientation errors by learned scales and add the classifications.

    L = Lx exp(-sx) + sx + Lq exp(-sq) + sq + NLL(scene) + NLL(position cluster)
    + NLL(orientation cluster), with Lx = mean |x - x'| and Lq = mean |q - q'|, q' of unit norm.

    Deviation from the paper: q and -q are one orientation, so Lq takes the nearer of the two. The
    published code compares with one sign only and punishes right answers.

    Args:
        s_x: Initial value of sx; learned.
        s_q: Initial value of sq; learned.
    """

    def __init__(self, *, s_x: float = 0.0, s_q: float = -3.0) -> None:
        super().__init__()
        self.s_x = nn.Parameter(torch.tensor(float(s_x)))
        self.s_q = nn.Parameter(torch.tensor(float(s_q)))

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
            Scalars `position` (metres), `orientation` (quaternion distance), `scene`,
            `position_cluster`, `orientation_cluster` (nats) and their weighted sum `total`.
        """
        sign = torch.sum(output.orientation.detach() * gt_orientation, dim=-1, keepdim=True)
        gt_near = torch.where(sign < 0, -gt_orientation, gt_orientation)
        cross_entropy = functional.cross_entropy
        losses = {
            "position": (gt_position - output.position).norm(dim=-1).mean(),
            "orientation": (gt_near - output.orientation).norm(dim=-1).mean(),
            "scene": cross_entropy(output.scene_logits, gt.scene),
            "position_cluster": cross_entropy(output.position_cluster_logits, gt.position_cluster),
            "orientation_cluster": cross_entropy(
                output.orientation_cluster_logits, gt.orientation_cluster
            ),
        }
        losses["total"] = (
            losses["position"] * torch.exp(-self.s_x)
            + self.s_x
            + losses["orientation"] * torch.exp(-self.s_q)
            + self.s_q
            + losses["scene"]
            + losses["position_cluster"]
            + losses["orientation_cluster"]
        )
        return losses
