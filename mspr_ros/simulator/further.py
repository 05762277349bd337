"""Places beyond those of every world: as many rooms as are wanted, twins, and halves of a hall.

- `office-2`, `lounge-17`, `corridor`, `corridor-3`: another room of the kind, elsewhere.
- `corridor-twin`, `office-2-twin`: a room that looks exactly like the one it is named after and
  stands elsewhere: no picture tells the two apart.
- `hall-west`, `hall-east`: two overlapping parts of one hall, with the same walls about them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mspr_ros.simulator.rooms import KINDS, build_room
from mspr_ros.simulator.scene import DriveStyle, Scene
from mspr_ros.simulator.shapes import rectangle
from mspr_ros.simulator.walls import RoomKind

FURTHER = "further ones such as office-2, corridor, corridor-twin, hall-west"
CORRIDOR = RoomKind(
    ("bookcase", "plant", "plant"),
    (),
    ((222, 222, 214), (222, 222, 214), (206, 214, 206), (206, 214, 206)),
    ("poster", "sign", "clock"),
    "carpet",
    width=(12.0, 13.0),
    depth=(2.8, 3.0),
)
HALL = replace(KINDS["lounge"], width=(11.0, 11.5))
KINDS_OF_NAMES = {**KINDS, "corridor": CORRIDOR}
# The share of the hall's length that both of its parts have.
OVERLAP = 0.4
_HALVES = ("hall-west", "hall-east")
_NAME = re.compile(rf"({'|'.join(KINDS_OF_NAMES)})(?:-([1-9]\d*))?(-twin)?")
# Rows of further rooms run north of the house, so that none stands on another.
_ROW_M, _COLUMN_M, _FIRST_ROW_M, _COLUMNS = 8.0, 16.0, 20.0, 10


def is_further(name: str) -> bool:
    """Tell whether a name is that of a further place."""
    return name in _HALVES or _NAME.fullmatch(name) is not None


def room_names(count: int) -> tuple[str, ...]:
    """Give the names of so many rooms that differ: office, lounge, kitchen, office-2, ..."""
    kinds = tuple(KINDS)
    return tuple(
        kinds[i % len(kinds)] + (f"-{i // len(kinds) + 1}" if i >= len(kinds) else "")
        for i in range(count)
    )


def build_further(name: str, stream: Callable[[str], np.random.Generator]) -> Scene:
    """Build a further place.

    Args:
        name: Of which `is_further` is true.
        stream: Gives the random stream of a place's name.
    """
    if name in _HALVES:
        return _half_of_hall(name, stream("hall"))
    found = _NAME.fullmatch(name)
    assert found is not None, name
    kind, number, twin = found.group(1), int(found.group(2) or 1), bool(found.group(3))
    original = name.removesuffix("-twin")
    return build_room(name, KINDS_OF_NAMES[kind], _origin(kind, number, twin), stream(original))


def _origin(kind: str, number: int, twin: bool) -> tuple[float, float]:
    """Give a room's corner: every kind has rows of its own, twins behind all others."""
    kinds = list(KINDS_OF_NAMES)
    row = kinds.index(kind) + len(kinds) * ((number - 1) // _COLUMNS)
    column = (number - 1) % _COLUMNS
    side = -1.0 if twin else 1.0
    return _COLUMN_M * column, side * (_FIRST_ROW_M + 20.0 * twin + _ROW_M * row)


def _half_of_hall(name: str, rng: np.random.Generator) -> Scene:
    """Build the whole hall, and let one drive in a part of it."""
    hall = build_room(name, HALL, (-40.0, _FIRST_ROW_M), rng)
    (left, low), (right, high) = hall.outline[0], hall.outline[2]
    reach = 0.5 * (1.0 + OVERLAP) * (right - left)
    x = (left, left + reach) if name == "hall-west" else (right - reach, right)
    outline = rectangle((float(x[0]), float(x[1])), (float(low), float(high)))
    return Scene(name, hall.faces, hall.solids, outline, DriveStyle())
