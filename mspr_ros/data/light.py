"""Vary light and lens of a batch of training pictures, on the device that trains.

What is drawn by chance is drawn frame by frame with the frame's own generator and travels with the
batch as a few numbers; what costs time is done for all pictures at once.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from mspr_ros.data.augmentation import AugmentationConfig

# Columns of a frame's draw. A rectangle without area hides nothing.
_COLUMNS = ("brightness", "contrast", "saturation", "hue_rad", "gamma", "blur_px", "noise")
_RECTANGLE = ("left", "top", "right", "bottom")  # shares of width and height
_UNCHANGED = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0], dtype=np.float32)

_LUMA = torch.tensor([0.299, 0.587, 0.114])
_BLUR_RADIUS_PX = 4  # two sigmas of the widest blur
_GREY = 127.5


def draw_light(config: AugmentationConfig, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw how one picture is varied, for `vary_light`."""
    light = dict(zip((*_COLUMNS, *_RECTANGLE), _UNCHANGED.tolist(), strict=True))
    for name in ("brightness", "contrast", "saturation"):
        strength = getattr(config, name)
        light[name] = rng.uniform(1.0 - strength, 1.0 + strength)
    light["hue_rad"] = 2.0 * math.pi * rng.uniform(-config.hue, config.hue)
    light["gamma"] = math.exp(rng.uniform(-config.exposure, config.exposure))
    blurred = rng.uniform() < 0.5
    light["blur_px"] = rng.uniform(0.0, config.blur_px) if blurred else 0.0
    light["noise"] = rng.uniform(0.0, config.noise)
    if rng.uniform() < config.occlusion:
        width, height = rng.uniform(0.1, 0.5, size=2)
        left, top = rng.uniform(0.0, 1.0 - width), rng.uniform(0.0, 1.0 - height)
        light.update(left=left, top=top, right=left + width, bottom=top + height)
    return np.array(list(light.values()), dtype=np.float32)


def vary_light(images_u8: Tensor, light: Tensor) -> Tensor:
    """Vary pictures as their draws say.

    Saturation and hue are one linear map of the colours (hue turns them about the grey axis, where
    the paper's code goes through HSV), then come brightness, contrast about the picture's mean,
    exposure, blur, noise and a grey rectangle.

    Args:
        images_u8: (B, H, W, 3) uint8 on any device.
        light: (B, L) of `draw_light`, on the CPU.

    Returns:
        (B, H, W, 3) float32 from 0 to 255; the uint8 pictures themselves where nothing varies.
    """
    if bool((light == torch.from_numpy(_UNCHANGED)).all()):
        return images_u8
    draw = dict(zip(_COLUMNS, light[:, : len(_COLUMNS)].unbind(dim=1), strict=True))
    images = _vary_colors(images_u8.float(), draw)
    gamma = draw["gamma"].to(images.device)
    if bool((draw["gamma"] != 1.0).any()):
        images = 255.0 * (images / 255.0) ** gamma.view(-1, 1, 1, 1)
    if bool((draw["blur_px"] > 0.0).any()):
        images = _blur(images, draw["blur_px"])
    if bool((draw["noise"] > 0.0).any()):
        sigma = 255.0 * draw["noise"].to(images.device)
        images = images + sigma.view(-1, 1, 1, 1) * torch.randn_like(images)
    images = images.clamp(0.0, 255.0)
    _hide(images, light[:, len(_COLUMNS) :])
    return images


def _vary_colors(images: Tensor, draw: dict[str, Tensor]) -> Tensor:
    gain = draw["contrast"] * draw["brightness"]
    colors = gain.view(-1, 1, 1) * _color_matrix(draw["saturation"], draw["hue_rad"])  # (B, 3, 3)
    device = images.device
    mean = (images.mean(dim=(1, 2)) @ _LUMA.to(device)).cpu()  # (B,)
    offset = (1.0 - draw["contrast"]) * draw["brightness"] * mean
    pixels = images.flatten(1, 2)  # (B, H*W, 3)
    varied = torch.baddbmm(
        offset.to(device).view(-1, 1, 1), pixels, colors.transpose(1, 2).to(device)
    )
    return varied.clamp(0.0, 255.0).view_as(images)


def _color_matrix(saturation: Tensor, hue_rad: Tensor) -> Tensor:
    """Give the map of RGB colours, (B, 3, 3), that keeps every grey."""
    axis = 1.0 / math.sqrt(3.0)
    cross = axis * torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    angle = hue_rad.view(-1, 1, 1)
    # Rodrigues' formula; cross @ cross and the identity differ by the projection on the axis.
    turn = torch.eye(3) + angle.sin() * cross + (1.0 - angle.cos()) * (cross @ cross)
    grey = _LUMA.expand(3, 3)
    factor = saturation.view(-1, 1, 1)
    return turn @ (factor * torch.eye(3) + (1.0 - factor) * grey)


def _blur(images: Tensor, sigma_px: Tensor) -> Tensor:
    """Blur every picture by its own Gaussian, down the columns and then along the rows."""
    batch, height, width, channels = images.shape
    distance = torch.arange(-_BLUR_RADIUS_PX, _BLUR_RADIUS_PX + 1, dtype=torch.float32)
    exponent = -0.5 * (distance / sigma_px.clamp(min=1e-3).view(-1, 1)) ** 2
    kernels = exponent.softmax(dim=1).to(images.device)  # (B, taps)
    planes = images.permute(0, 3, 1, 2).reshape(1, batch * channels, height, width)
    radius, groups = _BLUR_RADIUS_PX, batch * channels
    taps = kernels.repeat_interleave(channels, dim=0)[:, None, :]  # (B*3, 1, taps)
    planes = functional.pad(planes, (radius,) * 4, mode="replicate")
    planes = functional.conv2d(planes, taps[..., None], groups=groups)
    planes = functional.conv2d(planes, taps[:, :, None, :], groups=groups)
    return planes.view(batch, channels, height, width).permute(0, 2, 3, 1)


def _hide(images: Tensor, rectangles: Tensor) -> None:
    height, width = images.shape[1:3]
    size = torch.tensor([width, height, width, height])
    for image, (left, top, right, bottom) in zip(
        images, (rectangles * size).round().int().tolist(), strict=True
    ):
        image[top:bottom, left:right] = _GREY
