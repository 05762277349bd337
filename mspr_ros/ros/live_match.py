"""Match the answers of a live run with the truth, by stamp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mspr_ros.geometry import Array
from mspr_ros.ros.live_collector import Collector, LiveRecord


@dataclass(frozen=True)
class MatchedPoses:
    """All frames with a known truth, in order of their stamps, answered or not.

    Args:
        stamps_ns: N.
        gt_T_map_cam: (N, 4, 4).
        pred_T_map_cam: (N, 4, 4); NaN where there is no answer.
        gt_scenes: N names; empty where no scene was told.
        pred_scenes: N names; `unknown` for a frame that was worked on without giving a pose,
            empty where nothing was heard.
    """

    stamps_ns: list[int]
    gt_T_map_cam: Array
    pred_T_map_cam: Array
    gt_scenes: list[str]
    pred_scenes: list[str]

    @property
    def is_answered(self) -> npt.NDArray[np.bool_]:
        """(N,) whether there is a pose."""
        return np.asarray(np.isfinite(self.pred_T_map_cam).all(axis=(1, 2)), dtype=bool)

    @property
    def is_processed(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the localizer worked on the frame, with or without a pose."""
        heard = np.array([bool(name) for name in self.pred_scenes], dtype=bool)
        return np.asarray(self.is_answered | heard, dtype=bool)

    def paths(self, unnamed: str) -> dict[str, tuple[Array, Array]]:
        """Give all true positions and the answers by true scene, each (M, 3).

        An answer is NaN where there is none, or one in another scene's map.

        Args:
            unnamed: For frames whose scene was not told.
        """
        gt, pred = self.gt_T_map_cam[:, :3, 3], self.pred_T_map_cam[:, :3, 3].copy()
        names = np.array([scene or unnamed for scene in self.gt_scenes])
        told = np.array([bool(name) for name in self.gt_scenes], dtype=bool)
        pred[told & (names != np.array(self.pred_scenes))] = np.nan
        return {
            str(name): (gt[names == name], pred[names == name]) for name in dict.fromkeys(names)
        }


def match(collector: Collector) -> MatchedPoses:
    """Match answers and truth by stamp; the poses become those of the camera."""
    record = collector.record
    T_frame_cam = collector.T_frame_cam(record.diagnostics.get("pose_frame", ""))
    stamps = sorted(record.gt_poses)
    pred = np.full((len(stamps), 4, 4), np.nan)
    for row, stamp in enumerate(stamps):
        if stamp in record.poses:
            T = record.poses[stamp]
            pred[row] = T if T_frame_cam is None else T @ T_frame_cam
    return MatchedPoses(
        stamps_ns=stamps,
        gt_T_map_cam=np.array([record.gt_poses[stamp] for stamp in stamps]).reshape(-1, 4, 4),
        pred_T_map_cam=pred,
        gt_scenes=true_scenes(record, stamps),
        pred_scenes=[record.scenes.get(stamp, "") for stamp in stamps],
    )


def true_scenes(record: LiveRecord, stamps: list[int]) -> list[str]:
    """Give the true scene of each stamp; empty names where none was told.

    ground_truth/scene has no stamp. Where as many came as poses, each belongs to the pose of the
    same place in order; where one got lost, to the pose that arrived at about the same time.
    """
    if not record.gt_scenes:
        return [""] * len(stamps)
    if len(record.gt_scenes) == len(record.gt_poses):
        names = (name for _, name in record.gt_scenes)
        scene_of = dict(zip(record.gt_poses, names, strict=True))
        return [scene_of[stamp] for stamp in stamps]
    arrivals_ns = np.array([arrival_ns for arrival_ns, _ in record.gt_scenes])
    nearest = [int(np.argmin(np.abs(arrivals_ns - record.gt_heard_ns[stamp]))) for stamp in stamps]
    return [record.gt_scenes[index][1] for index in nearest]
