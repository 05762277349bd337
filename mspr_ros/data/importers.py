"""Turn a recording in a known format into a dataset folder: all of it or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from mspr_ros.camera import CameraModel
from mspr_ros.data.cambridge import read_cambridge
from mspr_ros.data.cameras import Intrinsics
from mspr_ros.data.colmap import read_colmap
from mspr_ros.data.frame import Frame
from mspr_ros.data.image_folder import read_image_folder
from mspr_ros.data.images import image_size
from mspr_ros.data.label_csv import read_labels
from mspr_ros.data.pose_csv import read_pose_csv
from mspr_ros.data.recording import ImportOptions, Recording
from mspr_ros.data.seven_scenes import read_seven_scenes
from mspr_ros.data.splits import Part, guarded_blocks
from mspr_ros.data.transforms_json import read_transforms_json
from mspr_ros.data.tum import read_tum
from mspr_ros.data.writer import Placing, write_dataset
from mspr_ros.errors import DatasetError, ImageError

Reader = Callable[[Path, ImportOptions], Recording]

# The one table of formats: add a reader here and the command line knows it.
READERS: dict[str, Reader] = {
    "7scenes": read_seven_scenes,
    "tum": read_tum,
    "labels": read_labels,
    "colmap": read_colmap,
    "transforms": read_transforms_json,
    "csv": read_pose_csv,
    "images": read_image_folder,
    "cambridge": read_cambridge,
}
CAMERA_NAME = "camera"


@dataclass(frozen=True)
class ImportSummary:
    """Count what was imported.

    Args:
        name: Name of the dataset.
        frames: Number of frames by (scene, split), in the dataset's order.
        left_out: Number of frames left out, by reason.
        cameras: The cameras of the dataset.
        synthetic_stamps: Whether the stamps were made up.
        problems: What was wrong with the frames skipped, where skipping was asked for.
    """

    name: str
    frames: dict[tuple[str, str], int]
    left_out: dict[str, int]
    cameras: dict[str, CameraModel]
    synthetic_stamps: bool
    problems: tuple[str, ...] = field(default=())


def import_dataset(
    format_name: str,
    source: Path,
    output: Path,
    *,
    options: ImportOptions,
    name: str = "",
    intrinsics: Intrinsics | CameraModel | None = None,
    placing: Placing = "link",
    skip_broken: bool = False,
    test_fraction: float = 0.0,
    test_blocks: int = 2,
) -> ImportSummary:
    """Read a source, check all of it, and write it as a dataset folder.

    Args:
        format_name: A key of `READERS`.
        source: What the format's reader takes.
        output: The dataset folder to make.
        options: What the reader needs to know beside the files.
        name: Name of the dataset, by default that of the output folder.
        intrinsics: The camera of all images; one without a size takes it from the images.
        placing: Whether images are linked, copied or only referenced.
        skip_broken: Leave out frames that have a problem, counting them, instead of refusing all.
        test_fraction: Share of each sequence to cut out as test blocks between guards.
        test_blocks: Number of such blocks in a sequence; a short one gets fewer.

    Raises:
        DatasetError: With every problem found; nothing is written then.
    """
    if output.exists():
        raise DatasetError(f"{output} exists and is not overwritten; remove it or name another")
    if not source.exists():
        raise DatasetError(f"{source} does not exist")
    recording = READERS[format_name](source, options)
    frames = recording.frames
    cameras = dict(recording.cameras)
    problems = list(recording.problems)
    if intrinsics is not None and cameras:
        raise DatasetError(
            f"{source} tells its cameras itself; leave --intrinsics and --camera-info out"
        )
    if not options.poses_only:
        frames, cameras = _with_camera(frames, cameras, intrinsics, problems)
    if problems and not skip_broken:
        raise DatasetError(f"{source} has {len(problems)} problem(s):", problems)
    if not frames:
        raise DatasetError(f"{source} has no frame to import", _told(recording.left_out))
    left_out = dict(recording.left_out)
    if test_fraction > 0.0:
        frames = cut_test_blocks(frames, test_fraction, test_blocks, left_out)
    if options.scale != 1.0:
        frames = tuple(_scaled(frame, options.scale) for frame in frames)
    write_dataset(
        output,
        name=name or output.absolute().name,
        frames=frames,
        cameras=cameras,
        scenes=recording.scenes,
        images=placing,
        synthetic_stamps=recording.synthetic_stamps,
        poses_only=options.poses_only,
    )
    if problems:
        left_out["problems, skipped as asked"] = len(problems)
    return ImportSummary(
        name=name or output.absolute().name,
        frames=dict(Counter((frame.scene, frame.split) for frame in frames)),
        left_out=left_out,
        cameras=cameras,
        synthetic_stamps=recording.synthetic_stamps,
        problems=tuple(problems),
    )


def _told(left_out: Mapping[str, int]) -> list[str]:
    return [f"{count} left out, {reason}" for reason, count in left_out.items()]


def _scaled(frame: Frame, scale: float) -> Frame:
    x, y, z = frame.position
    return replace(frame, position=(scale * x, scale * y, scale * z))


def cut_test_blocks(
    frames: tuple[Frame, ...], fraction: float, num_blocks: int, left_out: dict[str, int]
) -> tuple[Frame, ...]:
    """Make blocks of each sequence test frames, leaving the guards around them out.

    Raises:
        DatasetError: If the source has test frames already, or no sequence is long enough.
    """
    if any(frame.split == "test" for frame in frames):
        raise DatasetError("the source has a test split of its own; leave --test-fraction out")
    indices_of: dict[tuple[str, str], list[int]] = {}
    for index, frame in enumerate(frames):
        if frame.split in ("", "train"):
            indices_of.setdefault((frame.scene, frame.sequence), []).append(index)
    split_of = {index: frame.split for index, frame in enumerate(frames)}
    guards = 0
    for indices in indices_of.values():
        stamps = [frames[index].stamp_ns for index in indices]
        cameras = [frames[index].camera for index in indices]
        parts = guarded_blocks(stamps, num_blocks=num_blocks, fraction=fraction, cameras=cameras)
        for index, part in zip(indices, parts, strict=True):
            split_of[index] = {Part.VALIDATION: "test", Part.GUARD: "guard"}.get(part, "train")
            guards += int(part == Part.GUARD)  # NumPy's integers are not JSON's
    if "test" not in split_of.values():
        raise DatasetError(
            "no sequence is long enough for a test block between guards of 10 frames; ask for "
            "another --test-fraction, or record more"
        )
    left_out["guards around test blocks"] = guards
    return tuple(
        replace(frame, split=split_of[index])
        for index, frame in enumerate(frames)
        if split_of[index] != "guard"
    )


def _with_camera(
    frames: tuple[Frame, ...],
    own: Mapping[str, CameraModel],
    intrinsics: Intrinsics | CameraModel | None,
    problems: list[str],
) -> tuple[tuple[Frame, ...], dict[str, CameraModel]]:
    """Decode every image and give its frame the camera; broken and odd-sized ones are told.

    Args:
        frames: Those of a source with cameras of its own name them already.
        own: The source's own cameras.
        intrinsics: The camera of all images, where the source has none.
        problems: Takes what is wrong.
    """
    cameras = dict(own)
    if isinstance(intrinsics, CameraModel):
        cameras[CAMERA_NAME] = intrinsics
    kept: list[Frame] = []
    for frame, size in zip(frames, _sizes(frames), strict=True):
        if isinstance(size, str):
            problems.append(size)
            continue
        if isinstance(intrinsics, Intrinsics) and CAMERA_NAME not in cameras:
            cameras[CAMERA_NAME] = intrinsics.camera(*size)
        name = CAMERA_NAME if intrinsics is not None else frame.camera
        camera = cameras.get(name)
        if camera is not None and size != (camera.width, camera.height):
            problems.append(
                f"{frame.image}: the image is {size[0]}x{size[1]} but the camera is "
                f"{camera.width}x{camera.height}"
            )
            continue
        kept.append(replace(frame, camera=name))
    return tuple(kept), cameras


def _sizes(frames: tuple[Frame, ...]) -> Iterator[tuple[int, int] | str]:
    """Give each image's (width, height), or why it cannot be read."""

    def size_of(frame: Frame) -> tuple[int, int] | str:
        try:
            return image_size(frame.image)
        except ImageError as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        sizes = pool.map(size_of, frames)
        yield from tqdm(
            sizes, total=len(frames), desc="checking images", unit="image", disable=None
        )
