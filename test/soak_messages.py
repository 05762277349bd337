"""Random and malformed images and intrinsics, as broken drivers and cables make them."""

from __future__ import annotations

import struct
import zlib
from array import array
from typing import Any

import cv2
import numpy as np
from ros_support import header, image_message, info_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

LARGEST = 2**32 - 1
ENCODINGS = (
    *("rgb8", "bgr8", "rgba8", "bgra8", "mono8", "8UC1", "8UC3", "mono16", "16UC1", "rgb16"),
    *("bgra16", "bayer_rggb8", "bayer_gbrg16", "yuv422", "yuv422_yuy2", "uyvy", "nv12", "32FC1"),
    *("64FC3", "", "RGB8", "rgb8\n", "8UC17", "8UC0", "nonsense", "\u00e9" * 300),
)
FORMATS = ("jpeg", "png", "rgb8; jpeg compressed bgr8", "16UC1; compressedDepth png", "", "webp")
# Each new frame is waited for its camera_info once; a long name is a name, too.
FRAMES = ("camera_optical", "", "/camera_optical", "other", "x" * 5000)


def bad_image(rng: np.random.Generator, stamp_ns: int) -> Image:
    """Make an Image whose size, step, encoding and data are anything."""
    message = image_message(stamp_ns, seed=int(rng.integers(1000)))
    message.header.frame_id = str(rng.choice(FRAMES))
    message.encoding = str(rng.choice(ENCODINGS))
    kind = int(rng.integers(7))
    if kind == 0:  # huge claims
        message.height, message.width, message.step = (
            int(rng.choice([0, 1, 48, 2**16, 2**31, LARGEST])) for _ in range(3)
        )
    elif kind == 1:  # cut off, or empty
        data = bytes(message.data)
        message.data = array("B", data[: int(rng.choice([0, 1, len(data) // 2, len(data) - 1]))])
    elif kind == 2:  # another step
        message.step = int(rng.integers(0, 1000))
    elif kind == 3:  # another size
        message.height, message.width = (int(rng.integers(0, 200)) for _ in range(2))
    elif kind == 4:  # consistent, and of odd proportions
        message.height, message.width = int(rng.integers(1, 4)), int(rng.integers(1, 3000))
        message.step = 8 * message.width
        message.data = array("B", bytes(message.step * message.height))
    elif kind == 5:
        message.is_bigendian = int(rng.integers(256))
    else:  # all of it
        message.height, message.width, message.step = (int(n) for n in rng.integers(0, 4096, 3))
        message.data = array("B", rng.bytes(int(rng.integers(0, 5000))))
    return message


def _png_that_claims(width: int, height: int) -> bytes:
    """Give a small PNG whose header claims another size, with the right checksum."""
    data = bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1])
    chunk = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def bad_compressed(rng: np.random.Generator, stamp_ns: int) -> CompressedImage:
    """Make a CompressedImage whose bytes are cut, flipped, of another kind, or noise."""
    message = CompressedImage(header=header(stamp_ns), format=str(rng.choice(FORMATS)))
    picture = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    suffix = str(rng.choice([".jpg", ".png", ".bmp", ".tiff", ".webp"]))
    data = bytearray(bytes(cv2.imencode(suffix, picture)[1]))
    kind = int(rng.integers(5))
    if kind == 0:
        data = data[: int(rng.integers(0, len(data)))]
    elif kind == 1:
        for index in rng.integers(0, len(data), 20):
            data[index] = int(rng.integers(256))
    elif kind == 2:
        data = bytearray(rng.bytes(int(rng.integers(0, 5000))))
    elif kind == 3:
        width, height = (int(n) for n in rng.choice([0, 1, 70_000, 2**31 - 1], 2))
        data = bytearray(_png_that_claims(width, height))
    else:
        data = bytearray()
    message.data = array("B", bytes(data))
    return message


def bad_info(rng: np.random.Generator) -> CameraInfo:
    """Make a CameraInfo that no camera has."""
    message = info_message()
    odd = (0.0, -1.0, 1e300, float("nan"), float("inf"))
    changes: tuple[dict[str, Any], ...] = (
        {"k": [float(rng.choice(odd)) for _ in range(9)]},
        {"p": [float(rng.choice(odd)) for _ in range(12)]},
        {"d": [float(rng.choice(odd)) for _ in range(int(rng.integers(0, 20)))]},
        {"distortion_model": str(rng.choice(["", "magic", "equidistant", "\u00e9" * 300]))},
        {"width": int(rng.choice([0, 1, LARGEST])), "height": int(rng.choice([0, 1, LARGEST]))},
        {"binning_x": int(rng.choice([0, 7, LARGEST])), "binning_y": LARGEST},
    )
    for name, value in changes[int(rng.integers(len(changes)))].items():
        setattr(message, name, value)
    return message
