"""From a scene's decoder output to its clusters and from their centroids to a value.

Letters: B batch, D width, K clusters of a task, C numbers of its value.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mspr_ros.network.configuration import NetworkConfig


class Refined(NamedTuple):
    """One task's answer, from coarse to fine."""

    cluster_logits: Tensor  # (B, K)
    cluster: Tensor  # (B,)
    residual: Tensor  # (B, C)
    value: Tensor  # (B, C), centroid and residual
    candidates: Tensor  # (B, K, C), the value of every cluster


class ResidualHead(nn.Sequential):
    """Regress a residual from a scene's decoder output, (B, D) -> (B, num_outputs)."""

    def __init__(self, *, hidden_dim: int, head_dim: int, num_outputs: int) -> None:
        super().__init__(
            nn.Linear(hidden_dim, head_dim), nn.GELU(), nn.Linear(head_dim, num_outputs)
        )


def cluster_classifier(hidden_dim: int, num_clusters: int) -> nn.Linear | None:
    """Build what gives the clusters' logits; nothing where there are no clusters."""
    return nn.Linear(hidden_dim, num_clusters) if num_clusters else None


def residual_head(
    config: NetworkConfig, num_clusters: int, num_values: int
) -> ResidualHead | None:
    """Build what regresses residuals, one or one a cluster; nothing where there are none."""
    if not config.residual:
        return None
    num_residuals = max(1, num_clusters) if config.cluster_residuals else 1
    return ResidualHead(
        hidden_dim=config.hidden_dim,
        head_dim=config.head_dim,
        num_outputs=num_residuals * num_values,
    )


def refine(
    embedding: Tensor,
    classifier: nn.Module | None,
    head: nn.Module | None,
    centroids: Tensor,
    unit: Tensor,
    teacher_cluster: Tensor | None,
    mixture_clusters: int = 1,
) -> Refined:
    """Classify a task's clusters and go on from the centroid, (B, K, C), of one of them.

    Args:
        embedding: (B, D).
        classifier: Gives the clusters' logits; None where there is but one answer.
        head: Gives one residual, or one a cluster; None where there are none.
        centroids: (B, K, C) of the scene.
        unit: (B, 1) of the residuals.
        teacher_cluster: (B,) the true cluster, in training.
        mixture_clusters: Without a teacher, how many of the likeliest clusters are mixed.
    """
    num_values = centroids.shape[-1]
    logits = (
        embedding.new_zeros(len(embedding), 1) if classifier is None else classifier(embedding)
    )
    residuals = torch.zeros_like(centroids)
    if head is not None:
        # One for all clusters, or one a cluster: (B, 1 or K, C), broadcast to (B, K, C).
        residuals = residuals + head(embedding).unflatten(1, (-1, num_values))
    candidates = centroids + unit.unsqueeze(1) * residuals  # (B, K, C)
    cluster = logits.argmax(dim=1) if teacher_cluster is None else teacher_cluster
    value = select_rows(candidates, cluster)
    if teacher_cluster is None and mixture_clusters > 1:
        value = _mix(candidates, value, logits, mixture_clusters)
    return Refined(logits, cluster, select_rows(residuals, cluster), value, candidates)


def _mix(candidates: Tensor, best: Tensor, logits: Tensor, num_clusters: int) -> Tensor:
    """Weigh the answers of the likeliest clusters by their probabilities.

    Shape: (B, K, C), (B, C) of the likeliest, (B, K) -> (B, C). Only quaternions can point away
    from the likeliest one, C being 4; they are the same orientation with the other sign.
    """
    top = logits.topk(min(num_clusters, logits.shape[1]), dim=1)
    index = top.indices.unsqueeze(2).expand(-1, -1, candidates.shape[-1])
    answers = candidates.gather(1, index)  # (B, M, C)
    if candidates.shape[-1] == 4:
        answers = functional.normalize(answers, dim=-1)
        away = (answers * best.unsqueeze(1)).sum(dim=-1, keepdim=True) < 0.0
        answers = torch.where(away, -answers, answers)
    return (top.values.softmax(dim=1).unsqueeze(2) * answers).sum(dim=1)


def select_rows(table: Tensor, index: Tensor) -> Tensor:
    """Pick row `index[b]` of every `table[b]`: (B, R, C), (B,) -> (B, C)."""
    expanded = index.view(-1, 1, 1).expand(-1, 1, table.shape[-1])
    return table.gather(1, expanded).squeeze(1)
