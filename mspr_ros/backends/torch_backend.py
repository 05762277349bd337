"""The network in PyTorch, prepared for inference."""

from __future__ import annotations

import torch
from torch import Tensor

from mspr_ros.backends.answer import NetworkAnswer
from mspr_ros.backends.processor import has_bf16
from mspr_ros.errors import ConfigError
from mspr_ros.network.inference import prepare_for_inference
from mspr_ros.network.regressor import PoseRegressor

PRECISIONS = ("fp32", "bf16")


class TorchBackend:
    """Run the network in PyTorch.

    Args:
        network: In evaluation mode; it is not changed.
        height: Of the input, in pixels.
        width: Likewise.
        device: Where to run.
        precision: `auto` takes bf16 where the processor has instructions for it, else fp32.

    Raises:
        ConfigError: If the precision is unknown.
    """

    name = "torch"

    def __init__(
        self,
        network: PoseRegressor,
        height: int,
        width: int,
        device: torch.device,
        precision: str = "auto",
    ) -> None:
        if precision == "auto":
            precision = "bf16" if has_bf16(device) else "fp32"
        if precision not in PRECISIONS:
            raise ConfigError(
                f"the torch backend has no precision '{precision}', expected auto, "
                + " or ".join(PRECISIONS)
            )
        self.precision = precision
        self.device = device
        self.prepared = prepare_for_inference(network, height, width).to(device)

    @torch.inference_mode()
    def __call__(self, images: Tensor, scene: Tensor | None = None) -> NetworkAnswer:
        """Answer a batch; see `Backend`."""
        images = images.to(self.device)
        half = self.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            looked = self.prepared.look(images)
        # The answer is small and its numbers are metres: it stays in fp32.
        encoded = (looked.position_out.float(), looked.orientation_out.float())
        output = self.prepared.answer(
            *encoded, scene=None if scene is None else scene.to(self.device)
        )
        return NetworkAnswer(output, looked.descriptor.float())
