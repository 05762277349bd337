"""A room's walls: wallpapers, and what hangs on them, none of it behind furniture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mspr_ros.geometry import Array
from mspr_ros.simulator import decor, materials
from mspr_ros.simulator.furniture import BROWNS, CLOTHS, pick
from mspr_ros.simulator.materials import Colour, painter
from mspr_ros.simulator.shapes import Image, Painter, Shapes, Solid

WALL_DENSITY = 200.0
HEIGHT = 2.7


@dataclass(frozen=True)
class RoomKind:
    """Describe what makes a room an office, a lounge or a kitchen.

    Args:
        walls: Names of furniture that stands against walls, the most important first.
        middle: Names of furniture that stands free.
        colours: Paints of the walls.
        decoration: What hangs on the walls besides doors and windows, by name.
        floor: Which floor.
        width: From, to: how long the room is along x, metres.
        depth: The same along y.
    """

    walls: tuple[str, ...]
    middle: tuple[str, ...]
    colours: tuple[Colour, ...]
    decoration: tuple[str, ...]
    floor: str
    width: tuple[float, float] = (6.2, 7.2)
    depth: tuple[float, float] = (4.8, 5.6)


# From, to along a wall, and from, to in height, metres.
Blocked = tuple[float, float, float, float]
WORDS = ("ROOM", "LAB", "EXIT", "HALL", "NORTH", "SOUTH", "EAST", "WEST", "TEA", "OPEN", "ZONE")


def add_walls(shapes: Shapes, kind: RoomKind, outline: Array, rng: np.random.Generator) -> None:
    """Add the four walls: each its own wallpaper, one door, windows on two of them."""
    order = rng.permutation(4)
    names = iter(rng.permutation(len(decor.POSTERS)).tolist() * 3)
    for wall in range(4):
        # Seen from inside, a wall runs from the corner further on to the one before.
        right, left = outline[wall], outline[(wall + 1) % 4]
        blocked = _standing_at(shapes.solids, left, right)
        paint = _wall_painter(kind, wall, int(order[wall]), rng, names, blocked)
        shapes.add_wall(left, right, 0.0, HEIGHT, paint)


def _standing_at(solids: list[Solid], left: Array, right: Array) -> list[Blocked]:
    """List what stands before a wall, along the wall from its left end."""
    direction = (right - left) / np.linalg.norm(right - left)
    blocked = []
    for solid in solids:
        offset = solid.footprint - left
        along = offset @ direction
        away = np.abs(offset[:, 0] * direction[1] - offset[:, 1] * direction[0])
        if away.min() < 0.15:
            blocked.append((float(along.min()), float(along.max()), solid.bottom, solid.top))
    return blocked


def _wall_painter(
    kind: RoomKind,
    wall: int,
    role: int,
    rng: np.random.Generator,
    names: Iterator[int],
    blocked: list[Blocked],
) -> Painter:
    colour = kind.colours[wall]
    tint = materials.scaled(colour, 0.82)
    covers: tuple[Painter, ...] = (
        painter(materials.plaster, rng, WALL_DENSITY, colour, 4.0),
        painter(materials.stripes, rng, WALL_DENSITY, (colour, tint), 0.24),
        painter(materials.dots, rng, WALL_DENSITY, (colour, pick(rng, CLOTHS)), 0.3),
        painter(
            materials.ground, rng, WALL_DENSITY, "brick", 1.6, materials.scaled(colour, 0.9), 0.9
        ),
    )
    cover = covers[role]
    fixed = (["door"], ["window"], ["window", "window"], [])[(wall + role) % 4]
    hung = fixed + [str(kind.decoration[i]) for i in rng.permutation(len(kind.decoration))]
    own = np.random.default_rng(rng.integers(2**63))
    photographs = [decor.POSTERS[next(names)] for _ in range(8)]

    def paint(width: float, height: float) -> Image:
        canvas = cover(width, height)
        _fade_along(canvas, own)
        _hang(canvas, own, width, hung, photographs, blocked)
        _hang(canvas, own, width, ["small"] * 8, photographs[::-1], blocked)
        skirting = canvas[-round(0.09 * WALL_DENSITY) :]
        skirting[:] = pick(own, BROWNS)
        return decor.shade_corners(canvas, WALL_DENSITY)

    return paint


def _fade_along(canvas: Image, rng: np.random.Generator) -> None:
    """Shift a wall's colour from one end to the other, so that even bare stretches differ."""
    ends = rng.uniform(0.82, 1.12, size=(2, 3))
    weight = np.linspace(0.0, 1.0, canvas.shape[1])[:, None]
    canvas[:] = materials.finish(canvas * ((1.0 - weight) * ends[0] + weight * ends[1]))


def _hang(
    canvas: Image,
    rng: np.random.Generator,
    width: float,
    hung: list[str],
    photographs: list[str],
    blocked: list[Blocked],
) -> None:
    """Hang things side by side along a wall until it is full, none behind furniture.

    What was hung is added to `blocked`.
    """
    x = float(rng.uniform(0.1, 0.3))
    for number, name in enumerate(hung):
        patch, top = _decoration(name, canvas, rng, photographs[number % len(photographs)])
        size = patch.shape[1] / WALL_DENSITY
        low, high = HEIGHT - top - patch.shape[0] / WALL_DENSITY, HEIGHT - top
        start = x
        for left, right, bottom, upper in sorted(blocked):
            overlaps = left < start + size and right > start
            if overlaps and upper > low + 0.05 and bottom < high:
                start = right + 0.05
        if start + size > width - 0.1:
            continue
        decor.paste(canvas, WALL_DENSITY, start, top, patch)
        blocked.append((start, start + size, low, high))
        gap = rng.uniform(0.5, 1.2) if name == "small" else rng.uniform(0.1, 0.3)
        x = start + size + float(gap)


def _decoration(
    name: str, wall: Image, rng: np.random.Generator, photograph: str
) -> tuple[Image, float]:
    """Paint one thing that hangs on a wall; also give how far below the ceiling it begins."""
    density = WALL_DENSITY
    if name == "door":
        colour = pick(rng, BROWNS)
        return decor.door(rng, 0.9, 2.02, density, colour), HEIGHT - 2.14
    if name == "window":
        width = float(rng.uniform(1.1, 1.6))
        return decor.window(rng, width, 1.25, density, pick(rng, CLOTHS)), 0.55
    if name == "whiteboard":
        return decor.whiteboard(rng, 1.6, 1.0, density), 0.75
    if name == "clock":
        return decor.clock(rng, 0.36, density, wall[:40, :40]), 0.5
    colours = (pick(rng, CLOTHS), (250.0, 248.0, 240.0))
    if name == "sign":
        word = f"{WORDS[rng.integers(len(WORDS))]} {rng.integers(1, 99)}"
        return decor.sign(rng, 0.8, 0.3, density, word, colours), float(rng.uniform(0.5, 1.1))
    if name == "calendar":
        days = painter(
            materials.tiles, rng, density, (colours[1], colours[0], (235, 235, 230)), 0.1
        )
        return decor.framed(days(0.7, 0.5), density, (40, 40, 44)), float(rng.uniform(0.6, 1.1))
    if name == "small":
        side = float(rng.uniform(0.24, 0.4))
        return decor.poster(rng, side, side, density, photograph), float(rng.uniform(1.7, 2.1))
    width = float(rng.uniform(0.5, 0.95))
    height = width * float(rng.uniform(0.75, 1.3))
    shown = "painting" if name == "painting" else photograph
    return decor.poster(rng, width, height, density, shown), float(rng.uniform(0.55, 0.95))
