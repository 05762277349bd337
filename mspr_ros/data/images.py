"""Read image files, and their size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mspr_ros.errors import ImageError


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image file of any format that OpenCV knows.

    An orientation noted in the file's EXIF data is not applied: the camera's intrinsics belong to
    the pixels as the sensor gave them.

    Returns:
        (height, width, 3) uint8, RGB.

    Raises:
        ImageError: If the file cannot be read or decoded.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ImageError(f"cannot read image {path}: {error.strerror}") from None
    return decode_image(data, str(path))


def decode_image(data: npt.NDArray[np.uint8], source: str) -> npt.NDArray[np.uint8]:
    """Decode the bytes of an image file to (height, width, 3) uint8 RGB.

    Raises:
        ImageError: If the bytes are no image, naming `source`.
    """
    image = None
    if data.size:
        try:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error:  # a damaged header can also announce an absurd size
            image = None
    if image is None:
        raise ImageError(f"{source} is not an image that can be decoded ({data.size} bytes)")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def image_size(path: Path) -> tuple[int, int]:
    """Give (width, height) in pixels of an image file.

    Raises:
        ImageError: If the file cannot be read or decoded.
    """
    height, width = read_image(path).shape[:2]
    return width, height
