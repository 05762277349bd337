"""The network in PyTorch, prepared for inference."""

from __future__ import annotations

import torch
from torch import Tensor

from mspr_ros.backends.answer import NetworkAnswer
from mspr_ros.errors import ConfigError
from mspr_ros.network.inference import prepare_for_inference
from mspr_ros.network.regressor import Encoded, PoseRegressor

PRECISIONS = ("fp32", "bf16")


class TorchBackend:
    """Run the network in PyTorch.

    Args:
        network: In evaluation mode; it is not changed.
        height: Of the input, in pixels.
        width: Likewise.
        device: Where to run.
        precision: `fp32`, which is `auto` too: what bf16 does to a bundle's errors has to be
            measured for that bundle first. Or `bf16`.

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
            precision = "fp32"
        if precision not in PRECISIONS:
            raise ConfigError(
                f"the torch backend has no precision '{precision}', expected auto, "
                + " or ".join(PRECISIONS)
            )
        self.precision = precision
        self.device = device
        self.prepared = prepare_for_inference(network, height, width).to(device)

    @torch.inference_mode()
    def look(self, images: Tensor) -> Encoded:
        """Do nearly all of the work; see `Backend`."""
        half = self.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            encoded = self.prepared.look(images.to(self.device))
        return Encoded(*(part.float() for part in encoded))

    @torch.inference_mode()
    def __call__(self, images: Tensor, scene: Tensor | None = None) -> NetworkAnswer:
        """Answer a batch; see `Backend`."""
        encoded = self.look(images)
        # The answer is small and its numbers are metres: it stays in fp32.
        output = self.prepared.answer(
            encoded.position_out,
            encoded.orientation_out,
            scene=None if scene is None else scene.to(self.device),
        )
        return NetworkAnswer(output, encoded.descriptor)
