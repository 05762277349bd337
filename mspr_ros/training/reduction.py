"""How small a picture may be stored without a difference to training.

It is averaged over the blocks that the warp to the virtual camera would average anyway or, without
a virtual camera, resized as it would be before the cut. Training sees the same bits, with two
exceptions: where `focal` jitter asks for whole-number ratios on both sides of one (3.1 and 2.9
pixels a pixel, say), the finer one is stored and a coarser view is sampled from that; and with
`random_crop`, where a camera's size is not a multiple of the blocks, the crop is drawn from the
pixels that fill whole ones.
"""

from __future__ import annotations

import cv2
import numpy as np

from mspr_ros.camera import CameraModel
from mspr_ros.errors import ConfigError
from mspr_ros.preprocess import ImageU8
from mspr_ros.training.configuration import TrainConfig


class Reduction:
    """Make a picture as small as training can use it.

    Args:
        config: Says what the network sees of it.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.pipeline = config.preprocess
        self.focal = config.augmentation.focal

    def camera(self, camera: CameraModel | None) -> CameraModel | None:
        """Give the camera of the smaller picture."""
        return camera.shrunk(self._factor(camera)) if camera and self._warps else camera

    def picture(self, image: ImageU8, camera: CameraModel | None) -> ImageU8:
        """Give the smaller picture, (h, w, 3) uint8."""
        if camera and self._warps:
            if image.shape[:2] != (camera.height, camera.width):
                raise ConfigError(
                    f"a picture is {image.shape[1]}x{image.shape[0]}, but its camera "
                    f"{camera.width}x{camera.height}"
                )
            factor = self._factor(camera)
            size = (camera.width // factor, camera.height // factor)
            image = image[: size[1] * factor, : size[0] * factor]
        else:
            size = self._resized(image)
        if size == (image.shape[1], image.shape[0]):
            return image
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)

    @property
    def _warps(self) -> bool:
        return self.pipeline.virtual_camera is not None

    def _factor(self, camera: CameraModel) -> int:
        """Give the blocks of `warp_to_virtual` for the longest focal length that is drawn."""
        virtual = self.pipeline.virtual_camera
        assert virtual is not None
        longest = 1.0 + self.focal
        ratio = min(camera.fx / (virtual.fx * longest), camera.fy / (virtual.fy * longest))
        return max(1, min(int(ratio + 1e-6), camera.width, camera.height))

    def _resized(self, image: ImageU8) -> tuple[int, int]:
        """Give the (width, height) of `resize_and_cut` before it cuts; never enlarged here."""
        height, width = image.shape[:2]
        wanted = self.pipeline
        scale = max(
            wanted.resize_shorter_px / min(width, height),
            wanted.width / width,
            wanted.height / height,
        )
        if scale >= 1.0:
            return width, height
        return max(wanted.width, round(width * scale)), max(wanted.height, round(height * scale))
