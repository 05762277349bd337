"""What a localizer's two transformers look at in one picture, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from mspr_ros.camera import CameraModel
from mspr_ros.errors import ConfigError
from mspr_ros.evaluation.metrics import json_safe
from mspr_ros.geometry import Array
from mspr_ros.localizer import Localizer
from mspr_ros.network.attention_maps import (
    AttentionCall,
    grid_of,
    query_dependence,
    query_key_distance,
    query_key_spread,
    record_attention,
    relative_entropy,
)
from mspr_ros.network.grown import GrownRegressor
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.network.transformer import Attention
from mspr_ros.preprocess import ImageU8

BRANCHES = ("position", "orientation")


@dataclass(frozen=True)
class SelfAttentionMeasures:
    """How one encoder layer's self-attention behaves; every array holds a value a head, (H,).

    Args:
        query_key_distance: Between mean query and mean key (arXiv 2411.01443).
        query_key_spread: Of queries and keys about their means: the scale for the distance.
        relative_entropy: Mean over the cells; 1 is uniform attention.
        query_dependence: 0 where every cell receives the same mixture (idle), up to 1.
    """

    query_key_distance: Array
    query_key_spread: Array
    relative_entropy: Array
    query_dependence: Array


@dataclass(frozen=True)
class BranchAttention:
    """One transformer's attention. Weights over the map's cells sum to 1.

    Args:
        name: `position` or `orientation`.
        cross: (decoder layers, H, rows, columns) of the scene's query.
        cell: (row, column) whose self-attention was asked for, if any.
        own: (encoder layers, H, rows, columns) self-attention of that cell; None without.
        encoder: A measure for each encoder layer.
    """

    name: str
    cross: Array
    cell: tuple[int, int] | None
    own: Array | None
    encoder: tuple[SelfAttentionMeasures, ...]


@dataclass(frozen=True)
class ImageAttention:
    """What the network looks at in one picture.

    Args:
        picture: (h, w, 3) RGB uint8, the picture as the network sees it.
        scene: The scene whose query looks.
        recognised: The scene that the network recognised.
        recognised_probability: Of that scene.
        pixel: (x, y) in `picture` whose cell's self-attention was asked for, if any.
        branches: Of the position and of the orientation transformer.
    """

    picture: ImageU8
    scene: str
    recognised: str
    recognised_probability: float
    pixel: tuple[float, float] | None
    branches: tuple[BranchAttention, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give the numbers for JSON; layers and heads in order, entropy 1 is uniform."""
        plain: dict[str, Any] = json_safe(
            {
                "scene": self.scene,
                "recognised_scene": self.recognised,
                "recognised_probability": self.recognised_probability,
                "network_input_px": [self.picture.shape[1], self.picture.shape[0]],
                "cell_of_pixel": None if self.pixel is None else list(self.pixel),
                **{branch.name: _branch_to_dict(branch) for branch in self.branches},
            }
        )
        return plain


def attend(
    localizer: Localizer,
    image_rgb_u8: ImageU8,
    camera: CameraModel | None = None,
    *,
    scene: str = "",
    pixel: tuple[float, float] | None = None,
) -> ImageAttention:
    """Localize a picture and tell what was looked at.

    Args:
        localizer: The network.
        image_rgb_u8: (H, W, 3) RGB.
        camera: The camera that took it, where that is known.
        scene: Look with this scene's query; empty: with the recognised scene's.
        pixel: (x, y) in the picture as the network sees it: give the encoder's self-attention
            of the cell there.

    Raises:
        ImageError: If the picture cannot be used.
        ConfigError: If there is no such scene or pixel.
    """
    names = localizer.metadata.scene_names
    if scene and scene not in names:
        raise ConfigError(f"the bundle does not know scene '{scene}', only {', '.join(names)}")
    picture = localizer.preprocessor.geometric(image_rgb_u8, camera)
    height, width = picture.shape[:2]
    if pixel is not None and not (0 <= pixel[0] < width and 0 <= pixel[1] < height):
        raise ConfigError(
            f"pixel {pixel[0]:g},{pixel[1]:g} lies outside of the picture as the network sees "
            f"it, which is {width}x{height}"
        )
    tensor = localizer.preprocessor.tensor([image_rgb_u8], [camera]).to(localizer.device)
    with torch.inference_mode(), record_attention(localizer.network) as calls:
        output = localizer.network(tensor)
        probabilities = output.scene_logits.float().softmax(dim=1)[0]
        recognised = int(output.selection.scene[0])
        asked = names.index(scene) if scene else recognised
        branches = tuple(
            _branch(localizer.network, calls, name, asked, (height, width), pixel)
            for name in BRANCHES
        )
    return ImageAttention(
        picture=picture,
        scene=names[asked],
        recognised=names[recognised],
        recognised_probability=float(probabilities[recognised]),
        pixel=pixel,
        branches=branches,
    )


def _branch(
    network: PoseRegressor,
    calls: dict[Attention, list[AttentionCall]],
    name: str,
    scene: int,
    size: tuple[int, int],
    pixel: tuple[float, float] | None,
) -> BranchAttention:
    transformer = getattr(network, f"{name}_transformer")
    # Where one encoder serves both branches, it is called once for each, in this order.
    encoder_layers = transformer.encoder or network.position_transformer.encoder
    turn = BRANCHES.index(name)

    def call_of(module: object) -> AttentionCall:
        assert isinstance(module, Attention)
        return calls[module][min(turn, len(calls[module]) - 1)]

    group, query = _group_of(network, scene)
    layers = getattr(group, f"{name}_transformer").decoder
    decoder = [call_of(layer.cross_attention) for layer in layers]
    encoder = [call_of(layer.attention) for layer in encoder_layers]
    grid = grid_of(decoder[0].keys.shape[2], *size)
    cross = [call.weights[0, :, query].reshape(-1, *grid) for call in decoder]
    cell = None
    own = None
    if pixel is not None:
        cell = (int(pixel[1] * grid[0] / size[0]), int(pixel[0] * grid[1] / size[1]))
        flat = cell[0] * grid[1] + cell[1]
        own = _array(torch.stack([c.weights[0, :, flat].reshape(-1, *grid) for c in encoder]))
    return BranchAttention(
        name, _array(torch.stack(cross)), cell, own, tuple(_measures(call) for call in encoder)
    )


def _group_of(network: PoseRegressor, scene: int) -> tuple[nn.Module, int]:
    """Give the part of a network whose decoders answer for a scene, and the scene's place there.

    The part is the network itself, but for scenes that were added to it later.
    """
    group: nn.Module = network
    if isinstance(network, GrownRegressor):
        for count, following in zip(network.groups, network.added, strict=False):
            if scene < count:
                break
            group, scene = following, scene - count
    return group, scene


def _measures(call: AttentionCall) -> SelfAttentionMeasures:
    weights = call.weights
    return SelfAttentionMeasures(
        query_key_distance=_array(query_key_distance(call)[0]),
        query_key_spread=_array(query_key_spread(call)[0]),
        relative_entropy=_array(relative_entropy(weights)[0].mean(dim=-1)),
        query_dependence=_array(query_dependence(weights)[0]),
    )


def _array(tensor: torch.Tensor) -> Array:
    return np.asarray(tensor.double().cpu().numpy(), dtype=np.float64)


def entropy_of(maps: Array) -> Array:
    """Give the relative entropy of maps of weights: (..., rows, columns) -> (...)."""
    flat = maps.reshape(*maps.shape[:-2], -1)
    return _array(relative_entropy(torch.from_numpy(np.ascontiguousarray(flat))))


def _branch_to_dict(branch: BranchAttention) -> dict[str, Any]:
    heads_averaged = branch.cross.mean(axis=1)  # (layers, rows, columns)
    return {
        "grid": list(branch.cross.shape[-2:]),
        "cross_attention": {
            "relative_entropy": entropy_of(heads_averaged).tolist(),
            "relative_entropy_of_heads": entropy_of(branch.cross).tolist(),
            "relative_entropy_mean_over_layers": float(entropy_of(heads_averaged.mean(axis=0))),
        },
        "self_attention": {
            field: [getattr(layer, field).tolist() for layer in branch.encoder]
            for field in SelfAttentionMeasures.__dataclass_fields__
        },
    }
