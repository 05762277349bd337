"""The best and the worst images of a bag, beside what the network attended to, as small JPEGs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mspr_ros.errors import ImageError
from mspr_ros.evaluation.answers import Answer, ImageU8
from mspr_ros.evaluation.attention import ImageAttention, attend
from mspr_ros.evaluation.attention_plots import HEAT_OPACITY, upsample
from mspr_ros.evaluation.bag_images import images_of
from mspr_ros.evaluation.bag_run import BagTrack, BundleRun
from mspr_ros.evaluation.judging import FrameResult
from mspr_ros.evaluation.report import worst_frames
from mspr_ros.geometry import Array

TILE_WIDTH_PX = 320
JPEG_QUALITY = 80


@dataclass(frozen=True)
class ShownImage:
    """One image of the report.

    Args:
        caption: Where it is from and how well it was answered.
        tiles: Label and JPEG bytes: the image as the network sees it, then where the position
            and the orientation transformer looked.
    """

    caption: str
    tiles: tuple[tuple[str, bytes], ...]


def best_and_worst(run: BundleRun, count: int) -> tuple[list[ShownImage], list[ShownImage]]:
    """Show images with the smallest and with the largest errors.

    Without truth these are the answers with the highest and with the lowest confidence.

    Args:
        run: A bundle's answers.
        count: Images of each kind.
    """
    chosen = _by_error(run, count) if run.results else _by_confidence(run, count)
    shown: list[list[ShownImage]] = []
    for picked in chosen:
        images = [_show(run, track, rows) for track, rows in _by_track(run, picked)]
        found = {key: image for part in images for key, image in part.items()}
        shown.append([found[key] for key in picked if key in found])
    return shown[0], shown[1]


Key = tuple[int, int]  # place of the track, row of the image


def _by_error(run: BundleRun, count: int) -> tuple[list[Key], list[Key]]:
    keys = {
        id(result): (place, row)
        for place, track in enumerate(run.tracks)
        for row, result in track.judged.items()
    }
    # What could not be decoded cannot be shown; the page counts it elsewhere.
    seen = [result for result in run.results if result.answer.timings]
    if not seen:
        return [], []
    right = [result for result in worst_frames(seen, len(seen)) if result.scene_correct]
    best, worst = spread_out(right[::-1], count), worst_frames(seen, count)
    return [keys[id(result)] for result in best], [keys[id(result)] for result in worst]


def spread_out(ranked: Sequence[FrameResult], count: int) -> list[FrameResult]:
    """Take the first of a ranking, none within a second of another one while that is possible."""
    taken: list[FrameResult] = []
    for result in ranked:
        if len(taken) == count:
            break
        same = [other for other in taken if other.dataset == result.dataset]
        if all(abs(other.stamp_ns - result.stamp_ns) > 1e9 for other in same):
            taken.append(result)
    used = {id(result) for result in taken}
    rest = [result for result in ranked if id(result) not in used]
    return taken + rest[: count - len(taken)]


def _by_confidence(run: BundleRun, count: int) -> tuple[list[Key], list[Key]]:
    rated = [
        (answer.confidence, (place, row))
        for place, track in enumerate(run.tracks)
        for row, answer in enumerate(track.answers)
        if np.isfinite(answer.confidence)
    ]
    ranked = [key for _, key in sorted(rated)]
    return ranked[::-1][:count], ranked[:count]


def _by_track(run: BundleRun, keys: Sequence[Key]) -> list[tuple[tuple[int, BagTrack], list[int]]]:
    return [
        ((place, track), [row for other, row in keys if other == place])
        for place, track in enumerate(run.tracks)
        if any(other == place for other, _ in keys)
    ]


def _show(run: BundleRun, placed: tuple[int, BagTrack], rows: list[int]) -> dict[Key, ShownImage]:
    place, track = placed
    shown = {}
    for row, (picture, camera) in images_of(track.bag, rows).items():
        try:
            attention = attend(run.localizer, picture, camera)
        except ImageError:
            continue  # counted where it was localized
        shown[place, row] = ShownImage(_caption(track, row), tuple(_tiles(attention)))
    return shown


def _tiles(attention: ImageAttention) -> list[tuple[str, bytes]]:
    tiles = [("as the network sees it", _jpeg(attention.picture))]
    for branch in attention.branches:
        weights = branch.cross[-1].mean(axis=0)
        tiles.append((f"where {branch.name} looked", _jpeg(overlay(attention.picture, weights))))
    return tiles


def overlay(picture: ImageU8, weights: Array) -> ImageU8:
    """Lay a map of weights over a picture: dark where there is no more weight than elsewhere.

    Args:
        picture: (H, W, 3) RGB uint8.
        weights: (rows, columns), summing to 1.
    """
    heat = upsample(weights * weights.size, picture.shape[1], picture.shape[0])
    share = np.clip(heat / max(2.0, float(heat.max())), 0.0, 1.0)
    colors = cv2.applyColorMap(np.uint8(255 * share), cv2.COLORMAP_INFERNO)[..., ::-1]
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    opacity = np.interp(share, (0.0, 1.0), HEAT_OPACITY)[..., None]
    mixed = opacity * colors + (1.0 - opacity) * grey
    return np.asarray(np.round(mixed), dtype=np.uint8)


def _jpeg(picture: ImageU8) -> bytes:
    height = max(1, round(picture.shape[0] * TILE_WIDTH_PX / picture.shape[1]))
    enlarged = picture.shape[1] < TILE_WIDTH_PX
    way = cv2.INTER_LINEAR if enlarged else cv2.INTER_AREA
    small = cv2.resize(picture, (TILE_WIDTH_PX, height), interpolation=way)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "OpenCV encodes any picture of 8 bits as JPEG"
    return bytes(encoded.tobytes())


def _caption(track: BagTrack, row: int) -> str:
    scan = track.bag.scan
    seconds = (scan.stamps_ns[row] - scan.stamps_ns[0]) / 1e9
    where = f"{track.bag.name}, {seconds:.2f} s"
    return f"{where}: {_outcome(track.answers[row], track.judged.get(row))}"


def _outcome(answer: Answer, result: FrameResult | None) -> str:
    if not np.isfinite(answer.position).all():
        return f"no answer ({answer.problem})"
    rejected = "" if answer.accepted else ", rejected"
    sure = f"confidence {answer.confidence:.2f}{rejected}"
    if result is None:
        return f"{answer.scene}, {sure}"
    if not result.scene_correct:
        return f"{result.gt_scene} taken for {answer.scene}, {sure}"
    return f"{result.position_error_m:.3f} m, {result.orientation_error_deg:.2f}°, {sure}"
