"""Places beyond those of every world: many that differ, twins, and parts that overlap."""

from __future__ import annotations

import numpy as np
import pytest

from mspr_ros.errors import MsprError
from mspr_ros.simulator.drive import Drive
from mspr_ros.simulator.further import OVERLAP, _origin, is_further, room_names
from mspr_ros.simulator.recording import pinhole
from mspr_ros.simulator.renderer import Renderer
from mspr_ros.simulator.world import World

CAMERA = pinhole(64, 48, 70.0)


def test_sixty_four_rooms_have_names_and_ground_of_their_own() -> None:
    names = room_names(64)
    assert len(set(names)) == 64 and names[:4] == ("office", "lounge", "kitchen", "office-2")
    world = World("many")
    assert all(world.knows(name) for name in names)
    kinds = ("office", "lounge", "kitchen", "corridor")
    corners = [_origin(k, n, twin) for k in kinds for n in range(1, 25) for twin in (False, True)]
    apart = np.abs(np.subtract(np.array(corners)[:, None], np.array(corners)[None]))
    overlaps = (apart[..., 0] < 13.0) & (apart[..., 1] < 7.2)
    assert overlaps.sum() == len(corners)  # each with itself only


def test_rooms_of_a_kind_differ() -> None:
    world = World("many")
    one, other = world.scene("office-2"), world.scene("office-3")
    assert len(one.solids) > 20 and len(other.solids) > 20
    sizes = [scene.outline[2] - scene.outline[0] for scene in (one, other)]
    assert not np.allclose(*sizes)


def test_no_picture_tells_twins_apart_but_the_map_does() -> None:
    world = World("many")
    scene, twin = world.scene("corridor"), world.scene("corridor-twin")
    move = twin.outline[0] - scene.outline[0]
    assert np.linalg.norm(move) > 20.0
    width, depth = scene.outline[2] - scene.outline[0]
    assert width > 4.0 * depth
    renderer = Renderer(world, CAMERA)
    for frame in Drive(world, ["corridor"], seed=1, rate_hz=0.2, frames_per_scene=3):
        there = frame.T_map_cam.copy()
        there[:2, 3] += move
        pictures = [
            renderer.render("corridor", frame.T_map_cam),
            renderer.render("corridor-twin", there),
        ]
        assert pictures[0].std() > 5.0
        np.testing.assert_allclose(*np.array(pictures, dtype=float), atol=2.0)


def test_the_parts_of_the_hall_share_ground_and_look() -> None:
    world = World("many")
    west, east = world.scene("hall-west"), world.scene("hall-east")
    left, right = east.outline[0, 0], west.outline[2, 0]
    length = east.outline[2, 0] - west.outline[0, 0]
    assert (right - left) / length == pytest.approx(OVERLAP)
    renderer = Renderer(world, CAMERA)
    T_map_cam = next(iter(Drive(world, ["hall-west"], seed=1, frames_per_scene=1))).T_map_cam
    pictures = [renderer.render(name, T_map_cam) for name in ("hall-west", "hall-east")]
    np.testing.assert_array_equal(*pictures)
    for name, scene in (("hall-west", west), ("hall-east", east)):
        drive = Drive(world, [name], seed=2, rate_hz=0.5, frames_per_scene=20)
        spots = np.array([frame.T_map_base[:2, 3] for frame in drive])
        assert (spots > scene.outline[0]).all() and (spots < scene.outline[2]).all()


@pytest.mark.parametrize(
    "name", ["office-0", "cellar-2", "hall", "hall-north", "twin", "street-2"]
)
def test_other_names_are_refused(name: str) -> None:
    assert not is_further(name)
    with pytest.raises(MsprError, match="corridor-twin"):
        World("many").scene(name)
