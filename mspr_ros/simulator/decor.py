"""Flat things on walls and floors, painted into the surface's own picture: no extra faces.

Positions are metres from the picture's upper left corner.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from mspr_ros.simulator.materials import (
    Colour,
    Floats,
    finish,
    flat,
    metal,
    noise,
    scaled,
    wood,
)
from mspr_ros.simulator.photographs import photograph
from mspr_ros.simulator.shapes import Image, Painter

POSTERS = (
    "astronaut",
    "cat",
    "coffee",
    "galaxies",
    "tissue",
    "retina",
    "rocket",
    "temple",
    "flower",
    "coins",
    "photographer",
)
WRITING = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX)


def paste(canvas: Image, density: float, x: float, y: float, patch: Image) -> None:
    """Lay a patch onto a picture in place, cut off where it leaves it; the wall darkens around.

    Args:
        canvas: (h, w, 3) picture to paint on.
        density: Texels per metre of both.
        x: The patch's left edge, metres.
        y: The patch's upper edge, metres.
        patch: What to lay on.
    """
    left, top = round(x * density), round(y * density)
    halo = round(0.03 * density)
    shadow = canvas[
        max(0, top) : max(0, top + patch.shape[0] + halo),
        max(0, left) : max(0, left + patch.shape[1] + halo),
    ]
    shadow[:] = (shadow * 0.75).astype(np.uint8)
    window = canvas[max(0, top) : top + patch.shape[0], max(0, left) : left + patch.shape[1]]
    rows, columns = window.shape[:2]
    window[:] = patch[max(0, -top) :, max(0, -left) :][:rows, :columns]


def fitted_photograph(name: str, width: float, height: float, density: float) -> Image:
    """Cut a photograph about its centre to a format, metres."""
    source = photograph(name)
    rows, columns = source.shape[:2]
    scale = min(columns / width, rows / height)
    cut_x, cut_y = int(width * scale), int(height * scale)
    left, top = (columns - cut_x) // 2, (rows - cut_y) // 2
    size = (max(4, round(width * density)), max(4, round(height * density)))
    cut = np.ascontiguousarray(source[top : top + cut_y, left : left + cut_x])
    way = cv2.INTER_AREA if size[0] < cut_x else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(cut, size, interpolation=way), dtype=np.uint8)


def framed(picture: Image, density: float, colour: Colour, border: float = 0.04) -> Image:
    """Put a frame around a picture."""
    edge = max(2, round(border * density))
    return np.asarray(
        cv2.copyMakeBorder(picture, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=colour),
        dtype=np.uint8,
    )


def abstract_painting(
    rng: np.random.Generator, width: float, height: float, density: float
) -> Image:
    """Paint bold shapes in a few colours."""
    colours = rng.uniform(20.0, 245.0, size=(6, 3))
    canvas = flat(width, height, density, tuple(colours[0]))
    rows, columns = canvas.shape[:2]
    for number in range(9):
        colour = tuple(float(c) for c in colours[rng.integers(1, 6)])
        a = (int(rng.integers(columns)), int(rng.integers(rows)))
        b = (int(rng.integers(columns)), int(rng.integers(rows)))
        if number % 3 == 0:
            cv2.circle(canvas, a, int(rng.uniform(0.1, 0.35) * rows), colour, -1, cv2.LINE_AA)
        elif number % 3 == 1:
            cv2.rectangle(canvas, a, b, colour, -1)
        else:
            cv2.line(canvas, a, b, colour, max(2, round(0.05 * rows)), cv2.LINE_AA)
    return finish(canvas)


def window(
    rng: np.random.Generator,
    width: float,
    height: float,
    density: float,
    curtain: Colour | None = None,
) -> Image:
    """Paint a window: a landscape under a sky behind panes and a sill, perhaps with curtains."""
    canvas = flat(width, height, density, (205.0, 225.0, 245.0))
    rows, columns = canvas.shape[:2]
    canvas += np.linspace(-25.0, 10.0, rows, dtype=np.float32)[:, None, None]
    canvas += 9.0 * np.maximum(0.0, noise(rng, canvas.shape, (0.3 * rows, 0.5 * columns)))
    for distance, shade in enumerate(((150, 175, 165), (110, 150, 100), (85, 120, 70))):
        line = rows * (0.5 + 0.15 * distance) + 0.07 * rows * np.asarray(
            noise(rng, (1, columns), (1.0, 0.3 * columns), 2)
        ).reshape(-1)
        below = np.arange(rows)[:, None] > line
        canvas[below] = np.array(shade) * rng.uniform(0.75, 1.2, size=3)
        for _ in range(3):
            column = int(rng.integers(columns))
            spot = (column, int(line[column] - 0.02 * rows))
            tree = scaled((60, 105, 55), float(rng.uniform(0.6, 1.4)))
            cv2.circle(canvas, spot, int(rng.uniform(0.04, 0.1) * rows), tree, -1, cv2.LINE_AA)
    frame: Colour = (242.0, 240.0, 236.0)
    bar = max(2, round(0.045 * density))
    for column in np.linspace(0, columns - bar, 3 if width > 1.0 else 2).astype(int):
        canvas[:, column : column + bar] = frame
    for row in (0, round(0.3 * rows), rows - bar):
        canvas[row : row + bar] = frame
    canvas[-round(0.02 * density) :] = (190.0, 186.0, 180.0)
    if curtain is not None:
        wide = round(0.16 * columns)
        folds = 1.0 + 0.16 * np.sin(np.arange(wide) * 2.0 * np.pi / (0.07 * density))
        cloth = (np.asarray(curtain) * folds[:, None])[None]
        canvas[:, :wide] = cloth
        canvas[:, -wide:] = cloth
    return finish(canvas)


def door(
    rng: np.random.Generator, width: float, height: float, density: float, colour: Colour
) -> Image:
    """Paint a door with its frame, panels and handle."""
    canvas = wood(rng, width, height, density, colour, upright=True)
    rows, columns = canvas.shape[:2]
    light, dark = scaled(colour, 1.2), scaled(colour, 0.6)
    for top, bottom in ((0.1, 0.42), (0.5, 0.92)):
        for left, right in ((0.16, 0.46), (0.54, 0.84)):
            a = (round(left * columns), round(top * rows))
            b = (round(right * columns), round(bottom * rows))
            cv2.rectangle(canvas, a, b, dark, 2)
            cv2.rectangle(canvas, (a[0] + 2, a[1] + 2), (b[0] + 2, b[1] + 2), light, 1)
    cv2.circle(canvas, (round(0.91 * columns), round(0.52 * rows)), 6, (225, 205, 130), -1)
    return framed(canvas, density, (235.0, 232.0, 225.0), 0.06)


def book_rows(
    rng: np.random.Generator,
    width: float,
    height: float,
    density: float,
    board: Colour,
    pitch: float = 0.34,
) -> Image:
    """Paint the front of a bookcase: boards, and books of many colours before a dark back."""
    canvas = flat(width, height, density, board)
    rows, columns = canvas.shape[:2]
    edge, number = round(0.03 * density), max(1, round(height / pitch))
    for shelf in range(number):
        top = round(shelf * rows / number) + edge
        bottom = round((shelf + 1) * rows / number) - edge // 2
        canvas[top:bottom, edge : columns - edge] = (38.0, 32.0, 28.0)
        x = edge
        while x < columns - edge:
            if rng.random() < 0.08:
                x += round(rng.uniform(0.05, 0.18) * density)
                continue
            thick = round(rng.uniform(0.018, 0.06) * density)
            end = min(x + thick, columns - edge)
            high = bottom - round(rng.uniform(0.6, 0.93) * (bottom - top))
            colour = rng.uniform(30.0, 235.0, size=3) * rng.uniform(0.5, 1.0)
            canvas[high:bottom, x:end] = colour
            canvas[high:bottom, end - 1 : end] *= 0.5
            stripe = high + round(0.2 * (bottom - high))
            canvas[stripe : stripe + 3, x : end - 1] = np.minimum(255.0, colour + 80.0)
            x = end
    return finish(canvas)


def drawers(
    rng: np.random.Generator,
    width: float,
    height: float,
    density: float,
    colour: Colour,
    rows: int,
    columns: int = 1,
) -> Image:
    """Paint fronts of drawers or cupboard doors with handles."""
    canvas = metal(rng, width, height, density, colour)
    high, wide = canvas.shape[0] / rows, canvas.shape[1] / columns
    for row in range(rows):
        for column in range(columns):
            a = (round(column * wide) + 2, round(row * high) + 2)
            b = (round((column + 1) * wide) - 2, round((row + 1) * high) - 2)
            cv2.rectangle(canvas, a, b, scaled(colour, 0.6), 2)
            centre = ((a[0] + b[0]) // 2, a[1] + max(6, round(0.14 * high)))
            half = round(0.12 * wide)
            cv2.line(
                canvas,
                (centre[0] - half, centre[1]),
                (centre[0] + half, centre[1]),
                (60, 60, 62),
                3,
            )
    return canvas


def whiteboard(rng: np.random.Generator, width: float, height: float, density: float) -> Image:
    """Paint a whiteboard with a diagram and lines of writing."""
    canvas = flat(width, height, density, (246.0, 248.0, 250.0))
    rows, columns = canvas.shape[:2]
    inks = ((200, 40, 40), (30, 80, 190), (20, 130, 60), (30, 30, 30))
    for line in range(5):
        y = round((0.15 + 0.15 * line) * rows)
        x = np.arange(round(0.06 * columns), round(rng.uniform(0.3, 0.5) * columns), 3)
        wave = y + 0.025 * rows * rng.standard_normal(len(x))
        points = np.column_stack([x, wave]).astype(np.int32)
        cv2.polylines(canvas, [points], False, inks[line % 4], 2, cv2.LINE_AA)
    spots = rng.uniform((0.6, 0.15), (0.92, 0.85), size=(5, 2)) * (columns, rows)
    for number, (x, y) in enumerate(spots.astype(int)):
        following = spots[(number + 1) % 5].astype(int)
        cv2.line(canvas, (x, y), tuple(int(v) for v in following), inks[3], 2, cv2.LINE_AA)
        cv2.circle(canvas, (x, y), round(0.06 * rows), inks[number % 3], -1, cv2.LINE_AA)
    return framed(finish(canvas), density, (150.0, 152.0, 156.0), 0.025)


def clock(rng: np.random.Generator, diameter: float, density: float, wall: Image) -> Image:
    """Paint a round clock; `wall` fills the corners of its square."""
    side = round(diameter * density)
    canvas = np.asarray(cv2.resize(wall, (side, side)), dtype=np.uint8)
    centre = (side // 2, side // 2)
    cv2.circle(canvas, centre, side // 2 - 1, (30, 30, 34), -1, cv2.LINE_AA)
    cv2.circle(canvas, centre, round(0.43 * side), (250, 250, 244), -1, cv2.LINE_AA)
    for angle, length, thick in (
        (rng.uniform(0, 6.28), 0.24, 4),
        (rng.uniform(0, 6.28), 0.36, 2),
    ):
        tip = (
            round(centre[0] + length * side * np.cos(angle)),
            round(centre[1] + length * side * np.sin(angle)),
        )
        cv2.line(canvas, centre, tip, (20, 20, 20), thick, cv2.LINE_AA)
    return canvas


def sign(
    rng: np.random.Generator,
    width: float,
    height: float,
    density: float,
    text: str,
    colours: tuple[Colour, Colour],
) -> Image:
    """Paint a name in large letters."""
    canvas = finish(flat(width, height, density, colours[0]))
    rows, columns = canvas.shape[:2]
    font = int(WRITING[rng.integers(len(WRITING))])
    (wide, high), _ = cv2.getTextSize(text, font, 1.0, 2)
    scale = min(0.86 * columns / wide, 0.6 * rows / high)
    thick = max(1, round(2.2 * scale))
    (wide, high), _ = cv2.getTextSize(text, font, scale, thick)
    corner = ((columns - wide) // 2, (rows + high) // 2)
    cv2.putText(canvas, text, corner, font, scale, colours[1], thick, cv2.LINE_AA)
    return canvas


def shade_corners(canvas: Image, density: float, strength: float = 0.3) -> Image:
    """Darken a surface towards its borders, where light reaches less."""
    rows, columns = canvas.shape[:2]
    y, x = np.arange(rows) / density, np.arange(columns) / density
    near_y = np.exp(-np.minimum(y, y[::-1]) / 0.25)
    near_x = np.exp(-np.minimum(x, x[::-1]) / 0.25)
    light = (1.0 - strength * near_y)[:, None] * (1.0 - strength * near_x)[None, :]
    return finish(canvas * light[:, :, None].astype(np.float32))


def shade_under(
    canvas: Image, density: float, footprints: Sequence[npt.NDArray[np.float64]]
) -> Image:
    """Darken a floor's picture under and around things; footprints in metres on the picture."""
    dark: Floats = np.zeros(canvas.shape[:2], dtype=np.float32)
    for footprint in footprints:
        cv2.fillConvexPoly(dark, np.round(footprint * density).astype(np.int32), 1.0)
    blurred = np.asarray(cv2.GaussianBlur(dark, (0, 0), 0.1 * density))
    return finish(canvas * (1.0 - 0.55 * blurred[:, :, None]))


def poster(
    rng: np.random.Generator, width: float, height: float, density: float, name: str
) -> Image:
    """Frame a photograph, or a painting when the name is `painting`."""
    if name == "painting":
        picture = abstract_painting(rng, width, height, density)
    else:
        picture = fitted_photograph(name, width, height, density)
    frames: tuple[Colour, ...] = ((30, 28, 26), (240, 238, 232), (120, 80, 45), (180, 150, 70))
    return framed(picture, density, frames[rng.integers(len(frames))])


def glowing(picture: Image) -> Painter:
    """Give a painter that shows one picture whatever the size of the surface."""
    return lambda width, height: picture
