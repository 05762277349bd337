"""Worlds: a name fixes every place in it, down to the pictures on the walls."""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from mspr_ros.errors import MsprError
from mspr_ros.simulator.further import FURTHER, build_further, is_further
from mspr_ros.simulator.rooms import KINDS, build_room
from mspr_ros.simulator.scene import Scene
from mspr_ros.simulator.street import build_street

# Rooms lie side by side in the one map frame, the street runs before the house.
ROOM_ORIGINS: dict[str, tuple[float, float]] = {
    "office": (0.0, 0.0),
    "lounge": (9.0, 0.0),
    "kitchen": (18.0, 0.0),
}
STREET = "street"


class World:
    """Hold the scenes of a world; each is built when it is first needed.

    Use `World.build(name)`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.scenes: tuple[str, ...] = (*ROOM_ORIGINS, STREET)
        self._built: dict[str, Scene] = {}

    @classmethod
    def build(cls, name: str = "demo") -> World:
        """Give the world of a name: the same places for the same name, on every machine."""
        return _world(name)

    def scene(self, name: str) -> Scene:
        """Give a scene.

        Raises:
            MsprError: If the world has no such scene.
        """
        if not self.knows(name):
            known = ", ".join(self.scenes)
            raise MsprError(
                f"world '{self.name}' has no scene '{name}', only {known} and {FURTHER}"
            )
        if name not in self._built:
            if name == STREET:
                self._built[name] = build_street(name, (-10.0, -20.0), self._stream(name))
            elif name in ROOM_ORIGINS:
                origin = ROOM_ORIGINS[name]
                self._built[name] = build_room(name, KINDS[name], origin, self._stream(name))
            else:
                self._built[name] = build_further(name, self._stream)
        return self._built[name]

    def knows(self, name: str) -> bool:
        """Tell whether there is a scene of this name, in `scenes` or a further one."""
        return name in self.scenes or is_further(name)

    def _stream(self, name: str) -> np.random.Generator:
        """Give a scene its own random stream, so that building one never moves another."""
        digest = hashlib.sha256(f"{self.name}/{name}".encode()).digest()
        return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


@functools.lru_cache(maxsize=4)
def _world(name: str) -> World:
    return World(name)
