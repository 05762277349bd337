"""The second pass over a bag: stream the chosen images into a dataset folder, one at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
from tqdm import tqdm

from mspr_ros.bags.images import file_suffix, is_compressed, rgb_from_message
from mspr_ros.bags.partial import ImageFile, PartialImport
from mspr_ros.bags.reading import Bag
from mspr_ros.bags.scanning import BagOptions, BagScan, camera_of
from mspr_ros.camera import CameraModel
from mspr_ros.data.frame import Frame
from mspr_ros.data.importers import CAMERA_NAME
from mspr_ros.errors import DatasetError, ImageError


@dataclass
class Recording:
    """A bag and the frames chosen from it, by their places among its images."""

    scan: BagScan
    frames: dict[int, Frame]


class ImageWriter:
    """Stream the chosen images of bags into a dataset folder, and name their cameras."""

    def __init__(
        self,
        partial: PartialImport,
        options: BagOptions,
        jpeg_quality: int,
        left_out: dict[str, int],
    ) -> None:
        self._partial = partial
        self._options = options
        self._jpeg_quality = jpeg_quality
        self._left_out = left_out
        self.cameras: dict[str, CameraModel] = {}

    def write(self, number: int, recording: Recording) -> list[Frame]:
        """Write the images of one bag that are not there yet, and give its frames, complete."""
        scan, wanted = recording.scan, recording.frames
        outcomes = self._partial.of_bag(number)
        pending = wanted.keys() - outcomes.keys()
        last = max(pending, default=-1)
        progress = tqdm(
            total=len(wanted),
            initial=len(wanted) - len(pending),
            desc=f"writing {scan.path.name}",
            unit="image",
            disable=None,
        )
        with Bag(scan.path, tolerant=True) as bag, progress:
            for ordinal, message in enumerate(bag.messages([scan.image_topic])):
                if ordinal > last:
                    break
                if ordinal not in pending:
                    continue
                progress.update()
                try:
                    content = message.deserialize()
                    outcome: ImageFile | str = self._write(wanted[ordinal], content, scan)
                except (ImageError, DatasetError) as error:
                    outcome = str(error)
                self._partial.note(number, ordinal, outcome)
                outcomes[ordinal] = outcome
        return self._frames(wanted, outcomes, scan)

    def _frames(
        self, wanted: dict[int, Frame], outcomes: dict[int, ImageFile | str], scan: BagScan
    ) -> list[Frame]:
        """Give the frames whose images are there, in order, and count the others."""
        frames: list[Frame] = []
        for ordinal, frame in sorted(wanted.items()):
            image = outcomes.get(ordinal)
            if isinstance(image, ImageFile):
                camera = self._camera(scan, image.frame_id, image.width, image.height)
                name = self._camera_name(camera, image.frame_id)
                path = self._partial.folder / image.path
                frames.append(replace(frame, image=path, camera=name))
            elif image is not None:
                self._left_out[image] = self._left_out.get(image, 0) + 1
        return frames

    def _camera(self, scan: BagScan, frame_id: str, width: int, height: int) -> CameraModel | None:
        return camera_of(self._options, scan.cameras, frame_id, width, height)

    def _write(self, frame: Frame, message: Any, scan: BagScan) -> ImageFile:
        """Write one image.

        Raises:
            ImageError: If it cannot be decoded, or is not of its camera's size.
        """
        pixels = rgb_from_message(message)
        height, width = pixels.shape[:2]
        frame_id = str(message.header.frame_id)
        camera = self._camera(scan, frame_id, width, height)
        if camera is not None and (camera.width, camera.height) != (width, height):
            raise ImageError(
                f"the image is {width}x{height} but its camera {camera.width}x{camera.height}"
            )
        suffix = file_suffix(message) if is_compressed(message) else ""
        suffix = suffix or (".jpg" if self._jpeg_quality else ".png")
        if is_compressed(message) and file_suffix(message):
            data = bytes(memoryview(message.data))
        else:
            quality = [cv2.IMWRITE_JPEG_QUALITY, self._jpeg_quality] if self._jpeg_quality else []
            bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
            done, encoded = cv2.imencode(suffix, bgr, quality)
            if not done:
                raise ImageError(f"OpenCV could not encode an image as {suffix}")
            data = encoded.tobytes()
        image = frame.image.with_name(frame.image.name + suffix)
        path = self._partial.folder / image
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return ImageFile(str(image), len(data), frame_id, width, height)

    def _camera_name(self, camera: CameraModel | None, frame_id: str) -> str:
        """Name a camera by its optical frame; another model of the same name gets a number."""
        if camera is None:
            return ""
        base = frame_id.lstrip("/").removesuffix("_optical_frame").removesuffix("_optical")
        name = base = base or CAMERA_NAME
        number = 2
        while self.cameras.setdefault(name, camera) != camera:
            name, number = f"{base}-{number}", number + 1
        return name
