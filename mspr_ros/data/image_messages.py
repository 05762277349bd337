"""Turn image messages into RGB pixels, wherever they come from: a live topic, or a bag."""

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
# Fewer rows or columns hold no whole pattern, and OpenCV answers black without a word.
SMALLEST_BAYER = 3


def is_compressed(message: Any) -> bool:
    """Tell a CompressedImage from an Image."""
    return hasattr(message, "format")


def is_empty(message: Any) -> bool:
    """Say whether an Image holds nothing."""
    return bool(min(message.height, message.width, len(message.data)) == 0)


def rgb_from_message(message: Any) -> ImageU8:
    """Give the pixels of an Image or CompressedImage as (height, width, 3) RGB uint8.

    rgb8 is a view of the message's own bytes, whatever its step; others are converted once.

    Args:
        message: An object with the fields of `sensor_msgs/Image` or `CompressedImage`.

    Raises:
        ImageError: If the image is empty, damaged, a depth image, of an encoding that is not in
            `ENCODINGS`, or its size, step and data disagree.
    """
    if is_compressed(message):
        return _decoded(message)
    if is_empty(message):
        size = f"{message.width}x{message.height}"
        raise ImageError(f"empty image ({size}, {len(message.data)} bytes)")
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise ImageError(
            f"encoding '{message.encoding}' is not a colour or grey image; known are: "
            + ", ".join(ENCODINGS)
        )
    pixels = _stored_values(message, encoding)
    if encoding.to_rgb is not None:
        try:
            pixels = np.asarray(cv2.cvtColor(pixels, encoding.to_rgb))
        except cv2.error as error:
            raise ImageError(
                f"a {message.width}x{message.height} {message.encoding} image cannot be turned "
                f"into RGB: {error.err or error}"
            ) from None
    if encoding.bits == 16:
        pixels = (pixels // 257).astype(np.uint8)
    return np.asarray(pixels, dtype=np.uint8)


def _stored_values(message: Any, encoding: Encoding) -> npt.NDArray[Any]:
    """Give the values as they are stored, (rows, width) or (rows, width, channels).

    8 bits a value are a view of the message, 16 bits are in the machine's byte order.
    """
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = memoryview(message.data).cast("B")
    if message.encoding.startswith("bayer") and min(height, width) < SMALLEST_BAYER:
        raise ImageError(f"a {width}x{height} {message.encoding} image is too small for colours")
    value_bytes = encoding.bits // 8
    pixel_bytes = encoding.channels * value_bytes
    rows = round(height * encoding.row_share)
    needed = step * (rows - 1) + width * pixel_bytes  # the last row's padding may be missing
    if step < width * pixel_bytes or len(data) < needed:
        raise ImageError(
            f"a {width}x{height} {message.encoding} image needs a step of at least "
            f"{width * pixel_bytes} and {needed} bytes, got step {step} and {len(data)} bytes"
        )
    stored = np.dtype(f"{'>' if message.is_bigendian else '<'}u{value_bytes}")
    shape: tuple[int, ...] = (rows, width, encoding.channels)
    strides: tuple[int, ...] = (step, pixel_bytes, value_bytes)
    if encoding.channels == 1:
        shape, strides = shape[:2], strides[:2]
    values: npt.NDArray[Any] = np.ndarray(shape, stored, data, strides=strides)
    return values if value_bytes == 1 else values.astype(np.uint16)


def _decoded(message: Any) -> ImageU8:
    if "compressedDepth" in message.format:
        raise ImageError(f"'{message.format}' is a depth image, expected colour or grey")
    data = np.frombuffer(memoryview(message.data).cast("B"), dtype=np.uint8)
    if data.size == 0:
        raise ImageError("empty compressed image")
    return decode_image(data, f"compressed image of format '{message.format}'")
