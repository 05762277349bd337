"""A network that was taught further places without forgetting: groups of scenes on one trunk.

Scenes learned together are a group. The trunk (backbone, projections, encoders) is shared and
frozen; every later group has decoders, scene queries, heads and centroids of its own. The first
group's numbers are computed as they were before anything was added, by the same operations on the
same tensors: with the scene given, its poses stay the same, bit by bit.

Whether an image shows a scene of a later group is a question of its own, because that group never
saw an image of the others: its embedding must lie where those of its own images lie.

Letters: B batch, S scenes, n scenes of a group, D width, R directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mspr_ros.network.configuration import NetworkConfig
from mspr_ros.network.regressor import PoseRegressor, RegressorOutput, Selection
from mspr_ros.network.transformer import SceneTransformer

TRUNK = ("backbone", "position_projection", "orientation_projection", "position_encoding")
TASKS = ("position_transformer", "orientation_transformer")
# The trunk by the names of what a lone network calls its parts.
TRUNK_PARTS = (
    *TRUNK,
    *(f"{task}.{part}" for task in TASKS for part in ("encoder", "encoder_norm")),
)
# Directions in which embeddings are compared; the rest counts as one.
NUM_DIRECTIONS = 32


class Familiarity(nn.Module):
    """Tell how far embeddings lie from those of a scene's own images.

    Half of the squared distance is the mean square of an embedding's coordinates along the main
    directions of the scene's embeddings, each in units of its spread; half is the square of what
    lies across all these directions, likewise. About 1 for the scene's images, more for others.

    Shape: embeddings (B, n, 2 D) of the n scenes -> distances (B, n).
    """

    mean: Tensor
    directions: Tensor
    deviations: Tensor
    rest: Tensor
    threshold: Tensor
    slope: Tensor

    def __init__(self, *, num_scenes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_scenes, width))
        self.register_buffer("directions", torch.zeros(num_scenes, width, NUM_DIRECTIONS))
        self.register_buffer("deviations", torch.ones(num_scenes, NUM_DIRECTIONS))
        self.register_buffer("rest", torch.ones(num_scenes))
        # The distance up to which an image is taken for the group's, and how sharply.
        self.register_buffer("threshold", torch.tensor(0.0))
        self.register_buffer("slope", torch.tensor(1.0))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Give the distances."""
        along, across = self._parts(embeddings)
        squares = (along / self.deviations).square().mean(dim=-1)
        return (0.5 * squares + 0.5 * (across / self.rest).square()).sqrt()

    def _parts(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Give coordinates (B, n, R) along the directions, and lengths (B, n) across them."""
        centred = embeddings - self.mean
        along = torch.einsum("bnd,ndr->bnr", centred, self.directions)
        across = centred - torch.einsum("bnr,ndr->bnd", along, self.directions)
        return along, across.norm(dim=-1)

    @torch.no_grad()
    def fit(self, scene: int, embeddings: Tensor) -> None:
        """Learn where a scene's embeddings (N, 2 D) lie."""
        self.mean[scene] = embeddings.mean(dim=0)
        _, _, directions = torch.linalg.svd(embeddings - self.mean[scene], full_matrices=False)
        # At most half of what so few images could span, or nothing would lie across.
        count = max(1, min(NUM_DIRECTIONS, len(embeddings) // 2))
        self.directions[scene] = 0.0
        self.directions[scene, :, :count] = directions[:count].T
        along, across = self._parts(embeddings.unsqueeze(1).expand(-1, len(self.mean), -1))
        deviations = along[:, scene].square().mean(dim=0).sqrt()
        self.deviations[scene] = deviations.clamp_min(0.05 * float(deviations.max()) + 1e-9)
        self.rest[scene] = across[:, scene].square().mean().sqrt().clamp_min(1e-9)


class GrownRegressor(PoseRegressor):
    """Answer for the scenes of several groups.

    Args:
        config: The shape of every group.
        groups: Numbers of scenes, in the order of their ids; the first one's parts bear the names
            of a lone network's.
    """

    def __init__(self, *, config: NetworkConfig, groups: Sequence[int]) -> None:
        super().__init__(config=config, num_scenes=groups[0])
        self.groups = tuple(groups)
        self.num_scenes = sum(groups)
        self.added = nn.ModuleList(_without_trunk(config, count) for count in groups[1:])
        self.familiarity = nn.ModuleList(
            Familiarity(num_scenes=count, width=2 * config.hidden_dim) for count in groups[1:]
        )
        for name in ("position_centroids", "orientation_centroids", "position_units"):
            if name in self._buffers:  # a row for every scene, whatever its group
                table = getattr(self, name)
                rows = [table, *(getattr(group, name) for group in self.added)]
                self.register_buffer(name, torch.cat(rows))

    def _attend(
        self, encoder: SceneTransformer, decoder: SceneTransformer, features: Tensor
    ) -> Tensor:
        encoding = self.position_encoding(*features.shape[-2:])
        memory = encoder.encode(features.flatten(2).transpose(1, 2), encoding)
        task = TASKS[0] if decoder is self.position_transformer else TASKS[1]
        decoders = [decoder, *(getattr(group, task) for group in self.added)]
        return torch.cat([one.decode(memory, encoding) for one in decoders], dim=1)

    def answer(
        self,
        position_out: Tensor,
        orientation_out: Tensor,
        *,
        teacher: Selection | None = None,
        scene: Tensor | None = None,
    ) -> RegressorOutput:
        """Answer from what `encode` gave; the other arguments are those of `forward`."""
        positions = torch.split(position_out, list(self.groups), dim=1)
        orientations = torch.split(orientation_out, list(self.groups), dim=1)
        logits = self._scene_logits(positions, orientations)
        if teacher is not None:
            scene = teacher.scene
        elif scene is None:
            scene = logits.argmax(dim=1)
        output, first = None, 0
        for number, (count, group) in enumerate(
            zip(self.groups, [self, *self.added], strict=True)
        ):
            assert isinstance(group, PoseRegressor)
            own = (scene - first).clamp(0, count - 1)
            answered = PoseRegressor._answer(
                group, logits, positions[number], orientations[number], own,
                None if teacher is None else teacher._replace(scene=own),
            )  # fmt: skip
            answered = answered._replace(selection=answered.selection._replace(scene=own + first))
            output = answered if output is None else _choose(scene >= first, answered, output)
            first += count
        assert output is not None
        return output

    def _scene_logits(self, positions: Sequence[Tensor], orientations: Sequence[Tensor]) -> Tensor:
        """Give the logits of all scenes, (B, S).

        The best of a later group lies above all before it by how familiar the image is to it.
        """
        both = [torch.cat(pair, dim=-1) for pair in zip(positions, orientations, strict=True)]
        logits: Tensor = self.scene_classifier(both[0]).squeeze(-1)  # (B, n)
        for embeddings, group, familiarity in zip(
            both[1:], self.added, self.familiarity, strict=True
        ):
            assert isinstance(group, PoseRegressor) and isinstance(familiarity, Familiarity)
            own = group.scene_classifier(embeddings).squeeze(-1)
            own = own - own.amax(dim=1, keepdim=True)  # 0 for the best of the group
            distance = familiarity(embeddings).amin(dim=1, keepdim=True)
            lead = familiarity.slope * (familiarity.threshold - distance)
            logits = torch.cat([logits, logits.amax(dim=1, keepdim=True) + lead + own], dim=1)
        return logits


def _without_trunk(config: NetworkConfig, num_scenes: int) -> PoseRegressor:
    """Build what a later group has of its own."""
    group = PoseRegressor(config=config, num_scenes=num_scenes)
    for name in TRUNK:
        delattr(group, name)
    for name in TASKS:
        transformer = getattr(group, name)
        transformer.encoder, transformer.encoder_norm = nn.ModuleList(), None
    return group


def _choose(chosen: Tensor, new: Any, old: Any) -> Any:
    """Take the rows (B,) of one output from `new`, the others from `old`, field by field."""
    if isinstance(new, tuple):
        return type(new)(*(_choose(chosen, a, b) for a, b in zip(new, old, strict=True)))
    if new is None or new.dim() == 0:
        return new
    return torch.where(chosen.view(-1, *[1] * (new.dim() - 1)), new, old)
