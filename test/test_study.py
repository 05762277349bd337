"""Studies end to end, tiny: they run, can be broken off, go on, and say only what was measured."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny import make_tiny_bundle, make_tiny_dataset
from training_support import make_config

from mspr_ros.cli.main import main as mspr
from mspr_ros.config import from_mapping, to_mapping
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.images import read_image
from mspr_ros.errors import DatasetError, MsprError
from mspr_ros.geometry import rotation_angle_rad
from mspr_ros.studies import (
    ablation,
    clusters,
    conditions,
    label_noise,
    measuring,
    noise,
    paired,
    places,
    runner,
    scenes,
    sizes,
    transfer_findings,
)
from mspr_ros.studies.study import Cell, Setting
from mspr_ros.training import teaching
from mspr_ros.training.configuration import OptimizerConfig, TrainConfig, ValidationConfig
from mspr_ros.training.progress_log import ProgressLog
from mspr_ros.training.trainer import Trainer


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give what makes a study tiny: a dataset of small pictures and a small configuration."""
    dataset = make_tiny_dataset(tmp_path / "walks", frames_per_scene=15)
    values = to_mapping(make_config(dataset, epochs=1))
    values["augmentation"] = {}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    # Twenty pictures a second, and nothing else takes time: the sizes do not hang on the machine.
    monkeypatch.setattr(teaching, "measure_rate", lambda *_: (20.0, 24))
    monkeypatch.setattr(sizes, "CELL_SECONDS", 0.0)
    return [str(dataset), "--config", str(path), "--budget", "0.2", "--device", "cpu"]


def test_an_ablation_is_broken_off_and_goes_on(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    command = ["study", "ablation", *arguments, "-o", str(out), "--seeds", "1", "--quick"]
    finish = Trainer._finish_epoch

    def stop_in_the_middle(self: Trainer, log: ProgressLog) -> None:
        if self.run_folder.name == "single-office-seed0":
            raise KeyboardInterrupt
        finish(self, log)

    monkeypatch.setattr(Trainer, "_finish_epoch", stop_in_the_middle)
    assert mspr(command) == 130
    done = {path.stem for path in (out / "cells").iterdir()}
    assert done == {"blind", "base-seed0", "direct-seed0", "single-kitchen-seed0"}
    assert not (out / "result.json").exists()
    assert (out / "runs" / "single-office-seed0" / "last.ckpt").exists()
    before = {path: path.read_bytes() for path in (out / "cells").iterdir()}
    planned = json.loads((out / "plan.json").read_text())["sizes"]

    resumed, initialise = {}, Trainer.__init__

    def remember(self: Trainer, config: TrainConfig, run: Path, *rest: Any, resume: bool) -> None:
        resumed[run.name] = resume
        initialise(self, config, run, *rest, resume=resume)

    monkeypatch.setattr(Trainer, "_finish_epoch", finish)
    monkeypatch.setattr(Trainer, "__init__", remember)
    assert mspr([*command, "--json", str(tmp_path / "copy.json")]) == 0
    assert resumed == {"single-office-seed0": True}
    assert all(path.read_bytes() == text for path, text in before.items())
    result = json.loads((out / "result.json").read_text())
    assert result["setting"]["images"] == planned["images"]
    assert len(result["cells"]) == 1 + 2 + 2
    assert result == json.loads((tmp_path / "copy.json").read_text())
    found = result["numbers"]["contrasts"]
    assert found["base"]["position_m"]["ratio"] == 1.0
    assert found["single"]["position_m"]["num_seeds"] == 1
    assert (out / "plot.png").stat().st_size > 5000
    assert "direct regression" in (out / "table.md").read_text()
    assert not list(out.rglob("*.ckpt"))

    done = {path: path.read_bytes() for path in (out / "cells").iterdir()}
    more = [*command[: command.index("--seeds")], "--seeds", "2", "--quick"]
    assert mspr(more) == 0
    assert all(path.read_bytes() == text for path, text in done.items())
    result = json.loads((out / "result.json").read_text())
    assert result["numbers"]["contrasts"]["single"]["position_m"]["num_seeds"] == 2
    images = json.loads((out / "plan.json").read_text())["sizes"]["images_of"]
    for name in ("base", "direct", "single-kitchen"):
        assert images[f"{name}-seed1"] == images[f"{name}-seed0"] > 0
    assert mspr([*command, "--clusters", "3"]) == 1  # another study


def test_an_ablation_of_chosen_parts_to_which_another_is_added(
    tmp_path: Path, arguments: list[str]
) -> None:
    out = tmp_path / "out"
    command = ["study", "ablation", *arguments, "-o", str(out), "--seeds", "1"]
    assert mspr([*command, "--parts", "direct"]) == 0
    done = {path: path.read_bytes() for path in (out / "cells").iterdir()}
    assert mspr([*command, "--parts", "no_residual"]) == 0
    assert all(path.read_bytes() == text for path, text in done.items())
    sizes_of = json.loads((out / "plan.json").read_text())["sizes"]["images_of"]
    assert sizes_of["no_residual-seed0"] == sizes_of["direct-seed0"] > 0
    result = json.loads((out / "result.json").read_text())
    found = result["numbers"]["contrasts"]
    assert set(found) == {"base", "no_residual", "forced", "blind"}
    kept = yaml.safe_load((out / "runs" / "no_residual-seed0" / "config.yaml").read_text())
    assert kept["network"]["residual"] is False


def test_label_noise_is_put_on_training_poses_only_and_compared(
    tmp_path: Path, arguments: list[str]
) -> None:
    out = tmp_path / "out"
    command = ["study", "label-noise", *arguments, "-o", str(out), "--seeds", "1"]
    command += ["--noises", "outliers"]
    assert mspr([*command, "--clusters", "2", "--outliers", "0.5", "--robust-m", "0.2"]) == 0
    result = json.loads((out / "result.json").read_text())
    assert len(result["cells"]) == 2 * 2 * 2
    assert "one seed: no telling" in result["sentence"]
    clean = Dataset.load(Path(arguments[0])).select(split="train")
    noisy = Dataset.load(out / "datasets" / "walks_outliers_seed0")
    moved = (clean.positions != noisy.positions).any(axis=1)
    assert 0.3 < moved.mean() <= 0.5 and set(noisy.splits) == {"train"}
    robust = yaml.safe_load(
        (out / "runs" / "outliers-clusters-robust-seed0" / "config.yaml").read_text()
    )
    assert robust["loss"]["robust_position"] == 0.2
    assert robust["datasets"] == [str(noisy.root)]


def test_each_noise_does_what_its_name_says(tmp_path: Path) -> None:
    source = make_tiny_dataset(tmp_path / "walks", ("office",), 40)
    clean = Dataset.load(source).select(split="train")
    errors = {}
    for name, spoil in {
        "gaussian": noise.gaussian(0.3, 10.0),
        "outliers": noise.outliers(0.25),
        "drift": noise.drift(0.6, 15.0),
        "late": noise.time_offset(0.1),
    }.items():
        folder = noise.spoiled_dataset(source, tmp_path / name, spoil, seed=3)
        spoiled = Dataset.load(folder)
        shift = np.linalg.norm(spoiled.positions - clean.positions, axis=1)
        turn = np.degrees(rotation_angle_rad(spoiled.quats_xyzw, clean.quats_xyzw))
        errors[name] = shift, turn
        again = noise.spoiled_dataset(source, tmp_path / f"{name}2", spoil, seed=3)
        np.testing.assert_array_equal(Dataset.load(again).positions, spoiled.positions)
    shift, turn = errors["gaussian"]
    assert np.sqrt(np.mean(shift**2)) == pytest.approx(0.3, rel=0.35)
    assert np.sqrt(np.mean(turn**2)) == pytest.approx(10.0, rel=0.35)
    assert 0.15 <= np.mean(errors["outliers"][0] > 0.0) <= 0.25
    shift, turn = errors["drift"]
    assert shift[0] == 0.0 and shift[-1] == pytest.approx(0.6)
    assert turn[-1] == pytest.approx(15.0) and (np.diff(turn) > 0.0).all()
    # Neighbouring frames are a tenth of a second apart: each has the pose of the next.
    late = Dataset.load(tmp_path / "late")
    np.testing.assert_allclose(late.positions[:-1], clean.positions[1:], atol=1e-6)
    np.testing.assert_allclose(late.quats_xyzw[:-1], clean.quats_xyzw[1:], atol=1e-6)


def test_transfer_measures_gates_and_repairs(tmp_path: Path, arguments: list[str]) -> None:
    dim = make_tiny_dataset(tmp_path / "dim", frames_per_scene=15)
    other = make_tiny_dataset(tmp_path / "garages", ("garage",), 15)
    out = tmp_path / "out"
    command = ["study", "transfer", *arguments, "-o", str(out), "--seeds", "1"]
    command[3:3] = [str(dim), str(other)]
    assert mspr([*command, "--repair-frames", "4"]) == 0
    result = json.loads((out / "result.json").read_text())
    names = [cell["name"] for cell in result["cells"]]
    assert names == ["base-seed0", "repair-dim-0004-seed0", "repair-garages-0004-seed0"]
    gates = result["numbers"]["gates"]
    assert gates["garages"]["broken"] == 1.0 and gates["as trained"]["broken"] < 1.0
    merged = Dataset.load(out / "datasets" / "repair_garages_4")
    assert merged.scenes == ("kitchen", "office", "garage")
    assert [len(merged.select(scene=scene)) for scene in merged.scenes] == [4, 4, 4]
    # What is repaired starts from the base, and knows the new place afterwards.
    config = yaml.safe_load((out / "runs" / names[2] / "config.yaml").read_text())
    assert config["initial_weights"] == str(out / "runs" / "base-seed0" / "bundle")
    cell = runner.read_result(out / "cells" / f"{names[2]}.json")
    assert list(cell.values["conditions"]) == ["same", "garages"]
    assert list(cell.values["conditions"]["garages"]) == ["garage"]


def test_one_network_for_more_and_more_scenes(tmp_path: Path, arguments: list[str]) -> None:
    names = ("hall", "attic")
    more = make_tiny_dataset(tmp_path / "more", names, frames_per_scene=15)
    out = tmp_path / "out"
    command = ["study", "scenes", *arguments, "-o", str(out), "--seeds", "1", "--most", "3"]
    command[3:3] = [str(more)]
    assert mspr(command) == 0
    result = json.loads((out / "result.json").read_text())
    cells = {cell["name"]: cell for cell in result["cells"]}
    singles = [f"single-{name}-seed0" for name in ("kitchen", "office", "hall")]
    assert list(cells) == ["many-02-seed0", "many-03-seed0", *singles]
    # As many pictures of each scene, whole epochs being what they are: none of the attic.
    assert cells["many-02-seed0"]["images"] < cells["many-03-seed0"]["images"]
    assert list(result["numbers"]["counts"]) == ["2", "3"]
    counts = result["numbers"]["counts"]
    assert counts["3"]["parameters"] > counts["2"]["parameters"] > 0
    assert counts["3"]["latency_ms"] > 0.0
    assert "3 scenes in one" in (out / "table.md").read_text()


def test_places_of_the_simulator_are_made_once_and_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "SIZE_PX", (48, 36))
    setting = Setting(tmp_path, (), {}, (0,), 1.0, frames=6)
    found = scenes._simulated(setting, scenes.HARD["twins"])
    assert found.scenes == ("corridor", "corridor-twin")
    train = [Dataset.load(folder) for folder in found.train]
    assert [len(one) for one in train] == [6, 6]
    stamps = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.jpg"))]
    assert scenes._simulated(setting, scenes.HARD["twins"]) == found
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.jpg"))] == stamps
    with pytest.raises(DatasetError, match="no frames of split 'test'"):
        measuring.Exam(found.train[0]).load()


AWKWARD = ('Bob\'s $"room"', "会議室", "教室")


def setting_of(output: Path, datasets: list[Path], **options: Any) -> Setting:
    """Give the setting of a study of tiny datasets, on one seed."""
    base = to_mapping(make_config(datasets[0]))
    own = argparse.Namespace(**options)
    return Setting(output, tuple(datasets), base, (0,), 1.0, options=own)


def test_scenes_of_any_name_are_cells_of_their_own(tmp_path: Path) -> None:
    dataset = make_tiny_dataset(tmp_path / "walks", AWKWARD, 10)
    setting = setting_of(tmp_path, [dataset], clusters=2, parts=["single"])
    singles = [cell for cell in ablation.plan(setting) if cell.factors["variant"] == "single"]
    names = [cell.name for cell in singles]
    assert names == ["single-Bob_s_room_-seed0", "single-_-seed0", "single-_-2-seed0"]
    assert [cell.config.scenes for cell in singles if cell.config] == [(one,) for one in AWKWARD]
    many = scenes.plan(setting_of(tmp_path, [dataset], most=3, costs_only=False,
                                  train_backbone=True))  # fmt: skip
    trained = {cell.name: cell.config.scenes for cell in many if cell.config}
    assert trained["many-03-seed0"] == AWKWARD
    assert trained["single-_-2-seed0"] == AWKWARD[2:]
    chosen = clusters.plan(setting_of(tmp_path, [dataset], labels=[], poses_only=False))
    assert {cell.config.scenes for cell in chosen if cell.config} == {(one,) for one in AWKWARD}
    runner._check_names(chosen)


def test_a_scene_of_two_datasets_is_refused(tmp_path: Path) -> None:
    first = make_tiny_dataset(tmp_path / "a" / "walks", ("office",), 5)
    second = make_tiny_dataset(tmp_path / "b" / "walks", ("office", "hall"), 5)
    setting = setting_of(tmp_path, [first, second], labels=[], poses_only=False)
    for planned in (places.find_places, clusters.plan):
        with pytest.raises(DatasetError, match="several of the datasets hold the scene office"):
            planned(setting)


def test_datasets_whose_folders_have_one_name_stay_apart(tmp_path: Path) -> None:
    folders = [
        make_tiny_dataset(tmp_path / scene / "walks", (scene,), 10) for scene in ("office", "hall")
    ]
    setting = setting_of(tmp_path / "out", folders, outliers=0.5)
    noisy = label_noise._spoiled(setting, places.find_places(setting), "outliers", 0)
    assert [folder.name for folder in noisy] == ["walks_outliers_seed0", "walks-2_outliers_seed0"]
    assert [Dataset.load(folder).scenes for folder in noisy] == [("office",), ("hall",)]
    first = make_tiny_dataset(tmp_path / "taught", ("kitchen",), 10)
    _, found = conditions.find_conditions(setting_of(tmp_path, [first, *folders]))
    assert [one.name for one in found] == ["same", "walks", "walks-2"]
    assert [one.title for one in found] == ["as trained", "walks", "walks-2"]


def frames_of(errors: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Give frames of one scene, in blocks of five, as a cell's measuring gives them."""
    blocks = (np.arange(len(errors)) // 5).tolist()
    columns = {kind: errors.tolist() for kind in paired.KINDS}
    return {"office": {**columns, "block": blocks}}


def test_a_difference_is_told_where_it_is_one_and_not_where_it_is_chance() -> None:
    rng = np.random.default_rng(0)
    hard = np.exp(rng.normal(size=100))  # what makes a frame hard is the same for both
    cells = [frames_of(hard * np.exp(rng.normal(scale=0.1, size=100))) for _ in range(8)]
    worse = [frames_of(1.5 * hard * np.exp(rng.normal(scale=0.1, size=100))) for _ in range(4)]
    found = paired.paired_ratio(worse, cells[:4])
    assert found.is_told and found.low < 1.5 < found.high and found.num_blocks == 20
    assert "(worse)" in found.verdict()
    better = paired.paired_ratio(cells[:4], worse)
    assert better.ratio == pytest.approx(1.0 / found.ratio) and better.high < 1.0
    chance = paired.paired_ratio(cells[4:], cells[:4])
    assert not chance.is_told and "no telling apart" in chance.verdict()
    single = paired.paired_ratio(worse[:1], cells[:1])
    assert not single.is_told and "one seed" in single.cell()
    assert single.to_dict()["high"] is None
    # Of one given network only the frames are chance.
    given = paired.paired_ratio(worse[:1], cells[:1], given=True)
    assert given.num_seeds == 0 and given.is_told and given.low < 1.5 < given.high
    with pytest.raises(ValueError, match="other frames of 'office'"):
        paired.paired_ratio([frames_of(hard[:50])], cells[:1])
    with pytest.raises(ValueError, match="2 cells cannot be paired with 1"):
        paired.paired_ratio(worse[:2], cells[:1])


def test_the_interval_holds_the_truth_as_often_as_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seeds that scatter by 20 % about no difference: 95 of 100 intervals hold it."""
    monkeypatch.setattr(paired, "NUM_RESAMPLES", 20)
    held = 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        hard = np.exp(rng.normal(size=60))
        sides = [
            [frames_of(hard * np.exp(rng.normal(scale=0.2))) for _ in range(3)] for _ in range(2)
        ]
        held += not paired.paired_ratio(*sides).is_told
    assert held >= 90


def test_a_shape_is_told_by_the_number_of_scenes_that_are_named(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    key = sizes.shape_key(config)
    assert key == sizes.shape_key(dataclasses.replace(config, datasets=("other",), seed=5))
    one, other, two = (
        sizes.shape_key(dataclasses.replace(config, scenes=scenes))
        for scenes in (("office",), ("kitchen",), ("office", "kitchen"))
    )
    assert one == other and len({key, one, two}) == 3


def test_sizes_share_the_budget_out(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Path(arguments[0])
    config = from_mapping(TrainConfig, yaml.safe_load(Path(arguments[2]).read_text()), "tiny")
    config = dataclasses.replace(config, validation=ValidationConfig(fraction=0.0))
    direct = dataclasses.replace(
        config, network=dataclasses.replace(config.network, num_position_clusters=0)
    )
    rates = {2: 24.0, 0: 12.0}
    monkeypatch.setattr(
        teaching, "measure_rate", lambda c, *_: (rates[c.network.num_position_clusters], 24)
    )
    cells = [
        Cell("a", {}, 0, dict, config),
        Cell("b", {}, 0, dict, direct),
        Cell("half", {}, 0, dict, config, share=0.5),
        Cell("nothing", {}, 0, dict),
    ]
    # A second for 24 pictures of a, two for b's, a half for the half: 3.5 s for 24 pictures.
    found = sizes.choose_sizes(cells, 10.5 * 3.5 / 60.0, torch.device("cpu"))
    assert found.images == pytest.approx(10.5 * 24, abs=1)
    assert found.images_of == {"a": 240, "b": 240, "half": 120, "nothing": 0}
    assert found.seconds == {"a": 10.0, "b": 20.0, "half": 5.0, "nothing": 0.0}
    with pytest.raises(MsprError, match=r"too few: an epoch of each of 3 networks.*--budget 0\.1"):
        sizes.choose_sizes(cells, 0.02, torch.device("cpu"))
    short = sizes.for_length(
        dataclasses.replace(config, ema_decay=0.999, optimizer=OptimizerConfig(warmup_steps=100)),
        800,
    )
    assert (short.total_images, short.optimizer.warmup_steps) == (800, 10)
    assert short.ema_decay == pytest.approx(0.8)
    assert len(Dataset.load(dataset).select(split="train")) == 24


def test_another_study_is_not_mixed_into_the_folder(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "plan.json").write_text('{"setting": {"study": "ablation"}, "sizes": {}}')
    assert mspr(["study", "scenes", *arguments, "-o", str(out)]) == 1
    assert "holds a study begun with other study" in capsys.readouterr().err


def test_what_needs_no_picture_is_measured_too(tmp_path: Path) -> None:
    walks = make_tiny_dataset(tmp_path / "walks", ("office",), 20)
    frames = measuring.measure_blind([walks], [measuring.Exam(walks)])["frames"]["office"]
    dataset = Dataset.load(walks)
    mean = dataset.select(split="train").positions.mean(axis=0)
    errors = np.linalg.norm(dataset.select(split="test").positions - mean, axis=1)
    np.testing.assert_allclose(frames["position_m"], errors, atol=1e-5)
    # The pictures turn by two degrees a frame about one axis, in training from 0 to 30.
    np.testing.assert_allclose(frames["orientation_deg"], [17.0, 19.0, 21.0, 23.0], atol=1e-3)


def test_other_conditions_repeat_the_drives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "SIZE_PX", (48, 36))
    monkeypatch.setattr(places, "SIZE_PX", (48, 36))
    options = argparse.Namespace(world="study")
    setting = Setting(tmp_path, (), {}, (0,), 1.0, frames=6, options=options)
    plain = conditions._test(setting, "plain", ("office",))
    dim = conditions._test(setting, "dim", ("office",), light=conditions.LIGHTS["dim_light"])
    wide = conditions._test(setting, "wide", ("office",), fov_deg=95.0)
    untold = conditions._with_camera(wide, tmp_path / "untold", 70.0)
    loaded = [Dataset.load(folder) for folder in (plain, dim, wide, untold)]
    for one in loaded[1:]:
        np.testing.assert_array_equal(one.positions, loaded[0].positions)
        np.testing.assert_array_equal(one.stamps_ns, loaded[0].stamps_ns)
    pictures = [read_image(one.frames[0].image).astype(float) for one in loaded]
    assert pictures[1].mean() < 0.7 * pictures[0].mean()
    assert np.abs(pictures[2] - pictures[0]).mean() > 5.0
    np.testing.assert_array_equal(pictures[3], pictures[2])
    focal = [one.cameras["simulator"].fx for one in loaded]
    assert focal[3] == focal[0] > focal[2]


def test_the_gate_is_judged_by_what_is_broken() -> None:
    good = {"position_m": [0.1] * 4, "orientation_deg": [1.0] * 4}
    plain = {"hall": {**good, "scene_right": [True] * 4, "accepted": [True, True, True, False]}}
    bad = {"position_m": [0.1, 0.1, 0.4, 0.4], "orientation_deg": [1.0, 4.0, 1.0, 1.0]}
    dim = {"hall": {**bad, "scene_right": [True] * 4, "accepted": [True, False, False, True]}}
    base = [{"same": plain, "dim": dim}]
    taught = conditions.Condition("dim", "dim", ())
    found = transfer_findings.gate_summary(taught, base)
    assert (found["broken"], found["caught"], found["missed"]) == (0.75, pytest.approx(2 / 3), 0.0)
    elsewhere = dataclasses.replace(taught, is_taught=False)
    assert transfer_findings.gate_summary(elsewhere, base)["caught"] == 0.5
    same = transfer_findings.gate_summary(dataclasses.replace(taught, name="same"), base)
    assert same["caught"] is None and same["missed"] == 0.25


def test_transfer_of_a_bundle_at_hand_trains_nothing(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    dim = make_tiny_dataset(tmp_path / "dim", frames_per_scene=15)
    out = tmp_path / "out"
    command = ["study", "transfer", arguments[0], str(dim), *arguments[1:], "-o", str(out)]
    assert mspr([*command, "--bundle", str(bundle), "--repair-frames", "0"]) == 0
    assert "0 networks to train" in capsys.readouterr().out
    result = json.loads((out / "result.json").read_text())
    assert [cell["name"] for cell in result["cells"]] == ["base"]
    assert result["sentence"].startswith(f"The one network in {bundle}.")
    assert (out / "plot.png").exists()


def test_costs_of_many_scenes_need_no_training(tmp_path: Path, arguments: list[str]) -> None:
    out = tmp_path / "out"
    command = ["study", "scenes", *arguments[1:], "-o", str(out), "--most", "16", "--costs-only"]
    assert mspr(command) == 0
    found = json.loads((out / "result.json").read_text())["numbers"]["costs"]
    assert list(found) == ["2", "4", "8", "16"]
    # Two queries of 32 and nothing else learned for every further scene.
    assert found["16"]["parameters"] - found["8"]["parameters"] == 8 * 2 * 32
    assert all(one["cpu_ms"] > 0.0 and one["weights_mb"] > 0.1 for one in found.values())
