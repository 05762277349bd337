"""The study of features: every measure against a case whose answer is known, and the whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tiny import TINY_CAMERA, make_tiny_bundle, make_tiny_dataset, make_tiny_network

from mspr_ros.cli.main import main as mspr
from mspr_ros.data.dataset import Dataset
from mspr_ros.evaluation.deletion import SHARES, area, curves
from mspr_ros.evaluation.integrated_gradients import integrated_gradients, selection_of
from mspr_ros.evaluation.structures import (
    by_cell,
    by_pixel,
    picture_structures,
    rank_correlation,
)
from mspr_ros.preprocess import PreprocessConfig, Preprocessor
from mspr_ros.simulator.recording import pinhole, record
from mspr_ros.simulator.world import World
from mspr_ros.studies.features_findings import find, in_words, interval, is_told, tables
from mspr_ros.studies.features_measuring import _middle, _outlines, _seen, world_structures

PREPROCESSOR = Preprocessor(PreprocessConfig(width=96, height=64, resize_shorter_px=0))
RNG = np.random.default_rng(0)
PICTURE = np.repeat(np.repeat(RNG.integers(0, 256, (8, 12, 3)), 8, 0), 8, 1).astype(np.uint8)


def test_an_edge_is_no_corner_and_a_corner_is_one() -> None:
    square = np.zeros((64, 64, 3), np.uint8)
    square[16:48, 16:48] = 255
    found = picture_structures(square)
    side, corner = (slice(30, 34), slice(14, 18)), (slice(15, 18), slice(15, 18))
    inside, far = (slice(30, 34), slice(30, 34)), (slice(0, 4), slice(0, 4))
    assert found["edges"][side].mean() > 5 * found["corners"][side].mean()
    assert found["corners"][corner].mean() > 5 * found["corners"][side].mean()
    assert found["edges"][side].mean() > found["edges"][corner].mean()
    for name in ("edges", "corners", "texture"):  # half as far as the windows reach, or further
        assert found[name][inside].max() < 0.2 * found[name].max()
        assert found[name][far].max() < 0.2 * found[name].max()
    noisy = square.copy()
    noisy[28:36, 28:36] = RNG.integers(0, 256, (8, 8, 1))
    assert picture_structures(noisy)["texture"][inside].mean() > found["texture"][side].mean()


def test_cells_are_means_and_spread_back_over_their_pixels() -> None:
    cells = RNG.normal(size=(3, 4))
    pixels = by_pixel(cells, 48, 64)
    assert pixels.shape == (48, 64) and pixels[47, 63] == cells[2, 3]
    np.testing.assert_allclose(by_cell(pixels, (3, 4)), cells, atol=1e-6)


def test_rank_correlation_is_spearmans_and_can_be_partial() -> None:
    first, second = RNG.normal(size=(2, 6, 8)).round(1)
    expected = spearmanr(first.ravel(), second.ravel()).statistic
    assert rank_correlation(first, second) == pytest.approx(expected)
    assert rank_correlation(first, np.ones_like(first)) == 0.0
    # Both follow a third one and nothing else.
    common = np.arange(400.0).reshape(20, 20)
    one, other = (common + 30.0 * RNG.normal(size=common.shape) for _ in range(2))
    assert rank_correlation(one, other) > 0.8
    assert abs(rank_correlation(one, other, common)) < 0.2
    assert rank_correlation(common, common * 2.0, common) == 0.0


def test_gradients_add_up_to_how_far_the_answer_moved() -> None:
    network = make_tiny_network()
    tensor = PREPROCESSOR.normalize(torch.from_numpy(PICTURE[None]))
    chosen = selection_of(network, tensor, 1)
    assert int(chosen.scene) == 1
    found = integrated_gradients(network, PREPROCESSOR, PICTURE, chosen, steps=24)
    for one in found.values():
        assert one.pixels.shape == (64, 96) and one.moved > 0.0
        assert one.pixels.sum() == pytest.approx(one.moved, rel=0.05)


def test_what_is_deleted_moves_the_answer_and_what_comes_back_ends_it() -> None:
    network = make_tiny_network()
    chosen = selection_of(network, PREPROCESSOR.normalize(torch.from_numpy(PICTURE[None])))
    ranking = RNG.permutation(24).reshape(4, 6).astype(float)
    found = curves(network, PREPROCESSOR, PICTURE, chosen, ranking)
    for name in ("position", "orientation"):
        deletion, insertion = found["deletion"][name], found["insertion"][name]
        assert len(deletion) == len(SHARES) and deletion[-1] > 0.0
        assert deletion[0] == pytest.approx(0.0, abs=1e-4)
        assert insertion[-1] == pytest.approx(0.0, abs=1e-4)
        assert insertion[0] == pytest.approx(deletion[-1], rel=1e-3)
    # Half deleted, or the other half brought back, is one and the same picture.
    backwards = curves(network, PREPROCESSOR, PICTURE, chosen, -ranking)
    half = SHARES.index(0.5)
    for name in ("position", "orientation"):
        mirrored = backwards["insertion"][name][half]
        assert mirrored == pytest.approx(found["deletion"][name][half], rel=1e-2)
    assert area(np.array([0.0] + [1.0] * (len(SHARES) - 1))) == pytest.approx(0.95)


def test_planes_come_from_the_simulators_own_geometry(tmp_path: Path) -> None:
    record(
        tmp_path / "rooms", world=World.build("tiny"), camera=pinhole(96, 64, 70.0), frames=2,
        seed=0, scenes=("office",),
    )  # fmt: skip
    dataset = Dataset.load(tmp_path / "rooms")
    from tiny import TINY_VIRTUAL_CAMERA

    preprocessor = Preprocessor(
        PreprocessConfig(
            width=96, height=64, resize_shorter_px=0, virtual_camera=TINY_VIRTUAL_CAMERA
        )
    )
    found = world_structures(dataset, dataset.frames[1], preprocessor)
    assert set(found) == {"outlines", "level faces", "upright faces", "nearness"}
    assert all(values.shape == (64, 96) for values in found.values())
    assert 0.0 < found["outlines"].mean() < 0.9
    both = found["level faces"] + found["upright faces"]
    assert both.max() == 1.0 and both.mean() > 0.5 and found["upright faces"].mean() > 0.1
    assert found["nearness"].min() > 0.0  # a room has walls all round
    assert world_structures(dataset, dataset.frames[1], PREPROCESSOR) == {}


def test_what_is_seen_is_told_given_the_distance_from_the_middle() -> None:
    """A map and a structure that both follow the middle, and each other in nothing else."""
    rng = np.random.default_rng(3)
    middle = _middle((12, 16))
    cells, central, own = middle + 0.1 * rng.normal(size=(3, 12, 16))
    structures = {"middle": middle, "central": central, "own": own + 0.3 * (cells - middle)}
    seen = _seen(cells, structures)
    assert rank_correlation(cells, central) > 0.6 and abs(seen["central"]) < 0.2
    assert seen["own"] == round(rank_correlation(cells, structures["own"], middle), 4)
    assert seen["middle"] == round(rank_correlation(cells, middle), 4) > 0.6


def test_outlines_lie_where_faces_meet_and_not_along_the_border() -> None:
    faces = np.zeros((8, 10), dtype=int)
    faces[:, 5:] = 1
    found = _outlines(faces)
    assert found[:, 3:7].all() and not found[:, :3].any() and not found[:, 7:].any()
    np.testing.assert_array_equal(_outlines(faces.T), found.T)


def look(position: np.ndarray, orientation: np.ndarray, corners: tuple[float, float]) -> Any:
    """Make a record of a frame, with given maps and correlations with corners."""
    maps = {"position": position.tolist(), "orientation": orientation.tolist()}
    seen = {
        name: {"corners": value, "edges": 0.1, "middle": 0.0}
        for name, value in zip(maps, corners, strict=True)
    }
    kinds = {"deletion": 1.0, "insertion": 1.0}
    areas = {"chance": {name: kinds for name in maps}}
    for method in ("gradients", "attention"):
        for name in maps:
            areas[f"{method}, {name}"] = {
                answer: {"deletion": 2.0 if answer == name else 1.0, "insertion": 0.5}
                for answer in maps
            }
    return {
        "maps": {"gradients": maps, "attention": maps},
        "seen": {"gradients": seen, "attention": seen},
        "untrained": {"gradients": seen, "attention": seen},
        "retest": {method: {name: 0.9 for name in maps} for method in ("gradients", "attention")},
        "across": {"gradients": 0.3, "attention": 0.2},
        "areas": areas,
    }


def test_what_was_planted_is_found() -> None:
    """Position's maps go with corners, and are alike in both networks; so are orientation's."""
    rng = np.random.default_rng(1)
    networks: list[dict[str, list[Any]]] = [{"hall": []}, {"hall": []}]
    for _ in range(8):
        places, turns = rng.normal(size=(2, 5, 7))
        for looks in networks:
            jitter = 0.3 * rng.normal(size=(2, 5, 7))
            corners = (0.5 + 0.05 * rng.normal(), 0.1 + 0.05 * rng.normal())
            looks["hall"].append(look(places + jitter[0], turns + jitter[1], corners))
    found = find(networks)
    corners = found["structures"]["hall"]["gradients"]["corners"]
    assert is_told(corners["difference"]) and corners["difference"][2] < 0.0
    assert corners["position"][0] == pytest.approx(0.5, abs=0.05)
    assert not is_told(found["structures"]["hall"]["gradients"]["edges"]["difference"])
    branches = found["branches"]["attention"]
    assert branches["two networks, same branch"][0] > 0.6
    assert abs(branches["two networks, other branch"][0]) < 0.2
    assert branches["same minus other branch, two networks"][1] > 0.0
    own = found["deletion"]["gradients"]["position"]
    assert own["deletion, own over chance"] == pytest.approx([2.0] * 3)
    assert own["deletion, own over other branch"] == pytest.approx([2.0] * 3)
    assert own["insertion, own over chance"] == pytest.approx([0.5] * 3)
    words = in_words(found)
    assert "corners go with" in words and "more with position" in words
    assert "a branch is more like itself than like the other" in words
    assert "all" not in found["structures"]
    text = "".join(table.markdown() for table in tables(found))
    assert "-0.4" in text and "*" in text


def test_one_network_tells_nothing_of_chance() -> None:
    rng = np.random.default_rng(2)
    looks = {"hall": [look(*rng.normal(size=(2, 5, 7)), (0.5, 0.1))]}
    found = find([looks])
    assert "two networks, same branch" not in found["branches"]["gradients"]
    assert "cannot be told from one network" in in_words(found)
    assert np.isnan(interval([1.0])[1])


def test_the_study_runs_on_bundles(tmp_path: Path) -> None:
    dataset = make_tiny_dataset(tmp_path / "walks", camera=TINY_CAMERA)
    bundles = [make_tiny_bundle(tmp_path / f"b{seed}", seed=seed) for seed in (0, 1)]
    out = tmp_path / "out"
    command = ["study", "features", str(dataset), "-o", str(out), "--device", "cpu"]
    command += ["--per-scene", "2", "--steps", "2", "--bundle", *map(str, bundles)]
    assert mspr(command) == 0
    result = json.loads((out / "result.json").read_text())
    found = result["numbers"]
    assert found["networks"] == 2 and found["frames"] == {"kitchen": 2, "office": 2}
    assert set(found["structures"]) == {"kitchen", "office", "all"}
    assert "two networks, same branch" in found["branches"]["attention"]
    assert (out / "plot.png").stat().st_size > 5000
    assert "2 networks, 4 frames" in result["sentence"]
    other = make_tiny_bundle(tmp_path / "other", scenes=("cellar", "attic"))
    refused = ["study", "features", str(dataset), "-o", str(tmp_path / "no"), "--device", "cpu"]
    assert mspr([*refused, "--per-scene", "1", "--bundle", str(other)]) == 1


def test_fewer_than_one_frame_or_step_is_refused_early(tmp_path: Path, capsys) -> None:
    command = ["study", "features", str(tmp_path / "none"), "-o", str(tmp_path / "out")]
    for option in ("--per-scene", "--steps"):
        assert mspr([*command, option, "0"]) == 1
        assert "must be at least 1" in capsys.readouterr().err
