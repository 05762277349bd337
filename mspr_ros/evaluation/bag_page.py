"""What the page of a bag's verdict says, section by section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mspr_ros.evaluation.bag_metrics import BundleVerdict
from mspr_ros.evaluation.bag_motion import answered_stretches
from mspr_ros.evaluation.bag_page_tables import (
    input_section,
    motion_section,
    number,
    speed_section,
)
from mspr_ros.evaluation.bag_pictures import best_and_worst
from mspr_ros.evaluation.bag_plots import (
    ErrorTrack,
    deviations_figure,
    error_shares_figure,
    errors_in_time_figure,
    path_figure,
)
from mspr_ros.evaluation.bag_run import BagTrack
from mspr_ros.evaluation.html_page import Section, page
from mspr_ros.evaluation.judging import FrameResult, errors_of
from mspr_ros.evaluation.plots import trajectory_figure
from mspr_ros.evaluation.report import scene_curves
from mspr_ros.evaluation.tables import format_interval, percent
from mspr_ros.evaluation.uncertain_frames import uncertain_frames

Verdicts = Sequence[BundleVerdict]
SHOWN_LEVELS = (0.5, 0.95)  # of coverage; metrics.json has them all


def bag_page(verdicts: Verdicts, *, num_images: int = 4) -> str:
    """Write the page about one bundle or several, the headline's first."""
    judged = any(verdict.groups for verdict in verdicts)
    sections = [_short(verdicts), *([_accuracy(verdicts)] if judged else [])]
    sections.append(_paths(verdicts))
    if judged:
        sections += [_in_time(verdicts), _shares(verdicts), _uncertainty(verdicts)]
    sections += [_images(verdicts, num_images), *([_scenes(verdicts)] if judged else [])]
    sections += [motion_section(verdicts), speed_section(verdicts), input_section(verdicts)]
    names = " and ".join(verdict.run.name for verdict in verdicts)
    bags = ", ".join(track.bag.name for track in verdicts[0].run.tracks)
    notes = [
        f"{verdict.run.name}: {verdict.run.path} ({verdict.metrics['bundle_hash'][:12]})"
        for verdict in verdicts
    ]
    notes.append("Each pose is from one image alone; nothing is smoothed over time.")
    return page(f"{names} on {bags}", notes, sections)


def _short(verdicts: Verdicts) -> Section:
    section = Section("short", "In short")
    for verdict in verdicts:
        if len(verdicts) > 1:
            section.heading(verdict.run.name)
        counts = verdict.metrics["bags"]
        total = sum(count["images"] for count in counts)
        accepted = sum(count["accepted"] for count in counts)
        cards = [(str(total), "images"), (percent(accepted / total), "answered and accepted")]
        if verdict.groups:
            poses = verdict.groups[-1].network.poses
            recall = poses.recalls[1]
            cards[1:1] = [
                (f"{poses.position_error_m.median:.3f} m", "median position error"),
                (f"{poses.orientation_error_deg.median:.2f}°", "median orientation error"),
                (
                    percent(recall.share),
                    f"within {recall.position_m:g} m and {recall.orientation_deg:g}°",
                ),
                (percent(poses.scene_accuracy), "right scene"),
            ]
        speed = verdict.metrics["latency"]["images_per_second"]
        cards.append((number(speed, 1), "images a second here"))
        section.cards(cards)
    for count in verdicts[0].metrics["bags"]:
        if count["without_truth"] and count["truth"]:
            section.text(
                f"{count['bag']}: {count['without_truth']} of {count['images']} images have no "
                "true pose near them; they were localized but are not judged.",
                "note",
            )
    judged = any(verdict.groups for verdict in verdicts)
    for verdict in verdicts:
        if judged and not verdict.groups:
            section.text(
                f"{verdict.run.name} was not taught the scene of the true poses: its answers are "
                "not judged.",
                "note",
            )
    if not judged:
        has_truth = any(count["truth"] for count in verdicts[0].metrics["bags"])
        section.text(
            f"There is no truth {'in a scene that was taught' if has_truth else 'to judge by'}: "
            "below stands how steady the answers are, and how well they agree with odometry "
            "where the bag has any.",
            "note",
        )
    return section


def _accuracy(verdicts: Verdicts) -> Section:
    section = Section("accuracy", "Accuracy")
    section.text(
        "Without any alignment to the truth. An image without an answer counts as an infinite "
        "error; in brackets 95 % block-bootstrap intervals.", "soft",
    )  # fmt: skip
    first = next(group for verdict in verdicts for group in verdict.groups)
    recalls = [
        f"≤ {one.position_m:g} m, {one.orientation_deg:g}°" for one in first.network.poses.recalls
    ]
    medians = [["", "images", "no answer", "position m", "orientation °", *recalls, "scene"]]
    spread = [["", "position m: mean", "p90", "p99", "max", "orientation °: mean", "p90", "p99",
               "max"]]  # fmt: skip
    for verdict in verdicts:
        for group in verdict.groups:
            name = f"{verdict.run.name}: {group.name}" if len(verdicts) > 1 else group.name
            method, poses = group.network, group.network.poses
            medians.append(
                [
                    *(name, str(poses.num_frames), str(poses.num_failures)),
                    format_interval(method.position_median_m, 3),
                    format_interval(method.orientation_median_deg, 2),
                    *(percent(recall.share) for recall in poses.recalls),
                    percent(poses.scene_accuracy),
                ]
            )
            position, orientation = poses.position_error_m, poses.orientation_error_deg
            spread.append(
                [name]
                + [f"{getattr(position, key):.3f}" for key in ("mean", "p90", "p99", "max")]
                + [f"{getattr(orientation, key):.2f}" for key in ("mean", "p90", "p99", "max")]
            )
    section.heading("Medians and recall")
    section.table(medians)
    section.heading("The tail")
    section.table(spread)
    section.heading("Accepted and rejected answers")
    section.table(_accepted_rows(verdicts))
    return section


def _accepted_rows(verdicts: Verdicts) -> list[list[str]]:
    rows = [["", "images", "wrong scene", "position m: median", "p90", "orientation °: median",
             "p90"]]  # fmt: skip
    for verdict in verdicts:
        for kind in ("accepted", "rejected"):
            told = verdict.metrics[kind]
            name = f"{verdict.run.name}: {kind}" if len(verdicts) > 1 else kind
            row = [name, str(told["num_frames"]), str(told["num_wrong_scene"])]
            for key, digits in (("position_error_m", 3), ("orientation_error_deg", 2)):
                errors = told[key]
                row += [
                    "-" if errors is None else number(errors[part], digits)
                    for part in ("median", "p90")
                ]
            rows.append(row)
    return rows


def _paths(verdicts: Verdicts) -> Section:
    section = Section("trajectory", "From above")
    figures = []
    for verdict in verdicts:
        name = f"{verdict.run.name}, " if len(verdicts) > 1 else ""
        results = verdict.run.results
        for scene in dict.fromkeys(result.gt_scene for result in results):
            _, panel = scene_curves(scene, results, None)
            caption = f"{name}{scene}: the true path, and the answers coloured by their error"
            figures.append((trajectory_figure([panel]), caption))
        if not results:
            segments = _answered_paths(verdict.run.tracks)
            figures += [
                (path_figure(parts), f"{name}{scene}: the accepted answers")
                for scene, parts in segments.items()
            ]
    section.figures(figures)
    return section


def _answered_paths(tracks: Sequence[BagTrack]) -> dict[str, list[tuple[str, Any]]]:
    segments: dict[str, list[tuple[str, Any]]] = {}
    for track in tracks:
        pred = track.pred_T_map_cam()
        for stretch in answered_stretches(track):
            points = pred[stretch.rows, :3, 3]
            segments.setdefault(stretch.scene, []).append((track.bag.name, points))
    return segments


def _error_track(verdict: BundleVerdict, track: BagTrack) -> ErrorTrack:
    rows, results = list(track.judged), list(track.judged.values())
    stamps = track.bag.scan.stamps_ns
    position, orientation = errors_of(results)
    accepted = np.array([result.answer.accepted for result in results], dtype=bool)
    seconds = (stamps[rows] - stamps.min()) / 1e9
    return ErrorTrack(verdict.run.name, seconds, position, orientation, accepted)


def _in_time(verdicts: Verdicts) -> Section:
    section = Section("time", "Errors over time")
    figures = []
    for tracks in zip(*(verdict.run.tracks for verdict in verdicts), strict=True):
        own = [
            _error_track(verdict, track)
            for verdict, track in zip(verdicts, tracks, strict=True)
            if track.judged
        ]
        if own:
            figures.append((errors_in_time_figure(own), f"{tracks[0].bag.name}: a dot an image"))
    section.figures(figures)
    return section


def _shares(verdicts: Verdicts) -> Section:
    section = Section("shares", "Share of images by error")
    position, orientation = [], []
    for name, own in _by_scene(verdicts):
        metres, degrees = errors_of(own)
        position.append((name, metres))
        orientation.append((name, degrees))
    section.figures(
        [
            (error_shares_figure(position, "m"), "Position; the grey line: the median"),
            (error_shares_figure(orientation, "deg"), "Orientation, likewise"),
        ]
    )
    return section


def _by_scene(verdicts: Verdicts) -> Iterator[tuple[str, list[FrameResult]]]:
    """Give the judged images of every bundle and scene, under a name."""
    for verdict in verdicts:
        results = verdict.run.results
        for scene in dict.fromkeys(result.gt_scene for result in results):
            own = [result for result in results if result.gt_scene == scene]
            yield f"{verdict.run.name}: {scene}" if len(verdicts) > 1 else scene, own


def _uncertainty(verdicts: Verdicts) -> Section:
    section = Section("uncertainty", "Stated against true uncertainty")
    position_points, orientation_points = [], []
    for name, own in _by_scene(verdicts):
        frames = uncertain_frames(own)
        position, orientation = (np.where(frames.scene_right, e, np.nan) for e in errors_of(own))
        stated = frames.deviation
        position_points.append((name, stated["position"], position))
        orientation_points.append((name, np.degrees(stated["orientation"]), orientation))
    rows = [["", "stated", "position", "orientation", "pose (6 d)"]]
    for verdict in verdicts:
        for group in verdict.groups:
            rows += _coverage_rows(verdict, group, len(verdicts) > 1)
    if len(rows) > 1:
        section.text(
            "How often the truth lies within the stated region: the nearer to the stated share, "
            "the more honest the covariance.", "soft",
        )  # fmt: skip
        section.table(rows)
    caption = "A dot an image: the error against the root of the covariance's trace"
    figures = [
        deviations_figure(position_points, "m"),
        deviations_figure(orientation_points, "deg"),
    ]
    drawn = [(figure, caption) for figure in figures if figure is not None]
    if drawn:
        section.figures(drawn)
    else:
        section.text("No answer states a covariance.")
    return section


def _coverage_rows(verdict: BundleVerdict, group: Any, named: bool) -> list[list[str]]:
    if group.uncertainty is None:
        return []
    shares: dict[float, dict[str, float]] = {}
    for one in group.uncertainty.coverage:
        if one.level in SHOWN_LEVELS:
            shares.setdefault(one.level, {})[one.part] = one.all_frames.value
    name = f"{verdict.run.name}: {group.name}" if named else group.name
    return [
        [name, percent(level)]
        + [percent(parts.get(part)) for part in ("position", "orientation", "both")]
        for level, parts in shares.items()
    ]


def _images(verdicts: Verdicts, count: int) -> Section:
    section = Section("images", "Best and worst images")
    section.text(
        "Bright: where the last decoder layer's attention lies for the scene asked for, mean of "
        "its heads. Of each few seconds of the recording the worst image stands before a second "
        "one.", "soft",
    )  # fmt: skip
    by = "error" if any(verdict.groups for verdict in verdicts) else "confidence"
    kinds = {
        "error": ("The smallest errors", "The largest errors"),
        "confidence": ("The highest confidence", "The lowest confidence"),
    }[by]
    for verdict in verdicts:
        name = f"{verdict.run.name}: " if len(verdicts) > 1 else ""
        for kind, images in zip(kinds, best_and_worst(verdict.run, count), strict=True):
            section.heading(f"{name}{kind[0].lower()}{kind[1:]}" if name else kind)
            section.images([(image.caption, image.tiles) for image in images])
    return section


def _scenes(verdicts: Verdicts) -> Section:
    section = Section("scenes", "Which scene was taken for which")
    for verdict in verdicts:
        if not verdict.groups:
            continue
        confusion = verdict.metrics["scene_confusion"]
        if len(verdicts) > 1:
            section.heading(verdict.run.name)
        head = ["true scene", *(f"as {name}" for name in confusion["recognised"][:-1])]
        rows = [[*head, confusion["recognised"][-1]]]
        rows += [
            [name, *map(str, counts)]
            for name, counts in zip(confusion["true"], confusion["counts"], strict=True)
        ]
        section.table(rows)
    return section
