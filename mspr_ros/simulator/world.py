"""Worlds: a name fixes every place in it, down to the pictures on the walls."""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from mspr_ros.errors import MsprError
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
        if name not in self.scenes:
            known = ", ".join(self.scenes)
            raise MsprError(f"world '{self.name}' has no scene '{name}', only {known}")
        if name not in self._built:
            # Each scene has a random stream of its own, so that building one never moves another.
            digest = hashlib.sha256(f"{self.name}/{name}".encode()).digest()
            rng = np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
            if name == STREET:
                self._built[name] = build_street(name, (-10.0, -20.0), rng)
            else:
                self._built[name] = build_room(name, KINDS[name], ROOM_ORIGINS[name], rng)
        return self._built[name]


@functools.lru_cache(maxsize=4)
def _world(name: str) -> World:
    return World(name)
