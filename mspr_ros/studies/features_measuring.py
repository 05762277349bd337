"""Where the two branches look, frame by frame, and what is to be seen there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from mspr_ros.camera import CameraModel
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.frame import Frame
from mspr_ros.data.images import read_image
from mspr_ros.errors import ConfigError
from mspr_ros.evaluation.deletion import area, curves
from mspr_ros.evaluation.integrated_gradients import integrated_gradients, selection_of
from mspr_ros.evaluation.structures import by_cell, picture_structures, rank_correlation
from mspr_ros.geometry import Array
from mspr_ros.localizer import Localizer
from mspr_ros.network.attention_maps import grid_of, record_attention
from mspr_ros.network.grown import GrownRegressor
from mspr_ros.network.regressor import PoseRegressor, Selection
from mspr_ros.preprocess import ImageU8, Preprocessor
from mspr_ros.simulator.renderer import Renderer
from mspr_ros.simulator.world import World
from mspr_ros.studies.measuring import Exam

BRANCHES = ("position", "orientation")
METHODS = ("attention", "gradients")
CELL_PX = 16
_SIMULATOR = "simulator-"
# Pixels on both sides of where two faces of the simulator meet.
_OUTLINE_PX = 2
# Faces are level or upright up to so far from it (cosine and sine of 30 degrees).
_LEVEL, _UPRIGHT = 0.87, 0.5

Maps = dict[str, dict[str, Array]]  # method -> branch -> (rows, columns)


class Looker(NamedTuple):
    """A network and another of its shape that was never trained."""

    network: PoseRegressor
    fresh: PoseRegressor
    preprocessor: Preprocessor
    scenes: tuple[str, ...]


def load_looker(bundle: Path, device: str) -> Looker:
    """Read a bundle and build its untrained twin.

    Raises:
        ConfigError: If the bundle is one that further scenes were added to.
    """
    localizer = Localizer.load(bundle, device=device)
    if isinstance(localizer.network, GrownRegressor):
        raise ConfigError(f"{bundle} was taught further scenes later; study the first bundle")
    torch.manual_seed(0)
    names = localizer.metadata.scene_names
    fresh = PoseRegressor(config=localizer.metadata.network, num_scenes=len(names))
    fresh.position_centroids.copy_(localizer.network.position_centroids)
    fresh.orientation_centroids.copy_(localizer.network.orientation_centroids)
    fresh.to(localizer.device).eval()
    return Looker(localizer.network, fresh, localizer.preprocessor, names)


def measure_looks(
    bundle: Path, exams: Sequence[Exam], *, per_scene: int, steps: int, device: str = "auto"
) -> dict[str, Any]:
    """Measure where a bundle's branches look in frames of every scene.

    Args:
        bundle: Its folder.
        exams: Whose frames to look at, evenly spread over each scene's.
        per_scene: How many of each scene.
        steps: Of the integrated gradients.
        device: Where to run the network.

    Returns:
        `scenes`: for each, a list with a record a frame (see `look_at`).
    """
    looker = load_looker(bundle, device)
    todo = []
    for exam in exams:
        dataset = exam.load()
        for scene in dataset.scenes:
            frames = [frame for frame in dataset.frames if frame.scene == scene]
            if frames and scene not in looker.scenes:
                raise ConfigError(f"{bundle} does not know scene '{scene}' of {exam.folder}")
            places = np.linspace(0, len(frames) - 1, min(per_scene, len(frames))).round()
            todo += [(dataset, frames[int(place)]) for place in places]
    found: dict[str, list[dict[str, Any]]] = {}
    for dataset, frame in tqdm(todo, unit="frame", disable=None):
        found.setdefault(frame.scene, []).append(look_at(looker, dataset, frame, steps))
    return {"scenes": found}


def look_at(looker: Looker, dataset: Dataset, frame: Frame, steps: int) -> dict[str, Any]:
    """Measure one frame.

    Returns:
        `maps`, method -> branch -> rows of cells; `seen`, method -> branch -> structure -> rank
        correlation, given the distance from the middle (`middle` itself: plain); `untrained`,
        the same of the untrained twin; `retest`, method -> branch -> correlation with the same
        picture in dimmer light; `across`, method -> correlation of the two branches' maps;
        `areas`, ranking -> branch -> mean height of the deletion and the insertion curve, m and
        deg; `curves`, ranking -> branch -> deletion curve.
    """
    image, camera = read_image(frame.image), dataset.camera_of(frame)
    picture = looker.preprocessor.geometric(image, camera)
    height, width = picture.shape[:2]
    grid = (max(2, height // CELL_PX), max(2, width // CELL_PX))
    scene = looker.scenes.index(frame.scene)
    maps, chosen = maps_of(looker.network, looker.preprocessor, picture, scene, grid, steps)
    dimmer, _ = maps_of(looker.network, looker.preprocessor, dimmed(picture), scene, grid, steps)
    fresh, _ = maps_of(looker.fresh, looker.preprocessor, picture, scene, grid, steps)
    cells = {
        name: by_cell(values, grid)
        for name, values in {
            **picture_structures(picture),
            **world_structures(dataset, frame, looker.preprocessor),
        }.items()
    }
    cells["middle"] = _middle(grid)
    return {
        "maps": {
            method: {name: np.round(m / max(m.max(), 1e-12), 4).tolist() for name, m in of.items()}
            for method, of in maps.items()
        },
        "seen": {
            method: {name: _seen(m, cells) for name, m in of.items()}
            for method, of in maps.items()
        },
        "untrained": {
            method: {name: _seen(m, cells) for name, m in of.items()}
            for method, of in fresh.items()
        },
        "retest": {
            method: {name: rank_correlation(m, dimmer[method][name]) for name, m in of.items()}
            for method, of in maps.items()
        },
        "across": {
            method: rank_correlation(of["position"], of["orientation"])
            for method, of in maps.items()
        },
        **_deletion(looker, picture, chosen, maps),
    }


def maps_of(
    network: PoseRegressor,
    preprocessor: Preprocessor,
    picture: ImageU8,
    scene: int,
    grid: tuple[int, int],
    steps: int,
) -> tuple[Maps, Selection]:
    """Give both branches' attention and integrated gradients by cell, and what was answered.

    Attention is the mean over heads and decoder layers; gradients are absolute values.
    """
    device = next(network.parameters()).device
    tensor = preprocessor.normalize(torch.from_numpy(picture[None]).to(device))
    attention = {}
    with record_attention(network) as calls:
        chosen = selection_of(network, tensor, scene)
    for name in BRANCHES:
        layers = [
            calls[layer.cross_attention][0].weights[0, :, scene].mean(dim=0)
            for layer in getattr(network, f"{name}_transformer").decoder
        ]
        weights = torch.stack(layers).mean(dim=0).double().cpu().numpy()
        own = grid_of(len(weights), *picture.shape[:2])
        attention[name] = by_cell(weights.reshape(own), grid)
    found = integrated_gradients(network, preprocessor, picture, chosen, steps=steps)
    gradients = {name: by_cell(np.abs(one.pixels), grid) for name, one in found.items()}
    return {"attention": attention, "gradients": gradients}, chosen


def dimmed(picture: ImageU8) -> ImageU8:
    """Give the same picture in dimmer light, with some noise of the sensor."""
    noise = np.random.default_rng(0).normal(0.0, 2.0, picture.shape)
    return np.asarray(np.clip(0.85 * picture + noise, 0.0, 255.0).round(), dtype=np.uint8)


def world_structures(
    dataset: Dataset, frame: Frame, preprocessor: Preprocessor
) -> dict[str, Array]:
    """Give the exact geometry of a simulated frame, (h, w) each; nothing of a real one.

    `outlines` is 1 near where two faces meet, `level faces` on floors, ceilings and table tops,
    `upright faces` on walls and the like, `nearness` the inverse depth.
    """
    virtual = preprocessor.config.virtual_camera
    if not dataset.name.startswith(_SIMULATOR) or virtual is None:
        return {}
    world = World.build(dataset.name.removeprefix(_SIMULATOR))
    if frame.scene not in world.scenes:
        return {}
    camera = CameraModel(
        virtual.width, virtual.height, virtual.fx, virtual.fy, virtual.cx, virtual.cy
    )
    T_map_cam = dataset.subset([dataset.frames.index(frame)]).T_map_cam[0]
    view = Renderer(world, camera).view(frame.scene, T_map_cam)
    normals = np.array([face.normal for face in world.scene(frame.scene).faces])
    # The last entry answers index -1: pixels that show nothing.
    steepness = np.append(np.abs(normals[:, 2]), 0.7)[view.index]
    return {
        "outlines": _outlines(view.index).astype(np.float64),
        "level faces": (steepness > _LEVEL).astype(np.float64),
        "upright faces": (steepness < _UPRIGHT).astype(np.float64),
        "nearness": view.inverse_depth.astype(np.float64),
    }


def _outlines(faces: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Mark the pixels from which another face is at most `_OUTLINE_PX` away along an axis.

    Args:
        faces: (h, w) the number of the face that each pixel shows.
    """
    found = np.zeros(faces.shape, dtype=bool)
    for own, marks in ((faces, found), (faces.T, found.T)):  # views: marks stay in `found`
        for shift in range(1, _OUTLINE_PX + 1):
            differs = own[shift:] != own[:-shift]
            marks[shift:] |= differs
            marks[:-shift] |= differs
    return found


def _seen(cells: Array, structures: dict[str, Array]) -> dict[str, float]:
    """Correlate a map with every structure, given the distance from the middle; `middle` plain."""
    seen = {}
    for name, values in structures.items():
        given = None if name == "middle" else structures["middle"]
        seen[name] = round(rank_correlation(cells, values, given), 4)
    return seen


def _middle(grid: tuple[int, int]) -> Array:
    """Give nearness to the picture's middle: what an attribution may have whatever is there."""
    rows = (np.arange(grid[0]) + 0.5) / grid[0] - 0.5
    columns = (np.arange(grid[1]) + 0.5) / grid[1] - 0.5
    return np.asarray(-np.hypot(rows[:, None], columns[None]))


def _deletion(
    looker: Looker, picture: ImageU8, chosen: Selection, maps: Maps
) -> dict[str, dict[str, Any]]:
    """Delete by every map, and by chance."""
    some = maps["attention"]["position"]
    rankings = {
        f"{method}, {name}": values for method, of in maps.items() for name, values in of.items()
    }
    rankings["chance"] = np.random.default_rng(picture.size + int(picture.sum())).permutation(
        some.size
    ).reshape(some.shape).astype(np.float64)  # fmt: skip
    areas: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    for ranking, values in rankings.items():
        found = curves(looker.network, looker.preprocessor, picture, chosen, values)
        areas[ranking] = {
            name: {kind: round(area(found[kind][name]), 6) for kind in found} for name in BRANCHES
        }
        shown[ranking] = {name: found["deletion"][name].round(5).tolist() for name in BRANCHES}
    return {"areas": areas, "curves": shown}
