"""How small a picture may be stored without a difference to training.

It is averaged over the blocks that the warp to the virtual camera would average anyway or, without
a virtual camera, resized as it would be before the cut. Training sees the same bits, with two
exceptions: where `focal` jitter asks for whole-number ratios on both sides of one (3.1 and 2.9
pixels a pixel, say), the finer one is stored and a coarser view is sampled from that; and with
`random_crop`, where a camera's size is not a multiple of the blocks, the crop is drawn from the
pixels that fill whole ones.
"""

from __future__ import annotations

from mspr_ros.camera import CameraModel, VirtualCamera, average_blocks, block_factor
from mspr_ros.errors import ImageError
from mspr_ros.preprocess import ImageU8, resize_for_cut
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
        virtual = self.pipeline.virtual_camera
        return camera.shrunk(self._factor(camera, virtual)) if camera and virtual else camera

    def picture(self, image: ImageU8, camera: CameraModel | None) -> ImageU8:
        """Give the smaller picture, (h, w, 3) uint8.

        Raises:
            ImageError: If a picture to be warped is not of its camera's size.
        """
        wanted = self.pipeline
        if camera is None or wanted.virtual_camera is None:
            size = (wanted.width, wanted.height, wanted.resize_shorter_px)
            return resize_for_cut(image, *size, enlarge=False)
        if image.shape[:2] != (camera.height, camera.width):
            raise ImageError(
                f"the picture is {image.shape[1]}x{image.shape[0]}, but its camera "
                f"{camera.width}x{camera.height}; import it with the intrinsics of its size"
            )
        return average_blocks(image, self._factor(camera, wanted.virtual_camera))

    def _factor(self, camera: CameraModel, virtual: VirtualCamera) -> int:
        # For the longest focal length that is drawn.
        return block_factor(camera, virtual, 1.0 + self.focal)
