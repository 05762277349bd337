"""The simulator's pictures against independent float64 geometry."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mspr_ros.camera import CameraModel
from mspr_ros.simulator.light import Light
from mspr_ros.simulator.renderer import Renderer
from mspr_ros.simulator.scene import DriveStyle, Scene
from mspr_ros.simulator.shapes import Place, Shapes, rectangle
from mspr_ros.simulator.world import World

CAMERA = CameraModel(320, 240, 230.0, 228.0, 158.3, 121.1)


def pose(position, yaw, pitch=0.0, roll=0.0):
    """Give T_map_cam of a camera that looks along yaw and pitch."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    turned = np.cos(roll) * right + np.sin(roll) * down
    T_map_cam = np.eye(4)
    T_map_cam[:3, :3] = np.column_stack([turned, np.cross(forward, turned), forward])
    T_map_cam[:3, 3] = position
    return T_map_cam


def world_of(shapes):
    scene = Scene(
        "test", tuple(shapes.faces), tuple(shapes.solids), rectangle((0, 5), (0, 5)), DriveStyle()
    )
    return SimpleNamespace(scene=lambda name: scene, scenes=("test",))


def dotted_wall(dots, density=100.0, radius=0.04):
    """Give a painter of a black wall with white discs at metres from its upper left corner."""

    def paint(width, height):
        canvas = np.zeros((round(height * density), round(width * density), 3), np.uint8)
        for x, y in dots:
            # Texel i has its centre at (i + 1/2) / density metres; four binary digits of it.
            centre = (round((x * density - 0.5) * 16), round((y * density - 0.5) * 16))
            cv2.circle(
                canvas, centre, round(radius * density * 16), (255,) * 3, -1, cv2.LINE_AA, 4
            )
        return canvas

    return paint


def spot(image, u, v, reach):
    """Give the centre of mass of the light around a pixel."""
    column, row = round(u), round(v)
    window = image[row - reach : row + reach + 1, column - reach : column + reach + 1, 0].astype(
        float
    )
    assert window.sum() > 300.0, "there is no marker"
    rows, columns = np.mgrid[row - reach : row + reach + 1, column - reach : column + reach + 1]
    return np.array([(columns * window).sum(), (rows * window).sum()]) / window.sum()


MARKERS = np.array([[0.8, 0.6], [2.0, 1.0], [3.2, 0.7], [1.1, 1.9], [3.0, 2.0]])
# The wall runs from (4, 3) to (4, -1), left to right for who looks along x, and is 2.5 m high.
MARKERS_MAP = np.column_stack([np.full(5, 4.0), 3.0 - MARKERS[:, 0], 2.5 - MARKERS[:, 1]])
LENSES = {
    "pinhole": CAMERA,
    "plumb_bob": CameraModel(
        320, 240, 230.0, 228.0, 158.3, 121.1, "plumb_bob", (-0.25, 0.08, 0.002, -0.001, 0.0)
    ),
    "equidistant": CameraModel(
        320, 240, 180.0, 181.0, 158.3, 121.1, "equidistant", (-0.02, 0.01, 0.001, 0.0)
    ),
    "equidistant zeros": CameraModel(
        320, 240, 180.0, 181.0, 158.3, 121.1, "equidistant", (0.0, 0.0, 0.0, 0.0)
    ),
}


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("distance", [1.9, 4.0])
def test_a_marker_appears_where_the_camera_matrix_says(lens, distance):
    camera = LENSES[lens]
    shapes = Shapes()
    shapes.add_wall((4.0, 3.0), (4.0, -1.0), 0.0, 2.5, dotted_wall(MARKERS))
    T_map_cam = pose((4.0 - distance, 0.9, 1.2), 0.1, -0.05, 0.07)
    image = Renderer(world_of(shapes), camera).render("test", T_map_cam)
    in_camera = (MARKERS_MAP - T_map_cam[:3, 3]) @ T_map_cam[:3, :3]
    coefficients = np.array(camera.distortion)
    fisheye = camera.distortion_model == "equidistant"
    project = cv2.fisheye.projectPoints if fisheye else cv2.projectPoints
    args = (in_camera[:, None], np.zeros(3), np.zeros(3), camera.K, coefficients)
    expected = project(*args)[0].reshape(-1, 2)
    reach = round(0.1 * camera.fx / distance) + 2
    inside = np.all((expected > reach + 1) & (expected < (318 - reach, 238 - reach)), axis=1)
    assert inside.sum() >= 2
    for u, v in expected[inside]:
        assert np.linalg.norm(spot(image, u, v, reach) - (u, v)) < 0.3


def test_the_picture_lies_on_a_floor_as_seen_from_above():
    shapes = Shapes()
    place = Place(1.0, 2.0, 0.5)
    marker = dotted_wall([(0.5, 0.3)])
    shapes.add_level(rectangle((-1.0, 1.0), (-0.5, 1.5)), 0.2, marker, place=place)
    # Picture right is the place's x, picture up its y: the disc is 0.5 m from low x and 0.3 m
    # below high y.
    in_map = np.append(place.to_map([[-0.5, 1.2]])[0], 0.2)
    T_map_cam = pose((0.0, 1.0, 1.8), 0.8, -0.8)
    image = Renderer(world_of(shapes), CAMERA).render("test", T_map_cam)
    x, y, z = (in_map - T_map_cam[:3, 3]) @ T_map_cam[:3, :3]
    u, v = CAMERA.fx * x / z + CAMERA.cx, CAMERA.fy * y / z + CAMERA.cy
    assert np.linalg.norm(spot(image, u, v, 12) - (u, v)) < 0.5


def cast(scene, T_map_cam, camera, pixels):
    """Follow the ray of each pixel: the nearest front of a face, and its 1/z.

    Pixels whose ray passes within a hair of an edge, or of two faces at once, are marked unsure.
    """
    rays = np.column_stack(
        [
            (pixels[:, 0] - camera.cx) / camera.fx,
            (pixels[:, 1] - camera.cy) / camera.fy,
            np.ones(len(pixels)),
        ]
    )
    rays = rays @ T_map_cam[:3, :3].T
    centre = T_map_cam[:3, 3]
    depth = np.full((len(scene.faces), len(pixels)), np.inf)
    edge = np.full(depth.shape, np.inf)
    for number, face in enumerate(scene.faces):
        height = float(face.normal @ (centre - face.origin))
        towards = -(rays @ face.normal)
        if height <= 0.0:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            z = height / towards
        hit = centre + z[:, None] * rays - face.origin
        point = np.column_stack([hit @ face.right, hit @ face.down])
        step = np.roll(face.polygon, -1, axis=0) - face.polygon
        offset = point[:, None] - face.polygon
        margin = (step[:, 0] * offset[..., 1] - step[:, 1] * offset[..., 0]) / np.linalg.norm(
            step, axis=1
        )
        margin = margin.min(axis=1)
        valid = (towards > 0.0) & (z > 0.03)
        depth[number] = np.where(valid & (margin >= 0.0), z, np.inf)
        edge[number] = np.where(valid, np.abs(margin) / np.where(valid, z, 1.0), np.inf)
    order = np.sort(depth, axis=0)
    unsure = (edge < 1e-4).any(axis=0) | (order[1] - order[0] < 1e-3)
    return depth.argmin(axis=0), 1.0 / order[0], unsure


@pytest.mark.parametrize("scene", ["office", "lounge", "kitchen", "street"])
def test_every_pixel_sees_what_a_cast_ray_hits(scene):
    world = World.build("demo")
    outline = world.scene(scene).outline
    renderer = Renderer(world, CAMERA)
    rng = np.random.default_rng(3)
    checked = 0
    for _ in range(4):
        position = (*rng.uniform(outline[0] + 0.6, outline[2] - 0.6), rng.uniform(0.9, 1.3))
        # Even a camera inside a piece of furniture has to agree: only fronts are seen.
        angles = rng.uniform((-np.pi, -0.3, -0.2), (np.pi, 0.2, 0.2))
        T_map_cam = pose(position, *angles)
        view = renderer.view(scene, T_map_cam)
        pixels = np.column_stack([rng.integers(320, size=250), rng.integers(240, size=250)])
        index, inverse_depth, unsure = cast(world.scene(scene), T_map_cam, CAMERA, pixels)
        sure = ~unsure
        drawn = view.index[pixels[:, 1], pixels[:, 0]]
        depth = view.inverse_depth[pixels[:, 1], pixels[:, 0]]
        np.testing.assert_array_equal(drawn[sure], index[sure])
        np.testing.assert_allclose(depth[sure], inverse_depth[sure], rtol=1e-4)
        checked += int(sure.sum())
    assert checked > 800


@pytest.mark.parametrize("scene", ["office", "lounge", "kitchen", "street"])
def test_no_pixel_is_left_empty(scene):
    world = World.build("demo")
    middle = world.scene(scene).outline.mean(axis=0)
    renderer = Renderer(world, CAMERA)
    for yaw in np.arange(0.0, 6.0, 0.7):
        view = renderer.view(scene, pose((*middle, 1.2), yaw, 0.1))
        assert (view.index >= 0).all()


def test_brightness_temperature_and_vignetting_act_as_named():
    shapes = Shapes()
    grey = np.full((50, 50, 3), 120, np.uint8)
    shapes.add_wall((4.0, 9.0), (4.0, -9.0), -8.0, 8.0, lambda width, height: grey)
    renderer = Renderer(world_of(shapes), CAMERA)
    T_map_cam = pose((1.0, 0.0, 0.0), 0.0)
    plain = renderer.render("test", T_map_cam)
    assert np.all(plain == 120)
    bright = renderer.render("test", T_map_cam, Light(brightness=1.5))
    assert np.all(bright == 180)
    warm = renderer.render("test", T_map_cam, Light(temperature_k=3500.0))[120, 160].astype(int)
    cold = renderer.render("test", T_map_cam, Light(temperature_k=10000.0))[120, 160].astype(int)
    assert warm[0] - warm[2] > 30 and cold[2] - cold[0] > 10
    dark = renderer.render("test", T_map_cam, Light(vignetting=0.5))
    assert dark[121, 158, 0] == 120 and 58 <= dark.min() <= 62
    away = Light(towards_lamp=(1.0, 0.0, 0.0), lamp_strength=0.4)
    assert np.all(renderer.render("test", T_map_cam, away) == 72)


def test_noise_has_the_asked_strength_and_follows_the_generator():
    shapes = Shapes()
    grey = np.full((50, 50, 3), 120, np.uint8)
    shapes.add_wall((4.0, 9.0), (4.0, -9.0), -8.0, 8.0, lambda width, height: grey)
    renderer = Renderer(world_of(shapes), CAMERA)
    T_map_cam = pose((1.0, 0.0, 0.0), 0.0)
    images = [
        renderer.render("test", T_map_cam, Light(noise=5.0), np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    assert images[0].std() == pytest.approx(5.0, rel=0.05)
    assert images[0].mean() == pytest.approx(120.0, abs=0.2)
    np.testing.assert_array_equal(images[0], images[1])
    assert np.abs(images[0].astype(int) - images[2]).mean() > 2.0
