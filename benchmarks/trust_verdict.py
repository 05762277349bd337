"""Hold measured figures against what was asked for: one line to a requirement, met or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COVERAGE_LEVEL, COVERAGE_RANGE = 0.95, (0.92, 0.98)
MIN_FRAMES, MIN_DRIVES = 2000, 20
MAX_AUSE_RATIO = 0.5
MIN_REJECTION_GAIN = 0.5
MIN_AUROC_PLACES = 0.97
MIN_AUROC_CORRUPTED, MIN_CORRUPTIONS = 0.90, 4
MIN_GOOD_PASS = 0.95


@dataclass(frozen=True)
class Verdict:
    """One requirement, what was measured of it, and whether it is met; None: not measured."""

    requirement: str
    measured: str
    met: bool | None

    def line(self) -> str:
        """Give it as a row of a table in markdown."""
        word = {True: "met", False: "NOT met", None: "not measured"}[self.met]
        return f"| {self.requirement} | {self.measured} | {word} |"


def verdicts(measured: Mapping[str, Any], *, real: bool) -> list[Verdict]:
    """Judge everything that `trust.py` measured.

    Args:
        measured: As it stands in its JSON.
        real: Whether the frames are of real scenes, whose intervals must hold the nominal
            coverage; in the simulator there are enough frames to ask for the coverage itself.
    """
    found = [] if real else [_amount(measured)]
    found += _intervals(measured) if real else _coverages(measured)
    found += _rankings(measured)
    if measured.get("unknown"):
        found += [*_strangers(measured), *_acceptance(measured)]
    if measured.get("corruptions"):
        found.append(_corruptions(measured))
    return found


def _amount(measured: Mapping[str, Any]) -> Verdict:
    frames, drives = measured["num_frames"], measured["num_drives"]
    return Verdict(
        f"at least {MIN_FRAMES} frames of {MIN_DRIVES} drives",
        f"{frames} frames of {drives} drives",
        frames >= MIN_FRAMES and drives >= MIN_DRIVES,
    )


def _coverages(measured: Mapping[str, Any]) -> list[Verdict]:
    """Ask of all scenes together that 95 % regions cover as they say, within 3 points."""
    low, high = COVERAGE_RANGE
    found = []
    for one in _group(measured).get("coverage", []):
        if one["part"] != "both" and one["level"] == COVERAGE_LEVEL:
            share = one["all_frames"]
            found.append(
                Verdict(
                    f"95 % regions of {one['part']} cover {low:.0%} to {high:.0%}",
                    _interval(share),
                    low <= share["value"] <= high,
                )
            )
    return found or [Verdict("95 % regions cover 92 % to 98 %", "no covariance", False)]


def _intervals(measured: Mapping[str, Any]) -> list[Verdict]:
    """Ask of every scene and level that the block interval holds the nominal coverage."""
    found = []
    for group in measured["groups"]:
        for part in ("position", "orientation"):
            entries = [one for one in group.get("coverage", []) if one["part"] == part]
            bounds = [
                (one["level"], one["all_frames"]["low"], one["all_frames"]["high"])
                for one in entries
            ]
            met: bool | None = None
            if bounds and all(low is not None for _, low, _ in bounds):
                met = all(low <= level <= high for level, low, high in bounds)
            text = ", ".join(
                f"{one['level']:.0%}: {_interval(one['all_frames'])}" for one in entries
            )
            found.append(
                Verdict(
                    f"{group['name']}: block intervals hold the nominal coverage of {part}",
                    text or "no covariance",
                    met if bounds else False,
                )
            )
    return found


def _rankings(measured: Mapping[str, Any]) -> list[Verdict]:
    found = []
    for one in _group(measured).get("ranking", []):
        if one["by"] == "covariance":
            found.append(
                Verdict(
                    f"AUSE of {one['error']} at most {MAX_AUSE_RATIO} of a random ranking's",
                    _interval(one["ause_ratio"], "{:.3f}"),
                    _at_most(one["ause_ratio"]["value"], MAX_AUSE_RATIO),
                )
            )
    for one in _group(measured).get("ranking", []):
        if one["by"] == "confidence":
            found.append(
                Verdict(
                    f"rejecting 10 % by confidence: the 95th percentile of {one['error']} errors "
                    f"falls by {MIN_REJECTION_GAIN} of the possible",
                    _interval(one["rejection_gain"], "{:.3f}"),
                    _at_least(one["rejection_gain"]["value"], MIN_REJECTION_GAIN),
                )
            )
    return found


def _strangers(measured: Mapping[str, Any]) -> list[Verdict]:
    """Ask of every kind of stranger and every taught scene that they are told apart."""
    found = []
    for kind, one in measured["unknown"]["kinds"].items():
        scene, worst = min(one["against"].items(), key=lambda item: item[1]["auroc"])
        found.append(
            Verdict(
                f"{kind} against each taught scene: AUROC at least {MIN_AUROC_PLACES}",
                f"{worst['auroc']:.3f} (worst: {scene}; {one['num_places']} places, "
                f"{one['num_frames']} frames)",
                # The unseen half of a taught room is to be reported, not to be reached.
                None if kind == "unseen half" else worst["auroc"] >= MIN_AUROC_PLACES,
            )
        )
    return found


def _acceptance(measured: Mapping[str, Any]) -> list[Verdict]:
    unknown, passing = measured["unknown"], measured["acceptance"]
    # Half of a room that was taught is not another place.
    kinds = [one for name, one in unknown["kinds"].items() if name != "unseen half"]
    accepted = sum(one["num_accepted"] for one in kinds)
    frames = sum(one["num_frames"] for one in kinds)
    good = passing["good_frames_accepted"] / max(passing["good_frames"], 1)
    every = passing["frames_accepted"] / passing["frames"]
    return [
        Verdict(
            f"none accepted of {MIN_FRAMES} frames of untaught places or more",
            f"{accepted} of {frames}, {sum(one['num_places'] for one in kinds)} places",
            accepted == 0 and frames >= MIN_FRAMES,
        ),
        Verdict(
            f"at least {MIN_GOOD_PASS:.0%} of good frames pass at the same threshold",
            f"{good:.1%} of {passing['good_frames']} good ones, {every:.1%} of all",
            good >= MIN_GOOD_PASS,
        ),
    ]


def _corruptions(measured: Mapping[str, Any]) -> Verdict:
    """Count the ways of spoiling whose first useless strength is noticed."""
    reached, texts = 0, []
    for one in measured["corruptions"]:
        useless = one["first_useless"]
        if useless is None:
            texts.append(f"{one['name']}: never so wrong")
            continue
        reached += useless["auroc"] >= MIN_AUROC_CORRUPTED
        texts.append(f"{one['name']} {useless['auroc']:.3f}")
    return Verdict(
        f"where errors exceed 3 times the clean median: AUROC at least {MIN_AUROC_CORRUPTED} for "
        f"{MIN_CORRUPTIONS} corruptions",
        f"{reached} ({', '.join(texts)})",
        reached >= MIN_CORRUPTIONS,
    )


def _group(measured: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the entry of all scenes: the last one."""
    groups: Sequence[Mapping[str, Any]] = measured["groups"]
    return groups[-1]


def _interval(entry: Mapping[str, Any], shape: str = "{:.1%}") -> str:
    if entry["value"] is None:
        return "not defined"
    text = shape.format(entry["value"])
    if entry["low"] is None or entry["high"] is None:
        return f"{text} ({entry['num_blocks']} block)"
    return f"{text} [{shape.format(entry['low'])}, {shape.format(entry['high'])}]"


def _at_most(value: float | None, limit: float) -> bool:
    return value is not None and value <= limit


def _at_least(value: float | None, limit: float) -> bool:
    return value is not None and value >= limit
