"""Write drives through the simulator's world as a dataset folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from mspr_ros.camera import CameraModel
from mspr_ros.data.frame import Frame
from mspr_ros.data.writer import new_folder, write_tables
from mspr_ros.errors import MsprError
from mspr_ros.geometry import as_float_tuple, quat_xyzw_from_rotation
from mspr_ros.simulator.drive import Drive, DriveFrame
from mspr_ros.simulator.light import Light
from mspr_ros.simulator.renderer import Renderer
from mspr_ros.simulator.shapes import Image
from mspr_ros.simulator.world import World

CAMERA = "simulator"
JPEG_QUALITY = 95


def pinhole(width: int, height: int, fov_deg: float) -> CameraModel:
    """Give an ideal camera by its size in pixels and horizontal field of view.

    Raises:
        MsprError: If the field of view is not between 10 and 160 degrees.
    """
    if not 10.0 <= fov_deg <= 160.0:
        raise MsprError(f"the field of view must be 10 to 160 degrees, got {fov_deg:g}")
    focal = 0.5 * width / np.tan(0.5 * np.deg2rad(fov_deg))
    return CameraModel(
        width, height, float(focal), float(focal), 0.5 * (width - 1), 0.5 * (height - 1)
    )


def shares(total: int, number: int) -> list[int]:
    """Split a total into parts that differ by one at most."""
    return [total // number + (index < total % number) for index in range(number)]


def record(
    folder: Path,
    *,
    world: World,
    camera: CameraModel,
    frames: int,
    seed: int,
    scenes: Sequence[str] | None = None,
    drives: int = 1,
    rate_hz: float = 10.0,
    split: str = "train",
    handheld: bool = False,
    png: bool = False,
    light: Light | None = None,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Render drives and write them as a new dataset.

    Args:
        folder: Must not exist yet; it appears only when it is complete.
        world: The places.
        camera: The camera, distorted or not.
        frames: How many images, shared equally among the scenes and then among the drives.
        seed: Fixes the drives, their light and the noise.
        scenes: Which scenes; none for all.
        drives: How many drives through each scene, each in a light of its own; each is a sequence.
        rate_hz: Exposures a second.
        split: `train`, `val` or `test`.
        handheld: Whether the camera is carried instead of driven.
        png: Whether to write PNG instead of JPEG of quality 95.
        light: The light of all drives; none to draw one for every drive and scene.
        progress: Called after every image.

    Raises:
        MsprError: If the folder exists or an argument does not fit.
    """
    names = tuple(world.scenes if scenes is None else scenes)
    if frames < len(names) * drives or drives < 1:
        raise MsprError(
            f"{frames} frames are too few for {drives} drives through {len(names)} scenes"
        )
    parts = [shares(of_scene, drives) for of_scene in shares(frames, len(names))]
    written: list[Frame] = []
    with new_folder(folder) as temporary:
        renderer = Renderer(world, camera)
        for number in range(drives):
            drive = Drive(
                world,
                names,
                # Far apart, so that neighbouring seeds share no drive.
                seed=seed * 100_003 + number,
                rate_hz=rate_hz,
                frames_per_scene=[of_scene[number] for of_scene in parts],
                handheld=handheld,
                light=light,
            )
            rng = np.random.default_rng([drive.seed, 1])
            sequence = f"seed{seed}-drive{number}"
            for frame in drive:
                image = renderer.render(frame.scene, frame.T_map_cam, frame.light, rng)
                path = _save(temporary, frame, sequence, image, png)
                written.append(_describe(frame, split, sequence, path))
                progress()
        write_tables(
            temporary,
            name=f"simulator-{world.name}",
            frames=written,
            cameras={CAMERA: camera},
            scenes=names,
            synthetic_stamps=True,
        )


def _save(folder: Path, frame: DriveFrame, sequence: str, image: Image, png: bool) -> Path:
    name = f"{frame.stamp_ns:015d}.{'png' if png else 'jpg'}"
    path = folder / "images" / frame.scene / sequence / name
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [] if png else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    if not cv2.imwrite(str(path), np.ascontiguousarray(image[:, :, ::-1]), options):
        raise MsprError(f"cannot write {path}")
    return path


def _describe(frame: DriveFrame, split: str, sequence: str, path: Path) -> Frame:
    x, y, z = as_float_tuple(frame.T_map_cam[:3, 3])
    qx, qy, qz, qw = as_float_tuple(quat_xyzw_from_rotation(frame.T_map_cam[:3, :3]))
    return Frame(
        frame.scene, split, sequence, frame.stamp_ns, CAMERA, path, (x, y, z), (qx, qy, qz, qw)
    )
