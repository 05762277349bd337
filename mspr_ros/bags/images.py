"""Turn the image messages of bags into RGB pixels, without ROS."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from mspr_ros.data.images import decode_image
from mspr_ros.errors import ImageError

ImageU8 = npt.NDArray[np.uint8]


class Encoding(NamedTuple):
    """How pixels lie in an Image message.

    Args:
        bits: 8 or 16 bits a value.
        channels: Values a pixel.
        to_rgb: OpenCV's conversion to RGB; None where they are RGB already.
        row_share: Rows in the data for a row of the image (3/2 for planar YUV).
    """

    bits: int
    channels: int
    to_rgb: int | None
    row_share: float = 1.0


# sensor_msgs names a Bayer pattern by its first two rows, OpenCV by the second row's middle.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
ENCODINGS: dict[str, Encoding] = {
    "rgb8": Encoding(8, 3, None),
    "bgr8": Encoding(8, 3, cv2.COLOR_BGR2RGB),
    "8UC3": Encoding(8, 3, cv2.COLOR_BGR2RGB),  # OpenCV's own order, as cv_bridge takes it
    "rgba8": Encoding(8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": Encoding(8, 4, cv2.COLOR_BGRA2RGB),
    "8UC4": Encoding(8, 4, cv2.COLOR_BGRA2RGB),
    "mono8": Encoding(8, 1, cv2.COLOR_GRAY2RGB),
    "8UC1": Encoding(8, 1, cv2.COLOR_GRAY2RGB),
    "rgb16": Encoding(16, 3, None),
    "bgr16": Encoding(16, 3, cv2.COLOR_BGR2RGB),
    "rgba16": Encoding(16, 4, cv2.COLOR_RGBA2RGB),
    "bgra16": Encoding(16, 4, cv2.COLOR_BGRA2RGB),
    "mono16": Encoding(16, 1, cv2.COLOR_GRAY2RGB),
    "yuv422": Encoding(8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": Encoding(8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": Encoding(8, 2, cv2.COLOR_YUV2RGB_YUYV),
    "yuyv": Encoding(8, 2, cv2.COLOR_YUV2RGB_YUYV),
    "nv12": Encoding(8, 1, cv2.COLOR_YUV2RGB_NV12, 1.5),
    "nv21": Encoding(8, 1, cv2.COLOR_YUV2RGB_NV21, 1.5),
    **{
        f"bayer_{pattern}{bits}": Encoding(bits, 1, code)
        for pattern, code in _BAYER.items()
        for bits in (8, 16)
    },
}


def is_compressed(message: Any) -> bool:
    """Tell a CompressedImage from an Image."""
    return hasattr(message, "format")


def rgb_from_message(message: Any) -> ImageU8:
    """Give the pixels of an Image or CompressedImage as (height, width, 3) RGB uint8.

    Args:
        message: An object with the fields of `sensor_msgs/Image` or `CompressedImage`.

    Raises:
        ImageError: If the image is empty, damaged, a depth image, or its size, step and data
            disagree.
    """
    if is_compressed(message):
        return _decoded(message)
    height, width, step = int(message.height), int(message.width), int(message.step)
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise ImageError(
            f"encoding '{message.encoding}' is not a colour or grey image; known are: "
            + ", ".join(ENCODINGS)
        )
    data = np.frombuffer(memoryview(message.data).cast("B"), dtype=np.uint8)
    rows = round(height * encoding.row_share)
    row_bytes = width * encoding.channels * encoding.bits // 8
    needed = step * (rows - 1) + row_bytes  # the padding of the last row may be missing
    if min(height, width) == 0 or step < row_bytes or len(data) < needed:
        raise ImageError(
            f"a {width}x{height} {message.encoding} image needs a step of at least {row_bytes} "
            f"and {needed} bytes, got step {step} and {len(data)} bytes"
        )
    lines = np.lib.stride_tricks.as_strided(data, (rows, row_bytes), (step, 1))
    values: npt.NDArray[Any] = np.ascontiguousarray(lines)
    if encoding.bits == 16:
        values = values.view(">u2" if message.is_bigendian else "<u2").astype(np.uint16)
    shape = (rows, width) if encoding.channels == 1 else (rows, width, encoding.channels)
    pixels = values.reshape(shape)
    if encoding.to_rgb is not None:
        try:
            pixels = np.asarray(cv2.cvtColor(pixels, encoding.to_rgb))
        except cv2.error as error:
            raise ImageError(
                f"a {width}x{height} {message.encoding} image cannot be turned into RGB: "
                f"{error.err}"
            ) from None
    if encoding.bits == 16:
        pixels = (pixels // 257).astype(np.uint8)
    return np.ascontiguousarray(pixels, dtype=np.uint8)


def file_suffix(message: Any) -> str:
    """Give `.jpg` or `.png` for a CompressedImage whose bytes are such a file, else nothing."""
    start = bytes(memoryview(message.data).cast("B")[:8])
    if start.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    return ".png" if start == b"\x89PNG\r\n\x1a\n" else ""


def _decoded(message: Any) -> ImageU8:
    if "compressedDepth" in message.format:
        raise ImageError(f"'{message.format}' is a depth image, expected colour or grey")
    data = np.frombuffer(memoryview(message.data).cast("B"), dtype=np.uint8)
    return decode_image(data, f"compressed image of format '{message.format}'")
