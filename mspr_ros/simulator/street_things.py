"""What stands in a street: trees, lamps, benches, advertising pillars and cars."""

from __future__ import annotations

import cv2
import numpy as np

from mspr_ros.simulator import decor, materials
from mspr_ros.simulator.furniture import BROWNS, CLOTHS, LACQUERS, pick
from mspr_ros.simulator.materials import Colour, painter
from mspr_ros.simulator.shapes import Image, Place, Shapes, ngon, rectangle


def add_tree(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Plant a tree: a trunk and three layers of leaves."""
    bark = painter(materials.wood, rng, 100.0, (96, 74, 56), True)
    green = (float(rng.uniform(70, 150)), float(rng.uniform(105, 150)), float(rng.uniform(40, 70)))
    leaf = painter(materials.ground, rng, 60.0, "grass", 1.5, green, 1.5)
    low = float(rng.uniform(2.3, 2.8))
    shapes.add_prism(place, ngon(0.16, 5), 0.0, low, bark)
    for level, radius in enumerate((0.95, 1.3, 0.8)):
        turned = place.then(0.0, 0.0, 0.4 * level)
        shapes.add_prism(turned, ngon(radius, 6), low + level * 0.8, low + 0.8 + level * 0.8, leaf)


def add_lamp(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Put up a street lamp."""
    dark = painter(materials.metal, rng, 80.0, (52, 60, 58))
    shapes.add_prism(place, ngon(0.07, 4), 0.0, 4.2, dark)
    white = painter(materials.plaster, rng, 80.0, (250, 246, 226))
    shapes.add_prism(place, ngon(0.22, 4), 4.2, 4.6, white, glows=True)


def add_bench(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Put a bench, its back to the houses."""
    board = painter(materials.wood, rng, 100.0, pick(rng, BROWNS))
    shapes.add_box(place, (-0.9, 0.9), (-0.2, 0.25), (0.4, 0.46), board)
    shapes.add_box(place, (-0.9, 0.9), (-0.25, -0.2), (0.5, 0.9), board)
    for x in (-0.8, 0.7):
        shapes.add_box(place, (x, x + 0.1), (-0.2, 0.2), (0.0, 0.4), board)


def add_pillar(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Build an advertising pillar, a different poster on every side."""
    sides = [
        painter(decor.poster, rng, 120.0, str(name))
        for name in rng.choice(decor.POSTERS, size=6, replace=False)
    ]
    shapes.add_prism(place, ngon(0.55, 6), 0.0, 2.6, sides)
    roof = painter(materials.plaster, rng, 60.0, (70, 110, 90))
    shapes.add_prism(place, ngon(0.65, 6), 2.6, 2.8, roof)


def add_car(shapes: Shapes, place: Place, rng: np.random.Generator) -> None:
    """Park a car along the x of its place."""
    colour = pick(rng, (*CLOTHS, *LACQUERS))
    body = painter(_car_side, rng, 90.0, colour)
    paint = painter(materials.metal, rng, 60.0, colour)
    front = painter(_car_front, rng, 90.0, colour)
    low = rectangle((-2.1, 2.1), (-0.85, 0.85))
    shapes.add_prism(place, low, 0.18, 0.85, [body, front, body, front], paint)
    glass = painter(materials.metal, rng, 60.0, (58, 70, 82))
    cabin = rectangle((-1.5, 0.9), (-0.75, 0.75))
    shapes.add_prism(place, cabin, 0.85, 1.38, glass, paint)


def _car_side(
    rng: np.random.Generator, width: float, height: float, density: float, colour: Colour
) -> Image:
    """Paint the side of a car with its wheels."""
    canvas = materials.metal(rng, width, height, density, colour)
    rows, columns = canvas.shape[:2]
    for x in (0.2, 0.8):
        centre = (round(x * columns), rows - round(0.12 * density))
        cv2.circle(canvas, centre, round(0.33 * density), (24, 24, 26), -1, cv2.LINE_AA)
        cv2.circle(canvas, centre, round(0.17 * density), (176, 178, 182), -1, cv2.LINE_AA)
    cv2.line(canvas, (columns // 2, 4), (columns // 2, rows - 8), (40, 40, 44), 1)
    return canvas


def _car_front(
    rng: np.random.Generator, width: float, height: float, density: float, colour: Colour
) -> Image:
    """Paint the front or back of a car: lights and a number plate."""
    canvas = materials.metal(rng, width, height, density, colour)
    plate = decor.sign(
        rng, 0.5, 0.13, density, f"M {rng.integers(100, 999)}", ((245, 245, 245), (20, 20, 20))
    )
    decor.paste(canvas, density, width / 2 - 0.25, height - 0.3, plate)
    rows, columns = canvas.shape[:2]
    for left in (round(0.05 * columns), round(0.78 * columns)):
        canvas[round(0.3 * rows) : round(0.5 * rows), left : left + round(0.17 * columns)] = (
            250,
            240,
            190,
        )
    return canvas
