"""Which pixels a pose comes from: integrated gradients (arXiv 1703.01365) of both branches.

Along the straight path from a blurred picture, which shows nothing but colours, to the picture
itself, the gradient of the answer is summed up. The answer is a number for each branch: how far
it moved from the blurred picture's answer, in the direction in which it moved. The attributions
of all pixels then add up to that distance (a test checks it).

Scene and clusters are those of the picture itself all along, so that nothing jumps.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from mspr_ros.geometry import Array
from mspr_ros.network.regressor import PoseRegressor, Selection
from mspr_ros.preprocess import ImageU8, Preprocessor

# Sigma of the blur, in widths of the picture.
_BLUR = 0.125


class Attribution(NamedTuple):
    """What a branch's answer comes from."""

    pixels: Array  # (h, w), signed; they add up to `moved`, up to the steps' coarseness
    moved: float  # from the blurred picture's answer: metres, or distance of unit quaternions


def blurred(picture: ImageU8) -> ImageU8:
    """Give a picture of which nothing can be recognised but its colours."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), _BLUR * picture.shape[1]), dtype=np.uint8)


def selection_of(network: PoseRegressor, images: Tensor, scene: int | None = None) -> Selection:
    """Give the scene and clusters that the network chooses for (1, 3, h, w)."""
    asked = None if scene is None else torch.tensor([scene], device=images.device)
    with torch.inference_mode():
        chosen = network(images, scene=asked).selection
    return Selection(*(ids.clone() for ids in chosen))


def answers(network: PoseRegressor, images: Tensor, chosen: Selection) -> dict[str, Tensor]:
    """Give positions (B, 3) and orientations (B, 4) of images, all with one selection."""
    teacher = Selection(*(ids.expand(len(images)) for ids in chosen))
    output = network(images, teacher=teacher)
    return {"position": output.position, "orientation": output.orientation}


def integrated_gradients(
    network: PoseRegressor,
    preprocessor: Preprocessor,
    picture: ImageU8,
    chosen: Selection,
    *,
    steps: int = 16,
    batch_size: int = 8,
) -> dict[str, Attribution]:
    """Attribute both branches' answers to the pixels of a picture.

    Args:
        network: In evaluation mode.
        preprocessor: Of the network.
        picture: As the network sees it, (h, w, 3) RGB.
        chosen: Scene and clusters to answer for.
        steps: Points of the path.
        batch_size: Of them at a time.

    Returns:
        By branch, `position` and `orientation`.
    """
    device = next(network.parameters()).device
    pair = torch.from_numpy(np.stack([blurred(picture), picture])).to(device)
    ends = preprocessor.normalize(pair)  # (2, 3, h, w)
    with torch.no_grad():
        told = answers(network, ends, chosen)
    final = {name: values[1] for name, values in told.items()}
    directions, moved = {}, {}
    for name, values in told.items():
        step = final[name] - _same_sign(name, values, final[name])[0]
        moved[name] = float(step.norm())
        directions[name] = step / max(moved[name], 1e-12)
    sums = {name: torch.zeros_like(ends[0]) for name in directions}
    # Middles of equal parts of the path.
    shares = (torch.arange(steps, device=device) + 0.5) / steps
    for part in torch.split(shares, batch_size):
        along = torch.lerp(ends[:1], ends[1:], part.view(-1, 1, 1, 1)).requires_grad_()
        told = answers(network, along, chosen)
        for number, (name, direction) in enumerate(directions.items()):
            value = _same_sign(name, told[name], final[name]) @ direction
            (gradient,) = torch.autograd.grad(value.sum(), along, retain_graph=number == 0)
            sums[name] += gradient.sum(dim=0) / steps
    difference = ends[1] - ends[0]
    return {
        name: Attribution(_array((total * difference).sum(dim=0)), moved[name])
        for name, total in sums.items()
    }


def _same_sign(name: str, values: Tensor, like: Tensor) -> Tensor:
    """Take of two quaternions that are the same orientation the one nearer to `like`."""
    if name == "position":
        return values
    return torch.where((values @ like).detach().unsqueeze(-1) < 0.0, -values, values)


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().double().cpu().numpy(), dtype=np.float64)
