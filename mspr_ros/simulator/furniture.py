"""Furniture made of boxes and prisms, each with its own pictures.

The local frame of every item: its back edge is y = 0, its front looks along y, and x = 0 is its
middle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mspr_ros.simulator import decor, materials
from mspr_ros.simulator.materials import DENSITY, Colour, painter
from mspr_ros.simulator.shapes import Painter, Place, Shapes, ngon

BROWNS: tuple[Colour, ...] = (
    (172, 126, 80),
    (124, 82, 50),
    (202, 164, 112),
    (92, 62, 44),
    (226, 214, 196),
)
CLOTHS: tuple[Colour, ...] = (
    (176, 58, 52),
    (52, 92, 150),
    (68, 120, 84),
    (214, 168, 60),
    (118, 76, 140),
    (70, 76, 84),
    (40, 132, 140),
    (205, 110, 60),
)
LACQUERS: tuple[Colour, ...] = (
    (228, 228, 222),
    (150, 158, 166),
    (86, 120, 104),
    (200, 80, 60),
    (70, 96, 140),
    (232, 200, 110),
)


def pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    """Draw one of the colours."""
    return colours[int(rng.integers(len(colours)))]


def _wood(rng: np.random.Generator, colour: Colour) -> Painter:
    return painter(materials.wood, rng, DENSITY, colour)


def _cloth(rng: np.random.Generator, colour: Colour) -> Painter:
    return painter(materials.fabric, rng, DENSITY, colour)


def _metal(rng: np.random.Generator, colour: Colour) -> Painter:
    return painter(materials.metal, rng, DENSITY, colour)


def _legs(
    shapes: Shapes, place: Place, x: float, y: tuple[float, float], top: float, paint: Painter
) -> None:
    for leg_x in (-x, x - 0.05):
        for leg_y in (y[0], y[1] - 0.05):
            shapes.add_box(place, (leg_x, leg_x + 0.05), (leg_y, leg_y + 0.05), (0.0, top), paint)


def desk(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a desk with screens, drawers and papers."""
    board, white = _wood(rng, pick(rng, BROWNS)), _metal(rng, (120, 122, 126))
    front = painter(decor.drawers, rng, DENSITY, pick(rng, LACQUERS), 3)
    shapes.add_box(place, (-0.8, 0.8), (0.0, 0.75), (0.71, 0.75), board)
    shapes.add_box(place, (0.3, 0.75), (0.1, 0.7), (0.0, 0.7), white, front=front)
    shapes.add_box(place, (-0.78, -0.72), (0.05, 0.7), (0.0, 0.71), white)
    for x, name in ((-0.62, "galaxies"), (0.02, "retina")):
        # A screen shows a photograph; its back is plain.
        shown = str(rng.choice([name, "tissue", "coins", "temple"]))
        picture = decor.framed(
            decor.fitted_photograph(shown, 0.54, 0.32, DENSITY), DENSITY, (20, 20, 22), 0.02
        )
        dark = _metal(rng, (34, 34, 38))
        tilt = place.then(x + 0.28, 0.22, float(rng.uniform(-0.3, 0.3)))
        shapes.add_box(
            tilt,
            (-0.28, 0.28),
            (0.0, 0.05),
            (0.84, 1.2),
            dark,
            front=decor.glowing(picture),
            cap=dark,
        )
        shapes.add_box(tilt, (-0.04, 0.04), (0.0, 0.05), (0.75, 0.84), dark)


def bookcase(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a high bookcase full of books."""
    colour = pick(rng, BROWNS)
    top = float(rng.uniform(1.8, 2.15))
    front = painter(decor.book_rows, rng, DENSITY, colour)
    shapes.add_box(place, (-0.5, 0.5), (0.0, 0.34), (0.0, top), _wood(rng, colour), front=front)


def low_bookcase(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a low bookcase with a photograph in a frame and a vase on top."""
    colour = pick(rng, BROWNS)
    front = painter(decor.book_rows, rng, DENSITY, colour)
    shapes.add_box(place, (-0.6, 0.6), (0.0, 0.36), (0.0, 0.85), _wood(rng, colour), front=front)
    name = str(rng.choice(decor.POSTERS))
    picture = painter(decor.poster, rng, DENSITY, name)
    dark = _wood(rng, (50, 40, 34))
    shapes.add_box(
        place.then(-0.3, 0.14), (-0.18, 0.18), (0.0, 0.04), (0.85, 1.12), dark, front=picture
    )
    cloth = _metal(rng, pick(rng, CLOTHS))
    shapes.add_prism(place.then(0.28, 0.18), ngon(0.09), 0.85, 1.15, cloth)


def cabinet(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a filing cabinet with a printer on top."""
    colour = pick(rng, LACQUERS)
    front = painter(decor.drawers, rng, DENSITY, colour, 4)
    shapes.add_box(place, (-0.4, 0.4), (0.0, 0.5), (0.0, 1.1), _metal(rng, colour), front=front)
    grey = _metal(rng, (215, 215, 212))
    dark = _metal(rng, (60, 62, 66))
    shapes.add_box(place, (-0.25, 0.25), (0.05, 0.42), (1.1, 1.35), grey, front=dark, cap=grey)


def chair(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a chair with four legs and a back."""
    cloth, leg = _cloth(rng, pick(rng, CLOTHS)), _wood(rng, pick(rng, BROWNS))
    shapes.add_box(place, (-0.23, 0.23), (0.0, 0.45), (0.43, 0.48), cloth)
    shapes.add_box(place, (-0.23, 0.23), (0.0, 0.05), (0.48, 0.95), cloth)
    _legs(shapes, place, 0.23, (0.0, 0.45), 0.43, leg)


def office_chair(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a chair that turns on a column."""
    cloth, dark = _cloth(rng, pick(rng, CLOTHS)), _metal(rng, (40, 40, 44))
    shapes.add_prism(place.then(0.0, 0.28), ngon(0.28, 10), 0.06, 0.12, dark)
    shapes.add_prism(place.then(0.0, 0.28), ngon(0.04, 6), 0.12, 0.45, dark)
    shapes.add_box(place, (-0.25, 0.25), (0.05, 0.52), (0.45, 0.54), cloth)
    shapes.add_box(place, (-0.22, 0.22), (0.02, 0.09), (0.6, 1.05), cloth)


def meeting_table(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a table with chairs on two sides and things on it."""
    board, leg = _wood(rng, pick(rng, BROWNS)), _metal(rng, (70, 72, 76))
    shapes.add_box(place, (-0.8, 0.8), (0.5, 1.4), (0.7, 0.75), board)
    _legs(shapes, place, 0.75, (0.55, 1.35), 0.7, leg)
    paper = painter(decor.sign, rng, 2.0 * DENSITY, "PLAN", ((250, 250, 245), (30, 60, 160)))
    shapes.add_box(place.then(-0.2, 0.8, 0.4), (-0.2, 0.2), (0.0, 0.3), (0.75, 0.77), paper)
    shapes.add_prism(
        place.then(0.45, 0.95), ngon(0.12), 0.75, 0.95, _metal(rng, pick(rng, CLOTHS))
    )
    for x in (-0.4, 0.4):
        chair(shapes, place.then(x, 0.1), rng)
        chair(shapes, place.then(x, 1.8, np.pi), rng)


def plant(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a plant in a pot: stacked leaves."""
    pot, centre = _metal(rng, pick(rng, CLOTHS)), place.then(0.0, 0.28)
    leaf = painter(materials.ground, rng, DENSITY, "grass", 0.6, (70, 125, 55), 1.3)
    shapes.add_prism(centre, ngon(0.19), 0.0, 0.4, pot)
    height = float(rng.uniform(0.9, 1.4))
    for level, radius in enumerate((0.16, 0.27, 0.24, 0.14)):
        low = 0.42 + level * (height - 0.42) / 4
        turned = centre.then(0.0, 0.0, 0.4 * level)
        shapes.add_prism(turned, ngon(radius, 7), low, low + 0.2 * height, leaf)


def sofa(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a sofa with cushions."""
    colour = pick(rng, CLOTHS)
    cloth = _cloth(rng, colour)
    shapes.add_box(place, (-1.0, 1.0), (0.0, 0.9), (0.05, 0.42), cloth)
    shapes.add_box(place, (-1.0, 1.0), (0.0, 0.25), (0.42, 0.85), cloth)
    for x in (-1.0, 0.8):
        shapes.add_box(place, (x, x + 0.2), (0.0, 0.9), (0.42, 0.6), cloth)
    for x in (-0.75, 0.35):
        cushion = painter(
            materials.dots, rng, DENSITY, (pick(rng, CLOTHS), pick(rng, CLOTHS)), 0.14
        )
        shapes.add_box(place.then(x, 0.27), (0.0, 0.42), (0.0, 0.14), (0.42, 0.78), cushion)


def armchair(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a striped armchair."""
    colours = (pick(rng, CLOTHS), pick(rng, LACQUERS))
    cloth = painter(materials.stripes, rng, DENSITY, colours, 0.16)
    shapes.add_box(place, (-0.42, 0.42), (0.0, 0.8), (0.08, 0.42), cloth)
    shapes.add_box(place, (-0.42, 0.42), (0.0, 0.2), (0.42, 0.95), cloth)
    for x in (-0.42, 0.28):
        shapes.add_box(place, (x, x + 0.14), (0.2, 0.8), (0.42, 0.6), cloth)


def coffee_table(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a round low table with magazines."""
    board = _wood(rng, pick(rng, BROWNS))
    centre = place.then(0.0, 0.5)
    shapes.add_prism(centre, ngon(0.5, 12), 0.38, 0.43, board)
    shapes.add_prism(centre, ngon(0.1), 0.0, 0.38, board)
    cover = painter(decor.poster, rng, DENSITY, str(rng.choice(decor.POSTERS)))
    shapes.add_box(centre.then(-0.1, -0.1, 0.6), (-0.14, 0.14), (-0.1, 0.1), (0.43, 0.46), cover)


def television(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a low board with a television set."""
    colour = pick(rng, LACQUERS)
    front = painter(decor.drawers, rng, DENSITY, colour, 1, 3)
    shapes.add_box(place, (-0.9, 0.9), (0.0, 0.45), (0.0, 0.5), _metal(rng, colour), front=front)
    shown = str(rng.choice(["rocket", "astronaut", "flower", "temple"]))
    picture = decor.framed(
        decor.fitted_photograph(shown, 1.16, 0.64, DENSITY), DENSITY, (16, 16, 18), 0.02
    )
    dark = _metal(rng, (26, 26, 28))
    shapes.add_box(
        place,
        (-0.6, 0.6),
        (0.18, 0.24),
        (0.56, 1.24),
        dark,
        front=decor.glowing(picture),
        cap=dark,
    )
    shapes.add_box(place, (-0.2, 0.2), (0.14, 0.28), (0.5, 0.56), dark)


def floor_lamp(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a lamp on a pole."""
    dark, centre = _metal(rng, (60, 58, 54)), place.then(0.0, 0.22)
    shade = painter(materials.stripes, rng, DENSITY, ((248, 236, 200), pick(rng, CLOTHS)), 0.1)
    shapes.add_prism(centre, ngon(0.17), 0.0, 0.04, dark)
    shapes.add_prism(centre, ngon(0.02, 6), 0.04, 1.4, dark)
    shapes.add_prism(centre, ngon(0.22, 10), 1.4, 1.72, shade)


def kitchen_row(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a counter with stove and sink, cupboards hanging above it."""
    colour = pick(rng, LACQUERS)
    top = painter(materials.ground, rng, DENSITY, "gravel", 0.5, (92, 90, 92), 0.5)
    side = _metal(rng, colour)
    front = painter(decor.drawers, rng, DENSITY, colour, 2, 4)
    shapes.add_box(place, (-1.2, 1.2), (0.0, 0.6), (0.0, 0.86), side, front=front)
    shapes.add_box(place, (-1.2, 1.2), (0.0, 0.63), (0.86, 0.9), top)
    high = painter(decor.drawers, rng, DENSITY, colour, 1, 4)
    shapes.add_box(place, (-1.2, 1.2), (0.0, 0.35), (1.45, 2.1), side, front=high)
    pair = (pick(rng, CLOTHS), (240.0, 238.0, 230.0))
    splash = painter(materials.tiles, rng, DENSITY, pair, 0.11)
    shapes.add_box(place, (-1.2, 1.2), (0.0, 0.012), (0.9, 1.45), side, front=splash)
    shapes.add_box(place, (0.2, 0.75), (0.08, 0.55), (0.9, 0.915), _metal(rng, (28, 28, 30)))
    pot = _metal(rng, pick(rng, CLOTHS))
    shapes.add_prism(place.then(0.35, 0.3), ngon(0.11), 0.915, 1.08, pot)
    shapes.add_box(place, (-0.9, -0.5), (0.1, 0.5), (0.9, 0.93), _metal(rng, (190, 194, 198)))
    for x in (-0.3, -0.12, 0.95):
        jar = _metal(rng, pick(rng, CLOTHS))
        shapes.add_prism(
            place.then(x, 0.15), ngon(0.07, 7), 0.9, float(rng.uniform(1.05, 1.2)), jar
        )


def fridge(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a refrigerator with notes on its door."""
    colour = pick(rng, LACQUERS)
    door = painter(decor.drawers, rng, DENSITY, colour, 2)(0.7, 1.9)
    for number in range(4):
        note = painter(decor.poster, rng, DENSITY, str(rng.choice(decor.POSTERS)))(0.16, 0.13)
        decor.paste(door, DENSITY, 0.1 + 0.26 * (number % 2), 0.4 + 0.36 * (number // 2), note)
    body = _metal(rng, colour)
    shapes.add_box(
        place, (-0.35, 0.35), (0.0, 0.68), (0.0, 1.9), body, front=decor.glowing(door), cap=body
    )


def dining_table(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build a round table with a chequered cloth and chairs around it."""
    cloth = painter(
        materials.tiles, rng, DENSITY, (pick(rng, CLOTHS), (244, 240, 232)), 0.12, chequered=True
    )
    centre = place.then(0.0, 0.95)
    shapes.add_prism(centre, ngon(0.55, 12), 0.7, 0.75, cloth)
    shapes.add_prism(centre, ngon(0.06), 0.0, 0.7, _wood(rng, pick(rng, BROWNS)))
    shapes.add_prism(centre, ngon(0.13, 9), 0.75, 0.85, _metal(rng, pick(rng, CLOTHS)))
    for number in range(3):
        seat = centre.then(0.0, 0.0, 0.4 + number * 2.0 * np.pi / 3).then(0.0, -0.93)
        chair(shapes, seat, rng)


@dataclass(frozen=True)
class Item:
    """Describe a piece of furniture: its extent in its own frame, and who builds it."""

    width: float
    depth: float
    build: Callable[[Shapes, Place, np.random.Generator], None]


ITEMS: dict[str, Item] = {
    "desk": Item(1.64, 0.85, desk),
    "bookcase": Item(1.0, 0.36, bookcase),
    "low_bookcase": Item(1.2, 0.38, low_bookcase),
    "cabinet": Item(0.8, 0.52, cabinet),
    "office_chair": Item(0.6, 0.6, office_chair),
    "meeting_table": Item(1.7, 1.9, meeting_table),
    "plant": Item(0.56, 0.56, plant),
    "sofa": Item(2.04, 0.92, sofa),
    "armchair": Item(0.9, 0.85, armchair),
    "coffee_table": Item(1.04, 1.04, coffee_table),
    "television": Item(1.84, 0.48, television),
    "floor_lamp": Item(0.48, 0.46, floor_lamp),
    "kitchen_row": Item(2.44, 0.66, kitchen_row),
    "fridge": Item(0.74, 0.72, fridge),
    "dining_table": Item(1.9, 1.9, dining_table),
    "chair": Item(0.5, 0.5, chair),
}
