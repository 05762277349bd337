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
from mspr_ros.network.heads import cluster_classifier, refine, residual_head, select_rows
from mspr_ros.network.position_encoding import LearnedPositionEncoding, SinePositionEncoding
from mspr_ros.network.rotation import (
    columns_from_quat_xyzw,
    matrix_from_6d,
    quat_xyzw_from_matrix,
)
from mspr_ros.network.transformer import SceneTransformer
from mspr_ros.network.uncertainty import UncertaintyHead


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
    position_candidates: Tensor | None = None  # (B, Kp, 3), the position of every cluster
    orientation_candidates: Tensor | None = None  # (B, Ko, 4), the orientation of every cluster
    position_factor: Tensor | None = None  # (B, 3, 3), with the uncertainty head: C = L L'
    orientation_factor: Tensor | None = None  # (B, 3, 3), of the rotation about the map's axes


class Encoded(NamedTuple):
    """What the network makes of images, before it answers for a scene."""

    position_out: Tensor  # (B, S, D), decoder outputs for the position
    orientation_out: Tensor  # (B, S, D), decoder outputs for the orientation
    descriptor: Tensor  # (B, F), see `Backbone.describe`


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
        layers = config.num_encoder_layers
        self.position_transformer = _transformer(config, num_scenes, layers)
        self.orientation_transformer = _transformer(
            config, num_scenes, 0 if config.shared_encoder else layers
        )
        self.scene_classifier = nn.Linear(2 * dim, 1)
        num_positions = config.num_position_clusters
        num_orientations = config.num_orientation_clusters
        num_values = 4 if config.rotation == "quaternion" else 6
        self.position_cluster_classifier = cluster_classifier(dim, num_positions)
        self.orientation_cluster_classifier = cluster_classifier(dim, num_orientations)
        self.position_head = residual_head(config, num_positions, 3)
        self.orientation_head = residual_head(config, num_orientations, num_values)
        # Without clusters there is one centroid, zero: the head regresses the value itself.
        self.register_buffer(
            "position_centroids", torch.zeros(num_scenes, max(1, num_positions), 3)
        )
        identity = torch.tensor([0.0, 0.0, 0.0, 1.0 if num_orientations else 0.0])
        self.register_buffer(
            "orientation_centroids",
            identity.repeat(num_scenes, max(1, num_orientations), 1),
        )
        if config.normalize_positions:
            self.register_buffer("position_units", torch.ones(num_scenes))
        # Last, so that whatever is drawn for the other parts is drawn alike without it.
        self.uncertainty_head = (
            UncertaintyHead(hidden_dim=dim) if config.uncertainty != "none" else None
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
        return self.answer(*self.encode(images), teacher=teacher, scene=scene)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give every scene's decoder outputs for position and orientation, (B, S, D) each.

        Nearly all of the work, and the part that training may do in reduced precision.
        """
        return self._decode(*self.backbone(images))

    def look(self, images: Tensor) -> Encoded:
        """Give what `encode` does, and a descriptor of how the image looks to the backbone."""
        maps, descriptor = self.backbone.describe(images)
        return Encoded(*self._decode(*maps), descriptor=descriptor)

    def _decode(self, position_map: Tensor, orientation_map: Tensor) -> tuple[Tensor, Tensor]:
        position, orientation = self.position_transformer, self.orientation_transformer
        encoder = position if self.config.shared_encoder else orientation
        return (
            self._attend(position, position, self.position_projection(position_map)),
            self._attend(encoder, orientation, self.orientation_projection(orientation_map)),
        )

    def answer(
        self,
        position_out: Tensor,
        orientation_out: Tensor,
        *,
        teacher: Selection | None = None,
        scene: Tensor | None = None,
    ) -> RegressorOutput:
        """Answer from what `encode` gave; the other arguments are those of `forward`."""
        both = torch.cat((position_out, orientation_out), dim=-1)
        scene_logits = self.scene_classifier(both).squeeze(-1)  # (B, S)
        if teacher is not None:
            scene = teacher.scene
        elif scene is None:
            scene = scene_logits.argmax(dim=1)
        return self._answer(scene_logits, position_out, orientation_out, scene, teacher)

    def _attend(
        self, encoder: SceneTransformer, decoder: SceneTransformer, features: Tensor
    ) -> Tensor:
        encoding = self.position_encoding(*features.shape[-2:])
        memory = encoder.encode(features.flatten(2).transpose(1, 2), encoding)
        return decoder.decode(memory, encoding)

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
        position = refine(
            position_embedding,
            self.position_cluster_classifier,
            self.position_head,
            self.position_centroids[scene],
            unit,
            teacher.position_cluster if teacher else None,
            self.config.mixture_clusters,
        )
        centroids = self.orientation_centroids[scene]  # (B, Ko, 4)
        if self.config.rotation == "6d":
            centroids = columns_from_quat_xyzw(centroids)  # (B, Ko, 6)
        orientation = refine(
            orientation_embedding,
            self.orientation_cluster_classifier,
            self.orientation_head,
            centroids,
            torch.ones_like(unit),
            teacher.orientation_cluster if teacher else None,
            self.config.mixture_clusters,
        )
        factors: tuple[Tensor | None, Tensor | None] = (None, None)
        if self.uncertainty_head is not None:
            factors = self.uncertainty_head(position_embedding, orientation_embedding, unit)
        return RegressorOutput(
            scene_logits=scene_logits,
            position_cluster_logits=position.cluster_logits,
            orientation_cluster_logits=orientation.cluster_logits,
            position_residual=position.residual,
            orientation_residual=orientation.residual,
            position_unit=unit,
            position=position.value,
            orientation=self._quat_xyzw(orientation.value),
            position_embedding=position_embedding,
            orientation_embedding=orientation_embedding,
            selection=Selection(scene, position.cluster, orientation.cluster),
            query_key_distance=self._query_key_distance(scene_logits),
            position_candidates=position.candidates,
            orientation_candidates=self._quat_xyzw(orientation.candidates),
            position_factor=factors[0],
            orientation_factor=factors[1],
        )

    def _quat_xyzw(self, values: Tensor) -> Tensor:
        """Give unit quaternions (..., 4) of what the orientation head regresses."""
        if self.config.rotation == "6d":
            return quat_xyzw_from_matrix(matrix_from_6d(values))
        return functional.normalize(values, dim=-1)

    def _query_key_distance(self, like: Tensor) -> Tensor:
        tasks = (self.position_transformer, self.orientation_transformer)
        # Frozen encoders stay in evaluation mode while the rest trains.
        distances = [
            task.query_key_distance() for task in tasks if task.encoder and task.encoder.training
        ]
        return torch.stack(distances).mean() if distances else like.new_zeros(())


def _transformer(
    config: NetworkConfig, num_scenes: int, num_encoder_layers: int
) -> SceneTransformer:
    return SceneTransformer(
        num_scenes=num_scenes,
        hidden_dim=config.hidden_dim,
        num_heads=config.num_heads,
        feedforward_dim=config.feedforward_dim,
        num_encoder_layers=num_encoder_layers,
        num_decoder_layers=config.num_decoder_layers,
        dropout=config.dropout,
        drop_keys=config.attention_dropout == "keys",
    )
