"""The images of a bag that is judged: read one after the other, each with camera and scene."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mspr_ros.bags import SCENE_TOPIC, STRING, Bag
from mspr_ros.bags.images import rgb_from_message
from mspr_ros.bags.reading import BagMessage
from mspr_ros.bags.scanning import BagOptions, BagScan, camera_of
from mspr_ros.camera import CameraModel
from mspr_ros.errors import ConfigError, DatasetError, ImageError
from mspr_ros.evaluation.answers import ImageU8
from mspr_ros.geometry import Array


@dataclass(frozen=True)
class BagInput:
    """One bag as it is to be judged.

    Args:
        name: What it is called in the report; no other bag of the report is called so.
        scan: What the first pass found, of every image; its poses are the truth.
        options: What the scan was made with.
        scene: The scene that the truth is of; empty to hear it from `/ground_truth/scene`, or
            where the bundle knows only one.
        odometry: The camera's poses in the frame of odometry (N, 4, 4), NaN where there is
            none, for each of the scan's images; None without odometry.
        odometry_source: Where they come from.
    """

    name: str
    scan: BagScan
    options: BagOptions
    scene: str = ""
    odometry: Array | None = None
    odometry_source: str = ""

    @property
    def has_truth(self) -> bool:
        """Whether the true pose of any image is known."""
        return bool(np.isfinite(self.scan.T_map_cam).all(axis=(1, 2)).any())


def images_of(bag: BagInput, rows: list[int]) -> dict[int, tuple[ImageU8, CameraModel | None]]:
    """Read some of a scan's images once more; what cannot be decoded is left out.

    Args:
        bag: The bag.
        rows: Which of the scan's images.
    """
    wanted = {int(bag.scan.ordinals[row]): row for row in rows}
    last = max(wanted, default=-1)
    found: dict[int, tuple[ImageU8, CameraModel | None]] = {}
    loader = ImageLoader(bag)
    with Bag(bag.scan.path, tolerant=True) as source:
        for ordinal, message in enumerate(source.messages([bag.scan.image_topic])):
            if ordinal > last:
                break
            if ordinal in wanted:
                loaded = loader.load(("", message))
                if not isinstance(loaded.picture, ImageError):
                    found[wanted[ordinal]] = (loaded.picture, loaded.camera)
    return found


@dataclass(frozen=True)
class LoadedImage:
    """A picture or why there is none, its camera where that is known, and how long it took."""

    picture: ImageU8 | ImageError
    camera: CameraModel | None
    milliseconds: float


class ImageLoader:
    """Decode an image message and find its camera; called from several threads."""

    def __init__(self, bag: BagInput) -> None:
        self._options, self._cameras = bag.options, bag.scan.cameras

    def load(self, item: tuple[str, BagMessage]) -> LoadedImage:
        """Decode the message of a pair of scene and message."""
        start_s = time.perf_counter()
        camera = None
        picture: ImageU8 | ImageError
        try:
            message = item[1].deserialize()
            picture = rgb_from_message(message)
            camera = self._camera(str(message.header.frame_id), picture)
        except (ImageError, DatasetError) as error:
            picture = error if isinstance(error, ImageError) else ImageError(str(error))
        return LoadedImage(picture, camera, 1e3 * (time.perf_counter() - start_s))

    def _camera(self, frame_id: str, picture: ImageU8) -> CameraModel | None:
        height, width = picture.shape[:2]
        camera = camera_of(self._options, self._cameras, frame_id, width, height)
        if camera is not None and (camera.width, camera.height) != (width, height):
            raise ImageError(
                f"the image is {width}x{height} but its camera {camera.width}x{camera.height}"
            )
        return camera


class SceneTeller:
    """Say for each image of a bag which scene its true pose is of.

    Raises:
        ConfigError: If the bundle knows several scenes and nobody says which one it is.
    """

    def __init__(self, bag: BagInput, scene_names: tuple[str, ...]) -> None:
        self._bag = bag
        with Bag(bag.scan.path, tolerant=True) as source:
            told = any(
                topic.name == SCENE_TOPIC and topic.type_name == STRING and topic.count
                for topic in source.topics
            )
        self._listens = told and not bag.scene
        self._scene = bag.scene or (scene_names[0] if len(scene_names) == 1 else "")
        if bag.scene and bag.scene not in scene_names:
            raise ConfigError(
                f"the bundle does not know scene '{bag.scene}', only {', '.join(scene_names)}"
            )
        if bag.has_truth and not self._scene and not self._listens:
            raise ConfigError(
                f"the bundle knows {len(scene_names)} scenes ({', '.join(scene_names)}): say with "
                f"--scene which one the poses of {bag.scan.path} are of"
            )

    def images(self, source: Bag) -> Iterator[tuple[str, BagMessage]]:
        """Give the scan's images in their order, each with its scene."""
        scan, scene, ordinal = self._bag.scan, self._scene, -1
        wanted = set(scan.ordinals.tolist())
        last = max(wanted, default=-1)
        topics = [scan.image_topic, *([SCENE_TOPIC] if self._listens else [])]
        for message in source.messages(topics):
            if message.topic == SCENE_TOPIC:
                scene = _text(message) or scene
                continue
            ordinal += 1
            if ordinal in wanted:
                yield scene, message
            if ordinal >= last:
                return


def _text(message: BagMessage) -> str:
    try:
        return str(message.deserialize().data)
    except DatasetError:
        return ""
