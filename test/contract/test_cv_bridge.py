"""What mspr_ros relies on in cv_bridge: holds for the real package and the stand-in in bare/."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: the system's or the wheels of `make setup`")

import cv2
from cv_bridge import CvBridge, CvBridgeError
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header


@pytest.fixture
def bridge():
    return CvBridge()


@pytest.fixture
def rgb():
    """A picture whose channels, rows and columns all differ."""
    rows, columns = np.mgrid[0:4, 0:6]
    return np.stack([rows * 40, columns * 30, 255 - rows * 20], axis=-1).astype(np.uint8)


def message_of(array, encoding, *, padding=0, bigendian=False):
    """Write an image message by hand, as a driver would."""
    stored = array.astype(array.dtype.newbyteorder(">" if bigendian else "<"))
    rows = stored.reshape(len(array), -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(height=array.shape[0], width=array.shape[1], encoding=encoding)
    message.is_bigendian = int(bigendian)
    message.step = padded.shape[1]
    message.data.frombytes(padded.tobytes())
    return message


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "stored"),
    [
        ("rgb8", lambda rgb: rgb),
        ("bgr8", lambda rgb: rgb[..., ::-1]),
        ("rgba8", lambda rgb: np.dstack([rgb, np.full(rgb.shape[:2], 9, np.uint8)])),
        ("bgra8", lambda rgb: np.dstack([rgb[..., ::-1], np.full(rgb.shape[:2], 9, np.uint8)])),
    ],
)
def test_every_colour_order_becomes_rgb(bridge, rgb, encoding, stored, padding):
    message = message_of(np.ascontiguousarray(stored(rgb)), encoding, padding=padding)
    found = bridge.imgmsg_to_cv2(message, "rgb8")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, rgb)


def test_grey_becomes_rgb_with_three_equal_channels(bridge, rgb):
    grey = np.ascontiguousarray(rgb[..., 1])
    found = bridge.imgmsg_to_cv2(message_of(grey, "mono8"), "rgb8")
    np.testing.assert_array_equal(found, np.dstack([grey] * 3))


def test_rgb_becomes_grey_as_opencv_weighs_it(bridge, rgb):
    found = bridge.imgmsg_to_cv2(message_of(rgb, "rgb8"), "mono8")
    np.testing.assert_array_equal(found, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))


def test_passthrough_changes_nothing(bridge, rgb):
    found = bridge.imgmsg_to_cv2(message_of(rgb, "bgr8", padding=2))
    np.testing.assert_array_equal(found, rgb)
    grey = bridge.imgmsg_to_cv2(message_of(np.ascontiguousarray(rgb[..., 0]), "mono8"))
    assert grey.shape == (4, 6)


def test_sixteen_bits_in_the_machines_byte_order(bridge):
    depth = np.arange(24, dtype=np.uint16).reshape(4, 6) * 1000
    found = bridge.imgmsg_to_cv2(message_of(depth, "16UC1"))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, depth)


def test_sixteen_bits_become_eight_by_scaling(bridge):
    grey = np.array([[0, 257, 65535]], dtype=np.uint16)
    found = bridge.imgmsg_to_cv2(message_of(grey, "mono16"), "mono8")
    np.testing.assert_array_equal(found, [[0, 1, 255]])


@pytest.mark.parametrize(("encoding", "desired"), [("nonsense", "rgb8"), ("rgb8", "nonsense")])
def test_an_unknown_encoding_is_refused(bridge, rgb, encoding, desired):
    with pytest.raises(CvBridgeError):
        bridge.imgmsg_to_cv2(message_of(rgb, encoding), desired)


def test_an_image_with_too_little_data_is_refused(bridge, rgb):
    message = message_of(rgb, "rgb8")
    del message.data[-1]
    with pytest.raises(TypeError):
        bridge.imgmsg_to_cv2(message, "rgb8")


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "passthrough"])
def test_an_array_goes_into_a_message_and_comes_back(bridge, rgb, encoding):
    header = Header(frame_id="camera_optical")
    message = bridge.cv2_to_imgmsg(rgb, encoding, header)
    assert message.encoding == ("8UC3" if encoding == "passthrough" else encoding)
    assert (message.height, message.width, message.step) == (4, 6, 18)
    assert message.header.frame_id == "camera_optical"
    assert bytes(message.data) == rgb.tobytes()
    np.testing.assert_array_equal(bridge.imgmsg_to_cv2(message), rgb)


def test_an_array_that_is_not_what_the_encoding_says_is_refused(bridge, rgb):
    with pytest.raises(CvBridgeError):
        bridge.cv2_to_imgmsg(rgb, "mono8")
    with pytest.raises(CvBridgeError):
        bridge.cv2_to_imgmsg(rgb, "rgba8")
    with pytest.raises(TypeError):
        bridge.cv2_to_imgmsg(rgb.tolist(), "rgb8")


def test_png_keeps_every_pixel(bridge, rgb):
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    message = bridge.cv2_to_compressed_imgmsg(bgr, "png")
    assert message.format == "png"
    np.testing.assert_array_equal(bridge.compressed_imgmsg_to_cv2(message), bgr)
    np.testing.assert_array_equal(bridge.compressed_imgmsg_to_cv2(message, "rgb8"), rgb)


def test_jpeg_comes_close(bridge):
    flat = np.full((16, 16, 3), (30, 120, 200), np.uint8)
    message = bridge.cv2_to_compressed_imgmsg(flat)
    assert message.format == "jpg"
    found = bridge.compressed_imgmsg_to_cv2(message, "bgr8").astype(int)
    assert np.abs(found - flat).max() <= 5


def test_compressed_garbage_is_refused_or_none(bridge):
    message = CompressedImage(format="jpeg")
    message.data.frombytes(b"this is no picture")
    try:
        found = bridge.compressed_imgmsg_to_cv2(message, "passthrough")
    except (TypeError, cv2.error):
        return
    assert found is None
