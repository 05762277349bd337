"""Read the weights of the paper's own code into this package's network.

Only names, layouts and the order of quaternion components differ; every tensor of the network
must be found, and every tensor of the file must be used or be one that this network leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mspr_ros.errors import CheckpointError
from mspr_ros.network.configuration import NetworkConfig
from mspr_ros.network.efficientnet_names import timm_state_from_efficientnet_pytorch
from mspr_ros.network.regressor import PoseRegressor

_BACKBONE = "backbone.0.body."
_RENAMED = {
    "backbone.1.row_embed": "position_encoding.row_embed",
    "backbone.1.col_embed": "position_encoding.col_embed",
    "input_proj_t": "position_projection",
    "input_proj_rot": "orientation_projection",
    "query_embed_t": "position_transformer.scene_queries",
    "query_embed_rot": "orientation_transformer.scene_queries",
    "scene_embed": "scene_classifier",
    "t_cluster_embed": "position_cluster_classifier",
    "rot_cluster_embed": "orientation_cluster_classifier",
    "regressor_head_t.fc_h": "position_head.0",
    "regressor_head_t.fc_o": "position_head.2",
    "regressor_head_rot.fc_h": "orientation_head.0",
    "regressor_head_rot.fc_o": "orientation_head.2",
}
_TRANSFORMERS = {
    "transformer_t": "position_transformer",
    "transformer_rot": "orientation_transformer",
}
_LAYER_PARTS = {
    "encoder": {
        "self_attn": "attention",
        "linear1": "feedforward.0",
        "linear2": "feedforward.3",
        "norm1": "norm_attention",
        "norm2": "norm_feedforward",
    },
    "decoder": {
        "self_attn": "self_attention",
        "multihead_attn": "cross_attention",
        "linear1": "feedforward.0",
        "linear2": "feedforward.3",
        "norm1": "norm_self_attention",
        "norm2": "norm_cross_attention",
        "norm3": "norm_feedforward",
    },
}
# The authors' files say `nheads`, their code reads `nhead`: it always ran with its default.
_DEFAULT_HEADS = 8
# The paper's stages by name, and what they are in pixels per cell.
_STRIDE_OF_REDUCTION = {"reduction_3": 8, "reduction_4": 16}


def network_config_from_reference(config: Mapping[str, Any]) -> tuple[NetworkConfig, int]:
    """Translate the authors' configuration; give it and the number of scenes.

    Raises:
        CheckpointError: If a value is missing or describes a network that this one cannot be.
    """
    try:
        position_reduction, orientation_reduction = config["reduction"]
        if not config.get("c2f", False):
            raise CheckpointError("only coarse-to-fine weights (c2f: true) can be imported")
        encoders = {config["num_t_encoder_layers"], config["num_rot_encoder_layers"]}
        decoders = {config["num_t_decoder_layers"], config["num_rot_decoder_layers"]}
        if len(encoders) > 1 or len(decoders) > 1:
            raise CheckpointError("both transformers must have the same number of layers")
        network = NetworkConfig(
            backbone="tf_efficientnet_b0",
            position_stride=_STRIDE_OF_REDUCTION[position_reduction],
            orientation_stride=_STRIDE_OF_REDUCTION[orientation_reduction],
            hidden_dim=config["hidden_dim"],
            num_heads=int(config.get("nhead", _DEFAULT_HEADS)),
            feedforward_dim=config["dim_feedforward"],
            num_encoder_layers=encoders.pop(),
            num_decoder_layers=decoders.pop(),
            dropout=config["dropout"],
            num_position_clusters=config["nclusters_position"],
            num_orientation_clusters=config["nclusters_orientation"],
        )
        return network, int(config["num_scenes"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the reference configuration does not fit: {error!r}") from None


def network_from_reference(
    state: Mapping[str, Tensor], config: NetworkConfig, num_scenes: int
) -> PoseRegressor:
    """Build a network with the reference's weights; its centroids are still to be set.

    Raises:
        CheckpointError: If a tensor is missing, left over, or of another shape.
    """
    network = PoseRegressor(config=config, num_scenes=num_scenes)
    renamed = _backbone_state(state, network)
    for name, tensor in state.items():
        if not name.startswith(_BACKBONE):
            renamed.update(_rename(name, tensor))
    for name in ("position_centroids", "orientation_centroids"):
        renamed[name] = getattr(network, name)
    # The orientation residual comes as w, x, y, z.
    for name in ("orientation_head.2.weight", "orientation_head.2.bias"):
        if name in renamed:
            renamed[name] = torch.roll(renamed[name], -1, dims=0)
    try:
        network.load_state_dict(renamed, strict=True)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:400]
        raise CheckpointError(f"the weights do not fit the configuration: {detail}") from None
    return network.eval()


def invert_orientations(network: PoseRegressor) -> None:
    """Turn a network that gives cam_from_map into one that gives map_from_cam.

    The inverse of a unit quaternion negates x, y, z, so negating those rows of the residual head
    does it, once the centroids are inverted too.
    """
    assert network.orientation_head is not None, "the authors' network has residuals"
    last = network.orientation_head[2]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight[:3] *= -1.0
        last.bias[:3] *= -1.0


def _backbone_state(state: Mapping[str, Tensor], network: PoseRegressor) -> dict[str, Tensor]:
    body = {
        name.removeprefix(_BACKBONE): tensor
        for name, tensor in state.items()
        if name.startswith(_BACKBONE)
    }
    converted = timm_state_from_efficientnet_pytorch(body, network.backbone.body)
    return {f"backbone.body.{name}": tensor for name, tensor in converted.items()}


def _rename(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Give the tensors of this network that one tensor of the reference holds."""
    owner, _, kind = name.rpartition(".")
    if owner in _RENAMED:
        return {f"{_RENAMED[owner]}.{kind}": tensor}
    parts = name.split(".")
    try:
        prefix, stack = _TRANSFORMERS[parts[0]], parts[1]
        if parts[2] == "norm":
            return {f"{prefix}.{stack}_norm.{kind}": tensor}
        place = f"{prefix}.{stack}.{parts[3]}.{_LAYER_PARTS[stack][parts[4]]}"
        if parts[5].startswith("in_proj_"):
            kind = parts[5].removeprefix("in_proj_")
            chunks = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
            return {f"{place}.{role}.{kind}": chunk for role, chunk in chunks}
        if parts[5] == "out_proj":
            return {f"{place}.out.{kind}": tensor}
    except (KeyError, IndexError, ValueError):
        raise CheckpointError(f"unknown tensor '{name}' in the reference weights") from None
    return {f"{place}.{kind}": tensor}
