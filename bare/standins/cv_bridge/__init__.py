"""Stand in for ROS 2's cv_bridge where ROS 2 comes from Python wheels, which lack it.

Same names and behaviour for the calls that are here (test/contract runs against both); colours are
converted by the rosbags-image library, the rest is NumPy.
"""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rosbags.image import ImageError
from rosbags.image.image import DEPTHMAP, convert_color, to_cvtype
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

IS_STAND_IN = True  # the real package has no such name

_DEPTH_OF_DTYPE = {dtype: depth for depth, dtype in DEPTHMAP.items()}


class CvBridgeError(TypeError):
    """An image could not be converted."""


class CvBridge:
    """Convert between image messages and OpenCV images (NumPy arrays, channels last)."""

    def imgmsg_to_cv2(
        self, img_msg: Image, desired_encoding: str = "passthrough"
    ) -> npt.NDArray[Any]:
        """Turn an Image into an array.

        Args:
            img_msg: The message; its rows may be padded (`step`) and of either byte order.
            desired_encoding: What to convert to, such as "rgb8"; "passthrough" leaves it.

        Returns:
            (height, width) or (height, width, channels), a copy that may be written to.

        Raises:
            CvBridgeError: The encoding is unknown, or cannot be converted.
            TypeError: The message holds fewer bytes than its size needs.
        """
        dtype, channels = self.encoding_to_dtype_with_channels(img_msg.encoding)
        stored = np.dtype(dtype).newbyteorder(">" if img_msg.is_bigendian else "<")
        pixel = channels * stored.itemsize
        row_bytes = img_msg.width * pixel
        if img_msg.step < row_bytes or len(img_msg.data) < img_msg.height * img_msg.step:
            raise TypeError(
                f"an image of {img_msg.width}x{img_msg.height} pixels in {img_msg.encoding} needs "
                f"rows of {row_bytes} bytes; it has a step of {img_msg.step} and "
                f"{len(img_msg.data)} bytes of data"
            )
        rows = np.ndarray(
            (img_msg.height, row_bytes),
            dtype=np.uint8,
            buffer=img_msg.data,
            strides=(img_msg.step, 1),
        )
        shape = (img_msg.height, img_msg.width, *((channels,) if channels > 1 else ()))
        image = np.ascontiguousarray(rows).view(stored).reshape(shape).astype(dtype)
        return _converted(image, img_msg.encoding, desired_encoding)

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough"
    ) -> npt.NDArray[Any]:
        """Turn a CompressedImage into an array.

        Args:
            cmprs_img_msg: The message, of any format OpenCV reads.
            desired_encoding: What to convert to; "passthrough" gives BGR, BGRA or grey as stored.

        Returns:
            (height, width) or (height, width, channels); None, as OpenCV does, for data that
            are no image and "passthrough".

        Raises:
            CvBridgeError: The data are no image, or cannot be converted.
        """
        buffer = np.frombuffer(cmprs_img_msg.data, dtype=np.uint8)
        try:
            image: Any = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
        except cv2.error as error:  # an empty buffer
            raise CvBridgeError(str(error)) from error
        if desired_encoding == "passthrough":
            return image  # type: ignore[no-any-return]
        if image is None:
            raise CvBridgeError(f"{len(buffer)} bytes are not a compressed image")
        encoding = {2: "mono8", 3: "bgr8"}[image.ndim]
        if image.ndim == 3 and image.shape[2] == 4:
            encoding = "bgra8"
        return _converted(image, encoding, desired_encoding)

    def cv2_to_imgmsg(
        self, cvim: npt.NDArray[Any], encoding: str = "passthrough", header: Header | None = None
    ) -> Image:
        """Turn an array into an Image.

        Args:
            cvim: (height, width) or (height, width, channels).
            encoding: What the array holds; "passthrough" names its type, such as "8UC3".
            header: Goes into the message.

        Raises:
            CvBridgeError: The array cannot be what the encoding says.
        """
        _check_array(cvim)
        channels = 1 if cvim.ndim < 3 else cvim.shape[2]
        cv_type = f"{_DEPTH_OF_DTYPE[cvim.dtype.name]}C{channels}"
        if encoding != "passthrough":
            expected = self.encoding_to_dtype_with_channels(encoding)
            if expected != (cvim.dtype.name, channels):
                raise CvBridgeError(
                    f"encoding specified as {encoding}, but image has incompatible type {cv_type}"
                )
        message = Image(
            height=cvim.shape[0],
            width=cvim.shape[1],
            encoding=cv_type if encoding == "passthrough" else encoding,
            is_bigendian=cvim.dtype.byteorder == ">"
            or (sys.byteorder == "big" and cvim.dtype.byteorder == "="),
        )
        if header is not None:
            message.header = header
        message.data.frombytes(cvim.tobytes())
        message.step = len(message.data) // message.height
        return message

    def cv2_to_compressed_imgmsg(
        self, cvim: npt.NDArray[Any], dst_format: str = "jpg"
    ) -> CompressedImage:
        """Turn an array (grey, BGR or BGRA) into a CompressedImage.

        Args:
            cvim: (height, width) or (height, width, channels), uint8.
            dst_format: A file ending OpenCV writes, such as "jpg" or "png".

        Raises:
            CvBridgeError: OpenCV cannot write this array in this format.
        """
        _check_array(cvim)
        try:
            _, encoded = cv2.imencode("." + dst_format, cvim)
        except cv2.error as error:
            raise CvBridgeError(str(error)) from error
        message = CompressedImage(format=dst_format)
        message.data.frombytes(encoded.tobytes())
        return message

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """Give the NumPy type and the number of channels of an encoding such as "bgr8"."""
        try:
            _, _, dtype, channels = to_cvtype(encoding)
        except ImageError as error:
            raise CvBridgeError(f"Unrecognized image encoding [{encoding}]") from error
        return dtype, channels


def _converted(image: npt.NDArray[Any], encoding: str, desired: str) -> npt.NDArray[Any]:
    """Convert colours and depth; "passthrough" and the same encoding change nothing."""
    if desired == "passthrough":
        return image
    try:
        return np.asarray(convert_color(image, encoding, desired))
    except (ImageError, cv2.error) as error:
        raise CvBridgeError(f"[{encoding}] cannot be converted to [{desired}]: {error}") from error


def _check_array(cvim: object) -> None:
    if not isinstance(cvim, np.ndarray):
        raise TypeError("Your input type is not a numpy array")
