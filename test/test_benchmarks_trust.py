"""The measurement of trust: its ways of spoiling pictures, its halves of rooms, its verdicts."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from tiny import TINY_CAMERA, make_tiny_bundle, make_tiny_dataset
from trust_corruptions import CORRUPTIONS, Spoiled, first_useless
from trust_halves import half_shown
from trust_verdict import verdicts

from mspr_ros.data.dataset import Dataset, write_dataset
from mspr_ros.errors import MsprError
from mspr_ros.simulator.recording import pinhole


@pytest.fixture
def picture() -> np.ndarray:
    rows, columns = np.mgrid[0:96, 0:256]
    waves = 128 + 60 * np.sin(columns[..., None] * [0.9, 0.5, 0.3] + rows[..., None] * 0.7)
    return waves.astype(np.uint8)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda one: one.name)
def test_spoiling_grows_with_the_strength_and_repeats(corruption, picture) -> None:
    before = picture.copy()
    changes = []
    for strength in corruption.strengths:
        spoiled = corruption.apply(picture, strength, np.random.default_rng(3))
        assert spoiled.shape == picture.shape and spoiled.dtype == np.uint8
        again = corruption.apply(picture, strength, np.random.default_rng(3))
        np.testing.assert_array_equal(spoiled, again)
        changes.append(np.abs(spoiled.astype(float) - picture).mean())
    np.testing.assert_array_equal(picture, before)
    assert changes[0] > 0.5
    if corruption.name != "wall close up":  # another piece is as far from the picture as a small
        assert all(second > 0.98 * first for first, second in pairwise(changes))


def test_the_strongest_leave_nothing_to_recognise(picture) -> None:
    rng = np.random.default_rng(0)
    spoiled = {one.name: one.apply(picture, one.strengths[-1], rng) for one in CORRUPTIONS}
    assert spoiled["darkness"].max() < 15
    assert spoiled["over-exposure"].min() == 255
    assert spoiled["blur"].std() < 0.3 * picture.std()

    def likeness(name: str) -> float:
        return abs(np.corrcoef(spoiled[name].ravel(), picture.ravel())[0, 1])

    assert likeness("hand over the lens") < 0.2
    np.testing.assert_array_equal(spoiled["mirror image"][:, ::-1], picture)


def test_a_hand_covers_the_share_it_says() -> None:
    white = np.full((96, 128, 3), 255, np.uint8)
    hand = next(one for one in CORRUPTIONS if one.name.startswith("hand"))
    for share in (0.2, 0.6):
        covered = hand.apply(white, share, np.random.default_rng(1))[..., 2] < 190
        assert covered.mean() == pytest.approx(share, abs=0.08)


def test_the_first_useless_strength_is_the_mildest_beyond_three_times() -> None:
    def at(strength: float, times: float) -> Spoiled:
        return Spoiled(strength, 0.0, 0.0, times, 0.9, 0.0)

    assert first_useless([at(1, 1.1), at(2, 3.0)]) is None
    found = first_useless([at(1, 1.1), at(2, 3.2), at(3, 2.0), at(4, 9.0)])
    assert found is not None and found.strength == 2


def test_the_half_of_a_room_that_a_picture_shows() -> None:
    camera = pinhole(64, 48, 70.0)
    outline = np.array([[10.0, 5.0], [16.0, 5.0], [16.0, 10.0], [10.0, 10.0]])

    def looking(x: float, yaw_deg: float) -> int:
        yaw = np.deg2rad(yaw_deg)
        T_map_cam = np.eye(4)
        forward = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
        T_map_cam[:3, :3] = np.column_stack([right, [0.0, 0.0, -1.0], forward])
        T_map_cam[:3, 3] = (x, 7.5, 1.0)
        return half_shown(T_map_cam, camera, outline)

    assert looking(14.0, 180.0) == -1  # stands in one half, sees the other
    assert looking(12.0, 0.0) == 1
    assert looking(13.0, 90.0) == 0
    assert looking(12.0, 90.0) == 0  # the picture's edge reaches over the middle
    assert looking(11.0, 90.0) == -1


def _interval(value: float, half: float = 0.01) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "num_blocks": 24}


def _measured() -> dict[str, Any]:
    """Figures that meet everything."""
    parts, errors = ("position", "orientation", "both"), ("position", "orientation")
    group = {
        "name": "all scenes",
        "coverage": [
            {"part": part, "level": level, "all_frames": _interval(level)}
            for part in parts
            for level in (0.5, 0.95)
        ],
        "ranking": [
            {
                "error": error,
                "by": by,
                "ause_ratio": _interval(0.4),
                "rejection_gain": _interval(0.6),
            }
            for error in errors
            for by in ("covariance", "confidence")
        ],
    }
    against = {"office": {"auroc": 0.99}, "all scenes": {"auroc": 0.98}}
    kind = {"num_places": 21, "num_frames": 2112, "num_accepted": 0, "against": against}
    useless = {"auroc": 0.93}
    return {
        "num_frames": 2112,
        "num_drives": 24,
        "groups": [group],
        "acceptance": {
            "frames": 2112,
            "frames_accepted": 2000,
            "good_frames": 1000,
            "good_frames_accepted": 960,
        },
        "unknown": {"kinds": {"rooms": kind}},
        "corruptions": [{"name": str(n), "first_useless": useless} for n in range(4)],
    }


@pytest.mark.parametrize("real", [False, True])
def test_a_verdict_passes_what_was_asked_for(real: bool) -> None:
    found = verdicts(_measured(), real=real)
    assert found and all(one.met for one in found)
    assert all(one.line().endswith("| met |") for one in found)


def _spoil(measured: dict[str, Any], what: str) -> None:
    group = measured["groups"][0]
    position_95 = group["coverage"][1]
    rankings = {(one["error"], one["by"]): one for one in group["ranking"]}
    kind = measured["unknown"]["kinds"]["rooms"]
    match what:
        case "95 % regions of position":
            position_95["all_frames"] = _interval(0.915)
        case "AUSE of orientation":
            rankings["orientation", "covariance"]["ause_ratio"] = _interval(0.51)
        case "rejecting 10 %":
            rankings["position", "confidence"]["rejection_gain"]["value"] = None
        case "rooms against":
            kind["against"]["office"]["auroc"] = 0.969
        case "none accepted":
            kind["num_accepted"] = 1
        case "at least 95% of good":
            measured["acceptance"]["good_frames_accepted"] = 949
        case "where errors exceed":
            measured["corruptions"][2]["first_useless"] = None
        case "at least 2000":
            measured["num_drives"] = 19


@pytest.mark.parametrize(
    "what",
    [
        "95 % regions of position",
        "AUSE of orientation",
        "rejecting 10 %",
        "rooms against",
        "none accepted",
        "at least 95% of good",
        "where errors exceed",
        "at least 2000",
    ],
)
def test_a_verdict_names_what_is_not_reached(what: str) -> None:
    measured = _measured()
    _spoil(measured, what)
    missed = [one.requirement for one in verdicts(measured, real=False) if one.met is not True]
    assert len(missed) == 1 and missed[0].startswith(what)


def test_intervals_of_real_scenes_must_hold_the_nominal_coverage() -> None:
    measured = _measured()
    measured["groups"][0]["coverage"][0]["all_frames"] = _interval(0.52)  # position, 50 %
    found = verdicts(measured, real=True)
    missed = [one.requirement for one in found if not one.met]
    assert missed == ["all scenes: block intervals hold the nominal coverage of position"]


def test_the_unseen_half_is_reported_and_no_requirement() -> None:
    measured = _measured()
    half = {**measured["unknown"]["kinds"]["rooms"], "num_accepted": 7}
    half["against"] = {"office": {"auroc": 0.6}}
    measured["unknown"]["kinds"]["unseen half"] = half
    found = [one for one in verdicts(measured, real=False) if one.met is not True]
    assert [one.met for one in found] == [None]
    assert "0.600" in found[0].measured


def test_frames_of_another_world_or_other_scenes_are_not_taken(tmp_path) -> None:
    import trust_data

    frames = Dataset.load(make_tiny_dataset(tmp_path / "rooms", frames_per_scene=4)).frames
    write_dataset(
        tmp_path / "taught", name="simulator-demo", frames=frames, scenes=("kitchen", "office"),
        cameras={"front": TINY_CAMERA},
    )  # fmt: skip
    made = trust_data.make_taught(tmp_path, "demo", ("kitchen", "office"))
    assert len(made) == 8
    for world, scenes in (("other", ("kitchen", "office")), ("demo", ("office",))):
        with pytest.raises(MsprError, match="remove it, or name another folder"):
            trust_data.make_taught(tmp_path, world, scenes)


def test_figures_of_real_frames_are_measured_and_drawn(tmp_path, monkeypatch) -> None:
    import trust

    bundle = make_tiny_bundle(tmp_path / "bundle")
    taught = make_tiny_dataset(tmp_path / "taught", frames_per_scene=30)
    other = make_tiny_dataset(tmp_path / "other", scenes=("cellar",), frames_per_scene=10)
    out = tmp_path / "out"
    command = ["trust.py", bundle, "--real", taught, "--split", "all", "--unknown", other]
    command += ["-o", out, "--spoiled-frames", 2, "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    trust.main()
    import json

    measured = json.loads((out / "trust.json").read_text())
    assert measured["num_frames"] == 60 and measured["num_drives"] == 2
    assert measured["unknown"]["kinds"][trust.OTHERS]["num_places"] == 1
    assert {one["name"] for one in measured["corruptions"]} == {one.name for one in CORRUPTIONS}
    assert measured["verdict"] and (out / "trust.png").exists()
    assert (out / "corruptions.png").exists()
