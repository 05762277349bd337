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
from mspr_ros.network.position_encoding import LearnedPositionEncoding
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
    position_residual: Tensor  # (B, 3), metres from the selected centroid
    orientation_residual: Tensor  # (B, 4), quaternion xyzw minus the selected centroid
    position: Tensor  # (B, 3), camera centre in the scene's map, metres
    orientation: Tensor  # (B, 4), quaternion xyzw map_from_cam, unit norm, either sign
    position_embedding: Tensor  # (B, D), decoder output of the selected scene
    orientation_embedding: Tensor  # (B, D), decoder output of the selected scene
    selection: Selection  # what was selected


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
        self.position_encoding = LearnedPositionEncoding(hidden_dim=dim)
        self.position_transformer = _transformer(config, num_scenes)
        self.orientation_transformer = _transformer(config, num_scenes)
        self.scene_classifier = nn.Linear(2 * dim, 1)
        self.position_cluster_classifier = nn.Linear(dim, config.num_position_clusters)
        self.orientation_cluster_classifier = nn.Linear(dim, config.num_orientation_clusters)
        heads = {"hidden_dim": dim, "head_dim": config.head_dim}
        self.position_head = ResidualHead(**heads, num_outputs=3)
        self.orientation_head = ResidualHead(**heads, num_outputs=4)
        self.register_buffer(
            "position_centroids", torch.zeros(num_scenes, config.num_position_clusters, 3)
        )
        identity = torch.tensor([0.0, 0.0, 0.0, 1.0])
        self.register_buffer(
            "orientation_centroids",
            identity.repeat(num_scenes, config.num_orientation_clusters, 1),
        )

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
            self.orientation_transformer, self.orientation_projection(orientation_map)
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
        position_cluster_logits = self.position_cluster_classifier(position_embedding)
        orientation_cluster_logits = self.orientation_cluster_classifier(orientation_embedding)
        selection = teacher or Selection(
            scene,
            position_cluster_logits.argmax(dim=1),
            orientation_cluster_logits.argmax(dim=1),
        )
        position_residual = self.position_head(position_embedding)  # (B, 3)
        orientation_residual = self.orientation_head(orientation_embedding)  # (B, 4)
        position_centroid = select_rows(
            self.position_centroids[selection.scene], selection.position_cluster
        )
        orientation_centroid = select_rows(
            self.orientation_centroids[selection.scene], selection.orientation_cluster
        )
        return RegressorOutput(
            scene_logits=scene_logits,
            position_cluster_logits=position_cluster_logits,
            orientation_cluster_logits=orientation_cluster_logits,
            position_residual=position_residual,
            orientation_residual=orientation_residual,
            position=position_centroid + position_residual,
            orientation=functional.normalize(orientation_centroid + orientation_residual, dim=-1),
            position_embedding=position_embedding,
            orientation_embedding=orientation_embedding,
            selection=selection,
        )


def select_rows(table: Tensor, index: Tensor) -> Tensor:
    """Pick row `index[b]` of every `table[b]`: (B, R, C), (B,) -> (B, C)."""
    expanded = index.view(-1, 1, 1).expand(-1, 1, table.shape[-1])
    return table.gather(1, expanded).squeeze(1)


def _transformer(config: NetworkConfig, num_scenes: int) -> SceneTransformer:
    return SceneTransformer(
        num_scenes=num_scenes,
        hidden_dim=config.hidden_dim,
        num_heads=config.num_heads,
        feedforward_dim=config.feedforward_dim,
        num_encoder_layers=config.num_encoder_layers,
        num_decoder_layers=config.num_decoder_layers,
        dropout=config.dropout,
    )
