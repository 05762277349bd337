"""The first pass over a bag: when its images were taken, where the camera was, and its clock."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mspr_ros.bags.cameras import BagCameras, camera_info_topic
from mspr_ros.bags.images import rgb_from_message
from mspr_ros.bags.pose_source import PoseSource, stamp_ns_of
from mspr_ros.bags.reading import Bag, BagMessage, find_topic
from mspr_ros.bags.types import COMPRESSED_IMAGE, IMAGE
from mspr_ros.camera import CameraModel
from mspr_ros.data.camera_info import is_rectified_topic
from mspr_ros.data.cameras import Intrinsics
from mspr_ros.data.clock_offset import ClockOffset, RotationTracker, estimate_offset
from mspr_ros.data.selection import Selection, sharpness
from mspr_ros.errors import DatasetError, ImageError
from mspr_ros.geometry import Array

# An offset between clocks needs some minutes of images, not hours: runs of so many, spread out.
TRACKED_IMAGES, TRACKED_RUN = 2000, 100


@dataclass(frozen=True)
class BagOptions:
    """What to take from a bag.

    Args:
        pose: Where poses come from: `tf:FRAME->FRAME`, or a topic; empty to ask for none.
        image_topic: Topic of the images; empty where there is only one.
        camera_info_topic: Topic of their CameraInfo; empty for the one beside the images.
        extrinsic: From the body that the poses are of to the camera; empty for the camera's own.
        max_gap_s: Poses further apart than this are not interpolated between.
        offset_s: Added to an image's stamp to get the time by the pose source's clock.
        estimate_offset: Find that offset from the images' rotation.
        selection: Which frames to keep.
        intrinsics: The camera of all images, whatever the bag says.
        every_image: Keep images without a pose too.
    """

    pose: str = ""
    image_topic: str = ""
    camera_info_topic: str = ""
    extrinsic: str = ""
    max_gap_s: float = 0.1
    offset_s: float = 0.0
    estimate_offset: bool = False
    selection: Selection = field(default_factory=Selection)
    intrinsics: Intrinsics | CameraModel | None = None
    every_image: bool = False


@dataclass(frozen=True)
class BagScan:
    """What the first pass found; images without a pose are among them only if asked for.

    Args:
        path: The bag.
        image_topic: The topic of its images.
        ordinals: (N,) the images' places among the messages of that topic.
        stamps_ns: (N,) their stamps, by the camera's clock.
        T_map_cam: (N, 4, 4) the camera's poses; NaN where there is none.
        sharpnesses: (N,), where blur is asked for.
        frame_ids: The name of the optical frame of each.
        cameras: The cameras the bag tells.
        offset: The clocks' offset, where it was estimated.
        left_out: Images that fell out, by reason.
        notes: What is odd about the bag.
    """

    path: Path
    image_topic: str
    ordinals: npt.NDArray[np.int64]
    stamps_ns: npt.NDArray[np.int64]
    T_map_cam: Array
    sharpnesses: Array | None
    frame_ids: tuple[str, ...]
    cameras: BagCameras
    offset: ClockOffset | None
    left_out: dict[str, int]
    notes: tuple[str, ...]


def scan_bag(path: Path, options: BagOptions) -> BagScan:
    """Read the poses of a bag and the stamps of its images, holding no image but one.

    Raises:
        MsprError: If the bag, a topic or a frame is not there, or no image has a pose although
            poses are asked for.
    """
    with Bag(path, tolerant=True) as bag:
        scanner = _Scanner(bag, options)
        for message in _with_progress(bag, scanner.topics, f"reading {path.name}"):
            scanner.take(message)
        return scanner.result()


def camera_of(
    options: BagOptions, cameras: BagCameras, frame_id: str, width: int, height: int
) -> CameraModel | None:
    """Give the camera of an image of this size: the user's, else the bag's, if one is known."""
    if isinstance(options.intrinsics, Intrinsics):
        return options.intrinsics.camera(width, height)
    return options.intrinsics or cameras.of(frame_id)


def _with_progress(bag: Bag, topics: frozenset[str], what: str) -> Iterator[BagMessage]:
    total = sum(topic.count for topic in bag.topics if topic.name in topics)
    messages = bag.messages(topics)
    yield from tqdm(messages, total=total, desc=what, unit="message", disable=None)


class _Scanner:
    """Take in the messages of one bag."""

    def __init__(self, bag: Bag, options: BagOptions) -> None:
        self._bag = bag
        self._options = options
        topics = bag.topics
        self._image_topic = find_topic(topics, (IMAGE, COMPRESSED_IMAGE), options.image_topic)
        self._num_images = sum(t.count for t in topics if t.name == self._image_topic)
        self._info_topic = camera_info_topic(topics, self._image_topic, options.camera_info_topic)
        self._source = (
            PoseSource(options.pose, options.extrinsic, topics) if options.pose else None
        )
        pose_topics = self._source.topics if self._source else frozenset()
        self.topics = frozenset({self._image_topic, *pose_topics} | self._info_topics())
        self._cameras = BagCameras(is_rectified_topic(self._image_topic))
        self._tracker = RotationTracker()
        self._stamps, self._ordinals = array("q"), array("q")
        self._sharpnesses = array("d")
        self._frame_ids: list[str] = []
        self._latest_ns: dict[str, int] = {}
        self._ordinal = -1
        self._left_out: dict[str, int] = {}

    def _info_topics(self) -> set[str]:
        return {self._info_topic} if self._info_topic else set()

    def take(self, message: BagMessage) -> None:
        """Take in a message of one of `topics`."""
        if message.topic == self._image_topic:
            self._ordinal += 1
            self._take_image(message)
        elif message.topic == self._info_topic:
            try:
                self._cameras.take(message.deserialize())
            except DatasetError as error:
                self._cameras.unusable[str(error)] = self._cameras.unusable.get(str(error), 0) + 1
        elif self._source is not None:
            self._source.take(message)

    def _take_image(self, message: BagMessage) -> None:
        try:
            image = message.deserialize()
        except DatasetError:
            self._leave_out("message cannot be read")
            return
        stamp_ns, frame_id = stamp_ns_of(image.header), str(image.header.frame_id)
        if stamp_ns < 0 or stamp_ns <= self._latest_ns.get(frame_id, -1):
            self._leave_out("time ran backwards or stood still")
            return
        self._latest_ns[frame_id] = stamp_ns
        tracked = self._options.estimate_offset and self._is_tracked()
        measured = self._options.selection.min_sharpness > 0.0
        value = 0.0
        if tracked or measured:
            try:
                grey = cv2.cvtColor(rgb_from_message(image), cv2.COLOR_RGB2GRAY)
            except ImageError as error:
                self._leave_out(str(error))
                return
            value = sharpness(grey) if measured else 0.0
            if tracked:
                self._track(stamp_ns, grey, frame_id)
        self._stamps.append(stamp_ns)
        self._ordinals.append(self._ordinal)
        self._sharpnesses.append(value)
        self._frame_ids.append(frame_id)

    def _is_tracked(self) -> bool:
        if self._num_images <= TRACKED_IMAGES:
            return True
        period = self._num_images * TRACKED_RUN // TRACKED_IMAGES
        return self._ordinal % period < TRACKED_RUN

    def _track(self, stamp_ns: int, grey: npt.NDArray[np.uint8], frame_id: str) -> None:
        height, width = grey.shape
        camera = camera_of(self._options, self._cameras, frame_id, width, height)
        if camera is not None and (camera.width, camera.height) == (width, height):
            self._tracker.add(stamp_ns, grey, camera)

    def result(self) -> BagScan:
        """Find the images' poses.

        Raises:
            DatasetError: If no image has one, or frames do not fit.
        """
        path, options = self._bag.path, self._options
        stamps = np.array(self._stamps, dtype=np.int64)
        try:
            poses, valid, offset, note = self._poses(stamps)
        except DatasetError as error:
            raise DatasetError(f"{path}: {error}") from None
        kept = np.ones(len(stamps), dtype=bool) if options.every_image else valid
        if not np.any(valid if self._source else kept):
            self._leave_out(self._without_pose, int(np.count_nonzero(~valid)))
            reasons = "; ".join(f"{count}: {why}" for why, count in self._left_out.items())
            damage = f" ({self._bag.damage})" if self._bag.damage else ""
            raise DatasetError(
                f"{path}: none of its {self._ordinal + 1} images can be used{damage}: {reasons}"
            )
        self._leave_out(self._without_pose, int(np.count_nonzero(~kept)))
        measured = options.selection.min_sharpness > 0.0
        return BagScan(
            path=path,
            image_topic=self._image_topic,
            ordinals=np.array(self._ordinals, dtype=np.int64)[kept],
            stamps_ns=stamps[kept],
            T_map_cam=np.where(valid[:, None, None], poses, np.nan)[kept],
            sharpnesses=np.array(self._sharpnesses)[kept] if measured else None,
            frame_ids=tuple(np.array(self._frame_ids, dtype=object)[kept]),
            cameras=self._cameras,
            offset=offset,
            left_out=self._left_out,
            notes=tuple(self._notes(note)),
        )

    @property
    def _without_pose(self) -> str:
        return f"no poses around the image within {self._options.max_gap_s:g} s"

    def _poses(
        self, stamps: npt.NDArray[np.int64]
    ) -> tuple[Array, npt.NDArray[np.bool_], ClockOffset | None, str]:
        """Find the images' poses and which are known, the clocks' offset, and a remark."""
        if self._source is None:
            return np.zeros((len(stamps), 4, 4)), np.zeros(len(stamps), dtype=bool), None, ""
        options = self._options
        self._source.finish()
        note = self._source.check_frames(self._frame_ids[0] if self._frame_ids else "")
        offset = self._estimate(self._source) if options.estimate_offset and len(stamps) else None
        shift_ns = round((offset.seconds if offset else options.offset_s) * 1e9)
        poses, valid = self._source.at(stamps + shift_ns, options.max_gap_s)
        return poses, valid, offset, note

    def _estimate(self, source: PoseSource) -> ClockOffset:
        if self._options.intrinsics is None and not self._cameras.known:
            raise DatasetError(
                "estimating the clocks' offset takes the camera's intrinsics, and the bag has no "
                "usable camera_info: give --intrinsics or --camera-info"
            )
        pairs, rotvecs = self._tracker.measured()
        return estimate_offset(
            pairs, rotvecs, lambda stamps: source.at(stamps, self._options.max_gap_s)
        )

    def _notes(self, frames_note: str) -> list[str]:
        source = self._source
        notes = [self._bag.damage, frames_note, *self._cameras.notes()]
        if not self._cameras.known and self._options.intrinsics is None:
            notes.append("no usable camera_info: these images have no intrinsics")
        if source is not None and source.backwards:
            notes.append(f"{source.backwards} poses left out: time ran backwards")
        if source is not None and source.unusable:
            notes.append(f"{source.unusable} poses left out: broken")
        return [note for note in notes if note]

    def _leave_out(self, reason: str, count: int = 1) -> None:
        if count:
            self._left_out[reason] = self._left_out.get(reason, 0) + count
