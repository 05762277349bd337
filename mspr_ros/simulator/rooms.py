"""Rooms: walls with pictures, windows and doors, a floor, and furniture that leaves a way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mspr_ros.geometry import Array
from mspr_ros.simulator import decor, materials
from mspr_ros.simulator.furniture import BROWNS, CLOTHS, ITEMS, pick
from mspr_ros.simulator.materials import painter
from mspr_ros.simulator.scene import DriveStyle, Scene, free_share
from mspr_ros.simulator.shapes import Image, Painter, Place, Shapes, rectangle
from mspr_ros.simulator.walls import HEIGHT, RoomKind, add_walls

FLOOR_DENSITY = 200.0
CEILING_DENSITY = 100.0
ATTEMPTS = 60


KINDS: dict[str, RoomKind] = {
    "office": RoomKind(
        ("desk", "desk", "bookcase", "bookcase", "cabinet", "low_bookcase", "plant", "plant"),
        ("meeting_table", "office_chair"),
        ((214, 222, 226), (232, 226, 206), (168, 190, 204), (222, 208, 190)),
        ("whiteboard", "poster", "calendar", "poster", "clock", "poster", "sign", "poster"),
        "carpet",
    ),
    "lounge": RoomKind(
        ("sofa", "television", "bookcase", "low_bookcase", "floor_lamp", "plant", "armchair"),
        ("coffee_table", "armchair"),
        ((206, 160, 120), (170, 196, 160), (226, 206, 150), (196, 150, 160)),
        ("poster", "painting", "poster", "painting", "clock", "poster", "poster", "painting"),
        "planks",
    ),
    "kitchen": RoomKind(
        ("kitchen_row", "fridge", "low_bookcase", "cabinet", "plant", "chair"),
        ("dining_table",),
        ((240, 232, 214), (190, 214, 220), (236, 206, 180), (214, 224, 190)),
        ("poster", "clock", "sign", "poster", "painting", "calendar", "poster", "poster"),
        "tiles",
    ),
}


def build_room(
    name: str, kind: RoomKind, origin: tuple[float, float], rng: np.random.Generator
) -> Scene:
    """Build a room whose lower left corner lies at `origin` in the map."""
    width, depth = float(rng.uniform(*kind.width)), float(rng.uniform(*kind.depth))
    x, y = (origin[0], origin[0] + width), (origin[1], origin[1] + depth)
    outline = rectangle(x, y)
    for _ in range(ATTEMPTS):
        shapes = _furnish(kind, x, y, rng)
        if free_share(outline, shapes.solids) > 0.9:
            break
    else:
        raise AssertionError(f"no arrangement of '{name}' leaves a way through the room")
    add_walls(shapes, kind, outline, rng)
    _add_floor(shapes, kind, outline, rng)
    return Scene(name, tuple(shapes.faces), tuple(shapes.solids), outline, DriveStyle())


def _furnish(
    kind: RoomKind, x: tuple[float, float], y: tuple[float, float], rng: np.random.Generator
) -> Shapes:
    """Place furniture by chance, without overlap; what finds no place is left out."""
    shapes = Shapes()
    taken: list[tuple[float, float, float, float]] = []
    for name in kind.walls:
        item = ITEMS[name]
        for _ in range(30):
            wall = int(rng.integers(4))
            length = (x[1] - x[0]) if wall % 2 == 0 else (y[1] - y[0])
            half = item.width / 2 + 0.03
            along = float(rng.uniform(half, length - half))
            place = _against_wall(wall, along, x, y)
            if _take(place, item.width, item.depth, 0.02, taken):
                item.build(shapes, place, rng)
                break
    for name in kind.middle:
        item = ITEMS[name]
        for _ in range(30):
            yaw = float(rng.integers(4)) * np.pi / 2
            spot = (
                float(rng.uniform(x[0] + 1.0, x[1] - 1.0)),
                float(rng.uniform(y[0] + 1.0, y[1] - 1.0)),
            )
            place = Place(*spot, yaw).then(0.0, -item.depth / 2)
            if _take(place, item.width, item.depth, 0.35, taken):
                item.build(shapes, place, rng)
                break
    return shapes


def _against_wall(
    wall: int, along: float, x: tuple[float, float], y: tuple[float, float]
) -> Place:
    """Give the frame of a thing whose back touches wall 0 (low y), 1 (high x), 2 or 3."""
    gap = 0.01
    return (
        Place(x[0] + along, y[0] + gap, 0.0),
        Place(x[1] - gap, y[0] + along, np.pi / 2),
        Place(x[1] - along, y[1] - gap, np.pi),
        Place(x[0] + gap, y[1] - along, -np.pi / 2),
    )[wall]


def _take(
    place: Place,
    width: float,
    depth: float,
    margin: float,
    taken: list[tuple[float, float, float, float]],
) -> bool:
    """Reserve the ground of a thing, unless another has it already."""
    corners = place.to_map(rectangle((-width / 2, width / 2), (0.0, depth)))
    low, high = corners.min(axis=0) - margin, corners.max(axis=0) + margin
    for left, bottom, right, top in taken:
        if low[0] < right and left < high[0] and low[1] < top and bottom < high[1]:
            return False
    taken.append((float(low[0]), float(low[1]), float(high[0]), float(high[1])))
    return True


def _add_floor(shapes: Shapes, kind: RoomKind, outline: Array, rng: np.random.Generator) -> None:
    low, high = outline[0], outline[2]
    covers: dict[str, Callable[[], Painter]] = {
        "carpet": lambda: painter(materials.fabric, rng, FLOOR_DENSITY, (112, 122, 136)),
        "planks": lambda: painter(materials.planks, rng, FLOOR_DENSITY, pick(rng, BROWNS[:3])),
        "tiles": lambda: painter(
            materials.tiles,
            rng,
            FLOOR_DENSITY,
            ((226, 220, 206), (120, 70, 60), (80, 100, 110)),
            0.33,
        ),
    }
    cover = covers[kind.floor]()
    rugs = [
        painter(
            materials.rug,
            rng,
            FLOOR_DENSITY,
            (pick(rng, CLOTHS), pick(rng, CLOTHS), pick(rng, CLOTHS)),
        )(float(rng.uniform(1.4, 2.2)), float(rng.uniform(1.2, 1.7)))
        for _ in range(2)
    ]
    spots = rng.uniform((0.4, 0.4), high - low - 2.3, size=(2, 2))
    on_picture = [
        np.column_stack([solid.footprint[:, 0] - low[0], high[1] - solid.footprint[:, 1]])
        for solid in shapes.solids
        if solid.bottom < 0.5
    ]

    def paint(width: float, height: float) -> Image:
        canvas = cover(width, height)
        for rug, (x, y) in zip(rugs, spots, strict=True):
            decor.paste(canvas, FLOOR_DENSITY, float(x), float(y), rug)
        canvas = decor.shade_under(canvas, FLOOR_DENSITY, on_picture)
        return decor.shade_corners(canvas, FLOOR_DENSITY, 0.25)

    shapes.add_level(outline, 0.0, paint)
    shapes.add_level(outline, HEIGHT, _ceiling_painter(rng), faces_up=False)


def _ceiling_painter(rng: np.random.Generator) -> Painter:
    cover = painter(materials.plaster, rng, CEILING_DENSITY, (236.0, 234.0, 228.0), 2.0)
    lamps = rng.uniform((0.2, 0.2), (0.7, 0.7), size=(3, 2))

    def paint(width: float, height: float) -> Image:
        canvas = cover(width, height)
        panel = np.full((round(0.3 * CEILING_DENSITY), round(1.2 * CEILING_DENSITY), 3), 252)
        for x, y in lamps * (width, height):
            decor.paste(canvas, CEILING_DENSITY, float(x), float(y), panel.astype(np.uint8))
        return decor.shade_corners(canvas, CEILING_DENSITY)

    return paint
