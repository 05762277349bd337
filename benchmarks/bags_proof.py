"""Show on real recordings that nothing is lost on the way through a bag.

    python benchmarks/bags_proof.py DATA -o RESULT.json [--frames N]

DATA holds `redkitchen` (7-Scenes) and `tum_fr1_rpy` (TUM). Of each, bags are made and imported,
and compared with importing the same frames directly:

- redkitchen: truth as a chain of TF (map -> odom drifts, odom -> base, base -> camera static),
  mcap compressed with zstd;
- tum_fr1_rpy: truth as Odometry of a base at the rate of the motion capture, with an extrinsic to
  the camera, sqlite3 split in three;

each as recorded, and once more with image stamps 40 ms late. The offset of the clocks is estimated
from images in both: its difference must be the injected one. What the recordings' own clocks are
off by, nobody knows, so that a single estimate proves nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from mspr_ros.bags import CAMERA_INFO, COMPRESSED_IMAGE, TF_MESSAGE, BagWriter
from mspr_ros.bags import messages as build
from mspr_ros.bags.importing import import_bags
from mspr_ros.bags.scanning import BagOptions
from mspr_ros.bags.types import ODOMETRY
from mspr_ros.camera import CameraModel
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.importers import READERS
from mspr_ros.data.recording import ImportOptions
from mspr_ros.data.tum import read_trajectory
from mspr_ros.geometry import (
    invert_transform,
    quat_xyzw_from_rotation,
    rotation_angle_rad,
    transform_from_pose,
)

INJECTED_S = 0.04
OPTICAL = "camera_optical"
EXTRINSIC = "0.2,0.03,0.4,-0.5,0.5,-0.5,0.5"
T_BASE_CAM = transform_from_pose((0.2, 0.03, 0.4), (-0.5, 0.5, -0.5, 0.5))
# Poses and offsets must agree within these.
LIMITS = {"position_m": 1e-3, "orientation_deg": 0.05, "offset_s": 5e-3}
CAMERAS = {
    "redkitchen": CameraModel(640, 480, 525.0, 525.0, 320.0, 240.0),
    "tum_fr1_rpy": CameraModel(
        *(640, 480, 517.3, 516.5, 318.6, 255.3, "plumb_bob"),
        distortion=(0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
    ),
}
FORMATS = {"redkitchen": "7scenes", "tum_fr1_rpy": "tum"}
STORAGES = {"redkitchen": ("mcap", "file", 1), "tum_fr1_rpy": ("sqlite3", "none", 3)}
OPTIONS = {
    "redkitchen": BagOptions(pose=f"tf:map->{OPTICAL}"),
    "tum_fr1_rpy": BagOptions(pose="/odom", extrinsic=EXTRINSIC, max_gap_s=0.05),
}
# (stamp, topic, type, message)
Event = tuple[int, str, str, Any]


def main() -> None:
    """Prove both scenes and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with both recordings")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RESULT.json")
    parser.add_argument("--frames", type=int, default=0, help="first so many of each (0: all)")
    args = parser.parse_args()
    scenes = {}
    for scene in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            scenes[scene] = prove(args.data / scene, Path(folder), args.frames)
        print(scene, json.dumps(scenes[scene]), flush=True)
    result = {
        "date": datetime.date.today().isoformat(),
        "frames": args.frames or "all",
        "injected_s": INJECTED_S,
        "limits": LIMITS,
        "holds": all(entry["holds"] for entry in scenes.values()),
        "scenes": scenes,
    }
    args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if not result["holds"]:
        raise SystemExit("the limits do not hold")


def prove(recording: Path, folder: Path, num_frames: int) -> dict[str, Any]:
    """Make the bags of one recording, import them and compare."""
    scene, started = recording.name, time.monotonic()
    direct = direct_frames(recording, num_frames)
    options = OPTIONS[scene]
    truth = list(tf_chain(direct) if scene == "redkitchen" else odometry(recording, direct))
    differences, estimates = {}, {}
    for name, late_s in (("as recorded", 0.0), ("40 ms late", INJECTED_S)):
        late_ns = round(late_s * 1e9)
        bag = folder / f"bag{late_ns}"
        write_bag(bag, [*images(direct, late_ns), *truth], *STORAGES[scene])
        known = dataclasses.replace(options, offset_s=-late_s)
        import_bags({bag: "train"}, folder / f"known{late_ns}", known, scene=scene)
        imported = Dataset.load(folder / f"known{late_ns}")
        differences[name] = compare(imported, direct, late_ns)
        estimating = dataclasses.replace(options, estimate_offset=True)
        output = folder / f"estimated{late_ns}"
        _, (report,) = import_bags({bag: "train"}, output, estimating, scene=scene)
        assert report.offset is not None
        estimates[name] = dataclasses.asdict(report.offset)
    found_s = estimates["as recorded"]["seconds"] - estimates["40 ms late"]["seconds"]
    holds = abs(found_s - INJECTED_S) <= LIMITS["offset_s"] and all(
        entry["missing"] == 0
        and entry["same_camera"]
        and entry["position_m"] <= LIMITS["position_m"]
        and entry["orientation_deg"] <= LIMITS["orientation_deg"]
        for entry in differences.values()
    )
    return {
        "frames": len(direct),
        "storage": " ".join(map(str, STORAGES[scene])),
        "pose": options.pose,
        "largest_difference": differences,
        "estimated_offset": estimates,
        "found_s": found_s,
        "holds": holds,
        "seconds": round(time.monotonic() - started, 1),
    }


def direct_frames(recording: Path, num_frames: int) -> Dataset:
    """Give the frames of a recording as the importer of its own format reads them."""
    scene = recording.name
    frames = READERS[FORMATS[scene]](recording, ImportOptions(scene=scene)).frames
    first = frames[0].sequence
    frames = tuple(
        dataclasses.replace(frame, camera="camera") for frame in frames if frame.sequence == first
    )
    return Dataset(
        scene, recording, frames[: num_frames or None], {"camera": CAMERAS[scene]}, (scene,)
    )


def compare(imported: Dataset, direct: Dataset, late_ns: int) -> dict[str, Any]:
    """Give the largest differences of poses, frame by frame, and what is missing."""
    of_stamp = {frame.stamp_ns - late_ns: row for row, frame in enumerate(imported.frames)}
    pairs = [
        (row, of_stamp[frame.stamp_ns])
        for row, frame in enumerate(direct.frames)
        if frame.stamp_ns in of_stamp
    ]
    ours, theirs = (np.array(column) for column in zip(*pairs, strict=True))
    away_m = np.linalg.norm(imported.positions[theirs] - direct.positions[ours], axis=1)
    turned = rotation_angle_rad(imported.quats_xyzw[theirs], direct.quats_xyzw[ours])
    return {
        "missing": len(direct) - len(pairs),
        "position_m": float(away_m.max()),
        "orientation_deg": float(np.degrees(turned.max())),
        "same_camera": imported.cameras["camera"] == direct.cameras["camera"],
    }


def images(dataset: Dataset, late_ns: int) -> Iterator[Event]:
    """Give camera_info and compressed images, their stamps so much late."""
    for frame in dataset.frames:
        stamp_ns = frame.stamp_ns + late_ns
        header = build.header_message(stamp_ns, OPTICAL)
        camera = dataset.camera_of(frame)
        assert camera is not None
        info = build.camera_info_message(header, camera)
        yield stamp_ns, "/cam/camera_info", CAMERA_INFO, info
        kind = "png" if frame.image.suffix == ".png" else "jpeg"
        image = build.compressed_message(header, frame.image.read_bytes(), kind)
        yield stamp_ns, "/cam/image_raw/compressed", COMPRESSED_IMAGE, image


def tf_chain(dataset: Dataset) -> Iterator[Event]:
    """Give the truth as TF: map -> odom drifts, odom -> base has the rest, base -> camera stays.

    At the images' times only: there the bag holds what the direct import reads.
    """
    start_ns = dataset.frames[0].stamp_ns
    yield start_ns, "/tf_static", TF_MESSAGE, transform(start_ns, "base", OPTICAL, T_BASE_CAM)
    for frame, T_map_cam in zip(dataset.frames, dataset.T_map_cam, strict=True):
        seconds = (frame.stamp_ns - start_ns) * 1e-9
        drift = Rotation.from_euler("z", 0.3 + 0.01 * seconds).as_quat()
        T_map_odom = transform_from_pose((1.0, -0.02 * seconds, 0.1), drift)
        T_odom_base = invert_transform(T_map_odom) @ T_map_cam @ invert_transform(T_BASE_CAM)
        for parent, child, T in (("map", "odom", T_map_odom), ("odom", "base", T_odom_base)):
            yield frame.stamp_ns, "/tf", TF_MESSAGE, transform(frame.stamp_ns, parent, child, T)


def transform(stamp_ns: int, parent: str, child: str, T: np.ndarray) -> Any:
    """Build a message of one transform."""
    header = build.header_message(stamp_ns, parent)
    quat = quat_xyzw_from_rotation(T[:3, :3])
    return build.tf_message([build.transform_message(header, child, T[:3, 3], quat)])


def odometry(recording: Path, dataset: Dataset) -> Iterator[Event]:
    """Give the motion capture's own samples as Odometry of a base that carries the camera."""
    first_ns, last_ns = dataset.frames[0].stamp_ns, dataset.frames[-1].stamp_ns
    track = read_trajectory(recording / "groundtruth.txt", [])
    bodies = transform_from_pose(track.positions, track.quats_xyzw) @ invert_transform(T_BASE_CAM)
    for stamp_ns, T in zip(track.stamps_ns.tolist(), bodies, strict=True):
        if first_ns - 10**9 < stamp_ns < last_ns + 10**9:
            header = build.header_message(stamp_ns, "world")
            quat = quat_xyzw_from_rotation(T[:3, :3])
            message = build.odometry_message(header, "base", T[:3, 3], quat)
            yield stamp_ns, "/odom", ODOMETRY, message


def write_bag(
    path: Path, events: Iterable[Event], storage: str, compression: str, files: int
) -> None:
    """Write events in the order of time, split evenly into files."""
    ordered = sorted(events, key=lambda event: event[0])
    with BagWriter(path, storage, compression) as writer:
        for number, (stamp_ns, topic, kind, message) in enumerate(ordered):
            if number and number % -(-len(ordered) // files) == 0:
                writer.next_file()
            writer.put(topic, kind, stamp_ns, message)


if __name__ == "__main__":
    main()
