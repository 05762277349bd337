"""Validation blocks: apart from training in frames and in seconds, whatever the recording."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mspr_ros.data.dataset import Dataset, Frame
from mspr_ros.data.importers import cut_test_blocks
from mspr_ros.data.splits import Part, guarded_blocks, split_guarded
from mspr_ros.errors import DatasetError

# A busy machine is no reason to fail.
settings.register_profile("unhurried", deadline=None, max_examples=60)
settings.load_profile("unhurried")

SETTINGS = {
    "num_blocks": st.integers(0, 6),
    "fraction": st.floats(0.0, 0.6),
    "guard_frames": st.integers(0, 12),
    "guard_s": st.floats(0.0, 3.0),
}
# Steps of 33 ms with gaps, and images of several cameras at one instant.
STEPS = st.lists(st.sampled_from([0, 33_000_000, 34_000_000, 2_000_000_000]), max_size=300)


@given(steps=STEPS, seed=st.integers(0, 99), **SETTINGS)
def test_parts_are_apart(steps, seed, num_blocks, fraction, guard_frames, guard_s) -> None:
    stamps = 10**18 + np.cumsum(np.array(steps, dtype=np.int64))
    options = {
        "num_blocks": num_blocks,
        "fraction": fraction,
        "guard_frames": guard_frames,
        "guard_s": guard_s,
    }
    parts = guarded_blocks(stamps, **options)
    assert parts.shape == stamps.shape
    order = np.random.default_rng(seed).permutation(len(stamps))
    np.testing.assert_array_equal(guarded_blocks(stamps[order], **options), parts[order])

    instants = np.unique(stamps)
    rank = np.searchsorted(instants, stamps)
    validation, train = parts == Part.VALIDATION, parts == Part.TRAIN
    if not validation.any():
        assert train.all()
        return
    apart = np.abs(rank[train][:, None] - rank[validation][None])
    assert apart.min() > guard_frames
    seconds = np.abs(stamps[train][:, None] - stamps[validation][None]) / 1e9
    assert seconds.min() > guard_s - 1e-6
    # A guard frame is there for a reason.
    if (parts == Part.GUARD).any():
        near = np.abs(rank[parts == Part.GUARD][:, None] - rank[validation][None]).min(axis=1)
        late = np.abs(stamps[parts == Part.GUARD][:, None] - stamps[validation][None]).min(axis=1)
        assert np.all((near <= guard_frames) | (late <= guard_s * 1e9))
    chosen = np.unique(rank[validation])
    assert abs(len(chosen) - fraction * len(instants)) <= num_blocks / 2 + 1
    assert np.count_nonzero(np.diff(chosen) > 1) + 1 <= num_blocks
    assert len(np.unique(rank[train])) * 2 >= len(instants)


def test_blocks_are_spread_over_the_sequence() -> None:
    parts = guarded_blocks(np.arange(1000) * 33, num_blocks=5, fraction=0.1, guard_frames=10)
    starts = np.flatnonzero(np.diff((parts == Part.VALIDATION).astype(int)) == 1) + 1
    np.testing.assert_array_equal(starts, [90, 290, 490, 690, 890])
    assert np.count_nonzero(parts == Part.VALIDATION) == 100
    assert np.count_nonzero(parts == Part.GUARD) == 100
    assert list(parts[78:92]) == [0, 0, *[2] * 10, 1, 1]


@pytest.mark.parametrize("offset_ms", [0, 3, 40])
def test_guards_are_counted_in_instants_of_a_rig(offset_ms: int) -> None:
    one = np.arange(60) * 100_000_000
    options = {"num_blocks": 1, "fraction": 0.2, "guard_frames": 5}
    expected = guarded_blocks(one, **options)
    stamps = np.concatenate([one + camera * offset_ms * 1_000_000 for camera in range(2)])
    cameras = ["left"] * 60 + ["right"] * 60
    parts = guarded_blocks(stamps, **options, cameras=cameras)
    np.testing.assert_array_equal(parts, np.concatenate([expected, expected]))
    late = guarded_blocks(stamps, **options, guard_s=0.75, cameras=cameras)
    apart = stamps[late == Part.TRAIN][:, None] - stamps[late == Part.VALIDATION]
    assert np.abs(apart).min() > 750_000_000


def test_a_rig_is_cut_together() -> None:
    frames = [
        replace(frame, camera=camera, stamp_ns=frame.stamp_ns * 100_000_000 + offset_ns)
        for camera, offset_ns in (("left", 0), ("right", 3_000_000))
        for frame in recording("drive", 100)
    ]
    dataset = Dataset("d", Path("/d"), tuple(frames), scenes=("room",), splits=("train",))
    _, validation = split_guarded(dataset, num_blocks=1, fraction=0.2, guard_frames=5)
    cut = cut_test_blocks(tuple(frames), 0.2, 1, {})
    for held_back in (validation.frames, [frame for frame in cut if frame.split == "test"]):
        for camera in ("left", "right"):
            numbers = [int(frame.image.stem) for frame in held_back if frame.camera == camera]
            assert numbers == list(range(40, 60))


def test_a_short_sequence_keeps_its_frames() -> None:
    assert not guarded_blocks(np.arange(20), num_blocks=3, fraction=0.2).any()
    assert not guarded_blocks([], num_blocks=3, fraction=0.2).any()
    fewer = guarded_blocks(np.arange(60), num_blocks=3, fraction=0.1)  # room for one only
    assert np.count_nonzero(fewer == Part.VALIDATION) == 6


@pytest.mark.parametrize(
    "wrong", [{"num_blocks": -1}, {"fraction": 1.0}, {"guard_frames": -1}, {"guard_s": np.nan}]
)
def test_wrong_arguments(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected num_blocks"):
        guarded_blocks([1, 2], **({"num_blocks": 1, "fraction": 0.1} | wrong))


def recording(sequence: str, count: int) -> list[Frame]:
    pose = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return [
        Frame("room", "train", sequence, i, "", Path(f"/{sequence}/{i}.png"), *pose)
        for i in range(count)
    ]


def test_each_sequence_is_cut_on_its_own() -> None:
    frames = (*recording("long", 200), *recording("short", 15), *recording("other", 100))
    dataset = Dataset("d", Path("/d"), frames[::-1], scenes=("room",), splits=("train",))
    train, validation = split_guarded(dataset, num_blocks=1, fraction=0.2, guard_frames=5)
    count = {
        name: sum(frame.sequence == name for frame in validation.frames)
        for name in ("long", "short", "other")
    }
    assert count == {"long": 40, "short": 0, "other": 20}
    assert len(train) == 315 - 60 - 2 * 10
    assert not set(train.frames) & set(validation.frames)
    assert train.scenes == validation.scenes == ("room",)


def test_too_short_for_any_block() -> None:
    dataset = Dataset("d", Path("/d"), tuple(recording("short", 15)), scenes=("room",))
    with pytest.raises(DatasetError, match="no sequence of d is long enough"):
        split_guarded(dataset, num_blocks=1, fraction=0.2, guard_frames=10)
    train, validation = split_guarded(dataset, num_blocks=0, fraction=0.0)
    assert len(train) == 15 and len(validation) == 0
