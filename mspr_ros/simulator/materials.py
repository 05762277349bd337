"""Procedural surfaces: wood, plaster, tiles, fabric and the like, painted from a seed.

A material is a function of a random generator and of its look; `painter` turns it into what
`Shapes` takes. Colours are RGB, 0 to 255. Patterns are given in metres, so that they keep their
size on every surface.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec

import cv2
import numpy as np
import numpy.typing as npt

from mspr_ros.simulator.photographs import photograph
from mspr_ros.simulator.shapes import Image, Painter

Colour = tuple[float, float, float]
Floats = npt.NDArray[np.float32]
P = ParamSpec("P")
# (rng, width_m, height_m, texels_per_m, ...) -> picture
Material = Callable[Concatenate[np.random.Generator, float, float, float, P], Image]

DENSITY = 220.0


def painter(
    material: Material[P],
    rng: np.random.Generator,
    density: float,
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Painter:
    """Bind a material to a random stream of its own and a resolution in texels per metre."""
    own = np.random.default_rng(rng.integers(2**63))
    return lambda width, height: material(own, width, height, density, *args, **kwargs)


def flat(width: float, height: float, density: float, colour: Colour) -> Floats:
    """Give an even (h, w, 3) float32 canvas."""
    shape = (max(4, round(height * density)), max(4, round(width * density)), 3)
    return np.full(shape, colour, dtype=np.float32)


def scaled(colour: Colour, factor: float) -> Colour:
    """Give a darker or lighter colour."""
    red, green, blue = (min(255.0, factor * value) for value in colour)
    return red, green, blue


def finish(canvas: npt.ArrayLike) -> Image:
    """Round a float canvas to a picture."""
    rounded = np.clip(np.asarray(canvas, dtype=np.float32) + np.float32(0.5), 0.0, 255.0)
    return np.asarray(rounded, dtype=np.uint8)


def noise(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    cells: tuple[float, float],
    octaves: int = 3,
) -> Floats:
    """Give smooth noise (h, w, 1) of about unit spread; `cells` is its grain in texels (y, x)."""
    height, width = shape[:2]
    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(octaves):
        rows = max(2, int(height / cells[0] * 2**octave) + 2)
        columns = max(2, int(width / cells[1] * 2**octave) + 2)
        grid = rng.standard_normal((min(rows, height + 2), min(columns, width + 2)))
        grown = cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        total += np.asarray(grown) * 0.6**octave
    return np.asarray(total[:, :, None])


def plaster(
    rng: np.random.Generator,
    width: float,
    height: float,
    density: float,
    colour: Colour,
    rough: float = 3.0,
) -> Image:
    """Paint an even coat with slow stains."""
    canvas = flat(width, height, density, colour)
    canvas += rough * noise(rng, canvas.shape, (0.7 * density, 0.9 * density))
    canvas += 0.6 * rough * noise(rng, canvas.shape, (4.0, 4.0), 1)
    return finish(canvas)


def stripes(
    rng: np.random.Generator,
    width: float,
    height: float,
    density: float,
    colours: tuple[Colour, Colour],
    pitch: float,
) -> Image:
    """Paint a wallpaper of upright stripes."""
    canvas = flat(width, height, density, colours[0])
    across = (np.arange(canvas.shape[1]) / density) % pitch
    canvas[:, across < 0.4 * pitch] = colours[1]
    canvas[:, (across > 0.65 * pitch) & (across < 0.7 * pitch)] = colours[1]
    return finish(canvas + 3.0 * noise(rng, canvas.shape, (density, density)))


def dots(
    rng: np.random.Generator,
    width: float,
    height: float,
    density: float,
    colours: tuple[Colour, Colour],
    pitch: float,
) -> Image:
    """Paint a wallpaper of staggered flowers."""
    canvas = flat(width, height, density, colours[0])
    columns, rows = int(width / pitch) + 2, int(height / pitch) + 2
    for row in range(rows):
        for column in range(columns):
            centre = np.array([column + 0.5 * (row % 2), row]) * pitch * density
            for petal in range(5):
                angle = petal * 2.0 * np.pi / 5 + 0.3 * row
                spot = centre + 0.16 * pitch * density * np.array([np.cos(angle), np.sin(angle)])
                radius = max(1, round(0.1 * pitch * density))
                cv2.circle(
                    canvas, (round(spot[0]), round(spot[1])), radius, colours[1], -1, cv2.LINE_AA
                )
    return finish(canvas + 3.0 * noise(rng, canvas.shape, (density, density)))


def wood(
    rng: np.random.Generator,
    width: float,
    height: float,
    density: float,
    colour: Colour,
    upright: bool = False,
) -> Image:
    """Paint one board with its grain along the width, or along the height."""
    canvas = flat(width, height, density, colour)
    grain = (1.2 * density, 3.0) if upright else (3.0, 1.2 * density)
    canvas *= 1.0 + 0.07 * noise(rng, canvas.shape, grain)
    return finish(canvas)


def planks(
    rng: np.random.Generator,
    width: float,
    height: float,
    density: float,
    colour: Colour,
    board: tuple[float, float] = (1.2, 0.16),
) -> Image:
    """Paint a floor of boards (length, width in metres) laid in rows."""
    canvas = flat(width, height, density, colour)
    canvas *= 1.0 + 0.05 * noise(rng, canvas.shape, (3.0, 0.8 * density), 2)
    step, length = board[1] * density, board[0] * density
    for row in range(int(canvas.shape[0] / step) + 1):
        top, bottom = round(row * step), round((row + 1) * step)
        start = -rng.uniform(0.0, length)
        while start < canvas.shape[1]:
            left, right = max(0, round(start)), max(0, round(start + length))
            canvas[top:bottom, left:right] *= rng.uniform(0.78, 1.12)
            canvas[top:bottom, right : right + 2] *= 0.55
            start += length
        canvas[top : top + 2] *= 0.6
    return finish(canvas)


def tiles(
    rng: np.random.Generator,
    width: float,
    height: float,
    density: float,
    colours: tuple[Colour, ...],
    pitch: float,
    grout: Colour = (150.0, 148.0, 140.0),
    chequered: bool = False,
) -> Image:
    """Paint square tiles: colours drawn by chance, or alternating like a chessboard."""
    columns, rows = int(np.ceil(width / pitch)), int(np.ceil(height / pitch))
    if chequered:
        choice = np.add.outer(np.arange(rows), np.arange(columns)) % len(colours)
    else:
        choice = rng.integers(len(colours), size=(rows, columns))
    table = np.asarray(colours, dtype=np.float32)[choice]
    table *= rng.uniform(0.92, 1.06, size=(rows, columns, 1)).astype(np.float32)
    canvas = flat(width, height, density, grout)
    y = np.arange(canvas.shape[0]) / density / pitch
    x = np.arange(canvas.shape[1]) / density / pitch
    grown = table[y.astype(int).clip(0, rows - 1)][:, x.astype(int).clip(0, columns - 1)]
    joint = 0.006 / pitch
    inside = np.logical_and.outer(
        (y % 1.0 > joint) & (y % 1.0 < 1.0 - joint), (x % 1.0 > joint) & (x % 1.0 < 1.0 - joint)
    )
    canvas[inside] = grown[inside]
    return finish(canvas + 3.0 * noise(rng, canvas.shape, (0.5 * density, 0.5 * density)))


def fabric(
    rng: np.random.Generator, width: float, height: float, density: float, colour: Colour
) -> Image:
    """Paint a woven cloth."""
    canvas = flat(width, height, density, colour)
    canvas *= 1.0 + 0.05 * noise(rng, canvas.shape, (0.25 * density, 0.25 * density), 2)
    canvas *= 1.0 + 0.06 * rng.standard_normal((*canvas.shape[:2], 1), dtype=np.float32)
    return finish(canvas)


def metal(
    rng: np.random.Generator, width: float, height: float, density: float, colour: Colour
) -> Image:
    """Paint lacquered metal: lighter towards the top, faintly brushed."""
    canvas = flat(width, height, density, colour)
    canvas *= np.linspace(1.08, 0.9, canvas.shape[0], dtype=np.float32)[:, None, None]
    canvas *= 1.0 + 0.015 * noise(rng, canvas.shape, (2.0, density), 1)
    return finish(canvas)


def ground(
    rng: np.random.Generator,
    width: float,
    height: float,
    density: float,
    name: str,
    metres: float,
    colour: Colour,
    contrast: float = 1.0,
) -> Image:
    """Cover a surface with a photographed material, `metres` wide, tinted to a colour."""
    side = max(8, round(metres * density))
    tile = _grey_tile(name, side)
    canvas = flat(width, height, density, colour)
    rows, columns = canvas.shape[:2]
    repeats = (rows // side + 2, columns // side + 2)
    covered = np.tile(tile, repeats)
    top, left = rng.integers(side, size=2)
    covered = covered[top : top + rows, left : left + columns, None]
    canvas *= 1.0 + contrast * (covered - 1.0)
    return finish(canvas * (1.0 + 0.05 * noise(rng, canvas.shape, (2.0 * density,) * 2, 2)))


@functools.lru_cache(maxsize=64)
def _grey_tile(name: str, side: int) -> Floats:
    """Give a photograph as a square (side, side) of factors whose mean is one."""
    source = photograph(name).astype(np.float32).mean(axis=2)
    if name == "brick":
        source = source.T  # its rows of bricks stand upright
    tile = cv2.resize(source / source.mean(), (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(tile, dtype=np.float32)


def rug(
    rng: np.random.Generator,
    width: float,
    height: float,
    density: float,
    colours: tuple[Colour, Colour, Colour],
) -> Image:
    """Paint a carpet: borders inside borders about a field of lozenges."""
    canvas = flat(width, height, density, colours[0])
    rows, columns = canvas.shape[:2]
    for number, inset in enumerate((0.06, 0.12, 0.16, 0.26)):
        edge = round(inset * density)
        canvas[edge : rows - edge, edge : columns - edge] = colours[(number + 1) % 3]
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    pitch = rng.uniform(0.3, 0.5) * density
    lozenge = np.abs((x % pitch) / pitch - 0.5) + np.abs((y % pitch) / pitch - 0.5)
    edge = round(0.3 * density)
    field = np.zeros((rows, columns), dtype=bool)
    field[edge : rows - edge, edge : columns - edge] = True
    canvas[field & (lozenge < 0.35)] = colours[2]
    canvas[field & (lozenge < 0.18)] = colours[1]
    canvas *= 1.0 + 0.06 * rng.standard_normal((rows, columns, 1), dtype=np.float32)
    return finish(canvas)
