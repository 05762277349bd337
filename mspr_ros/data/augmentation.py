"""Change training pictures without making their poses untrue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from mspr_ros.camera import CameraModel, VirtualCamera
from mspr_ros.geometry import Array


@dataclass(frozen=True)
class AugmentationConfig:
    """How training pictures are varied; all zero and false leaves them alone.

    Args:
        yaw_deg, pitch_deg, roll_deg: The virtual camera is turned about its centre by up to this
            (uniformly, either way): a homography of the undistorted image, and the label turns
            with it. Needs a virtual camera and intrinsics.
        random_crop: Without a virtual camera: cut at random instead of from the centre, label
            kept, which is what the paper's authors do. With one: look at a random part of what
            the real camera saw by turning the virtual one there, and the label with it.
        focal: The focal length is multiplied by a factor from [1 - v, 1 + v], label kept: a few
            per cent, for cameras that are not calibrated to the last.
        brightness, contrast, saturation: Factors from [1 - v, 1 + v].
        hue: A shift from [-v, v] of the colour circle.
        exposure: Pixel values to the power of exp(u), u from [-v, v]: the camera's response.
        blur_px: Gaussian blur of a sigma up to this, of every second picture.
        noise: Standard deviation, up to this, of noise on pixel values in [0, 1].
        occlusion: Probability that a grey rectangle hides up to a quarter of the picture.
    """

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    random_crop: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    exposure: float = 0.0
    blur_px: float = 0.0
    noise: float = 0.0
    occlusion: float = 0.0
    focal: float = 0.0

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
            "exposure": 1.0,
            "blur_px": 2.0,
            "noise": 0.5,
            "occlusion": 1.0,
            "focal": 0.2,
        }
        problems = [
            f"{name} must lie in [0, {limit:g}], got {getattr(self, name)}"
            for name, limit in largest.items()
            if not 0.0 <= getattr(self, name) <= limit
        ]
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def moves_camera(self) -> bool:
        """Whether the virtual camera is turned or zoomed beyond what a crop does."""
        return max(self.yaw_deg, self.pitch_deg, self.roll_deg, self.focal) > 0.0


@dataclass(frozen=True)
class View:
    """How the virtual camera looks at a picture.

    Args:
        R_cam_virtual: (3, 3) its orientation in the real camera's optical frame.
        focal_factor: Of its focal length.
    """

    R_cam_virtual: Array
    focal_factor: float = 1.0


def random_view(
    config: AugmentationConfig,
    camera: CameraModel,
    virtual: VirtualCamera,
    rng: np.random.Generator,
) -> View:
    """Draw a view: yaw about the optical y, pitch about x, roll about z, and the focal length."""
    limits = np.array([config.yaw_deg, config.pitch_deg, config.roll_deg])
    angles_rad = np.radians(rng.uniform(-limits, limits))
    focal_factor = 1.0 + rng.uniform(-config.focal, config.focal)
    if config.random_crop:
        angles_rad[:2] += _crop_angles_rad(camera, virtual, rng)
    R_cam_virtual = Rotation.from_euler("YXZ", angles_rad).as_matrix()
    return View(np.asarray(R_cam_virtual), float(focal_factor))


def _crop_angles_rad(
    camera: CameraModel, virtual: VirtualCamera, rng: np.random.Generator
) -> Array:
    """Draw yaw and pitch that point the virtual camera at a random cut of the real picture."""
    real = np.array([camera.width / camera.fx, camera.height / camera.fy])
    cut = np.array([virtual.width / virtual.fx, virtual.height / virtual.fy])
    free = np.maximum(real - cut, 0.0) / 2.0  # of the axis, on the plane at unit depth
    right, down = rng.uniform(-free, free)
    yaw_rad = np.arctan(right)
    return np.array([yaw_rad, -np.arctan(down * np.cos(yaw_rad))])
