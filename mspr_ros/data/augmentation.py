"""Change training pictures without making their poses untrue."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from mspr_ros.geometry import Array
from mspr_ros.preprocess import ImageU8


@dataclass(frozen=True)
class AugmentationConfig:
    """How training pictures are varied; all zero and false leaves them alone.

    Args:
        yaw_deg, pitch_deg, roll_deg: The virtual camera is turned about its centre by up to this
            (uniformly, either way): a homography of the undistorted image, and the label turns
            with it. Needs a virtual camera and intrinsics.
        random_crop: Cut at random instead of from the centre, label kept: what the paper's
            authors do. Only without a virtual camera.
        brightness, contrast, saturation: Factors from [1 - v, 1 + v].
        hue: A shift from [-v, v] of the colour circle.
    """

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    random_crop: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self) -> None:
        largest = {
            "yaw_deg": 45.0,  # further, and a wide camera would look behind itself
            "pitch_deg": 45.0,
            "roll_deg": 180.0,
            "brightness": 1.0,
            "contrast": 1.0,
            "saturation": 1.0,
            "hue": 0.5,
        }
        problems = [
            f"{name} must lie in [0, {limit:g}], got {getattr(self, name)}"
            for name, limit in largest.items()
            if not 0.0 <= getattr(self, name) <= limit
        ]
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def turns_camera(self) -> bool:
        """Whether the virtual camera is turned at all."""
        return max(self.yaw_deg, self.pitch_deg, self.roll_deg) > 0.0


def random_rotation(config: AugmentationConfig, rng: np.random.Generator) -> Array:
    """Draw R_cam_virtual (3, 3): yaw about the optical y, pitch about x, roll about z."""
    limits = np.array([config.yaw_deg, config.pitch_deg, config.roll_deg])
    angles_deg = rng.uniform(-limits, limits)
    return np.asarray(Rotation.from_euler("YXZ", angles_deg, degrees=True).as_matrix())


def color_jitter(image: ImageU8, config: AugmentationConfig, rng: np.random.Generator) -> ImageU8:
    """Vary brightness, contrast, saturation and hue in random order.

    Args:
        image: (H, W, 3) RGB uint8.
        config: Its strengths.
        rng: Where the chance comes from.
    """
    factors = {
        name: rng.uniform(1.0 - strength, 1.0 + strength)
        for name in ("brightness", "contrast", "saturation")
        if (strength := getattr(config, name)) > 0.0
    }
    if config.hue > 0.0:
        factors["hue"] = rng.uniform(-config.hue, config.hue)
    for name in rng.permutation(sorted(factors)):
        image = _ADJUST[name](image, factors[name])
    return image


def _map_levels(image: ImageU8, gain: float, bias: float) -> ImageU8:
    table = np.clip(gain * np.arange(256) + bias, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), dtype=np.uint8)


def _brightness(image: ImageU8, factor: float) -> ImageU8:
    return _map_levels(image, factor, 0.0)


def _contrast(image: ImageU8, factor: float) -> ImageU8:
    mean = float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean())
    return _map_levels(image, factor, (1.0 - factor) * mean)


def _saturation(image: ImageU8, factor: float) -> ImageU8:
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(image, factor, gray, 1.0 - factor, 0.0), dtype=np.uint8)


def _hue(image: ImageU8, shift: float) -> ImageU8:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(shift * 256) % 256)  # wraps around like the circle
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL), dtype=np.uint8)


_ADJUST = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
}
