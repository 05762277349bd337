"""Every encoding of one picture gives the same picture; what is malformed is refused by name."""

from __future__ import annotations

import array
from typing import Any

import cv2
import numpy as np
import pytest

sensor_msgs = pytest.importorskip("sensor_msgs.msg", reason="needs ROS messages")

from mspr_ros.data.image_messages import ENCODINGS  # noqa: E402
from mspr_ros.errors import ImageError  # noqa: E402
from mspr_ros.ros.conversions import image_from_message  # noqa: E402

WIDTH, HEIGHT = 24, 16


def picture() -> np.ndarray:
    """A smooth picture, whose colours chroma sampling and Bayer patterns keep, of few greys."""
    corners = np.array([[[230, 40, 60], [60, 200, 80]], [[50, 90, 220], [220, 210, 90]]], np.uint8)
    return cv2.resize(corners, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


def grey(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


def mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """Keep of each pixel the colour that a sensor of this pattern has there."""
    values = np.zeros(rgb.shape[:2], np.uint8)
    for index, colour in enumerate(pattern):
        rows, columns = slice(index // 2, None, 2), slice(index % 2, None, 2)
        values[rows, columns] = rgb[rows, columns, "rgb".index(colour)]
    return values


def yuv(rgb: np.ndarray) -> np.ndarray:
    """Give Y, U, V of BT.601's studio range, computed here and not by OpenCV."""
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0)
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return np.stack([y, u, v], axis=-1)


def packed(rgb: np.ndarray, luma_first: bool) -> np.ndarray:
    y, u, v = np.moveaxis(yuv(rgb), -1, 0)
    chroma = np.empty_like(y)
    chroma[:, 0::2] = (u[:, 0::2] + u[:, 1::2]) / 2
    chroma[:, 1::2] = (v[:, 0::2] + v[:, 1::2]) / 2
    pair = (y, chroma) if luma_first else (chroma, y)
    return np.stack(pair, axis=-1).round().astype(np.uint8)


def planar(rgb: np.ndarray, order: str) -> np.ndarray:
    values = yuv(rgb)
    blocks = values.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3))
    chroma = np.stack([blocks[..., "yuv".index(name)] for name in order], axis=-1)
    rows = np.vstack([values[..., 0], chroma.reshape(HEIGHT // 2, WIDTH)])
    return rows.round().astype(np.uint8)


def stored(encoding: str) -> np.ndarray:
    """Write the picture as an encoding stores it, 8 bits a value."""
    rgb = picture()
    alpha = np.full((HEIGHT, WIDTH, 1), 77, np.uint8)
    name = encoding.removesuffix("16").removesuffix("8")
    if name.startswith("bayer_"):
        return mosaic(rgb, name.removeprefix("bayer_"))
    makers: dict[str, Any] = {
        "rgb": lambda: rgb,
        "bgr": lambda: rgb[..., ::-1],
        "8UC3": lambda: rgb[..., ::-1],
        "rgba": lambda: np.dstack([rgb, alpha]),
        "bgra": lambda: np.dstack([rgb[..., ::-1], alpha]),
        "8UC4": lambda: np.dstack([rgb[..., ::-1], alpha]),
        "mono": lambda: grey(rgb),
        "8UC1": lambda: grey(rgb),
        "yuv422": lambda: packed(rgb, luma_first=False),
        "uyvy": lambda: packed(rgb, luma_first=False),
        "yuyv": lambda: packed(rgb, luma_first=True),
        "yuv422_yuy2": lambda: packed(rgb, luma_first=True),
        "nv12": lambda: planar(rgb, "uv"),
        "nv21": lambda: planar(rgb, "vu"),
    }
    return np.ascontiguousarray(makers[name]())


def message(encoding: str, pad: int = 0, big: bool = False) -> Any:
    values = stored(encoding)
    if ENCODINGS[encoding].bits == 16:
        values = (values.astype(np.uint16) * 257 + 3).astype(">u2" if big else "<u2")
    rows = np.ascontiguousarray(values).reshape(values.shape[0], -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, pad)), constant_values=255)
    made = sensor_msgs.Image(
        width=WIDTH, height=HEIGHT, encoding=encoding, step=rows.shape[1], is_bigendian=int(big)
    )
    made.data.frombytes(rows.tobytes())
    return made


def tolerances(encoding: str) -> tuple[float, float]:
    """Give the largest mean and single difference: what the encoding itself loses."""
    if encoding.startswith("bayer"):
        return 5.0, 70.0  # the border is a guess
    if encoding.startswith("nv"):
        return 5.0, 30.0  # a colour for four pixels
    if encoding.startswith(("yuv", "uyvy", "yuyv")):
        return 3.0, 20.0
    return 0.0, 0.0


@pytest.mark.parametrize("pad", [0, 2, 7])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_of_a_picture_gives_the_picture(encoding: str, pad: int) -> None:
    is_grey = encoding in ("mono8", "mono16", "8UC1")
    expected = np.dstack([grey(picture())] * 3) if is_grey else picture()
    for big in (False, True) if ENCODINGS[encoding].bits == 16 else (False,):
        found = image_from_message(message(encoding, pad, big))
        assert found.shape == (HEIGHT, WIDTH, 3) and found.dtype == np.uint8
        difference = np.abs(found.astype(float) - expected)
        mean, largest = tolerances(encoding)
        assert difference.mean() <= mean and difference.max() <= largest


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("is_grey", [False, True])
def test_compressed_pictures_are_the_picture(suffix: str, is_grey: bool) -> None:
    expected = np.dstack([grey(picture())] * 3) if is_grey else picture()
    pixels = grey(picture()) if is_grey else picture()[..., ::-1]
    data = cv2.imencode(suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    found = image_from_message(sensor_msgs.CompressedImage(format=suffix[1:], data=data))
    assert np.abs(found.astype(float) - expected).mean() <= (4.0 if suffix == ".jpg" else 0.0)


@pytest.mark.parametrize("encoding", ["rgb8", "8UC1", "bayer_rggb8", "yuyv", "bgr16"])
def test_no_pixel_is_read_from_the_padding_or_past_the_end(encoding: str) -> None:
    whole = message(encoding, pad=6)
    whole.data = whole.data[:-6]  # the last row's padding may be missing, nothing else
    np.testing.assert_array_equal(image_from_message(whole), image_from_message(message(encoding)))
    whole.data = whole.data[:-1]
    with pytest.raises(ImageError, match=f"{WIDTH}x{HEIGHT} {encoding} image needs a step of"):
        image_from_message(whole)


def test_rgb8_is_a_view_of_the_message_even_when_padded() -> None:
    for pad in (0, 7):
        made = message("rgb8", pad)
        found = image_from_message(made)
        made.data[0] = 255 - made.data[0]
        assert found[0, 0, 0] == made.data[0]


def test_encodings_unknown_here_go_through_cv_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv_bridge

    asked = []

    def convert(self: Any, made: Any, desired: str) -> np.ndarray:
        asked.append((made.encoding, desired))
        return picture()

    monkeypatch.setattr(cv_bridge.CvBridge, "imgmsg_to_cv2", convert)
    made = message("rgb8")
    made.encoding = "some_new_encoding"
    np.testing.assert_array_equal(image_from_message(made), picture())
    assert asked == [("some_new_encoding", "rgb8")]


def changed(start: str, **fields: Any) -> Any:
    made = message(start)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (changed("rgb8", height=0), "empty image"),
        (changed("mono16", data=array.array("B")), "empty image"),
        (changed("rgb8", height=2**31), "needs a step of at least 72 and"),
        (changed("rgb8", width=2**31), "needs a step of at least 6442450944"),
        (changed("rgb16", step=100), "needs a step of at least 144"),
        (changed("yuyv", step=2**32 - 1), "needs a step of"),
        (changed("yuv422", width=23), "23x16 yuv422 image cannot be turned into RGB"),
        (changed("nv12", height=15), "24x15 nv12 image cannot be turned into RGB"),
        (changed("bayer_gbrg8", width=2, height=2), "2x2 bayer_gbrg8 image is too small"),
        (changed("mono16", encoding="32FC1"), "encoding '32FC1'"),
        (changed("mono16", encoding="16UC1"), "encoding '16UC1'"),
        (changed("rgb8", encoding="rgb8 "), "encoding 'rgb8 '"),
        (changed("rgb8", encoding=""), "encoding '' is not a colour or grey image"),
    ],
)
def test_malformed_images_are_refused_by_name(made: Any, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        image_from_message(made)


def test_damaged_compressed_pictures_are_refused_by_name() -> None:
    png = cv2.imencode(".png", picture())[1].tobytes()
    for kind, data, says in (
        ("png", b"", "empty compressed image"),
        ("png", png[:20], "compressed image of format 'png' is not an image that can be decoded"),
        ("jpeg", bytes(range(256)), "format 'jpeg' is not an image that can be decoded"),
        ("16UC1; compressedDepth", png, "is a depth image"),
    ):
        with pytest.raises(ImageError, match=says):
            image_from_message(sensor_msgs.CompressedImage(format=kind, data=data))
