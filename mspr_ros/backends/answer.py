"""What every backend gives for a batch, and its tensors by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from mspr_ros.network.regressor import Encoded, PoseRegressor, RegressorOutput, Selection

# As the graph's input says "recognise the scene".
ANY_SCENE = -1
DESCRIPTOR = "descriptor"
ENCODED = Encoded._fields


class NetworkAnswer(NamedTuple):
    """The network's answer to a batch of images."""

    output: RegressorOutput
    descriptor: Tensor  # (B, F), how the images look to the backbone


class Backend(Protocol):
    """A network ready to run.

    Args:
        name: `torch`, `onnxruntime` or `openvino`.
        precision: `fp32`, `bf16`, `fp16` or `int8`.
    """

    name: str
    precision: str

    def look(self, images: Tensor) -> Encoded:
        """Do nearly all of the work for normalised images (B, 3, H, W), as the network does."""
        ...

    def __call__(self, images: Tensor, scene: Tensor | None = None) -> NetworkAnswer:
        """Answer the images, for the scenes (B,) where they are given."""
        ...


class AnswerByName(nn.Module):
    """The whole network as a graph for other runtimes: two tensors in, named tensors out.

    Args:
        network: Prepared for inference at one size.
        height: Of its input, in pixels.
        width: Likewise.

    Shape: images (B, 3, H, W), scene (B,) int64 with -1 to recognise it -> tensors in the order
    of `names`.
    """

    def __init__(self, network: PoseRegressor, height: int, width: int) -> None:
        super().__init__()
        self.network = network
        like = next(network.parameters())
        with torch.no_grad():
            example = like.new_zeros(2, 3, height, width), torch.full((2,), ANY_SCENE)
            self.names = tuple(self.by_name(*example))
        self.eval()  # exporters put the graph back into the mode that it had

    def by_name(self, images: Tensor, scene: Tensor) -> dict[str, Tensor]:
        """Give every tensor of the answer that has a row for each image."""
        encoded = self.network.look(images)
        decoded = (encoded.position_out, encoded.orientation_out)
        recognised = self.network.answer(*decoded).selection.scene
        chosen = torch.where(scene == ANY_SCENE, recognised, scene)
        output = self.network.answer(*decoded, scene=chosen)
        return {**named_tensors(output), **encoded._asdict()}

    def forward(self, images: Tensor, scene: Tensor) -> tuple[Tensor, ...]:
        """Give the tensors in the order of `names`."""
        return tuple(self.by_name(images, scene).values())


def named_tensors(output: tuple[Tensor | tuple[Tensor, ...] | None, ...]) -> dict[str, Tensor]:
    """Give the tensors of a named tuple that have a row for each image, by field name."""
    named: dict[str, Tensor] = {}
    for name, value in zip(output._fields, output, strict=True):  # type: ignore[attr-defined]
        if isinstance(value, tuple):
            named.update({f"{name}.{key}": each for key, each in named_tensors(value).items()})
        elif value is not None and value.ndim:
            named[name] = value
    return named


def known_names() -> set[str]:
    """Give the names that an answer's tensors can have."""
    selected = {f"selection.{name}" for name in Selection._fields}
    return {*RegressorOutput._fields, *selected, *ENCODED}


def answer_from_named(named: Mapping[str, Tensor]) -> NetworkAnswer:
    """Put tensors by name together again; what is optional and missing is None."""
    selection = Selection(*(named[f"selection.{name}"] for name in Selection._fields))
    fields = {name: named.get(name) for name in RegressorOutput._fields}
    fields["query_key_distance"] = named["position"].new_zeros(())  # of training only
    return NetworkAnswer(
        RegressorOutput(**{**fields, "selection": selection}),  # type: ignore[arg-type]
        named[DESCRIPTOR],
    )
