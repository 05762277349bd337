"""Turn bags into a dataset folder: all of it or nothing, in two passes and little memory.

First the poses and the images' stamps are read and frames are chosen; then the images are
streamed into the folder one by one. Interrupted there, the same import goes on where it stopped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mspr_ros.bags.image_writer import ImageWriter, Recording
from mspr_ros.bags.partial import partial_import
from mspr_ros.bags.scanning import BagOptions, BagScan, scan_bag
from mspr_ros.data.clock_offset import ClockOffset
from mspr_ros.data.frame import Frame, name_problem
from mspr_ros.data.importers import ImportSummary, cut_test_blocks
from mspr_ros.data.recording import make_frame
from mspr_ros.data.selection import select
from mspr_ros.data.writer import file_name, write_tables
from mspr_ros.errors import DatasetError, MsprError
from mspr_ros.geometry import quat_xyzw_from_rotation


@dataclass(frozen=True)
class BagReport:
    """What came of one bag.

    Args:
        bag: Its path.
        sequence: What it is called in the dataset.
        frames: Frames imported.
        offset: The clocks' offset, where it was estimated.
        notes: What is odd about the bag.
    """

    bag: str
    sequence: str
    frames: int
    offset: ClockOffset | None
    notes: tuple[str, ...]


def import_bags(
    bags: Mapping[Path, str],
    output: Path,
    options: BagOptions,
    *,
    scene: str = "",
    name: str = "",
    test_fraction: float = 0.0,
    test_blocks: int = 2,
    jpeg_quality: int = 0,
) -> tuple[ImportSummary, list[BagReport]]:
    """Import bags as the sequences of one scene.

    Args:
        bags: The split of each bag; their poses must share one map frame.
        output: The dataset folder to make.
        options: What to take from the bags.
        scene: Name of the scene, by default that of the only bag.
        name: Name of the dataset, by default that of the output folder.
        test_fraction: Share of each sequence to cut out as test blocks between guards.
        test_blocks: Number of such blocks in a sequence; a short one gets fewer.
        jpeg_quality: Raw images are written as JPEG of this quality; 0: as PNG, without loss.

    Raises:
        MsprError: If something is refused; nothing is written then.
    """
    if output.exists():
        raise DatasetError(f"{output} exists and is not overwritten; remove it or name another")
    sequences = _sequence_names(list(bags))
    if not scene and len(bags) > 1:
        raise DatasetError("several bags are sequences of one scene: name it with --scene")
    scene = scene or sequences[0]
    if problem := name_problem(scene, ""):
        raise DatasetError(problem)
    left_out: dict[str, int] = {}
    recordings: list[Recording] = []
    for (path, split), sequence in zip(bags.items(), sequences, strict=True):
        scan = scan_bag(path, options)
        recordings.append(Recording(scan, _frames(scan, options, scene, sequence, split)))
        _add(left_out, scan.left_out)
    if test_fraction > 0.0:
        _cut_test_blocks(recordings, test_fraction, test_blocks, left_out)
    key = {
        "bags": [[str(path.absolute()), split, _state(path)] for path, split in bags.items()],
        "options": repr(options),
        "other": [scene, test_fraction, test_blocks, jpeg_quality],
    }
    with partial_import(output, key) as partial:
        writer = ImageWriter(partial, options, jpeg_quality, left_out)
        frames = [frame for n, rec in enumerate(recordings) for frame in writer.write(n, rec)]
        if not frames:
            raise MsprError("no frame to import: " + _told(left_out))
        write_tables(
            partial.folder,
            name=name or output.absolute().name,
            frames=frames,
            cameras=writer.cameras,
            scenes=(scene,),
        )
    counts = Counter(frame.sequence for frame in frames)
    summary = ImportSummary(
        name=name or output.absolute().name,
        frames=dict(Counter((frame.scene, frame.split) for frame in frames)),
        left_out=left_out,
        cameras=writer.cameras,
        synthetic_stamps=False,
    )
    reports = [
        BagReport(str(rec.scan.path), seq, counts[seq], rec.scan.offset, rec.scan.notes)
        for rec, seq in zip(recordings, sequences, strict=True)
    ]
    return summary, reports


def _frames(
    scan: BagScan, options: BagOptions, scene: str, sequence: str, split: str
) -> dict[int, Frame]:
    """Choose the frames of a bag; their images have no suffix yet."""
    positions = scan.T_map_cam[:, :3, 3]
    quats = quat_xyzw_from_rotation(scan.T_map_cam[:, :3, :3])
    chosen = select(options.selection, positions, quats, scan.sharpnesses, scan.left_out)
    folder = Path("images", file_name(scene), sequence)
    several = len(set(scan.frame_ids)) > 1
    frames: dict[int, Frame] = {}
    for index in chosen:
        stamp_ns = int(scan.stamps_ns[index])
        image = (folder / file_name(scan.frame_ids[index]) if several else folder) / str(stamp_ns)
        where = (positions[index], quats[index])
        frame = make_frame(scene, split, sequence, stamp_ns, image, *where)
        frames[int(scan.ordinals[index])] = replace(frame, image=image)
    return frames


def _cut_test_blocks(
    recordings: Sequence[Recording], fraction: float, num_blocks: int, left_out: dict[str, int]
) -> None:
    frames = tuple(frame for rec in recordings for frame in rec.frames.values())
    cut = cut_test_blocks(frames, fraction, num_blocks, left_out)
    kept = {(frame.sequence, frame.image): frame for frame in cut}
    for rec in recordings:
        rec.frames = {
            ordinal: kept[frame.sequence, frame.image]
            for ordinal, frame in rec.frames.items()
            if (frame.sequence, frame.image) in kept
        }


def _sequence_names(paths: Sequence[Path]) -> list[str]:
    """Name each bag by its file, differently."""
    names: list[str] = []
    for path in paths:
        stem = path.absolute().name
        base = name = file_name(re.sub(r"(\.(bag|mcap|db3|active))+$", "", stem))
        number = 2
        while name in names:
            name, number = f"{base}-{number}", number + 1
        names.append(name)
    return names


def _state(path: Path) -> list[tuple[str, int, int]]:
    """Tell a bag's files from others: names, sizes and times of change."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _add(left_out: dict[str, int], more: Mapping[str, int]) -> None:
    for reason, count in more.items():
        left_out[reason] = left_out.get(reason, 0) + count


def _told(left_out: Mapping[str, int]) -> str:
    return "; ".join(f"{count}: {reason}" for reason, count in left_out.items())
