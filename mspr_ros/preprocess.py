"""The one image pipeline: training, evaluation and the node give a picture the same tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch

from mspr_ros.camera import CameraModel, VirtualCamera, warp_to_virtual
from mspr_ros.errors import ImageError
from mspr_ros.geometry import Array

ImageU8 = npt.NDArray[np.uint8]
# A picture that is longer than this many times its shorter side is no camera's, and resized by its
# shorter side it would fill the memory.
MAX_ASPECT = 50


@dataclass(frozen=True)
class PreprocessConfig:
    """How a picture becomes the network's input; stored in the bundle.

    Args:
        width: Width of the network's input in pixels.
        height: Height of the network's input in pixels.
        resize_shorter_px: Without a warp, the shorter side is resized to this and the centre cut
            out (the paper: 256, then 224x224). 0 resizes as little as a full cut allows.
        virtual_camera: The bundle's one camera; its size is the input's. None leaves the warp
            off, as the paper does.
        mean: Per channel, of pixel values in [0, 1].
        std: Per channel, of pixel values in [0, 1].
    """

    width: int = 224
    height: int = 224
    resize_shorter_px: int = 256
    virtual_camera: VirtualCamera | None = None
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    # Read by mspr_ros.config: an unknown key is an error.
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 32:
            raise ValueError(f"input must be at least 32x32, got {self.width}x{self.height}")
        if 0 < self.resize_shorter_px < min(self.width, self.height):
            raise ValueError(
                f"resize_shorter_px {self.resize_shorter_px} is smaller than the "
                f"{self.width}x{self.height} cut"
            )
        virtual = self.virtual_camera
        if virtual and (virtual.width, virtual.height) != (self.width, self.height):
            raise ValueError(
                f"virtual_camera is {virtual.width}x{virtual.height} but the input "
                f"{self.width}x{self.height}"
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")


class Preprocessor:
    """Turn pictures into the network's input."""

    def __init__(self, config: PreprocessConfig) -> None:
        self.config = config
        scale = 1.0 / (255.0 * np.array(config.std))
        offset = -np.array(config.mean) / np.array(config.std)
        # Scale and offset by channel.
        self._channels = torch.tensor(np.stack([scale, offset]), dtype=torch.float32).unbind()
        # Past the image's edge stands the colour that normalises to zero.
        red, green, blue = (round(255 * value) for value in config.mean)
        self._fill = (red, green, blue)

    def geometric(
        self,
        image_rgb_u8: ImageU8,
        camera: CameraModel | None = None,
        R_cam_virtual: Array | None = None,
        focal_factor: float = 1.0,
    ) -> ImageU8:
        """Warp a picture to the virtual camera, or resize and cut it where there is none.

        Args:
            image_rgb_u8: (H, W, 3) RGB, 0 to 255.
            camera: The camera that took it; without it nothing can be warped.
            R_cam_virtual: (3, 3) turns the virtual camera about its centre (augmentation).
            focal_factor: Of the virtual camera's focal length (augmentation).

        Returns:
            (config.height, config.width, 3) uint8.

        Raises:
            ImageError: If the picture is empty, not RGB uint8, not of the camera's size, longer
                than `MAX_ASPECT` times its shorter side, or too large for OpenCV.
        """
        if image_rgb_u8.ndim != 3 or image_rgb_u8.shape[2] != 3 or image_rgb_u8.size == 0:
            raise ImageError(f"expected an RGB image (H, W, 3), got shape {image_rgb_u8.shape}")
        if image_rgb_u8.dtype != np.uint8:
            raise ImageError(f"expected uint8 pixels, got {image_rgb_u8.dtype}")
        try:
            return self._seen(image_rgb_u8, camera, R_cam_virtual, focal_factor)
        except cv2.error as error:
            height, width = image_rgb_u8.shape[:2]
            raise ImageError(
                f"OpenCV cannot warp or resize a picture of {width}x{height} pixels, make it "
                f"smaller: {error.err or error}"
            ) from None

    def _seen(
        self,
        image: ImageU8,
        camera: CameraModel | None,
        R_cam_virtual: Array | None,
        focal_factor: float,
    ) -> ImageU8:
        """Do as `geometric` does, with a picture that is one."""
        virtual = self.config.virtual_camera
        if virtual and camera:
            if focal_factor != 1.0:
                virtual = replace(
                    virtual, fx=virtual.fx * focal_factor, fy=virtual.fy * focal_factor
                )
            return warp_to_virtual(image, camera, virtual, R_cam_virtual, self._fill)
        if R_cam_virtual is not None:
            raise ImageError("turning the virtual camera needs a virtual camera and intrinsics")
        return resize_and_cut(
            image, self.config.width, self.config.height, self.config.resize_shorter_px
        )

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Scale (B, H, W, 3), 0 to 255, on any device to (B, 3, H, W) float32, channels last."""
        batch, height, width, _ = images.shape
        # A row at a time: three values at a time take far longer.
        rows = images.reshape(batch, height, 3 * width).to(torch.float32)
        scale, offset = (each.to(images.device).repeat(width) for each in self._channels)
        pixels = torch.addcmul(offset, rows, scale).view(batch, height, width, 3)
        return pixels.permute(0, 3, 1, 2)

    def tensor(
        self,
        images_rgb_u8: Sequence[ImageU8],
        cameras: Sequence[CameraModel | None] | None = None,
    ) -> torch.Tensor:
        """Give the network's input (B, 3, height, width) float32 for pictures of any sizes."""
        cameras = cameras if cameras is not None else [None] * len(images_rgb_u8)
        if len(cameras) != len(images_rgb_u8):
            raise ImageError(f"{len(images_rgb_u8)} images but {len(cameras)} cameras")
        if not images_rgb_u8:
            return torch.zeros(0, 3, self.config.height, self.config.width)
        pairs = zip(images_rgb_u8, cameras, strict=True)
        stacked = np.stack([self.geometric(image, camera) for image, camera in pairs])
        return self.normalize(torch.from_numpy(stacked))


def resize_for_cut(
    image: ImageU8, width: int, height: int, resize_shorter_px: int = 0, *, enlarge: bool = True
) -> ImageU8:
    """Resize a picture as `resize_and_cut` does before it cuts.

    Args:
        image: (H, W, 3) uint8.
        width: Of the cut, in pixels.
        height: Of the cut, in pixels.
        resize_shorter_px: New length of the shorter side; at least as much as the cut needs.
        enlarge: Whether a picture that is too small is enlarged, or left as it is.

    Raises:
        ImageError: If the picture is longer than `MAX_ASPECT` times its shorter side.
    """
    rows, columns = image.shape[:2]
    if max(rows, columns) > MAX_ASPECT * min(rows, columns):
        raise ImageError(
            f"picture is {columns}x{rows}: no side may be longer than {MAX_ASPECT} times the "
            "other; cut it first"
        )
    scale = max(resize_shorter_px / min(rows, columns), width / columns, height / rows)
    size = (max(width, round(columns * scale)), max(height, round(rows * scale)))
    if size == (columns, rows) or (scale >= 1.0 and not enlarge):
        return image
    interpolation = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), dtype=np.uint8)


def resize_and_cut(
    image: ImageU8,
    width: int,
    height: int,
    resize_shorter_px: int = 0,
    offset: tuple[float, float] = (0.5, 0.5),
) -> ImageU8:
    """Resize a picture and cut width x height out of it.

    Args:
        image: (H, W, 3) uint8.
        width: Of the cut, in pixels.
        height: Of the cut, in pixels.
        resize_shorter_px: New length of the shorter side; at least as much as the cut needs.
        offset: Where the cut lies, 0 to 1 along x and y; the default is the centre.

    Raises:
        ImageError: As `resize_for_cut`.
    """
    image = resize_for_cut(image, width, height, resize_shorter_px)
    left = round(offset[0] * (image.shape[1] - width))
    top = round(offset[1] * (image.shape[0] - height))
    return np.ascontiguousarray(image[top : top + height, left : left + width])
