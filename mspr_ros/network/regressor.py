"""The whole network: image -> scene, clusters, pose.

Letters: B batch, S scenes, D width, Kp and Ko position and orientation clusters.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mspr_ros.network.backbone import Backbone
from mspr_ros.network.configuration import NetworkConfig
from mspr_ros.network.position_encoding import LearnedPositionEncoding, SinePositionEncoding
from mspr_ros.network.rotation import (
    columns_from_quat_xyzw,
    matrix_from_6d,
    quat_xyzw_from_matrix,
)
from mspr_ros.network.transformer import SceneTransformer


class Selection(NamedTuple):
    """Which scene's outputs and which of its clusters an answer is built on; ids, each (B,)."""

    scene: Tensor
    position_cluster: Tensor
    orientation_cluster: Tensor


class RegressorOutput(NamedTuple):
    """What the network says of a batch. Logits are before the softmax."""

    scene_logits: Tensor  # (B, S)
    position_cluster_logits: Tensor  # (B, Kp), clusters of the selected scene
    orientation_cluster_logits: Tensor  # (B, Ko), clusters of the selected scene
    position_residual: Tensor  # (B, 3), from the selected centroid, in position_unit
    orientation_residual: Tensor  # (B, 4) or (B, 6), added to the selected centroid
    position_unit: Tensor  # (B, 1), metres; 1 unless positions are normalised
    position: Tensor  # (B, 3), camera centre in the scene's map, metres
    orientation: Tensor  # (B, 4), quaternion xyzw map_from_cam, unit norm, either sign
    position_embedding: Tensor  # (B, D), decoder output of the selected scene
    orientation_embedding: Tensor  # (B, D), decoder output of the selected scene
    selection: Selection  # what was selected
    query_key_distance: Tensor  # scalar, of the encoders in training, else 0


class _Refined(NamedTuple):
    """One task's answer, from coarse to fine."""

    cluster_logits: Tensor  # (B, K)
    cluster: Tensor  # (B,)
    residual: Tensor  # (B, C)
    value: Tensor  # (B, C), centroid and residual


class ResidualHead(nn.Sequential):
    """Regress a residual from a scene's decoder output, (B, D) -> (B, num_outputs)."""

    def __init__(self, *, hidden_dim: int, head_dim: int, num_outputs: int) -> None:
        super().__init__(
            nn.Linear(hidden_dim, head_dim), nn.GELU(), nn.Linear(head_dim, num_outputs)
        )


class PoseRegressor(nn.Module):
    """Regress the camera's pose from coarse to fine, in one of several scenes.

    Args:
        config: The network's shape.
        num_scenes: How many scenes it knows.
        pretrained_backbone: Start the backbone from ImageNet weights.

    Shape: normalised images (B, 3, H, W) -> `RegressorOutput`.
    """

    position_centroids: Tensor
    orientation_centroids: Tensor
    position_units: Tensor

    def __init__(
        self, *, config: NetworkConfig, num_scenes: int, pretrained_backbone: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        self.num_scenes = num_scenes
        self.backbone = Backbone(
            name=config.backbone,
            strides=(config.position_stride, config.orientation_stride),
            pretrained=pretrained_backbone,
        )
        dim = config.hidden_dim
        position_channels, orientation_channels = self.backbone.num_channels
        self.position_projection = nn.Conv2d(position_channels, dim, 1)
        self.orientation_projection = nn.Conv2d(orientation_channels, dim, 1)
        self.position_encoding: nn.Module = (
            LearnedPositionEncoding(hidden_dim=dim)
            if config.position_encoding == "learned"
            else SinePositionEncoding(hidden_dim=dim)
        )
        self.position_transformer = _transformer(config, num_scenes)
        self.orientation_transformer = (
            None if config.shared_transformer else _transformer(config, num_scenes)
        )
        self.scene_classifier = nn.Linear(2 * dim, 1)
        self.position_cluster_classifier = _classifier(dim, config.num_position_clusters)
        self.orientation_cluster_classifier = _classifier(dim, config.num_orientation_clusters)
        num_values = 4 if config.rotation == "quaternion" else 6
        self.position_head = _residual_head(config, config.num_position_clusters, 3)
        self.orientation_head = _residual_head(config, config.num_orientation_clusters, num_values)
        # Without clusters there is one centroid, zero: the head regresses the value itself.
        self.register_buffer(
            "position_centroids", torch.zeros(num_scenes, max(1, config.num_position_clusters), 3)
        )
        identity = torch.tensor([0.0, 0.0, 0.0, 1.0 if config.num_orientation_clusters else 0.0])
        self.register_buffer(
            "orientation_centroids",
            identity.repeat(num_scenes, max(1, config.num_orientation_clusters), 1),
        )
        if config.normalize_positions:
            self.register_buffer("position_units", torch.ones(num_scenes))

    def forward(
        self, images: Tensor, *, teacher: Selection | None = None, scene: Tensor | None = None
    ) -> RegressorOutput:
        """Answer a batch.

        Args:
            images: (B, 3, H, W), normalised.
            teacher: The true scene and clusters, in training only (the paper trains with the
                true scene's outputs and the true clusters' centroids). None, as at run time:
                the most likely scene, and the most likely clusters in it.
            scene: (B,) ids of the scenes to answer for, where the caller knows them; the
                clusters are still the most likely ones. Not beside `teacher`.
        """
        position_map, orientation_map = self.backbone(images)
        position_out = self._decode(
            self.position_transformer, self.position_projection(position_map)
        )  # (B, S, D)
        orientation_out = self._decode(
            self.orientation_transformer or self.position_transformer,
            self.orientation_projection(orientation_map),
        )  # (B, S, D)
        both = torch.cat((position_out, orientation_out), dim=-1)
        scene_logits = self.scene_classifier(both).squeeze(-1)  # (B, S)
        if teacher is not None:
            scene = teacher.scene
        elif scene is None:
            scene = scene_logits.argmax(dim=1)
        return self._answer(scene_logits, position_out, orientation_out, scene, teacher)

    def _decode(self, transformer: nn.Module, features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        encoding = self.position_encoding(height, width)
        return transformer(features.flatten(2).transpose(1, 2), encoding)  # type: ignore[no-any-return]

    def _answer(
        self,
        scene_logits: Tensor,
        position_out: Tensor,
        orientation_out: Tensor,
        scene: Tensor,
        teacher: Selection | None,
    ) -> RegressorOutput:
        position_embedding = select_rows(position_out, scene)  # (B, D)
        orientation_embedding = select_rows(orientation_out, scene)  # (B, D)
        unit = torch.ones_like(position_embedding[:, :1])  # (B, 1)
        if self.config.normalize_positions:
            unit = self.position_units[scene].unsqueeze(1)
        position = self._refine(
            position_embedding,
            self.position_cluster_classifier,
            self.position_head,
            self.position_centroids[scene],
            unit,
            teacher.position_cluster if teacher else None,
        )
        centroids = self.orientation_centroids[scene]  # (B, Ko, 4)
        if self.config.rotation == "6d":
            centroids = columns_from_quat_xyzw(centroids)  # (B, Ko, 6)
        orientation = self._refine(
            orientation_embedding,
            self.orientation_cluster_classifier,
            self.orientation_head,
            centroids,
            torch.ones_like(unit),
            teacher.orientation_cluster if teacher else None,
        )
        quat_xyzw = (
            quat_xyzw_from_matrix(matrix_from_6d(orientation.value))
            if self.config.rotation == "6d"
            else functional.normalize(orientation.value, dim=-1)
        )
        return RegressorOutput(
            scene_logits=scene_logits,
            position_cluster_logits=position.cluster_logits,
            orientation_cluster_logits=orientation.cluster_logits,
            position_residual=position.residual,
            orientation_residual=orientation.residual,
            position_unit=unit,
            position=position.value,
            orientation=quat_xyzw,
            position_embedding=position_embedding,
            orientation_embedding=orientation_embedding,
            selection=Selection(scene, position.cluster, orientation.cluster),
            query_key_distance=self._query_key_distance(scene_logits),
        )

    def _refine(
        self,
        embedding: Tensor,
        classifier: nn.Module | None,
        head: nn.Module | None,
        centroids: Tensor,
        unit: Tensor,
        teacher_cluster: Tensor | None,
    ) -> _Refined:
        """Classify a task's clusters and go on from the centroid, (B, K, C), of one of them.

        Args:
            embedding: (B, D).
            classifier: Gives the clusters' logits; None where there is but one answer.
            head: Gives one residual, or one a cluster; None where there are none.
            centroids: (B, K, C) of the scene.
            unit: (B, 1) of the residuals.
            teacher_cluster: (B,) the true cluster, in training.
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
        if teacher_cluster is None and self.config.mixture_clusters > 1:
            value = _mix(candidates, value, logits, self.config.mixture_clusters)
        return _Refined(logits, cluster, select_rows(residuals, cluster), value)

    def _query_key_distance(self, like: Tensor) -> Tensor:
        tasks = (self.position_transformer, self.orientation_transformer)
        # Frozen transformers stay in evaluation mode while the rest trains.
        distances = [task.query_key_distance() for task in tasks if task and task.training]
        return torch.stack(distances).mean() if distances else like.new_zeros(())


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


def _classifier(hidden_dim: int, num_clusters: int) -> nn.Linear | None:
    return nn.Linear(hidden_dim, num_clusters) if num_clusters else None


def _residual_head(
    config: NetworkConfig, num_clusters: int, num_values: int
) -> ResidualHead | None:
    if not config.residual:
        return None
    num_residuals = max(1, num_clusters) if config.cluster_residuals else 1
    return ResidualHead(
        hidden_dim=config.hidden_dim,
        head_dim=config.head_dim,
        num_outputs=num_residuals * num_values,
    )


def _transformer(config: NetworkConfig, num_scenes: int) -> SceneTransformer:
    return SceneTransformer(
        num_scenes=num_scenes,
        hidden_dim=config.hidden_dim,
        num_heads=config.num_heads,
        feedforward_dim=config.feedforward_dim,
        num_encoder_layers=config.num_encoder_layers,
        num_decoder_layers=config.num_decoder_layers,
        dropout=config.dropout,
        drop_keys=config.attention_dropout == "keys",
    )
