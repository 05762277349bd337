"""Images with measured poses: the one form in which training and evaluation see data.

A dataset folder holds `dataset.yaml` (name, scenes, splits, cameras) and `frames.csv`, one row an
image. Importers and the simulator write it with `write_dataset` or `new_folder` + `write_tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mspr_ros.camera import CameraModel
from mspr_ros.data.frame import Frame
from mspr_ros.data.reader import read_folder
from mspr_ros.data.writer import new_folder, write_dataset, write_tables
from mspr_ros.errors import DatasetError
from mspr_ros.geometry import Array, transform_from_pose

__all__ = ["Dataset", "Frame", "new_folder", "write_dataset", "write_tables"]


@dataclass(frozen=True)
class Dataset:
    """Hold the frames of a dataset folder, or some of them.

    Args:
        name: Name of the dataset.
        root: The folder.
        frames: In the order of `frames.csv`.
        cameras: Camera models by the names that frames use.
        scenes: Scene names in the order that `dataset.yaml` fixes; a selection keeps them all.
        splits: The splits that `dataset.yaml` lists.
        synthetic_stamps: Whether the stamps were made up at a constant rate.
        poses_only: Whether the images are named but not at hand.
        files_sha256: Hash of `dataset.yaml` and `frames.csv` as they were read.
    """

    name: str
    root: Path
    frames: tuple[Frame, ...]
    cameras: Mapping[str, CameraModel] = field(default_factory=dict)
    scenes: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    synthetic_stamps: bool = False
    poses_only: bool = False
    files_sha256: str = ""

    @classmethod
    def load(cls, folder: Path | str) -> Dataset:
        """Read and check a dataset folder.

        Raises:
            DatasetError: With every problem found, as `frames.csv:LINE: ...`.
        """
        folder = Path(folder)
        header, frames, digest = read_folder(folder)
        return cls(
            name=header.name,
            root=folder.absolute(),
            frames=frames,
            cameras=header.cameras,
            scenes=header.scenes,
            splits=header.splits,
            synthetic_stamps=header.synthetic_stamps,
            poses_only=header.poses_only,
            files_sha256=digest,
        )

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, split: str | None = None, scene: str | None = None) -> Dataset:
        """Keep the frames of a split (`""`: of no split), of a scene, or both.

        Raises:
            DatasetError: If the dataset does not list that split or scene.
        """
        for what, value, names in (("split", split, self.splits), ("scene", scene, self.scenes)):
            if value and value not in names:
                known = ", ".join(names) or "none"
                raise DatasetError(f"dataset {self.name} has no {what} '{value}', only: {known}")
        return replace(
            self,
            frames=tuple(
                frame
                for frame in self.frames
                if split in (None, frame.split) and scene in (None, frame.scene)
            ),
        )

    def subset(self, indices: Iterable[int]) -> Dataset:
        """Keep the frames at these indices, in this order."""
        return replace(self, frames=tuple(self.frames[int(index)] for index in indices))

    @property
    def positions(self) -> Array:
        """Camera centres in the map, (N, 3) metres."""
        rows = [frame.position for frame in self.frames]
        return np.array(rows, dtype=np.float64).reshape(-1, 3)

    @property
    def quats_xyzw(self) -> Array:
        """Orientations map_from_cam, (N, 4), unit norm, w >= 0."""
        rows = [frame.quat_xyzw for frame in self.frames]
        return np.array(rows, dtype=np.float64).reshape(-1, 4)

    @property
    def stamps_ns(self) -> npt.NDArray[np.int64]:
        """Stamps in nanoseconds, (N,)."""
        return np.array([frame.stamp_ns for frame in self.frames], dtype=np.int64)

    @property
    def T_map_cam(self) -> Array:
        """The poses as (N, 4, 4) transforms from camera to map coordinates."""
        return transform_from_pose(self.positions, self.quats_xyzw)

    def scene_indices(self, scenes: Sequence[str] | None = None) -> npt.NDArray[np.int64]:
        """Give each frame's place in a list of scenes, (N,).

        Args:
            scenes: For instance a bundle's; by default the dataset's own.

        Raises:
            DatasetError: If a frame's scene is not in the list.
        """
        index_of = {name: i for i, name in enumerate(self.scenes if scenes is None else scenes)}
        missing = sorted({frame.scene for frame in self.frames} - index_of.keys())
        if missing:
            raise DatasetError(
                f"dataset {self.name} has scenes {missing} that are not among {list(index_of)}"
            )
        return np.array([index_of[frame.scene] for frame in self.frames], dtype=np.int64)

    def camera_of(self, frame: Frame) -> CameraModel | None:
        """Give the camera that took a frame; none where it is not known."""
        return self.cameras[frame.camera] if frame.camera else None

    def content_hash(self) -> str:
        """Give the SHA-256 of `dataset.yaml` and `frames.csv` (of the whole folder)."""
        return self.files_sha256
