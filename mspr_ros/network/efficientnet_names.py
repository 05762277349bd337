"""Rename EfficientNet weights of the `efficientnet_pytorch` family to timm's names.

That family numbers its blocks through; timm groups them in stages. The paper's own code and the
offline ImageNet package both use it.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mspr_ros.errors import CheckpointError

_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_BLOCK_WITHOUT_EXPANSION = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
    **_SQUEEZE,
}
_BLOCK_WITH_EXPANSION = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
    **_SQUEEZE,
}


def timm_state_from_efficientnet_pytorch(
    state: Mapping[str, Tensor], body: nn.Module
) -> dict[str, Tensor]:
    """Give exactly the tensors that `body` needs, under timm's names.

    Args:
        state: Weights with names such as `_blocks.3._bn1.weight`.
        body: A timm EfficientNet, perhaps cut: weights of blocks it does not have are left out.

    Raises:
        CheckpointError: If a tensor that `body` needs is missing or of another shape.
    """
    blocks = body.blocks
    assert isinstance(blocks, nn.Sequential)
    places = [
        f"blocks.{stage_index}.{block_index}"
        for stage_index, stage in enumerate(blocks)
        for block_index in range(len(stage))  # type: ignore[arg-type]
    ]
    renamed = {}
    for key, tensor in state.items():
        name = _timm_name(key, state, places)
        if name is not None:
            renamed[name] = tensor
    wanted = body.state_dict()
    problems = [
        f"{name}: expected {tuple(tensor.shape)}, got "
        f"{tuple(renamed[name].shape) if name in renamed else 'nothing'}"
        for name, tensor in wanted.items()
        if name not in renamed or renamed[name].shape != tensor.shape
    ]
    if problems:
        raise CheckpointError("weights do not fit the backbone: " + "; ".join(problems[:5]))
    return {name: renamed[name] for name in wanted}


def _timm_name(key: str, state: Mapping[str, Tensor], places: list[str]) -> str | None:
    parts = key.split(".")
    if parts[0] in _STEM:
        return ".".join([_STEM[parts[0]], *parts[1:]])
    if parts[0] != "_blocks" or int(parts[1]) >= len(places):
        return None
    expands = f"_blocks.{parts[1]}._expand_conv.weight" in state
    names = _BLOCK_WITH_EXPANSION if expands else _BLOCK_WITHOUT_EXPANSION
    if len(parts) < 3 or parts[2] not in names:
        raise CheckpointError(f"unknown tensor '{key}' in the backbone's weights")
    return ".".join([places[int(parts[1])], names[parts[2]], *parts[3:]])
