"""Light and the camera's own flaws: what changes from drive to drive while the places stay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mspr_ros.geometry import Array

DAYLIGHT_K = 6500.0


@dataclass(frozen=True)
class Light:
    """Describe how a drive is lit and how its camera degrades the picture.

    Args:
        brightness: Factor on all surfaces.
        temperature_k: Colour temperature; 6500 leaves colours as they are, less is warmer.
        towards_lamp: Direction to a distant lamp in the map, unit norm.
        lamp_strength: 0 for even light, 1 for surfaces turned away being dark.
        noise: Standard deviation of the sensor's noise, in grey levels of 255.
        vignetting: Loss of light at the image's corners, 0 to 1.
    """

    brightness: float = 1.0
    temperature_k: float = DAYLIGHT_K
    towards_lamp: tuple[float, float, float] = (0.0, 0.0, 1.0)
    lamp_strength: float = 0.0
    noise: float = 0.0
    vignetting: float = 0.0

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Light:
        """Draw the light of one drive."""
        azimuth = rng.uniform(0.0, 2.0 * np.pi)
        elevation = rng.uniform(np.deg2rad(20.0), np.deg2rad(75.0))
        flat = np.cos(elevation)
        return cls(
            brightness=float(rng.uniform(0.75, 1.2)),
            temperature_k=float(rng.uniform(4200.0, 8500.0)),
            towards_lamp=(
                float(flat * np.cos(azimuth)),
                float(flat * np.sin(azimuth)),
                float(np.sin(elevation)),
            ),
            lamp_strength=float(rng.uniform(0.1, 0.45)),
            noise=float(rng.uniform(1.0, 4.0)),
            vignetting=float(rng.uniform(0.0, 0.25)),
        )

    def face_gains(self, normals: Array, glows: Array) -> Array:
        """Give the factor on each face: (F, 3) unit normals and (F,) bool to (F,).

        Wrapped diffuse shading, so that no side of a thing is ever black: indoors the walls
        throw light back.
        """
        facing = 0.5 + 0.5 * normals @ np.asarray(self.towards_lamp)
        gains = 1.0 - self.lamp_strength * (1.0 - facing)
        return np.where(glows, 1.0, gains)

    def colour_gains(self) -> Array:
        """Give the (3,) RGB factors of brightness and colour temperature."""
        tint = _planckian_rgb(self.temperature_k) / _planckian_rgb(DAYLIGHT_K)
        luminance = float(tint @ np.array([0.299, 0.587, 0.114]))
        return np.asarray(self.brightness * tint / luminance)


def _planckian_rgb(temperature_k: float) -> Array:
    """Approximate the colour of a black body (a published fit by T. Helland), about 0 to 1."""
    t = float(np.clip(temperature_k, 1500.0, 20000.0)) / 100.0
    if t <= 66.0:
        red = 255.0
        green = 99.4708 * np.log(t) - 161.1196
        blue = 0.0 if t <= 19.0 else 138.5177 * np.log(t - 10.0) - 305.0448
    else:
        red = 329.6987 * (t - 60.0) ** -0.1332048
        green = 288.1222 * (t - 60.0) ** -0.0755148
        blue = 255.0
    return np.asarray(np.clip([red, green, blue], 1.0, 255.0) / 255.0)
