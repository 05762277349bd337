"""A street of 100 m between two rows of houses, under a sky."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from mspr_ros.geometry import Array
from mspr_ros.simulator import decor, materials
from mspr_ros.simulator.furniture import BROWNS, CLOTHS, LACQUERS, pick
from mspr_ros.simulator.materials import Colour, finish, flat, noise, painter
from mspr_ros.simulator.scene import DriveStyle, Scene
from mspr_ros.simulator.shapes import Image, Painter, Place, Shapes, rectangle
from mspr_ros.simulator.street_things import add_bench, add_car, add_lamp, add_pillar, add_tree

LENGTH = 100.0
ROAD_WIDTH = 8.0
PAVEMENT = 2.6
BEYOND = 7.0  # road between the street's ends and the houses that close it off
HOUSE_DENSITY = 80.0
ROAD_DENSITY = 60.0
SKY_DENSITY = 4.0
SKY_M = 150.0
SHOPS = (
    "CAFE", "BOOKS", "BAKERY", "OPTIK", "HOTEL", "MUSIC", "BANK", "FLOWERS", "TEA HOUSE", "PIZZA",
    "RADIO", "BIKES", "MUSEUM", "POST", "TAILOR", "GARAGE", "CINEMA", "SCHOOL", "BARBER", "SHOES",
)  # fmt: skip
PAINTS: tuple[Colour, ...] = (
    (196, 92, 70), (226, 196, 130), (150, 176, 190), (206, 206, 198), (170, 120, 92),
    (124, 152, 116), (222, 166, 140), (112, 118, 150), (236, 226, 200), (176, 70, 84),
)  # fmt: skip


def build_street(name: str, origin: tuple[float, float], rng: np.random.Generator) -> Scene:
    """Build the street along x; `origin` is the low end of the road's middle line in the map."""
    frame = Place(*origin)
    shapes = Shapes()
    _add_ground(shapes, frame, rng)
    shop_names = iter(rng.permutation(SHOPS).tolist())
    edge = ROAD_WIDTH / 2 + PAVEMENT
    for side in (0, 1):
        # Both rows are built in a frame whose y points towards the road.
        row = frame.then(-BEYOND, -edge) if side == 0 else frame.then(LENGTH + BEYOND, edge, np.pi)
        _add_houses(shapes, row, rng, shop_names)
        _add_pavement_things(shapes, row, rng)
    # What closes the street off differs at its two ends, so that they cannot be confused.
    start = frame.then(-BEYOND, edge, -np.pi / 2)
    _add_house(shapes, start, 0.0, 2 * edge, 15.0, "CITY HALL", rng, (232, 206, 132))
    end = frame.then(LENGTH + BEYOND, -edge, np.pi / 2)
    _add_house(shapes, end, 0.0, 2 * edge, 12.0, "STATION", rng, (104, 124, 164))
    _add_cars(shapes, frame, rng)
    _add_sky(shapes, frame, rng)
    outline = frame.to_map(rectangle((0.0, LENGTH), (-ROAD_WIDTH / 2, ROAD_WIDTH / 2)))
    style = DriveStyle(speed=1.4, look_around=0.25, eccentric=True)
    return Scene(name, tuple(shapes.faces), tuple(shapes.solids), outline, style)


def _add_houses(
    shapes: Shapes, row: Place, rng: np.random.Generator, shop_names: Iterator[str]
) -> None:
    x, length = 0.0, LENGTH + 2 * BEYOND
    while x < length - 1.0:
        width = float(rng.uniform(9.0, 14.0))
        if length - x - width < 8.0:
            width = length - x
        shop = next(shop_names, "SHOP")
        _add_house(shapes, row, x, x + width, float(rng.uniform(6.5, 11.5)), shop, rng)
        x += width


def _add_house(
    shapes: Shapes,
    row: Place,
    start: float,
    end: float,
    height: float,
    shop: str,
    rng: np.random.Generator,
    colour: Colour | None = None,
) -> None:
    """Build a house between two points of its row; its front is y = 0, towards the road."""
    colour = colour or pick(rng, PAINTS)
    tint = materials.scaled(colour, 1.15)
    covers = (
        painter(materials.ground, rng, HOUSE_DENSITY, "brick", 2.0, colour, 0.9),
        painter(materials.plaster, rng, HOUSE_DENSITY, colour, 5.0),
        painter(materials.tiles, rng, HOUSE_DENSITY, (colour, tint), 0.8),
        painter(materials.stripes, rng, HOUSE_DENSITY, (colour, tint), 1.1),
    )
    cover = covers[int(rng.integers(len(covers)))]
    front = _front_painter(cover, shop, rng)
    side = painter(materials.plaster, rng, 30.0, materials.scaled(colour, 0.85), 5.0)
    shapes.add_box(row, (start, end), (-9.0, 0.0), (0.0, height), side, front=front)
    roof = painter(materials.ground, rng, 40.0, "brick", 1.0, (120, 70, 60), 0.6)
    shapes.add_box(row, (start - 0.1, end + 0.1), (-9.0, 0.35), (height, height + 0.3), roof)
    if rng.random() < 0.6:
        cloth = painter(materials.stripes, rng, 80.0, (pick(rng, CLOTHS), (245, 242, 235)), 0.5)
        middle, half = (start + end) / 2, (end - start) * float(rng.uniform(0.2, 0.4))
        shapes.add_box(row, (middle - half, middle + half), (0.0, 1.1), (2.55, 2.95), cloth)


def _front_painter(cover: Painter, shop: str, rng: np.random.Generator) -> Painter:
    """Give the painter of a house's front: a shop below, rows of windows above."""
    own = np.random.default_rng(rng.integers(2**63))
    density = HOUSE_DENSITY

    def paint(width: float, height: float) -> Image:
        canvas = cover(width, height)
        pitch, window_width = float(own.uniform(1.7, 2.6)), float(own.uniform(0.9, 1.3))
        frame = pick(own, LACQUERS)
        pane = decor.framed(decor.window(own, window_width, 1.4, density), density, frame, 0.08)
        columns = int((width - 0.6) / pitch)
        left = (width - columns * pitch + pitch - window_width) / 2
        for storey in np.arange(3.6, height - 1.6, 2.6):
            top = height - float(storey) - 1.6
            for column in range(columns):
                lit = own.random() < 0.2
                shown = np.asarray(pane[:, ::-1] if own.random() < 0.5 else pane)
                if lit:
                    shown = finish(0.6 * shown + np.array([90.0, 70.0, 20.0]))
                decor.paste(
                    canvas, density, left + column * pitch, top, np.ascontiguousarray(shown)
                )
        _paint_shop(canvas, own, width, height, shop)
        return decor.shade_corners(canvas, density, 0.25)

    return paint


def _paint_shop(
    canvas: Image, rng: np.random.Generator, width: float, height: float, shop: str
) -> None:
    density = HOUSE_DENSITY
    colours = (pick(rng, CLOTHS), (252.0, 248.0, 235.0))
    board = decor.sign(rng, min(0.8 * width, 6.0), 0.7, density, shop, colours)
    decor.paste(canvas, density, float(rng.uniform(0.3, 0.2 * width)), height - 3.5, board)
    x = 0.4
    door_at = int(rng.integers(3))
    for number in range(8):
        if number == door_at:
            patch, top = decor.door(rng, 1.0, 2.2, density, pick(rng, BROWNS)), 2.3
        else:
            name = str(rng.choice((*decor.POSTERS, "painting")))
            patch = decor.poster(rng, float(rng.uniform(1.2, 2.2)), 1.6, density, name)
            top = 2.3
        if x + patch.shape[1] / density > width - 0.3:
            break
        decor.paste(canvas, density, x, height - top, patch)
        x += patch.shape[1] / density + float(rng.uniform(0.3, 0.8))


def _add_pavement_things(shapes: Shapes, row: Place, rng: np.random.Generator) -> None:
    """Line the pavement with trees, lamps, benches and pillars, 1.4 m to 2 m from the houses."""
    x = BEYOND + float(rng.uniform(1.0, 6.0))
    while x < LENGTH + BEYOND - 1.0:
        kind = int(rng.choice(4, p=[0.35, 0.25, 0.2, 0.2]))
        (add_tree, add_lamp, add_bench, add_pillar)[kind](shapes, row.then(x, 1.9), rng)
        x += float(rng.uniform(6.0, 11.0))


def _add_cars(shapes: Shapes, frame: Place, rng: np.random.Generator) -> None:
    """Park cars along both sides of the road, half on it."""
    for side in (-1.0, 1.0):
        x = float(rng.uniform(3.0, 10.0))
        while x < LENGTH - 6.0:
            turn = 0.0 if rng.random() < 0.5 else np.pi
            add_car(shapes, frame.then(x + 2.1, side * (ROAD_WIDTH / 2 - 0.6), turn), rng)
            x += 5.0 + float(rng.exponential(7.0))


def _add_ground(shapes: Shapes, frame: Place, rng: np.random.Generator) -> None:
    ends, half = (-BEYOND, LENGTH + BEYOND), ROAD_WIDTH / 2
    asphalt = painter(materials.ground, rng, ROAD_DENSITY, "gravel", 1.0, (98, 98, 102), 0.35)
    own = np.random.default_rng(rng.integers(2**63))

    def road(width: float, height: float) -> Image:
        canvas = asphalt(width, height)
        _mark_road(canvas, own, width, height)
        return canvas

    shapes.add_level(rectangle(ends, (-half, half)), 0.0, road, place=frame)
    for low in (-half - PAVEMENT, half):
        stone = painter(
            materials.tiles,
            rng,
            ROAD_DENSITY,
            ((176, 170, 160), (160, 158, 154), (190, 178, 160)),
            0.5,
        )
        shapes.add_level(rectangle(ends, (low, low + PAVEMENT)), 0.0, stone, place=frame)


def _mark_road(canvas: Image, rng: np.random.Generator, width: float, height: float) -> None:
    """Paint the middle line, zebra crossings, patches and manhole covers."""

    def pixels(x: float, y: float) -> tuple[int, int]:
        return round(x * ROAD_DENSITY), round(y * ROAD_DENSITY)

    for _ in range(14):
        x, y = float(rng.uniform(0, width)), float(rng.uniform(0.5, height - 2))
        shade = float(rng.uniform(55, 130))
        corner = (x + float(rng.uniform(0.8, 3.5)), y + float(rng.uniform(0.6, 1.6)))
        cv2.rectangle(canvas, pixels(x, y), pixels(*corner), (shade, shade, shade + 4), -1)
    for x in np.arange(0.0, width, 4.0):
        cv2.rectangle(
            canvas,
            pixels(x, height / 2 - 0.07),
            pixels(x + 2.0, height / 2 + 0.07),
            (226,) * 3,
            -1,
        )
    for x in rng.uniform(10.0, width - 10.0, size=3):
        for y in np.arange(0.4, height - 0.4, 1.0):
            cv2.rectangle(canvas, pixels(x, y), pixels(x + 3.0, y + 0.5), (236, 236, 230), -1)
    for x, y in rng.uniform((0.0, 1.0), (width, height - 1.0), size=(16, 2)):
        cv2.circle(canvas, pixels(x, y), round(0.33 * ROAD_DENSITY), (60, 58, 56), -1, cv2.LINE_AA)
        cv2.circle(canvas, pixels(x, y), round(0.25 * ROAD_DENSITY), (96, 92, 88), 2, cv2.LINE_AA)


def _add_sky(shapes: Shapes, frame: Place, rng: np.random.Generator) -> None:
    """Close the view with a box of sky far away; it moves with nothing and no lamp lights it."""
    centre = frame.then(LENGTH / 2, 0.0)
    far: Array = centre.to_map(rectangle((-SKY_M, SKY_M), (-SKY_M, SKY_M)))
    for wall in range(4):
        side = painter(_horizon, rng, SKY_DENSITY)
        shapes.add_wall(far[(wall + 1) % 4], far[wall], -2.0, SKY_M * 0.8, side, glows=True)
    top = painter(_zenith, rng, SKY_DENSITY)
    shapes.add_level(far, SKY_M * 0.8, top, faces_up=False, glows=True)


def _horizon(rng: np.random.Generator, width: float, height: float, density: float) -> Image:
    """Paint the sky above the horizon: bright and hazy below, blue above, with clouds."""
    canvas = flat(width, height, density, (120.0, 165.0, 215.0))
    haze = np.linspace(0.0, 1.0, canvas.shape[0], dtype=np.float32)[:, None, None] ** 2
    canvas += haze * (np.array([225.0, 228.0, 230.0], dtype=np.float32) - canvas)
    cloud = np.clip(0.7 * noise(rng, canvas.shape, (60.0, 160.0), 5) - 0.1, 0.0, 1.0)
    return finish(canvas + cloud * (248.0 - canvas))


def _zenith(rng: np.random.Generator, width: float, height: float, density: float) -> Image:
    """Paint the sky overhead."""
    canvas = flat(width, height, density, (120.0, 165.0, 215.0))
    cloud = np.clip(0.7 * noise(rng, canvas.shape, (120.0, 120.0), 5) - 0.1, 0.0, 1.0)
    return finish(canvas + cloud * (248.0 - canvas))
