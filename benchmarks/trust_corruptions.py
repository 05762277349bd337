"""Spoil pictures the way a robot's camera is spoiled, each way at several strengths.

Functions take and give (H, W, 3) RGB uint8. Sizes are shares of the width, so that a strength
means the same at any resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

ImageU8 = npt.NDArray[np.uint8]
SKIN_RGB = (198.0, 140.0, 118.0)
SENSOR_NOISE = 2.0  # grey levels; what remains where no light comes in
FULL_SCALE = 255.0


@dataclass(frozen=True)
class Corruption:
    """One way to spoil a picture.

    Args:
        name: Of it.
        strength: What the numbers mean.
        strengths: From mild to strong.
        apply: Of picture, strength and random generator.
    """

    name: str
    strength: str
    strengths: tuple[float, ...]
    apply: Callable[[ImageU8, float, np.random.Generator], ImageU8]


def darkness(image: ImageU8, light: float, rng: np.random.Generator) -> ImageU8:
    """Keep a share of the light; the sensor's noise does not get less."""
    return _noisy(image * np.float32(light), SENSOR_NOISE, rng)


def over_exposure(image: ImageU8, gain: float, rng: np.random.Generator) -> ImageU8:
    """Multiply the light; what is too bright for the sensor is white."""
    return _as_u8(image * np.float32(gain))


def noise(image: ImageU8, deviation: float, rng: np.random.Generator) -> ImageU8:
    """Add independent noise to every pixel and colour, in grey levels."""
    return _noisy(image.astype(np.float32), deviation, rng)


def blur(image: ImageU8, sigma: float, rng: np.random.Generator) -> ImageU8:
    """Defocus: three box filters, which are nearly a Gaussian, their cost free of its width."""
    side = 1 + 2 * round(sigma * image.shape[1])  # odd; of three boxes sigma is half a side
    blurred = image
    for _ in range(3):
        blurred = np.asarray(cv2.blur(blurred, (side, side)), dtype=np.uint8)
    return blurred


def hand(image: ImageU8, share: float, rng: np.random.Generator) -> ImageU8:
    """Push a hand before the lens from a random side, so close that its edge is out of focus."""
    height, width = image.shape[:2]
    angle = rng.uniform(0.0, 2.0 * np.pi)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    along = np.cos(angle) * columns + np.sin(angle) * rows
    # The edge lies where exactly this share of the picture is behind it.
    edge = np.quantile(along, share)
    softness = 0.03 * width
    cover = np.clip(0.5 + (edge - along) / (2.0 * softness), 0.0, 1.0)[..., None]
    if share >= 1.0:
        cover = np.ones_like(cover)
    # Light comes through the fingers at one side.
    shade = 0.55 + 0.35 * (along - along.min()) / np.ptp(along)
    skin = np.asarray(SKIN_RGB, dtype=np.float32) * shade[..., None] * rng.uniform(0.5, 1.0)
    return _noisy(image * (1.0 - cover) + skin * cover, SENSOR_NOISE, rng)


def close_wall(image: ImageU8, kept: float, rng: np.random.Generator) -> ImageU8:
    """Show a small piece of the picture large, as when the camera is driven up to something."""
    height, width = image.shape[:2]
    rows, columns = max(2, round(kept * height)), max(2, round(kept * width))
    top = int(rng.integers(0, height - rows + 1))
    left = int(rng.integers(0, width - columns + 1))
    piece = image[top : top + rows, left : left + columns]
    return _as_u8(cv2.resize(piece, (width, height), interpolation=cv2.INTER_CUBIC))


def mirror(image: ImageU8, _: float, rng: np.random.Generator) -> ImageU8:
    """Exchange left and right."""
    return np.ascontiguousarray(image[:, ::-1])


CORRUPTIONS: tuple[Corruption, ...] = (
    Corruption("darkness", "share of the light", (0.3, 0.1, 0.05, 0.02, 0.0), darkness),
    Corruption("over-exposure", "gain", (1.5, 2.0, 4.0, 8.0, 32.0), over_exposure),
    Corruption("noise", "grey levels", (10.0, 20.0, 40.0, 80.0, 160.0), noise),
    Corruption("blur", "sigma / width", (0.005, 0.01, 0.02, 0.05, 0.15), blur),
    Corruption("hand over the lens", "share covered", (0.2, 0.4, 0.6, 0.8, 1.0), hand),
    Corruption("wall close up", "share of the view", (0.7, 0.5, 0.3, 0.15, 0.07), close_wall),
    Corruption("mirror image", "", (1.0,), mirror),
)


@dataclass(frozen=True)
class Spoiled:
    """What became of the answers at one strength.

    Args:
        strength: See the corruption.
        position_median_m, orientation_median_deg: Errors; inf where most have no answer.
        times_clean: The larger of the two medians over its clean one.
        auroc: Of clean frames against these, by the score of familiarity.
        share_accepted: Of these frames, at the bundle's threshold.
    """

    strength: float
    position_median_m: float
    orientation_median_deg: float
    times_clean: float
    auroc: float
    share_accepted: float


def first_useless(spoiled: Sequence[Spoiled], factor: float = 3.0) -> Spoiled | None:
    """Give the mildest strength at which a median error exceeds `factor` times the clean one."""
    return next((one for one in spoiled if one.times_clean > factor), None)


def _noisy(picture: Any, deviation: float, rng: np.random.Generator) -> ImageU8:
    return _as_u8(picture + deviation * rng.standard_normal(picture.shape, dtype=np.float32))


def _as_u8(picture: Any) -> ImageU8:
    return np.clip(np.round(picture), 0.0, FULL_SCALE).astype(np.uint8)
