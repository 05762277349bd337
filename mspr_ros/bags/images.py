"""What only bags need to know of image messages; their pixels come from `data.image_messages`."""

from __future__ import annotations

from typing import Any

from mspr_ros.data.image_messages import ENCODINGS, ImageU8, is_compressed, rgb_from_message

__all__ = ["ENCODINGS", "ImageU8", "file_suffix", "is_compressed", "rgb_from_message"]


def file_suffix(message: Any) -> str:
    """Give `.jpg` or `.png` for a CompressedImage whose bytes are such a file, else nothing."""
    start = bytes(memoryview(message.data).cast("B")[:8])
    if start.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    return ".png" if start == b"\x89PNG\r\n\x1a\n" else ""
